/* Combinations of columns: which each row has (exporters/keys.py). */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_hash.h"

#define MOST_SPAN (1LL << 62)
#define LEAST_TABLE (1LL << 14)

/* Numbers of `codes` (each below `span`) by first appearance, and the first row of each; -1 without memory. */
static int64_t numbered(const int64_t *codes, int64_t n, int64_t span, int32_t *number, int64_t *first) {
    int64_t count = 0;
    if (span <= LEAST_TABLE || span <= 4 * n) {
        int32_t *table = malloc((size_t)span * 4);
        if (!table) return -1;
        memset(table, 0xFF, (size_t)span * 4);
        for (int64_t i = 0; i < n; i++) {
            int32_t *cell = &table[codes[i]];
            if (*cell < 0) {
                first[count] = i;
                *cell = (int32_t)count++;
            }
            number[i] = *cell;
        }
        free(table);
        return count;
    }
    uint64_t mask;
    Cell *table = table_of(n, &mask);
    if (!table) return -1;
    for (int64_t i = 0; i < n; i++) {
        uint64_t hash = mixed(0, (uint64_t)codes[i]), at = hash & mask;
        while (table[at].place >= 0 && codes[first[table[at].place]] != codes[i]) at = (at + 1) & mask;
        if (table[at].place < 0) {
            first[count] = i;
            table[at].place = (int32_t)count++;
        }
        number[i] = table[at].place;
    }
    free(table);
    return count;
}

/* One more column in `codes`; -1 if an index is outside. */
static int combine(int64_t *codes, int64_t n, const int32_t *index, const uint8_t *valid, int64_t first, int64_t size) {
    int wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        int there = !valid || (valid[(first + i) >> 3] >> ((first + i) & 7) & 1);
        int64_t own = there ? (int64_t)index[first + i] + 1 : 0;
        wrong |= own < 0 || own > size;
        codes[i] = codes[i] * (size + 1) + own;
    }
    return wrong ? -1 : 0;
}

/* columns, n, out (int32), first (int64): the number of each row's combination by first appearance, the first row of
 * each; returns how many. A column is (indices (int32), first, validity or None, how many values there are). */
PyObject *ehrsynth_combined(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *columns, *answer = NULL;
    Py_ssize_t n;
    Py_buffer out, firsts;
    if (!PyArg_ParseTuple(args, "O!nw*w*", &PyList_Type, &columns, &n, &out, &firsts)) return NULL;
    int64_t *codes = NULL, *first = firsts.buf, span = 1, count = 0;
    int32_t *number = out.buf;
    if (n < 0 || n > INT32_MAX - 1 || out.len != 4 * n || firsts.len != 8 * n) {
        PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
        goto done;
    }
    if (!(codes = calloc((size_t)n + 1, 8))) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(columns); i++) {
        PyObject *indices, *valid;
        long long start, size;
        Py_buffer index, bits = {0};
        if (!PyArg_ParseTuple(PyList_GET_ITEM(columns, i), "OLOL", &indices, &start, &valid, &size)) goto done;
        if (start < 0 || start > (1LL << 40) || size < 0 || size > INT32_MAX) {
            PyErr_SetString(PyExc_ValueError, "not the indices of an array");
            goto done;
        }
        if (span > MOST_SPAN / (size + 1)) {
            if ((count = numbered(codes, n, span, number, first)) < 0) {
                PyErr_NoMemory();
                goto done;
            }
            for (Py_ssize_t row = 0; row < n; row++) codes[row] = number[row];
            span = count ? count : 1;
        }
        if (PyObject_GetBuffer(indices, &index, PyBUF_SIMPLE)) goto done;
        if (valid != Py_None && PyObject_GetBuffer(valid, &bits, PyBUF_SIMPLE)) {
            PyBuffer_Release(&index);
            goto done;
        }
        int wrong = index.len < 4 * (start + n) || (bits.obj && 8 * bits.len < start + n) ? 1 : 0;
        if (wrong) PyErr_SetString(PyExc_ValueError, "a buffer is too short");
        else if (combine(codes, n, index.buf, bits.obj ? bits.buf : NULL, start, size)) {
            PyErr_SetString(PyExc_IndexError, "there is no such value");
            wrong = 1;
        }
        PyBuffer_Release(&index);
        if (bits.obj) PyBuffer_Release(&bits);
        if (wrong) goto done;
        span *= size + 1;
    }
    if ((count = numbered(codes, n, span, number, first)) < 0) PyErr_NoMemory();
    else answer = PyLong_FromLongLong(count);
done:
    free(codes);
    PyBuffer_Release(&out);
    PyBuffer_Release(&firsts);
    return answer;
}
