/* Pages of Parquet: numbers of dictionaries, runs and packed bits, plain texts (exporters/parquet_pages.py). */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* -- the buffers of one Arrow array ------------------------------------------------------------------------------- */

typedef struct {
    Py_buffer values, data, validity; /* `data` is of texts: their characters; `values` are then their offsets */
    int has_data, has_validity;
    Py_ssize_t first, n;
} Array;

static void array_free(Array *array) {
    PyBuffer_Release(&array->values);
    if (array->has_data) PyBuffer_Release(&array->data);
    if (array->has_validity) PyBuffer_Release(&array->validity);
}

static int present(const Array *array, Py_ssize_t i) {
    if (!array->has_validity) return 1;
    Py_ssize_t bit = array->first + i;
    return (((const uint8_t *)array->validity.buf)[bit >> 3] >> (bit & 7)) & 1;
}

/* Takes (values, data or None, validity or None, first, n); `width` is of a value, or of an offset of texts. */
static int array_get(PyObject *given, Array *array, int width) {
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

/* -- dictionaries: values are numbered as they come --------------------------------------------------------------- */

typedef struct {
    const char *text;
    uint32_t length, hash;
} Known;

typedef struct {
    Known *known;
    int64_t *rows; /* where each was met first */
    uint64_t *slots; /* hash and number + 1, 0 where there is none */
    uint32_t n, room, mask;
} Dictionary;

static uint64_t word_at(const char *text) {
    uint64_t word;
    memcpy(&word, text, 8);
    return word;
}

static uint64_t mixed(uint64_t word, uint64_t factor) {
    word *= factor;
    return word ^ (word >> 29);
}

static uint32_t hash_of(const char *text, uint32_t length) {
    static const uint64_t a = 0x9E3779B97F4A7C15ULL, b = 0xBF58476D1CE4E5B9ULL, c = 0x94D049BB133111EBULL;
    uint64_t h = length * a;
    /* Sixteen bytes a turn, of which the processor works on both halves at once. */
    for (; length > 16; text += 16, length -= 16) h = (h ^ mixed(word_at(text), b) ^ mixed(word_at(text + 8), c)) * a;
    if (length == 8) {
        h ^= mixed(word_at(text), b);
    } else {
        char rest[16] = {0};
        memcpy(rest, text, length);
        h ^= mixed(word_at(rest), b) ^ mixed(word_at(rest + 8), c);
    }
    return (uint32_t)((h * a) >> 32);
}

/* Identifiers are compared word by word, the last and most different ones first. */
static int alike(const char *one, const char *other, uint32_t length) {
    if (length == 8) return word_at(one) == word_at(other);
    if (length != 36) return !memcmp(one, other, length);
    return !((word_at(one + 28) ^ word_at(other + 28)) | (word_at(one + 20) ^ word_at(other + 20)) |
             (word_at(one + 12) ^ word_at(other + 12)) | (word_at(one + 4) ^ word_at(other + 4)) |
             (word_at(one) ^ word_at(other)));
}

static int grow(Dictionary *d, int anew) {
    uint32_t room = d->room ? 2 * d->room : 256;
    int64_t *rows = realloc(d->rows, room * sizeof *rows);
    if (rows) d->rows = rows;
    d->room = rows && anew ? room : d->room;
    if (!rows || anew) return rows != NULL;
    Known *known = realloc(d->known, room * sizeof *known);
    if (known) d->known = known;
    uint64_t *slots = calloc(2 * (size_t)room, sizeof *slots);
    if (!known || !slots) {
        free(slots);
        return 0;
    }
    free(d->slots);
    d->slots = slots;
    d->room = room;
    d->mask = 2 * room - 1;
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t at = d->known[i].hash & d->mask;
        while (slots[at]) at = (at + 1) & d->mask;
        slots[at] = (uint64_t)d->known[i].hash << 32 | (i + 1);
    }
    return 1;
}

/* Returns the number, -1 without memory; `anew` does not look whether there was such a value before. */
static int64_t number(Dictionary *d, const char *text, uint32_t length, int64_t row, int anew) {
    if (d->n == d->room && !grow(d, anew)) return -1;
    if (anew) {
        d->rows[d->n] = row;
        return d->n++;
    }
    uint32_t hash = hash_of(text, length), at = hash & d->mask;
    for (; d->slots[at]; at = (at + 1) & d->mask) {
        if (d->slots[at] >> 32 != hash) continue;
        uint32_t found = (uint32_t)d->slots[at] - 1;
        if (d->known[found].length == length && alike(d->known[found].text, text, length)) return found;
    }
    d->known[d->n] = (Known){text, length, hash};
    d->rows[d->n] = row;
    d->slots[at] = (uint64_t)hash << 32 | ++d->n;
    return d->n - 1;
}

PyObject *ehrsynth_numbered(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given, *numbers = NULL, *made = NULL;
    Py_ssize_t limit, rows = 0;
    int width, runs, failed = 0, many = 0;
    if (!PyArg_ParseTuple(args, "O!inp", &PyList_Type, &given, &width, &limit, &runs)) return NULL;
    if (width != 0 && width != 4 && width != 8) {
        PyErr_SetString(PyExc_ValueError, "values have 4 or 8 bytes, texts 0");
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(given), held = 0;
    Array *arrays = PyMem_Calloc(count ? (size_t)count : 1, sizeof *arrays);
    if (!arrays) return PyErr_NoMemory();
    Dictionary d = {0};
    for (; held < count; held++) {
        if (!array_get(PyList_GET_ITEM(given, held), &arrays[held], width ? width : 4)) goto ready;
        if (!arrays[held].has_data != !!width) {
            held++;
            PyErr_SetString(PyExc_ValueError, "texts have data, and only they");
            goto ready;
        }
        rows += arrays[held].n;
    }
    if (!(numbers = PyByteArray_FromStringAndSize(NULL, 4 * rows))) goto ready;
    int32_t *out = (int32_t *)PyByteArray_AS_STRING(numbers);
    int64_t row = 0;
    const char *last = NULL;
    uint32_t last_length = 0;
    int64_t last_number = -1;
    for (Py_ssize_t a = 0; a < count && !failed && !many; a++) {
        const Array *array = &arrays[a];
        const int32_t *offsets = (const int32_t *)array->values.buf + array->first;
        const char *fixed = (const char *)array->values.buf + array->first * width;
        for (Py_ssize_t i = 0; i < array->n; i++, row++) {
            if (!present(array, i)) {
                *out++ = -1;
                continue;
            }
            const char *text = width ? fixed + i * width : (const char *)array->data.buf + offsets[i];
            uint32_t length = width ? (uint32_t)width : (uint32_t)(offsets[i + 1] - offsets[i]);
            if (!last || length != last_length || !alike(text, last, length)) {
                last_number = number(&d, text, length, row, runs);
                if (last_number < 0 || (many = (Py_ssize_t)d.n > limit)) {
                    failed = !many;
                    break;
                }
                last = text;
                last_length = length;
            }
            *out++ = (int32_t)last_number;
        }
    }
    if (failed) {
        PyErr_NoMemory();
    } else if (many) {
        made = Py_NewRef(Py_None);
    } else {
        PyObject *firsts = PyByteArray_FromStringAndSize((const char *)d.rows, 8 * (Py_ssize_t)d.n);
        if (firsts) made = PyTuple_Pack(2, numbers, firsts);
        Py_XDECREF(firsts);
    }
ready:
    Py_XDECREF(numbers);
    for (Py_ssize_t i = 0; i < held; i++) array_free(&arrays[i]);
    PyMem_Free(arrays);
    free(d.known);
    free(d.rows);
    free(d.slots);
    return made;
}
