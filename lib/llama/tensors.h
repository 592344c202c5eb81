/* tensors.h - the table of a model's tensors: their names in a Hugging Face directory, their shapes
 * and their roles. Loading, saving, quantizing, adapters and the optimiser all use it. */
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
    int64_t layer;      /* -1 for tensors outside of layers */
    int64_t rows, cols; /* a norm's gain has shape [rows], with cols 1 */
};

/* Lists all tensors in the order in which files have them. A tied head is not listed. Returns their
 * number, or -1 if memory runs out. The caller frees *list. */
int64_t tensors_list(const struct config *c, struct tensor **list, struct fail *why) MUST_USE;

/* part_module gives "q_proj" and so on, or NULL for a part that is not a linear of a layer.
 * part_by_module is the inverse; it gives -1 for an unknown name. */
const char *part_module(enum part part);
int part_by_module(const char *module);
/* The part to which a tensor of any file belongs, with or without a prefix: its name contains
 * "embed_tokens" or "q_proj" between dots. -1 if there is none. */
int part_of_name(const char *tensor);
/* The bits (1 << part) of all parts with this role. */
uint32_t parts_of_role(enum role role);

/* The number of weights (elements) of the model; a tied head counts once. */
int64_t tensors_parameters(const struct config *c);

#endif
