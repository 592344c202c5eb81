/* gguf_llama3.c - finds the parameters of llama3 scaling from the factors that a GGUF stores.
 *
 * llama.cpp divides frequency i by rope_freqs.weight[i]. Its converter computes these factors from
 * four numbers of config.json (LlamaModel.generate_extra_tensors), but the file does not have these
 * numbers. One of the numbers, `factor`, is equal to the largest of these factors. For the other
 * three, powers of two are tried. Four numbers are accepted only if they give every factor, up to
 * the rounding of theta^(2 i / rotary_dim).
 */
#include "lib/llama/gguf_model.h"

#include <math.h>

struct llama3 {
    double factor, low, high, original;
};

static double factor_at(const struct llama3 *p, double theta, int64_t rotary_dim, int64_t i)
{
    double frequency = 1 / pow(theta, (double)(2 * i) / (double)rotary_dim);
    double length = 2 * M_PI / frequency;
    if (length < p->original / p->high) return 1;
    if (length > p->original / p->low) return p->factor;
    double smooth = (p->original / length - p->low) / (p->high - p->low);
    return 1 / ((1 - smooth) / p->factor + smooth);
}

static bool gives(const struct llama3 *p, const struct gguf_tensor *t, int64_t rotary_dim,
                  double theta)
{
    for (int64_t i = 0; i < rotary_dim / 2; i++) {
        float stored;
        memcpy(&stored, (const char *)t->data + (size_t)i * sizeof stored, sizeof stored);
        double wanted = factor_at(p, theta, rotary_dim, i);
        if (!(fabs((double)stored / wanted - 1) <= 2e-6)) return false;
    }
    return true;
}

static bool find_between(struct llama3 *p, double first, double last, const struct gguf_tensor *t,
                         int64_t rotary_dim, double theta)
{
    for (p->original = first; p->original <= last; p->original *= 2)
        for (p->low = 1; p->low <= 4; p->low *= 2)
            for (p->high = 2 * p->low; p->high <= 64; p->high *= 2)
                if (gives(p, t, rotary_dim, theta)) return true;
    return false;
}

/* Different parameters may give the same factors. So the original contexts of real models are tried
 * first. */
static bool find(struct llama3 *p, const struct gguf_tensor *t, int64_t rotary_dim, double theta)
{
    return find_between(p, 1024, 1 << 20, t, rotary_dim, theta) ||
           find_between(p, 2, 512, t, rotary_dim, theta);
}

int gguf_model_llama3(const struct gguf *g, json_t *config, int64_t rotary_dim, double theta,
                      struct fail *why)
{
    const struct gguf_tensor *t = gguf_tensor(g, GGUF_ROPE_FREQS);
    must(t);
    if (t->type != GGML_F32 || t->dims != 1 || t->shape[0] != rotary_dim / 2 || !(theta > 0))
        return fail_input(why, "%s is not f32 [%lld]", GGUF_ROPE_FREQS, (long long)rotary_dim / 2);
    struct llama3 p = { 0 };
    for (int64_t i = 0; i < t->shape[0]; i++) {
        float stored;
        memcpy(&stored, (const char *)t->data + (size_t)i * sizeof stored, sizeof stored);
        if ((double)stored > p.factor) p.factor = (double)stored;
    }
    /* If all factors are 1, there is no scaling. */
    if (p.factor == 1) {
        p.original = p.high = 2, p.low = 1;
        if (gives(&p, t, rotary_dim, theta)) return 0;
    }
    if (!(p.factor > 1) || !find(&p, t, rotary_dim, theta))
        return fail_input(why,
                          "%s has factors that no llama3 positions give, and others are not "
                          "supported: fetch the model in safetensors",
                          GGUF_ROPE_FREQS);
    json_t *scaling = json_pack("{s:s,s:f,s:f,s:f,s:I}", "rope_type", "llama3", "factor", p.factor,
                                "low_freq_factor", p.low, "high_freq_factor", p.high,
                                "original_max_position_embeddings", (json_int_t)p.original);
    return json_object_set_new(config, "rope_scaling", scaling) ? fail(why, "out of memory") : 0;
}
