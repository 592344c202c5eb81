#include "tools/merge/to_gguf.h"

#include "lib/cli/die.h"
#include "lib/cli/progress.h"
#include "lib/common/file.h"
#include "lib/llama/gguf_config.h"
#include "lib/tensorfile/ggml_quantize.h"
#include "lib/tokenizer/gguf_export.h"
#include "lib/tokenizer/tokenizer.h"
#include "tools/merge/gguf_sink.h"
#include "tools/merge/run.h"

static struct fail why;

int to_gguf_type(const char *word)
{
    static const struct {
        const char *word;
        enum ggml_type type;
    } types[] = { { "f32", GGML_F32 },
                  { "f16", GGML_F16 },
                  { "bf16", GGML_BF16 },
                  { "q8_0", GGML_Q8_0 },
                  { "q4_0", GGML_Q4_0 } };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].word, word)) return (int)types[i].type;
    return -1;
}

enum ggml_type to_gguf_plain(enum dtype dtype)
{
    return dtype == DTYPE_F16 ? GGML_F16 : dtype == DTYPE_BF16 ? GGML_BF16 : GGML_F32;
}

void to_gguf_name(const char *output, char *text, size_t size)
{
    const char *slash = strrchr(output, '/'), *name = slash ? slash + 1 : output;
    int bytes = (int)(strlen(name) - strlen(".gguf"));
    snprintf(text, size, "%.*s", bytes < 200 ? bytes : 200, name);
}

/* ---- the file's tensors ---- */

/* The tensors of the file: those of the position scaling, if it has any, then those of the
 * result. */
struct plan {
    struct gguf_header *at; /* [GGUF_FACTORS_MAX + count]; the result's follow those of scaling */
    /* fallen: how many tensors are stored in f16 because their rows are not whole blocks. */
    int64_t count, fallen;
    const char *first_fallen;
    enum ggml_type linear_type; /* the type of the linear layers, which are most of the file */
};

static void describe_matrix(struct plan *p, struct gguf_header *h, const struct tensor *t,
                            int asked, enum dtype *dtype)
{
    h->dims = 2;
    h->shape[0] = t->rows;
    h->shape[1] = t->cols;
    h->type = asked < 0 ? to_gguf_plain(*dtype) : (enum ggml_type)asked;
    if (ggml_is_quantized(h->type) && t->cols % GGML_BLOCK) {
        if (!p->fallen++) p->first_fallen = t->name;
        h->type = GGML_F16;
    }
    /* The merger rounds to f16 or bf16. For types with blocks its result is f32, which the sink
     * quantizes. */
    *dtype = h->type == GGML_F16 ? DTYPE_F16 : h->type == GGML_BF16 ? DTYPE_BF16 : DTYPE_F32;
    if (asked < 0 && t->part == PART_O) p->linear_type = h->type;
}

static int plan_file(struct plan *p, const struct result *r, const struct gguf_architecture *a,
                     const char *dtype)
{
    int asked = to_gguf_type(dtype);
    *p = (struct plan){ .count = r->count + r->bias_count,
                        .linear_type = asked < 0 ? GGML_F32 : (enum ggml_type)asked };
    p->at = calloc((size_t)p->count + GGUF_FACTORS_MAX, sizeof *p->at);
    if (!p->at) return fail(&why, "out of memory");
    for (int64_t i = 0; i < p->count; i++) {
        bool is_bias = i >= r->count;
        const char *name = is_bias ? r->biases[i - r->count].name : r->table[i].name;
        const struct tensor *t = is_bias ? r->biases[i - r->count].of : &r->table[i];
        struct gguf_header *h = &p->at[GGUF_FACTORS_MAX + i];
        if (!gguf_tensor_name(a, name, h->name, sizeof h->name))
            return fail_input(&why,
                              "%s: llama.cpp's %s has no such tensor: merge to a directory "
                              "(--to hf) and serve it with another program",
                              name, a->name);
        if (!is_bias && t->cols > 1) {
            describe_matrix(p, h, t, asked, &r->dtypes[i]);
            continue;
        }
        *h = (struct gguf_header){ .type = GGML_F32, .dims = 1, .shape = { t->rows } };
        gguf_tensor_name(a, name, h->name, sizeof h->name);
        if (!is_bias) r->dtypes[i] = DTYPE_F32;
    }
    return 0;
}

/* ---- keys ---- */

/* Returns the path of the tokenizer, which a GGUF file must contain. */
static const char *tokenizer_place(const struct options *o)
{
    const char *place = o->companions.tokenizer ? o->companions.tokenizer : o->companions.folder;
    char path[4096];
    if (place && tokenizer_locate(place, path, sizeof path)) return place;
    die(STATUS_FAILED, "%s: no tokenizer in it, which a GGUF needs: --tokenizer DIR names one",
        file_shown(o->loaded.model));
}

static int put_keys(struct gguf_keys *k, const struct options *o, const struct loaded *l,
                    const struct gguf_architecture *a, enum ggml_type linear_type)
{
    char own[256], name[300];
    struct gguf_export_notes notes;
    struct gguf_general general = { .type = "model",
                                    .file = linear_type,
                                    .parameters = tensors_parameters(&l->config) };
    gguf_config_put_general(k, a, &general);
    gguf_config_put(k, a, &l->config);
    const char *place = tokenizer_place(o);
    if (gguf_export_tokenizer(k, place, l->config.vocab, l->config.json, &notes, &why)) return -1;
    to_gguf_name(o->output, own, sizeof own);
    gguf_export_name(own, notes.strips, name, sizeof name);
    gguf_keys_text(k, "general.name", name, strlen(name));
    if (*notes.added) warn("%s: %s", place, notes.added);
    if (*notes.ends) warn("%s: %s", place, notes.ends);
    return 0;
}

/* ---- the whole file ---- */

/* Writes the keys and the tensors of the position scaling. */
static int begin_file(struct gguf_writer **w, const struct plan *p, const struct options *o,
                      const struct loaded *l, const struct gguf_architecture *a)
{
    struct gguf_keys keys;
    struct gguf_factors factors[GGUF_FACTORS_MAX];
    int count = gguf_config_factors(&l->config, factors, &why);
    struct gguf_header *first = p->at + GGUF_FACTORS_MAX - (count > 0 ? count : 0);
    for (int i = 0; i < count; i++) {
        first[i] =
            (struct gguf_header){ .type = GGML_F32, .dims = 1, .shape = { factors[i].count } };
        snprintf(first[i].name, sizeof first[i].name, "%s", factors[i].name);
    }
    int status = count < 0 ? -1 : gguf_keys_begin(&keys, &why);
    if (!status) {
        status = put_keys(&keys, o, l, a, p->linear_type);
        if (!status)
            status = gguf_create(w, o->output, &keys, first, (size_t)(p->count + count), &why);
        gguf_keys_release(&keys);
    }
    for (int i = 0; i < count && !status; i++)
        status = gguf_put(*w, factors[i].values, (size_t)factors[i].count * sizeof(float), &why);
    for (int i = 0; i < GGUF_FACTORS_MAX; i++)
        free(factors[i].values);
    return status;
}

static int write_tensors(struct merger *m, struct gguf_writer *w, const struct plan *p,
                         const struct result *r, const struct gguf_architecture *a,
                         const struct config *c)
{
    struct gguf_sink sink = { .w = w,
                              .result = r,
                              .headers = p->at + GGUF_FACTORS_MAX,
                              .head_dim = a->interleaves ? c->head_dim : 0,
                              .adds_one = a->norms_add_one };
    int status = gguf_sink_open(&sink, (int)opt_standard.threads, &why);
    for (int64_t i = 0; i < p->count && !status; i++)
        status = merger_make(m, i, gguf_sink_put, &sink, &why);
    gguf_sink_close(&sink);
    return status;
}

static void print_plan(const struct plan *p, const struct options *o)
{
    if (p->fallen)
        warn("%s: %lld tensors are stored in f16, because their rows are not a multiple of %d, for "
             "example %s",
             o->output, (long long)p->fallen, GGML_BLOCK, p->first_fallen);
}

void to_gguf_run(const struct options *o, const struct loaded *l, const struct parts *parts)
{
    struct merger m;
    struct result r;
    struct plan p;
    struct gguf_writer *w = NULL;
    const struct gguf_architecture *a = gguf_config_architecture(&l->config, &why);
    if (!a) die(why.status, "%s: %s", file_shown(o->loaded.model), why.text);
    or_die(result_list(&r, l, parts, o->dtype, &why), &why);
    or_die(plan_file(&p, &r, a, o->dtype), &why);
    run_open_merger(&m, o, l, parts, &r, a->interleaves);
    or_die(begin_file(&w, &p, o, l, a), &why);
    struct progress progress = { .unit = "tensors", .total = (double)r.count };
    progress_begin(&progress);
    int status = write_tensors(&m, w, &p, &r, a, &l->config);
    if (status) gguf_abandon(w);
    or_die(status, &why);
    or_die(gguf_finish(w, &why), &why);
    progress_end();
    print_plan(&p, o);
    if (parts->count) run_print_merged(o, &m);
    note("%s: %s, context_length %lld", o->output, ggml_format(p.linear_type)->name,
         (long long)config_context(&l->config));
    merger_close(&m);
    free(p.at);
    result_release(&r);
}
