/* tokenizer_internal.h - a tokenizer, parsed; for lib/tokenizer only. */
#ifndef LONGQLORA_TOKENIZER_TOKENIZER_INTERNAL_H
#define LONGQLORA_TOKENIZER_TOKENIZER_INTERNAL_H

#include "lib/common/digest.h"
#include "lib/tokenizer/tokenizer.h"

#include <jansson.h>

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

/* Two symbols side by side and the piece that they make. */
struct merge {
    uint32_t left, right, piece;
    float score;
};

/* ---- tokens that are found in text before anything else is done ---- */

struct added_token {
    char *content, *normal; /* normal: what is looked for in normalized text */
    uint32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
};

/* Sorted by what is looked for, so that the longest is found by halving. */
struct added_index {
    const struct added_token **sorted;
    size_t count;
    bool begins[256]; /* does one begin with this byte? */
};

struct added_tokens {
    struct added_token *at;
    size_t count, capacity;
    struct added_index raw, normal; /* looked for before and after the normalizer */
    bool has_plain;                 /* some are not special: they are found in any text */
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
    enum prepend_scheme scheme;       /* Metaspace's */
    bool inverts, splits, adds_space; /* Split's, Metaspace's, ByteLevel's */
    char *text;                       /* that is put in */
    char *literal; /* that is looked for; NULL: by the splitter, if there is one */
    struct splitter *splitter;
};
struct tokenizer_steps {
    struct tokenizer_step *at;
    int count;
};

struct tokenizer {
    char *name;           /* for messages */
    char *model;          /* the file */
    struct piece *pieces; /* then characters that only longer pieces have */
    uint32_t count, symbols, bos, eos, unknown;
    struct piece *extra; /* of added tokens, from number `count` on */
    uint32_t vocab;      /* with them */
    uint32_t begin, end; /* what a text begins and ends with; UINT32_MAX: nothing */
    uint32_t byte_piece[256];
    bool adds_prefix, has_bytes;
    bool is_legacy; /* of tokenizer.model: a prefix behind each added token, too */
    bool is_bare;   /* no tokenizer_config.json says anything */
    char *remark;   /* what a user should know; NULL: nothing */
    struct added_tokens added;
    /* of tokenizer.json */
    bool is_json;
    json_t *normalizer_json, *cutter_json; /* as the file has them; NULL: it has none */
    bool spells_byte_level;                /* "ByteLevel" stands in it somewhere */
    bool is_byte_level;                    /* symbols are bytes; otherwise characters */
    bool ignores_merges;                   /* a unit that is a piece is one, whatever merges */
    bool fuses_unknown, falls_back;
    bool cuts_units; /* of characters: what no merge crosses is encoded alone */
    struct tokenizer_steps normalizers, cutters;
    const struct splitter *splitter; /* one of them, where nothing else is to be done */
    bool composes;                   /* but NFC, before it, which changes little text */
    struct {
        char mark[5]; /* the character that a space is; "": none */
        int strips;   /* spaces at the start */
        bool drops_first_marks, joins_with_space;
    } decoder;
    uint32_t *table; /* open addressing: number + 1 */
    uint32_t table_mask;
    struct merge *merges; /* open addressing; left SYMBOL_NONE: empty */
    uint32_t merge_mask, merge_shift;
    uint64_t collisions;        /* of all that were entered in a table */
    uint32_t ascii_symbol[128]; /* of SentencePiece's models ' ' is the space mark */
    /* Does some piece have these two characters side by side? If not, no merge crosses the
     * place between them, and what lies left and right is encoded alone. */
    bool joins_ascii[128 * 128];
    uint64_t joins_other[JOIN_BITS / 64]; /* by hash: may say yes for no */
    char digest[DIGEST_TEXT];
};

/* Tables that are filled while a model is read. One that was made to collide would be looked up
 * forever: as many collisions as 64 for each place of a table are refused. */
int tokenizer_make_table(struct tokenizer *t, uint64_t pieces, struct fail *why);
int tokenizer_enter(struct tokenizer *t, uint32_t symbol, struct fail *why);
int tokenizer_make_merges(struct tokenizer *t, uint64_t merges, struct fail *why);
int tokenizer_add_merge(struct tokenizer *t, struct merge m, struct fail *why);

/* The pieces and options of a tokenizer.model, into a zeroed tokenizer whose model is its bytes;
 * nothing is indexed. Fails if it is one that is not encoded here. */
int tokenizer_read_model(struct tokenizer *t, size_t bytes, struct fail *why);
/* tokenizer.json, into a zeroed tokenizer whose model has room for its bytes. */
int tokenizer_take_json(struct tokenizer *t, const char *text, size_t bytes, struct fail *why);
/* The number of the piece that is spelled so in the file; UINT32_MAX: none. */
uint32_t tokenizer_byte_level_id(const struct tokenizer *t, const char *spelling);
/* What post_processor puts before and behind a text, into t->begin and t->end. */
int tokenizer_read_template(struct tokenizer *t, const json_t *processor, struct fail *why);
/* How tokens become text, into t->decoder and the types of byte pieces. */
int tokenizer_read_decoder(struct tokenizer *t, const json_t *decoder, struct fail *why);
/* What the files beside `path` say: tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json, and for tokenizer.model the post_processor of tokenizer.json. */
int tokenizer_read_beside(struct tokenizer *t, const char *path, struct fail *why);

/* Enters a token, or gives the one with its content these flags, as tokenizers does: its id is that
 * of the piece with its text, else the next. wanted: the id that the file says; UINT32_MAX: none.
 */
int added_put(struct tokenizer *t, const struct added_token *token, uint32_t wanted,
              struct fail *why);
/* NULL: there is none. */
struct added_token *added_find(const struct tokenizer *t, const char *content);
/* Flags from an object of added_tokens or added_tokens_decoder; its content is the object's. */
int added_read(struct added_token *token, const json_t *object, struct fail *why);
/* Makes the indexes and the pieces, when all are entered. */
int added_finish(struct tokenizer *t, struct fail *why);
void added_release(struct added_tokens *added);
/* The longest token at this place; NULL: none. */
const struct added_token *added_at(const struct added_index *index, const char *text, size_t bytes,
                                   bool is_normal);

int steps_read(struct tokenizer *t, const json_t *normalizer, const json_t *pre_tokenizer,
               struct fail *why);
void steps_release(struct tokenizer_steps *steps);

/* Where units begin by a pattern: a bit for each byte. A thread's work is made when NULL. */
enum {
    SPLIT_STACK_MAX = 16 << 20, /* bytes that it may take for what it may come back to */
    /* It may take so many steps for a text, and so many for each byte. */
    SPLIT_STEPS_LEAST = 1 << 20,
    SPLIT_STEPS_EACH = 64,
};
struct splitter;
struct split_work;
int splitter_open(struct splitter **s, const char *pattern, struct fail *why);
void splitter_close(struct splitter *s);
/* May it match where there is no character? */
bool splitter_matches_nothing(const struct splitter *s);
int splitter_cut(const struct splitter *s, struct split_work **work, uint64_t *starts,
                 const char *text, size_t bytes, struct fail *why);
/* Matches one after another: begin with a text, or a part of one, then ask for the first at or
 * behind a place. 1: found; 0: none. What steps are allowed besides those for each byte, all parts
 * of a text share, from split_work_begin on. */
int split_work_begin(struct split_work **work, struct fail *why);
int splitter_begin(const struct splitter *s, struct split_work *w, const char *text, size_t bytes,
                   struct fail *why);
int splitter_next(const struct splitter *s, struct split_work *w, size_t from, size_t *start,
                  size_t *end, struct fail *why);
void split_work_release(struct split_work *w);

/* A part of a text that is on its way through the steps, or a token. */
struct text_span {
    size_t at, bytes; /* in the work's text */
    uint32_t token;   /* UINT32_MAX: text */
    bool is_first;    /* it begins where the whole text does */
};
struct text_range {
    size_t start, end;
    bool is_match;
};
/* Zero it, use it again and again, release it. */
struct pipeline {
    char *text; /* ends with 16 bytes that may be read */
    size_t used, capacity, most;
    struct text_span *spans, *next;
    size_t count, span_capacity, next_count, next_capacity;
    struct text_range *ranges;
    size_t range_count, range_capacity;
    struct split_work *split;
};
void pipeline_release(struct pipeline *p);
/* Is some added token in the text, so that it must go through the pipeline? */
bool pipeline_finds(const struct tokenizer *t, const char *text, size_t bytes, bool parses_special);
/* Cuts a text into spans: tokens, and texts that the model encodes one by one. */
int pipeline_run(const struct tokenizer *t, struct pipeline *p, const char *text, size_t bytes,
                 bool is_first, bool parses_special, struct fail *why);
/* What the normalizers make of a text; the caller frees. */
char *pipeline_normalize(const struct tokenizer *t, const char *text, struct fail *why);

/* The symbol with that text (space marks in it); SYMBOL_NONE if there is none. */
uint32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t length);

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

/* Working memory of bpe_merge_unit; zero it, release it. */
struct bpe_merger {
    struct symbol *symbols;
    uint32_t *starts;
    size_t symbol_capacity, start_capacity;
    struct pair *heap;
    size_t heap_count, heap_capacity;
    uint64_t dropped; /* characters and bytes that gave nothing */
};
void bpe_merger_release(struct bpe_merger *w);

/* Appends the ids of a unit to b, which has room for three a byte. after_unknown: was the
 * last symbol an unknown one? A model without byte pieces makes a run of them one. */
int bpe_merge_unit(const struct tokenizer *t, struct bpe_merger *w, struct token_buffer *b,
                   const char *text, size_t bytes, bool *after_unknown, struct fail *why);

int tokenizer_reserve(void **at, size_t *have, size_t wanted, size_t each, struct fail *why);

#endif
