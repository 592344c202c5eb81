/* Groups of linears with adapters.
 *
 * Bound by multiply-adds: a forward costs 2·T·in·out, the backward as much again
 * for each of input and weight. A task takes 128 rows (forward, input gradient) or
 * 64 rows of a weight's gradient, and goes through all of the inner dimension, so
 * sums have one order.
 */
#include "cpu.h"

struct group_call {
    struct device *dev;
    const struct group *g;
    struct mat y, x, residual, dx, du;
    const struct mat *dy;
    int64_t rows, in, rank;
    struct dropout drop;
    bool wants_output;
};

static int64_t group_rank(const struct group *g)
{
    int64_t rank = 0;
    for (int i = 0; i < g->count; i++)
        rank += g->at[i].rank;
    return rank;
}

/* ---- weights ---- */

static bool is_packed(const struct linear *l) { return l->type != WEIGHT_F32; }

static int64_t slot_offset(const struct group *g, int index)
{
    int64_t offset = 0;
    for (int i = 0; i < index; i++)
        if (is_packed(&g->at[i])) offset += g->at[i].out * g->at[i].in;
    return offset;
}

const float *linear_weight(const struct device *dev, const struct group *g, int index)
{
    if (!is_packed(&g->at[index])) return g->at[index].weight;
    return dev->slot[g->slot] + slot_offset(g, index);
}

static void fill_slot(struct device *dev, const struct group *g)
{
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        if (!is_packed(l)) continue;
        int64_t offset = slot_offset(g, i), count = l->out * l->in;
        must((size_t)(offset + count) <= dev->slot_floats[g->slot]);
        float *to = dev->slot[g->slot] + offset;
        if (l->type == WEIGHT_NF4) {
            nf4_dequantize(dev, to, l->weight, l->absmax, l->nested, l->offset, count);
            continue;
        }
        widen(dev, to, l->weight, l->type, count);
    }
}

/* Without a backward, a group may meet few rows only, which need no slot. */
void linear_prepare(struct device *dev, const struct group *g)
{
    must(g->slot >= 0 && g->slot < LINEAR_SLOTS);
    dev->slot_is_due[g->slot] = !dev->shape.has_backward;
    if (dev->shape.has_backward) fill_slot(dev, g);
}

static void need_slot(struct device *dev, const struct group *g)
{
    if (dev->slot_is_due[g->slot]) fill_slot(dev, g);
    dev->slot_is_due[g->slot] = false;
}

/* ---- forward ---- */

/* u of the tile's rows, into the columns right of x. */
static void inner_tile(const struct group_call *c, int64_t first, int64_t rows, int worker)
{
    int64_t column = c->in;
    for (int i = 0; i < c->g->count; i++) {
        const struct linear *l = &c->g->at[i];
        if (!l->rank) continue;
        const float *x = row_of(c->x, first);
        int64_t stride = c->x.stride;
        if (c->drop.p > 0) {
            float *dropped = worker_scratch(c->dev, worker);
            dropout_rows(dropped, x, stride, l->site, first, rows, c->in, c->drop);
            x = dropped;
            stride = c->in;
        }
        product(false, true, rows, l->rank, c->in, 1, x, stride, l->a, c->in, 0,
                row_of(c->x, first) + column, c->x.stride);
        column += l->rank;
    }
}

/* Linears from `first` on whose weights lie one after the other are one matrix: x is
 * read once for all of them. Returns the index after the last, and their rows. */
static int run_of(const struct group_call *c, int first, int64_t *out)
{
    const float *end = linear_weight(c->dev, c->g, first) + c->g->at[first].out * c->in;
    int i = first + 1;
    *out = c->g->at[first].out;
    while (i < c->g->count && linear_weight(c->dev, c->g, i) == end) {
        *out += c->g->at[i].out;
        end += c->g->at[i++].out * c->in;
    }
    return i;
}

static void fwd_tile(void *arg, int64_t task, int worker)
{
    const struct group_call *c = arg;
    int64_t first = task * ROW_TILE, rows = least(ROW_TILE, c->rows - first), out;
    if (c->rank) inner_tile(c, first, rows, worker);
    if (!c->wants_output) return;
    const float *x = row_of(c->x, first), *u = x + c->in;
    float *y = row_of(c->y, first);
    for (int i = 0; i < c->g->count;) {
        const float *weight = linear_weight(c->dev, c->g, i);
        int end = run_of(c, i, &out);
        if (c->residual.at && c->residual.at != c->y.at)
            for (int64_t t = 0; t < rows; t++)
                memcpy(y + t * c->y.stride,
                       row_of(c->residual, first + t) + (y - row_of(c->y, first)),
                       (size_t)out * sizeof *y);
        product(false, true, rows, out, c->in, 1, x, c->x.stride, weight, c->in,
                c->residual.at ? 1 : 0, y, c->y.stride);
        for (; i < end; i++) {
            const struct linear *l = &c->g->at[i];
            if (l->rank)
                product(false, true, rows, l->out, l->rank, l->scale, u, c->x.stride, l->b, l->rank,
                        1, y, c->y.stride);
            u += l->rank;
            y += l->out;
        }
    }
}

void linear_fwd(struct device *dev, struct mat y, struct mat x, const struct group *g,
                struct mat residual, int64_t rows, struct dropout drop)
{
    struct group_call c = { .dev = dev,
                            .g = g,
                            .y = y,
                            .x = x,
                            .residual = residual,
                            .rows = rows,
                            .in = g->at[0].in,
                            .rank = group_rank(g),
                            .drop = drop,
                            .wants_output = true };
    must(x.stride >= c.in + c.rank);
    if (rows <= FEW_ROWS && !dev->shape.has_backward) {
        must(drop.p <= 0);
        linear_few(dev, y, x, g, residual, rows);
        return;
    }
    need_slot(dev, g);
    pool_run(dev->pool, pieces(rows, ROW_TILE), fwd_tile, &c);
}

void linear_inner(struct device *dev, struct mat x, const struct group *g, int64_t rows,
                  struct dropout drop)
{
    struct group_call c = { .dev = dev,
                            .g = g,
                            .x = x,
                            .rows = rows,
                            .in = g->at[0].in,
                            .rank = group_rank(g),
                            .drop = drop };
    if (!c.rank) return;
    must(x.stride >= c.in + c.rank);
    pool_run(dev->pool, pieces(rows, ROW_TILE), fwd_tile, &c);
}

/* ---- gradient of the input ---- */

/* dx += mask⊙(du A)/(1−p): the product goes to scratch, is masked, then added. */
static void masked_add(const struct group_call *c, const struct linear *l, float *dx,
                       const float *du, int64_t first, int64_t rows, int worker)
{
    float *t = worker_scratch(c->dev, worker);
    product(false, false, rows, c->in, l->rank, 1, du, c->du.stride, l->a, c->in, 0, t, c->in);
    dropout_rows(t, t, c->in, l->site, first, rows, c->in, c->drop);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < c->in; i++)
            dx[r * c->dx.stride + i] += t[r * c->in + i];
}

/* Gradients side by side whose weights are one matrix: one product for all. */
static int run_of_gradients(const struct group_call *c, int first, int64_t *out)
{
    int end = run_of(c, first, out), i = first + 1;
    *out = c->g->at[first].out;
    while (i < end && c->dy[i].stride == c->dy[first].stride &&
           floats(c->dy[i]) == floats(c->dy[first]) + *out)
        *out += c->g->at[i++].out;
    return i;
}

static void bwd_input_tile(void *arg, int64_t task, int worker)
{
    const struct group_call *c = arg;
    int64_t first = task * ROW_TILE, rows = least(ROW_TILE, c->rows - first), out;
    float *dx = row_of(c->dx, first), *du = c->rank ? row_of(c->du, first) : NULL;
    for (int i = 0; i < c->g->count;) {
        int start = i, end = run_of_gradients(c, i, &out);
        product(false, false, rows, c->in, out, 1, row_of(c->dy[i], first), c->dy[i].stride,
                linear_weight(c->dev, c->g, i), c->in, start ? 1 : 0, dx, c->dx.stride);
        for (; i < end; i++) {
            const struct linear *l = &c->g->at[i];
            if (!l->rank) continue;
            product(false, false, rows, l->rank, l->out, l->scale, row_of(c->dy[i], first),
                    c->dy[i].stride, l->b, l->rank, 0, du, c->du.stride);
            if (c->drop.p > 0)
                masked_add(c, l, dx, du, first, rows, worker);
            else
                product(false, false, rows, c->in, l->rank, 1, du, c->du.stride, l->a, c->in, 1, dx,
                        c->dx.stride);
            du += l->rank;
        }
    }
}

void linear_bwd_input(struct device *dev, struct mat dx, struct mat du, const struct mat *dy,
                      const struct group *g, int64_t rows, struct dropout drop)
{
    struct group_call c = { .dev = dev,
                            .g = g,
                            .dx = dx,
                            .du = du,
                            .dy = dy,
                            .rows = rows,
                            .in = g->at[0].in,
                            .rank = group_rank(g),
                            .drop = drop };
    must(!c.rank || du.stride >= c.rank);
    pool_run(dev->pool, pieces(rows, ROW_TILE), bwd_input_tile, &c);
}

/* ---- gradient of the weights ---- */

/* One linear's matrices, cut along rows of W and of B, and along columns of A. */
struct weight_call {
    const struct group_call *c;
    const struct linear *l;
    const float *dy, *u, *du, *x;
    int64_t dy_stride, x_stride, out_tasks, in_tasks;
};

static void weight_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct weight_call *w = arg;
    const struct linear *l = w->l;
    int64_t rows = w->c->rows, in = w->c->in;
    if (task < w->out_tasks) {
        int64_t o = task * OUT_TILE, count = least(OUT_TILE, l->out - o);
        if (l->dweight_acc)
            product(true, false, count, in, rows, 1, w->dy + o, w->dy_stride, floats(w->c->x),
                    w->c->x.stride, 1, l->dweight_acc + o * in, in);
        if (l->db_acc)
            product(true, false, count, l->rank, rows, l->scale, w->dy + o, w->dy_stride, w->u,
                    w->c->x.stride, 1, l->db_acc + o * l->rank, l->rank);
        return;
    }
    int64_t i = (task - w->out_tasks) * OUT_TILE, count = least(OUT_TILE, in - i);
    product(true, false, l->rank, count, rows, 1, w->du, w->c->du.stride, w->x + i, w->x_stride, 1,
            l->da_acc + i, in);
}

static void drop_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct weight_call *w = arg;
    const struct group_call *c = w->c;
    int64_t first = task * LIGHT_TILE, rows = least(LIGHT_TILE, c->rows - first);
    dropout_rows(c->dev->dropped + first * c->in, row_of(c->x, first), c->x.stride, w->l->site,
                 first, rows, c->in, c->drop);
}

void linear_bwd_weight(struct device *dev, const struct group *g, const struct mat *dy,
                       struct mat du, struct mat x, int64_t rows, struct dropout drop)
{
    struct group_call c = {
        .dev = dev, .g = g, .du = du, .x = x, .rows = rows, .in = g->at[0].in, .drop = drop
    };
    int64_t column = 0;
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        struct weight_call w = { .c = &c,
                                 .l = l,
                                 .dy = floats(dy[i]),
                                 .dy_stride = dy[i].stride,
                                 .u = floats(x) + c.in + column,
                                 .x = floats(x),
                                 .x_stride = x.stride };
        w.out_tasks = l->dweight_acc || l->db_acc ? pieces(l->out, OUT_TILE) : 0;
        w.in_tasks = l->da_acc ? pieces(c.in, OUT_TILE) : 0;
        if (l->rank) w.du = floats(du) + column;
        if (l->da_acc && drop.p > 0) {
            must(rows <= dev->shape.chunk);
            pool_run(dev->pool, pieces(rows, LIGHT_TILE), drop_tile, &w);
            w.x = dev->dropped;
            w.x_stride = c.in;
        }
        pool_run(dev->pool, w.out_tasks + w.in_tasks, weight_tile, &w);
        column += l->rank;
    }
}
