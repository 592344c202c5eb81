/* The model's passes over one batch: forward, loss, backward. */
#include "model/model_internal.h"

#include "lib/llama/local_rope.h"

/* Computes the tables of cosines and sines, with one row for each token of the batch. With dynamic
 * scaling and longrope the angles depend on the length of the token's sequence. A sequence ends
 * where the next position is not one higher. */
static void put_dynamic_positions(struct model *m, const struct batch *b)
{
    int64_t half = m->config.rotary_dim / 2, count = b->rows * half;
    size_t bytes = (size_t)(m->rows * half) * sizeof(float);
    float *cos = m->host_cos, *sin = cos + count;
    float *own_cos = cos + m->segments.first_row * half, *own_sin = own_cos + count;
    for (int64_t first = 0, end; first < b->rows; first = end) {
        end = first + 1;
        while (end < b->rows && b->position[end] == b->position[end - 1] + 1)
            end++;
        config_rope_tables(&m->config, b->length ? b->length : b->position[end - 1] + 1,
                           b->position[first], end - first, cos + first * half, sin + first * half);
    }
    m->k->upload(m->dev, m->cos, own_cos, bytes);
    m->k->upload(m->dev, m->sin, own_sin, bytes);
    m->k->upload(m->dev, m->position, m->host_row, (size_t)m->rows * sizeof *m->host_row);
    if (m->config.local_theta == 0) return;
    for (int64_t t = 0; t < b->rows; t++)
        local_rope_tables(&m->config, b->position[t], 1, cos + t * half, sin + t * half);
    m->k->upload(m->dev, m->local_cos, own_cos, bytes);
    m->k->upload(m->dev, m->local_sin, own_sin, bytes);
}

/* In a layer with a window, a row sees only the last `window` of the keys that it sees in other
 * layers; the row's own key is one of them. So the window only moves the first key, and the
 * segments of S2-Attn still apply. */
static void put_windows(struct model *m, const struct batch *b)
{
    int32_t *low_starts = m->host_starts, *high_starts = low_starts + b->rows;
    size_t bytes = (size_t)b->rows * sizeof *low_starts;
    for (int64_t t = 0; t < b->rows; t++) {
        int64_t oldest = m->cached + t + 1 - m->config.window;
        int32_t start = oldest > 0 ? (int32_t)oldest : 0;
        low_starts[t] = b->low_starts[t] > start ? b->low_starts[t] : start;
        high_starts[t] = b->high_starts[t] > start ? b->high_starts[t] : start;
    }
    m->k->upload(m->dev, m->window_low_starts, low_starts, bytes);
    m->k->upload(m->dev, m->window_high_starts, high_starts, bytes);
}

/* ---- layer inputs that are offloaded to the host ----
 * x[l] is in buffer l mod INPUT_BUFFERS. It is copied out while layers l and l + 1 are computed,
 * because layer l + 2 overwrites the buffer. In the backward, buffer l mod INPUT_BUFFERS is free
 * once layer l + 3 is done; x[l] is copied in while layers l + 2 and l + 1 are computed. A ticket
 * is the number by which copy_wait finds a copy. */

static int input_ticket_of(int64_t index) { return (int)(index % INPUT_BUFFERS); }

static size_t input_bytes(const struct model *m)
{
    return (size_t)(m->rows * m->x[0].stride * m->k->act_bytes);
}

/* Starts the copy of this layer's input to the host, and waits until the buffer of the next layer's
 * input is free. */
static void offload_input(struct model *m, int64_t index)
{
    int64_t replaced = index + 1 - INPUT_BUFFERS;
    if (replaced >= 0 && m->host_x[replaced]) m->k->copy_wait(m->dev, input_ticket_of(replaced));
    if (m->host_x[index])
        m->k->copy_out(m->dev, m->host_x[index], m->x[index].at, input_bytes(m),
                       input_ticket_of(index));
}

/* Starts to copy x[index − INPUT_BUFFERS] from the host into the buffer that holds x[index], which
 * the backward no longer needs. */
static void prefetch_input(struct model *m, int64_t index)
{
    int64_t next = index - INPUT_BUFFERS;
    if (next >= 0 && m->host_x[next])
        m->k->copy_in(m->dev, m->x[next].at, m->host_x[next], input_bytes(m),
                      input_ticket_of(next));
}

/* ---- outputs of attention that are offloaded to the host ----
 * The output of layer l is in buffer l mod ATTENTION_BUFFERS. It is copied out while layer l + 1 is
 * computed, and copied in while the backward computes layer l + 1. */

static int attention_ticket_of(int64_t index)
{
    return INPUT_BUFFERS + (int)(index % ATTENTION_BUFFERS);
}

/* Waits until the buffer that this layer's attention writes has been copied out. */
static void wait_for_buffer(struct model *m, int64_t index)
{
    if (index >= ATTENTION_BUFFERS && m->host_o[index - ATTENTION_BUFFERS].o)
        m->k->copy_wait(m->dev, attention_ticket_of(index));
}

static void offload_attention(struct model *m, int64_t index)
{
    const struct offloaded_attention *h = &m->host_o[index];
    const struct activations *s = &m->activations[index];
    if (!h->o) return;
    m->k->copy_out(m->dev, h->o, s->o.at, output_bytes(m, m->rows), attention_ticket_of(index));
    m->k->copy_out(m->dev, h->lse, s->lse, lse_bytes(m), attention_ticket_of(index));
}

/* Starts to copy the attention output of layer index − ATTENTION_BUFFERS from the host. It
 * overwrites the buffer of layer `index`, whose output the backward no longer needs. */
static void prefetch_attention(struct model *m, int64_t index)
{
    int64_t next = index - ATTENTION_BUFFERS;
    if (next < 0 || !m->host_o[next].o) return;
    const struct activations *s = &m->activations[next];
    m->k->copy_in(m->dev, s->o.at, m->host_o[next].o, output_bytes(m, m->rows),
                  attention_ticket_of(next));
    m->k->copy_in(m->dev, s->lse, m->host_o[next].lse, lse_bytes(m), attention_ticket_of(next));
}

void model_forward(struct model *m, const struct batch *batch, struct dropout drop)
{
    const struct kernels *k = m->k;
    model_range_begin(m, "forward");
    segments_take(m, batch);
    size_t whole = (size_t)batch->rows * 4, bytes = (size_t)m->rows * 4;
    int64_t own = m->segments.first_row;
    m->drop = dropout_from(drop, own);
    if (bytes) k->upload(m->dev, m->id, batch->id + own, bytes);
    if (bytes) k->upload(m->dev, m->target, batch->target + own, bytes);
    if (rope_is_by_length(&m->config.rope) && bytes)
        put_dynamic_positions(m, batch);
    else if (bytes)
        k->upload(m->dev, m->position, batch->position + own, bytes);
    k->upload(m->dev, m->low_starts, batch->low_starts, whole);
    k->upload(m->dev, m->high_starts, batch->high_starts, whole);
    if (has_windows(m)) put_windows(m, batch);
    neighbours_take(m, batch);
    for (int64_t i = 0; i < m->gain_count; i++)
        k->narrow_sum(m->dev, m->gains[i].to, DTYPE_F32, m->gains[i].from, 1, m->ones,
                      m->gains[i].count);
    tables_embed(m);
    if (m->checks && m->rows) k->finite_check(m->dev, "embedding", m->x[0], m->rows, m->config.dim);
    must(!m->setup.context || m->cached + batch->rows <= m->setup.context);
    for (int64_t l = 0; l < m->config.layers && !setup_is_stopped(&m->setup); l++) {
        offload_input(m, l);
        wait_for_buffer(m, l);
        model_range_begin(m, "forward, layer %lld", (long long)l);
        layer_forward(m, l);
        model_range_end(m);
        offload_attention(m, l);
    }
    model_range_end(m);
    m->fp8.is_due = false;
    if (m->setup.context) m->cached += batch->rows;
}

int64_t model_cached(const struct model *m) { return m->cached; }

void model_rewind(struct model *m, int64_t rows)
{
    must(rows >= 0 && rows <= m->cached);
    m->cached = rows;
}

int model_loss(struct model *m, float *nll, float dscale, struct fail *why)
{
    const struct kernels *k = m->k;
    const struct config *c = &m->config;
    struct mat last = m->x[c->layers];
    bool backward = dscale > 0;
    must(!backward || m->setup.is_training);
    model_range_begin(m, "loss");
    if (backward) gradients_begin_batch(m);
    if (backward && m->rows)
        k->zero(m->dev, m->grad.at, (size_t)(m->rows * m->grad.stride * k->act_bytes));
    for (int64_t first = 0; first < m->rows; first += m->setup.chunk) {
        int64_t rows = chunk_size(m, first);
        struct mat x = mat_rows(k, last, first);
        if (backward) segments_at_row_of_tables(m, first);
        k->rmsnorm_fwd(m->dev, m->n, m->rstd_chunk, x, m->final_gain, rows, c->dim,
                       (float)c->norm_eps);
        tables_loss(m, first, rows, dscale);
        if (backward)
            k->rmsnorm_bwd(m->dev, mat_rows(k, m->grad, first), m->dfinal_gain, m->dn, x,
                           m->rstd_chunk, m->final_gain, rows, c->dim);
    }
    model_range_end(m);
    if (k->sync(m->dev, why)) return -1;
    if (segments_are_shared(m) && exchange_status(m, why)) return -1;
    if (m->rows) k->download(m->dev, nll, m->nll, (size_t)m->rows * 4);
    return 0;
}

/* Ends a backward of several ranks, of which this rank has not computed the first `layers` layers.
 * A rank that is asked to stop computes nothing more. Until all ranks know of the signal, this rank
 * still takes part in the exchange of gradients, with zeros. */
static void backward_until_agreed(struct model *m, int64_t layers)
{
    for (int64_t l = layers; l-- > 0 && !m->agreed;) {
        gradients_begin_layer(m, l);
        if (!m->agreed) gradients_end_layer(m, l);
    }
    gradients_end_batch(m);
}

void model_backward(struct model *m)
{
    int64_t l = m->config.layers;
    model_range_begin(m, "backward");
    prefetch_input(m, l);
    while (l > 0 && !m->agreed && !setup_is_stopped(&m->setup)) {
        l--;
        if (m->host_x[l]) m->k->copy_wait(m->dev, input_ticket_of(l));
        if (m->host_o[l].o) m->k->copy_wait(m->dev, attention_ticket_of(l));
        model_range_begin(m, "backward, layer %lld", (long long)l);
        gradients_begin_layer(m, l);
        if (!m->agreed) {
            layer_backward(m, l);
            gradients_end_layer(m, l);
        }
        model_range_end(m);
        prefetch_input(m, l);
        prefetch_attention(m, l);
    }
    if (!m->agreed && !setup_is_stopped(&m->setup)) tables_embed_backward(m);
    if (parts_are_shared(m))
        backward_until_agreed(m, l);
    else if (!setup_is_stopped(&m->setup))
        gradients_end_batch(m);
    model_range_end(m);
}

int model_logits(struct model *m, int64_t rows, float *logits, struct fail *why)
{
    float *first_logit = logits, scale = (float)m->config.logit_scale;
    const struct kernels *k = m->k;
    const struct config *c = &m->config;
    int64_t max_rows = m->setup.chunk < LOGIT_ROWS ? m->setup.chunk : LOGIT_ROWS;
    must(rows > 0 && rows <= m->rows);
    for (int64_t first = m->rows - rows, n; first < m->rows; first += n) {
        n = m->rows - first < max_rows ? m->rows - first : max_rows;
        k->rmsnorm_fwd(m->dev, m->n, m->rstd_chunk, mat_rows(k, m->x[c->layers], first),
                       m->final_gain, n, c->dim, (float)c->norm_eps);
        tables_logits(m, n);
        k->download(m->dev, logits, m->logits, (size_t)(n * c->vocab) * 4);
        logits += n * c->vocab;
    }
    if (k->sync(m->dev, why)) return -1;
    for (float *z = first_logit; scale != 1 && z < logits; z++)
        *z *= scale;
    return 0;
}

int model_find_nonfinite(struct model *m, const struct batch *batch, struct dropout drop,
                         struct fail *why)
{
    m->checks = true;
    model_forward(m, batch, drop);
    m->checks = false;
    return m->k->sync(m->dev, why);
}
