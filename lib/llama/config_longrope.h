/* config_longrope.h - reads and writes two features of config.json: heads of which only a part is
 * rotated, and longrope. Only config*.c include this header. */
#ifndef LONGQLORA_CONFIG_LONGROPE_H
#define LONGQLORA_CONFIG_LONGROPE_H

#include "lib/llama/config.h"

enum { POSITION_MAX = 1 << 28 };

/* The content of one of the two objects rope_scaling (transformers 4) and rope_parameters (5). */
struct rope_object {
    const json_t *json; /* NULL if the object is missing */
    struct rope rope;
    double theta;
    int64_t original, rotary_dim;
};

/* Reads partial_rotary_factor into s->rotary_dim. `where` is the name of the object. */
int config_read_rotary(const struct config *c, struct rope_object *s, const char *where,
                       struct fail *why) MUST_USE;
/* Reads the object of a family whose only position scaling is longrope. */
int config_read_longrope(const struct config *c, struct rope_object *s, const char *where,
                         struct fail *why) MUST_USE;
/* Adds the keys that transformers 4 reads only outside of the object. */
void config_put_outside(const struct config *c, json_t *j);
/* Changes an object of type longrope to the form that transformers 4 reads. */
void config_shorten_longrope(json_t *scaling);

#endif
