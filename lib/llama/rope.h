/* rope.h - RoPE (Su et al. 2021) and the kinds of position scaling, computed in f32 as in
 * transformers.
 *
 * linear: position interpolation (Chen et al. 2023). The frequency is divided by the factor and
 * then multiplied by the position, as in transformers since 4.43. Older versions divided the
 * position; for a factor that is a power of two both give the same bits.
 *
 * ntk: "NTK-aware" scaling with a fixed factor. theta is multiplied by factor^(c/(c-2)) for head
 * dimension c. The lowest frequency becomes the same as with linear scaling, and the highest one
 * does not change.
 *
 * dynamic: like ntk, but only for a sequence that is longer than the original context; the factor
 * grows with the length of the sequence.
 *
 * yarn: Peng et al. 2023.
 *
 * llama3 (Llama 3.1): frequencies whose wavelength is above original/low are divided by the factor.
 * Frequencies with a wavelength below original/high stay, and the frequencies between the two are
 * blended.
 *
 * longrope (Ding et al. 2024): each frequency is divided by a factor of its own. There are two
 * lists of factors: one for texts up to the original context, and one for longer texts. One list
 * applies to all positions of a text.
 */
#ifndef LONGQLORA_ROPE_H
#define LONGQLORA_ROPE_H

#include "lib/common/json.h"

#include <stdint.h>

enum rope_type {
    ROPE_DEFAULT,
    ROPE_LINEAR,
    ROPE_LLAMA3,
    ROPE_YARN,
    ROPE_DYNAMIC,
    ROPE_NTK,
    ROPE_LONGROPE,
    ROPE_TYPES
};

/* The largest number of frequencies that longrope may have factors for. */
enum { ROPE_FACTORS_MAX = 256 };

struct rope {
    enum rope_type type;
    double factor;    /* 1 if positions are not scaled */
    double low, high; /* llama3: low_freq_factor, high_freq_factor; yarn: beta_slow, beta_fast */
    double attention; /* yarn, longrope: factor of cos and sin; otherwise 1 */
    bool is_exact;    /* yarn: the ends of the ramp are not rounded (truncate: false) */
    /* longrope: the factors [rotary_dim / 2] for texts up to the original context, and for longer
     * texts; 0 in other types. */
    float short_factor[ROPE_FACTORS_MAX], long_factor[ROPE_FACTORS_MAX];
};

const char *rope_type_name(enum rope_type type); /* as config.json spells it */

/* Returns the rope_type that config.json calls `name`, such as "linear"; -1 for an unknown name. */
int rope_type_by_name(const char *name);

/* Reads the object rope_scaling of a config.json; scaling may be NULL or a JSON null. The type may
 * be under "type" or "rope_type". *original becomes the original context if the object has one.
 * where: the object's name, for messages. max_position: if YaRN's factor is null, max_position
 * divided by the original context takes its place. */
int rope_parse(struct rope *r, const json_t *scaling, const char *where, int64_t max_position,
               int64_t *original, struct fail *why) MUST_USE;

/* Reads longrope's factors for `count` frequencies, and the factor of cos and sin, from the
 * object rope_scaling. original: the context before scaling. If all factors are equal, and cos and
 * sin have no factor, *r becomes linear scaling, or no scaling if the factors are 1. */
int rope_parse_longrope(struct rope *r, const json_t *scaling, int64_t count, int64_t max_position,
                        int64_t original, struct fail *why) MUST_USE;

/* Makes a struct rope from a type and a factor. Everything else has transformers' defaults; for
 * llama3, which has no defaults there, it has Llama 3.1's low_freq_factor 1 and high_freq_factor 4.
 * Fails for longrope, which needs lists of factors. */
int rope_make(struct rope *r, enum rope_type type, double factor, struct fail *why) MUST_USE;
/* Parses "none", "linear:2", "ntk:1.5", "dynamic:2", "yarn:4" or "llama3:8". ROPE_WORDS describes
 * this in help texts. */
#define ROPE_WORDS "none, or " ROPE_KINDS(", ", " or ") " with :FACTOR"
/* What the shell offers (OPT_OFFERED). */
#define ROPE_OFFERED "none|" ROPE_KINDS(":|", ":|") ":"
/* The kinds that need only a factor, with `between` between two, and `last` before the last one. */
#define ROPE_KINDS(between, last)                                                                  \
    "linear" between "ntk" between "dynamic" between "yarn" last "llama3"
int rope_set(struct rope *r, const char *text, struct fail *why) MUST_USE;

/* Returns the object rope_scaling for a config.json, which the caller decrefs; NULL if there is no
 * scaling. new_style writes "rope_type" in addition to "type". */
json_t *rope_to_json(const struct rope *r, int64_t original, bool new_style);

/* Returns an object rope_scaling of type longrope that divides all `count` frequencies by the
 * factor of linear scaling. Linear scaling is written in this form for a family whose only position
 * scaling is longrope.
 */
json_t *rope_linear_as_longrope(const struct rope *r, int64_t count);

/* Do both have the same type and the same parameters? */
bool rope_equal(const struct rope *a, const struct rope *b);

/* Do the angles depend on the length of the text? */
static inline bool rope_is_by_length(const struct rope *r)
{
    return r->type == ROPE_DYNAMIC || r->type == ROPE_LONGROPE;
}

/* Returns theta · factor^(c/(c-2)), where c is rotary_dim. */
double rope_ntk_theta(double theta, double factor, int64_t rotary_dim);

/* The input of rope_tables. */
struct rope_scale {
    const struct rope *rope;
    double theta;
    int64_t rotary_dim, original; /* rotary_dim: how many elements of a head are rotated */
    /* Linear scaling is rounded as longrope with equal factors is, because the model is written in
     * that form. */
    bool has_longrope;
};

/* Computes cos and sin [count, rotary_dim/2] in f32 for positions first, first + 1, … of a sequence
 * of `length` tokens. The result depends on length only if rope_is_by_length. */
void rope_tables(const struct rope_scale *s, int64_t length, int64_t first, int64_t count,
                 float *cos_out, float *sin_out);

#endif
