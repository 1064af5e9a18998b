/* Arrays that numpy hands to the compiled loops: opened, checked and given back alike. */

#ifndef EHRSYNTH_ARRAYS_H
#define EHRSYNTH_ARRAYS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define MOST 26

typedef struct {
    Py_buffer of[MOST];
    int count;
} Arrays;

static inline void release(Arrays *arrays) {
    while (arrays->count) PyBuffer_Release(&arrays->of[--arrays->count]);
}

/* The arrays in `args`, whose kinds are letters: q (int64), d (float64), i (int32), b (bytes); capital: written to. */
static inline int opened(Arrays *arrays, PyObject *args, const char *kinds) {
    arrays->count = 0;
    Py_ssize_t n = (Py_ssize_t)strlen(kinds);
    if (PyTuple_GET_SIZE(args) != n || n > MOST) {
        PyErr_Format(PyExc_TypeError, "%zd arrays are asked for", n);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        int written = kinds[i] < 'a';
        char kind = (char)(kinds[i] | 32);
        Py_buffer *found = &arrays->of[i];
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(args, i), found, written ? PyBUF_WRITABLE : PyBUF_SIMPLE)) {
            release(arrays);
            return -1;
        }
        arrays->count++;
        if (found->len % (kind == 'b' ? 1 : kind == 'i' ? 4 : 8)) {
            PyErr_SetString(PyExc_ValueError, "an array of another type");
            release(arrays);
            return -1;
        }
    }
    return 0;
}

/* The bytes of one more object in `held`, at least so many; NULL with an error. What is held is to be released. */
static inline const void *hold(Py_buffer *held, int *n_held, PyObject *object, int64_t least, int64_t *size) {
    Py_buffer *view = &held[*n_held];
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE)) return NULL;
    ++*n_held;
    if (view->len < least) {
        PyErr_SetString(PyExc_ValueError, "a buffer is too short");
        return NULL;
    }
    if (size) *size = view->len;
    return view->buf ? view->buf : (const void *)"";
}

static inline const int64_t *longs(const Arrays *arrays, int at) { return arrays->of[at].buf; }
static inline const double *doubles(const Arrays *arrays, int at) { return arrays->of[at].buf; }
static inline const uint8_t *bytes(const Arrays *arrays, int at) { return arrays->of[at].buf; }
static inline int64_t eights(const Arrays *arrays, int at) { return arrays->of[at].len / 8; }

static inline PyObject *outside(Arrays *arrays, const char *what) {
    release(arrays);
    PyErr_SetString(PyExc_IndexError, what);
    return NULL;
}

static inline PyObject *unequal(Arrays *arrays) {
    release(arrays);
    PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
    return NULL;
}

static inline PyObject *done(Arrays *arrays) {
    release(arrays);
    Py_RETURN_NONE;
}

static inline int inside(int64_t number, int64_t count) { return (uint64_t)number < (uint64_t)count; }

static inline int64_t floored(int64_t number, int64_t by) { return number / by - (number % by < 0); }

/* How many of `n` ascending numbers are at most `key`. */
static inline int64_t at_most(const int64_t *numbers, int64_t n, int64_t key) {
    int64_t low = 0;
    while (n > 0) {
        int64_t half = n >> 1;
        int64_t right = numbers[low + half] <= key;
        low += right ? half + 1 : 0;
        n = right ? n - half - 1 : half;
    }
    return low;
}

#endif
