#include "lib/stream/lengths.h"

/* The documents of one record, one array for each column. sources[i] is an index into `source`, the
 * names that have come since the previous record. */
struct lengths_block {
    size_t count, source_count;
    uint64_t numbers[LENGTHS_BLOCK], lines[LENGTHS_BLOCK], digests[LENGTHS_BLOCK];
    uint32_t tokens[LENGTHS_BLOCK];
    uint16_t sources[LENGTHS_BLOCK];
    char source[LENGTHS_BLOCK][SOURCE_MAX];
};

/* ---- writing ---- */

struct lengths_writer {
    struct writer *out;
    char file[TOKENS_ID_MAX];
    uint64_t line;
    struct lengths_block block;
};

int lengths_create(struct lengths_writer **out, const char *path, const struct lengths_info *info,
                   struct fail *why)
{
    struct msgpack_map own, none;
    struct lengths_writer *w = *out = calloc(1, sizeof *w);
    if (!w) return fail(why, "out of memory");
    msgpack_map_init(&own);
    msgpack_map_init(&none);
    token_info_put(&own, &info->text);
    msgpack_map_count(&own, "min_tokens", info->min_tokens);
    msgpack_map_count(&own, "max_tokens", info->max_tokens);
    msgpack_map_count(&own, "shard", info->shard);
    msgpack_map_count(&own, "shards", info->shards);
    msgpack_map_map(&own, "made_with", info->made_with);
    int status = writer_open(&w->out, path, STREAM_LENGTHS, "pack", &own, &none, why);
    msgpack_map_release(&own);
    msgpack_map_release(&none);
    if (!status) return 0;
    free(w);
    *out = NULL;
    return -1;
}

static int add_text(struct lengths_writer *w, const char *key, const char *text, struct fail *why)
{
    struct msgpack_map record;
    msgpack_map_init(&record);
    msgpack_map_text(&record, key, text);
    return writer_add(w->out, &record, why);
}

static int flush(struct lengths_writer *w, struct fail *why)
{
    struct lengths_block *b = &w->block;
    struct msgpack_map record;
    if (!b->count) return 0;
    for (size_t i = 0; i < b->source_count; i++)
        if (add_text(w, "source", b->source[i], why)) return -1;
    msgpack_map_init(&record);
    msgpack_map_bin(&record, "numbers", b->numbers, b->count * sizeof *b->numbers);
    msgpack_map_bin(&record, "lines", b->lines, b->count * sizeof *b->lines);
    msgpack_map_bin(&record, "tokens", b->tokens, b->count * sizeof *b->tokens);
    msgpack_map_bin(&record, "sources", b->sources, b->count * sizeof *b->sources);
    msgpack_map_bin(&record, "digests", b->digests, b->count * sizeof *b->digests);
    b->count = b->source_count = 0;
    return writer_add(w->out, &record, why);
}

static uint16_t number_source(struct lengths_block *b, const char *source)
{
    size_t i = 0;
    while (i < b->source_count && strcmp(b->source[i], source) != 0)
        i++;
    if (i == b->source_count) snprintf(b->source[b->source_count++], SOURCE_MAX, "%s", source);
    return (uint16_t)i;
}

int lengths_add(struct lengths_writer *w, const struct length *l, const struct tokens *t,
                struct fail *why)
{
    struct lengths_block *b = &w->block;
    if (strcmp(w->file, l->file) != 0 || l->line <= w->line) {
        if (flush(w, why) || add_text(w, "file", l->file, why)) return -1;
        snprintf(w->file, sizeof w->file, "%s", l->file);
    }
    w->line = l->line;
    size_t i = b->count++;
    b->numbers[i] = l->number;
    b->lines[i] = l->line;
    b->tokens[i] = l->tokens;
    b->sources[i] = number_source(b, l->source);
    b->digests[i] = tokens_digest(t);
    return b->count < LENGTHS_BLOCK ? 0 : flush(w, why);
}

int lengths_finish(struct lengths_writer *w, uint64_t documents, const char *tokens,
                   const char *text, struct fail *why)
{
    struct msgpack_map last;
    int status = flush(w, why);
    if (!status) {
        msgpack_map_init(&last);
        msgpack_map_count(&last, "documents", documents);
        status = writer_add(w->out, &last, why);
    }
    if (status) {
        lengths_abandon(w);
        return -1;
    }
    writer_parent(w->out, "tokens", tokens);
    writer_parent(w->out, "text", text);
    status = writer_close(w->out, why);
    free(w);
    return status;
}

void lengths_abandon(struct lengths_writer *w)
{
    if (!w) return;
    writer_abandon(w->out);
    free(w);
}

/* ---- reading ---- */

struct lengths_reader {
    struct reader *in;
    struct lengths_info info;
    struct msgpack_map made_with;
    char file[TOKENS_ID_MAX];
    uint64_t files, line, number, documents; /* line and number: of the last document */
    bool has_ended;
    size_t at;
    struct lengths_block block;
};

static const char *const header_keys[] = { "longqlora", "kind",    "tokenizer",  "dtype",
                                           "add_bos",   "add_eos", "min_tokens", "max_tokens",
                                           "shard",     "shards",  "made_with",  "tool",
                                           "version",   "options", NULL };

static int read_header(struct lengths_reader *r, struct fail *why)
{
    const msgpack_object *header = reader_header(r->in), *made_with = map_find(header, "made_with");
    struct lengths_info *i = &r->info;
    if (!made_with || map_check_keys(made_with, why))
        return fail_input(why, "'made_with' is no map");
    msgpack_map_copy(&r->made_with, made_with);
    i->made_with = &r->made_with;
    if (map_check(header, header_keys, why) || token_info_get(header, &i->text, why) ||
        map_get_count(header, "min_tokens", UINT64_MAX, &i->min_tokens, why) ||
        map_get_count(header, "max_tokens", UINT64_MAX, &i->max_tokens, why) ||
        map_get_count(header, "shard", SHARDS_MAX, &i->shard, why) ||
        map_get_count(header, "shards", SHARDS_MAX, &i->shards, why))
        return -1;
    if (i->shard <= i->shards && (i->shard || !i->shards)) return 0;
    return fail_input(why, "'shard' is %llu of %llu", (unsigned long long)i->shard,
                      (unsigned long long)i->shards);
}

int lengths_open(struct lengths_reader **out, const char *path, struct fail *why)
{
    struct lengths_reader *r = *out = calloc(1, sizeof *r);
    if (!r) return fail(why, "%s: out of memory", path);
    msgpack_map_init(&r->made_with);
    if (!reader_open(&r->in, path, STREAM_LENGTHS, why)) {
        if (!read_header(r, why)) return 0;
        (void)fail_in(why, reader_name(r->in));
    }
    lengths_close(r);
    *out = NULL;
    return -1;
}

void lengths_close(struct lengths_reader *r)
{
    if (!r) return;
    reader_close(r->in);
    msgpack_map_release(&r->made_with);
    free(r);
}

const struct lengths_info *lengths_info(const struct lengths_reader *r) { return &r->info; }
const char *lengths_name(const struct lengths_reader *r) { return reader_name(r->in); }
uint64_t lengths_documents(const struct lengths_reader *r) { return r->documents; }
const char *lengths_digest(const struct lengths_reader *r) { return reader_digest(r->in); }
const char *lengths_tokens_digest(const struct lengths_reader *r)
{
    return reader_parent(r->in, "tokens");
}
const char *lengths_text_digest(const struct lengths_reader *r)
{
    return reader_parent(r->in, "text");
}

/* Copies a column of `count` numbers of `width` bytes. If count is 0, the column determines it. */
static int read_column(const msgpack_object *record, const char *key, void *to, size_t width,
                       size_t *count, struct fail *why)
{
    const void *data;
    size_t bytes;
    if (map_get_bin(record, key, &data, &bytes, why)) return -1;
    if (!*count) *count = bytes / width;
    if (!bytes || bytes != *count * width || *count > LENGTHS_BLOCK)
        return fail_input(why, "'%s' has %zu bytes, which is a wrong length", key, bytes);
    memcpy(to, data, bytes);
    return 0;
}

/* Checks a document of the block against the ones before it. */
static int check_document(struct lengths_reader *r, size_t i, struct fail *why)
{
    const struct lengths_block *b = &r->block;
    const struct lengths_info *info = &r->info;
    if (b->numbers[i] <= r->number || b->lines[i] <= r->line)
        return fail_input(why, "'numbers' or 'lines' do not ascend");
    if (b->sources[i] >= b->source_count)
        return fail_input(why, "source %u does not exist, because only %zu were named",
                          b->sources[i], b->source_count);
    if (b->tokens[i] < info->min_tokens || (info->max_tokens && b->tokens[i] > info->max_tokens))
        return fail_input(why, "a document of %u tokens is beyond the bounds %llu to %llu",
                          b->tokens[i], (unsigned long long)info->min_tokens,
                          (unsigned long long)info->max_tokens);
    r->number = b->numbers[i];
    r->line = b->lines[i];
    return 0;
}

static int read_block(struct lengths_reader *r, const msgpack_object *record, struct fail *why)
{
    static const char *const keys[] = { "numbers", "lines", "tokens", "sources", "digests", NULL };
    struct lengths_block *b = &r->block;
    size_t count = 0;
    if (map_check(record, keys, why) ||
        read_column(record, "numbers", b->numbers, sizeof *b->numbers, &count, why) ||
        read_column(record, "lines", b->lines, sizeof *b->lines, &count, why) ||
        read_column(record, "tokens", b->tokens, sizeof *b->tokens, &count, why) ||
        read_column(record, "sources", b->sources, sizeof *b->sources, &count, why) ||
        read_column(record, "digests", b->digests, sizeof *b->digests, &count, why))
        return -1;
    if (!r->files) return fail_input(why, "documents come before the name of their file");
    for (size_t i = 0; i < count; i++)
        if (check_document(r, i, why)) return -1;
    b->count = count;
    r->at = 0;
    return 0;
}

static int read_source(struct lengths_reader *r, const msgpack_object *record, struct fail *why)
{
    static const char *const keys[] = { "source", NULL };
    struct lengths_block *b = &r->block;
    if (b->count) r->at = b->count = b->source_count = 0; /* the last block's sources end */
    if (b->source_count == LENGTHS_BLOCK)
        return fail_input(why, "there are more than %d sources in a row", LENGTHS_BLOCK);
    if (map_check(record, keys, why)) return -1;
    return map_get_text(record, "source", b->source[b->source_count++], SOURCE_MAX, why);
}

static int read_file(struct lengths_reader *r, const msgpack_object *record, struct fail *why)
{
    static const char *const keys[] = { "file", NULL };
    r->files++;
    r->line = 0;
    return map_check(record, keys, why) ||
                   map_get_text(record, "file", r->file, sizeof r->file, why)
               ? -1
               : 0;
}

static int read_last(struct lengths_reader *r, const msgpack_object *record, struct fail *why)
{
    static const char *const keys[] = { "documents", NULL };
    r->has_ended = true;
    if (map_check(record, keys, why) ||
        map_get_count(record, "documents", UINT64_MAX / SHARDS_MAX, &r->documents, why))
        return -1;
    if (r->documents >= r->number) return 0;
    return fail_input(why, "'documents' is %llu, but document %llu came before",
                      (unsigned long long)r->documents, (unsigned long long)r->number);
}

static int read_record(struct lengths_reader *r, const msgpack_object *record, struct fail *why)
{
    if (r->has_ended) return fail_input(why, "a record follows the last one");
    if (map_find(record, "source")) return read_source(r, record, why);
    if (map_find(record, "file")) return read_file(r, record, why);
    if (map_find(record, "documents")) return read_last(r, record, why);
    return read_block(r, record, why);
}

static int check_end(const struct lengths_reader *r, struct fail *why)
{
    if (!r->has_ended)
        return fail_input(why, "%s: it has no record with the number of documents",
                          lengths_name(r));
    if (reader_drawn_part(r->in)->streams != 1)
        return fail_input(
            why, "%s: the file has the lengths of several shards: name a file for each shard",
            lengths_name(r));
    if (lengths_tokens_digest(r) && lengths_text_digest(r)) return 0;
    return fail_input(why, "%s: end record: 'parents' has no tokens or no text", lengths_name(r));
}

int lengths_next(struct lengths_reader *r, struct length *l, struct fail *why)
{
    struct lengths_block *b = &r->block;
    while (r->at == b->count) {
        msgpack_object record;
        int got = reader_next(r->in, &record, why);
        if (got < 0) return -1;
        if (!got) return check_end(r, why);
        if (read_record(r, &record, why)) return reader_fail(r->in, why);
    }
    size_t i = r->at++;
    *l = (struct length){ .source = b->source[b->sources[i]],
                          .file = r->file,
                          .file_number = r->files,
                          .line = b->lines[i],
                          .number = b->numbers[i],
                          .digest = b->digests[i],
                          .tokens = b->tokens[i] };
    return 1;
}
