#include "lib/stream/tokens.h"

#include "lib/common/buffer.h"

#include <xxhash.h>

static const char *const token_header_keys[] = { "longqlora", "kind",    "tokenizer", "dtype",
                                                 "add_bos",   "add_eos", "tool",      "version",
                                                 "options",   NULL };
static const char *const sample_header_keys[] = { "longqlora", "kind",    "tokenizer", "dtype",
                                                  "add_bos",   "add_eos", "context",   "strategy",
                                                  "seed",      "tool",    "version",   "options",
                                                  NULL };
static const char *const tokenizer_keys[] = { "digest", "vocab_size", "bos", "eos", NULL };
static const char *const token_keys[] = { "id", "source", "tokens", "targets", NULL };
static const char *const sample_keys[] = { "tokens", "documents", "targets", "source", NULL };

static bool is_u16(const struct token_info *info) { return info->vocab_size <= 1 << 16; }

void tokens_release(struct tokens *t)
{
    free(t->ids);
    free(t->targets);
    *t = (struct tokens){ 0 };
}

void sample_release(struct sample *s)
{
    free(s->ids);
    free(s->documents);
    free(s->targets);
    *s = (struct sample){ 0 };
}

void token_info_put(struct msgpack_map *own, const struct token_info *info)
{
    struct msgpack_map tokenizer;
    msgpack_map_init(&tokenizer);
    msgpack_map_text(&tokenizer, "digest", info->tokenizer);
    msgpack_map_count(&tokenizer, "vocab_size", info->vocab_size);
    msgpack_map_count(&tokenizer, "bos", info->bos);
    msgpack_map_count(&tokenizer, "eos", info->eos);
    msgpack_map_map(own, "tokenizer", &tokenizer);
    msgpack_map_release(&tokenizer);
    msgpack_map_text(own, "dtype", is_u16(info) ? "u16" : "u32");
    msgpack_map_flag(own, "add_bos", info->add_bos);
    msgpack_map_flag(own, "add_eos", info->add_eos);
}

enum token_format token_format_of(const char *word)
{
    static const char *const words[] = { "stream", "jsonl", "u16", "u32", "u64" };
    for (int i = 0; i <= TOKEN_FORMAT_U64; i++)
        if (!strcmp(word, words[i])) return (enum token_format)i;
    must(!"a format");
    return TOKEN_FORMAT_STREAM;
}

static int open_writer(struct writer **w, const char *path, enum stream_kind kind,
                       enum token_format format, const char *tool, struct msgpack_map *own,
                       const struct msgpack_map *options, struct fail *why)
{
    struct msgpack_map none;
    msgpack_map_init(&none);
    must(format == TOKEN_FORMAT_STREAM || format == TOKEN_FORMAT_JSONL);
    int status = format == TOKEN_FORMAT_JSONL
                     ? writer_open_json(w, path, kind, tool, own, options ? options : &none, why)
                     : writer_open(w, path, kind, tool, own, options ? options : &none, why);
    msgpack_map_release(&none);
    msgpack_map_release(own);
    return status;
}

int tokens_writer(struct writer **w, const char *path, enum token_format format, const char *tool,
                  const struct token_info *info, const struct msgpack_map *options,
                  struct fail *why)
{
    struct msgpack_map own;
    msgpack_map_init(&own);
    token_info_put(&own, info);
    return open_writer(w, path, STREAM_TOKENS, format, tool, &own, options, why);
}

int samples_writer(struct writer **w, const char *path, enum token_format format, const char *tool,
                   const struct sample_info *info, const struct msgpack_map *options,
                   struct fail *why)
{
    struct msgpack_map own;
    msgpack_map_init(&own);
    token_info_put(&own, &info->text);
    msgpack_map_count(&own, "context", info->context);
    msgpack_map_text(&own, "strategy", info->strategy);
    msgpack_map_count(&own, "seed", info->seed);
    return open_writer(w, path, STREAM_SAMPLES, format, tool, &own, options, why);
}

static int put_ids(struct msgpack_map *record, const struct token_info *info, const uint32_t *ids,
                   size_t count, struct fail *why)
{
    if (!is_u16(info)) {
        msgpack_map_bin(record, "tokens", ids, 4 * count);
        return 0;
    }
    uint16_t *narrow = malloc(count ? 2 * count : 1);
    if (!narrow) return fail(why, "out of memory");
    for (size_t i = 0; i < count; i++)
        narrow[i] = (uint16_t)ids[i];
    msgpack_map_bin(record, "tokens", narrow, 2 * count);
    free(narrow);
    return 0;
}

int tokens_write(struct writer *w, const struct token_info *info, const struct tokens *t,
                 struct fail *why)
{
    struct msgpack_map record;
    msgpack_map_init(&record);
    msgpack_map_text(&record, "id", t->id);
    msgpack_map_text(&record, "source", t->source);
    if (put_ids(&record, info, t->ids, t->count, why)) return -1;
    if (t->has_targets) msgpack_map_bin(&record, "targets", t->targets, 8 * t->target_count);
    return writer_add(w, &record, why);
}

int samples_write(struct writer *w, const struct sample_info *info, const struct sample *s,
                  struct fail *why)
{
    struct msgpack_map record;
    msgpack_map_init(&record);
    if (put_ids(&record, &info->text, s->ids, s->count, why)) return -1;
    msgpack_map_bin(&record, "documents", s->documents, 4 * s->document_count);
    if (s->has_targets) msgpack_map_bin(&record, "targets", s->targets, 8 * s->target_count);
    msgpack_map_text(&record, "source", s->source);
    return writer_add(w, &record, why);
}

int token_info_get(const msgpack_object *header, struct token_info *info, struct fail *why)
{
    char dtype[8];
    const msgpack_object *tokenizer = map_find(header, "tokenizer");
    if (!tokenizer) return fail_input(why, "header has no 'tokenizer'");
    if (map_check(tokenizer, tokenizer_keys, why)) return fail_in(why, "tokenizer");
    if (map_get_text(tokenizer, "digest", info->tokenizer, sizeof info->tokenizer, why) ||
        map_get_count(tokenizer, "vocab_size", TOKENS_VOCAB_MAX, &info->vocab_size, why) ||
        map_get_count(tokenizer, "bos", UINT32_MAX, &info->bos, why) ||
        map_get_count(tokenizer, "eos", UINT32_MAX, &info->eos, why) ||
        map_get_text(header, "dtype", dtype, sizeof dtype, why) ||
        map_get_flag(header, "add_bos", &info->add_bos, why) ||
        map_get_flag(header, "add_eos", &info->add_eos, why))
        return -1;
    if (strcmp(dtype, is_u16(info) ? "u16" : "u32") != 0)
        return fail_input(why, "dtype '%s' does not go with a vocabulary of %llu", dtype,
                          (unsigned long long)info->vocab_size);
    return 0;
}

static int open_reader(struct reader **r, const char *path, enum token_format format,
                       enum stream_kind kind, struct fail *why)
{
    must(format == TOKEN_FORMAT_STREAM || format == TOKEN_FORMAT_JSONL);
    return format == TOKEN_FORMAT_JSONL ? reader_open_json(r, path, kind, why)
                                        : reader_open(r, path, kind, why);
}

int tokens_reader(struct reader **r, const char *path, enum token_format format,
                  struct token_info *info, struct fail *why)
{
    if (open_reader(r, path, format, STREAM_TOKENS, why)) return -1;
    const msgpack_object *header = reader_header(*r);
    if (!map_check(header, token_header_keys, why) && !token_info_get(header, info, why)) return 0;
    fail_in(why, reader_name(*r));
    reader_close(*r);
    *r = NULL;
    return -1;
}

int samples_reader(struct reader **r, const char *path, enum token_format format,
                   struct sample_info *info, struct fail *why)
{
    if (open_reader(r, path, format, STREAM_SAMPLES, why)) return -1;
    const msgpack_object *header = reader_header(*r);
    if (!map_check(header, sample_header_keys, why) && !token_info_get(header, &info->text, why) &&
        !map_get_count(header, "context", 1u << 30, &info->context, why) &&
        !map_get_count(header, "seed", UINT64_MAX, &info->seed, why) &&
        !map_get_text(header, "strategy", info->strategy, sizeof info->strategy, why)) {
        if (info->context) return 0;
        fail_input(why, "'context' is 0");
    }
    fail_in(why, reader_name(*r));
    reader_close(*r);
    *r = NULL;
    return -1;
}

/* Converts 16-bit to 32-bit numbers and returns the largest. */
static uint32_t widen(uint32_t *restrict to, const void *restrict from, size_t count)
{
    uint16_t block[256], largest = 0;
    for (size_t at = 0; at < count; at += 256) {
        size_t n = count - at < 256 ? count - at : 256;
        memcpy(block, (const char *)from + 2 * at, 2 * n);
        for (size_t i = 0; i < n; i++) {
            to[at + i] = block[i];
            largest = block[i] > largest ? block[i] : largest;
        }
    }
    return largest;
}

static int get_ids(const msgpack_object *record, const struct token_info *info, uint32_t **ids,
                   size_t *count, size_t *capacity, struct fail *why)
{
    const void *data;
    size_t bytes, each = is_u16(info) ? 2 : 4;
    if (map_get_bin(record, "tokens", &data, &bytes, why)) return -1;
    if (bytes % each)
        return fail_input(why, "'tokens' has %zu bytes, which is no multiple of a token's %zu",
                          bytes, each);
    *count = bytes / each;
    if (buffer_fit(ids, capacity, *count, why)) return -1;
    uint32_t largest = 0;
    if (each == 4) {
        memcpy(*ids, data, bytes);
        for (size_t i = 0; i < *count; i++)
            largest = (*ids)[i] > largest ? (*ids)[i] : largest;
    } else {
        largest = widen(*ids, data, *count);
    }
    if (largest >= info->vocab_size)
        return fail_input(why, "token %u is outside of the vocabulary of %llu", largest,
                          (unsigned long long)info->vocab_size);
    return 0;
}

/* Copies a bin of 32-bit numbers. */
static int get_u32(const msgpack_object *record, const char *key, size_t unit, uint32_t **values,
                   size_t *count, size_t *capacity, struct fail *why)
{
    const void *data;
    size_t bytes;
    if (map_get_bin(record, key, &data, &bytes, why)) return -1;
    if (bytes % (4 * unit))
        return fail_input(why, "'%s' has %zu bytes, a wrong length", key, bytes);
    if (buffer_fit(values, capacity, bytes / 4, why)) return -1;
    memcpy(*values, data, bytes);
    *count = bytes / (4 * unit);
    return 0;
}

static int get_targets(const msgpack_object *record, size_t tokens, uint32_t **targets,
                       size_t *count, size_t *capacity, bool *has, struct fail *why)
{
    *has = map_find(record, "targets") != NULL;
    *count = 0;
    if (!*has) return 0;
    if (get_u32(record, "targets", 2, targets, count, capacity, why)) return -1;
    uint32_t last = 0;
    for (size_t i = 0; i < *count; i++) {
        uint32_t start = (*targets)[2 * i], end = (*targets)[2 * i + 1];
        if (start < last || end <= start || end > tokens)
            return fail_input(why, "'targets' [%u, %u) is empty, out of order or beyond %zu tokens",
                              start, end, tokens);
        last = end;
    }
    return 0;
}

static int parse_tokens(const msgpack_object *record, const struct token_info *info,
                        struct tokens *t, struct fail *why)
{
    if (map_check(record, token_keys, why) ||
        map_get_text(record, "id", t->id, sizeof t->id, why) ||
        map_get_text(record, "source", t->source, sizeof t->source, why))
        return -1;
    if (get_ids(record, info, &t->ids, &t->count, &t->capacity, why)) return -1;
    return get_targets(record, t->count, &t->targets, &t->target_count, &t->target_capacity,
                       &t->has_targets, why);
}

uint64_t tokens_digest(const struct tokens *t)
{
    char bytes[SOURCE_MAX + 4 * sizeof(uint64_t)];
    size_t targets = t->has_targets ? t->target_count : 0, at = strlen(t->source) + 1;
    uint64_t numbers[4] = { t->count, t->has_targets ? targets : UINT64_MAX,
                            XXH3_64bits(t->count ? (const void *)t->ids : "", 4 * t->count),
                            XXH3_64bits(targets ? (const void *)t->targets : "", 8 * targets) };
    memcpy(bytes, t->source, at);
    memcpy(bytes + at, numbers, sizeof numbers);
    return XXH3_64bits(bytes, at + sizeof numbers);
}

int tokens_read(struct reader *r, const struct token_info *info, struct tokens *t, struct fail *why)
{
    msgpack_object record;
    int got = reader_next(r, &record, why);
    if (got <= 0) return got;
    return parse_tokens(&record, info, t, why) ? reader_fail(r, why) : 1;
}

static int parse_sample(const msgpack_object *record, const struct sample_info *info,
                        struct sample *s, struct fail *why)
{
    if (map_check(record, sample_keys, why) ||
        map_get_text(record, "source", s->source, sizeof s->source, why))
        return -1;
    if (get_ids(record, &info->text, &s->ids, &s->count, &s->capacity, why)) return -1;
    if (s->count > info->context || !s->count)
        return fail_input(why, "%zu tokens, but the context is %llu", s->count,
                          (unsigned long long)info->context);
    if (get_u32(record, "documents", 1, &s->documents, &s->document_count, &s->document_capacity,
                why))
        return -1;
    uint64_t sum = 0;
    for (size_t i = 0; i < s->document_count; i++) {
        if (!s->documents[i]) return fail_input(why, "'documents' has an empty document");
        sum += s->documents[i];
    }
    if (sum != s->count)
        return fail_input(why, "'documents' add up to %llu tokens, but the sample has %zu",
                          (unsigned long long)sum, s->count);
    return get_targets(record, s->count, &s->targets, &s->target_count, &s->target_capacity,
                       &s->has_targets, why);
}

int samples_read(struct reader *r, const struct sample_info *info, struct sample *s,
                 struct fail *why)
{
    msgpack_object record;
    int got = reader_next(r, &record, why);
    if (got <= 0) return got;
    return parse_sample(&record, info, s, why) ? reader_fail(r, why) : 1;
}

int samples_read_at(struct reader *r, const struct sample_info *info, uint64_t number,
                    struct sample *s, struct fail *why)
{
    msgpack_object record;
    if (reader_at(r, number, &record, why)) return -1;
    return parse_sample(&record, info, s, why) ? reader_fail(r, why) : 0;
}
