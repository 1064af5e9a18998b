/* The inner loops of drawing whole lives; see _draw.c. */

#include "_arrays.h"

#include <stdlib.h>

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

/* start, end of each encounter; encounter, share of each row; out: a time in whole minutes on the encounter's first day,
 * when the share of it is over, of its first six hours at most */
PyObject *ehrsynth_within(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqqdQ")) return NULL;
    const int64_t *start = longs(&a, 0), *end = longs(&a, 1), *visit = longs(&a, 2);
    int64_t visits = eights(&a, 0), n = eights(&a, 2), *out = a.of[4].buf;
    if (eights(&a, 1) != visits || eights(&a, 3) != n || eights(&a, 4) != n) return unequal(&a);
    for (int64_t i = 0; i < n; i++) {
        if (!inside(visit[i], visits)) return outside(&a, "there is no such encounter");
        int64_t from = start[visit[i]], length = end[visit[i]] - from;
        if (length > 6 * 3600) length = 6 * 3600;
        int64_t last = (floored(from, 86400) + 1) * 86400 - 60;
        int64_t at = from + floored((int64_t)(doubles(&a, 3)[i] * (double)length), 60) * 60;
        out[i] = at < last ? at : last;
    }
    return done(&a);
}

static void bit(uint8_t *bits, int64_t at, int set) { bits[at >> 3] |= (uint8_t)(set << (at & 7)); }

/* code, number (NaN: none), grade or answer (-1: none), failed of each row; low, high of each code; out: value, low,
 * high, their validity (3 rows of bits), labels of unit, interpretation, reason of absence (3 rows): see
 * ehrsynth.generation.life_course.observed */
PyObject *ehrsynth_observed(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qdqbddDDDBQ")) return NULL;
    const int64_t *code = longs(&a, 0), *said = longs(&a, 2);
    const double *number = doubles(&a, 1), *lows = doubles(&a, 4), *highs = doubles(&a, 5);
    const uint8_t *failed = bytes(&a, 3);
    double *value = a.of[6].buf, *low = a.of[7].buf, *high = a.of[8].buf;
    int64_t n = eights(&a, 0), codes = eights(&a, 4), wide = (n + 7) / 8;
    uint8_t *bits = a.of[9].buf;
    int64_t *unit = a.of[10].buf, *read = unit + n, *absent = read + n;
    if (eights(&a, 1) != n || eights(&a, 2) != n || a.of[3].len != n || eights(&a, 5) != codes ||
        eights(&a, 6) != n || eights(&a, 7) != n || eights(&a, 8) != n || a.of[9].len != 3 * wide ||
        eights(&a, 10) != 3 * n)
        return unequal(&a);
    memset(bits, 0, (size_t)(3 * wide));
    for (int64_t i = 0; i < n; i++) {
        if (!inside(code[i], codes)) return outside(&a, "there is no such code");
        double least = lows[code[i]], most = highs[code[i]], x = number[i];
        int known = x == x, has_least = least == least, has_most = most == most;
        value[i] = known ? x : 0;
        low[i] = has_least ? least : 0;
        high[i] = has_most ? most : 0;
        bit(bits, i, known);
        bit(bits + wide, i, known & has_least);
        bit(bits + 2 * wide, i, known & has_most);
        int64_t side = x < least ? 0 : x > most ? 2 : has_least | has_most ? 1 : -1;
        unit[i] = known ? code[i] : -1;
        read[i] = known ? side : said[i] >= 0 ? said[i] + 3 : -1;
        absent[i] = known || said[i] >= 0 ? -1 : failed[i] != 0;
    }
    return done(&a);
}
