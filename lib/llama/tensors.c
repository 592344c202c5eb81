#include "lib/llama/tensors.h"

#include "lib/llama/families.h"

/* The sizes that occur in the shapes of tensors. */
enum size { ONE, DIM, FFN, HEADS_DIM, KV_DIM, Q_NORM, K_NORM, VOCAB, QKV_DIM, TWO_FFN };

/* The models that have a tensor. */
enum models {
    EVERY,
    UNTIED,
    QKV_BIAS,
    O_BIAS,
    MLP_BIAS,
    HEAD_NORMS,
    PRE_NORMS,
    NO_POST_NORMS,
    POST_NORMS,
    PRE_AND_POST_NORMS,
    SPLIT_QKV,
    FUSED_QKV,
    SPLIT_GATE_UP,
    FUSED_GATE_UP
};

struct tensor_plan {
    enum part part;
    enum role role;
    enum size rows, cols;
    bool in_layer;
    const char *prefix, *module; /* a tensor's name is prefix + module + ".weight" or ".bias" */
    enum models models;
};

static const struct tensor_plan plans[PART_COUNT] = {
    { PART_EMBEDDING, ROLE_EMBEDDING, VOCAB, DIM, false, "model.", "embed_tokens", EVERY },
    { PART_ATTN_NORM, ROLE_NORM, DIM, ONE, true, "", "input_layernorm", PRE_NORMS },
    { PART_Q, ROLE_LINEAR, HEADS_DIM, DIM, true, "self_attn.", "q_proj", SPLIT_QKV },
    { PART_K, ROLE_LINEAR, KV_DIM, DIM, true, "self_attn.", "k_proj", SPLIT_QKV },
    { PART_V, ROLE_LINEAR, KV_DIM, DIM, true, "self_attn.", "v_proj", SPLIT_QKV },
    { PART_O, ROLE_LINEAR, DIM, HEADS_DIM, true, "self_attn.", "o_proj", EVERY },
    { PART_MLP_NORM, ROLE_NORM, DIM, ONE, true, "", "post_attention_layernorm", NO_POST_NORMS },
    { PART_GATE, ROLE_LINEAR, FFN, DIM, true, "mlp.", "gate_proj", SPLIT_GATE_UP },
    { PART_UP, ROLE_LINEAR, FFN, DIM, true, "mlp.", "up_proj", SPLIT_GATE_UP },
    { PART_DOWN, ROLE_LINEAR, DIM, FFN, true, "mlp.", "down_proj", EVERY },
    { PART_FINAL_NORM, ROLE_NORM, DIM, ONE, false, "model.", "norm", EVERY },
    { PART_HEAD, ROLE_HEAD, VOCAB, DIM, false, "", "lm_head", UNTIED },
    { PART_Q_BIAS, ROLE_BIAS, HEADS_DIM, ONE, true, "self_attn.", "q_proj", QKV_BIAS },
    { PART_K_BIAS, ROLE_BIAS, KV_DIM, ONE, true, "self_attn.", "k_proj", QKV_BIAS },
    { PART_V_BIAS, ROLE_BIAS, KV_DIM, ONE, true, "self_attn.", "v_proj", QKV_BIAS },
    { PART_O_BIAS, ROLE_BIAS, DIM, ONE, true, "self_attn.", "o_proj", O_BIAS },
    { PART_GATE_BIAS, ROLE_BIAS, FFN, ONE, true, "mlp.", "gate_proj", MLP_BIAS },
    { PART_UP_BIAS, ROLE_BIAS, FFN, ONE, true, "mlp.", "up_proj", MLP_BIAS },
    { PART_DOWN_BIAS, ROLE_BIAS, DIM, ONE, true, "mlp.", "down_proj", MLP_BIAS },
    { PART_Q_NORM, ROLE_NORM, Q_NORM, ONE, true, "self_attn.", "q_norm", HEAD_NORMS },
    { PART_K_NORM, ROLE_NORM, K_NORM, ONE, true, "self_attn.", "k_norm", HEAD_NORMS },
    { PART_ATTN_POST_NORM, ROLE_NORM, DIM, ONE, true, "", "post_attention_layernorm", POST_NORMS },
    { PART_MLP_PRE_NORM, ROLE_NORM, DIM, ONE, true, "", "pre_feedforward_layernorm",
      PRE_AND_POST_NORMS },
    { PART_MLP_POST_NORM, ROLE_NORM, DIM, ONE, true, "", "post_feedforward_layernorm", POST_NORMS },
    { PART_QKV, ROLE_LINEAR, QKV_DIM, DIM, true, "self_attn.", "qkv_proj", FUSED_QKV },
    { PART_GATE_UP, ROLE_LINEAR, TWO_FFN, DIM, true, "mlp.", "gate_up_proj", FUSED_GATE_UP },
};

bool part_exists(const struct config *c, enum part part)
{
    switch (plans[part].models) {
    case UNTIED:
        return !c->is_tied;
    case QKV_BIAS:
        return c->has_qkv_bias;
    case O_BIAS:
        return c->has_o_bias;
    case MLP_BIAS:
        return c->has_mlp_bias;
    case HEAD_NORMS:
        return c->has_head_norms;
    case PRE_NORMS:
        return c->has_pre_norms;
    case NO_POST_NORMS:
        return !c->has_post_norms;
    case POST_NORMS:
        return c->has_post_norms;
    case PRE_AND_POST_NORMS:
        return c->has_pre_norms && c->has_post_norms;
    case SPLIT_QKV:
        return !c->has_fused_qkv;
    case FUSED_QKV:
        return c->has_fused_qkv;
    case SPLIT_GATE_UP:
        return !c->has_fused_gate_up;
    case FUSED_GATE_UP:
        return c->has_fused_gate_up;
    default:
        return true;
    }
}

static int64_t size_of(const struct config *c, enum size size)
{
    switch (size) {
    case DIM:
        return c->dim;
    case FFN:
        return c->ffn;
    case HEADS_DIM:
        return c->heads * c->head_dim;
    case KV_DIM:
        return c->kv_heads * c->head_dim;
    case Q_NORM:
        return c->norms_join_heads ? c->heads * c->head_dim : c->head_dim;
    case K_NORM:
        return c->norms_join_heads ? c->kv_heads * c->head_dim : c->head_dim;
    case VOCAB:
        return c->vocab;
    case QKV_DIM:
        return (c->heads + 2 * c->kv_heads) * c->head_dim;
    case TWO_FFN:
        return 2 * c->ffn;
    default:
        return 1;
    }
}

static struct tensor make(const struct config *c, const struct tensor_plan *p, int64_t layer)
{
    struct tensor t = { .part = p->part,
                        .role = p->role,
                        .layer = layer,
                        .rows = size_of(c, p->rows),
                        .cols = size_of(c, p->cols) };
    const char *what = p->role == ROLE_BIAS ? "bias" : "weight";
    if (layer < 0)
        snprintf(t.name, sizeof t.name, "%s%s.%s", p->prefix, p->module, what);
    else
        snprintf(t.name, sizeof t.name, "model.layers.%lld.%s%s.%s", (long long)layer, p->prefix,
                 p->module, what);
    return t;
}

int64_t tensors_list(const struct config *c, struct tensor **list, struct fail *why)
{
    int64_t n = 0;
    *list = malloc((size_t)(c->layers * PART_COUNT + PART_COUNT) * sizeof **list);
    if (!*list) return fail(why, "out of memory");
    (*list)[n++] = make(c, &plans[PART_EMBEDDING], -1);
    for (int64_t layer = 0; layer < c->layers; layer++)
        for (int p = 0; p < PART_COUNT; p++)
            if (plans[p].in_layer && part_exists(c, (enum part)p))
                (*list)[n++] = make(c, &plans[p], layer);
    (*list)[n++] = make(c, &plans[PART_FINAL_NORM], -1);
    if (!c->is_tied) (*list)[n++] = make(c, &plans[PART_HEAD], -1);
    return n;
}

void tensor_module(const struct tensor *t, char module[64])
{
    snprintf(module, 64, "%s", t->name);
    *strrchr(module, '.') = 0;
}

enum part part_biased(enum part bias)
{
    must(plans[bias].role == ROLE_BIAS);
    return (enum part)part_by_module(plans[bias].module);
}

int64_t tensor_biased(const struct tensor *table, int64_t bias)
{
    enum part part = part_biased(table[bias].part);
    int64_t i = bias - 1;
    while (table[i].part != part)
        i--;
    return i;
}

static bool is_of_mlp(const struct tensor *t)
{
    return t->part == PART_GATE || t->part == PART_UP || t->part == PART_DOWN ||
           t->part == PART_GATE_UP;
}

bool tensor_has_bias(const struct config *c, const struct tensor *t)
{
    if (t->role != ROLE_LINEAR) return false;
    return is_of_mlp(t) ? c->has_mlp_bias : t->part == PART_O ? c->has_o_bias : c->has_qkv_bias;
}

bool tensor_can_have_bias(const struct config *c, const struct tensor *t)
{
    const struct family *f = c->family;
    if (t->role != ROLE_LINEAR) return false;
    return tensor_has_bias(c, t) || (is_of_mlp(t) ? f->reads_mlp_bias : f->reads_attention_bias);
}

const char *part_module(enum part part)
{
    return plans[part].role == ROLE_LINEAR ? plans[part].module : NULL;
}

int part_by_module(const char *module)
{
    for (int p = 0; p < PART_COUNT; p++)
        if (plans[p].role == ROLE_LINEAR && !strcmp(plans[p].module, module)) return p;
    return -1;
}

const char *part_target(enum part part)
{
    enum role role = plans[part].role;
    bool is_table = role == ROLE_EMBEDDING || role == ROLE_HEAD;
    return is_table ? plans[part].module : part_module(part);
}

int part_by_target(const char *module)
{
    for (int p = 0; p < PART_COUNT; p++) {
        const char *name = part_target((enum part)p);
        if (name && !strcmp(name, module)) return p;
    }
    return -1;
}

/* Is the word one of the parts of the name that end at a dot? */
static bool has_word(const char *name, const char *word)
{
    size_t length = strlen(word);
    while (name) {
        if (!strncmp(name, word, length) && name[length] == '.') return true;
        const char *dot = strchr(name, '.');
        name = dot ? dot + 1 : NULL;
    }
    return false;
}

int part_of_name(const char *tensor)
{
    static const char bias[] = ".bias";
    size_t length = strlen(tensor), tail = sizeof bias - 1;
    bool is_bias =
        length > tail && !strcmp(tensor + length - tail, bias) && !strstr(tensor, ".lora_");
    for (int p = 0; p < PART_COUNT; p++)
        if ((plans[p].role == ROLE_BIAS) == is_bias && has_word(tensor, plans[p].module)) return p;
    return -1;
}

uint32_t parts_of_role(enum role role)
{
    uint32_t parts = 0;
    for (int p = 0; p < PART_COUNT; p++)
        if (plans[p].role == role) parts |= 1u << p;
    return parts;
}

int64_t tensors_parameters(const struct config *c)
{
    int64_t sum = 0;
    for (int p = 0; p < PART_COUNT; p++)
        if (part_exists(c, (enum part)p))
            sum += size_of(c, plans[p].rows) * size_of(c, plans[p].cols) *
                   (plans[p].in_layer ? c->layers : 1);
    return sum;
}
