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

static int parse_rope(struct config *c, const json_t *scaling, struct fail *why)
{
    c->rope = ROPE_DEFAULT;
    c->factor = 1;
    if (!scaling || json_is_null(scaling)) return 0;
    if (!json_is_object(scaling)) return fail_input(why, "rope_scaling is not an object");
    const char *old = json_string_value(json_object_get(scaling, "type"));
    const char *type = json_string_value(json_object_get(scaling, "rope_type"));
    if (old && type && strcmp(old, type) != 0)
        return fail_input(why, "rope_scaling: type '%.20s' and rope_type '%.20s' differ", old,
                          type);
    if (!type) type = old;
    if (!type) return fail_input(why, "rope_scaling has no type");
    if (!strcmp(type, "default")) return 0;
    if (strcmp(type, "linear") != 0)
        return fail_input(why, "rope_scaling: type '%.30s' is not computed here", type);
    if (json_get_real(scaling, "factor", &c->factor, why)) return -1;
    if (!(c->factor >= 1) || c->factor > 1e6)
        return fail_input(why, "rope_scaling: factor %g", c->factor);
    c->rope = ROPE_LINEAR;
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
        parse_rope(c, json_object_get(j, "rope_scaling"), why))
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

int64_t config_context(const struct config *c)
{
    return (int64_t)((double)c->original_position * c->factor);
}

void config_extend(struct config *c, int64_t context)
{
    double factor = ceil((double)context / (double)c->original_position);
    if (factor <= c->factor) return;
    c->rope = ROPE_LINEAR;
    c->factor = factor;
}

int config_set_rope(struct config *c, const char *text, struct fail *why)
{
    if (!strcmp(text, "none")) {
        c->rope = ROPE_DEFAULT;
        c->factor = 1;
        return 0;
    }
    char *end = NULL;
    double factor = strncmp(text, "linear:", 7) ? 0 : strtod(text + 7, &end);
    if (!end || !(factor >= 1) || *end || factor > 1e6)
        return fail_usage(why, "rope '%s' is neither none nor linear:FACTOR", text);
    c->rope = factor > 1 ? ROPE_LINEAR : ROPE_DEFAULT;
    c->factor = factor;
    return 0;
}

void config_describe_rope(const struct config *c, char *text, size_t size)
{
    if (c->rope == ROPE_DEFAULT)
        snprintf(text, size, "none (%lld), theta %g", (long long)c->original_position, c->theta);
    else
        snprintf(text, size, "linear %g (%lld → %lld), theta %g", c->factor,
                 (long long)c->original_position, (long long)config_context(c), c->theta);
}

json_t *config_to_json(const struct config *c, bool new_style)
{
    json_t *j = json_deep_copy(c->json);
    if (!j) return NULL;
    if (c->rope == ROPE_DEFAULT) {
        json_object_set_new(j, "rope_scaling", json_null());
        return j;
    }
    json_t *scaling = json_pack("{s:s,s:f}", "type", "linear", "factor", c->factor);
    if (new_style) json_object_set_new(scaling, "rope_type", json_string("linear"));
    json_object_set_new(j, "rope_scaling", scaling);
    json_object_set_new(j, "original_max_position_embeddings", json_integer(c->original_position));
    return j;
}

void config_rope_tables(const struct config *c, int64_t positions, float *cos_out, float *sin_out)
{
    int64_t half = c->head_dim / 2;
    for (int64_t i = 0; i < half; i++) {
        float exponent = (float)(2 * i) / (float)c->head_dim;
        float frequency = 1.0f / powf((float)c->theta, exponent);
        for (int64_t t = 0; t < positions; t++) {
            float angle = (float)t / (float)c->factor * frequency;
            cos_out[t * half + i] = (float)cos((double)angle);
            sin_out[t * half + i] = (float)sin((double)angle);
        }
    }
}
