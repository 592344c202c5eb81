/* score.h - compares answers with what they should hold, and sums the scores up by task, length and
 * depth.
 *
 * The score of an answer is RULER's string_match_all: the share of the expected texts that occur in
 * it, in any case of letters.
 */
#ifndef LONGQLORA_NEEDLE_SCORE_H
#define LONGQLORA_NEEDLE_SCORE_H

#include "lib/common/json.h"
#include "tools/needle/options.h"

enum { NO_DEPTH = -1 };

/* The answers of one task, length and depth, or of all depths. */
struct cell {
    size_t task; /* number of the task in scores.tasks */
    int64_t tokens;
    int depth;               /* per cent, or NO_DEPTH */
    uint64_t prompts, whole; /* whole: with everything that was asked for */
    double sum, squares;     /* of the scores, each 0 to 1 */
};

struct scores {
    char **tasks; /* [task_count] in the order in which they came */
    size_t task_count;
    struct cell *cells; /* [cell_count] after scores_sort by task, tokens, depth */
    size_t cell_count;
    struct cell *rows; /* [row_count] all depths together, by task and tokens */
    size_t row_count;
    int depths[DEPTHS_MAX]; /* [depth_count] those that occur, ascending */
    int depth_count;
    uint64_t prompts;
    uint64_t cut; /* answers that the context ended */
};

/* Adds one line of generate's output. Fails if it is no answer to a prompt of `needle make`. */
int scores_add(struct scores *s, const json_t *line, struct fail *why) MUST_USE;
/* To be called after the last answer. */
int scores_sort(struct scores *s, struct fail *why) MUST_USE;
void scores_release(struct scores *s);

double cell_mean(const struct cell *c);   /* per cent */
double cell_stderr(const struct cell *c); /* of the mean, per cent; NAN for one prompt */
/* Returns the cell of a row at a depth; NULL if there is none. */
const struct cell *scores_at(const struct scores *s, const struct cell *row, int depth);

/* Does what `needle score` is asked for. Dies if something fails. */
void score(const struct options *o, const char **files);

#endif
