/* session.h - generation from one text: a model, the tokens that it has read, and the logits of the
 * next token.
 *
 * A cache keeps the keys and values of the tokens read, in 16 bits, or in the type of the
 * activations if setup.exact_cache is set. Only new tokens are computed, except with
 * position scaling that depends on the text's length. Long texts are read in chunks of 2048 tokens
 * (chunked prefill).
 *
 * Several ranks may share a session. Each rank computes a part of the rows of a chunk, and
 * attention for its share of the heads. The keys and values of these heads are in the cache of this
 * rank only. A chunk then has 2048 tokens for each segment. Rank 0 decides what is read, with the
 * functions below; the others call session_follow. Only rank 0 gets logits.
 */
#ifndef LONGQLORA_MODEL_SESSION_H
#define LONGQLORA_MODEL_SESSION_H

#include "model/batch.h"
#include "model/loaded.h"

struct session {
    struct model *model;
    struct batch batch;
    uint32_t *ids; /* [context] the tokens read so far */
    int64_t count, context, chunk;
    int64_t length; /* tokens of the text of the last session_read */
    int64_t reused; /* tokens of the last text whose keys were in the cache already */
    float *logits;  /* [vocab] of the token after the last one */
    const struct session_watch *watch; /* borrowed; NULL: no progress is reported */
    struct ranks *ranks;               /* borrowed; NULL: no other rank shares the session */
};

/* Callbacks that report how many tokens of a long text have been read, out of `total`. */
struct session_watch {
    void (*begin)(int64_t first, int64_t total);
    void (*at)(int64_t done);
    void (*end)(void);
};

/* Returns the setup of a session of `context` tokens. */
struct model_setup session_setup(int64_t context, const char *device, int threads);

/* Makes the setup one of a session that all ranks share, in segments (model.h, setup.segments).
 * The number of ranks must divide the segments and the model's key/value heads. With one rank it
 * only sets the segments. parts: how many ranks there are, or are planned for; r may have fewer. */
void session_share(struct model_setup *setup, struct ranks *r, int64_t parts, int64_t segments);

/* Finds the longest context, up to the setup's, that fits the memory; 0 if none does. */
int session_longest(const struct loaded *l, const struct model_setup *setup,
                    struct memory_limits limits, int64_t *longest, struct fail *why) MUST_USE;

/* Allocates all memory for the setup's context. The loaded model is borrowed and must outlive the
 * session. session_close frees. */
int session_open(struct session *s, const struct loaded *l, const struct model_setup *setup,
                 struct fail *why) MUST_USE;
void session_close(struct session *s);

/* Makes ids[0..count) the text of the session, count >= 1, and computes the logits of the next
 * token. A prefix that equals the text already read is not computed again. The caller has checked
 * that count fits the context and that the ids are in the vocabulary. Returns 1, without logits, if
 * setup.stop was set first; the session stays usable. */
int session_read(struct session *s, const uint32_t *ids, int64_t count, struct fail *why) MUST_USE;
/* Reads one more token. */
int session_append(struct session *s, uint32_t id, struct fail *why) MUST_USE;

/* On the ranks other than 0: reads what rank 0 reads, until it calls session_dismiss. Rank 0 may
 * wait long for a prompt, so there is no limit for its next call (ranks_await_broadcast). */
int session_follow(struct session *s, struct fail *why) MUST_USE;
/* On rank 0: ends session_follow of the others. */
int session_dismiss(struct session *s, struct fail *why) MUST_USE;

#endif
