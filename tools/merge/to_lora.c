#include "tools/merge/to_lora.h"

#include "lib/cli/die.h"
#include "lib/common/file.h"
#include "lib/llama/base_digest.h"
#include "lib/llama/gguf_config.h"
#include "lib/tensorfile/ggml_quantize.h"
#include "tools/merge/to_gguf.h"

#include <math.h>

static struct fail why;

/* ---- adapters that llama.cpp cannot apply completely ---- */

static int refuse(const char *what)
{
    return fail_input(
        &why, "%s: llama.cpp does not support this in an adapter: merge the adapter (--to gguf)",
        what);
}

static int check_adapter(const struct adapter *a, const struct fit *fit, const struct tensor *table)
{
    char what[160];
    if (a->is_dora) return refuse("DoRA");
    if (a->has_bias) return refuse("lora_bias");
    if (fit->tokens) return refuse("trained rows of the embedding");
    if (fit->grows) return refuse("tokens that the base lacks");
    if (fit->unties) return refuse("a head that is separated from the embedding");
    for (int64_t i = 0; i < fit->count; i++) {
        bool is_linear = table[i].role == ROLE_LINEAR || table[i].role == ROLE_HEAD;
        if (!fit->each[i].is_saved_whole && (!fit->each[i].rank || is_linear)) continue;
        if (!fit->each[i].is_saved_whole)
            return fail_input(&why,
                              "%s: LoRA of an embedding is not written to such a file: merge the "
                              "adapter (--to gguf)",
                              table[i].name);
        snprintf(what, sizeof what, "%s is trained", table[i].name);
        return refuse(what);
    }
    return 0;
}

/* ---- tensors ---- */

struct lora {
    const struct adapter *adapter;
    const struct fit *fit;
    const struct tensor *table;
    struct gguf_header *headers; /* [2 · adapted], A and B of each tensor */
    size_t count;
    enum ggml_type type;
    double alpha;     /* adapter.lora.alpha, which llama.cpp divides by the rank of each B */
    int64_t head_dim; /* rows of an attention head, whose order changes; 0: no change */
};

static int list_headers(struct lora *r, const struct gguf_architecture *a)
{
    r->headers = calloc(2 * (size_t)r->fit->count + 1, sizeof *r->headers);
    if (!r->headers) return fail(&why, "out of memory");
    for (int64_t i = 0; i < r->fit->count; i++) {
        const struct tensor *t = &r->table[i];
        int64_t rank = r->fit->each[i].rank;
        char name[GGUF_NAME_MAX + 1 - 8];
        if (!rank) continue;
        if (!gguf_tensor_name(a, t->name, name, sizeof name))
            return fail_input(&why,
                              "%s: llama.cpp's %s has no such tensor: merge to a directory "
                              "(--to hf) and serve it with another program",
                              t->name, a->name);
        struct gguf_header *h = &r->headers[r->count];
        h[0] = (struct gguf_header){ .type = r->type, .dims = 2, .shape = { rank, t->cols } };
        h[1] = (struct gguf_header){ .type = r->type, .dims = 2, .shape = { t->rows, rank } };
        snprintf(h[0].name, sizeof h[0].name, "%s.lora_a", name);
        snprintf(h[1].name, sizeof h[1].name, "%s.lora_b", name);
        r->count += 2;
    }
    return 0;
}

/* Writes a matrix, multiplied by `scale`. If head_dim is not 0, its rows are put in llama.cpp's
 * order. */
static int put_matrix(struct gguf_writer *w, const float *values, int64_t rows, int64_t cols,
                      float scale, int64_t head_dim, enum ggml_type type)
{
    size_t row_bytes = ggml_row_bytes(type, cols);
    char *narrow = malloc((size_t)rows * row_bytes);
    float *scaled = malloc((size_t)cols * sizeof *scaled);
    int status = narrow && scaled ? 0 : fail(&why, "out of memory");
    for (int64_t i = 0; i < rows && !status; i++) {
        int64_t at = head_dim ? gguf_interleaved_row(i, head_dim) : i;
        for (int64_t c = 0; c < cols; c++) {
            scaled[c] = scale * values[i * cols + c];
            if (!isfinite(scaled[c])) status = fail_input(&why, "a value is not finite");
        }
        if (!status && !ggml_narrow(type, scaled, narrow + (size_t)at * row_bytes, cols))
            status = fail_input(&why, "a value is too large for f16: --dtype f32 holds it");
    }
    if (!status) status = gguf_put(w, narrow, (size_t)rows * row_bytes, &why);
    free(narrow);
    free(scaled);
    return status;
}

static int put_tensor(const struct lora *r, struct gguf_writer *w, int64_t i)
{
    const struct tensor *t = &r->table[i];
    int64_t rank = r->fit->each[i].rank, rotated = gguf_is_rotated(t->name) ? r->head_dim : 0;
    /* llama.cpp multiplies B·A by alpha / rank. So B is multiplied here by scale / (alpha /
     * rank). */
    float scale = (float)(r->fit->each[i].scale * (double)rank / r->alpha);
    float *a = adapter_values(r->adapter, t, TRAINED_LORA_A, rank, t->cols, &why);
    float *b = a ? adapter_values(r->adapter, t, TRAINED_LORA_B, t->rows, rank, &why) : NULL;
    int status = a && b ? 0 : -1;
    if (!status) status = put_matrix(w, a, rank, t->cols, 1, 0, r->type);
    if (!status) status = put_matrix(w, b, t->rows, rank, scale, rotated, r->type);
    free(a);
    free(b);
    return status ? fail_in(&why, t->name) : 0;
}

/* ---- the whole file ---- */

static int write_file(const struct lora *r, const struct options *o,
                      const struct gguf_architecture *a)
{
    char name[256];
    struct gguf_keys keys;
    struct gguf_writer *w = NULL;
    struct gguf_general general = { .name = name, .type = "adapter", .file = r->type };
    to_gguf_name(o->output, name, sizeof name);
    if (gguf_keys_begin(&keys, &why)) return -1;
    gguf_config_put_general(&keys, a, &general);
    gguf_keys_text(&keys, "adapter.type", "lora", 4);
    gguf_keys_number(&keys, "adapter.lora.alpha", r->alpha);
    int status = gguf_create(&w, o->output, &keys, r->headers, r->count, &why);
    gguf_keys_release(&keys);
    for (int64_t i = 0; i < r->fit->count && !status; i++)
        if (r->fit->each[i].rank) status = put_tensor(r, w, i);
    if (!status) return gguf_finish(w, &why);
    gguf_abandon(w);
    return -1;
}

/* Checks that the base is the one on which the adapter was trained. This reads all weights of the
 * base, to compute its digest. */
static int check_base(const struct options *o, const struct loaded *l, const struct parts *parts)
{
    char digest[STREAM_DIGEST_TEXT];
    if (!parts->checks_base) return 0;
    base_digest(&l->weights, digest);
    if (!adapter_check_base(&l->adapter, digest, file_shown(o->loaded.model), &why)) return 0;
    return loaded_fail_base(o->loaded.adapter, false, &why);
}

/* Fails if the base's position scaling is stored in its GGUF as factors (llama3, longrope) and the
 * adapter has another scaling, because llama.cpp would apply both. Fails also if the adapter's own
 * scaling is llama3, which only factors in the base's GGUF could give. */
static int check_positions(const struct config *c)
{
    enum rope_type of_base = c->stored_rope.type;
    bool has_factors = of_base == ROPE_LLAMA3 || of_base == ROPE_LONGROPE;
    bool is_stored = rope_equal(&c->rope, &c->stored_rope);
    if (c->rope.type == ROPE_LLAMA3 && !is_stored)
        return fail_input(&why, "the adapter has llama3 positions, for which llama.cpp has no "
                                "options: merge the adapter (--to gguf)");
    if (!has_factors || is_stored) return 0;
    return fail_input(
        &why,
        "the adapter has %s positions in place of the base's %s: llama.cpp would apply both, "
        "because the base's scaling is in its GGUF: merge the adapter (--to gguf)",
        rope_type_name(c->rope.type), rope_type_name(of_base));
}

void to_lora_run(const struct options *o, const struct loaded *l, const struct parts *parts)
{
    char serve[120];
    struct tensor *table;
    const struct adapter *a = parts->at[0].adapter;
    const struct gguf_architecture *architecture = gguf_config_architecture(&l->config, &why);
    if (!architecture) die(why.status, "%s: %s", file_shown(o->loaded.model), why.text);
    if (tensors_list(&l->config, &table, &why) < 0) die(why.status, "%s", why.text);
    if (check_adapter(a, parts->at[0].fit, table) || check_positions(&l->config))
        die(why.status, "%s: %s", parts->at[0].path, why.text);
    or_die(check_base(o, l, parts), &why);
    struct lora r = { .adapter = a,
                      .fit = parts->at[0].fit,
                      .table = table,
                      .type = strcmp(o->dtype, "base") != 0 ? (enum ggml_type)to_gguf_type(o->dtype)
                                                            : GGML_F32,
                      .alpha = a->plain_alpha > 0 ? a->plain_alpha : 1,
                      .head_dim = architecture->interleaves ? l->config.head_dim : 0 };
    or_die(list_headers(&r, architecture), &why);
    or_die(write_file(&r, o, architecture), &why);
    gguf_config_serve_options(&l->config, serve, sizeof serve);
    note("%zu matrices; the file has no position scaling, so run llama-cli -m BASE.gguf --lora %s "
         "%s",
         r.count, o->output, serve);
    free(r.headers);
    free(table);
}
