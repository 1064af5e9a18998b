/* Pages of Parquet: numbers of dictionaries, runs and packed bits, plain texts (exporters/parquet_pages.py). */

#include "_column.h"

/* -- runs and packed bits ----------------------------------------------------------------------------------------- */

enum {
    MOST_GROUPS = 63, /* of one run of packed bits: its head is one byte then */
    SOME = 1024
};

typedef struct {
    uint8_t *out, *at, *head; /* `head` of the run of packed bits that is open */
    int width, groups;
    uint32_t value;
    uint64_t count; /* of the run of one value that is open */
} Hybrid;

static size_t hybrid_bound(Py_ssize_t n, int width) {
    return (size_t)(n / 8 + 1) * (size_t)(width + 8) + 16;
}

static void end_run(Hybrid *h) {
    if (!h->count) return;
    uint64_t head = h->count << 1;
    for (; head > 0x7F; head >>= 7) *h->at++ = (uint8_t)(head | 0x80);
    *h->at++ = (uint8_t)head;
    for (int bits = 0; bits < h->width; bits += 8) *h->at++ = (uint8_t)(h->value >> bits);
    h->count = 0;
}

static void end_packed(Hybrid *h) {
    if (h->groups) *h->head = (uint8_t)(h->groups << 1 | 1);
    h->groups = 0;
}

static void put_same(Hybrid *h, uint32_t value, int n) {
    end_packed(h);
    if (h->count && h->value != value) end_run(h);
    h->value = value;
    h->count += (uint64_t)n;
}

static void begin_packed(Hybrid *h) {
    end_run(h);
    if (h->groups == MOST_GROUPS) end_packed(h);
    if (!h->groups) h->head = h->at++;
    h->groups++;
}

/* `n` values, 8 but for the last of a page; those behind them are 0. */
static void put_group(Hybrid *h, const uint32_t *g, int n) {
    uint32_t different = 0;
    for (int i = 1; i < n; i++) different |= g[i] ^ g[0];
    if (!different) {
        put_same(h, g[0], n);
        return;
    }
    begin_packed(h);
    uint64_t bits = 0;
    int have = 0;
    for (int i = 0; i < 8; i++) {
        bits |= (uint64_t)g[i] << have;
        have += h->width;
        for (; have >= 32; have -= 32, bits >>= 32, h->at += 4) {
            uint32_t word = (uint32_t)bits;
            h->at[0] = (uint8_t)word;
            h->at[1] = (uint8_t)(word >> 8);
            h->at[2] = (uint8_t)(word >> 16);
            h->at[3] = (uint8_t)(word >> 24);
        }
    }
    for (; have > 0; have -= 8, bits >>= 8) *h->at++ = (uint8_t)bits;
}

static PyObject *hybrid_made(Hybrid *h) {
    end_run(h);
    end_packed(h);
    PyObject *made = PyByteArray_FromStringAndSize((const char *)h->out, h->at - h->out);
    free(h->out);
    return made;
}

PyObject *ehrsynth_levels(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer validity;
    Py_ssize_t first, n;
    if (!PyArg_ParseTuple(args, "y*nn", &validity, &first, &n)) return NULL;
    PyObject *made = NULL;
    Hybrid h = {.width = 1};
    if (first < 0 || n < 0 || validity.len * 8 < first + n) {
        PyErr_SetString(PyExc_ValueError, "a buffer is too short");
    } else if (!(h.out = h.at = malloc(hybrid_bound(n, 1)))) {
        PyErr_NoMemory();
    } else {
        const uint8_t *bits = validity.buf;
        for (Py_ssize_t i = 0; i < n; i += 8) {
            int some = n - i < 8 ? (int)(n - i) : 8;
            const uint8_t *at = bits + ((first + i) >> 3);
            int shift = (int)((first + i) & 7);
            unsigned byte = (unsigned)(at[0] >> shift);
            if (shift + some > 8) byte |= (unsigned)at[1] << (8 - shift);
            unsigned all = (1U << some) - 1;
            byte &= all;
            if (byte == 0 || byte == all) {
                put_same(&h, byte & 1, some);
            } else {
                begin_packed(&h);
                *h.at++ = (uint8_t)byte;
            }
        }
        made = hybrid_made(&h);
    }
    PyBuffer_Release(&validity);
    return made;
}

PyObject *ehrsynth_coded(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given, *made = NULL;
    Py_buffer names;
    int width;
    Array array;
    if (!PyArg_ParseTuple(args, "Oy*i", &given, &names, &width)) return NULL;
    if (width < 1 || width > 31) {
        PyErr_SetString(PyExc_ValueError, "a number has 1 to 31 bits");
    } else if (array_get(given, &array, 4)) {
        Hybrid h = {.width = width};
        if (!(h.out = h.at = malloc(hybrid_bound(array.n, width)))) {
            PyErr_NoMemory();
        } else {
            const int32_t *index = (const int32_t *)array.values.buf + array.first, *name = names.buf;
            const size_t size = (size_t)names.len / 4;
            /* What is there moves up, some at a time: a null is written over by the next. */
            uint32_t some[SOME + 8] = {0}, wrong = 0;
            int have = 0;
            for (Py_ssize_t i = 0; i < array.n && !wrong;) {
                Py_ssize_t stop = array.n - i < SOME ? array.n : i + SOME;
                if (array.has_validity) {
                    const uint8_t *bits = array.validity.buf;
                    for (; i < stop && have < SOME; i++) {
                        Py_ssize_t bit = array.first + i;
                        some[have] = (uint32_t)index[i];
                        have += (bits[bit >> 3] >> (bit & 7)) & 1;
                    }
                } else {
                    for (; i < stop && have < SOME; i++) some[have++] = (uint32_t)index[i];
                }
                int whole = have & ~7;
                for (int j = 0; j < have; j++) wrong |= some[j] >= size;
                if (wrong) break;
                uint32_t g[8];
                for (int j = 0; j < whole; j += 8) {
                    for (int k = 0; k < 8; k++) g[k] = (uint32_t)name[some[j + k]];
                    for (int k = 0; k < 8; k++) wrong |= g[k] >> width;
                    put_group(&h, g, 8);
                }
                have -= whole;
                for (int j = 0; j < have; j++) some[j] = some[whole + j];
            }
            if (have && !wrong) {
                uint32_t g[8] = {0};
                for (int k = 0; k < have; k++) {
                    g[k] = (uint32_t)name[some[k]];
                    wrong |= g[k] >> width;
                }
                put_group(&h, g, have);
            }
            if (wrong) {
                free(h.out);
                PyErr_SetString(PyExc_IndexError, "a number is not of the dictionary");
            } else {
                made = hybrid_made(&h);
            }
        }
        array_free(&array);
    }
    PyBuffer_Release(&names);
    return made;
}

PyObject *ehrsynth_used(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given;
    Py_buffer flags;
    Array array;
    if (!PyArg_ParseTuple(args, "Ow*", &given, &flags)) return NULL;
    if (!array_get(given, &array, 4)) {
        PyBuffer_Release(&flags);
        return NULL;
    }
    const int32_t *index = (const int32_t *)array.values.buf + array.first;
    uint8_t *flag = flags.buf;
    int wrong = 0;
    for (Py_ssize_t i = 0; i < array.n; i++) {
        if (!present(&array, i)) continue;
        if (index[i] < 0 || index[i] >= flags.len) {
            wrong = 1;
            break;
        }
        flag[index[i]] = 1;
    }
    array_free(&array);
    PyBuffer_Release(&flags);
    if (wrong) {
        PyErr_SetString(PyExc_IndexError, "a number is not of the dictionary");
        return NULL;
    }
    Py_RETURN_NONE;
}

/* -- plain texts: their lengths and themselves -------------------------------------------------------------------- */

PyObject *ehrsynth_lengthy(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given;
    Array array;
    if (!PyArg_ParseTuple(args, "O", &given) || !array_get(given, &array, 4)) return NULL;
    if (!array.has_data) {
        array_free(&array);
        PyErr_SetString(PyExc_ValueError, "not an array of texts");
        return NULL;
    }
    const int32_t *offsets = (const int32_t *)array.values.buf + array.first;
    Py_ssize_t size = 0;
    for (Py_ssize_t i = 0; i < array.n; i++)
        if (present(&array, i)) size += 4 + offsets[i + 1] - offsets[i];
    PyObject *made = PyByteArray_FromStringAndSize(NULL, size);
    if (made) {
        uint8_t *out = (uint8_t *)PyByteArray_AS_STRING(made);
        const char *data = array.data.buf;
        for (Py_ssize_t i = 0; i < array.n; i++) {
            if (!present(&array, i)) continue;
            uint32_t length = (uint32_t)(offsets[i + 1] - offsets[i]);
            for (int j = 0; j < 4; j++) *out++ = (uint8_t)(length >> (8 * j));
            if (length == 36) {
                memcpy(out, data + offsets[i], 36);
            } else {
                memcpy(out, data + offsets[i], length);
            }
            out += length;
        }
    }
    array_free(&array);
    return made;
}
