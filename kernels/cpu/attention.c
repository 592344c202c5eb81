/* Causal attention over segments, forward and backward.
 *
 * A tile is 64 queries of one head; its scores against every key that any of them
 * sees are one product, then softmax row by row, then one product with V. Scores
 * of a tile are 64 rows: they are recomputed in the backward from lse, never kept.
 * A key/value head's gradients are summed by one task, query tile after query
 * tile; rows that no span joins (other samples, other groups) are other tasks.
 */
#include "cpu.h"

#include <math.h>

struct attention {
    struct device *dev;
    struct mat o, q, k, v, dq, dk, dv, dout;
    float *lse;
    struct spans spans;
    int64_t rows, heads, kv_heads, head_dim, tiles, ranges;
    float scale;
};

static void fwd_tile(void *arg, int64_t task, int worker)
{
    const struct attention *a = arg;
    int64_t head = task / a->tiles, first = (a->tiles - 1 - task % a->tiles) * QUERY_TILE;
    int64_t rows = least(QUERY_TILE, a->rows - first), c = a->head_dim;
    int64_t kv = head * a->kv_heads / a->heads;
    const int32_t *start = list_of(a->spans, head);
    int64_t low = start[first], keys = first + rows - low, ld = (keys + 15) / 16 * 16;
    float *s = worker_scratch(a->dev, worker);
    product(false, true, rows, keys, c, a->scale, head_at(a->q, first, head, c), a->q.stride,
            head_at(a->k, low, kv, c), a->k.stride, 0, s, ld);
    float inverse[QUERY_TILE];
    for (int64_t r = 0; r < rows; r++)
        inverse[r] = softmax_row(s + r * ld, start[first + r] - low, first + r - low + 1, keys,
                                 &a->lse[head * a->rows + first + r]);
    product(false, false, rows, c, keys, 1, s, ld, head_at(a->v, low, kv, c), a->v.stride, 0,
            head_at(a->o, first, head, c), a->o.stride);
    for (int64_t r = 0; r < rows; r++) {
        float *o = head_at(a->o, first + r, head, c);
        for (int64_t i = 0; i < c; i++)
            o[i] *= inverse[r];
    }
}

void attention_fwd(struct device *dev, struct mat o, float *lse, struct mat q, struct mat k,
                   struct mat v, struct spans spans, int64_t rows, int64_t heads, int64_t kv_heads,
                   int64_t head_dim, float scale)
{
    must(rows <= dev->shape.rows && heads % kv_heads == 0);
    struct attention a = { .dev = dev,
                           .o = o,
                           .q = q,
                           .k = k,
                           .v = v,
                           .lse = lse,
                           .spans = spans,
                           .rows = rows,
                           .heads = heads,
                           .kv_heads = kv_heads,
                           .head_dim = head_dim,
                           .scale = scale,
                           .tiles = pieces(rows, QUERY_TILE) };
    pool_run(dev->pool, heads * a.tiles, fwd_tile, &a);
}

struct tile {
    int64_t head, kv, first, rows, low, keys, ld;
    float *p, *dp; /* scores' softmax and its gradient, [rows, ld] */
};

/* p becomes softmax, dp becomes dS = p⊙(dp − delta)·scale; 0 outside the spans. */
static void softmax_bwd(const struct attention *a, const struct tile *t)
{
    const int32_t *start = list_of(a->spans, t->head);
    int64_t c = a->head_dim;
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t row = t->first + r, from = start[row] - t->low, to = row - t->low + 1;
        const float *o = head_at(a->o, row, t->head, c), *d = head_at(a->dout, row, t->head, c);
        float *restrict p = t->p + r * t->ld, *restrict dp = t->dp + r * t->ld, delta = 0;
        float lse = a->lse[t->head * a->rows + row];
#pragma omp simd reduction(+ : delta)
        for (int64_t i = 0; i < c; i++)
            delta += o[i] * d[i];
        memset(p, 0, (size_t)from * sizeof *p);
        memset(dp, 0, (size_t)from * sizeof *dp);
#pragma omp simd
        for (int64_t j = from; j < to; j++) {
            float e = fast_exp(p[j] - lse);
            p[j] = e;
            dp[j] = e * (dp[j] - delta) * a->scale;
        }
        memset(p + to, 0, (size_t)(t->keys - to) * sizeof *p);
        memset(dp + to, 0, (size_t)(t->keys - to) * sizeof *dp);
    }
}

/* dk, dv: sums of the range's keys, [range, c], from row `base` on. */
static void bwd_tile(const struct attention *a, struct tile *t, float *dk, float *dv, int64_t base)
{
    int64_t c = a->head_dim, keys = t->keys, ld = t->ld;
    const float *q = head_at(a->q, t->first, t->head, c);
    const float *d = head_at(a->dout, t->first, t->head, c);
    const float *k = head_at(a->k, t->low, t->kv, c), *v = head_at(a->v, t->low, t->kv, c);
    product(false, true, t->rows, keys, c, a->scale, q, a->q.stride, k, a->k.stride, 0, t->p, ld);
    product(false, true, t->rows, keys, c, 1, d, a->dout.stride, v, a->v.stride, 0, t->dp, ld);
    softmax_bwd(a, t);
    product(true, false, keys, c, t->rows, 1, t->p, ld, d, a->dout.stride, 1,
            dv + (t->low - base) * c, c);
    product(true, false, keys, c, t->rows, 1, t->dp, ld, q, a->q.stride, 1,
            dk + (t->low - base) * c, c);
    product(false, false, t->rows, c, keys, 1, t->dp, ld, k, a->k.stride, 0,
            head_at(a->dq, t->first, t->head, c), a->dq.stride);
}

static void bwd_range(void *arg, int64_t task, int worker)
{
    const struct attention *a = arg;
    int64_t kv = task / a->ranges, range = task % a->ranges, c = a->head_dim;
    int64_t base = a->dev->ranges[range], end = a->dev->ranges[range + 1], count = end - base;
    int64_t share = a->heads / a->kv_heads;
    float *dk = worker_scratch(a->dev, worker), *dv = dk + count * c;
    float *p = dv + count * c, *dp = p + QUERY_TILE * ((count + 15) / 16 * 16);
    memset(dk, 0, (size_t)(2 * count * c) * sizeof *dk);
    for (int64_t head = kv * share; head < (kv + 1) * share; head++)
        for (int64_t first = base; first < end; first += QUERY_TILE) {
            int64_t low = list_of(a->spans, head)[first];
            struct tile t = { .head = head,
                              .kv = kv,
                              .first = first,
                              .low = low,
                              .p = p,
                              .dp = dp,
                              .rows = least(QUERY_TILE, end - first) };
            t.keys = first + t.rows - low;
            t.ld = (t.keys + 15) / 16 * 16;
            bwd_tile(a, &t, dk, dv, base);
        }
    for (int64_t r = 0; r < count; r++) {
        memcpy(head_at(a->dk, base + r, kv, c), dk + r * c, (size_t)c * sizeof *dk);
        memcpy(head_at(a->dv, base + r, kv, c), dv + r * c, (size_t)c * sizeof *dv);
    }
}

/* Cuts rows where neither list has a span across (lists do not decrease, so no later
 * row reaches back): ranges[0..n] are the borders. */
static int64_t find_ranges(int32_t *ranges, struct spans spans, int64_t rows)
{
    int64_t n = 0;
    for (int64_t t = 0; t < rows; t++)
        if (spans.first[t] == t && spans.second[t] == t) ranges[n++] = (int32_t)t;
    must(n > 0 && ranges[0] == 0);
    ranges[n] = (int32_t)rows;
    return n;
}

void attention_bwd(struct device *dev, struct mat dq, struct mat dk, struct mat dv, struct mat dout,
                   struct mat o, const float *lse, struct mat q, struct mat k, struct mat v,
                   struct spans spans, int64_t rows, int64_t heads, int64_t kv_heads,
                   int64_t head_dim, float scale)
{
    must(rows <= dev->shape.rows && heads % kv_heads == 0 && dev->shape.has_backward);
    must(dq.at != q.at);
    struct attention a = { .dev = dev,
                           .o = o,
                           .q = q,
                           .k = k,
                           .v = v,
                           .dq = dq,
                           .dk = dk,
                           .dv = dv,
                           .dout = dout,
                           .lse = (float *)lse,
                           .spans = spans,
                           .rows = rows,
                           .heads = heads,
                           .kv_heads = kv_heads,
                           .head_dim = head_dim,
                           .scale = scale };
    a.ranges = find_ranges(dev->ranges, spans, rows);
    pool_run(dev->pool, kv_heads * a.ranges, bwd_range, &a);
}
