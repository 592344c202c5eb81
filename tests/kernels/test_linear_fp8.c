/* Groups of linear layers in fp8 are compared with the same arithmetic (lib/common/fp8.h) in double
 * precision: every type of weight, with and without adapters, biases, residual and dropout. */
#include "lib/common/bf16.h"
#include "lib/common/fp8.h"
#include "tests/lib/backend.h"

#include <math.h>

enum { LINEARS = 3, RANK = 8 };

struct fp8_case {
    int64_t rows, in, outs, out[LINEARS];
    bool has_adapters, has_biases, has_residual;
    double p;
    const float *x, *residual, *dy,
        *w; /* x [rows, stride], w [outs, in]: the values of the weights */
    int64_t stride;
    struct linear l[LINEARS];
    uint8_t *keep[LINEARS];
    double *y, *dx, *plain; /* plain [rows, outs]: x Wᵀ without fp8 */
};

/* Rounds the elements of a row or column of a matrix, which are `apart` apart. Returns the scale.
 */
static double rounded(double *to, int64_t to_apart, const float *from, int64_t apart, int64_t count)
{
    float largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(from[i * apart]));
    float scale = fp8_scale(largest);
    for (int64_t i = 0; i < count; i++)
        to[i * to_apart] = (double)fp8_round(from[i * apart] / scale);
    return (double)scale;
}

/* to [m, n] = diag(a_scale) (a bᵀ) diag(b_scale), with a [m, k] and b [n, k] of e4m3 numbers */
REFERENCE static void multiply(double *to, const double *a, const double *a_scale, const double *b,
                               const double *b_scale, int64_t m, int64_t n, int64_t k_)
{
    for (int64_t r = 0; r < m; r++)
        for (int64_t c = 0; c < n; c++) {
            double sum = 0;
            for (int64_t i = 0; i < k_; i++)
                sum += a[r * k_ + i] * b[c * k_ + i];
            to[r * n + c] = sum * a_scale[r] * b_scale[c];
        }
}

static void reference_products(struct fp8_case *c)
{
    int64_t rows = c->rows, in = c->in, outs = c->outs, most = in > outs ? in : outs;
    double *a = check_doubles(NULL, (size_t)(rows * most)), *sa = check_doubles(NULL, (size_t)rows);
    double *b = check_doubles(NULL, (size_t)(in * outs)), *sb = check_doubles(NULL, (size_t)most);
    for (int64_t t = 0; t < rows; t++)
        sa[t] = rounded(a + t * in, 1, c->x + t * c->stride, 1, in);
    for (int64_t o = 0; o < outs; o++)
        sb[o] = rounded(b + o * in, 1, c->w + o * in, 1, in);
    multiply(c->y, a, sa, b, sb, rows, outs, in);
    for (int64_t t = 0; t < rows; t++)
        sa[t] = rounded(a + t * outs, 1, c->dy + t * outs, 1, outs);
    for (int64_t i = 0; i < in; i++)
        sb[i] = rounded(b + i * outs, 1, c->w + i, in, outs);
    multiply(c->dx, a, sa, b, sb, rows, in, outs);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t o = 0; o < outs; o++)
            for (int64_t i = 0; i < in; i++)
                c->plain[t * outs + o] +=
                    (double)c->x[t * c->stride + i] * (double)c->w[o * in + i];
}

/* Adds what is computed as without fp8. */
static void add_rest(struct fp8_case *c)
{
    int64_t column = 0;
    for (int l = 0; l < LINEARS; column += c->out[l++])
        for (int64_t t = 0; t < c->rows; t++) {
            const struct linear *of = &c->l[l];
            const float *x = c->x + t * c->stride, *dy = c->dy + t * c->outs + column;
            double *y = c->y + t * c->outs + column, u[RANK] = { 0 }, du[RANK] = { 0 };
            for (int64_t r = 0; r < of->rank; r++)
                for (int64_t i = 0; i < c->in; i++)
                    u[r] += (c->keep[l][t * c->in + i] ? (double)x[i] / (1 - c->p) : 0) *
                            (double)of->a[r * c->in + i];
            for (int64_t o = 0; o < of->out; o++) {
                if (of->bias) y[o] += (double)of->bias[o];
                if (c->has_residual) y[o] += (double)c->residual[t * c->outs + column + o];
                for (int64_t r = 0; r < of->rank; r++) {
                    y[o] += 0.5 * u[r] * (double)of->b[o * RANK + r];
                    du[r] += 0.5 * (double)dy[o] * (double)of->b[o * RANK + r];
                }
            }
            for (int64_t r = 0; r < of->rank; r++)
                for (int64_t i = 0; i < c->in; i++)
                    if (c->keep[l][t * c->in + i])
                        c->dx[t * c->in + i] += du[r] * (double)of->a[r * c->in + i] / (1 - c->p);
        }
}

/* Stores weights of this type in l, and the values that they represent in w. */
static void set_weight(struct linear *l, float *w, enum dtype type, bool is_nested)
{
    int64_t n = l->out * l->in, blocks = (n + 63) / 64;
    float *source = check_random_buffer((size_t)n);
    uint16_t *half = (uint16_t *)(void *)check_buffer((size_t)n);
    for (int64_t i = 0; i < n; i++)
        source[i] *= (float)(1 + i / l->in % 5) * 0.01f;
    for (int64_t o = 0; o < l->out; o++)
        source[o * l->in + 3] =
            0; /* a column of zeros; if there are three of them, the scale is 1 */
    l->type = type;
    l->weight = type == DTYPE_F32 ? (const void *)source : half;
    for (int64_t i = 0; i < n; i++) {
        half[i] = type == DTYPE_BF16 ? bf16_from_float(source[i]) : f16_from_float(source[i]);
        w[i] = type == DTYPE_BF16  ? bf16_to_float(half[i])
               : type == DTYPE_F16 ? f16_to_float(half[i])
                                   : source[i];
    }
    if (type != DTYPE_NF4) return;
    float *absmax = check_buffer((size_t)blocks), *scale = check_buffer((size_t)blocks / 256 + 1);
    uint8_t *codes = (uint8_t *)check_buffer((size_t)n), *nest = (uint8_t *)check_buffer((size_t)n);
    k->nf4_codes(dev, codes, absmax, source, DTYPE_F32, n);
    k->nf4_offset(dev, &l->offset, absmax, blocks);
    k->nf4_nest(dev, nest, scale, absmax, l->offset, blocks);
    l->weight = codes;
    l->absmax = is_nested ? nest : NULL;
    l->absmax_scale = is_nested ? scale : absmax;
    if (!is_nested) l->offset = 0;
    k->nf4_dequantize(dev, w, codes, l->absmax, l->absmax_scale, l->offset, n);
}

/* Without adapters there are no products but those of e4m3 numbers, which cpu-bf16 does not round
 * either, so the bound is that of f32 there too. */
static void close_to(const struct fp8_case *c, const char *what, const float *got,
                     const double *exact, size_t count)
{
    double largest = 1e-30, worst = 0;
    if (c->has_adapters) {
        check_close(what, got, exact, count, 3e-6);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(exact[i]));
        worst = fmax(worst, isfinite(got[i]) ? fabs((double)got[i] - exact[i]) : INFINITY);
    }
    if (worst > 3e-6 * largest) print_error("%s: %g of the largest\n", what, worst / largest);
    assert_true(worst <= 3e-6 * largest);
}

/* The relative error of fp8 is that of e4m3 numbers: their step is 1/8 to 1/16 of the number. */
static void check_error(const struct fp8_case *c)
{
    double squares = 0, error = 0;
    for (int64_t i = 0; i < c->rows * c->outs; i++) {
        squares += c->plain[i] * c->plain[i];
        error += (c->y[i] - c->plain[i]) * (c->y[i] - c->plain[i]);
    }
    assert_true(sqrt(error / squares) > 0.01);
    assert_true(sqrt(error / squares) < 0.06);
}

static void one_group(int64_t rows, int64_t in, const int64_t *out, struct fp8_case c,
                      const enum dtype *types)
{
    struct dropout drop = { .key = 99, .p = (float)c.p, .first_row = 5 };
    int64_t ranks = c.has_adapters ? LINEARS * RANK : 0;
    c.rows = rows, c.in = in, c.stride = in + ranks + 8;
    for (int i = 0; i < LINEARS; i++)
        c.outs += c.out[i] = out[i];
    size_t n = (size_t)(rows * in), outs = (size_t)(rows * c.outs);
    float *x = check_random_buffer((size_t)(rows * c.stride)), *dy = check_random_buffer(outs);
    float *w = check_buffer((size_t)(c.outs * in)), *y = check_buffer(outs), *dx = check_buffer(n);
    float *du = check_buffer((size_t)(rows * (ranks + 8)));
    for (int64_t i = 0; i < in && rows > 2; i++)
        x[2 * c.stride + i] = 0;
    for (int64_t i = 0; i < c.outs; i++) /* rows of very different sizes */
        dy[i] *= 1e-12f, dy[(size_t)((rows - 1) * c.outs + i)] *= 1e12f;
    c.x = x, c.dy = dy, c.w = w, c.residual = check_random_buffer(outs);
    c.y = check_doubles(NULL, outs), c.plain = check_doubles(NULL, outs);
    c.dx = check_doubles(NULL, n);
    for (int64_t i = 0, at = 0; i < LINEARS; at += out[i++]) {
        struct linear *l = &c.l[i];
        *l = (struct linear){ .out = out[i], .in = in, .dropout_stream = (uint32_t)(40 + i) };
        set_weight(l, w + at * in, types[i], i != 1);
        if (c.has_biases && i != 1) l->bias = check_random_buffer((size_t)out[i]);
        c.keep[i] = malloc(n);
        k->dropout_mask(dev, c.keep[i], l->dropout_stream, rows, in, drop);
        if (!c.has_adapters) continue;
        l->rank = RANK, l->scale = 0.5f;
        l->a = check_random_buffer((size_t)(RANK * in));
        l->b = check_random_buffer((size_t)(RANK * out[i]));
    }
    reference_products(&c);
    check_error(&c);
    add_rest(&c);
    struct group g = { c.l, LINEARS, 0, true };
    struct shape shape = small_shape(rows, in);
    shape.ffn = c.outs;
    shape.slot[0] = (struct slot_shape){ c.outs, in, ranks };
    shape.has_backward = shape.has_compact_weights = shape.has_fp8 = true;
    shape.dropout = drop.p;
    backend_reserve(shape);
    struct mat dys[LINEARS];
    for (int64_t i = 0, at = 0; i < LINEARS; at += out[i++])
        dys[i] = mat_of(dy + at, c.outs);
    k->linear_prepare(dev, &g);
    k->linear_fwd(dev, mat_of(y, c.outs), mat_of(x, c.stride), &g,
                  mat_of(c.has_residual ? (float *)c.residual : NULL, c.outs), rows, drop);
    close_to(&c, "linear_fwd in fp8", y, c.y, outs);
    k->linear_bwd_input(dev, mat_of(dx, in), mat_of(du, ranks + 8), dys, &g, rows, drop);
    close_to(&c, "linear_bwd_input in fp8", dx, c.dx, n);
    /* All but the last row, which is much larger. */
    close_to(&c, "linear_bwd_input in fp8", dx + in, c.dx + in, n - 2 * (size_t)in);
    for (int i = 0; i < LINEARS; i++)
        free(c.keep[i]);
    check_free_all();
}

static const enum dtype f32[] = { DTYPE_F32, DTYPE_F32, DTYPE_F32 };
static const enum dtype mixed[] = { DTYPE_NF4, DTYPE_NF4, DTYPE_BF16 };
static const enum dtype halves[] = { DTYPE_BF16, DTYPE_F16, DTYPE_NF4 };

static void test_products(void **state)
{
    (void)state;
    static const int64_t out[] = { 32, 16, 48 }, more[] = { 80, 272, 16 };
    one_group(9, 64, out, (struct fp8_case){ 0 }, f32);
    one_group(33, 80, out, (struct fp8_case){ .has_residual = true }, mixed);
    one_group(5, 272, more, (struct fp8_case){ .has_biases = true, .has_residual = true }, halves);
}

static void test_adapters(void **state)
{
    (void)state;
    static const int64_t out[] = { 32, 16, 48 };
    one_group(9, 64, out, (struct fp8_case){ .has_adapters = true }, mixed);
    one_group(20, 48, out,
              (struct fp8_case){
                  .has_adapters = true, .has_biases = true, .has_residual = true, .p = 0.25 },
              halves);
}

/* A GPU takes only multiples of 16. */
static void test_sizes_of_a_cpu(void **state)
{
    (void)state;
    static const int64_t odd[] = { 9, 20, 7 }, wide[] = { 16, 530, 48 };
    if (!k->is_host) return;
    one_group(7, 37, odd, (struct fp8_case){ .has_adapters = true, .p = 0.25 }, halves);
    one_group(270, 530, wide, (struct fp8_case){ .has_biases = true }, mixed);
    one_group(140, 64, wide, (struct fp8_case){ .has_adapters = true, .has_residual = true }, f32);
}

/* The slot takes a group in fp8 and the same group as without fp8 in turn. */
static void test_a_slot_changes(void **state)
{
    (void)state;
    enum { ROWS = 4, IN = 64, OUT = 32 };
    float *x = check_random_buffer(ROWS * IN), *y[3], *w = check_buffer(OUT * IN);
    struct linear l = { .out = OUT, .in = IN };
    struct shape shape = small_shape(ROWS, IN);
    set_weight(&l, w, DTYPE_NF4, true);
    shape.slot[0] = (struct slot_shape){ OUT, IN, 0 };
    shape.has_backward = shape.has_compact_weights = shape.has_fp8 = true;
    backend_reserve(shape);
    for (int i = 0; i < 3; i++) {
        struct group g = { &l, 1, 0, i != 1 };
        y[i] = check_buffer(ROWS * OUT);
        k->linear_prepare(dev, &g);
        k->linear_fwd(dev, mat_of(y[i], OUT), mat_of(x, IN), &g, mat_of(NULL, 0), ROWS,
                      (struct dropout){ 0 });
    }
    assert_memory_equal(y[0], y[2], ROWS * OUT * sizeof **y);
    assert_memory_not_equal(y[0], y[1], ROWS * OUT * sizeof **y);
    check_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_products, buffers_close),
        cmocka_unit_test_teardown(test_adapters, buffers_close),
        cmocka_unit_test_teardown(test_sizes_of_a_cpu, buffers_close),
        cmocka_unit_test_teardown(test_a_slot_changes, buffers_close),
    };
    return cmocka_run_group_tests(tests, backend_open, backend_close);
}
