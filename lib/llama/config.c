#include "config.h"

#include <float.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static const char ntk_key[] = "ntk_rope";

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
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = { { "vocab_size", c->vocab },
                  { "hidden_size", c->dim },
                  { "intermediate_size", c->ffn },
                  { "num_hidden_layers", c->layers },
                  { "num_attention_heads", c->heads },
                  { "num_key_value_heads", c->kv_heads },
                  { "max_position_embeddings", c->max_position } };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!sizes[i].value) return fail_input(why, "'%s' is missing or 0", sizes[i].key);
    c->head_dim = c->dim / c->heads;
    if (!json_is_null(json_object_get(j, "head_dim")) &&
        json_get_count(j, "head_dim", 1 << 16, &c->head_dim, why))
        return -1;
    if (c->heads % c->kv_heads)
        return fail_input(why, "%lld attention heads for %lld key/value heads", (long long)c->heads,
                          (long long)c->kv_heads);
    if (c->heads * c->head_dim > DIM_MAX)
        return fail_input(why, "%lld attention heads of %lld, at most %d together",
                          (long long)c->heads, (long long)c->head_dim, DIM_MAX);
    if (c->head_dim % 2 || !c->head_dim)
        return fail_input(why, "head dimension %lld is not even", (long long)c->head_dim);
    if (c->dim % 8 || c->ffn % 8 || c->heads * c->head_dim % 8)
        return fail_input(why, "hidden_size and intermediate_size must be multiples of 8");
    return 0;
}

/* Keys that other models of the family have, where their values change what is computed. */
static int refuse_others(const json_t *j, struct fail *why)
{
    const char *kind = json_string_value(json_object_get(j, "model_type"));
    const char *act = json_string_value(json_object_get(j, "hidden_act"));
    double rotary = 1;
    if (kind && strcmp(kind, "llama") != 0 && strcmp(kind, "mistral") != 0)
        return fail_input(why, "model_type '%.40s': only llama and mistral are computed here",
                          kind);
    if (act && strcmp(act, "silu") != 0)
        return fail_input(why, "hidden_act '%.40s' is not computed here", act);
    if (refuse_flag(j, "attention_bias", why) || refuse_flag(j, "mlp_bias", why) ||
        json_get_real(j, "partial_rotary_factor", &rotary, why))
        return -1;
    return rotary == 1 ? 0 : fail_input(why, "partial_rotary_factor is not computed here");
}

/* merge's own key for NTK-aware positions, whose theta is stretched already: see
 * config_to_json. */
static int parse_ntk(struct config *c, const json_t *ntk, struct fail *why)
{
    double factor = 1, theta = 0;
    if (!ntk) return 0;
    if (json_get_real(ntk, "factor", &factor, why) || json_get_real(ntk, "rope_theta", &theta, why))
        return -1;
    if (!(factor >= 1) || fabs(rope_ntk_theta(theta, factor, c->head_dim) / c->theta - 1) > 1e-6 ||
        c->rope.type != ROPE_DEFAULT)
        return fail_input(why, "%s does not fit rope_theta and rope_scaling", ntk_key);
    c->theta = theta;
    return rope_make(&c->rope, ROPE_NTK, factor, why);
}

/* transformers 4 has rope_theta and rope_scaling, 5 has both in rope_parameters. */
static int parse_rope(struct config *c, struct fail *why)
{
    const json_t *j = c->json, *parameters = json_object_get(j, "rope_parameters");
    const json_t *scaling = json_object_get(j, "rope_scaling");
    int64_t top = c->max_position, original;
    if (json_is_null(parameters)) parameters = NULL;
    if (parameters && scaling && !json_is_null(scaling))
        return fail_input(why, "rope_scaling and rope_parameters: which one?");
    c->theta = 10000;
    if (json_get_real(j, "rope_theta", &c->theta, why) ||
        json_get_real(parameters, "rope_theta", &c->theta, why) ||
        json_get_count(j, "original_max_position_embeddings", POSITION_MAX, &top, why))
        return -1;
    original = top;
    if (rope_parse(&c->rope, parameters ? parameters : scaling, &original, why)) return -1;
    if (original != top && json_object_get(j, "original_max_position_embeddings"))
        return fail_input(why, "original_max_position_embeddings is %lld and, for rope, %lld",
                          (long long)top, (long long)original);
    /* transformers measures these by max_position_embeddings whatever else stands there. */
    if (c->rope.type == ROPE_DYNAMIC && original != c->max_position)
        return fail_input(why, "dynamic positions whose original context is not "
                               "max_position_embeddings");
    if (!(c->theta > 0) || !original)
        return fail_input(why, "rope_theta or the original context is not positive");
    if (c->theta > (double)FLT_MAX)
        return fail_input(why, "rope_theta is %g, more than f32 has", c->theta);
    c->original_position = original;
    if (parse_ntk(c, json_object_get(j, ntk_key), why)) return -1;
    c->stored_rope = c->rope;
    return 0;
}

static int parse(struct config *c, struct fail *why)
{
    json_t *j = c->json;
    if (!json_is_object(j)) return fail_input(why, "not an object");
    c->norm_eps = 1e-6;
    c->window = INT64_MAX;
    if (refuse_others(j, why) || parse_sizes(c, why) || parse_rope(c, why) ||
        json_get_real(j, "rms_norm_eps", &c->norm_eps, why) ||
        json_get_flag(j, "tie_word_embeddings", &c->is_tied, why))
        return -1;
    if (!json_is_null(json_object_get(j, "sliding_window")) &&
        json_get_count(j, "sliding_window", INT64_MAX, &c->window, why))
        return -1;
    if (!(c->norm_eps > 0) || !c->window)
        return fail_input(why, "rms_norm_eps or sliding_window is not positive");
    if (c->norm_eps > (double)FLT_MAX)
        return fail_input(why, "rms_norm_eps is %g, more than f32 has", c->norm_eps);
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

int config_refuse_adapter(const char *directory, struct fail *why)
{
    char file[4096], own[4096];
    struct fail none;
    snprintf(file, sizeof file, "%s/adapter_config.json", directory);
    if (access(file, F_OK)) return 0;
    /* Our own file calls the base as it was called in training, PEFT's as others can open it. */
    snprintf(own, sizeof own, "%s/longqlora.json", directory);
    json_t *origin = access(own, F_OK) ? NULL : json_read_file(own, &none);
    json_t *adapter = json_read_file(file, why);
    const char *base = json_string_value(json_object_get(origin, "base_name"));
    if (!base) base = json_string_value(json_object_get(adapter, "base_model_name_or_path"));
    (void)fail_input(why, "%s: an adapter, not a model: its base%s%.200s is needed here", directory,
                     base ? " " : "", base ? base : "");
    json_decref(adapter);
    json_decref(origin);
    return -1;
}

int config_read(struct config *c, const char *path, struct fail *why)
{
    char file[4096];
    struct stat st;
    bool is_directory = !stat(path, &st) && S_ISDIR(st.st_mode);
    snprintf(file, sizeof file, is_directory ? "%s/config.json" : "%s", path);
    if (is_directory && access(file, F_OK) && config_refuse_adapter(path, why)) return -1;
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

/* A stretch that another factor of interpolation may replace. */
static bool is_interpolated(const struct config *c)
{
    return c->rope.type == ROPE_DEFAULT || c->rope.type == ROPE_LINEAR;
}

int64_t config_context(const struct config *c)
{
    double reach = (double)c->original_position * c->rope.factor;
    int64_t context = c->rope.type == ROPE_LLAMA3 ? c->max_position : (int64_t)reach;
    return context < c->window ? context : c->window;
}

int config_check_context(const struct config *c, int64_t context, struct fail *why)
{
    if (context <= c->window) return 0;
    return fail_input(why, "sliding_window %lld is shorter than a context of %lld",
                      (long long)c->window, (long long)context);
}

int config_extend(struct config *c, int64_t context, struct fail *why)
{
    if (context <= config_context(c)) return 0;
    if (!is_interpolated(c))
        return fail_usage(
            why, "a context of %lld: %s positions reach %lld and are not interpolated",
            (long long)context, rope_type_name(c->rope.type), (long long)config_context(c));
    if (context > c->window) return config_check_context(c, context, why);
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

/* The one spelling that every version reads. */
static void use_old_names(const struct config *c, json_t *j)
{
    if (json_object_get(j, "dtype")) {
        json_object_set(j, "torch_dtype", json_object_get(j, "dtype"));
        json_object_del(j, "dtype");
    }
    if (json_object_get(j, "rope_parameters") || json_object_get(j, ntk_key))
        json_object_set_new(j, "rope_theta", json_real(c->theta));
    json_object_del(j, "quantization_config");
    json_object_del(j, ntk_key);
}

/* rope_scaling as the file had it, with all that makes it this one. */
static void keep_scaling(json_t *j)
{
    json_t *parameters = json_object_get(j, "rope_parameters");
    if (!parameters) return;
    json_object_del(parameters, "rope_theta");
    json_object_set(j, "rope_scaling", parameters);
}

static void put_scaling(const struct config *c, json_t *j, bool new_style)
{
    json_t *scaling = rope_to_json(&c->rope, c->original_position, new_style);
    json_object_set_new(j, "rope_scaling", scaling ? scaling : json_null());
    if (c->rope.type != ROPE_DEFAULT && c->rope.type != ROPE_DYNAMIC)
        json_object_set_new(j, "original_max_position_embeddings",
                            json_integer(c->original_position));
}

/* NTK-aware positions are plain ones with a larger theta: that is what others get; ntk_key
 * tells our own programs where it came from. */
static void put_ntk(const struct config *c, json_t *j)
{
    double theta = rope_ntk_theta(c->theta, c->rope.factor, c->head_dim);
    json_object_set_new(j, "rope_theta", json_real(theta));
    json_object_set_new(j, ntk_key,
                        json_pack("{s:f,s:f}", "factor", c->rope.factor, "rope_theta", c->theta));
    json_object_set_new(j, "max_position_embeddings", json_integer(config_context(c)));
}

json_t *config_to_json(const struct config *c, bool new_style)
{
    json_t *j = json_deep_copy(c->json);
    if (!j) return NULL;
    use_old_names(c, j);
    if (!is_interpolated(c) && c->rope.type != ROPE_NTK && rope_equal(&c->rope, &c->stored_rope))
        keep_scaling(j);
    else
        put_scaling(c, j, new_style);
    json_object_del(j, "rope_parameters");
    if (c->rope.type == ROPE_NTK) put_ntk(c, j);
    return j;
}

void config_rope_tables(const struct config *c, int64_t length, int64_t first, int64_t count,
                        float *cos_out, float *sin_out)
{
    struct rope_scale s = { &c->rope, c->theta, c->head_dim, c->original_position };
    rope_tables(&s, length, first, count, cos_out, sin_out);
}
