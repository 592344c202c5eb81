/* Causal attention over segments, forward and backward.
 *
 * The tensor-core kernels (attention_wgmma.cu, attention_mma.cu) are used where the shapes and the
 * GPU suit them, and attention_decode.cu for a single row against a cache. Everything else is
 * computed by the plain kernels in this file, which use a warp for each row.
 */
#include "kernels/cuda/attention.cuh"

#include <cmath>

/* A lane holds every 32nd column of a head. */
enum { PLAIN_COLUMNS = CUDA_HEAD_DIM / 32, PLAIN_WARPS = 4 };

/* Computes the row_stats of each row of a head. A warp has one row. */
template <int N> KERNEL(PLAIN_WARPS * 32, 1) row_stats_kernel(const attention a, row_stats *stats)
{
    int row = blockIdx.x, head = blockIdx.y * PLAIN_WARPS + threadIdx.x / 32;
    if (head >= a.heads) return;
    float sum = 0;
    for (int i = threadIdx.x % 32 * N; i < a.head_dim; i += 32 * N) {
        pack<N> o, d;
        load(o, a.o + row * a.o_stride + head * a.head_dim + i);
        load(d, a.dout + row * a.dout_stride + head * a.head_dim + i);
#pragma unroll
        for (int j = 0; j < N; j++)
            sum += o.v[j] * d.v[j];
    }
    sum = warp_sum(sum);
    int64_t n = (int64_t)head * a.rows + row;
    if (threadIdx.x % 32 == 0) stats[n] = { a.lse[n] * log2_e, sum };
}

/* ---- plain kernels: a lane computes the columns lane, lane + 32, … of its head ---- */

struct columns {
    float v[PLAIN_COLUMNS];
};

DEVICE columns load_columns(const elem *row, int head_dim)
{
    columns c;
    for (int e = 0; e < PLAIN_COLUMNS; e++) {
        int i = threadIdx.x % 32 + 32 * e;
        c.v[e] = i < head_dim ? widen(row[i]) : 0;
    }
    return c;
}

DEVICE void store_columns(elem *row, const columns &c, int head_dim, float factor)
{
    for (int e = 0; e < PLAIN_COLUMNS; e++) {
        int i = threadIdx.x % 32 + 32 * e;
        if (i < head_dim) row[i] = narrow(c.v[e] * factor);
    }
}

DEVICE float dot(const columns &a, const columns &b)
{
    float sum = 0;
    for (int e = 0; e < PLAIN_COLUMNS; e++)
        sum += a.v[e] * b.v[e];
    return warp_sum(sum);
}

KERNEL(PLAIN_WARPS * 32, 1)
plain_fwd_kernel(const attention a)
{
    int row = blockIdx.x, head = blockIdx.y * PLAIN_WARPS + threadIdx.x / 32, c = a.head_dim;
    if (head >= a.heads) return;
    int kv = head / (a.heads / a.kv_heads);
    columns q = load_columns(a.q + row * a.q_stride + head * c, c), sum = {};
    float row_max = -INFINITY, row_sum = 0;
    for (int j = starts_of(a, head)[row]; j <= a.past + row; j++) {
        columns k = load_columns(a.k + j * a.k_stride + kv * c, c);
        columns v = load_columns(a.v + j * a.v_stride + kv * c, c);
        float score = dot(q, k) * a.scale, new_max = fmaxf(row_max, score);
        float rescale = expf(row_max - new_max), weight = expf(score - new_max);
        for (int e = 0; e < PLAIN_COLUMNS; e++)
            sum.v[e] = sum.v[e] * rescale + weight * v.v[e];
        row_sum = row_sum * rescale + weight;
        row_max = new_max;
    }
    store_columns(a.o + row * a.o_stride + head * c, sum, c, 1 / row_sum);
    if (threadIdx.x % 32 == 0) a.lse[(int64_t)head * a.rows + row] = row_max + logf(row_sum);
}

KERNEL(PLAIN_WARPS * 32, 1)
plain_dq_kernel(const attention a)
{
    int row = blockIdx.x, head = blockIdx.y * PLAIN_WARPS + threadIdx.x / 32, c = a.head_dim;
    if (head >= a.heads) return;
    int kv = head / (a.heads / a.kv_heads);
    columns q = load_columns(a.q + row * a.q_stride + head * c, c), dq = {};
    columns d = load_columns(a.dout + row * a.dout_stride + head * c, c);
    float lse = a.lse[(int64_t)head * a.rows + row];
    float delta = a.stats[(int64_t)head * a.rows + row].delta;
    for (int j = starts_of(a, head)[row]; j <= row; j++) {
        columns k = load_columns(a.k + j * a.k_stride + kv * c, c);
        columns v = load_columns(a.v + j * a.v_stride + kv * c, c);
        float weight = expf(dot(q, k) * a.scale - lse), ds = weight * (dot(d, v) - delta);
        for (int e = 0; e < PLAIN_COLUMNS; e++)
            dq.v[e] += ds * k.v[e];
    }
    store_columns(a.dq + row * a.dq_stride + head * c, dq, c, a.scale);
}

/* A warp computes the gradients of one key. The warp reads no other key, so the gradients may
 * overwrite k and v.
 */
KERNEL(PLAIN_WARPS * 32, 1)
plain_dkdv_kernel(const attention a)
{
    int key = blockIdx.x, kv = blockIdx.y * PLAIN_WARPS + threadIdx.x / 32, c = a.head_dim;
    if (kv >= a.kv_heads) return;
    int group_size = a.heads / a.kv_heads;
    columns k = load_columns(a.k + key * a.k_stride + kv * c, c), dk = {};
    columns v = load_columns(a.v + key * a.v_stride + kv * c, c), dv = {};
    for (int head = kv * group_size; head < (kv + 1) * group_size; head++) {
        const int32_t *start = starts_of(a, head);
        for (int t = key; t < a.rows && start[t] <= key; t++) {
            columns q = load_columns(a.q + t * a.q_stride + head * c, c);
            columns d = load_columns(a.dout + t * a.dout_stride + head * c, c);
            float weight = expf(dot(q, k) * a.scale - a.lse[(int64_t)head * a.rows + t]);
            float ds = weight * (dot(d, v) - a.stats[(int64_t)head * a.rows + t].delta);
            for (int e = 0; e < PLAIN_COLUMNS; e++) {
                dv.v[e] += weight * d.v[e];
                dk.v[e] += ds * q.v[e];
            }
        }
    }
    store_columns(a.dk + key * a.dk_stride + kv * c, dk, c, a.scale);
    store_columns(a.dv + key * a.dv_stride + kv * c, dv, c, 1);
}

static dim3 plain_grid(int64_t rows, int64_t heads)
{
    return dim3((unsigned)rows, (unsigned)ceil_div(heads, PLAIN_WARPS));
}

static attention forward_of(struct mat o, float *lse, struct mat q, struct attention_starts starts,
                            int64_t rows, int64_t heads, float scale)
{
    attention a = {};
    a.q = elems(q), a.q_stride = q.stride;
    a.o = elems(o), a.o_stride = o.stride;
    a.lse = lse;
    a.low_heads = starts.low_heads, a.high_heads = starts.high_heads, a.split = (int)starts.split;
    a.rows = (int)rows, a.heads = (int)heads;
    a.scale = scale;
    return a;
}

static void set_keys(attention &a, struct mat k, struct mat v, int64_t kv_heads, int64_t head_dim)
{
    must(a.rows > 0 && a.heads % kv_heads == 0 && head_dim <= 32 * PLAIN_COLUMNS);
    a.k = elems(k), a.k_stride = k.stride;
    a.v = elems(v), a.v_stride = v.stride;
    a.kv_heads = (int)kv_heads, a.head_dim = (int)head_dim;
}

static void run_fwd(struct device *dev, const attention &a)
{
    if (wgmma_fwd(dev, a) || mma_fwd(dev, a)) return;
    LAUNCH(plain_fwd_kernel, plain_grid(a.rows, a.heads), dim3(PLAIN_WARPS * 32), 0, dev->stream,
           a);
    launched(dev, "attention_fwd");
}

void attention_fwd(struct device *dev, struct mat o, float *lse, struct mat q, struct mat k,
                   struct mat v, struct attention_starts starts, int64_t rows, int64_t heads,
                   int64_t kv_heads, int64_t head_dim, float scale)
{
    attention a = forward_of(o, lse, q, starts, rows, heads, scale);
    set_keys(a, k, v, kv_heads, head_dim);
    run_fwd(dev, a);
}

void attention_decode(struct device *dev, struct mat o, float *lse, struct mat q,
                      const struct cache *cache, struct attention_starts starts, int64_t past,
                      int64_t rows, int64_t heads, float scale)
{
    must(past >= 0 && past + rows <= cache->capacity && cache->type == kernels_cuda.act_type);
    int64_t stride = cache_stride(cache);
    elem *keys = (elem *)cache->at, *values = keys + cache->kv_heads * cache->head_dim;
    attention a = forward_of(o, lse, q, starts, rows, heads, scale);
    set_keys(a, { (struct act *)keys, stride }, { (struct act *)values, stride }, cache->kv_heads,
             cache->head_dim);
    a.past = (int)past;
    if (!flash_decode(dev, a)) run_fwd(dev, a);
}

void attention_bwd(struct device *dev, struct mat dq, struct mat dk, struct mat dv, struct mat dout,
                   struct mat o, const float *lse, struct mat q, struct mat k, struct mat v,
                   struct attention_starts starts, int64_t rows, int64_t heads, int64_t kv_heads,
                   int64_t head_dim, float scale)
{
    must(rows <= dev->shape.rows && heads <= dev->shape.heads && dev->shape.has_backward);
    must(dq.at != q.at);
    attention a = forward_of(o, (float *)lse, q, starts, rows, heads, scale);
    set_keys(a, k, v, kv_heads, head_dim);
    a.dout = elems(dout), a.dout_stride = dout.stride;
    a.dq = elems(dq), a.dq_stride = dq.stride;
    a.dk = elems(dk), a.dk_stride = dk.stride;
    a.dv = elems(dv), a.dv_stride = dv.stride;
    a.stats = dev->row_stats;
    if (mat_is_wide(o, head_dim) && mat_is_wide(dout, head_dim))
        LAUNCH(row_stats_kernel<8>, plain_grid(rows, heads), dim3(PLAIN_WARPS * 32), 0, dev->stream,
               a, dev->row_stats);
    else
        LAUNCH(row_stats_kernel<1>, plain_grid(rows, heads), dim3(PLAIN_WARPS * 32), 0, dev->stream,
               a, dev->row_stats);
    if ((wgmma_dq(dev, a) && wgmma_dkdv(dev, a)) || mma_bwd(dev, a)) return;
    /* dq is computed first, because it reads the keys, and dk may overwrite them. */
    LAUNCH(plain_dq_kernel, plain_grid(rows, heads), dim3(PLAIN_WARPS * 32), 0, dev->stream, a);
    LAUNCH(plain_dkdv_kernel, plain_grid(rows, kv_heads), dim3(PLAIN_WARPS * 32), 0, dev->stream,
           a);
    launched(dev, __func__);
}

/* No kernel's tile has more than ATTENTION_UNIT rows, and each begins at a multiple of its rows. So
 * rows that begin at a multiple of the unit are cut into the same tiles as in a call for all
 * rows. */
void attention_extent(struct attention_starts, int64_t, int64_t *, int64_t *) {}
