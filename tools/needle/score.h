/* score.h - scores answers by the texts that they should contain, and sums the scores by task,
 * length and depth.
 *
 * The score of an answer is RULER's string_match_all: the share of the expected texts that occur in
 * it. Capital and small letters are equal.
 */
#ifndef LONGQLORA_NEEDLE_SCORE_H
#define LONGQLORA_NEEDLE_SCORE_H

#include "lib/common/json.h"
#include "tools/needle/options.h"

#include <xxhash.h>

enum { NO_DEPTH = -1 };

/* The answers of one task and length, at one depth or at all depths. */
struct cell {
    size_t task; /* number of the task in scores.tasks */
    int64_t tokens;
    int depth;               /* per cent, or NO_DEPTH */
    uint64_t prompts, whole; /* whole: prompts whose answer has everything that was asked for */
    double sum, squares;     /* sums of the scores, each 0 to 1, and of their squares */
};

struct digests {
    XXH128_hash_t *at; /* [count] */
    size_t count;
};

struct scores {
    char **tasks; /* [task_count] in the order of their first answers */
    size_t task_count;
    struct cell *cells; /* [cell_count] sorted by task, tokens and depth after scores_sort */
    size_t cell_count;
    struct cell *rows; /* [row_count] the sums over all depths, by task and tokens */
    size_t row_count;
    int depths[DEPTHS_MAX]; /* [depth_count] the depths of the answers, ascending */
    int depth_count;
    uint64_t prompts;
    uint64_t cut; /* answers that were cut at the end of the context */
    struct digests prompt_texts, needles;
    bool lacks_prompts; /* a line has no prompt, so that all are compared by their needles */
};

/* Adds one line of generate's output. Fails if the line is not an answer to a prompt of `needle
 * make`. */
int scores_add(struct scores *s, const json_t *line, struct fail *why) MUST_USE;
/* Sorts the cells and makes the rows. The caller calls it after the last answer. */
int scores_sort(struct scores *s, struct fail *why) MUST_USE;
/* Returns how many prompts have several answers. Sorts the digests. */
uint64_t scores_repeated(struct scores *s);
void scores_release(struct scores *s);

double cell_mean(const struct cell *c); /* per cent */
/* Standard error of the mean, per cent; NAN for one prompt. */
double cell_stderr(const struct cell *c);
/* Returns the cell of a row at a depth; NULL if there is none. */
const struct cell *scores_at(const struct scores *s, const struct cell *row, int depth);

/* The command `needle score`. Dies if something fails. */
void score(const struct options *o, const char **files);

#endif
