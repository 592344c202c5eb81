#include "tools/tokenize/run.h"

#include "lib/cli/die.h"
#include "lib/cli/opt.h"
#include "lib/cli/progress.h"
#include "lib/common/clock.h"
#include "lib/common/output.h"
#include "lib/common/size.h"
#include "tools/tokenize/encode.h"
#include "tools/tokenize/show.h"
#include "tools/tokenize/template_choice.h"

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

/* Opens the output. `chat` is the template, or NULL if the documents are not conversations. */
static void open_sink(struct sink *s, const struct options *o, const struct encoder *e,
                      const struct chat_template *chat)
{
    struct fail why;
    struct msgpack_map made;
    const struct tokenizer *t = e->tokenizer;
    bool has_begin = e->begin != UINT32_MAX, has_end = e->end != UINT32_MAX;
    s->width = o->raw;
    s->info = (struct token_info){ .vocab_size = tokenizer_vocab(t),
                                   .add_bos = chat ? chat->begins_with_bos : has_begin,
                                   .add_eos = chat ? chat->end == tokenizer_eos(t) : has_end };
    s->info.bos = has_begin ? e->begin : tokenizer_bos(t);
    s->info.eos = has_end ? e->end : tokenizer_eos(t);
    memcpy(s->info.tokenizer, tokenizer_digest(t), sizeof s->info.tokenizer);
    if (strcmp(o->raw, "none") != 0) {
        if (!strcmp(o->raw, "u16") && s->info.vocab_size > 1 << 16)
            die_usage("--raw u16: the vocabulary of %llu does not fit: use --raw u32",
                      (unsigned long long)s->info.vocab_size);
        or_die(output_open(&s->raw, o->output, &why), &why);
        return;
    }
    msgpack_map_init(&made);
    msgpack_map_text(&made, "format", o->format);
    msgpack_map_text(&made, "on_error", o->on_error);
    if (chat) template_choice_record(&made, chat);
    if (strcmp(o->train_on, "all") != 0) msgpack_map_text(&made, "train_on", o->train_on);
    if (strcmp(o->odd, "stop") != 0) msgpack_map_text(&made, "odd", o->odd);
    if (e->lines) {
        or_die(lines_check_tokens(e->lines, &s->info, &made, &why), &why);
        drawn_lines_put_part(&e->lines->drawn, &made);
    }
    or_die(tokens_writer(&s->stream, o->output, token_format_of(o->to), "tokenize", &s->info, &made,
                         &why),
           &why);
    msgpack_map_release(&made);
}

/* Returns the size of all inputs together, or 0 if the size of an input is unknown. */
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

static struct chat_reader reader_of(const struct options *o)
{
    /* The template decides about white space around messages, so the reader keeps it. */
    struct chat_reader reader = { .source_key = o->source_key, .keeps_space = true };
    if (!strcmp(o->train_on, "last")) reader.train_on = CHAT_TRAIN_LAST;
    reader.irregular = !strcmp(o->odd, "stop")   ? CHAT_IRREGULAR_STOP
                       : !strcmp(o->odd, "skip") ? CHAT_IRREGULAR_SKIP
                       : !strcmp(o->odd, "drop") ? CHAT_IRREGULAR_DROP
                                                 : CHAT_IRREGULAR_MERGE;
    return reader;
}

/* Opens an input. Refuses one of our own streams, and warns of any other known file format that
 * would be read as text. */
static struct input *open_text(const char *path, enum format format)
{
    struct fail why;
    struct input *in;
    or_die(input_open(&in, path, &why), &why);
    enum file_kind kind = input_kind(in);
    if (kind == FILE_KIND_LONGQLORA)
        die(STATUS_INPUT, "%s: %s, where text is needed (--decode, or --from stream)",
            input_name(in), file_kind_words(kind));
    if (kind != FILE_KIND_OTHER && format == FORMAT_TEXT)
        warn("%s: %s: it is read as plain text, with all its markup (%s)", input_name(in),
             file_kind_words(kind), file_kind_way_to_text(kind));
    return in;
}

static void note_tally(const char *what, struct tally *t)
{
    char text[320];
    if (!tally_sum(t)) return;
    tally_text(t, what ? TALLY_THINGS : TALLY_KEYS, text, sizeof text);
    note("%s: %s", what ? what : "unused keys of records", text);
}

static void note_unnamed(const struct encoder *e)
{
    if (e->unnamed)
        warn("%llu of %llu documents have no text or whole number of 64 bits under '%s', so the "
             "file's name is their subset",
             (unsigned long long)e->unnamed, (unsigned long long)e->documents, e->source_key);
}

static void report(struct encoder *e, double seconds)
{
    note("%llu documents, %llu skipped, %llu bytes of text, %llu tokens, %s/s",
         (unsigned long long)e->documents, (unsigned long long)e->skipped,
         (unsigned long long)e->text_bytes, (unsigned long long)e->tokens,
         size_text((double)e->text_bytes / seconds).at);
    if (e->dropped)
        warn("%llu characters or bytes have no piece in this vocabulary and gave no token",
             (unsigned long long)e->dropped);
    note_tally("skipped", &e->skips);
    note_tally("repaired", &e->mends);
    note_tally(NULL, &e->unknown);
    note_unnamed(e);
    if (e->lines) return; /* a draw may choose no document of a shard */
    if (!e->documents && e->skipped)
        warn("the stream has no document; the first that was left out: %s", e->first_skipped.text);
    else if (!e->documents)
        warn("the stream has no document");
}

/* Prints the conversations instead of writing tokens. */
static void show_all(struct encoder *e, const char **files)
{
    struct fail why;
    struct show show;
    show_begin(&show, e->tokenizer);
    for (; *files && e->documents < e->max_documents; files++) {
        struct input *in = open_text(*files, e->format);
        or_die(encoder_run(e, in, show_document, &show, &why), &why);
        input_close(in);
    }
    note_tally("skipped", &e->skips);
    note_tally("repaired", &e->mends);
    note_tally(NULL, &e->unknown);
    if (!show.shown && e->skipped)
        warn("no conversation to show; the first that was left out: %s", e->first_skipped.text);
    else if (!show.shown)
        warn("no conversation to show");
}

/* Encodes a file. Adds its text to *hash. */
static void encode_file(struct encoder *e, const char *path, struct sink *sink, XXH3_state_t *hash)
{
    struct fail why;
    struct input *in = open_text(path, e->format);
    input_hash(in, hash);
    if (e->lines) lines_begin(e->lines, input_name(in));
    or_die(encoder_run(e, in, take, sink, &why), &why);
    if (e->lines) or_die(lines_end(e->lines, input_name(in), &why), &why);
    input_close(in);
}

static void write_all(const struct options *o, struct encoder *e, const char **files)
{
    struct fail why;
    char digest[STREAM_DIGEST_TEXT];
    XXH3_state_t *hash = XXH3_createState();
    struct sink sink = { 0 };
    struct progress p = { .unit = "MB", .size = 1e6, .total = (double)size_of(files) };
    double start = clock_seconds();
    if (!hash) die(STATUS_FAILED, "out of memory");
    XXH3_128bits_reset(hash);
    open_sink(&sink, o, e, e->format == FORMAT_CHAT ? e->chat : NULL);
    progress_begin(&p);
    for (; *files; files++)
        encode_file(e, *files, &sink, hash);
    progress_end();
    digest_of_state(hash, digest);
    XXH3_freeState(hash);
    if (e->lines) or_die(lines_finish(e->lines, digest, &why), &why);
    if (sink.stream) writer_parent(sink.stream, "text", digest);
    if (sink.stream && e->format == FORMAT_CHAT) template_choice_record_end(sink.stream, e->chat);
    or_die(sink.stream ? writer_close(sink.stream, &why) : output_close(&sink.raw, &why), &why);
    report(e, clock_seconds() - start);
}

void run_encode(const struct options *o, const char **files, const struct tokenizer *t)
{
    struct fail why;
    struct chat_template chat = { 0 };
    bool is_chat = !strcmp(o->format, "chat");
    if (is_chat) template_choice_make(&chat, o, t);
    struct encoder e = { .tokenizer = t,
                         .format = !strcmp(o->format, "jsonl")  ? FORMAT_JSONL
                                   : !strcmp(o->format, "text") ? FORMAT_TEXT
                                                                : FORMAT_CHAT,
                         .chat = &chat,
                         .reader = reader_of(o),
                         .text_key = o->text_key,
                         .source_key = o->source_key,
                         .source = o->source,
                         .asks_source = strcmp(o->source_key, OPTIONS_SOURCE_KEY) != 0,
                         .begin = is_chat ? UINT32_MAX : options_begin(o, t),
                         .end = is_chat ? UINT32_MAX : options_end(o, t),
                         .parses_special = o->parse_special,
                         .max_documents = (uint64_t)o->show,
                         .on_error = !strcmp(o->on_error, "stop")   ? ON_ERROR_STOP
                                     : !strcmp(o->on_error, "skip") ? ON_ERROR_SKIP
                                                                    : ON_ERROR_REPLACE };
    e.reader.takes_reasoning = chat.thinking != THINKING_KEPT;
    e.reader.takes_developer = !chat.is_of_model;
    e.reader.parts = chat.parts;
    static const char *standard_input[] = { "-", NULL };
    if (!*files) files = standard_input;
    if (!strcmp(*files, "-")) note_if_typed("-", e.format == FORMAT_TEXT ? "a text" : "JSON lines");
    struct lines lines;
    if (o->lines) {
        size_t texts = 0;
        while (files[texts])
            texts++;
        or_die(lines_open(&lines, o->lines, texts, &why), &why);
        e.lines = &lines;
    }
    or_die(pool_open(&e.pool, (int)opt_standard.threads, &why), &why);
    or_die(encoder_open(&e, &why), &why);
    if (o->show)
        show_all(&e, files);
    else
        write_all(o, &e, files);
    encoder_close(&e);
    if (e.lines) lines_release(e.lines);
    chat_template_close(&chat);
    pool_close(e.pool);
}
