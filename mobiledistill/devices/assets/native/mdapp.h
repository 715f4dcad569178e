/* What an app needs around a model, as the demos in Python do it: sound into log-mel frames, a detector's answers into
   boxes, frames of a recogniser into tokens. C11 and its standard library, nothing else. */
#ifndef MDAPP_H
#define MDAPP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -- sound --------------------------------------------------------------------------------------------------------- */

typedef struct {
    int rate;   /* samples a second */
    int window; /* samples of a frame, under a Hann window */
    int hop;    /* samples from one frame to the next */
    int fft;    /* samples of the transform: a power of two, at least the window */
    int bands;  /* triangular filters of equal width on the mel scale */
    double low_hz, high_hz;
} md_mel_spec;

extern const md_mel_spec MD_DIGITS;    /* 8 kHz, 40 bands */
extern const md_mel_spec MD_SENTENCES; /* 16 kHz, 64 bands */

typedef struct md_mel md_mel;

/* Tables for a front end; NULL where memory is short or the spec makes no sense. Release it with md_mel_free. */
md_mel *md_mel_new(const md_mel_spec *spec);
void md_mel_free(md_mel *mel);

/* Power in each band of one frame: reads spec.window samples, writes spec.bands values. */
void md_mel_power(const md_mel *mel, const float *samples, float *power);

enum { MD_DIGITS_BANDS = 40, MD_DIGITS_FRAMES = 101 };

/* One word at 8 kHz, any length, as the digits' network reads it: map[band * 101 + frame], the clip centred in a second,
   relative to its loudest band. `mel` is that of MD_DIGITS. Returns 1, or 0 where memory is short. */
int md_digits_map(const md_mel *mel, const float *samples, size_t count, float *map);

/* One frame at 16 kHz as the sentences' network reads it: 64 values. `mel` is that of MD_SENTENCES. */
void md_sentences_frame(const md_mel *mel, const float *samples, float *frame);

/* -- boxes --------------------------------------------------------------------------------------------------------- */

typedef struct {
    float box[4]; /* left, top, right, bottom */
    float score;
    int label;
} md_detection;

/* Non-maximum suppression, class by class. `boxes` holds 4 values for each cell, `probabilities` `classes` values.
   Answers under least_score are dropped; of those that overlap by more than most_overlap (intersection over union)
   only the surest stays; of all classes the `most` surest stay, equal ones in the order of classes and cells.
   `found` has room for `most`. Returns how many there are, or -1 where memory is short. */
long md_keep_best(const float *boxes, const float *probabilities, size_t cells, size_t classes, float least_score,
                  float most_overlap, size_t most, md_detection *found);

/* -- tokens -------------------------------------------------------------------------------------------------------- */

/* The tokens of the likeliest path: repetitions and blanks (token 0) taken out. `logits` holds `tokens` values for each
   frame; `found` has room for `frames`. Returns how many there are. */
size_t md_ctc_greedy(const float *logits, size_t frames, size_t tokens, int32_t *found);

#ifdef __cplusplus
}
#endif

#endif
