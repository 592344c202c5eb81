/* config_keys.h - the keys of config.json, and what becomes of each.
 *
 * A table has every key that transformers 4.31 to 5 knows in a config.json of type llama or
 * mistral, and keys of other models that would change what is computed. Each is understood
 * (config.c reads it), or it changes no result, or it is refused by name where it is not off: off
 * is null, false, 0, an empty text, list or object, and for a factor 1. A name with a star in it
 * stands for all keys that it matches and that have no line of their own.
 *
 * A key that no line matches is taken for a note of whoever made the file, as transformers takes
 * it: it is named once by the program, and kept in what is written.
 *
 * docs/config.md shows the table; tests/unit/test_config.c compares the two.
 */
#ifndef LONGQLORA_CONFIG_KEYS_H
#define LONGQLORA_CONFIG_KEYS_H

#include "lib/common/json.h"

enum config_key_kind {
    CONFIG_KEY_UNDERSTOOD, /* text: what is read */
    CONFIG_KEY_HARMLESS,   /* text: why it changes no result */
    CONFIG_KEY_REFUSED,    /* unless it is off; text: what is not computed here */
    CONFIG_KEY_FACTOR,     /* the same of a number whose 1 is off too */
};

struct config_key {
    const char *name; /* with stars, a pattern of fnmatch */
    enum config_key_kind kind;
    const char *text;
};

/* A key that stands in configs of other models or programs, and what transformers calls it here.
 * Where only the other name is there it is refused. */
struct config_name {
    const char *name, *own;
};
const struct config_name *config_name_at(size_t i);

/* The tables' lines, one by one; NULL: no more. Of config.json itself, and of what stands in its
 * rope_scaling and rope_parameters, where a key that has no line is refused. */
const struct config_key *config_key_at(size_t i);
const struct config_key *config_rope_key_at(size_t i);

/* Fails at the first key that is refused. unknown: the names of those that no line matches, with
 * commas, cut where there are too many; empty without any. */
int config_keys_check(const json_t *config, char *unknown, size_t size, struct fail *why) MUST_USE;
/* where: "rope_scaling" or "rope_parameters". */
int config_rope_keys_check(const json_t *rope, const char *where, struct fail *why) MUST_USE;

#endif
