/* Lists a model's parameters and plans where all its data lie. Without blocks the plan only counts
 * bytes; with allocated blocks it assigns addresses. */
#include "model/model_internal.h"

static void *alloc_from(struct block *block, size_t *planned, size_t bytes)
{
    size_t rounded = (bytes + 255) / 256 * 256, at = block->used;
    block->used += rounded;
    *planned += rounded;
    if (!block->at) return NULL;
    must(block->used <= block->bytes);
    return block->at + at;
}

static void *alloc_memory(struct model *m, enum memory memory, size_t bytes)
{
    return alloc_from(&m->block, &m->plan.bytes[memory], bytes);
}

static void *alloc_host_memory(struct model *m, enum memory memory, size_t bytes)
{
    return alloc_from(&m->host_block, &m->plan.host[memory], bytes);
}

static struct mat alloc_mat(struct model *m, enum memory memory, int64_t rows, int64_t cols)
{
    int64_t stride = (cols + 7) / 8 * 8;
    return (struct mat){ alloc_memory(m, memory, (size_t)(rows * stride * m->k->act_bytes)),
                         stride };
}

int placement_list_adapted(struct model *m, struct fail *why)
{
    const struct model_setup *s = &m->setup;
    m->each = calloc((size_t)m->tensor_count, sizeof *m->each);
    if (!m->each) return fail(why, "out of memory");
    for (int64_t i = 0; i < m->tensor_count; i++) {
        const struct tensor *t = &m->table[i];
        bool carries = s->rank && tensor_may_adapt(t) && (s->targets >> t->part & 1);
        if (s->each)
            m->each[i] = s->each[i];
        else if (carries)
            m->each[i] = (struct adapted){ s->rank, s->alpha / (double)s->rank, false };
        if (!s->each) m->each[i].is_saved_whole = s->modules_to_save >> t->part & 1;
        must(!m->each[i].rank || tensor_may_adapt(t));
    }
    return 0;
}

bool placement_is_trained(const struct model *m, const struct tensor *t)
{
    return m->setup.method == METHOD_FULL || model_adapted(m, t)->is_saved_whole;
}

/* Binary search: the parameters are sorted by tensor, and those of a tensor by kind. */
static const struct trainable *find_parameter(const struct model *m, const struct tensor *t,
                                              enum trained kind)
{
    int64_t low = 0, high = m->params.at_count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        const struct trainable *at = &m->params.at[middle];
        if (at->tensor == t && at->kind == kind) return at;
        if (at->tensor < t || (at->tensor == t && at->kind < kind))
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Returns NULL while the memory is only counted, because the parameters have no address yet. */
static float *value_of(const struct model *m, const struct trainable *t)
{
    return t && m->params.value ? m->params.value + t->offset : NULL;
}

static float *gradient_of(const struct model *m, const struct trainable *t)
{
    if (!t || !m->places[t->section].at) return NULL;
    return m->places[t->section].at + (t->offset - m->params.section[t->section].first);
}

static void add_copy(struct model *m, void *to, enum dtype to_type, const void *from,
                     enum dtype from_type, size_t bytes)
{
    m->copied[m->copied_count++] =
        (struct weight_copy){ to, from, bytes, to_type, from_type, false };
}

/* Returns the address of frozen bytes: their address in the source on a CPU, the address of a copy
 * on a GPU. */
static const void *plan_bytes(struct model *m, const void *from, size_t bytes)
{
    if (m->k->is_host || !from) return from;
    void *to = alloc_memory(m, MEMORY_WEIGHTS, bytes);
    add_copy(m, to, DTYPE_NF4, from, DTYPE_NF4, bytes);
    return to;
}

/* Returns the number of the Philox stream of a linear layer. A fused linear layer gets the number
 * of its first part, because PART_QKV would give the number of a part in the next layer. */
static uint32_t dropout_stream_of(const struct tensor *t)
{
    enum part part = t->part == PART_QKV ? PART_Q : t->part == PART_GATE_UP ? PART_GATE : t->part;
    must((int)part < PARTS_OF_LLAMA);
    return (uint32_t)(t->layer * PARTS_OF_LLAMA + (int)part);
}

static void plan_adapter(const struct model *m, const struct tensor *t, struct linear *l)
{
    const struct trainable *a = find_parameter(m, t, TRAINED_LORA_A);
    const struct trainable *b = find_parameter(m, t, TRAINED_LORA_B);
    if (!a) return;
    l->rank = model_adapted(m, t)->rank;
    l->scale = (float)model_adapted(m, t)->scale;
    l->a = value_of(m, a);
    l->b = value_of(m, b);
    l->da_acc = gradient_of(m, a);
    l->db_acc = gradient_of(m, b);
}

static struct linear make_linear(struct model *m, const struct tensor *t, const struct weight *w)
{
    struct linear l = { .out = t->rows, .in = t->cols, .dropout_stream = dropout_stream_of(t) };
    const struct trainable *own = find_parameter(m, t, TRAINED_WEIGHT);
    must(own || w);
    if (own) {
        l.type = DTYPE_F32;
        l.weight = value_of(m, own);
        l.dweight_acc = gradient_of(m, own);
    } else {
        l.type = w->type;
        l.weight = plan_bytes(m, w->data, weight_bytes(w, t));
        l.absmax = plan_bytes(m, w->absmax, weight_absmax_bytes(w, t));
        l.absmax_scale = plan_bytes(m, w->absmax_scale, weight_absmax_scale_bytes(w, t));
        l.offset = w->offset;
    }
    plan_adapter(m, t, &l);
    return l;
}

/* Returns the address of a frozen vector or table of the given type. On a CPU this is the address
 * in the source, if the source has this type; else it is the address of a copy. */
static const void *plan_as(struct model *m, int64_t i, enum dtype type)
{
    const struct tensor *t = &m->table[i];
    must(m->weights);
    const struct weight *w = &m->weights->at[i];
    must(w->type != DTYPE_NF4);
    if (w->type == type && m->k->is_host) return w->data;
    void *to = alloc_memory(m, MEMORY_WEIGHTS, (size_t)(t->rows * t->cols) * dtype_bits(type) / 8);
    add_copy(m, to, type, w->data, w->type, weight_bytes(w, t));
    return to;
}

/* Returns the address of the trained values, or of the frozen ones in f32. */
static const float *plan_f32(struct model *m, int64_t i, float **gradient)
{
    const struct trainable *own = find_parameter(m, &m->table[i], TRAINED_WEIGHT);
    *gradient = gradient_of(m, own);
    return own ? value_of(m, own) : plan_as(m, i, DTYPE_F32);
}

/* Plans what a norm multiplies by: the weight, or 1 + weight. */
static const float *plan_gain(struct model *m, int64_t i, float **gradient)
{
    const struct tensor *t = &m->table[i];
    const struct trainable *own = find_parameter(m, t, TRAINED_WEIGHT);
    if (!m->config.norm_adds_one) return plan_f32(m, i, gradient);
    float *to = alloc_memory(m, MEMORY_WEIGHTS, (size_t)t->rows * sizeof *to);
    *gradient = gradient_of(m, own);
    if (own) {
        m->gains[m->gain_count++] = (struct plus_one_gain){ to, value_of(m, own), t->rows };
        return to;
    }
    must(m->weights);
    const struct weight *w = &m->weights->at[i];
    add_copy(m, to, DTYPE_F32, w->data, w->type, weight_bytes(w, t));
    m->copied[m->copied_count - 1].adds_one = true;
    return to;
}

/* Plans the embedding or the head. If it is trained, it has f32. Otherwise it keeps its stored type
 * on a CPU, unless the loss reads it, which needs f32; on a GPU it has the type of the
 * activations. */
static const void *plan_table(struct model *m, int64_t i, enum dtype *type, float **gradient)
{
    const struct tensor *t = &m->table[i];
    bool feeds_loss =
        m->k->is_host && !m->setup.context && (t->part == PART_HEAD || m->config.is_tied);
    *type = DTYPE_F32;
    if (placement_is_trained(m, t) || feeds_loss) return plan_f32(m, i, gradient);
    *gradient = NULL;
    must(m->weights);
    *type = m->k->is_host ? m->weights->at[i].type : m->k->act_type;
    return plan_as(m, i, *type);
}

static void plan_embedding_lora(struct model *m, const struct tensor *t)
{
    const struct trainable *a = find_parameter(m, t, TRAINED_LORA_A);
    const struct trainable *b = find_parameter(m, t, TRAINED_LORA_B);
    struct embedding_lora *e = &m->embedding_lora;
    if (!a) return;
    e->a = value_of(m, a);
    e->da = gradient_of(m, a);
    e->rank = model_adapted(m, t)->rank;
    e->scale = (float)model_adapted(m, t)->scale;
    e->up = (struct linear){ .type = DTYPE_F32,
                             .weight = value_of(m, b),
                             .dweight_acc = gradient_of(m, b),
                             .out = t->cols,
                             .in = e->rank };
}

/* The number of the head's dropout stream is that of a layer before the first one, so no linear
 * layer has it. */
static void plan_head_lora(struct model *m, const struct tensor *t)
{
    struct linear *down = &m->head_down;
    plan_adapter(m, t, &m->head);
    *down = (struct linear){ .type = DTYPE_F32,
                             .in = t->cols,
                             .rank = m->head.rank,
                             .scale = m->head.scale,
                             .a = m->head.a,
                             .da_acc = m->head.da_acc,
                             .dropout_stream = dropout_stream_of(t) };
}

/* Returns the layer of the tensor. Tensors outside all layers get the first layer, which is then
 * not used. */
static struct layer *layer_of(const struct model *m, const struct tensor *t)
{
    return &m->layers[t->layer >= 0 ? t->layer : 0];
}

/* Returns the linear layer of this part. */
static struct linear *linear_of(struct layer *l, enum part part)
{
    switch (part) {
    case PART_Q:
    case PART_K:
    case PART_V:
        return &l->qkv[part - PART_Q];
    case PART_QKV:
        return &l->qkv[0];
    case PART_O:
        return &l->o[0];
    case PART_GATE:
    case PART_GATE_UP:
        return &l->gate_up[0];
    case PART_UP:
        return &l->gate_up[1];
    default:
        must(part == PART_DOWN);
        return &l->down[0];
    }
}

/* The bias of a linear layer comes after its weight in the table of tensors. */
static void plan_bias(struct model *m, int64_t i)
{
    const struct tensor *t = &m->table[i];
    struct linear *l = linear_of(layer_of(m, t), part_biased(t->part));
    l->bias = plan_f32(m, i, &l->dbias_acc);
}

static void plan_weights(struct model *m)
{
    for (int64_t i = 0; i < m->config.layers; i++) {
        m->layers[i].qkv_count = m->config.has_fused_qkv ? 1 : 3;
        m->layers[i].gate_up_count = m->config.has_fused_gate_up ? 1 : 2;
    }
    for (int64_t i = 0; i < m->tensor_count; i++) {
        const struct tensor *t = &m->table[i];
        const struct weight *w = m->weights ? &m->weights->at[i] : NULL;
        struct layer *l = layer_of(m, t);
        switch (t->part) {
        case PART_EMBEDDING:
            m->embedding = plan_table(m, i, &m->embedding_type, &m->dembedding);
            plan_embedding_lora(m, t);
            break;
        case PART_ATTN_NORM:
            l->attn_gain = plan_gain(m, i, &l->dattn_gain);
            break;
        case PART_MLP_NORM:
        case PART_MLP_PRE_NORM:
            l->mlp_gain = plan_gain(m, i, &l->dmlp_gain);
            break;
        case PART_Q_NORM:
            l->q_gain = plan_gain(m, i, &l->dq_gain);
            break;
        case PART_K_NORM:
            l->k_gain = plan_gain(m, i, &l->dk_gain);
            break;
        case PART_ATTN_POST_NORM:
            l->attn_post_gain = plan_gain(m, i, &l->dattn_post_gain);
            break;
        case PART_MLP_POST_NORM:
            l->mlp_post_gain = plan_gain(m, i, &l->dmlp_post_gain);
            break;
        case PART_FINAL_NORM:
            m->final_gain = plan_gain(m, i, &m->dfinal_gain);
            break;
        case PART_HEAD:
            m->head.weight = plan_table(m, i, &m->head.type, &m->head.dweight_acc);
            plan_head_lora(m, t);
            break;
        default:
            if (t->role == ROLE_BIAS)
                plan_bias(m, i);
            else
                *linear_of(l, t->part) = make_linear(m, t, w);
            break;
        }
    }
    if (m->config.is_tied) {
        m->head.type = m->embedding_type;
        m->head.weight = m->embedding;
        m->head.dweight_acc = m->dembedding;
    }
    m->head.out = m->config.vocab;
    m->head.in = m->config.dim;
}

/* Returns the number of columns that the widest group, or table, needs for u. */
static int64_t widest_rank(const struct model *m)
{
    int64_t widest = m->head.rank;
    if (m->embedding_lora.rank > widest) widest = m->embedding_lora.rank;
    for (int slot = SLOT_QKV; slot <= SLOT_DOWN; slot++) {
        int64_t rank = slot_rank(m, slot);
        if (rank > widest) widest = rank;
    }
    return widest;
}

/* Allocates u. `ranks` has each slot's largest rank, because layers may share the buffer. */
static struct mat alloc_lora_down(struct model *m, const int64_t *ranks, int slot)
{
    int64_t rank = m->setup.is_training ? ranks[slot] : 0;
    return rank ? alloc_mat(m, MEMORY_ACTIVATIONS, m->setup.rows, rank) : (struct mat){ NULL, 0 };
}

static void plan_activations(struct model *m)
{
    const struct config *c = &m->config;
    int64_t width = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, rows = m->setup.rows;
    /* slot_rank looks at every layer, so it is not called for every layer. */
    int64_t ranks[SLOT_DOWN + 1];
    for (int slot = SLOT_QKV; slot <= SLOT_DOWN; slot++)
        ranks[slot] = slot_rank(m, slot);
    if (c->has_head_norms) m->qk = alloc_mat(m, MEMORY_ACTIVATIONS, rows, width + kv);
    /* the buffers that recomputed layers share */
    const struct activations *shared = NULL, *output = NULL;
    for (int64_t l = 0; l < c->layers; l++) {
        struct activations *s = &m->activations[l];
        bool is_stored = layer_is_stored(m, l), stores_attention = attention_is_stored(m, l);
        if (m->setup.outputs_on_host)
            output = l < ATTENTION_BUFFERS ? NULL : &m->activations[l - ATTENTION_BUFFERS];
        int64_t mlp_rows = is_stored ? rows : m->setup.chunk;
        if (!is_stored && shared) *s = *shared;
        if (is_stored || !shared) {
            s->qkv = alloc_mat(m, MEMORY_ACTIVATIONS, rows, width + 2 * kv);
            s->h = alloc_mat(m, MEMORY_ACTIVATIONS, mlp_rows, c->dim);
            s->m = alloc_mat(m, MEMORY_ACTIVATIONS, mlp_rows, 2 * c->ffn);
            s->u_qkv = alloc_lora_down(m, ranks, SLOT_QKV);
            if (is_stored) s->u_gate_up = alloc_lora_down(m, ranks, SLOT_GATE_UP);
        }
        /* Inputs are offloaded only if memory is short, so a recomputed layer then recomputes
         * u_down, too. */
        if (is_stored || !m->setup.inputs_on_host) s->u_down = alloc_lora_down(m, ranks, SLOT_DOWN);
        if (!stores_attention && output) {
            s->o = output->o;
            s->lse = output->lse;
        } else {
            s->o = alloc_mat(m, MEMORY_ACTIVATIONS, rows, width + ranks[SLOT_O]);
            s->lse = alloc_memory(m, MEMORY_ACTIVATIONS, lse_bytes(m));
        }
        /* The outputs of the last layers are not offloaded, because the backward begins with
         * them. */
        if (m->setup.outputs_on_host &&
            l + ATTENTION_BUFFERS < c->layers - m->setup.stored_layers) {
            m->host_o[l].o = alloc_host_memory(m, MEMORY_ACTIVATIONS, output_bytes(m, rows));
            m->host_o[l].lse = alloc_host_memory(m, MEMORY_ACTIVATIONS, lse_bytes(m));
        }
        if (!is_stored) shared = s;
        if (!stores_attention) output = s;
    }
}

static void plan_inputs(struct model *m)
{
    int64_t rows = m->setup.rows, layers = m->config.layers;
    int64_t slots = !m->setup.is_training      ? 2
                    : !m->setup.inputs_on_host ? layers + 1
                                               : INPUT_BUFFERS;
    for (int64_t l = 0; l <= layers; l++) {
        m->x[l] =
            l < slots ? alloc_mat(m, MEMORY_CHECKPOINTS, rows, m->config.dim) : m->x[l - slots];
        /* The inputs of the last layers are not offloaded, because the backward begins with
         * them. */
        if (m->setup.is_training && m->setup.inputs_on_host && l + INPUT_BUFFERS <= layers)
            m->host_x[l] = alloc_host_memory(m, MEMORY_CHECKPOINTS,
                                             (size_t)(rows * m->x[l].stride * m->k->act_bytes));
    }
}

/* The gradient of attention's output is written over the last layer's output, if it fits there,
 * because that output is not read after the loss. If inputs are offloaded, the gradient needs a
 * buffer of its own, because the backward prefetches inputs into that place. */
static struct mat plan_attention_gradient(struct model *m, int64_t width)
{
    struct mat last = m->x[m->config.layers];
    if (!m->setup.inputs_on_host && width <= m->config.dim) return last;
    return alloc_mat(m, MEMORY_ACTIVATIONS, m->setup.rows, width);
}

static void plan_buffers(struct model *m)
{
    const struct config *c = &m->config;
    int64_t rows = m->setup.rows, chunk = m->setup.chunk, rank = widest_rank(m);
    plan_inputs(m);
    plan_activations(m);
    m->n = alloc_mat(m, MEMORY_CHUNK, chunk, c->dim + rank);
    m->s = alloc_mat(m, MEMORY_CHUNK, chunk, c->ffn + rank);
    if (c->has_post_norms) m->product = alloc_mat(m, MEMORY_CHUNK, chunk, c->dim);
    m->rstd_chunk = alloc_memory(m, MEMORY_CHUNK, (size_t)chunk * 4);
    if (!m->setup.is_training) return;
    m->grad = alloc_mat(m, MEMORY_ACTIVATIONS, rows, c->dim);
    m->dout = plan_attention_gradient(m, c->heads * c->head_dim);
    /* The gradient of n shares memory with s, which is no longer needed when that gradient is
     * computed. */
    m->dn = c->dim <= c->ffn ? m->s : alloc_mat(m, MEMORY_CHUNK, chunk, c->dim);
    m->du = alloc_mat(m, MEMORY_CHUNK, chunk, rank + 1);
    if (scales_residual(c)) m->product = alloc_mat(m, MEMORY_CHUNK, chunk, c->dim);
    fp8_error_plan(m, alloc_memory);
}

/* Batches that go by heads and batches that go by groups use the same memory, one after the
 * other. */
static void plan_exchanges(struct model *m)
{
    const struct block block = m->block, host_block = m->host_block;
    const struct memory_plan plan = m->plan;
    if (!segments_are_shared(m)) return;
    if (!m->setup.exchange_group || m->setup.also_by_heads)
        heads_plan(m, alloc_memory, alloc_host_memory);
    if (!m->setup.exchange_group) return;
    const struct block of_heads = m->block, host_of_heads = m->host_block;
    const struct memory_plan by_heads = m->plan;
    m->block = block;
    m->host_block = host_block;
    m->plan = plan;
    neighbours_plan(m, alloc_memory, alloc_host_memory);
    if (of_heads.used > m->block.used) {
        m->block = of_heads;
        memcpy(m->plan.bytes, by_heads.bytes, sizeof by_heads.bytes);
    }
    if (host_of_heads.used > m->host_block.used) {
        m->host_block = host_of_heads;
        memcpy(m->plan.host, by_heads.host, sizeof by_heads.host);
    }
}

void placement_plan(struct model *m)
{
    size_t floats = (size_t)m->params.count * 4, own = (size_t)m->params.own_count * 4;
    size_t rows = (size_t)m->setup.rows * 4, whole = (size_t)m->segments.whole_rows * 4;
    m->rope_rows = rope_is_by_length(&m->config.rope) ? m->setup.rows : m->setup.positions;
    size_t table = (size_t)(m->rope_rows * m->config.rotary_dim / 2) * 4;
    m->block.used = m->host_block.used = 0;
    m->copied_count = m->gain_count = 0;
    m->plan = (struct memory_plan){ 0 };
    m->params.value = alloc_memory(m, MEMORY_PARAMETERS, floats);
    if (m->setup.is_training) {
        m->params.gradient = alloc_memory(m, MEMORY_GRADIENTS, own);
        void *(*alloc_moments)(struct model *, enum memory, size_t) =
            m->setup.moments_on_host ? alloc_host_memory : alloc_memory;
        m->params.moment1 = alloc_moments(m, MEMORY_MOMENTS, own);
        m->params.moment2 = alloc_moments(m, MEMORY_MOMENTS, own);
        gradients_plan(m, alloc_memory);
        exchange_plan(m, alloc_memory, alloc_host_memory);
        segments_plan(m, alloc_memory, alloc_host_memory);
    }
    plan_weights(m);
    plan_buffers(m);
    plan_exchanges(m);
    m->cos = alloc_memory(m, MEMORY_INPUTS, table);
    m->sin = alloc_memory(m, MEMORY_INPUTS, table);
    if (m->config.local_theta != 0) {
        m->local_cos = alloc_memory(m, MEMORY_INPUTS, table);
        m->local_sin = alloc_memory(m, MEMORY_INPUTS, table);
    }
    if (m->gain_count)
        m->ones = alloc_memory(m, MEMORY_INPUTS, (size_t)widest_gain(&m->config) * 4);
    m->id = alloc_memory(m, MEMORY_INPUTS, rows);
    m->target = alloc_memory(m, MEMORY_INPUTS, rows);
    m->position = alloc_memory(m, MEMORY_INPUTS, rows);
    m->low_starts = alloc_memory(m, MEMORY_INPUTS, whole);
    m->high_starts = alloc_memory(m, MEMORY_INPUTS, whole);
    if (has_windows(m)) {
        m->window_low_starts = alloc_memory(m, MEMORY_INPUTS, whole);
        m->window_high_starts = alloc_memory(m, MEMORY_INPUTS, whole);
    }
    m->nll = alloc_memory(m, MEMORY_INPUTS, rows);
    m->logits = alloc_memory(m, MEMORY_INPUTS, (size_t)(LOGIT_ROWS * m->config.vocab) * 4);
    for (int64_t l = 0; m->setup.context && l < m->config.layers; l++) {
        struct cache *c = &m->cache[l];
        *c = (struct cache){ .type = m->setup.exact_cache ? m->k->act_type : m->k->cache_type,
                             .capacity = m->setup.context,
                             .kv_heads = m->config.kv_heads / m->segments.ranks,
                             .head_dim = m->config.head_dim };
        c->at = alloc_memory(m, MEMORY_CACHE, (size_t)cache_elements(c) * dtype_bits(c->type) / 8);
    }
}
