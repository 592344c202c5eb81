/* sums.h - adds up the losses of windows, or of samples, to a score.
 */
#ifndef LONGQLORA_SUMS_H
#define LONGQLORA_SUMS_H

#include "tools/ppl/protocol.h"

/* A window with loss sum S and weight w, which is its number of predictions (but see weight_of in
 * protocol.c), adds S to nll, S² to squares, S·w to products, w to weight and w² to weights. */
struct sums {
    double nll, squares, products, weight, weights;
    int64_t scored, windows;                  /* windows: those with a weight above 0 */
    struct position positions[POSITIONS_MAX]; /* nll holds sums until sums_finish divides them */
};

/* Adds a prediction that had `seen` tokens before it to the positions alone. */
void sums_add_prediction(struct sums *s, int64_t seen, double nll);
/* Adds a window: the sum of its losses, its weight, and how many predictions it has. */
void sums_add_window(struct sums *s, double nll, double weight, int64_t scored);

/* Computes the mean over all predictions and its standard error. The mean is a ratio of sums over
 * windows, whose standard error follows from the residuals S − mean·w. With equal weights the mean
 * is also the mean of the windows' means, and the error is their standard error. */
void sums_finish(const struct sums *s, struct score *score);

#endif
