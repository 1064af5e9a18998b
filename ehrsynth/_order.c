/* Orders of rows by several keys: ehrsynth.generation.life_course.segments. A stable radix sort, least digit first. */

#include "_arrays.h"

#include <stdlib.h>

#define DIGIT 11
#define MOST_KEYS 8
#define WIDEST (1LL << 62)

typedef struct {
    uint64_t *key; /* all keys of a row as one number, the first of which weighs most */
    uint64_t span; /* above all of them */
    int ascending; /* as they stand */
} Packed;

/* The keys of `n` rows in one number each; 0 where it would be too large, -1 without memory. */
static int packed_of(Packed *packed, const Arrays *a, int keys, int64_t n) {
    uint64_t span = 1;
    int64_t lows[MOST_KEYS];
    uint64_t spans[MOST_KEYS];
    for (int k = 0; k < keys; k++) {
        const int64_t *key = longs(a, k);
        int64_t low = n ? key[0] : 0, high = low;
        for (int64_t i = 0; i < n; i++) {
            low = key[i] < low ? key[i] : low;
            high = key[i] > high ? key[i] : high;
        }
        lows[k] = low;
        spans[k] = (uint64_t)high - (uint64_t)low + 1;
        if (!spans[k] || spans[k] > (uint64_t)WIDEST / span) return 0;
        span *= spans[k];
    }
    packed->span = span;
    packed->key = malloc((size_t)(n ? n : 1) * 8);
    if (!packed->key) return -1;
    uint64_t before = 0;
    packed->ascending = 1;
    for (int64_t i = 0; i < n; i++) {
        uint64_t key = 0;
        for (int k = 0; k < keys; k++) key = key * spans[k] + ((uint64_t)longs(a, k)[i] - (uint64_t)lows[k]);
        packed->key[i] = key;
        packed->ascending &= key >= before;
        before = key;
    }
    return 1;
}

/* The rows in ascending order of their keys, in `out`; -1 without memory. */
static int sorted(const Packed *packed, int64_t n, int64_t *out) {
    for (int64_t i = 0; i < n; i++) out[i] = i;
    if (packed->ascending) return 0;
    int64_t *other = malloc((size_t)n * 8), *from = out, *to = other, *swap;
    if (!other) return -1;
    for (int shift = 0; (packed->span - 1) >> shift; shift += DIGIT) {
        int64_t begin[1 << DIGIT] = {0}, sum = 0;
        for (int64_t i = 0; i < n; i++) begin[packed->key[i] >> shift & ((1 << DIGIT) - 1)]++;
        for (int d = 0; d < 1 << DIGIT; d++) {
            int64_t count = begin[d];
            begin[d] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++) to[begin[packed->key[from[i]] >> shift & ((1 << DIGIT) - 1)]++] = from[i];
        swap = from, from = to, to = swap;
    }
    if (from != out) memcpy(out, from, (size_t)n * 8);
    free(other);
    return 0;
}

/* The keys and the array that is written to; how many keys, -1 with an error. */
static int keys_opened(Arrays *a, PyObject *args, char written) {
    char kinds[MOST_KEYS + 2] = {0};
    Py_ssize_t count = PyTuple_GET_SIZE(args) - 1;
    if (count < 1 || count > MOST_KEYS) {
        PyErr_SetString(PyExc_TypeError, "one to eight keys and an array are asked for");
        return -1;
    }
    memset(kinds, 'q', (size_t)count);
    kinds[count] = written;
    if (opened(a, args, kinds)) return -1;
    int same = a->of[count].len / (written == 'B' ? 1 : 8) == eights(a, 0);
    for (Py_ssize_t k = 1; k < count; k++) same &= eights(a, (int)k) == eights(a, 0);
    if (!same) {
        unequal(a);
        return -1;
    }
    return (int)count;
}

/* keys, out: the rows in ascending order of the keys, equal ones as they stand; False where the keys are too wide */
PyObject *ehrsynth_ordered(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    Packed packed = {0};
    int keys = keys_opened(&a, args, 'Q');
    if (keys < 0) return NULL;
    int64_t n = eights(&a, 0);
    int made = packed_of(&packed, &a, keys, n);
    if (made > 0 && sorted(&packed, n, a.of[keys].buf) < 0) made = -1;
    free(packed.key);
    release(&a);
    return made < 0 ? PyErr_NoMemory() : PyBool_FromLong(made);
}

/* keys, out (bytes): whether each row is the first that has its keys; False where the keys are too wide */
PyObject *ehrsynth_firsts(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    Packed packed = {0};
    int keys = keys_opened(&a, args, 'B');
    if (keys < 0) return NULL;
    int64_t n = eights(&a, 0), *order = malloc((size_t)(n ? n : 1) * 8);
    int made = order ? packed_of(&packed, &a, keys, n) : -1;
    if (made > 0 && sorted(&packed, n, order) < 0) made = -1;
    uint8_t *out = a.of[keys].buf;
    for (int64_t i = 0; made > 0 && i < n; i++)
        out[order[i]] = !i || packed.key[order[i]] != packed.key[order[i - 1]];
    free(packed.key);
    free(order);
    release(&a);
    return made < 0 ? PyErr_NoMemory() : PyBool_FromLong(made);
}
