/* rope.h - rotary position embeddings (RoPE, Su et al. 2021) and their types of scaling, computed
 * in f32 as in transformers.
 *
 * linear: position interpolation (Chen et al. 2023). The frequency is divided by the factor and
 * then multiplied by the position, as in transformers since 4.43. Older versions divided the
 * position; for a factor that is a power of two both give the same bits.
 *
 * ntk: "NTK-aware" with a fixed factor: theta times factor^(c/(c-2)) for head dimension c. The
 * lowest frequency becomes the same as with linear scaling, and the highest one does not change.
 *
 * dynamic: as ntk, with a factor that grows with the sequence once it is longer than the original
 * context.
 *
 * yarn: Peng et al. 2023.
 *
 * llama3 (Llama 3.1): wavelengths above original/low are divided by the factor, wavelengths below
 * original/high stay, and those between are blended.
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
    ROPE_TYPES
};

struct rope {
    enum rope_type type;
    double factor;    /* 1 if positions are not stretched */
    double low, high; /* llama3: low_freq_factor, high_freq_factor; yarn: beta_slow, beta_fast */
    double attention; /* yarn: factor of cos and sin; otherwise 1 */
    bool is_exact;    /* yarn: the ends of the ramp are not rounded (truncate: false) */
};

const char *rope_type_name(enum rope_type type); /* as config.json spells it */

/* Returns the rope_type whose name in config.json is `name`, such as "linear"; -1 if none is. */
int rope_type_by_name(const char *name);

/* Reads the object rope_scaling of a config.json; scaling may be NULL or a JSON null. The type may
 * be under "type" or "rope_type". *original becomes the context before stretching, if the object
 * has it. where: the object's name, for messages. max_position: if YaRN's factor is missing, it is
 * max_position divided by the original context. */
int rope_parse(struct rope *r, const json_t *scaling, const char *where, int64_t max_position,
               int64_t *original, struct fail *why) MUST_USE;

/* Makes a rope from a type and its factor, with transformers' defaults for everything else. Fails
 * for llama3, which has no defaults. */
int rope_make(struct rope *r, enum rope_type type, double factor, struct fail *why) MUST_USE;
/* Parses "none", "linear:2", "ntk:1.5", "dynamic:2" or "yarn:4". ROPE_WORDS describes this in help
 * texts. */
#define ROPE_WORDS "none, or linear, ntk, dynamic or yarn with :FACTOR"
int rope_set(struct rope *r, const char *text, struct fail *why) MUST_USE;

/* Returns the object rope_scaling for a config.json, which the caller decrefs; NULL if none is
 * needed. new_style writes "rope_type" in addition to "type". */
json_t *rope_to_json(const struct rope *r, int64_t original, bool new_style);

/* Have both the same type and the same parameters? */
bool rope_equal(const struct rope *a, const struct rope *b);

/* Returns theta · factor^(c/(c-2)), where c is head_dim. */
double rope_ntk_theta(double theta, double factor, int64_t head_dim);

/* What rope_tables needs to know about the positions. */
struct rope_scale {
    const struct rope *rope;
    double theta;
    int64_t head_dim, original;
};

/* Computes cos and sin [count, head_dim/2] in f32 for positions first, first + 1, … of a sequence
 * of `length` tokens. The result depends on length only for ROPE_DYNAMIC. */
void rope_tables(const struct rope_scale *s, int64_t length, int64_t first, int64_t count,
                 float *cos_out, float *sin_out);

#endif
