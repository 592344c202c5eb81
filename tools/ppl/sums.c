#include "tools/ppl/sums.h"

#include <math.h>

void sums_add_prediction(struct sums *s, int64_t seen, double nll)
{
    int i = 0;
    while (seen >> (i + 1))
        i++;
    s->positions[i].scored++;
    s->positions[i].nll += nll;
}

void sums_add_window(struct sums *s, double nll, double weight, int64_t scored)
{
    s->nll += nll;
    s->squares += nll * nll;
    s->products += nll * weight;
    s->weight += weight;
    s->weights += weight * weight;
    s->scored += scored;
    s->windows += weight > 0;
}

void sums_finish(const struct sums *s, struct score *score)
{
    double windows = (double)s->windows, mean = s->nll / s->weight;
    double residuals = s->squares - 2 * mean * s->products + mean * mean * s->weights;
    double variance = fmax(residuals, 0) * windows / (windows - 1) / (s->weight * s->weight);
    score->scored = s->scored;
    score->nll = mean;
    score->perplexity = exp(mean);
    score->stderr_ = windows > 1 ? sqrt(variance) : NAN;
    for (int i = 0; i < POSITIONS_MAX; i++) {
        struct position p = s->positions[i];
        if (!p.scored) continue;
        score->positions[i] = (struct position){ p.scored, p.nll / (double)p.scored };
        score->position_count = i + 1;
    }
}
