/* gguf_merges.c - computes the merges of a SentencePiece model from the scores of its pieces.
 *
 * Every way to cut a piece into two pieces is a merge. Merges are sorted by the score of the piece
 * that they make, from high to low. Merges with equal scores are sorted by the length of the left
 * part in characters, then of the right part, longer parts first.
 *
 * Source: generate_merges in transformers' tokenization_utils_tokenizers.py, and its predecessor
 * SentencePieceExtractor.
 */
#include "lib/tokenizer/gguf_internal.h"

#include "lib/common/buffer.h"

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

/* Returns the id of the normal piece whose text is text[bytes], a part of another piece; UINT32_MAX
 * if there is none. */
static uint32_t part_of(const struct gguf_tokens *tokens, const char *text, size_t bytes)
{
    uint32_t id = gguf_token_find(tokens, (struct gguf_text){ text, bytes });
    return id != UINT32_MAX && tokens->at[id].type == GGUF_TOKEN_NORMAL ? id : UINT32_MAX;
}

static int cut(const struct gguf_tokens *tokens, uint32_t id, struct score_merges *m,
               struct fail *why)
{
    const struct gguf_token *t = &tokens->at[id];
    const char *text = t->text.at;
    size_t bytes = t->text.bytes;
    if (t->type != GGUF_TOKEN_NORMAL || memchr(text, ' ', bytes)) return 0;
    for (size_t at = 1; at < bytes; at++) {
        if ((text[at] & 0xc0) == 0x80) continue;
        uint32_t left = part_of(tokens, text, at);
        uint32_t right = left == UINT32_MAX ? UINT32_MAX : part_of(tokens, text + at, bytes - at);
        if (right == UINT32_MAX) continue;
        if (add(m,
                (struct score_merge){ t->score, characters(text, at),
                                      characters(text + at, bytes - at), id, left, right },
                why))
            return -1;
    }
    return 0;
}

int gguf_put_score_merges(struct gguf_json *to, const struct gguf_tokens *tokens, struct fail *why)
{
    struct score_merges m = { 0 };
    int status = 0;
    for (uint32_t i = 0; i < tokens->count && !status; i++)
        status = cut(tokens, i, &m, why);
    if (!status && m.count) qsort(m.at, m.count, sizeof *m.at, by_rank);
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
