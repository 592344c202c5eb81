#include "tools/merge/options.h"

#include "lib/cli/die.h"
#include "lib/common/file.h"
#include "lib/common/hub_name.h"
#include "lib/common/suffix.h"
#include "lib/llama/model_guard.h"
#include "lib/tokenizer/tokenizer.h"

#include <errno.h>
#include <unistd.h>

static struct fail why;

static void check_needed(const struct options *o)
{
    /* With --to gguf or --resize-vocab, the base may be written without an adapter. */
    bool has_adapters = o->adapters.count || !strcmp(o->to, "gguf") || o->loaded.resize.tokenizer;
    const struct {
        const char *value, *option;
    } needed[] = { { o->loaded.model, "--base MODEL" },
                   { has_adapters ? "" : NULL, "--adapter DIR" },
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
    if (o->adapters.count > MERGE_ADAPTERS_MAX)
        die_usage("%d adapters are given, but at most %d can be merged together", o->adapters.count,
                  MERGE_ADAPTERS_MAX);
    for (int i = 0; i < o->adapters.count; i++)
        or_die(part_parse(&o->words[i], o->adapters.at[i], &why), &why);
    o->loaded.adapter = o->words[0].path;
}

/* Dies unless --tokenizer names a directory, or a GGUF file, with a tokenizer. A tokenizer's file
 * alone is refused, because licences and templates are copied from the same directory. */
static void check_tokenizer(const char *directory)
{
    char path[4096];
    if (access(directory, F_OK)) {
        (void)hub_name_absent(directory, errno, &why);
        die(STATUS_FAILED, "--tokenizer %s", why.text);
    }
    if (!weights_have_companions(directory))
        die(STATUS_FAILED, "--tokenizer %s is a file: name the directory that it lies in",
            directory);
    if (!tokenizer_locate(directory, path, sizeof path))
        die(STATUS_FAILED,
            "--tokenizer %s: neither tokenizer.model nor tokenizer.json in it: name the model's "
            "own "
            "directory",
            directory);
}

/* Dies if an option does not apply to this kind of result: a directory, a file, or an adapter. */
static void check_kind(const struct options *o)
{
    bool is_lora = !strcmp(o->to, "gguf-lora"), is_file = is_lora || !strcmp(o->to, "gguf");
    bool is_quantized = *o->dtype == 'q';
    bool is_named_so = suffix_is(o->output, ".gguf") && strlen(o->output) > strlen(".gguf");
    if (is_quantized && (!is_file || is_lora))
        die_usage("--dtype %s: only --to gguf has this type", o->dtype);
    if (!is_file && is_named_so)
        die_usage("-o %s: --to gguf writes a GGUF file, but without it this becomes a directory",
                  o->output);
    if (!is_file) return;
    if (!is_named_so)
        die_usage("-o %s: --to %s writes a file: name one that ends with .gguf", o->output, o->to);
    const char *given = opt_given("max-shard-size|config-style|max-positions");
    if (given) die_usage("--%s belongs to a directory (--to hf)", given);
    if (is_lora && (o->tokenizer || o->loaded.resize.tokenizer))
        die_usage("%s: an adapter's GGUF has no tokenizer",
                  o->tokenizer ? "--tokenizer" : "--resize-vocab");
    if (is_lora && (o->adapters.count != 1 || o->words[0].weight != 1))
        die_usage("--to gguf-lora needs one adapter without a weight (llama.cpp takes several "
                  "adapters and their weights: --lora-scaled)");
}

void options_check(struct options *o)
{
    check_needed(o);
    read_adapters(o);
    check_kind(o);
    if (o->tokenizer && o->loaded.resize.tokenizer)
        die_usage("--tokenizer: --resize-vocab names the result's tokenizer already");
    or_die(vocabulary_resize_check(&o->loaded.resize, &why), &why);
    if (o->tokenizer) check_tokenizer(o->tokenizer);
    if (!o->max_shard_mb) die_usage("--max-shard-size must be at least 1");
}

/* Returns the place from which tokenizer and licence files are copied: --tokenizer or, without it,
 * the base. In the second case the tokenizer's files come from --resize-vocab if it is given.
 * Otherwise they come from a single adapter with a tokenizer of its own, because that may have
 * added tokens. */
static struct companions_place companions_of(const struct options *o)
{
    char path[4096];
    if (o->tokenizer) return (struct companions_place){ .folder = o->tokenizer };
    struct companions_place from = { .folder = weights_have_companions(o->loaded.model)
                                                   ? o->loaded.model
                                                   : NULL };
    if (o->loaded.resize.tokenizer) {
        from.tokenizer = o->loaded.resize.tokenizer;
        return from;
    }
    const char *adapter = o->adapters.count == 1 ? o->words[0].path : NULL;
    if (adapter && file_is_folder(adapter) && tokenizer_locate(adapter, path, sizeof path))
        from.tokenizer = adapter;
    return from;
}

struct companions *options_declare_files(struct options *o)
{
    struct companions *companions;
    or_die(model_guard_input("--base ", o->loaded.model, &why), &why);
    for (int i = 0; i < o->adapters.count; i++)
        or_die(model_guard_input("--adapter ", o->words[i].path, &why), &why);
    if (o->tokenizer) or_die(model_guard_input("--tokenizer ", o->tokenizer, &why), &why);
    if (o->loaded.resize.tokenizer)
        or_die(model_guard_input("--resize-vocab ", o->loaded.resize.tokenizer, &why), &why);
    o->companions = companions_of(o);
    or_die(companions_read(&companions, o->companions, &why), &why);
    if (strcmp(o->to, "hf") != 0) {
        die_unless_writable("-o ", o->output);
        return companions;
    }
    or_die(model_directory_declare("-o ", o->output, &why), &why);
    warn_of_links_in(o->output);
    return companions;
}
