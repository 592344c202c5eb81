#include "lib/common/dtype.h"

#include <string.h>

static const struct {
    const char *name, *stream_name;
    size_t bits;
} dtypes[] = {
    [DTYPE_F32] = { "F32", "f32", 32 }, [DTYPE_BF16] = { "BF16", "bf16", 16 },
    [DTYPE_F16] = { "F16", "f16", 16 }, [DTYPE_NF4] = { NULL, "nf4", 4 },
    [DTYPE_U8] = { "U8", NULL, 8 },     [DTYPE_F64] = { "F64", NULL, 64 },
    [DTYPE_I8] = { "I8", NULL, 8 },     [DTYPE_I16] = { "I16", NULL, 16 },
    [DTYPE_I32] = { "I32", NULL, 32 },  [DTYPE_I64] = { "I64", NULL, 64 },
    [DTYPE_BOOL] = { "BOOL", NULL, 8 },
};

size_t dtype_bits(enum dtype dtype) { return dtypes[dtype].bits; }
size_t dtype_size(enum dtype dtype) { return dtypes[dtype].bits / 8; }
const char *dtype_name(enum dtype dtype) { return dtypes[dtype].name; }
const char *dtype_stream_name(enum dtype dtype) { return dtypes[dtype].stream_name; }

int dtype_parse(const char *name, enum dtype *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (dtypes[i].name && !strcmp(name, dtypes[i].name)) {
            *dtype = (enum dtype)i;
            return 0;
        }
    return -1;
}
