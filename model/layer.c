/* One transformer layer, forward and backward, in chunks of rows.
 *
 *     n = rmsnorm(x)   q,k,v = n·Wᵀ   rope(q), rope(k)   o = attention
 *     h = x + o·Woᵀ    n = rmsnorm(h)  gate,up = n·Wᵀ    y = h + swiglu(gate, up)·Wdᵀ
 *
 * Some models normalise each head of q and k before the rotation (QK norm), and some skip the
 * rotation in some layers. A linear layer with a bias adds it. One linear layer may compute q, k
 * and v, and another one gate and up; their outputs are neighbouring columns of one matrix in any
 * case. A sliding window moves the first key that a row sees. Layers with a window may have RoPE
 * with another theta (local_theta). Some models normalise the outputs of attention and MLP before
 * they are added to x and h, or multiply them by residual_scale. Some have no norms before q, k, v,
 * gate and up, which then read x and h themselves. The activation of the gate may be GELU instead
 * of SiLU.
 *
 * The backward reads the stored activations, or first recomputes them from x. It recomputes the MLP
 * chunk by chunk, so that the MLP's wide activations are never in memory for all rows.
 */
#include "model/model_internal.h"

int64_t group_rank_of(const struct linear *at, int count)
{
    int64_t rank = 0;
    for (int i = 0; i < count; i++)
        rank += at[i].rank;
    return rank;
}

/* The linear layers of a transformer layer, in groups. A group is computed in one call, because its
 * linear layers have the same input. */
struct groups {
    struct group qkv, o, gate_up, down;
};

static bool is_in_fp8(const struct model *m, const struct linear *at, int count)
{
    bool is_frozen = true;
    for (int i = 0; i < count; i++)
        is_frozen = is_frozen && !at[i].dweight_acc;
    return m->setup.fp8 && is_frozen;
}

static struct groups groups_of(const struct model *m, const struct layer *l)
{
    int qkv = l->qkv_count, gate_up = l->gate_up_count;
    return (struct groups){ .qkv = { l->qkv, qkv, SLOT_QKV, is_in_fp8(m, l->qkv, qkv) },
                            .o = { l->o, 1, SLOT_O, is_in_fp8(m, l->o, 1) },
                            .gate_up = { l->gate_up, gate_up, SLOT_GATE_UP,
                                         is_in_fp8(m, l->gate_up, gate_up) },
                            .down = { l->down, 1, SLOT_DOWN, is_in_fp8(m, l->down, 1) } };
}

static void prepare_after_attention(struct model *m, const struct groups *g)
{
    if (!m->rows) return;
    m->k->linear_prepare(m->dev, &g->o);
    m->k->linear_prepare(m->dev, &g->gate_up);
    m->k->linear_prepare(m->dev, &g->down);
}

/* at_rows returns the rows from `first` on, in a matrix that has all rows. chunk_rows is for h and
 * m, which have all rows only in a stored layer. In a recomputed layer they have the rows of one
 * chunk, so chunk_rows returns the whole matrix. */
static struct mat at_rows(const struct model *m, struct mat whole, int64_t first)
{
    return mat_rows(m->k, whole, first);
}

static struct mat chunk_rows(const struct model *m, int64_t index, struct mat buffer, int64_t first)
{
    return layer_is_stored(m, index) ? mat_rows(m->k, buffer, first) : buffer;
}

static struct dropout chunk_drop(const struct model *m, int64_t first)
{
    return dropout_from(m->drop, first);
}

static void check_finite(struct model *m, const char *what, int64_t layer, struct mat x,
                         int64_t rows, int64_t cols)
{
    char name[64];
    if (!m->checks || !rows) return;
    snprintf(name, sizeof name, "layer %lld: %s", (long long)layer, what);
    m->k->finite_check(m->dev, name, x, rows, cols);
}

/* ---- u = drop(x)·Aᵀ, which the forward saves for the backward ---- */

static void save_lora_down(struct model *m, struct mat u, struct mat x, const struct group *g,
                           int64_t first, int64_t rows)
{
    int64_t rank = group_rank_of(g->at, g->count);
    if (!u.at || !rank) return;
    m->k->copy_rows(m->dev, at_rows(m, u, first), mat_columns(m->k, x, g->at[0].in), rows, rank);
}

/* Puts u into the columns right of x, where the forward had it. */
static void restore_lora_down(struct model *m, struct mat u, struct mat x, const struct group *g,
                              int64_t first, int64_t rows, struct dropout drop)
{
    int64_t rank = group_rank_of(g->at, g->count);
    if (u.at && rank)
        m->k->copy_rows(m->dev, mat_columns(m->k, x, g->at[0].in), at_rows(m, u, first), rows,
                        rank);
    else if (!u.at)
        m->k->lora_down(m->dev, x, g, rows, drop);
}

/* y = residual + p, where p is the product of x with the group's weights. If there is a gain, p is
 * normalised first. If residual_scale is not 1, p is multiplied by it. y must not be residual. */
static void add_product(struct model *m, struct mat y, struct mat x, const struct group *g,
                        struct mat residual, const float *gain, int64_t rows, struct dropout drop)
{
    const struct config *c = &m->config;
    struct mat none = { NULL, 0 };
    bool is_scaled = scales_residual(c);
    must(!is_scaled || !gain);
    m->k->linear_fwd(m->dev, gain ? m->product : y, x, g, gain || is_scaled ? none : residual, rows,
                     drop);
    if (gain)
        m->k->rmsnorm_add(m->dev, y, m->product, residual, gain, rows, c->dim, (float)c->norm_eps);
    if (is_scaled) m->k->scale_add(m->dev, y, residual, y, (float)c->residual_scale, rows, c->dim);
}

/* Returns the gradient of the group's product in add_product, given the gradient of y. The backward
 * of a norm needs the product, so it is computed again. */
static struct mat product_gradient(struct model *m, struct mat grad, struct mat x,
                                   const struct group *g, const float *gain, float *dgain,
                                   int64_t rows, struct dropout drop)
{
    const struct config *c = &m->config;
    struct mat none = { NULL, 0 };
    if (!gain && !scales_residual(c)) return grad;
    if (gain) {
        m->k->linear_fwd(m->dev, m->product, x, g, none, rows, drop);
        m->k->rmsnorm_heads_bwd(m->dev, m->product, dgain, grad, m->product, gain, rows, 1, c->dim,
                                (float)c->norm_eps);
    } else {
        m->k->scale_add(m->dev, m->product, none, grad, (float)c->residual_scale, rows, c->dim);
    }
    return m->product;
}

/* Computes m->n, the input of q, k and v, or of gate and up: the normalised x, or x itself if the
 * model has no norm there and gain is NULL. */
static void make_input(struct model *m, struct mat x, const float *gain, int64_t rows)
{
    const struct config *c = &m->config;
    if (gain)
        m->k->rmsnorm_fwd(m->dev, m->n, m->rstd_chunk, x, gain, rows, c->dim, (float)c->norm_eps);
    else
        m->k->copy_rows(m->dev, m->n, x, rows, c->dim);
}

/* Adds the gradient of x in make_input to grad, given m->dn, the gradient of m->n. */
static void input_backward(struct model *m, struct mat grad, float *dgain, struct mat x,
                           const float *gain, int64_t rows)
{
    if (gain)
        m->k->rmsnorm_bwd(m->dev, grad, dgain, m->dn, x, m->rstd_chunk, gain, rows, m->config.dim);
    else
        m->k->scale_add(m->dev, grad, grad, m->dn, 1, rows, m->config.dim);
}

static void gate_forward(struct model *m, struct mat gate, struct mat up, int64_t rows)
{
    bool is_gelu = m->config.activation == ACTIVATION_GELU_TANH;
    (is_gelu ? m->k->geglu_fwd : m->k->swiglu_fwd)(m->dev, m->s, gate, up, rows, m->config.ffn);
}

static void gate_backward(struct model *m, struct mat gate, struct mat up, int64_t rows)
{
    bool is_gelu = m->config.activation == ACTIVATION_GELU_TANH;
    (is_gelu ? m->k->geglu_bwd : m->k->swiglu_bwd)(m->dev, m->s, gate, up, rows, m->config.ffn);
}

static bool is_rotated(const struct model *m, int64_t index)
{
    return !layer_set_has(&m->config.unrotated, index);
}

/* Applies RoPE to the heads of x (direction 1), or reverses it (-1). In a layer without RoPE it
 * copies the heads to `to`, unless `to` is x. */
static void rotate(struct model *m, int64_t index, struct mat to, struct mat x, int64_t first,
                   int64_t rows, int64_t heads, int direction)
{
    bool is_local = m->config.local_theta != 0 && layer_set_has(&m->config.windowed, index);
    if (is_rotated(m, index))
        m->k->rope_apply(m->dev, to, x, is_local ? m->local_cos : m->cos,
                         is_local ? m->local_sin : m->sin, m->position + first, rows, heads,
                         m->config.head_dim, m->config.rotary_dim, direction);
    else if (to.at != x.at)
        m->k->copy_rows(m->dev, to, x, rows, heads * m->config.head_dim);
}

/* Returns q, k and v as columns of qkv [T, q | k | v]. */
static struct heads columns_of(const struct model *m, struct mat qkv)
{
    const struct config *c = &m->config;
    int64_t width = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    return (struct heads){ qkv, mat_columns(m->k, qkv, width), mat_columns(m->k, qkv, width + kv) };
}

/* Returns what attention reads: v, and q and k after norms and rotation. */
static struct heads heads_of(const struct model *m, struct mat qkv)
{
    struct heads h = columns_of(m, qkv);
    if (!m->config.has_head_norms) return h;
    return (struct heads){ m->qk, columns_of(m, m->qk).k, h.v };
}

/* How the QK norm of q, or that of k, sees the heads. If the model normalises them together, they
 * are one wide head. */
struct normed {
    int64_t heads, width;
};

static struct normed normed_heads(const struct config *c, int64_t heads)
{
    if (c->norms_join_heads) return (struct normed){ 1, heads * c->head_dim };
    return (struct normed){ heads, c->head_dim };
}

/* Applies the QK norm: normalises the heads of q and k into m->qk. */
static void normalise_heads(struct model *m, int64_t index, int64_t first, int64_t rows)
{
    const struct config *c = &m->config;
    const struct layer *l = &m->layers[index];
    struct heads from = columns_of(m, m->activations[index].qkv), to = columns_of(m, m->qk);
    struct normed of_q = normed_heads(c, c->heads), of_k = normed_heads(c, c->kv_heads);
    m->k->rmsnorm_heads_fwd(m->dev, at_rows(m, to.q, first), at_rows(m, from.q, first), l->q_gain,
                            rows, of_q.heads, of_q.width, (float)c->norm_eps);
    m->k->rmsnorm_heads_fwd(m->dev, at_rows(m, to.k, first), at_rows(m, from.k, first), l->k_gain,
                            rows, of_k.heads, of_k.width, (float)c->norm_eps);
}

/* Applies the QK norm, if the model has one, and RoPE to the heads of q and k. */
static void norm_and_rotate(struct model *m, int64_t index, int64_t first, int64_t rows)
{
    const struct config *c = &m->config;
    struct mat qk = at_rows(m, heads_of(m, m->activations[index].qkv).q, first);
    if (c->has_head_norms) normalise_heads(m, index, first, rows);
    rotate(m, index, qk, qk, first, rows, c->heads + c->kv_heads, 1);
}

/* Propagates dq and dk, the gradients of what attention read, back through rotation and norms. dq
 * is in s->o, dk is in the k of heads_of. The results overwrite q and k in s->qkv. */
static void norm_and_rotate_backward(struct model *m, int64_t index)
{
    const struct config *c = &m->config;
    const struct layer *l = &m->layers[index];
    struct activations *s = &m->activations[index];
    struct heads h = heads_of(m, s->qkv), to = columns_of(m, s->qkv);
    struct normed of_q = normed_heads(c, c->heads), of_k = normed_heads(c, c->kv_heads);
    if (!m->rows) return;
    rotate(m, index, h.q, s->o, 0, m->rows, c->heads, -1);
    rotate(m, index, h.k, h.k, 0, m->rows, c->kv_heads, -1);
    if (!c->has_head_norms) return;
    for (int64_t first = 0; first < m->rows; first += m->setup.chunk) {
        int64_t rows = chunk_size(m, first);
        struct mat q = at_rows(m, to.q, first), k = at_rows(m, to.k, first);
        segments_at_row(m, m->section_of_layer[index], first);
        m->k->rmsnorm_heads_bwd(m->dev, q, l->dq_gain, at_rows(m, h.q, first), q, l->q_gain, rows,
                                of_q.heads, of_q.width, (float)c->norm_eps);
        m->k->rmsnorm_heads_bwd(m->dev, k, l->dk_gain, at_rows(m, h.k, first), k, l->k_gain, rows,
                                of_k.heads, of_k.width, (float)c->norm_eps);
    }
}

static float attention_scale(const struct model *m) { return (float)m->config.attention_scale; }

static struct attention_starts starts_of_heads(const struct model *m, int64_t index)
{
    int64_t split = m->config.heads / 2;
    bool is_cut = has_windows(m) && layer_set_has(&m->config.windowed, index);
    if (is_cut)
        return (struct attention_starts){ m->window_low_starts, m->window_high_starts, split };
    return (struct attention_starts){ m->low_starts, m->high_starts, split };
}

/* Computes q, k and v from the layer's input, and normalises and rotates q and k. */
static void project_qkv(struct model *m, int64_t index)
{
    const struct kernels *k = m->k;
    const struct config *c = &m->config;
    struct layer *l = &m->layers[index];
    struct activations *s = &m->activations[index];
    struct groups g = groups_of(m, l);
    struct mat none = { NULL, 0 };
    if (m->rows) k->linear_prepare(m->dev, &g.qkv);
    for (int64_t first = 0; first < m->rows; first += m->setup.chunk) {
        int64_t rows = chunk_size(m, first);
        struct mat to = at_rows(m, s->qkv, first);
        make_input(m, at_rows(m, m->x[index], first), l->attn_gain, rows);
        if (!first) fp8_error_compare(m, index, &g.qkv, m->n, rows);
        k->linear_fwd(m->dev, to, m->n, &g.qkv, none, rows, chunk_drop(m, first));
        save_lora_down(m, s->u_qkv, m->n, &g.qkv, first, rows);
        norm_and_rotate(m, index, first, rows);
        check_finite(m, "q, k, v", index, to, rows, (c->heads + 2 * c->kv_heads) * c->head_dim);
    }
}

static void attend(struct model *m, int64_t index)
{
    const struct kernels *k = m->k;
    const struct config *c = &m->config;
    struct activations *s = &m->activations[index];
    struct heads h = heads_of(m, s->qkv);
    if (segments_are_shared(m)) {
        if (m->setup.ranks) ranks_at(m->setup.ranks, "%s, layer %lld", m->where, (long long)index);
        heads_attend(m, s->o, s->lse, h, m->setup.context ? &m->cache[index] : NULL,
                     starts_of_heads(m, index));
    } else if (m->setup.context) {
        struct mat kv = columns_of(m, s->qkv).k;
        /* cache_rows needs k and v side by side, so the normalised k overwrites the k from before
         * its norm. Only a backward would need that k again. */
        if (h.k.at != kv.at) k->copy_rows(m->dev, kv, h.k, m->rows, c->kv_heads * c->head_dim);
        k->cache_rows(m->dev, &m->cache[index], m->cached, kv, m->rows);
        k->attention_decode(m->dev, s->o, s->lse, h.q, &m->cache[index], starts_of_heads(m, index),
                            m->cached, m->rows, c->heads, attention_scale(m));
    } else {
        k->attention_fwd(m->dev, s->o, s->lse, h.q, h.k, h.v, starts_of_heads(m, index), m->rows,
                         c->heads, c->kv_heads, c->head_dim, attention_scale(m));
    }
    check_finite(m, "attention's output", index, s->o, m->rows, c->heads * c->head_dim);
}

/* Computes h, n and gate|up of one chunk. */
static void mlp_input(struct model *m, int64_t index, int64_t first, int64_t rows)
{
    const struct kernels *k = m->k;
    const struct config *c = &m->config;
    struct layer *l = &m->layers[index];
    struct activations *s = &m->activations[index];
    struct groups g = groups_of(m, l);
    struct mat none = { NULL, 0 }, h = chunk_rows(m, index, s->h, first);
    if (!first) fp8_error_compare(m, index, &g.o, s->o, rows);
    add_product(m, h, at_rows(m, s->o, first), &g.o, at_rows(m, m->x[index], first),
                l->attn_post_gain, rows, chunk_drop(m, first));
    make_input(m, h, l->mlp_gain, rows);
    if (!first) fp8_error_compare(m, index, &g.gate_up, m->n, rows);
    k->linear_fwd(m->dev, chunk_rows(m, index, s->m, first), m->n, &g.gate_up, none, rows,
                  chunk_drop(m, first));
    save_lora_down(m, s->u_gate_up, m->n, &g.gate_up, first, rows);
    check_finite(m, "attention's half", index, h, rows, c->dim);
}

void layer_forward(struct model *m, int64_t index)
{
    const struct kernels *k = m->k;
    const struct config *c = &m->config;
    struct layer *l = &m->layers[index];
    struct activations *s = &m->activations[index];
    struct groups g = groups_of(m, l);
    project_qkv(m, index);
    attend(m, index);
    prepare_after_attention(m, &g);
    for (int64_t first = 0; first < m->rows; first += m->setup.chunk) {
        int64_t rows = chunk_size(m, first);
        mlp_input(m, index, first, rows);
        struct mat gate = chunk_rows(m, index, s->m, first), up = mat_columns(k, gate, c->ffn);
        gate_forward(m, gate, up, rows);
        check_finite(m, "MLP", index, m->s, rows, c->ffn);
        struct mat y = at_rows(m, m->x[index + 1], first);
        if (!first) fp8_error_compare(m, index, &g.down, m->s, rows);
        add_product(m, y, m->s, &g.down, chunk_rows(m, index, s->h, first), l->mlp_post_gain, rows,
                    chunk_drop(m, first));
        save_lora_down(m, s->u_down, m->s, &g.down, first, rows);
        check_finite(m, "output", index, y, rows, c->dim);
    }
}

/* Propagates the gradient of one chunk back through the MLP and o_proj. m->grad, the gradient of
 * the layer's output, becomes the gradient of h. */
static void mlp_backward(struct model *m, int64_t index, int64_t first, int64_t rows)
{
    const struct kernels *k = m->k;
    const struct config *c = &m->config;
    struct layer *l = &m->layers[index];
    struct activations *s = &m->activations[index];
    struct groups g = groups_of(m, l);
    struct dropout drop = chunk_drop(m, first);
    struct mat grad = at_rows(m, m->grad, first), h = chunk_rows(m, index, s->h, first);
    segments_at_row(m, m->section_of_layer[index], first);
    if (layer_is_stored(m, index)) {
        make_input(m, h, l->mlp_gain, rows);
        restore_lora_down(m, s->u_gate_up, m->n, &g.gate_up, first, rows, drop);
    } else {
        mlp_input(m, index, first, rows);
    }
    struct mat gate = chunk_rows(m, index, s->m, first), up = mat_columns(k, gate, c->ffn);
    if (l->mlp_post_gain) gate_forward(m, gate, up, rows);
    struct mat added =
        product_gradient(m, grad, m->s, &g.down, l->mlp_post_gain, l->dmlp_post_gain, rows, drop);
    k->linear_bwd_input(m->dev, m->s, m->du, &added, &g.down, rows, drop);
    gate_backward(m, gate, up, rows);
    restore_lora_down(m, s->u_down, m->s, &g.down, first, rows, drop);
    k->linear_bwd_weight(m->dev, &g.down, &added, m->du, m->s, rows, drop);
    struct mat dy[2] = { gate, up };
    k->linear_bwd_input(m->dev, m->dn, m->du, dy, &g.gate_up, rows, drop);
    k->linear_bwd_weight(m->dev, &g.gate_up, dy, m->du, m->n, rows, drop);
    input_backward(m, grad, l->dmlp_gain, h, l->mlp_gain, rows);
    added = product_gradient(m, grad, at_rows(m, s->o, first), &g.o, l->attn_post_gain,
                             l->dattn_post_gain, rows, drop);
    k->linear_bwd_input(m->dev, at_rows(m, m->dout, first), m->du, &added, &g.o, rows, drop);
    k->linear_bwd_weight(m->dev, &g.o, &added, m->du, at_rows(m, s->o, first), rows, drop);
}

void layer_backward(struct model *m, int64_t index)
{
    const struct kernels *k = m->k;
    const struct config *c = &m->config;
    struct layer *l = &m->layers[index];
    struct activations *s = &m->activations[index];
    struct groups g = groups_of(m, l);
    /* The last stored_layers layers have activations of their own. The other layers share one set,
     * which still has the activations of the layer that the forward computed last. */
    bool has_activations = index >= c->layers - m->setup.stored_layers - 1;
    if (!has_activations)
        project_qkv(m, index);
    else
        k->linear_prepare(m->dev, &g.qkv);
    /* All layers share m->qk, which may hold q and k of another layer by now. */
    for (int64_t first = 0; has_activations && c->has_head_norms && first < m->rows;
         first += m->setup.chunk)
        norm_and_rotate(m, index, first, chunk_size(m, first));
    bool has_output = has_activations || attention_is_stored(m, index) || m->setup.outputs_on_host;
    if (!has_output) attend(m, index);
    prepare_after_attention(m, &g);
    for (int64_t first = 0; first < m->rows; first += m->setup.chunk)
        mlp_backward(m, index, first, chunk_size(m, first));
    /* dq is written over o; dk and dv are written over k and v. Then dq and dk are propagated back
     * through rotation and norms. */
    struct heads h = heads_of(m, s->qkv), d = columns_of(m, s->qkv);
    if (segments_are_shared(m))
        heads_attend_backward(m, s->o, s->lse, h, starts_of_heads(m, index), !has_output);
    else
        k->attention_bwd(m->dev, s->o, h.k, h.v, m->dout, s->o, s->lse, h.q, h.k, h.v,
                         starts_of_heads(m, index), m->rows, c->heads, c->kv_heads, c->head_dim,
                         attention_scale(m));
    norm_and_rotate_backward(m, index);
    for (int64_t first = 0; first < m->rows; first += m->setup.chunk) {
        int64_t rows = chunk_size(m, first);
        struct dropout drop = chunk_drop(m, first);
        struct mat x = at_rows(m, m->x[index], first);
        struct mat dy[3] = { at_rows(m, d.q, first), at_rows(m, d.k, first),
                             at_rows(m, d.v, first) };
        segments_at_row(m, m->section_of_layer[index], first);
        make_input(m, x, l->attn_gain, rows);
        restore_lora_down(m, s->u_qkv, m->n, &g.qkv, first, rows, drop);
        k->linear_bwd_input(m->dev, m->dn, m->du, dy, &g.qkv, rows, drop);
        k->linear_bwd_weight(m->dev, &g.qkv, dy, m->du, m->n, rows, drop);
        input_backward(m, at_rows(m, m->grad, first), l->dattn_gain, x, l->attn_gain, rows);
    }
}
