/* gguf_builder.h - shared by the files gguf_*.c that make a config.json from the keys of a GGUF
 * file (gguf_model.h). Names of keys are written without their prefix, "{arch}.".
 */
#ifndef LONGQLORA_LLAMA_GGUF_BUILDER_H
#define LONGQLORA_LLAMA_GGUF_BUILDER_H

#include "lib/llama/gguf_model.h"

/* Builds a config.json from the keys of a GGUF file. */
struct gguf_builder {
    const struct gguf *g;
    const struct gguf_architecture *architecture;
    json_t *config;
};

/* Writes "{arch}.NAME" into `key`, and returns `key`. */
const char *gguf_builder_key(const struct gguf_builder *m, const char *name, char key[160]);
/* Does the file have this key? */
bool gguf_builder_has(const struct gguf_builder *m, const char *name);
/* Each reads a value; if the key is missing, *to stays unchanged. */
int gguf_builder_count(const struct gguf_builder *m, const char *name, int64_t *to,
                       struct fail *why) MUST_USE;
int gguf_builder_number(const struct gguf_builder *m, const char *name, double *to,
                        struct fail *why) MUST_USE;
/* Reads a size, which is required, and sets the config's key `to`. */
int gguf_builder_put_count(const struct gguf_builder *m, const char *name, const char *to,
                           int64_t *value, struct fail *why) MUST_USE;
/* Sets the config's key `to` to a value that the file gives in f32. */
int gguf_builder_put_real(const struct gguf_builder *m, const char *to, double value,
                          struct fail *why) MUST_USE;

/* Sets theta, the context and the position scaling. rotary_dim: how many elements of a head are
 * rotated. */
int gguf_positions_read(const struct gguf_builder *m, int64_t rotary_dim,
                        struct fail *why) MUST_USE;
/* Sets the sliding window, the layers that have it, and their theta. */
int gguf_windows_read(const struct gguf_builder *m, int64_t layers, struct fail *why) MUST_USE;

#endif
