/* Keys: where each is among others, which are the same, which is the least of its group (exporters/keys.py). */

#include "_arrays.h"
#include "_hash.h"

/* The values of an Arrow array: texts between offsets of 32 or 64 bits, or numbers of a fixed width. */
typedef struct {
    Py_buffer of[3];
    int held;
    const void *offsets;
    const char *data;
    const uint8_t *valid; /* bits; NULL: all are */
    int64_t first, n;
    int kind; /* 4 or 8: bytes of an offset; -4 or -8: bytes of a number */
} Values;

static void values_release(Values *values) {
    while (values->held) PyBuffer_Release(&values->of[--values->held]);
}

static inline int64_t edge(const Values *values, int64_t at) {
    at += values->first;
    if (values->kind == 4) return ((const int32_t *)values->offsets)[at];
    return values->kind == 8 ? ((const int64_t *)values->offsets)[at] : -values->kind * at;
}

static inline const char *value_of(const Values *values, int64_t at, int64_t *length) {
    int64_t start = edge(values, at);
    *length = edge(values, at + 1) - start;
    return values->data + start;
}

static inline int is_there(const Values *values, int64_t at) {
    at += values->first;
    return !values->valid || (values->valid[at >> 3] >> (at & 7) & 1);
}

/* (offsets or None, data or None, validity or None, first, count, kind) */
static int values_open(Values *values, PyObject *given) {
    PyObject *offsets, *data, *valid;
    long long first, n;
    memset(values, 0, sizeof(*values));
    if (!PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "values are a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(given, "OOOLLi", &offsets, &data, &valid, &first, &n, &values->kind)) return -1;
    int kind = values->kind;
    if (first < 0 || n < 0 || first > (1LL << 40) || n > INT32_MAX - 1 || (kind != 4 && kind != 8 && kind != -4 && kind != -8)) {
        PyErr_SetString(PyExc_ValueError, "not the values of an array");
        return -1;
    }
    values->first = first;
    values->n = n;
    values->data = "";
    if (!n) return 0;
    if (kind > 0 && !(values->offsets = hold(values->of, &values->held, offsets, kind * (first + n + 1), NULL)))
        goto failed;
    int64_t size = 0;
    if (data != Py_None && !(values->data = hold(values->of, &values->held, data, 0, &size))) goto failed;
    if (valid != Py_None && !(values->valid = hold(values->of, &values->held, valid, (first + n + 7) / 8, NULL)))
        goto failed;
    int64_t wrong = edge(values, 0) < 0 || edge(values, n) > size;
    for (int64_t i = 0; i < n; i++) wrong |= edge(values, i + 1) < edge(values, i);
    if (wrong) {
        PyErr_SetString(PyExc_ValueError, "values lie outside their buffer");
        goto failed;
    }
    return 0;
failed:
    values_release(values);
    return -1;
}

/* -- hashing ------------------------------------------------------------------------------------------------------- */

static inline uint64_t hash_of(const char *text, int64_t length) {
    uint64_t state = (uint64_t)length * 0xD6E8FEB86659FD93ULL, word = 0;
    const char *end = text + length;
    if (length < 8) {
        memcpy(&word, text, (size_t)length);
        return mixed(state, word);
    }
    for (; end - text > 8; text += 8) {
        memcpy(&word, text, 8);
        state = mixed(state, word);
    }
    memcpy(&word, end - 8, 8);
    return mixed(state, word);
}

static inline int same(const char *one, int64_t of_one, const char *other, int64_t of_other) {
    if (of_one != of_other) return 0;
    if (of_one != 8) return memcmp(one, other, (size_t)of_one) == 0;
    /* Numbers: without a call. */
    uint64_t of_number, of_another;
    memcpy(&of_number, one, 8);
    memcpy(&of_another, other, 8);
    return of_number == of_another;
}

/* The cell of a text, or the free one where it would be; `rows` says of which value a place is (NULL: of that number). */
static inline Cell *cell_of(Cell *table, uint64_t mask, const Values *values, const int64_t *rows, const char *text,
                            int64_t length, uint64_t hash) {
    uint32_t tag = (uint32_t)(hash >> 32);
    uint64_t at = hash & mask;
    for (;; at = (at + 1) & mask) {
        Cell *cell = &table[at];
        if (cell->place < 0) {
            cell->tag = tag;
            return cell;
        }
        if (cell->tag != tag) continue;
        int64_t other;
        const char *found = value_of(values, rows ? rows[cell->place] : cell->place, &other);
        if (same(text, length, found, other)) return cell;
    }
}

/* keys, others, out (int32): the first place among the others of each key, -1 where there is none or no key */
PyObject *ehrsynth_places(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *of_keys, *of_others, *answer = NULL;
    Py_buffer out;
    Values keys, others;
    if (!PyArg_ParseTuple(args, "OOw*", &of_keys, &of_others, &out)) return NULL;
    if (values_open(&keys, of_keys)) goto given;
    if (values_open(&others, of_others)) goto opened;
    if (out.len != 4 * keys.n) {
        PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
        goto both;
    }
    uint64_t mask;
    Cell *table = table_of(others.n, &mask);
    if (!table) {
        PyErr_NoMemory();
        goto both;
    }
    Py_BEGIN_ALLOW_THREADS;
    int32_t *place = out.buf;
    int once = 1;
    for (int64_t i = 0; i < others.n; i++) {
        if (!is_there(&others, i)) continue;
        int64_t length;
        const char *text = value_of(&others, i, &length);
        Cell *cell = cell_of(table, mask, &others, NULL, text, length, hash_of(text, length));
        if (cell->place < 0) cell->place = (int32_t)i;
        else once = 0;
    }
    const char *before = NULL;
    int64_t of_before = -1;
    int32_t last = -1;
    for (int64_t i = 0; i < keys.n; i++) {
        if (!is_there(&keys, i)) {
            place[i] = -1;
            continue;
        }
        int64_t length, other;
        const char *text = value_of(&keys, i, &length);
        /* Rows of one patient or visit follow each other, and tables are in the same order. */
        if (!same(text, length, before, of_before)) {
            const char *next = once && last + 1 < others.n && is_there(&others, last + 1)
                                   ? value_of(&others, last + 1, &other) : NULL;
            if (next && same(text, length, next, other)) last++;
            else last = cell_of(table, mask, &others, NULL, text, length, hash_of(text, length))->place;
            before = text;
            of_before = length;
        }
        place[i] = last;
    }
    Py_END_ALLOW_THREADS;
    free(table);
    answer = Py_NewRef(Py_None);
both:
    values_release(&others);
opened:
    values_release(&keys);
given:
    PyBuffer_Release(&out);
    return answer;
}

/* values, out (int32), first (int64): numbers by first appearance (-1 for none), the first of each; returns how many */
PyObject *ehrsynth_distinct(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given, *answer = NULL;
    Py_buffer out, firsts;
    Values values;
    if (!PyArg_ParseTuple(args, "Ow*w*", &given, &out, &firsts)) return NULL;
    if (values_open(&values, given)) goto given;
    if (out.len != 4 * values.n || firsts.len != 8 * values.n) {
        PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
        goto opened;
    }
    uint64_t mask;
    Cell *table = table_of(values.n, &mask);
    if (!table) {
        PyErr_NoMemory();
        goto opened;
    }
    int32_t *number = out.buf, count = 0, last = -1;
    int64_t *first = firsts.buf;
    Py_BEGIN_ALLOW_THREADS;
    const char *before = NULL;
    int64_t of_before = -1;
    for (int64_t i = 0; i < values.n; i++) {
        if (!is_there(&values, i)) {
            number[i] = -1;
            continue;
        }
        int64_t length;
        const char *text = value_of(&values, i, &length);
        if (!same(text, length, before, of_before)) {
            Cell *cell = cell_of(table, mask, &values, first, text, length, hash_of(text, length));
            if (cell->place < 0) {
                first[count] = i;
                cell->place = count++;
            }
            last = cell->place;
            before = text;
            of_before = length;
        }
        number[i] = last;
    }
    Py_END_ALLOW_THREADS;
    free(table);
    answer = PyLong_FromLong(count);
opened:
    values_release(&values);
given:
    PyBuffer_Release(&out);
    PyBuffer_Release(&firsts);
    return answer;
}

/* groups (int64), values, out (int64; -1 at first): the first row with the least value of each group; none is greatest */
PyObject *ehrsynth_least(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given, *answer = NULL;
    Py_buffer groups, out;
    Values values;
    if (!PyArg_ParseTuple(args, "y*Ow*", &groups, &given, &out)) return NULL;
    if (values_open(&values, given)) goto given;
    const int64_t *group = groups.buf;
    int64_t *least = out.buf, count = out.len / 8;
    if (groups.len != 8 * values.n || values.kind < 0) {
        PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
        goto opened;
    }
    for (int64_t i = 0; i < count; i++) least[i] = -1;
    for (int64_t i = 0; i < values.n; i++) {
        if (!inside(group[i], count)) {
            PyErr_SetString(PyExc_IndexError, "there is no such group");
            goto opened;
        }
        int64_t known = least[group[i]], one, other;
        if (known >= 0) {
            if (!is_there(&values, i)) continue;
            if (is_there(&values, known)) {
                const char *text = value_of(&values, i, &one), *than = value_of(&values, known, &other);
                int order = memcmp(text, than, (size_t)(one < other ? one : other));
                if (order > 0 || (order == 0 && one >= other)) continue;
            }
        }
        least[group[i]] = i;
    }
    answer = Py_NewRef(Py_None);
opened:
    values_release(&values);
given:
    PyBuffer_Release(&groups);
    PyBuffer_Release(&out);
    return answer;
}
