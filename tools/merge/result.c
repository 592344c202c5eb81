#include "tools/merge/result.h"

static enum dtype dtype_of(const char *word, const struct config *c, const struct weight *w)
{
    if (!strcmp(word, "f32")) return DTYPE_F32;
    if (!strcmp(word, "f16")) return DTYPE_F16;
    if (!strcmp(word, "bf16")) return DTYPE_BF16;
    bool is_quantized = w->type == DTYPE_NF4 || weight_is_widened(w);
    return dtype_stored(is_quantized ? weights_config_type(c) : w->type);
}

int result_list(struct result *r, const struct loaded *l, const struct parts *parts,
                const char *dtype, struct fail *why)
{
    const struct weights *w = &l->weights;
    *r = (struct result){ 0 };
    if ((r->count = tensors_list(&l->config, &r->table, why)) < 0) return -1;
    must(r->count == w->count);
    r->bias_count =
        biases_list(parts->at, parts->count, r->table, r->count, &l->config, &r->biases, why);
    if (r->bias_count < 0) return -1;
    r->dtypes = calloc((size_t)r->count, sizeof *r->dtypes);
    r->headers = calloc((size_t)(r->count + r->bias_count), sizeof *r->headers);
    if (!r->dtypes || !r->headers) return fail(why, "out of memory");
    for (int64_t i = 0; i < r->count; i++) {
        r->dtypes[i] = dtype_of(dtype, &l->config, &w->at[i]);
        r->headers[i] = model_directory_header(&r->table[i], r->dtypes[i]);
    }
    for (int64_t i = 0; i < r->bias_count; i++)
        r->headers[r->count + i] = bias_header(&r->biases[i], r->dtypes[r->biases[i].index]);
    return biases_to_config(r->biases, r->bias_count, l->config.json, why);
}

void result_release(struct result *r)
{
    free(r->table);
    free(r->dtypes);
    free(r->biases);
    free(r->headers);
}
