/* problem.h - the problem of one prompt: what is hidden in the text, what is asked, and the
 * answers.
 *
 *     single      one needle, a name's number; asked: the number of the name
 *     multikey    several names, each with a number; asked: the number of one name
 *     multivalue  one name with several numbers; asked: all of them
 *     multiquery  several names, each with a number; asked: the numbers of all
 *     tracking    a variable gets a number, others get its value; asked: all these variables
 *     common      a numbered list in which some words occur more often; asked: these words
 *     frequent    code words whose frequencies follow a power law; asked: the most frequent words
 *
 * These are tasks of RULER (Hsieh et al. 2024, arXiv 2404.06654) whose answers a program can check.
 */
#ifndef LONGQLORA_NEEDLE_PROBLEM_H
#define LONGQLORA_NEEDLE_PROBLEM_H

#include "tools/needle/draw.h"
#include "tools/needle/filler.h"
#include "tools/needle/text.h"
#include "tools/needle/wording.h"

enum task {
    TASK_SINGLE,
    TASK_MULTIKEY,
    TASK_MULTIVALUE,
    TASK_MULTIQUERY,
    TASK_TRACKING,
    TASK_COMMON,
    TASK_FREQUENT,
    TASKS
};
extern const char *const task_names[TASKS];
enum family task_family(enum task t);
/* Does the task hide needles in filler? If not, the text is a list of words. */
bool task_has_filler(enum task t);
/* Does the task ask for one answer, whose needle is at a depth? The needles of the other tasks are
 * spread over the text. */
bool task_has_depth(enum task t);
int64_t task_needles(enum task t); /* RULER's number of needles, values or words */

enum { PROBLEM_NEEDLES_MAX = 64 };

struct hidden {
    char *text;
    unsigned depth; /* how much of the filler comes before it, in thousandths */
};

struct problem {
    enum task task;
    const struct filler *filler;
    size_t first_piece; /* index of the piece with which the text begins */
    /* [hidden_count], sorted by depth */
    struct hidden hidden[PROBLEM_NEEDLES_MAX + 1];
    size_t hidden_count;
    char answers[PROBLEM_NEEDLES_MAX + 1][DRAW_TEXT];
    size_t answer_count;
    char *before, *after; /* the text before and after the context */
    char *prefix;         /* how the answer begins */
    uint64_t seed, number;
    int64_t needles;
};

/* The input of problem_make. */
struct wish {
    enum task task;
    uint64_t seed;
    uint64_t repetition; /* prompts of one repetition have the same filler */
    uint64_t number;     /* different for all prompts of a task */
    unsigned depth;      /* in thousandths of the filler */
    int64_t needles;
};

/* Makes the problem. The filler must outlive *p; the wording need not. The caller calls
 * problem_release. */
int problem_make(struct problem *p, const struct wish *wish, const struct filler *filler,
                 const struct wording *wording, struct fail *why) MUST_USE;
void problem_release(struct problem *p);

/* Appends the prompt, whose context is n pieces of filler, or a list of n words, and then `pad`.
 * Returns 1 if n is too small for a list. */
int problem_text(const struct problem *p, size_t n, const char *pad, size_t pad_bytes,
                 struct text *to, struct fail *why) MUST_USE;

#endif
