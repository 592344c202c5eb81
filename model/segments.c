/* A sample in segments: which rows a rank computes, and how the gradients of segments are summed.
 *
 * A section is a layer, or one of the parameters outside of the layers. It has a buffer of
 * gradients for each segment of this rank. While the rows of a segment are computed, the
 * pointers to the section's gradients point into that segment's buffer. Then the buffers of all
 * segments are added, in the order of the segments. If there is one rank, that is done here.
 * With several ranks, each rank adds a part of the section, which it gets from the others
 * (exchange.c). */
#include "model/model_internal.h"

bool segments_are_several(const struct model *m) { return m->segments.count > 1; }
bool segments_are_shared(const struct model *m) { return m->segments.ranks > 1; }

/* ---- rows ---- */

int64_t model_chunk(const struct model_setup *s, int64_t preferred)
{
    enum { UNIT = 16 };
    int64_t max_rows = s->chunk ? s->chunk : preferred;
    int64_t rows = s->segments > 1 ? (s->rows + s->segments - 1) / s->segments : s->rows;
    if (max_rows >= rows) return rows;
    /* No chunk crosses the border of a segment, so the rows of a chunk must divide those of a
     * segment. */
    if (s->chunk || s->segments < 2 || rows % UNIT) return max_rows;
    max_rows -= max_rows % UNIT;
    while (max_rows > UNIT && rows % max_rows)
        max_rows -= UNIT;
    return max_rows;
}

void segments_set(struct model *m)
{
    struct segments *g = &m->segments;
    struct model_setup *s = &m->setup;
    g->count = s->segments > 1 ? s->segments : 1;
    g->ranks = s->sample_parts > 1 ? s->sample_parts : 1;
    must(g->count % g->ranks == 0 && parts_count(m) % g->ranks == 0);
    g->own = g->count / g->ranks;
    g->first = s->part % g->ranks * g->own;
    g->whole_rows = s->rows;
    g->rows = (s->rows + g->count - 1) / g->count;
    if (!segments_are_several(m)) return;
    s->rows = g->own * g->rows;
    /* Ranks that share a sample must leave it together. They tell each other of signals only
     * between two passes, so no rank may leave a pass. */
    if (parts_are_shared(m)) s->stop = NULL;
}

int segments_open(struct model *m, struct fail *why)
{
    struct segments *g = &m->segments;
    int64_t of_gradients = 2 * parts_count(m) * g->own, of_heads = 2 * HEADS_MATRICES * g->ranks;
    g->round_rows = calloc((size_t)(parts_count(m) / g->ranks), sizeof *g->round_rows);
    g->messages = calloc((size_t)(of_gradients + of_heads), sizeof *g->messages);
    return g->round_rows && g->messages ? 0 : fail(why, "out of memory");
}

void segments_close(struct model *m)
{
    free(m->segments.round_rows);
    free(m->segments.messages);
}

int64_t segments_rows_of(const struct model *m, int64_t number, int64_t *first)
{
    const struct segments *g = &m->segments;
    int64_t max_rows = g->own * g->rows, left;
    *first = number * max_rows;
    left = g->batch_rows - *first;
    return left < 0 ? 0 : left < max_rows ? left : max_rows;
}

void segments_take(struct model *m, const struct batch *batch)
{
    struct segments *g = &m->segments;
    must(batch->rows > 0 && batch->rows <= g->whole_rows);
    g->batch_rows = batch->rows;
    m->rows = segments_rows_of(m, m->setup.part % g->ranks, &g->first_row);
    g->round_rows[m->setup.part / g->ranks] = batch->rows;
}

int64_t model_rows(const struct model *m) { return m->rows; }

void model_set_round(struct model *m, int64_t group, int64_t rows)
{
    m->segments.round_rows[group] = rows;
}

/* Returns how many segments with rows a rank has in this round. */
static int64_t segments_of(const struct model *m, int64_t rank)
{
    const struct segments *g = &m->segments;
    int64_t all = (g->round_rows[rank / g->ranks] + g->rows - 1) / g->rows;
    int64_t left = all - rank % g->ranks * g->own;
    return left < 0 ? 0 : left < g->own ? left : g->own;
}

/* ---- the gradients of segments ---- */

static int64_t stride_of(const struct section *s)
{
    return (s->count + SECTION_ALIGNMENT - 1) / SECTION_ALIGNMENT * SECTION_ALIGNMENT;
}

size_t segments_scratch_bytes(const struct model *m, const struct section *s)
{
    int64_t floats = segments_are_several(m) ? m->segments.own * stride_of(s) : s->count;
    return (size_t)floats * sizeof(float);
}

static float *scratch_of(const struct model *m, int64_t index, int64_t segment)
{
    return m->places[index].scratch + segment * stride_of(&m->params.section[index]);
}

void segments_at_row(struct model *m, int64_t index, int64_t row)
{
    if (segments_are_several(m) && index >= 0)
        gradients_move(m, index, scratch_of(m, index, row / m->segments.rows));
}

void segments_at_row_of_tables(struct model *m, int64_t row)
{
    for (int64_t i = 0; i < m->params.section_count; i++)
        if (m->params.section[i].layer < 0) segments_at_row(m, i, row);
}

void segments_fold(struct model *m, int64_t index)
{
    const struct section *s = &m->params.section[index];
    int64_t count = segments_of(m, m->setup.part);
    for (int64_t j = 0; j < count; j++)
        exchange_add(m, m->params.gradient + s->own.at, scratch_of(m, index, j), s->count,
                     !m->batches && !j);
}

/* ---- the gradients of segments, to their owners ---- */

void segments_plan(struct model *m, void *(*alloc)(struct model *, enum memory, size_t),
                   void *(*alloc_host)(struct model *, enum memory, size_t))
{
    struct segments *g = &m->segments;
    if (!segments_are_several(m) || !parts_are_shared(m)) return;
    size_t bytes = (size_t)(m->slice * parts_count(m) * (g->own - 1)) * sizeof(float);
    for (int b = 0; b < EXCHANGES; b++) {
        g->received[b] = alloc(m, MEMORY_BATCH_GRADIENTS, bytes);
        bool is_direct = exchange_is_direct(m);
        g->in[b] = is_direct ? g->received[b] : alloc_host(m, MEMORY_BATCH_GRADIENTS, bytes);
        g->out[b] = is_direct ? NULL : alloc_host(m, MEMORY_BATCH_GRADIENTS, bytes);
    }
}

/* Returns the place of a rank's segment. One buffer has the first segment of every rank, and
 * another has all other segments. */
static float *at_segment(const struct model *m, float *first, float *others, int64_t rank,
                         int64_t segment)
{
    return segment ? others + (rank * (m->segments.own - 1) + segment - 1) * m->slice
                   : first + rank * m->slice;
}

void segments_send(struct model *m, int64_t index, int number, int64_t offset)
{
    const struct section *s = &m->params.section[index];
    struct segments *g = &m->segments;
    struct exchange *e = &m->exchange[number];
    int64_t own = m->setup.part, in_count = 0, out_count = 0;
    struct ranks_message *in = g->messages, *out = in + parts_count(m) * g->own;
    size_t own_bytes = (size_t)exchange_slice_of(m, s, own, offset).count * sizeof(float);
    must(e->section < 0);
    e->section = index;
    e->offset = offset;
    for (int64_t r = 0; r < m->setup.parts; r++) {
        struct owned p = exchange_slice_of(m, s, r, offset);
        size_t bytes = (size_t)p.count * sizeof(float);
        if (r == own) continue;
        for (int64_t j = 0; j < segments_of(m, r) && own_bytes; j++)
            in[in_count++] =
                exchange_message(m, r, at_segment(m, e->in, g->in[number], r, j), own_bytes);
        for (int64_t j = 0; j < segments_of(m, own) && bytes; j++) {
            float *from = scratch_of(m, index, j) + (p.first - s->first);
            float *host =
                exchange_is_direct(m) ? from : at_segment(m, e->out, g->out[number], r, j);
            if (host != from) m->k->download(m->dev, host, from, bytes);
            out[out_count++] = exchange_message(m, r, host, bytes);
        }
    }
    exchange_begin_messages(m, number, in, (int)in_count, out, (int)out_count);
}

void segments_add(struct model *m, int number)
{
    struct segments *g = &m->segments;
    struct exchange *e = &m->exchange[number];
    const struct section *s = &m->params.section[e->section];
    int64_t own = m->setup.part;
    struct owned p = exchange_slice_of(m, s, own, e->offset);
    float *to = m->params.gradient + s->own.at + e->offset;
    exchange_wait(m, number);
    for (int64_t r = 0; r < m->setup.parts && p.count && !m->has_failed; r++)
        for (int64_t j = 0; j < segments_of(m, r); j++) {
            float *from = at_segment(m, e->received, g->received[number], r, j);
            if (r == own)
                from = scratch_of(m, e->section, j) + (p.first - s->first);
            else if (!exchange_is_direct(m))
                m->k->upload(m->dev, from, at_segment(m, e->in, g->in[number], r, j),
                             (size_t)p.count * sizeof *from);
            exchange_add(m, to, from, p.count, !m->batches && !r && !j);
        }
    e->section = -1;
}
