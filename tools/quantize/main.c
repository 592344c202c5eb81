/* quantize - quantizes a model's linear layers to NF4 with double quantization (QLoRA, Dettmers et
 * al. 2023). Writes a weights stream, or a model directory in bitsandbytes' format. */
#include "lib/cli/die.h"
#include "lib/cli/opt.h"
#include "lib/cli/progress.h"
#include "lib/common/clock.h"
#include "lib/common/output.h"
#include "lib/common/size.h"
#include "lib/llama/model_directory.h"
#include "lib/llama/model_guard.h"
#include "lib/llama/model_place.h"
#include "lib/llama/vocabulary_resize.h"
#include "lib/tokenizer/end_tokens.h"
#include "tools/quantize/sinks.h"

#include <sys/stat.h>
#include <unistd.h>

struct options {
    const char *output, *to;
    int64_t max_shard_mb;
    struct vocabulary_resize resize;
    bool verbose;
};

static struct fail why;
static struct companions *companions; /* files that are copied to the result if it is a directory */

static void check_usage(const struct options *o, const char **operands)
{
    if (!operands[0]) die_usage("a model is needed: quantize MODEL -o FILE");
    if (operands[1])
        die_usage("one model at a time, not '%s' and '%s': -o names the output", operands[0],
                  operands[1]);
    if (strcmp(o->to, "bnb") != 0 && opt_given("max-shard-size"))
        die_usage("--max-shard-size belongs to --to bnb: a stream is one file");
    if (!o->max_shard_mb) die_usage("--max-shard-size must be at least 1");
    or_die(vocabulary_resize_check(&o->resize, &why), &why);
    if (strcmp(o->to, "bnb") != 0)
        die_if_terminal(o->output);
    else if (!strcmp(o->output, "-"))
        die_usage("--to bnb makes a directory: -o DIR is needed");
}

NORETURN static void refuse_file(const char *path)
{
    struct stat st;
    struct reader *r;
    struct weights_info info;
    if (!stat(path, &st) && S_ISREG(st.st_mode) && !weights_reader(&r, path, &info, &why))
        die(STATUS_INPUT, "%s: a weights stream already, quantized to %s: nothing to do", path,
            info.quantization);
    die(STATUS_INPUT, "%s: neither a model's directory, with its config.json, nor a GGUF file",
        path);
}

static void declare_files(const struct options *o, const char *model)
{
    const char *tokenizer = o->resize.tokenizer;
    or_die(model_guard_input("", model, &why), &why);
    if (tokenizer) or_die(model_guard_input("--resize-vocab ", tokenizer, &why), &why);
    if (!strcmp(o->to, "bnb")) {
        struct companions_place from = { .folder = model, .tokenizer = tokenizer };
        or_die(companions_read(&companions, from, &why), &why);
        if (*companions_lack(companions))
            warn("%s; the weights are used, and %s gets no tokenizer: put the model's own into it",
                 companions_lack(companions), o->output);
        or_die(model_directory_declare("-o ", o->output, &why), &why);
        warn_of_links_in(o->output);
        return;
    }
    if (!opt_standard.quiet) or_die(output_check_apart(o->output, &why), &why);
    die_unless_writable("-o ", o->output);
}

/* Adds the rows that --resize-vocab asks for. */
static void resize(const struct options *o, const char *path, struct weights *w)
{
    char described[120];
    if (!o->resize.tokenizer) return;
    if (vocabulary_resize(w, &o->resize, path, &why)) die(why.status, "%s: %s", path, why.text);
    vocabulary_resize_describe(w, described, sizeof described);
    note("%s", described);
}

/* Puts the ids of generation_config.json that end an answer into the config. A stream has only the
 * config, but a directory gets a copy of that file. */
static void keep_end_tokens(const struct options *o, const char *path, struct weights *w)
{
    if (!strcmp(o->to, "bnb")) return;
    or_die(end_tokens_read_generation_config(w->config.json, path, &why), &why);
}

static void quantize(const struct options *o, const char *path, const struct weights *w)
{
    struct quantizer q;
    struct progress p = { .unit = "tensors", .total = (double)w->count };
    progress_begin(&p);
    or_die(quantizer_open(&q, w, path, &why), &why);
    q.is_verbose = o->verbose;
    if (!strcmp(o->to, "bnb"))
        or_die(quantize_to_bnb(&q, o->output, companions, (uint64_t)o->max_shard_mb << 20, &why),
               &why);
    else
        or_die(quantize_to_stream(&q, o->output, &why), &why);
    progress_end();
    quantizer_report(&q);
    quantizer_close(&q);
}

int main(int argc, char **argv)
{
    struct options o = { .output = "-", .to = "weights", .max_shard_mb = 5000 };
    struct opt table[] = {
        { "output", 'o', OPT_TEXT, &o.output, "FILE",
          "output file, or with --to bnb the directory to write; - is standard output", 0 },
        { "to", 0, OPT_WORD, &o.to, "HOW",
          "write a stream, or a directory that transformers loads with bitsandbytes",
          "weights|bnb" },
        { "max-shard-size", 0, OPT_COUNT, &o.max_shard_mb, "MIB",
          "with --to bnb, begin a new weights file beyond this size", "1000000000" },
        VOCABULARY_RESIZE_OPTIONS(o.resize),
        { "verbose", 'v', OPT_FLAG, &o.verbose, 0, "report the error of each linear layer too", 0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "quantize",
        .summary = "quantize a model's linear layers to NF4",
        .usage = "quantize [options] MODEL > weights",
        .example = "quantize Llama-2-7b-hf -o llama-2-7b.nf4",
        .table = table,
    };
    const char **operands = opt_parse(argc, argv, &program);
    struct weights w;
    char loaded[120], remark[400];
    check_usage(&o, operands);
    double start = clock_seconds();
    or_die(model_place_check(operands[0], &why), &why);
    if (!weights_have_companions(operands[0])) refuse_file(operands[0]);
    declare_files(&o, operands[0]);
    or_die(weights_open(&w, operands[0], false, &why), &why);
    if (w.is_quantized)
        die(STATUS_INPUT, "%s: its linear layers are NF4 already: nothing to do", operands[0]);
    weights_describe(&w, loaded, sizeof loaded);
    note("%s: %s", operands[0], loaded);
    keep_end_tokens(&o, operands[0], &w);
    resize(&o, operands[0], &w);
    if (config_remark(&w.config, remark, sizeof remark)) warn("%s: %s", operands[0], remark);
    quantize(&o, operands[0], &w);
    double seconds = clock_seconds() - start;
    note("%lld parameters in %.2f s, %.3g million a second, %s/s of the model",
         (long long)tensors_parameters(&w.config), seconds,
         (double)tensors_parameters(&w.config) / seconds / 1e6,
         size_text((double)w.bytes / seconds).at);
    weights_close(&w);
    companions_free(companions);
    free(operands);
    return 0;
}
