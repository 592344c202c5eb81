/* options.h - the command line of needle.
 */
#ifndef LONGQLORA_NEEDLE_OPTIONS_H
#define LONGQLORA_NEEDLE_OPTIONS_H

#include "lib/cli/opt.h"
#include "tools/needle/problem.h"

enum { LENGTHS_MAX = 64, DEPTHS_MAX = 101, FIGURES_MAX = 8 };

struct options {
    const char *model, *template, *system, *filler, *wording, *tasks, *lengths, *depths, *to,
        *output;
    int64_t count, needles, seed;
    bool samples;
    struct opt_list figures;
};

/* What `make` makes: `count` prompts of every task, length and depth. */
struct plan {
    bool has_task[TASKS];
    int64_t lengths[LENGTHS_MAX];
    unsigned depths[DEPTHS_MAX]; /* per cent */
    int length_count, depth_count;
};

/* Checks the options of `make` before any file is read. Dies if an option of the other command is
 * given, or if a list cannot be parsed. */
void options_make(const struct options *o, const char **operands, struct plan *plan);
void options_score(const struct options *o);

#endif
