#include "config.h"

#include <math.h>
#include <sys/stat.h>

enum { DIM_MAX = 1 << 20, LAYERS_MAX = 4096, POSITION_MAX = 1 << 28 };

static int refuse_flag(const json_t *json, const char *key, struct fail *why)
{
    bool value = false;
    if (json_get_flag(json, key, &value, why)) return -1;
    if (value) return fail_input(why, "%s: true is not computed here", key);
    return 0;
}

static int parse_sizes(struct config *c, struct fail *why)
{
    json_t *j = c->json;
    if (json_get_count(j, "vocab_size", 1 << 24, &c->vocab, why) ||
        json_get_count(j, "hidden_size", DIM_MAX, &c->dim, why) ||
        json_get_count(j, "intermediate_size", DIM_MAX, &c->ffn, why) ||
        json_get_count(j, "num_hidden_layers", LAYERS_MAX, &c->layers, why) ||
        json_get_count(j, "num_attention_heads", 1 << 16, &c->heads, why))
        return -1;
    c->kv_heads = c->heads;
    c->max_position = 2048;
    if (json_get_count(j, "num_key_value_heads", 1 << 16, &c->kv_heads, why) ||
        json_get_count(j, "max_position_embeddings", POSITION_MAX, &c->max_position, why))
        return -1;
    if (!c->vocab || !c->dim || !c->ffn || !c->layers || !c->heads || !c->kv_heads ||
        !c->max_position)
        return fail_input(why, "a size is missing or 0");
    c->head_dim = c->dim / c->heads;
    if (!json_is_null(json_object_get(j, "head_dim")) &&
        json_get_count(j, "head_dim", 1 << 16, &c->head_dim, why))
        return -1;
    if (c->heads % c->kv_heads)
        return fail_input(why, "%lld attention heads for %lld key/value heads", (long long)c->heads,
                          (long long)c->kv_heads);
    if (c->head_dim % 2 || !c->head_dim)
        return fail_input(why, "head dimension %lld is not even", (long long)c->head_dim);
    if (c->dim % 8 || c->ffn % 8 || c->heads * c->head_dim % 8)
        return fail_input(why, "hidden_size and intermediate_size must be multiples of 8");
    return 0;
}

static int parse(struct config *c, struct fail *why)
{
    json_t *j = c->json;
    if (!json_is_object(j)) return fail_input(why, "not an object");
    const char *kind = json_string_value(json_object_get(j, "model_type"));
    if (kind && strcmp(kind, "llama") != 0 && strcmp(kind, "mistral") != 0)
        return fail_input(why, "model_type '%.40s' is not of the LLaMA family", kind);
    const char *act = json_string_value(json_object_get(j, "hidden_act"));
    if (act && strcmp(act, "silu") != 0)
        return fail_input(why, "hidden_act '%.40s' is not computed here", act);
    if (parse_sizes(c, why) || refuse_flag(j, "attention_bias", why) ||
        refuse_flag(j, "mlp_bias", why))
        return -1;
    c->norm_eps = 1e-6;
    c->theta = 10000;
    int64_t original = c->max_position, window = INT64_MAX;
    if (json_get_real(j, "rms_norm_eps", &c->norm_eps, why) ||
        json_get_real(j, "rope_theta", &c->theta, why) ||
        json_get_flag(j, "tie_word_embeddings", &c->is_tied, why) ||
        json_get_count(j, "original_max_position_embeddings", POSITION_MAX, &original, why) ||
        rope_parse(&c->rope, json_object_get(j, "rope_scaling"), &original, why))
        return -1;
    if (!json_is_null(json_object_get(j, "sliding_window")) &&
        json_get_count(j, "sliding_window", INT64_MAX, &window, why))
        return -1;
    if (window < c->max_position)
        return fail_input(why, "sliding_window %lld is shorter than the context %lld",
                          (long long)window, (long long)c->max_position);
    if (!(c->theta > 0) || !(c->norm_eps > 0) || !original)
        return fail_input(why, "rope_theta, rms_norm_eps or the original context is not positive");
    c->original_position = original;
    return 0;
}

int config_parse(struct config *c, const char *text, const char *name, struct fail *why)
{
    *c = (struct config){ .json = json_read_text(text, strlen(text), name, why) };
    if (!c->json) return -1;
    if (!parse(c, why)) return 0;
    config_release(c);
    why->status = STATUS_INPUT;
    return fail_in(why, name);
}

int config_read(struct config *c, const char *path, struct fail *why)
{
    char file[4096];
    struct stat st;
    bool is_directory = !stat(path, &st) && S_ISDIR(st.st_mode);
    snprintf(file, sizeof file, is_directory ? "%s/config.json" : "%s", path);
    *c = (struct config){ .json = json_read_file(file, why) };
    if (!c->json) return -1;
    if (!parse(c, why)) return 0;
    config_release(c);
    return fail_in(why, file);
}

int config_copy(struct config *to, const struct config *from, struct fail *why)
{
    *to = *from;
    to->json = json_deep_copy(from->json);
    return to->json ? 0 : fail(why, "out of memory");
}

void config_release(struct config *c)
{
    json_decref(c->json);
    *c = (struct config){ 0 };
}

/* A stretch whose factor and original context tell how far it reaches. */
static bool is_interpolated(const struct config *c)
{
    return c->rope.type == ROPE_DEFAULT || c->rope.type == ROPE_LINEAR;
}

int64_t config_context(const struct config *c)
{
    if (!is_interpolated(c)) return c->max_position;
    return (int64_t)((double)c->original_position * c->rope.factor);
}

int config_extend(struct config *c, int64_t context, struct fail *why)
{
    if (context <= config_context(c)) return 0;
    if (!is_interpolated(c))
        return fail_usage(
            why, "a context of %lld: %s positions reach %lld and are not interpolated",
            (long long)context, rope_type_name(c->rope.type), (long long)config_context(c));
    double factor = ceil((double)context / (double)c->original_position);
    c->rope = (struct rope){ .type = ROPE_LINEAR, .factor = factor, .attention = 1 };
    return 0;
}

void config_describe_rope(const struct config *c, char *text, size_t size)
{
    if (c->rope.type == ROPE_DEFAULT)
        snprintf(text, size, "none (%lld), theta %g", (long long)c->original_position, c->theta);
    else
        snprintf(text, size, "%s %g (%lld → %lld), theta %g", rope_type_name(c->rope.type),
                 c->rope.factor, (long long)c->original_position, (long long)config_context(c),
                 c->theta);
}

json_t *config_to_json(const struct config *c, bool new_style)
{
    json_t *j = json_deep_copy(c->json);
    if (!j || !is_interpolated(c)) return j;
    if (c->rope.type == ROPE_DEFAULT) {
        json_object_set_new(j, "rope_scaling", json_null());
        return j;
    }
    json_t *scaling = json_pack("{s:s,s:f}", "type", "linear", "factor", c->rope.factor);
    if (new_style) json_object_set_new(scaling, "rope_type", json_string("linear"));
    json_object_set_new(j, "rope_scaling", scaling);
    json_object_set_new(j, "original_max_position_embeddings", json_integer(c->original_position));
    return j;
}

void config_rope_tables(const struct config *c, int64_t positions, float *cos_out, float *sin_out)
{
    rope_tables(&c->rope, c->theta, c->head_dim, c->original_position, positions, cos_out, sin_out);
}
