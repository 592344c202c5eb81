/* config_keys.h - the table of config.json's keys, which says how each is treated.
 *
 * The table has every key that transformers 4.31 to 5 knows for the supported model types, and keys
 * of other models that would change the result. A model family has a few keys of its own, which
 * take precedence over these (families.h). Each key is understood (config.c reads it), or changes
 * no result, or is refused unless it is off. Off means null, false, 0, an empty text, list or
 * object, and for a factor also 1. A name with a star is a pattern. It stands for all keys that
 * match it and have no row of their own.
 *
 * A key that matches no row is taken for a note by the author of the file. It is ignored, as
 * transformers ignores it. The program mentions it once and keeps it in the files that it writes.
 *
 * docs/config.md shows the table; tests/unit/test_config.c compares the two.
 */
#ifndef LONGQLORA_CONFIG_KEYS_H
#define LONGQLORA_CONFIG_KEYS_H

#include "lib/common/json.h"

enum config_key_kind {
    CONFIG_KEY_UNDERSTOOD, /* text says what the key means */
    CONFIG_KEY_HARMLESS,   /* text says why the key changes no result */
    CONFIG_KEY_REFUSED,    /* refused unless it is off; text says what is not supported */
    CONFIG_KEY_FACTOR,     /* the same for a factor, which is also off if it is 1 */
};

struct config_key {
    const char *name; /* a name, or with stars a pattern of fnmatch */
    enum config_key_kind kind;
    const char *text;
};

/* Another name of a key. Other models or programs write `name`, and transformers writes `own`. A
 * config that has `name` but not `own` is refused, unless the value of `name` is off. */
struct config_name {
    const char *name, *own;
};

/* The tables, each with a row without a name at its end. config_keys is for config.json,
 * config_rope_keys for rope_scaling and rope_parameters, in which a key without a row is
 * refused. */
extern const struct config_key config_keys[], config_rope_keys[];
extern const struct config_name config_names[];

/* Fails at the first key that is refused. own: the family's keys, up to a row without a name.
 * unknown[size] gets the names of keys that match no row, separated by commas and truncated if they
 * are too long; "" if there are none. */
int config_keys_check(const json_t *config, const struct config_key *own, char *unknown,
                      size_t size, struct fail *why) MUST_USE;
/* Fails at the first key of the object `rope` that is refused. where: the object's own key,
 * "rope_scaling" or "rope_parameters". */
int config_rope_keys_check(const json_t *rope, const char *where, struct fail *why) MUST_USE;

#endif
