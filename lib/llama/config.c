#include "lib/llama/config.h"

#include "lib/common/suffix.h"
#include "lib/llama/config_longrope.h"
#include "lib/llama/families.h"
#include "lib/llama/local_rope.h"
#include "lib/llama/provenance.h"

#include <float.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static const char ntk_key[] = "ntk_rope";

enum { DIM_MAX = 1 << 20 };

/* ---- sizes ---- */

/* Refuses models whose head is not that of a language model. The name of the class shows which head
 * a model has. */
static int check_architectures(const json_t *list, struct fail *why)
{
    static const char *const ends[] = { "ForCausalLM", "Model" };
    size_t i;
    json_t *item;
    if (!list || json_is_null(list)) return 0;
    if (!json_is_array(list)) return fail_input(why, "'architectures' is not a list");
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);
        for (size_t e = 0; name && e < sizeof ends / sizeof *ends; e++)
            if (suffix_is(name, ends[e])) return 0;
        return fail_input(why, "architectures: '%.60s' is no language model (…ForCausalLM)",
                          name ? name : "?");
    }
    return 0;
}

/* Writes "llama, mistral and qwen2". */
static void list_families(char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; family_at(i) && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s",
                                 !i                 ? ""
                                 : family_at(i + 1) ? ", "
                                                    : " and ",
                                 family_at(i)->model_type);
}

/* Without a model_type, a config is that of a LLaMA, unless it names another architecture. */
static int check_is_llama(const json_t *architectures, struct fail *why)
{
    size_t i;
    json_t *item;
    json_array_foreach(architectures, i, item)
    {
        const char *name = json_string_value(item);
        if (name && strncasecmp(name, "llama", 5) != 0)
            return fail_input(why,
                              "there is no model_type, but architectures has %.60s: add the "
                              "model_type of that family",
                              name);
    }
    return 0;
}

static int parse_type(struct config *c, struct fail *why)
{
    const json_t *found = json_object_get(c->json, "model_type");
    const char *name = json_string_value(found);
    char known[200];
    if (found && !name) return fail_input(why, "'model_type' is not a text");
    if (!found && check_is_llama(json_object_get(c->json, "architectures"), why)) return -1;
    c->family = family_find(name ? name : "llama");
    if (!c->family) {
        list_families(known, sizeof known);
        return fail_input(why, "model_type '%.40s': only %s are supported%s", name, known,
                          family_advice(name));
    }
    return check_architectures(json_object_get(c->json, "architectures"), why);
}

static int check_heads(const struct config *c, struct fail *why)
{
    if (c->heads % c->kv_heads)
        return fail_input(why,
                          "num_attention_heads %lld is no multiple of num_key_value_heads %lld",
                          (long long)c->heads, (long long)c->kv_heads);
    if (c->heads * c->head_dim > DIM_MAX)
        return fail_input(
            why, "%lld attention heads of %lld elements have more than %d elements together",
            (long long)c->heads, (long long)c->head_dim, DIM_MAX);
    if (c->head_dim % 2 || !c->head_dim)
        return fail_input(why, "head_dim %lld is not an even number above 0",
                          (long long)c->head_dim);
    return 0;
}

static int parse_head_dim(struct config *c, struct fail *why)
{
    const json_t *found = json_object_get(c->json, "head_dim");
    enum head_dim_rule rule = c->family->head_dim;
    bool may_be_null = rule == HEAD_DIM_WHOLE || rule == HEAD_DIM_FLOOR;
    c->head_dim = rule == HEAD_DIM_128 ? 128 : rule == HEAD_DIM_256 ? 256 : c->dim / c->heads;
    if (found && !(may_be_null && json_is_null(found)))
        return json_get_count(c->json, "head_dim", 1 << 16, &c->head_dim, why);
    if (rule == HEAD_DIM_NEEDED)
        return fail_input(why, "'head_dim' is missing, which transformers needs for %s",
                          c->family->model_type);
    if (rule == HEAD_DIM_WHOLE && c->dim % c->heads)
        return fail_input(why,
                          "hidden_size %lld is no multiple of %lld heads, and there is no "
                          "head_dim",
                          (long long)c->dim, (long long)c->heads);
    return 0;
}

static int parse_heads(struct config *c, struct fail *why)
{
    const json_t *j = c->json, *kv = json_object_get(j, "num_key_value_heads");
    bool is_plain = kv || !c->family->kv_heads || !json_object_get(j, "model_type");
    bool may_be_null = !c->family->needs_kv_heads;
    c->kv_heads = is_plain ? c->heads : c->family->kv_heads;
    if (!(may_be_null && json_is_null(kv)) &&
        json_get_count(j, "num_key_value_heads", 1 << 16, &c->kv_heads, why))
        return -1;
    if (!c->kv_heads) return fail_input(why, "'num_key_value_heads' is 0");
    if (parse_head_dim(c, why)) return -1;
    c->attention_scale = (double)(1 / sqrtf((float)c->head_dim));
    return check_heads(c, why);
}

static int parse_sizes(struct config *c, struct fail *why)
{
    json_t *j = c->json;
    const struct family *f = c->family;
    const struct {
        const char *key;
        int64_t max, fallback, *to;
    } sizes[] = { { "vocab_size", 1 << 24, f->vocab, &c->vocab },
                  { "hidden_size", DIM_MAX, f->dim, &c->dim },
                  { "intermediate_size", DIM_MAX, f->ffn, &c->ffn },
                  { "num_hidden_layers", CONFIG_LAYERS_MAX, f->layers, &c->layers },
                  { "num_attention_heads", 1 << 16, f->heads, &c->heads },
                  { "max_position_embeddings", POSITION_MAX, f->max_position, &c->max_position } };
    /* Without model_type, only the sizes show that the object is a model's config, so all must be
     * there, except max_position_embeddings. */
    bool has_type = json_object_get(j, "model_type") != NULL;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bool is_position = sizes[i].to == &c->max_position;
        *sizes[i].to = has_type || is_position ? sizes[i].fallback : 0;
        if (json_get_count(j, sizes[i].key, sizes[i].max, sizes[i].to, why)) return -1;
        if (!*sizes[i].to) return fail_input(why, "'%s' is missing or 0", sizes[i].key);
    }
    return parse_heads(c, why);
}

/* ---- keys that are not sizes ---- */

static int parse_activation(struct config *c, struct fail *why)
{
    const char *own = c->family->activation_key, *key = own ? own : "hidden_act";
    const json_t *found = json_object_get(c->json, key);
    const char *name = json_string_value(found);
    c->activation = c->family->activation;
    if (!found) return 0;
    if (!name) return fail_input(why, "'%s' is not a text", key);
    bool is_gelu = !strcmp(name, "gelu_pytorch_tanh");
    if (!is_gelu && strcmp(name, "silu") != 0 && strcmp(name, "swish") != 0)
        return fail_input(why, "%s '%.40s' is not supported", key, name);
    c->activation = is_gelu ? ACTIVATION_GELU_TANH : ACTIVATION_SILU;
    return 0;
}

static int parse_others(struct config *c, struct fail *why)
{
    const json_t *j = c->json, *eps = json_object_get(j, "rms_norm_eps");
    bool is_causal = !json_is_null(json_object_get(j, "is_causal"));
    if (parse_activation(c, why)) return -1;
    if (json_get_flag(j, "is_causal", &is_causal, why) ||
        json_get_flag(j, "tie_word_embeddings", &c->is_tied, why))
        return -1;
    if (!is_causal)
        return fail_input(why, "is_causal: false: attention to later tokens is not supported");
    if (json_is_null(json_object_get(j, "tie_word_embeddings"))) c->is_tied = false;
    if (json_is_null(eps)) return fail_input(why, "rms_norm_eps is null, which is no number");
    if (json_is_integer(eps))
        return fail_input(why,
                          "rms_norm_eps is %lld, a whole number, which transformers 5 "
                          "refuses: write %lld.0 if it is meant",
                          (long long)json_integer_value(eps), (long long)json_integer_value(eps));
    if (json_get_real(j, "rms_norm_eps", &c->norm_eps, why) ||
        json_get_real(j, "attention_dropout", &c->attention_dropout, why))
        return -1;
    if (!(c->norm_eps > 0)) return fail_input(why, "rms_norm_eps is not positive");
    if (c->norm_eps > (double)FLT_MAX)
        return fail_input(why, "rms_norm_eps is %g, more than f32 can hold", c->norm_eps);
    return 0;
}

/* Reads the key that merge writes for NTK-aware positions. In such a file rope_theta includes the
 * scaling; see put_ntk. */
static int parse_ntk(struct config *c, const json_t *ntk, struct fail *why)
{
    double factor = 1, theta = 0;
    if (!ntk) return 0;
    if (json_get_real(ntk, "factor", &factor, why) || json_get_real(ntk, "rope_theta", &theta, why))
        return -1;
    if (!(factor >= 1) ||
        fabs(rope_ntk_theta(theta, factor, c->rotary_dim) / c->theta - 1) > 1e-6 ||
        c->rope.type != ROPE_DEFAULT)
        return fail_input(why, "%s does not fit rope_theta and rope_scaling", ntk_key);
    c->theta = theta;
    return rope_make(&c->rope, ROPE_NTK, factor, why);
}

/* ---- position scaling ---- */

static const char *const rope_names[] = { "rope_scaling", "rope_parameters" };

/* Reads rope_theta, which may be inside of rope_scaling or rope_parameters, or outside of both.
 * transformers 4 reads only the one outside, and transformers 5 prefers the one inside.
 * rope_scaling is the form of transformers 4; a theta inside must equal a theta outside. */
static int read_theta(const struct config *c, struct rope_object *s, const char *where,
                      struct fail *why)
{
    const json_t *outside = json_object_get(c->json, "rope_theta");
    const json_t *inside = json_object_get(s->json, "rope_theta");
    double old = c->family->theta;
    if (json_is_null(inside) || (!inside && json_is_null(outside)))
        return fail_input(why, "rope_theta is null, which is no number");
    if (json_get_real(c->json, "rope_theta", &old, why)) return -1;
    s->theta = old;
    if (json_get_real(s->json, "rope_theta", &s->theta, why)) return fail_in(why, where);
    if (inside && json_is_number(outside) && s->theta != old && where == rope_names[0])
        return fail_input(why, "rope_theta is %g and, in %s, %g: keep one", old, where, s->theta);
    if (!(s->theta > 0)) return fail_input(why, "rope_theta is not positive");
    if (s->theta > (double)FLT_MAX)
        return fail_input(why, "rope_theta is %g, more than f32 can hold", s->theta);
    return 0;
}

static int read_rope_object(const struct config *c, struct rope_object *s, const char *where,
                            struct fail *why)
{
    int64_t top = c->max_position;
    if (json_get_count(c->json, "original_max_position_embeddings", POSITION_MAX, &top, why) ||
        read_theta(c, s, where, why) || config_rope_keys_check(s->json, where, why) ||
        config_read_rotary(c, s, where, why))
        return -1;
    s->original = top;
    if (c->family->has_longrope) return config_read_longrope(c, s, where, why);
    if (rope_parse(&s->rope, s->json, where, c->max_position, &s->original, why)) return -1;
    if (s->original != top && json_object_get(c->json, "original_max_position_embeddings"))
        return fail_input(
            why, "original_max_position_embeddings is %lld and, for the position scaling, %lld",
            (long long)top, (long long)s->original);
    /* For a family with local_theta, transformers reads the original context only inside of the
     * object. */
    if (c->family->local_theta != 0 && top != c->max_position &&
        (s->rope.type == ROPE_YARN || s->rope.type == ROPE_LLAMA3) &&
        !json_object_get(s->json, "original_max_position_embeddings"))
        return fail_input(why,
                          "%s: original_max_position_embeddings is outside of this object: move it "
                          "into the object",
                          where);
    /* For dynamic scaling transformers takes max_position_embeddings as the original context, even
     * if the file has another one. */
    if (s->rope.type == ROPE_DYNAMIC && s->original != c->max_position)
        return fail_input(
            why, "the original context of dynamic positions is not max_position_embeddings");
    /* The formulas divide by log(theta) (yarn) and by head_dim - 2 (dynamic). */
    if ((s->rope.type == ROPE_YARN && !(s->theta > 1)) ||
        (s->rope.type == ROPE_DYNAMIC && c->head_dim <= 2))
        return fail_input(why, "%s positions are not defined for rope_theta %g and head_dim %lld",
                          rope_type_name(s->rope.type), s->theta, (long long)c->head_dim);
    return s->original ? 0 : fail_input(why, "the original context is not positive");
}

/* Is the value false in Python's sense? transformers then treats rope_scaling as missing. */
static bool is_nothing(const json_t *value)
{
    return json_is_false(value) || (json_is_array(value) && !json_array_size(value)) ||
           (json_is_string(value) && !json_string_length(value)) ||
           (json_is_number(value) && json_number_value(value) == 0);
}

/* transformers 4 has rope_theta and rope_scaling; 5 has both in rope_parameters. */
static int parse_rope(struct config *c, struct fail *why)
{
    struct rope_object s[2] = { { 0 }, { 0 } };
    for (int i = 0; i < 2; i++) {
        s[i].json = json_object_get(c->json, rope_names[i]);
        if (json_is_null(s[i].json) ||
            (json_is_object(s[i].json) && !json_object_size(s[i].json)) ||
            (!i && is_nothing(s[i].json)))
            s[i].json = NULL;
    }
    if (c->family->local_theta != 0 && local_rope_split(c, s[0].json, &s[1].json, why)) return -1;
    /* If neither object exists, the first call reads rope_theta. */
    if (((s[0].json || !s[1].json) && read_rope_object(c, &s[0], rope_names[0], why)) ||
        (s[1].json && read_rope_object(c, &s[1], rope_names[1], why)))
        return -1;
    if (s[0].json && s[1].json &&
        (!rope_equal(&s[0].rope, &s[1].rope) || s[0].theta != s[1].theta ||
         s[0].original != s[1].original || s[0].rotary_dim != s[1].rotary_dim))
        return fail_input(why, "rope_scaling and rope_parameters differ: remove one of them");
    const struct rope_object *found = &s[s[1].json != NULL];
    c->rope = found->rope;
    c->theta = found->theta;
    c->original_position = found->original;
    c->rotary_dim = found->rotary_dim;
    if (parse_ntk(c, json_object_get(c->json, ntk_key), why)) return -1;
    c->stored_rope = c->rope;
    if (local_rope_is_whole(c))
        c->original_position = (int64_t)fmax(1, (double)c->max_position / c->rope.factor);
    c->stored_original = c->original_position;
    return 0;
}

static int parse(struct config *c, struct fail *why)
{
    if (!json_is_object(c->json)) return fail_input(why, "not an object");
    provenance_remove(c->json);
    if (parse_type(c, why) ||
        config_keys_check(c->json, c->family->features->keys, c->unknown, sizeof c->unknown, why))
        return -1;
    c->limit = c->window = INT64_MAX;
    c->is_tied = c->family->is_tied;
    c->embedding_scale = c->residual_scale = c->logit_scale = 1;
    c->has_pre_norms = true;
    c->norm_eps = 1e-6;
    if (parse_sizes(c, why) || parse_rope(c, why) || c->family->features->read(c, why)) return -1;
    return parse_others(c, why);
}

/* ---- files ---- */

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

/* Can interpolation with another factor replace the model's position scaling? */
static bool is_interpolated(const struct config *c)
{
    return c->rope.type == ROPE_DEFAULT || c->rope.type == ROPE_LINEAR;
}

int64_t config_context(const struct config *c)
{
    double reach = (double)c->original_position * c->rope.factor;
    bool is_stored_llama3 = c->rope.type == ROPE_LLAMA3 && rope_equal(&c->rope, &c->stored_rope);
    bool is_given = is_stored_llama3 || c->rope.type == ROPE_LONGROPE || local_rope_is_whole(c);
    int64_t context = is_given ? c->max_position : (int64_t)reach;
    return context < c->limit ? context : c->limit;
}

int config_check_context(const struct config *c, int64_t context, struct fail *why)
{
    if (context <= c->limit) return 0;
    return fail_input(
        why, "sliding_window %lld is shorter than a context of %lld: choose a shorter context",
        (long long)c->limit, (long long)context);
}

int config_check_training(const struct config *c, struct fail *why)
{
    if (c->residual_dropout != 0)
        return fail_input(why,
                          "resid_pdrop %g: dropout of the outputs of attention and MLP is not "
                          "supported in training: write 0 for it",
                          c->residual_dropout);
    if (c->attention_dropout == 0) return 0;
    return fail_input(why,
                      "attention_dropout %g: dropout of attention's weights is not supported in "
                      "training: write 0 for it",
                      c->attention_dropout);
}

int config_extend(struct config *c, int64_t context, struct fail *why)
{
    if (context <= config_context(c)) return 0;
    if (!is_interpolated(c))
        return fail_usage(why,
                          "a context of %lld is too long: %s positions end at %lld and are not "
                          "interpolated: choose a shorter one",
                          (long long)context, rope_type_name(c->rope.type),
                          (long long)config_context(c));
    if (context > c->limit) return config_check_context(c, context, why);
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

/* Renames keys to the spelling that every version of transformers reads. */
static void use_old_names(const struct config *c, json_t *j)
{
    if (json_object_get(j, "dtype")) {
        json_object_set(j, "torch_dtype", json_object_get(j, "dtype"));
        json_object_del(j, "dtype");
    }
    if (json_object_get(j, "rope_parameters") || json_object_get(j, ntk_key) ||
        json_object_get(json_object_get(j, "rope_scaling"), "rope_theta"))
        json_object_set_new(j, "rope_theta", json_real(c->theta));
    if (c->local_theta != 0 && json_object_get(j, "rope_parameters"))
        json_object_set_new(j, "rope_local_base_freq", json_real(c->local_theta));
    if (c->family->has_longrope) config_put_outside(c, j);
    json_object_del(j, "quantization_config");
    json_object_del(j, ntk_key);
}

/* Keeps the file's scaling with all its parameters, except rope_theta, which stands outside. */
static void keep_scaling(const struct config *c, json_t *j)
{
    json_t *scaling = json_object_get(j, "rope_scaling");
    if (!json_object_size(scaling)) scaling = json_object_get(j, "rope_parameters");
    if (c->local_theta != 0) scaling = local_rope_scaling(c, scaling);
    json_object_del(scaling, "rope_theta");
    if (c->rope.type == ROPE_LONGROPE) config_shorten_longrope(scaling);
    json_object_set(j, "rope_scaling", scaling);
}

static void put_scaling(const struct config *c, json_t *j, bool new_style)
{
    bool as_longrope = c->rope.type == ROPE_LINEAR && c->family->has_longrope;
    json_t *scaling = as_longrope ? rope_linear_as_longrope(&c->rope, c->rotary_dim / 2)
                                  : rope_to_json(&c->rope, c->original_position, new_style);
    json_object_set_new(j, "rope_scaling", scaling ? scaling : json_null());
    if (c->rope.type != ROPE_DEFAULT && c->rope.type != ROPE_DYNAMIC && !local_rope_is_whole(c))
        json_object_set_new(j, "original_max_position_embeddings",
                            json_integer(c->original_position));
    /* The last versions of transformers 4 divide max_position_embeddings by the original context,
     * and ignore YaRN's key `factor`. Dynamic positions and longrope's attention_factor follow from
     * these two in all versions. With llama3, max_position_embeddings is the whole context. */
    bool is_whole = c->rope.type == ROPE_YARN || c->rope.type == ROPE_LLAMA3 ||
                    (c->local_theta != 0 && c->rope.type == ROPE_LINEAR);
    if (is_whole || as_longrope || c->rope.type == ROPE_DYNAMIC)
        json_object_set_new(j, "max_position_embeddings",
                            json_integer(is_whole ? config_context(c) : c->original_position));
}

/* NTK-aware scaling is the same as a larger theta. So rope_theta gets the larger value, which other
 * programs can read. From ntk_key these programs restore the original theta. */
static void put_ntk(const struct config *c, json_t *j)
{
    double theta = rope_ntk_theta(c->theta, c->rope.factor, c->rotary_dim);
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
    bool is_stored =
        rope_equal(&c->rope, &c->stored_rope) && c->original_position == c->stored_original;
    if (is_stored && !is_interpolated(c) && c->rope.type != ROPE_NTK)
        keep_scaling(c, j);
    else
        put_scaling(c, j, new_style || c->local_theta != 0);
    json_object_del(j, "rope_parameters");
    if (c->rope.type == ROPE_NTK) put_ntk(c, j);
    return j;
}

void config_rope_tables(const struct config *c, int64_t length, int64_t first, int64_t count,
                        float *cos_out, float *sin_out)
{
    struct rope_scale s = { &c->rope, c->theta, c->rotary_dim, c->original_position,
                            c->family->has_longrope };
    rope_tables(&s, length, first, count, cos_out, sin_out);
}
