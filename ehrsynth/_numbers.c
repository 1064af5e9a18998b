/* Dictionaries of Parquet: values are numbered as they come (exporters/parquet_pages.py). */

#include "_column.h"

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
