/* dtype.h - the types of numbers: of weights in memory, and of tensors in files.
 */
#ifndef LONGQLORA_DTYPE_H
#define LONGQLORA_DTYPE_H

#include "lib/common/compiler.h"

#include <stddef.h>

enum dtype {
    DTYPE_F32,
    DTYPE_BF16,
    DTYPE_F16,
    DTYPE_NF4, /* codes of 4 bits, two in a byte, with scales beside them (lib/common/nf4.h) */
    DTYPE_U8,  /* this and the ones below stand in files only */
    DTYPE_F64,
    DTYPE_I8,
    DTYPE_I16,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_BOOL,
};

size_t dtype_bits(enum dtype dtype); /* of an element: 4 for NF4 */
size_t dtype_size(enum dtype dtype); /* bytes of an element; not for NF4 */

/* f32, bf16 or f16: what a weight that is not quantized may be. */
static inline bool dtype_is_float(enum dtype dtype) { return dtype <= DTYPE_F16; }
/* What a file of tensors says of it: NF4's codes are U8, all others are themselves. */
static inline enum dtype dtype_stored(enum dtype dtype)
{
    return dtype == DTYPE_NF4 ? DTYPE_U8 : dtype;
}

const char *dtype_name(enum dtype dtype);        /* as safetensors spells it: "BF16" */
const char *dtype_stream_name(enum dtype dtype); /* as streams do: "bf16"; of a weight's type */
int dtype_parse(const char *name, enum dtype *dtype); /* safetensors' name; -1: there is none */

#endif
