/* Tests the head with its loss, AdamW, sums, and the check for finite values. */
#include "lib/common/bf16.h"
#include "tests/lib/backend.h"

#include <math.h>

struct head_case {
    int64_t rows, vocab, dim;
    const int32_t *target;
    double scale, dscale; /* factors of the logits and of the gradient */
};

/* v consists of x [rows, dim], then W [vocab, dim]. */
static double head_loss_ref(void *arg, const double *v)
{
    const struct head_case *c = arg;
    const double *w = v + c->rows * c->dim;
    double *z = malloc((size_t)c->vocab * sizeof *z), loss = 0;
    for (int64_t t = 0; t < c->rows; t++) {
        double top = -INFINITY, sum = 0;
        if (c->target[t] < 0) continue;
        for (int64_t o = 0; o < c->vocab; o++) {
            z[o] = 0;
            for (int64_t i = 0; i < c->dim; i++)
                z[o] += c->scale * v[t * c->dim + i] * w[o * c->dim + i];
            if (z[o] > top) top = z[o];
        }
        for (int64_t o = 0; o < c->vocab; o++)
            sum += exp(z[o] - top);
        loss += top + log(sum) - z[c->target[t]];
    }
    free(z);
    return c->dscale * loss;
}

static void one_head(int64_t rows, int64_t vocab, int64_t dim, double scale)
{
    size_t n = (size_t)(rows * dim), m = (size_t)(vocab * dim);
    float *x = check_random_buffer(n), *w = check_random_buffer(m), *dx = check_buffer(n);
    float *dw = check_random_buffer(m), *nll = check_buffer((size_t)rows);
    float *logits = check_buffer((size_t)(rows * vocab));
    int32_t *target = (int32_t *)check_buffer((size_t)rows);
    double *v = check_doubles(NULL, n + m), *gradient = check_doubles(NULL, n + m);
    double *dw0 = check_doubles(dw, m), *exact = check_doubles(NULL, (size_t)rows);
    for (int64_t t = 0; t < rows; t++)
        target[t] = t % 5 == 3 ? -1 : (int32_t)check_below(vocab);
    for (size_t i = 0; i < n + m; i++)
        v[i] = (double)(i < n ? x[i] : w[i - n]);
    struct shape shape = small_shape(rows, dim);
    shape.vocab = vocab;
    shape.has_backward = true;
    backend_reserve(shape);
    struct linear head = { .type = DTYPE_F32, .weight = w, .out = vocab, .in = dim };
    struct head_case c = { rows, vocab, dim, target, scale, 0.25 };
    k->head_loss(dev, nll, mat_of(dx, dim), mat_of(NULL, 0), dw, mat_of(x, dim), &head,
                 (float)scale, target, rows, 0.25f);
    check_gradient(head_loss_ref, &c, v, n + m, gradient);
    check_close("head_loss dx", dx, gradient, n, 3e-6);
    for (size_t i = 0; i < m; i++)
        gradient[n + i] += dw0[i];
    check_close("head_loss dweight", dw, gradient + n, m, 3e-6);
    for (int64_t t = 0; t < rows; t++) {
        struct head_case one = { 1, vocab, dim, target + t, scale, 1 };
        double *alone = malloc(((size_t)dim + m) * sizeof *alone);
        memcpy(alone, v + t * dim, (size_t)dim * sizeof *alone);
        memcpy(alone + dim, v + n, m * sizeof *alone);
        exact[t] = head_loss_ref(&one, alone);
        free(alone);
    }
    check_close("head_loss nll", nll, exact, (size_t)rows, 1e-6);
    /* Without gradients, as in an evaluation, the losses are the same. */
    float *again = check_buffer((size_t)rows);
    k->head_loss(dev, again, mat_of(NULL, 0), mat_of(NULL, 0), NULL, mat_of(x, dim), &head,
                 (float)scale, target, rows, 0);
    assert_memory_equal(again, nll, (size_t)rows * sizeof *nll);
    k->head_logits(dev, logits, mat_of(x, dim), &head, rows);
    double *z = check_doubles(NULL, (size_t)(rows * vocab));
    for (int64_t t = 0; t < rows; t++)
        for (int64_t o = 0; o < vocab; o++)
            for (int64_t i = 0; i < dim; i++)
                z[t * vocab + o] += v[t * dim + i] * v[n + (size_t)(o * dim + i)];
    check_close("head_logits", logits, z, (size_t)(rows * vocab), 1e-6);
    /* A head that is stored in 16 bits gives the logits of the rounded weights. */
    uint16_t *half = (uint16_t *)check_buffer(m);
    for (size_t i = 0; i < m; i++)
        w[i] = bf16_to_float(half[i] = bf16_from_float(w[i]));
    struct linear stored = { .type = DTYPE_BF16, .weight = half, .out = vocab, .in = dim };
    shape.has_backward = false;
    backend_reserve(shape);
    k->head_logits(dev, logits, mat_of(x, dim), &head, rows);
    float *from_stored = check_buffer((size_t)(rows * vocab));
    shape.head_type = DTYPE_BF16;
    backend_reserve(shape);
    k->head_logits(dev, from_stored, mat_of(x, dim), &stored, rows);
    check_close("head_logits, bf16", from_stored, check_doubles(logits, (size_t)(rows * vocab)),
                (size_t)(rows * vocab), 2e-6);
    check_free_all();
}

static void test_head(void **state)
{
    (void)state;
    one_head(1, 3, 8, 1);
    one_head(70, 11, 8, 1.7);
    one_head(5, 130, 16, 0.6);
}

/* More rows than one chunk of logits holds. */
static void test_head_in_chunks(void **state)
{
    (void)state;
    enum { ROWS = 260, VOCAB = 66000, DIM = 8 };
    float *x = check_random_buffer(ROWS * DIM), *w = check_random_buffer(VOCAB * DIM);
    float *nll = check_buffer(ROWS), *one = check_buffer(1);
    int32_t *target = (int32_t *)check_buffer(ROWS);
    for (int i = 0; i < ROWS; i++)
        target[i] = (int32_t)check_below(VOCAB);
    struct linear head = { .type = DTYPE_F32, .weight = w, .out = VOCAB, .in = DIM };
    struct shape shape = small_shape(ROWS, DIM);
    shape.vocab = VOCAB;
    backend_reserve(shape);
    k->head_loss(dev, nll, mat_of(NULL, 0), mat_of(NULL, 0), NULL, mat_of(x, DIM), &head, 1, target,
                 ROWS, 0);
    static const int seen[] = { 0, 100, 255, 256, 259 };
    for (size_t s = 0; s < sizeof seen / sizeof *seen; s++) {
        int i = seen[s];
        struct head_case c = { 1, VOCAB, DIM, target + i, 1, 1 };
        double *v = check_doubles(NULL, DIM + VOCAB * DIM);
        for (int j = 0; j < DIM + VOCAB * DIM; j++)
            v[j] = (double)(j < DIM ? x[i * DIM + j] : w[j - DIM]);
        double exact = head_loss_ref(&c, v);
        one[0] = nll[i];
        check_close("nll", one, &exact, 1, 1e-6);
    }
}

/* Compares the gradients of x and of the weights with their formulas. The sizes are so large that a
 * task has only a part of them. */
REFERENCE static void one_wide_head(int rows, int vocab, int dim)
{
    size_t n = (size_t)(rows * dim), m = (size_t)(vocab * dim);
    float *x = check_random_buffer(n), *w = check_random_buffer(m);
    float *dx = check_buffer(n), *dw = check_buffer(m);
    float *nll = check_buffer((size_t)rows);
    double *exact = check_doubles(NULL, (size_t)rows), *exact_dx = check_doubles(NULL, n);
    double *exact_dw = check_doubles(NULL, m), *z = check_doubles(NULL, (size_t)vocab);
    int32_t *target = (int32_t *)check_buffer((size_t)rows);
    for (int i = 0; i < vocab * dim; i++)
        w[i] *= 0.05f;
    for (int t = 0; t < rows; t++) {
        double sum = 0;
        target[t] = (int32_t)check_below(vocab);
        for (int o = 0; o < vocab; o++) {
            z[o] = 0;
            for (int i = 0; i < dim; i++)
                z[o] += (double)x[t * dim + i] * (double)w[o * dim + i];
            sum += exp(z[o]);
        }
        exact[t] = log(sum) - z[target[t]];
        for (int o = 0; o < vocab; o++) {
            double d = 0.25 * (exp(z[o]) / sum - (o == target[t]));
            for (int i = 0; i < dim; i++) {
                exact_dx[t * dim + i] += d * (double)w[o * dim + i];
                exact_dw[o * dim + i] += d * (double)x[t * dim + i];
            }
        }
    }
    struct linear head = { .type = DTYPE_F32, .weight = w, .out = vocab, .in = dim };
    struct shape shape = small_shape(rows, dim);
    shape.vocab = vocab;
    shape.has_backward = true;
    backend_reserve(shape);
    k->head_loss(dev, nll, mat_of(dx, dim), mat_of(NULL, 0), dw, mat_of(x, dim), &head, 1, target,
                 rows, 0.25f);
    check_close("head_loss nll", nll, exact, (size_t)rows, 1e-6);
    check_close("head_loss dx", dx, exact_dx, n, 3e-6);
    check_close("head_loss dweight", dw, exact_dw, m, 3e-6);
    check_free_all();
}

static void test_wide_head(void **state)
{
    (void)state;
    if (!k->is_host) return; /* the emulation takes minutes for these */
    one_wide_head(70, 1100, 1040);
    /* There are more rows than the patch of the result that one task computes, and more words than
     * the block of the inner dimension that a product sums at once. */
    one_wide_head(260, 2100, 520);
    one_wide_head(20, 40, 2090); /* more columns than that block */
}

static void test_adamw(void **state)
{
    (void)state;
    enum { N = 40000 };
    float *p = check_random_buffer(N), *m = check_buffer(N), *v = check_buffer(N);
    double *rp = check_doubles(p, N), *rm = check_doubles(NULL, N), *rv = check_doubles(NULL, N);
    for (int step = 1; step <= 5; step++) {
        float *g = check_random_buffer(N);
        double *rg = check_doubles(g, N);
        k->adamw(dev, p, m, v, g, N, 0.01f, 0.9f, 0.99f, 1e-8f, 0.1f, step, 0.5f);
        for (int i = 0; i < N; i++) {
            double d = rg[i] * 0.5;
            rm[i] = 0.9 * rm[i] + 0.1 * d;
            rv[i] = 0.99 * rv[i] + 0.01 * d * d;
            double mean = rm[i] / (1 - pow(0.9, step)), square = rv[i] / (1 - pow(0.99, step));
            rp[i] = rp[i] * (1 - 0.01 * 0.1) - 0.01 * mean / (sqrt(square) + 1e-8);
            assert_true(g[i] == 0);
        }
    }
    check_close("adamw p", p, rp, N, 1e-6);
    check_close("adamw m", m, rm, N, 1e-6);
    check_close("adamw v", v, rv, N, 1e-5);
}

static void test_sum_squares(void **state)
{
    (void)state;
    static const int64_t counts[] = { 0, 1, 1023, 1024, 1025, 70000 };
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        float *g = check_random_buffer((size_t)counts[c] + 1);
        double exact = 0, sum = -1;
        for (int64_t i = 0; i < counts[c]; i++)
            exact += (double)g[i] * (double)g[i];
        k->sum_squares(dev, &sum, g, counts[c]);
        assert_true(fabs(sum - exact) <= 1e-12 * (exact + 1));
        g[0] = NAN;
        k->sum_squares(dev, &sum, g, counts[c]);
        assert_true(counts[c] ? isnan(sum) : sum == 0);
    }
}

/* Each piece has a sum of its own. A value that is not finite changes only its own piece's sum. */
static void test_square_pieces(void **state)
{
    (void)state;
    static const int64_t counts[] = { 0, 1, SQUARES_PIECE, SQUARES_PIECE + 1, 70000 };
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        int64_t count = counts[c], pieces = (count + SQUARES_PIECE - 1) / SQUARES_PIECE;
        float *g = check_random_buffer((size_t)count + 1);
        double *squares = (double *)(void *)check_buffer(2 * (size_t)pieces);
        if (count) g[count - 1] = INFINITY;
        k->square_pieces(dev, squares, g, count);
        for (int64_t p = 0; p < pieces; p++) {
            int64_t end = (p + 1) * SQUARES_PIECE < count ? (p + 1) * SQUARES_PIECE : count;
            double exact = 0;
            for (int64_t i = p * SQUARES_PIECE; i < end; i++)
                exact += (double)g[i] * (double)g[i];
            assert_true(end == count ? isinf(squares[p])
                                     : fabs(squares[p] - exact) <= 1e-12 * exact);
        }
    }
    check_free_all();
}

static void test_fold(void **state)
{
    (void)state;
    static const int64_t counts[] = { 0, 1, 255, 70000 };
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        size_t count = (size_t)counts[c];
        float *sum = check_random_buffer(count + 1), *g = check_random_buffer(count + 1);
        float *before = malloc((count + 1) * sizeof *before);
        memcpy(before, sum, (count + 1) * sizeof *before);
        k->fold(dev, sum, g, counts[c]);
        for (size_t i = 0; i < count; i++)
            assert_true(sum[i] == before[i] + g[i]);
        assert_true(sum[count] == before[count]);
        free(before);
    }
    check_free_all();
}

static void test_finite_check_names_the_first(void **state)
{
    (void)state;
    struct fail why;
    float x[6] = { 1, 2, 3, 4, 5, 6 };
    k->finite_check(dev, "h", mat_of(x, 3), 2, 3);
    assert_int_equal(k->sync(dev, &why), 0);
    x[4] = INFINITY;
    k->finite_check(dev, "h", mat_of(x, 3), 2, 3);
    x[0] = NAN;
    k->finite_check(dev, "later", mat_of(x, 3), 2, 3);
    assert_int_equal(k->sync(dev, &why), -1);
    assert_ptr_equal(strstr(why.text, "h: row 1, column 1 is "), why.text);
    assert_int_equal(k->sync(dev, &why), 0);
}

/* A backend must have every operation. */
static void test_every_operation_is_present(void **state)
{
    (void)state;
    const void *const *entry = (const void *const *)(const void *)&k->open;
    const void *const *end = (const void *const *)(const void *)(k + 1);
    for (; entry < end; entry++)
        assert_non_null(*entry);
    assert_int_equal(k->version, KERNELS_VERSION);
    assert_int_equal(k->size, sizeof *k);
    struct fail why;
    const struct kernels *other;
    if (kernels_open(&other, "cuda", &why)) assert_non_null(strstr(why.text, "kernels-cuda.so"));
}

/* reserve takes as many bytes as plan says. */
static void test_casts_and_memory(void **state)
{
    (void)state;
    struct fail why;
    void *mem;
    float host[4] = { 1, 2, 3, 4 }, back[4];
    assert_int_equal(k->alloc(dev, &mem, 64, &why), 0);
    k->cast_in(dev, mat_of(mem, 3), host, 2, 2);
    k->cast_out(dev, back, mat_of(mem, 3), 2, 2);
    assert_memory_equal(host, back, sizeof host);
    k->upload(dev, mem, host, sizeof host);
    k->zero(dev, mem, 8);
    k->download(dev, back, mem, sizeof back);
    assert_true(back[0] == 0 && back[1] == 0 && back[2] == 3 && back[3] == 4);
    k->release(dev, mem, 64);
    assert_int_equal(k->alloc(dev, &mem, (size_t)1 << 60, &why), -1);
    assert_non_null(strstr(why.text, "out of memory"));
    k->release(dev, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_head, buffers_close),
        cmocka_unit_test_teardown(test_head_in_chunks, buffers_close),
        cmocka_unit_test_teardown(test_wide_head, buffers_close),
        cmocka_unit_test_teardown(test_adamw, buffers_close),
        cmocka_unit_test_teardown(test_sum_squares, buffers_close),
        cmocka_unit_test_teardown(test_square_pieces, buffers_close),
        cmocka_unit_test_teardown(test_fold, buffers_close),
        cmocka_unit_test(test_finite_check_names_the_first),
        cmocka_unit_test(test_every_operation_is_present),
        cmocka_unit_test(test_casts_and_memory),
    };
    return cmocka_run_group_tests(tests, backend_open, backend_close);
}
