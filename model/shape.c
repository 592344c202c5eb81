/* The largest sizes of a model's operations, for which the kernels reserve scratch. */
#include "model/model_internal.h"

int64_t slot_rank(const struct model *m, int slot)
{
    int64_t widest = 0;
    for (int64_t i = 0; i < m->config.layers; i++) {
        const struct layer *l = &m->layers[i];
        int64_t rank = slot == SLOT_QKV       ? group_rank_of(l->qkv, l->qkv_count)
                       : slot == SLOT_O       ? group_rank_of(l->o, 1)
                       : slot == SLOT_GATE_UP ? group_rank_of(l->gate_up, l->gate_up_count)
                                              : group_rank_of(l->down, 1);
        if (rank > widest) widest = rank;
    }
    return widest;
}

static struct slot_shape slot_shape_of(const struct model *m, const struct linear *at, int count,
                                       int slot)
{
    struct slot_shape s = { 0, at->in, slot_rank(m, slot) };
    for (int i = 0; i < count; i++)
        s.out += at[i].out;
    return s;
}

/* True if the group has frozen f32 weights that are not one contiguous matrix. While the memory is
 * only counted, a trained weight has no gradient yet, like a frozen one; but it has no address
 * either. */
static bool is_scattered(const struct linear *at, int count)
{
    bool is_frozen = false;
    for (int i = 0; i < count; i++)
        is_frozen |= at[i].type == DTYPE_F32 && at[i].weight && !at[i].dweight_acc;
    struct group g = { .at = at, .count = count };
    return is_frozen && !group_is_one_matrix(&g);
}

struct shape shape_of(const struct model *m)
{
    const struct config *c = &m->config;
    struct shape s = { .rows = m->segments.whole_rows,
                       .chunk = m->setup.chunk,
                       .keys = m->setup.context,
                       .dim = c->dim,
                       .ffn = c->ffn,
                       .heads = c->heads,
                       .kv_heads = c->kv_heads,
                       .head_dim = c->head_dim,
                       .vocab = c->vocab,
                       .head_type = m->head.type,
                       .head_rank = m->head.rank,
                       .has_backward = m->setup.is_training,
                       .has_fp8 = m->setup.fp8,
                       .k_stride = m->qk.stride ? m->qk.stride : m->activations[0].qkv.stride,
                       .v_stride = m->activations[0].qkv.stride,
                       .dropout = (float)m->setup.dropout };
    if (!segments_are_shared(m)) s.k_stride = s.v_stride = 0;
    const struct layer *l = &m->layers[0];
    s.slot[SLOT_QKV] = slot_shape_of(m, l->qkv, l->qkv_count, SLOT_QKV);
    s.slot[SLOT_O] = slot_shape_of(m, l->o, 1, SLOT_O);
    s.slot[SLOT_GATE_UP] = slot_shape_of(m, l->gate_up, l->gate_up_count, SLOT_GATE_UP);
    s.slot[SLOT_DOWN] = slot_shape_of(m, l->down, 1, SLOT_DOWN);
    s.slot[SLOT_HEAD] = (struct slot_shape){ 0, c->dim, m->head.rank };
    if (m->embedding_lora.rank)
        s.slot[SLOT_EMBEDDING] = (struct slot_shape){ c->dim, m->embedding_lora.rank, 0 };
    for (int64_t i = 0; m->weights && i < m->tensor_count; i++)
        if (m->table[i].role == ROLE_LINEAR && !placement_is_trained(m, &m->table[i]) &&
            m->weights->at[i].type != DTYPE_F32)
            s.has_compact_weights = true;
    for (int64_t i = 0; m->setup.is_training && m->k->is_host && i < c->layers; i++)
        if (is_scattered(m->layers[i].qkv, m->layers[i].qkv_count) ||
            is_scattered(m->layers[i].gate_up, m->layers[i].gate_up_count))
            s.has_scattered_weights = true;
    return s;
}
