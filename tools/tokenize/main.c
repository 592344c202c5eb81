/* tokenize - text files to a stream of token numbers, as SentencePiece encodes them. */
#include "../../lib/common/die.h"
#include "../../lib/common/file_guard.h"
#include "../../lib/common/model_guard.h"
#include "../../lib/common/opt.h"
#include "../../lib/common/progress.h"
#include "../../lib/common/size.h"
#include "decode.h"
#include "encode.h"
#include "options.h"
#include "wording.h"

#include <sys/stat.h>
#include <unistd.h>

struct sink {
    struct writer *stream;
    struct output raw;
    const char *width; /* "none", "u16" or "u32" */
    struct token_info info;
};

static int take(void *arg, const struct tokens *t, struct fail *why)
{
    struct sink *s = arg;
    if (s->stream) return tokens_write(s->stream, &s->info, t, why);
    if (!strcmp(s->width, "u32")) return output_write(&s->raw, t->ids, 4 * t->count, why);
    for (size_t i = 0; i < t->count; i++) {
        uint16_t id = (uint16_t)t->ids[i];
        if (output_write(&s->raw, &id, 2, why)) return -1;
    }
    return 0;
}

/* chat: NULL where the documents are no conversations. */
static void open_sink(struct sink *s, const struct options *o, const struct tokenizer *t,
                      const struct chat_template *chat)
{
    struct fail why;
    struct fields made;
    s->width = o->raw;
    s->info = (struct token_info){ .vocab_size = tokenizer_vocab(t),
                                   .add_bos = chat ? chat->begins_with_bos : !o->no_bos,
                                   .add_eos = chat ? chat->end == tokenizer_eos(t) : o->eos };
    s->info.bos = tokenizer_bos(t);
    s->info.eos = tokenizer_eos(t);
    memcpy(s->info.tokenizer, tokenizer_digest(t), sizeof s->info.tokenizer);
    if ((s->info.add_bos && s->info.bos == UINT32_MAX) ||
        (s->info.add_eos && s->info.eos == UINT32_MAX))
        die(STATUS_INPUT, "%s: the tokenizer has no %s piece: %s", o->model,
            s->info.add_bos && s->info.bos == UINT32_MAX ? "BOS" : "EOS",
            s->info.add_bos && s->info.bos == UINT32_MAX ? "--no-bos" : "leave --eos out");
    if (strcmp(o->raw, "none") != 0) {
        if (!strcmp(o->raw, "u16") && s->info.vocab_size > 1 << 16)
            die_usage("--raw u16: the vocabulary of %llu does not fit: --raw u32",
                      (unsigned long long)s->info.vocab_size);
        or_die(output_open(&s->raw, o->output, &why), &why);
        return;
    }
    fields_init(&made);
    fields_text(&made, "format", o->format);
    fields_text(&made, "on_error", o->on_error);
    if (chat) wording_record(&made, chat);
    or_die(tokens_writer(&s->stream, o->output, view_of(o->to), "tokenize", &s->info, &made, &why),
           &why);
    fields_release(&made);
}

/* Of all inputs; 0 where one of them has no size. */
static uint64_t size_of(const char **files)
{
    uint64_t sum = 0;
    for (; *files; files++) {
        struct stat s;
        int status = strcmp(*files, "-") ? stat(*files, &s) : fstat(STDIN_FILENO, &s);
        if (status || !S_ISREG(s.st_mode)) return 0;
        sum += (uint64_t)s.st_size;
    }
    return sum;
}

static void encode_all(const struct options *o, const char **files, const struct tokenizer *t)
{
    struct fail why;
    struct sink sink = { 0 };
    struct chat_template chat = { 0 };
    bool is_chat = !strcmp(o->format, "chat");
    if (is_chat) wording_choose(&chat, o, t);
    struct encoder e = { .tokenizer = t,
                         .format = !strcmp(o->format, "jsonl")  ? FORMAT_JSONL
                                   : !strcmp(o->format, "text") ? FORMAT_TEXT
                                                                : FORMAT_CHAT,
                         .chat = &chat,
                         .text_key = o->text_key,
                         .source_key = o->source_key,
                         .source = o->source,
                         .add_bos = !o->no_bos && !is_chat,
                         .add_eos = o->eos,
                         .on_error = !strcmp(o->on_error, "stop")   ? ON_ERROR_STOP
                                     : !strcmp(o->on_error, "skip") ? ON_ERROR_SKIP
                                                                    : ON_ERROR_REPLACE };
    static const char *standard_input[] = { "-", NULL };
    if (!*files) files = standard_input;
    struct progress p = { .unit = "MB", .size = 1e6, .total = (double)size_of(files) };
    double start = progress_clock();
    open_sink(&sink, o, t, is_chat ? &chat : NULL);
    if (!strcmp(*files, "-")) note_if_typed("-", e.format == FORMAT_TEXT ? "a text" : "JSON lines");
    or_die(pool_open(&e.pool, (int)opt_standard.threads, &why), &why);
    or_die(encoder_open(&e, &why), &why);
    progress_begin(&p);
    for (; *files; files++) {
        struct input *in;
        or_die(input_open(&in, *files, &why), &why);
        or_die(encoder_run(&e, in, take, &sink, &why), &why);
        input_close(in);
    }
    progress_end();
    or_die(sink.stream ? writer_close(sink.stream, &why) : output_close(&sink.raw, &why), &why);
    double seconds = progress_clock() - start;
    note("%llu documents, %llu skipped, %llu bytes of text, %llu tokens, %s/s",
         (unsigned long long)e.documents, (unsigned long long)e.skipped,
         (unsigned long long)e.text_bytes, (unsigned long long)e.tokens,
         size_text((double)e.text_bytes / seconds).at);
    if (!e.documents) warn("no document: the stream holds none");
    encoder_close(&e);
    chat_template_close(&chat);
    pool_close(e.pool);
}

static void decode_all(const struct options *o, const char *file, enum view from,
                       const struct tokenizer *t)
{
    struct fail why;
    struct output out;
    or_die(output_open(&out, o->output, &why), &why);
    or_die(decode_stream(t, file, from, !strcmp(o->format, "text"), &out, &why), &why);
    or_die(output_close(&out, &why), &why);
}

/* Before any work, so that the fortieth file is not where an output is found to be an input. */
static void declare_files(const struct options *o, const char **files)
{
    struct fail why;
    if (o->model) or_die(model_guard_input("--model ", o->model, &why), &why);
    if (o->template) or_die(file_guard_input("--template ", o->template, &why), &why);
    if (!*files) or_die(file_guard_input("", "-", &why), &why);
    for (; *files; files++)
        or_die(file_guard_input("", *files, &why), &why);
    if (!o->decode && strcmp(o->to, "jsonl") != 0 && !opt_standard.quiet)
        or_die(output_check_apart(o->output, &why), &why);
    or_die(output_declare("-o ", o->output, &why), &why);
}

int main(int argc, char **argv)
{
    struct options o = { .output = "-",
                         .format = "jsonl",
                         .text_key = "text",
                         .source_key = "source",
                         .on_error = "stop",
                         .raw = "none",
                         .from = "text",
                         .to = "stream" };
    struct opt table[] = {
        { "model", 'm', OPT_TEXT, &o.model, "FILE",
          "tokenizer.model, tokenizer.json, or a directory with one", 0 },
        { "output", 'o', OPT_TEXT, &o.output, "FILE", "where the stream goes; - is standard output",
          0 },
        { "format", 0, OPT_WORD, &o.format, "HOW",
          "a document is a JSON line's text, a whole file, or a JSON line's conversation",
          "jsonl|text|chat" },
        { "template", 0, OPT_TEXT, &o.template, "NAME",
          "how conversations are worded: " CHAT_TEMPLATES "; else longqlora", 0 },
        { "from", 0, OPT_WORD, &o.from, "HOW",
          "read text; or tokens, in our stream or as JSON lines, to write them again",
          "text|stream|jsonl" },
        { "to", 0, OPT_WORD, &o.to, "HOW", "write our stream, or JSON lines", "stream|jsonl" },
        { "text-key", 0, OPT_TEXT, &o.text_key, "KEY", "path of the text in a line", 0 },
        { "source-key", 0, OPT_TEXT, &o.source_key, "KEY",
          "path of the subset's name; else the file's name is taken", 0 },
        { "source", 0, OPT_TEXT, &o.source, "NAME", "the subset's name for every document", 0 },
        { "no-bos", 0, OPT_FLAG, &o.no_bos, 0, "do not begin documents with BOS", 0 },
        { "eos", 0, OPT_FLAG, &o.eos, 0, "end documents with EOS", 0 },
        { "on-error", 0, OPT_WORD, &o.on_error, "HOW",
          "with a bad document: give up, leave it out, or mend its text", "stop|skip|replace" },
        { "raw", 0, OPT_WORD, &o.raw, "WIDTH",
          "write bare little-endian numbers instead of a stream", "none|u16|u32" },
        { "decode", 0, OPT_FLAG, &o.decode, 0,
          "read a stream, write its text (--format jsonl or text)", 0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "tokenize",
        .summary = "encode text into token numbers, as the model's own tokenizer does",
        .usage = "tokenize --model tokenizer.model [options] [FILE...] > tokens",
        .example = "tokenize --model tokenizer.model arxiv.jsonl book.jsonl.zst -o train.tok",
        .table = table,
    };
    const char **files = opt_parse(argc, argv, &program);
    struct fail why;
    bool is_text = !strcmp(o.from, "text");
    enum view from = is_text ? VIEW_STREAM : view_of(o.from);
    if (!o.decode && strcmp(o.to, "jsonl") != 0) die_if_terminal(o.output);
    options_check(&o, files);
    declare_files(&o, files);
    if (!is_text && !o.decode) {
        or_die(convert_tokens(*files ? *files : "-", from, view_of(o.to), o.output, &why), &why);
        free(files);
        return 0;
    }
    struct tokenizer *t;
    or_die(tokenizer_open(&t, o.model, &why), &why);
    if (o.decode)
        decode_all(&o, *files ? *files : "-", from, t);
    else
        encode_all(&o, files, t);
    tokenizer_close(t);
    free(files);
    return 0;
}
