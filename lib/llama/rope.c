#include "lib/llama/rope.h"

#include <float.h>
#include <math.h>

static const char *const names[ROPE_TYPES] = { "default", "linear", "llama3",  "yarn",
                                               "dynamic", "ntk",    "longrope" };
enum { FACTOR_MAX = 1000000, YARN_SLOW = 1, YARN_FAST = 32, LLAMA3_LOW = 1, LLAMA3_HIGH = 4 };
static const struct rope plain = { .type = ROPE_DEFAULT, .factor = 1, .attention = 1 };

const char *rope_type_name(enum rope_type type) { return names[type]; }

int rope_type_by_name(const char *name)
{
    for (int i = 0; i < ROPE_TYPES; i++)
        if (!strcmp(name, names[i])) return i;
    return -1;
}

static double yarn_attention(double factor, double mscale)
{
    return factor > 1 ? 0.1 * mscale * log(factor) + 1 : 1;
}

static int parse_llama3(struct rope *r, const json_t *scaling, struct fail *why)
{
    if (json_get_real(scaling, "low_freq_factor", &r->low, why) ||
        json_get_real(scaling, "high_freq_factor", &r->high, why))
        return -1;
    if (!(r->low > 0) || !(r->high > r->low))
        return fail_input(why,
                          "low_freq_factor %g must be positive and less than high_freq_factor %g",
                          r->low, r->high);
    return 0;
}

/* Reads a number; if it is missing, null or 0, `fallback` is used. */
static int get_positive(const json_t *scaling, const char *key, double fallback, double *value,
                        struct fail *why)
{
    *value = 0;
    if (json_get_real(scaling, key, value, why)) return -1;
    if (*value == 0) *value = fallback;
    return 0;
}

static int parse_yarn(struct rope *r, const json_t *scaling, struct fail *why)
{
    double mscale = 0, mscale_all_dim = 0;
    bool is_rounded = !json_is_null(json_object_get(scaling, "truncate"));
    if (json_get_real(scaling, "mscale", &mscale, why) ||
        json_get_real(scaling, "mscale_all_dim", &mscale_all_dim, why) ||
        json_get_flag(scaling, "truncate", &is_rounded, why))
        return -1;
    r->attention = yarn_attention(r->factor, 1);
    if (mscale != 0 && mscale_all_dim != 0)
        r->attention =
            yarn_attention(r->factor, mscale) / yarn_attention(r->factor, mscale_all_dim);
    r->is_exact = !is_rounded;
    if (get_positive(scaling, "beta_slow", YARN_SLOW, &r->low, why) ||
        get_positive(scaling, "beta_fast", YARN_FAST, &r->high, why) ||
        json_get_real(scaling, "attention_factor", &r->attention, why))
        return -1;
    if (!(r->low > 0) || !(r->high > r->low))
        return fail_input(why,
                          "beta_slow is %g and beta_fast is %g: they must be positive, and "
                          "beta_fast greater than beta_slow (absent: %d and %d)",
                          r->low, r->high, YARN_SLOW, YARN_FAST);
    if (!(r->attention > 0) || r->attention > (double)FLT_MAX)
        return fail_input(why, "attention_factor %g%s must be positive and fit f32", r->attention,
                          json_object_get(scaling, "attention_factor")
                              ? ""
                              : ", which follows from factor, mscale and mscale_all_dim,");
    return 0;
}

/* Reads the type. An object without a type means no scaling, if it has no other keys than
 * rope_theta and partial_rotary_factor. */
static int parse_type(const json_t *scaling, enum rope_type *found, struct fail *why)
{
    const json_t *old = json_object_get(scaling, "type");
    const json_t *newer = json_object_get(scaling, "rope_type");
    const char *old_name = json_string_value(old), *name = json_string_value(newer);
    size_t others = json_object_size(scaling) - (json_object_get(scaling, "rope_theta") != NULL) -
                    (json_object_get(scaling, "partial_rotary_factor") != NULL);
    *found = ROPE_DEFAULT;
    if (!old && !newer && !others) return 0;
    if ((old && !old_name) || (newer && !name)) return fail_input(why, "its type is not a text");
    if (old && newer && strcmp(old_name, name) != 0)
        return fail_input(why, "type '%.20s' and rope_type '%.20s' differ", old_name, name);
    if (!name) name = old_name;
    if (!name) return fail_input(why, "it has no type");
    int type = rope_type_by_name(name);
    if (type < 0 || type == ROPE_NTK || type == ROPE_LONGROPE)
        return fail_input(
            why, "type '%.30s' is not supported, only default, linear, dynamic, yarn and llama3",
            name);
    *found = (enum rope_type)type;
    return 0;
}

/* Reads the factor, which is required because transformers has no default for it. For YaRN it may
 * be null: then it is `implied`. */
static int parse_factor(const json_t *scaling, enum rope_type type, double implied, double *factor,
                        struct fail *why)
{
    const json_t *found = json_object_get(scaling, "factor");
    *factor = NAN;
    if (json_get_real(scaling, "factor", factor, why)) return -1;
    if (json_is_null(found) && type == ROPE_YARN) *factor = implied;
    if (isnan(*factor)) return fail_input(why, "%s positions need a factor", names[type]);
    if (!(*factor >= 1) || *factor > FACTOR_MAX)
        return fail_input(why, "factor %g is not from 1 to %d", *factor, FACTOR_MAX);
    return 0;
}

static int parse_object(struct rope *r, const json_t *scaling, int64_t max_position,
                        int64_t *original, struct fail *why)
{
    enum rope_type type;
    double factor;
    if (!json_is_object(scaling)) return fail_input(why, "it is not an object");
    if (parse_type(scaling, &type, why)) return -1;
    if (type == ROPE_DEFAULT) return 0;
    if (json_get_count(scaling, "original_max_position_embeddings", INT32_MAX, original, why))
        return -1;
    double implied = *original ? (double)max_position / (double)*original : NAN;
    if (parse_factor(scaling, type, implied, &factor, why)) return -1;
    *r = (struct rope){ .type = type, .factor = factor, .attention = 1 };
    if (type == ROPE_LLAMA3) return parse_llama3(r, scaling, why);
    return type == ROPE_YARN ? parse_yarn(r, scaling, why) : 0;
}

int rope_parse(struct rope *r, const json_t *scaling, const char *where, int64_t max_position,
               int64_t *original, struct fail *why)
{
    *r = plain;
    if (!scaling || json_is_null(scaling)) return 0;
    return parse_object(r, scaling, max_position, original, why) ? fail_in(why, where) : 0;
}

/* ---- longrope ---- */

static int parse_factors(const json_t *scaling, const char *key, int64_t count, float *to,
                         struct fail *why)
{
    const json_t *list = json_object_get(scaling, key);
    if (!json_is_array(list) || (int64_t)json_array_size(list) != count)
        return fail_input(why, "%s is not a list of %lld numbers, one for each frequency", key,
                          (long long)count);
    for (int64_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        double value = json_number_value(item);
        if (!json_is_number(item) || !(value >= (double)FLT_MIN) || value > (double)FLT_MAX)
            return fail_input(why, "%s: number %lld is no positive number that f32 can hold", key,
                              (long long)i);
        to[i] = (float)value;
    }
    return 0;
}

/* If all factors are equal and cos and sin have no factor, the scaling is linear, or there is none
 * if the factors are 1. */
static void use_linear(struct rope *r, int64_t count)
{
    float factor = r->short_factor[0];
    bool is_same = r->attention == 1 && factor >= 1 && factor <= FACTOR_MAX;
    for (int64_t i = 0; i < count; i++)
        is_same = is_same && r->short_factor[i] == factor && r->long_factor[i] == factor;
    if (!is_same) return;
    *r = plain;
    r->type = factor == 1 ? ROPE_DEFAULT : ROPE_LINEAR;
    r->factor = (double)factor;
}

int rope_parse_longrope(struct rope *r, const json_t *scaling, int64_t count, int64_t max_position,
                        int64_t original, struct fail *why)
{
    if (count > ROPE_FACTORS_MAX)
        return fail_input(why, "longrope has %lld frequencies, but at most %d are supported",
                          (long long)count, ROPE_FACTORS_MAX);
    double factor = (double)max_position / (double)original;
    if (json_get_real(scaling, "factor", &factor, why)) return -1;
    if (!(factor > 0) || factor > FACTOR_MAX)
        return fail_input(why, "factor %g is not positive and at most %d", factor, FACTOR_MAX);
    *r = plain;
    r->type = ROPE_LONGROPE;
    if (factor > 1) {
        r->factor = factor;
        r->attention = sqrt(1 + log(factor) / log((double)original));
    }
    if (json_get_real(scaling, "attention_factor", &r->attention, why)) return -1;
    if (!(r->attention > 0) || r->attention > (double)FLT_MAX)
        return fail_input(why, "attention_factor %g is not a positive number of f32", r->attention);
    if (parse_factors(scaling, "short_factor", count, r->short_factor, why) ||
        parse_factors(scaling, "long_factor", count, r->long_factor, why))
        return -1;
    use_linear(r, count);
    return 0;
}

json_t *rope_linear_as_longrope(const struct rope *r, int64_t count)
{
    json_t *factors = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(factors, json_real(r->factor));
    return json_pack("{s:s,s:O,s:o}", "type", names[ROPE_LONGROPE], "short_factor", factors,
                     "long_factor", factors);
}

/* ---- making, writing and comparing ---- */

int rope_make(struct rope *r, enum rope_type type, double factor, struct fail *why)
{
    if (type == ROPE_LONGROPE || !(factor >= 1) || factor > FACTOR_MAX)
        return fail_usage(why, "%s positions cannot be made with a factor of %g alone", names[type],
                          factor);
    *r = plain;
    if (factor == 1) return 0;
    r->type = type;
    r->factor = factor;
    if (type == ROPE_LLAMA3) r->low = LLAMA3_LOW, r->high = LLAMA3_HIGH;
    if (type != ROPE_YARN) return 0;
    r->low = YARN_SLOW;
    r->high = YARN_FAST;
    r->attention = yarn_attention(factor, 1);
    return 0;
}

int rope_set(struct rope *r, const char *text, struct fail *why)
{
    char *end = NULL, name[16] = "";
    *r = plain;
    if (!strcmp(text, "none")) return 0;
    size_t length = strcspn(text, ":");
    if (length < sizeof name) snprintf(name, sizeof name, "%.*s", (int)length, text);
    int type = rope_type_by_name(name);
    double factor = text[length] ? strtod(text + length + 1, &end) : 0;
    if (type <= ROPE_DEFAULT || type == ROPE_LONGROPE || !end || *end || !(factor >= 1) ||
        factor > FACTOR_MAX)
        return fail_usage(why,
                          "'%s' is none of these: none, " ROPE_KINDS(
                              ":F, ", ":F, ") ":F, where F is a factor from 1 to %d",
                          text, FACTOR_MAX);
    return rope_make(r, (enum rope_type)type, factor, why);
}

json_t *rope_to_json(const struct rope *r, int64_t original, bool new_style)
{
    if (r->type == ROPE_DEFAULT || r->type == ROPE_NTK) return NULL;
    json_t *j = json_pack("{s:s,s:f}", "type", names[r->type], "factor", r->factor);
    /* Every version of transformers that knows YaRN or llama3 also knows rope_type. */
    bool is_new = r->type == ROPE_YARN || r->type == ROPE_LLAMA3;
    if (new_style || is_new) json_object_set_new(j, "rope_type", json_string(names[r->type]));
    if (is_new) json_object_set_new(j, "original_max_position_embeddings", json_integer(original));
    if (r->type == ROPE_LLAMA3) {
        json_object_set_new(j, "low_freq_factor", json_real(r->low));
        json_object_set_new(j, "high_freq_factor", json_real(r->high));
    }
    return j;
}

bool rope_equal(const struct rope *a, const struct rope *b)
{
    return a->type == b->type && a->factor == b->factor && a->low == b->low && a->high == b->high &&
           a->attention == b->attention && a->is_exact == b->is_exact &&
           !memcmp(a->short_factor, b->short_factor, sizeof a->short_factor) &&
           !memcmp(a->long_factor, b->long_factor, sizeof a->long_factor);
}

static float llama3_frequency(const struct rope *r, float frequency, double original)
{
    float length = (float)(2 * M_PI) / frequency;
    if (length > (float)(original / r->low)) return frequency / (float)r->factor;
    if (length < (float)(original / r->high)) return frequency;
    float smooth = ((float)original / length - (float)r->low) / (float)(r->high - r->low);
    return (1 - smooth) * frequency / (float)r->factor + smooth * frequency;
}

/* Returns the dimension, as a real number, that rotates `turns` times within the original
 * context. */
static double yarn_dimension(double turns, double theta, int64_t rotary_dim, double original)
{
    return (double)rotary_dim * log(original / (turns * 2 * M_PI)) / (2 * log(theta));
}

static float yarn_frequency(const struct rope *r, int64_t i, double theta, int64_t rotary_dim,
                            double original)
{
    double low = yarn_dimension(r->high, theta, rotary_dim, original);
    double high = yarn_dimension(r->low, theta, rotary_dim, original);
    if (!r->is_exact) {
        low = floor(low);
        high = ceil(high);
    }
    low = low < 0 ? 0 : low;
    high = high > (double)(rotary_dim - 1) ? (double)(rotary_dim - 1) : high;
    if (low == high) high += 0.001;
    float ramp = ((float)i - (float)low) / (float)(high - low);
    float kept = 1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
    float length = powf((float)theta, (float)(2 * i) / (float)rotary_dim);
    return 1 / ((float)r->factor * length) * (1 - kept) + 1 / length * kept;
}

double rope_ntk_theta(double theta, double factor, int64_t rotary_dim)
{
    return theta * pow(factor, (double)rotary_dim / (double)(rotary_dim - 2));
}

static double theta_for(const struct rope_scale *s, int64_t length)
{
    double factor = s->rope->factor, original = (double)s->original;
    if (s->rope->type == ROPE_NTK) return rope_ntk_theta(s->theta, factor, s->rotary_dim);
    if (s->rope->type != ROPE_DYNAMIC || length <= s->original) return s->theta;
    return rope_ntk_theta(s->theta, factor * (double)length / original - (factor - 1),
                          s->rotary_dim);
}

/* The factor by which longrope divides frequency i. */
static float factor_at(const struct rope_scale *s, int64_t length, int64_t i)
{
    const struct rope *r = s->rope;
    if (r->type == ROPE_LINEAR) return (float)r->factor;
    return length > s->original ? r->long_factor[i] : r->short_factor[i];
}

void rope_tables(const struct rope_scale *s, int64_t length, int64_t first, int64_t count,
                 float *cos_out, float *sin_out)
{
    const struct rope *r = s->rope;
    int64_t half = s->rotary_dim / 2;
    double theta = theta_for(s, length);
    for (int64_t i = 0; i < half; i++) {
        float frequency = 1 / powf((float)theta, (float)(2 * i) / (float)s->rotary_dim);
        if (r->type == ROPE_LLAMA3) frequency = llama3_frequency(r, frequency, (double)s->original);
        if (r->type == ROPE_YARN)
            frequency = yarn_frequency(r, i, theta, s->rotary_dim, (double)s->original);
        if (r->type == ROPE_LINEAR && !s->has_longrope) frequency /= (float)r->factor;
        if (r->type == ROPE_LONGROPE || (r->type == ROPE_LINEAR && s->has_longrope))
            frequency = 1 / (factor_at(s, length, i) *
                             powf((float)theta, (float)(2 * i) / (float)s->rotary_dim));
        for (int64_t t = 0; t < count; t++) {
            float angle = (float)(first + t) * frequency;
            cos_out[t * half + i] = (float)cos((double)angle) * (float)r->attention;
            sin_out[t * half + i] = (float)sin((double)angle) * (float)r->attention;
        }
    }
}
