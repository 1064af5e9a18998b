/* The inner loops of drawing whole lives; see _draw.c. */

#include "_arrays.h"

#include <math.h>

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

typedef struct {
    const int64_t *kind, *number; /* 0: drug, 1: long condition, 2: illness; which */
    const double *by, *factor;
    const int64_t *first, *until, *onset; /* of each person: days of each drug and condition */
    int64_t drugs, conditions, works;     /* days until a drug works */
    const int64_t *edges, *ill;           /* the illnesses that are seen in each encounter */
} Effects;

static int has_effect(const Effects *of, int64_t effect, int64_t visit, int64_t who, int64_t day) {
    int64_t number = of->number[effect];
    if (of->kind[effect] == 1) return of->onset[who * of->conditions + number] <= day;
    if (of->kind[effect] == 0)
        return of->first[who * of->drugs + number] + of->works <= day && day < of->until[who * of->drugs + number];
    for (int64_t k = of->edges[visit]; k < of->edges[visit + 1]; k++)
        if (of->ill[k] == number) return 1;
    return 0;
}

/* encounter, row of each value; person, day of each encounter; code of each row; the parts of a score that are the
 * person's and the value's, mean, deviation, whether skewed, of each row; effects of each code (offsets), kind, number,
 * shift, factor; first, last day of each drug (n by drugs), onset (n by conditions); illnesses of each encounter
 * (offsets, numbers); scores of each person (n by codes) and value; (people, days until a drug works, farthest score);
 * out: values; of skewed ones middle, deviation, score and which they are (4 rows): how many these are */
PyObject *ehrsynth_general(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqqqqddddbqqqddqqqqqddqDDQ")) return NULL;
    const int64_t *visit = longs(&a, 0), *row = longs(&a, 1), *person = longs(&a, 2), *day = longs(&a, 3);
    const int64_t *code = longs(&a, 4), *offsets = longs(&a, 10), *settings = longs(&a, 22);
    const double *own_part = doubles(&a, 5), *rest = doubles(&a, 6), *mean = doubles(&a, 7), *sd = doubles(&a, 8);
    const double *own = doubles(&a, 20), *noise = doubles(&a, 21);
    const uint8_t *skewed = bytes(&a, 9);
    double *value = a.of[23].buf, *middles = a.of[24].buf;
    int64_t *skew = a.of[25].buf, count = 0;
    int64_t n = eights(&a, 0), visits = eights(&a, 2), rows = eights(&a, 4), effects = eights(&a, 11);
    if (eights(&a, 1) != n || eights(&a, 3) != visits || eights(&a, 5) != rows || eights(&a, 6) != rows ||
        eights(&a, 7) != rows || eights(&a, 8) != rows || a.of[9].len != rows || eights(&a, 12) != effects ||
        eights(&a, 13) != effects || eights(&a, 14) != effects || eights(&a, 15) != eights(&a, 16) ||
        eights(&a, 18) != visits + 1 || eights(&a, 21) != n || eights(&a, 22) != 3 || eights(&a, 23) != n ||
        eights(&a, 24) != 3 * n || eights(&a, 25) != n)
        return unequal(&a);
    int64_t people = settings[0], codes = people > 0 ? eights(&a, 20) / people : 0;
    if (people < 1 || eights(&a, 10) != codes + 1) return unequal(&a);
    Effects of = {longs(&a, 11), longs(&a, 12), doubles(&a, 13), doubles(&a, 14), longs(&a, 15), longs(&a, 16),
                  longs(&a, 17), eights(&a, 15) / people, eights(&a, 17) / people, settings[1], longs(&a, 18), longs(&a, 19)};
    double farthest = (double)settings[2];
    for (int64_t e = 0; e < effects; e++)
        if (of.kind[e] < 2 && !inside(of.number[e], of.kind[e] ? of.conditions : of.drugs))
            return outside(&a, "there is no such effect");
    for (int64_t c = 0; c < codes; c++)
        if (offsets[c] < 0 || offsets[c + 1] > effects) return outside(&a, "there is no such effect");
    for (int64_t v = 0; v < visits; v++)
        if (!inside(person[v], people) || of.edges[v] < 0 || of.edges[v + 1] > eights(&a, 19))
            return outside(&a, "there is no such person");
    for (int64_t i = 0; i < n; i++) {
        int64_t at = row[i], here = visit[i];
        if (!inside(here, visits) || !inside(at, rows) || !inside(code[at], codes))
            return outside(&a, "there is no such encounter");
        int64_t who = person[here];
        double shift = 0, wide = 1, narrow = 1;
        for (int64_t e = offsets[code[at]]; e < offsets[code[at] + 1]; e++) {
            if (!has_effect(&of, e, here, who, day[here])) continue;
            shift += of.by[e];
            if (of.factor[e] >= 1)
                wide = of.factor[e] > wide ? of.factor[e] : wide;
            else
                narrow *= of.factor[e];
        }
        double score = own_part[at] * own[who * codes + code[at]] + rest[at] * noise[i];
        score = score < -farthest ? -farthest : score > farthest ? farthest : score;
        double middle = mean[at] + shift * sd[at], width = sd[at] * wide * narrow;
        value[i] = middle + width * score;
        if (skewed[at]) {
            middles[count] = middle;
            middles[n + count] = width;
            middles[2 * n + count] = score;
            skew[count++] = i;
        }
    }
    release(&a);
    return PyLong_FromLongLong(count);
}

/* rows, least, most, scale of each row, values: brought into their range and rounded, in place */
PyObject *ehrsynth_rounded(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qdddD")) return NULL;
    const int64_t *row = longs(&a, 0);
    const double *least = doubles(&a, 1), *most = doubles(&a, 2), *scale = doubles(&a, 3);
    int64_t n = eights(&a, 0), rows = eights(&a, 1);
    double *value = a.of[4].buf;
    if (eights(&a, 2) != rows || eights(&a, 3) != rows || eights(&a, 4) != n) return unequal(&a);
    for (int64_t i = 0; i < n; i++) {
        if (!inside(row[i], rows)) return outside(&a, "there is no such row");
        double x = value[i], low = least[row[i]], high = most[row[i]];
        if (x != x) continue;
        x = x > low ? x : low;
        x = x < high ? x : high;
        value[i] = rint(x * scale[row[i]]) / scale[row[i]];
    }
    return done(&a);
}

static double between(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

/* quantiles by stratum, sex, age and score; ages and scores of these; stratum, sex, age, score of each value; (strata,
 * sexes, ages, scores); out: values, linear in age and score */
PyObject *ehrsynth_quantiles(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "dddqqddqD")) return NULL;
    const double *table = doubles(&a, 0), *knots = doubles(&a, 1), *z = doubles(&a, 2), *age = doubles(&a, 5);
    const double *score = doubles(&a, 6);
    const int64_t *stratum = longs(&a, 3), *sex = longs(&a, 4), *shape = longs(&a, 7);
    int64_t n = eights(&a, 3);
    double *out = a.of[8].buf;
    if (eights(&a, 7) != 4 || eights(&a, 4) != n || eights(&a, 5) != n || eights(&a, 6) != n || eights(&a, 8) != n)
        return unequal(&a);
    int64_t strata = shape[0], sexes = shape[1], ages = shape[2], scores = shape[3];
    if (strata < 1 || sexes < 1 || ages < 2 || scores < 2 || eights(&a, 1) != ages || eights(&a, 2) != scores ||
        strata > 1 << 12 || sexes > 1 << 12 || ages > 1 << 12 || scores > 1 << 12 ||
        eights(&a, 0) != strata * sexes * ages * scores)
        return unequal(&a);
    double step = z[1] - z[0], most = (double)scores - 1.000001;
    for (int64_t i = 0; i < n; i++) {
        if (!inside(stratum[i], strata) || !inside(sex[i], sexes) || age[i] != age[i] || score[i] != score[i])
            return outside(&a, "there is no such stratum, sex, age or score");
        int64_t knot = 0;
        while (knot < ages - 2 && knots[knot + 1] <= age[i]) knot++;
        double x = between((age[i] - knots[knot]) / (knots[knot + 1] - knots[knot]), 0, 1);
        double place = between((score[i] - z[0]) / step, 0, most);
        int64_t whole = (int64_t)place;
        double y = place - (double)whole, rest = 1 - y;
        const double *at = table + ((stratum[i] * sexes + sex[i]) * ages + knot) * scores + whole;
        double low = at[0] * rest + at[1] * y, high = at[scores] * rest + at[scores + 1] * y;
        out[i] = low * (1 - x) + high * x;
    }
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

/* encounters; age, person, age in days of all encounters; least, most of the ages; (days between, turn); out: those of the
 * encounters at which people have the age, the first in each period of so many days: how many */
PyObject *ehrsynth_due(PyObject *self, PyObject *args) {
    (void)self;
    Arrays a;
    if (opened(&a, args, "qqqqdqQ")) return NULL;
    const int64_t *here = longs(&a, 0), *age = longs(&a, 1), *person = longs(&a, 2), *days = longs(&a, 3);
    int64_t n = eights(&a, 0), visits = eights(&a, 1), *out = a.of[6].buf, count = 0, before = 0;
    if (eights(&a, 2) != visits || eights(&a, 3) != visits || eights(&a, 4) != 2 || eights(&a, 5) != 2 ||
        eights(&a, 6) != n)
        return unequal(&a);
    double low = doubles(&a, 4)[0], high = doubles(&a, 4)[1];
    int64_t between = longs(&a, 5)[0], turn = longs(&a, 5)[1];
    for (int64_t i = 0; i < n; i++) {
        int64_t at = here[i];
        if (!inside(at, visits)) return outside(&a, "there is no such encounter");
        if (!(low <= (double)age[at] && (double)age[at] <= high)) continue;
        if (between > 0) {
            /* Each person's periods begin on another day. */
            int64_t shift = person[at] * 7919 + turn, moved = shift - floored(shift, between) * between;
            int64_t period = person[at] * (1 << 16) + floored(days[at] + moved, between);
            if (count && period == before) continue;
            before = period;
        }
        out[count++] = at;
    }
    release(&a);
    return PyLong_FromLongLong(count);
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
