#include "lib/stream/drawn_lines.h"

#include "lib/common/buffer.h"

enum { BLOCK = 4096 }; /* lines of a record */

void drawn_lines_init(struct drawn_lines *d)
{
    *d = (struct drawn_lines){ 0 };
    msgpack_map_init(&d->options);
    msgpack_map_init(&d->made_with);
}

void drawn_lines_release(struct drawn_lines *d)
{
    for (size_t i = 0; i < d->file_count; i++)
        free(d->files[i].name);
    free(d->files);
    free(d->lines);
    msgpack_map_release(&d->options);
    msgpack_map_release(&d->made_with);
    drawn_lines_init(d);
}

int drawn_lines_add_file(struct drawn_lines *d, const char *name, struct fail *why)
{
    if (buffer_extend(&d->files, d->file_count, why)) return -1;
    struct drawn_file *f = &d->files[d->file_count];
    *f = (struct drawn_file){ strdup(name), d->line_count };
    if (!f->name) return fail(why, "out of memory");
    d->file_count++;
    return 0;
}

int drawn_lines_add(struct drawn_lines *d, const struct drawn_line *line, struct fail *why)
{
    if (buffer_extend(&d->lines, d->line_count, why)) return -1;
    d->lines[d->line_count++] = *line;
    return 0;
}

/* ---- writing ---- */

static int write_lines(struct writer *w, const struct drawn_line *line, size_t count,
                       struct fail *why)
{
    uint64_t lines[BLOCK], digests[BLOCK];
    uint32_t tokens[BLOCK];
    struct msgpack_map record;
    for (size_t i = 0; i < count; i++) {
        lines[i] = line[i].line;
        digests[i] = line[i].digest;
        tokens[i] = line[i].tokens;
    }
    msgpack_map_init(&record);
    msgpack_map_bin(&record, "lines", lines, count * sizeof *lines);
    msgpack_map_bin(&record, "tokens", tokens, count * sizeof *tokens);
    msgpack_map_bin(&record, "digests", digests, count * sizeof *digests);
    return writer_add(w, &record, why);
}

static int write_file(struct writer *w, const struct drawn_lines *d, size_t file, struct fail *why)
{
    struct msgpack_map record;
    size_t at = d->files[file].first;
    size_t end = file + 1 < d->file_count ? d->files[file + 1].first : d->line_count;
    msgpack_map_init(&record);
    msgpack_map_text(&record, "file", d->files[file].name);
    if (writer_add(w, &record, why)) return -1;
    for (size_t n; at < end; at += n) {
        n = end - at < BLOCK ? end - at : BLOCK;
        if (write_lines(w, d->lines + at, n, why)) return -1;
    }
    return 0;
}

int drawn_lines_write(const struct drawn_lines *d, const char *path, struct fail *why)
{
    struct writer *w;
    struct msgpack_map own;
    msgpack_map_init(&own);
    token_info_put(&own, &d->text);
    msgpack_map_text(&own, "draw", d->draw);
    msgpack_map_count(&own, "shard", d->shard);
    msgpack_map_count(&own, "shards", d->shards);
    msgpack_map_count(&own, "seed", d->seed);
    msgpack_map_map(&own, "made_with", &d->made_with);
    int status = writer_open(&w, path, STREAM_LINES, "pack", &own, &d->options, why);
    msgpack_map_release(&own);
    if (status) return -1;
    for (size_t i = 0; i < d->file_count && !status; i++)
        status = write_file(w, d, i, why);
    if (status) {
        writer_abandon(w);
        return -1;
    }
    writer_parent(w, "lengths", d->lengths);
    writer_parent(w, "tokens", d->whole);
    writer_parent(w, "text", d->text_digest);
    return writer_close(w, why);
}

/* ---- reading ---- */

static const char *const header_keys[] = { "longqlora", "kind", "tokenizer", "dtype",   "add_bos",
                                           "add_eos",   "draw", "shard",     "shards",  "seed",
                                           "made_with", "tool", "version",   "options", NULL };

static int read_header(struct drawn_lines *d, const msgpack_object *header, struct fail *why)
{
    const msgpack_object *options = map_find(header, "options");
    const msgpack_object *made_with = map_find(header, "made_with");
    if (map_check(header, header_keys, why) || token_info_get(header, &d->text, why) ||
        map_get_text(header, "draw", d->draw, sizeof d->draw, why) ||
        map_get_count(header, "shard", UINT32_MAX, &d->shard, why) ||
        map_get_count(header, "shards", UINT32_MAX, &d->shards, why) ||
        map_get_count(header, "seed", UINT64_MAX, &d->seed, why))
        return -1;
    if (!d->shard || d->shard > d->shards)
        return fail_input(why, "'shard' is %llu of %llu", (unsigned long long)d->shard,
                          (unsigned long long)d->shards);
    if (!options || map_check_keys(options, why)) return fail_input(why, "'options' is no map");
    if (!made_with || map_check_keys(made_with, why))
        return fail_input(why, "'made_with' is no map");
    msgpack_map_copy(&d->options, options);
    msgpack_map_copy(&d->made_with, made_with);
    return 0;
}

static int read_columns(struct drawn_lines *d, const msgpack_object *record, struct fail *why)
{
    static const char *const keys[] = { "lines", "tokens", "digests", NULL };
    const char *lines, *tokens, *digests;
    size_t bytes[3];
    if (map_check(record, keys, why) ||
        map_get_bin(record, "lines", (const void **)&lines, &bytes[0], why) ||
        map_get_bin(record, "tokens", (const void **)&tokens, &bytes[1], why) ||
        map_get_bin(record, "digests", (const void **)&digests, &bytes[2], why))
        return -1;
    size_t count = bytes[0] / 8;
    if (bytes[0] != 8 * count || bytes[1] != 4 * count || bytes[2] != 8 * count)
        return fail_input(why, "the columns have %zu, %zu and %zu bytes, which do not match",
                          bytes[0], bytes[1], bytes[2]);
    if (!d->file_count) return fail_input(why, "lines come before the name of their file");
    for (size_t i = 0; i < count; i++) {
        struct drawn_line line;
        memcpy(&line.line, lines + 8 * i, 8);
        memcpy(&line.tokens, tokens + 4 * i, 4);
        memcpy(&line.digest, digests + 8 * i, 8);
        bool is_first = d->files[d->file_count - 1].first == d->line_count;
        if (line.line <= (is_first ? 0 : d->lines[d->line_count - 1].line))
            return fail_input(why, "'lines' do not ascend");
        if (drawn_lines_add(d, &line, why)) return -1;
    }
    return 0;
}

static int read_record(struct drawn_lines *d, const msgpack_object *record, struct fail *why)
{
    static const char *const keys[] = { "file", NULL };
    char name[TOKENS_ID_MAX];
    if (!map_find(record, "file")) return read_columns(d, record, why);
    if (map_check(record, keys, why) || map_get_text(record, "file", name, sizeof name, why))
        return -1;
    return drawn_lines_add_file(d, name, why);
}

static int read_parent(const struct reader *r, const char *kind, char digest[STREAM_DIGEST_TEXT],
                       struct fail *why)
{
    const char *found = reader_parent(r, kind);
    if (!found) return fail_input(why, "%s: end record: 'parents' has no %s", reader_name(r), kind);
    memcpy(digest, found, STREAM_DIGEST_TEXT);
    return 0;
}

static int read_all(struct drawn_lines *d, struct reader *r, struct fail *why)
{
    msgpack_object record;
    int got;
    if (read_header(d, reader_header(r), why)) return fail_in(why, reader_name(r));
    while ((got = reader_next(r, &record, why)) > 0)
        if (read_record(d, &record, why)) return reader_fail(r, why);
    if (got < 0) return -1;
    if (reader_drawn_part(r)->streams != 1)
        return fail_input(why,
                          "%s: the file has the lines of several shards: name one shard's lines",
                          reader_name(r));
    return read_parent(r, "lengths", d->lengths, why) || read_parent(r, "tokens", d->whole, why) ||
                   read_parent(r, "text", d->text_digest, why)
               ? -1
               : 0;
}

int drawn_lines_read(struct drawn_lines *d, const char *path, struct fail *why)
{
    struct reader *r;
    drawn_lines_init(d);
    if (reader_open(&r, path, STREAM_LINES, why)) return -1;
    int status = read_all(d, r, why);
    reader_close(r);
    return status;
}

void drawn_lines_put_part(const struct drawn_lines *d, struct msgpack_map *options)
{
    struct msgpack_map part;
    msgpack_map_init(&part);
    msgpack_map_text(&part, "draw", d->draw);
    msgpack_map_text(&part, "whole", d->whole);
    msgpack_map_count(&part, "shard", d->shard);
    msgpack_map_count(&part, "shards", d->shards);
    msgpack_map_count(&part, "seed", d->seed);
    msgpack_map_map(&part, "options", &d->options);
    msgpack_map_map(options, "drawn", &part);
    msgpack_map_release(&part);
}
