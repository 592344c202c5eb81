/* Compares attention (full, S2-Attn, documents, grouped queries) with a plain O(n²) loop in double
 * precision, and its gradients with finite differences. */
#include "lib/common/bf16.h"
#include "lib/tensorfile/safetensors.h"
#include "tests/lib/backend.h"
#include "tests/lib/synthetic_model.h"

#include <math.h>

struct attention_case {
    int64_t rows, heads, kv_heads, dim;
    const int32_t *first, *second;
    int64_t split;
    double scale;
    const double *dout;
};

/* v consists of q [rows, heads·dim], then k and v [rows, kv_heads·dim]. */
REFERENCE static void ref_attention(const struct attention_case *c, const double *v, double *o,
                                    double *lse)
{
    int64_t wide = c->heads * c->dim, narrow = c->kv_heads * c->dim;
    const double *keys = v + c->rows * wide, *values = keys + c->rows * narrow;
    double *p = malloc((size_t)c->rows * sizeof *p);
    for (int64_t h = 0; h < c->heads; h++) {
        int64_t kv = h * c->kv_heads / c->heads;
        const int32_t *list = h < c->split ? c->first : c->second;
        for (int64_t t = 0; t < c->rows; t++) {
            double top = -INFINITY, sum = 0;
            for (int64_t j = list[t]; j <= t; j++) {
                p[j] = 0;
                for (int64_t i = 0; i < c->dim; i++)
                    p[j] += c->scale * v[t * wide + h * c->dim + i] *
                            keys[j * narrow + kv * c->dim + i];
                if (p[j] > top) top = p[j];
            }
            for (int64_t j = list[t]; j <= t; j++)
                sum += p[j] = exp(p[j] - top);
            for (int64_t i = 0; i < c->dim; i++) {
                double out = 0;
                for (int64_t j = list[t]; j <= t; j++)
                    out += p[j] / sum * values[j * narrow + kv * c->dim + i];
                o[t * wide + h * c->dim + i] = out;
            }
            if (lse) lse[h * c->rows + t] = top + log(sum);
        }
    }
    free(p);
}

static double attention_loss(void *arg, const double *v)
{
    const struct attention_case *c = arg;
    size_t n = (size_t)(c->rows * c->heads * c->dim);
    double *o = malloc(n * sizeof *o), sum = 0;
    ref_attention(c, v, o, NULL);
    for (size_t i = 0; i < n; i++)
        sum += o[i] * c->dout[i];
    free(o);
    return sum;
}

/* Computes the gradients of Σ o·dout, in the order of v, which is as in ref_attention. */
REFERENCE static void ref_gradient(const struct attention_case *c, const double *v, const double *o,
                                   double *gradient)
{
    int64_t wide = c->heads * c->dim, narrow = c->kv_heads * c->dim;
    const double *keys = v + c->rows * wide, *values = keys + c->rows * narrow;
    double *dkeys = gradient + c->rows * wide, *dvalues = dkeys + c->rows * narrow;
    double *p = malloc((size_t)c->rows * sizeof *p);
    for (int64_t h = 0; h < c->heads; h++) {
        int64_t column = h * c->kv_heads / c->heads * c->dim;
        const int32_t *list = h < c->split ? c->first : c->second;
        for (int64_t t = 0; t < c->rows; t++) {
            const double *q = v + t * wide + h * c->dim, *d = c->dout + t * wide + h * c->dim;
            double *dq = gradient + t * wide + h * c->dim, sum = 0, delta = 0;
            for (int64_t j = list[t]; j <= t; j++) {
                double score = 0;
                for (int64_t i = 0; i < c->dim; i++)
                    score += c->scale * q[i] * keys[j * narrow + column + i];
                sum += p[j] = exp(score);
            }
            for (int64_t i = 0; i < c->dim; i++)
                delta += o[t * wide + h * c->dim + i] * d[i];
            for (int64_t j = list[t]; j <= t; j++) {
                const double *key = keys + j * narrow + column,
                             *value = values + j * narrow + column;
                double weight = p[j] / sum, through = 0;
                for (int64_t i = 0; i < c->dim; i++)
                    through += d[i] * value[i];
                double ds = c->scale * weight * (through - delta);
                for (int64_t i = 0; i < c->dim; i++) {
                    dq[i] += ds * key[i];
                    dkeys[j * narrow + column + i] += ds * q[i];
                    dvalues[j * narrow + column + i] += weight * d[i];
                }
            }
        }
    }
    free(p);
}

static int64_t window = INT64_MAX; /* the most keys that a row sees, including its own */

/* Returns the first row that each row may attend to. Samples have the length `sample` and are cut
 * into groups, which are shifted by `shift`. */
static int32_t *make_list(int64_t rows, int64_t sample, int64_t group, int64_t shift)
{
    int32_t *list = (int32_t *)check_buffer((size_t)rows);
    for (int64_t t = 0; t < rows; t++) {
        int64_t base = t / sample * sample, at = t - base, start = 0;
        if (group) start = at < shift ? 0 : (at - shift) / group * group + shift;
        start += base;
        list[t] = (int32_t)(start > t + 1 - window ? start : t + 1 - window);
    }
    return list;
}

static void one_case(int64_t rows, int64_t heads, int64_t kv_heads, int64_t dim, int64_t sample,
                     int64_t group, bool gradients)
{
    int64_t wide = heads * dim, narrow = kv_heads * dim, stride = wide + 2 * narrow;
    size_t n = (size_t)(rows * wide), m = (size_t)(rows * narrow);
    float *qkv = check_random_buffer((size_t)(rows * stride)), *o = check_buffer(n);
    float *lse = check_buffer((size_t)(rows * heads)), *dout = check_random_buffer(n);
    struct attention_case c = { rows,
                                heads,
                                kv_heads,
                                dim,
                                make_list(rows, sample, group, 0),
                                make_list(rows, sample, group, group / 2),
                                heads / 2,
                                1 / sqrt((double)dim),
                                check_doubles(dout, n) };
    double *v = check_doubles(NULL, n + 2 * m), *exact = check_doubles(NULL, n);
    double *exact_lse = check_doubles(NULL, (size_t)(rows * heads));
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < stride; i++) {
            double x = (double)(qkv[t * stride + i] *= 2);
            if (i < wide)
                v[t * wide + i] = x;
            else if (i < wide + narrow)
                v[n + (size_t)(t * narrow + i - wide)] = x;
            else
                v[n + m + (size_t)(t * narrow + i - wide - narrow)] = x;
        }
    backend_reserve((struct shape){ .rows = rows,
                                    .chunk = rows,
                                    .dim = wide,
                                    .ffn = 8,
                                    .heads = heads,
                                    .kv_heads = kv_heads,
                                    .head_dim = dim,
                                    .vocab = 8,
                                    .has_backward = true });
    struct attention_starts starts = { c.first, c.second, c.split };
    struct mat q = mat_of(qkv, stride), key = mat_of(qkv + wide, stride);
    struct mat value = mat_of(qkv + wide + narrow, stride);
    k->attention_fwd(dev, mat_of(o, wide), lse, q, key, value, starts, rows, heads, kv_heads, dim,
                     (float)c.scale);
    ref_attention(&c, v, exact, exact_lse);
    check_close("attention_fwd o", o, exact, n, 2e-6);
    check_close("attention_fwd lse", lse, exact_lse, (size_t)(rows * heads), 1e-6);
    if (gradients) {
        double *gradient = check_doubles(NULL, n + 2 * m);
        float *dk = check_buffer(m), *dv = check_buffer(m);
        if (rows < 100)
            check_gradient(attention_loss, &c, v, n + 2 * m, gradient);
        else
            ref_gradient(&c, v, exact, gradient);
        /* As in the model, the gradients replace their inputs: dq is written over o, dk over k, dv
         * over v. */
        k->attention_bwd(dev, mat_of(o, wide), key, value, mat_of(dout, wide), mat_of(o, wide), lse,
                         q, key, value, starts, rows, heads, kv_heads, dim, (float)c.scale);
        for (int64_t t = 0; t < rows; t++) {
            memcpy(dk + t * narrow, qkv + t * stride + wide, (size_t)narrow * 4);
            memcpy(dv + t * narrow, qkv + t * stride + wide + narrow, (size_t)narrow * 4);
        }
        check_close("attention_bwd dq", o, gradient, n, 5e-6);
        check_close("attention_bwd dk", dk, gradient + n, m, 5e-6);
        check_close("attention_bwd dv", dv, gradient + n + m, m, 5e-6);
    }
    check_free_all();
}

static void test_full(void **state)
{
    (void)state;
    one_case(1, 1, 1, 2, 1, 0, true);
    one_case(17, 2, 2, 4, 17, 0, true);
    one_case(63, 1, 1, 8, 63, 0, false);
    one_case(64, 1, 1, 8, 64, 0, false);
    one_case(200, 3, 1, 32, 200, 0, false);
}

static void test_several_samples(void **state)
{
    (void)state;
    one_case(24, 2, 1, 4, 8, 0, true);
    one_case(150, 2, 2, 8, 50, 0, false);
}

static void test_shifted_short_attention(void **state)
{
    (void)state;
    one_case(22, 4, 2, 4, 22, 8, true); /* the last group is ragged */
    one_case(24, 2, 2, 4, 24, 6, true);
    one_case(300, 4, 4, 16, 150, 38, false);
    /* With an odd number of heads, the first shifted head shares its keys with an unshifted one. */
    one_case(22, 9, 3, 2, 22, 8, true);
    one_case(70, 9, 3, 8, 70, 24, false);
    one_case(12, 1, 1, 4, 12, 4, true);
}

/* Samples have lengths from 1 to four groups. A batch has one or several, and the last one is cut.
 * All results equal the definition. (A row that sees only itself has a zero gradient of q, so a
 * relative bound does not work there.) */
static void test_ragged_lengths(void **state)
{
    (void)state;
    for (int i = 0; i < 24; i++) {
        int64_t group = 2 + 2 * check_below(4), sample = 1 + check_below(4 * group);
        int64_t rows = sample + check_below(2 * sample);
        one_case(rows, 4, 1 + check_below(2), 2, sample, group, rows < 30 && sample > 2);
    }
}

static void test_grouped_queries(void **state)
{
    (void)state;
    one_case(20, 4, 1, 2, 20, 0, true);
    one_case(70, 8, 2, 4, 70, 0, false);
}

/* With a window, the first row that a row may attend to moves along with the row. It is tested with
 * one sample, with several samples, and with the groups of S2-Attn. */
static void test_windows(void **state)
{
    (void)state;
    static const int64_t windows[] = { 1, 2, 7, 33, 64 };
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        window = windows[i];
        one_case(24, 2, 1, 4, 24, 0, window > 2);
        one_case(30, 3, 1, 4, 13, 0, window > 2);
        one_case(70, 4, 2, 8, 70, 24, false);
        one_case(200, 2, 1, 32, 200, 0, false);
    }
    window = INT64_MAX;
}

/* Windows begin and end in different blocks of keys. Some queries and keys are several blocks
 * apart. */
static void test_windows_of_many_blocks(void **state)
{
    (void)state;
    static const int64_t windows[] = { 5, 100, 513, 700 };
    if (!k->is_host) return; /* the emulation takes minutes for these */
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        window = windows[i];
        one_case(1400, 2, 1, 32, 1400, 0, true);
        one_case(700, 2, 2, 16, 300, 0, true);
    }
    window = INT64_MAX;
}

/* Rows that are computed in pieces with a cache equal the definition for all rows. With a cache in
 * 16 bits, the definition uses rounded keys and values. The emulation is slow, so there pieces of
 * many rows are only put into the cache. */
static void one_cache(enum dtype type, int64_t heads, int64_t kv_heads, int64_t dim)
{
    enum { ROWS = 560, CAPACITY = ROWS + 5 };
    static const int cuts[] = { 0,   70,  71,  72,  74,  77,  140, 255, 256,
                                257, 260, 300, 511, 512, 513, 516, 520, ROWS };
    int64_t wide = heads * dim, narrow = kv_heads * dim;
    size_t n = (size_t)(ROWS * wide), m = (size_t)(ROWS * narrow);
    float *q = check_random_buffer(n), *kv = check_random_buffer(2 * m);
    float *o = check_buffer(n), *lse = check_buffer((size_t)(ROWS * heads));
    int32_t *first = make_list(ROWS, ROWS, 0, 0), *second = make_list(ROWS, ROWS, 0, 0);
    struct cache cache = { NULL, type, CAPACITY, kv_heads, dim };
    int64_t stride = 2 * narrow;
    for (int t = 71; t < ROWS && window == INT64_MAX; t++)
        second[t] = t < 300 ? 20 : t < 515 ? 200 : 513;
    for (size_t i = 0; i < 2 * m && type == DTYPE_F16; i++)
        kv[i] = f16_to_float(f16_from_float(kv[i]));
    cache.at = check_buffer((size_t)cache_elements(&cache));
    struct attention_starts starts = { first, second,
                                       heads / 3 }; /* not between two key/value heads */
    backend_reserve((struct shape){ .rows = ROWS,
                                    .chunk = ROWS,
                                    .keys = ROWS,
                                    .dim = wide,
                                    .ffn = 8,
                                    .heads = heads,
                                    .kv_heads = kv_heads,
                                    .head_dim = dim,
                                    .vocab = 8 });
    struct attention_case c = { ROWS,   heads,        kv_heads,     dim, first,
                                second, starts.split, (double)0.3f, NULL };
    double *v = check_doubles(NULL, n + 2 * m), *exact = check_doubles(NULL, n);
    double *exact_lse = check_doubles(NULL, (size_t)(ROWS * heads));
    for (size_t i = 0; i < n; i++)
        v[i] = (double)q[i];
    for (size_t i = 0; i < m; i++) {
        const float *row = kv + i / (size_t)narrow * (size_t)stride + i % (size_t)narrow;
        v[n + i] = (double)row[0];
        v[n + m + i] = (double)row[narrow];
    }
    ref_attention(&c, v, exact, exact_lse);
    for (int i = 0; cuts[i] < ROWS; i++) {
        int64_t past = cuts[i], rows = cuts[i + 1] - past;
        struct attention_starts here = { first + past, second + past, starts.split };
        k->cache_rows(dev, &cache, past, mat_of(kv + past * stride, stride), rows);
        if (!k->is_host && rows > 64) {
            for (size_t j = (size_t)(past * wide); j < (size_t)((past + rows) * wide); j++)
                o[j] = (float)exact[j];
            continue;
        }
        k->attention_decode(dev, mat_of(o + past * wide, wide), lse, mat_of(q + past * wide, wide),
                            &cache, here, past, rows, heads, 0.3f);
        for (int64_t h = 0; h < heads; h++)
            check_close("attention_cached lse", lse + h * rows, exact_lse + h * ROWS + past,
                        (size_t)rows, 2e-6);
    }
    check_close("attention_cached", o, exact, n, 2e-6);
    check_free_all();
}

static void test_cached(void **state)
{
    (void)state;
    enum dtype types[] = { k->act_type, k->cache_type };
    for (int i = 0; i < (types[0] == types[1] ? 1 : 2); i++) {
        one_cache(types[i], 6, 2, 24);
        one_cache(types[i], 2, 2, 128);
        one_cache(types[i], 7, 1, 37);
        /* With a window, the last rows see nothing in the first splits of the cache. */
        window = 3;
        one_cache(types[i], 6, 2, 24);
        window = 290;
        one_cache(types[i], 2, 1, 64);
        window = INT64_MAX;
    }
}

/* Keys that are too large for f16 become the largest f16 number, not infinity. */
static void test_cache_of_large_values(void **state)
{
    (void)state;
    enum { DIM = 24 };
    if (k->cache_type == k->act_type) return; /* nothing is rounded */
    float *kv = check_buffer(2 * DIM), *q = check_buffer(DIM), *o = check_buffer(DIM);
    float *lse = check_buffer(1);
    int32_t *list = make_list(1, 1, 0, 0);
    struct cache cache = { check_buffer(2 * DIM), DTYPE_F16, 1, 1, DIM };
    for (int i = 0; i < DIM; i++) {
        q[i] = 0.01f;
        kv[i] = i % 2 ? 1e6f : -3e5f;
        kv[DIM + i] = i % 2 ? 70000.0f : 1;
    }
    struct shape shape = small_shape(1, DIM);
    shape.keys = 1;
    shape.head_dim = DIM;
    backend_reserve(shape);
    k->cache_rows(dev, &cache, 0, mat_of(kv, 2 * DIM), 1);
    k->attention_decode(dev, mat_of(o, DIM), lse, mat_of(q, DIM), &cache,
                        (struct attention_starts){ list, list, 1 }, 0, 1, 1, 0.1f);
    for (int i = 0; i < DIM; i++)
        assert_true(o[i] == (i % 2 ? 65504.0f : 1.0f));
    check_free_all();
}

/* There are more rows than one tile. Rows attend to keys of other tiles, so gradients of several
 * tiles are added. */
static void test_gradients_beyond_one_tile(void **state)
{
    (void)state;
    one_case(80, 2, 1, 2, 80, 40, true);
}

/* The range of keys of a row begins in one block of keys, ends in another one, and does not touch
 * the rest. */
static void test_many_blocks(void **state)
{
    (void)state;
    if (!k->is_host) return; /* the emulation takes minutes for these */
    one_case(700, 4, 2, 32, 700, 540, true);
    one_case(1100, 2, 2, 64, 1100, 0, true);
    one_case(600, 2, 1, 16, 200, 50, true);
    one_case(333, 3, 1, 24, 333, 90, true);
    one_case(530, 1, 1, 128, 530, 0, true);
}

/* Nine query heads share three heads of keys, and the same five are shifted as in LongLoRA's code
 * (tests/golden/odd_heads.py). In that code the first half group of the shifted heads also sees the
 * last half group. Its outputs differ from ours, so they are not compared, and their dout is zero.
 */
static void test_longlora_shifts_the_larger_half(void **state)
{
    (void)state;
    enum { ROWS = 32, GROUP = 8, HEADS = 9, KEYS = 3, DIM = 8, WIDE = HEADS * DIM };
    enum { NARROW = KEYS * DIM, N = ROWS * WIDE, M = ROWS * NARROW };
    struct fail why;
    struct tensor_file golden;
    float *q = check_buffer(N), *key = check_buffer(M), *value = check_buffer(M);
    float *dout = check_buffer(N), *o = check_buffer(N), *lse = check_buffer(ROWS * HEADS);
    for (int i = 0; i < N; i++) {
        q[i] = (float)(2 * synthetic_number(7001, (uint64_t)i));
        bool is_wrapped = i / WIDE < GROUP / 2 && i % WIDE >= HEADS / 2 * DIM;
        dout[i] = is_wrapped ? 0 : (float)(2 * synthetic_number(7004, (uint64_t)i));
    }
    for (int i = 0; i < M; i++) {
        key[i] = (float)(2 * synthetic_number(7002, (uint64_t)i));
        value[i] = (float)(2 * synthetic_number(7003, (uint64_t)i));
    }
    assert_int_equal(safetensors_open(&golden, "tests/golden/longlora/odd-heads.safetensors", &why),
                     0);
    float *exact = check_buffer(N);
    memcpy(exact, tensor_file_find(&golden, "o")->data, N * sizeof *exact);
    backend_reserve((struct shape){ .rows = ROWS,
                                    .chunk = ROWS,
                                    .dim = WIDE,
                                    .ffn = 8,
                                    .heads = HEADS,
                                    .kv_heads = KEYS,
                                    .head_dim = DIM,
                                    .vocab = 8,
                                    .has_backward = true });
    struct attention_starts starts = { make_list(ROWS, ROWS, GROUP, 0),
                                       make_list(ROWS, ROWS, GROUP, GROUP / 2), HEADS / 2 };
    float scale = (float)(1 / sqrt((double)DIM));
    k->attention_fwd(dev, mat_of(o, WIDE), lse, mat_of(q, WIDE), mat_of(key, NARROW),
                     mat_of(value, NARROW), starts, ROWS, HEADS, KEYS, DIM, scale);
    for (int t = 0; t < GROUP / 2; t++)
        for (int i = HEADS / 2 * DIM; i < WIDE; i++)
            exact[t * WIDE + i] = o[t * WIDE + i];
    check_close("o", o, check_doubles(exact, N), N, 2e-6);
    k->attention_bwd(dev, mat_of(o, WIDE), mat_of(key, NARROW), mat_of(value, NARROW),
                     mat_of(dout, WIDE), mat_of(o, WIDE), lse, mat_of(q, WIDE), mat_of(key, NARROW),
                     mat_of(value, NARROW), starts, ROWS, HEADS, KEYS, DIM, scale);
    check_close("dq", o, check_doubles(tensor_file_find(&golden, "dq")->data, N), N, 5e-6);
    check_close("dk", key, check_doubles(tensor_file_find(&golden, "dk")->data, M), M, 5e-6);
    check_close("dv", value, check_doubles(tensor_file_find(&golden, "dv")->data, M), M, 5e-6);
    tensor_file_close(&golden);
    check_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_full, buffers_close),
        cmocka_unit_test_teardown(test_several_samples, buffers_close),
        cmocka_unit_test_teardown(test_shifted_short_attention, buffers_close),
        cmocka_unit_test_teardown(test_longlora_shifts_the_larger_half, buffers_close),
        cmocka_unit_test_teardown(test_ragged_lengths, buffers_close),
        cmocka_unit_test_teardown(test_grouped_queries, buffers_close),
        cmocka_unit_test_teardown(test_windows, buffers_close),
        cmocka_unit_test_teardown(test_windows_of_many_blocks, buffers_close),
        cmocka_unit_test_teardown(test_cached, buffers_close),
        cmocka_unit_test_teardown(test_cache_of_large_values, buffers_close),
        cmocka_unit_test_teardown(test_gradients_beyond_one_tile, buffers_close),
        cmocka_unit_test_teardown(test_many_blocks, buffers_close),
    };
    return cmocka_run_group_tests(tests, backend_open, backend_close);
}
