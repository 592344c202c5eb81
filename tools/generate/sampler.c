#include "tools/generate/sampler.h"

#include "lib/common/rng.h"

#include <math.h>

struct candidate {
    double value; /* first the logit, later the weight */
    uint32_t id;
};

struct sampler {
    struct sampling how;
    int64_t vocab;
    uint64_t key, stream, draws;
    struct candidate *at; /* [vocab] */
    bool *is_penalised;   /* [vocab] */
};

void sampler_change(struct sampler *s, const struct sampling *how)
{
    s->how = *how;
    s->key = rng_key((uint64_t)how->seed, "generate");
}

int sampler_open(struct sampler **out, const struct sampling *how, int64_t vocab, struct fail *why)
{
    struct sampler *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, "out of memory");
    *s = (struct sampler){ .vocab = vocab };
    sampler_change(s, how);
    s->at = malloc((size_t)vocab * sizeof *s->at);
    s->is_penalised = calloc((size_t)vocab, sizeof *s->is_penalised);
    if (s->at && s->is_penalised) return 0;
    sampler_close(s);
    *out = NULL;
    return fail(why, "out of memory");
}

void sampler_close(struct sampler *s)
{
    if (!s) return;
    free(s->at);
    free(s->is_penalised);
    free(s);
}

void sampler_restart(struct sampler *s, uint64_t stream)
{
    s->stream = stream;
    s->draws = 0;
}

/* Applies the penalty once to each token that the text contains. */
static void penalise(struct sampler *s, const uint32_t *text, int64_t count)
{
    double penalty = s->how.repetition;
    for (int64_t i = 0; i < count; i++) {
        if (text[i] >= s->vocab || s->is_penalised[text[i]]) continue;
        s->is_penalised[text[i]] = true;
        double *logit = &s->at[text[i]].value;
        *logit = *logit > 0 ? *logit / penalty : *logit * penalty;
    }
    for (int64_t i = 0; i < count; i++)
        if (text[i] < s->vocab) s->is_penalised[text[i]] = false;
}

static int by_value(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->value != y->value) return x->value > y->value ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static uint32_t likeliest(const struct sampler *s)
{
    const struct candidate *best = s->at;
    for (int64_t i = 1; i < s->vocab; i++)
        if (s->at[i].value > best->value) best = &s->at[i];
    return best->id;
}

/* Replaces the logits of the sorted candidates by e^((logit − highest logit) / temperature).
 * Returns how many candidates remain after top-k, top-p and min-p. */
static int64_t shortlist(struct sampler *s)
{
    const struct sampling *how = &s->how;
    int64_t kept = s->vocab;
    double top = s->at[0].value, sum = 0;
    if (how->top_k && how->top_k < kept) kept = how->top_k;
    for (int64_t i = 0; i < kept; i++)
        sum += s->at[i].value = exp((s->at[i].value - top) / how->temperature);
    if (how->top_p < 1) {
        /* top-p keeps the smallest number of candidates whose share reaches top_p, but at least
         * one. */
        double share = 0;
        int64_t n = 0;
        while (n < kept && share < how->top_p * sum)
            share += s->at[n++].value;
        kept = n ? n : 1;
    }
    while (kept > 1 && s->at[kept - 1].value < how->min_p)
        kept--;
    return kept;
}

uint32_t sampler_draw(struct sampler *s, const float *logits, const uint32_t *text, int64_t count)
{
    for (int64_t i = 0; i < s->vocab; i++)
        s->at[i] = (struct candidate){ (double)logits[i], (uint32_t)i };
    if (s->how.repetition != 1) penalise(s, text, count);
    if (s->how.temperature <= 0) return likeliest(s);
    qsort(s->at, (size_t)s->vocab, sizeof *s->at, by_value);
    int64_t kept = shortlist(s);
    double sum = 0;
    for (int64_t i = 0; i < kept; i++)
        sum += s->at[i].value;
    double left = (double)(rng_bits(s->key, s->stream, s->draws++) >> 11) * 0x1p-53 * sum;
    int64_t i = 0;
    for (; i + 1 < kept && left >= s->at[i].value; i++)
        left -= s->at[i].value;
    return s->at[i].id;
}
