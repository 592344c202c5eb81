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
    /* Parts that only some models have. A new part must be added at the end, so that the numbers
     * of the other parts do not change. */
    PART_Q_BIAS,
    PART_K_BIAS,
    PART_V_BIAS,
    PART_O_BIAS,
    PART_GATE_BIAS,
    PART_UP_BIAS,
    PART_DOWN_BIAS,
    PART_Q_NORM,
    PART_K_NORM,
    /* Norms of a model with has_post_norms. In such a model, post_attention_layernorm is the
     * norm after attention and belongs to PART_ATTN_POST_NORM. The norm before the MLP has
     * another name. */
    PART_ATTN_POST_NORM,
    PART_MLP_PRE_NORM,
    PART_MLP_POST_NORM,
    PART_QKV,     /* q, k and v in one linear layer, [q | k | v] */
    PART_GATE_UP, /* gate and up in one linear layer, [gate | up] */
    PART_COUNT
};

/* How many parts LLaMA has. The numbers of dropout streams depend on this count. */
enum { PARTS_OF_LLAMA = PART_HEAD + 1 };

enum role { ROLE_EMBEDDING, ROLE_NORM, ROLE_LINEAR, ROLE_HEAD, ROLE_BIAS };

struct tensor {
    char name[64]; /* such as model.layers.3.self_attn.q_proj.weight; a bias ends in .bias */
    enum part part;
    enum role role;
    int64_t layer;      /* -1 for tensors outside of layers */
    int64_t rows, cols; /* a norm and a bias have shape [rows], with cols 1 */
};

/* Is the tensor a vector? A vector has one dimension in files and no weight decay. */
static inline bool tensor_is_vector(const struct tensor *t)
{
    return t->role == ROLE_NORM || t->role == ROLE_BIAS;
}
/* Can the tensor have LoRA matrices? PEFT adds them to linear layers, of which the head is one, and
 * to embeddings. */
static inline bool tensor_may_adapt(const struct tensor *t)
{
    return t->role == ROLE_LINEAR || t->role == ROLE_EMBEDDING || t->role == ROLE_HEAD;
}
/* Writes the name of the module that the tensor belongs to: its name without ".weight" or
 * ".bias". */
void tensor_module(const struct tensor *t, char module[64]);

/* Lists all tensors in their order in files. A tied head is not listed. Returns the number of
 * tensors, or -1 if memory runs out. The caller frees *list. */
int64_t tensors_list(const struct config *c, struct tensor **list, struct fail *why) MUST_USE;

/* Returns the part of the linear layer that this bias belongs to. */
enum part part_biased(enum part bias);
/* Returns the index of the linear layer that `table[bias]` belongs to. It is less than `bias`. */
int64_t tensor_biased(const struct tensor *table, int64_t bias);
/* tensor_has_bias: does this linear layer have a bias in a model with this config?
 * tensor_can_have_bias: could it have a bias with another config.json of the same family? */
bool tensor_has_bias(const struct config *c, const struct tensor *t);
bool tensor_can_have_bias(const struct config *c, const struct tensor *t);
/* Does a model with this config have tensors of this part? */
bool part_exists(const struct config *c, enum part part);
/* part_module returns "q_proj" and so on, or NULL for a part that is not a linear layer inside of a
 * layer. part_by_module is the inverse; it returns -1 for an unknown name. */
const char *part_module(enum part part);
int part_by_module(const char *module);
/* The same for all parts that may have LoRA matrices: also "embed_tokens" and "lm_head". */
const char *part_target(enum part part);
int part_by_target(const char *module);
/* Returns the part of a tensor, by its name in any file, with or without a prefix; -1 if it is of
 * no part. The name contains "embed_tokens", "q_proj" and so on between dots. The name of a bias
 * ends in ".bias". */
int part_of_name(const char *tensor);
/* The bits (1 << part) of all parts with this role. */
uint32_t parts_of_role(enum role role);

/* The number of weights (elements) of the model; a tied head counts once. */
int64_t tensors_parameters(const struct config *c);

#endif
