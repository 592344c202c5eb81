#include "tools/tokenize/options.h"

#include "lib/cli/die.h"
#include "lib/stream/tokens.h"
#include "lib/tokenizer/chat_template.h"
#include "tools/tokenize/jsonl.h"

/* Dies if an option for conversations is used with other text, or the reverse. In conversations the
 * template decides where BOS and EOS stand, and invalid UTF-8 is never replaced. */
static void check_chat(const struct options *o)
{
    struct fail why;
    bool is_chat = !strcmp(o->format, "chat");
    const char *given = opt_given("template|train-on|odd|show");
    if (!is_chat && given) die_usage("--%s needs --format chat", given);
    if (!is_chat) return;
    if (o->template && chat_template_check(o->template, &why))
        die_usage("--template: %s", why.text);
    if (!strcmp(o->on_error, "replace"))
        die_usage("--on-error replace: conversations are not repaired: stop or skip");
    if (strcmp(o->raw, "none") != 0)
        die_usage("--raw: raw token ids cannot say which tokens count in the loss");
    given = opt_given("bos|no-bos|eos|no-eos");
    if (given)
        die_usage("--%s: the template says what conversations begin and end with (--template)",
                  given);
    if (opt_given("text-key"))
        die_usage("--text-key and --format chat exclude each other: conversations have other keys");
}

/* Dies if --show is combined with an option for the output stream, because --show writes no
 * stream. */
static void check_show(const struct options *o)
{
    const char *given = opt_given("to|source|source-key");
    if (opt_given("show") && !o->show) die_usage("--show must be at least 1");
    if (!o->show) return;
    if (strcmp(o->output, "-") != 0) die_usage("--show writes no stream: leave -o out");
    if (given) die_usage("--show writes no stream: leave --%s out", given);
}

/* Dies if an option does not apply to decoding or copying, which read one stream and encode
 * nothing. */
static void check_stream(const struct options *o, const char **files)
{
    const char *how = o->decode ? "--decode" : o->from;
    const char *given = opt_given("raw|source|source-key|text-key|bos|no-bos|eos|no-eos|"
                                  "on-error|parse-special");
    if (!given && !o->decode) given = opt_given("format|model");
    die_if_typed(*files ? *files : "-", "the stream");
    if (files[0] && files[1])
        die_usage("one stream at a time, not '%s' and '%s': join more with cat", files[0],
                  files[1]);
    if (given) die_usage("--%s is for text, not for %s%s", given, o->decode ? "" : "--from ", how);
    if (o->decode && !strcmp(o->from, "text") && opt_given("from"))
        die_usage("--decode reads tokens, not --from text");
    if (o->decode && !strcmp(o->format, "chat"))
        die_usage("--decode writes --format jsonl or text, no conversations");
    if (o->decode && opt_given("to"))
        die_usage("--decode writes text, and --to is the form of tokens: --format jsonl writes "
                  "JSON lines");
}

/* Dies if --lines is combined with --decode, --from, --show or --raw, because it makes a stream of
 * tokens from text, which pack reads. */
static void check_lines(const struct options *o)
{
    if (!o->lines) return;
    if (o->decode || strcmp(o->from, "text") != 0)
        die_usage("--lines is for text, not for %s%s", o->decode ? "" : "--from ",
                  o->decode ? "--decode" : o->from);
    if (o->show) die_usage("--lines and --show exclude each other");
    if (strcmp(o->raw, "none") != 0)
        die_usage("--raw: raw token ids cannot say which shard of a draw they are");
}

/* Dies if tokens are added without --save-tokenizer, or the reverse, or if the input is no text. */
static void check_tokens(const struct options *o)
{
    bool adds = o->tokens.count || o->special_tokens.count;
    if (adds && !o->save)
        die_usage("--%s: --save-tokenizer DIR is needed: the new folder for the tokenizer with it",
                  o->tokens.count ? "add-token" : "add-special-token");
    if (!adds && o->save)
        die_usage("--save-tokenizer: --add-token or --add-special-token is needed");
    if (adds && (o->decode || strcmp(o->from, "text") != 0))
        die_usage("--save-tokenizer is for text, not for %s%s", o->decode ? "" : "--from ",
                  o->decode ? "--decode" : o->from);
}

static void check_path(const char *option, const char *path)
{
    size_t dots = 0;
    for (const char *c = path; *c; c++)
        dots += *c == '.';
    if (dots > JSONL_DOTS_MAX)
        die_usage("--%s: the path has %zu dots, but at most %d are possible", option, dots,
                  JSONL_DOTS_MAX);
}

/* Dies if an option does not apply to texts that are whole files, or if it says how to encode texts
 * and there are none. With --save-tokenizer the tokenizer may be all that is wanted. */
static void check_text_files(const struct options *o, const char **files)
{
    const char *given = opt_given("text-key|source-key");
    if (!strcmp(o->format, "text") && given)
        die_usage("--%s needs JSON lines: with --format text a file is one document", given);
    given = opt_given("format|from|to|source|source-key|text-key|bos|no-bos|eos|no-eos|"
                      "parse-special|on-error|raw|lines|show");
    if (!o->save || *files) return;
    if (strcmp(o->output, "-") != 0)
        die_usage("-o %s: nothing is encoded: name the text's files, or - for standard input",
                  o->output);
    if (given)
        die_usage("--%s: nothing is encoded: name the text's files, or - for standard input",
                  given);
}

static void check_text(const struct options *o)
{
    check_path("text-key", o->text_key);
    check_path("source-key", o->source_key);
    if (o->bos && o->no_bos) die_usage("--bos and --no-bos exclude each other");
    if (o->eos && o->no_eos) die_usage("--eos and --no-eos exclude each other");
    if (o->source && strlen(o->source) >= SOURCE_MAX)
        die_usage("--source: the name has %zu bytes, but at most %d are possible",
                  strlen(o->source), SOURCE_MAX - 1);
    if (o->source && opt_given("source-key"))
        die_usage("--source and --source-key exclude each other");
    if (!o->model)
        die_usage("--model is needed: the model's tokenizer.model, tokenizer.json, or directory");
    if (strcmp(o->raw, "none") != 0 && opt_given("to"))
        die_usage("--raw and --to exclude each other");
}

void options_check(const struct options *o, const char **files)
{
    bool is_text = !strcmp(o->from, "text");
    check_chat(o);
    check_show(o);
    check_tokens(o);
    check_lines(o);
    if (!is_text || o->decode) check_stream(o, files);
    if (is_text || o->decode) check_text(o);
    if (is_text && !o->decode) check_text_files(o, files);
}

uint32_t options_begin(const struct options *o, const struct tokenizer *t)
{
    uint32_t bos = tokenizer_bos(t), begin = tokenizer_begin(t);
    if (o->bos && begin == UINT32_MAX && bos == UINT32_MAX)
        die(STATUS_INPUT, "%s: the tokenizer has no BOS piece: leave --bos out", o->model);
    return o->no_bos ? UINT32_MAX : begin == UINT32_MAX && o->bos ? bos : begin;
}

uint32_t options_end(const struct options *o, const struct tokenizer *t)
{
    uint32_t eos = tokenizer_eos(t), end = tokenizer_end(t);
    if (o->eos && end == UINT32_MAX && eos == UINT32_MAX)
        die(STATUS_INPUT, "%s: the tokenizer has no EOS piece: leave --eos out", o->model);
    return o->no_eos ? UINT32_MAX : end == UINT32_MAX && o->eos ? eos : end;
}
