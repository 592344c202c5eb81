/* Attention over a cache of keys and values, for generating text.
 *
 * The cache is [keys and values, K, capacity, c] (shapes: kernels.h). The rows of one key/value
 * head are contiguous, because a task reads the keys of one head.
 *
 * Reading the cache takes nearly all of the time. So for up to four rows of queries the cache is
 * cut into splits of 512 keys. A task reads one split once, for all query heads that share its
 * keys. Of each split the task stores the highest score, the sum of the weights and the weighted
 * sum of the values; a second pass combines them in the order of the splits (Flash-Decoding, Dao et
 * al. 2023). For more rows attention.c computes the result, as in training.
 */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/vec.h"

struct attention_decode_call {
    struct device *dev;
    struct mat o, q;
    float *lse;
    const struct cache *cache;
    struct attention_starts starts;
    int64_t past, rows, group_size;
    /* Some row sees a key of each of these splits: first_split … first_split + splits − 1. */
    int64_t first_split, splits;
    float scale;
};

/* Returns the index of the first element of row `row` of a head in the cache. Heads K … 2K − 1 are
 * values. */
static int64_t place_of(const struct cache *c, int64_t head, int64_t row)
{
    return (head * c->capacity + row) * c->head_dim;
}

static const void *element_at(const struct cache *c, int64_t place)
{
    return c->type == DTYPE_F32 ? (const void *)((const float *)c->at + place)
                                : (const void *)((const uint16_t *)c->at + place);
}

static int64_t clamp(int64_t n, int64_t high) { return n < 0 ? 0 : min_i64(n, high); }

/* ---- writing the cache ---- */

struct cache_write {
    const struct cache *cache;
    struct mat kv;
    int64_t first, rows;
};

static void write_head(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct cache_write *k = arg;
    const struct cache *c = k->cache;
    float max_finite = c->type == DTYPE_F16 ? 65504 : INFINITY;
    for (int64_t t = 0; t < k->rows; t++) {
        const float *from = head_at(k->kv, t, task, c->head_dim);
        int64_t place = place_of(c, task, k->first + t);
        for (int64_t i = 0; i < c->head_dim; i += 64) {
            float value[64];
            int64_t n = min_i64(64, c->head_dim - i);
            for (int64_t j = 0; j < n; j++) {
                float x = from[i + j];
                value[j] = x > max_finite ? max_finite : x < -max_finite ? -max_finite : x;
            }
            narrow_range(c->at, c->type, place + i, value, n);
        }
    }
}

void cache_rows(struct device *dev, const struct cache *cache, int64_t first, struct mat kv,
                int64_t rows)
{
    must(first >= 0 && first + rows <= cache->capacity);
    must(cache->type == DTYPE_F32 || cache->type == DTYPE_F16);
    struct cache_write k = { cache, kv, first, rows };
    pool_run(dev->pool, 2 * cache->kv_heads, write_head, &k);
}

/* ---- few rows: splits of the cache ---- */

/* Computes score[n, CACHE_SPLIT] = q[n] · key, for the `count` keys that begin at element `place`.
 * The values that the next loop will read are prefetched meanwhile. */
static void score_split(const struct cache *c, int64_t place, int64_t values, int64_t count,
                        float *score, const float *q, int64_t queries)
{
    int64_t dim = c->head_dim, bytes = dim * (c->type == DTYPE_F32 ? 4 : 2);
    for (int64_t j = 0; j < count; j++) {
        const void *key = element_at(c, place + j * dim);
        prefetch((const char *)key + PREFETCH_AHEAD, bytes);
        prefetch(element_at(c, values + j * dim), bytes);
        for (int64_t n = 0; n < queries; n += ROWS_AT_ONCE) {
            float y[ROWS_AT_ONCE];
            int rows = (int)min_i64(ROWS_AT_ONCE, queries - n);
            if (c->type == DTYPE_F32)
                dot_f32(y, key, q + n * dim, dim, dim, rows);
            else
                dot_16(y, key, false, q + n * dim, dim, dim, rows);
            for (int r = 0; r < rows; r++)
                score[(n + r) * CACHE_SPLIT + j] = y[r];
        }
    }
}

/* Computes to[r] = Σ_j weight[r, j] · value[j], for `vecs` vectors of columns. Callers pass
 * constants for `load`, `rows` and `vecs`, so that the loops are unrolled. */
static inline __attribute__((always_inline)) void
weigh_columns(float *const *to, const float *weight, const void *value,
              vec (*load)(const void *, int64_t), int64_t column, int64_t dim, int64_t count,
              int rows, int vecs)
{
    vec sum[ROWS_AT_ONCE][SUMS] = { 0 };
    for (int64_t j = 0; j < count; j++)
        for (int k = 0; k < vecs; k++) {
            vec v = load(value, j * dim + column + k * LANES);
            for (int r = 0; r < rows; r++)
                sum[r][k] += weight[r * CACHE_SPLIT + j] * v;
        }
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < vecs; k++)
            memcpy(to[r] + column + k * LANES, &sum[r][k], sizeof sum[r][k]);
}

/* Calls weigh_columns for all columns of a head. rows is at most 4. */
static void weigh_values(const struct cache *c, int64_t place, int64_t count, float *const *to,
                         const float *weight, int rows)
{
    int64_t dim = c->head_dim, i = 0;
    const void *value = element_at(c, place);
    bool is_f32 = c->type == DTYPE_F32;
    for (; i + SUMS * LANES <= dim; i += SUMS * LANES)
        if (is_f32)
            FOR_ROWS(rows, weigh_columns(to, weight, value, load_f32, i, dim, count, N, SUMS))
        else
            FOR_ROWS(rows, weigh_columns(to, weight, value, load_f16, i, dim, count, N, SUMS))
    for (; i + LANES <= dim; i += LANES)
        if (is_f32)
            FOR_ROWS(rows, weigh_columns(to, weight, value, load_f32, i, dim, count, N, 1))
        else
            FOR_ROWS(rows, weigh_columns(to, weight, value, load_f16, i, dim, count, N, 1))
    for (; i < dim; i++)
        for (int r = 0; r < rows; r++) {
            float sum = 0, x;
            for (int64_t j = 0; j < count; j++) {
                widen_range(&x, c->at, c->type, place + j * dim + i, 1);
                sum += weight[r * CACHE_SPLIT + j] * x;
            }
            to[r][i] = sum;
        }
}

static float *partial_of(const struct attention_decode_call *a, int64_t head, int64_t row,
                         int64_t split)
{
    return a->dev->partial +
           ((head * a->rows + row) * a->splits + split) * (a->cache->head_dim + 2);
}

/* Computes one split of one key/value head. Query n belongs to row n / group_size and to the head n
 * % group_size of those that share the key/value head. */
static void decode_task(void *arg, int64_t task, int worker)
{
    const struct attention_decode_call *a = arg;
    const struct cache *c = a->cache;
    int64_t kv = task / a->splits, split = task % a->splits, dim = c->head_dim;
    int64_t begin = (a->first_split + split) * CACHE_SPLIT,
            count = min_i64(CACHE_SPLIT, a->past + a->rows - begin);
    int64_t queries = a->rows * a->group_size;
    float *q = worker_scratch(a->dev, worker), *score = q + queries * dim;
    for (int64_t n = 0; n < queries; n++) {
        const float *from =
            head_at(a->q, n / a->group_size, kv * a->group_size + n % a->group_size, dim);
        for (int64_t i = 0; i < dim; i++)
            q[n * dim + i] = from[i] * a->scale;
    }
    score_split(c, place_of(c, kv, begin), place_of(c, c->kv_heads + kv, begin), count, score, q,
                queries);
    for (int64_t first = 0; first < queries; first += ROWS_AT_ONCE) {
        int rows = (int)min_i64(ROWS_AT_ONCE, queries - first);
        float *to[ROWS_AT_ONCE] = { NULL };
        for (int r = 0; r < rows; r++) {
            int64_t row = (first + r) / a->group_size,
                    head = kv * a->group_size + (first + r) % a->group_size;
            int64_t end = clamp(a->past + row + 1 - begin, count);
            int64_t from = clamp(starts_of(a->starts, head)[row] - begin, end);
            float *weight = score + (first + r) * CACHE_SPLIT;
            to[r] = partial_of(a, head, row, split);
            to[r][dim] = from < end ? max_row(weight + from, end - from) : -INFINITY;
            to[r][dim + 1] = from < end ? exp_row(weight + from, end - from, to[r][dim]) : 0;
            memset(weight, 0, (size_t)from * sizeof *weight);
            memset(weight + end, 0, (size_t)(count - end) * sizeof *weight);
        }
        weigh_values(c, place_of(c, c->kv_heads + kv, begin), count, to,
                     score + first * CACHE_SPLIT, rows);
    }
}

static void combine_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct attention_decode_call *a = arg;
    int64_t head = task / a->rows, row = task % a->rows, dim = a->cache->head_dim;
    float *o = head_at(a->o, row, head, dim), row_max = -INFINITY, row_sum = 0;
    for (int64_t s = 0; s < a->splits; s++)
        row_max = fmaxf(row_max, partial_of(a, head, row, s)[dim]);
    memset(o, 0, (size_t)dim * sizeof *o);
    for (int64_t s = 0; s < a->splits; s++) {
        const float *part = partial_of(a, head, row, s);
        float factor = expf(part[dim] - row_max);
        row_sum += factor * part[dim + 1];
        for (int64_t i = 0; i < dim; i++)
            o[i] += factor * part[i];
    }
    for (int64_t i = 0; i < dim; i++)
        o[i] /= row_sum;
    a->lse[task] = row_max + logf(row_sum);
}

/* ---- more rows: blocks of keys ---- */

const float *cache_widened(const struct cache *c, int64_t head, int64_t row, int64_t count,
                           float *scratch)
{
    int64_t place = place_of(c, head, row);
    if (c->type == DTYPE_F32) return (const float *)c->at + place;
    widen_range(scratch, c->at, c->type, place, count * c->head_dim);
    return scratch;
}

void attention_decode(struct device *dev, struct mat o, float *lse, struct mat q,
                      const struct cache *cache, struct attention_starts starts, int64_t past,
                      int64_t rows, int64_t heads, float scale)
{
    must(rows > 0 && rows <= dev->shape.rows && heads % cache->kv_heads == 0);
    must(past + rows <= dev->shape.keys && past + rows <= cache->capacity);
    if (rows > DECODE_QUERIES) {
        struct attention a = { .dev = dev,
                               .o = o,
                               .q = q,
                               .cache = cache,
                               .lse = lse,
                               .starts = starts,
                               .past = past,
                               .rows = rows,
                               .heads = heads,
                               .kv_heads = cache->kv_heads,
                               .head_dim = cache->head_dim,
                               .scale = scale };
        attention_forward(&a);
        return;
    }
    /* Starts do not decrease, so the start of row 0 is the smallest. */
    int64_t first_split = min_i64(starts.low_heads[0], starts.high_heads[0]) / CACHE_SPLIT;
    struct attention_decode_call a = { .dev = dev,
                                       .o = o,
                                       .q = q,
                                       .lse = lse,
                                       .cache = cache,
                                       .starts = starts,
                                       .past = past,
                                       .rows = rows,
                                       .group_size = heads / cache->kv_heads,
                                       .first_split = first_split,
                                       .splits = ceil_div(past + rows, CACHE_SPLIT) - first_split,
                                       .scale = scale };
    pool_run(dev->pool, cache->kv_heads * a.splits, decode_task, &a);
    pool_run(dev->pool, heads * rows, combine_task, &a);
}
