/* Joining texts: the rows of CSV and NDJSON, of pools of texts and which of them stand in each row (fragments.py). */

#include "_arrays.h"

#include <stdlib.h>

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
    int n_held;
    Slot *slots;
    Py_ssize_t n_slots;
    char *constants; /* texts of neighbours that stand in every row, one after the other */
    void **made;     /* pools and indices of folded runs, to be freed */
    Py_ssize_t n_made;
} Line;

static void line_free(Line *line) {
    while (line->n_held) PyBuffer_Release(&line->held[--line->n_held]);
    PyMem_Free(line->held);
    PyMem_Free(line->slots);
    PyMem_Free(line->constants);
    for (Py_ssize_t i = 0; i < line->n_made; i++) free(line->made[i]);
    free(line->made);
}

/* A slot is (offsets, first, count, data or None, index or int, foldable): `count` texts from number `first` on. */
static int line_parse(Line *line, PyObject *slots, Py_ssize_t start, Py_ssize_t n) {
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
        Py_ssize_t first, texts;
        int64_t size = 0;
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
            const int64_t *ends = hold(line->held, &line->n_held, offsets, 8 * (first + texts + 1), NULL);
            if (!ends) return -1;
            slot->offsets = ends + first;
            slot->data = "";
            if (data != Py_None && !(slot->data = hold(line->held, &line->n_held, data, 0, &size))) return -1;
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
            if (!(slot->index = hold(line->held, &line->n_held, index, 4 * (start + n), NULL))) return -1;
            slot->index += start;
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

PyObject *ehrsynth_join(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *slots, *allocate, *data = NULL, *given = NULL;
    Py_ssize_t start, n;
    Py_buffer ends_view, out;
    Line line;
    if (!PyArg_ParseTuple(args, "O!nnw*O", &PyList_Type, &slots, &start, &n, &ends_view, &allocate)) return NULL;
    if (start < 0 || n < 0 || n > INT32_MAX || start > INT32_MAX || ends_view.len < 8 * (n + 1)) {
        PyErr_SetString(PyExc_ValueError, "there is no room for the ends");
        goto done;
    }
    if (line_parse(&line, slots, start, n) < 0) goto parsed;
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
