/* tokenize - turns text files into a stream of token ids, as SentencePiece or Hugging Face's
 * tokenizers encode them. */
#include "lib/cli/die.h"
#include "lib/cli/opt.h"
#include "lib/common/file_guard.h"
#include "lib/llama/model_guard.h"
#include "lib/tokenizer/chat_template.h"
#include "tools/tokenize/decode.h"
#include "tools/tokenize/run.h"
#include "tools/tokenize/save.h"

static void decode_all(const struct options *o, const char *file, enum token_format from,
                       const struct tokenizer *t)
{
    struct fail why;
    struct output out;
    or_die(output_open(&out, o->output, &why), &why);
    or_die(decode_stream(t, file, from, !strcmp(o->format, "text"), &out, &why), &why);
    or_die(output_close(&out, &why), &why);
}

/* Declares all files before any work, so that an output that is also the last input is refused
 * before the first input is read. */
static void declare_files(const struct options *o, const char **files)
{
    struct fail why;
    const char **first = files;
    if (o->model) or_die(model_guard_input("--model ", o->model, &why), &why);
    if (o->save) save_declare(o);
    if (o->template) or_die(file_guard_input("--template ", o->template, &why), &why);
    if (o->lines) or_die(file_guard_input("--lines ", o->lines, &why), &why);
    if (!*files && !o->save) or_die(file_guard_input("", "-", &why), &why);
    for (; *files; files++)
        or_die(file_guard_input("", *files, &why), &why);
    if (o->show) {
        or_die(file_guard_output("", "-", &why), &why);
        return;
    }
    bool writes = *first || !o->save;
    if (writes && !o->decode && strcmp(o->to, "jsonl") != 0 && !opt_standard.quiet)
        or_die(output_check_apart(o->output, &why), &why);
    if (writes) die_unless_writable("-o ", o->output);
}

static struct tokenizer *open_tokenizer(const struct options *o)
{
    struct tokenizer *t;
    struct fail why;
    or_die(tokenizer_open(&t, o->model, &why), &why);
    bool puts_begin = !o->bos && !o->no_bos && strcmp(o->format, "chat") != 0;
    const char *remark = tokenizer_remark(t, puts_begin);
    if (remark && !o->decode) warn("%s", remark);
    return t;
}

static void work(struct options *o, const char **files)
{
    struct fail why;
    bool is_text = !strcmp(o->from, "text");
    enum token_format from = is_text ? TOKEN_FORMAT_STREAM : token_format_of(o->from);
    /* With --save-tokenizer the tokenizer may be all that is wanted. */
    bool saves_only = o->save && !*files;
    if (!o->decode && !o->show && !saves_only && strcmp(o->to, "jsonl") != 0)
        die_if_terminal(o->output);
    options_check(o, files);
    declare_files(o, files);
    if (o->save) {
        save_tokenizer(o);
        o->model = o->save;
    }
    if (!is_text && !o->decode) {
        or_die(decode_tokens(*files ? *files : "-", from, token_format_of(o->to), o->output, &why),
               &why);
        return;
    }
    struct tokenizer *t = open_tokenizer(o);
    if (o->decode)
        decode_all(o, *files ? *files : "-", from, t);
    else if (!saves_only)
        run_encode(o, files, t);
    tokenizer_close(t);
}

int main(int argc, char **argv)
{
    struct options o = { .output = "-",
                         .format = "jsonl",
                         .text_key = "text",
                         .source_key = OPTIONS_SOURCE_KEY,
                         .on_error = "stop",
                         .train_on = "all",
                         .odd = "stop",
                         .raw = "none",
                         .from = "text",
                         .to = "stream" };
    struct opt table[] = {
        { "model", 'm', OPT_TEXT, &o.model, "FILE",
          "the model's tokenizer.model, tokenizer.json or GGUF file, or a directory with one of "
          "the first two",
          0 },
        { "output", 'o', OPT_TEXT, &o.output, "FILE", "output file; - is standard output", 0 },
        { "format", 0, OPT_WORD, &o.format, "HOW",
          "what a document is: the text of a JSON line, a whole file, or the conversation of a "
          "JSON line",
          "jsonl|text|chat" },
        { "template", 0, OPT_TEXT, &o.template, "NAME",
          "template of conversations: " CHAT_TEMPLATES
          "; without a name: auto; without the option: longqlora",
          "auto" },
        { "train-on", 0, OPT_WORD, &o.train_on, "WHICH",
          "answers of a conversation that count in the loss: all, or only the last", "all|last" },
        { "odd", 0, OPT_WORD, &o.odd, "HOW",
          "what to do with an irregular conversation (roles do not alternate, or there are tools): "
          "stop, skip it, drop messages that do not fit, or also merge consecutive messages of one "
          "role",
          "stop|skip|drop|merge" },
        { "show", 0, OPT_COUNT, &o.show, "N",
          "print the first N conversations as the model will see them, and exit", 0 },
        { "from", 0, OPT_WORD, &o.from, "HOW",
          "read text; or tokens, as a stream or as JSON lines, to write them in the form of --to",
          "text|stream|jsonl" },
        { "to", 0, OPT_WORD, &o.to, "HOW", "write a stream, or JSON lines", "stream|jsonl" },
        { "text-key", 0, OPT_TEXT, &o.text_key, "KEY",
          "key of the text in a line; a path like meta.body works", 0 },
        { "source-key", 0, OPT_TEXT, &o.source_key, "KEY",
          "key or path of the subset's name or number; without it, the file's name is used", 0 },
        { "source", 0, OPT_TEXT, &o.source, "NAME", "the subset's name for every document", 0 },
        { "bos", 0, OPT_FLAG, &o.bos, 0,
          "begin documents with BOS; without the option the tokenizer's files decide", 0 },
        { "no-bos", 0, OPT_FLAG, &o.no_bos, 0, "do not begin documents with BOS", 0 },
        { "eos", 0, OPT_FLAG, &o.eos, 0,
          "end documents with EOS; without the option the tokenizer's files decide", 0 },
        { "no-eos", 0, OPT_FLAG, &o.no_eos, 0, "do not end documents with EOS", 0 },
        { "parse-special", 0, OPT_FLAG, &o.parse_special, 0,
          "turn the text of a special token in a document into that token", 0 },
        SAVE_OPTIONS(o),
        { "on-error", 0, OPT_WORD, &o.on_error, "HOW",
          "what to do with a bad document: stop, skip it, or repair its text",
          "stop|skip|replace" },
        { "raw", 0, OPT_WORD, &o.raw, "WIDTH",
          "write raw token ids, little-endian, instead of a stream", "none|u16|u32" },
        { "lines", 0, OPT_TEXT, &o.lines, "FILE",
          "encode only the documents whose line numbers are in FILE, from --draw of pack", 0 },
        { "decode", 0, OPT_FLAG, &o.decode, 0,
          "read a stream and write its text (--format jsonl or text) without its special tokens, "
          "which --show shows",
          0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "tokenize",
        .summary = "encode text into token ids, as the model's own tokenizer does",
        .usage = "tokenize --model tokenizer.model [options] [FILE...] > tokens",
        .example = "tokenize --model tokenizer.model arxiv.jsonl book.jsonl.zst -o train.tok",
        .table = table,
    };
    const char **files = opt_parse(argc, argv, &program);
    work(&o, files);
    free((void *)o.tokens.at);
    free((void *)o.special_tokens.at);
    free(files);
    return 0;
}
