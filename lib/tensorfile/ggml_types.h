/* ggml_types.h - the number types of tensors in GGUF files, and their values in f32.
 *
 * Quantized types store blocks of 32 or 256 neighbours of a row: small integers, and scales in f16
 * that they share. The widened values are those of ggml's dequantize_row functions (ggml-quants.c),
 * to the last bit: every product is exact in f32, so only a sum is rounded, once.
 *
 * Source: ggml.h and ggml-common.h of llama.cpp.
 */
#ifndef LONGQLORA_TENSORFILE_GGML_TYPES_H
#define LONGQLORA_TENSORFILE_GGML_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers are those in files. Types between these are known by name only. */
enum ggml_type {
    GGML_F32 = 0,
    GGML_F16 = 1,
    GGML_Q4_0 = 2,
    GGML_Q4_1 = 3,
    GGML_Q5_0 = 6,
    GGML_Q5_1 = 7,
    GGML_Q8_0 = 8,
    GGML_Q4_K = 12,
    GGML_Q5_K = 13,
    GGML_Q6_K = 14,
    GGML_BF16 = 30,
};

struct ggml_format {
    const char *name;  /* "q4_K", as llama.cpp prints it */
    uint32_t elements; /* of a block; 0: the type's values are not read here */
    uint32_t bytes;    /* of a block */
};

/* NULL if the number is no type of ggml's. */
const struct ggml_format *ggml_format(uint32_t type);
/* Is it a quantized type, which has blocks of more than one element? Its values must be supported
 * (ggml_format.elements is not 0). */
bool ggml_is_quantized(enum ggml_type type);
/* The bytes of a row of that many elements, a whole number of blocks. */
size_t ggml_row_bytes(enum ggml_type type, int64_t elements);
/* Writes the f32 values of `count` elements, a whole number of blocks. `from` may be unaligned. */
void ggml_widen(enum ggml_type type, const void *from, float *to, int64_t count);

#endif
