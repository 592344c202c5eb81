/* dtype.h - the number types of weights in memory and of tensors in files. */
#ifndef LONGQLORA_DTYPE_H
#define LONGQLORA_DTYPE_H

#include "lib/common/compiler.h"

#include <stddef.h>

enum dtype {
    DTYPE_F32,
    DTYPE_BF16,
    DTYPE_F16,
    /* 4-bit codes, two in a byte; their scales are stored separately (lib/common/nf4.h) */
    DTYPE_NF4,
    DTYPE_U8, /* U8 and the types below it occur only in files */
    DTYPE_F64,
    DTYPE_I8,
    DTYPE_I16,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_BOOL,
};

size_t dtype_bits(enum dtype dtype); /* bits of one element; 4 for NF4 */
size_t dtype_size(enum dtype dtype); /* bytes of one element; not defined for NF4 */

/* Is it f32, bf16 or f16? Weights that are not quantized have one of these types. */
static inline bool dtype_is_float(enum dtype dtype) { return dtype <= DTYPE_F16; }
/* The type that a tensor file declares: U8 for NF4, whose codes are stored as bytes; otherwise the
 * type itself. */
static inline enum dtype dtype_stored(enum dtype dtype)
{
    return dtype == DTYPE_NF4 ? DTYPE_U8 : dtype;
}

const char *dtype_name(enum dtype dtype); /* the name in safetensors files: "BF16" */
/* The name in our streams: "bf16"; only for types of weights. */
const char *dtype_stream_name(enum dtype dtype);
/* Finds the type with this safetensors name. Returns -1 if there is none. */
int dtype_parse(const char *name, enum dtype *dtype);

#endif
