/* local_rope.h - RoPE of layers with a window, in families in which these layers have a RoPE of
 * their own. The theta of this RoPE is local_theta (struct config), and it has no position scaling.
 * rope_theta and rope_scaling apply to the other layers.
 */
#ifndef LONGQLORA_LOCAL_ROPE_H
#define LONGQLORA_LOCAL_ROPE_H

#include "lib/llama/config.h"

/* Sets c->local_theta from config.json. scaling and *parameters are its rope_scaling and
 * rope_parameters, NULL if they are missing. rope_parameters has an object for each kind of layer;
 * *parameters becomes the object of the layers without a window. Fails if transformers 5 cannot
 * read one of the objects. */
int local_rope_split(struct config *c, const json_t *scaling, const json_t **parameters,
                     struct fail *why) MUST_USE;
/* Returns the object rope_scaling for a config.json that is to be written: a borrowed reference to
 * `stored`, or to an object in `stored`. `stored` is the rope_scaling or rope_parameters that was
 * read. Its type gets the key rope_type, because transformers 5 reads the type under no other
 * key. */
json_t *local_rope_scaling(const struct config *c, json_t *stored);
/* Is max_position_embeddings the context after linear scaling? With local_theta the answer is yes
 * (Gemma 3 of 4B and more), unless config.json also has the original context. If yes, the original
 * context is max_position_embeddings divided by the factor. */
bool local_rope_is_whole(const struct config *c);
/* Like config_rope_tables, for the layers that have local_theta. */
void local_rope_tables(const struct config *c, int64_t first, int64_t count, float *cos_out,
                       float *sin_out);

#endif
