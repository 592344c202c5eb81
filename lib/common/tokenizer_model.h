/* tokenizer_model.h - a tokenizer, parsed; for tokenizer*.c only. */
#ifndef LONGQLORA_TOKENIZER_MODEL_H
#define LONGQLORA_TOKENIZER_MODEL_H

#include "stream.h"
#include "tokenizer.h"

#define SPACE_MARK "\xe2\x96\x81" /* U+2581 */
#define SYMBOL_NONE UINT32_MAX
enum { SPACE_MARK_BYTES = 3, SPACE_MARK_CODE = 0x2581, JOIN_LOG = 17, JOIN_BITS = 1 << JOIN_LOG };

enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER,
    PIECE_UNUSED,
    PIECE_BYTE
};

struct piece {
    const char *text; /* in the model's bytes */
    uint32_t length;
    float score;
    enum piece_type type;
};

/* Two symbols side by side and the piece they make. */
struct merge {
    uint32_t left, right, piece;
    float score;
};

/* What a SentencePiece model's dummy prefix is behind a special token. */
enum prefix_after {
    PREFIX_EACH,     /* a space before each text between two of them */
    PREFIX_UNSPACED, /* the same, but where there is one already */
    PREFIX_NONE,     /* none but at the beginning */
};

struct tokenizer {
    char *name;           /* for messages */
    char *model;          /* the file */
    struct piece *pieces; /* then characters that only longer pieces have */
    uint32_t count, symbols, bos, eos, unknown;
    uint32_t byte_piece[256];
    bool adds_prefix, has_bytes;
    enum prefix_after prefix_after; /* where adds_prefix */
    /* of tokenizer.json: symbols are bytes, a pattern cuts units */
    bool is_byte_level, ignores_merges; /* a unit that is a piece is one, whatever merges */
    struct splitter *splitter;
    uint32_t *table; /* open addressing: number + 1 */
    uint32_t table_mask;
    struct merge *merges; /* open addressing; left SYMBOL_NONE: empty */
    uint32_t merge_mask, merge_shift;
    uint64_t collisions;        /* of all that were entered in a table */
    uint32_t ascii_symbol[128]; /* ' ' is the space mark */
    /* Does some piece have these two characters side by side? If not, no merge crosses the
     * place between them, and what lies left and right is encoded alone. */
    bool joins_ascii[128 * 128];
    uint64_t joins_other[JOIN_BITS / 64]; /* by hash: may say yes for no */
    char digest[STREAM_DIGEST_TEXT];
};

/* Tables that are filled while a model is read. One that was made to collide would be looked up
 * forever: as many collisions as 64 for each place of a table are refused. */
int tokenizer_make_table(struct tokenizer *t, uint64_t pieces, struct fail *why);
int tokenizer_enter(struct tokenizer *t, uint32_t symbol, struct fail *why);
int tokenizer_make_merges(struct tokenizer *t, uint64_t merges, struct fail *why);
int tokenizer_add_merge(struct tokenizer *t, struct merge m, struct fail *why);

/* tokenizer.json, into a zeroed tokenizer whose model has room for its bytes. */
int tokenizer_take_json(struct tokenizer *t, const char *text, size_t bytes, struct fail *why);
/* prefix_after of a SentencePiece model, by the tokenizer_config.json beside it. */
int tokenizer_read_prefix(struct tokenizer *t, const char *path, struct fail *why);
/* BOS and EOS, by the tokenizer_config.json beside it. */
int tokenizer_read_specials(struct tokenizer *t, const char *path, struct fail *why);

/* Where units begin by a pattern: a bit for each byte. A thread's work is made when NULL. */
enum {
    SPLIT_PATTERN_MAX = 16 << 10,
    SPLIT_STACK_MAX = 16 << 20, /* bytes that it may take for what it may come back to */
    /* It may take so many steps for a text, and so many for each byte. */
    SPLIT_STEPS_LEAST = 1 << 20,
    SPLIT_STEPS_EACH = 64,
};
struct splitter;
struct split_work;
int splitter_open(struct splitter **s, const char *pattern, struct fail *why);
void splitter_close(struct splitter *s);
int splitter_cut(const struct splitter *s, struct split_work **work, uint64_t *starts,
                 const char *text, size_t bytes, struct fail *why);
void split_work_release(struct split_work *w);

/* The symbol with that text (space marks in it); SYMBOL_NONE if there is none. */
uint32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t length);

static inline uint32_t join_hash(uint32_t a, uint32_t b)
{
    return (a * 0x9e3779b1u ^ b * 0x85ebca77u) >> (32 - JOIN_LOG);
}

static inline bool joins(const struct tokenizer *t, uint32_t a, uint32_t b)
{
    if ((a | b) < 128) return t->joins_ascii[a << 7 | b];
    uint32_t h = join_hash(a, b);
    return t->joins_other[h / 64] >> (h % 64) & 1;
}

/* What two symbols become; NULL if they do not merge. */
static inline const struct merge *find_merge(const struct tokenizer *t, uint32_t left,
                                             uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    for (uint32_t at = (uint32_t)(key >> t->merge_shift);; at = (at + 1) & t->merge_mask) {
        const struct merge *m = &t->merges[at];
        if (m->left == SYMBOL_NONE) return NULL;
        if (m->left == left && m->right == right) return m;
    }
}

/* Working memory of merge_unit; zero it, release it. */
struct merger {
    struct symbol *symbols;
    uint32_t *starts;
    size_t symbol_room, start_room;
    struct pair *heap;
    size_t heap_count, heap_room;
};
void merger_release(struct merger *w);

/* Appends the ids of a unit to b, which has room for three a byte. after_unknown: was the
 * last symbol an unknown one? A model without byte pieces makes a run of them one. */
int merge_unit(const struct tokenizer *t, struct merger *w, struct token_buffer *b,
               const char *text, size_t bytes, bool *after_unknown, struct fail *why);

int tokenizer_room(void **at, size_t *have, size_t wanted, size_t each, struct fail *why);

#endif
