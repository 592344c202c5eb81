/* Groups of packed weights as tiles. A slot has each linear twice, for the forward [in, out] and
 * for the gradient of the input [out, in], in the place of one copy in f32; so a product neither
 * rounds nor lays out weights. A linear begins at a strip, so that a patch of results may begin
 * anywhere.
 */
#include "cpu.h"

bool group_is_laid(const struct group *g)
{
    bool fits = laid_usable() && g->count <= GROUP_MOST && g->at[0].in % STRIP == 0;
    for (int i = 0; i < g->count; i++)
        if (g->at[i].type == WEIGHT_F32 || g->at[i].out % STRIP) fits = false;
    return fits;
}

static struct laid weight_of(const struct device *dev, const struct group *g, int index,
                             bool is_backward)
{
    bf16 *at = (bf16 *)(void *)dev->slot[g->slot];
    for (int i = 0; i < index; i++)
        at += laid_elements(g->at[i].out, g->at[i].in) + laid_elements(g->at[i].in, g->at[i].out);
    const struct linear *l = &g->at[index];
    if (!is_backward) return (struct laid){ at, l->out, l->in };
    return (struct laid){ at + laid_elements(l->out, l->in), l->in, l->out };
}

struct laid laid_forward(const struct device *dev, const struct group *g, int index)
{
    return weight_of(dev, g, index, false);
}

struct laid laid_backward(const struct device *dev, const struct group *g, int index)
{
    return weight_of(dev, g, index, true);
}

/* The padding of each linear to whole tiles included. */
size_t laid_slot_floats(const struct slot_shape *s)
{
    return (laid_elements(s->out + GROUP_MOST * STRIP, s->in) +
            laid_elements(s->in, s->out + GROUP_MOST * STRIP)) /
           2;
}

size_t laid_rows_floats(const struct slot_shape *s, int64_t rows)
{
    int64_t widest = s->in > s->out ? s->in : s->out;
    return laid_elements(rows, widest + GROUP_MOST * STRIP) / 2;
}

struct weight_call {
    struct device *dev;
    const struct linear *l;
    struct laid forward, backward;
};

static void lay_weight(void *arg, int64_t task, int worker)
{
    const struct weight_call *w = arg;
    const struct linear *l = w->l;
    int64_t first = task * LAID_ROWS, rows = least(LAID_ROWS, l->out - first), in = l->in;
    float *wide = worker_scratch(w->dev, worker);
    if (l->type == WEIGHT_NF4)
        nf4_decode(wide, l, first * in, rows * in);
    else
        widen_range(wide, l->weight, l->type, first * in, rows * in);
    lay_out(&w->forward, (struct laid_part){ first, rows, 0, in }, wide, in, false, true);
    if (w->dev->shape.has_backward)
        lay_out(&w->backward, (struct laid_part){ 0, in, first, rows }, wide, in, true, true);
}

void laid_fill_slot(struct device *dev, const struct group *g)
{
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        struct weight_call w = { dev, l, laid_forward(dev, g, i), laid_backward(dev, g, i) };
        const bf16 *slot = (const bf16 *)(const void *)dev->slot[g->slot];
        must(w.backward.at + laid_elements(l->in, l->out) <= slot + 2 * dev->slot_floats[g->slot]);
        pool_run(dev->pool, pieces(l->out, LAID_ROWS), lay_weight, &w);
    }
}

struct rows_call {
    const struct laid *to;
    const struct mat *from;
    int count;
    int64_t rows;
};

static void lay_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct rows_call *c = arg;
    int64_t first = task * ROW_TILE, rows = least(ROW_TILE, c->rows - first);
    for (int i = 0; i < c->count; i++)
        lay_out(&c->to[i], (struct laid_part){ first, rows, 0, c->to[i].depth },
                row_of(c->from[i], first), c->from[i].stride, false, false);
}

void laid_rows(struct device *dev, struct laid *to, const struct mat *from, int count, int64_t rows)
{
    bf16 *at = dev->laid;
    for (int i = 0; i < count; i++) {
        to[i].at = at;
        to[i].strips = rows;
        at += laid_elements(rows, to[i].depth);
    }
    must(at <= dev->laid + dev->laid_elements);
    struct rows_call c = { to, from, count, rows };
    pool_run(dev->pool, pieces(rows, ROW_TILE), lay_rows, &c);
}
