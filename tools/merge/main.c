/* merge - an adapter into its base: a model directory that others load unedited. */
#include "../../lib/common/die.h"
#include "../../lib/common/model_guard.h"
#include "../../lib/common/opt.h"
#include "../../lib/common/progress.h"
#include "../../lib/common/size.h"
#include "../../lib/common/tokenizer.h"
#include "../../lib/llama/loaded.h"
#include "result.h"

#include <math.h>
#include <unistd.h>

struct options {
    struct loaded_options loaded;
    struct opt_list adapters;
    struct part_word words[MERGE_PARTS_MAX]; /* of the adapters */
    const char *output, *tokenizer, *dtype, *config_style, *max_positions;
    int64_t max_shard_mb;
};

static struct fail why;
static struct companions *companions;

/* Where tokenizer and licence files come from. An adapter that brings its own tokenizer may have
 * grown it: its files go along, not the base's. Of several adapters none is asked. */
static struct companions_place companions_of(const struct options *o)
{
    char path[4096];
    if (o->tokenizer) return (struct companions_place){ .folder = o->tokenizer };
    struct companions_place from = { .folder = weights_are_directory(o->loaded.model)
                                                   ? o->loaded.model
                                                   : NULL };
    const char *adapter = o->adapters.count == 1 ? o->words[0].path : NULL;
    if (adapter && weights_are_directory(adapter) && tokenizer_locate(adapter, path, sizeof path))
        from.tokenizer = adapter;
    return from;
}

static void say_result(const struct options *o, const struct merger *m, bool has_biases)
{
    char tokenizer[4096];
    if (!tokenizer_locate(o->output, tokenizer, sizeof tokenizer))
        warn("%s: no tokenizer in it: other programs will want one (--tokenizer DIR)", o->output);
    if (has_biases)
        note("%s has biases: transformers and llama.cpp compute them, the programs here do not",
             o->output);
    if (!(m->change_squares > 0) && m->merged)
        warn("%s: every change is zero, the result is the base: an untrained adapter?",
             o->loaded.adapter);
    note("%lld linears merged, %lld tensors replaced, |change| / |weight| = %.4g",
         (long long)m->merged, (long long)m->replaced,
         m->squares > 0 ? sqrt(m->change_squares / m->squares) : 0);
}

static void merge_all(const struct options *o, const struct loaded *l, const struct parts *parts)
{
    struct merger m;
    struct result r;
    const char *own = companions_of(o).tokenizer;
    if (own) note("tokenizer: the adapter's own, %s", own);
    or_die(result_list(&r, l, parts, o->dtype, &why), &why);
    const struct merger_job merging = { .base = &l->weights,
                                        .table = r.table,
                                        .count = r.count,
                                        .parts = parts->at,
                                        .part_count = parts->count,
                                        .dtypes = r.dtypes,
                                        .biases = r.biases,
                                        .checks_base = parts->checks_base,
                                        .threads = (int)opt_standard.threads };
    or_die(merger_open(&m, &merging, &why), &why);
    m.base_path = o->loaded.model;
    struct directory_job job = { .config = &l->config,
                                 .headers = r.headers,
                                 .count = r.count + r.bias_count,
                                 .dtype = r.dtypes[0],
                                 .produce = merger_produce,
                                 .arg = &m,
                                 .companions = companions,
                                 .made_by = "merge",
                                 .max_shard_bytes = (uint64_t)o->max_shard_mb << 20,
                                 .new_style_rope = !strcmp(o->config_style, "new"),
                                 .whole_positions = !strcmp(o->max_positions, "whole") };
    struct progress p = { .unit = "tensors", .total = (double)r.count };
    progress_begin(&p);
    or_die(directory_make(o->output, &job, &why), &why);
    progress_end();
    say_result(o, &m, r.bias_count > 0);
    merger_close(&m);
    result_release(&r);
}

static void declare_files(const struct options *o)
{
    or_die(model_guard_input("--base ", o->loaded.model, &why), &why);
    for (int i = 0; i < o->adapters.count; i++)
        or_die(model_guard_input("--adapter ", o->words[i].path, &why), &why);
    if (o->tokenizer) or_die(model_guard_input("--tokenizer ", o->tokenizer, &why), &why);
    struct companions_place from = companions_of(o);
    or_die(companions_read(&companions, from, &why), &why);
    or_die(directory_declare("-o ", o->output, &why), &why);
}

static void check_needed(const struct options *o)
{
    const struct {
        const char *value, *option;
    } needed[] = { { o->loaded.model, "--base MODEL" },
                   { o->adapters.count ? o->adapters.at[0] : NULL, "--adapter DIR" },
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

static void read_adapters(struct options *o)
{
    if (o->adapters.count > MERGE_PARTS_MAX)
        die_usage("%d adapters, at most %d at once", o->adapters.count, MERGE_PARTS_MAX);
    for (int i = 0; i < o->adapters.count; i++)
        or_die(part_parse(&o->words[i], o->adapters.at[i], &why), &why);
    o->loaded.adapter = o->words[0].path;
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
    struct options o = {
        .dtype = "base", .config_style = "old", .max_positions = "base", .max_shard_mb = 5000
    };
    struct opt table[] = {
        { "base", 'b', OPT_TEXT, &o.loaded.model, "MODEL",
          "model directory or weights stream that the adapter was trained on", 0 },
        { "adapter", 'a', OPT_LIST, &o.adapters, "DIR",
          "PEFT adapter directory; may be given several times, each with :WEIGHT (1 without)", 0 },
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
        { "max-positions", 0, OPT_WORD, &o.max_positions, "HOW",
          "max_position_embeddings of linear positions; base: transformers and vLLM multiply it by "
          "the factor; whole: multiplied already, as llama.cpp's converter takes it",
          "base|whole" },
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
        .summary = "merge LoRA adapters into their base",
        .usage = "merge --base MODEL --adapter DIR[:WEIGHT] -o OUT_DIR [options]",
        .example = "merge --base Llama-2-7b-hf --adapter run/ -o Llama-2-7b-8k",
        .table = table,
        .no_operands = true,
    };
    const char **operands = opt_parse(argc, argv, &program);
    static struct parts parts;
    struct loaded l;
    char rope[160], described[120], remark[400];
    double start = progress_clock();
    check_needed(&o);
    read_adapters(&o);
    if (o.tokenizer) check_tokenizer(o.tokenizer);
    if (!o.max_shard_mb) die_usage("--max-shard-size: at least 1");
    declare_files(&o);
    o.loaded.is_checked_later = o.loaded.merges = true;
    or_die(loaded_open(&l, &o.loaded, &why), &why);
    or_die(parts_open(&parts, &l, o.words, o.adapters.count, o.loaded.force_base, o.loaded.model,
                      &why),
           &why);
    for (int i = 0; i < parts.count; i++)
        if (!parts.at[i].adapter->has_rope && !o.loaded.rope)
            warn("%s: no longqlora.json: its base and rope are not known (--rope says the rope)",
                 parts.at[i].path);
    if (config_remark(&l.config, remark, sizeof remark)) warn("%s: %s", o.loaded.model, remark);
    if (!strcmp(o.max_positions, "whole") && l.config.rope.type == ROPE_DYNAMIC)
        die_usage("--max-positions whole: dynamic positions are measured by the base's");
    config_describe_rope(&l.config, rope, sizeof rope);
    weights_describe(&l.weights, described, sizeof described);
    note("rope: %s; base: %s, %s", rope, l.weights.is_quantized ? "nf4" : "unquantized", described);
    merge_all(&o, &l, &parts);
    double seconds = progress_clock() - start;
    note("%.2f s, %s/s of the base", seconds, size_text((double)l.weights.bytes / seconds).at);
    parts_close(&parts);
    loaded_close(&l);
    for (int i = 0; i < o.adapters.count; i++)
        free(o.words[i].path);
    free((void *)o.adapters.at);
    companions_free(companions);
    free(operands);
    return 0;
}
