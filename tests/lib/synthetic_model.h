/* synthetic_model.h - models whose weights are given by a formula. A reference in Python computes
 * with exactly the same weights, and no file has to store them (tests/golden/made.py has the same
 * formula).
 *
 * Element i of tensor t (in the order of lib/llama/tensors.h) is u · 2^-k. Here u is uniform in
 * [-1, 1) in steps of 2^-11, and 2^-k is the power of two nearest to 2/√cols. Such values are exact
 * in f32 and f16; bf16 rounds them, as it does real weights. Gains are 1 + u/8. Where norms
 * multiply by 1 + weight, synthetic_model writes the weights u/8.
 */
#ifndef LONGQLORA_SYNTHETIC_MODEL_H
#define LONGQLORA_SYNTHETIC_MODEL_H

#include "lib/llama/config.h"
#include "lib/llama/tensors.h"

/* Returns number i of the named sequence, in [-1, 1) in steps of 2^-11. */
double synthetic_number(uint64_t sequence, uint64_t i);
/* Returns the tensor's values, [rows, cols]. The caller frees them. */
float *synthetic_values(const struct tensor *t, int64_t index);
/* Writes config.json and model.safetensors in f32, f16 or bf16. Aborts if that fails. */
void synthetic_model(const char *directory, const char *config, const char *dtype);
/* Returns token t, in [0, vocab). Every text has the same tokens. */
uint32_t synthetic_token(int64_t t, int64_t vocab);
/* Returns the first `count` of these tokens. The caller frees them. */
uint32_t *synthetic_ids(int64_t count, int64_t vocab);

#endif
