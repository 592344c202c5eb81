/* gguf_merges.c - computes the merges of a SentencePiece model from the scores of its pieces.
 *
 * Every way to cut a piece into two pieces is a merge. Merges are sorted by the score of the piece
 * that they make, from high to low. Merges with equal scores are sorted by the length of the left
 * part in characters, then of the right part, longer parts first.
 *
 * Of merges with equal scores llama.cpp makes the leftmost in the text first. A list of merges
 * cannot say that. So if two pieces have the same score, check_ties refuses the file, unless the
 * order of their merges cannot change the tokens.
 *
 * Sources: generate_merges in transformers' tokenization_utils_tokenizers.py, and its predecessor
 * SentencePieceExtractor; llm_tokenizer_spm_session in llama-vocab.cpp of llama.cpp (build b10488).
 */
#include "lib/tokenizer/gguf_internal.h"

#include "lib/common/buffer.h"
#include "lib/tokenizer/tokenizer_internal.h"

#include <stdlib.h>

struct score_merge {
    float score;
    uint32_t left_length, right_length, piece, left, right;
};

struct score_merges {
    struct score_merge *at;
    size_t count, capacity;
};

static int by_rank(const void *a, const void *b)
{
    const struct score_merge *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->left_length != y->left_length) return x->left_length > y->left_length ? -1 : 1;
    if (x->right_length != y->right_length) return x->right_length > y->right_length ? -1 : 1;
    if (x->piece != y->piece) return x->piece < y->piece ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

static int add(struct score_merges *m, struct score_merge merge, struct fail *why)
{
    if (m->count == TOKENIZER_MERGES_MAX)
        return fail_input(why, "the pieces have more than %d merges", TOKENIZER_MERGES_MAX);
    if (buffer_reserve(&m->at, &m->capacity, m->count, 1, why)) return -1;
    m->at[m->count++] = merge;
    return 0;
}

static uint32_t characters(const char *text, size_t bytes)
{
    uint32_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += (text[i] & 0xc0) != 0x80;
    return count;
}

/* Can merges make this piece, or use it as a part? Normal pieces are merged, and user-defined ones
 * with a space mark. (The text of any other user-defined piece is cut out before merges begin. That
 * of a piece with a mark is cut out only where the text itself has the mark, not where it has a
 * space.) */
static bool is_merged(const struct gguf_token *t)
{
    return t->type == GGUF_TOKEN_NORMAL ||
           (t->type == GGUF_TOKEN_USER &&
            memmem(t->text.at, t->text.bytes, SPACE_MARK, SPACE_MARK_BYTES));
}

/* Returns the id of the piece whose text is text[bytes], a part of another piece; UINT32_MAX if
 * merges use no such piece. */
static uint32_t part_of(const struct gguf_tokens *tokens, const char *text, size_t bytes)
{
    uint32_t id = gguf_token_find(tokens, (struct gguf_text){ text, bytes });
    return id != UINT32_MAX && is_merged(&tokens->at[id]) ? id : UINT32_MAX;
}

/* Refuses an unused piece that is a character, or that merges would make. llama.cpp and
 * SentencePiece merge such pieces, and SentencePiece cuts those that are left at the end. */
static int refuse_unused(const struct gguf_token *t, uint32_t id, struct fail *why)
{
    return fail_input(why,
                      "%s: token %u '%.*s' is unused, but a text can give it; this is not "
                      "supported: name the model's own tokenizer.json or tokenizer.model "
                      "(--tokenizer)",
                      GGUF_KEY_TOKEN_TYPES, id, (int)t->text.bytes, t->text.at);
}

/* Adds the merges that make the piece `id`: one for each way to cut it into two pieces. */
static int add_merges_into(const struct gguf_tokens *tokens, uint32_t id, struct score_merges *m,
                           struct fail *why)
{
    const struct gguf_token *t = &tokens->at[id];
    const char *text = t->text.at;
    size_t bytes = t->text.bytes;
    bool is_unused = t->type == GGUF_TOKEN_UNUSED;
    if (!(is_merged(t) || is_unused) || memchr(text, ' ', bytes)) return 0;
    if (is_unused && characters(text, bytes) == 1) return refuse_unused(t, id, why);
    for (size_t at = 1; at < bytes; at++) {
        if ((text[at] & 0xc0) == 0x80) continue;
        uint32_t left = part_of(tokens, text, at);
        uint32_t right = left == UINT32_MAX ? UINT32_MAX : part_of(tokens, text + at, bytes - at);
        if (right == UINT32_MAX) continue;
        if (is_unused) return refuse_unused(t, id, why);
        if (add(m,
                (struct score_merge){ t->score, characters(text, at),
                                      characters(text + at, bytes - at), id, left, right },
                why))
            return -1;
    }
    return 0;
}

/* ---- equal scores ---- */

/* What check_ties knows of each piece. UINT32_MAX: no piece. */
struct tie {
    uint32_t twin; /* another piece with the same score */
    uint32_t
        right_of; /* the piece that merges of this score make with this one as the right part */
};

/* Returns the number of merges from at[0] on whose pieces have the same score. */
static size_t count_equal(const struct score_merge *at, size_t left)
{
    size_t n = 1;
    while (n < left && at[n].score == at[0].score)
        n++;
    return n;
}

static bool is_run(struct gguf_text text)
{
    for (size_t i = 0; i < text.bytes; i += SPACE_MARK_BYTES)
        if (text.bytes - i < SPACE_MARK_BYTES ||
            memcmp(text.at + i, SPACE_MARK, SPACE_MARK_BYTES) != 0)
            return false;
    return true;
}

/* Do merges i to i + count - 1 all make runs of space marks, and do no earlier merges? Mistral and
 * Gemma have such runs. Both orders of merges then cut a run of marks in the same way: the leftmost
 * piece is always at least as long as those after it, so it is also the first in the list. */
static bool are_runs(const struct gguf_tokens *tokens, const struct score_merge *at, size_t i,
                     size_t count)
{
    if (!is_run(tokens->at[at[i].piece].text)) return false;
    for (size_t j = 0; j < i + count; j++)
        if (is_run(tokens->at[at[j].piece].text) != (j >= i)) return false;
    return true;
}

static int refuse_tie(const struct gguf_tokens *tokens, uint32_t a, uint32_t b, struct fail *why)
{
    if (!tokens->has_scores)
        return fail_input(why,
                          "%s is missing, so the order of merges is not known: name the model's "
                          "own tokenizer.json or tokenizer.model (--tokenizer)",
                          GGUF_KEY_SCORES);
    const struct gguf_text x = tokens->at[a].text, y = tokens->at[b].text;
    return fail_input(why,
                      "%s gives tokens %u '%.*s' and %u '%.*s' the same score, so it does not say "
                      "which is merged first: name the model's own tokenizer.json or "
                      "tokenizer.model (--tokenizer)",
                      GGUF_KEY_SCORES, a, (int)x.bytes, x.at, b, (int)y.bytes, y.at);
}

/* Checks merges of one score that make several pieces. Their order cannot change the tokens if no
 * symbol can be the right part of one merge and the left part of another. */
static int check_tie(const struct gguf_tokens *tokens, const struct score_merge *at, size_t count,
                     struct tie *ties, struct fail *why)
{
    uint32_t first = at[0].piece, other = first;
    for (size_t i = 0; i < count && other == first; i++)
        other = at[i].piece;
    if (other == first) return 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t piece = at[i].piece, *right_of = &ties[at[i].right].right_of;
        ties[piece].twin = piece == first ? other : first;
        if (*right_of != UINT32_MAX && *right_of != piece)
            *right_of = tokens->count; /* several pieces */
        else
            *right_of = piece;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t made = ties[at[i].left].right_of, piece = at[i].piece;
        if (made != UINT32_MAX && made != piece)
            return refuse_tie(tokens, piece, made < tokens->count ? made : ties[piece].twin, why);
    }
    for (size_t i = 0; i < count; i++)
        ties[at[i].right].right_of = UINT32_MAX;
    return 0;
}

/* Refuses scores that do not say in which order the sorted merges are made. */
static int check_ties(const struct gguf_tokens *tokens, const struct score_merges *m,
                      struct fail *why)
{
    struct tie *ties = malloc(tokens->count * sizeof *ties);
    int status = ties ? 0 : fail(why, "out of memory");
    if (ties) memset(ties, 0xff, tokens->count * sizeof *ties);
    for (size_t i = 0, n; i < m->count && !status; i += n) {
        n = count_equal(m->at + i, m->count - i);
        if (!are_runs(tokens, m->at, i, n)) status = check_tie(tokens, m->at + i, n, ties, why);
    }
    /* A piece with a twin must not be a part of a merge that comes before its twin's. */
    for (size_t i = 0; i < m->count && !status; i++) {
        const uint32_t parts[2] = { m->at[i].left, m->at[i].right };
        for (int p = 0; p < 2 && !status; p++)
            if (ties[parts[p]].twin != UINT32_MAX && m->at[i].score >= tokens->at[parts[p]].score)
                status = refuse_tie(tokens, parts[p], ties[parts[p]].twin, why);
    }
    free(ties);
    return status;
}

/* ---- the list ---- */

int gguf_put_score_merges(struct gguf_json *to, const struct gguf_tokens *tokens, struct fail *why)
{
    struct score_merges m = { 0 };
    int status = 0;
    for (uint32_t i = 0; i < tokens->count && !status; i++)
        status = add_merges_into(tokens, i, &m, why);
    if (!status && m.count) {
        qsort(m.at, m.count, sizeof *m.at, by_rank);
        status = check_ties(tokens, &m, why);
    }
    gguf_json_put(to, "[");
    for (size_t i = 0; i < m.count && !status; i++) {
        const struct gguf_text piece = tokens->at[m.at[i].piece].text;
        size_t left = tokens->at[m.at[i].left].text.bytes;
        char both[2 * TOKENIZER_PIECE_MAX];
        memcpy(both, piece.at, left);
        both[left] = ' ';
        memcpy(both + left + 1, piece.at + left, piece.bytes - left);
        if (i) gguf_json_put(to, ",");
        gguf_json_text(to, (struct gguf_text){ both, piece.bytes + 1 });
    }
    gguf_json_put(to, "]");
    free(m.at);
    return status;
}
