#include "encode.h"

#include "../../lib/common/utf8.h"
#include "jsonl.h"

enum { BATCH_DOCUMENTS = 256, BATCH_BYTES = 4 << 20 };

/* One document on its way: its line, then its tokens or why it has none. */
struct slot {
    char *line;
    size_t bytes, room, byte;
    uint64_t number;
    struct tokens tokens;
    size_t text_bytes;
    int status;
    struct fail why;
};

struct worker {
    struct token_buffer buffer;
    struct jsonl_text text, source;
};

struct encoder_batch {
    struct slot slots[BATCH_DOCUMENTS];
    int count;
    size_t bytes;
    struct worker *workers;
    const char *name; /* of the input */
    const struct encoder *e;
};

int encoder_open(struct encoder *e, struct fail *why)
{
    e->batch = calloc(1, sizeof *e->batch);
    if (!e->batch) return fail(why, "out of memory");
    e->batch->e = e;
    e->batch->workers = calloc((size_t)pool_threads(e->pool), sizeof *e->batch->workers);
    return e->batch->workers ? 0 : fail(why, "out of memory");
}

void encoder_close(struct encoder *e)
{
    struct encoder_batch *b = e->batch;
    if (!b) return;
    for (int i = 0; i < BATCH_DOCUMENTS; i++) {
        free(b->slots[i].line);
        tokens_release(&b->slots[i].tokens);
    }
    for (int i = 0; b->workers && i < pool_threads(e->pool); i++) {
        token_buffer_release(&b->workers[i].buffer);
        free(b->workers[i].text.at);
        free(b->workers[i].source.at);
    }
    free(b->workers);
    free(b);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A whole file's text: checked, and mended if that is asked for. */
static int plain_text(const struct encoder *e, const struct slot *s, struct jsonl_text *text,
                      size_t *byte, struct fail *why)
{
    char *grown = realloc(text->at, 3 * s->bytes + 4);
    if (!grown) return fail(why, "out of memory");
    text->at = grown;
    text->room = 3 * s->bytes + 4;
    text->bytes = 0;
    for (size_t i = 0; i < s->bytes;) {
        size_t n = utf8_valid((const unsigned char *)s->line + i, s->bytes - i);
        *byte = i + 1;
        if (!n && e->on_error != ON_ERROR_REPLACE) return fail_input(why, "invalid UTF-8");
        memcpy(text->at + text->bytes, n ? s->line + i : "\xef\xbf\xbd", n ? n : 3);
        text->bytes += n ? n : 3;
        i += n ? n : 1;
    }
    return 0;
}

static void name_document(const struct encoder *e, struct slot *s, const struct jsonl_text *source,
                          const char *input)
{
    struct tokens *t = &s->tokens;
    snprintf(t->id, sizeof t->id, "%.4000s:%llu", input, (unsigned long long)s->number);
    if (e->source)
        snprintf(t->source, sizeof t->source, "%s", e->source);
    else if (source->found)
        snprintf(t->source, sizeof t->source, "%.*s",
                 (int)(source->bytes < 255 ? source->bytes : 255), source->at);
    else
        snprintf(t->source, sizeof t->source, "%.255s", base_name(input));
}

static int encode_slot(struct encoder_batch *b, struct slot *s, struct worker *w)
{
    const struct encoder *e = b->e;
    w->source.found = false;
    int status = e->is_jsonl ? jsonl_parse(s->line, s->bytes, e->text_key, e->source_key,
                                           e->on_error == ON_ERROR_REPLACE, &w->text, &w->source,
                                           &s->byte, &s->why)
                             : plain_text(e, s, &w->text, &s->byte, &s->why);
    if (status) return -1;
    w->buffer.count = 0;
    s->byte = 1;
    if (tokenizer_encode(e->tokenizer, &w->buffer, w->text.at, w->text.bytes, &s->why)) return -1;
    struct tokens *t = &s->tokens;
    size_t count = w->buffer.count + e->add_bos + e->add_eos;
    if (count > t->room || !t->ids) {
        uint32_t *grown = realloc(t->ids, (count + 1) * sizeof *grown);
        if (!grown) return fail(&s->why, "out of memory");
        t->ids = grown;
        t->room = count;
    }
    t->count = 0;
    if (e->add_bos) t->ids[t->count++] = tokenizer_bos(e->tokenizer);
    if (w->buffer.count) memcpy(t->ids + t->count, w->buffer.ids, w->buffer.count * sizeof *t->ids);
    t->count += w->buffer.count;
    if (e->add_eos) t->ids[t->count++] = tokenizer_eos(e->tokenizer);
    s->text_bytes = w->text.bytes;
    name_document(e, s, &w->source, b->name);
    return 0;
}

static void encode_task(void *arg, int64_t task, int worker)
{
    struct encoder_batch *b = arg;
    struct slot *s = &b->slots[task];
    s->status = encode_slot(b, s, &b->workers[worker]);
}

static int finish_batch(struct encoder *e,
                        int (*take)(void *, const struct tokens *, struct fail *), void *arg,
                        struct fail *why)
{
    struct encoder_batch *b = e->batch;
    pool_run(e->pool, b->count, encode_task, b);
    for (int i = 0; i < b->count; i++) {
        struct slot *s = &b->slots[i];
        if (s->status && e->on_error == ON_ERROR_STOP) {
            *why = s->why;
            char place[320];
            if (e->is_jsonl)
                snprintf(place, sizeof place, "%.240s:%llu: byte %zu", b->name,
                         (unsigned long long)s->number, s->byte);
            else
                snprintf(place, sizeof place, "%.240s: byte %zu", b->name, s->byte);
            return fail_in(why, place);
        }
        if (s->status) {
            e->skipped++;
            continue;
        }
        e->documents++;
        e->tokens += s->tokens.count;
        e->text_bytes += s->text_bytes;
        if (take(arg, &s->tokens, why)) return -1;
    }
    b->count = 0;
    b->bytes = 0;
    return 0;
}

static int add_slot(struct encoder_batch *b, const char *line, size_t bytes, uint64_t number,
                    struct fail *why)
{
    struct slot *s = &b->slots[b->count];
    if (bytes > s->room || !s->line) {
        char *grown = realloc(s->line, bytes + 1);
        if (!grown) return fail(why, "%s: out of memory", b->name);
        s->line = grown;
        s->room = bytes;
    }
    memcpy(s->line, line, bytes);
    s->bytes = bytes;
    s->number = number;
    b->count++;
    b->bytes += bytes;
    return 0;
}

static bool is_blank(const char *line, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return false;
    return true;
}

int encoder_run(struct encoder *e, struct input *in,
                int (*take)(void *, const struct tokens *, struct fail *), void *arg,
                struct fail *why)
{
    struct encoder_batch *b = e->batch;
    char *line;
    size_t bytes;
    int got;
    b->name = input_name(in);
    if (!e->is_jsonl) {
        if (input_rest(in, &line, &bytes, why) || add_slot(b, line, bytes, 1, why)) return -1;
        return finish_batch(e, take, arg, why);
    }
    while ((got = input_line(in, &line, &bytes, why)) > 0) {
        if (is_blank(line, bytes)) continue;
        if (add_slot(b, line, bytes, input_line_number(in), why)) return -1;
        if ((b->count == BATCH_DOCUMENTS || b->bytes >= BATCH_BYTES) &&
            finish_batch(e, take, arg, why))
            return -1;
    }
    return got < 0 ? -1 : finish_batch(e, take, arg, why);
}
