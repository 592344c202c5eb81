#include "tools/tokenize/encode.h"

#include "lib/cli/progress.h"
#include "lib/common/buffer.h"
#include "lib/common/utf8.h"
#include "tools/tokenize/advice.h"
#include "tools/tokenize/jsonl.h"

enum { BATCH_DOCUMENTS = 256, BATCH_BYTES = 4 << 20, SLOT_BYTES = 64 << 10 };

/* One document in the pipeline: its line, then its tokens, or the reason that it has none. */
struct text_slot {
    char *line;
    /* `indent` is how many bytes of white space were removed before the line */
    size_t bytes, capacity, byte, indent;
    uint64_t number;
    struct tokens tokens;
    size_t text_bytes;
    bool has_text; /* the line has a text, so a failure has another reason */
    bool is_unnamed;
    bool is_mended; /* invalid characters became U+FFFD */
    int status;
    struct fail why;
    enum chat_reason reason; /* the reason that a record is not a conversation */
    uint64_t mended[CHAT_REPAIRS];
};

struct worker {
    struct token_buffer buffer;
    struct jsonl_text text, source;
    struct tally unknown;
};

/* The documents of one batch. */
struct text_batch {
    struct text_slot slots[BATCH_DOCUMENTS];
    int count;
    size_t bytes;
};

/* Three batches are processed at the same time: the pool reads one, encodes one and writes one. */
enum { READING, ENCODING, WRITING, STAGES };

struct encoder_work {
    struct text_batch batches[STAGES];
    struct text_batch *stage[STAGES];
    struct worker *workers;
    struct input *in;
    struct json_records records;
    const char *name; /* name of the input, for messages */
    struct encoder *e;
    int (*take)(void *arg, const struct tokens *t, struct fail *why);
    void *arg;
    bool at_end;
    int read_status, write_status;
    struct fail read_why, write_why;
};

int encoder_open(struct encoder *e, struct fail *why)
{
    struct encoder_work *w = e->work = calloc(1, sizeof *e->work);
    if (!w) return fail(why, "out of memory");
    w->e = e;
    for (int i = 0; i < STAGES; i++)
        w->stage[i] = &w->batches[i];
    w->workers = calloc((size_t)pool_threads(e->pool), sizeof *w->workers);
    return w->workers ? 0 : fail(why, "out of memory");
}

void encoder_close(struct encoder *e)
{
    struct encoder_work *w = e->work;
    if (!w) return;
    for (int b = 0; b < STAGES; b++)
        for (int i = 0; i < BATCH_DOCUMENTS; i++) {
            free(w->batches[b].slots[i].line);
            tokens_release(&w->batches[b].slots[i].tokens);
        }
    for (int i = 0; w->workers && i < pool_threads(e->pool); i++) {
        token_buffer_release(&w->workers[i].buffer);
        free(w->workers[i].text.at);
        free(w->workers[i].source.at);
        tally_release(&w->workers[i].unknown);
    }
    tally_release(&e->skips);
    tally_release(&e->mends);
    tally_release(&e->unknown);
    free(w->workers);
    free(w);
    e->work = NULL;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Checks the text of a whole file, and repairs invalid UTF-8 if --on-error replace is given. */
static int plain_text(const struct encoder *e, const struct text_slot *s, struct jsonl_text *text,
                      size_t *byte, struct fail *why)
{
    if (buffer_fit(&text->at, &text->capacity, 3 * s->bytes, why)) return -1;
    text->bytes = 0;
    text->is_mended = false;
    for (size_t i = 0; i < s->bytes;) {
        size_t n = utf8_valid((const unsigned char *)s->line + i, s->bytes - i);
        *byte = i + 1;
        if (!n && e->on_error != ON_ERROR_REPLACE) return fail_input(why, "invalid UTF-8");
        memcpy(text->at + text->bytes, n ? s->line + i : "\xef\xbf\xbd", n ? n : 3);
        text->bytes += n ? n : 3;
        text->is_mended |= !n;
        i += n ? n : utf8_invalid((const unsigned char *)s->line + i, s->bytes - i);
    }
    return 0;
}

static int name_document(const struct encoder *e, struct text_slot *s,
                         const struct jsonl_text *source, const char *input)
{
    struct tokens *t = &s->tokens;
    if (source->found) s->byte = source->byte;
    if (source->found && memchr(source->at, 0, source->bytes))
        return fail_input(&s->why, "'%s' holds a NUL character", e->source_key);
    if (source->found && !e->source && source->bytes >= sizeof t->source)
        return fail_input(&s->why,
                          "'%s' names a subset with %zu bytes, but at most %zu are possible",
                          e->source_key, source->bytes, sizeof t->source - 1);
    s->is_unnamed = !e->source && !source->found && (source->is_other || e->asks_source);
    snprintf(t->id, sizeof t->id, "%.4000s:%llu", input, (unsigned long long)s->number);
    if (e->source)
        snprintf(t->source, sizeof t->source, "%s", e->source);
    else if (source->found)
        snprintf(t->source, sizeof t->source, "%.*s", (int)source->bytes, source->at);
    else
        snprintf(t->source, sizeof t->source, "%.255s", base_name(input));
    utf8_mend(t->id);
    utf8_mend(t->source);
    return 0;
}

/* Appends the ids and reserves space for `more` further ids. */
static int append_ids(struct tokens *t, const uint32_t *ids, size_t count, size_t more,
                      struct fail *why)
{
    if (buffer_fit(&t->ids, &t->capacity, t->count + count + more, why)) return -1;
    if (count) memcpy(t->ids + t->count, ids, count * sizeof *ids);
    t->count += count;
    return 0;
}

/* Encodes a conversation. The targets are the answers and their end tokens. */
static int encode_turns(const struct encoder *e, struct text_slot *s, struct worker *w,
                        const struct chat *c)
{
    struct tokens *t = &s->tokens;
    struct chat_exchange *exchanges = calloc(c->count + 1, sizeof *exchanges);
    if (!exchanges) return fail(&s->why, "out of memory");
    for (size_t i = 0; i < c->count; i++) {
        const struct chat_turn *turn = &c->turns[i];
        const char *reasoning = turn->reasoning_at ? turn->answer + turn->reasoning_at : NULL;
        exchanges[i] =
            (struct chat_exchange){ .prompt = turn->prompt,
                                    .answer = turn->answer,
                                    .input = turn->has_input ? turn->prompt + turn->input_at : NULL,
                                    .reasoning = reasoning };
        s->text_bytes += strlen(turn->prompt) + strlen(turn->answer);
        s->mended[CHAT_REPAIR_THOUGHT] +=
            chat_template_drops(e->chat, &exchanges[i], i + 1 == c->count);
    }
    w->buffer.count = 0;
    int status = chat_template_encode(e->chat, &w->buffer, c->system, exchanges, c->count,
                                      t->targets, &s->why);
    free(exchanges);
    t->target_count = c->count;
    return status ? -1 : append_ids(t, w->buffer.ids, w->buffer.count, 0, &s->why);
}

/* Removes the targets of the answers that the record, or --train-on, excludes from training. */
static void keep_trained(struct tokens *t, const struct chat *c)
{
    t->target_count = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (!c->turns[i].is_trained) continue;
        memmove(t->targets + 2 * t->target_count, t->targets + 2 * i, 2 * sizeof *t->targets);
        t->target_count++;
    }
}

static int encode_chat(const struct encoder *e, const char *input, struct text_slot *s,
                       struct worker *w)
{
    struct chat c;
    struct tokens *t = &s->tokens;
    int read = chat_read(&c, &e->reader, s->line, s->bytes, &w->unknown, &s->why);
    s->reason = c.reason;
    if (read) return -1;
    memcpy(s->mended, c.repaired, sizeof s->mended);
    s->mended[CHAT_REPAIR_SENTENCE] = e->chat->last_system && c.system && *c.system;
    int status = buffer_fit(&t->targets, &t->target_capacity, 2 * c.count, &s->why);
    t->count = t->target_count = 0;
    t->has_targets = true;
    s->text_bytes = 0;
    if (!status) status = encode_turns(e, s, w, &c);
    if (!status) keep_trained(t, &c);
    struct jsonl_text source = { .at = c.source, .found = c.source != NULL };
    source.is_other = c.has_other_source;
    if (c.source) source.bytes = strlen(c.source);
    /* The numbers of a conversation are read with 53 bits. A source needs all its digits. */
    if (!status && c.has_number_source)
        status = jsonl_parse(s->line, s->bytes, NULL, e->source_key, false, &w->text, &w->source,
                             &s->byte, &s->why);
    if (!status) status = name_document(e, s, c.has_number_source ? &w->source : &source, input);
    chat_release(&c);
    return status;
}

static int encode_slot(const struct encoder *e, const char *input, struct text_slot *s,
                       struct worker *w)
{
    w->source.found = w->source.is_other = w->source.is_mended = false;
    w->buffer.parses_special = e->parses_special;
    if (e->format == FORMAT_CHAT) return encode_chat(e, input, s, w);
    int status =
        e->format == FORMAT_JSONL
            ? jsonl_parse(s->line, s->bytes, e->text_key, e->source_key,
                          e->on_error == ON_ERROR_REPLACE, &w->text, &w->source, &s->byte, &s->why)
            : plain_text(e, s, &w->text, &s->byte, &s->why);
    if (status) return -1;
    s->has_text = true;
    s->is_mended = w->text.is_mended || w->source.is_mended;
    w->buffer.count = 0;
    s->byte = 1;
    bool has_begin = e->begin != UINT32_MAX, has_end = e->end != UINT32_MAX;
    if (tokenizer_encode(e->tokenizer, &w->buffer, w->text.at, w->text.bytes, &s->why)) return -1;
    struct tokens *t = &s->tokens;
    t->count = 0;
    if (append_ids(t, w->buffer.ids, w->buffer.count, has_begin + has_end, &s->why)) return -1;
    if (has_begin) {
        memmove(t->ids + 1, t->ids, t->count++ * sizeof *t->ids);
        t->ids[0] = e->begin;
    }
    if (has_end) t->ids[t->count++] = e->end;
    s->text_bytes = w->text.bytes;
    return name_document(e, s, &w->source, input);
}

static int add_slot(struct text_batch *b, const char *line, size_t bytes, uint64_t number,
                    size_t indent, struct fail *why)
{
    struct text_slot *s = &b->slots[b->count];
    if (buffer_fit(&s->line, &s->capacity, bytes, why)) return -1;
    memcpy(s->line, line, bytes);
    s->has_text = false;
    s->bytes = bytes;
    s->number = number;
    s->indent = indent;
    b->count++;
    b->bytes += bytes;
    return 0;
}

/* Returns 1 if the document is to be made, 0 if not, or -1. */
static int is_wanted(struct encoder_work *w, uint64_t number, struct fail *why)
{
    if (!w->e->lines) return 1;
    int wanted = lines_want(w->e->lines, number, why);
    return wanted < 0 ? fail_in(why, w->name) : wanted;
}

static int read_text(struct encoder_work *w, struct text_batch *b, struct fail *why)
{
    char *text;
    size_t bytes;
    w->at_end = true;
    if (input_rest(w->in, &text, &bytes, why)) return -1;
    int wanted = is_wanted(w, 1, why);
    return wanted > 0 ? add_slot(b, text, bytes, 1, 0, why) : wanted;
}

/* Fills an empty batch. If reading fails, the documents before the failure stay in the batch. */
static int read_batch(struct encoder_work *w, struct text_batch *b, struct fail *why)
{
    char *line;
    size_t bytes;
    int got = 0;
    b->count = 0;
    b->bytes = 0;
    if (w->e->format == FORMAT_TEXT) return read_text(w, b, why);
    while (b->count < BATCH_DOCUMENTS && b->bytes < BATCH_BYTES &&
           (got = json_records_next(&w->records, &line, &bytes, why)) > 0) {
        int wanted = is_wanted(w, w->records.number, why);
        if (wanted < 0) return -1;
        if (wanted && add_slot(b, line, bytes, w->records.number, w->records.indent, why))
            return -1;
    }
    if (b->count < BATCH_DOCUMENTS && b->bytes < BATCH_BYTES) w->at_end = true;
    return got < 0 ? -1 : 0;
}

/* Frees the memory of a long document, because otherwise every slot would grow to the longest
 * one. */
static void trim(struct text_slot *s)
{
    if (s->capacity > SLOT_BYTES) {
        free(s->line);
        s->line = NULL;
        s->capacity = 0;
    }
    if (s->tokens.capacity > SLOT_BYTES / 4) {
        free(s->tokens.ids);
        s->tokens.ids = NULL;
        s->tokens.capacity = 0;
    }
}

/* Writes advice for a document that cannot be read or has no text; "" if there is no advice. */
static void advise(const struct encoder_work *w, const struct text_slot *s, char *advice,
                   size_t size)
{
    const struct encoder *e = w->e;
    enum json_place place = w->records.is_array ? JSON_ELEMENT
                            : s->number == 1    ? JSON_FIRST_LINE
                                                : JSON_LATER_LINE;
    advice_encoding(s->why.text, e->format != FORMAT_CHAT, advice, size);
    if (*advice) return;
    if (e->format == FORMAT_CHAT && s->reason == CHAT_NOT_JSON)
        json_advise(s->line, s->bytes, place, advice, size);
    if (e->format == FORMAT_JSONL && s->bytes && !s->has_text)
        advice_line(s->line, s->bytes, e->text_key, place, advice, size);
}

/* True if the document is skipped, so that the work continues. A document that was drawn is never
 * skipped. */
static bool is_skipped(const struct encoder *e, const struct text_slot *s)
{
    bool is_odd = e->format == FORMAT_CHAT && chat_reason_is_irregular(s->reason);
    if (s->why.status != STATUS_INPUT || e->lines) return false;
    return e->on_error != ON_ERROR_STOP || (is_odd && e->reader.irregular != CHAT_IRREGULAR_STOP);
}

static int refuse_document(const struct encoder_work *w, const struct text_slot *s,
                           struct fail *why)
{
    const struct encoder *e = w->e;
    char place[320], advice[200];
    *why = s->why;
    if (why->status != STATUS_INPUT) return fail_in(why, w->name);
    advise(w, s, advice, sizeof advice);
    if (e->format == FORMAT_CHAT && chat_reason_is_irregular(s->reason))
        snprintf(advice, sizeof advice, " (--odd: what to do with such conversations)");
    if (*advice) fail_input(why, "%s%s", s->why.text, advice);
    if (e->format == FORMAT_TEXT)
        snprintf(place, sizeof place, "%.240s", w->name);
    else
        json_records_place(&w->records, s->number, place, 280);
    if (e->format != FORMAT_CHAT)
        snprintf(place + strlen(place), sizeof place - strlen(place), ": byte %zu",
                 s->indent + s->byte);
    return fail_in(why, place);
}

static void count_skip(struct encoder *e, const struct text_slot *s)
{
    const char *reason = s->why.text;
    e->skipped++;
    if (e->format == FORMAT_CHAT)
        reason =
            s->reason == CHAT_FINE ? "that the template refuses" : chat_reason_words(s->reason);
    tally_add(&e->skips, reason, 1);
}

static int write_batch(struct encoder_work *w, struct text_batch *b, struct fail *why)
{
    struct encoder *e = w->e;
    for (int i = 0; i < b->count && (!e->max_documents || e->documents < e->max_documents); i++) {
        struct text_slot *s = &b->slots[i];
        if (s->status && !is_skipped(e, s)) return refuse_document(w, s, why);
        if (s->status) {
            if (!e->skipped) (void)refuse_document(w, s, &e->first_skipped);
            count_skip(e, s);
            continue;
        }
        if (e->lines && lines_check(e->lines, s->number, &s->tokens, why)) {
            char place[320];
            json_records_place(&w->records, s->number, place, sizeof place);
            return fail_in(why, e->format == FORMAT_TEXT ? w->name : place);
        }
        e->documents++;
        e->tokens += s->tokens.count;
        e->text_bytes += s->text_bytes;
        e->unnamed += s->is_unnamed;
        if (e->format != FORMAT_CHAT && s->is_mended)
            tally_add(&e->mends, "documents in which invalid characters became U+FFFD", 1);
        for (int m = 0; e->format == FORMAT_CHAT && m < CHAT_REPAIRS; m++)
            if (s->mended[m])
                tally_add(&e->mends, chat_repair_words((enum chat_repair)m), s->mended[m]);
        if (w->take(w->arg, &s->tokens, why)) return -1;
        trim(s);
    }
    b->count = 0;
    return 0;
}

/* Task 0 writes the previous batch, task 1 reads the next one, and the other tasks encode. */
static void step_task(void *arg, int64_t task, int worker)
{
    struct encoder_work *w = arg;
    if (task == 0) {
        w->write_status = write_batch(w, w->stage[WRITING], &w->write_why);
    } else if (task == 1) {
        if (!w->at_end) w->read_status = read_batch(w, w->stage[READING], &w->read_why);
        if (w->read_status) w->at_end = true;
    } else {
        struct text_slot *s = &w->stage[ENCODING]->slots[task - 2];
        s->status = encode_slot(w->e, w->name, s, &w->workers[worker]);
    }
}

static void advance(struct encoder_work *w)
{
    struct text_batch *written = w->stage[WRITING];
    w->stage[WRITING] = w->stage[ENCODING];
    w->stage[ENCODING] = w->stage[READING];
    w->stage[READING] = written;
}

int encoder_run(struct encoder *e, struct input *in,
                int (*take)(void *, const struct tokens *, struct fail *), void *arg,
                struct fail *why)
{
    struct encoder_work *w = e->work;
    uint64_t before = e->read_bytes;
    w->in = in;
    w->name = input_name(in);
    w->take = take;
    w->arg = arg;
    w->at_end = false;
    w->read_status = w->write_status = 0;
    if (e->format != FORMAT_TEXT && json_records_open(&w->records, in, why)) return -1;
    if (e->format == FORMAT_CHAT) w->records.is_part = chat_is_message;
    do {
        pool_run(e->pool, 2 + w->stage[ENCODING]->count, step_task, w);
        if (w->write_status) {
            *why = w->write_why;
            return -1;
        }
        advance(w);
        /* two later batches, one encoded and one only read, are discarded */
        if (e->max_documents && e->documents == e->max_documents) return 0;
        progress_at((double)(before + input_bytes_read(in)));
    } while (!w->at_end || w->stage[ENCODING]->count || w->stage[WRITING]->count);
    e->read_bytes = before + input_bytes_read(in);
    e->dropped = 0;
    for (int i = 0; i < pool_threads(e->pool); i++) {
        e->dropped += w->workers[i].buffer.dropped;
        tally_add_all(&e->unknown, &w->workers[i].unknown);
        tally_release(&w->workers[i].unknown);
    }
    if (w->read_status) *why = w->read_why;
    return w->read_status;
}
