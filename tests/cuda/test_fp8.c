/* Groups of linear layers in fp8, in bf16 on a GPU or emulated, are compared with the CPU's. The
 * inputs are bf16 numbers, so both round the same numbers to e4m3. The kernels' sums and scales are
 * tested with f32 elements and a narrow bound (tests/kernels/test_linear_fp8.c); this tests the
 * accesses to elements of 16 bits. */
#include "lib/common/bf16.h"
#include "tests/lib/backend.h"

#include <math.h>

enum { LINEARS = 3, RANK = 16, BUFFERS_MAX = 64 };

static struct fail why;
static const struct kernels *cpu;
static struct device *cpu_dev;

/* A backend, and the buffers that it holds. */
struct side {
    const struct kernels *k;
    struct device *dev;
    struct {
        void *at;
        size_t bytes;
    } taken[BUFFERS_MAX];
    int count;
};

static void *bytes_on(struct side *s, const void *from, size_t bytes)
{
    void *at;
    assert_true(s->count < BUFFERS_MAX);
    assert_int_equal(s->k->alloc(s->dev, &at, bytes, &why), 0);
    if (from) s->k->upload(s->dev, at, from, bytes);
    s->taken[s->count].at = at;
    s->taken[s->count++].bytes = bytes;
    return at;
}

static struct mat mat_on(struct side *s, const float *from, int64_t rows, int64_t cols,
                         int64_t stride)
{
    struct mat m = { bytes_on(s, NULL, (size_t)(rows * stride * s->k->act_bytes)), stride };
    if (from) s->k->cast_in(s->dev, m, bytes_on(s, from, (size_t)(rows * cols) * 4), rows, cols);
    return m;
}

static float *values_of(struct side *s, struct mat m, int64_t rows, int64_t cols)
{
    size_t bytes = (size_t)(rows * cols) * 4;
    float *at = bytes_on(s, NULL, bytes), *host = check_buffer((size_t)(rows * cols));
    s->k->cast_out(s->dev, at, m, rows, cols);
    s->k->download(s->dev, host, at, bytes);
    return host;
}

/* The inputs of a group. */
struct inputs {
    int64_t rows, in, out[LINEARS], outs, x_stride;
    const float *x, *dy, *residual, *bias[LINEARS], *a[LINEARS], *b[LINEARS];
    const uint16_t *w[LINEARS];
};

struct outputs {
    float *y, *dx;
};

static struct outputs compute(struct side *s, const struct inputs *c, bool is_fp8)
{
    struct linear l[LINEARS];
    struct mat dys[LINEARS], dy = mat_on(s, c->dy, c->rows, c->outs, c->outs);
    for (int64_t i = 0, at = 0; i < LINEARS; at += c->out[i++]) {
        l[i] = (struct linear){ .type = DTYPE_BF16,
                                .weight = bytes_on(s, c->w[i], (size_t)(c->out[i] * c->in) * 2),
                                .out = c->out[i],
                                .in = c->in,
                                .bias = bytes_on(s, c->bias[i], (size_t)c->out[i] * 4),
                                .rank = RANK,
                                .scale = 0.5f,
                                .a = bytes_on(s, c->a[i], (size_t)(RANK * c->in) * 4),
                                .b = bytes_on(s, c->b[i], (size_t)(RANK * c->out[i]) * 4) };
        dys[i] = mat_columns(s->k, dy, at);
    }
    struct group g = { l, LINEARS, 1, is_fp8 };
    struct shape shape = small_shape(c->rows, c->in);
    shape.ffn = c->outs;
    shape.slot[1] = (struct slot_shape){ c->outs, c->in, LINEARS * RANK };
    shape.has_backward = shape.has_compact_weights = shape.has_fp8 = true;
    assert_int_equal(s->k->reserve(s->dev, &shape, &why), 0);
    struct mat x = mat_on(s, c->x, c->rows, c->in, c->x_stride);
    struct mat y = mat_on(s, NULL, c->rows, c->outs, c->outs);
    struct mat dx = mat_on(s, NULL, c->rows, c->in, c->in);
    struct mat du = mat_on(s, NULL, c->rows, 0, LINEARS * RANK + 8);
    s->k->linear_prepare(s->dev, &g);
    s->k->linear_fwd(s->dev, y, x, &g, mat_on(s, c->residual, c->rows, c->outs, c->outs), c->rows,
                     (struct dropout){ 0 });
    s->k->linear_bwd_input(s->dev, dx, du, dys, &g, c->rows, (struct dropout){ 0 });
    struct outputs got = { values_of(s, y, c->rows, c->outs), values_of(s, dx, c->rows, c->in) };
    if (s->k->sync(s->dev, &why)) fail_msg("%s", why.text);
    while (s->count)
        s->count--, s->k->release(s->dev, s->taken[s->count].at, s->taken[s->count].bytes);
    return got;
}

static float *bf16_numbers(size_t count)
{
    float *x = check_random_buffer(count);
    for (size_t i = 0; i < count; i++)
        x[i] = bf16_to_float(bf16_from_float(x[i]));
    return x;
}

/* Rows of x begin at multiples of 16 bytes, or with another stride not. */
static void one_group(int64_t rows, int64_t in, const int64_t *out, int64_t more_stride)
{
    struct side gpu = { .k = k, .dev = dev }, host = { .k = cpu, .dev = cpu_dev };
    struct inputs c = { .rows = rows, .in = in, .x_stride = in + LINEARS * RANK + more_stride };
    /* Buffers of this test lie in the host's memory. */
    void *(*memory)(size_t) = check_memory;
    void (*release)(void *, size_t) = check_release;
    check_memory = NULL, check_release = NULL;
    for (int i = 0; i < LINEARS; i++) {
        size_t n = (size_t)((c.out[i] = out[i]) * in);
        uint16_t *w = (uint16_t *)(void *)check_buffer(n);
        for (size_t j = 0; j < n; j++)
            w[j] = bf16_from_float((float)check_random() * 0.1f);
        c.w[i] = w;
        c.outs += out[i];
        c.bias[i] = check_random_buffer((size_t)out[i]);
        c.a[i] = bf16_numbers((size_t)(RANK * in));
        c.b[i] = bf16_numbers((size_t)(RANK * out[i]));
    }
    c.x = bf16_numbers((size_t)(rows * in));
    c.dy = bf16_numbers((size_t)(rows * c.outs));
    c.residual = bf16_numbers((size_t)(rows * c.outs));
    size_t outs = (size_t)(rows * c.outs), ins = (size_t)(rows * in);
    struct outputs got = compute(&gpu, &c, true), exact = compute(&host, &c, true);
    check_close("linear_fwd in fp8", got.y, check_doubles(exact.y, outs), outs, 8e-3);
    check_close("linear_bwd_input in fp8", got.dx, check_doubles(exact.dx, ins), ins, 1.2e-2);
    got = compute(&gpu, &c, false), exact = compute(&host, &c, false);
    check_close("linear_fwd", got.y, check_doubles(exact.y, outs), outs, 8e-3);
    check_close("linear_bwd_input", got.dx, check_doubles(exact.dx, ins), ins, 1.2e-2);
    check_free_all();
    check_memory = memory, check_release = release;
}

static void test_groups(void **state)
{
    (void)state;
    static const int64_t out[] = { 32, 16, 48 }, wide[] = { 16, 288, 64 };
    if (k->probe_fp8(&why)) return;
    one_group(9, 64, out, 8);
    one_group(70, 272, wide, 0);
    one_group(5, 48, wide, 3);
}

/* GPUs below 8.9 and elements of f16 have no products in fp8. A real GPU's capability is not known
 * here. */
static void test_who_has_fp8(void **state)
{
    (void)state;
    const char *capability = getenv("EMULATION_CAPABILITY");
    long tenfold = capability ? strtol(capability, NULL, 10) : 0;
    bool is_f16 = k->act_type == DTYPE_F16;
    if (tenfold >= 89 && !is_f16) assert_int_equal(k->probe_fp8(&why), 0);
    if (is_f16 || (tenfold && tenfold < 89)) assert_int_not_equal(k->probe_fp8(&why), 0);
    assert_int_equal(cpu->probe_fp8(&why), 0);
}

static int open_both(void **state)
{
    if (kernels_open(&cpu, "cpu", &why) || cpu->open(&cpu_dev, 2, &why)) return -1;
    return backend_open(state);
}

static int close_both(void **state)
{
    cpu->close(cpu_dev);
    return backend_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_groups, buffers_close),
        cmocka_unit_test_teardown(test_who_has_fp8, buffers_close),
    };
    return cmocka_run_group_tests(tests, open_both, close_both);
}
