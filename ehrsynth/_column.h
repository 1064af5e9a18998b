/* The buffers of one Arrow array, for _parquet.c and _numbers.c. */

#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    Py_buffer values, data, validity; /* `data` is of texts: their characters; `values` are then their offsets */
    int has_data, has_validity;
    Py_ssize_t first, n;
} Array;

static inline void array_free(Array *array) {
    PyBuffer_Release(&array->values);
    if (array->has_data) PyBuffer_Release(&array->data);
    if (array->has_validity) PyBuffer_Release(&array->validity);
}

static inline int present(const Array *array, Py_ssize_t i) {
    if (!array->has_validity) return 1;
    Py_ssize_t bit = array->first + i;
    return (((const uint8_t *)array->validity.buf)[bit >> 3] >> (bit & 7)) & 1;
}

/* Takes (values, data or None, validity or None, first, n); `width` is of a value, or of an offset of texts. */
static inline int array_get(PyObject *given, Array *array, int width) {
    PyObject *values, *data, *validity;
    memset(array, 0, sizeof *array);
    if (!PyArg_ParseTuple(given, "OOOnn", &values, &data, &validity, &array->first, &array->n)) return 0;
    if (PyObject_GetBuffer(values, &array->values, PyBUF_SIMPLE) < 0) return 0;
    if (data != Py_None) {
        if (PyObject_GetBuffer(data, &array->data, PyBUF_SIMPLE) < 0) goto refused;
        array->has_data = 1;
    }
    if (validity != Py_None) {
        if (PyObject_GetBuffer(validity, &array->validity, PyBUF_SIMPLE) < 0) goto refused;
        array->has_validity = 1;
    }
    Py_ssize_t end = array->first + array->n;
    if (array->first < 0 || array->n < 0 || array->values.len / width < end + array->has_data ||
        (array->has_validity && array->validity.len * 8 < end)) {
        PyErr_SetString(PyExc_ValueError, "a buffer is too short");
        goto refused;
    }
    if (array->has_data) {
        const int32_t *offsets = (const int32_t *)array->values.buf + array->first;
        int wrong = offsets[0] < 0 || offsets[array->n] > array->data.len;
        for (Py_ssize_t i = 0; i < array->n; i++) wrong |= offsets[i + 1] < offsets[i];
        if (wrong) {
            PyErr_SetString(PyExc_ValueError, "offsets do not ascend within their data");
            goto refused;
        }
    }
    return 1;
refused:
    array_free(array);
    return 0;
}
