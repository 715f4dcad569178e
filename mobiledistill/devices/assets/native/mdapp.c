#include "mdapp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

/* -- sound --------------------------------------------------------------------------------------------------------- */

const md_mel_spec MD_DIGITS = {8000, 200, 80, 256, MD_DIGITS_BANDS, 60.0, 4000.0};
const md_mel_spec MD_SENTENCES = {16000, 400, 160, 512, 64, 40.0, 7600.0};

static const float DIGITS_FLOOR = 1e-5f, SENTENCES_FLOOR = 2e-4f;

struct md_mel {
    md_mel_spec spec;
    float *hann;          /* window */
    float *filters;       /* bands x (fft / 2 + 1) */
    double *turn;         /* cosines, then sines, of the transform's steps */
    double *real, *other; /* what is transformed */
};

static double to_mel(double hertz) { return 2595 * log10(1 + hertz / 700); }

static double to_hertz(double mel) { return 700 * (pow(10, mel / 2595) - 1); }

static void fill_filters(md_mel *mel) {
    const md_mel_spec *spec = &mel->spec;
    int bins = spec->fft / 2 + 1;
    double low = to_mel(spec->low_hz), step = (to_mel(spec->high_hz) - low) / (spec->bands + 1);
    for (int band = 0; band < spec->bands; band++) {
        double left = to_hertz(low + band * step), middle = to_hertz(low + (band + 1) * step);
        double right = to_hertz(low + (band + 2) * step);
        for (int bin = 0; bin < bins; bin++) {
            double hertz = bin * (spec->rate / 2.0) / (bins - 1);
            double weight = fmin((hertz - left) / (middle - left), (right - hertz) / (right - middle));
            mel->filters[band * bins + bin] = (float)fmax(0, weight);
        }
    }
}

md_mel *md_mel_new(const md_mel_spec *spec) {
    int power_of_two = spec->fft > 1 && (spec->fft & (spec->fft - 1)) == 0;
    if (!power_of_two || spec->window < 2 || spec->window > spec->fft || spec->bands < 1) return NULL;
    md_mel *mel = calloc(1, sizeof *mel);
    if (!mel) return NULL;
    mel->spec = *spec;
    size_t fft = (size_t)spec->fft;
    mel->hann = malloc((size_t)spec->window * sizeof *mel->hann);
    mel->filters = malloc((size_t)spec->bands * (fft / 2 + 1) * sizeof *mel->filters);
    mel->turn = malloc(fft * sizeof *mel->turn);
    mel->real = malloc(fft * sizeof *mel->real);
    mel->other = malloc(fft * sizeof *mel->other);
    if (!mel->hann || !mel->filters || !mel->turn || !mel->real || !mel->other) {
        md_mel_free(mel);
        return NULL;
    }
    for (int i = 0; i < spec->window; i++) mel->hann[i] = (float)(0.5 - 0.5 * cos(2 * PI * i / (spec->window - 1)));
    for (size_t i = 0; i < fft / 2; i++) {
        mel->turn[i] = cos(2 * PI * (double)i / (double)fft);
        mel->turn[fft / 2 + i] = -sin(2 * PI * (double)i / (double)fft);
    }
    fill_filters(mel);
    return mel;
}

void md_mel_free(md_mel *mel) {
    if (!mel) return;
    free(mel->hann);
    free(mel->filters);
    free(mel->turn);
    free(mel->real);
    free(mel->other);
    free(mel);
}

/* In place, radix 2. */
static void transform(const md_mel *mel) {
    size_t size = (size_t)mel->spec.fft;
    double *real = mel->real, *other = mel->other;
    for (size_t i = 1, mirrored = 0; i < size; i++) {
        size_t bit = size >> 1;
        for (; mirrored & bit; bit >>= 1) mirrored ^= bit;
        mirrored ^= bit;
        if (i < mirrored) {
            double kept = real[i];
            real[i] = real[mirrored];
            real[mirrored] = kept;
        }
    }
    memset(other, 0, size * sizeof *other);
    for (size_t length = 2; length <= size; length <<= 1) {
        size_t stride = size / length;
        for (size_t start = 0; start < size; start += length) {
            for (size_t k = 0; k < length / 2; k++) {
                double c = mel->turn[k * stride], s = mel->turn[size / 2 + k * stride];
                size_t a = start + k, b = a + length / 2;
                double r = real[b] * c - other[b] * s, i = real[b] * s + other[b] * c;
                real[b] = real[a] - r;
                other[b] = other[a] - i;
                real[a] += r;
                other[a] += i;
            }
        }
    }
}

void md_mel_power(const md_mel *mel, const float *samples, float *power) {
    const md_mel_spec *spec = &mel->spec;
    int bins = spec->fft / 2 + 1;
    for (int i = 0; i < spec->fft; i++) mel->real[i] = i < spec->window ? samples[i] * mel->hann[i] : 0;
    transform(mel);
    for (int band = 0; band < spec->bands; band++) {
        double sum = 0;
        for (int bin = 0; bin < bins; bin++) {
            float weight = mel->filters[band * bins + bin];
            if (weight > 0) sum += weight * (mel->real[bin] * mel->real[bin] + mel->other[bin] * mel->other[bin]);
        }
        power[band] = (float)sum;
    }
}

int md_digits_map(const md_mel *mel, const float *samples, size_t count, float *map) {
    enum { BANDS = MD_DIGITS_BANDS, FRAMES = MD_DIGITS_FRAMES };
    size_t hop = (size_t)mel->spec.hop, window = (size_t)mel->spec.window, second = hop * (FRAMES - 1);
    if (count > second) {
        samples += (count - second) / 2;
        count = second;
    }
    float *padded = calloc(second + window, sizeof *padded);
    if (!padded) return 0;
    if (count) memcpy(padded + window / 2 + (second - count) / 2, samples, count * sizeof *samples);
    float loudest = 1e-10f, power[BANDS];
    for (size_t frame = 0; frame < FRAMES; frame++) {
        md_mel_power(mel, padded + frame * hop, power);
        for (size_t band = 0; band < BANDS; band++) {
            map[band * FRAMES + frame] = power[band];
            if (power[band] > loudest) loudest = power[band];
        }
    }
    for (size_t i = 0; i < (size_t)BANDS * FRAMES; i++) map[i] = logf(map[i] / loudest + DIGITS_FLOOR);
    free(padded);
    return 1;
}

void md_sentences_frame(const md_mel *mel, const float *samples, float *frame) {
    md_mel_power(mel, samples, frame);
    for (int band = 0; band < mel->spec.bands; band++) frame[band] = logf(frame[band] + SENTENCES_FLOOR);
}

/* -- boxes --------------------------------------------------------------------------------------------------------- */

typedef struct {
    float score;
    size_t order; /* of two that are equally sure the one that was first */
} ranked;

static int surest_first(const void *left, const void *right) {
    const ranked *a = left, *b = right;
    if (a->score != b->score) return a->score < b->score ? 1 : -1;
    return (a->order > b->order) - (a->order < b->order);
}

static float side(float low, float high) { return high > low ? high - low : 0; }

static float area(const float *box) { return side(box[0], box[2]) * side(box[1], box[3]); }

static int covers(const float *kept, const float *other, float most_overlap) {
    float width = side(fmaxf(kept[0], other[0]), fminf(kept[2], other[2]));
    float height = side(fmaxf(kept[1], other[1]), fminf(kept[3], other[3]));
    float shared = width * height;
    return !(shared <= most_overlap * (area(kept) + area(other) - shared));
}

/* Of one class: writes the cells that stay, the surest first. */
static size_t survivors(const float *boxes, ranked *sorted, size_t count, float most_overlap, size_t most) {
    size_t kept = 0;
    for (size_t i = 0; i < count && kept < most; i++) {
        size_t before = 0;
        while (before < kept && !covers(boxes + 4 * sorted[before].order, boxes + 4 * sorted[i].order, most_overlap))
            before++;
        if (before == kept) sorted[kept++] = sorted[i];
    }
    return kept;
}

long md_keep_best(const float *boxes, const float *probabilities, size_t cells, size_t classes, float least_score,
                  float most_overlap, size_t most, md_detection *found) {
    ranked *sorted = malloc((cells + 1) * sizeof *sorted);
    ranked *all = malloc((classes * (most < cells ? most : cells) + 1) * sizeof *all);
    md_detection *every = malloc((classes * (most < cells ? most : cells) + 1) * sizeof *every);
    long result = -1;
    if (sorted && all && every) {
        size_t total = 0;
        for (size_t label = 0; label < classes; label++) {
            size_t count = 0;
            for (size_t cell = 0; cell < cells; cell++) {
                float score = probabilities[cell * classes + label];
                if (score >= least_score) sorted[count++] = (ranked){score, cell};
            }
            qsort(sorted, count, sizeof *sorted, surest_first);
            count = survivors(boxes, sorted, count, most_overlap, most);
            for (size_t i = 0; i < count; i++, total++) {
                all[total] = (ranked){sorted[i].score, total};
                every[total] = (md_detection){.score = sorted[i].score, .label = (int)label};
                memcpy(every[total].box, boxes + 4 * sorted[i].order, sizeof every[total].box);
            }
        }
        qsort(all, total, sizeof *all, surest_first);
        if (total > most) total = most;
        for (size_t i = 0; i < total; i++) found[i] = every[all[i].order];
        result = (long)total;
    }
    free(sorted);
    free(all);
    free(every);
    return result;
}

/* -- tokens -------------------------------------------------------------------------------------------------------- */

size_t md_ctc_greedy(const float *logits, size_t frames, size_t tokens, int32_t *found) {
    enum { BLANK = 0 };
    size_t count = 0, before = BLANK;
    for (size_t frame = 0; frame < frames && tokens; frame++) {
        const float *row = logits + frame * tokens;
        size_t best = 0;
        for (size_t token = 1; token < tokens; token++)
            if (row[token] > row[best]) best = token;
        if (best != before && best != BLANK) found[count++] = (int32_t)best;
        before = best;
    }
    return count;
}
