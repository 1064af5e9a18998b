/* The inner loops that a profile asked for; ehrsynth/native.py says what each does, and has numpy's form beside it. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* -- joining ------------------------------------------------------------------------------------------------------ */

typedef struct {
    const int64_t *offsets; /* of the pool's texts in `data` */
    const char *data;
    const int32_t *index; /* one per row; NULL: `text` stands in every row */
    const char *text;
    int64_t length;
} Slot;

typedef struct {
    Py_buffer *held;
    Py_ssize_t n_held;
    Slot *slots;
    Py_ssize_t n_slots;
    char *constants; /* texts of neighbours that stand in every row, one after the other */
} Line;

static void line_free(Line *line) {
    for (Py_ssize_t i = 0; i < line->n_held; i++) PyBuffer_Release(&line->held[i]);
    PyMem_Free(line->held);
    PyMem_Free(line->slots);
    PyMem_Free(line->constants);
}

static const void *line_hold(Line *line, PyObject *object, Py_ssize_t least, Py_ssize_t *size) {
    Py_buffer *view = &line->held[line->n_held];
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0) return NULL;
    line->n_held++;
    if (view->len < least) {
        PyErr_SetString(PyExc_ValueError, "a buffer is too short");
        return NULL;
    }
    if (size) *size = view->len;
    return view->buf ? view->buf : (const void *)"";
}

/* A slot is (offsets, first, count, data or None, index or int): `count` texts from number `first` on. */
static int line_parse(Line *line, PyObject *slots, Py_ssize_t n) {
    memset(line, 0, sizeof(*line));
    Py_ssize_t count = PyList_GET_SIZE(slots), room = 0;
    line->held = PyMem_Calloc((size_t)count * 3 + 1, sizeof(Py_buffer));
    line->slots = PyMem_Calloc((size_t)count + 1, sizeof(Slot));
    if (!line->held || !line->slots) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *offsets, *data, *index;
        Py_ssize_t first, texts, size = 0;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(slots, i), "OnnOO", &offsets, &first, &texts, &data, &index)) return -1;
        Slot *slot = &line->slots[line->n_slots];
        memset(slot, 0, sizeof(*slot));
        if (texts == 0) {
            if (PyLong_Check(index)) continue;
        } else {
            const int64_t *ends = line_hold(line, offsets, 8 * (first + texts + 1), NULL);
            if (!ends) return -1;
            slot->offsets = ends + first;
            slot->data = "";
            if (data != Py_None && !(slot->data = line_hold(line, data, 0, &size))) return -1;
            if (slot->offsets[0] < 0 || slot->offsets[texts] > size) {
                PyErr_SetString(PyExc_ValueError, "texts lie outside their buffer");
                return -1;
            }
        }
        if (PyLong_Check(index)) {
            Py_ssize_t at = PyLong_AsSsize_t(index);
            if (at == -1) {
                if (PyErr_Occurred()) return -1;
                continue;
            }
            if (at < 0 || at >= texts) {
                PyErr_SetString(PyExc_IndexError, "there is no such text");
                return -1;
            }
            slot->text = slot->data + slot->offsets[at];
            slot->length = slot->offsets[at + 1] - slot->offsets[at];
            room += slot->length;
        } else {
            Py_ssize_t bytes;
            if (!(slot->index = line_hold(line, index, 4 * n, &bytes))) return -1;
            int32_t low = 0, high = -1;
            for (Py_ssize_t row = 0; row < n; row++) {
                low = slot->index[row] < low ? slot->index[row] : low;
                high = slot->index[row] > high ? slot->index[row] : high;
            }
            if (low < -1 || high >= texts) {
                PyErr_SetString(PyExc_IndexError, "there is no such text");
                return -1;
            }
            if (high < 0) continue;
        }
        line->n_slots++;
    }
    /* Neighbours that stand in every row become one. */
    line->constants = PyMem_Malloc((size_t)room + 1);
    if (!line->constants) {
        PyErr_NoMemory();
        return -1;
    }
    char *end = line->constants;
    Py_ssize_t kept = 0;
    for (Py_ssize_t i = 0; i < line->n_slots; i++) {
        Slot slot = line->slots[i];
        if (!slot.index) {
            memcpy(end, slot.text, (size_t)slot.length);
            slot.text = end;
            end += slot.length;
            if (kept && !line->slots[kept - 1].index) {
                line->slots[kept - 1].length += slot.length;
                continue;
            }
        }
        line->slots[kept++] = slot;
    }
    line->n_slots = kept;
    return 0;
}

/* Most texts are short: a call of memcpy would cost more than copying them. */
static inline char *copied(char *out, const char *text, int64_t length) {
    if (length > 64) {
        memcpy(out, text, (size_t)length);
    } else if (length >= 32) {
        memcpy(out, text, 32);
        memcpy(out + length - 32, text + length - 32, 32);
    } else if (length >= 16) {
        memcpy(out, text, 16);
        memcpy(out + length - 16, text + length - 16, 16);
    } else if (length >= 8) {
        memcpy(out, text, 8);
        memcpy(out + length - 8, text + length - 8, 8);
    } else if (length >= 4) {
        memcpy(out, text, 4);
        memcpy(out + length - 4, text + length - 4, 4);
    } else {
        for (int64_t i = 0; i < length; i++) out[i] = text[i];
    }
    return out + length;
}

static PyObject *join(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *slots, *allocate, *data = NULL, *given = NULL;
    Py_ssize_t n;
    Py_buffer ends_view, out;
    Line line;
    if (!PyArg_ParseTuple(args, "O!nw*O", &PyList_Type, &slots, &n, &ends_view, &allocate)) return NULL;
    if (n < 0 || ends_view.len < 8 * (n + 1)) {
        PyErr_SetString(PyExc_ValueError, "there is no room for the ends");
        goto done;
    }
    if (line_parse(&line, slots, n) < 0) goto parsed;
    int64_t *ends = ends_view.buf;
    Py_BEGIN_ALLOW_THREADS;
    int64_t always = 0, total = 0;
    for (Py_ssize_t i = 0; i < line.n_slots; i++)
        if (!line.slots[i].index) always += line.slots[i].length;
    for (Py_ssize_t row = 0; row < n; row++) ends[row + 1] = always;
    for (Py_ssize_t i = 0; i < line.n_slots; i++) {
        const Slot slot = line.slots[i];
        if (!slot.index) continue;
        for (Py_ssize_t row = 0; row < n; row++) {
            int32_t at = slot.index[row];
            if (at >= 0) ends[row + 1] += slot.offsets[at + 1] - slot.offsets[at];
        }
    }
    ends[0] = 0;
    for (Py_ssize_t row = 1; row <= n; row++) ends[row] = total += ends[row];
    Py_END_ALLOW_THREADS;
    given = PyObject_CallFunction(allocate, "L", (long long)ends[n]);
    if (!given || PyObject_GetBuffer(given, &out, PyBUF_WRITABLE) < 0) goto parsed;
    if (out.len < ends[n]) {
        PyErr_SetString(PyExc_ValueError, "there is no room for the texts");
    } else {
        Py_BEGIN_ALLOW_THREADS;
        char *at = out.buf;
        for (Py_ssize_t row = 0; row < n; row++) {
            for (Py_ssize_t i = 0; i < line.n_slots; i++) {
                const Slot *slot = &line.slots[i];
                if (!slot->index) {
                    at = copied(at, slot->text, slot->length);
                } else {
                    int32_t number = slot->index[row];
                    if (number < 0) continue;
                    int64_t start = slot->offsets[number];
                    at = copied(at, slot->data + start, slot->offsets[number + 1] - start);
                }
            }
        }
        Py_END_ALLOW_THREADS;
        data = given;
        Py_INCREF(data);
    }
    PyBuffer_Release(&out);
parsed:
    line_free(&line);
done:
    Py_XDECREF(given);
    PyBuffer_Release(&ends_view);
    return data;
}

/* -- identifiers -------------------------------------------------------------------------------------------------- */

static uint64_t splitmix64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

static uint64_t bijection62(uint64_t x, uint64_t key) {
    static const int shifts[3] = {31, 29, 32};
    static const uint64_t factors[3] = {0xBF58476D1CE4E5B9ULL, 0x94D049BB133111EBULL, 0xD6E8FEB86659FD93ULL};
    const uint64_t mask = (1ULL << 62) - 1;
    x = (x + (key >> 2)) & mask;
    for (int i = 0; i < 3; i++) x = ((x ^ (x >> shifts[i])) * factors[i]) & mask;
    return x ^ (x >> 30);
}

/* Eight hexadecimal digits of 32 bits at once: nibbles are spread over bytes, then turned into letters. */
static uint64_t hexadecimal(uint32_t number) {
    uint64_t x = number;
    x = ((x & 0xFFFF0000ULL) << 16) | (x & 0xFFFFULL);
    x = ((x & 0x0000FF000000FF00ULL) << 8) | (x & 0x000000FF000000FFULL);
    x = ((x & 0x00F000F000F000F0ULL) << 4) | (x & 0x000F000F000F000FULL);
    uint64_t letters = ((x + 0x0606060606060606ULL) >> 4) & 0x0101010101010101ULL;
    return x + 0x3030303030303030ULL + letters * 39;
}

static void put(char *out, uint64_t digits, int from, int count) {
    /* The first digit is in the highest byte. */
    for (int i = 0; i < count; i++) out[i] = (char)(digits >> (8 * (7 - from - i)));
}

static PyObject *uuids(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long k0, k1, block;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "KKKn", &k0, &k1, &block, &count)) return NULL;
    PyObject *made = PyByteArray_FromStringAndSize(NULL, 36 * count);
    if (!made) return NULL;
    char *out = PyByteArray_AS_STRING(made);
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t i = 0; i < count; i++, out += 36) {
        uint64_t row = ((uint64_t)block << 32) + (uint64_t)i;
        uint64_t high = splitmix64(splitmix64(row * 0x9E3779B97F4A7C15ULL + k0) ^ k1);
        uint64_t low = bijection62(row, k1);
        high = (high & ~0xF000ULL) | 0x8000ULL;
        low |= 0x8000000000000000ULL;
        uint64_t a = hexadecimal((uint32_t)(high >> 32)), b = hexadecimal((uint32_t)high);
        uint64_t c = hexadecimal((uint32_t)(low >> 32)), d = hexadecimal((uint32_t)low);
        put(out, a, 0, 8);
        out[8] = '-';
        put(out + 9, b, 0, 4);
        out[13] = '-';
        put(out + 14, b, 4, 4);
        out[18] = '-';
        put(out + 19, c, 0, 4);
        out[23] = '-';
        put(out + 24, c, 4, 4);
        put(out + 28, d, 0, 8);
    }
    Py_END_ALLOW_THREADS;
    return made;
}

static PyMethodDef methods[] = {
    {"join", join, METH_VARARGS, "join(slots, n, ends, allocate): the rows that the slots describe, and their ends."},
    {"uuids", uuids, METH_VARARGS, "uuids(k0, k1, block, count): the texts of identifiers."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&module); }
