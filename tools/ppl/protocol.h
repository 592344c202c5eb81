/* protocol.h - how perplexity is measured: windows, what is scored, how it is averaged.
 *
 * longqlora    windows of L at range(0, N−L, L) less its last, all L−1 predictions, mean of
 *              the windows' means (the report's table)
 * longlora     the same with a stride of 256
 * sliding      whole windows at multiples of the stride, each scores what the one before has
 *              not scored, mean over tokens; what fills no window at the end is left out
 * huggingface  the guide "Perplexity of fixed-length models" of transformers, to the digit: as
 *              sliding, but the last window is cut by the end of the text and scored too, and a
 *              window's mean counts as often as it has new tokens, less one
 * llamacpp     whole windows side by side, the first token replaced by BOS, the second half
 *              scored, mean over tokens
 * longppl      whole windows side by side; scored are the predictions whose loss is below 2,
 *              and more than 2 lower than with a short context alone; mean over tokens
 *              (Fang et al. 2024, arXiv 2410.23771, with the model as its own judge)
 */
#ifndef LONGQLORA_PROTOCOL_H
#define LONGQLORA_PROTOCOL_H

#include "model/batch.h"

#define PROTOCOLS "longqlora|longlora|sliding|huggingface|llamacpp|longppl"

/* What is measured: a text, or many, each for itself, one after the other. */
struct texts {
    const uint32_t *ids;
    const int64_t *ends; /* of each, in ids */
    int64_t count;
};

struct protocol {
    const char *name;
    int64_t stride;        /* 0: what the protocol says */
    int64_t short_context; /* of longppl; 0: SHORT_CONTEXT */
    uint32_t bos;          /* for llamacpp */
    int64_t max_tokens;    /* of a text; windows begin in the first so many; 0: all */
};

/* Contexts end at 2^24. */
enum { POSITIONS_MAX = 25, SHORT_CONTEXT = 4096 };

/* Predictions that have seen 2^i to 2^(i+1) − 1 tokens of their window. */
struct position {
    int64_t scored;
    double nll; /* mean loss a token */
};

struct score {
    int64_t context, windows, scored;
    int64_t texts;                   /* that were long enough */
    double nll, perplexity, stderr_; /* mean loss a token; e^nll; of nll, windows as clusters, NAN
                                      * of one window */
    struct position positions[POSITIONS_MAX];
    int position_count; /* behind it are none */
};

/* What goes with the result, in words. */
const char *protocol_definition(const char *name);

/* Rows of one batch of windows: a function of the context alone, so that digits are. */
int64_t protocol_rows(int64_t context);

/* How many tokens a text must have for one whole window. Fails if the protocol has no windows
 * of that context, or has no use for an option. */
int protocol_needs(const struct protocol *p, int64_t context, int64_t *tokens,
                   struct fail *why) MUST_USE;
/* Tokens of the longest text, of those that count. */
int64_t protocol_longest(const struct protocol *p, const struct texts *t);

/* Of texts of which the longest has what protocol_needs says. Those that are too short are left
 * out. */
int protocol_run(const struct protocol *p, struct model *m, const struct texts *t, int64_t context,
                 struct score *score, struct fail *why) MUST_USE;

#endif
