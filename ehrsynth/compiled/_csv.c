/* Lines of CSV (RFC 4180) straight from Arrow's buffers; ehrsynth/exporters/lines.py says what the columns are. */

#include "_arrays.h"

#include <math.h>

#define FEW 32

typedef struct {
    int kind;              /* of TEXT ... FLOAT */
    int commas;            /* that stand before the value */
    int marked;            /* a text may need quotation marks */
    const uint8_t *known;  /* a bit for each row, from bit `first` on; NULL: all have a value */
    int64_t first;
    const void *values;    /* of the first row */
    const int64_t *ends;   /* POOL: where its texts begin and end in `text` */
    const char *text, *stop;
} Column;

enum { TEXT, POOL, DATE, TIME, LONG, FLOAT };

typedef struct {
    const char *dates; /* ten letters for each day from `first` on */
    int64_t first, count;
} Calendar;

/* Most texts are short: the bytes behind one are copied with it where there are any, and written over. */
static inline char *text_put(char *out, const char *text, int64_t length, const char *stop) {
    if (stop - text < length + FEW) {
        memcpy(out, text, (size_t)length);
        return out + length;
    }
    memcpy(out, text, FEW);
    for (int64_t i = FEW; i < length; i += FEW) memcpy(out + i, text + i, FEW);
    return out + length;
}

static inline int is_mark(char letter) { return letter == '"' || letter == ',' || letter == '\n' || letter == '\r'; }

/* Whether a text may need quotation marks: all marks come before the dash in ASCII, identifiers do not. */
static int has_marks(const char *text, int64_t length) {
    uint8_t least = 255;
    for (int64_t i = 0; i < length; i++) least = (uint8_t)text[i] < least ? (uint8_t)text[i] : least;
    if (least > ',') return 0;
    for (int64_t i = 0; i < length; i++)
        if (is_mark(text[i])) return 1;
    return 0;
}

static char *quoted_put(char *out, const char *text, int64_t length) {
    if (!has_marks(text, length)) {
        memcpy(out, text, (size_t)length);
        return out + length;
    }
    *out++ = '"';
    for (int64_t i = 0; i < length; i++) {
        if (text[i] == '"') *out++ = '"';
        *out++ = text[i];
    }
    *out++ = '"';
    return out;
}

static inline char *digits_put(char *out, uint64_t number, int least) {
    char digits[20];
    int n = 0;
    do digits[n++] = (char)('0' + number % 10);
    while (number /= 10);
    while (n < least) digits[n++] = '0';
    while (n) *out++ = digits[--n];
    return out;
}

static inline char *long_put(char *out, int64_t number) {
    if (number < 0) *out++ = '-';
    return digits_put(out, number < 0 ? 0 - (uint64_t)number : (uint64_t)number, 1);
}

/* The shortest number that reads back as `x`, if it has six decimals at most; NULL if not. Whole / scale is the double
 * that is nearest to it, and no two numbers of fifteen digits have the same one. */
static char *double_put(char *out, double x) {
    static const double scales[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};
    static const uint64_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    double size = fabs(x);
    if (size != size) return out;
    if (signbit(x)) *out++ = '-';
    if (size > 1e300 && size / 2 == size) {
        memcpy(out, "INF", 3);
        return out + 3;
    }
    if (!(size < 1e9) || (size < 1e-4 && size != 0)) return NULL;
    for (int decimals = 0; decimals < 7; decimals++) {
        uint64_t whole = (uint64_t)(size * scales[decimals] + 0.5);
        if ((double)whole / scales[decimals] != size) continue;
        if (!decimals) return digits_put(out, whole, 1);
        out = digits_put(out, whole / tens[decimals], 1);
        *out++ = '.';
        return digits_put(out, whole % tens[decimals], decimals);
    }
    return NULL;
}

static inline char *two_put(char *out, int number) {
    *out++ = (char)('0' + number / 10);
    *out++ = (char)('0' + number % 10);
    return out;
}

static inline char *time_put(char *out, int second) {
    *out++ = 'T';
    out = two_put(out, second / 3600);
    *out++ = ':';
    out = two_put(out, second / 60 % 60);
    *out++ = ':';
    out = two_put(out, second % 60);
    *out++ = 'Z';
    return out;
}

static inline int64_t day_of(int64_t second) {
    int64_t day = second / 86400;
    return day - (second < day * 86400);
}

static inline int is_known(const Column *column, int64_t row) {
    int64_t bit = column->first + row;
    return !column->known || (column->known[bit >> 3] >> (bit & 7) & 1);
}

/* The letters that the `n` values have at most; -1 with an error, -2 if the calendar does not go so far. */
static int64_t most_letters(Column *column, int64_t n, int64_t texts, int64_t size, const Calendar *calendar) {
    int64_t sum = 0;
    switch (column->kind) {
    case TEXT: {
        const int32_t *ends = column->values;
        for (int64_t row = 0; row < n; row++)
            if (ends[row] < 0 || ends[row + 1] < ends[row] || ends[row + 1] > size) {
                PyErr_SetString(PyExc_ValueError, "texts lie outside their buffer");
                return -1;
            }
        column->stop = column->text + size;
        if (!n) return 0;
        sum = ends[n] - ends[0];
        column->marked = has_marks(column->text + ends[0], sum);
        return column->marked ? 2 * (sum + n) : sum;
    }
    case POOL: {
        const int32_t *index = column->values;
        for (int64_t i = 0; i < texts; i++)
            if (column->ends[i] < 0 || column->ends[i + 1] < column->ends[i] || column->ends[i + 1] > size) {
                PyErr_SetString(PyExc_ValueError, "texts lie outside their buffer");
                return -1;
            }
        column->stop = column->text + size;
        for (int64_t row = 0; row < n; row++) {
            /* What is not known has any number, and Arrow means nothing by it. */
            if (inside(index[row], texts))
                sum += column->ends[index[row] + 1] - column->ends[index[row]];
            else if (index[row] != -1 && is_known(column, row)) {
                PyErr_SetString(PyExc_IndexError, "there is no such text");
                return -1;
            }
        }
        return sum;
    }
    case DATE:
        for (int64_t row = 0; row < n; row++)
            if (!inside(((const int32_t *)column->values)[row] - calendar->first, calendar->count) &&
                is_known(column, row))
                return -2;
        return 10 * n;
    case TIME:
        for (int64_t row = 0; row < n; row++)
            if (!inside(day_of(((const int64_t *)column->values)[row]) - calendar->first, calendar->count) &&
                is_known(column, row))
                return -2;
        return 20 * n;
    default:
        return 24 * n;
    }
}

/* The line of a row; `failed` is the column of a number that `double_put` does not write. */
static inline char *line_put(char *out, const Column *columns, int n, int64_t row, const Calendar *days, int *failed) {
    for (int at = 0; at < n; at++) {
        const Column *column = &columns[at];
        for (int i = 0; i < column->commas; i++) out[i] = ',';
        out += column->commas;
        if (!is_known(column, row)) continue;
        switch (column->kind) {
        case TEXT: {
            const int32_t *ends = (const int32_t *)column->values + row;
            const char *text = column->text + ends[0];
            if (column->marked) {
                out = quoted_put(out, text, ends[1] - ends[0]);
            } else if (ends[1] - ends[0] == 36) {
                memcpy(out, text, 36);
                out += 36;
            } else {
                out = text_put(out, text, ends[1] - ends[0], column->stop);
            }
            break;
        }
        case POOL: {
            int32_t number = ((const int32_t *)column->values)[row];
            if (number < 0) break;
            const int64_t *ends = column->ends + number;
            out = text_put(out, column->text + ends[0], ends[1] - ends[0], column->stop);
            break;
        }
        case DATE:
            memcpy(out, days->dates + 10 * (((const int32_t *)column->values)[row] - days->first), 10);
            out += 10;
            break;
        case TIME: {
            int64_t second = ((const int64_t *)column->values)[row], day = day_of(second);
            memcpy(out, days->dates + 10 * (day - days->first), 10);
            out = time_put(out + 10, (int)(second - day * 86400));
            break;
        }
        case LONG:
            out = long_put(out, ((const int64_t *)column->values)[row]);
            break;
        default:
            out = double_put(out, ((const double *)column->values)[row]);
            if (!out) {
                *failed = at;
                return NULL;
            }
        }
    }
    return out;
}

typedef struct {
    Py_buffer *held;
    int n_held, n;
    Column *columns;
    int64_t room; /* for all letters */
} Table;

static void table_free(Table *table) {
    while (table->n_held) PyBuffer_Release(&table->held[--table->n_held]);
    PyMem_Free(table->held);
    PyMem_Free(table->columns);
}

/* A column is (kind, commas, first, validity or None, values, ends or None, first text, texts, letters or None); -1 with
 * an error, -2 if a day is not in the calendar. */
static int table_parse(Table *table, PyObject *list, int64_t n, const Calendar *calendar) {
    static const int widths[] = {4, 4, 4, 8, 8, 8};
    Py_ssize_t count = PyList_GET_SIZE(list);
    if (count > 4096 || n > 1LL << 31) {
        PyErr_SetString(PyExc_ValueError, "too much at once");
        return -1;
    }
    table->held = PyMem_Calloc((size_t)count * 4 + 1, sizeof(Py_buffer));
    table->columns = PyMem_Calloc((size_t)count + 1, sizeof(Column));
    if (!table->held || !table->columns) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Column *column = &table->columns[i];
        PyObject *known, *values, *ends, *letters;
        long long first, first_text, texts;
        int64_t size = 0, most;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(list, i), "iiLOOOLLO", &column->kind, &column->commas, &first, &known,
                              &values, &ends, &first_text, &texts, &letters))
            return -1;
        int kind = column->kind;
        if (kind < TEXT || kind > FLOAT || column->commas < 0 || column->commas > 4096 || first < 0 ||
            first > 1LL << 40 || first_text < 0 || texts < 0 || first_text > 1LL << 40 || texts > 1LL << 40) {
            PyErr_SetString(PyExc_ValueError, "there is no such column");
            return -1;
        }
        column->first = first;
        if (known != Py_None && !(column->known = hold(table->held, &table->n_held, known, (first + n + 7) / 8, NULL)))
            return -1;
        const char *begin = hold(table->held, &table->n_held, values, (first + n + (kind == TEXT)) * widths[kind], NULL);
        if (!begin) return -1;
        column->values = begin + first * widths[kind];
        column->text = "";
        if (kind == POOL && texts) {
            const int64_t *from = hold(table->held, &table->n_held, ends, 8 * (first_text + texts + 1), NULL);
            if (!from) return -1;
            column->ends = from + first_text;
        }
        if (letters != Py_None && !(column->text = hold(table->held, &table->n_held, letters, 0, &size))) return -1;
        if ((most = most_letters(column, n, texts, size, calendar)) < 0) return (int)most;
        table->room += most + column->commas * n;
        table->n++;
    }
    return 0;
}

/* The lines of `n` rows: the buffer and how many bytes of it they take. The number of a column whose numbers need more
 * than `double_put`, or None where the calendar is too short. */
PyObject *ehrsynth_csv(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *list, *allocate, *given = NULL, *result = NULL;
    Py_buffer dates, out;
    long long n, first_day;
    int commas;
    if (!PyArg_ParseTuple(args, "O!iLy*LO", &PyList_Type, &list, &commas, &n, &dates, &first_day, &allocate)) return NULL;
    Calendar calendar = {dates.buf, first_day, dates.len / 10};
    Table table = {0};
    int failed = -1, parsed = -1;
    if (n < 0 || commas < 0 || commas > 4096)
        PyErr_SetString(PyExc_ValueError, "there are no such rows");
    else
        parsed = table_parse(&table, list, n, &calendar);
    if (parsed == -2) {
        Py_INCREF(Py_None);
        result = Py_None;
    }
    if (parsed < 0) goto done;
    int64_t room = table.room + n * (commas + 1) + 2 * FEW;
    given = PyObject_CallFunction(allocate, "L", (long long)room);
    if (!given || PyObject_GetBuffer(given, &out, PyBUF_WRITABLE) < 0) goto done;
    if (out.len < room) {
        PyErr_SetString(PyExc_ValueError, "there is no room for the texts");
    } else {
        char *at = out.buf;
        Py_BEGIN_ALLOW_THREADS;
        for (int64_t row = 0; at && row < n; row++) {
            at = line_put(at, table.columns, table.n, row, &calendar, &failed);
            if (!at) break;
            memset(at, ',', (size_t)commas);
            at[commas] = '\n';
            at += commas + 1;
        }
        Py_END_ALLOW_THREADS;
        result = at ? Py_BuildValue("(OL)", given, (long long)(at - (char *)out.buf)) : PyLong_FromLong(failed);
    }
    PyBuffer_Release(&out);
done:
    Py_XDECREF(given);
    table_free(&table);
    PyBuffer_Release(&dates);
    return result;
}
