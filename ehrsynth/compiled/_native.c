/* The inner loops that a profile asked for; ehrsynth/native.py says what each does, and has numpy's form beside it. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

PyObject *ehrsynth_join(PyObject *self, PyObject *args); /* _join.c */
PyObject *ehrsynth_csv(PyObject *self, PyObject *args);  /* _csv.c */
/* _draw.c, _course.c */
PyObject *ehrsynth_sampled(PyObject *self, PyObject *args);
PyObject *ehrsynth_ancestral(PyObject *self, PyObject *args);
PyObject *ehrsynth_reached(PyObject *self, PyObject *args);
PyObject *ehrsynth_within(PyObject *self, PyObject *args);
PyObject *ehrsynth_due(PyObject *self, PyObject *args);
PyObject *ehrsynth_ragged(PyObject *self, PyObject *args);
PyObject *ehrsynth_fitting(PyObject *self, PyObject *args);
PyObject *ehrsynth_general(PyObject *self, PyObject *args);
PyObject *ehrsynth_rounded(PyObject *self, PyObject *args);
PyObject *ehrsynth_quantiles(PyObject *self, PyObject *args);
PyObject *ehrsynth_mixed(PyObject *self, PyObject *args);
PyObject *ehrsynth_observed(PyObject *self, PyObject *args);
PyObject *ehrsynth_expanded(PyObject *self, PyObject *args);
PyObject *ehrsynth_following(PyObject *self, PyObject *args);
PyObject *ehrsynth_years(PyObject *self, PyObject *args);
PyObject *ehrsynth_vaccinated(PyObject *self, PyObject *args);
PyObject *ehrsynth_labelled(PyObject *self, PyObject *args);


/* _order.c */
PyObject *ehrsynth_ordered(PyObject *self, PyObject *args);
PyObject *ehrsynth_firsts(PyObject *self, PyObject *args);

PyObject *ehrsynth_seeded(PyObject *self, PyObject *args); /* _seed.c */
PyObject *ehrsynth_sets(PyObject *self, PyObject *args); /* _sets.c */
/* _keys.c, _combine.c */
PyObject *ehrsynth_places(PyObject *self, PyObject *args);
PyObject *ehrsynth_distinct(PyObject *self, PyObject *args);
PyObject *ehrsynth_least(PyObject *self, PyObject *args);
PyObject *ehrsynth_combined(PyObject *self, PyObject *args);

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

/* The digits as they are read, four and four: the first is in the highest byte. */
static void put(char *first, char *second, uint64_t digits) {
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint32_t high = __builtin_bswap32((uint32_t)(digits >> 32)), low = __builtin_bswap32((uint32_t)digits);
    memcpy(first, &high, 4);
    memcpy(second, &low, 4);
    return;
#endif
    for (int i = 0; i < 4; i++) {
        first[i] = (char)(digits >> (8 * (7 - i)));
        second[i] = (char)(digits >> (8 * (3 - i)));
    }
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
        put(out, out + 4, a);
        put(out + 9, out + 14, b);
        put(out + 19, out + 24, c);
        put(out + 28, out + 32, d);
        out[8] = out[13] = out[18] = out[23] = '-';
    }
    Py_END_ALLOW_THREADS;
    return made;
}

/* The identifiers of some rows, one after the other, nothing where a row is negative; where they begin and end, and a bit
 * for each row that has one. */
static PyObject *gathered(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer ids, rows, ends, known;
    PyObject *made = NULL;
    if (!PyArg_ParseTuple(args, "y*y*w*w*", &ids, &rows, &ends, &known)) return NULL;
    const int64_t *at = rows.buf;
    Py_ssize_t n = rows.len / 8, count = ids.len / 36, some = 0;
    int64_t high = -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        some += at[i] >= 0;
        high = at[i] > high ? at[i] : high;
    }
    if (high >= count) {
        PyErr_SetString(PyExc_IndexError, "there is no such identifier");
    } else if (ends.len / 4 != n + 1 || known.len != (n + 7) / 8 || some > INT32_MAX / 36) {
        PyErr_SetString(PyExc_ValueError, "there is no room for the identifiers");
    } else if ((made = PyByteArray_FromStringAndSize(NULL, 36 * some))) {
        const char *in = ids.buf;
        char *out = PyByteArray_AS_STRING(made);
        int32_t *end = ends.buf, sum = 0;
        uint8_t *bits = known.buf, eight = 0;
        end[0] = 0;
        for (Py_ssize_t i = 0; i < n; i++) {
            if (at[i] >= 0) {
                memcpy(out + sum, in + 36 * at[i], 36);
                sum += 36;
                eight |= (uint8_t)(1 << (i & 7));
            }
            end[i + 1] = sum;
            if ((i & 7) == 7 || i == n - 1) {
                bits[i >> 3] = eight;
                eight = 0;
            }
        }
    }
    PyBuffer_Release(&ids);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&known);
    return made;
}

/* Whether every 36 bytes are a UUID in lower case. */
static PyObject *are_uuids(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer text;
    if (!PyArg_ParseTuple(args, "y*", &text)) return NULL;
    uint8_t dash[36] = {0}, wrong = text.len % 36 != 0;
    dash[8] = dash[13] = dash[18] = dash[23] = 1;
    const uint8_t *at = text.buf, *end = at + text.len;
    for (; !wrong && at < end; at += 36) {
        /* Without branches and tables, so that a compiler makes it of sixteen bytes at once. */
        uint8_t bad = 0;
        for (int i = 0; i < 36; i++) {
            uint8_t digit = (uint8_t)(((uint8_t)(at[i] - '0') < 10) | ((uint8_t)(at[i] - 'a') < 6));
            bad |= (uint8_t)((digit ^ 1 ^ dash[i]) | ((at[i] == '-') ^ dash[i]));
        }
        wrong |= bad;
    }
    PyBuffer_Release(&text);
    return PyBool_FromLong(!wrong);
}

/* The digits of UUIDs combined with others by exclusive or. */
static PyObject *turned(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer text, turn;
    PyObject *made = NULL;
    if (!PyArg_ParseTuple(args, "y*y*", &text, &turn)) return NULL;
    if (turn.len != 36 || text.len % 36) {
        PyErr_SetString(PyExc_ValueError, "a UUID has 36 characters");
    } else if ((made = PyByteArray_FromStringAndSize(NULL, text.len))) {
        const uint8_t *in = text.buf, *by = turn.buf;
        uint8_t *out = (uint8_t *)PyByteArray_AS_STRING(made);
        for (Py_ssize_t i = 0; i < text.len; i += 36) {
            for (int j = 0; j < 36; j++) {
                /* 0-9 and a-f are 48-57 and 97-102: the seventh bit tells them apart. */
                uint8_t digit = (uint8_t)(((in[i + j] & 15) + 9 * (in[i + j] >> 6)) ^ by[j]);
                out[i + j] = (uint8_t)(digit + '0' + (digit > 9 ? 39 : 0));
            }
            out[i + 8] = out[i + 13] = out[i + 18] = out[i + 23] = '-';
        }
    }
    PyBuffer_Release(&text);
    PyBuffer_Release(&turn);
    return made;
}

/* -- Base64 (RFC 4648) --------------------------------------------------------------------------------------------- */

/* Two letters for each twelve bits. */
static void pairs_of_letters(char pairs[4096][2]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 4096; i++) {
        pairs[i][0] = letters[i >> 6];
        pairs[i][1] = letters[i & 63];
    }
}

static inline char *encoded(char *out, const uint8_t *in, char pairs[4096][2]) {
    uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
    memcpy(out, pairs[bits >> 12], 2);
    memcpy(out + 2, pairs[bits & 4095], 2);
    return out + 4;
}

/* texts, their ends (int64), out (int64): the texts in Base64, each with line feeds up to whole threes, and their ends */
static PyObject *base64(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer text, ends, bounds;
    PyObject *made = NULL;
    if (!PyArg_ParseTuple(args, "y*y*w*", &text, &ends, &bounds)) return NULL;
    const int64_t *end = ends.buf;
    int64_t *bound = bounds.buf, n = ends.len / 8 - 1;
    int wrong = n < 0 || ends.len % 8 || bounds.len != ends.len || end[0] < 0 || end[n] > text.len;
    for (int64_t i = 0; i < n && !wrong; i++) wrong = end[i + 1] < end[i];
    if (wrong) {
        PyErr_SetString(PyExc_ValueError, "texts lie outside their buffer");
        goto done;
    }
    bound[0] = 0;
    for (int64_t i = 0; i < n; i++) bound[i + 1] = bound[i] + (end[i + 1] - end[i] + 2) / 3 * 4;
    if (!(made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bound[n]))) goto done;
    char *out = PyBytes_AS_STRING(made), pairs[4096][2];
    Py_BEGIN_ALLOW_THREADS;
    pairs_of_letters(pairs);
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *in = (const uint8_t *)text.buf + end[i], *stop = (const uint8_t *)text.buf + end[i + 1];
        for (; stop - in >= 3; in += 3) out = encoded(out, in, pairs);
        if (in < stop) {
            uint8_t last[3] = {in[0], stop - in > 1 ? in[1] : '\n', '\n'};
            out = encoded(out, last, pairs);
        }
    }
    Py_END_ALLOW_THREADS;
done:
    PyBuffer_Release(&text);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&bounds);
    return made;
}

static PyMethodDef methods[] = {
    {"join", ehrsynth_join, METH_VARARGS, "join(slots, start, n, ends, allocate): rows that the slots describe, and their ends."},
    {"csv", ehrsynth_csv, METH_VARARGS, "csv(columns, commas, n, dates, day, allocate): the lines of a table."},
    {"seeded", ehrsynth_seeded, METH_VARARGS, "seeded(digest): the state of a stream."},
    {"uuids", uuids, METH_VARARGS, "uuids(k0, k1, block, count): the texts of identifiers."},
    {"gathered", gathered, METH_VARARGS, "gathered(ids, rows, ends, known): the identifiers of some rows."},
    {"are_uuids", are_uuids, METH_VARARGS, "are_uuids(texts): whether every 36 bytes are a UUID in lower case."},
    {"turned", turned, METH_VARARGS, "turned(texts, by): UUIDs with their digits combined by exclusive or."},
    {"base64", base64, METH_VARARGS, "base64(data, ends, bounds): texts in Base64, filled up with line feeds."},
    {"places", ehrsynth_places, METH_VARARGS, "places(keys, others, out): where keys are among others."},
    {"distinct", ehrsynth_distinct, METH_VARARGS, "distinct(values, out, first): numbers by first appearance."},
    {"least", ehrsynth_least, METH_VARARGS, "least(groups, values, out): the least value of each group."},
    {"combined", ehrsynth_combined, METH_VARARGS, "combined(columns, n, out, first): numbers of combinations."},
    {"sets", ehrsynth_sets, METH_VARARGS, "sets(arrays, settings, generator): things drawn one after the other."},
    {"sampled", ehrsynth_sampled, METH_VARARGS, "sampled(thresholds, categories, rows, u, out): categories."},
    {"ancestral", ehrsynth_ancestral, METH_VARARGS, "ancestral(thresholds, begin, categories, offsets, parents, order, u, out): states."},
    {"reached", ehrsynth_reached, METH_VARARGS, "reached(entries, m, rows, ranks, out): how many entries are reached."},
    {"due", ehrsynth_due, METH_VARARGS, "due(here, age, person, days, ages, period, out): encounters of people of an age."},
    {"within", ehrsynth_within, METH_VARARGS, "within(start, end, visit, share, out): times within encounters."},
    {"ragged", ehrsynth_ragged, METH_VARARGS, "ragged(items, upper, offsets, keys, u, out): an item of each key."},
    {"fitting", ehrsynth_fitting, METH_VARARGS, "fitting(...): which codes a person can have on a day."},
    {"general", ehrsynth_general, METH_VARARGS, "general(...): values that illnesses and drugs move."},
    {"rounded", ehrsynth_rounded, METH_VARARGS, "rounded(rows, least, most, scale, values): values as they are told."},
    {"quantiles", ehrsynth_quantiles, METH_VARARGS, "quantiles(...): values of scores."},
    {"mixed", ehrsynth_mixed, METH_VARARGS, "mixed(own, person, turns, phases, noise, drift, rest, out): scores."},
    {"observed", ehrsynth_observed, METH_VARARGS, "observed(...): values, ranges and what is said of them."},
    {"expanded", ehrsynth_expanded, METH_VARARGS, "expanded(first, counts, item, number): items repeated."},
    {"following", ehrsynth_following, METH_VARARGS, "following(edges, days, names, who, day, out): the next encounters."},
    {"vaccinated", ehrsynth_vaccinated, METH_VARARGS, "vaccinated(...): the encounters at which doses are given."},
    {"years", ehrsynth_years, METH_VARARGS, "years(birth, day, out): completed years."},
    {"labelled", ehrsynth_labelled, METH_VARARGS, "labelled(numbers, stands, out, validity): the codes of labels."},
    {"ordered", ehrsynth_ordered, METH_VARARGS, "ordered(key, out): rows in the order of a key of few values."},
    {"firsts", ehrsynth_firsts, METH_VARARGS, "firsts(group, item, out): whether rows are the first with an item."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *made = PyModule_Create(&module);
    /* What ehrsynth/native.py asks for: a build of older sources is as good as none. */
    if (made && PyModule_AddIntConstant(made, "INTERFACE", 5)) Py_CLEAR(made);
    return made;
}
