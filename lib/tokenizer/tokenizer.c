/* tokenizer.c - encodes text: cuts it into pre-tokens, whose ids are cached (token_cache.c).
 *
 * For SentencePiece a pre-token ends between two characters that are neighbours in no piece. No
 * merge crosses such a place, so pre-tokens can be encoded separately (bpe.c). A byte-level model
 * defines its pre-tokens by a pattern (pretokenize.c) or by several steps (pipeline.c). Text with
 * added tokens goes through the pipeline too.
 */
#include "lib/tokenizer/tokenizer.h"

#include "lib/common/utf8.h"
#include "lib/tokenizer/token_cache.h"
#include "lib/tokenizer/tokenizer_internal.h"
#include "lib/tokenizer/unicode_tables.h"

enum { WAITING_MAX = 160 };

struct token_work {
    char *text; /* the text with space marks replaced by spaces */
    size_t text_capacity;
    struct token_cache cache;
    struct pipeline pipeline;
    struct split_work *split;
    uint64_t *pre_tokens; /* one bit per byte: a pre-token begins there */
    size_t pre_token_capacity;
    size_t encoded;                /* the bytes of text that were encoded */
    const struct tokenizer *owner; /* the tokenizer whose pre-tokens are cached */
};

void token_buffer_release(struct token_buffer *b)
{
    if (b->work) {
        free(b->work->text);
        token_cache_release(&b->work->cache);
        pipeline_release(&b->work->pipeline);
        split_work_release(b->work->split);
        free(b->work->pre_tokens);
    }
    free(b->work);
    free(b->ids);
    *b = (struct token_buffer){ 0 };
}

/* ---- cutting text into pre-tokens ---- */

static inline bool is_ascii(const char *text)
{
    uint64_t word, all = 0;
    for (int i = 0; i < 64; i += 8) {
        memcpy(&word, text + i, 8);
        all |= word;
    }
    return !(all & 0x8080808080808080u);
}

/* Sets a bit of `starts` for each byte at which a pre-token begins. `last` is the character before
 * the text. Returns false if the text has a space mark that a SentencePiece model would take for a
 * space. */
static bool find_pre_tokens(const struct tokenizer *t, uint64_t *starts, const char *text,
                            size_t bytes, uint32_t last)
{
    memset(starts, 0, (bytes / 64 + 1) * sizeof *starts);
    for (size_t at = 0, n; at < bytes; at += n) {
        if (at % 64 == 0 && bytes - at >= 64 && last < 128 && is_ascii(text + at)) {
            uint64_t joined = t->joins_ascii[last | (uint32_t)text[at] << 8];
#pragma GCC unroll 63
            for (int i = 1; i < 64; i++) {
                uint16_t pair; /* the bytes i - 1 and i, little-endian */
                memcpy(&pair, text + at + i - 1, sizeof pair);
                joined |= (uint64_t)t->joins_ascii[pair] << i;
            }
            starts[at / 64] = ~joined;
            last = (unsigned char)text[at + 63];
            n = 64;
            continue;
        }
        uint32_t c = utf8_decode(text + at, &n);
        if (c == SPACE_MARK_CODE && !t->is_json) return false;
        if (!joins(t, last, c)) starts[at / 64] |= UINT64_C(1) << (at % 64);
        last = c;
    }
    return true;
}

/* Encodes the first pre-token, before which the tokenizer puts a space mark. */
static int encode_first(const struct tokenizer *t, struct token_buffer *b, const char *text,
                        size_t bytes, bool *after_unknown, struct fail *why)
{
    char *pre_token = malloc(bytes + 1);
    if (!pre_token) return fail(why, "out of memory");
    pre_token[0] = ' ';
    memcpy(pre_token + 1, text, bytes);
    int status =
        bpe_merge_pre_token(t, &b->work->cache.merger, b, pre_token, bytes + 1, after_unknown, why);
    free(pre_token);
    return status;
}

/* The pre-tokens that wait for their look-up while their sets are prefetched. */
struct queue {
    struct cache_query at[WAITING_MAX];
    size_t count;
};

/* Adds the pre-tokens that end where a bit is set; bit 0 is at `base`. The first begins at *start,
 * and *start becomes the end of the last. The queue must have space for 64. */
static void put_in_queue(struct queue *q, const struct token_cache *k, const char *text,
                         size_t bytes, size_t base, uint64_t bits, size_t *start)
{
    enum { READ = 16, MOST = 64 + READ };
    struct cache_query *u = q->at + q->count;
    size_t from = *start;
    for (; bits && bytes - base >= MOST; bits &= bits - 1) {
        size_t at = base + (unsigned)__builtin_ctzll(bits);
        token_cache_prefetch(k, u++, text + from, at - from);
        from = at;
    }
    for (; bits; bits &= bits - 1) {
        size_t at = base + (unsigned)__builtin_ctzll(bits);
        char copy[READ] = "";
        bool is_last = bytes - from < READ;
        if (is_last) memcpy(copy, text + from, bytes - from);
        size_t length = at - from;
        must(!is_last ||
             length <= CACHE_SHORT_BYTES); /* token_cache_prefetch copies so few bytes */
        token_cache_prefetch(k, u++, is_last ? copy : text + from, length);
        from = at;
    }
    q->count = (size_t)(u - q->at);
    *start = from;
}

/* Encodes pre-tokens for a model without byte pieces. A run of unknown characters gives one unknown
 * id, even across pre-tokens, so the cache is not used. */
static int encode_unknowing(const struct tokenizer *t, struct token_buffer *b, const char *text,
                            size_t base, uint64_t bits, size_t *start, bool *after_unknown,
                            struct fail *why)
{
    for (; bits; bits &= bits - 1) {
        size_t at = base + (size_t)__builtin_ctzll(bits);
        if (bpe_merge_pre_token(t, &b->work->cache.merger, b, text + *start, at - *start,
                                after_unknown, why))
            return -1;
        *start = at;
    }
    return 0;
}

/* Encodes the pre-tokens that end where a bit of `starts` is set, 64 bytes at a time. */
static int encode_pre_tokens(const struct tokenizer *t, struct token_buffer *b,
                             const uint64_t *starts, const char *text, size_t bytes,
                             bool has_prefix, struct fail *why)
{
    bool after_unknown = false, is_first = has_prefix, is_known = t->has_bytes || t->is_json;
    struct token_cache *k = &b->work->cache;
    struct queue q;
    size_t start = 0;
    q.count = 0;
    for (size_t word = 0; word <= bytes / 64; word++) {
        uint64_t bits = starts[word];
        if (is_first && bits) {
            start = word * 64 + (size_t)__builtin_ctzll(bits);
            if (encode_first(t, b, text, start, &after_unknown, why)) return -1;
            is_first = false;
        }
        /* The text's first pre-token begins there, and none ends there. */
        if (start / 64 == word) bits &= ~(UINT64_C(1) << (start % 64));
        if (!is_known) {
            if (encode_unknowing(t, b, text, word * 64, bits, &start, &after_unknown, why))
                return -1;
            continue;
        }
        put_in_queue(&q, k, text, bytes, word * 64, bits, &start);
        bool is_full = q.count > WAITING_MAX - 64 || word == bytes / 64;
        if (is_full && token_cache_look_up(t, k, b, q.at, q.count, why)) return -1;
        if (is_full) q.count = 0;
    }
    token_cache_finish(t, k, b);
    return 0;
}

/* Replaces space marks in the text by spaces, because both are the same symbol. */
static int replace_marks(struct token_work *w, const char **text, size_t *bytes, struct fail *why)
{
    const char *from = *text, *end = from + *bytes, *mark;
    if (tokenizer_reserve(&w->text, &w->text_capacity, 0, *bytes, why)) return -1;
    char *to = w->text;
    while ((mark = memmem(from, (size_t)(end - from), SPACE_MARK, SPACE_MARK_BYTES))) {
        memcpy(to, from, (size_t)(mark - from));
        to += mark - from;
        *to++ = ' ';
        from = mark + SPACE_MARK_BYTES;
    }
    memcpy(to, from, (size_t)(end - from));
    *bytes = (size_t)(to - w->text) + (size_t)(end - from);
    *text = w->text;
    return 0;
}

/* Makes the cache. It is small at first, and is made again when many bytes of text were encoded,
 * because clearing the large one takes longer than encoding MANY_BYTES of text. */
static int prepare(const struct tokenizer *t, struct token_buffer *b, size_t bytes,
                   struct fail *why)
{
    enum { MANY_BYTES = 1 << 17 };
    if (!b->work) b->work = calloc(1, sizeof *b->work);
    if (!b->work) return fail(why, "out of memory");
    struct token_work *w = b->work;
    w->encoded += bytes;
    int log = w->encoded > MANY_BYTES ? CACHE_LARGE_LOG : CACHE_SMALL_LOG;
    if (w->owner == t && w->cache.short_log == log) return 0;
    w->owner = NULL;
    if (token_cache_open(&w->cache, log, why)) return -1;
    w->owner = t;
    return 0;
}

int token_buffer_add(struct token_buffer *b, const uint32_t *ids, size_t count, struct fail *why)
{
    if (tokenizer_reserve(&b->ids, &b->capacity, b->count, count, why)) return -1;
    if (count) memcpy(b->ids + b->count, ids, count * sizeof *ids);
    b->count += count;
    return 0;
}

/* Allocates for texts of `bytes` bytes. A space may become the three bytes of its mark. */
static int reserve(struct token_buffer *b, size_t bytes, struct fail *why)
{
    enum { BYTES_MAX = 1 << 29 }; /* because symbols are counted in 31 bits */
    if (bytes > BYTES_MAX)
        return fail_input(why, "the document has %zu bytes, but at most %d are possible", bytes,
                          BYTES_MAX);
    size_t ids = 3 * (bytes + 1) + CACHE_SHORT_IDS + 1; /* token_cache_look_up writes more */
    if (tokenizer_reserve(&b->ids, &b->capacity, b->count, ids, why)) return -1;
    return tokenizer_reserve(&b->work->pre_tokens, &b->work->pre_token_capacity, 0, bytes / 64 + 1,
                             why);
}

/* Encodes with BPE over characters: a pre-token ends at a place that no merge crosses. */
static int encode_characters(const struct tokenizer *t, struct token_buffer *b, const char *text,
                             size_t bytes, bool has_prefix, struct fail *why)
{
    uint32_t before_text = has_prefix ? ' ' : 0;
    uint64_t *starts = b->work->pre_tokens;
    if (!find_pre_tokens(t, starts, text, bytes, before_text)) {
        if (replace_marks(b->work, &text, &bytes, why)) return -1;
        find_pre_tokens(t, starts, text, bytes, before_text);
    }
    starts[bytes / 64] |= UINT64_C(1) << (bytes % 64);
    return encode_pre_tokens(t, b, starts, text, bytes, has_prefix, why);
}

/* Encodes one span of the pipeline. SentencePiece puts a space before a span that follows an added
 * token only if the tokenizer is legacy and the span does not begin with a space. */
static int encode_span(const struct tokenizer *t, struct token_buffer *b, const struct text_span *s,
                       bool is_after, struct fail *why)
{
    const char *text = b->work->pipeline.text + s->at;
    if (s->token != UINT32_MAX) {
        b->ids[b->count++] = s->token;
        return 0;
    }
    if (!t->is_json) {
        bool has_prefix = s->is_first ? tokenizer_puts_space(t, text, s->bytes, is_after)
                                      : t->adds_prefix && t->is_legacy && *text != ' ';
        return encode_characters(t, b, text, s->bytes, has_prefix, why);
    }
    if (t->cuts_pre_tokens) return encode_characters(t, b, text, s->bytes, false, why);
    struct cache_query pre_token;
    struct token_cache *k = &b->work->cache;
    token_cache_prefetch(k, &pre_token, text, s->bytes);
    if (token_cache_look_up(t, k, b, &pre_token, 1, why)) return -1;
    token_cache_finish(t, k, b);
    return 0;
}

static int encode_spans(const struct tokenizer *t, struct token_buffer *b, const char *text,
                        size_t bytes, bool is_after, struct fail *why)
{
    struct pipeline *p = &b->work->pipeline;
    bool is_first = !(is_after && t->is_json);
    if (pipeline_run(t, p, text, bytes, is_first, b->parses_special, why))
        return fail_in(why, t->name);
    for (size_t i = 0; i < p->count; i++)
        if (reserve(b, p->spans[i].bytes, why) || encode_span(t, b, &p->spans[i], is_after, why))
            return -1;
    return 0;
}

/* is_after: a special token precedes the text and is not part of it. */
static int encode(const struct tokenizer *t, struct token_buffer *b, const char *text, size_t bytes,
                  bool is_after, struct fail *why)
{
    int status;
    if (!bytes) return 0;
    if (prepare(t, b, bytes, why) || reserve(b, bytes, why)) return -1;
    if ((t->is_json && !t->splitter) || (t->composes && !unicode_is_composed(text, bytes)) ||
        pipeline_finds(t, text, bytes, b->parses_special)) {
        status = encode_spans(t, b, text, bytes, is_after, why);
    } else if (t->splitter) {
        uint64_t *starts = b->work->pre_tokens;
        if (splitter_cut(t->splitter, &b->work->split, starts, text, bytes, why))
            return fail_in(why, t->name);
        starts[bytes / 64] |= UINT64_C(1) << (bytes % 64);
        status = encode_pre_tokens(t, b, starts, text, bytes, false, why);
    } else {
        bool has_prefix = tokenizer_puts_space(t, text, bytes, is_after);
        status = encode_characters(t, b, text, bytes, has_prefix, why);
    }
    b->dropped += b->work->cache.merger.dropped;
    b->work->cache.merger.dropped = 0;
    if (status) b->work->owner = NULL; /* the cache may have entries without ids */
    return status;
}

int tokenizer_encode(const struct tokenizer *t, struct token_buffer *b, const char *text,
                     size_t bytes, struct fail *why)
{
    return encode(t, b, text, bytes, false, why);
}

int tokenizer_encode_after(const struct tokenizer *t, struct token_buffer *b, const char *text,
                           size_t bytes, struct fail *why)
{
    return encode(t, b, text, bytes, true, why);
}
