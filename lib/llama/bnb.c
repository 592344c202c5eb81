#include "lib/llama/bnb.h"

#include "lib/common/nf4.h"

static const char *const suffixes[BNB_TENSORS] = {
    "",
    ".absmax",
    ".nested_absmax",
    ".nested_quant_map",
    ".quant_map",
    ".quant_state.bitsandbytes__nf4",
};

const float *bnb_map(void) { return nf4_value; }
const float *bnb_nested_map(void) { return nf4_absmax_value; }

/* ---- config.json ---- */

static int want_word(const json_t *q, const char *key, const char *wanted, struct fail *why)
{
    const json_t *found = json_object_get(q, key);
    const char *word = json_string_value(found);
    if (!found || json_is_null(found) || (word && !strcmp(word, wanted))) return 0;
    return fail_input(why,
                      "quantization_config: %s '%.30s' is not supported, only %s: use the "
                      "unquantized model, and quantize it",
                      key, word ? word : "?", wanted);
}

int bnb_check_config(const json_t *config, struct fail *why)
{
    const json_t *q = json_object_get(config, "quantization_config");
    bool in_4bit = false, in_8bit = false;
    if (!q || json_is_null(q)) return 0;
    if (!json_is_object(q)) return fail_input(why, "quantization_config is not an object");
    if (want_word(q, "quant_method", "bitsandbytes", why) ||
        json_get_flag(q, "load_in_4bit", &in_4bit, why) ||
        json_get_flag(q, "load_in_8bit", &in_8bit, why))
        return -1;
    if (in_8bit || !in_4bit)
        return fail_input(why, "quantization_config: only bitsandbytes' load_in_4bit is supported: "
                               "use the unquantized model, and quantize it");
    return want_word(q, "bnb_4bit_quant_type", "nf4", why) ||
                   want_word(q, "bnb_4bit_quant_storage", "uint8", why)
               ? -1
               : 1;
}

int bnb_outline(const json_t *config, const char *path, bool *is_nf4, struct fail *why)
{
    int quantized = bnb_check_config(config, why);
    if (quantized < 0) return fail_in(why, path);
    *is_nf4 = *is_nf4 || quantized;
    return 0;
}

json_t *bnb_config(const char *compute_dtype)
{
    return json_pack("{s:s,s:b,s:b,s:s,s:b,s:s,s:s,s:[s]}", "quant_method", "bitsandbytes",
                     "load_in_4bit", 1, "load_in_8bit", 0, "bnb_4bit_quant_type", "nf4",
                     "bnb_4bit_use_double_quant", 1, "bnb_4bit_compute_dtype", compute_dtype,
                     "bnb_4bit_quant_storage", "uint8", "llm_int8_skip_modules", "lm_head");
}

/* ---- reading ---- */

static const struct stored_tensor *find_part(const struct model_files *files, const char *weight,
                                             enum bnb_tensor part)
{
    char name[TENSOR_NAME_MAX + 1];
    snprintf(name, sizeof name, "%s%s", weight, suffixes[part]);
    return model_files_find(files, name);
}

bool bnb_is_quantized(const struct model_files *files, const char *name)
{
    const struct stored_tensor *codes = model_files_find(files, name);
    return codes && codes->dtype == DTYPE_U8 && find_part(files, name, BNB_MAP);
}

bool bnb_is_part(const char *name)
{
    size_t length = strlen(name);
    for (int p = BNB_ABSMAX; p < BNB_TENSORS; p++) {
        size_t suffix = strlen(suffixes[p]);
        if (length > suffix && !strcmp(name + length - suffix, suffixes[p])) return true;
    }
    return false;
}

/* Reads a part, which must have this dtype and number of elements. Its shape does not matter. */
static int read_part(const struct model_files *files, const struct tensor *t, enum bnb_tensor part,
                     enum dtype dtype, int64_t count, const void **data, struct fail *why)
{
    const struct stored_tensor *s = find_part(files, t->name, part);
    if (!s) return fail_input(why, "%s%s is missing", t->name, suffixes[part]);
    if (s->dtype == dtype && s->bytes == (size_t)count * dtype_size(dtype)) {
        *data = s->data;
        return 0;
    }
    char shape[128];
    stored_tensor_describe(s, shape, sizeof shape);
    return fail_input(why, "%s%s is %s, but %lld of %s are needed", t->name, suffixes[part], shape,
                      (long long)count, dtype_name(dtype));
}

/* Checks the JSON of the quantization state. *is_nested: double quantization is used. */
static int check_state(const json_t *state, const struct tensor *t, bool *is_nested, float *offset,
                       struct fail *why)
{
    int64_t block = 0, nested_block = NF4_NESTED_BLOCK;
    double mean = 0;
    const char *type = json_string_value(json_object_get(state, "quant_type"));
    const json_t *shape = json_object_get(state, "shape");
    if (json_get_count(state, "blocksize", INT32_MAX, &block, why) ||
        json_get_count(state, "nested_blocksize", INT32_MAX, &nested_block, why) ||
        json_get_real(state, "nested_offset", &mean, why))
        return -1;
    if (!type || strcmp(type, "nf4") != 0)
        return fail_input(
            why,
            "quant_type '%.20s', only nf4 is supported: use the unquantized model, and quantize it",
            type ? type : "?");
    if (block != NF4_BLOCK || nested_block != NF4_NESTED_BLOCK)
        return fail_input(
            why,
            "blocks of %lld weights and %lld scales are not supported, only %d and %d: use the "
            "unquantized model, and quantize it",
            (long long)block, (long long)nested_block, NF4_BLOCK, NF4_NESTED_BLOCK);
    if (json_array_size(shape) != 2 || json_integer_value(json_array_get(shape, 0)) != t->rows ||
        json_integer_value(json_array_get(shape, 1)) != t->cols)
        return fail_input(why, "the shape is not [%lld, %lld], which config.json needs",
                          (long long)t->rows, (long long)t->cols);
    *is_nested = json_object_get(state, "nested_offset");
    *offset = (float)mean;
    return 0;
}

static int read_state(const struct model_files *files, const struct tensor *t, bool *is_nested,
                      float *offset, struct fail *why)
{
    const struct stored_tensor *s = find_part(files, t->name, BNB_STATE);
    if (!s || s->dtype != DTYPE_U8)
        return fail_input(why, "%s%s is missing (another 4-bit type?)", t->name,
                          suffixes[BNB_STATE]);
    json_t *state = json_read_text(s->data, s->bytes, "quant_state", why);
    int status = state ? check_state(state, t, is_nested, offset, why) : -1;
    json_decref(state);
    return status ? fail_in(why, t->name) : 0;
}

static int check_map(const void *map, const float *wanted, size_t bytes, const struct tensor *t,
                     const char *name, struct fail *why)
{
    if (!memcmp(map, wanted, bytes)) return 0;
    return fail_input(why, "%s.%s does not have bitsandbytes' values", t->name, name);
}

/* Reads the 8-bit codes of absmax and their scales. */
static int read_nested(const struct model_files *files, const struct tensor *t, struct weight *w,
                       struct fail *why)
{
    int64_t n = t->rows * t->cols;
    const void *absmax, *absmax_scale, *map;
    if (read_part(files, t, BNB_ABSMAX, DTYPE_U8, nf4_block_count(n), &absmax, why) ||
        read_part(files, t, BNB_NESTED_ABSMAX, DTYPE_F32, nf4_nested_block_count(n), &absmax_scale,
                  why) ||
        read_part(files, t, BNB_NESTED_MAP, DTYPE_F32,
                  sizeof nf4_absmax_value / sizeof *nf4_absmax_value, &map, why))
        return -1;
    w->absmax = absmax;
    w->absmax_scale = absmax_scale;
    return check_map(map, nf4_absmax_value, sizeof nf4_absmax_value, t, "nested_quant_map", why);
}

int bnb_read(const struct model_files *files, const struct tensor *t, struct weight *w,
             struct fail *why)
{
    int64_t n = t->rows * t->cols;
    const void *map, *absmax;
    bool is_nested = false;
    *w = (struct weight){ .type = DTYPE_NF4 };
    if (read_state(files, t, &is_nested, &w->offset, why) ||
        read_part(files, t, BNB_CODES, DTYPE_U8, nf4_code_bytes(n), &w->data, why) ||
        read_part(files, t, BNB_MAP, DTYPE_F32, 16, &map, why) ||
        check_map(map, nf4_value, sizeof nf4_value, t, "quant_map", why))
        return -1;
    if (is_nested) return read_nested(files, t, w, why);
    if (read_part(files, t, BNB_ABSMAX, DTYPE_F32, nf4_block_count(n), &absmax, why)) return -1;
    w->absmax_scale = absmax;
    return 0;
}

/* ---- writing ---- */

struct tensor_header bnb_header(const struct tensor *t, enum bnb_tensor part, char *name,
                                size_t name_size)
{
    int64_t n = t->rows * t->cols;
    const int64_t counts[BNB_TENSORS] = {
        [BNB_CODES] = nf4_code_bytes(n),
        [BNB_ABSMAX] = nf4_block_count(n),
        [BNB_NESTED_ABSMAX] = nf4_nested_block_count(n),
        [BNB_NESTED_MAP] = sizeof nf4_absmax_value / sizeof *nf4_absmax_value,
        [BNB_MAP] = sizeof nf4_value / sizeof *nf4_value,
        [BNB_STATE] = BNB_STATE_BYTES,
    };
    bool is_float = part == BNB_NESTED_ABSMAX || part == BNB_NESTED_MAP || part == BNB_MAP;
    snprintf(name, name_size, "%s%s", t->name, suffixes[part]);
    return (struct tensor_header){ .name = name,
                                   .dtype = is_float ? DTYPE_F32 : DTYPE_U8,
                                   .dims = part == BNB_CODES ? 2 : 1,
                                   .shape = { counts[part], 1 } };
}

void bnb_state(const struct tensor *t, const char *dtype, float offset,
               char text[BNB_STATE_BYTES + 1])
{
    int length = snprintf(text, BNB_STATE_BYTES + 1,
                          "{\"quant_type\": \"nf4\", \"blocksize\": %d, \"dtype\": \"%s\", "
                          "\"shape\": [%lld, %lld], \"nested_blocksize\": %d, "
                          "\"nested_dtype\": \"float32\", \"nested_offset\": %.17g}",
                          NF4_BLOCK, dtype, (long long)t->rows, (long long)t->cols,
                          NF4_NESTED_BLOCK, (double)offset);
    must(length > 0 && length <= BNB_STATE_BYTES);
    memset(text + length, ' ', BNB_STATE_BYTES - (size_t)length);
    text[BNB_STATE_BYTES] = 0;
}
