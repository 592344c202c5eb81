#include "lib/tokenizer/gguf_scores.h"

#include "lib/tokenizer/tokenizer_internal.h"

#include <math.h>

static int refuse(const struct tokenizer *t, uint32_t piece, struct fail *why)
{
    const struct piece *p = &t->pieces[piece];
    return fail_input(why,
                      "its merges into '%.*s' are not those of a SentencePiece model, so llama.cpp "
                      "would merge differently: name the folder of the model's tokenizer.model",
                      (int)(p->length < 40 ? p->length : 40), p->text);
}

static int by_rank(const void *a, const void *b)
{
    const struct merge *x = a, *y = b;
    return x->score > y->score ? -1 : x->score < y->score;
}

/* Gives each piece the score of its first merge. Fails if the merges that make one piece do not
 * directly follow one another in the list. */
static int take_ranks(const struct tokenizer *t, const struct merge *sorted, size_t count,
                      float *scores, struct fail *why)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t piece = sorted[i].piece;
        bool goes_on = i && sorted[i - 1].piece == piece;
        if (!goes_on && !isnan(scores[piece])) return refuse(t, piece, why);
        if (!goes_on) scores[piece] = sorted[i].score;
    }
    return 0;
}

/* Fails if this piece can be cut into two pieces that no merge of the list joins. */
static int check_cuts(const struct tokenizer *t, uint32_t id, struct fail *why)
{
    const struct piece *p = &t->pieces[id];
    for (uint32_t at = 1; at < p->length; at++) {
        if ((p->text[at] & 0xc0) == 0x80) continue;
        uint32_t left = tokenizer_find(t, p->text, at);
        uint32_t right = tokenizer_find(t, p->text + at, p->length - at);
        if (left < t->count && right < t->count && !find_merge(t, left, right))
            return refuse(t, id, why);
    }
    return 0;
}

float *gguf_scores_make(const struct tokenizer *t, struct fail *why)
{
    size_t count = 0, slots = (size_t)t->merge_mask + 1;
    struct merge *sorted = calloc(slots, sizeof *sorted);
    float *scores = malloc((t->count + (size_t)1) * sizeof *scores);
    int status = sorted && scores ? 0 : fail(why, "out of memory");
    for (uint32_t i = 0; i < t->count && !status; i++)
        scores[i] = NAN;
    for (size_t i = 0; i < slots && !status; i++)
        if (t->merges[i].left != SYMBOL_NONE) sorted[count++] = t->merges[i];
    if (!status) qsort(sorted, count, sizeof *sorted, by_rank);
    if (!status) status = take_ranks(t, sorted, count, scores, why);
    for (uint32_t i = 0; i < t->count && !status; i++) {
        /* Pieces that no merge makes, such as single characters and bytes, get the lowest score. */
        if (isnan(scores[i])) scores[i] = -(float)count;
        if (t->pieces[i].type == PIECE_NORMAL) status = check_cuts(t, i, why);
    }
    free(sorted);
    if (!status) return scores;
    free(scores);
    return NULL;
}
