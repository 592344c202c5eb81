/* ggml_types.h - the number types of tensors in GGUF files, and their values in f32.
 *
 * A quantized type stores a row in blocks of 32 or 256 elements: a small integer for each element,
 * and scales for the block, in f16 or as integers with an f16 factor. The f32 values are
 * bit-identical to those of ggml's dequantize_row functions (ggml-quants.c), because every product
 * is exact in f32 and only one sum is rounded.
 *
 * Source: ggml.h and ggml-common.h of llama.cpp.
 */
#ifndef LONGQLORA_TENSORFILE_GGML_TYPES_H
#define LONGQLORA_TENSORFILE_GGML_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers are those in files. Of the types between these numbers only the names are known. */
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
    uint32_t elements; /* elements of a block; 0: values of this type are not supported */
    uint32_t bytes;    /* bytes of a block */
};

/* Returns the format of a type, or NULL if the number is no type of ggml's. */
const struct ggml_format *ggml_format(uint32_t type);
/* Is it a quantized type, which has blocks of more than one element? Its values must be supported
 * (ggml_format.elements is not 0). */
bool ggml_is_quantized(enum ggml_type type);
/* How many bytes a row of that many elements takes. The row must be a whole number of blocks. */
size_t ggml_row_bytes(enum ggml_type type, int64_t elements);
/* Writes the f32 values of `count` elements, which must be a whole number of blocks. `from` may be
 * unaligned. */
void ggml_widen(enum ggml_type type, const void *from, float *to, int64_t count);

#endif
