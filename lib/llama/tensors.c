#include "lib/llama/tensors.h"

/* The sizes of which shapes are made. */
enum size { ONE, DIM, FFN, HEADS_DIM, KV_DIM, VOCAB };

struct tensor_plan {
    enum part part;
    enum role role;
    enum size rows, cols;
    bool in_layer;
    const char *prefix, *module; /* a tensor's name is prefix + module + ".weight" */
};

static const struct tensor_plan plans[PART_COUNT] = {
    { PART_EMBEDDING, ROLE_EMBEDDING, VOCAB, DIM, false, "model.", "embed_tokens" },
    { PART_ATTN_NORM, ROLE_NORM, DIM, ONE, true, "", "input_layernorm" },
    { PART_Q, ROLE_LINEAR, HEADS_DIM, DIM, true, "self_attn.", "q_proj" },
    { PART_K, ROLE_LINEAR, KV_DIM, DIM, true, "self_attn.", "k_proj" },
    { PART_V, ROLE_LINEAR, KV_DIM, DIM, true, "self_attn.", "v_proj" },
    { PART_O, ROLE_LINEAR, DIM, HEADS_DIM, true, "self_attn.", "o_proj" },
    { PART_MLP_NORM, ROLE_NORM, DIM, ONE, true, "", "post_attention_layernorm" },
    { PART_GATE, ROLE_LINEAR, FFN, DIM, true, "mlp.", "gate_proj" },
    { PART_UP, ROLE_LINEAR, FFN, DIM, true, "mlp.", "up_proj" },
    { PART_DOWN, ROLE_LINEAR, DIM, FFN, true, "mlp.", "down_proj" },
    { PART_FINAL_NORM, ROLE_NORM, DIM, ONE, false, "model.", "norm" },
    { PART_HEAD, ROLE_HEAD, VOCAB, DIM, false, "", "lm_head" },
};

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
    case VOCAB:
        return c->vocab;
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
    if (layer < 0)
        snprintf(t.name, sizeof t.name, "%s%s.weight", p->prefix, p->module);
    else
        snprintf(t.name, sizeof t.name, "model.layers.%lld.%s%s.weight", (long long)layer,
                 p->prefix, p->module);
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
            if (plans[p].in_layer) (*list)[n++] = make(c, &plans[p], layer);
    (*list)[n++] = make(c, &plans[PART_FINAL_NORM], -1);
    if (!c->is_tied) (*list)[n++] = make(c, &plans[PART_HEAD], -1);
    return n;
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

/* Does the name contain the word between dots? */
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
    for (int p = 0; p < PART_COUNT; p++)
        if (has_word(tensor, plans[p].module)) return p;
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
        if (p != PART_HEAD || !c->is_tied)
            sum += size_of(c, plans[p].rows) * size_of(c, plans[p].cols) *
                   (plans[p].in_layer ? c->layers : 1);
    return sum;
}
