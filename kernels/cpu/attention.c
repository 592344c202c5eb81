/* Causal attention, forward and backward, one block of keys after the other. Each row sees only the
 * keys from its start on (struct attention_starts).
 *
 * Forward: a task has 256 queries of one head. It goes over the blocks of 512 keys that these
 * queries see, with an online softmax (FlashAttention, Dao et al. 2022, algorithm 1). The scores of
 * 64 queries against a block stay in the CPU's cache. A block's keys and values are packed once for
 * all 256 queries.
 *
 * Backward: the softmax is computed again from lse, one block of keys after the other. One task
 * sums the gradients of a key/value head, over all queries and all heads that share it. Ranges of
 * rows that see nothing of each other, such as two samples, are computed by different tasks. The
 * products are
 *
 *     S = q kᵀ,  o += P v;    dP = d vᵀ,  dvᵀ += dᵀ P,  dkᵀ += qᵀ dS,  dq += dS k
 *
 * where S are the scores, P their softmax, and d the gradient of o. In this form P and dS, the
 * largest operands, are never transposed when they are packed.
 */
#include "kernels/cpu/attention.h"

enum {
    FWD_ROWS = 4 * QUERY_TILE,
    KEY_BLOCK = 512 /* FWD_ROWS is a multiple of QUERY_TILE; KEY_BLOCK is a multiple of TILE_K */
};

/* ---- operands, packed into tiles if products are in bf16 ---- */

/* Are operands packed into tiles? Heads of fewer than 16 dimensions would be mostly padding. */
static bool is_packed(int64_t head_dim) { return packing_usable() && head_dim >= PANEL; }

/* An operand of a matrix product. A left operand is A [width, depth], a right operand is B [depth,
 * width].
 */
struct operand {
    struct source from;
    struct packed packed;
    bool is_b;
    /* The stride that a right operand has in a call for all heads of the model, or 0. If it is not
     * 0, each sum is computed in parts whose length depends on this stride. So a call for some of
     * the heads adds in the same order, and gives the same bits, as a call for all. */
    int64_t whole_stride;
};

static struct operand operand_of(const struct attention *a, float **scratch, int64_t width,
                                 int64_t depth, bool is_b)
{
    struct operand m = { .is_b = is_b };
    if (!a->is_packed) return m;
    m.packed = (struct packed){ (bf16 *)(void *)*scratch, width, depth };
    *scratch += packed_elements(width, depth) / 2;
    return m;
}

/* Sets the operand to the matrix x. If operands are packed, x is packed. */
static void set_operand(const struct attention *a, struct operand *m, const float *x, int64_t ld,
                        bool k_is_outer, float scale, int64_t width, int64_t depth)
{
    m->from = (struct source){ x, ld, k_is_outer, scale };
    m->packed.width = width, m->packed.depth = depth;
    if (a->is_packed)
        pack_operand(&m->packed, (struct packed_part){ 0, width, 0, depth }, m->from, m->is_b);
}

/* The part of an operand that begins at row `start` of A (or column `start` of B) and at k. */
struct operand_view {
    const struct operand *of;
    int64_t start, k;
};

static const float *first_of(struct operand_view p)
{
    struct source from = p.of->from;
    return from.x + (from.k_is_outer ? p.k * from.ld + p.start : p.start * from.ld + p.k);
}

/* C[m, n] = A B, or C += A B if `adds` is set. k is the number of terms of each sum. */
static void multiply(const struct attention *call, void *scratch, int64_t m, int64_t n, int64_t k,
                     struct operand_view a, struct operand_view b, bool adds, float *c, int64_t ldc)
{
    const struct operand *left = a.of, *right = b.of;
    if (call->is_packed) {
        gemm_packed(m, n, k, (struct packed_view){ &left->packed, a.start, a.k },
                    (struct packed_view){ &right->packed, b.start, b.k }, adds, c, ldc);
        return;
    }
    int64_t depth = right->whole_stride ? min_i64(k, gemm_depth(m, right->whole_stride)) : k;
    for (int64_t i = 0; i < k; i += depth, a.k += depth, b.k += depth)
        gemm(scratch, left->from.k_is_outer, !right->from.k_is_outer, m, n, min_i64(depth, k - i),
             left->from.scale, first_of(a), left->from.ld, first_of(b), right->from.ld, adds || i,
             c, ldc);
}

/* ---- blocks of keys ---- */

/* A block of keys is the rows from `first` to first + count − 1. A key_range is the part of a block
 * that some row of a tile of queries sees. Its `from` is counted from the block's first key, and is
 * a multiple of TILE_K, so that a product over keys can begin there. */
struct attention_block {
    int64_t first, count;
};
struct key_range {
    int64_t from, count; /* count <= 0: no keys */
};
static struct key_range key_range_of(struct attention_block keys, int64_t low, int64_t end)
{
    int64_t from = low > keys.first ? (low - keys.first) / TILE_K * TILE_K : 0;
    int64_t to = min_i64(end, keys.first + keys.count) - keys.first;
    return (struct key_range){ from, low < keys.first + keys.count ? to - from : 0 };
}

/* The keys that one row sees, counted from the first key of its tile's key_range. */
struct row_range {
    int64_t from, to; /* no keys if to <= from */
};
static struct row_range row_range_of(struct attention_block keys, struct key_range visible,
                                     int64_t low, int64_t row)
{
    int64_t first = keys.first + visible.from;
    int64_t from = low > first ? low - first : 0;
    return (struct row_range){ min_i64(from, visible.count),
                               min_i64(row + 1 - first, visible.count) };
}

static void zero_outside(float *s, struct row_range in, int64_t count)
{
    int64_t to = in.to > in.from ? in.to : in.from;
    memset(s, 0, (size_t)in.from * sizeof *s);
    memset(s + to, 0, (size_t)(count - to) * sizeof *s);
}

static const float *rows_of(struct mat m, int64_t row, int64_t head, const struct attention *a)
{
    return head_at(m, row, head, a->head_dim);
}

/* ---- forward ---- */

/* What a forward task stores for its 256 queries. s [QUERY_TILE, KEY_BLOCK] has the scores of a
 * tile, o [FWD_ROWS, c] the unnormalized outputs. wide_k and wide_v [KEY_BLOCK, c] have a block of
 * a cache in f32. row_max and sum have the maximum and the sum of each row's softmax over the
 * blocks so far. */
struct softmax_state {
    float *s, *o, *wide_k, *wide_v, row_max[FWD_ROWS], sum[FWD_ROWS];
    void *scratch; /* for gemm */
    struct operand q, k, v, p;
};

/* Turns the scores of one row into weights e^(score − row_max). If this block has a higher score
 * than all blocks before, it first rescales the row's sum and output to the new row_max. */
static void online_softmax(struct softmax_state *m, int64_t row, float *s, struct row_range in,
                           int64_t c)
{
    float new_max = max_row(s + in.from, in.to - in.from), *o = m->o + row * c;
    if (new_max > m->row_max[row]) {
        float factor = fast_exp(m->row_max[row] - new_max);
        m->row_max[row] = new_max;
        m->sum[row] *= factor;
        for (int64_t i = 0; i < c; i++)
            o[i] *= factor;
    }
    m->sum[row] += exp_row(s + in.from, in.to - in.from, m->row_max[row]);
}

/* Processes a tile of queries against a block of keys. The task's queries begin at row `first`, the
 * tile at row first + tile. */
static void fwd_tile(const struct attention *a, struct softmax_state *m, int64_t head,
                     int64_t first, int64_t tile, int64_t rows, struct attention_block keys)
{
    const int32_t *start = starts_of(a->starts, head) + first + tile;
    int64_t c = a->head_dim;
    struct key_range visible = key_range_of(keys, start[0], a->past + first + tile + rows);
    if (visible.count <= 0) return;
    multiply(a, m->scratch, rows, visible.count, c, (struct operand_view){ &m->q, tile, 0 },
             (struct operand_view){ &m->k, visible.from, 0 }, false, m->s, KEY_BLOCK);
    for (int64_t r = 0; r < rows; r++) {
        float *s = m->s + r * KEY_BLOCK;
        struct row_range in = row_range_of(keys, visible, start[r], a->past + first + tile + r);
        if (in.from < in.to) online_softmax(m, tile + r, s, in, c);
        zero_outside(s, in, visible.count);
    }
    set_operand(a, &m->p, m->s, KEY_BLOCK, false, 1, rows, visible.count);
    multiply(a, m->scratch, rows, c, visible.count, (struct operand_view){ &m->p, 0, 0 },
             (struct operand_view){ &m->v, 0, visible.from }, true, m->o + tile * c, c);
}

/* Sets the operands k and v to the keys and values of a block. */
static void set_keys(const struct attention *a, struct softmax_state *m, int64_t kv,
                     struct attention_block keys)
{
    int64_t c = a->head_dim, k_stride = a->k.stride, v_stride = a->v.stride;
    const float *k, *v;
    if (a->cache) {
        k = cache_widened(a->cache, kv, keys.first, keys.count, m->wide_k);
        v = cache_widened(a->cache, a->kv_heads + kv, keys.first, keys.count, m->wide_v);
        k_stride = v_stride = c;
    } else {
        k = rows_of(a->k, keys.first, kv, a);
        v = rows_of(a->v, keys.first, kv, a);
    }
    set_operand(a, &m->k, k, k_stride, false, 1, keys.count, c);
    set_operand(a, &m->v, v, v_stride, true, 1, c, keys.count);
}

static void fwd_task(void *arg, int64_t task, int worker)
{
    const struct attention *a = arg;
    int64_t head = task / a->tiles, first = (a->tiles - 1 - task % a->tiles) * FWD_ROWS;
    int64_t rows = min_i64(FWD_ROWS, a->rows - first), c = a->head_dim;
    int64_t kv = head * a->kv_heads / a->heads, low = starts_of(a->starts, head)[first];
    float *scratch = worker_scratch(a->dev, worker);
    int64_t end = a->past + first + rows;
    struct softmax_state m = { .s = scratch, .o = scratch + QUERY_TILE * KEY_BLOCK };
    m.scratch = gemm_scratch(a->dev, worker);
    m.wide_k = m.o + FWD_ROWS * c;
    m.wide_v = m.wide_k + (a->cache ? KEY_BLOCK * c : 0);
    scratch = m.wide_v + (a->cache ? KEY_BLOCK * c : 0);
    m.q = operand_of(a, &scratch, FWD_ROWS, c, false);
    m.p = operand_of(a, &scratch, QUERY_TILE, KEY_BLOCK, false);
    m.k = operand_of(a, &scratch, KEY_BLOCK, c, true);
    m.v = operand_of(a, &scratch, c, KEY_BLOCK, true);
    m.v.whole_stride = a->cache ? 0 : a->dev->shape.v_stride;
    must(scratch <= worker_scratch(a->dev, worker) + a->dev->worker_floats);
    memset(m.o, 0, (size_t)(rows * c) * sizeof *m.o);
    for (int64_t r = 0; r < rows; r++)
        m.row_max[r] = -INFINITY;
    set_operand(a, &m.q, rows_of(a->q, first, head, a), a->q.stride, false, a->scale, rows, c);
    struct attention_block keys = { low, 0 };
    for (; keys.first < end; keys.first += KEY_BLOCK) {
        keys.count = min_i64(KEY_BLOCK, end - keys.first);
        set_keys(a, &m, kv, keys);
        for (int64_t tile = 0; tile < rows; tile += QUERY_TILE)
            fwd_tile(a, &m, head, first, tile, min_i64(QUERY_TILE, rows - tile), keys);
    }
    for (int64_t r = 0; r < rows; r++) {
        float *o = head_at(a->o, first + r, head, c), inverse = 1 / m.sum[r];
        for (int64_t i = 0; i < c; i++)
            o[i] = m.o[r * c + i] * inverse;
        a->lse[head * a->rows + first + r] = m.row_max[r] + logf(m.sum[r]);
    }
}

void attention_forward(struct attention *a)
{
    a->tiles = ceil_div(a->rows, FWD_ROWS);
    a->is_packed = is_packed(a->head_dim);
    pool_run(a->dev->pool, a->heads * a->tiles, fwd_task, a);
}

void attention_fwd(struct device *dev, struct mat o, float *lse, struct mat q, struct mat k,
                   struct mat v, struct attention_starts starts, int64_t rows, int64_t heads,
                   int64_t kv_heads, int64_t head_dim, float scale)
{
    must(rows <= dev->shape.rows && heads % kv_heads == 0);
    struct attention a = { .dev = dev,
                           .o = o,
                           .q = q,
                           .k = k,
                           .v = v,
                           .lse = lse,
                           .starts = starts,
                           .rows = rows,
                           .heads = heads,
                           .kv_heads = kv_heads,
                           .head_dim = head_dim,
                           .scale = scale };
    attention_forward(&a);
}

/* ---- backward ---- */

/* What a backward task stores for a range of rows. p and ds [QUERY_TILE, KEY_BLOCK] have the
 * softmax of a tile and its gradient. dk and dv [c, KEY_BLOCK] have the gradients of a block of
 * keys and values, transposed. delta [heads that share the keys, rows] is o · dout. The operand
 * q_for_s is q in the product that computes s. */
struct bwd_range {
    int64_t kv, first_row, end;
    float *p, *ds, *dk, *dv, *delta;
    struct operand q_for_s, k_for_s, d_for_dp, v_for_dp, d_for_dv, p_for_dv, q_for_dk, ds_for_dk;
    struct operand ds_for_dq, k_for_dq;
    void *scratch; /* for gemm */
};

static int64_t group_size_of(const struct attention *a) { return a->heads / a->kv_heads; }

static float *deltas_of(const struct attention *a, const struct bwd_range *g, int64_t head)
{
    return g->delta + (head - g->kv * group_size_of(a)) * (g->end - g->first_row);
}

/* Computes delta = o · dout of each row. It must run before dq is written, which may overwrite o.
 */
static void compute_deltas(const struct attention *a, const struct bwd_range *g, int64_t head)
{
    for (int64_t row = g->first_row; row < g->end; row++) {
        const float *o = rows_of(a->o, row, head, a), *d = rows_of(a->dout, row, head, a);
        float delta = 0;
#pragma omp simd reduction(+ : delta)
        for (int64_t i = 0; i < a->head_dim; i++)
            delta += o[i] * d[i];
        deltas_of(a, g, head)[row - g->first_row] = delta;
    }
}

/* Processes one row of a tile. On entry p holds the scores and ds holds dP; on return p holds the
 * softmax P and ds holds dS = P⊙(dP − delta)·scale. Both become 0 where the row does not see the
 * key. */
static void softmax_bwd(float *restrict p, float *restrict ds, struct row_range in, int64_t count,
                        float lse, float delta, float scale)
{
#pragma omp simd
    for (int64_t j = in.from; j < in.to; j++) {
        float e = fast_exp(p[j] - lse);
        p[j] = e;
        ds[j] = e * (ds[j] - delta) * scale;
    }
    zero_outside(p, in, count);
    zero_outside(ds, in, count);
}

/* Processes the tile of queries that begins at row `first` against a block of keys. Adds to dk and
 * dv of the block. The first block that the tile sees sets dq of the tile, and later blocks add to
 * it. */
static void bwd_tile(const struct attention *a, struct bwd_range *g, int64_t head, int64_t first,
                     struct attention_block keys)
{
    const int32_t *start = starts_of(a->starts, head) + first;
    int64_t rows = min_i64(QUERY_TILE, g->end - first), c = a->head_dim, ld = KEY_BLOCK;
    const float *q = rows_of(a->q, first, head, a), *d = rows_of(a->dout, first, head, a);
    struct key_range visible = key_range_of(keys, start[0], first + rows);
    int64_t from = visible.from, count = visible.count;
    set_operand(a, &g->q_for_s, q, a->q.stride, false, a->scale, rows, c);
    set_operand(a, &g->d_for_dp, d, a->dout.stride, false, 1, rows, c);
    multiply(a, g->scratch, rows, count, c, (struct operand_view){ &g->q_for_s, 0, 0 },
             (struct operand_view){ &g->k_for_s, from, 0 }, false, g->p, ld);
    multiply(a, g->scratch, rows, count, c, (struct operand_view){ &g->d_for_dp, 0, 0 },
             (struct operand_view){ &g->v_for_dp, from, 0 }, false, g->ds, ld);
    for (int64_t r = 0; r < rows; r++)
        softmax_bwd(g->p + r * ld, g->ds + r * ld, row_range_of(keys, visible, start[r], first + r),
                    count, a->lse[head * a->rows + first + r],
                    deltas_of(a, g, head)[first + r - g->first_row], a->scale);
    set_operand(a, &g->d_for_dv, d, a->dout.stride, true, 1, c, rows);
    set_operand(a, &g->p_for_dv, g->p, ld, true, 1, count, rows);
    multiply(a, g->scratch, c, count, rows, (struct operand_view){ &g->d_for_dv, 0, 0 },
             (struct operand_view){ &g->p_for_dv, 0, 0 }, true, g->dv + from, ld);
    set_operand(a, &g->q_for_dk, q, a->q.stride, true, 1, c, rows);
    set_operand(a, &g->ds_for_dk, g->ds, ld, true, 1, count, rows);
    multiply(a, g->scratch, c, count, rows, (struct operand_view){ &g->q_for_dk, 0, 0 },
             (struct operand_view){ &g->ds_for_dk, 0, 0 }, true, g->dk + from, ld);
    set_operand(a, &g->ds_for_dq, g->ds, ld, false, 1, rows, count);
    multiply(a, g->scratch, rows, c, count, (struct operand_view){ &g->ds_for_dq, 0, 0 },
             (struct operand_view){ &g->k_for_dq, 0, from }, start[0] < keys.first,
             head_at(a->dq, first, head, c), a->dq.stride);
}

static void put_transposed(const struct attention *a, struct mat to, const float *from,
                           const struct bwd_range *g, struct attention_block keys)
{
    for (int64_t r = 0; r < keys.count; r++) {
        float *row = head_at(to, keys.first + r, g->kv, a->head_dim);
        for (int64_t i = 0; i < a->head_dim; i++)
            row[i] = from[i * KEY_BLOCK + r];
    }
}

static void bwd_block(const struct attention *a, struct bwd_range *g, struct attention_block keys)
{
    int64_t c = a->head_dim, group_size = group_size_of(a);
    const float *k = rows_of(a->k, keys.first, g->kv, a), *v = rows_of(a->v, keys.first, g->kv, a);
    set_operand(a, &g->k_for_s, k, a->k.stride, false, 1, keys.count, c);
    set_operand(a, &g->v_for_dp, v, a->v.stride, false, 1, keys.count, c);
    set_operand(a, &g->k_for_dq, k, a->k.stride, true, 1, c, keys.count);
    memset(g->dk, 0, (size_t)(c * KEY_BLOCK) * sizeof *g->dk);
    memset(g->dv, 0, (size_t)(c * KEY_BLOCK) * sizeof *g->dv);
    for (int64_t head = g->kv * group_size; head < (g->kv + 1) * group_size; head++) {
        const int32_t *start = starts_of(a->starts, head);
        int64_t end = keys.first + keys.count;
        for (int64_t first = keys.first; first < g->end && start[first] < end; first += QUERY_TILE)
            bwd_tile(a, g, head, first, keys);
    }
    put_transposed(a, a->dk, g->dk, g, keys);
    put_transposed(a, a->dv, g->dv, g, keys);
}

/* Returns the number of floats in all arrays of struct bwd_range, without its operands. */
static int64_t range_floats(int64_t rows, int64_t group_size, int64_t c)
{
    return 2 * (QUERY_TILE + c) * KEY_BLOCK + ceil_div(group_size * rows, 16) * 16;
}

/* Assigns addresses in `scratch` to the arrays and the operands. Returns the address after the last
 * of them. */
static float *plan_range(const struct attention *a, struct bwd_range *g, float *scratch)
{
    int64_t c = a->head_dim;
    g->p = scratch;
    g->ds = g->p + QUERY_TILE * KEY_BLOCK;
    g->dk = g->ds + QUERY_TILE * KEY_BLOCK;
    g->dv = g->dk + c * KEY_BLOCK;
    g->delta = g->dv + c * KEY_BLOCK;
    scratch += range_floats(g->end - g->first_row, group_size_of(a), c);
    g->q_for_s = operand_of(a, &scratch, QUERY_TILE, c, false);
    g->d_for_dp = operand_of(a, &scratch, QUERY_TILE, c, false);
    g->q_for_dk = operand_of(a, &scratch, c, QUERY_TILE, false);
    g->d_for_dv = operand_of(a, &scratch, c, QUERY_TILE, false);
    g->k_for_s = operand_of(a, &scratch, KEY_BLOCK, c, true);
    g->v_for_dp = operand_of(a, &scratch, KEY_BLOCK, c, true);
    g->k_for_dq = operand_of(a, &scratch, c, KEY_BLOCK, true);
    g->k_for_dq.whole_stride = a->dev->shape.k_stride;
    g->p_for_dv = operand_of(a, &scratch, KEY_BLOCK, QUERY_TILE, true);
    g->ds_for_dk = operand_of(a, &scratch, KEY_BLOCK, QUERY_TILE, true);
    g->ds_for_dq = operand_of(a, &scratch, QUERY_TILE, KEY_BLOCK, false);
    return scratch;
}

/* Returns the number of floats of the backward's packed operands: four of 64 × c, three of
 * KEY_BLOCK × c and three of KEY_BLOCK × 64. The four are counted as 256 × c, so that the forward's
 * operands fit too. */
static size_t operand_floats(int64_t c)
{
    return (4 * packed_elements(FWD_ROWS, c) + 3 * packed_elements(KEY_BLOCK, c) +
            3 * packed_elements(KEY_BLOCK, QUERY_TILE)) /
           2;
}

size_t attention_floats(const struct shape *s)
{
    int64_t c = s->head_dim, forward = QUERY_TILE * KEY_BLOCK + FWD_ROWS * c;
    if (s->keys) forward += 2 * KEY_BLOCK * c;
    int64_t backward = s->has_backward ? range_floats(s->rows, s->heads / s->kv_heads, c) : 0;
    return (size_t)(forward > backward ? forward : backward) +
           (is_packed(c) ? operand_floats(c) : 0);
}

static void bwd_task(void *arg, int64_t task, int worker)
{
    const struct attention *a = arg;
    const int32_t *border = a->dev->ranges + task % a->ranges;
    int64_t group_size = group_size_of(a);
    struct bwd_range g = { .kv = task / a->ranges, .first_row = border[0], .end = border[1] };
    g.scratch = gemm_scratch(a->dev, worker);
    float *scratch = worker_scratch(a->dev, worker);
    must(plan_range(a, &g, scratch) <= scratch + a->dev->worker_floats);
    for (int64_t head = g.kv * group_size; head < (g.kv + 1) * group_size; head++)
        compute_deltas(a, &g, head);
    for (int64_t first = g.first_row; first < g.end; first += KEY_BLOCK)
        bwd_block(a, &g, (struct attention_block){ first, min_i64(KEY_BLOCK, g.end - first) });
}

/* Can a range begin at row t? It can if no row from t on sees a row before t. */
static bool is_border(struct attention_starts starts, int64_t t)
{
    return starts.low_heads[t] == t && starts.high_heads[t] == t;
}

/* Cuts the rows into ranges that see nothing of each other. A range can begin at row t if no row
 * from t on sees a row before t. Because starts do not decrease, it is enough that t is the first
 * row that row t sees, both in low_heads and in high_heads. Writes the borders of the n ranges to
 * ranges[0] … ranges[n], and returns n. */
static int64_t find_ranges(int32_t *ranges, struct attention_starts starts, int64_t rows)
{
    int64_t n = 0;
    for (int64_t t = 0; t < rows; t++)
        if (is_border(starts, t)) ranges[n++] = (int32_t)t;
    must(n > 0 && ranges[0] == 0);
    ranges[n] = (int32_t)rows;
    return n;
}

void attention_bwd(struct device *dev, struct mat dq, struct mat dk, struct mat dv, struct mat dout,
                   struct mat o, const float *lse, struct mat q, struct mat k, struct mat v,
                   struct attention_starts starts, int64_t rows, int64_t heads, int64_t kv_heads,
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
                           .starts = starts,
                           .rows = rows,
                           .heads = heads,
                           .kv_heads = kv_heads,
                           .head_dim = head_dim,
                           .scale = scale };
    a.is_packed = is_packed(head_dim);
    a.ranges = find_ranges(dev->ranges, starts, rows);
    pool_run(dev->pool, kv_heads * a.ranges, bwd_task, &a);
}

/* The backward's blocks of keys, and their tiles, begin at the first row of their range. So a call
 * for only some rows must begin at the first row of a block, and end at the last row of a block or
 * of the range. */
void attention_extent(struct attention_starts starts, int64_t rows, int64_t *first, int64_t *end)
{
    int64_t of_first = 0, of_last = 0, last = *end - 1, next = rows;
    _Static_assert(ATTENTION_UNIT % FWD_ROWS == 0, "each task of the forward is in one unit");
    _Static_assert((int)KEY_BLOCK <= (int)ATTENTION_MARGIN, "at most a block is added on a side");
    must(*first >= 0 && *first <= last && last < rows);
    for (int64_t t = 0; t < rows; t++) {
        if (!is_border(starts, t)) continue;
        if (t <= *first) of_first = t;
        if (t <= last) of_last = t;
        if (t <= last) continue;
        next = t;
        break;
    }
    *first = of_first + (*first - of_first) / KEY_BLOCK * KEY_BLOCK;
    *end = min_i64(of_last + ceil_div(*end - of_last, KEY_BLOCK) * KEY_BLOCK, next);
}
