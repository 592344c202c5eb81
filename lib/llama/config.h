/* config.h - what a model of the LLaMA family is: config.json, and the arithmetic of
 * its rotary positions.
 *
 * config.json is read as transformers 4.31 to 5 reads it, absent keys included; where these
 * versions differ, as 5.24 does or not at all. config_keys.h has the list of keys.
 */
#ifndef LONGQLORA_CONFIG_H
#define LONGQLORA_CONFIG_H

#include "lib/llama/rope.h"

struct config {
    int64_t vocab, dim, ffn, layers, heads, kv_heads, head_dim;
    int64_t max_position;          /* as config.json has it */
    int64_t original_position;     /* the context before any interpolation */
    int64_t window;                /* sliding_window; INT64_MAX without one */
    double norm_eps, theta;        /* theta before any stretching */
    struct rope rope, stored_rope; /* the one to use; the one in the file */
    double attention_dropout;      /* in training; not computed here */
    bool is_tied;                  /* the head is the embedding */
    bool was_tied;                 /* config.json says so, and the stored head differs */
    char unknown[120];             /* keys that say nothing here; see config_keys.h */
    json_t *json;                  /* the file, kept whole to be written again; owned */
};

/* Fails if the directory holds an adapter, naming the base that it wants. */
int config_refuse_adapter(const char *directory, struct fail *why) MUST_USE;
/* Refuses by name what is not computed here. path: config.json or its directory. */
int config_read(struct config *c, const char *path, struct fail *why) MUST_USE;
int config_parse(struct config *c, const char *text, const char *name, struct fail *why) MUST_USE;
int config_copy(struct config *to, const struct config *from, struct fail *why) MUST_USE;
void config_release(struct config *c);

/* Longest context that the positions are made for, and attention sees whole. */
int64_t config_context(const struct config *c);

/* Position interpolation (Chen et al. 2023): the smallest whole factor that reaches
 * `context` from the original one, as the report's recipe takes it. Never lowers it;
 * fails where positions are stretched in another way and do not reach. */
int config_extend(struct config *c, int64_t context, struct fail *why) MUST_USE;

/* Fails if attention over so many positions is not what the model computes. */
int config_check_context(const struct config *c, int64_t context, struct fail *why) MUST_USE;

/* Fails if training is not what the model's own code does. */
int config_check_training(const struct config *c, struct fail *why) MUST_USE;

/* What a program says of it once, in a line: keys that say nothing here, a head that is not tied.
 * False if there is nothing to say. */
bool config_remark(const struct config *c, char *text, size_t size);

/* "linear 2 (4096 → 8192), theta 10000" */
void config_describe_rope(const struct config *c, char *text, size_t size);

/* config.json for an unquantized model with this rope, as every version of transformers
 * since 4.31 reads it; the caller decrefs. new_style adds rope_type. */
json_t *config_to_json(const struct config *c, bool new_style);

/* cos, sin [count, head_dim/2]: see rope_tables. */
void config_rope_tables(const struct config *c, int64_t length, int64_t first, int64_t count,
                        float *cos_out, float *sin_out);

#endif
