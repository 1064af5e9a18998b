/* Orders of rows by keys of few values: ehrsynth.generation.life_course.segments. */

#include "_arrays.h"

#include <stdlib.h>

#define FEW (1LL << 12)

/* The least of `n` keys, and how many values lie between it and the highest; 0 where these are more than `most`. */
static int64_t span_of(const int64_t *key, int64_t n, int64_t most, int64_t *least) {
    int64_t low = n ? key[0] : 0, high = low;
    for (int64_t i = 0; i < n; i++) {
        low = key[i] < low ? key[i] : low;
        high = key[i] > high ? key[i] : high;
    }
    *least = low;
    uint64_t span = (uint64_t)high - (uint64_t)low;
    return span < (uint64_t)most ? (int64_t)span + 1 : 0;
}

/* key, out: the rows in ascending order of the key, equal ones as they stand; False where its values are many */
PyObject *ehrsynth_ordered(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qQ")) return NULL;
    const int64_t *key = longs(&a, 0);
    int64_t n = eights(&a, 0), *out = a.of[1].buf, low, sum = 0;
    if (eights(&a, 1) != n) return unequal(&a);
    int64_t span = span_of(key, n, n / 4 > FEW ? n / 4 : FEW, &low);
    int64_t *begin = span ? calloc((size_t)span, 8) : NULL;
    if (span && !begin) {
        release(&a);
        return PyErr_NoMemory();
    }
    if (span) {
        for (int64_t i = 0; i < n; i++) begin[key[i] - low]++;
        for (int64_t d = 0; d < span; d++) {
            int64_t count = begin[d];
            begin[d] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++) out[begin[key[i] - low]++] = i;
    }
    free(begin);
    release(&a);
    return PyBool_FromLong(span > 0);
}

/* group, item, out (bytes): whether each row is the first of its group that has its item; False where the groups do not
 * ascend or the items are many */
PyObject *ehrsynth_firsts(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqB")) return NULL;
    const int64_t *group = longs(&a, 0), *item = longs(&a, 1);
    int64_t n = eights(&a, 0), low;
    uint8_t *out = a.of[2].buf;
    if (eights(&a, 1) != n || a.of[2].len != n) return unequal(&a);
    int64_t span = span_of(item, n, FEW, &low);
    for (int64_t i = 1; i < n && span; i++)
        if (group[i] < group[i - 1]) span = 0;
    /* The row of the group in which each item was last, from 1: no row is its own. */
    int64_t *last = span ? calloc((size_t)span, 8) : NULL, begin = 0;
    if (span && !last) {
        release(&a);
        return PyErr_NoMemory();
    }
    for (int64_t i = 0; i < n && span; i++) {
        if (i && group[i] != group[i - 1]) begin = i;
        out[i] = last[item[i] - low] <= begin;
        last[item[i] - low] = i + 1;
    }
    free(last);
    release(&a);
    return PyBool_FromLong(span > 0);
}
