/* bpe.c - byte-pair encoding in SentencePiece's order of merges: first the pair whose piece has the
 * highest score; of pairs with equal scores, first the leftmost. Symbols are numbers, and a hash
 * table gives the merge of two symbols. */
#include "lib/common/utf8.h"
#include "lib/tokenizer/tokenizer_internal.h"

enum { FEW = 32 }; /* a pre-token of at most this many bytes is merged without a heap */

struct symbol {
    /* SYMBOL_NONE: no piece is this character; GONE: the symbol was merged into its left
     * neighbour */
    uint32_t id;
    int32_t left, right; /* neighbours; -1 if none */
};
enum { GONE = 0xfffffffe };

struct pair {
    float score;
    int32_t left;
    /* The piece that the pair made when it was pushed. If the pair makes another piece now, the
     * entry is outdated. */
    uint32_t piece;
};

void bpe_merger_release(struct bpe_merger *w)
{
    free(w->symbols);
    free(w->starts);
    free(w->heap);
    *w = (struct bpe_merger){ 0 };
}

static uint32_t symbol_at(const struct tokenizer *t, const char *text, size_t *bytes)
{
    unsigned char c = (unsigned char)*text;
    if (t->is_byte_level) {
        *bytes = 1;
        return t->byte_piece[c];
    }
    *bytes = utf8_length(c);
    return c < 128 ? t->ascii_symbol[c] : tokenizer_find(t, text, *bytes);
}

/* Appends the id of a symbol. An unknown symbol gives the ids of its bytes; in a model without byte
 * pieces, a run of unknown symbols gives one unknown id. */
static void emit(const struct tokenizer *t, struct token_buffer *b, uint32_t symbol,
                 const char *text, size_t bytes, bool *after_unknown)
{
    if (symbol < t->count) {
        b->ids[b->count++] = symbol;
        *after_unknown = false;
    } else if (t->has_bytes) {
        if (*text == ' ') {
            text = SPACE_MARK;
            bytes = SPACE_MARK_BYTES;
        }
        for (size_t i = 0; i < bytes; i++)
            b->ids[b->count++] = t->byte_piece[(unsigned char)text[i]];
    } else {
        if (!*after_unknown) b->ids[b->count++] = t->unknown;
        *after_unknown = true;
    }
}

/* ---- tokenizer.json: unknown characters are replaced before anything is merged ---- */

/* Handles unknown characters as the library tokenizers does (models/bpe/model.rs). The unknown id
 * of a character is written before the next known character, or at the end; until then `waits` is
 * true. Without fuses_unknown, the next unknown character also writes it. The bytes of byte
 * fallback do not wait, so they may come before the id of an earlier unknown character. */
struct unknowns {
    bool waits;
    uint64_t dropped;
};

static size_t put_unknown(const struct tokenizer *t, struct unknowns *u, uint32_t *ids, size_t n,
                          const char *text, size_t bytes)
{
    bool has_all = t->falls_back && !t->is_byte_level;
    for (size_t i = 0; i < bytes && has_all; i++)
        has_all = t->byte_piece[(unsigned char)text[i]] != SYMBOL_NONE;
    if (has_all) {
        for (size_t i = 0; i < bytes; i++)
            ids[n++] = t->byte_piece[(unsigned char)text[i]];
    } else if (t->unknown == UINT32_MAX) {
        u->dropped++;
    } else {
        if (u->waits && !t->fuses_unknown) ids[n++] = t->unknown;
        u->waits = true;
    }
    return n;
}

/* Stores the symbols of a pre-token in ids and returns how many; at most one per byte. */
static size_t read_symbols(const struct tokenizer *t, struct bpe_merger *w, const char *text,
                           size_t bytes, uint32_t *ids)
{
    struct unknowns u = { 0 };
    size_t n = 0;
    for (size_t at = 0, length; at < bytes; at += length) {
        uint32_t id = symbol_at(t, text + at, &length);
        if (id == SYMBOL_NONE) {
            n = put_unknown(t, &u, ids, n, text + at, length);
            continue;
        }
        if (u.waits) ids[n++] = t->unknown;
        u.waits = false;
        ids[n++] = id;
    }
    if (u.waits) ids[n++] = t->unknown;
    w->dropped += u.dropped;
    return n;
}

/* ---- short pre-tokens: compares all pairs to find the best one ---- */

/* The symbols of a pre-token, and the piece that each makes with the next one. A symbol that was
 * merged into its left neighbour keeps its place but has no pair. */
struct few {
    uint32_t id[FEW], piece[FEW];
    uint64_t order[FEW]; /* the smallest is merged first; NO_PAIR if the symbol makes none */
    int8_t next[FEW + 1], previous[FEW + 1]; /* next: the count of symbols if there is none */
    uint8_t start[FEW + 1];                  /* where the symbol begins in the text */
};
#define NO_PAIR UINT64_MAX

/* Returns a number that is smaller for a higher score; of equal scores, for the left pair. */
static inline uint64_t order_of(float score, int place)
{
    uint32_t bits;
    score += 0.0f; /* -0 becomes 0 */
    memcpy(&bits, &score, sizeof bits);
    return (uint64_t)(bits >> 31 ? bits : INT32_MAX - bits) << 32 | (uint32_t)place;
}

static inline void set_pair(struct few *f, int place, const struct merge *m)
{
    f->order[place] = m ? order_of(m->score, place) : NO_PAIR;
    if (m) f->piece[place] = m->piece;
}

/* Merges n symbols. `text` has their bytes if each symbol is a byte, or a character of ASCII;
 * otherwise it is NULL. */
static void merge_all_few(const struct tokenizer *t, struct few *f, int n, const char *text)
{
    for (int i = 0; i < n; i++) {
        f->next[i] = (int8_t)(i + 1);
        f->previous[i + 1] = (int8_t)i;
    }
    for (int i = 0; i + 1 < n; i++)
        set_pair(f, i,
                 text ? find_merge_of_bytes(t, (unsigned char)text[i], (unsigned char)text[i + 1])
                      : find_merge(t, f->id[i], f->id[i + 1]));
    if (n) f->order[n - 1] = NO_PAIR;
    for (;;) {
        uint64_t best = NO_PAIR;
        for (int i = 0; i < n; i++)
            best = f->order[i] < best ? f->order[i] : best;
        if (best == NO_PAIR) return;
        int place = (int)(uint32_t)best, gone = f->next[place], right = f->next[gone];
        f->id[place] = f->piece[place];
        f->next[place] = (int8_t)right;
        f->previous[right] = (int8_t)place;
        f->order[gone] = NO_PAIR;
        set_pair(f, place, right < n ? find_merge(t, f->id[place], f->id[right]) : NULL);
        if (!place) continue;
        int left = f->previous[place];
        set_pair(f, left, find_merge(t, f->id[left], f->id[place]));
    }
}

static void merge_few(const struct tokenizer *t, struct bpe_merger *w, struct token_buffer *b,
                      const char *text, size_t bytes, bool *after_unknown)
{
    struct few f;
    int n = 0;
    if (t->is_json) {
        bool has_all = t->is_byte_level && t->has_bytes;
        for (; has_all && n < (int)bytes; n++)
            f.id[n] = t->byte_piece[(unsigned char)text[n]];
        if (!has_all) n = (int)read_symbols(t, w, text, bytes, f.id);
        merge_all_few(t, &f, n, has_all ? text : NULL);
        for (int i = 0; i < n; i = f.next[i])
            b->ids[b->count++] = f.id[i];
        return;
    }
    for (size_t at = 0, length; at < bytes; at += length, n++) {
        f.id[n] = symbol_at(t, text + at, &length);
        f.start[n] = (uint8_t)at;
    }
    f.start[n] = (uint8_t)bytes;
    merge_all_few(t, &f, n, n == (int)bytes ? text : NULL);
    for (int i = 0, next; i < n; i = next) {
        next = f.next[i];
        emit(t, b, f.id[i], text + f.start[i], f.start[next] - f.start[i], after_unknown);
    }
}

/* ---- long pre-tokens: a heap of pairs over a linked list of symbols ---- */

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

static struct pair pop(struct bpe_merger *w)
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

/* Pushes the pair that begins at symbol `left`. The heap was allocated beforehand for two pairs per
 * symbol, which is its maximum. */
static void offer(const struct tokenizer *t, struct bpe_merger *w, int32_t left)
{
    int32_t right = left < 0 ? -1 : w->symbols[left].right;
    if (right < 0) return;
    const struct merge *m = find_merge(t, w->symbols[left].id, w->symbols[right].id);
    if (!m) return;
    w->heap[w->heap_count] = (struct pair){ m->score, left, m->piece };
    sift_up(w->heap, w->heap_count++);
}

static void merge_many(const struct tokenizer *t, struct bpe_merger *w)
{
    while (w->heap_count) {
        struct pair p = pop(w);
        struct symbol *l = &w->symbols[p.left];
        if (l->id >= GONE || l->right < 0) continue;
        struct symbol *r = &w->symbols[l->right];
        const struct merge *m = find_merge(t, l->id, r->id);
        if (!m || m->piece != p.piece) continue;
        l->id = p.piece;
        l->right = r->right;
        r->id = GONE;
        if (r->right >= 0) w->symbols[r->right].left = p.left;
        offer(t, w, l->left);
        offer(t, w, p.left);
    }
}

/* Makes the linked list of a pre-token's symbols. Returns how many there are. */
static int32_t list_symbols(const struct tokenizer *t, struct bpe_merger *w, const char *text,
                            size_t bytes)
{
    int32_t n = 0;
    if (t->is_json) {
        n = (int32_t)read_symbols(t, w, text, bytes, w->starts);
        for (int32_t i = 0; i < n; i++)
            w->symbols[i] = (struct symbol){ w->starts[i], i - 1, i + 1 };
    } else {
        for (size_t at = 0, length; at < bytes; at += length, n++) {
            w->symbols[n] = (struct symbol){ symbol_at(t, text + at, &length), n - 1, n + 1 };
            w->starts[n] = (uint32_t)at;
        }
    }
    if (n) w->symbols[n - 1].right = -1;
    return n;
}

static int encode_many(const struct tokenizer *t, struct bpe_merger *w, struct token_buffer *b,
                       const char *text, size_t bytes, bool *after_unknown, struct fail *why)
{
    if (tokenizer_reserve(&w->starts, &w->start_capacity, 0, bytes + 1, why) ||
        tokenizer_reserve(&w->symbols, &w->symbol_capacity, 0, bytes + 1, why) ||
        tokenizer_reserve(&w->heap, &w->heap_capacity, 0, 2 * bytes + 2, why))
        return -1;
    int32_t n = list_symbols(t, w, text, bytes);
    w->heap_count = 0;
    for (int32_t i = 0; i + 1 < n; i++)
        offer(t, w, i);
    merge_many(t, w);
    for (int32_t i = n ? 0 : -1, next; i >= 0; i = next) {
        next = w->symbols[i].right;
        size_t end = next < 0 ? bytes : w->starts[next];
        if (t->is_json)
            b->ids[b->count++] = w->symbols[i].id;
        else
            emit(t, b, w->symbols[i].id, text + w->starts[i], end - w->starts[i], after_unknown);
    }
    return 0;
}

int bpe_merge_pre_token(const struct tokenizer *t, struct bpe_merger *w, struct token_buffer *b,
                        const char *text, size_t bytes, bool *after_unknown, struct fail *why)
{
    if (t->ignores_merges) {
        uint32_t whole = tokenizer_find(t, text, bytes);
        if (whole != SYMBOL_NONE) {
            b->ids[b->count++] = whole;
            return 0;
        }
    }
    if (bytes > FEW) return encode_many(t, w, b, text, bytes, after_unknown, why);
    merge_few(t, w, b, text, bytes, after_unknown);
    return 0;
}
