/* merge - merges LoRA adapters into their base model, and writes a model directory or a GGUF file
 * that other programs can load. */
#include "lib/cli/die.h"
#include "lib/common/clock.h"
#include "lib/common/file.h"
#include "lib/common/size.h"
#include "lib/tokenizer/end_tokens.h"
#include "tools/merge/conversations.h"
#include "tools/merge/run.h"
#include "tools/merge/to_gguf.h"
#include "tools/merge/to_lora.h"

static struct fail why;

/* Warns that the result keeps the rounding of an NF4 base, unless the adapter was trained on an NF4
 * base. Such an adapter has learned to compensate for the rounding; other adapters have not. */
static void remark_quantization(const struct merge_adapter *part, const char *base)
{
    const char *trained_on = part->adapter->base_quantization;
    if (!strcmp(trained_on, "nf4")) return;
    if (!strcmp(trained_on, "none"))
        warn("%s: an NF4 base, whose rounding stays in the result, but %s was trained on the "
             "unquantized weights: name these with --base",
             base, part->path);
    else
        warn("%s: an NF4 base, whose rounding stays in the result: if %s was not trained on NF4 "
             "(QLoRA), name the unquantized weights with --base",
             base, part->path);
}

/* Prints remarks about the adapters and the base. */
static void print_remarks(const struct options *o, const struct loaded *l,
                          const struct parts *parts)
{
    char remark[400];
    if (o->loaded.resize.tokenizer) {
        vocabulary_resize_describe(&l->weights, remark, sizeof remark);
        note("%s", remark);
    }
    for (int i = 0; i < parts->count; i++)
        if (!parts->at[i].adapter->has_rope && !o->loaded.rope)
            warn("%s: no longqlora.json: its base and position scaling are unknown (--rope sets "
                 "the scaling)",
                 parts->at[i].path);
    for (int i = 0; i < parts->count && l->weights.is_quantized; i++)
        remark_quantization(&parts->at[i], file_shown(o->loaded.model));
    if (config_remark(&l->config, remark, sizeof remark))
        warn("%s: %s", file_shown(o->loaded.model), remark);
    if (!strcmp(o->max_positions, "whole") && l->config.rope.type == ROPE_DYNAMIC)
        die_usage("--max-positions whole: dynamic position scaling needs the base's "
                  "max_position_embeddings");
}

/* Puts the end tokens of a generation_config.json into the config that is written. A GGUF needs
 * this, and so does a directory to which that file is not copied (--tokenizer without it). */
static void keep_end_tokens(const struct options *o, struct loaded *l,
                            const struct companions *companions)
{
    bool is_copied = companions_hold(companions, "generation_config.json");
    const char *from = is_copied ? o->companions.folder : o->loaded.model;
    if (is_copied && !strcmp(o->to, "hf")) return;
    or_die(end_tokens_read_generation_config(l->config.json, from, &why), &why);
}

/* Makes the result that --to names. */
static void make_result(const struct options *o, struct loaded *l, const struct parts *parts,
                        struct companions *companions)
{
    keep_end_tokens(o, l, companions);
    conversations_compare(o, parts);
    conversations_add_ends(o, l, parts, companions);
    if (!strcmp(o->to, "gguf"))
        to_gguf_run(o, l, parts);
    else if (!strcmp(o->to, "gguf-lora"))
        to_lora_run(o, l, parts);
    else
        run_merge(o, l, parts, companions);
}

int main(int argc, char **argv)
{
    struct options o = { .to = "hf",
                         .dtype = "base",
                         .config_style = "old",
                         .max_positions = "base",
                         .max_shard_mb = OPTIONS_SHARD_MB };
    struct opt table[] = {
        { "base", 'b', OPT_TEXT, &o.loaded.model, "MODEL",
          "model directory, GGUF file or weights stream that the adapter was trained on", 0 },
        { "adapter", 'a', OPT_LIST, &o.adapters, "DIR",
          "PEFT adapter directory; may be given several times, each with :WEIGHT (else 1)", 0 },
        { "output", 'o', OPT_TEXT, &o.output, "DIR", "model directory, or FILE.gguf, to write", 0 },
        { "to", 0, OPT_WORD, &o.to, "KIND",
          "form of the result: a model directory; a GGUF file of the model, or of the adapter "
          "alone, for llama.cpp",
          "hf|gguf|gguf-lora" },
        { "tokenizer", 0, OPT_TEXT, &o.tokenizer, "DIR",
          "directory of tokenizer and licence files to copy, or a GGUF file with a tokenizer; else "
          "the base, if it is one of these",
          0 },
        { "dtype", 0, OPT_WORD, &o.dtype, "TYPE",
          "type of the result's weights; base: the type that each tensor has there, f32 for an "
          "adapter",
          "base|f32|f16|bf16|q8_0|q4_0" },
        { "max-shard-size", 0, OPT_COUNT, &o.max_shard_mb, "MIB",
          "begin a new weights file beyond this size", "1000000000" },
        { "config-style", 0, OPT_WORD, &o.config_style, "HOW",
          "form of rope_scaling; new: with rope_type too (transformers 4.43 and later)",
          "old|new" },
        { "max-positions", 0, OPT_WORD, &o.max_positions, "HOW",
          "value of max_position_embeddings with linear position scaling; base: the base's number, "
          "which transformers and vLLM multiply by the factor; whole: the product, as llama.cpp's "
          "converter expects it",
          "base|whole" },
        VOCABULARY_RESIZE_OPTIONS(o.loaded.resize),
        LOADED_OPTIONS(o.loaded, "position scaling for an adapter that does not store it",
                       "accept another base than the one that the adapter was trained on"),
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
    char rope[160], described[120];
    double start = clock_seconds();
    options_check(&o);
    struct companions *companions = options_declare_files(&o);
    o.loaded.is_checked_later = o.loaded.merges = true;
    or_die(loaded_open(&l, &o.loaded, &why), &why);
    or_die(parts_open(&parts, &l, o.words, o.adapters.count, o.loaded.force_base,
                      file_shown(o.loaded.model), &why),
           &why);
    print_remarks(&o, &l, &parts);
    config_describe_rope(&l.config, rope, sizeof rope);
    weights_describe(&l.weights, described, sizeof described);
    note("rope: %s; base: %s, %s", rope, l.weights.is_quantized ? "nf4" : "unquantized", described);
    make_result(&o, &l, &parts, companions);
    double seconds = clock_seconds() - start;
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
