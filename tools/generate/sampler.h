/* sampler.h - which token comes next.
 *
 * In the order of transformers: repetition penalty (Keskar et al. 2019), temperature,
 * top-k, top-p (Holtzman et al. 2020), min-p (Nguyen et al. 2024), then one draw that
 * is a function of seed and draw number alone.
 */
#ifndef LONGQLORA_SAMPLER_H
#define LONGQLORA_SAMPLER_H

#include "lib/common/fail.h"

#include <stdint.h>

struct sampling {
    double temperature;  /* 0: the likeliest, of equals the first */
    int64_t top_k;       /* 0: all */
    double top_p, min_p; /* 1: all; 0: all */
    double repetition;   /* 1: none */
    int64_t seed;
};

struct sampler;

/* vocab: tokens that may come, 0 … vocab−1. */
int sampler_open(struct sampler **s, const struct sampling *how, int64_t vocab,
                 struct fail *why) MUST_USE;
void sampler_close(struct sampler *s);

/* From here on it draws in that way. */
void sampler_change(struct sampler *s, const struct sampling *how);

/* Draws from here on depend on the seed and this number alone. */
void sampler_restart(struct sampler *s, uint64_t stream);

/* logits [vocab], finite; text: what stands there already. */
uint32_t sampler_draw(struct sampler *s, const float *logits, const uint32_t *text, int64_t count);

#endif
