/* together.h - several ranks of one generation. Rank 0 reads prompts, chooses tokens and writes
 * answers; the others compute with it (session.h).
 */
#ifndef LONGQLORA_GENERATE_TOGETHER_H
#define LONGQLORA_GENERATE_TOGETHER_H

#include "model/session.h"
#include "tools/generate/options.h"

/* Dies if the ranks have different options, devices or models. */
void together_on_options(const struct options *o);
void together_on_model(const struct options *o, const struct loaded *l);

/* On rank 0. together_shorten shortens the context as needs_shorten does, and also to what the
 * memory of every other rank allows. together_tell tells the others which context the session has.
 * together_end ends them, whether a session was opened or not. */
int64_t together_shorten(const struct options *o, const struct loaded *l, int64_t context);
void together_tell(const struct options *o, int64_t context);
void together_end(const struct options *o, struct session *s);

/* Waits until each rank has measured the free memory, before one of them takes memory. */
void together_barrier(const struct options *o);

/* On the other ranks: computes with rank 0 until it ends. */
void together_follow(const struct options *o, struct loaded *l);

#endif
