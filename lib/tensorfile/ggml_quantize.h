/* ggml_quantize.h - converts f32 values to the number types of GGUF files.
 *
 * f16 and bf16 are rounded to nearest, ties to even. q8_0 and q4_0 are bit-identical to the results
 * of ggml's reference functions (quantize_row_q8_0_ref and quantize_row_q4_0_ref in ggml-quants.c)
 * and of the Python package gguf.
 */
#ifndef LONGQLORA_TENSORFILE_GGML_QUANTIZE_H
#define LONGQLORA_TENSORFILE_GGML_QUANTIZE_H

#include "lib/tensorfile/ggml_types.h"

enum { GGML_BLOCK = 32 }; /* elements in a block of q8_0 or q4_0 */

/* Can ggml_narrow write this type? True for f32, f16, bf16, q8_0 and q4_0. */
bool ggml_is_written(enum ggml_type type);
/* Converts `count` finite elements, which must be a whole number of blocks. Returns false if a
 * value or a block's scale overflows f16. */
bool ggml_narrow(enum ggml_type type, const float *from, void *to, int64_t count);

#endif
