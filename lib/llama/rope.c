#include "rope.h"

#include <math.h>

static const char *const names[ROPE_TYPES] = { "default", "linear", "llama3", "yarn" };
static const struct rope plain = { .type = ROPE_DEFAULT, .factor = 1, .attention = 1 };

const char *rope_type_name(enum rope_type type) { return names[type]; }

static int parse_llama3(struct rope *r, const json_t *scaling, struct fail *why)
{
    if (json_get_real(scaling, "low_freq_factor", &r->low, why) ||
        json_get_real(scaling, "high_freq_factor", &r->high, why))
        return -1;
    if (!(r->low > 0) || !(r->high > r->low))
        return fail_input(why, "rope_scaling: low_freq_factor %g, high_freq_factor %g", r->low,
                          r->high);
    return 0;
}

static int parse_yarn(struct rope *r, const json_t *scaling, struct fail *why)
{
    static const char *const other[] = { "mscale", "mscale_all_dim", "truncate" };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        if (json_object_get(scaling, other[i]))
            return fail_input(why, "rope_scaling: '%s' is not computed here", other[i]);
    r->low = 1;
    r->high = 32;
    r->attention = r->factor > 1 ? 0.1 * log(r->factor) + 1 : 1;
    if (json_get_real(scaling, "beta_slow", &r->low, why) ||
        json_get_real(scaling, "beta_fast", &r->high, why) ||
        json_get_real(scaling, "attention_factor", &r->attention, why))
        return -1;
    if (!(r->low > 0) || !(r->high > r->low) || !(r->attention > 0))
        return fail_input(why, "rope_scaling: beta_slow %g, beta_fast %g, attention_factor %g",
                          r->low, r->high, r->attention);
    return 0;
}

int rope_parse(struct rope *r, const json_t *scaling, int64_t *original, struct fail *why)
{
    *r = plain;
    if (!scaling || json_is_null(scaling)) return 0;
    if (!json_is_object(scaling)) return fail_input(why, "rope_scaling is not an object");
    const char *old = json_string_value(json_object_get(scaling, "type"));
    const char *type = json_string_value(json_object_get(scaling, "rope_type"));
    if (old && type && strcmp(old, type) != 0)
        return fail_input(why, "rope_scaling: type '%.20s' and rope_type '%.20s' differ", old,
                          type);
    if (!type) type = old;
    if (!type) return fail_input(why, "rope_scaling has no type");
    int found = 0;
    while (found < ROPE_TYPES && strcmp(type, names[found]) != 0)
        found++;
    if (found == ROPE_TYPES)
        return fail_input(why, "rope_scaling: type '%.30s' is not computed here", type);
    r->type = (enum rope_type)found;
    if (r->type == ROPE_DEFAULT) return 0;
    if (json_get_real(scaling, "factor", &r->factor, why) ||
        json_get_count(scaling, "original_max_position_embeddings", INT32_MAX, original, why))
        return -1;
    if (!(r->factor >= 1) || r->factor > 1e6)
        return fail_input(why, "rope_scaling: factor %g", r->factor);
    if (r->type == ROPE_LLAMA3) return parse_llama3(r, scaling, why);
    return r->type == ROPE_YARN ? parse_yarn(r, scaling, why) : 0;
}

int rope_set(struct rope *r, const char *text, struct fail *why)
{
    char *end = NULL;
    *r = plain;
    if (!strcmp(text, "none")) return 0;
    double factor = strncmp(text, "linear:", 7) ? 0 : strtod(text + 7, &end);
    if (!end || !(factor >= 1) || *end || factor > 1e6)
        return fail_usage(why, "rope '%s' is neither none nor linear:FACTOR", text);
    r->type = factor > 1 ? ROPE_LINEAR : ROPE_DEFAULT;
    r->factor = factor;
    return 0;
}

bool rope_equal(const struct rope *a, const struct rope *b)
{
    return a->type == b->type && a->factor == b->factor && a->low == b->low && a->high == b->high &&
           a->attention == b->attention;
}

static float llama3_frequency(const struct rope *r, float frequency, double original)
{
    float length = (float)(2 * M_PI) / frequency;
    if (length > (float)(original / r->low)) return frequency / (float)r->factor;
    if (length < (float)(original / r->high)) return frequency;
    float smooth = ((float)original / length - (float)r->low) / (float)(r->high - r->low);
    return (1 - smooth) * frequency / (float)r->factor + smooth * frequency;
}

/* The dimension that turns `turns` times over the original context. */
static double yarn_dimension(double turns, double theta, int64_t head_dim, double original)
{
    return (double)head_dim * log(original / (turns * 2 * M_PI)) / (2 * log(theta));
}

static float yarn_frequency(const struct rope *r, int64_t i, double theta, int64_t head_dim,
                            double original)
{
    double low = floor(yarn_dimension(r->high, theta, head_dim, original));
    double high = ceil(yarn_dimension(r->low, theta, head_dim, original));
    low = low < 0 ? 0 : low;
    high = high > (double)(head_dim - 1) ? (double)(head_dim - 1) : high;
    if (low == high) high += 0.001;
    float ramp = ((float)i - (float)low) / (float)(high - low);
    float kept = 1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
    float length = powf((float)theta, (float)(2 * i) / (float)head_dim);
    return 1 / ((float)r->factor * length) * (1 - kept) + 1 / length * kept;
}

void rope_tables(const struct rope *r, double theta, int64_t head_dim, int64_t original,
                 int64_t positions, float *cos_out, float *sin_out)
{
    int64_t half = head_dim / 2;
    for (int64_t i = 0; i < half; i++) {
        float frequency = 1 / powf((float)theta, (float)(2 * i) / (float)head_dim);
        if (r->type == ROPE_LLAMA3) frequency = llama3_frequency(r, frequency, (double)original);
        if (r->type == ROPE_YARN)
            frequency = yarn_frequency(r, i, theta, head_dim, (double)original);
        float factor = r->type == ROPE_LINEAR ? (float)r->factor : 1;
        for (int64_t t = 0; t < positions; t++) {
            float angle = (float)t / factor * frequency;
            cos_out[t * half + i] = (float)cos((double)angle) * (float)r->attention;
            sin_out[t * half + i] = (float)sin((double)angle) * (float)r->attention;
        }
    }
}
