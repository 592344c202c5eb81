/* The tables of the vocabulary, which are the embedding and the head, and their adapters.
 *
 *     x = embedding_scale · (E[id] + scale · (A[:, id])ᵀ Bᵀ)      PEFT's lora.Embedding
 *     logits = logit_scale · (n Wᵀ + scale · drop(n) Aᵀ Bᵀ)       PEFT's lora.Linear
 *
 * PEFT applies no dropout to an embedding. The embedding's product with B is a linear layer. Its
 * inputs are columns of A, looked up by token. A is stored transposed, so its columns are rows in
 * memory.
 */
#include "model/model_internal.h"

static const struct mat none = { NULL, 0 };
static const struct dropout no_dropout = { 0 };

static struct group group_of(const struct linear *l, int slot)
{
    return (struct group){ .at = l, .count = 1, .slot = slot };
}

/* ---- embedding ---- */

/* Multiplies x by embedding_scale: the embeddings, or in the backward their gradient. */
static void scale_embeddings(struct model *m, struct mat x)
{
    if (m->config.embedding_scale != 1)
        m->k->scale_add(m->dev, x, none, x, config_embedding_scale(&m->config, m->k->act_type),
                        m->rows, m->config.dim);
}

/* Computes u = scale · A[:, id]ᵀ [rows, r] of a chunk into the first columns of m->n. */
static struct mat look_up_lora(struct model *m, int64_t first, int64_t rows)
{
    const struct embedding_lora *e = &m->embedding_lora;
    m->k->embedding_fwd(m->dev, m->n, e->a, DTYPE_F32, m->id + first, rows, e->rank);
    m->k->scale_add(m->dev, m->n, none, m->n, e->scale, rows, e->rank);
    return m->n;
}

void tables_embed(struct model *m)
{
    const struct kernels *k = m->k;
    if (!m->rows) return;
    struct group up = group_of(&m->embedding_lora.up, SLOT_EMBEDDING);
    k->embedding_fwd(m->dev, m->x[0], m->embedding, m->embedding_type, m->id, m->rows,
                     m->config.dim);
    if (m->embedding_lora.rank) k->linear_prepare(m->dev, &up);
    for (int64_t first = 0; m->embedding_lora.rank && first < m->rows; first += m->setup.chunk) {
        int64_t rows = chunk_size(m, first);
        struct mat x = mat_rows(k, m->x[0], first), u = look_up_lora(m, first, rows);
        k->linear_fwd(m->dev, x, u, &up, x, rows, no_dropout);
    }
    scale_embeddings(m, m->x[0]);
}

static void embed_lora_backward(struct model *m)
{
    const struct kernels *k = m->k;
    const struct embedding_lora *e = &m->embedding_lora;
    struct group up = group_of(&e->up, SLOT_EMBEDDING);
    k->linear_prepare(m->dev, &up);
    for (int64_t first = 0; first < m->rows; first += m->setup.chunk) {
        int64_t rows = chunk_size(m, first);
        segments_at_row_of_tables(m, first);
        struct mat dx = mat_rows(k, m->grad, first), u = look_up_lora(m, first, rows);
        k->linear_bwd_weight(m->dev, &up, &dx, none, u, rows, no_dropout);
        k->linear_bwd_input(m->dev, m->du, none, &dx, &up, rows, no_dropout);
        k->scale_add(m->dev, m->du, none, m->du, e->scale, rows, e->rank);
        k->embedding_bwd(m->dev, e->da, m->du, m->id + first, rows, e->rank);
    }
}

/* Adds the gradients of the rows to the gradient of the embedding, in the order of the rows. Each
 * segment of a sample has a gradient of its own, so it needs a call of its own. */
static void add_embeddings(struct model *m)
{
    int64_t max_rows = segments_are_several(m) ? m->segments.rows : m->rows;
    for (int64_t first = 0; first < m->rows; first += max_rows) {
        int64_t left = m->rows - first;
        segments_at_row_of_tables(m, first);
        m->k->embedding_bwd(m->dev, m->dembedding, mat_rows(m->k, m->grad, first), m->id + first,
                            left < max_rows ? left : max_rows, m->config.dim);
    }
}

void tables_embed_backward(struct model *m)
{
    if (!m->rows || (!m->dembedding && !m->embedding_lora.rank)) return;
    scale_embeddings(m, m->grad);
    if (m->dembedding) add_embeddings(m);
    if (m->embedding_lora.rank) embed_lora_backward(m);
}

/* ---- head ---- */

/* Computes u of the head's adapter to the right of m->n. */
static void head_lora_down(struct model *m, int64_t rows, struct dropout drop)
{
    struct group down = group_of(&m->head_down, SLOT_HEAD);
    if (!m->head_down.rank) return;
    m->k->linear_prepare(m->dev, &down);
    m->k->lora_down(m->dev, m->n, &down, rows, drop);
}

void tables_loss(struct model *m, int64_t first, int64_t rows, float dscale)
{
    const struct kernels *k = m->k;
    struct group down = group_of(&m->head_down, SLOT_HEAD);
    struct dropout drop = dropout_from(m->drop, first);
    bool backward = dscale > 0;
    head_lora_down(m, rows, drop);
    k->head_loss(m->dev, m->nll + first, backward ? m->dn : none, backward ? m->du : none,
                 backward ? m->head.dweight_acc : NULL, m->n, &m->head,
                 (float)m->config.logit_scale, m->target + first, rows, dscale);
    if (!backward || !m->head_down.rank) return;
    /* The loss has overwritten what linear_prepare had put into the slot. */
    k->linear_prepare(m->dev, &down);
    k->lora_bwd_input(m->dev, m->dn, m->du, &down, rows, drop);
    k->linear_bwd_weight(m->dev, &down, &none, m->du, m->n, rows, drop);
}

void tables_logits(struct model *m, int64_t rows)
{
    head_lora_down(m, rows, no_dropout);
    m->k->head_logits(m->dev, m->logits, m->n, &m->head, rows);
}
