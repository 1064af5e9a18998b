/* The inner loops of drawing patients; ehrsynth/native.py says what each does, and numpy's form stands where they are
 * called. Only sums, products and comparisons of doubles: no function whose last bit depends on a library. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* -- arrays -------------------------------------------------------------------------------------------------------- */

#define MOST 20

typedef struct {
    Py_buffer of[MOST];
    int count;
} Arrays;

static void release(Arrays *arrays) {
    while (arrays->count) PyBuffer_Release(&arrays->of[--arrays->count]);
}

/* The arrays in `args`, whose kinds are letters: q (int64), d (float64), i (int32), b (bytes); capital: written to. */
static int opened(Arrays *arrays, PyObject *args, const char *kinds) {
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

static const int64_t *longs(const Arrays *arrays, int at) { return arrays->of[at].buf; }
static const double *doubles(const Arrays *arrays, int at) { return arrays->of[at].buf; }
static const uint8_t *bytes(const Arrays *arrays, int at) { return arrays->of[at].buf; }
static int64_t eights(const Arrays *arrays, int at) { return arrays->of[at].len / 8; }

static PyObject *outside(Arrays *arrays, const char *what) {
    release(arrays);
    PyErr_SetString(PyExc_IndexError, what);
    return NULL;
}

static PyObject *unequal(Arrays *arrays) {
    release(arrays);
    PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
    return NULL;
}

static PyObject *done(Arrays *arrays) {
    release(arrays);
    Py_RETURN_NONE;
}

static int inside(int64_t number, int64_t count) { return (uint64_t)number < (uint64_t)count; }

/* -- categories: ehrsynth.probability.categorical ------------------------------------------------------------------ */

/* How many of `n` ascending thresholds are at most `key`. */
static int64_t at_most(const int64_t *thresholds, int64_t n, int64_t key) {
    int64_t low = 0;
    while (n > 0) {
        int64_t half = n >> 1;
        int64_t right = thresholds[low + half] <= key;
        low += right ? half + 1 : 0;
        n = right ? n - half - 1 : half;
    }
    return low;
}

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

/* -- what codes ask for: ehrsynth.generation.life_course.requirements ----------------------------------------------- */

/* kind of each code, its first day; clauses of each kind (offsets), literals of each clause (offsets), names and whether
 * they are wanted; (conditions, states); onset (n * conditions), stages (n * states); code, patient, day; out */
PyObject *ehrsynth_fitting(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqqqqbqqbqqqB")) return NULL;
    const int64_t *kind = longs(&a, 0), *from = longs(&a, 1), *clauses = longs(&a, 2), *literals = longs(&a, 3);
    const int64_t *name = longs(&a, 4), *onset = longs(&a, 7), *code = longs(&a, 9), *who = longs(&a, 10);
    const int64_t *day = longs(&a, 11);
    const uint8_t *wanted = bytes(&a, 5), *stages = bytes(&a, 8);
    uint8_t *out = a.of[12].buf;
    int64_t n = eights(&a, 9), codes = eights(&a, 0), kinds = eights(&a, 2) - 1, last = eights(&a, 3) - 1;
    if (eights(&a, 1) != codes || eights(&a, 10) != n || eights(&a, 11) != n || a.of[12].len != n ||
        eights(&a, 6) != 2 || a.of[5].len != eights(&a, 4))
        return unequal(&a);
    int64_t conditions = longs(&a, 6)[0], states = longs(&a, 6)[1];
    int64_t people = conditions > 0 ? eights(&a, 7) / conditions : 0;
    if (a.of[8].len != people * states) return unequal(&a);
    for (int64_t k = 0; k < kinds; k++)
        if (clauses[k] < 0 || clauses[k + 1] > last) return outside(&a, "there is no such clause");
    for (int64_t c = 0; c < last; c++)
        if (literals[c] < 0 || literals[c + 1] > eights(&a, 4)) return outside(&a, "there is no such word");
    for (int64_t l = 0; l < eights(&a, 4); l++)
        if (!inside(name[l], conditions + states)) return outside(&a, "there is no such condition");
    for (int64_t i = 0; i < n; i++) {
        if (!inside(code[i], codes) || !inside(who[i], people) || !inside(kind[code[i]], kinds))
            return outside(&a, "there is no such code or person");
        int good = day[i] >= from[code[i]];
        int64_t k = kind[code[i]];
        for (int64_t c = clauses[k]; good && c < clauses[k + 1]; c++) {
            int either = 0;
            for (int64_t l = literals[c]; !either && l < literals[c + 1]; l++) {
                int has = name[l] < conditions ? onset[who[i] * conditions + name[l]] <= day[i]
                                               : stages[who[i] * states + name[l] - conditions] != 0;
                either = has == (wanted[l] != 0);
            }
            good = either;
        }
        out[i] = (uint8_t)good;
    }
    return done(&a);
}

/* -- what moves a value: ehrsynth.generation.life_course.laboratory ------------------------------------------------- */

/* code, encounter of each value; person, day of each encounter; rows in the order of codes, their offsets; code, kind
 * (0: drug, 1: long condition, 2: illness), number, shift, factor of each effect; first, last day of each drug (n by
 * drugs); onset (n by conditions); encounters of each illness (offsets, numbers); (people, days until a drug works);
 * shift, wide, narrow: out */
PyObject *ehrsynth_moved(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqqqqqqqddqqqqqqDDD")) return NULL;
    const int64_t *visit = longs(&a, 0), *person = longs(&a, 1), *day = longs(&a, 2), *order = longs(&a, 3);
    const int64_t *edges = longs(&a, 4), *code = longs(&a, 5), *kind = longs(&a, 6), *number = longs(&a, 7);
    const double *by = doubles(&a, 8), *factor = doubles(&a, 9);
    const int64_t *first = longs(&a, 10), *until = longs(&a, 11), *onset = longs(&a, 12);
    const int64_t *offsets = longs(&a, 13), *ill = longs(&a, 14);
    double *shift = a.of[16].buf, *wide = a.of[17].buf, *narrow = a.of[18].buf;
    int64_t rows = eights(&a, 0), visits = eights(&a, 1), codes = eights(&a, 4) - 1, effects = eights(&a, 5);
    if (eights(&a, 2) != visits || eights(&a, 3) != rows || eights(&a, 15) != 2 || eights(&a, 6) != effects ||
        eights(&a, 7) != effects || eights(&a, 8) != effects || eights(&a, 9) != effects ||
        eights(&a, 11) != eights(&a, 10) || eights(&a, 16) != rows || eights(&a, 17) != rows || eights(&a, 18) != rows)
        return unequal(&a);
    int64_t people = longs(&a, 15)[0], works = longs(&a, 15)[1];
    if (people < 1) return unequal(&a);
    int64_t drugs = eights(&a, 10) / people, conditions = eights(&a, 12) / people, illnesses = eights(&a, 13) - 1;
    for (int64_t i = 0; i < visits; i++)
        if (!inside(person[i], people)) return outside(&a, "there is no such person");
    for (int64_t i = 0; i < rows; i++)
        if (!inside(visit[i], visits) || !inside(order[i], rows)) return outside(&a, "there is no such encounter");
    for (int64_t i = 0; i < eights(&a, 14); i++)
        if (!inside(ill[i], visits)) return outside(&a, "there is no such encounter");
    int64_t *mark = calloc((size_t)(visits ? visits : 1), 8);
    if (!mark) {
        release(&a);
        return PyErr_NoMemory();
    }
    for (int64_t e = 0; e < effects; e++) {
        int64_t limit = kind[e] == 0 ? drugs : kind[e] == 1 ? conditions : illnesses;
        if (!inside(code[e], codes) || !inside(number[e], limit) || edges[code[e]] < 0 || edges[code[e] + 1] > rows ||
            (kind[e] == 2 && (offsets[number[e]] < 0 || offsets[number[e] + 1] > eights(&a, 14)))) {
            free(mark);
            return outside(&a, "there is no such effect");
        }
        if (kind[e] == 2)
            for (int64_t k = offsets[number[e]]; k < offsets[number[e] + 1]; k++) mark[ill[k]] = e + 1;
        for (int64_t k = edges[code[e]]; k < edges[code[e] + 1]; k++) {
            int64_t row = order[k], here = visit[row], who = person[here], when = day[here];
            int has = kind[e] == 0   ? first[who * drugs + number[e]] + works <= when && when < until[who * drugs + number[e]]
                      : kind[e] == 1 ? onset[who * conditions + number[e]] <= when
                                     : mark[here] == e + 1;
            if (!has) continue;
            shift[row] += by[e];
            if (factor[e] >= 1)
                wide[row] = factor[e] > wide[row] ? factor[e] : wide[row];
            else
                narrow[row] *= factor[e];
        }
    }
    free(mark);
    return done(&a);
}

/* own (n * m), person of each row, turns (v * w), phases (n * w * m), noise (v * m), drift and rest (m * m, triangles);
 * out (v * m): see ehrsynth.generation.life_course.numbers.mixed */
PyObject *ehrsynth_mixed(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "dqddddd" "D")) return NULL;
    const int64_t *person = longs(&a, 1);
    int64_t rows = eights(&a, 1), m = 0;
    while (m * m < eights(&a, 5)) m++;
    int64_t people = m ? eights(&a, 0) / m : 0, waves = rows ? eights(&a, 2) / rows : 0;
    if (!m || m > 64 || m * m != eights(&a, 5) || m * m != eights(&a, 6) || eights(&a, 4) != rows * m ||
        eights(&a, 7) != rows * m || eights(&a, 2) != rows * waves || (rows && eights(&a, 3) != people * waves * m))
        return unequal(&a);
    const double *own = doubles(&a, 0), *turns = doubles(&a, 2), *phases = doubles(&a, 3), *noise = doubles(&a, 4);
    const double *factors[2] = {doubles(&a, 5), doubles(&a, 6)};
    double *out = a.of[7].buf;
    for (int64_t i = 0; i < rows; i++) {
        if (!inside(person[i], people)) return outside(&a, "there is no such person");
        double sum[64], wave[64] = {0};
        memcpy(sum, own + person[i] * m, (size_t)m * 8);
        for (int64_t w = 0; w < waves; w++) {
            double turn = turns[i * waves + w];
            const double *phase = phases + (person[i] * waves + w) * m;
            for (int64_t k = 0; k < m; k++) wave[k] += turn * phase[k];
        }
        for (int part = 0; part < 2; part++) {
            const double *scores = part ? noise + i * m : wave;
            for (int64_t j = 0; j < m; j++)
                for (int64_t k = j; k < m; k++) sum[k] += scores[j] * factors[part][j * m + k];
        }
        memcpy(out + i * m, sum, (size_t)m * 8);
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
    memset(bits, 0, (size_t)a.of[3].len);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = number[i];
        if (count >= 0) {
            if (at >= count) return outside(&a, "there is no such label");
            at = stands[at < 0 ? count : at];
        }
        bits[i >> 3] |= (uint8_t)((at >= 0) << (i & 7));
        empty += at < 0;
        out[i] = at < 0 ? 0 : (int32_t)at;
    }
    release(&a);
    return PyLong_FromLongLong(empty);
}
