/* Sets drawn one thing after the other: the loops of probability/sets.py, step by step in the same order, so that the
   same random numbers give the same things and sums have the same last digits. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* numpy/random/bitgen.h */
typedef struct {
    void *state;
    uint64_t (*next_uint64)(void *);
    uint32_t (*next_uint32)(void *);
    double (*next_double)(void *);
    uint64_t (*next_raw)(void *);
} BitGenerator;

enum { KEY, SIZE, ODDS, RUNNING, LAST, TOTAL, PULL, SOURCE, MOVED, BOOST, COUNT, START, LOWERING,
       GIVEN_THING, GIVEN_ODDS, GIVEN_START, LIMIT, FINE, CHOSEN, CONTEXT, RAISED, LOWERED, ARRAYS };

typedef struct {
    Py_ssize_t n, width, columns, n_context, n_things, n_sources, n_limits;
    int lowers;
    const int64_t *key, *size, *last, *source, *moved, *count, *start, *given_thing, *given_start, *limit;
    const double *odds, *running, *total, *pull, *boost, *given_odds;
    const uint8_t *lowering, *fine;
    int64_t *chosen, *context;
    double *raised, *lowered;
    /* made here */
    double *weight, *weights; /* of given things, and their running sum from 0 */
    double *table, *more;     /* of all things */
    double *u;                /* of rows */
    int64_t *todo, *drawn, *from;
    BitGenerator *random;
} Sets;

/* How many of `count` ascending values are not above `value`. */
static int64_t below(const double *values, int64_t count, double value) {
    int64_t low = 0;
    while (count > 0) {
        int64_t half = count / 2;
        if (values[low + half] <= value) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

/* Where `thing` stands among `count` ascending ones, -1: nowhere. */
static int64_t found_in(const int64_t *things, int64_t count, int64_t thing) {
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (things[middle] < thing) low = middle + 1;
        else high = middle;
    }
    return low < count && things[low] == thing ? low : -1;
}

static int64_t limited(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

static int64_t given_at(const Sets *s, int64_t row, int64_t thing) {
    int64_t first = s->given_start[row], at = found_in(s->given_thing + first, s->given_start[row + 1] - first, thing);
    return at < 0 ? -1 : first + at;
}

static double next(const Sets *s) { return s->random->next_double(s->random->state); }

static int may_have(const Sets *s, int64_t row, int64_t thing) {
    return s->limit[thing] < 0 || s->fine[row * s->n_limits + s->limit[thing]];
}

static int is_chosen(const Sets *s, int64_t row, int64_t thing) {
    for (Py_ssize_t j = 0; j < s->width; j++)
        if (s->chosen[row * s->width + j] == thing) return 1;
    return 0;
}

/* Things for `m` rows of todo: -1 for none, -2 and below for those given. */
static void envelope(const Sets *s, Py_ssize_t m) {
    const Py_ssize_t c = s->n_things;
    for (Py_ssize_t i = 0; i < m; i++) {
        int64_t row = s->todo[i], k = s->key[row];
        double own = s->weights[s->given_start[row + 1]] - s->weights[s->given_start[row]], company = 0.0;
        for (Py_ssize_t j = 0; j < s->columns; j++) {
            int64_t source = s->context[row * s->columns + j];
            company += source >= 0 ? s->pull[k * s->n_sources + source] : 0.0;
        }
        s->u[i] = next(s) * ((s->total[k] + own) + company);
    }
    double sum = 0.0;
    for (Py_ssize_t i = 0; i < m; i++) {
        int64_t row = s->todo[i], k = s->key[row], first = s->given_start[row], last = s->given_start[row + 1];
        double u = s->u[i], base = s->total[k], own = s->weights[last] - s->weights[first];
        s->drawn[i] = -1;
        if (u < base && base > 0) {
            s->drawn[i] = limited(below(s->running + k * c, c, (double)k + u / base), 0, s->last[k]);
        } else if (u >= base && u < base + own) {
            int64_t at = first + below(s->weights + first, last - first + 1, s->weights[first] + (u - base)) - 1;
            s->drawn[i] = -2 - limited(at, first, last - 1);
        } else if (u >= base + own) {
            double company = 0.0, rest = (u - base) - own;
            Py_ssize_t column = 0;
            for (Py_ssize_t j = 0; j < s->columns; j++) {
                int64_t source = s->context[row * s->columns + j];
                company += source >= 0 ? s->pull[k * s->n_sources + source] : 0.0;
                column += company <= rest;
            }
            if (!(company > 0)) continue;
            if (column > s->columns - 1) column = s->columns - 1;
            int64_t source = s->context[row * s->columns + column];
            if (source < 0) continue;
            /* One of those that the source raises. */
            int64_t begin = s->start[source], count = s->count[source];
            s->more[0] = sum;
            for (int64_t j = 0; j < count; j++) {
                double boost = s->boost[begin + j];
                sum += s->odds[k * c + s->moved[begin + j]] * (boost > 0.0 ? boost : 0.0);
                s->more[j + 1] = sum;
            }
            double value = s->more[0] + next(s) * (s->more[count] - s->more[0]);
            s->drawn[i] = s->moved[begin + limited(below(s->more, count + 1, value) - 1, 0, count - 1)];
        }
    }
}

/* Keep what is accepted; return how many rows are left to do. */
static Py_ssize_t accept(Sets *s, Py_ssize_t m, Py_ssize_t place) {
    Py_ssize_t left = 0;
    for (Py_ssize_t i = 0; i < m; i++) {
        int64_t row = s->todo[i], thing = s->drawn[i];
        int known = thing != -1, own = thing <= -2, fine;
        if (own) thing = s->given_thing[-2 - thing];
        if (thing < 0) thing = 0;
        fine = !is_chosen(s, row, thing);
        if (!own) {
            if (fine && given_at(s, row, thing) >= 0) fine = 0;
            if (s->lowers) {
                double keep = 1.0;
                for (Py_ssize_t j = 0; j < s->columns; j++) {
                    int64_t source = s->context[row * s->columns + j];
                    if (source < 0 || !s->lowering[source]) continue;
                    int64_t at = found_in(s->moved + s->start[source], s->count[source], thing);
                    if (at >= 0 && s->boost[s->start[source] + at] < 0) keep *= 1.0 + s->boost[s->start[source] + at];
                }
                if (!(next(s) < keep)) fine = 0;
            }
        }
        if (known && fine && may_have(s, row, thing)) s->chosen[row * s->width + place] = thing;
        else s->todo[left++] = row;
    }
    return left;
}

static void exactly(Sets *s, Py_ssize_t m, Py_ssize_t place) {
    const Py_ssize_t c = s->n_things;
    double *raised = s->more, *lowered = s->more + c;
    for (Py_ssize_t i = 0; i < m; i++) {
        int64_t row = s->todo[i];
        const double *odds = s->odds + s->key[row] * c;
        for (Py_ssize_t j = 0; j < c; j++) raised[j] = lowered[j] = 1.0;
        for (Py_ssize_t j = 0; j < s->columns; j++) {
            int64_t source = s->context[row * s->columns + j];
            if (source < 0) continue;
            for (int64_t at = s->start[source], end = at + s->count[source]; at < end; at++) {
                raised[s->moved[at]] += s->boost[at] > 0.0 ? s->boost[at] : 0.0;
                lowered[s->moved[at]] *= 1.0 + (s->boost[at] < 0.0 ? s->boost[at] : 0.0);
            }
        }
        for (Py_ssize_t j = 0; j < c; j++) s->table[j] = odds[j] * (raised[j] * lowered[j]);
        for (int64_t at = s->given_start[row]; at < s->given_start[row + 1]; at++)
            s->table[s->given_thing[at]] = s->weight[at];
        for (Py_ssize_t j = 0; j < s->width; j++)
            if (s->chosen[row * s->width + j] >= 0) s->table[s->chosen[row * s->width + j]] = 0.0;
        int64_t last = c - 1, known = -1;
        double sum = 0.0;
        for (Py_ssize_t j = 0; j < c; j++) {
            if (!may_have(s, row, j)) s->table[j] = 0.0;
            if (s->table[j] > 0) known = j;
            sum += s->table[j];
            s->table[j] = sum;
        }
        if (known >= 0) last = known;
        double u = next(s) * sum;
        int64_t found = below(s->table, c, u);
        s->chosen[row * s->width + place] = sum > 0 ? (found < last ? found : last) : -1;
    }
}

static void joined(Sets *s, Py_ssize_t m, Py_ssize_t place) {
    for (Py_ssize_t i = 0; i < m; i++) {
        int64_t row = s->from[i], thing = s->chosen[row * s->width + place];
        if (thing < 0) continue;
        int64_t at = given_at(s, row, thing);
        if (at >= 0) s->lowered[at] = 0.0;
        if (s->size[row] <= place + 1) continue;
        int64_t source = s->source[thing];
        s->context[row * s->columns + s->n_context + place] = source;
        if (source < 0) continue;
        for (int64_t one = s->start[source], end = one + s->count[source]; one < end; one++) {
            at = given_at(s, row, s->moved[one]);
            if (at < 0) continue;
            s->raised[at] += s->boost[one] > 0.0 ? s->boost[one] : 0.0;
            s->lowered[at] *= 1.0 + (s->boost[one] < 0.0 ? s->boost[one] : 0.0);
        }
    }
}

static void run(Sets *s, Py_ssize_t tries, Py_ssize_t few) {
    for (Py_ssize_t place = 0; place < s->width; place++) {
        Py_ssize_t m = 0, h = s->given_start[s->n];
        for (Py_ssize_t row = 0; row < s->n; row++)
            if (s->size[row] > place) s->from[m++] = row;
        s->weights[0] = 0.0;
        for (Py_ssize_t i = 0; i < h; i++) {
            s->weight[i] = s->given_odds[i] * s->raised[i] * s->lowered[i];
            s->weights[i + 1] = (i ? s->weights[i] : 0.0) + s->weight[i];
        }
        memcpy(s->todo, s->from, sizeof *s->todo * (size_t)m);
        Py_ssize_t left = m;
        for (Py_ssize_t again = 0; again < tries; again++) {
            envelope(s, left);
            left = accept(s, left, place);
            if (left * s->n_things <= few) break;
        }
        exactly(s, left, place);
        joined(s, m, place);
    }
}

/* sets(arrays, (n_context, lowers, tries, few), generator): fills the arrays CHOSEN, CONTEXT, RAISED and LOWERED. */
PyObject *ehrsynth_sets(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given, *capsule;
    Py_buffer held[ARRAYS];
    Py_ssize_t tries, few;
    int n_held = 0;
    Sets s = {0};
    if (!PyArg_ParseTuple(args, "O!(nnpnn)O", &PyTuple_Type, &given, &s.n_things, &s.n_context, &s.lowers, &tries, &few,
                          &capsule))
        return NULL;
    if (PyTuple_GET_SIZE(given) != ARRAYS || s.n_things < 1) {
        PyErr_SetString(PyExc_ValueError, "not the arrays of sets");
        return NULL;
    }
    if (!(s.random = PyCapsule_GetPointer(capsule, "BitGenerator"))) return NULL;
    for (; n_held < ARRAYS; n_held++) {
        int flags = n_held >= CHOSEN ? PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE : PyBUF_C_CONTIGUOUS;
        if (PyObject_GetBuffer(PyTuple_GET_ITEM(given, n_held), &held[n_held], flags) < 0) goto done;
    }
#define COUNT_OF(which) (held[which].len / 8)
    s.n = COUNT_OF(KEY);
    s.n_sources = COUNT_OF(COUNT);
    s.width = s.n ? COUNT_OF(CHOSEN) / s.n : 0;
    s.columns = s.n ? COUNT_OF(CONTEXT) / s.n : 0;
    s.n_limits = s.n ? held[FINE].len / s.n : 0;
    Py_ssize_t keys = COUNT_OF(LAST), h = COUNT_OF(GIVEN_THING);
    if (COUNT_OF(SIZE) != s.n || COUNT_OF(ODDS) != keys * s.n_things || COUNT_OF(RUNNING) != keys * s.n_things ||
        COUNT_OF(TOTAL) != keys || COUNT_OF(PULL) != keys * s.n_sources || COUNT_OF(SOURCE) < s.n_things ||
        COUNT_OF(MOVED) != COUNT_OF(BOOST) || COUNT_OF(START) != s.n_sources || held[LOWERING].len < s.n_sources ||
        COUNT_OF(GIVEN_ODDS) != h || COUNT_OF(GIVEN_START) != s.n + 1 || COUNT_OF(LIMIT) != s.n_things ||
        COUNT_OF(RAISED) != h || COUNT_OF(LOWERED) != h || s.n_context + s.width != s.columns) {
        PyErr_SetString(PyExc_ValueError, "the arrays of sets do not fit each other");
        goto done;
    }
    s.key = held[KEY].buf, s.size = held[SIZE].buf, s.last = held[LAST].buf, s.source = held[SOURCE].buf;
    s.moved = held[MOVED].buf, s.count = held[COUNT].buf, s.start = held[START].buf;
    s.given_thing = held[GIVEN_THING].buf, s.given_start = held[GIVEN_START].buf, s.limit = held[LIMIT].buf;
    s.odds = held[ODDS].buf, s.running = held[RUNNING].buf, s.total = held[TOTAL].buf, s.pull = held[PULL].buf;
    s.boost = held[BOOST].buf, s.given_odds = held[GIVEN_ODDS].buf;
    s.lowering = held[LOWERING].buf, s.fine = held[FINE].buf;
    s.chosen = held[CHOSEN].buf, s.context = held[CONTEXT].buf, s.raised = held[RAISED].buf, s.lowered = held[LOWERED].buf;
    /* Whatever is a place in another array has to be in it. */
    int wrong = s.given_start[0] != 0 || s.given_start[s.n] != h;
    for (Py_ssize_t i = 0; i < s.n; i++)
        wrong |= s.key[i] < 0 || s.key[i] >= keys || s.size[i] > s.width || s.given_start[i] > s.given_start[i + 1];
    for (Py_ssize_t i = 0; i < h; i++) wrong |= s.given_thing[i] < 0 || s.given_thing[i] >= s.n_things;
    for (Py_ssize_t i = 0; i < COUNT_OF(MOVED); i++) wrong |= s.moved[i] < 0 || s.moved[i] >= s.n_things;
    for (Py_ssize_t i = 0; i < s.n_sources; i++)
        wrong |= s.start[i] < 0 || s.count[i] < 1 || s.count[i] > s.n_things || s.start[i] + s.count[i] > COUNT_OF(MOVED);
    for (Py_ssize_t i = 0; i < s.n_things; i++)
        wrong |= s.source[i] >= s.n_sources || s.limit[i] >= s.n_limits;
    for (Py_ssize_t i = 0; i < keys; i++) wrong |= s.last[i] < 0 || s.last[i] >= s.n_things;
    for (Py_ssize_t i = 0; i < s.n * s.columns; i++) wrong |= s.context[i] >= s.n_sources;
    for (Py_ssize_t i = 0; i < s.n * s.width; i++) wrong |= s.chosen[i] >= s.n_things;
    if (wrong) {
        PyErr_SetString(PyExc_IndexError, "a place in the arrays of sets is not there");
        goto done;
    }
    double *numbers = malloc(sizeof *numbers * (size_t)(2 * h + 1 + 3 * s.n_things + 1 + s.n));
    int64_t *rows = malloc(sizeof *rows * (size_t)(3 * s.n + 1));
    if (!numbers || !rows) {
        PyErr_NoMemory();
    } else {
        s.weight = numbers, s.weights = s.weight + h, s.table = s.weights + h + 1;
        s.more = s.table + s.n_things, s.u = s.more + 2 * s.n_things + 1;
        s.todo = rows, s.drawn = rows + s.n, s.from = rows + 2 * s.n;
        run(&s, tries, few);
    }
    free(numbers);
    free(rows);
done:
    for (int i = 0; i < n_held; i++) PyBuffer_Release(&held[i]);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}
