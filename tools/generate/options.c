#include "tools/generate/options.h"

#include "lib/cli/die.h"
#include "lib/common/file_guard.h"
#include "lib/llama/model_guard.h"
#include "lib/tokenizer/chat_template.h"
#include "model/sample_ranks.h"

#include <unistd.h>

static struct fail why;

/* Dies if several ranks cannot do what is asked. */
static void check_ranks(const struct options *o)
{
    bool is_typed = o->chat && !o->prompt && !o->prompt_file && strcmp(o->format, "jsonl") != 0;
    if (o->segments < 1 || o->segments > SEGMENTS_MAX)
        die_usage("--context-segments must be from 1 to %d", SEGMENTS_MAX);
    if (o->parts == 1) return;
    if (o->segments == 1)
        die_usage("%lld ranks share a text only in segments: --context-segments %lld, or --ranks 1 "
                  "if each process is a run of its own",
                  (long long)o->parts, (long long)o->parts);
    if (ranks_place(o->ranks)->count > 1 && launch_reads_once(o->loaded.model))
        die_usage("--model %s: only one of the ranks can read %s: name a file", o->loaded.model,
                  strcmp(o->loaded.model, "-") ? "a pipe" : "standard input");
    if (options_is_first(o) && is_typed && isatty(STDIN_FILENO))
        die_usage("--chat: several ranks hold no conversation on a terminal: give a prompt with "
                  "--prompt or --prompt-file, or conversations with --format jsonl");
}

void options_check(const struct options *o)
{
    const struct sampling *s = &o->sampling;
    bool is_lines = !strcmp(o->format, "jsonl");
    if (!o->loaded.model) die_usage("--model is needed: a model's directory or weights");
    if (o->prompt && o->prompt_file)
        die_usage("--prompt and --prompt-file exclude each other: leave one out");
    if (!strcmp(o->loaded.model, "-") && !o->prompt && !o->prompt_file)
        die_usage("--prompt is needed: standard input is the model");
    check_ranks(o);
    die_if_typed(o->loaded.model, "--model");
    if (is_lines && o->prompt)
        die_usage("--format jsonl reads lines of a file (--prompt-file) or of standard input, no "
                  "--prompt");
    if (s->temperature < 0) die_usage("--temperature: %g is negative", s->temperature);
    if (!(s->top_p > 0) || s->top_p > 1) die_usage("--top-p: %g is not in (0, 1]", s->top_p);
    if (s->min_p < 0 || s->min_p > 1) die_usage("--min-p: %g is not in [0, 1]", s->min_p);
    if (!(s->repetition > 0)) die_usage("--repetition-penalty: %g is not positive", s->repetition);
    if (!o->max_tokens) die_usage("--max-new-tokens must be at least 1");
    for (int i = 0; i < o->stops.count; i++)
        if (!*o->stops.at[i]) die_usage("--stop: the text is empty: leave the option out");
    if (o->chat && chat_template_check(o->chat, &why)) die_usage("--chat: %s", why.text);
    if (options_is_first(o) && o->prompt_file && strcmp(o->prompt_file, "-") != 0 &&
        access(o->prompt_file, R_OK))
        die(STATUS_FAILED, "%s: %m", o->prompt_file);
}

void options_declare_files(const struct options *o)
{
    or_die(model_guard_input("--model ", o->loaded.model, &why), &why);
    if (o->loaded.adapter) or_die(model_guard_input("--adapter ", o->loaded.adapter, &why), &why);
    if (o->tokenizer) or_die(model_guard_input("--tokenizer ", o->tokenizer, &why), &why);
    if (o->chat) or_die(file_guard_input("--chat ", o->chat, &why), &why);
    if (!o->prompt)
        or_die(file_guard_input("--prompt-file ", o->prompt_file ? o->prompt_file : "-", &why),
               &why);
    or_die(file_guard_output("", "-", &why), &why);
}

void options_check_unused(const struct options *o)
{
    const struct sampling *s = &o->sampling;
    bool chooses = s->top_k || s->top_p < 1 || s->min_p > 0 || s->seed;
    if (o->system && !o->chat) die_usage("--system needs --chat");
    if (o->no_bos && o->chat)
        die_usage("--no-bos and --chat exclude each other: the template says what a conversation "
                  "begins with");
    if (s->temperature == 0 && chooses && strcmp(o->format, "jsonl") != 0)
        warn("--top-k, --top-p, --min-p and --seed change nothing: without --temperature the most "
             "likely token is taken");
}
