/* sampler.h - chooses the next token.
 *
 * The steps have the order of transformers: repetition penalty (Keskar et al. 2019), temperature,
 * top-k, top-p (Holtzman et al. 2020), min-p (Nguyen et al. 2024), then one draw that is a function
 * of seed and draw number alone.
 */
#ifndef LONGQLORA_SAMPLER_H
#define LONGQLORA_SAMPLER_H

#include "lib/common/fail.h"

#include <stdint.h>

struct sampling {
    /* 0: takes the likeliest token, or the first of several equally likely ones. */
    double temperature;
    int64_t top_k;       /* 0: all tokens remain */
    double top_p, min_p; /* top_p 1 and min_p 0: all tokens remain */
    double repetition;   /* 1: no penalty */
    int64_t seed;
};

struct sampler;

/* vocab: only tokens 0 … vocab−1 can be drawn. */
int sampler_open(struct sampler **s, const struct sampling *how, int64_t vocab,
                 struct fail *why) MUST_USE;
void sampler_close(struct sampler *s);

/* Changes the sampling parameters of all later draws. */
void sampler_change(struct sampler *s, const struct sampling *how);

/* Makes all later draws depend on the seed and this number alone. */
void sampler_restart(struct sampler *s, uint64_t stream);

/* Draws a token from logits [vocab], which must be finite. The repetition penalty applies to text
 * [count], the tokens so far. */
uint32_t sampler_draw(struct sampler *s, const float *logits, const uint32_t *text, int64_t count);

#endif
