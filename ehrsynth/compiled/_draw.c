/* The inner loops of drawing patients of any model; ehrsynth/native.py says what each does, and numpy's form stands
 * where they are called. Only sums, products and comparisons of doubles: no function whose last bit depends on a
 * library. */

#include "_arrays.h"

/* -- categories: ehrsynth.probability.categorical ------------------------------------------------------------------ */

static int64_t drawn(const int64_t *thresholds, int64_t categories, int64_t row, double u) {
    int64_t key = (int64_t)(u * (double)(1LL << 40)) + row * (1LL << 40);
    return at_most(thresholds + row * categories, categories, key);
}

/* thresholds, (categories,), rows, u, out */
PyObject *ehrsynth_sampled(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqqdQ")) return NULL;
    int64_t n = eights(&a, 2);
    if (eights(&a, 1) != 1 || eights(&a, 3) != n || eights(&a, 4) != n) return unequal(&a);
    int64_t categories = longs(&a, 1)[0], count = categories > 0 ? eights(&a, 0) / categories : 0;
    const int64_t *rows = longs(&a, 2);
    int64_t *out = a.of[4].buf;
    for (int64_t i = 0; i < n; i++) {
        if (!inside(rows[i], count)) return outside(&a, "there is no such row of the table");
        out[i] = drawn(longs(&a, 0), categories, rows[i], doubles(&a, 3)[i]);
    }
    return done(&a);
}

/* ascending entries (rows * m), (m,), rows, ranks, out: how many entries of its row each rank has reached */
PyObject *ehrsynth_reached(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "dqqdQ")) return NULL;
    int64_t n = eights(&a, 2);
    if (eights(&a, 1) != 1 || eights(&a, 3) != n || eights(&a, 4) != n) return unequal(&a);
    int64_t m = longs(&a, 1)[0], count = m > 0 ? eights(&a, 0) / m : 0, *out = a.of[4].buf;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = longs(&a, 2)[i], sum = 0;
        if (!inside(row, count)) return outside(&a, "there is no such row of the table");
        const double *entry = doubles(&a, 0) + row * m;
        for (int64_t k = 0; k < m; k++) sum += doubles(&a, 3)[i] >= entry[k];
        out[i] = sum;
    }
    return done(&a);
}

/* thresholds of all variables one after the other; where those of each begin (d + 1); categories (d); parents of each
 * (offsets d + 1, numbers); the order; u (n * d), out (n * d) */
PyObject *ehrsynth_ancestral(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqqqqqdQ")) return NULL;
    int64_t d = eights(&a, 2), n = d ? eights(&a, 6) / d : 0;
    if (eights(&a, 1) != d + 1 || eights(&a, 3) != d + 1 || eights(&a, 5) != d || eights(&a, 7) != eights(&a, 6))
        return unequal(&a);
    const int64_t *begin = longs(&a, 1), *categories = longs(&a, 2), *first = longs(&a, 3), *parents = longs(&a, 4);
    const double *u = a.of[6].buf;
    int64_t *out = a.of[7].buf;
    for (int64_t k = 0; k < d; k++) {
        int64_t j = longs(&a, 5)[k];
        if (!inside(j, d) || begin[j] < 0 || begin[j + 1] < begin[j] || begin[j + 1] > eights(&a, 0) ||
            first[j] < 0 || first[j + 1] > eights(&a, 4) || categories[j] < 1)
            return outside(&a, "there is no such variable");
        int64_t count = (begin[j + 1] - begin[j]) / categories[j];
        for (int64_t p = first[j]; p < first[j + 1]; p++)
            if (!inside(parents[p], d)) return outside(&a, "there is no such variable");
        for (int64_t i = 0; i < n; i++) {
            int64_t row = 0, *states = out + i * d;
            for (int64_t p = first[j]; p < first[j + 1]; p++) row = row * categories[parents[p]] + states[parents[p]];
            if (!inside(row, count)) return outside(&a, "there is no such row of the table");
            states[j] = drawn(longs(&a, 0) + begin[j], categories[j], row, u[i * d + j]);
        }
    }
    return done(&a);
}

/* items, upper, offsets, keys, u, out */
PyObject *ehrsynth_ragged(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qdqqdQ")) return NULL;
    int64_t n = eights(&a, 3), count = eights(&a, 2) - 1, last = eights(&a, 0);
    if (eights(&a, 4) != n || eights(&a, 5) != n || eights(&a, 1) != last) return unequal(&a);
    const int64_t *items = longs(&a, 0), *offsets = longs(&a, 2), *keys = longs(&a, 3);
    const double *upper = doubles(&a, 1), *u = doubles(&a, 4);
    int64_t *out = a.of[5].buf;
    for (int64_t i = 0; i < n; i++) {
        if (!inside(keys[i], count)) return outside(&a, "there is no such key");
        int64_t low = offsets[keys[i]], stop = offsets[keys[i] + 1];
        if (low < 0 || stop < low || stop > last) return outside(&a, "there is no such item");
        double wanted = (double)keys[i] + u[i];
        int64_t length = stop - low, end = stop - 1;
        if (!length) {
            out[i] = -1;
            continue;
        }
        while (length > 0) {
            int64_t half = length >> 1;
            int right = upper[low + half] <= wanted;
            low += right ? half + 1 : 0;
            length = right ? length - half - 1 : half;
        }
        out[i] = items[low < end ? low : end];
    }
    return done(&a);
}

/* -- days and columns ------------------------------------------------------------------------------------------------ */

/* The month, counted from that of 1970, and the day in it: Hinnant (2013), "chrono-compatible low-level date algorithms". */
static int64_t month_of(int64_t days, int64_t *within) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day = days - era * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t rest = day - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * rest + 2) / 153;
    *within = rest - (153 * month + 2) / 5;
    return (year + era * 400 - 1970) * 12 + month + 2;
}

/* birth days, days, out: completed years */
PyObject *ehrsynth_years(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqQ")) return NULL;
    const int64_t *birth = longs(&a, 0), *day = longs(&a, 1);
    int64_t n = eights(&a, 0), *out = a.of[2].buf;
    if (eights(&a, 1) != n || eights(&a, 2) != n) return unequal(&a);
    for (int64_t i = 0; i < n; i++) {
        int64_t born, now, months = month_of(day[i], &now) - month_of(birth[i], &born);
        months -= now < born;
        out[i] = months >= 0 ? months / 12 : -((11 - months) / 12);
    }
    return done(&a);
}

/* first, count of each item; out: the item and the numbers from the first on, one for each of the count */
PyObject *ehrsynth_expanded(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqQQ")) return NULL;
    const int64_t *first = longs(&a, 0), *count = longs(&a, 1);
    int64_t n = eights(&a, 0), room = eights(&a, 2), at = 0;
    int64_t *item = a.of[2].buf, *number = a.of[3].buf;
    if (eights(&a, 1) != n || eights(&a, 3) != room) return unequal(&a);
    for (int64_t i = 0; i < n; i++) {
        if (count[i] < 0 || count[i] > room - at) return outside(&a, "there is no room for so many");
        for (int64_t k = 0; k < count[i]; k++, at++) {
            item[at] = i;
            number[at] = first[i] + k;
        }
    }
    return at == room ? done(&a) : unequal(&a);
}

/* where the encounters of each person begin (n + 1), the day of each (ascending within a person), what they are called;
 * person, day; out: the person's first on or after the day, -1 for none */
PyObject *ehrsynth_following(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqqqqQ")) return NULL;
    const int64_t *edges = longs(&a, 0), *days = longs(&a, 1), *name = longs(&a, 2), *who = longs(&a, 3);
    int64_t people = eights(&a, 0) - 1, count = eights(&a, 1), n = eights(&a, 3), *out = a.of[5].buf;
    if (eights(&a, 2) != count || eights(&a, 4) != n || eights(&a, 5) != n) return unequal(&a);
    for (int64_t i = 0; i < n; i++) {
        if (!inside(who[i], people)) return outside(&a, "there is no such person");
        int64_t from = edges[who[i]], stop = edges[who[i] + 1];
        if (from < 0 || stop > count || stop < from) return outside(&a, "there is no such encounter");
        int64_t at = from + at_most(days + from, stop - from, longs(&a, 4)[i] - 1);
        out[i] = at < stop ? name[at] : -1;
    }
    return done(&a);
}

/* where the encounters of each person begin (n + 1), the day of each (ascending within a person), what they are called;
 * where the wanted doses of each vaccine begin (vaccines + 1), person, first and last day of each dose; series, least
 * interval, first and last year of each vaccine; first day of each person; the day of the last dose of each series (by
 * n); out: the encounter of each dose, where there is one */
PyObject *ehrsynth_vaccinated(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqqqqqqqqddqQQ")) return NULL;
    const int64_t *begin = longs(&a, 0), *days = longs(&a, 1), *name = longs(&a, 2), *edges = longs(&a, 3);
    const int64_t *who = longs(&a, 4), *first = longs(&a, 5), *last = longs(&a, 6), *series = longs(&a, 7);
    const int64_t *apart = longs(&a, 8), *record = longs(&a, 11);
    const double *from_year = doubles(&a, 9), *to_year = doubles(&a, 10);
    int64_t *before = a.of[12].buf, *out = a.of[13].buf;
    int64_t people = eights(&a, 0) - 1, visits = eights(&a, 1), doses = eights(&a, 4), vaccines = eights(&a, 7);
    int64_t all = people > 0 ? eights(&a, 12) / people : 0;
    if (eights(&a, 2) != visits || eights(&a, 3) != vaccines + 1 || eights(&a, 5) != doses || eights(&a, 6) != doses ||
        eights(&a, 8) != vaccines || eights(&a, 9) != vaccines || eights(&a, 10) != vaccines ||
        eights(&a, 11) != people || eights(&a, 12) != all * people || eights(&a, 13) != doses)
        return unequal(&a);
    for (int64_t p = 0; p < people; p++)
        if (begin[p] < 0 || begin[p + 1] < begin[p] || begin[p + 1] > visits)
            return outside(&a, "there is no such encounter");
    for (int64_t d = 0; d < doses; d++) {
        if (!inside(who[d], people)) return outside(&a, "there is no such person");
        out[d] = -1;
    }
    for (int64_t v = 0; v < vaccines; v++) {
        if (!inside(series[v], all) || edges[v] < 0 || edges[v + 1] > doses)
            return outside(&a, "there is no such vaccine");
        int64_t *given = before + series[v] * people;
        for (int64_t d = edges[v]; d < edges[v + 1]; d++) {
            int64_t p = who[d], wanted = given[p] + apart[v] > first[d] ? given[p] + apart[v] : first[d], within;
            if (first[d] < record[p]) continue;
            int64_t at = begin[p] + at_most(days + begin[p], begin[p + 1] - begin[p], wanted - 1);
            if (at == begin[p + 1] || days[at] > last[d]) continue;
            double year = (double)(1970 + floored(month_of(days[at], &within), 12));
            if (year >= from_year[v] && year <= to_year[v]) out[d] = at;
        }
        /* Only now: doses of one vaccine do not wait for each other. */
        for (int64_t d = edges[v]; d < edges[v + 1]; d++) {
            if (out[d] < 0) continue;
            if (days[out[d]] > given[who[d]]) given[who[d]] = days[out[d]];
            out[d] = name[out[d]];
        }
    }
    return done(&a);
}

/* numbers, what each stands for (with a last one for negative ones; empty: itself), out (int32), validity (bits): how
 * many are empty */
PyObject *ehrsynth_labelled(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qiIB")) return NULL;
    const int64_t *number = longs(&a, 0);
    const int32_t *stands = a.of[1].buf;
    int32_t *out = a.of[2].buf;
    uint8_t *bits = a.of[3].buf;
    int64_t n = eights(&a, 0), count = a.of[1].len / 4 - 1, empty = 0;
    if (a.of[2].len / 4 != n || a.of[3].len < (n + 7) / 8) return unequal(&a);
    memset(bits + n / 8, 0, (size_t)(a.of[3].len - n / 8));
    uint8_t eight = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = number[i];
        if (count >= 0) {
            if (at >= count) return outside(&a, "there is no such label");
            at = stands[at < 0 ? count : at];
        }
        eight |= (uint8_t)((at >= 0) << (i & 7));
        if ((i & 7) == 7 || i == n - 1) {
            bits[i >> 3] = eight;
            eight = 0;
        }
        empty += at < 0;
        out[i] = at < 0 ? 0 : (int32_t)at;
    }
    release(&a);
    return PyLong_FromLongLong(empty);
}
