#include "mdpieces.h"

#include <stdlib.h>
#include <string.h>

static const char SPACE[] = "\xE2\x96\x81"; /* what stands for one in a piece */
static const char REPLACEMENT[] = "\xEF\xBF\xBD";
enum { SPACE_BYTES = 3, BPE = 2, NORMAL = 1, UNKNOWN = 2, USER_DEFINED = 4 };

typedef struct {
    const char *bytes;
    size_t length;
} span;

typedef struct {
    span text;
    float score;
    int type;
} piece;

struct md_pieces {
    uint8_t *model;
    piece *pieces;
    int32_t *sorted; /* those that words are made of, by their bytes */
    size_t count, words;
    int32_t unknown;
    const uint8_t *rules; /* a double array, from what is written to where it stands in `written` */
    size_t units;
    span written;
};

/* -- the file: protocol buffers ------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *at, *end;
    int damaged;
} reader;

typedef struct {
    uint64_t number; /* the value, where it is one */
    reader inside;   /* the bytes, where it is some */
    int field;
} entry;

static uint64_t varint(reader *from) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && from->at < from->end; shift += 7) {
        uint8_t byte = *from->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) return value;
    }
    from->damaged = 1;
    return 0;
}

/* Returns 0 at the end, and where the rest cannot be read. */
static int next(reader *from, entry *found) {
    if (from->damaged || from->at == from->end) return 0;
    uint64_t key = varint(from), length = 0;
    memset(found, 0, sizeof *found);
    found->field = (int)(key >> 3);
    switch (key & 7) {
        case 0: found->number = varint(from); return !from->damaged;
        case 1: length = 8; break;
        case 2: length = varint(from); break;
        case 5: length = 4; break;
        default: from->damaged = 1;
    }
    if (from->damaged || length > (uint64_t)(from->end - from->at)) {
        from->damaged = 1;
        return 0;
    }
    found->inside = (reader){from->at, from->at + length, 0};
    from->at += length;
    return 1;
}

static span bytes_of(const entry *found) {
    return (span){(const char *)found->inside.at, (size_t)(found->inside.end - found->inside.at)};
}

static uint32_t little_endian(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static int read_piece(reader from, piece *read) {
    entry found;
    *read = (piece){.text = {"", 0}, .type = NORMAL};
    while (next(&from, &found)) {
        if (found.field == 1) read->text = bytes_of(&found);
        if (found.field == 2 && bytes_of(&found).length == 4) {
            uint32_t bits = little_endian(found.inside.at);
            memcpy(&read->score, &bits, sizeof bits);
        }
        if (found.field == 3) read->type = (int)found.number;
    }
    return !from.damaged;
}

/* Whether it is byte-pair encoding without pieces of bytes. */
static int read_trainer(reader from) {
    entry found;
    int kind = 0, bytes = 0;
    while (next(&from, &found)) {
        if (found.field == 3) kind = (int)found.number;
        if (found.field == 35) bytes = found.number != 0;
    }
    return !from.damaged && kind == BPE && !bytes;
}

static int read_normalizer(reader from, md_pieces *pieces) {
    entry found;
    while (next(&from, &found)) {
        if (found.field >= 3 && found.field <= 5 && !found.number) return 0; /* another treatment of spaces */
        if (found.field != 2 || bytes_of(&found).length < 4) continue;
        span all = bytes_of(&found);
        size_t bytes = little_endian(found.inside.at);
        if (bytes > all.length - 4 || bytes % 4) return 0;
        pieces->rules = found.inside.at + 4;
        pieces->units = bytes / 4;
        pieces->written = (span){all.bytes + 4 + bytes, all.length - 4 - bytes};
        if (pieces->written.length && pieces->written.bytes[pieces->written.length - 1]) return 0;
    }
    return !from.damaged;
}

/* -- pieces by their bytes ------------------------------------------------------------------------------------------ */

static int order(span left, span right) {
    int found = memcmp(left.bytes, right.bytes, left.length < right.length ? left.length : right.length);
    return found ? found : (left.length > right.length) - (left.length < right.length);
}

/* qsort has no place for the table, so heap sort by hand: 2,000 pieces, once. */
static void sift(const md_pieces *pieces, size_t root, size_t end) {
    int32_t *sorted = pieces->sorted;
    for (size_t child; (child = 2 * root + 1) < end; root = child) {
        if (child + 1 < end && order(pieces->pieces[sorted[child]].text, pieces->pieces[sorted[child + 1]].text) < 0)
            child++;
        if (order(pieces->pieces[sorted[root]].text, pieces->pieces[sorted[child]].text) >= 0) return;
        int32_t kept = sorted[root];
        sorted[root] = sorted[child];
        sorted[child] = kept;
    }
}

static void sort(md_pieces *pieces) {
    for (size_t root = pieces->words / 2; root-- > 0;) sift(pieces, root, pieces->words);
    for (size_t end = pieces->words; end-- > 1;) {
        int32_t kept = pieces->sorted[0];
        pieces->sorted[0] = pieces->sorted[end];
        pieces->sorted[end] = kept;
        sift(pieces, 0, end);
    }
}

/* The token of a piece, or -1. */
static int32_t token_of(const md_pieces *pieces, span text) {
    size_t low = 0, high = pieces->words;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int found = order(pieces->pieces[pieces->sorted[middle]].text, text);
        if (!found) return pieces->sorted[middle];
        if (found < 0) low = middle + 1;
        else high = middle;
    }
    return -1;
}

md_pieces *md_pieces_new(const uint8_t *model, size_t bytes) {
    md_pieces *pieces = calloc(1, sizeof *pieces);
    if (!pieces) return NULL;
    pieces->unknown = -1;
    pieces->model = malloc(bytes + 1);
    pieces->pieces = malloc((bytes / 2 + 1) * sizeof *pieces->pieces); /* none takes less than two bytes */
    pieces->sorted = malloc((bytes / 2 + 1) * sizeof *pieces->sorted);
    int whole = pieces->model && pieces->pieces && pieces->sorted, trained = 0;
    if (whole) {
        memcpy(pieces->model, model, bytes);
        reader from = {pieces->model, pieces->model + bytes, 0};
        entry found;
        while (whole && next(&from, &found)) {
            if (found.field == 1) {
                piece *read = pieces->pieces + pieces->count;
                whole = read_piece(found.inside, read);
                if (read->type == NORMAL || read->type == USER_DEFINED)
                    pieces->sorted[pieces->words++] = (int32_t)pieces->count;
                if (read->type == UNKNOWN) pieces->unknown = (int32_t)pieces->count;
                pieces->count++;
            }
            if (found.field == 2) trained = read_trainer(found.inside);
            if (found.field == 3) whole = read_normalizer(found.inside, pieces);
        }
        whole = whole && !from.damaged;
    }
    if (!whole || !trained || pieces->unknown < 0) {
        md_pieces_free(pieces);
        return NULL;
    }
    sort(pieces);
    return pieces;
}

void md_pieces_free(md_pieces *pieces) {
    if (!pieces) return;
    free(pieces->model);
    free(pieces->pieces);
    free(pieces->sorted);
    free(pieces);
}

size_t md_pieces_count(const md_pieces *pieces) { return pieces->count; }

/* -- normalization -------------------------------------------------------------------------------------------------- */

static size_t continuation(span text, size_t wanted) {
    for (size_t i = 1; i < wanted; i++)
        if (i >= text.length || ((uint8_t)text.bytes[i] & 0xC0) != 0x80) return 0;
    return wanted;
}

/* Bytes of the first character, or 0 where it is no UTF-8. */
static size_t character(span text) {
    uint8_t first = (uint8_t)text.bytes[0], second = text.length > 1 ? (uint8_t)text.bytes[1] : 0;
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first < 0xE0) return continuation(text, 2);
    if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0; /* too long; a surrogate */
    if (first >= 0xE0 && first < 0xF0) return continuation(text, 3);
    if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0; /* too long; too large */
    if (first >= 0xF0 && first < 0xF5) return continuation(text, 4);
    return 0;
}

static uint32_t unit(const md_pieces *pieces, size_t at) {
    return at < pieces->units ? little_endian(pieces->rules + 4 * at) : 0;
}

static size_t offset(uint32_t of) { return (size_t)(of >> 10) << ((of & (1u << 9)) >> 6); }

/* What the longest rule writes in place of the beginning, else its first character; says how much of it that was. */
static span rewritten(const md_pieces *pieces, span text, size_t *taken) {
    size_t at = pieces->units ? offset(unit(pieces, 0)) : 0, place = 0;
    *taken = 0;
    for (size_t i = 0; i < text.length && pieces->units; i++) {
        uint8_t byte = (uint8_t)text.bytes[i];
        at ^= byte;
        uint32_t found = unit(pieces, at);
        if ((found & (1u << 31 | 0xFF)) != byte) break;
        at ^= offset(found);
        if (found >> 8 & 1) {
            place = unit(pieces, at) & ~(1u << 31);
            *taken = i + 1;
        }
    }
    if (*taken && place < pieces->written.length)
        return (span){pieces->written.bytes + place, strlen(pieces->written.bytes + place)};
    *taken = character(text);
    if (*taken) return (span){text.bytes, *taken};
    *taken = 1;
    return (span){REPLACEMENT, sizeof REPLACEMENT - 1};
}

typedef struct {
    char *bytes;
    size_t length, room;
    int failed;
} growing;

static void append(growing *to, const char *bytes, size_t length) {
    if (to->failed) return;
    if (to->length + length > to->room) {
        size_t room = 2 * (to->length + length) + 64;
        char *larger = realloc(to->bytes, room);
        if (!larger) {
            to->failed = 1;
            return;
        }
        to->bytes = larger;
        to->room = room;
    }
    memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
}

/* One space before the first word and between words, each as its sign. */
static growing normalized(const md_pieces *pieces, span text) {
    growing made = {0};
    int after_space = 1;
    size_t taken;
    for (; text.length; text.bytes += taken, text.length -= taken) {
        span part = rewritten(pieces, text, &taken);
        while (after_space && part.length && part.bytes[0] == ' ') part = (span){part.bytes + 1, part.length - 1};
        if (!part.length) continue;
        if (!made.length) append(&made, SPACE, SPACE_BYTES);
        for (size_t i = 0; i < part.length; i++) {
            if (part.bytes[i] == ' ') append(&made, SPACE, SPACE_BYTES);
            else append(&made, part.bytes + i, 1);
        }
        after_space = part.bytes[part.length - 1] == ' ';
    }
    while (made.length >= SPACE_BYTES && !memcmp(made.bytes + made.length - SPACE_BYTES, SPACE, SPACE_BYTES))
        made.length -= SPACE_BYTES;
    return made;
}

/* -- tokens --------------------------------------------------------------------------------------------------------- */

/* The token of two neighbours as one piece, or -1. */
static int32_t joined(const md_pieces *pieces, const span *symbols, size_t left) {
    return token_of(pieces, (span){symbols[left].bytes, symbols[left].length + symbols[left + 1].length});
}

/* Merges the two neighbours whose piece has the highest score, the first of equals, until no two make a piece. */
static size_t merged(const md_pieces *pieces, span *symbols, int32_t *pairs, size_t count) {
    for (size_t i = 0; i + 1 < count; i++) pairs[i] = joined(pieces, symbols, i);
    for (;;) {
        size_t best = count;
        for (size_t i = 0; i + 1 < count; i++) {
            if (pairs[i] < 0) continue;
            if (best == count || pieces->pieces[pairs[i]].score > pieces->pieces[pairs[best]].score) best = i;
        }
        if (best == count) return count;
        symbols[best].length += symbols[best + 1].length;
        count--;
        memmove(symbols + best + 1, symbols + best + 2, (count - best - 1) * sizeof *symbols);
        memmove(pairs + best, pairs + best + 1, (count - best - 1) * sizeof *pairs);
        if (best + 1 < count) pairs[best] = joined(pieces, symbols, best);
        if (best > 0) pairs[best - 1] = joined(pieces, symbols, best - 1);
    }
}

long md_pieces_encode(const md_pieces *pieces, const char *text, size_t bytes, int32_t *found, size_t most) {
    growing made = normalized(pieces, (span){text, bytes});
    span *symbols = malloc((made.length + 1) * sizeof *symbols);
    int32_t *pairs = malloc((made.length + 1) * sizeof *pairs);
    long total = -1;
    if (!made.failed && symbols && pairs) {
        size_t count = 0;
        for (size_t at = 0; at < made.length; count++) {
            symbols[count] = (span){made.bytes + at, made.length - at};
            size_t length = character(symbols[count]);
            symbols[count].length = length ? length : 1;
            at += symbols[count].length;
        }
        count = merged(pieces, symbols, pairs, count);
        int32_t before = -1;
        total = 0;
        for (size_t i = 0; i < count; i++) {
            int32_t token = token_of(pieces, symbols[i]);
            if (token < 0) token = pieces->unknown;
            if (token == pieces->unknown && before == token) continue;
            if ((size_t)total < most) found[total] = token;
            total++;
            before = token;
        }
    }
    free(made.bytes);
    free(symbols);
    free(pairs);
    return total;
}

size_t md_pieces_decode(const md_pieces *pieces, const int32_t *tokens, size_t count, char *text, size_t room) {
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] < 0 || (size_t)tokens[i] >= pieces->count) continue;
        const piece *one = pieces->pieces + tokens[i];
        if (one->type != NORMAL && one->type != USER_DEFINED) continue;
        for (size_t at = 0; at < one->text.length;) {
            int space = one->text.length - at >= SPACE_BYTES && !memcmp(one->text.bytes + at, SPACE, SPACE_BYTES);
            char written = space ? ' ' : one->text.bytes[at];
            int skipped = space && at == 0 && length == 0; /* the space before the first word */
            at += space ? SPACE_BYTES : 1;
            if (skipped) continue;
            if (length + 1 < room) text[length] = written;
            length++;
        }
    }
    if (room) text[length < room ? length : room - 1] = 0;
    return length;
}
