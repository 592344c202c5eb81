/* gguf_values.c - finds values and tensors of an open GGUF file by name, and reads values. */
#include "lib/tensorfile/gguf.h"

#include <math.h>
#include <stdlib.h>

static int against_key(const void *key, const void *value)
{
    const struct gguf_value *v = value;
    const char *name = key;
    size_t length = strlen(name), less = length < v->key.bytes ? length : v->key.bytes;
    int order = memcmp(name, v->key.at, less);
    if (order) return order;
    return length < v->key.bytes ? -1 : length > v->key.bytes;
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    if (!g->value_count) return NULL;
    return bsearch(key, g->values, g->value_count, sizeof *g->values, against_key);
}

static int against_name(const void *key, const void *tensor)
{
    return strcmp(key, ((const struct gguf_tensor *)tensor)->name);
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name)
{
    if (!g->tensor_count) return NULL;
    return bsearch(name, g->tensors, g->tensor_count, sizeof *g->tensors, against_name);
}

size_t gguf_item_bytes(enum gguf_type type)
{
    static const uint8_t bytes[GGUF_TYPES] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2, [GGUF_I16] = 2,
        [GGUF_U32] = 4, [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1,
        [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    return bytes[type];
}

/* Reads item i of any numeric type. For integers it sets *whole and *real; a u64 beyond INT64_MAX
 * gives the integer INT64_MAX. For f32 and f64 it sets only *real. */
static void read_number(const struct gguf_value *v, uint64_t i, int64_t *whole, double *real)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } x = { 0 };
    size_t bytes = gguf_item_bytes(v->item);
    must(bytes && i < v->count);
    memcpy(&x, v->at + i * bytes, bytes);
    int64_t integer = 0;
    switch (v->item) {
    case GGUF_U8:
    case GGUF_BOOL:
        integer = x.u8;
        break;
    case GGUF_I8:
        integer = x.i8;
        break;
    case GGUF_U16:
        integer = x.u16;
        break;
    case GGUF_I16:
        integer = x.i16;
        break;
    case GGUF_U32:
        integer = x.u32;
        break;
    case GGUF_I32:
        integer = x.i32;
        break;
    case GGUF_U64:
        integer = x.u64 > INT64_MAX ? INT64_MAX : (int64_t)x.u64;
        break;
    case GGUF_I64:
        integer = x.i64;
        break;
    default:
        *real = v->item == GGUF_F32 ? (double)x.f32 : x.f64;
        return;
    }
    *whole = integer;
    *real = (double)integer;
}

double gguf_number_at(const struct gguf_value *v, uint64_t i)
{
    int64_t whole;
    double real;
    read_number(v, i, &whole, &real);
    return real;
}

int64_t gguf_integer_at(const struct gguf_value *v, uint64_t i)
{
    int64_t whole = 0;
    double real;
    read_number(v, i, &whole, &real);
    return whole;
}

static bool is_integer(enum gguf_type type)
{
    return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

static bool is_number(enum gguf_type type)
{
    return is_integer(type) || type == GGUF_F32 || type == GGUF_F64;
}

static int get_integer(const struct gguf_value *v, const char *key, int64_t min, int64_t max,
                       int64_t *to, struct fail *why)
{
    int64_t value = gguf_integer_at(v, 0);
    if (value < min || value > max)
        return fail_input(why, "%s is %lld, but %lld to %lld are possible", key, (long long)value,
                          (long long)min, (long long)max);
    *to = value;
    return 0;
}

int gguf_get_integer(const struct gguf *g, const char *key, int64_t min, int64_t max, int64_t *to,
                     struct fail *why)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v) return 0;
    if (!is_integer(v->type)) return fail_input(why, "%s is no integer", key);
    return get_integer(v, key, min, max, to, why);
}

int gguf_get_integer_by_layer(const struct gguf *g, const char *key, int64_t layers, int64_t min,
                              int64_t max, int64_t *to, struct fail *why)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v || v->type != GGUF_ARRAY) return gguf_get_integer(g, key, min, max, to, why);
    if (!is_integer(v->item) || !v->count) return fail_input(why, "%s is no integer", key);
    if (v->count != (uint64_t)layers)
        return fail_input(why, "%s has %llu values, but the model has %lld layers", key,
                          (unsigned long long)v->count, (long long)layers);
    for (uint64_t i = 1; i < v->count; i++)
        if (gguf_integer_at(v, i) != gguf_integer_at(v, 0))
            return fail_input(why, "%s is not the same for all layers, which is not supported",
                              key);
    return get_integer(v, key, min, max, to, why);
}

int gguf_get_number(const struct gguf *g, const char *key, double *to, struct fail *why)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v) return 0;
    if (!is_number(v->type)) return fail_input(why, "%s is no number", key);
    double value = gguf_number_at(v, 0);
    if (!isfinite(value)) return fail_input(why, "%s is %f", key, value);
    *to = value;
    return 0;
}

int gguf_get_flag(const struct gguf *g, const char *key, bool *to, struct fail *why)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v) return 0;
    if (v->type != GGUF_BOOL) return fail_input(why, "%s is neither true nor false", key);
    *to = gguf_integer_at(v, 0) != 0;
    return 0;
}

int gguf_get_text(const struct gguf *g, const char *key, struct gguf_text *to, struct fail *why)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v) return 0;
    if (v->type != GGUF_STRING) return fail_input(why, "%s is no text", key);
    const char *at = v->at;
    *to = gguf_next_text(&at);
    return 0;
}

int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type item,
                   const struct gguf_value **to, struct fail *why)
{
    const struct gguf_value *v = *to = gguf_find(g, key);
    if (!v || (v->type == GGUF_ARRAY && v->item == item)) return 0;
    *to = NULL;
    return fail_input(why, "%s is no array of the type that it should have", key);
}

struct gguf_text gguf_next_text(const char **at)
{
    uint64_t bytes;
    memcpy(&bytes, *at, sizeof bytes);
    struct gguf_text text = { *at + sizeof bytes, (size_t)bytes };
    *at = text.at + bytes;
    return text;
}
