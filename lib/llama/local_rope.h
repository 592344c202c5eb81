/* local_rope.h - the positions of layers with a window, in the families where these have their own:
 * plain ones of local_theta (struct config). rope_theta and rope_scaling are of the other layers.
 */
#ifndef LONGQLORA_LOCAL_ROPE_H
#define LONGQLORA_LOCAL_ROPE_H

#include "lib/llama/config.h"

/* Reads c->local_theta. scaling and *parameters are config.json's rope_scaling and rope_parameters,
 * NULL if they are missing. rope_parameters holds two objects, and *parameters becomes the one of
 * the layers without a window. Fails if an object is none that transformers 5 understands. */
int local_rope_split(struct config *c, const json_t *scaling, const json_t **parameters,
                     struct fail *why) MUST_USE;
/* Returns the object rope_scaling to be written, borrowed from `stored`, which is the file's
 * rope_scaling or rope_parameters. transformers 5 reads its type only under the name rope_type. */
json_t *local_rope_scaling(const struct config *c, json_t *stored);
/* As config_rope_tables, of the layers that have local_theta. */
void local_rope_tables(const struct config *c, int64_t first, int64_t count, float *cos_out,
                       float *sin_out);

#endif
