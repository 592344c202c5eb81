/* Groups of linears with adapters, as products of elements with f32 sums.
 *
 * A prepared group is one matrix [W | scale·B]: the forward is one product of [x | u], and
 * of the backward's dy that matrix gives dx in its left columns and du in its right ones.
 * LoRA's outer half so costs R / in more operations and no pass over the outputs.
 */
#include "cuda.cuh"

static int64_t group_rank(const struct group *g)
{
    int64_t rank = 0;
    for (int i = 0; i < g->count; i++)
        rank += g->at[i].rank;
    return rank;
}

/* Of the prepared matrix. */
static int64_t width_of(const struct group *g) { return slot_width(g->at[0].in, group_rank(g)); }

/* Columns in … width of one linear's rows: scale · B at its own ranks, 0 elsewhere. */
KERNEL(THREADS, 1)
adapter_kernel(elem *right, int64_t width, const float *b, int64_t rank, int64_t column,
               float scale, int64_t cols, int64_t count)
{
    int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (n >= count) return;
    int64_t row = n / cols, c = n % cols - column;
    right[row * width + n % cols] = narrow(c >= 0 && c < rank ? scale * b[row * rank + c] : 0);
}

static void fill_slot(struct device *dev, const struct group *g)
{
    struct slot *s = &dev->slot[g->slot];
    int64_t in = g->at[0].in, width = width_of(g), outs = 0, column = 0, cols = width - in;
    for (int i = 0; i < g->count; i++)
        outs += g->at[i].out;
    must((size_t)(outs * width + group_rank(g) * in) <= s->elements);
    s->a = s->weight + outs * width;
    elem *weight = s->weight, *a = s->a;
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        int64_t count = l->out * cols;
        weight_to_elems(dev, weight, width, l);
        if (count)
            LAUNCH(adapter_kernel, dim3((unsigned)pieces(count, THREADS)), dim3(THREADS), 0,
                   dev->stream, weight + in, width, l->b, l->rank, column, l->scale, cols, count);
        if (l->rank) cast_in(dev, { (struct act *)a, in }, l->a, l->rank, in);
        weight += l->out * width;
        a += l->rank * in;
        column += l->rank;
    }
    launched(dev, "linear_prepare");
}

/* Without a backward, a group may meet few rows only, which need no slot. */
void linear_prepare(struct device *dev, const struct group *g)
{
    must(g->slot >= 0 && g->slot < LINEAR_SLOTS);
    dev->slot[g->slot].is_due = !dev->shape.has_backward;
    if (dev->shape.has_backward) fill_slot(dev, g);
}

static const struct slot *slot_of(struct device *dev, const struct group *g)
{
    struct slot *s = &dev->slot[g->slot];
    if (s->is_due) fill_slot(dev, g);
    s->is_due = false;
    return s;
}

void linear_inner(struct device *dev, struct mat x, const struct group *g, int64_t rows,
                  struct dropout drop)
{
    int64_t in = g->at[0].in, rank = group_rank(g);
    if (!rank) return;
    const elem *a = slot_of(dev, g)->a;
    must(x.stride >= in + rank);
    struct product p = {};
    p.b_transposed = true;
    p.m = rows;
    p.k = in;
    p.alpha = 1;
    p.ldb = in;
    p.ldd = p.ldc = x.stride;
    if (drop.p <= 0) {
        p.n = rank;
        p.a = elems(x);
        p.lda = x.stride;
        p.b = a;
        p.d = elems(x) + in;
        p.c = p.d;
        product(dev, &p);
        return;
    }
    must(rows <= dev->shape.chunk);
    if (takes_thin(dev, g, x)) {
        thin_inner(dev, x, g, rows, drop);
        return;
    }
    for (int64_t i = 0, column = in; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        if (!l->rank) continue;
        drop_rows(dev, dev->dropped, x, l->site, rows, in, drop);
        p.n = l->rank;
        p.a = dev->dropped;
        p.lda = in;
        p.b = a + (column - in) * in;
        p.d = elems(x) + column;
        p.c = p.d;
        product(dev, &p);
        column += l->rank;
    }
}

void linear_fwd(struct device *dev, struct mat y, struct mat x, const struct group *g,
                struct mat residual, int64_t rows, struct dropout drop)
{
    if (takes_few(dev, g, x, rows)) {
        must(drop.p <= 0);
        linear_few(dev, y, x, g, residual, rows);
        return;
    }
    linear_inner(dev, x, g, rows, drop);
    struct product p = {};
    p.b_transposed = true;
    p.m = rows;
    for (int i = 0; i < g->count; i++)
        p.n += g->at[i].out;
    p.k = g->at[0].in + group_rank(g);
    p.alpha = 1;
    p.beta = residual.at ? 1 : 0;
    p.a = elems(x);
    p.lda = x.stride;
    p.b = slot_of(dev, g)->weight;
    p.ldb = width_of(g);
    p.c = residual.at ? residual.at : y.at;
    p.ldc = residual.at ? residual.stride : y.stride;
    p.d = y.at;
    p.ldd = y.stride;
    product(dev, &p);
}

/* Gradients of the linears from `first` on that lie side by side are one matrix. */
static int run_of(const struct group *g, const struct mat *dy, int first, int64_t *outs)
{
    int i = first + 1;
    *outs = g->at[first].out;
    while (i < g->count && dy[i].stride == dy[first].stride &&
           elems(dy[i]) == elems(dy[first]) + *outs)
        *outs += g->at[i++].out;
    return i;
}

void linear_bwd_input(struct device *dev, struct mat dx, struct mat du, const struct mat *dy,
                      const struct group *g, int64_t rows, struct dropout drop)
{
    int64_t in = g->at[0].in, rank = group_rank(g), width = width_of(g), outs;
    const elem *weight = dev->slot[g->slot].weight, *a = dev->slot[g->slot].a;
    must(!rank || du.stride >= rank);
    for (int i = 0; i < g->count;) {
        struct product p = {};
        int start = i;
        i = run_of(g, dy, i, &outs);
        p.m = rows;
        p.n = in;
        p.k = outs;
        p.alpha = 1;
        p.beta = start ? 1 : 0;
        p.a = elems(dy[start]);
        p.lda = dy[start].stride;
        p.b = weight;
        p.ldb = width;
        p.c = p.d = dx.at;
        p.ldc = p.ldd = dx.stride;
        product(dev, &p);
        if (rank) {
            p.n = rank;
            p.b = weight + in;
            p.c = p.d = du.at;
            p.ldc = p.ldd = du.stride;
            product(dev, &p);
        }
        weight += outs * width;
    }
    if (!rank) return;
    struct product p = {};
    p.m = rows;
    p.n = in;
    p.k = rank;
    p.alpha = 1;
    p.a = elems(du);
    p.lda = du.stride;
    p.b = a;
    p.ldb = in;
    if (drop.p <= 0) {
        p.beta = 1;
        p.c = p.d = dx.at;
        p.ldc = p.ldd = dx.stride;
        product(dev, &p);
        return;
    }
    if (takes_thin(dev, g, dx) && mat_is_wide(du, 8)) {
        thin_spread(dev, dx, du, g, rows, drop);
        return;
    }
    p.c = p.d = dev->dropped;
    p.ldc = p.ldd = in;
    for (int i = 0; i < g->count; i++) {
        p.k = g->at[i].rank;
        if (!p.k) continue;
        product(dev, &p);
        add_masked(dev, dx, dev->dropped, g->at[i].site, rows, in, drop);
        p.a += p.k;
        p.b += p.k * in;
    }
}

/* d += alpha · aᵀ b: [m, n] in f32, sums over rows. */
static void add_outer(struct device *dev, float *d, const elem *a, int64_t lda, int64_t m,
                      const elem *b, int64_t ldb, int64_t n, int64_t rows, float alpha)
{
    struct product p = {};
    p.a_transposed = p.is_f32 = true;
    p.m = m;
    p.n = n;
    p.k = rows;
    p.alpha = alpha;
    p.beta = 1;
    p.a = a;
    p.lda = lda;
    p.b = b;
    p.ldb = ldb;
    p.c = p.d = d;
    p.ldc = p.ldd = n;
    product(dev, &p);
}

void linear_bwd_weight(struct device *dev, const struct group *g, const struct mat *dy,
                       struct mat du, struct mat x, int64_t rows, struct dropout drop)
{
    int64_t in = g->at[0].in, column = 0;
    bool is_thin = drop.p > 0 && group_rank(g) && takes_thin(dev, g, x) && mat_is_wide(du, 8);
    if (is_thin) thin_outer(dev, g, du, x, rows, drop);
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        if (l->dweight_acc)
            add_outer(dev, l->dweight_acc, elems(dy[i]), dy[i].stride, l->out, elems(x), x.stride,
                      in, rows, 1);
        if (l->db_acc)
            add_outer(dev, l->db_acc, elems(dy[i]), dy[i].stride, l->out, elems(x) + in + column,
                      x.stride, l->rank, rows, l->scale);
        if (l->da_acc && !is_thin) {
            const elem *input = elems(x);
            int64_t stride = x.stride;
            if (drop.p > 0) {
                must(rows <= dev->shape.chunk);
                drop_rows(dev, dev->dropped, x, l->site, rows, in, drop);
                input = dev->dropped;
                stride = in;
            }
            add_outer(dev, l->da_acc, elems(du) + column, du.stride, l->rank, input, stride, in,
                      rows, 1);
        }
        column += l->rank;
    }
}
