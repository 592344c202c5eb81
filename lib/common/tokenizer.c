/* Byte-pair encoding with SentencePiece's order of merges: the pair whose piece has
 * the highest score first, the leftmost of equals.
 *
 * Where no piece has a space mark inside, merges never cross the start of a word, so
 * words are encoded one by one and short ones remembered. */
#include "tokenizer.h"

#include "tokenizer_model.h"
#include "utf8.h"

#include <xxhash.h>

enum {
    CACHE_SLOTS = 1 << 14, /* direct-mapped: a word's hash names its slot */
    CACHE_WORD = 40,       /* longest word remembered, in bytes */
    CACHE_IDS = 12,
};

struct symbol {
    uint32_t start, length; /* length 0: merged into its left neighbour */
    int32_t left, right;    /* -1: none */
};

struct pair {
    float score;
    int32_t left, right;
    uint32_t length; /* of both: a pair whose parts have changed since is stale */
};

struct cached {
    uint8_t length, count;
    char text[CACHE_WORD];
    uint32_t ids[CACHE_IDS];
};

struct token_work {
    char *text; /* with space marks */
    size_t text_room;
    struct symbol *symbols;
    size_t symbol_room;
    struct pair *heap;
    size_t heap_count, heap_room;
    struct cached *cache;
    const struct tokenizer *owner; /* of the cache */
};

void token_buffer_release(struct token_buffer *b)
{
    if (b->work) {
        free(b->work->text);
        free(b->work->symbols);
        free(b->work->heap);
        free(b->work->cache);
    }
    free(b->work);
    free(b->ids);
    *b = (struct token_buffer){ 0 };
}

static int room(void **at, size_t *have, size_t wanted, size_t each, struct fail *why)
{
    if (wanted <= *have) return 0;
    size_t more = wanted > 2 * *have ? wanted : 2 * *have;
    void *grown = realloc(*at, more * each);
    if (!grown) return fail(why, "out of memory: %zu bytes for one document", more * each);
    *at = grown;
    *have = more;
    return 0;
}

static bool before(const struct pair *a, const struct pair *b)
{
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void sift_up(struct pair *heap, size_t i)
{
    struct pair p = heap[i];
    for (; i && before(&p, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = p;
}

static struct pair pop(struct token_work *w)
{
    struct pair top = w->heap[0], last = w->heap[--w->heap_count];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < w->heap_count) {
        if (child + 1 < w->heap_count && before(&w->heap[child + 1], &w->heap[child])) child++;
        if (!before(&w->heap[child], &last)) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

/* The heap never holds more than two pairs for each symbol: room is made beforehand. */
static void offer(const struct tokenizer *t, struct token_work *w, const char *text, int32_t left,
                  int32_t right)
{
    if (left < 0 || right < 0) return;
    uint32_t length = w->symbols[left].length + w->symbols[right].length;
    if (length > TOKENIZER_PIECE_MAX) return;
    uint32_t piece = tokenizer_find(t, text + w->symbols[left].start, length);
    if (piece == UINT32_MAX) return;
    w->heap[w->heap_count] = (struct pair){ t->pieces[piece].score, left, right, length };
    sift_up(w->heap, w->heap_count++);
}

static void merge_all(const struct tokenizer *t, struct token_work *w, const char *text)
{
    while (w->heap_count) {
        struct pair p = pop(w);
        struct symbol *l = &w->symbols[p.left], *r = &w->symbols[p.right];
        if (!l->length || !r->length || l->length + r->length != p.length) continue;
        l->length = p.length;
        r->length = 0;
        l->right = r->right;
        if (r->right >= 0) w->symbols[r->right].left = p.left;
        offer(t, w, text, l->left, p.left);
        offer(t, w, text, p.left, l->right);
    }
}

/* Appends the id of a symbol; unknown ones byte by byte, or as one unknown for a run. */
static void emit(const struct tokenizer *t, struct token_buffer *b, const char *text,
                 uint32_t length, bool *after_unknown)
{
    uint32_t id = tokenizer_find(t, text, length);
    if (id != UINT32_MAX) {
        b->ids[b->count++] = id;
        *after_unknown = false;
    } else if (t->has_bytes) {
        for (uint32_t i = 0; i < length; i++)
            b->ids[b->count++] = t->byte_piece[(unsigned char)text[i]];
    } else {
        if (!*after_unknown) b->ids[b->count++] = t->unknown;
        *after_unknown = true;
    }
}

static int encode_piecewise(const struct tokenizer *t, struct token_buffer *b, const char *text,
                            size_t bytes, bool *after_unknown, struct fail *why)
{
    struct token_work *w = b->work;
    if (room((void **)&w->symbols, &w->symbol_room, bytes, sizeof *w->symbols, why) ||
        room((void **)&w->heap, &w->heap_room, 3 * bytes, sizeof *w->heap, why))
        return -1;
    int32_t n = 0;
    for (size_t at = 0; at < bytes; n++) {
        size_t length = utf8_length((unsigned char)text[at]);
        if (length > bytes - at) length = bytes - at;
        w->symbols[n] = (struct symbol){ (uint32_t)at, (uint32_t)length, n - 1, n + 1 };
        at += length;
    }
    w->symbols[n - 1].right = -1;
    w->heap_count = 0;
    for (int32_t i = 0; i + 1 < n; i++)
        offer(t, w, text, i, i + 1);
    merge_all(t, w, text);
    for (int32_t i = 0; i >= 0; i = w->symbols[i].right)
        emit(t, b, text + w->symbols[i].start, w->symbols[i].length, after_unknown);
    return 0;
}

static int encode_word(const struct tokenizer *t, struct token_buffer *b, const char *text,
                       size_t bytes, bool *after_unknown, struct fail *why)
{
    if (bytes > CACHE_WORD || !t->has_bytes)
        return encode_piecewise(t, b, text, bytes, after_unknown, why);
    struct cached *c = &b->work->cache[XXH3_64bits(text, bytes) % CACHE_SLOTS];
    if (c->length == bytes && !memcmp(c->text, text, bytes)) {
        memcpy(b->ids + b->count, c->ids, c->count * sizeof *c->ids);
        b->count += c->count;
        return 0;
    }
    size_t first = b->count;
    if (encode_piecewise(t, b, text, bytes, after_unknown, why)) return -1;
    size_t count = b->count - first;
    if (count <= CACHE_IDS) {
        c->length = (uint8_t)bytes;
        c->count = (uint8_t)count;
        memcpy(c->text, text, bytes);
        memcpy(c->ids, b->ids + first, count * sizeof *c->ids);
    }
    return 0;
}

static bool is_mark(const char *text, size_t left)
{
    return left >= SPACE_MARK_BYTES && !memcmp(text, SPACE_MARK, SPACE_MARK_BYTES);
}

/* A word: space marks, then everything up to the next one. */
static size_t word_length(const char *text, size_t bytes)
{
    size_t n = 0;
    while (is_mark(text + n, bytes - n))
        n += SPACE_MARK_BYTES;
    while (n < bytes && !is_mark(text + n, bytes - n))
        n++;
    return n;
}

/* Spaces become marks; a mark is put in front. */
static int normalise(const struct tokenizer *t, struct token_work *w, const char *text,
                     size_t bytes, size_t *length, struct fail *why)
{
    if (room((void **)&w->text, &w->text_room, 3 * (bytes + 1), 1, why)) return -1;
    char *to = w->text;
    if (t->adds_prefix) {
        memcpy(to, SPACE_MARK, SPACE_MARK_BYTES);
        to += SPACE_MARK_BYTES;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] != ' ') {
            *to++ = text[i];
            continue;
        }
        memcpy(to, SPACE_MARK, SPACE_MARK_BYTES);
        to += SPACE_MARK_BYTES;
    }
    *length = (size_t)(to - w->text);
    return 0;
}

static int prepare(const struct tokenizer *t, struct token_buffer *b, struct fail *why)
{
    if (!b->work) b->work = calloc(1, sizeof *b->work);
    if (!b->work) return fail(why, "out of memory");
    if (!b->work->cache) b->work->cache = calloc(CACHE_SLOTS, sizeof *b->work->cache);
    if (!b->work->cache) return fail(why, "out of memory");
    if (b->work->owner != t) memset(b->work->cache, 0, CACHE_SLOTS * sizeof *b->work->cache);
    b->work->owner = t;
    return 0;
}

int tokenizer_encode(const struct tokenizer *t, struct token_buffer *b, const char *text,
                     size_t bytes, struct fail *why)
{
    enum { LONGEST = 1 << 29 }; /* symbols are counted in 31 bits */
    size_t length;
    bool after_unknown = false;
    if (!bytes) return 0;
    if (bytes > LONGEST)
        return fail_input(why, "a document of %zu bytes, at most %d", bytes, LONGEST);
    if (prepare(t, b, why) || normalise(t, b->work, text, bytes, &length, why) ||
        room((void **)&b->ids, &b->room, b->count + length, sizeof *b->ids, why))
        return -1;
    const char *at = b->work->text, *end = at + length;
    if (!t->splits_at_spaces) return encode_piecewise(t, b, at, length, &after_unknown, why);
    while (at < end) {
        size_t n = word_length(at, (size_t)(end - at));
        if (encode_word(t, b, at, n, &after_unknown, why)) return -1;
        at += n;
    }
    return 0;
}

char *tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t count, size_t *bytes,
                       struct fail *why)
{
    size_t have = 0;
    char *text = NULL;
    *bytes = 0;
    if (room((void **)&text, &have, 1, 1, why)) return NULL;
    bool at_start = t->adds_prefix;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] >= t->count) {
            fail_input(why, "token %u, vocabulary %u", ids[i], t->count);
            free(text);
            return NULL;
        }
        const struct piece *p = &t->pieces[ids[i]];
        if (room((void **)&text, &have, *bytes + p->length + 8, 1, why)) {
            free(text);
            return NULL;
        }
        if (p->type == PIECE_CONTROL) continue;
        if (p->type == PIECE_UNKNOWN) {
            memcpy(text + *bytes, " \xe2\x81\x87 ", 5);
            *bytes += 5;
        } else if (p->type == PIECE_BYTE) {
            for (int v = 0; v < 256; v++)
                if (t->byte_piece[v] == ids[i]) text[(*bytes)++] = (char)v;
        } else {
            for (uint32_t j = 0; j < p->length;) {
                bool mark = is_mark(p->text + j, p->length - j);
                if (!mark)
                    text[(*bytes)++] = p->text[j];
                else if (!(at_start && j == 0))
                    text[(*bytes)++] = ' ';
                j += mark ? SPACE_MARK_BYTES : 1;
            }
        }
        at_start = false;
    }
    return text;
}
