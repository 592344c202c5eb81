/* sums.h - adds up the losses of windows, or of samples, to a score.
 */
#ifndef LONGQLORA_SUMS_H
#define LONGQLORA_SUMS_H

#include "tools/ppl/protocol.h"

/* Sums over windows. S is the sum of a window's losses. w is its weight: the number of its
 * predictions (for exceptions see weight_of in protocol.c). nll is Σ S, squares Σ S², products Σ
 * S·w, weight Σ w and weights Σ w². */
struct sums {
    double nll, squares, products, weight, weights;
    int64_t scored, windows;                  /* windows: those with a weight above 0 */
    struct position positions[POSITIONS_MAX]; /* nll holds sums until sums_finish divides them */
};

/* Adds a prediction that had `seen` tokens before it, but only to `positions`. */
void sums_add_prediction(struct sums *s, int64_t seen, double nll);
/* Adds a window: the sum of its losses, its weight, and how many predictions it has. */
void sums_add_window(struct sums *s, double nll, double weight, int64_t scored);

/* Computes the mean over all predictions and its standard error. The mean is a ratio of two sums
 * over windows, and its standard error is computed from the residuals S − mean·w. If all weights
 * are equal, this is also the mean of the windows' means with its standard error. */
void sums_finish(const struct sums *s, struct score *score);

#endif
