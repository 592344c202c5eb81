/* gguf_model.h - makes a config.json from the keys of a GGUF file.
 *
 * The result is the config.json from which llama.cpp's converter would have made the file. config.c
 * then reads it, so that the same rules apply to a GGUF and to a directory. A key that changes the
 * result and is not supported is refused by name.
 */
#ifndef LONGQLORA_LLAMA_GGUF_MODEL_H
#define LONGQLORA_LLAMA_GGUF_MODEL_H

#include "lib/llama/config.h"
#include "lib/llama/gguf_names.h"
#include "lib/tensorfile/gguf.h"

/* Returns the file's architecture; NULL with *why if the architecture is not supported, or if the
 * file contains no model. */
const struct gguf_architecture *gguf_model_architecture(const struct gguf *g, struct fail *why);
/* Returns the config.json, which the caller decrefs; NULL with *why on failure. */
json_t *gguf_model_config(const struct gguf *g, struct fail *why);
/* Reads the config of the file at `path`. The caller calls config_release. */
int gguf_model_read_config(struct config *c, const struct gguf *g, const char *path,
                           struct fail *why) MUST_USE;
/* Finds the parameters of llama3 scaling that give the factors in rope_freqs.weight, and adds them
 * to the config. Fails if no parameters give these factors. */
int gguf_model_llama3(const struct gguf *g, json_t *config, int64_t rotary_dim, double theta,
                      struct fail *why) MUST_USE;

/* Returns a real number with the fewest digits that give the same f32. For example, the f32 that is
 * exactly 9.999999747378752e-06 becomes 1e-05. */
json_t *gguf_model_real(double value);

#endif
