/* ppl - measures perplexity at several context lengths with full attention, by a protocol. */
#include "lib/cli/die.h"
#include "lib/cli/launch.h"
#include "lib/cli/opt.h"
#include "lib/common/file_guard.h"
#include "lib/common/output.h"
#include "lib/llama/model_guard.h"
#include "lib/stream/tokens.h"
#include "model/sample_ranks.h"
#include "tools/ppl/measurement.h"

static void declare_files(const struct measure_options *o)
{
    struct fail why;
    or_die(model_guard_input("--model ", o->loaded.model, &why), &why);
    if (o->loaded.adapter) or_die(model_guard_input("--adapter ", o->loaded.adapter, &why), &why);
    if (o->tokenizer) or_die(model_guard_input("--tokenizer ", o->tokenizer, &why), &why);
    or_die(file_guard_input("--data ", o->data, &why), &why);
    if (!ranks_place(o->ranks)->rank) die_unless_writable("-o ", o->output);
}

/* Opens the ranks that share the measurement. */
static void open_ranks(struct measure_options *o)
{
    o->ranks = launch_open(o->asked_ranks, o->rank_timeout, false);
    o->threads = launch_threads(opt_standard.threads);
}

static void check_options(const struct measure_options *o)
{
    if (!o->loaded.model) die_usage("--model is needed: a model's directory or weights");
    if (!strcmp(o->loaded.model, "-") && !strcmp(o->data, "-"))
        die_usage("--data must name a file, because standard input is the model");
    die_if_typed(o->loaded.model, "--model");
    if (!ranks_place(o->ranks)->rank) die_if_typed(o->data, "--data");
    if (ranks_place(o->ranks)->count > 1 && launch_reads_once(o->loaded.model))
        die_usage("--model %s: only one of the ranks can read %s: name a file", o->loaded.model,
                  strcmp(o->loaded.model, "-") ? "a pipe" : "standard input");
    if (o->segments < 1 || o->segments > SEGMENTS_MAX)
        die_usage("--context-segments must be from 1 to %d", SEGMENTS_MAX);
    if (o->bytes && o->tokenizer)
        die_usage("--bytes and --tokenizer exclude each other: both say how many bytes the text "
                  "has");
    if (o->short_context == 1) die_usage("--short-context must be at least 2");
    declare_files(o);
}

static const struct measure_options defaults = { .contexts = "1024,2048,4096,8192",
                                                 .protocol = "longqlora",
                                                 .to = "auto",
                                                 .output = "-",
                                                 .device = "auto",
                                                 .data = "-",
                                                 .from = "stream",
                                                 .rank_timeout = 600,
                                                 .segments = 1,
                                                 .loaded = { .with_base = true } };

int main(int argc, char **argv)
{
    struct measure_options o = defaults;
    struct opt table[] = {
        { "model", 'm', OPT_TEXT, &o.loaded.model, "MODEL",
          "model directory, GGUF file, or weights stream; - is standard input", 0 },
        { "adapter", 'a', OPT_TEXT, &o.loaded.adapter, "DIR", "PEFT adapter directory", 0 },
        { "data", 'd', OPT_TEXT, &o.data, "FILE", "stream of tokens, or of samples", 0 },
        { "from", 0, OPT_WORD, &o.from, "HOW",
          "form of the data: tokens as a stream, JSON lines, or raw token ids (little-endian); or "
          "samples, of which the targets are scored",
          TOKEN_FORMAT_WORDS "|samples|samples-jsonl" },
        { "context", 'c', OPT_TEXT, &o.contexts, "LENGTHS",
          "context lengths to measure at; with samples, the lengths by which they are grouped; "
          "without the option they are one group",
          0 },
        { "protocol", 0, OPT_WORD, &o.protocol, "NAME",
          "which windows are read, what is scored in them, and how losses are averaged",
          PROTOCOLS },
        { "stride", 0, OPT_COUNT, &o.stride, "N",
          "tokens from one window to the next; 0: the protocol's default", 0 },
        { "short-context", 0, OPT_COUNT, &o.short_context, "N",
          "for longppl, the short context that a prediction is compared with; 0: 4096", 0 },
        { "bytes", 0, OPT_COUNT, &o.bytes, "N",
          "size of the data's text in bytes, for bits per byte; 0: the tokenizer counts them", 0 },
        { "tokenizer", 0, OPT_TEXT, &o.tokenizer, "PATH",
          "the tokenizer.model, tokenizer.json or GGUF file that counts the bytes of the "
          "text, or its directory; without the option the model's",
          0 },
        { "per-document", 0, OPT_FLAG, &o.per_document, 0,
          "measure each document by itself, without those that are too short; without the option "
          "all documents are one text",
          0 },
        { "max-tokens", 0, OPT_COUNT, &o.max_tokens, "N",
          "read and measure only the first N tokens of a text; 0: all", 0 },
        { "source", 0, OPT_TEXT, &o.source, "NAME", "measure only documents of this source", 0 },
        LOADED_OPTIONS(o.loaded,
                       "position scaling in place of the model's, unless the adapter stores its "
                       "own; several, such as linear:2,yarn:2, are compared",
                       "accept an adapter that was trained on another base"),
        { "to", 0, OPT_WORD, &o.to, "HOW",
          "what is written: a table, a table by the tokens that a prediction has seen, a stream of "
          "scores, or JSON; auto: by the end of the output's name, .scores or .json, else a table",
          "auto|table|positions|scores|json" },
        { "output", 'o', OPT_TEXT, &o.output, "FILE", "output file; - is standard output", 0 },
        { "device", 0, OPT_OFFERED, &o.device, "NAME", "where to compute: " KERNELS_DEVICES,
          KERNELS_NAMES("|", "|") },
        LAUNCH_OPTIONS(o.asked_ranks, o.rank_timeout,
                       "how many processes a launcher started to share the measurement; 1: this "
                       "process is a run of its own"),
        { "context-segments", 0, OPT_COUNT, &o.segments, "S",
          "cut each batch of windows into S segments of tokens, which up to S ranks compute "
          "together",
          0 },
        { "sample-ranks", 0, OPT_COUNT, &o.sample_ranks, "P",
          "how many ranks compute a batch together; 0: as many as the segments and key/value heads "
          "allow",
          0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "ppl",
        .summary = "measure perplexity by context length",
        .usage = "ppl --model MODEL --data TOKENS [options]",
        .example = "ppl --model Llama-2-7b-hf --adapter run/ --data pg19.tok --context 4096,8192",
        .table = table,
        .no_operands = true,
    };
    launch_begin();
    const char **operands = opt_parse(argc, argv, &program);
    open_ranks(&o);
    check_options(&o);
    measure(&o);
    launch_close(STATUS_DONE);
    free(operands);
    return 0;
}
