/* Groups of linear layers with adapters, as matrix products of elem operands with f32 sums.
 *
 * A filled slot is one matrix [W | scale · B]. The forward is one product, of [x | u] with this
 * matrix. In the backward, dy times its left columns is dx, and dy times its right columns is du.
 * So LoRA's B increases the operations only by the fraction R / in, and needs no additional pass
 * over the outputs. A group in fp8 has two products each instead: linear_fp8.cu multiplies by W.
 */
#include "kernels/cuda/linear.cuh"

static int64_t group_rank(const struct group *g)
{
    int64_t rank = 0;
    for (int i = 0; i < g->count; i++)
        rank += g->at[i].rank;
    return rank;
}

/* Returns the width of the slot's matrix. */
static int64_t width_of(const struct group *g) { return slot_width(g->at[0].in, group_rank(g)); }

/* Where the adapters of a group are copied to. `right` is scale · B, to the right of W; each linear
 * layer has columns of its own in it. A is below the matrix. */
struct adapters {
    elem *right, *below;
    int64_t width, in;
    int cols, out[MAX_GROUP], rank[MAX_GROUP]; /* `right` has `cols` columns. */
    float scale[MAX_GROUP];
    const float *a[MAX_GROUP], *b[MAX_GROUP];
};

/* The grid is [packs of N elements, linear layers]. */
template <int N> KERNEL(THREADS, 1) adapters_kernel(const adapters g)
{
    elem *right = g.right, *below = g.below;
    const float *a = g.a[0], *b = g.b[0];
    int n = blockIdx.x * THREADS + threadIdx.x, column = 0, rank = g.rank[0], out = g.out[0];
    float scale = g.scale[0];
#pragma unroll
    for (int l = 1; l < MAX_GROUP; l++) {
        if ((int)blockIdx.y < l) break;
        right += out * g.width, below += rank * g.in, column += rank;
        a = g.a[l], b = g.b[l], rank = g.rank[l], out = g.out[l], scale = g.scale[l];
    }
    int across = g.cols / N, row = n / max(across, 1), at = n - row * across;
    pack<N> p;
    if (row < out && across) {
        for (int i = 0; i < N; i++) {
            int c = at * N + i - column;
            p.v[i] = c >= 0 && c < rank ? scale * b[(int64_t)row * rank + c] : 0;
        }
        store(right + row * g.width + at * N, p);
        return;
    }
    int64_t rest = (int64_t)(n - out * across) * N;
    if (rest >= rank * g.in) return;
    load(p, a + rest);
    store(below + rest, p);
}

/* Fills b and a of the slot. b has row_stride(R) columns, or in a slot [W | scale · B] as many as
 * are left there. */
static void fill_adapters(struct device *dev, const struct group *g, const struct slot *s, int cols)
{
    int64_t in = g->at[0].in, stride = s->b_stride, max_elements = 0;
    struct adapters all = { s->b, s->a, stride, in, cols, {}, {}, {}, {}, {} };
    bool wide = is_wide(s->b, stride, cols, sizeof *s->b) && is_wide(s->a, in, in, sizeof *s->a);
    must(g->count <= MAX_GROUP);
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        all.out[i] = (int)l->out, all.rank[i] = (int)l->rank, all.scale[i] = l->scale;
        all.a[i] = l->a, all.b[i] = l->b;
        max_elements = max_i64(max_elements, l->out * all.cols + l->rank * in);
        wide = wide && is_wide(l->a, in, in, sizeof *l->a) && l->rank * in % 8 == 0;
    }
    if (!max_elements) return;
    dim3 grid((unsigned)ceil_div(max_elements, THREADS * (wide ? 8 : 1)), (unsigned)g->count);
    if (wide)
        LAUNCH(adapters_kernel<8>, grid, dim3(THREADS), 0, dev->stream, all);
    else
        LAUNCH(adapters_kernel<1>, grid, dim3(THREADS), 0, dev->stream, all);
    launched(dev, "linear_prepare");
}

static int64_t group_outs(const struct group *g)
{
    int64_t outs = 0;
    for (int i = 0; i < g->count; i++)
        outs += g->at[i].out;
    return outs;
}

static void fill_fp8_slot(struct device *dev, const struct group *g)
{
    struct slot *s = &dev->slot[g->slot];
    int64_t in = g->at[0].in, rank = group_rank(g);
    struct fp8_layout l = fp8_layout(group_outs(g), in, rank, sizeof(elem));
    must(l.bytes <= s->bytes);
    s->b = (elem *)((char *)s->weight + l.b);
    s->b_stride = row_stride(rank);
    s->a = (elem *)((char *)s->weight + l.a);
    fp8_fill_weights(dev, g);
    fill_adapters(dev, g, s, (int)s->b_stride);
}

static void fill_slot(struct device *dev, const struct group *g)
{
    struct slot *s = &dev->slot[g->slot];
    int64_t in = g->at[0].in, width = width_of(g), outs = group_outs(g);
    if (g->is_fp8) {
        fill_fp8_slot(dev, g);
        return;
    }
    must((size_t)(outs * width + group_rank(g) * in) <= s->bytes / sizeof(elem));
    s->a = s->weight + outs * width;
    s->b = s->weight + in;
    s->b_stride = width;
    elem *weight = s->weight;
    for (int i = 0; i < g->count; i++) {
        if (g->at[i].out) weight_to_elems(dev, weight, width, &g->at[i]);
        weight += g->at[i].out * width;
    }
    fill_adapters(dev, g, s, (int)(width - in));
}

/* In inference a slot is filled only when it is needed, because calls with few rows do not need it.
 */
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

/* Computes d [m, n] += alpha · aᵀ b in f32, summed over the rows of a and b. */
static void add_outer(struct device *dev, float *d, const elem *a, int64_t lda, int64_t m,
                      const elem *b, int64_t ldb, int64_t n, int64_t rows, float alpha)
{
    struct gemm p = {};
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
    gemm(dev, &p);
}

/* ---- adapters under dropout, if suits_lora is false: DROPPED_ROWS rows are masked at a time ----
 */

static struct mat rows_from(struct mat m, int64_t row) { return mat_rows(&kernels_cuda, m, row); }

/* Computes u = drop(x) Aᵀ. */
static void masked_fwd_a(struct device *dev, struct mat x, const struct group *g, const elem *a,
                         int64_t rows, struct dropout drop)
{
    int64_t in = g->at[0].in;
    struct gemm p = {};
    p.b_transposed = true;
    p.k = p.lda = p.ldb = in;
    p.alpha = 1;
    p.a = dev->dropped;
    p.ldc = p.ldd = x.stride;
    for (int64_t first = 0; first < rows; first += DROPPED_ROWS) {
        struct mat part = rows_from(x, first);
        p.m = min_i64(DROPPED_ROWS, rows - first);
        p.b = a;
        p.d = elems(part) + in;
        for (int i = 0; i < g->count; i++) {
            p.n = g->at[i].rank;
            if (!p.n) continue;
            drop_rows(dev, dev->dropped, part, g->at[i].dropout_stream, p.m, in,
                      dropout_from(drop, first));
            p.c = p.d;
            gemm(dev, &p);
            p.b += p.n * in;
            p.d = (elem *)p.d + p.n;
        }
    }
}

/* Computes dx += mask ⊙ (du A) / (1 − p). */
static void masked_bwd_x(struct device *dev, struct mat dx, struct mat du, const struct group *g,
                         const elem *a, int64_t rows, struct dropout drop)
{
    int64_t in = g->at[0].in;
    struct gemm p = {};
    p.n = p.ldb = p.ldc = p.ldd = in;
    p.alpha = 1;
    p.lda = du.stride;
    p.c = p.d = dev->dropped;
    for (int64_t first = 0; first < rows; first += DROPPED_ROWS) {
        p.m = min_i64(DROPPED_ROWS, rows - first);
        p.a = elems(rows_from(du, first));
        p.b = a;
        for (int i = 0; i < g->count; i++) {
            p.k = g->at[i].rank;
            if (!p.k) continue;
            gemm(dev, &p);
            add_masked(dev, rows_from(dx, first), dev->dropped, g->at[i].dropout_stream, p.m, in,
                       dropout_from(drop, first));
            p.a += p.k;
            p.b += p.k * in;
        }
    }
}

/* Computes dA += duᵀ drop(x) for one linear layer, whose du begins at `column`. */
static void masked_bwd_a(struct device *dev, const struct linear *l, struct mat du, int64_t column,
                         struct mat x, int64_t rows, struct dropout drop)
{
    for (int64_t first = 0; first < rows; first += DROPPED_ROWS) {
        int64_t n = min_i64(DROPPED_ROWS, rows - first);
        drop_rows(dev, dev->dropped, rows_from(x, first), l->dropout_stream, n, l->in,
                  dropout_from(drop, first));
        add_outer(dev, l->da_acc, elems(rows_from(du, first)) + column, du.stride, l->rank,
                  dev->dropped, l->in, l->in, n, 1);
    }
}

/* ---- operations ---- */

void lora_down(struct device *dev, struct mat x, const struct group *g, int64_t rows,
               struct dropout drop)
{
    int64_t in = g->at[0].in, rank = group_rank(g);
    if (!rank) return;
    const elem *a = slot_of(dev, g)->a;
    must(x.stride >= in + rank);
    if (drop.p > 0) {
        must(rows <= dev->shape.chunk);
        if (suits_lora(dev, g, x))
            lora_fwd_a(dev, x, g, rows, drop);
        else
            masked_fwd_a(dev, x, g, a, rows, drop);
        return;
    }
    struct gemm p = {};
    p.b_transposed = true;
    p.m = rows;
    p.n = rank;
    p.k = p.ldb = in;
    p.alpha = 1;
    p.a = elems(x);
    p.lda = x.stride;
    p.b = a;
    p.c = p.d = elems(x) + in;
    p.ldc = p.ldd = x.stride;
    gemm(dev, &p);
}

/* Computes y = residual + bias before the product, so that the sum with the product is rounded
 * once. */
template <int N>
KERNEL(THREADS, 1)
bias_kernel(elem *y, int64_t y_stride, const elem *residual, int64_t residual_stride,
            const biases b)
{
    int64_t row = blockIdx.x;
    for (int i = threadIdx.x * N; i < b.outs; i += THREADS * N) {
        const float *bias = bias_at(b, i);
        pack<N> p = {}, before = {};
        if (bias) load(p, bias);
        if (residual) load(before, residual + row * residual_stride + i);
        for (int j = 0; j < N; j++)
            p.v[j] += before.v[j];
        store(y + row * y_stride + i, p);
    }
}

/* Puts residual + bias into y. Returns false and does nothing if no linear layer of the group has a
 * bias. */
static bool put_biases(struct device *dev, struct mat y, struct mat residual, const struct group *g,
                       int64_t rows)
{
    bool wide;
    struct biases b = biases_of(g, &wide);
    if (!b.has) return false;
    LAUNCH_ROWS(wide && mat_is_wide(y, b.outs) && mat_is_wide(residual, b.outs), bias_kernel, rows,
                elems(y), y.stride, elems(residual), residual.stride, b);
    return true;
}

void linear_fwd(struct device *dev, struct mat y, struct mat x, const struct group *g,
                struct mat residual, int64_t rows, struct dropout drop)
{
    if (suits_decode(dev, g, x, rows)) {
        must(drop.p <= 0);
        linear_decode(dev, y, x, g, residual, rows);
        return;
    }
    lora_down(dev, x, g, rows, drop);
    struct gemm p = {};
    p.b_transposed = true;
    p.m = rows;
    p.n = group_outs(g);
    p.alpha = 1;
    p.lda = x.stride;
    p.d = y.at;
    p.ldd = y.stride;
    if (g->is_fp8) {
        fp8_fwd(dev, y, x, g, residual, rows);
        /* y += scale · u Bᵀ */
        p.k = group_rank(g);
        p.a = elems(x) + g->at[0].in;
        p.b = slot_of(dev, g)->b;
        p.ldb = slot_of(dev, g)->b_stride;
        residual = y;
        if (!p.k) return;
    } else {
        if (put_biases(dev, y, residual, g, rows)) residual = y;
        p.k = g->at[0].in + group_rank(g);
        p.a = elems(x);
        p.b = slot_of(dev, g)->weight;
        p.ldb = width_of(g);
    }
    p.beta = residual.at ? 1 : 0;
    p.c = residual.at ? residual.at : y.at;
    p.ldc = residual.at ? residual.stride : y.stride;
    gemm(dev, &p);
}

/* A run is a sequence of linear layers whose output gradients lie side by side, so that they are
 * one matrix. Returns the index after the last linear layer of the run that begins at `first`;
 * *outs becomes the number of columns of the matrix. */
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
    const struct slot *s = &dev->slot[g->slot];
    const elem *weight = s->weight, *b = s->b;
    must(!rank || du.stride >= rank);
    if (g->is_fp8) fp8_bwd_input(dev, dx, dy, g, rows);
    for (int i = 0; i < g->count;) {
        struct gemm p = {};
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
        if (!g->is_fp8) gemm(dev, &p);
        if (rank) {
            p.n = rank;
            p.b = b;
            p.ldb = s->b_stride;
            p.c = p.d = du.at;
            p.ldc = p.ldd = du.stride;
            gemm(dev, &p);
        }
        weight += outs * width;
        b += outs * s->b_stride;
    }
    if (rank) lora_bwd_input(dev, dx, du, g, rows, drop);
}

void lora_bwd_input(struct device *dev, struct mat dx_acc, struct mat du, const struct group *g,
                    int64_t rows, struct dropout drop)
{
    const elem *a = dev->slot[g->slot].a;
    if (drop.p > 0) {
        if (suits_lora(dev, g, dx_acc) && mat_is_wide(du, 8))
            lora_bwd_x(dev, dx_acc, du, g, rows, drop);
        else
            masked_bwd_x(dev, dx_acc, du, g, a, rows, drop);
        return;
    }
    struct gemm p = {};
    p.m = rows;
    p.n = p.ldb = g->at[0].in;
    p.k = group_rank(g);
    p.alpha = p.beta = 1;
    p.a = elems(du);
    p.lda = du.stride;
    p.b = a;
    p.c = p.d = dx_acc.at;
    p.ldc = p.ldd = dx_acc.stride;
    gemm(dev, &p);
}

/* Computes dbias += Σ_t dy. A block adds up 32 columns; each of its eight warps adds every eighth
 * row. */
KERNEL(THREADS, 1)
bias_gradient_kernel(float *dbias, const elem *dy, int64_t stride, int64_t rows, int64_t out)
{
    SHARED_DYNAMIC(memory);
    float *part = (float *)memory, sum = 0;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int64_t column = (int64_t)blockIdx.x * 32 + lane;
    for (int64_t t = warp; t < rows && column < out; t += THREADS / 32)
        sum += widen(dy[t * stride + column]);
    part[threadIdx.x] = sum;
    block_sync();
    if (warp || column >= out) return;
    for (int w = 1; w < THREADS / 32; w++)
        sum += part[w * 32 + lane];
    dbias[column] += sum;
}

static void add_to_bias(struct device *dev, const struct linear *l, struct mat dy, int64_t rows)
{
    LAUNCH(bias_gradient_kernel, dim3((unsigned)ceil_div(l->out, 32)), dim3(THREADS),
           THREADS * sizeof(float), dev->stream, l->dbias_acc, elems(dy), dy.stride, rows, l->out);
    launched(dev, "linear_bwd_weight");
}

void linear_bwd_weight(struct device *dev, const struct group *g, const struct mat *dy,
                       struct mat du, struct mat x, int64_t rows, struct dropout drop)
{
    int64_t in = g->at[0].in, column = 0;
    bool by_lora = drop.p > 0 && group_rank(g) && suits_lora(dev, g, x) && mat_is_wide(du, 8);
    if (by_lora) lora_bwd_a(dev, g, du, x, rows, drop);
    for (int i = 0; i < g->count; i++) {
        const struct linear *l = &g->at[i];
        if (l->dbias_acc) add_to_bias(dev, l, dy[i], rows);
        if (l->dweight_acc)
            add_outer(dev, l->dweight_acc, elems(dy[i]), dy[i].stride, l->out, elems(x), x.stride,
                      in, rows, 1);
        if (l->db_acc)
            add_outer(dev, l->db_acc, elems(dy[i]), dy[i].stride, l->out, elems(x) + in + column,
                      x.stride, l->rank, rows, l->scale);
        if (l->da_acc && drop.p <= 0)
            add_outer(dev, l->da_acc, elems(du) + column, du.stride, l->rank, elems(x), x.stride,
                      in, rows, 1);
        else if (l->da_acc && !by_lora)
            masked_bwd_a(dev, l, du, column, x, rows, drop);
        column += l->rank;
    }
}
