/* synthetic_model.h - models whose weights are a formula, so that a reference in Python computes
 * with the very same ones and no file has to hold them (tests/golden/made.py is its twin).
 *
 * Element i of tensor t (in the order of lib/llama/tensors.h) is u · 2^-k, a whole number of
 * 2^-11 steps: exact in f32, f16 and bf16 needs rounding like any weight. u is uniform in
 * [-1, 1); 2^-k is the power of two next to 2/√cols. Gains are 1 + u/8.
 */
#ifndef LONGQLORA_SYNTHETIC_MODEL_H
#define LONGQLORA_SYNTHETIC_MODEL_H

#include "lib/llama/config.h"
#include "lib/llama/tensors.h"

/* Number i of the sequence with that name, in [-1, 1): a whole number of 2^-11. */
double synthetic_number(uint64_t sequence, uint64_t i);
/* The tensor's values, [rows, cols]; the caller frees. */
float *synthetic_values(const struct tensor *t, int64_t index);
/* config.json's text and model.safetensors in f32, f16 or bf16. Aborts on failure. */
void synthetic_model(const char *directory, const char *config, const char *dtype);
/* Token t of every text: in [0, vocab). */
uint32_t synthetic_token(int64_t t, int64_t vocab);

#endif
