/* inputs.h - the files that a run reads, and their SHA-256.
 */
#ifndef LONGQLORA_TRAIN_INPUTS_H
#define LONGQLORA_TRAIN_INPUTS_H

#include "tools/train/recipe.h"

/* Returns an array of the files: {"key": the recipe's key, "path": …}. In a folder these are the
 * files that decide what is computed, such as the shards of a base. `samples` is the file with the
 * samples of standard input. NULL on failure. The caller calls json_decref. */
json_t *inputs_list(const struct recipe *r, const char *samples, struct fail *why);
/* Adds the "sha256" of each file. It is "" for a pipe, which cannot be read twice. `known` has the
 * digests of paths that were read before, and gets the digests of the other paths; it may be
 * NULL. */
int inputs_hash(json_t *inputs, json_t *known, struct fail *why) MUST_USE;
/* Fails if an input was a pipe and has still the same path, because a pipe cannot be read again. */
int inputs_check_streams(const json_t *then, const json_t *now, struct fail *why) MUST_USE;
/* Compares the files that a run read with those of the recipe now; `then` and `now` are arrays that
 * were hashed. Returns -1 and names the first file that differs. `place` names the file with
 * `then`. */
int inputs_compare(const json_t *then, const json_t *now, const char *place,
                   struct fail *why) MUST_USE;

#endif
