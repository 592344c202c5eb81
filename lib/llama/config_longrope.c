#include "lib/llama/config_longrope.h"

#include "lib/llama/families.h"

/* Like rope_theta, partial_rotary_factor may be inside of rope_scaling or rope_parameters, or
 * outside. */
int config_read_rotary(const struct config *c, struct rope_object *s, const char *where,
                       struct fail *why)
{
    static const char key[] = "partial_rotary_factor";
    const json_t *outside = json_object_get(c->json, key), *inside = json_object_get(s->json, key);
    double old = 1;
    if (json_get_real(c->json, key, &old, why)) return -1;
    double factor = old;
    if (json_get_real(s->json, key, &factor, why)) return fail_in(why, where);
    if (!c->family->has_partial_rotary && (factor != 1 || old != 1 || json_is_null(inside)))
        return fail_input(why, "%s%s%s is not supported", inside ? where : "", inside ? ": " : "",
                          key);
    if (c->family->has_partial_rotary && (json_is_null(inside) || json_is_null(outside)))
        return fail_input(why, "%s is null, which is no number", key);
    if (inside && outside && factor != old)
        return fail_input(why, "%s is %g and, in %s, %g: keep one", key, old, where, factor);
    s->rotary_dim = factor > 0 && factor <= 1 ? (int64_t)((double)c->head_dim * factor) : 0;
    if (!s->rotary_dim || s->rotary_dim % 2)
        return fail_input(
            why, "%s %g of head_dim %lld is not an even number of elements, which rotation needs",
            key, factor, (long long)c->head_dim);
    return 0;
}

/* Is this an object of longrope? Its type was called su in Phi-3's first files, and later, for a
 * time, yarn. */
static bool is_longrope(const json_t *scaling)
{
    static const char *const own[] = { "longrope", "su", "yarn" };
    const json_t *type = json_object_get(scaling, "rope_type");
    const char *name = json_string_value(type ? type : json_object_get(scaling, "type"));
    for (size_t i = 0; name && i < sizeof own / sizeof *own; i++)
        if (!strcmp(name, own[i])) return true;
    return false;
}

/* The original context is outside of the object. transformers does not read one inside, so an
 * original context inside must be equal to the one outside. */
static int read_longrope(const struct config *c, struct rope_object *s, const char *where,
                         struct fail *why)
{
    static const char key[] = "original_max_position_embeddings";
    s->original = c->family->original_position;
    if (json_get_count(c->json, key, POSITION_MAX, &s->original, why)) return -1;
    int64_t inside = s->original, count = s->rotary_dim / 2;
    if (json_get_count(s->json, key, POSITION_MAX, &inside, why)) return fail_in(why, where);
    if (inside != s->original && !json_object_get(c->json, key))
        return fail_input(why,
                          "%s is in %s only, where transformers does not read it: write it "
                          "outside, beside max_position_embeddings",
                          key, where);
    if (inside != s->original)
        return fail_input(why, "%s is %lld and, in %s, %lld: keep one", key, (long long)s->original,
                          where, (long long)inside);
    if (!s->original) return fail_input(why, "%s is 0", key);
    if (c->dim / c->heads != c->head_dim)
        return fail_input(
            why, "longrope is not supported if head_dim is not hidden_size / num_attention_heads, "
                 "from which transformers computes the number of factors");
    return rope_parse_longrope(&s->rope, s->json, count, c->max_position, s->original, why)
               ? fail_in(why, where)
               : 0;
}

int config_read_longrope(const struct config *c, struct rope_object *s, const char *where,
                         struct fail *why)
{
    if (is_longrope(s->json)) return read_longrope(c, s, where, why);
    int64_t original = s->original;
    if (rope_parse(&s->rope, s->json, where, c->max_position, &original, why)) return -1;
    if (s->rope.type == ROPE_DEFAULT) return 0;
    return fail_input(why, "%s: type '%s': transformers has only default and longrope for %s",
                      where, rope_type_name(s->rope.type), c->family->model_type);
}

int config_set_original(struct config *c, int64_t original, struct fail *why)
{
    if (!original) return 0;
    if (c->rope.type == ROPE_LONGROPE && original != c->original_position)
        return fail_usage(why,
                          "%lld: the model's longrope has its factors for an original context of "
                          "%lld: leave it out",
                          (long long)original, (long long)c->original_position);
    c->original_position = original;
    return 0;
}

int config_check_rope(const struct config *c, struct fail *why)
{
    bool is_known =
        c->rope.type != ROPE_YARN && c->rope.type != ROPE_DYNAMIC && c->rope.type != ROPE_LLAMA3;
    if (is_known || !c->family->has_longrope) return 0;
    return fail_usage(why, "%s positions do not exist in transformers' %s: use linear or ntk",
                      rope_type_name(c->rope.type), c->family->model_type);
}

void config_put_outside(const struct config *c, json_t *j)
{
    static const char key[] = "partial_rotary_factor", *const objects[] = { "rope_scaling",
                                                                            "rope_parameters" };
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        json_t *inside = json_object_get(json_object_get(j, objects[i]), key);
        if (inside && !json_object_get(j, key)) json_object_set(j, key, inside);
    }
    if (c->rope.type == ROPE_LONGROPE)
        json_object_set_new(j, "original_max_position_embeddings",
                            json_integer(c->original_position));
}

/* transformers 4 accepts only type and the two lists in an object of longrope. So keys that are
 * also outside of it are removed. A factor or attention_factor stays, because it changes the
 * result. */
void config_shorten_longrope(json_t *scaling)
{
    json_object_set_new(scaling, "type", json_string(rope_type_name(ROPE_LONGROPE)));
    json_object_del(scaling, "rope_type");
    json_object_del(scaling, "original_max_position_embeddings");
    json_object_del(scaling, "partial_rotary_factor");
}

void config_put_whole_positions(const struct config *c, json_t *j)
{
    json_t *scaling = json_object_get(j, "rope_scaling");
    json_object_set_new(j, "max_position_embeddings", json_integer(config_context(c)));
    /* If attention_factor is missing, transformers computes it for longrope from the two contexts.
     * Linear scaling has no such factor, so 1 is written. */
    if (c->family->has_longrope && c->rope.type == ROPE_LINEAR)
        json_object_set_new(scaling, "attention_factor", json_real(1));
}
