/* rope.h - rotary positions (Su et al. 2021) and the ways to stretch them, as
 * transformers computes them in f32.
 *
 * linear: position interpolation (Chen et al. 2023), as transformers computes it since 4.43:
 * a frequency is divided by the factor, then multiplied by the position. Older versions divided the
 * position; where the factor is a power of two both give the same bits. ntk: theta times
 * factor^(c/(c-2)) for a head dimension c, so that the slowest pair turns as with linear
 * and the fastest as before ("NTK-aware", fixed factor). dynamic: the same with a factor
 * that grows with the sequence once it is longer than the original context. yarn: Peng
 * et al. 2023. llama3: wavelengths above original/low divided by the factor, below
 * original/high kept, blended between.
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
    double factor;    /* 1 without stretching */
    double low, high; /* llama3: low_freq_factor, high_freq_factor; yarn: beta_slow, beta_fast */
    double attention; /* yarn: cos and sin are multiplied by it; else 1 */
    bool is_exact;    /* yarn: where the ramp begins and ends is not rounded (truncate: false) */
};

const char *rope_type_name(enum rope_type type); /* as config.json spells it */

/* "linear" and so on; -1 if there is no such type. */
int rope_type_by_name(const char *name);

/* From config.json's rope_scaling, which may be NULL or null; either spelling of the type.
 * *original becomes the context before stretching if rope_scaling says it. where: its name, for
 * messages. max_position: what YaRN without a number for its factor takes over the original. */
int rope_parse(struct rope *r, const json_t *scaling, const char *where, int64_t max_position,
               int64_t *original, struct fail *why) MUST_USE;

/* A type and its factor, all else as transformers' defaults; llama3 has none. */
int rope_make(struct rope *r, enum rope_type type, double factor, struct fail *why) MUST_USE;
/* "none", "linear:2", "ntk:1.5", "dynamic:2" or "yarn:4"; ROPE_WORDS in a help text. */
#define ROPE_WORDS "none, or linear, ntk, dynamic or yarn with :FACTOR"
int rope_set(struct rope *r, const char *text, struct fail *why) MUST_USE;

/* rope_scaling's object for config.json; NULL where none is needed. The caller decrefs.
 * new_style adds rope_type to the old type. */
json_t *rope_to_json(const struct rope *r, int64_t original, bool new_style);

bool rope_equal(const struct rope *a, const struct rope *b);

/* theta times factor^(c/(c-2)). */
double rope_ntk_theta(double theta, double factor, int64_t head_dim);

/* Where positions are, for tables. */
struct rope_scale {
    const struct rope *rope;
    double theta;
    int64_t head_dim, original;
};

/* cos, sin [count, head_dim/2] in f32, of positions first, first + 1, … of a sequence of
 * `length`, which only dynamic positions depend on. */
void rope_tables(const struct rope_scale *s, int64_t length, int64_t first, int64_t count,
                 float *cos_out, float *sin_out);

#endif
