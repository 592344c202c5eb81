/* base_check.h - notices that somebody writes to the base while a run reads it.
 *
 * An unquantized base is mapped, and on a CPU each step of LoRA reads its tensors from the mapped
 * files. Call base_check after a step or an evaluation has read them for the last time, before its
 * result is used.
 */
#ifndef LONGQLORA_TRAIN_BASE_CHECK_H
#define LONGQLORA_TRAIN_BASE_CHECK_H

#include "tools/train/trainer.h"

/* Call it once the model is open. Fails if a mapped file was written to while it was read, because
 * the model may have a mixture of old and new values. */
int base_check_begin(struct trainer *t, struct fail *why) MUST_USE;
/* Switch it on before the base is read and off after base_check. While it is on, a file of the base
 * that somebody shortens (as cp does before it writes) does not end the program: zeros are read in
 * its place, and base_check fails. */
void base_check_guard(const struct trainer *t, bool is_on);
/* All ranks call it. `what` names for messages what was computed, such as "step 7". If the time of
 * a file of the base has changed, the digest of the tensors is computed again. Returns 0 if no file
 * has changed, and BASE_AGAIN if the content is the same: somebody may have written another content
 * meanwhile, so the caller must compute again. Fails if the content is another one, or can no
 * longer be read; then the parameters are those before `what`, and may be saved. Returns 1 if
 * another rank has failed. */
enum { BASE_AGAIN = 2 };
int base_check(struct trainer *t, const char *what, struct fail *why) MUST_USE;

#endif
