/* The decoder of `mobiledistill pack`; docs/pack.md describes the format, mobiledistill/archive/_coder.py is its twin.
   Every number from the archive is checked before it is used; all arithmetic is on integers. */
#include "mdpack.h"

#include <stdlib.h>
#include <string.h>

#include "mdpack_primer.h"

enum {
    VERSION = 1, STORED = 0, MODELLED = 1,
    GROUPS = 6, MIXERS = 3, SETS = 1024, INPUTS = 14,
    LEVELS = 40, ROWS = 3, CURVES = 5, FEATURES = 9,
    HEADS = 1 << 16, LONGEST_MATCH = 65535, MOST_OVERRUN = 4,
    CONTEXTS = 11, GUESSES = 2,
    LONGEST_ROW = 1 << 20, LARGEST_KERNEL = 4096,
    MOST_FILES = 100000, LONGEST_NAME = 4096, MOST_SEGMENTS = 1000000,
    PRODUCTS = 7, MULTIPLES = 8
};
static const uint64_t LARGEST = (uint64_t)1 << 30, LARGEST_LIST = (uint64_t)1 << 26, MOST_TIMES = 2500;
static const uint32_t HASH_A = 0x9E3779B1u, HASH_B = 0x2545F491u, HASH_C = 0x2F0B4C47u, HASH_D = 0x3D4D51CBu;
static const uint32_t FRESH = 32768u << 6, EVEN = (uint32_t)1 << 31;
static const int64_t ONE = (int64_t)1 << 24;

typedef struct {
    int64_t middle, inverse, low, high, cut;
    int bell;
} curve;

typedef struct {
    const uint8_t *payload;
    size_t payload_bytes, at;
    uint32_t low, high, code;
    int overrun, learning, slot_shift;

    uint32_t *slots;
    int32_t (*mixers)[INPUTS + 1];
    uint32_t *rows;
    int32_t *heads;

    int64_t final[GROUPS * 8][MIXERS];
    uint32_t experts[256];
    int64_t linear[5][9][FEATURES];
    int64_t match_at[2], match_length[2];
    uint32_t word;

    uint32_t contexts[CONTEXTS];
    size_t slot_of[CONTEXTS], row_of[ROWS];
    int64_t guess[GUESSES];
    size_t expert_of[GUESSES];
    curve curves[CURVES];
    int64_t inputs[INPUTS];

    int64_t squash[4096], stretch[4096], bells[2][1024], rates[1024];
    size_t memory_left;
} model;

/* -- small things ------------------------------------------------------------------------------------------------ */

/* Shift right and divide, both rounded down, also below zero. */
static int64_t down(int64_t value, int bits) { return value >= 0 ? value >> bits : ~(~value >> bits); }

static int64_t divided(int64_t value, int64_t by) {
    int64_t quotient = value / by;
    return quotient - (value % by < 0);
}

static int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t within(int64_t value, int64_t low, int64_t high) { return at_most(at_least(value, low), high); }

/* Zeroed memory, as long as the limit allows it. */
static void *taken(model *m, size_t count, size_t each) {
    if (count != 0 && each > m->memory_left / count) return NULL;
    void *found = calloc(count ? count : 1, each);
    if (found) m->memory_left -= count * each;
    return found;
}

static void given_back(model *m, void *memory, size_t count, size_t each) {
    if (memory) m->memory_left += count * each;
    free(memory);
}

/* -- tables ------------------------------------------------------------------------------------------------------ */

static void make_tables(model *m) {
    int64_t falling = (int64_t)1 << 30;
    m->squash[0] = 0;
    for (int x = 0; x < 2048; x++) {
        m->squash[2048 + x] = ((int64_t)65536 << 30) / (((int64_t)1 << 30) + falling);
        m->squash[2048 - x] = 65536 - m->squash[2048 + x];
        falling = (falling * 4278222805 + ((int64_t)1 << 31)) >> 32;
    }
    for (int i = 0, x = 1; i < 4096; i++) {
        while (x < 4095 && m->squash[x] < 16 * i + 8) x++;
        m->stretch[i] = x - 2048;
    }
    int64_t height = (int64_t)1 << 30, ratio = 4294836226, half = 0;
    int64_t heights[1024];
    for (int k = 0; k < 1024; k++) {
        heights[k] = height;
        half += height;
        height = height * ratio >> 32;
        ratio = (int64_t)((uint64_t)ratio * 4294705160u >> 32);
    }
    int64_t below = half;
    for (int k = 0; k < 1024; k++) {
        m->bells[0][k] = (below << 24) / (2 * half);
        m->bells[1][k] = m->squash[2048 + at_most(2047, k * 3629 / 1000)] << 8;
        below += heights[k];
    }
    for (int n = 0; n < 1024; n++) m->rates[n] = 131072 / (2 * n + 3);
}

static void make_rows(uint32_t *table, int bits) {
    int size = 1 << bits;
    int64_t mass[512];
    for (int level = 0; level < LEVELS; level++) {
        int octave = level >> 2, part = level & 3;
        int64_t mean = at_least(((int64_t)(4 + part) << (octave + 4)) + ((int64_t)1 << (octave + 3)) - 64, 16);
        int64_t scale = mean * 55 >> 4, square = scale * scale;
        for (int symbol = 0; symbol < size; symbol++) {
            int64_t value = symbol - (size >> 1);
            int64_t share = (square << 16) / (square + value * value * 65536);
            int64_t weight = ONE;
            for (int k = 0; k < 5; k++) weight = weight * share >> 16;
            mass[size + symbol] = weight + 8;
        }
        for (int node = 0; node < 256; node++) table[level * 256 + node] = EVEN;
        for (int node = size - 1; node > 0; node--) {
            mass[node] = mass[2 * node] + mass[2 * node + 1];
            int64_t p = (mass[2 * node + 1] << 22) / mass[node];
            table[level * 256 + node] = (uint32_t)within(p, 1 << 10, (1 << 22) - (1 << 10)) << 10 | 20;
        }
    }
}

static mdpack_status make_model(model *m, uint64_t size) {
    static const int64_t linear[FEATURES] = {13107, 9830, 0, 3276, 6553, 0, 1966, 0, 9830};
    int slot_bits = 5;
    for (uint64_t rest = size; rest; rest >>= 1) slot_bits++;
    slot_bits = (int)within(slot_bits, 16, 22);
    size_t slots = (size_t)1 << slot_bits;
    m->slots = taken(m, slots, sizeof *m->slots);
    m->mixers = taken(m, (size_t)GROUPS * MIXERS * SETS, sizeof *m->mixers);
    m->rows = taken(m, (size_t)4 * ROWS * LEVELS * 256, sizeof *m->rows);
    m->heads = taken(m, (size_t)2 * HEADS, sizeof *m->heads);
    if (!m->slots || !m->mixers || !m->rows || !m->heads) return MDPACK_MEMORY;
    m->at = 4;
    m->high = 0xFFFFFFFFu;
    for (size_t i = 0; i < 4; i++) m->code = m->code << 8 | (i < m->payload_bytes ? m->payload[i] : 0u);
    m->slot_shift = 32 - slot_bits;
    for (size_t i = 0; i < slots; i++) m->slots[i] = FRESH;
    for (int group = 0; group < GROUPS; group++) {
        for (int set = 0; set < MIXERS * SETS; set++) {
            int32_t *weights = m->mixers[group * MIXERS * SETS + set];
            for (int i = 0; i < INPUTS; i++) {
                if (group == 0) weights[i] = i < 13 ? 19660 : 0;
                else if (group == 5) weights[i] = i < 8 ? 16384 : 0;
                else weights[i] = i < 4 ? 655 : i < 7 ? 5461 : i < 12 ? 9830 : 0;
            }
        }
    }
    for (int i = 0; i < GROUPS * 8; i++)
        for (int j = 0; j < MIXERS; j++) m->final[i][j] = 21845;
    for (int group = 0; group < 4; group++)
        for (int k = 0; k < ROWS; k++) make_rows(m->rows + (group * ROWS + k) * LEVELS * 256, 2 * group + 2);
    for (int i = 0; i < 256; i++) m->experts[i] = (3u << 20) << 10 | 4;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 9; j++) memcpy(m->linear[i][j], linear, sizeof linear);
    return MDPACK_OK;
}

/* -- one symbol -------------------------------------------------------------------------------------------------- */

static int code_bit(model *m, int bit, int64_t p) {
    if (m->learning) return bit;
    uint32_t middle = m->low + (uint32_t)((uint64_t)(m->high - m->low) * (uint64_t)p >> 16);
    bit = m->code <= middle;
    if (bit) m->high = middle;
    else m->low = middle + 1;
    while ((m->low ^ m->high) >> 24 == 0) {
        uint32_t byte = 0;
        if (m->at < m->payload_bytes) byte = m->payload[m->at];
        else if (m->overrun <= MOST_OVERRUN) m->overrun++;
        m->at++;
        m->code = m->code << 8 | byte;
        m->low <<= 8;
        m->high = m->high << 8 | 255;
    }
    return bit;
}

static int is_open(const model *m, int i, int node, int place, int bits) {
    return m->guess[i] >= 0 && (m->guess[i] | (1 << bits)) >> (bits - place) == node;
}

/* Fills in what each guess says of the next bit; returns how many there are. */
static int gather(model *m, int node, int place, int bits, int contexts, int rows, int guesses, int curves, int *sure) {
    int n = 0;
    *sure = 0;
    for (int i = 0; i < contexts; i++) {
        uint32_t h = m->contexts[i] + (uint32_t)node * HASH_A;
        h = (h ^ h >> 15) * HASH_B;
        h ^= h >> 13;
        uint32_t *slot = m->slots + (h >> m->slot_shift);
        if (*slot >> 22 != (h & 1023)) *slot = (h & 1023) << 22 | FRESH;
        m->slot_of[i] = h >> m->slot_shift;
        m->inputs[n++] = *slot & 63 ? m->stretch[*slot >> 10 & 4095] : 0;
        *sure += (*slot & 63) != 0;
    }
    for (int i = 0; i < rows; i++) m->inputs[n++] = m->stretch[m->rows[m->row_of[i] + (size_t)node] >> 20];
    for (int i = 0; i < guesses; i++) {
        int64_t said = is_open(m, i, node, place, bits) ? m->stretch[m->experts[m->expert_of[i]] >> 20] : 0;
        m->inputs[n++] = m->guess[i] >= 0 && (m->guess[i] >> (bits - 1 - place) & 1) ? said : -said;
    }
    for (int i = 0; i < curves; i++) {
        curve *c = m->curves + i;
        int64_t first = ((int64_t)(2 * node + 1) << (bits - 1 - place)) - (1 << bits);
        int64_t z = down(((2 * first - (1 << bits) - 1) * 128 - c->middle) * c->inverse, 16);
        int64_t cut = z >= 0 ? m->bells[c->bell][at_most(z, 1023)] : ONE - m->bells[c->bell][at_most(-z, 1023)];
        c->cut = within(cut, c->low, c->high);
        m->inputs[n++] = m->stretch[at_most(((c->high - c->cut + 64) << 12) / (c->high - c->low + 128), 4095)];
    }
    m->inputs[n++] = 256;
    return n;
}

static void learn(model *m, int bit, int node, int place, int bits, int group, int contexts, int rows, int guesses,
                  int curves) {
    int64_t most = group ? 63 : 30;
    for (int i = 0; i < contexts; i++) {
        uint32_t *slot = m->slots + m->slot_of[i];
        int64_t p = *slot >> 6 & 65535, count = *slot & 63;
        p += down((65535 * bit - p) * m->rates[count], 16);
        *slot = (*slot & 0xFFC00000u) | (uint32_t)p << 6 | (uint32_t)at_most(count + 1, most);
    }
    for (int i = 0; i < rows; i++) {
        uint32_t *row = m->rows + m->row_of[i] + node;
        int64_t p = *row >> 10, count = *row & 1023;
        p += down(((int64_t)4194303 * bit - p) * m->rates[count], 16);
        *row = (uint32_t)p << 10 | (uint32_t)at_most(count + 1, 1000);
    }
    for (int i = 0; i < guesses; i++) {
        if (!is_open(m, i, node, place, bits)) continue;
        uint32_t *expert = m->experts + m->expert_of[i];
        int64_t p = *expert >> 10, count = *expert & 1023;
        int right = (m->guess[i] >> (bits - 1 - place) & 1) == bit;
        p += down(((right ? (int64_t)4194303 : 0) - p) * m->rates[count], 16);
        *expert = (uint32_t)p << 10 | (uint32_t)at_most(count + 1, 250);
    }
    for (int i = 0; i < curves; i++) {
        if (bit) m->curves[i].low = m->curves[i].cut;
        else m->curves[i].high = m->curves[i].cut;
    }
}

/* Decodes a symbol, the highest bit first, and learns from each; while learning, the symbol is the one given. */
static int code(model *m, int symbol, int bits, int group, int contexts, int rows, int guesses, int curves, int select0,
                int select1) {
    for (int i = 0; i < curves; i++) {
        m->curves[i].low = 0;
        m->curves[i].high = ONE;
    }
    int node = 1;
    for (int place = 0; place < bits; place++) {
        int sure;
        int inputs = gather(m, node, place, bits, contexts, rows, guesses, curves, &sure);
        int32_t *sets[MIXERS] = {
            m->mixers[group * MIXERS * SETS + select0 * 256 + node],
            m->mixers[(group * MIXERS + 1) * SETS + select1 * 8 + place],
            m->mixers[(group * MIXERS + 2) * SETS + sure * 8 + place],
        };
        int64_t outputs[MIXERS], mixed = 0;
        int64_t *final = m->final[group * 8 + place];
        for (int j = 0; j < MIXERS; j++) {
            int64_t total = 0;
            for (int i = 0; i < inputs; i++) total += m->inputs[i] * sets[j][i];
            outputs[j] = within(down(total, 16), -2047, 2047);
            mixed += outputs[j] * final[j];
        }
        int64_t p = m->squash[2048 + within(down(mixed, 16), -2047, 2047)];
        int bit = code_bit(m, symbol >> (bits - 1 - place) & 1, p);
        int64_t error = 65536 * bit - p;
        for (int j = 0; j < MIXERS; j++) {
            final[j] += down(outputs[j] * error * 10 + (1 << 19), 20);
            int64_t count = sets[j][INPUTS];
            int64_t step = (65536 * bit - m->squash[2048 + outputs[j]]) * (6 + 6000 / (200 + count));
            sets[j][INPUTS] = (int32_t)at_most(count + 1, 65535);
            for (int i = 0; i < inputs; i++) {
                int64_t moved = sets[j][i] + down(m->inputs[i] * step + (1 << 21), 22);
                sets[j][i] = (int32_t)within(moved, -(1 << 24), 1 << 24);
            }
        }
        learn(m, bit, node, place, bits, group, contexts, rows, guesses, curves);
        node = 2 * node + bit;
    }
    return node - (1 << bits);
}

static int starved(const model *m) { return m->overrun > MOST_OVERRUN; }

/* -- structure --------------------------------------------------------------------------------------------------- */

static uint32_t before(const uint8_t *stream, size_t i, size_t back) { return i >= back ? stream[i - back] : 0; }

static void structure_contexts(model *m, const uint8_t *stream, size_t i) {
    uint32_t c1 = before(stream, i, 1), c2 = before(stream, i, 2), c3 = before(stream, i, 3), c4 = before(stream, i, 4);
    uint32_t two = c1 | c2 << 8, three = two | c3 << 16, four = three | c4 << 24;
    int letter = ((c1 | 32) >= 97 && (c1 | 32) <= 122) || (c1 >= 48 && c1 <= 57);
    m->word = letter ? (m->word + c1) * HASH_C : 0;
    m->contexts[0] = 0;
    m->contexts[1] = c1;
    m->contexts[2] = two;
    m->contexts[3] = three * HASH_C;
    m->contexts[4] = four * HASH_C;
    m->contexts[5] = four * HASH_C + (before(stream, i, 5) | before(stream, i, 6) << 8) * HASH_D;
    m->contexts[6] = (uint32_t)(i & 3) << 8 | c4;
    m->contexts[7] = c4 << 8 | before(stream, i, 8);
    m->contexts[8] = c2 << 8 | c3;
    m->contexts[9] = (uint32_t)(i & 3) << 16 | two;
    m->contexts[10] = m->word;
    for (uint32_t k = 0; k < 11; k++) m->contexts[k] = (m->contexts[k] + (k << 24)) * HASH_B + k * HASH_D;
}

static void find_match(model *m, const uint8_t *stream, size_t i, int k) {
    size_t need = k ? 3 : 6;
    if (i >= need) {
        uint32_t h = 0;
        for (size_t back = 1; back <= need; back++) h = (h + stream[i - back] + 1) * HASH_C;
        int32_t *head = m->heads + (size_t)k * HEADS + (h >> 16);
        if (m->match_length[k] == 0) {
            int64_t there = *head, length = 0;
            while (length < 32 && length < there && stream[there - 1 - length] == stream[(int64_t)i - 1 - length]) length++;
            m->match_at[k] = there;
            m->match_length[k] = length >= (int64_t)need ? length : 0;
        }
        *head = (int32_t)i;
    }
    m->guess[k] = m->match_length[k] ? stream[m->match_at[k]] : -1;
    m->expert_of[k] = (size_t)(64 * k + at_most(m->match_length[k], 32));
}

static void structure(model *m, uint8_t *stream, size_t start, size_t stop) {
    for (size_t i = start; i < stop && !starved(m); i++) {
        structure_contexts(m, stream, i);
        for (int k = 0; k < 2; k++) find_match(m, stream, i, k);
        int64_t length = m->match_length[0];
        int select0 = length == 0 ? 0 : length < 16 ? 1 : 2;
        int select1 = length == 0 ? 0 : 1 + (int)at_most(length, 31) / 4;
        stream[i] = (uint8_t)code(m, stream[i], 8, 0, 11, 0, 2, 0, select0, select1);
        for (int k = 0; k < 2; k++) {
            if (!m->match_length[k]) continue;
            if (stream[m->match_at[k]] == stream[i]) {
                m->match_at[k]++;
                m->match_length[k] = at_most(m->match_length[k] + 1, LONGEST_MATCH);
            } else {
                m->match_length[k] = 0;
            }
        }
    }
}

/* -- tensors ----------------------------------------------------------------------------------------------------- */

typedef struct {
    size_t begin, end, scalar, array;
    uint32_t row, step, across, down;
    uint8_t kind;
} segment;

static int level_of(int64_t mean) {
    int64_t t = mean + 64;
    int octave = 0;
    while (t >> octave >= 128) octave++;
    return (int)at_most(4 * octave + (t >> (octave + 4) & 3), LEVELS - 1);
}

static uint32_t octave_of(int64_t value) {
    int64_t size = value < 0 ? -value : value;
    uint32_t octave = 0;
    while (size >> octave) octave++;
    return 2 * octave + (value < 0);
}

/* What is remembered while a tensor of small integers is read. */
typedef struct {
    int16_t *values;
    int64_t *sizes, *means, *places;
} memory;

static void elements_in(model *m, uint8_t *content, const segment *s, int number, size_t count, memory w) {
    int bits = 2 * (s->kind & 3) + 2, group = bits / 2, half = 1 << (bits - 1), sign = s->kind & 16 ? half : 0;
    size_t row = s->row, step = s->step, across = s->across, lines = s->down, far = step * across;
    int64_t feature[FEATURES], power[FEATURES];
    int64_t local = (half << 8) / 4, all_sizes = local, row_sum = 0, row_count = 0;
    for (size_t j = 0; j < row; j++) w.sizes[j] = -1;
    for (int k = 0; k < FEATURES; k++) power[k] = half * half << 2;
    for (size_t i = 0; i < count; i++) {
        size_t column = i % row, x = i / step % across, y = i / far % lines, place = y * across + x;
        if (column == 0) {
            if (row_count) {
                int64_t mean = row_sum / row_count;
                all_sizes += i > row ? down(mean - all_sizes, 2) : mean - all_sizes;
            }
            row_sum = row_count = 0;
            memset(w.places, 0, across * lines * sizeof *w.places);
        }
        int64_t left = column ? w.values[i - 1] : 0;
        feature[0] = x && i >= step ? w.values[i - step] : 0;
        feature[1] = y && i >= far ? w.values[i - far] : 0;
        feature[2] = x && y && i >= far + step ? w.values[i - far - step] : 0;
        feature[3] = y && x + 1 < across && i >= far ? w.values[i - far + step] : 0;
        feature[4] = down(w.means[column], 8);
        feature[5] = i >= row ? w.values[i - row] : 0;
        feature[6] = x > 1 && i >= 2 * step ? w.values[i - 2 * step] : 0;
        feature[7] = step > 1 || across == 1 ? left : 0;
        feature[8] = down(w.places[place], 8);
        int64_t *weights = m->linear[group][at_most((int64_t)x, 2) + 3 * at_most((int64_t)y, 2)];
        int64_t middle = 0;
        for (int k = 0; k < FEATURES; k++) middle += feature[k] * weights[k];
        middle = within(down(middle, 8), -(half << 8), half << 8);
        int64_t row_size = (row_sum + all_sizes * 6) / (row_count + 6);
        int64_t size = w.sizes[column] >= 0 ? w.sizes[column] : row_size;
        int64_t joint = (row_size * (size + 32) / (all_sizes + 32) + row_size) >> 1;
        int64_t mean = (3 * joint + local) >> 2;
        int level = level_of(mean);
        int64_t spreads[CURVES] = {joint * 80 >> 6, mean * 80 >> 6, row_size, mean * 100 >> 6, mean * 80 >> 6};
        for (int k = 0; k < CURVES; k++) {
            m->curves[k].middle = middle;
            m->curves[k].inverse = (1 << 23) / (spreads[k] + 20);
            m->curves[k].bell = k == 4;
        }
        size_t base = (size_t)(group - 1) * ROWS * LEVELS;
        m->row_of[0] = (base + (size_t)level) * 256;
        m->row_of[1] = (base + LEVELS + (size_t)at_most(number, LEVELS - 1)) * 256;
        m->row_of[2] = (base + 2 * LEVELS + (size_t)level_of(row_size)) * 256;
        int64_t tilt = within(divided(middle * 4, joint + 32), -7, 7) + 8;
        m->contexts[0] = (uint32_t)number;
        m->contexts[1] = (uint32_t)(tilt << 6 | level);
        m->contexts[2] = octave_of(feature[0]) << 5 | octave_of(feature[1]);
        m->contexts[3] = octave_of(left) << 5 | octave_of(feature[5]);
        for (uint32_t k = 0; k < 4; k++)
            m->contexts[k] = (m->contexts[k] + ((16 * (uint32_t)group + k) << 24)) * HASH_B;
        int symbol = code(m, 0, bits, group, 4, ROWS, 0, CURVES, 0, level);
        if (starved(m)) return;
        for (int b = 0; b < bits; b++) {
            size_t bit = i * (size_t)bits + (size_t)b;
            if (s->begin + bit / 8 < s->end && ((symbol ^ sign) >> b & 1))
                content[s->begin + bit / 8] |= (uint8_t)(1 << (bit & 7));
        }
        int64_t value = symbol - half, error = value * 256 - middle;
        w.values[i] = (int16_t)value;
        int64_t rate = 15 + 480 / (at_most((int64_t)i, 1000) + 33);
        for (int k = 0; k < FEATURES; k++) {
            power[k] += down(16 * feature[k] * feature[k] - power[k], 5);
            int64_t moved = weights[k] + divided(error * feature[k] * rate, power[k] + 64);
            weights[k] = within(moved, -(1 << 20), 1 << 20);
        }
        size = error < 0 ? -error : error;
        local += down((size - local) * 3, 4);
        row_sum += size;
        row_count++;
        w.sizes[column] = w.sizes[column] >= 0 ? (3 * w.sizes[column] + size) >> 2 : (size + 2 * row_size) / 3;
        w.means[column] += down(value * 256 - w.means[column], i < 4 * row ? 2 : 3);
        w.places[place] += down(value * 256 - w.places[place], 4);
    }
}

static mdpack_status elements(model *m, uint8_t *content, const segment *s, int number) {
    size_t bits = 2 * (s->kind & 3u) + 2, count = ((s->end - s->begin) * 8 + bits - 1) / bits;
    size_t row = s->row, kernel = (size_t)s->across * s->down;
    memory w = {taken(m, count, sizeof *w.values), taken(m, row, sizeof *w.sizes), taken(m, row, sizeof *w.means),
                taken(m, kernel, sizeof *w.places)};
    int whole = w.values && w.sizes && w.means && w.places;
    if (whole) elements_in(m, content, s, number, count, w);
    given_back(m, w.values, count, sizeof *w.values);
    given_back(m, w.sizes, row, sizeof *w.sizes);
    given_back(m, w.means, row, sizeof *w.means);
    given_back(m, w.places, kernel, sizeof *w.places);
    return whole ? MDPACK_OK : MDPACK_MEMORY;
}

static void wide(model *m, uint8_t *content, size_t begin, size_t end, uint32_t width, int number) {
    uint32_t last[8] = {0}, older[8] = {0};
    for (size_t at = begin; at < end && !starved(m); at += width) {
        uint32_t head = 0;
        int same = 1;
        for (uint32_t b = width; b-- > 0;) {
            uint32_t place = width - 1 - b, key = width << 8 | place << 4;
            m->contexts[0] = key;
            m->contexts[1] = key + head * HASH_C;
            m->contexts[2] = key + last[b] * HASH_D;
            m->contexts[3] = key + (last[b] << 8 | (head & 255)) * HASH_D;
            m->contexts[4] = key + (last[b] << 8 | older[b]) * HASH_D;
            m->contexts[5] = key + (uint32_t)number * HASH_D;
            m->contexts[6] = key + (uint32_t)number * HASH_D + head * HASH_C;
            for (uint32_t k = 0; k < 7; k++) m->contexts[k] = (m->contexts[k] + ((80 + k) << 24)) * HASH_B;
            m->guess[0] = same ? (int64_t)last[b] : -1;
            m->expert_of[0] = 128 + place;
            uint32_t byte = (uint32_t)code(m, 0, 8, 5, 7, 0, 1, 0, 0, (int)place * 2 + same);
            content[at + b] = (uint8_t)byte;
            if (byte != last[b]) same = 0;
            head = head << 8 | byte;
        }
        for (uint32_t b = 0; b < width; b++) {
            older[b] = last[b];
            last[b] = content[at + b];
        }
    }
}

static uint32_t word_at(const uint8_t *content) {
    return content[0] | (uint32_t)content[1] << 8 | (uint32_t)content[2] << 16 | (uint32_t)content[3] << 24;
}

/* A whole number times two floats: exact, then rounded once, half to even; 0 where anything is not of normal size. */
static uint32_t product(int32_t number, uint32_t a, uint32_t b) {
    uint32_t ea = a >> 23 & 255, eb = b >> 23 & 255;
    if (number == 0 || ea == 0 || ea == 255 || eb == 0 || eb == 255) return 0;
    uint64_t mantissa = (uint64_t)((a & 0x7FFFFF) | 0x800000) * ((b & 0x7FFFFF) | 0x800000);
    uint64_t size = number < 0 ? (uint64_t)(-(int64_t)number) : (uint64_t)number;
    uint64_t low = size * (mantissa & 0xFFFFFF), high = size * (mantissa >> 24) + (low >> 24);
    int exponent = (int)ea + (int)eb - 150;
    low &= 0xFFFFFF;
    while (high >> 55 == 0) {
        low <<= 1;
        high = high << 1 | low >> 24;
        low &= 0xFFFFFF;
        exponent--;
    }
    uint64_t whole = high >> 32, rest = (high & 0xFFFFFFFF) << 1 | (low != 0), half = (uint64_t)1 << 32;
    if (rest > half || (rest == half && (whole & 1))) whole++;
    exponent += 56 + (int)(whole >> 24);
    if (exponent <= 0 || exponent >= 255) return 0;
    uint32_t sign = (a >> 31) ^ (b >> 31) ^ (uint32_t)(number < 0);
    return sign << 31 | (uint32_t)exponent << 23 | ((uint32_t)whole & 0x7FFFFF);
}

static void derived(model *m, uint8_t *content, const segment *s, int number) {
    size_t length = s->end - s->begin;
    if (s->kind == MULTIPLES) wide(m, content, s->begin, s->end, 4, number);
    uint32_t scalar = word_at(content + s->scalar);
    for (size_t i = 0; i < length; i += 4) {
        uint32_t times = s->kind == MULTIPLES ? word_at(content + s->begin + i) : 1;
        int32_t signed_times;
        memcpy(&signed_times, &times, 4);
        uint32_t found = product(signed_times, scalar, word_at(content + s->array + i));
        for (size_t b = 0; b < 4; b++) content[s->begin + i + b] = (uint8_t)(found >> (8 * b));
    }
}

/* -- the list ---------------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *bytes;
    size_t size, at;
    int bad;
} numbers;

static uint64_t next(numbers *n) {
    uint64_t value = 0;
    for (int place = 0; place < 5; place++) {
        if (n->bad || n->at >= n->size) break;
        uint8_t byte = n->bytes[n->at++];
        value |= (uint64_t)(byte & 127) << (7 * place);
        if (byte < 128) return value;
    }
    n->bad = 1;
    return 0;
}

static void skip(numbers *n, uint64_t count) {
    if (count > n->size - n->at) n->bad = 1;
    else n->at += (size_t)count;
}

static int is_apart(uint64_t at, uint64_t length, uint64_t begin, uint64_t end, uint64_t size) {
    return at + length <= size && (at + length <= begin || at >= end);
}

static int read_segment(numbers *n, segment *s, uint64_t size) {
    uint64_t length = s->end - s->begin;
    if (s->kind == PRODUCTS || s->kind == MULTIPLES) {
        uint64_t scalar = next(n), array = next(n);
        s->scalar = (size_t)scalar;
        s->array = (size_t)array;
        return length % 4 == 0 && is_apart(scalar, 4, s->begin, s->end, size)
               && is_apart(array, length, s->begin, s->end, size);
    }
    if (s->kind >= 4 && s->kind <= 6) return length % ((uint64_t)2 << (s->kind - 4)) == 0;
    if (s->kind & 12) return 0;
    uint64_t bits = 2 * (s->kind & 3u) + 2, count = (length * 8 + bits - 1) / bits;
    uint64_t row = next(n), step = 1, across = 1, lines = 1;
    if (s->kind & 32) {
        step = next(n);
        across = next(n);
        lines = next(n);
    }
    if (row < 1 || row > count || row > LONGEST_ROW || step < 1 || across < 1 || lines < 1) return 0;
    if (step > count || across > LARGEST_KERNEL || lines > LARGEST_KERNEL || across * lines > LARGEST_KERNEL) return 0;
    s->row = (uint32_t)row;
    s->step = (uint32_t)step;
    s->across = (uint32_t)across;
    s->down = (uint32_t)lines;
    return 1;
}

/* Reads the tensors' list; *found is to be given back, also where the list is bad. */
static mdpack_status read_segments(model *m, numbers *n, uint64_t size, segment **found, size_t *count) {
    uint64_t wanted = next(n), end = 0;
    if (n->bad || wanted > MOST_SEGMENTS || wanted > n->size) return MDPACK_DAMAGED;
    *found = taken(m, (size_t)wanted, sizeof **found);
    if (!*found) return MDPACK_MEMORY;
    *count = (size_t)wanted;
    segment *s = *found;
    for (size_t i = 0; i < wanted; i++) s[i].begin = (size_t)next(n);
    for (size_t i = 0; i < wanted; i++) s[i].end = (size_t)next(n);
    for (size_t i = 0; i < wanted && !n->bad; i++) {
        uint64_t kind = next(n);
        uint64_t begin = end + s[i].begin, length = s[i].end;
        end = begin + length;
        if (end > size || length < 1 || kind > 63) return MDPACK_DAMAGED;
        s[i].begin = (size_t)begin;
        s[i].end = (size_t)end;
        s[i].kind = (uint8_t)kind;
    }
    for (size_t i = 0; i < wanted; i++)
        if (!read_segment(n, s + i, size) || n->bad) return MDPACK_DAMAGED;
    return n->bad || n->at != n->size ? MDPACK_DAMAGED : MDPACK_OK;
}

/* -- names ------------------------------------------------------------------------------------------------------- */

static int is_utf8(const uint8_t *text, size_t size) {
    for (size_t i = 0; i < size;) {
        uint8_t first = text[i];
        size_t more = first < 0x80 ? 0 : first < 0xC2 ? 9 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : first < 0xF5 ? 3 : 9;
        if (more > 3 || more > size - i - 1) return 0;
        for (size_t k = 1; k <= more; k++)
            if ((text[i + k] & 0xC0) != 0x80) return 0;
        if (first == 0xE0 && text[i + 1] < 0xA0) return 0;
        if (first == 0xED && text[i + 1] > 0x9F) return 0;
        if (first == 0xF0 && text[i + 1] < 0x90) return 0;
        if (first == 0xF4 && text[i + 1] > 0x8F) return 0;
        i += more + 1;
    }
    return 1;
}

/* A path below the folder: no part is empty, '.' or '..', or has a character that some system reads as more. */
static int is_safe(const uint8_t *name, size_t size) {
    if (!is_utf8(name, size)) return 0;
    if (size && name[size - 1] == '/') size--;
    size_t start = 0;
    for (size_t i = 0; i <= size; i++) {
        if (i < size && name[i] != '/') {
            if (name[i] == '\\' || name[i] == ':' || name[i] == 0) return 0;
            continue;
        }
        size_t length = i - start;
        if (length == 0 || (length == 1 && name[start] == '.')) return 0;
        if (length == 2 && name[start] == '.' && name[start + 1] == '.') return 0;
        start = i + 1;
    }
    return 1;
}

static int compared(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) {
    int found = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return found ? found : (a_size > b_size) - (a_size < b_size);
}

static int read_names(numbers *n, uint64_t size, mdpack_contents *found) {
    uint64_t count = next(n), sum = 0;
    if (n->bad || count > (uint64_t)MOST_FILES + 1) return 0;
    found->is_folder = count > 0;
    found->files = count ? (size_t)count - 1 : 0;
    found->names = n->bytes + n->at;
    if (count == 0) return 1;
    const uint8_t *last = (const uint8_t *)"";
    size_t last_size = 0;
    for (uint64_t i = 0; i + 1 < count; i++) {
        uint64_t length = next(n);
        const uint8_t *name = n->bytes + n->at;
        if (n->bad || length > LONGEST_NAME) return 0;
        skip(n, length);
        uint64_t bytes = next(n);
        if (n->bad || !is_safe(name, (size_t)length)) return 0;
        if (compared(name, (size_t)length, last, last_size) <= 0) return 0;
        if (bytes > size - sum || (bytes && name[length - 1] == '/')) return 0;
        sum += bytes;
        last = name;
        last_size = (size_t)length;
    }
    return sum == size;
}

int mdpack_file_at(const mdpack_contents *found, size_t index, mdpack_file *file) {
    if (!found->is_folder || index >= found->files) return 0;
    numbers n = {found->names, found->names_bytes, 0, 0};
    uint64_t sum = 0;
    for (size_t i = 0;; i++) {
        uint64_t length = next(&n);
        const uint8_t *name = n.bytes + n.at;
        skip(&n, length);
        uint64_t bytes = next(&n);
        if (n.bad) return 0;
        if (i == index) {
            file->name = (const char *)name;
            file->name_bytes = (size_t)length;
            file->data = found->content + sum;
            file->data_bytes = (size_t)bytes;
            return 1;
        }
        sum += bytes;
    }
}

/* -- all of it --------------------------------------------------------------------------------------------------- */

static uint32_t checksum(uint32_t so_far, const uint8_t *bytes, size_t size) {
    uint32_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int k = 0; k < 8; k++) value = value & 1 ? 0xEDB88320u ^ value >> 1 : value >> 1;
        table[i] = value;
    }
    so_far = ~so_far;
    for (size_t i = 0; i < size; i++) so_far = table[(so_far ^ bytes[i]) & 255] ^ so_far >> 8;
    return ~so_far;
}

/* Whether the payload ends with the fewest bytes that tell the last interval from all others. */
static int ends_well(const model *m) {
    size_t shifted = m->at - 4;
    for (size_t count = 1; count <= 4; count++) {
        uint64_t step = (uint64_t)1 << (32 - 8 * count), value = (m->low + step - 1) / step * step;
        if (value > m->high) continue;
        if (m->payload_bytes < shifted || m->payload_bytes - shifted != count) return 0;
        for (size_t i = 0; i < count; i++)
            if (m->payload[shifted + i] != (uint8_t)(value >> (24 - 8 * i))) return 0;
        return 1;
    }
    return 0;
}

/* Reads what lies outside the tensors, then those that stand alone, then those that follow from others. */
static mdpack_status read_content(model *m, uint8_t *stream, size_t at, const segment *segments, size_t count,
                                  mdpack_contents *found) {
    uint8_t *content = found->content;
    size_t end = 0, outside = found->content_bytes;
    for (size_t i = 0; i < count; i++) outside -= segments[i].end - segments[i].begin;
    structure(m, stream, at, at + outside);
    for (size_t i = 0; i < count; i++) {
        memcpy(content + end, stream + at, segments[i].begin - end);
        at += segments[i].begin - end;
        end = segments[i].end;
    }
    memcpy(content + end, stream + at, found->content_bytes - end);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < count && !starved(m); i++) {
            const segment *s = segments + i;
            mdpack_status status = MDPACK_OK;
            int follows = s->kind == PRODUCTS || s->kind == MULTIPLES;
            if (follows != pass) continue;
            if (follows) derived(m, content, s, (int)i);
            else if (s->kind >= 4 && s->kind <= 6) wide(m, content, s->begin, s->end, 2u << (s->kind - 4), (int)i);
            else status = elements(m, content, s, (int)i);
            if (status != MDPACK_OK) return status;
        }
    }
    return starved(m) || !ends_well(m) ? MDPACK_DAMAGED : MDPACK_OK;
}

/* The list is the files' names and sizes, then the tensors; *names_bytes is the length of the first part. */
static mdpack_status read_list(model *m, uint8_t *list, size_t length, size_t end, mdpack_contents *found,
                               size_t *names_bytes) {
    numbers n = {list, length, 0, 0};
    segment *segments = NULL;
    size_t count = 0;
    if (starved(m) || !read_names(&n, found->content_bytes, found)) return MDPACK_DAMAGED;
    *names_bytes = n.at;
    mdpack_status status = read_segments(m, &n, found->content_bytes, &segments, &count);
    if (status == MDPACK_OK) status = read_content(m, found->held, end, segments, count, found);
    free(segments);
    return status;
}

static mdpack_status read_modelled(model *m, mdpack_contents *found, const uint8_t **names, size_t *names_bytes) {
    size_t primer = sizeof mdpack_primer, at = primer;
    uint8_t start[sizeof mdpack_primer + 8];
    memcpy(start, mdpack_primer, primer);
    m->learning = 1;
    structure(m, start, 0, primer);
    m->learning = 0;
    do {
        structure(m, start, at, at + 1);
        at++;
    } while (start[at - 1] >= 128 && at - primer < 5);
    numbers head = {start + primer, at - primer, 0, 0};
    uint64_t length = next(&head), most = MOST_TIMES * ((uint64_t)m->payload_bytes + 8);
    if (head.bad || length > LARGEST_LIST || length > most || starved(m)) return MDPACK_DAMAGED;
    uint8_t *stream = taken(m, at + (size_t)length + found->content_bytes, 1);
    if (!stream) return MDPACK_MEMORY;
    found->held = stream;
    memcpy(stream, start, at);
    structure(m, stream, at, at + (size_t)length);
    *names = stream + at;
    return read_list(m, stream + at, (size_t)length, at + (size_t)length, found, names_bytes);
}

static mdpack_status read_stored(model *m, mdpack_contents *found, const uint8_t **names, size_t *names_bytes) {
    if (m->payload_bytes < found->content_bytes) return MDPACK_DAMAGED;
    size_t length = m->payload_bytes - found->content_bytes;
    found->held = taken(m, length, 1);
    if (!found->held) return MDPACK_MEMORY;
    memcpy(found->held, m->payload, length);
    memcpy(found->content, m->payload + length, found->content_bytes);
    numbers n = {found->held, length, 0, 0};
    *names = found->held;
    *names_bytes = length;
    return read_names(&n, found->content_bytes, found) && n.at == length ? MDPACK_OK : MDPACK_DAMAGED;
}

static mdpack_status read_payload(model *m, int method, uint32_t wanted, mdpack_contents *found) {
    const uint8_t *names = NULL;
    size_t names_bytes = 0;
    found->content = taken(m, found->content_bytes, 1);
    mdpack_status status = found->content ? MDPACK_OK : MDPACK_MEMORY;
    if (status == MDPACK_OK && method == STORED) status = read_stored(m, found, &names, &names_bytes);
    if (status == MDPACK_OK && method == MODELLED) {
        make_tables(m);
        status = make_model(m, found->content_bytes);
        if (status == MDPACK_OK) status = read_modelled(m, found, &names, &names_bytes);
    }
    if (status != MDPACK_OK) return status;
    found->names_bytes = names_bytes - (size_t)(found->names - names);
    uint32_t sum = checksum(checksum(0, names, names_bytes), found->content, found->content_bytes);
    return sum == wanted ? MDPACK_OK : MDPACK_DAMAGED;
}

mdpack_status mdpack_unpack(const uint8_t *archive, size_t archive_bytes, size_t memory_limit, mdpack_contents *found) {
    memset(found, 0, sizeof *found);
    if (archive_bytes < 4 || memcmp(archive, "\xb5MD", 3) != 0) return MDPACK_FOREIGN;
    int method = archive[3] & 15;
    if (archive[3] >> 4 != VERSION || (method != STORED && method != MODELLED)) return MDPACK_VERSION;
    numbers n = {archive, archive_bytes, 4, 0};
    uint64_t size = next(&n);
    if (n.bad || archive_bytes - n.at < 4) return MDPACK_DAMAGED;
    uint32_t wanted = word_at(archive + n.at);
    size_t payload_bytes = archive_bytes - n.at - 4;
    if (size > LARGEST || size > MOST_TIMES * ((uint64_t)payload_bytes + 8)) return MDPACK_DAMAGED;
    if (memory_limit < sizeof(model)) return MDPACK_MEMORY;
    model *m = calloc(1, sizeof *m);
    if (!m) return MDPACK_MEMORY;
    m->memory_left = memory_limit - sizeof *m;
    m->payload = archive + n.at + 4;
    m->payload_bytes = payload_bytes;
    found->content_bytes = (size_t)size;
    mdpack_status status = read_payload(m, method, wanted, found);
    free(m->slots);
    free(m->mixers);
    free(m->rows);
    free(m->heads);
    free(m);
    if (status != MDPACK_OK) mdpack_release(found);
    return status;
}

void mdpack_release(mdpack_contents *found) {
    free(found->content);
    free(found->held);
    memset(found, 0, sizeof *found);
}

const char *mdpack_message(mdpack_status status) {
    switch (status) {
        case MDPACK_OK: return "unpacked";
        case MDPACK_FOREIGN: return "this is no archive of mobiledistill pack";
        case MDPACK_VERSION: return "the archive is of a newer release";
        case MDPACK_DAMAGED: return "the archive is damaged or cut";
        case MDPACK_MEMORY: return "the archive needs more memory than it may have";
    }
    return "unknown";
}
