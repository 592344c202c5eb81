/* Where a batch's gradients are computed, and how they are summed.
 *
 * The first batch of an update computes its gradients in the flat array, which is zero. Each later
 * batch computes them in a scratch, which is zero, too, and fold adds the scratch to the flat
 * array. So what a batch adds is a function of this batch alone. All layers share one scratch,
 * because their backward runs one after the other. The tables and the final norm each have a
 * scratch of their own, because the loss adds to their gradients before the backward of any layer.
 *
 * Batches may come in blocks (setup.block). The batches of a block are summed in the same way, and
 * then the block's sum is added to that of the update. The first block is summed in the flat array.
 * Later blocks of several batches are summed in an array of their own.
 *
 * If several ranks share the work, each of them owns a part of every section of the flat array.
 * Every block is then summed outside of the flat array, and the parts of its sum go to their owners
 * (exchange.c) during the backward of its last batch. If a block is one batch, two scratches of the
 * layers take turns: one is being sent while the next layer is computed in the other.
 *
 * Samples in segments compute all gradients in scratches (segments.c). */
#include "model/model_internal.h"

/* Is there an array for the sums of blocks? A block of one batch needs none. If one rank computes
 * an update of one block, the flat array holds the block's sum. */
static bool has_block_sums(const struct model *m)
{
    return m->setup.block > 1 && (parts_are_shared(m) || m->setup.batches > m->setup.block);
}

/* Is the present block summed in the flat array? */
static bool is_in_flat(const struct model *m)
{
    return !m->batches && !parts_are_shared(m) && !segments_are_several(m);
}

float *gradients_sum(const struct model *m, int64_t index)
{
    const struct gradient_place *place = &m->places[index];
    if (is_in_flat(m)) return m->params.gradient + m->params.section[index].own.at;
    return has_block_sums(m) ? place->block : place->scratch;
}

/* Is the present batch the last one of this rank's block? */
static bool ends_block(const struct model *m)
{
    int64_t number = m->batches / m->setup.block + (parts_are_shared(m) ? m->setup.part : 0);
    int64_t left = m->setup.batches - number * m->setup.block;
    return m->of_block + 1 == m->setup.block || m->of_block + 1 == left;
}

void gradients_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t))
{
    const struct parameters *p = &m->params;
    size_t largest = 0;
    for (int64_t i = 0; i < p->section_count; i++)
        if (p->section[i].layer >= 0 && segments_scratch_bytes(m, &p->section[i]) > largest)
            largest = segments_scratch_bytes(m, &p->section[i]);
    bool is_shared = parts_are_shared(m), has_scratch = m->setup.batches > 1 || is_shared;
    has_scratch |= segments_are_several(m);
    bool has_blocks = has_block_sums(m), has_two = is_shared && !has_blocks;
    size_t all = (size_t)p->count * sizeof(float);
    float *scratch[2];
    scratch[0] = has_scratch ? alloc(m, MEMORY_BATCH_GRADIENTS, largest) : NULL;
    scratch[1] = has_two ? alloc(m, MEMORY_BATCH_GRADIENTS, largest) : scratch[0];
    float *block = has_blocks ? alloc(m, MEMORY_BATCH_GRADIENTS, all) : NULL;
    for (int64_t i = 0; i < p->section_count; i++) {
        const struct section *s = &p->section[i];
        struct gradient_place *place = &m->places[i];
        place->scratch = s->layer >= 0 ? scratch[s->layer % 2] : NULL;
        if (has_scratch && s->layer < 0)
            place->scratch = alloc(m, MEMORY_BATCH_GRADIENTS, segments_scratch_bytes(m, s));
        place->block = block ? block + s->first : NULL;
        place->at = is_shared || segments_are_several(m) ? place->scratch
                    : p->gradient                        ? p->gradient + s->own.at
                                                         : NULL;
    }
    size_t pieces = (size_t)parts_pieces(m, is_shared ? m->setup.part : 0);
    m->squares = alloc(m, MEMORY_INPUTS, pieces * sizeof *m->squares);
}

/* ---- where the pointers point ---- */

/* Pointers into [from, from + count) are moved to the same offset from `to`. */
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

/* Makes all pointers to the gradients of a section point to another place. */
void gradients_move(struct model *m, int64_t index, float *to)
{
    const struct section *s = &m->params.section[index];
    struct gradient_place *place = &m->places[index];
    struct moved w = { place->at, to, s->count };
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

/* Points the gradients of a section to the place where the batch computes them, and makes that
 * place zero. The first batch of a block computes them where the block is summed, the others in the
 * scratch. The flat array is zero already. */
static void begin(struct model *m, int64_t index)
{
    const struct section *s = &m->params.section[index];
    float *to = m->of_block ? m->places[index].scratch : gradients_sum(m, index);
    must(to);
    if (m->of_block || !is_in_flat(m)) m->k->zero(m->dev, to, segments_scratch_bytes(m, s));
    gradients_move(m, index, to);
}

/* Adds the batch's gradients of a section to the block's. After the last batch of the block it adds
 * the block's to the update's, unless the ranks exchange them. */
static void end(struct model *m, int64_t index)
{
    const struct section *s = &m->params.section[index];
    if (segments_are_several(m)) {
        if (!parts_are_shared(m)) segments_fold(m, index);
        return;
    }
    float *sum = gradients_sum(m, index);
    if (m->of_block) m->k->fold(m->dev, sum, m->places[index].scratch, s->count);
    if (ends_block(m) && !parts_are_shared(m) && !is_in_flat(m))
        m->k->fold(m->dev, m->params.gradient + s->own.at, sum, s->count);
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
    if (section < 0) return;
    if (parts_are_shared(m)) exchange_end(m, (int)(index % EXCHANGES));
    begin(m, section);
}

void gradients_end_layer(struct model *m, int64_t index)
{
    int64_t section = m->section_of_layer[index];
    if (section < 0) return;
    end(m, section);
    if (!parts_are_shared(m) || !ends_block(m)) return;
    if (m->setup.ranks) ranks_at(m->setup.ranks, "%s, layer %lld", m->where, (long long)index);
    exchange_begin(m, section, (int)(index % EXCHANGES), 0);
}

/* Ends a round, in which every rank has summed its block. */
static void end_round(struct model *m)
{
    for (int i = 0; i < EXCHANGES && parts_are_shared(m); i++)
        exchange_end(m, i);
    for (int64_t i = 0; i < m->params.section_count && parts_are_shared(m) && !m->agreed; i++)
        if (m->params.section[i].layer < 0) exchange_table(m, i);
    m->batches += parts_count(m) / m->segments.ranks * m->setup.block;
    m->of_block = 0;
}

void gradients_end_batch(struct model *m)
{
    for (int64_t i = 0; i < m->params.section_count; i++)
        if (m->params.section[i].layer < 0) end(m, i);
    if (ends_block(m))
        end_round(m);
    else
        m->of_block++;
}

void model_join_backward(struct model *m)
{
    must(parts_are_shared(m));
    for (int64_t l = m->config.layers; l-- > 0 && !m->agreed;) {
        int64_t section = m->section_of_layer[l];
        if (section < 0) continue;
        exchange_end(m, (int)(l % EXCHANGES));
        if (m->agreed) break;
        ranks_at(m->setup.ranks, "%s, layer %lld", m->where, (long long)l);
        exchange_begin(m, section, (int)(l % EXCHANGES), 0);
    }
    end_round(m);
}

void model_end_update(struct model *m) { m->batches = m->of_block = 0; }

int model_drop_gradients(struct model *m, struct fail *why)
{
    if (exchange_status(m, why)) return -1;
    m->k->zero(m->dev, m->params.gradient, (size_t)m->params.own_count * 4);
    model_end_update(m);
    return m->k->sync(m->dev, why);
}

int model_sum_squares(struct model *m, double *sum, struct fail *why)
{
    double *at = m->squares;
    if (exchange_status(m, why)) return -1;
    for (int64_t i = 0; i < m->params.section_count; i++) {
        const struct section *s = &m->params.section[i];
        m->k->square_pieces(m->dev, at, m->params.gradient + s->own.at, s->own.count);
        at += (s->own.count + SQUARES_PIECE - 1) / SQUARES_PIECE;
    }
    if (m->k->sync(m->dev, why) || exchange_squares(m, m->host_squares, why)) return -1;
    *sum = parts_add_squares(m, m->host_squares);
    return 0;
}
