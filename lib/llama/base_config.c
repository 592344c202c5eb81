#include "lib/llama/base_config.h"

#include "lib/common/digest.h"

#include <math.h>
#include <stddef.h>

enum kind {
    COUNT,      /* int64_t */
    NUMBER,     /* double */
    INVERSE,    /* double, of which the inverse is recorded */
    FLAG,       /* bool */
    LAYERS,     /* struct layer_set: "0-4,6-10" */
    ACTIVATION, /* enum activation: its name in config.json */
    WINDOW,     /* the length of the sliding window; 0 if no layer has one */
    FACTORS,    /* float [rotary_dim / 2]: their digest */
};

#define AT(field) offsetof(struct config, field)
#define LLAMA3 (1u << ROPE_LLAMA3)
#define YARN (1u << ROPE_YARN)
#define LONGROPE (1u << ROPE_LONGROPE)

/* All fields of struct config that change what a model with given tensors computes. Fields that
 * decide which tensors there are, such as vocab and the biases, are not here, because base_digest
 * covers the tensors' names and shapes. hidden_size and the next two are here for a run from
 * scratch, which has no base. */
static const struct row {
    const char *key;
    /* The keys of config.json that decide the value, for messages; NULL: a key of this name. */
    const char *from;
    enum kind kind;
    size_t at;
    unsigned ropes; /* bits of enum rope_type: the scalings that have the parameter; 0: all */
} rows[] = {
    { "hidden_size", NULL, COUNT, AT(dim), 0 },
    { "intermediate_size", NULL, COUNT, AT(ffn), 0 },
    { "num_hidden_layers", NULL, COUNT, AT(layers), 0 },
    { "num_attention_heads", NULL, COUNT, AT(heads), 0 },
    { "num_key_value_heads", NULL, COUNT, AT(kv_heads), 0 },
    { "head_dim", NULL, COUNT, AT(head_dim), 0 },
    { "rotary_dim", "partial_rotary_factor", COUNT, AT(rotary_dim), 0 },
    { "rms_norm_eps", NULL, NUMBER, AT(norm_eps), 0 },
    { "hidden_act", NULL, ACTIVATION, AT(activation), 0 },
    { "rope_theta", NULL, NUMBER, AT(theta), 0 },
    { "rope_local_base_freq", NULL, NUMBER, AT(local_theta), 0 },
    { "unrotated_layers", "no_rope_layers", LAYERS, AT(unrotated), 0 },
    { "sliding_window", NULL, WINDOW, AT(window), 0 },
    { "windowed_layers", "layer_types", LAYERS, AT(windowed), 0 },
    { "embedding_scale", "embedding_multiplier", NUMBER, AT(embedding_scale), 0 },
    { "attention_scale", "attention_multiplier, query_pre_attn_scalar", NUMBER, AT(attention_scale),
      0 },
    { "residual_scale", "residual_multiplier", NUMBER, AT(residual_scale), 0 },
    { "logits_scaling", NULL, INVERSE, AT(logit_scale), 0 },
    { "rounds_embedding_scale", "model_type", FLAG, AT(rounds_embedding_scale), 0 },
    { "norm_adds_one", "model_type", FLAG, AT(norm_adds_one), 0 },
    { "norms_join_heads", "model_type", FLAG, AT(norms_join_heads), 0 },
    { "low_freq_factor", NULL, NUMBER, AT(rope.low), LLAMA3 },
    { "high_freq_factor", NULL, NUMBER, AT(rope.high), LLAMA3 },
    { "beta_slow", NULL, NUMBER, AT(rope.low), YARN },
    { "beta_fast", NULL, NUMBER, AT(rope.high), YARN },
    { "attention_factor", NULL, NUMBER, AT(rope.attention), YARN | LONGROPE },
    { "is_exact", "truncate", FLAG, AT(rope.is_exact), YARN },
    { "short_factor", NULL, FACTORS, AT(rope.short_factor), LONGROPE },
    { "long_factor", NULL, FACTORS, AT(rope.long_factor), LONGROPE },
};
enum { ROWS = sizeof rows / sizeof *rows };

static const char *const activations[] = {
    [ACTIVATION_SILU] = "silu", [ACTIVATION_GELU_TANH] = "gelu_pytorch_tanh"
};

/* ---- making the object ---- */

/* Returns "0-4,6-10" for a set of layers. A text that is too long for a message is replaced by its
 * digest. */
static json_t *layers_json(const struct layer_set *s, int64_t layers)
{
    enum { TEXT_MAX = 120 };
    char text[CONFIG_LAYERS_MAX * 6], digest[DIGEST_TEXT];
    size_t used = 0;
    for (int64_t first = 0, end; first < layers; first = end + 1) {
        for (end = first; end < layers && layer_set_has(s, end);)
            end++;
        if (end == first) continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", used ? "," : "",
                                 (long long)first);
        if (end - first > 1)
            used += (size_t)snprintf(text + used, sizeof text - used, "-%lld", (long long)end - 1);
    }
    text[used] = '\0';
    if (used <= TEXT_MAX) return json_string(text);
    digest_of_bytes(text, used, digest);
    return json_string(digest);
}

static bool has_windows(const struct config *c)
{
    for (int64_t layer = 0; layer < c->layers; layer++)
        if (layer_set_has(&c->windowed, layer)) return true;
    return false;
}

static json_t *value_of(const struct row *r, const struct config *c)
{
    const char *at = (const char *)c + r->at;
    char digest[DIGEST_TEXT];
    switch (r->kind) {
    case COUNT:
        return json_integer(*(const int64_t *)(const void *)at);
    case NUMBER:
        return json_real(*(const double *)(const void *)at);
    case INVERSE:
        return json_real(1 / *(const double *)(const void *)at);
    case FLAG:
        return json_boolean(*(const bool *)at);
    case LAYERS:
        return layers_json((const struct layer_set *)(const void *)at, c->layers);
    case ACTIVATION:
        return json_string(activations[c->activation]);
    case WINDOW:
        return json_integer(has_windows(c) ? c->window : 0);
    case FACTORS:
        digest_of_bytes(at, (size_t)(c->rotary_dim / 2) * sizeof(float), digest);
        return json_string(digest);
    }
    return NULL;
}

json_t *base_config(const struct config *c)
{
    json_t *object = json_object();
    for (int i = 0; object && i < ROWS; i++) {
        if (rows[i].ropes && !(rows[i].ropes >> c->rope.type & 1)) continue;
        if (!json_object_set_new(object, rows[i].key, value_of(&rows[i], c))) continue;
        json_decref(object);
        object = NULL;
    }
    return object;
}

int base_config_text(const struct config *c, char text[BASE_CONFIG_TEXT], struct fail *why)
{
    json_t *object = base_config(c);
    char *made = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(object);
    if (!made) return fail(why, "out of memory");
    must(strlen(made) < BASE_CONFIG_TEXT);
    memcpy(text, made, strlen(made) + 1);
    free(made);
    return 0;
}

/* ---- reading it ---- */

static bool has_type(const struct row *r, const json_t *value)
{
    if (r->kind == COUNT || r->kind == WINDOW) return json_is_integer(value);
    if (r->kind == NUMBER || r->kind == INVERSE) return json_is_number(value);
    return r->kind == FLAG ? json_is_boolean(value) : json_is_string(value);
}

int base_config_check(const json_t *config, struct fail *why)
{
    const char *key;
    json_t *value;
    if (!json_is_object(config)) return fail_input(why, "'base_config' is not an object");
    json_object_foreach((json_t *)config, key, value)
    {
        int i = 0;
        while (i < ROWS && strcmp(rows[i].key, key) != 0)
            i++;
        if (i == ROWS)
            return fail_input(why,
                              "'base_config' has '%.60s', which this version does not know: was it "
                              "made by a newer program?",
                              key);
        if (!has_type(&rows[i], value))
            return fail_input(why, "'base_config': the value of '%s' has a wrong type", key);
    }
    return 0;
}

static bool is_same(const json_t *a, const json_t *b)
{
    if (!json_is_number(a) || !json_is_number(b)) return json_equal(a, b);
    double x = json_number_value(a), y = json_number_value(b);
    return fabs(x - y) <= 1e-6 * fmax(fabs(x), fabs(y));
}

static void describe(const json_t *value, char *text, size_t size)
{
    if (json_is_string(value))
        snprintf(text, size, "%s", *json_string_value(value) ? json_string_value(value) : "none");
    else if (json_is_boolean(value))
        snprintf(text, size, "%s", json_is_true(value) ? "true" : "false");
    else
        snprintf(text, size, "%.9g", json_number_value(value));
}

bool base_config_differs(const json_t *then, const json_t *now, struct base_config_difference *d)
{
    for (int i = 0; i < ROWS; i++) {
        const json_t *a = json_object_get(then, rows[i].key);
        const json_t *b = json_object_get(now, rows[i].key);
        if (!a || !b || is_same(a, b)) continue;
        snprintf(d->key, sizeof d->key, rows[i].from ? "%s (%s)" : "%s", rows[i].key, rows[i].from);
        describe(a, d->then, sizeof d->then);
        describe(b, d->now, sizeof d->now);
        return true;
    }
    return false;
}

int base_config_compare(const char *then, const char *now, struct fail *why)
{
    struct base_config_difference d;
    if (!*then || !*now) return 0;
    json_t *a = json_read_text(then, strlen(then), "base_config", why);
    json_t *b = a ? json_read_text(now, strlen(now), "base_config", why) : NULL;
    int status = !b || base_config_check(a, why) ? -1 : 0;
    if (!status && base_config_differs(a, b, &d))
        status = fail_input(why,
                            "the model's config changed since the run began: %s was %s, is %s: "
                            "restore it",
                            d.key, d.then, d.now);
    json_decref(a);
    json_decref(b);
    return status;
}
