/* Groups of linear layers whose frozen weights are multiplied in fp8 (lib/common/fp8.h).
 *
 * A CPU has no products in fp8, so this shows what a run on a GPU computes, at the speed of f32 or
 * slower. Operands are f32 arrays of e4m3 numbers, which bf16 holds exactly, so gemm multiplies
 * them without rounding in f32 as in bf16. The results are multiplied by the scales, patch by
 * patch.
 */
#include "kernels/cpu/cpu.h"
#include "lib/common/fp8.h"

enum { SCALED_COLUMNS = 64 }; /* columns of W that a task rounds */

/* The slot of a group: W rounded with a scale for each row, for the forward; W rounded with a scale
 * for each column, for the backward. */
struct fp8_weights {
    float *by_rows, *by_columns;       /* [outs, in] */
    float *row_scales, *column_scales; /* [outs], [in] */
    int64_t outs, in;
};

size_t fp8_slot_floats(const struct slot_shape *s)
{
    return (size_t)(2 * s->out * s->in + s->out + s->in);
}

size_t fp8_rows_floats(const struct slot_shape *s, int64_t rows)
{
    return (size_t)(rows * ((s->in > s->out ? s->in : s->out) + 1));
}

static struct fp8_weights weights_of(const struct device *dev, const struct group *g)
{
    struct fp8_weights w = { .by_rows = dev->slot[g->slot], .in = g->at[0].in };
    for (int i = 0; i < g->count; i++)
        w.outs += g->at[i].out;
    must((size_t)(2 * w.outs * w.in + w.outs + w.in) <= dev->slot_floats[g->slot]);
    w.by_columns = w.by_rows + w.outs * w.in;
    w.row_scales = w.by_columns + w.outs * w.in;
    w.column_scales = w.row_scales + w.outs;
    return w;
}

/* ---- weights ---- */

/* Rounds some rows. by_columns still has the weights as they are. */
static void round_rows_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct fp8_weights *w = arg;
    int64_t end = min_i64((task + 1) * LIGHT_TILE, w->outs), in = w->in;
    for (int64_t o = task * LIGHT_TILE; o < end; o++) {
        const float *from = w->by_columns + o * in;
        float *to = w->by_rows + o * in, scale = fp8_scale(largest_magnitude(from, in));
        w->row_scales[o] = scale;
        for (int64_t i = 0; i < in; i++)
            to[i] = fp8_round(from[i] / scale);
    }
}

/* Rounds some columns in place. */
static void round_columns_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct fp8_weights *w = arg;
    int64_t first = task * SCALED_COLUMNS, count = min_i64(SCALED_COLUMNS, w->in - first);
    float *at = w->by_columns + first, scale[SCALED_COLUMNS];
    uint32_t largest[SCALED_COLUMNS] = { 0 };
    for (int64_t o = 0; o < w->outs; o++)
        for (int64_t i = 0; i < count; i++) {
            uint32_t bits = fp8_magnitude(at[o * w->in + i]);
            largest[i] = bits > largest[i] ? bits : largest[i];
        }
    for (int64_t i = 0; i < count; i++)
        w->column_scales[first + i] = scale[i] = fp8_scale(bits_float(largest[i]));
    for (int64_t o = 0; o < w->outs; o++)
        for (int64_t i = 0; i < count; i++)
            at[o * w->in + i] = fp8_round(at[o * w->in + i] / scale[i]);
}

void fp8_fill_slot(struct device *dev, const struct group *g)
{
    must(dev->shape.has_fp8 && dev->shape.has_backward);
    struct fp8_weights w = weights_of(dev, g);
    float *to = w.by_columns;
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        int64_t count = l->out * l->in;
        if (l->type == DTYPE_NF4)
            nf4_dequantize(dev, to, l->weight, l->absmax, l->absmax_scale, l->offset, count);
        else
            widen(dev, to, l->weight, l->type, count);
        to += count;
    }
    pool_run(dev->pool, ceil_div(w.outs, LIGHT_TILE), round_rows_task, &w);
    pool_run(dev->pool, ceil_div(w.in, SCALED_COLUMNS), round_columns_task, &w);
}

/* ---- rows of activations or of their gradients ---- */

/* Matrices that lie side by side in the rounded one. */
struct rounding {
    const struct device *dev;
    const struct mat *from;
    int64_t cols[MAX_GROUP], width, rows;
    int count;
};

static void round_activations_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct rounding *q = arg;
    int64_t end = min_i64((task + 1) * LIGHT_TILE, q->rows);
    for (int64_t t = task * LIGHT_TILE; t < end; t++) {
        uint32_t largest = 0;
        for (int m = 0; m < q->count; m++) {
            uint32_t bits = float_bits(largest_magnitude(row_of(q->from[m], t), q->cols[m]));
            largest = bits > largest ? bits : largest;
        }
        float scale = fp8_scale(bits_float(largest)), *to = q->dev->fp8 + t * q->width;
        q->dev->fp8_scales[t] = scale;
        for (int m = 0; m < q->count; to += q->cols[m++]) {
            const float *from = row_of(q->from[m], t);
            for (int64_t i = 0; i < q->cols[m]; i++)
                to[i] = fp8_round(from[i] / scale);
        }
    }
}

static void round_activations(struct device *dev, struct rounding *q)
{
    for (int m = 0; m < q->count; m++)
        q->width += q->cols[m];
    must((size_t)(q->rows * q->width) <= dev->fp8_floats && q->rows <= dev->shape.chunk);
    pool_run(dev->pool, ceil_div(q->rows, LIGHT_TILE), round_activations_task, q);
}

void fp8_round_input(struct device *dev, const struct group *g, struct mat x, int64_t rows)
{
    struct rounding q = { dev, &x, { g->at[0].in }, 0, rows, 1 };
    round_activations(dev, &q);
}

void fp8_round_gradients(struct device *dev, const struct group *g, const struct mat *dy,
                         int64_t rows)
{
    struct rounding q = { .dev = dev, .from = dy, .rows = rows, .count = g->count };
    must(g->count <= MAX_GROUP);
    for (int i = 0; i < g->count; i++)
        q.cols[i] = g->at[i].out;
    round_activations(dev, &q);
}

/* ---- products ---- */

/* Writes the product `part` of the patch t, times the scales, to the result, or adds it. */
static void put_scaled(const struct device *dev, struct mat to, struct patch t, const float *part,
                       const float *scales, bool adds)
{
    for (int64_t r = 0; r < t.rows; r++) {
        float *row = row_of(to, t.row + r) + t.col, scale = dev->fp8_scales[t.row + r];
        for (int64_t i = 0; i < t.cols; i++) {
            float value = part[r * t.cols + i] * scale * scales[t.col + i];
            row[i] = adds ? row[i] + value : value;
        }
    }
}

static float *part_of(struct device *dev, struct patch t, int worker)
{
    must((size_t)(t.rows * t.cols) <= dev->worker_floats);
    return worker_scratch(dev, worker);
}

void fp8_fwd_patch(struct device *dev, const struct group *g, struct mat y, struct patch t,
                   bool adds, int worker)
{
    struct fp8_weights w = weights_of(dev, g);
    float *part = part_of(dev, t, worker);
    gemm(gemm_scratch(dev, worker), false, true, t.rows, t.cols, w.in, 1, dev->fp8 + t.row * w.in,
         w.in, w.by_rows + t.col * w.in, w.in, 0, part, t.cols);
    put_scaled(dev, y, t, part, w.row_scales, adds);
}

void fp8_bwd_patch(struct device *dev, const struct group *g, struct mat dx, struct patch t,
                   int worker)
{
    struct fp8_weights w = weights_of(dev, g);
    float *part = part_of(dev, t, worker);
    gemm(gemm_scratch(dev, worker), false, false, t.rows, t.cols, w.outs, 1,
         dev->fp8 + t.row * w.outs, w.outs, w.by_columns + t.col, w.in, 0, part, t.cols);
    put_scaled(dev, dx, t, part, w.column_scales, false);
}
