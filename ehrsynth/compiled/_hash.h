/* Tables of hashes with open addressing, at most half full. */

#ifndef EHRSYNTH_HASH_H
#define EHRSYNTH_HASH_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint32_t tag;
    int32_t place; /* -1: free */
} Cell;

static inline Cell *table_of(int64_t n, uint64_t *mask) {
    uint64_t cells = 64;
    while (cells < 2 * (uint64_t)n) cells *= 2;
    *mask = cells - 1;
    Cell *table = malloc(cells * sizeof(Cell));
    if (table) memset(table, 0xFF, cells * sizeof(Cell));
    return table;
}

static inline uint64_t mixed(uint64_t state, uint64_t word) {
    /* Small whole numbers as floating ones differ in high bits only, which a product alone leaves there. */
    state ^= word;
    state = (state ^ (state >> 32)) * 0x9E3779B97F4A7C15ULL;
    return state ^ (state >> 29);
}

#endif
