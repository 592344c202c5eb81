/* Groups of linear layers with adapters, forward and backward.
 *
 * Arithmetic limits their speed. The forward takes 2·T·in·out operations, and so does each of the
 * gradients of input and weight. A task computes a patch of the result, or some rows of a weight's
 * gradient. It sums over the whole inner dimension, so sums have one order. Where weights are
 * packed into tiles of bf16, linear_packed.c packs them. linear_fp8.c multiplies in fp8.
 */
#include "kernels/cpu/cpu.h"

struct group_call {
    struct device *dev;
    const struct group *g;
    struct mat y, x, residual, dx, du;
    const struct mat *dy;
    int64_t rows, in, outs, rank;
    struct dropout drop;
    bool is_packed, has_bias;
    bool adds; /* y holds residual + bias before the products are added to it */
    /* Packed left operands. Forward: x is a[0]. Backward: a[i] is the gradient of output i. */
    struct packed a[MAX_GROUP];
    struct packed packed_u[MAX_GROUP]; /* u of each linear layer; in the backward du */
};

static int64_t group_rank(const struct group *g)
{
    int64_t rank = 0;
    for (int i = 0; i < g->count; i++)
        rank += g->at[i].rank;
    return rank;
}

/* ---- weights ---- */

/* Is the weight copied into the slot? This is so if the weight is not f32, or if it is frozen and
 * the weights of its group are not one matrix. */
static bool is_copied(const struct device *dev, const struct group *g, int index)
{
    const struct linear *l = &g->at[index];
    if (l->type != DTYPE_F32) return true;
    return dev->shape.has_scattered_weights && !l->dweight_acc && !group_is_one_matrix(g);
}

static int64_t slot_offset(const struct device *dev, const struct group *g, int index)
{
    int64_t offset = 0;
    for (int i = 0; i < index; i++)
        if (is_copied(dev, g, i)) offset += g->at[i].out * g->at[i].in;
    return offset;
}

const float *linear_weight(const struct device *dev, const struct group *g, int index)
{
    if (!is_copied(dev, g, index)) return g->at[index].weight;
    return dev->slot[g->slot] + slot_offset(dev, g, index);
}

static void fill_slot(struct device *dev, const struct group *g)
{
    if (g->is_fp8 || group_is_packed(g)) {
        (g->is_fp8 ? fp8_fill_slot : packed_fill_slot)(dev, g);
        return;
    }
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        if (!is_copied(dev, g, i)) continue;
        int64_t offset = slot_offset(dev, g, i), count = l->out * l->in;
        must((size_t)(offset + count) <= dev->slot_floats[g->slot]);
        float *to = dev->slot[g->slot] + offset;
        if (l->type == DTYPE_NF4) {
            nf4_dequantize(dev, to, l->weight, l->absmax, l->absmax_scale, l->offset, count);
            continue;
        }
        widen(dev, to, l->weight, l->type, count);
    }
}

/* In inference a slot is filled only when it is needed, because calls with few rows do not need it.
 */
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

/* Computes u = drop(x) Aᵀ for a task's rows and writes it to the columns to the right of x. */
static void lora_down_tile(void *arg, int64_t task, int worker)
{
    const struct group_call *c = arg;
    struct patch t = { task * ROW_TILE, min_i64(ROW_TILE, c->rows - task * ROW_TILE), 0, c->in };
    int64_t column = c->in;
    for (int i = 0; i < c->g->count; i++) {
        const struct linear *l = &c->g->at[i];
        if (!l->rank) continue;
        const float *x = row_of(c->x, t.row);
        int64_t stride = c->x.stride;
        if (c->drop.p > 0) {
            float *dropped = worker_scratch(c->dev, worker);
            dropout_patch(dropped, x, stride, l->dropout_stream, t, c->in, c->drop);
            x = dropped;
            stride = c->in;
        }
        gemm(gemm_scratch(c->dev, worker), false, true, t.rows, l->rank, c->in, 1, x, stride, l->a,
             c->in, 0, row_of(c->x, t.row) + column, c->x.stride);
        column += l->rank;
    }
}

/* A run is a sequence of linear layers whose weights are contiguous in memory. They are one matrix,
 * so x is read once for all of them. Returns the index after the last linear layer of the run that
 * begins at `first`; *out becomes the number of rows of the matrix. */
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

/* The intersection of a patch with the columns first … first + count − 1. */
struct overlap {
    int64_t from, count; /* from: counted from `first`. count <= 0: it is empty */
};
static struct overlap overlap_of(struct patch t, int64_t first, int64_t count)
{
    int64_t low = first > t.col ? first : t.col;
    return (struct overlap){ low - first, min_i64(first + count, t.col + t.cols) - low };
}

static void copy_residual(const struct group_call *c, struct patch t)
{
    for (int64_t r = t.row; r < t.row + t.rows; r++)
        memcpy(row_of(c->y, r) + t.col, row_of(c->residual, r) + t.col,
               (size_t)t.cols * sizeof(float));
}

/* Computes y = x Wᵀ in the patch, or y += x Wᵀ if y has a residual or a bias already. */
static void multiply_patch(const struct group_call *c, struct patch t, void *scratch)
{
    float *y = row_of(c->y, t.row), beta = c->adds ? 1 : 0;
    int64_t first = 0, out;
    for (int i = 0; i < c->g->count; first += out) {
        const float *weight = linear_weight(c->dev, c->g, i);
        i = run_of(c, i, &out);
        struct overlap o = overlap_of(t, first, out);
        if (o.count > 0)
            gemm(scratch, false, true, t.rows, o.count, c->in, 1, row_of(c->x, t.row), c->x.stride,
                 weight + o.from * c->in, c->in, beta, y + first + o.from, c->y.stride);
    }
}

/* Computes y += scale · u Bᵀ in the patch. */
static void add_adapters(const struct group_call *c, struct patch t, void *scratch)
{
    const float *u = row_of(c->x, t.row) + c->in;
    float *y = row_of(c->y, t.row);
    int64_t first = 0;
    for (int i = 0; i < c->g->count; i++) {
        const struct linear *l = &c->g->at[i];
        struct overlap o = overlap_of(t, first, l->out);
        if (l->rank && o.count > 0)
            gemm(scratch, false, true, t.rows, o.count, l->rank, l->scale, u, c->x.stride,
                 l->b + o.from * l->rank, l->rank, 1, y + first + o.from, c->y.stride);
        u += l->rank;
        first += l->out;
    }
}

static void multiply_packed_patch(const struct group_call *c, struct patch t)
{
    float *y = row_of(c->y, t.row);
    int64_t first = 0;
    for (int i = 0; i < c->g->count; first += c->g->at[i++].out) {
        struct packed_linear w = packed_linear(c->dev, c->g, i);
        struct overlap o = overlap_of(t, first, c->g->at[i].out);
        if (o.count <= 0) continue;
        float *to = y + first + o.from;
        gemm_packed(t.rows, o.count, c->in, (struct packed_view){ &c->a[0], t.row, 0 },
                    (struct packed_view){ &w.forward, o.from, 0 }, c->adds, to, c->y.stride);
        gemm_packed(t.rows, o.count, c->g->at[i].rank,
                    (struct packed_view){ &c->packed_u[i], t.row, 0 },
                    (struct packed_view){ &w.b_forward, o.from, 0 }, true, to, c->y.stride);
    }
}

static void fwd_tile(void *arg, int64_t task, int worker)
{
    const struct group_call *c = arg;
    struct patch t = patch_of(c->rows, c->outs, task);
    void *scratch = gemm_scratch(c->dev, worker);
    if (c->residual.at && c->residual.at != c->y.at) copy_residual(c, t);
    if (c->has_bias) bias_put(c->g, c->y, t, c->residual.at != NULL);
    if (c->is_packed) {
        multiply_packed_patch(c, t);
        return;
    }
    if (c->g->is_fp8)
        fp8_fwd_patch(c->dev, c->g, c->y, t, c->adds, worker);
    else
        multiply_patch(c, t, scratch);
    add_adapters(c, t, scratch);
}

static struct group_call call_of(struct device *dev, const struct group *g, int64_t rows,
                                 struct dropout drop)
{
    struct group_call c = { .dev = dev,
                            .g = g,
                            .rows = rows,
                            .in = g->at[0].in,
                            .rank = group_rank(g),
                            .drop = drop,
                            .is_packed = group_is_packed(g) };
    for (int i = 0; i < g->count; i++) {
        c.outs += g->at[i].out;
        c.has_bias = c.has_bias || g->at[i].bias;
    }
    return c;
}

/* Packs x, and the u of each linear layer. */
static void pack_inputs(struct group_call *c)
{
    struct packed to[1 + MAX_GROUP] = { { .depth = c->in } };
    struct mat from[1 + MAX_GROUP] = { c->x };
    int count = c->rank ? 1 + c->g->count : 1;
    bf16 *at = c->dev->packed;
    int64_t column = c->in;
    for (int i = 1; i < count; i++) {
        to[i].depth = c->g->at[i - 1].rank;
        from[i] = (struct mat){ (struct act *)(floats(c->x) + column), c->x.stride };
        column += to[i].depth;
    }
    packed_alloc(c->dev, to, count, c->rows, &at);
    pack_rows(c->dev, to, from, count);
    c->a[0] = to[0];
    memcpy(c->packed_u, to + 1, sizeof c->packed_u);
}

void lora_down(struct device *dev, struct mat x, const struct group *g, int64_t rows,
               struct dropout drop)
{
    struct group_call c = call_of(dev, g, rows, drop);
    if (!c.rank) return;
    must(x.stride >= c.in + c.rank);
    c.x = x;
    pool_run(dev->pool, ceil_div(rows, ROW_TILE), lora_down_tile, &c);
}

void linear_fwd(struct device *dev, struct mat y, struct mat x, const struct group *g,
                struct mat residual, int64_t rows, struct dropout drop)
{
    if (rows <= DECODE_ROWS && !dev->shape.has_backward) {
        must(drop.p <= 0);
        linear_decode(dev, y, x, g, residual, rows);
        return;
    }
    struct group_call c = call_of(dev, g, rows, drop);
    c.y = y, c.x = x, c.residual = residual;
    c.adds = residual.at || c.has_bias;
    need_slot(dev, g);
    lora_down(dev, x, g, rows, drop);
    if (c.is_packed) pack_inputs(&c);
    if (g->is_fp8) fp8_round_input(dev, g, x, rows);
    pool_run(dev->pool, patches_of(rows, c.outs), fwd_tile, &c);
}

/* ---- gradient of the input ---- */

/* Computes du = scale · dy B for a task's rows. */
static void du_tile(void *arg, int64_t task, int worker)
{
    const struct group_call *c = arg;
    int64_t first = task * ROW_TILE, rows = min_i64(ROW_TILE, c->rows - first);
    float *du = row_of(c->du, first);
    for (int i = 0; i < c->g->count; i++) {
        const struct linear *l = &c->g->at[i];
        if (!l->rank) continue;
        gemm(gemm_scratch(c->dev, worker), false, false, rows, l->rank, l->out, l->scale,
             row_of(c->dy[i], first), c->dy[i].stride, l->b, l->rank, 0, du, c->du.stride);
        du += l->rank;
    }
}

/* Does the work of du_tile with packed operands, and packs du. */
static void du_packed(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct group_call *c = arg;
    int64_t first = task * ROW_TILE, rows = min_i64(ROW_TILE, c->rows - first);
    struct mat du[MAX_GROUP], at = c->du;
    for (int i = 0; i < c->g->count; i++) {
        int64_t rank = c->g->at[i].rank;
        du[i] = at;
        at.at = (struct act *)(floats(at) + rank);
        struct packed_linear w = packed_linear(c->dev, c->g, i);
        gemm_packed(rows, rank, c->g->at[i].out, (struct packed_view){ &c->a[i], first, 0 },
                    (struct packed_view){ &w.b_backward, 0, 0 }, false, row_of(du[i], first),
                    c->du.stride);
    }
    pack_rows_of(c->packed_u, du, c->g->count, first, rows);
}

/* Computes du A of one linear layer in the patch. Adds it to `to` if `adds` is set, else stores
 * it. */
static void add_through_adapter(const struct group_call *c, int index, struct patch t,
                                const float *du, float *to, int64_t stride, bool adds,
                                void *scratch)
{
    const struct linear *l = &c->g->at[index];
    if (c->is_packed) {
        struct packed_linear w = packed_linear(c->dev, c->g, index);
        gemm_packed(t.rows, t.cols, l->rank, (struct packed_view){ &c->packed_u[index], t.row, 0 },
                    (struct packed_view){ &w.a_backward, t.col, 0 }, adds, to, stride);
        return;
    }
    gemm(scratch, false, false, t.rows, t.cols, l->rank, 1, du, c->du.stride, l->a + t.col, c->in,
         adds, to, stride);
}

/* Computes dx += mask⊙(du A)/(1−p) in the patch. The product is written to scratch, masked there,
 * and added to dx. */
static void masked_add(const struct group_call *c, int index, struct patch t, const float *du,
                       int worker)
{
    const struct linear *l = &c->g->at[index];
    float *part = worker_scratch(c->dev, worker);
    add_through_adapter(c, index, t, du, part, t.cols, false, gemm_scratch(c->dev, worker));
    dropout_add_patch(c->dx, part, l->dropout_stream, t, c->in, c->drop);
}

/* If the weights of linear layers are one matrix and the gradients of their outputs lie side by
 * side, one product computes them. Returns the index after the last linear layer of such a run. */
static int run_of_gradients(const struct group_call *c, int first, int64_t *out)
{
    int end = run_of(c, first, out), i = first + 1;
    *out = c->g->at[first].out;
    while (i < end && c->dy[i].stride == c->dy[first].stride &&
           floats(c->dy[i]) == floats(c->dy[first]) + *out)
        *out += c->g->at[i++].out;
    return i;
}

/* Computes dx = dy W in the patch. */
static void gradient_patch(const struct group_call *c, struct patch t, void *scratch)
{
    float *dx = row_of(c->dx, t.row) + t.col;
    int64_t out;
    for (int i = 0; i < c->g->count;) {
        int start = i;
        i = run_of_gradients(c, i, &out);
        gemm(scratch, false, false, t.rows, t.cols, out, 1, row_of(c->dy[start], t.row),
             c->dy[start].stride, linear_weight(c->dev, c->g, start) + t.col, c->in, start ? 1 : 0,
             dx, c->dx.stride);
    }
}

static void gradient_packed_patch(const struct group_call *c, struct patch t)
{
    float *dx = row_of(c->dx, t.row) + t.col;
    for (int i = 0; i < c->g->count; i++) {
        struct packed_linear w = packed_linear(c->dev, c->g, i);
        gemm_packed(t.rows, t.cols, c->g->at[i].out, (struct packed_view){ &c->a[i], t.row, 0 },
                    (struct packed_view){ &w.backward, t.col, 0 }, i > 0, dx, c->dx.stride);
    }
}

static void bwd_input_tile(void *arg, int64_t task, int worker)
{
    const struct group_call *c = arg;
    struct patch t = patch_of(c->rows, c->in, task);
    float *dx = row_of(c->dx, t.row) + t.col;
    const float *du = c->rank ? row_of(c->du, t.row) : NULL;
    void *scratch = gemm_scratch(c->dev, worker);
    if (c->g->is_fp8)
        fp8_bwd_patch(c->dev, c->g, c->dx, t, worker);
    else if (c->is_packed)
        gradient_packed_patch(c, t);
    else
        gradient_patch(c, t, scratch);
    for (int i = 0; i < c->g->count; i++) {
        const struct linear *l = &c->g->at[i];
        if (!l->rank) continue;
        if (c->drop.p > 0)
            masked_add(c, i, t, du, worker);
        else
            add_through_adapter(c, i, t, du, dx, c->dx.stride, true, scratch);
        du += l->rank;
    }
}

/* Packs the gradients of the outputs, and finds places for the packed du. */
static void pack_gradients(struct group_call *c)
{
    bf16 *at = c->dev->packed;
    for (int i = 0; i < c->g->count; i++) {
        c->a[i].depth = c->g->at[i].out;
        c->packed_u[i].depth = c->g->at[i].rank;
    }
    packed_alloc(c->dev, c->a, c->g->count, c->rows, &at);
    packed_alloc(c->dev, c->packed_u, c->g->count, c->rows, &at);
    pack_rows(c->dev, c->a, c->dy, c->g->count);
}

void linear_bwd_input(struct device *dev, struct mat dx, struct mat du, const struct mat *dy,
                      const struct group *g, int64_t rows, struct dropout drop)
{
    struct group_call c = call_of(dev, g, rows, drop);
    c.dx = dx, c.du = du, c.dy = dy;
    must(!c.rank || du.stride >= c.rank);
    if (c.is_packed) pack_gradients(&c);
    if (g->is_fp8) fp8_round_gradients(dev, g, dy, rows);
    if (c.rank)
        pool_run(dev->pool, ceil_div(rows, ROW_TILE), c.is_packed ? du_packed : du_tile, &c);
    pool_run(dev->pool, patches_of(rows, c.in), bwd_input_tile, &c);
}

/* ---- gradient of the weights ---- */

/* The gradients of one linear layer. Tasks are cut along the rows of dW and dB, and along the
 * columns of dA. */
struct weight_call {
    const struct group_call *c;
    const struct linear *l;
    const float *dy, *u, *du;
    int64_t dy_stride, out_tasks, in_tasks;
};

/* Returns how many rows or columns a task computes. Each task packs the other operand again, so for
 * large matrices a task computes a larger part of the result. */
static int64_t task_width(int64_t size) { return size >= 8 * WIDE_OUT ? WIDE_OUT : OUT_TILE; }

static void add_to_rows(const struct weight_call *w, int64_t first, void *scratch)
{
    const struct linear *l = w->l;
    struct mat x = w->c->x;
    int64_t count = min_i64(task_width(l->out), l->out - first), in = w->c->in, rows = w->c->rows;
    const float *dy = w->dy + first;
    if (l->dweight_acc)
        gemm(scratch, true, false, count, in, rows, 1, dy, w->dy_stride, floats(x), x.stride, 1,
             l->dweight_acc + first * in, in);
    if (l->db_acc)
        gemm(scratch, true, false, count, l->rank, rows, l->scale, dy, w->dy_stride, w->u, x.stride,
             1, l->db_acc + first * l->rank, l->rank);
}

/* Computes dA += duᵀ drop(x) for some columns. Under dropout, x is masked DROPPED_ROWS rows at a
 * time. */
static void add_to_columns(const struct weight_call *w, int64_t first, float *dropped,
                           void *scratch)
{
    const struct group_call *c = w->c;
    const struct linear *l = w->l;
    int64_t count = min_i64(task_width(c->in), c->in - first);
    int64_t at_once = c->drop.p > 0 ? DROPPED_ROWS : c->rows;
    for (int64_t row = 0; row < c->rows; row += at_once) {
        struct patch t = { row, min_i64(at_once, c->rows - row), first, count };
        const float *x = row_of(c->x, row) + first;
        int64_t stride = c->x.stride;
        if (c->drop.p > 0) {
            dropout_patch(dropped, x, stride, l->dropout_stream, t, c->in, c->drop);
            x = dropped;
            stride = count;
        }
        gemm(scratch, true, false, l->rank, count, t.rows, 1, w->du + row * c->du.stride,
             c->du.stride, x, stride, 1, l->da_acc + first, c->in);
    }
}

static void weight_tile(void *arg, int64_t task, int worker)
{
    const struct weight_call *w = arg;
    void *scratch = gemm_scratch(w->c->dev, worker);
    if (task < w->out_tasks)
        add_to_rows(w, task * task_width(w->l->out), scratch);
    else
        add_to_columns(w, (task - w->out_tasks) * task_width(w->c->in),
                       worker_scratch(w->c->dev, worker), scratch);
}

void linear_bwd_weight(struct device *dev, const struct group *g, const struct mat *dy,
                       struct mat du, struct mat x, int64_t rows, struct dropout drop)
{
    struct group_call c = call_of(dev, g, rows, drop);
    c.du = du, c.x = x;
    int64_t column = 0;
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        struct weight_call w = { .c = &c,
                                 .l = l,
                                 .dy = floats(dy[i]),
                                 .dy_stride = dy[i].stride,
                                 .u = floats(x) + c.in + column };
        if (l->dweight_acc || l->db_acc) w.out_tasks = ceil_div(l->out, task_width(l->out));
        if (l->da_acc) w.in_tasks = ceil_div(c.in, task_width(c.in));
        if (l->rank) w.du = floats(du) + column;
        pool_run(dev->pool, w.out_tasks + w.in_tasks, weight_tile, &w);
        if (l->dbias_acc) bias_gradient(dev, l, dy[i], rows);
        column += l->rank;
    }
}
