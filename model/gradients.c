/* Where a batch's gradients are computed, and how they are summed.
 *
 * The first batch of an update computes its gradients in the flat array, which is zero. Each later
 * batch computes them in a scratch, which is zero, too, and fold adds the scratch to the flat
 * array. So what a batch adds is a function of this batch alone. All layers share one scratch,
 * because their backward runs one after the other. The tables and the final norm have a scratch
 * each, because the loss already adds to them. */
#include "model/model_internal.h"

static int64_t pieces_of(const struct section *s)
{
    return (s->count + SQUARES_PIECE - 1) / SQUARES_PIECE;
}

int64_t gradients_pieces(const struct model *m)
{
    int64_t pieces = 0;
    for (int64_t i = 0; i < m->params.section_count; i++)
        pieces += pieces_of(&m->params.section[i]);
    return pieces;
}

static size_t bytes_of(const struct section *s) { return (size_t)s->count * sizeof(float); }

void gradients_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t))
{
    const struct parameters *p = &m->params;
    size_t largest = 0;
    for (int64_t i = 0; i < p->section_count; i++)
        if (p->section[i].layer >= 0 && bytes_of(&p->section[i]) > largest)
            largest = bytes_of(&p->section[i]);
    bool has_scratch = m->setup.batches > 1;
    float *shared = has_scratch ? alloc(m, MEMORY_BATCH_GRADIENTS, largest) : NULL;
    for (int64_t i = 0; i < p->section_count; i++) {
        const struct section *s = &p->section[i];
        struct gradient_place *place = &m->places[i];
        place->at = p->gradient ? p->gradient + s->first : NULL;
        place->scratch = shared;
        if (has_scratch && s->layer < 0)
            place->scratch = alloc(m, MEMORY_BATCH_GRADIENTS, bytes_of(s));
    }
    m->squares = alloc(m, MEMORY_INPUTS, (size_t)gradients_pieces(m) * sizeof *m->squares);
}

/* ---- where the pointers point ---- */

/* Gradients that move from one place to another. */
struct moved {
    const float *from;
    float *to;
    int64_t count;
};

static void move(float **gradient, const struct moved *w)
{
    if (*gradient >= w->from && *gradient < w->from + w->count)
        *gradient = w->to + (*gradient - w->from);
}

static void move_linear(struct linear *l, const struct moved *w)
{
    move(&l->da_acc, w);
    move(&l->db_acc, w);
    move(&l->dweight_acc, w);
    move(&l->dbias_acc, w);
}

static void move_layer(struct layer *l, const struct moved *w)
{
    for (int i = 0; i < l->qkv_count; i++)
        move_linear(&l->qkv[i], w);
    for (int i = 0; i < l->gate_up_count; i++)
        move_linear(&l->gate_up[i], w);
    move_linear(l->o, w);
    move_linear(l->down, w);
    move(&l->dattn_gain, w);
    move(&l->dmlp_gain, w);
    move(&l->dq_gain, w);
    move(&l->dk_gain, w);
    move(&l->dattn_post_gain, w);
    move(&l->dmlp_post_gain, w);
}

/* Moves the gradients of a section to the flat array or to their scratch, which becomes zero. */
static void begin(struct model *m, int64_t index)
{
    const struct section *s = &m->params.section[index];
    struct gradient_place *place = &m->places[index];
    must(!m->batches || place->scratch);
    struct moved w = { place->at, m->batches ? place->scratch : m->params.gradient + s->first,
                       s->count };
    if (m->batches) m->k->zero(m->dev, place->scratch, bytes_of(s));
    if (w.to == w.from) return;
    place->at = w.to;
    if (s->layer >= 0) {
        move_layer(&m->layers[s->layer], &w);
        return;
    }
    move(&m->dembedding, &w);
    move(&m->embedding_lora.da, &w);
    move_linear(&m->embedding_lora.up, &w);
    move(&m->dfinal_gain, &w);
    move_linear(&m->head, &w);
    move_linear(&m->head_down, &w);
}

static void end(struct model *m, int64_t index)
{
    const struct section *s = &m->params.section[index];
    if (m->batches)
        m->k->fold(m->dev, m->params.gradient + s->first, m->places[index].scratch, s->count);
}

/* ---- a batch ---- */

void gradients_begin_batch(struct model *m)
{
    for (int64_t i = 0; i < m->params.section_count; i++)
        if (m->params.section[i].layer < 0) begin(m, i);
}

void gradients_begin_layer(struct model *m, int64_t index)
{
    int64_t section = m->section_of_layer[index];
    if (section >= 0) begin(m, section);
}

void gradients_end_layer(struct model *m, int64_t index)
{
    int64_t section = m->section_of_layer[index];
    if (section >= 0) end(m, section);
}

void gradients_end_batch(struct model *m)
{
    for (int64_t i = 0; i < m->params.section_count; i++)
        if (m->params.section[i].layer < 0) end(m, i);
    m->batches++;
}

void model_end_update(struct model *m) { m->batches = 0; }

int model_sum_squares(struct model *m, double *sum, struct fail *why)
{
    int64_t pieces = gradients_pieces(m), at = 0;
    for (int64_t i = 0; i < m->params.section_count; i++) {
        const struct section *s = &m->params.section[i];
        m->k->square_pieces(m->dev, m->squares + at, m->params.gradient + s->first, s->count);
        at += pieces_of(s);
    }
    if (m->k->sync(m->dev, why)) return -1;
    m->k->download(m->dev, m->host_squares, m->squares, (size_t)pieces * sizeof *m->squares);
    *sum = 0;
    for (int64_t i = 0; i < pieces; i++)
        *sum += m->host_squares[i];
    return 0;
}
