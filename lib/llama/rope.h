/* rope.h - rotary positions (Su et al. 2021) and the ways to stretch them, as
 * transformers computes them in f32.
 *
 * linear: position interpolation (Chen et al. 2023). yarn: Peng et al. 2023. llama3:
 * wavelengths above original/low divided by the factor, below original/high kept,
 * blended between.
 */
#ifndef LONGQLORA_ROPE_H
#define LONGQLORA_ROPE_H

#include "../common/json.h"

#include <stdint.h>

enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_TYPES };

struct rope {
    enum rope_type type;
    double factor;    /* 1 without stretching */
    double low, high; /* llama3: low_freq_factor, high_freq_factor; yarn: beta_slow, beta_fast */
    double attention; /* yarn: cos and sin are multiplied by it; else 1 */
};

const char *rope_type_name(enum rope_type type); /* as config.json spells it */

/* From config.json's rope_scaling, which may be NULL or null; either spelling of the type.
 * *original becomes the context before stretching if rope_scaling says it. */
int rope_parse(struct rope *r, const json_t *scaling, int64_t *original, struct fail *why) MUST_USE;

/* "linear:2", "linear:1.5" or "none". */
int rope_set(struct rope *r, const char *text, struct fail *why) MUST_USE;

bool rope_equal(const struct rope *a, const struct rope *b);

/* cos, sin [positions, head_dim/2] in f32. */
void rope_tables(const struct rope *r, double theta, int64_t head_dim, int64_t original,
                 int64_t positions, float *cos_out, float *sin_out);

#endif
