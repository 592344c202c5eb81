/* merge - an adapter into its base: a model directory that others load unedited. */
#include "../../lib/common/die.h"
#include "../../lib/common/model_guard.h"
#include "../../lib/common/opt.h"
#include "../../lib/common/progress.h"
#include "../../lib/common/size.h"
#include "../../lib/common/tokenizer.h"
#include "../../lib/llama/loaded.h"
#include "merger.h"

#include <math.h>
#include <unistd.h>

struct options {
    struct loaded_options loaded;
    const char *output, *tokenizer, *dtype, *config_style;
    int64_t max_shard_mb;
};

static struct fail why;

/* What was NF4 becomes what the model was in before. */
static enum dtype dtype_of(const struct options *o, const struct config *c, const struct weight *w)
{
    if (!strcmp(o->dtype, "f32")) return DTYPE_F32;
    if (!strcmp(o->dtype, "f16")) return DTYPE_F16;
    if (!strcmp(o->dtype, "bf16")) return DTYPE_BF16;
    return weight_type_dtype(w->type == WEIGHT_NF4 ? weights_config_type(c) : w->type);
}

/* Where tokenizer and licence files come from; NULL: nowhere. */
static const char *companions_of(const struct options *o)
{
    if (o->tokenizer) return o->tokenizer;
    return weights_are_directory(o->loaded.model) ? o->loaded.model : NULL;
}

/* An adapter that brings its own tokenizer may have grown it: its files go along, not the base's.
 */
static const char *tokenizer_of(const struct options *o)
{
    char path[4096];
    bool has_own = !o->tokenizer && o->loaded.adapter && weights_are_directory(o->loaded.adapter) &&
                   tokenizer_locate(o->loaded.adapter, path, sizeof path);
    return has_own ? o->loaded.adapter : NULL;
}

static void merge_all(const struct options *o, const struct loaded *l)
{
    const struct weights *w = &l->weights;
    const struct config *c = &l->config;
    struct merger m;
    enum dtype *dtypes = calloc((size_t)w->count, sizeof *dtypes);
    if (!dtypes) die(STATUS_FAILED, "out of memory");
    for (int64_t i = 0; i < w->count; i++)
        dtypes[i] = dtype_of(o, c, &w->at[i]);
    struct tensor_header *headers = directory_headers(w->table, w->count, dtypes);
    if (!headers) die(STATUS_FAILED, "out of memory");
    or_die(merger_open(&m, w, &l->adapter, dtypes, l->base_is_due, (int)opt_standard.threads, &why),
           &why);
    m.base_path = o->loaded.model;
    m.adapter_path = o->loaded.adapter;
    struct directory_job job = { .config = c,
                                 .headers = headers,
                                 .count = w->count,
                                 .dtype = dtypes[0],
                                 .produce = merger_produce,
                                 .arg = &m,
                                 .copy_from = companions_of(o),
                                 .tokenizer_from = tokenizer_of(o),
                                 .max_shard_bytes = (uint64_t)o->max_shard_mb << 20,
                                 .new_style_rope = !strcmp(o->config_style, "new") };
    if (job.tokenizer_from) note("tokenizer: the adapter's own, %s", job.tokenizer_from);
    struct progress p = { .unit = "tensors", .total = (double)w->count };
    progress_begin(&p);
    or_die(directory_make(o->output, &job, &why), &why);
    progress_end();
    char tokenizer[4096];
    if (!tokenizer_locate(o->output, tokenizer, sizeof tokenizer))
        warn("%s: no tokenizer in it: other programs will want one (--tokenizer DIR)", o->output);
    if (!(m.change_squares > 0) && m.merged)
        warn("%s: every change is zero, the result is the base: an untrained adapter?",
             o->loaded.adapter);
    note("%lld linears merged, %lld tensors replaced, |change| / |weight| = %.4g",
         (long long)m.merged, (long long)m.replaced,
         m.squares > 0 ? sqrt(m.change_squares / m.squares) : 0);
    merger_close(&m);
    free(headers);
    free(dtypes);
}

static void declare_files(const struct options *o)
{
    or_die(model_guard_input("--base ", o->loaded.model, &why), &why);
    or_die(model_guard_input("--adapter ", o->loaded.adapter, &why), &why);
    if (o->tokenizer) or_die(model_guard_input("--tokenizer ", o->tokenizer, &why), &why);
    or_die(directory_declare("-o ", o->output, companions_of(o), tokenizer_of(o), &why), &why);
}

static void check_needed(const struct options *o)
{
    const struct {
        const char *value, *option;
    } needed[] = { { o->loaded.model, "--base MODEL" },
                   { o->loaded.adapter, "--adapter DIR" },
                   { o->output, "-o OUT_DIR" } };
    char missing[80] = "";
    int count = 0;
    for (int i = 0; i < 3; i++) {
        size_t used = strlen(missing);
        if (!needed[i].value)
            snprintf(missing + used, sizeof missing - used, "%s%s", count++ ? ", " : "",
                     needed[i].option);
    }
    if (count) die_usage("%s %s missing", missing, count > 1 ? "are" : "is");
}

/* Its directory, since licences and templates are copied with it. */
static void check_tokenizer(const char *directory)
{
    char path[4096];
    if (access(directory, F_OK)) die(STATUS_FAILED, "--tokenizer %s: %m", directory);
    if (!weights_are_directory(directory))
        die(STATUS_FAILED, "--tokenizer %s: a file: the directory that it lies in is needed",
            directory);
    if (!tokenizer_locate(directory, path, sizeof path))
        die(STATUS_FAILED, "--tokenizer %s: neither tokenizer.model nor tokenizer.json in it",
            directory);
}

int main(int argc, char **argv)
{
    struct options o = { .dtype = "base", .config_style = "old", .max_shard_mb = 5000 };
    struct opt table[] = {
        { "base", 'b', OPT_TEXT, &o.loaded.model, "MODEL",
          "model directory or weights stream that the adapter was trained on", 0 },
        { "adapter", 'a', OPT_TEXT, &o.loaded.adapter, "DIR", "PEFT adapter directory", 0 },
        { "output", 'o', OPT_TEXT, &o.output, "DIR", "model directory to make", 0 },
        { "tokenizer", 0, OPT_TEXT, &o.tokenizer, "DIR",
          "where tokenizer and licence files are copied from; else the base, if it is a directory",
          0 },
        { "dtype", 0, OPT_WORD, &o.dtype, "TYPE", "of the result; base: each tensor as it was",
          "base|f32|f16|bf16" },
        { "max-shard-size", 0, OPT_COUNT, &o.max_shard_mb, "MIB", "begin another file beyond that",
          "1000000000" },
        { "config-style", 0, OPT_WORD, &o.config_style, "HOW",
          "new: rope_scaling has rope_type too (transformers 4.43 and later)", "old|new" },
        { "rope", 0, OPT_TEXT, &o.loaded.rope, "HOW",
          ROPE_WORDS ", of an adapter that does not say what it was trained with", 0 },
        { "original-context", 0, OPT_COUNT, &o.loaded.original_context, "N",
          "the base's context before interpolation; 0: as its config says", 0 },
        { "force-base", 0, OPT_FLAG, &o.loaded.force_base, 0,
          "merge into another base than the adapter was trained on", 0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "merge",
        .summary = "merge a LoRA adapter into its base",
        .usage = "merge --base MODEL --adapter DIR -o OUT_DIR [options]",
        .example = "merge --base Llama-2-7b-hf --adapter run/ -o Llama-2-7b-8k",
        .table = table,
        .no_operands = true,
    };
    const char **operands = opt_parse(argc, argv, &program);
    struct loaded l;
    char rope[160], described[120];
    double start = progress_clock();
    check_needed(&o);
    if (o.tokenizer) check_tokenizer(o.tokenizer);
    if (!o.max_shard_mb) die_usage("--max-shard-size: at least 1");
    declare_files(&o);
    o.loaded.is_checked_later = true;
    or_die(loaded_open(&l, &o.loaded, &why), &why);
    if (!l.adapter.has_rope && !o.loaded.rope)
        warn("%s: no longqlora.json: its base and rope are not known (--rope says the rope)",
             o.loaded.adapter);
    if (adapter_check_tensors(&l.adapter, &l.config, &why)) {
        fail_prefix(&why, o.loaded.adapter);
        die_fail(&why);
    }
    config_describe_rope(&l.config, rope, sizeof rope);
    weights_describe(&l.weights, described, sizeof described);
    note("rope: %s; base: %s, %s", rope, l.weights.is_quantized ? "nf4" : "unquantized", described);
    merge_all(&o, &l);
    double seconds = progress_clock() - start;
    note("%.2f s, %s/s of the base", seconds, size_text((double)l.weights.bytes / seconds).at);
    loaded_close(&l);
    free(operands);
    return 0;
}
