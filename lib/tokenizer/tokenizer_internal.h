/* tokenizer_internal.h - a parsed tokenizer. Only lib/tokenizer includes it.
 *
 * Words used here: a piece is an entry of the vocabulary. A symbol is the number of a piece, or of
 * a character that occurs only inside longer pieces. A pre-token is a part of the text that is
 * encoded without regard to the rest.
 */
#ifndef LONGQLORA_TOKENIZER_TOKENIZER_INTERNAL_H
#define LONGQLORA_TOKENIZER_TOKENIZER_INTERNAL_H

#include "lib/common/buffer.h"
#include "lib/common/digest.h"
#include "lib/tokenizer/tokenizer.h"

#include <jansson.h>

#define SPACE_MARK "\xe2\x96\x81" /* U+2581, which stands for a space */
#define SYMBOL_NONE UINT32_MAX
enum { MERGE_BITS_LOG = 3 };
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
    const char *text; /* as it is in the model, without a terminating NUL */
    uint32_t length;
    float score;
    enum piece_type type;
};

/* Two adjacent symbols and the piece into which they merge. */
struct merge {
    uint32_t left, right, piece;
    uint32_t order; /* merges with smaller numbers come first; merge_order makes it of the score */
};

/* ---- added tokens, which are found in text before anything else ---- */

struct added_token {
    char *content, *normal; /* normal: the content after the normalizer */
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
};

/* Sorted by content, so that the longest token is found by binary search. */
struct added_index {
    const struct added_token **sorted;
    size_t count;
    bool begins[256]; /* does any token begin with this byte? */
};

struct added_tokens {
    struct added_token *at;
    size_t count, capacity;
    struct added_index raw, normal; /* for searching before and after the normalizer */
    bool has_plain;                 /* some tokens are not special, so they are found in any text */
    bool has_one_first;             /* all tokens begin with the byte `first` */
    unsigned char first;
    uint32_t next_id;
};

/* ---- normalizers and pre-tokenizers ---- */

enum step_kind {
    STEP_COMPOSE,
    STEP_PREPEND,
    STEP_REPLACE,
    STEP_SPLIT,
    STEP_DIGITS,
    STEP_PUNCTUATION,
    STEP_SPACES,
    STEP_WORDS,
    STEP_METASPACE,
    STEP_BYTES,
};
enum split_behavior {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS,
};
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct tokenizer_step {
    enum step_kind kind;
    enum split_behavior behavior;
    enum prepend_scheme scheme; /* Metaspace's prepend_scheme */
    /* invert of Split; split of Metaspace; add_prefix_space of ByteLevel */
    bool inverts, splits, adds_space;
    char *text; /* the text that is inserted */
    /* The text to search for. If it is NULL, the splitter finds the matches. If both are NULL, the
     * step does not search. */
    char *literal;
    struct splitter *splitter;
};
struct tokenizer_steps {
    struct tokenizer_step *at;
    int count;
};

struct tokenizer {
    char *name;  /* for messages */
    char *model; /* the bytes of the file, into which pieces point */
    /* [symbols]: `count` pieces, then the characters that occur in pieces but are no pieces */
    struct piece *pieces;
    uint32_t count, symbols, bos, eos, unknown;
    struct piece *extra; /* pieces of added tokens; their ids start at `count` */
    uint32_t vocab;      /* number of ids: those of `pieces` and those of `extra` */
    uint32_t begin, end; /* the ids at the beginning and end of a text; UINT32_MAX means none */
    uint32_t byte_piece[256];
    bool adds_prefix, has_bytes;
    /* tokenizer.model: a space is also put before text that follows an added token */
    bool is_legacy;
    bool is_bare; /* there is no tokenizer_config.json */
    char *remark; /* what the user should know (tokenizer_remark); NULL if there is nothing */
    struct added_tokens added;
    /* From tokenizer.json. */
    bool is_json;
    json_t *normalizer_json, *pre_tokenizer_json; /* the file's own objects; NULL if it has none */
    bool spells_byte_level;                       /* "ByteLevel" occurs somewhere in the file */
    bool is_byte_level; /* symbols are bytes; otherwise they are characters */
    /* If a whole pre-token is a piece, it becomes that piece without merges. */
    bool ignores_merges;
    bool fuses_unknown, falls_back;
    bool cuts_pre_tokens; /* BPE over characters: text is cut wherever no merge can cross */
    struct tokenizer_steps normalizers, pre_tokenizers;
    /* If splitting by one pattern is the only step, the splitter of that step; otherwise NULL. */
    const struct splitter *splitter;
    bool composes; /* NFC comes before that step */
    struct {
        char mark[5]; /* the character that stands for a space; "" if none */
        int strips;   /* how many spaces decoding removes at the start */
        bool drops_first_marks, joins_with_space;
    } decoder;
    uint32_t *table; /* hash table with open addressing; an entry is symbol + 1 */
    uint32_t table_mask;
    struct merge *merges; /* hash table with open addressing; left is SYMBOL_NONE if empty */
    uint32_t merge_mask, merge_shift;
    /* 2^MERGE_BITS_LOG bits for each entry of `merges`: one is set for each pair that merges. Most
     * pairs do not merge, and these bits show that with a tenth of the memory. */
    uint64_t *merge_bits; /* in the memory block of `merges`, and merge_of_bytes is too */
    /* [256 * 256]: the merge of two bytes, or of two characters of ASCII; only piece and order */
    struct byte_merge {
        uint32_t piece, order; /* both UINT32_MAX if they do not merge */
    } * merge_of_bytes;
    uint64_t piece_collisions, merge_collisions; /* the sums over all entries of each table */
    uint32_t ascii_symbol[128]; /* for SentencePiece, ' ' has the symbol of the space mark */
    /* Does any piece contain these two characters side by side? If none does, no merge crosses the
     * place between them, and the text left and right of it is encoded separately. The index is
     * the left character and 256 times the right one. */
    bool joins_ascii[256 * 128];
    /* One bit for each hash value of a pair. A bit may be set for a pair that no piece has. */
    uint64_t joins_other[JOIN_BITS / 64];
    char digest[DIGEST_TEXT];
};

/* Returns zeroed memory, aligned to 64 bytes, for a table that is read at random places. It is in
 * huge pages if it is large, because otherwise most reads would miss the TLB too. NULL if memory
 * runs out; the caller frees it. */
void *tokenizer_table(size_t bytes);
/* These build the hash tables while a model is read. A model that causes more than 64 collisions
 * for each slot of a table is refused. Such a model was made on purpose, and looking up in its
 * tables would take forever. */
int tokenizer_make_table(struct tokenizer *t, uint64_t pieces, struct fail *why);
int tokenizer_enter(struct tokenizer *t, uint32_t symbol, struct fail *why);
int tokenizer_make_merges(struct tokenizer *t, uint64_t merges, struct fail *why);
int tokenizer_add_merge(struct tokenizer *t, struct merge m, struct fail *why);

/* Reads the pieces and options of a tokenizer.model, whose bytes are t->model; all other fields of
 * *t are zero. Makes no hash tables. Fails if the kind of model is unsupported. */
int tokenizer_read_model(struct tokenizer *t, size_t bytes, struct fail *why);
/* Reads tokenizer.json into a zeroed tokenizer. t->model must have been allocated with `bytes`
 * bytes. */
int tokenizer_parse_json(struct tokenizer *t, const char *text, size_t bytes, struct fail *why);
/* Returns the id of the piece that the file writes in this way, or UINT32_MAX if there is none. */
uint32_t tokenizer_byte_level_id(const struct tokenizer *t, const char *spelling);
/* Writes the characters that stand for the bytes of a piece, at most two bytes for each byte.
 * Returns how many bytes it wrote. */
size_t tokenizer_spell_bytes(const char *text, size_t bytes, char *to);
/* Reads post_processor into t->begin and t->end: the ids before and after a text. */
int tokenizer_read_template(struct tokenizer *t, const json_t *processor, struct fail *why);
/* Reads decoder into t->decoder, and sets the types of byte pieces. */
int tokenizer_read_decoder(struct tokenizer *t, const json_t *decoder, struct fail *why);
/* Reads the files beside `path`: tokenizer_config.json, special_tokens_map.json, added_tokens.json,
 * and for a tokenizer.model the post_processor of tokenizer.json. */
int tokenizer_read_beside(struct tokenizer *t, const char *path, struct fail *why);
/* Like tokenizer_read_beside, for a tokenizer whose only other file is this tokenizer_config.json,
 * which has an added_tokens_decoder. `config` is borrowed. */
int tokenizer_read_config(struct tokenizer *t, json_t *config, struct fail *why);

/* Adds a token, or gives new flags to the token with the same content, as the library tokenizers
 * does. A special token of a tokenizer.json stays special. A new token gets the id of the piece
 * with its text, or else the next free id. `wanted` is the id that the file states, or UINT32_MAX.
 * Fails if the token's id differs from `wanted`. */
int added_put(struct tokenizer *t, const struct added_token *token, uint32_t wanted,
              struct fail *why);
/* Finds an added token by its content; NULL if there is none. */
struct added_token *added_find(const struct tokenizer *t, const char *content);
/* Reads the flags of an object of added_tokens or added_tokens_decoder. token->content points into
 * the object. */
int added_read(struct added_token *token, const json_t *object, struct fail *why);
/* Makes the indexes and the pieces. Call it after the last added_put. */
int added_finish(struct tokenizer *t, struct fail *why);
void added_release(struct added_tokens *added);
/* Returns the longest added token that begins at `text`, or NULL if none begins there. */
const struct added_token *added_at(const struct added_index *index, const char *text, size_t bytes,
                                   bool is_normal);

/* Reads the normalizers and pre-tokenizers into t->normalizers and t->pre_tokenizers. Either may be
 * NULL. */
int steps_read(struct tokenizer *t, const json_t *normalizer, const json_t *pre_tokenizer,
               struct fail *why);
void steps_release(struct tokenizer_steps *steps);

/* Splits text by a pattern. *starts has one bit for each byte, which is set if a pre-token begins
 * there. *work is the working memory of one thread; it is created if it is NULL. */
enum {
    SPLIT_STACK_MAX = 16 << 20, /* bytes for backtracking */
    /* Matching may take SPLIT_STEPS_LEAST steps for each text, and SPLIT_STEPS_EACH for each byte
     * of it. */
    SPLIT_STEPS_LEAST = 1 << 20,
    SPLIT_STEPS_EACH = 64,
};
struct splitter;
struct split_work;
int splitter_open(struct splitter **s, const char *pattern, struct fail *why);
void splitter_close(struct splitter *s);
/* Can the pattern match the empty string? */
bool splitter_matches_nothing(const struct splitter *s);
/* Does each character of any text belong to a match? False if that is not known. */
bool splitter_covers(const struct splitter *s);
/* From now on splitter_cut cuts as if an earlier step had isolated each digit. Returns false, and
 * changes nothing, if that is not possible. */
bool splitter_follow_digits(struct splitter *s);
int splitter_cut(const struct splitter *s, struct split_work **work, uint64_t *starts,
                 const char *text, size_t bytes, struct fail *why);
/* These find matches one after the other. Call split_work_begin for a text, and splitter_begin for
 * the text or a part of it. Then splitter_next finds the first match at or after `from`, and
 * returns 1, or 0 if there is none. All parts of a text share the SPLIT_STEPS_LEAST steps; each
 * part adds the steps for its bytes. */
int split_work_begin(struct split_work **work, struct fail *why);
int splitter_begin(const struct splitter *s, struct split_work *w, const char *text, size_t bytes,
                   struct fail *why);
int splitter_next(const struct splitter *s, struct split_work *w, size_t from, size_t *start,
                  size_t *end, struct fail *why);
void split_work_release(struct split_work *w);

/* A part of a text that a step hands to the next one: text, or a token that was found. */
struct text_span {
    size_t at, bytes; /* position in the pipeline's text */
    uint32_t token;   /* the token's id; UINT32_MAX if it is text */
    bool is_first;    /* it begins where the whole text begins */
};
struct text_range {
    size_t start, end;
    bool is_match;
};
/* Working memory: zero it before the first use, reuse it, release it after the last. */
struct pipeline {
    char *text; /* ends with 16 bytes that may be read */
    /* bytes of text; the text never becomes longer than used_max */
    size_t used, capacity, used_max;
    struct text_span *spans, *next;
    size_t count, span_capacity, next_count, next_capacity;
    struct text_range *ranges;
    size_t range_count, range_capacity;
    uint64_t *starts; /* as splitter_cut makes them */
    size_t start_capacity;
    struct split_work *split;
};
void pipeline_release(struct pipeline *p);
/* Does the text contain an added token? If so, it must go through the pipeline. */
bool pipeline_finds(const struct tokenizer *t, const char *text, size_t bytes, bool parses_special);
/* Cuts a text into spans. A span is a token, or a text that is encoded separately. */
int pipeline_run(const struct tokenizer *t, struct pipeline *p, const char *text, size_t bytes,
                 bool is_first, bool parses_special, struct fail *why);
/* Returns the text after the normalizers; the caller frees it. */
char *pipeline_normalize(const struct tokenizer *t, const char *text, struct fail *why);

/* Returns the symbol with this text, in which space marks stand for spaces; SYMBOL_NONE if there is
 * none. */
uint32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t length);

/* The byte that the piece "<0xNN>" names; -1 if it is not spelled so with two of the digits. */
int piece_byte(const struct piece *p, const char *digits);

static inline const struct piece *tokenizer_piece(const struct tokenizer *t, uint32_t id)
{
    return id < t->count ? &t->pieces[id] : &t->extra[id - t->count];
}

static inline uint32_t join_hash(uint32_t a, uint32_t b)
{
    return (a * 0x9e3779b1u ^ b * 0x85ebca77u) >> (32 - JOIN_LOG);
}

static inline bool joins(const struct tokenizer *t, uint32_t a, uint32_t b)
{
    if ((a | b) < 128) return t->joins_ascii[a | b << 8];
    uint32_t h = join_hash(a, b);
    return t->joins_other[h / 64] >> (h % 64) & 1;
}

static inline uint64_t merge_hash(uint32_t left, uint32_t right)
{
    return ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
}

/* Returns a number that is smaller for a higher score. */
static inline uint32_t merge_order(float score)
{
    uint32_t bits;
    score += 0.0f; /* -0 becomes 0 */
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : INT32_MAX - bits;
}

/* Compares two struct merge for qsort: merges with smaller order come first. */
static inline int merge_compare(const void *a, const void *b)
{
    const struct merge *x = a, *y = b;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Can the pair with this hash merge? If so, its entry is prefetched. */
static inline bool merge_may_be(const struct tokenizer *t, uint64_t hash)
{
    uint64_t bit = hash >> (t->merge_shift - MERGE_BITS_LOG);
    __builtin_prefetch(&t->merges[hash >> t->merge_shift]);
    return t->merge_bits[bit / 64] >> (bit % 64) & 1;
}

/* Finds the merge of two symbols in the table; NULL if it is not there. */
static inline const struct merge *merge_in_table(const struct tokenizer *t, uint64_t hash,
                                                 uint32_t left, uint32_t right)
{
    for (uint32_t at = (uint32_t)(hash >> t->merge_shift);; at = (at + 1) & t->merge_mask) {
        const struct merge *m = &t->merges[at];
        if (m->left == SYMBOL_NONE) return NULL;
        if (m->left == left && m->right == right) return m;
    }
}

/* The merge of two symbols; NULL if they do not merge. */
static inline const struct merge *find_merge(const struct tokenizer *t, uint32_t left,
                                             uint32_t right)
{
    uint64_t hash = merge_hash(left, right);
    return merge_may_be(t, hash) ? merge_in_table(t, hash, left, right) : NULL;
}

/* Working memory of bpe_merge_pre_token. Zero it before use; release it afterwards. */
struct bpe_merger {
    struct symbol *symbols;
    uint32_t *starts;
    size_t symbol_capacity, start_capacity;
    struct pair *heap;
    size_t heap_count, heap_capacity;
    uint64_t dropped; /* how many characters and bytes gave no id */
};
void bpe_merger_release(struct bpe_merger *w);

/* Appends the ids of a pre-token to *b, which must have space for three ids per byte.
 * *after_unknown says whether the last symbol was unknown, because a model without byte pieces
 * gives one unknown id for a run of unknown symbols. */
int bpe_merge_pre_token(const struct tokenizer *t, struct bpe_merger *w, struct token_buffer *b,
                        const char *text, size_t bytes, bool *after_unknown, struct fail *why);

/* A pre-token of at most BPE_SHORT_MAX bytes, and its ids. */
enum { BPE_SHORT_MAX = 32, BPE_GROUP = 32 };
struct bpe_pre_token {
    const char *text;
    size_t bytes, count; /* of the text; of ids */
    uint32_t ids[3 * BPE_SHORT_MAX];
    uint64_t dropped; /* how many characters or bytes gave no id */
};
/* Finds the ids of at most BPE_GROUP pre-tokens. It merges all of them in turns, so that the CPU
 * fetches what one needs from the tables while it works on the others. What a pre-token drops is
 * counted in it, and not in `w`. Only for models that have byte pieces, or come from
 * tokenizer.json. */
void bpe_merge_group(const struct tokenizer *t, struct bpe_merger *w, struct bpe_pre_token *group,
                     int count);

/* Like buffer_reserve, for memory that one document needs. The error message says how many bytes
 * are needed. */
#define tokenizer_reserve(array, capacity, used, more, why)                                        \
    (buffer_reserve((array), (capacity), (used), (more), (why))                                    \
         ? fail((why), "out of memory: %zu bytes for one document",                                \
                ((used) + (more)) * sizeof **(array))                                              \
         : 0)

#endif
