/* protocol.h - measures perplexity. A protocol says where windows of L tokens lie in a text of N
 * tokens, which predictions are scored, and how they are averaged.
 *
 *     longqlora    Windows begin at range(0, N−L, L), without the last of these. All L−1
 *                  predictions are scored. Mean of the windows' means (the report's table).
 *     longlora     The same with a stride of 256.
 *     sliding      Whole windows begin at multiples of the stride. A window scores the predictions
 *                  that the one before has not scored. Mean over tokens. Tokens at the end
 *                  that do not fill a window are left out.
 *     huggingface  The same numbers as in the guide "Perplexity of fixed-length models" of
 *                  transformers. As sliding, but the last window is cut at the end of the text and
 *                  scored too. The weight of a window's mean is its number of new tokens less one.
 *     llamacpp     Whole windows side by side. BOS replaces the first token. The second half is
 *                  scored. Mean over tokens.
 *     longppl      Whole windows side by side. A prediction is scored if its loss is below 2 and
 *                  more than 2 lower than with a short context. The model itself computes both
 *                  losses. Mean over tokens (Fang et al. 2024, arXiv 2410.23771).
 */
#ifndef LONGQLORA_PROTOCOL_H
#define LONGQLORA_PROTOCOL_H

#include "model/batch.h"
#include "tools/ppl/turns.h"

#define PROTOCOLS "longqlora|longlora|sliding|huggingface|llamacpp|longppl"

/* The texts to be measured. They follow each other in ids, and each is measured by itself. */
struct texts {
    const uint32_t *ids;
    const int64_t *ends; /* [count] end of each text in ids */
    int64_t count;
};

struct protocol {
    const char *name;
    int64_t stride;        /* 0: the protocol's default */
    int64_t short_context; /* longppl's short context; 0 means SHORT_CONTEXT */
    uint32_t bos;          /* replaces the first token of a window in llamacpp */
    int64_t max_tokens;    /* only this many tokens of each text are used; 0: all */
};

/* The largest context is 2^24. */
enum { POSITIONS_MAX = 25, SHORT_CONTEXT = 4096 };

/* Entry i is for predictions with 2^i to 2^(i+1) − 1 tokens of their window before them. */
struct position {
    int64_t scored;
    double nll; /* mean loss per token */
};

struct score {
    int64_t context, windows, scored;
    int64_t texts; /* number of texts that were long enough for a window */
    /* The mean loss per token; e^nll; and the standard error of nll with windows as clusters, which
     * is NAN if there is only one window. */
    double nll, perplexity, stderr_;
    struct position positions[POSITIONS_MAX];
    int position_count; /* all later entries of `positions` are empty */
};

/* Returns the protocol's definition in words, which is stored with the result. */
const char *protocol_definition(const char *name);

/* Returns how many rows one batch of windows has. The number depends on the context alone, so that
 * a result is the same on every machine. */
int64_t protocol_rows(int64_t context);

/* Sets *tokens to how many tokens a text must have so that one whole window of it is scored. Fails
 * if the protocol cannot have this context, or does not use an option that was given. */
int protocol_needs(const struct protocol *p, int64_t context, int64_t *tokens,
                   struct fail *why) MUST_USE;
/* Returns the tokens of the longest text, limited by max_tokens. */
int64_t protocol_longest(const struct protocol *p, const struct texts *t);

/* Measures all texts that are long enough. At least one must have as many tokens as protocol_needs
 * says. All ranks of `turns` call it, and get the same score. */
int protocol_run(const struct protocol *p, struct model *m, const struct texts *t, int64_t context,
                 struct turns *turns, struct score *score, struct fail *why) MUST_USE;

#endif
