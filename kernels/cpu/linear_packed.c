/* Groups of packed weights as tiles. A slot has each linear twice, for the forward [in, out] and
 * for the gradient of the input [out, in], in the place of one copy in f32, and its adapter for the
 * products on the way; so a product neither rounds nor lays out weights. A linear begins at a
 * strip, so that a patch of results may begin anywhere.
 */
#include "cpu.h"

bool group_is_laid(const struct group *g)
{
    bool fits = laid_usable() && g->count <= GROUP_MOST && g->at[0].in % STRIP == 0;
    for (int i = 0; i < g->count; i++)
        if (g->at[i].type == WEIGHT_F32 || g->at[i].out % STRIP) fits = false;
    return fits;
}

/* The operand's place; *at goes on to the next. */
static struct laid next_at(bf16 **at, int64_t strips, int64_t depth)
{
    struct laid m = { *at, strips, depth };
    *at += laid_elements(strips, depth);
    return m;
}

struct laid_linear laid_linear(const struct device *dev, const struct group *g, int index)
{
    struct laid_linear w = { 0 };
    bf16 *at = (bf16 *)(void *)dev->slot[g->slot];
    for (int i = 0; i <= index; i++) {
        const struct linear *l = &g->at[i];
        w.forward = next_at(&at, l->out, l->in);
        w.backward = next_at(&at, l->in, l->out);
        if (!l->rank) continue;
        w.b_forward = next_at(&at, l->out, l->rank);
        w.b_backward = next_at(&at, l->rank, l->out);
        w.a_backward = next_at(&at, l->in, l->rank);
    }
    must(at <= (bf16 *)(void *)(dev->slot[g->slot] + dev->slot_floats[g->slot]));
    return w;
}

/* Each linear's padding to whole tiles included, as if all ranks met all outputs. */
size_t laid_slot_floats(const struct slot_shape *s)
{
    int64_t out = s->out + GROUP_MOST * STRIP, rank = s->rank + GROUP_MOST * DEPTH;
    size_t elements = laid_elements(out, s->in) + laid_elements(s->in, out);
    if (s->rank)
        elements +=
            laid_elements(out, rank) + laid_elements(rank, out) + laid_elements(s->in, rank);
    return elements / 2;
}

size_t laid_rows_floats(const struct slot_shape *s, int64_t rows)
{
    int64_t widest = s->in > s->out ? s->in : s->out;
    return laid_elements(rows, widest + s->rank + 2 * GROUP_MOST * DEPTH) / 2;
}

struct weight_call {
    struct device *dev;
    const struct linear *l;
    struct laid_linear to;
    int64_t row_tasks;
};

/* Rows of W and of B. */
static void lay_rows_of(const struct weight_call *w, int64_t first, float *wide)
{
    const struct linear *l = w->l;
    int64_t rows = least(LAID_ROWS, l->out - first), in = l->in;
    if (l->type == WEIGHT_NF4)
        nf4_decode(wide, l, first * in, rows * in);
    else
        widen_range(wide, l->weight, l->type, first * in, rows * in);
    const float *b = l->rank ? l->b + first * l->rank : NULL;
    lay_out(&w->to.forward, (struct laid_part){ first, rows, 0, in },
            (struct source){ wide, in, false, 1 }, true);
    if (b)
        lay_out(&w->to.b_forward, (struct laid_part){ first, rows, 0, l->rank },
                (struct source){ b, l->rank, false, l->scale }, true);
    if (!w->dev->shape.has_backward) return;
    lay_out(&w->to.backward, (struct laid_part){ 0, in, first, rows },
            (struct source){ wide, in, true, 1 }, true);
    if (b)
        lay_out(&w->to.b_backward, (struct laid_part){ 0, l->rank, first, rows },
                (struct source){ b, l->rank, true, l->scale }, true);
}

/* Or columns of A. */
static void lay_weight(void *arg, int64_t task, int worker)
{
    const struct weight_call *w = arg;
    if (task < w->row_tasks) {
        lay_rows_of(w, task * LAID_ROWS, worker_scratch(w->dev, worker));
        return;
    }
    int64_t first = (task - w->row_tasks) * WIDE_COLS;
    lay_out(&w->to.a_backward,
            (struct laid_part){ first, least(WIDE_COLS, w->l->in - first), 0, w->l->rank },
            (struct source){ w->l->a + first, w->l->in, true, 1 }, true);
}

void laid_fill_slot(struct device *dev, const struct group *g)
{
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        struct weight_call w = { dev, l, laid_linear(dev, g, i), pieces(l->out, LAID_ROWS) };
        int64_t columns = l->rank && dev->shape.has_backward ? pieces(l->in, WIDE_COLS) : 0;
        pool_run(dev->pool, w.row_tasks + columns, lay_weight, &w);
    }
}

void laid_place(struct device *dev, struct laid *to, int count, int64_t rows, bf16 **at)
{
    for (int i = 0; i < count; i++)
        to[i] = next_at(at, rows, to[i].depth);
    must(*at <= dev->laid + dev->laid_elements);
}

struct rows_call {
    const struct laid *to;
    const struct mat *from;
    int count;
};

void laid_rows_of(const struct laid *to, const struct mat *from, int count, int64_t first,
                  int64_t rows)
{
    for (int i = 0; i < count; i++)
        lay_out(&to[i], (struct laid_part){ first, rows, 0, to[i].depth },
                (struct source){ row_of(from[i], first), from[i].stride, false, 1 }, false);
}

static void lay_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct rows_call *c = arg;
    int64_t first = task * ROW_TILE;
    laid_rows_of(c->to, c->from, c->count, first, least(ROW_TILE, c->to[0].strips - first));
}

void laid_rows(struct device *dev, const struct laid *to, const struct mat *from, int count)
{
    struct rows_call c = { to, from, count };
    pool_run(dev->pool, pieces(to[0].strips, ROW_TILE), lay_rows, &c);
}
