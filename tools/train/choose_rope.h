/* choose_rope.h - sets the position scaling that the recipe's key `rope` means.
 *
 * none, or a kind with a factor such as linear:2, is taken literally. A kind alone, such as linear,
 * gets the factor that max_seq_length needs, and changes nothing if the positions reach that far.
 * auto chooses the kind too. A run that goes on keeps the scaling that it began with. Otherwise the
 * choice follows what was measured on a pretrained model (docs/real-model/README.md). With YaRN the
 * trained model still finds in a text what the base finds. Linear interpolation makes all rotations
 * slower, also the fast ones by which a model distinguishes neighbouring tokens, and the model
 * needs many tokens to learn that again. So linear interpolation is chosen only where the report
 * and LongLoRA showed that it works: on a base with at most LLaMA-2's theta, if the run trains on
 * enough tokens.
 */
#ifndef LONGQLORA_CHOOSE_ROPE_H
#define LONGQLORA_CHOOSE_ROPE_H

#include "tools/train/trainer.h"

/* Sets the scaling in t->config for samples of up to `context` tokens. Writes to t->rope_choice
 * what auto chose and why, or "" if there was nothing to choose. */
int choose_rope(struct trainer *t, int64_t context, struct fail *why) MUST_USE;

/* Returns how many tokens the run trains on if all samples are full; 0: unknown. */
double choose_rope_tokens(const struct trainer *t);

/* True if linear scaling by this factor is the choice on a base with this theta, for this many
 * tokens (0: unknown). `reason` says why or why not. */
bool choose_rope_takes_linear(double theta, double factor, double tokens, char *reason,
                              size_t size);

#endif
