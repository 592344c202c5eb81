/* RMSNorm, RoPE, SwiGLU, GEGLU and embedding are compared with double precision and finite
 * differences. */
#include "tests/lib/backend.h"

#include <math.h>

static const int64_t row_counts[] = { 1, 31, 32, 33, 70 };

/* ---- RMSNorm ---- */

struct norm_case {
    int64_t rows, dim;
    const double *gain, *dy;
    const double *x;
    bool over_gain; /* differentiate with respect to the gain instead of x */
};

static void ref_norm(double *y, const double *x, const double *gain, int64_t rows, int64_t dim)
{
    for (int64_t t = 0; t < rows; t++) {
        double sum = 0;
        for (int64_t i = 0; i < dim; i++)
            sum += x[t * dim + i] * x[t * dim + i];
        double rstd = 1 / sqrt(sum / (double)dim + 1e-5);
        for (int64_t i = 0; i < dim; i++)
            y[t * dim + i] = x[t * dim + i] * rstd * gain[i];
    }
}

static double norm_loss(void *arg, const double *v)
{
    const struct norm_case *c = arg;
    double *y = malloc((size_t)(c->rows * c->dim) * sizeof *y), sum = 0;
    ref_norm(y, c->over_gain ? c->x : v, c->over_gain ? v : c->gain, c->rows, c->dim);
    for (int64_t i = 0; i < c->rows * c->dim; i++)
        sum += y[i] * c->dy[i];
    free(y);
    return sum;
}

static void one_norm(int64_t rows, int64_t dim)
{
    size_t n = (size_t)(rows * dim);
    float *x = check_random_buffer(n), *gain = check_random_buffer((size_t)dim);
    float *dy = check_random_buffer(n), *y = check_buffer(n), *rstd = check_buffer((size_t)rows);
    float *dx = check_random_buffer(n), *dgain = check_random_buffer((size_t)dim);
    double *exact = check_doubles(NULL, n), *dx0 = check_doubles(dx, n);
    double *dgain0 = check_doubles(dgain, (size_t)dim),
           *gradient = check_doubles(NULL, n + (size_t)dim);
    struct norm_case c = {
        rows, dim, check_doubles(gain, (size_t)dim), check_doubles(dy, n), check_doubles(x, n),
        false
    };
    k->rmsnorm_fwd(dev, mat_of(y, dim), rstd, mat_of(x, dim), gain, rows, dim, 1e-5f);
    ref_norm(exact, c.x, c.gain, rows, dim);
    check_close("rmsnorm_fwd", y, exact, n, 1e-6);
    k->rmsnorm_bwd(dev, mat_of(dx, dim), dgain, mat_of(dy, dim), mat_of(x, dim), rstd, gain, rows,
                   dim);
    check_gradient(norm_loss, &c, c.x, n, gradient);
    for (size_t i = 0; i < n; i++)
        gradient[i] += dx0[i];
    check_close("rmsnorm_bwd dx", dx, gradient, n, 3e-6);
    c.over_gain = true;
    check_gradient(norm_loss, &c, c.gain, (size_t)dim, gradient);
    for (int64_t i = 0; i < dim; i++)
        gradient[i] += dgain0[i];
    check_close("rmsnorm_bwd dgain", dgain, gradient, (size_t)dim, 3e-6);
    check_free_all();
}

static void test_rmsnorm(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++)
        one_norm(row_counts[i], 1 + check_below(40));
    one_norm(3, 257);
}

static void one_norm_added(int64_t rows, int64_t dim, bool in_place)
{
    size_t n = (size_t)(rows * dim);
    float *x = check_random_buffer(n), *gain = check_random_buffer((size_t)dim);
    float *residual = check_random_buffer(n), *y = in_place ? residual : check_buffer(n);
    double *exact = check_doubles(NULL, n), *before = check_doubles(residual, n);
    ref_norm(exact, check_doubles(x, n), check_doubles(gain, (size_t)dim), rows, dim);
    for (size_t i = 0; i < n; i++)
        exact[i] += before[i];
    k->rmsnorm_add(dev, mat_of(y, dim), mat_of(x, dim), mat_of(residual, dim), gain, rows, dim,
                   1e-5f);
    check_close("rmsnorm_add", y, exact, n, 1e-6);
    check_free_all();
}

static void test_rmsnorm_added_to_a_residual(void **state)
{
    (void)state;
    one_norm_added(1, 1, false);
    one_norm_added(33, 24, true);
    one_norm_added(3, 257, false);
}

/* ---- RMSNorm of each head ---- */

/* Copies the heads of a matrix into the rows of another one. The rows of the first matrix may be
 * longer than its heads together. */
static double *heads_of(const float *x, int64_t rows, int64_t heads, int64_t dim, int64_t stride)
{
    double *dense = check_doubles(NULL, (size_t)(rows * heads * dim));
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < heads * dim; i++)
            dense[t * heads * dim + i] = (double)x[t * stride + i];
    return dense;
}

static void check_heads(const char *what, const float *got, const double *exact, int64_t rows,
                        int64_t width, int64_t stride)
{
    float *dense = check_buffer((size_t)(rows * width));
    for (int64_t t = 0; t < rows; t++)
        memcpy(dense + t * width, got + t * stride, (size_t)width * sizeof *got);
    check_close(what, dense, exact, (size_t)(rows * width), 3e-6);
}

static void one_head_norm(int64_t rows, int64_t heads, int64_t dim, bool in_place)
{
    int64_t width = heads * dim, stride = width + 3, wide = width + 5;
    size_t n = (size_t)(rows * width);
    float *x = check_random_buffer((size_t)(rows * stride)),
          *gain = check_random_buffer((size_t)dim);
    float *dy = check_random_buffer((size_t)(rows * wide)),
          *y = check_buffer((size_t)(rows * wide));
    float *dgain = check_random_buffer((size_t)dim);
    double *exact = check_doubles(NULL, n), *dgain0 = check_doubles(dgain, (size_t)dim);
    double *gradient = check_doubles(NULL, n + (size_t)dim);
    struct norm_case c = { rows * heads,
                           dim,
                           check_doubles(gain, (size_t)dim),
                           heads_of(dy, rows, heads, dim, wide),
                           heads_of(x, rows, heads, dim, stride),
                           false };
    struct shape shape = small_shape(rows, width);
    shape.heads = heads, shape.kv_heads = heads, shape.head_dim = dim;
    shape.has_backward = true;
    backend_reserve(shape);
    k->rmsnorm_heads_fwd(dev, mat_of(y, wide), mat_of(x, stride), gain, rows, heads, dim, 1e-5f);
    ref_norm(exact, c.x, c.gain, c.rows, dim);
    check_heads("rmsnorm_heads_fwd", y, exact, rows, width, wide);
    check_gradient(norm_loss, &c, c.x, n, gradient);
    struct mat dx = in_place ? mat_of(x, stride) : mat_of(y, wide);
    k->rmsnorm_heads_bwd(dev, dx, dgain, mat_of(dy, wide), mat_of(x, stride), gain, rows, heads,
                         dim, 1e-5f);
    check_heads("rmsnorm_heads_bwd dx", in_place ? x : y, gradient, rows, width,
                in_place ? stride : wide);
    c.over_gain = true;
    check_gradient(norm_loss, &c, c.gain, (size_t)dim, gradient);
    for (int64_t i = 0; i < dim; i++)
        gradient[i] += dgain0[i];
    check_close("rmsnorm_heads_bwd dgain", dgain, gradient, (size_t)dim, 3e-6);
    check_free_all();
}

static void test_rmsnorm_of_each_head(void **state)
{
    (void)state;
    one_head_norm(1, 1, 2, false);
    one_head_norm(5, 9, 6, true);
    one_head_norm(70, 3, 8, true);
    one_head_norm(3, 2, 130, false);
    one_head_norm(2, 1, 256, true);
    /* one head that is as wide as the row */
    one_head_norm(9, 1, 264, true);
    one_head_norm(3, 2, 257, false);
}

static void test_rmsnorm_of_zeros_is_zero(void **state)
{
    (void)state;
    float *x = check_buffer(64), *gain = check_random_buffer(64), *y = check_random_buffer(64);
    float rstd;
    k->rmsnorm_fwd(dev, mat_of(y, 64), &rstd, mat_of(x, 64), gain, 1, 64, 1e-5f);
    for (int i = 0; i < 64; i++)
        assert_true(y[i] == 0);
}

/* ---- RoPE ---- */

static void test_rope(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof row_counts / sizeof *row_counts; c++) {
        int64_t rows = row_counts[c], heads = 1 + check_below(3), dim = 2 * (1 + check_below(9));
        int64_t rotated = c % 2 ? dim : 2 * (1 + check_below(dim / 2)), stride = heads * dim + 3;
        if (c % 3 == 2) { /* a GPU copies these sixteen bytes at a time */
            dim = 40;
            rotated = 16;
            stride = heads * dim + 8;
        }
        int64_t half = rotated / 2;
        size_t n = (size_t)(rows * stride);
        float *x = check_random_buffer(n), *cos = check_random_buffer((size_t)(50 * half));
        float *sin = check_random_buffer((size_t)(50 * half));
        int32_t *position = (int32_t *)check_buffer((size_t)rows);
        double *exact = check_doubles(x, n), *before = check_doubles(x, n);
        for (int64_t t = 0; t < rows; t++) {
            position[t] = (int32_t)check_below(50);
            for (int64_t h = 0; h < heads; h++)
                for (int64_t i = 0; i < half; i++) {
                    double *low = exact + t * stride + h * dim + i, a = low[0], b = low[half];
                    double co = (double)cos[position[t] * half + i];
                    double si = (double)sin[position[t] * half + i];
                    low[0] = a * co - b * si;
                    low[half] = b * co + a * si;
                }
        }
        float *out = check_buffer(n);
        memcpy(out, x, n * sizeof *x);
        k->rope_apply(dev, mat_of(out, stride), mat_of(x, stride), cos, sin, position, rows, heads,
                      dim, rotated, 1);
        check_close("rope_apply to another place", out, exact, n, 2e-7);
        check_close("rope_apply's input", x, before, n, 0);
        k->rope_apply(dev, mat_of(x, stride), mat_of(x, stride), cos, sin, position, rows, heads,
                      dim, rotated, 1);
        assert_memory_equal(out, x, n * sizeof *x);
        /* With real cosines and sines, rotating back gives the input, because the backward is the
         * transpose. */
        for (int64_t i = 0; i < 50 * half; i++) {
            double angle = check_random() * 3;
            cos[i] = cosf((float)angle);
            sin[i] = sinf((float)angle);
        }
        for (size_t i = 0; i < n; i++)
            x[i] = (float)before[i];
        k->rope_apply(dev, mat_of(x, stride), mat_of(x, stride), cos, sin, position, rows, heads,
                      dim, rotated, 1);
        k->rope_apply(dev, mat_of(x, stride), mat_of(x, stride), cos, sin, position, rows, heads,
                      dim, rotated, -1);
        check_close("rope_apply back", x, before, n, 5e-7);
        check_free_all();
    }
}

/* ---- copies ---- */

static void test_copies(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof row_counts / sizeof *row_counts; c++) {
        int64_t rows = row_counts[c], cols = 8 * (1 + check_below(40)) + (c % 2 ? 0 : 3);
        int64_t from = cols + 5, to = (cols + 15) / 8 * 8;
        float *in = check_random_buffer((size_t)(rows * from));
        float *out = check_random_buffer((size_t)(rows * to));
        double *exact = check_doubles(out, (size_t)(rows * to));
        for (int64_t t = 0; t < rows; t++)
            for (int64_t i = 0; i < cols; i++)
                exact[t * to + i] = (double)in[t * from + i];
        k->copy_rows(dev, mat_of(out, to), mat_of(in, from), rows, cols);
        check_close("copy_rows", out, exact, (size_t)(rows * to), 0);
        check_free_all();
    }
}

/* ---- multiplying by a factor ---- */

static void test_scale_add(void **state)
{
    (void)state;
    for (size_t c = 0; c < 2 * sizeof row_counts / sizeof *row_counts; c++) {
        int64_t rows = row_counts[c / 2], cols = 8 * (1 + check_below(40)) + (c % 2 ? 0 : 3);
        int64_t from = cols + 5, to = (cols + 15) / 8 * 8;
        float *x = check_random_buffer((size_t)(rows * from));
        float *out = check_random_buffer((size_t)(rows * to));
        double *alone = check_doubles(out, (size_t)(rows * to));
        double *sum = check_doubles(out, (size_t)(rows * to));
        for (int64_t t = 0; t < rows; t++)
            for (int64_t i = 0; i < cols; i++) {
                alone[t * to + i] = 0.3 * (double)x[t * from + i];
                sum[t * to + i] = 1.3 * alone[t * to + i];
            }
        k->scale_add(dev, mat_of(out, to), mat_of(NULL, 0), mat_of(x, from), 0.3f, rows, cols);
        check_close("scale_add", out, alone, (size_t)(rows * to), 1e-6);
        /* out may be the same matrix as x or residual. Here it is both. */
        k->scale_add(dev, mat_of(out, to), mat_of(out, to), mat_of(out, to), 0.3f, rows, cols);
        check_close("scale_add, in place", out, sum, (size_t)(rows * to), 1e-6);
        check_free_all();
    }
}

/* ---- SwiGLU and GEGLU ---- */

static double silu(double x) { return x / (1 + exp(-x)); }

static double gelu_tanh(double x)
{
    return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

struct gate_case {
    double (*activation)(double x);
    const double *ds;
    size_t n;
};

static double gate_loss(void *arg, const double *v)
{
    const struct gate_case *c = arg;
    double sum = 0;
    for (size_t i = 0; i < c->n; i++)
        sum += c->ds[i] * c->activation(v[i]) * v[c->n + i];
    return sum;
}

typedef void (*gate_fwd)(struct device *, struct mat, struct mat, struct mat, int64_t, int64_t);

static void check_gate(double (*activation)(double), gate_fwd fwd, gate_fwd bwd)
{
    for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++) {
        /* The time of finite differences grows with the square of the number of elements. */
        int64_t rows = row_counts[r], cols = 1 + check_below(rows > 16 ? 8 : 40);
        size_t n = (size_t)(rows * cols);
        float *gate = check_buffer(n), *up = check_random_buffer(n), *s = check_buffer(n);
        float *ds = check_random_buffer(n);
        for (size_t i = 0; i < n; i++)
            gate[i] = (float)(8 * check_random());
        double *v = check_doubles(NULL, 2 * n), *gradient = check_doubles(NULL, 2 * n);
        double *exact = check_doubles(NULL, n);
        for (size_t i = 0; i < n; i++) {
            v[i] = (double)gate[i];
            v[n + i] = (double)up[i];
            exact[i] = activation(v[i]) * v[n + i];
        }
        fwd(dev, mat_of(s, cols), mat_of(gate, cols), mat_of(up, cols), rows, cols);
        check_close("fwd", s, exact, n, 5e-7);
        struct gate_case c = { activation, check_doubles(ds, n), n };
        check_gradient(gate_loss, &c, v, 2 * n, gradient);
        bwd(dev, mat_of(ds, cols), mat_of(gate, cols), mat_of(up, cols), rows, cols);
        assert_memory_equal(ds, s, n * sizeof *s);
        check_close("bwd dgate", gate, gradient, n, 1e-6);
        check_close("bwd dup", up, gradient + n, n, 1e-6);
        check_free_all();
    }
}

static void test_swiglu(void **state)
{
    (void)state;
    check_gate(silu, k->swiglu_fwd, k->swiglu_bwd);
}

static void test_geglu(void **state)
{
    (void)state;
    check_gate(gelu_tanh, k->geglu_fwd, k->geglu_bwd);
}

static void test_geglu_of_extremes(void **state)
{
    (void)state;
    float gate[5] = { -1e30f, 1e30f, -200, 0, 40 }, up[5] = { 1, 1, 1, 1, 1 }, s[5];
    float ds[5] = { 1, 1, 1, 1, 1 };
    k->geglu_fwd(dev, mat_of(s, 5), mat_of(gate, 5), mat_of(up, 5), 1, 5);
    assert_true(fabsf(s[0]) < 1e-6f && s[1] == 1e30f && fabsf(s[2]) < 1e-30f && s[3] == 0 &&
                s[4] == 40);
    k->geglu_bwd(dev, mat_of(ds, 5), mat_of(gate, 5), mat_of(up, 5), 1, 5);
    assert_true(fabsf(gate[0]) < 1e-6f && gate[1] == 1 && fabsf(gate[2]) < 1e-30f &&
                gate[3] == 0.5f && gate[4] == 1);
    gate[0] = NAN;
    up[0] = 1;
    k->geglu_fwd(dev, mat_of(s, 5), mat_of(gate, 5), mat_of(up, 5), 1, 5);
    assert_true(isnan(s[0]));
}

static void test_swiglu_of_extremes(void **state)
{
    (void)state;
    float gate[4] = { -1e30f, 1e30f, -200, 0 }, up[4] = { 1, 1, 1, 1 }, s[4];
    k->swiglu_fwd(dev, mat_of(s, 4), mat_of(gate, 4), mat_of(up, 4), 1, 4);
    assert_true(fabsf(s[0]) < 1e-6f && s[1] == 1e30f && fabsf(s[2]) < 1e-30f && s[3] == 0);
    gate[0] = NAN;
    k->swiglu_fwd(dev, mat_of(s, 4), mat_of(gate, 4), mat_of(up, 4), 1, 4);
    assert_true(isnan(s[0]));
}

/* ---- embedding ---- */

static void test_embedding(void **state)
{
    (void)state;
    int64_t rows = 70, dim = 130, vocab = 11;
    float *table = check_random_buffer((size_t)(vocab * dim)),
          *x = check_buffer((size_t)(rows * dim));
    float *d = check_random_buffer((size_t)(vocab * dim));
    int32_t *id = (int32_t *)check_buffer((size_t)rows);
    double *sum = check_doubles(d, (size_t)(vocab * dim));
    for (int64_t t = 0; t < rows; t++)
        id[t] = (int32_t)check_below(vocab);
    k->embedding_fwd(dev, mat_of(x, dim), table, DTYPE_F32, id, rows, dim);
    for (int64_t t = 0; t < rows; t++)
        assert_memory_equal(x + t * dim, table + id[t] * dim, (size_t)dim * 4);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < dim; i++)
            sum[id[t] * dim + i] += (double)x[t * dim + i];
    k->embedding_bwd(dev, d, mat_of(x, dim), id, rows, dim);
    check_close("embedding_bwd", d, sum, (size_t)(vocab * dim), 1e-6);
    uint16_t *half = (uint16_t *)check_buffer(2);
    int32_t first = 0;
    half[0] = 0x3f80; /* bf16 1 */
    half[1] = 0xc000; /* bf16 -2 */
    k->embedding_fwd(dev, mat_of(x, 2), half, DTYPE_BF16, &first, 1, 2);
    assert_true(x[0] == 1 && x[1] == -2);
    half[0] = 0x3c00; /* f16 1 */
    k->embedding_fwd(dev, mat_of(x, 2), half, DTYPE_F16, &first, 1, 1);
    assert_true(x[0] == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_rmsnorm, buffers_close),
        cmocka_unit_test_teardown(test_rmsnorm_added_to_a_residual, buffers_close),
        cmocka_unit_test_teardown(test_rmsnorm_of_each_head, buffers_close),
        cmocka_unit_test_teardown(test_rmsnorm_of_zeros_is_zero, buffers_close),
        cmocka_unit_test_teardown(test_rope, buffers_close),
        cmocka_unit_test_teardown(test_copies, buffers_close),
        cmocka_unit_test_teardown(test_scale_add, buffers_close),
        cmocka_unit_test_teardown(test_swiglu, buffers_close),
        cmocka_unit_test_teardown(test_swiglu_of_extremes, buffers_close),
        cmocka_unit_test_teardown(test_geglu, buffers_close),
        cmocka_unit_test_teardown(test_geglu_of_extremes, buffers_close),
        cmocka_unit_test_teardown(test_embedding, buffers_close),
    };
    return cmocka_run_group_tests(tests, backend_open, backend_close);
}
