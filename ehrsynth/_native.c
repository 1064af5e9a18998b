/* The inner loops that a profile asked for; ehrsynth/native.py says what each does, and has numpy's form beside it. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* -- joining ------------------------------------------------------------------------------------------------------ */

typedef struct {
    const int64_t *offsets; /* of the pool's texts in `data` */
    const char *data;
    const int32_t *index; /* one per row; NULL: `text` stands in every row */
    const char *text;
    int64_t length;
    int64_t texts; /* how many the pool has */
    int foldable;  /* few combinations with its neighbours are to be expected */
} Slot;

typedef struct {
    Py_buffer *held;
    Py_ssize_t n_held;
    Slot *slots;
    Py_ssize_t n_slots;
    char *constants; /* texts of neighbours that stand in every row, one after the other */
    void **made;     /* pools and indices of folded runs, to be freed */
    Py_ssize_t n_made;
} Line;

static void line_free(Line *line) {
    for (Py_ssize_t i = 0; i < line->n_held; i++) PyBuffer_Release(&line->held[i]);
    PyMem_Free(line->held);
    PyMem_Free(line->slots);
    PyMem_Free(line->constants);
    for (Py_ssize_t i = 0; i < line->n_made; i++) free(line->made[i]);
    free(line->made);
}

static const void *line_hold(Line *line, PyObject *object, Py_ssize_t least, Py_ssize_t *size) {
    Py_buffer *view = &line->held[line->n_held];
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0) return NULL;
    line->n_held++;
    if (view->len < least) {
        PyErr_SetString(PyExc_ValueError, "a buffer is too short");
        return NULL;
    }
    if (size) *size = view->len;
    return view->buf ? view->buf : (const void *)"";
}

/* A slot is (offsets, first, count, data or None, index or int, foldable): `count` texts from number `first` on. */
static int line_parse(Line *line, PyObject *slots, Py_ssize_t n) {
    memset(line, 0, sizeof(*line));
    Py_ssize_t count = PyList_GET_SIZE(slots), room = 0;
    line->held = PyMem_Calloc((size_t)count * 3 + 1, sizeof(Py_buffer));
    line->slots = PyMem_Calloc((size_t)count + 1, sizeof(Slot));
    if (!line->held || !line->slots) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *offsets, *data, *index;
        Py_ssize_t first, texts, size = 0;
        int foldable;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(slots, i), "OnnOOp", &offsets, &first, &texts, &data, &index, &foldable))
            return -1;
        Slot *slot = &line->slots[line->n_slots];
        memset(slot, 0, sizeof(*slot));
        slot->texts = texts;
        slot->foldable = foldable;
        if (texts == 0) {
            if (PyLong_Check(index)) continue;
        } else {
            const int64_t *ends = line_hold(line, offsets, 8 * (first + texts + 1), NULL);
            if (!ends) return -1;
            slot->offsets = ends + first;
            slot->data = "";
            if (data != Py_None && !(slot->data = line_hold(line, data, 0, &size))) return -1;
            if (slot->offsets[0] < 0 || slot->offsets[texts] > size) {
                PyErr_SetString(PyExc_ValueError, "texts lie outside their buffer");
                return -1;
            }
        }
        if (PyLong_Check(index)) {
            Py_ssize_t at = PyLong_AsSsize_t(index);
            if (at == -1) {
                if (PyErr_Occurred()) return -1;
                continue;
            }
            if (at < 0 || at >= texts) {
                PyErr_SetString(PyExc_IndexError, "there is no such text");
                return -1;
            }
            slot->text = slot->data + slot->offsets[at];
            slot->length = slot->offsets[at + 1] - slot->offsets[at];
            room += slot->length;
        } else {
            Py_ssize_t bytes;
            if (!(slot->index = line_hold(line, index, 4 * n, &bytes))) return -1;
            int32_t low = 0, high = -1;
            for (Py_ssize_t row = 0; row < n; row++) {
                low = slot->index[row] < low ? slot->index[row] : low;
                high = slot->index[row] > high ? slot->index[row] : high;
            }
            if (low < -1 || high >= texts) {
                PyErr_SetString(PyExc_IndexError, "there is no such text");
                return -1;
            }
            if (high < 0) continue;
        }
        line->n_slots++;
    }
    /* Neighbours that stand in every row become one. */
    line->constants = PyMem_Malloc((size_t)room + 1);
    if (!line->constants) {
        PyErr_NoMemory();
        return -1;
    }
    char *end = line->constants;
    Py_ssize_t kept = 0;
    for (Py_ssize_t i = 0; i < line->n_slots; i++) {
        Slot slot = line->slots[i];
        if (!slot.index) {
            memcpy(end, slot.text, (size_t)slot.length);
            slot.text = end;
            end += slot.length;
            if (kept && !line->slots[kept - 1].index) {
                line->slots[kept - 1].length += slot.length;
                continue;
            }
        }
        line->slots[kept++] = slot;
    }
    line->n_slots = kept;
    return 0;
}

/* Most texts are short: a call of memcpy would cost more than copying them. */
static inline char *copied(char *out, const char *text, int64_t length) {
    if (length > 64) {
        memcpy(out, text, (size_t)length);
    } else if (length >= 32) {
        memcpy(out, text, 32);
        memcpy(out + length - 32, text + length - 32, 32);
    } else if (length >= 16) {
        memcpy(out, text, 16);
        memcpy(out + length - 16, text + length - 16, 16);
    } else if (length >= 8) {
        memcpy(out, text, 8);
        memcpy(out + length - 8, text + length - 8, 8);
    } else if (length >= 4) {
        memcpy(out, text, 4);
        memcpy(out + length - 4, text + length - 4, 4);
    } else {
        for (int64_t i = 0; i < length; i++) out[i] = text[i];
    }
    return out + length;
}

/* -- folding: neighbours with few combinations become one slot, whose texts are the combinations ------------------- */

#define MOST_POOL 2048
#define MOST_CODES (1LL << 62)

static int line_keep(Line *line, void *made) {
    if (!made) return -1;
    void **room = realloc(line->made, (size_t)(line->n_made + 1) * sizeof(void *));
    if (!room) {
        free(made);
        return -1;
    }
    line->made = room;
    line->made[line->n_made++] = made;
    return 0;
}

static int is_foldable(const Slot *slot) { return !slot->index || (slot->foldable && slot->texts <= MOST_POOL); }

/* Whether an earlier slot of the run stands where this one does: constants around an optional value share its index. */
static int64_t largest_of(const Slot *run, Py_ssize_t k, Py_ssize_t at, int *again) {
    int64_t texts = run[at].texts;
    *again = 0;
    for (Py_ssize_t i = 0; i < k; i++) {
        if (run[i].index != run[at].index) continue;
        if (i < at) *again = 1;
        if (run[i].texts > texts) texts = run[i].texts;
    }
    return texts;
}

/* Fold `k` neighbours into `out`; returns how many slots they have become, -1 without memory. */
static Py_ssize_t fold_run(Line *line, const Slot *run, Py_ssize_t k, Py_ssize_t n, int64_t *codes, Slot *out) {
    if (k < 2) {
        if (k) out[0] = run[0];
        return k;
    }
    memset(codes, 0, (size_t)n * 8);
    int64_t span = 1;
    int fits = 1;
    for (Py_ssize_t i = 0; i < k && fits; i++) {
        int again;
        if (!run[i].index) continue;
        int64_t size = largest_of(run, k, i, &again) + 1;
        if (again) continue;
        if (span > MOST_CODES / size) {
            fits = 0;
            break;
        }
        span *= size;
        const int32_t *index = run[i].index;
        for (Py_ssize_t row = 0; row < n; row++) codes[row] = codes[row] * size + index[row] + 1;
    }
    Py_ssize_t most = n / 8 > 64 ? n / 8 : 64, slots = 256, count = 0;
    while (slots < 2 * most) slots *= 2;
    int64_t *keys = NULL, *ends = NULL, room = 1 << 12, size = 0;
    int32_t *places = NULL, *index = NULL;
    char *texts = NULL;
    if (fits) {
        keys = malloc((size_t)slots * 8);
        places = malloc((size_t)slots * 4);
        ends = malloc((size_t)(most + 1) * 8);
        index = malloc((size_t)n * 4 + 4);
        texts = malloc((size_t)room);
        if (!keys || !places || !ends || !index || !texts) goto no_memory;
        memset(places, 0xFF, (size_t)slots * 4);
        ends[0] = 0;
        for (Py_ssize_t row = 0; row < n; row++) {
            uint64_t hash = (uint64_t)codes[row] * 0x9E3779B97F4A7C15ULL;
            Py_ssize_t at = (Py_ssize_t)((hash >> 20) & (uint64_t)(slots - 1));
            while (places[at] >= 0 && keys[at] != codes[row]) at = (at + 1) & (slots - 1);
            if (places[at] < 0) {
                if (count == most) {
                    fits = 0;
                    break;
                }
                for (Py_ssize_t i = 0; i < k; i++) {
                    const char *text = run[i].text;
                    int64_t length = run[i].length;
                    if (run[i].index) {
                        int32_t number = run[i].index[row];
                        if (number < 0) continue;
                        text = run[i].data + run[i].offsets[number];
                        length = run[i].offsets[number + 1] - run[i].offsets[number];
                    }
                    if (size + length > room) {
                        room = 2 * (size + length);
                        char *more = realloc(texts, (size_t)room);
                        if (!more) goto no_memory;
                        texts = more;
                    }
                    memcpy(texts + size, text, (size_t)length);
                    size += length;
                }
                keys[at] = codes[row];
                places[at] = (int32_t)count;
                ends[++count] = size;
            }
            index[row] = places[at];
        }
    }
    free(keys);
    free(places);
    keys = NULL;
    places = NULL;
    if (fits) {
        memset(out, 0, sizeof(*out));
        out->texts = count;
        out->index = index;
        out->offsets = ends;
        out->data = texts;
        if (line_keep(line, index) < 0) {
            free(ends);
            free(texts);
            return -1;
        }
        if (line_keep(line, ends) < 0) {
            free(texts);
            return -1;
        }
        return line_keep(line, texts) < 0 ? -1 : 1;
    }
    free(ends);
    free(index);
    free(texts);
    Py_ssize_t half = k / 2, first = fold_run(line, run, half, n, codes, out);
    if (first < 0) return -1;
    Py_ssize_t second = fold_run(line, run + half, k - half, n, codes, out + first);
    return second < 0 ? -1 : first + second;
no_memory:
    free(keys);
    free(places);
    free(ends);
    free(index);
    free(texts);
    return -1;
}

static int line_fold(Line *line, Py_ssize_t n) {
    if (n < 64) return 0;
    int64_t *codes = malloc((size_t)n * 8);
    Slot *out = malloc((size_t)(line->n_slots + 1) * sizeof(Slot)), *run = line->slots;
    Py_ssize_t kept = 0, i = 0;
    if (!codes || !out) kept = -1;
    while (kept >= 0 && i < line->n_slots) {
        Py_ssize_t k = 0;
        while (i + k < line->n_slots && is_foldable(&run[i + k])) k++;
        if (k) {
            Py_ssize_t made = fold_run(line, run + i, k, n, codes, out + kept);
            kept = made < 0 ? -1 : kept + made;
            i += k;
        } else {
            out[kept++] = run[i++];
        }
    }
    if (kept >= 0) {
        memcpy(run, out, (size_t)kept * sizeof(Slot));
        line->n_slots = kept;
    }
    free(codes);
    free(out);
    return kept < 0 ? -1 : 0;
}

static PyObject *join(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *slots, *allocate, *data = NULL, *given = NULL;
    Py_ssize_t n;
    Py_buffer ends_view, out;
    Line line;
    if (!PyArg_ParseTuple(args, "O!nw*O", &PyList_Type, &slots, &n, &ends_view, &allocate)) return NULL;
    if (n < 0 || ends_view.len < 8 * (n + 1)) {
        PyErr_SetString(PyExc_ValueError, "there is no room for the ends");
        goto done;
    }
    if (line_parse(&line, slots, n) < 0) goto parsed;
    int64_t *ends = ends_view.buf;
    int folded;
    Py_BEGIN_ALLOW_THREADS;
    folded = line_fold(&line, n);
    Py_END_ALLOW_THREADS;
    if (folded < 0) {
        PyErr_NoMemory();
        goto parsed;
    }
    Py_BEGIN_ALLOW_THREADS;
    int64_t always = 0, total = 0;
    for (Py_ssize_t i = 0; i < line.n_slots; i++)
        if (!line.slots[i].index) always += line.slots[i].length;
    for (Py_ssize_t row = 0; row < n; row++) ends[row + 1] = always;
    for (Py_ssize_t i = 0; i < line.n_slots; i++) {
        const Slot slot = line.slots[i];
        if (!slot.index) continue;
        for (Py_ssize_t row = 0; row < n; row++) {
            int32_t at = slot.index[row];
            if (at >= 0) ends[row + 1] += slot.offsets[at + 1] - slot.offsets[at];
        }
    }
    ends[0] = 0;
    for (Py_ssize_t row = 1; row <= n; row++) ends[row] = total += ends[row];
    Py_END_ALLOW_THREADS;
    given = PyObject_CallFunction(allocate, "L", (long long)ends[n]);
    if (!given || PyObject_GetBuffer(given, &out, PyBUF_WRITABLE) < 0) goto parsed;
    if (out.len < ends[n]) {
        PyErr_SetString(PyExc_ValueError, "there is no room for the texts");
    } else {
        Py_BEGIN_ALLOW_THREADS;
        char *at = out.buf;
        for (Py_ssize_t row = 0; row < n; row++) {
            for (Py_ssize_t i = 0; i < line.n_slots; i++) {
                const Slot *slot = &line.slots[i];
                if (!slot->index) {
                    at = copied(at, slot->text, slot->length);
                } else {
                    int32_t number = slot->index[row];
                    if (number < 0) continue;
                    int64_t start = slot->offsets[number];
                    at = copied(at, slot->data + start, slot->offsets[number + 1] - start);
                }
            }
        }
        Py_END_ALLOW_THREADS;
        data = given;
        Py_INCREF(data);
    }
    PyBuffer_Release(&out);
parsed:
    line_free(&line);
done:
    Py_XDECREF(given);
    PyBuffer_Release(&ends_view);
    return data;
}

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

static void put(char *out, uint64_t digits, int from, int count) {
    /* The first digit is in the highest byte. */
    for (int i = 0; i < count; i++) out[i] = (char)(digits >> (8 * (7 - from - i)));
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
        put(out, a, 0, 8);
        out[8] = '-';
        put(out + 9, b, 0, 4);
        out[13] = '-';
        put(out + 14, b, 4, 4);
        out[18] = '-';
        put(out + 19, c, 0, 4);
        out[23] = '-';
        put(out + 24, c, 4, 4);
        put(out + 28, d, 0, 8);
    }
    Py_END_ALLOW_THREADS;
    return made;
}

/* The identifiers of some rows, one after the other; nothing where a row is negative. */
static PyObject *gathered(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer ids, rows;
    PyObject *made = NULL;
    if (!PyArg_ParseTuple(args, "y*y*", &ids, &rows)) return NULL;
    const int64_t *at = rows.buf;
    Py_ssize_t n = rows.len / 8, count = ids.len / 36, known = 0;
    int64_t high = -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        known += at[i] >= 0;
        high = at[i] > high ? at[i] : high;
    }
    if (high >= count) {
        PyErr_SetString(PyExc_IndexError, "there is no such identifier");
    } else if ((made = PyByteArray_FromStringAndSize(NULL, 36 * known))) {
        const char *in = ids.buf;
        char *out = PyByteArray_AS_STRING(made);
        for (Py_ssize_t i = 0; i < n; i++) {
            if (at[i] < 0) continue;
            memcpy(out, in + 36 * at[i], 36);
            out += 36;
        }
    }
    PyBuffer_Release(&ids);
    PyBuffer_Release(&rows);
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

/* -- Base64 (RFC 4648), of whole threes of bytes ------------------------------------------------------------------ */

static PyObject *base64(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer text;
    PyObject *made = NULL;
    if (!PyArg_ParseTuple(args, "y*", &text)) return NULL;
    if (text.len % 3) {
        PyErr_SetString(PyExc_ValueError, "not whole threes of bytes");
    } else if ((made = PyBytes_FromStringAndSize(NULL, text.len / 3 * 4))) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        /* Two letters for each twelve bits. */
        char pairs[4096][2];
        for (int i = 0; i < 4096; i++) {
            pairs[i][0] = letters[i >> 6];
            pairs[i][1] = letters[i & 63];
        }
        const uint8_t *in = text.buf;
        char *out = PyBytes_AS_STRING(made);
        for (Py_ssize_t i = 0; i < text.len; i += 3, out += 4) {
            uint32_t bits = (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | in[i + 2];
            memcpy(out, pairs[bits >> 12], 2);
            memcpy(out + 2, pairs[bits & 4095], 2);
        }
    }
    PyBuffer_Release(&text);
    return made;
}

static PyMethodDef methods[] = {
    {"join", join, METH_VARARGS, "join(slots, n, ends, allocate): the rows that the slots describe, and their ends."},
    {"uuids", uuids, METH_VARARGS, "uuids(k0, k1, block, count): the texts of identifiers."},
    {"gathered", gathered, METH_VARARGS, "gathered(ids, rows): the identifiers of some rows."},
    {"are_uuids", are_uuids, METH_VARARGS, "are_uuids(texts): whether every 36 bytes are a UUID in lower case."},
    {"turned", turned, METH_VARARGS, "turned(texts, by): UUIDs with their digits combined by exclusive or."},
    {"base64", base64, METH_VARARGS, "base64(data): the letters of whole threes of bytes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&module); }
