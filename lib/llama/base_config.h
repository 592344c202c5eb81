/* base_config.h - the values of a base's config.json that decide what the model computes.
 *
 * base_digest.h identifies a base by its tensors. The same tensors may belong to another model if,
 * for example, the number of heads differs. So an adapter and a checkpoint also record these
 * values, as a JSON object (docs/formats/adapter.md):
 *
 *     {"num_attention_heads": 32, "head_dim": 128, "rms_norm_eps": 1e-5, …}
 *
 * The values are those of struct config after reading, so a key that is absent equals a key that
 * has the default, and it makes no difference whether they come from config.json or from a GGUF.
 * Keys without effect on the computation are not among them.
 */
#ifndef LONGQLORA_BASE_CONFIG_H
#define LONGQLORA_BASE_CONFIG_H

#include "lib/llama/config.h"

/* The largest length of the object as text, with its terminating zero. */
enum { BASE_CONFIG_TEXT = 4096 };

/* Returns the object. It has the parameters of the position scaling in use (c->rope), except type
 * and factor, which are recorded elsewhere. NULL if memory runs out. The caller decrefs it. */
json_t *base_config(const struct config *c);
/* Writes the object as text. */
int base_config_text(const struct config *c, char text[BASE_CONFIG_TEXT],
                     struct fail *why) MUST_USE;

/* Fails if an object that was read has a key that this version does not know, or a value of another
 * type. */
int base_config_check(const json_t *config, struct fail *why) MUST_USE;

/* The first value that differs. */
struct base_config_difference {
    char key[80]; /* the key of the object, and of config.json if that has another name */
    char then[160], now[160];
};
/* Compares two objects, and returns true if a value differs. Keys that only one of them has are not
 * compared. Numbers are equal if they differ by less than 1e-6 of their size, because a GGUF stores
 * them in f32. */
bool base_config_differs(const json_t *then, const json_t *now, struct base_config_difference *d);

/* Fails if two texts of base_config_text differ. An empty text is unknown and equals any. The
 * message says what `then`, the beginning of the run, had. */
int base_config_compare(const char *then, const char *now, struct fail *why) MUST_USE;

#endif
