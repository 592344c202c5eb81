/* gguf_positions.c - reads the position scaling of a GGUF file. */
#include "lib/llama/families.h"
#include "lib/llama/gguf_builder.h"

#include <math.h>

/* ---- linear, yarn ---- */

static int put_yarn(const struct gguf_builder *m, json_t *scaling, double factor, struct fail *why)
{
    double fast = 0, slow = 0, attention = 1;
    if (gguf_builder_number(m, GGUF_KEY_BETA_FAST, &fast, why) ||
        gguf_builder_number(m, GGUF_KEY_BETA_SLOW, &slow, why) ||
        gguf_builder_number(m, GGUF_KEY_ATTN_FACTOR, &attention, why))
        return -1;
    /* llama.cpp multiplies its own factor, which is YaRN's, by this one. */
    if (attention != 1)
        json_object_set_new(scaling, "attention_factor",
                            gguf_model_real(attention * (1 + 0.1 * log(factor))));
    if (gguf_builder_has(m, GGUF_KEY_BETA_FAST))
        json_object_set_new(scaling, "beta_fast", gguf_model_real(fast));
    if (gguf_builder_has(m, GGUF_KEY_BETA_SLOW))
        json_object_set_new(scaling, "beta_slow", gguf_model_real(slow));
    return 0;
}

/* Sets linear scaling. For linear scaling, llama.cpp's converters write max_position_embeddings as
 * the context length, and no original context length. If a file has an original context length, as
 * with yarn, its context length is the context after scaling. */
static int put_linear(const struct gguf_builder *m, json_t *scaling, double factor,
                      int64_t original, int64_t rotary_dim)
{
    static const char key[] = "original_max_position_embeddings";
    const struct rope rope = { .type = ROPE_LINEAR, .factor = factor, .attention = 1 };
    if (original) json_object_set_new(m->config, "max_position_embeddings", json_integer(original));
    /* transformers' phi3 has no linear scaling, but longrope with equal factors is the same. */
    if (m->architecture->has_longrope) {
        scaling = rope_linear_as_longrope(&rope, rotary_dim / 2);
        json_object_set_new(scaling, "attention_factor", json_real(1));
        json_object_set_new(m->config, "rope_scaling", scaling);
        json_object_set(m->config, key, json_object_get(m->config, "max_position_embeddings"));
    }
    /* In a family with local_theta, max_position_embeddings is the context after scaling, unless
     * the file has the original context. */
    if (original && m->architecture->has_windows)
        json_object_set_new(scaling, key, json_integer(original));
    return 0;
}

static int put_scaling(const struct gguf_builder *m, const char *type, int64_t rotary_dim,
                       struct fail *why)
{
    int64_t original = 0;
    double factor = 0;
    if (gguf_builder_count(m, GGUF_KEY_ORIGINAL, &original, why) ||
        gguf_builder_number(m, GGUF_KEY_FACTOR, &factor, why))
        return -1;
    if (!(factor >= 1) || factor > 1000000)
        return fail_input(why, "%s is %g, but %s positions need a factor from 1 to 1000000",
                          GGUF_KEY_FACTOR, factor, type);
    json_t *real = gguf_model_real(factor);
    json_t *scaling = json_pack("{s:s,s:s,s:O}", "type", type, "rope_type", type, "factor", real);
    factor = json_real_value(real);
    json_decref(real);
    if (!scaling || json_object_set_new(m->config, "rope_scaling", scaling))
        return fail(why, "out of memory");
    if (!strcmp(type, "linear")) return put_linear(m, scaling, factor, original, rotary_dim);
    if (m->architecture->has_longrope)
        return fail_input(why, "yarn positions do not exist in transformers' %s",
                          m->architecture->model_types[0]);
    if (!original) return fail_input(why, "yarn positions need %s", GGUF_KEY_ORIGINAL);
    json_object_set_new(scaling, "original_max_position_embeddings", json_integer(original));
    return put_yarn(m, scaling, factor, why);
}

/* ---- longrope ---- */

/* Sets a list of longrope's factors from the tensor that stores them. */
static int put_factors(const struct gguf_builder *m, const char *name, const char *to,
                       json_t *scaling, int64_t count, struct fail *why)
{
    const struct gguf_tensor *t = gguf_tensor(m->g, name);
    if (!t || t->type != GGML_F32 || t->dims != 1 || t->shape[0] != count)
        return fail_input(why, "%s is not f32 [%lld]", name, (long long)count);
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) {
        float factor;
        memcpy(&factor, (const char *)t->data + (size_t)i * sizeof factor, sizeof factor);
        json_t *real = gguf_model_real((double)factor);
        if (real) json_array_append_new(list, real);
        if (real) continue;
        json_decref(list);
        return fail_input(why, "%s: number %lld is not finite", name, (long long)i);
    }
    return json_object_set_new(scaling, to, list) ? fail(why, "out of memory") : 0;
}

/* Sets attention_factor, unless it is the one that transformers computes from the two contexts. */
static void put_attention(json_t *scaling, double attention, int64_t context, int64_t original)
{
    double factor = (double)context / (double)original;
    double standard = factor > 1 ? sqrt(1 + log(factor) / log((double)original)) : 1;
    if ((float)attention != (float)standard)
        json_object_set_new(scaling, "attention_factor", gguf_model_real(attention));
}

static int put_longrope(const struct gguf_builder *m, bool is_scaled, int64_t context,
                        int64_t rotary_dim, struct fail *why)
{
    int64_t original = context;
    double attention = 1, factor = 0;
    if (gguf_builder_number(m, GGUF_KEY_FACTOR, &factor, why)) return -1;
    /* llama.cpp would divide the positions by it too. */
    if (is_scaled && factor != 0 && factor != 1)
        return fail_input(why, "%s is %g, but longrope has its factors in tensors: remove the key",
                          GGUF_KEY_FACTOR, factor);
    json_t *scaling = json_pack("{s:s}", "type", rope_type_name(ROPE_LONGROPE));
    if (!scaling || json_object_set_new(m->config, "rope_scaling", scaling))
        return fail(why, "out of memory");
    if (put_factors(m, GGUF_SHORT_FACTORS, "short_factor", scaling, rotary_dim / 2, why) ||
        put_factors(m, GGUF_LONG_FACTORS, "long_factor", scaling, rotary_dim / 2, why) ||
        gguf_builder_count(m, GGUF_KEY_ORIGINAL, &original, why) ||
        gguf_builder_number(m, GGUF_KEY_ATTN_FACTOR, &attention, why))
        return -1;
    if (original < 2)
        return fail_input(why, "%s is %lld, but must be at least 2", GGUF_KEY_ORIGINAL,
                          (long long)original);
    put_attention(scaling, attention, context, original);
    return json_object_set_new(m->config, "original_max_position_embeddings",
                               json_integer(original))
               ? fail(why, "out of memory")
               : 0;
}

/* ---- all of it ---- */

/* Reads the type of position scaling into *type: "none", "linear", "yarn" or "longrope". A factor
 * without a type is linear in llama.cpp, which takes 0 as absent. */
static int read_type(const struct gguf_builder *m, const char **type, struct fail *why)
{
    static const char *const known[] = { "none", "linear", "yarn", "longrope" };
    char key[160];
    double factor = 0;
    struct gguf_text name = { "none", 4 };
    if (gguf_get_text(m->g, gguf_builder_key(m, GGUF_KEY_SCALING, key), &name, why) ||
        gguf_builder_number(m, GGUF_KEY_FACTOR, &factor, why))
        return -1;
    if (!gguf_builder_has(m, GGUF_KEY_SCALING) && factor != 0 && factor != 1)
        name = (struct gguf_text){ "linear", 6 };
    for (int i = 0; i < 3 + m->architecture->has_longrope; i++) {
        *type = known[i];
        if (gguf_text_is(name, known[i])) return 0;
    }
    return fail_input(why, "%s '%.*s' is not supported, only none, linear and yarn",
                      GGUF_KEY_SCALING, (int)(name.bytes < 40 ? name.bytes : 40), name.at);
}

/* Finds out which tensors of factors the file has. Fails if the file has rope_freqs.weight, but the
 * architecture has no such tensor, or if the file has factors and also another kind of scaling. */
static int check_factors(const struct gguf_builder *m, const char *type, bool *has_llama3,
                         bool *has_longrope, struct fail *why)
{
    const struct gguf_architecture *a = m->architecture;
    bool is_none = !strcmp(type, "none"), is_longrope = !strcmp(type, "longrope");
    *has_llama3 = gguf_tensor(m->g, GGUF_ROPE_FREQS);
    *has_longrope = a->has_longrope && (is_longrope || gguf_tensor(m->g, GGUF_LONG_FACTORS) ||
                                        gguf_tensor(m->g, GGUF_SHORT_FACTORS));
    if (*has_llama3 && !a->has_factors)
        return fail_input(why, "tensor %s: llama.cpp's %s has no such tensor", GGUF_ROPE_FREQS,
                          a->name);
    if ((*has_llama3 && !is_none) || (*has_longrope && !is_none && !is_longrope))
        return fail_input(why, "the file has both %s and %s, but only one is possible",
                          GGUF_KEY_SCALING, *has_llama3 ? GGUF_ROPE_FREQS : GGUF_LONG_FACTORS);
    return 0;
}

int gguf_positions_read(const struct gguf_builder *m, int64_t rotary_dim, struct fail *why)
{
    double theta = 10000, linear = 1, attention = 1;
    bool has_llama3, has_longrope;
    const char *type;
    int64_t context;
    if (gguf_builder_put_count(m, GGUF_KEY_CONTEXT, "max_position_embeddings", &context, why) ||
        gguf_builder_number(m, GGUF_KEY_THETA, &theta, why) ||
        gguf_builder_put_real(m, "rope_theta", theta, why) || read_type(m, &type, why) ||
        gguf_builder_number(m, "rope.scale_linear", &linear, why) ||
        gguf_builder_number(m, GGUF_KEY_ATTN_FACTOR, &attention, why))
        return -1;
    if (linear != 1)
        return fail_input(why, "rope.scale_linear, the old spelling of linear positions, is not "
                               "supported: convert the model again with a current llama.cpp");
    if (check_factors(m, type, &has_llama3, &has_longrope, why)) return -1;
    if (m->architecture->has_longrope && rotary_dim / 2 > ROPE_FACTORS_MAX)
        return fail_input(why,
                          "%lld elements of each head are rotated, but at most %d are supported",
                          (long long)rotary_dim, 2 * ROPE_FACTORS_MAX);
    if (has_longrope) return put_longrope(m, !strcmp(type, "longrope"), context, rotary_dim, why);
    if (attention != 1 && strcmp(type, "yarn") != 0)
        return fail_input(why, "%s %g is not supported for positions of type %s",
                          GGUF_KEY_ATTN_FACTOR, attention, type);
    if (has_llama3) return gguf_model_llama3(m->g, m->config, rotary_dim, theta, why);
    return strcmp(type, "none") != 0 ? put_scaling(m, type, rotary_dim, why) : 0;
}
