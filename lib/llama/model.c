/* The model's memory and parameters; passes.c and layers.c have what it computes. */
#include "model_inside.h"

#include "../../kernels/nf4.h"
#include "../common/bf16.h"
#include "../common/pool.h"
#include "../common/rng.h"

#include <math.h>

/* ---- layout: run with block NULL it counts, with the block it assigns ---- */

static void *take(struct model *m, enum memory memory, size_t bytes)
{
    size_t rounded = (bytes + 63) / 64 * 64, at = m->used;
    m->used += rounded;
    m->plan.bytes[memory] += rounded;
    if (!m->block) return NULL;
    must(m->used <= m->block_bytes);
    return m->block + at;
}

static struct mat take_mat(struct model *m, enum memory memory, int64_t rows, int64_t cols)
{
    int64_t stride = (cols + 7) / 8 * 8;
    return (struct mat){ take(m, memory, (size_t)(rows * stride * m->k->act_bytes)), stride };
}

static bool is_trained(const struct model *m, const struct tensor *t)
{
    return m->setup.method == METHOD_FULL || (m->setup.whole >> t->part & 1);
}

static bool has_adapter(const struct model *m, const struct tensor *t)
{
    return m->setup.rank && t->role == ROLE_LINEAR && (m->setup.targets >> t->part & 1);
}

static void add_trainable(struct parameters *p, const struct tensor *t, enum trained kind,
                          int64_t rows, int64_t cols)
{
    p->at[p->at_count++] = (struct trainable){ t, kind, p->count, rows, cols };
    p->count += (rows * cols + 15) / 16 * 16;
}

static int list_parameters(struct model *m, struct fail *why)
{
    struct parameters *p = &m->params;
    p->at = calloc((size_t)m->tensor_count * 2, sizeof *p->at);
    if (!p->at) return fail(why, "out of memory");
    for (int64_t i = 0; i < m->tensor_count; i++) {
        const struct tensor *t = &m->table[i];
        if (is_trained(m, t)) add_trainable(p, t, TRAINED_WEIGHT, t->rows, t->cols);
        if (!has_adapter(m, t)) continue;
        add_trainable(p, t, TRAINED_LORA_A, m->setup.rank, t->cols);
        add_trainable(p, t, TRAINED_LORA_B, t->rows, m->setup.rank);
    }
    return 0;
}

static const struct trainable *find_parameter(const struct model *m, const struct tensor *t,
                                              enum trained kind)
{
    for (int64_t i = 0; i < m->params.at_count; i++)
        if (m->params.at[i].tensor == t && m->params.at[i].kind == kind) return &m->params.at[i];
    return NULL;
}

/* Offsets are kept as pointers only once the parameters have their place. */
static float *value_of(const struct model *m, const struct trainable *t)
{
    return t && m->params.value ? m->params.value + t->offset : NULL;
}

static float *gradient_of(const struct model *m, const struct trainable *t)
{
    return t && m->params.gradient ? m->params.gradient + t->offset : NULL;
}

/* Frozen bytes: where the source has them, or a copy of the device's. */
static const void *place_bytes(struct model *m, const void *from, size_t bytes)
{
    if (m->k->is_host || !from) return from;
    void *to = take(m, MEMORY_WEIGHTS, bytes);
    m->copied[m->copied_count++] = (struct copied){ to, from, bytes };
    return to;
}

static size_t weight_bytes(const struct weight *w, const struct tensor *t)
{
    return ((size_t)(t->rows * t->cols) * weight_type_bits(w->type) + 7) / 8;
}

static struct linear make_linear(struct model *m, const struct tensor *t, const struct weight *w)
{
    struct linear l = { .out = t->rows,
                        .in = t->cols,
                        .site = (uint32_t)(t->layer * PART_COUNT + (int)t->part) };
    const struct trainable *own = find_parameter(m, t, TRAINED_WEIGHT);
    must(own || w);
    if (own) {
        l.type = WEIGHT_F32;
        l.weight = value_of(m, own);
        l.dweight_acc = gradient_of(m, own);
    } else {
        size_t elements = (size_t)(t->rows * t->cols);
        l.type = w->type;
        l.weight = place_bytes(m, w->data, weight_bytes(w, t));
        l.absmax = place_bytes(m, w->absmax, (elements + 63) / 64);
        l.nested = place_bytes(m, w->nested, NF4_SCALES(elements, w->absmax) * sizeof *w->nested);
        l.offset = w->offset;
    }
    const struct trainable *a = find_parameter(m, t, TRAINED_LORA_A);
    const struct trainable *b = find_parameter(m, t, TRAINED_LORA_B);
    if (!a) return l;
    l.rank = m->setup.rank;
    l.scale = (float)(m->setup.alpha / (double)m->setup.rank);
    l.a = value_of(m, a);
    l.b = value_of(m, b);
    l.da_acc = gradient_of(m, a);
    l.db_acc = gradient_of(m, b);
    return l;
}

/* A vector or table that kernels want in f32: the parameters' own, the source's, or
 * room for a converted copy. */
static const float *place_f32(struct model *m, int64_t i, float **gradient)
{
    const struct tensor *t = &m->table[i];
    const struct trainable *own = find_parameter(m, t, TRAINED_WEIGHT);
    *gradient = gradient_of(m, own);
    if (own) return value_of(m, own);
    must(m->weights);
    const struct weight *w = &m->weights->at[i];
    if (w->type == WEIGHT_F32 && m->k->is_host) return w->data;
    return take(m, MEMORY_WEIGHTS, (size_t)(t->rows * t->cols) * 4);
}

/* Embedding or head: as it is stored, if nothing needs it in f32 (on the CPU the loss does). */
static const void *place_table(struct model *m, int64_t i, enum weight_type *type, float **gradient)
{
    const struct tensor *t = &m->table[i];
    bool feeds_loss =
        m->k->is_host && !m->setup.context && (t->part == PART_HEAD || m->config.is_tied);
    *type = WEIGHT_F32;
    if (is_trained(m, t) || feeds_loss) return place_f32(m, i, gradient);
    must(m->weights);
    *gradient = NULL;
    *type = m->weights->at[i].type;
    return place_bytes(m, m->weights->at[i].data, weight_bytes(&m->weights->at[i], t));
}

/* The tensor's layer; for one that is in none, the first. */
static struct layer *layer_of(const struct model *m, const struct tensor *t)
{
    return &m->layers[t->layer >= 0 ? t->layer : 0];
}

static void place_weights(struct model *m)
{
    for (int64_t i = 0; i < m->tensor_count; i++) {
        const struct tensor *t = &m->table[i];
        const struct weight *w = m->weights ? &m->weights->at[i] : NULL;
        struct layer *l = layer_of(m, t);
        switch (t->part) {
        case PART_EMBEDDING:
            m->embedding = place_table(m, i, &m->embedding_type, &m->dembedding);
            break;
        case PART_ATTN_NORM:
            l->attn_gain = place_f32(m, i, &l->dattn_gain);
            break;
        case PART_MLP_NORM:
            l->mlp_gain = place_f32(m, i, &l->dmlp_gain);
            break;
        case PART_FINAL_NORM:
            m->final_gain = place_f32(m, i, &m->dfinal_gain);
            break;
        case PART_HEAD:
            m->head.weight = place_table(m, i, &m->head.type, &m->head.dweight_acc);
            break;
        case PART_Q:
        case PART_K:
        case PART_V:
            l->qkv[t->part - PART_Q] = make_linear(m, t, w);
            break;
        case PART_O:
            l->o[0] = make_linear(m, t, w);
            break;
        case PART_UP:
            l->gate_up[1] = make_linear(m, t, w);
            break;
        case PART_GATE:
            l->gate_up[0] = make_linear(m, t, w);
            break;
        default:
            l->down[0] = make_linear(m, t, w);
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

static int64_t widest_rank(const struct model *m)
{
    const struct layer *l = &m->layers[0];
    int64_t qkv = group_rank_of(l->qkv, 3), gate_up = group_rank_of(l->gate_up, 2);
    int64_t o = group_rank_of(l->o, 1), down = group_rank_of(l->down, 1);
    int64_t widest = qkv > gate_up ? qkv : gate_up;
    widest = o > widest ? o : widest;
    return down > widest ? down : widest;
}

static void place_saved(struct model *m, struct saved *s)
{
    const struct config *c = &m->config;
    int64_t width = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, rows = m->setup.rows;
    int64_t mlp_rows = layer_is_kept(m) ? rows : m->setup.chunk;
    s->qkv = take_mat(m, MEMORY_ACTIVATIONS, rows, width + 2 * kv);
    s->o = take_mat(m, MEMORY_ACTIVATIONS, rows, width + group_rank_of(m->layers[0].o, 1));
    s->h = take_mat(m, MEMORY_ACTIVATIONS, mlp_rows, c->dim);
    s->m = take_mat(m, MEMORY_ACTIVATIONS, mlp_rows, 2 * c->ffn);
    s->lse = take(m, MEMORY_ACTIVATIONS, (size_t)(c->heads * rows) * 4);
}

static void place_activations(struct model *m)
{
    const struct config *c = &m->config;
    int64_t rows = m->setup.rows, chunk = m->setup.chunk, rank = widest_rank(m);
    for (int64_t l = 0; l <= c->layers; l++)
        m->x[l] = m->setup.is_training || l < 2 ? take_mat(m, MEMORY_CHECKPOINTS, rows, c->dim)
                                                : m->x[l - 2];
    for (int64_t l = 0; l < c->layers; l++)
        if (!l || layer_is_kept(m))
            place_saved(m, &m->saved[l]);
        else
            m->saved[l] = m->saved[0];
    m->n = take_mat(m, MEMORY_CHUNK, chunk, c->dim + rank);
    m->s = take_mat(m, MEMORY_CHUNK, chunk, c->ffn + rank);
    m->rstd_chunk = take(m, MEMORY_CHUNK, (size_t)chunk * 4);
    if (!m->setup.is_training) return;
    m->grad = take_mat(m, MEMORY_ACTIVATIONS, rows, c->dim);
    m->dout = take_mat(m, MEMORY_ACTIVATIONS, rows, c->heads * c->head_dim);
    m->dn = take_mat(m, MEMORY_CHUNK, chunk, c->dim);
    m->du = take_mat(m, MEMORY_CHUNK, chunk, rank + 1);
}

static void lay_out(struct model *m)
{
    size_t floats = (size_t)m->params.count * 4, rows = (size_t)m->setup.rows * 4;
    m->rope_rows = m->config.rope.type == ROPE_DYNAMIC ? m->setup.rows : m->setup.positions;
    size_t table = (size_t)(m->rope_rows * m->config.head_dim / 2) * 4;
    m->used = 0;
    m->copied_count = 0;
    m->plan = (struct memory_plan){ 0 };
    m->params.value = take(m, MEMORY_PARAMETERS, floats);
    if (m->setup.is_training) {
        m->params.gradient = take(m, MEMORY_GRADIENTS, floats);
        m->params.moment1 = take(m, MEMORY_MOMENTS, floats);
        m->params.moment2 = take(m, MEMORY_MOMENTS, floats);
    }
    place_weights(m);
    place_activations(m);
    m->cos = take(m, MEMORY_INPUTS, table);
    m->sin = take(m, MEMORY_INPUTS, table);
    m->id = take(m, MEMORY_INPUTS, rows);
    m->target = take(m, MEMORY_INPUTS, rows);
    m->position = take(m, MEMORY_INPUTS, rows);
    m->first = take(m, MEMORY_INPUTS, rows);
    m->second = take(m, MEMORY_INPUTS, rows);
    m->nll = take(m, MEMORY_INPUTS, rows);
    m->logits = take(m, MEMORY_INPUTS, (size_t)(LOGIT_ROWS * m->config.vocab) * 4);
    for (int64_t l = 0; m->setup.context && l < m->config.layers; l++)
        m->cache[l] = take_mat(m, MEMORY_CACHE, m->setup.context,
                               2 * m->config.kv_heads * m->config.head_dim);
}

static struct shape shape_of(const struct model *m)
{
    const struct config *c = &m->config;
    struct shape s = { .rows = m->setup.rows,
                       .chunk = m->setup.chunk,
                       .keys = m->setup.context,
                       .dim = c->dim,
                       .ffn = c->ffn,
                       .heads = c->heads,
                       .kv_heads = c->kv_heads,
                       .head_dim = c->head_dim,
                       .vocab = c->vocab,
                       .rank = m->setup.rank,
                       .has_backward = m->setup.is_training,
                       .dropout = (float)m->setup.dropout };
    for (int64_t i = 0; m->weights && i < m->tensor_count; i++)
        if (m->table[i].role == ROLE_LINEAR && !is_trained(m, &m->table[i]) &&
            m->weights->at[i].type != WEIGHT_F32)
            s.has_packed_weights = true;
    return s;
}

/* ---- values ---- */

static void put_f32(struct model *m, float *to, const struct weight *w, int64_t count)
{
    if (w->type == WEIGHT_F32) {
        m->k->upload(m->dev, to, w->data, (size_t)count * 4);
        return;
    }
    enum { PIECE = 4096 };
    float wide[PIECE];
    const uint16_t *half = w->data;
    for (int64_t i = 0; i < count; i += PIECE) {
        int64_t n = count - i < PIECE ? count - i : PIECE;
        for (int64_t j = 0; j < n; j++)
            wide[j] =
                w->type == WEIGHT_BF16 ? bf16_to_float(half[i + j]) : f16_to_float(half[i + j]);
        m->k->upload(m->dev, to + i, wide, (size_t)n * 4);
    }
}

/* As transformers and PEFT do: normal of deviation initializer_range, gains one; LoRA's A
 * uniform in ±1/√in (Kaiming, a = √5), B zero. */
static int put_random(struct model *m, const struct trainable *t, int64_t index, uint64_t seed,
                      struct fail *why)
{
    double deviation = 0.02;
    if (json_get_real(m->config.json, "initializer_range", &deviation, why)) return -1;
    uint64_t key = rng_key(seed, t->kind == TRAINED_WEIGHT ? "weights" : "adapter");
    size_t count = (size_t)(t->rows * t->cols);
    float *value = malloc(count * sizeof *value), bound = 1 / sqrtf((float)t->cols);
    if (!value) return fail(why, "out of memory");
    for (size_t i = 0; i < count; i++) {
        if (t->kind == TRAINED_LORA_A)
            value[i] = (2 * rng_uniform(key, (uint64_t)index, i) - 1) * bound;
        else if (t->kind == TRAINED_LORA_B)
            value[i] = 0;
        else if (t->tensor->role == ROLE_NORM)
            value[i] = 1;
        else
            value[i] = (float)deviation * rng_normal(key, (uint64_t)index, i);
    }
    m->k->upload(m->dev, m->params.value + t->offset, value, count * sizeof *value);
    free(value);
    return 0;
}

static int put_values(struct model *m, uint64_t seed, struct fail *why)
{
    for (int64_t i = 0; i < m->params.at_count; i++) {
        const struct trainable *t = &m->params.at[i];
        if (t->kind != TRAINED_WEIGHT || !m->weights) {
            if (put_random(m, t, i, seed, why)) return -1;
            continue;
        }
        const struct weight *w = &m->weights->at[t->tensor - m->table];
        if (w->type == WEIGHT_NF4)
            return fail_usage(why, "full fine-tuning needs an unquantized base");
        put_f32(m, m->params.value + t->offset, w, t->rows * t->cols);
    }
    for (int64_t i = 0; i < m->copied_count; i++)
        m->k->upload(m->dev, m->copied[i].to, m->copied[i].from, m->copied[i].bytes);
    /* Copies for what is frozen but not usable where it lies. */
    for (int64_t i = 0; i < m->tensor_count; i++) {
        const struct tensor *t = &m->table[i];
        if (t->role == ROLE_LINEAR || is_trained(m, t)) continue;
        const struct layer *l = layer_of(m, t);
        const void *to = t->part == PART_EMBEDDING    ? m->embedding
                         : t->part == PART_FINAL_NORM ? m->final_gain
                         : t->part == PART_HEAD       ? m->head.weight
                         : t->part == PART_ATTN_NORM  ? (const void *)l->attn_gain
                                                      : l->mlp_gain;
        bool is_stored = (t->part == PART_EMBEDDING && m->embedding_type != WEIGHT_F32) ||
                         (t->part == PART_HEAD && m->head.type != WEIGHT_F32);
        if (!is_stored && (const char *)to >= m->block &&
            (const char *)to < m->block + m->block_bytes)
            put_f32(m, (float *)to, &m->weights->at[i], t->rows * t->cols);
    }
    return 0;
}

static int put_tables(struct model *m, struct fail *why)
{
    bool is_dynamic = m->config.rope.type == ROPE_DYNAMIC;
    int64_t count = m->rope_rows * m->config.head_dim / 2;
    size_t bytes = (size_t)count * sizeof(float);
    m->host_cos = malloc(2 * bytes + 1);
    if (is_dynamic) m->host_row = malloc((size_t)m->rope_rows * sizeof *m->host_row);
    if (!m->host_cos || (is_dynamic && !m->host_row)) return fail(why, "out of memory");
    for (int64_t i = 0; is_dynamic && i < m->rope_rows; i++)
        m->host_row[i] = (int32_t)i;
    if (is_dynamic) return 0;
    config_rope_tables(&m->config, 0, 0, m->rope_rows, m->host_cos, m->host_cos + count);
    m->k->upload(m->dev, m->cos, m->host_cos, bytes);
    m->k->upload(m->dev, m->sin, m->host_cos + count, bytes);
    free(m->host_cos);
    m->host_cos = NULL;
    return 0;
}

/* ---- life ---- */

static int begin(struct model *m, const struct model_setup *setup, const struct config *config,
                 const struct weights *weights, struct fail *why)
{
    must(config || weights);
    must(!setup->context || !setup->is_training);
    must(weights || setup->method == METHOD_FULL);
    m->setup = *setup;
    m->weights = weights;
    if (config_copy(&m->config, config ? config : &weights->config, why) ||
        config_check_context(&m->config, setup->positions, why))
        return -1;
    m->tensor_count = tensors_list(&m->config, &m->table, why);
    if (m->tensor_count < 0) return -1;
    m->layers = calloc((size_t)m->config.layers, sizeof *m->layers);
    m->saved = calloc((size_t)m->config.layers, sizeof *m->saved);
    m->x = calloc((size_t)m->config.layers + 1, sizeof *m->x);
    m->cache = calloc((size_t)m->config.layers, sizeof *m->cache);
    m->copied = calloc((size_t)m->tensor_count * 3, sizeof *m->copied);
    if (!m->layers || !m->saved || !m->x || !m->cache || !m->copied)
        return fail(why, "out of memory");
    if (list_parameters(m, why) || kernels_open(&m->k, setup->device, why)) return -1;
    lay_out(m);
    return 0;
}

/* What begin made. */
static void end(struct model *m)
{
    config_release(&m->config);
    free(m->params.at);
    free(m->layers);
    free(m->saved);
    free(m->x);
    free(m->cache);
    free(m->copied);
    free(m->table);
    free(m->host_cos);
    free(m->host_row);
}

static void add_scratch(struct model *m, int threads)
{
    struct shape shape = shape_of(m);
    m->plan.bytes[MEMORY_SCRATCH] = m->k->plan(&shape, threads);
    /* On the host the source's own memory counts. */
    if (!m->weights || !m->k->is_host) return;
    for (int64_t i = 0; i < m->tensor_count; i++)
        if (!is_trained(m, &m->table[i])) {
            size_t elements = (size_t)(m->table[i].rows * m->table[i].cols);
            m->plan.bytes[MEMORY_WEIGHTS] +=
                elements * weight_type_bits(m->weights->at[i].type) / 8;
            if (m->weights->at[i].type == WEIGHT_NF4)
                m->plan.bytes[MEMORY_WEIGHTS] +=
                    m->weights->at[i].absmax ? elements / 64 + elements / 16384 * 4 : elements / 16;
        }
}

int model_plan(struct memory_plan *plan, const struct model_setup *setup,
               const struct config *config, const struct weights *weights, struct fail *why)
{
    struct model m = { 0 };
    int status = begin(&m, setup, config, weights, why);
    if (!status) {
        add_scratch(&m, setup->threads > 0 ? setup->threads : pool_usable_cpus());
        *plan = m.plan;
    }
    end(&m);
    return status;
}

int model_open(struct model **out, const struct model_setup *setup, const struct config *config,
               const struct weights *weights, uint64_t seed, struct fail *why)
{
    *out = NULL;
    struct model *m = calloc(1, sizeof *m);
    if (!m) return fail(why, "out of memory");
    int status = begin(m, setup, config, weights, why);
    if (!status) status = m->k->open(&m->dev, setup->threads, why);
    if (!status) {
        struct shape shape = shape_of(m);
        status = m->k->reserve(m->dev, &shape, why);
    }
    void *block = NULL;
    if (!status) status = m->k->alloc(m->dev, &block, m->used, why);
    if (!status) {
        m->block_bytes = m->used;
        m->block = block;
        lay_out(m);
        status = put_values(m, seed, why);
    }
    if (!status) status = put_tables(m, why);
    if (status)
        model_close(m);
    else
        *out = m;
    return status;
}

void model_close(struct model *m)
{
    if (!m) return;
    if (m->dev) {
        m->k->release(m->dev, m->block, m->block_bytes);
        m->k->close(m->dev);
    }
    end(m);
    free(m);
}

const struct config *model_config(const struct model *m) { return &m->config; }
const struct model_setup *model_setup_of(const struct model *m) { return &m->setup; }
const struct kernels *model_kernels(const struct model *m) { return m->k; }
struct device *model_device(const struct model *m) { return m->dev; }
const struct parameters *model_parameters(const struct model *m) { return &m->params; }
