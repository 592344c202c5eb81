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
    /* What only some models have. The order of all parts is that of a layer's tensors in our files,
     * and a new part comes last, so that the numbers of those before it stay. */
    PART_Q_BIAS,
    PART_K_BIAS,
    PART_V_BIAS,
    PART_O_BIAS,
    PART_GATE_BIAS,
    PART_UP_BIAS,
    PART_DOWN_BIAS,
    PART_Q_NORM,
    PART_K_NORM,
    /* In a model with norms after attention and MLP, the MLP's first norm has another name, and
     * PART_MLP_NORM's name is that of the norm after attention. */
    PART_ATTN_POST_NORM,
    PART_MLP_PRE_NORM,
    PART_MLP_POST_NORM,
    PART_QKV,     /* q, k and v in one linear, [q | k | v] */
    PART_GATE_UP, /* gate and up in one linear, [gate | up] */
    PART_COUNT
};

/* How many parts LLaMA has. The numbers of dropout streams depend on this count. */
enum { PARTS_OF_LLAMA = PART_HEAD + 1 };

enum role { ROLE_EMBEDDING, ROLE_NORM, ROLE_LINEAR, ROLE_HEAD, ROLE_BIAS };

struct tensor {
    char name[64]; /* model.layers.3.self_attn.q_proj.weight, or a linear's .bias */
    enum part part;
    enum role role;
    int64_t layer;      /* -1 for tensors outside of layers */
    int64_t rows, cols; /* a norm's gain and a bias have shape [rows], with cols 1 */
};

/* Is it a vector, which has one dimension in files and no weight decay? */
static inline bool tensor_is_vector(const struct tensor *t)
{
    return t->role == ROLE_NORM || t->role == ROLE_BIAS;
}
/* Writes the name of the module that the tensor belongs to: its name without ".weight" or
 * ".bias". */
void tensor_module(const struct tensor *t, char module[64]);

/* Lists all tensors in the order in which files have them. A tied head is not listed. Returns their
 * number, or -1 if memory runs out. The caller frees *list. */
int64_t tensors_list(const struct config *c, struct tensor **list, struct fail *why) MUST_USE;

/* The part of the linear that this bias belongs to. */
enum part part_biased(enum part bias);
/* The index of the linear that the bias `table[bias]` belongs to. It comes before the bias. */
int64_t tensor_biased(const struct tensor *table, int64_t bias);
/* Has this linear a bias, in a model with this config? Or could it have one, if config.json said
 * so? */
bool tensor_has_bias(const struct config *c, const struct tensor *t);
bool tensor_can_have_bias(const struct config *c, const struct tensor *t);
/* Has a model with this config tensors of this part? */
bool part_is_there(const struct config *c, enum part part);
/* part_module gives "q_proj" and so on, or NULL for a part that is not a linear of a layer.
 * part_by_module is the inverse; it gives -1 for an unknown name. */
const char *part_module(enum part part);
int part_by_module(const char *module);
/* The part to which a tensor of any file belongs, with or without a prefix: its name contains
 * "embed_tokens" or "q_proj" between dots, and ends in ".bias" if it is a bias. -1 if there is
 * none. */
int part_of_name(const char *tensor);
/* The bits (1 << part) of all parts with this role. */
uint32_t parts_of_role(enum role role);

/* The number of weights (elements) of the model; a tied head counts once. */
int64_t tensors_parameters(const struct config *c);

#endif
