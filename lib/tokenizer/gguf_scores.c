#include "lib/tokenizer/gguf_scores.h"

#include "lib/tokenizer/tokenizer_internal.h"

#include <math.h>

static int refuse(const struct tokenizer *t, uint32_t piece, struct fail *why)
{
    const struct piece *p = &t->pieces[piece];
    return fail_input(why,
                      "the merges into '%.*s' are not those of a SentencePiece model, so llama.cpp "
                      "would merge differently: name the folder of the model's tokenizer.model",
                      (int)(p->length < 40 ? p->length : 40), p->text);
}

/* ---- pieces that are added tokens ----
 *
 * Added tokens are found in the text before anything is merged, so merges into them are not used.
 * Runs of spaces, as in Gemma, are an exception. The library tokenizers looks for such a token
 * while the text still has spaces instead of space marks. So it does not find the token, and merges
 * make the run. llama.cpp finds the longest runs, from the left. So the merges must give the
 * longest runs too. */

enum { RUN_MAX = 64 };

/* Returns how many space marks the piece consists of; 0 if it has anything else. */
static uint32_t marks_of(const struct piece *p)
{
    for (uint32_t i = 0; i < p->length; i++)
        if (p->text[i] != SPACE_MARK[i % SPACE_MARK_BYTES]) return 0;
    return p->length % SPACE_MARK_BYTES ? 0 : p->length / SPACE_MARK_BYTES;
}

/* Returns an array [symbols], which the caller frees: is the piece an added token that is not
 * special? NULL if memory runs out. */
static bool *find_added(const struct tokenizer *t)
{
    bool *added = calloc(t->symbols + (size_t)1, sizeof *added);
    for (size_t i = 0; added && i < t->added.count; i++)
        if (!t->added.at[i].special && t->added.at[i].id < t->count)
            added[t->added.at[i].id] = true;
    return added;
}

/* Merges the run of `count` marks at ids[], and returns how many pieces are left. */
static uint32_t merge_run(const struct tokenizer *t, uint32_t *ids, uint32_t count)
{
    for (;;) {
        const struct merge *best = NULL;
        uint32_t at = 0;
        for (uint32_t i = 0; i + 1 < count; i++) {
            const struct merge *m = find_merge(t, ids[i], ids[i + 1]);
            if (!m || (best && m->order >= best->order)) continue;
            best = m;
            at = i;
        }
        if (!best) return count;
        ids[at] = best->piece;
        memmove(ids + at + 1, ids + at + 2, (count - at - 2) * sizeof *ids);
        count--;
    }
}

/* Are the pieces of a run of `count` marks the longest added tokens, from the left? */
static bool is_longest_first(const struct tokenizer *t, const bool *has, uint32_t mark,
                             uint32_t count)
{
    uint32_t ids[2 * RUN_MAX + 2];
    for (uint32_t i = 0; i < count; i++)
        ids[i] = mark;
    uint32_t pieces = merge_run(t, ids, count);
    for (uint32_t i = 0, left = count; i < pieces; i++) {
        uint32_t longest = left < RUN_MAX ? left : RUN_MAX;
        while (longest > 1 && !has[longest])
            longest--;
        if (marks_of(&t->pieces[ids[i]]) != longest) return false;
        left -= longest;
    }
    return true;
}

static int check_runs(const struct tokenizer *t, const bool *added, struct fail *why)
{
    bool has[RUN_MAX + 1] = { false };
    uint32_t longest = 0, last = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t marks = added[i] ? marks_of(&t->pieces[i]) : 0;
        if (marks > RUN_MAX) return refuse(t, i, why);
        if (marks) has[marks] = true;
        if (marks > longest) longest = marks, last = i;
    }
    if (!longest) return 0;
    uint32_t mark = tokenizer_find(t, SPACE_MARK, SPACE_MARK_BYTES);
    for (uint32_t n = 1; n < 2 * longest + 2; n++)
        if (mark >= t->count || !is_longest_first(t, has, mark, n)) return refuse(t, last, why);
    return 0;
}

/* Fails if a run of spaces merges with anything else, or if runs are merged after a merge has
 * joined a space mark to anything else. */
static int check_order(const struct tokenizer *t, const struct merge *sorted, size_t count,
                       const bool *added, struct fail *why)
{
    bool has_other = false;
    for (size_t i = 0; i < count; i++) {
        const struct piece *p = t->pieces;
        uint32_t left = sorted[i].left, right = sorted[i].right, piece = sorted[i].piece;
        bool has_run = (added[left] && marks_of(&p[left])) || (added[right] && marks_of(&p[right]));
        bool is_run = added[piece] && marks_of(&p[piece]);
        if ((is_run && has_other) || (has_run && !is_run)) return refuse(t, piece, why);
        if (!is_run && memmem(p[piece].text, p[piece].length, SPACE_MARK, SPACE_MARK_BYTES))
            has_other = true;
    }
    return 0;
}

/* ---- scores ---- */

/* Returns the score from which an order was made (merge_order). Those of tokenizer.json are -0 and
 * negative numbers. */
static float score_of(uint32_t order)
{
    const uint32_t minus_zero = 1u << 31;
    uint32_t bits = order < minus_zero ? minus_zero : order;
    float score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

/* Gives each piece the score of its first merge. Fails if the merges that make one piece do not
 * directly follow one another in the list. */
static int set_scores(const struct tokenizer *t, const struct merge *sorted, size_t count,
                      const bool *added, float *scores, struct fail *why)
{
    uint32_t before = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        uint32_t piece = sorted[i].piece;
        if (added[piece]) continue;
        bool goes_on = before == piece;
        before = piece;
        if (!goes_on && !isnan(scores[piece])) return refuse(t, piece, why);
        if (!goes_on) scores[piece] = score_of(sorted[i].order);
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
    bool *added = find_added(t);
    int status = sorted && scores && added ? 0 : fail(why, "out of memory");
    for (uint32_t i = 0; i < t->count && !status; i++)
        scores[i] = NAN;
    for (size_t i = 0; i < slots && !status; i++)
        if (t->merges[i].left != SYMBOL_NONE) sorted[count++] = t->merges[i];
    if (!status) qsort(sorted, count, sizeof *sorted, merge_compare);
    if (!status) status = check_order(t, sorted, count, added, why);
    if (!status) status = check_runs(t, added, why);
    if (!status) status = set_scores(t, sorted, count, added, scores, why);
    for (uint32_t i = 0; i < t->count && !status; i++) {
        /* Pieces that no merge makes, such as single characters and bytes, get the lowest score. */
        if (isnan(scores[i])) scores[i] = -(float)count;
        if (t->pieces[i].type == PIECE_NORMAL && !added[i]) status = check_cuts(t, i, why);
    }
    free(sorted);
    free(added);
    if (!status) return scores;
    free(scores);
    return NULL;
}
