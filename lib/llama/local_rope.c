#include "lib/llama/local_rope.h"

#include "lib/llama/families.h"

#include <float.h>

static const char *const rope_layers[] = { "full_attention", "sliding_attention" };

/* Reads local_theta from the object of the layers with a window or, if that has none, from
 * rope_local_base_freq. */
static int parse_local(struct config *c, const json_t *local, struct fail *why)
{
    static const char outside_key[] = "rope_local_base_freq";
    const json_t *inside = json_object_get(local, "rope_theta");
    struct rope rope;
    int64_t original = c->max_position;
    c->local_theta = c->family->local_theta;
    if (config_rope_keys_check(local, rope_layers[1], why) ||
        rope_parse(&rope, local, rope_layers[1], c->max_position, &original, why))
        return -1;
    if (rope.type != ROPE_DEFAULT)
        return fail_input(why, "%s: %s positions of layers with a window are not supported",
                          rope_layers[1], rope_type_name(rope.type));
    if (json_is_null(inside) || (!inside && json_is_null(json_object_get(c->json, outside_key))))
        return fail_input(why, "%s: its rope_theta is null, which is no number", rope_layers[1]);
    if (json_get_real(c->json, outside_key, &c->local_theta, why) ||
        json_get_real(local, "rope_theta", &c->local_theta, why))
        return -1;
    if (!(c->local_theta > 0) || c->local_theta > (double)FLT_MAX)
        return fail_input(why, "the rope_theta of %s is %g, no positive number of f32",
                          rope_layers[1], c->local_theta);
    return 0;
}

int local_rope_split(struct config *c, const json_t *scaling, const json_t **parameters,
                     struct fail *why)
{
    const json_t *both = *parameters, *old = json_object_get(scaling, "type");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)both, key, value)
    {
        if (strcmp(key, rope_layers[0]) != 0 && strcmp(key, rope_layers[1]) != 0)
            return fail_input(why,
                              "rope_parameters: '%.60s' is not known; the known ones are %s and %s",
                              key, rope_layers[0], rope_layers[1]);
        if (!json_is_object(value) && !json_is_null(value))
            return fail_input(why, "rope_parameters: %s is not an object", key);
    }
    if (old && !json_object_get(scaling, "rope_type"))
        return fail_input(why, "rope_scaling: 'type' without 'rope_type', which transformers 5 "
                               "takes for default: write rope_type");
    *parameters = json_object_get(both, rope_layers[0]);
    if (!json_object_size(*parameters)) *parameters = NULL;
    if (both && scaling && !*parameters)
        return fail_input(why, "rope_scaling and rope_parameters both exist: remove one of them");
    return parse_local(c, json_object_get(both, rope_layers[1]), why);
}

json_t *local_rope_scaling(const struct config *c, json_t *stored)
{
    json_t *inside = json_object_get(stored, rope_layers[0]);
    if (inside) stored = inside;
    json_object_set_new(stored, "rope_type", json_string(rope_type_name(c->rope.type)));
    return stored;
}

bool local_rope_is_whole(const struct config *c)
{
    static const char original[] = "original_max_position_embeddings";
    const json_t *old = json_object_get(c->json, "rope_scaling");
    const json_t *new = json_object_get(c->json, "rope_parameters");
    return c->local_theta != 0 && c->rope.type == ROPE_LINEAR &&
           rope_equal(&c->rope, &c->stored_rope) && !json_object_get(c->json, original) &&
           !json_object_get(old, original) &&
           !json_object_get(json_object_get(new, rope_layers[0]), original);
}

void local_rope_tables(const struct config *c, int64_t first, int64_t count, float *cos_out,
                       float *sin_out)
{
    static const struct rope plain = { .type = ROPE_DEFAULT, .factor = 1, .attention = 1 };
    struct rope_scale s = { .rope = &plain,
                            .theta = c->local_theta,
                            .rotary_dim = c->rotary_dim,
                            .original = c->max_position };
    rope_tables(&s, 0, first, count, cos_out, sin_out);
}
