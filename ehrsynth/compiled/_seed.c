/* The state that numpy's SeedSequence makes of 256 bits: ehrsynth.randomness. After O'Neill's seed_seq_fe (2015). */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#define POOL 4

static uint32_t hashed(uint32_t value, uint32_t *by, uint32_t factor) {
    value ^= *by;
    *by *= factor;
    value *= *by;
    return value ^ (value >> 16);
}

static uint32_t mixed_in(uint32_t x, uint32_t y) {
    uint32_t value = 0xCA01F9DDu * x - 0x4973F715u * y;
    return value ^ (value >> 16);
}

/* seeded(digest): 32 bytes, the four 64-bit words of the state */
PyObject *ehrsynth_seeded(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer digest;
    if (!PyArg_ParseTuple(args, "y*", &digest)) return NULL;
    if (digest.len != 32) {
        PyBuffer_Release(&digest);
        PyErr_SetString(PyExc_ValueError, "a digest has 32 bytes");
        return NULL;
    }
    /* The number that the bytes are, highest first, in words, lowest first; without the zeros before it. */
    const uint8_t *byte = digest.buf;
    uint32_t entropy[8], pool[POOL], by = 0x43B0D7E5u;
    int words = 0;
    for (int i = 0; i < 8; i++) {
        const uint8_t *at = byte + 28 - 4 * i;
        entropy[i] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
        if (entropy[i]) words = i + 1;
    }
    PyBuffer_Release(&digest);
    for (int i = 0; i < POOL; i++) pool[i] = hashed(i < words ? entropy[i] : 0, &by, 0x931E8875u);
    for (int from = 0; from < POOL; from++)
        for (int to = 0; to < POOL; to++)
            if (from != to) pool[to] = mixed_in(pool[to], hashed(pool[from], &by, 0x931E8875u));
    for (int from = POOL; from < words; from++)
        for (int to = 0; to < POOL; to++) pool[to] = mixed_in(pool[to], hashed(entropy[from], &by, 0x931E8875u));
    uint64_t state[4];
    by = 0x8B51F9DDu;
    for (int i = 0; i < 4; i++) {
        uint32_t low = hashed(pool[2 * i % POOL], &by, 0x58F38DEDu);
        state[i] = low | (uint64_t)hashed(pool[(2 * i + 1) % POOL], &by, 0x58F38DEDu) << 32;
    }
    return PyBytes_FromStringAndSize((const char *)state, sizeof state);
}
