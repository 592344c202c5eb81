/* small_shape.h - returns the shape for testing one operation: the given rows and columns, one head
 * of size eight and a vocabulary of eight. The caller changes what it needs.
 */
#ifndef LONGQLORA_SMALL_SHAPE_H
#define LONGQLORA_SMALL_SHAPE_H

#include "kernels/kernels.h"

#include <string.h>

static inline struct shape small_shape(int64_t rows, int64_t dim)
{
    struct shape s;
    memset(&s, 0, sizeof s);
    s.rows = s.chunk = rows;
    s.dim = s.ffn = dim;
    s.heads = s.kv_heads = 1;
    s.head_dim = 8;
    s.vocab = 8;
    return s;
}

#endif
