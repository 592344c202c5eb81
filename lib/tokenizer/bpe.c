/* bpe.c - byte-pair encoding in SentencePiece's order of merges: first the pair whose piece has the
 * highest score; of pairs with equal scores, first the leftmost. Symbols are numbers, and a hash
 * table gives the merge of two symbols. */
#include "lib/common/utf8.h"
#include "lib/tokenizer/tokenizer_internal.h"

enum {
    SHORT_MAX = BPE_SHORT_MAX
}; /* a pre-token of at most this many bytes is merged without a heap */

struct symbol {
    /* SYMBOL_NONE: no piece is this character; GONE: the symbol was merged into its left
     * neighbour */
    uint32_t id;
    int32_t left, right; /* neighbours; -1 if none */
};
enum { GONE = 0xfffffffe };

struct pair {
    uint32_t order;
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

/* ---- short pre-tokens: all pairs are compared to find the best one ---- */

enum { STRIDE = 4 }; /* number of pairs compared at once */

/* The symbols of a pre-token, and the piece that each makes with the next one. A symbol that was
 * merged into its left neighbour keeps its place but has no pair. */
struct short_pre_token {
    uint32_t id[SHORT_MAX], piece[SHORT_MAX];
    uint64_t order[SHORT_MAX]; /* the smallest is merged first; NO_PAIR if the symbol makes none */
    /* next: the count of symbols if there is none */
    int8_t next[SHORT_MAX + 1], previous[SHORT_MAX + 1];
    uint8_t start[SHORT_MAX + 1]; /* where the symbol begins in the text */
    int count;
    /* The symbol that was merged last, whose pairs are not known yet; -1 if none. Its pairs with
     * the symbols on both sides, as hashes with the lowest bit set; 0 if they do not merge. */
    int merged;
    uint64_t with_left, with_right;
};
#define NO_PAIR UINT64_MAX
enum { PLACE_BITS = 32 }; /* the place of the pair; the order of its merge is above */

/* The pair at a place merges in this order; UINT32_MAX if it does not merge. Of equal orders, the
 * left pair comes first. */
static inline void set_pair(struct short_pre_token *f, int place, uint32_t piece, uint32_t order)
{
    f->order[place] = (uint64_t)order << PLACE_BITS | (uint32_t)place;
    f->piece[place] = piece;
}

/* Looks a pair up, unless the hash is 0. */
static inline void find_pair(const struct tokenizer *t, struct short_pre_token *f, int left,
                             int right, uint64_t hash)
{
    const struct merge *m = hash ? merge_in_table(t, hash, f->id[left], f->id[right]) : NULL;
    f->order[left] = NO_PAIR;
    if (m) set_pair(f, left, m->piece, m->order);
}

/* Prepares the symbols for merging. `text` has their bytes if each symbol is a byte, or a character
 * of ASCII; otherwise it is NULL. */
static void begin_short(const struct tokenizer *t, struct short_pre_token *f, const char *text)
{
    static const int8_t numbers[SHORT_MAX + 2] = { -1, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                                   11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
                                                   23, 24, 25, 26, 27, 28, 29, 30, 31, 32 };
    int n = f->count;
    memcpy(f->next, numbers + 2, SHORT_MAX);
    memcpy(f->previous, numbers, SHORT_MAX + 1);
    for (int i = 0; i + 1 < n; i++) {
        if (text) {
            unsigned pair = (unsigned)(unsigned char)text[i] << 8 | (unsigned char)text[i + 1];
            set_pair(f, i, t->merge_of_bytes[pair].piece, t->merge_of_bytes[pair].order);
        } else {
            const struct merge *m = find_merge(t, f->id[i], f->id[i + 1]);
            set_pair(f, i, m ? m->piece : SYMBOL_NONE, m ? m->order : UINT32_MAX);
        }
    }
    for (int i = n ? n - 1 : 0; i < n || i % STRIDE; i++)
        f->order[i] = NO_PAIR;
    f->merged = -1;
}

/* Merges the best pair. Returns false if there is none. The pairs of the new symbol are looked up
 * by the next call, and until then their entries are fetched. */
static inline bool merge_best(const struct tokenizer *t, struct short_pre_token *f)
{
    int n = f->count, place = f->merged;
    if (place >= 0) {
        find_pair(t, f, place, f->next[place], f->with_right);
        if (place) find_pair(t, f, f->previous[place], place, f->with_left);
    }
    uint64_t best = NO_PAIR;
    for (int i = 0; i < n; i += STRIDE)
        for (int k = 0; k < STRIDE; k++)
            best = f->order[i + k] < best ? f->order[i + k] : best;
    if (best >> PLACE_BITS == UINT32_MAX) return false;
    f->merged = place = (int)(uint32_t)best;
    int gone = f->next[place], right = f->next[gone];
    f->id[place] = f->piece[place];
    f->next[place] = (int8_t)right;
    f->previous[right] = (int8_t)place;
    f->order[gone] = NO_PAIR;
    uint64_t hash = right < n ? merge_hash(f->id[place], f->id[right]) : 0;
    f->with_right = right < n && merge_may_be(t, hash) ? hash | 1 : 0;
    if (!place) return true;
    hash = merge_hash(f->id[f->previous[place]], f->id[place]);
    f->with_left = merge_may_be(t, hash) ? hash | 1 : 0;
    return true;
}

/* Reads the symbols of a pre-token of at most SHORT_MAX bytes. */
static void read_short(const struct tokenizer *t, struct bpe_merger *w, struct short_pre_token *f,
                       const char *text, size_t bytes)
{
    int n = 0;
    bool is_bytes = t->is_byte_level && t->has_bytes;
    if (t->is_json) {
        for (; is_bytes && n < (int)bytes; n++)
            f->id[n] = t->byte_piece[(unsigned char)text[n]];
        if (!is_bytes) n = (int)read_symbols(t, w, text, bytes, f->id);
    } else {
        for (size_t at = 0, length; at < bytes; at += length, n++) {
            f->id[n] = symbol_at(t, text + at, &length);
            f->start[n] = (uint8_t)at;
        }
        f->start[n] = (uint8_t)bytes;
        is_bytes = n == (int)bytes;
    }
    f->count = n;
    begin_short(t, f, is_bytes ? text : NULL);
}

/* Appends the ids of the symbols that are left. */
static void emit_short(const struct tokenizer *t, const struct short_pre_token *f,
                       struct token_buffer *b, const char *text, bool *after_unknown)
{
    for (int i = 0, next; i < f->count; i = next) {
        next = f->next[i];
        if (t->is_json)
            b->ids[b->count++] = f->id[i];
        else
            emit(t, b, f->id[i], text + f->start[i], f->start[next] - f->start[i], after_unknown);
    }
}

void bpe_merge_group(const struct tokenizer *t, struct bpe_merger *w, struct bpe_pre_token *group,
                     int count)
{
    struct short_pre_token short_pre_tokens[BPE_GROUP];
    int at_work[BPE_GROUP], left = 0;
    for (int i = 0; i < count; i++) {
        struct bpe_pre_token *s = &group[i];
        uint64_t dropped = w->dropped;
        s->ids[0] = t->ignores_merges ? tokenizer_find(t, s->text, s->bytes) : SYMBOL_NONE;
        s->count = s->ids[0] != SYMBOL_NONE;
        s->dropped = 0;
        if (s->count) continue;
        read_short(t, w, &short_pre_tokens[i], s->text, s->bytes);
        s->dropped = w->dropped - dropped;
        w->dropped = dropped;
        at_work[left++] = i;
    }
    while (left)
        for (int k = 0; k < left;) {
            int i = at_work[k];
            bool after_unknown = false;
            struct token_buffer b = { .ids = group[i].ids };
            if (merge_best(t, &short_pre_tokens[i])) {
                k++;
                continue;
            }
            emit_short(t, &short_pre_tokens[i], &b, group[i].text, &after_unknown);
            group[i].count = b.count;
            at_work[k] = at_work[--left];
        }
}

/* ---- long pre-tokens: a heap of pairs over a linked list of symbols ---- */

static bool before(const struct pair *a, const struct pair *b)
{
    return a->order < b->order || (a->order == b->order && a->left < b->left);
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
static void push_pair(const struct tokenizer *t, struct bpe_merger *w, int32_t left)
{
    int32_t right = left < 0 ? -1 : w->symbols[left].right;
    if (right < 0) return;
    const struct merge *m = find_merge(t, w->symbols[left].id, w->symbols[right].id);
    if (!m) return;
    w->heap[w->heap_count] = (struct pair){ m->order, left, m->piece };
    sift_up(w->heap, w->heap_count++);
}

static void merge_long(const struct tokenizer *t, struct bpe_merger *w)
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
        push_pair(t, w, l->left);
        push_pair(t, w, p.left);
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

static int encode_long(const struct tokenizer *t, struct bpe_merger *w, struct token_buffer *b,
                       const char *text, size_t bytes, bool *after_unknown, struct fail *why)
{
    if (tokenizer_reserve(&w->starts, &w->start_capacity, 0, bytes + 1, why) ||
        tokenizer_reserve(&w->symbols, &w->symbol_capacity, 0, bytes + 1, why) ||
        tokenizer_reserve(&w->heap, &w->heap_capacity, 0, 2 * bytes + 2, why))
        return -1;
    int32_t n = list_symbols(t, w, text, bytes);
    w->heap_count = 0;
    for (int32_t i = 0; i + 1 < n; i++)
        push_pair(t, w, i);
    merge_long(t, w);
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
    if (bytes > SHORT_MAX) return encode_long(t, w, b, text, bytes, after_unknown, why);
    struct short_pre_token f;
    read_short(t, w, &f, text, bytes);
    while (merge_best(t, &f))
        ;
    emit_short(t, &f, b, text, after_unknown);
    return 0;
}
