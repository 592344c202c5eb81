/* session.h - one text in the making: a model, the tokens it has read, and the logits
 * of the next.
 *
 * Keys and values of what was read stay in a cache, in 16 bits unless the setup's exact_cache
 * says that they are kept as they were computed; going on costs only what is new.
 * Long texts are read in pieces of 2048 tokens.
 */
#ifndef LONGQLORA_MODEL_SESSION_H
#define LONGQLORA_MODEL_SESSION_H

#include "model/batch.h"
#include "model/loaded.h"

struct session {
    struct model *model;
    struct batch batch;
    uint32_t *ids; /* [context] what was read */
    int64_t count, context, chunk;
    float *logits;                     /* [vocab] of the token after the last */
    const struct session_watch *watch; /* NULL: nobody is told */
};

/* Who wants to know how far a text of many pieces is read, in tokens of `total`. */
struct session_watch {
    void (*begin)(int64_t first, int64_t total);
    void (*at)(int64_t done);
    void (*end)(void);
};

/* Of a session of that many tokens. */
struct model_setup session_setup(int64_t context, const char *device, int threads);

/* The longest context, at most the setup's, that there is room for; 0 if there is for none. */
int session_longest(const struct loaded *l, const struct model_setup *setup,
                    struct memory_room room, int64_t *longest, struct fail *why) MUST_USE;

/* Takes all memory for the setup's context. The loaded model must outlive it. */
int session_open(struct session *s, const struct loaded *l, const struct model_setup *setup,
                 struct fail *why) MUST_USE;
void session_close(struct session *s);

/* Makes the text ids[0..count), count >= 1: what it shares with the text that was read is
 * kept. The caller has seen that it fits the context and that ids are in the vocabulary.
 * Returns 1, without logits, if the setup's stop came first: the session then has read as much as
 * it has, and another text may be read. */
int session_read(struct session *s, const uint32_t *ids, int64_t count, struct fail *why) MUST_USE;
/* Reads one token more. */
int session_append(struct session *s, uint32_t id, struct fail *why) MUST_USE;

#endif
