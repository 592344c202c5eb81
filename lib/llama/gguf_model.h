/* gguf_model.h - a GGUF file as a model: what its config.json would say.
 *
 * The keys of the file are turned into the text of a config.json as transformers' converters would
 * have read it. config.c then reads that text, so that a GGUF is understood by the same rules as a
 * directory. A key that changes the result and is not understood is refused by name.
 */
#ifndef LONGQLORA_LLAMA_GGUF_MODEL_H
#define LONGQLORA_LLAMA_GGUF_MODEL_H

#include "lib/llama/config.h"
#include "lib/llama/gguf_names.h"
#include "lib/tensorfile/gguf.h"

/* Returns the file's architecture; NULL with *why if it is not supported, or if the file holds no
 * model. */
const struct gguf_architecture *gguf_model_architecture(const struct gguf *g, struct fail *why);
/* Returns the config.json, which the caller decrefs. NULL with *why. */
json_t *gguf_model_config(const struct gguf *g, struct fail *why);
/* Reads the config of the file at `path`. The caller calls config_release. */
int gguf_model_read_config(struct config *c, const struct gguf *g, const char *path,
                           struct fail *why) MUST_USE;
/* Finds the parameters of llama3 RoPE scaling that give the factors in rope_freqs.weight, and adds
 * them to the config. Fails if it finds none. */
int gguf_model_llama3(const struct gguf *g, json_t *config, int64_t head_dim, double theta,
                      struct fail *why) MUST_USE;

/* A real number as json_real, with the fewest digits that give the same f32: 1e-05, where the file
 * has 9.999999747378752e-06. */
json_t *gguf_model_real(double value);

#endif
