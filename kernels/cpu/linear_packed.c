/* Packs the NF4 or 16-bit weights of a group of linear layers into tiles of bf16 (gemm_tiles.c).
 *
 * The slot of a group (kernels.h) has each weight W in bf16 twice: as the right operand [in, out]
 * of the forward and, in training, as the right operand [out, in] of the gradient of the input. The
 * two copies take as many bytes as one copy in f32. The slot also has the adapter in the same way:
 * scale · B twice, and A once, for the gradient of the input. So no product has to round or pack
 * weights. Each linear layer begins with new tiles, so that a task may compute results from any
 * multiple of 16 columns on.
 */
#include "kernels/cpu/cpu.h"

bool group_is_packed(const struct group *g)
{
    bool fits = !g->is_fp8 && packing_usable() && g->count <= MAX_GROUP && g->at[0].in % PANEL == 0;
    for (int i = 0; i < g->count; i++)
        if (g->at[i].type == DTYPE_F32 || g->at[i].out % PANEL) fits = false;
    return fits;
}

/* Returns the operand that begins at *at, and moves *at to the end of it. */
static struct packed next_packed(bf16 **at, int64_t width, int64_t depth)
{
    struct packed m = { *at, width, depth };
    *at += packed_elements(width, depth);
    return m;
}

struct packed_linear packed_linear(const struct device *dev, const struct group *g, int index)
{
    struct packed_linear w = { 0 };
    bf16 *at = (bf16 *)(void *)dev->slot[g->slot];
    for (int i = 0; i <= index; i++) {
        const struct linear *l = &g->at[i];
        w.forward = next_packed(&at, l->out, l->in);
        w.backward = next_packed(&at, l->in, l->out);
        if (!l->rank) continue;
        w.b_forward = next_packed(&at, l->out, l->rank);
        w.b_backward = next_packed(&at, l->rank, l->out);
        w.a_backward = next_packed(&at, l->in, l->rank);
    }
    must(at <= (bf16 *)(void *)(dev->slot[g->slot] + dev->slot_floats[g->slot]));
    return w;
}

/* Returns an upper bound. It counts a tile of padding for each of MAX_GROUP linear layers. It also
 * counts one B [all outputs, all ranks], although the B of each linear layer is smaller. */
size_t packed_slot_floats(const struct slot_shape *s)
{
    int64_t out = s->out + MAX_GROUP * PANEL, rank = s->rank + MAX_GROUP * TILE_K;
    size_t elements = packed_elements(out, s->in) + packed_elements(s->in, out);
    if (s->rank)
        elements +=
            packed_elements(out, rank) + packed_elements(rank, out) + packed_elements(s->in, rank);
    return elements / 2;
}

size_t packed_rows_floats(const struct slot_shape *s, int64_t rows)
{
    int64_t widest = s->in > s->out ? s->in : s->out;
    return packed_elements(rows, widest + s->rank + 2 * MAX_GROUP * TILE_K) / 2;
}

struct weight_call {
    struct device *dev;
    const struct linear *l;
    struct packed_linear to;
    int64_t row_tasks;
};

/* Packs some rows of W and of B. */
static void pack_weight_rows(const struct weight_call *w, int64_t first, float *wide)
{
    const struct linear *l = w->l;
    int64_t rows = min_i64(PACK_ROWS, l->out - first), in = l->in;
    if (l->type == DTYPE_NF4)
        nf4_decode(wide, l, first * in, rows * in);
    else
        widen_range(wide, l->weight, l->type, first * in, rows * in);
    const float *b = l->rank ? l->b + first * l->rank : NULL;
    pack_operand(&w->to.forward, (struct packed_part){ first, rows, 0, in },
                 (struct source){ wide, in, false, 1 }, true);
    if (b)
        pack_operand(&w->to.b_forward, (struct packed_part){ first, rows, 0, l->rank },
                     (struct source){ b, l->rank, false, l->scale }, true);
    if (!w->dev->shape.has_backward) return;
    pack_operand(&w->to.backward, (struct packed_part){ 0, in, first, rows },
                 (struct source){ wide, in, true, 1 }, true);
    if (b)
        pack_operand(&w->to.b_backward, (struct packed_part){ 0, l->rank, first, rows },
                     (struct source){ b, l->rank, true, l->scale }, true);
}

/* A task packs some rows of W and B, or some columns of A. */
static void pack_weight(void *arg, int64_t task, int worker)
{
    const struct weight_call *w = arg;
    if (task < w->row_tasks) {
        pack_weight_rows(w, task * PACK_ROWS, worker_scratch(w->dev, worker));
        return;
    }
    int64_t first = (task - w->row_tasks) * WIDE_COLS;
    pack_operand(&w->to.a_backward,
                 (struct packed_part){ first, min_i64(WIDE_COLS, w->l->in - first), 0, w->l->rank },
                 (struct source){ w->l->a + first, w->l->in, true, 1 }, true);
}

void packed_fill_slot(struct device *dev, const struct group *g)
{
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        struct weight_call w = { dev, l, packed_linear(dev, g, i), ceil_div(l->out, PACK_ROWS) };
        int64_t columns = l->rank && dev->shape.has_backward ? ceil_div(l->in, WIDE_COLS) : 0;
        pool_run(dev->pool, w.row_tasks + columns, pack_weight, &w);
    }
}

void packed_alloc(struct device *dev, struct packed *to, int count, int64_t rows, bf16 **at)
{
    for (int i = 0; i < count; i++)
        to[i] = next_packed(at, rows, to[i].depth);
    must(*at <= dev->packed + dev->packed_capacity);
}

struct rows_call {
    const struct packed *to;
    const struct mat *from;
    int count;
};

void pack_rows_of(const struct packed *to, const struct mat *from, int count, int64_t first,
                  int64_t rows)
{
    for (int i = 0; i < count; i++)
        pack_operand(&to[i], (struct packed_part){ first, rows, 0, to[i].depth },
                     (struct source){ row_of(from[i], first), from[i].stride, false, 1 }, false);
}

static void pack_rows_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct rows_call *c = arg;
    int64_t first = task * ROW_TILE;
    pack_rows_of(c->to, c->from, c->count, first, min_i64(ROW_TILE, c->to[0].width - first));
}

void pack_rows(struct device *dev, const struct packed *to, const struct mat *from, int count)
{
    struct rows_call c = { to, from, count };
    pool_run(dev->pool, ceil_div(to[0].width, ROW_TILE), pack_rows_task, &c);
}
