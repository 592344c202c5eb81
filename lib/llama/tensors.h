/* tensors.h - the one table of a model's tensors: what they are called in a Hugging
 * Face directory, their shapes, their roles. Loading, saving, quantizing, adapters
 * and the optimiser all walk it.
 */
#ifndef LONGQLORA_TENSORS_H
#define LONGQLORA_TENSORS_H

#include "lib/llama/config.h"

enum part {
    PART_EMBEDDING,
    PART_ATTN_NORM,
    PART_Q,
    PART_K,
    PART_V,
    PART_O,
    PART_MLP_NORM,
    PART_GATE,
    PART_UP,
    PART_DOWN,
    PART_FINAL_NORM,
    PART_HEAD,
    PART_COUNT
};

enum role { ROLE_EMBEDDING, ROLE_NORM, ROLE_LINEAR, ROLE_HEAD };

struct tensor {
    char name[64]; /* model.layers.3.self_attn.q_proj.weight */
    enum part part;
    enum role role;
    int64_t layer;      /* -1 outside of layers */
    int64_t rows, cols; /* a norm's gain is [rows], cols 1 */
};

/* All tensors in the order of a file; a tied head is not among them. The caller frees
 * *list. Returns their number, -1 out of memory. */
int64_t tensors_list(const struct config *c, struct tensor **list, struct fail *why) MUST_USE;

/* "q_proj" and so on; NULL for parts that are no linear of a layer. */
const char *part_module(enum part part);
int part_by_module(const char *module);
/* Bits of the parts whose module's full name ends in that text, as PEFT takes modules_to_save. */
uint32_t parts_by_suffix(const char *suffix);
/* The part whose module a tensor of any file is of, with a prefix or without: "embed_tokens" or
 * "q_proj" stands in its name between dots. -1: none. */
int part_of_name(const char *tensor);
/* Bits of the parts of a role. */
uint32_t parts_of_role(enum role role);

/* Weights that cost memory: all, and those of linears. */
int64_t tensors_parameters(const struct config *c);

#endif
