/* Groups of linear layers with adapters, dropout and every weight type are compared with double
 * precision and finite differences. */
#include "lib/common/bf16.h"
#include "tests/lib/backend.h"

#include <math.h>

enum { LINEARS = 3 };

struct linear_case {
    int64_t rows, in, out[LINEARS], rank[LINEARS], outs, ranks;
    double scale, p;
    /* in double precision; v contains x, W, A, B one after the other; keep: the masks */
    double *v, *dy, *residual;
    uint8_t *keep[LINEARS];
    size_t count, w_at[LINEARS], a_at[LINEARS], b_at[LINEARS];
};

REFERENCE static void ref_group(const struct linear_case *c, const double *v, double *y)
{
    int64_t column = 0;
    for (int l = 0; l < LINEARS; l++) {
        for (int64_t t = 0; t < c->rows; t++) {
            const double *x = v + t * c->in;
            double u[16] = { 0 };
            for (int64_t r = 0; r < c->rank[l]; r++)
                for (int64_t i = 0; i < c->in; i++)
                    u[r] += (c->keep[l][t * c->in + i] ? x[i] / (1 - c->p) : 0) *
                            v[c->a_at[l] + (size_t)(r * c->in + i)];
            for (int64_t o = 0; o < c->out[l]; o++) {
                double sum = c->residual ? c->residual[t * c->outs + column + o] : 0;
                for (int64_t i = 0; i < c->in; i++)
                    sum += x[i] * v[c->w_at[l] + (size_t)(o * c->in + i)];
                for (int64_t r = 0; r < c->rank[l]; r++)
                    sum += c->scale * u[r] * v[c->b_at[l] + (size_t)(o * c->rank[l] + r)];
                y[t * c->outs + column + o] = sum;
            }
        }
        column += c->out[l];
    }
}

static double group_loss(void *arg, const double *v)
{
    const struct linear_case *c = arg;
    double *y = malloc((size_t)(c->rows * c->outs) * sizeof *y), sum = 0;
    ref_group(c, v, y);
    for (int64_t i = 0; i < c->rows * c->outs; i++)
        sum += y[i] * c->dy[i];
    free(y);
    return sum;
}

/* Makes one vector of doubles from x and the weights. The parts begin at w_at, a_at and b_at. */
static void set_values(struct linear_case *c, const struct linear *l, const float *x,
                       int64_t stride)
{
    c->v = check_doubles(NULL, c->count);
    for (int64_t t = 0; t < c->rows; t++)
        for (int64_t i = 0; i < c->in; i++)
            c->v[t * c->in + i] = (double)x[t * stride + i];
    for (int i = 0; i < LINEARS; i++) {
        for (int64_t j = 0; j < c->out[i] * c->in; j++)
            c->v[c->w_at[i] + (size_t)j] = (double)((const float *)l[i].weight)[j];
        for (int64_t j = 0; j < c->rank[i] * c->in; j++)
            c->v[c->a_at[i] + (size_t)j] = (double)l[i].a[j];
        for (int64_t j = 0; j < c->rank[i] * c->out[i]; j++)
            c->v[c->b_at[i] + (size_t)j] = (double)l[i].b[j];
    }
}

static void check_weights(const struct linear_case *c, float *const *dw, float *const *da,
                          float *const *db, const double *gradient)
{
    for (int i = 0; i < LINEARS; i++) {
        check_close("linear_bwd_weight dweight", dw[i], gradient + c->w_at[i],
                    (size_t)(c->out[i] * c->in), 3e-6);
        check_close("linear_bwd_weight da", da[i], gradient + c->a_at[i],
                    (size_t)(c->rank[i] * c->in), 3e-6);
        check_close("linear_bwd_weight db", db[i], gradient + c->b_at[i],
                    (size_t)(c->rank[i] * c->out[i]), 3e-6);
    }
}

/* If `apart` is true, the weights of the linear layers are not adjacent in memory, so no two of
 * them form one matrix. */
static void one_group(int64_t rows, int64_t in, bool has_adapter, float p, bool has_residual,
                      bool apart)
{
    struct linear_case c = { .rows = rows, .in = in, .scale = 0.75, .p = (double)p };
    struct linear l[LINEARS];
    size_t n = (size_t)(rows * in);
    for (int i = 0; i < LINEARS; i++) {
        c.out[i] = 1 + check_below(9);
        c.rank[i] = has_adapter ? 1 + check_below(5) : 0;
        c.outs += c.out[i];
        c.ranks += c.rank[i];
    }
    int64_t stride = in + c.ranks + 2;
    float *x = check_random_buffer((size_t)(rows * stride)), *all, *da[LINEARS], *db[LINEARS];
    float *dw[LINEARS];
    all = check_random_buffer((size_t)(c.outs * in));
    c.count = n;
    float *at = all;
    struct dropout drop = { .key = 99, .p = p, .first_row = 5 };
    for (int i = 0; i < LINEARS; i++) {
        float *w = apart ? check_random_buffer((size_t)(c.out[i] * in)) : at;
        at += c.out[i] * in;
        dw[i] = check_buffer((size_t)(c.out[i] * in));
        da[i] = check_buffer((size_t)(c.rank[i] * in));
        db[i] = check_buffer((size_t)(c.rank[i] * c.out[i]));
        l[i] = (struct linear){ .type = DTYPE_F32,
                                .weight = w,
                                .out = c.out[i],
                                .in = in,
                                .rank = c.rank[i],
                                .scale = 0.75f,
                                .dropout_stream = (uint32_t)(40 + i),
                                .a = check_random_buffer((size_t)(c.rank[i] * in)),
                                .b = check_random_buffer((size_t)(c.rank[i] * c.out[i])),
                                .dweight_acc = dw[i] };
        if (has_adapter) {
            l[i].da_acc = da[i];
            l[i].db_acc = db[i];
        }
        c.w_at[i] = c.count;
        c.a_at[i] = c.w_at[i] + (size_t)(c.out[i] * in);
        c.b_at[i] = c.a_at[i] + (size_t)(c.rank[i] * in);
        c.count = c.b_at[i] + (size_t)(c.rank[i] * c.out[i]);
        c.keep[i] = malloc(n);
        k->dropout_mask(dev, c.keep[i], l[i].dropout_stream, rows, in, drop);
    }
    set_values(&c, l, x, stride);
    size_t outs = (size_t)(rows * c.outs);
    float *y = check_buffer(outs), *dy = check_random_buffer(outs), *dx = check_buffer(n);
    float *residual = check_random_buffer(outs), *du = check_buffer((size_t)(rows * (c.ranks + 1)));
    c.dy = check_doubles(dy, outs);
    if (has_residual) c.residual = check_doubles(residual, outs);
    double *exact = check_doubles(NULL, outs), *gradient = check_doubles(NULL, c.count);
    struct group g = { l, LINEARS, 0, false };
    struct shape shape = small_shape(rows, in);
    shape.slot[0] = (struct slot_shape){ c.outs, in, c.ranks };
    shape.has_backward = true;
    shape.dropout = p;
    backend_reserve(shape);
    k->linear_prepare(dev, &g);
    k->linear_fwd(dev, mat_of(y, c.outs), mat_of(x, stride), &g,
                  has_residual ? mat_of(residual, c.outs) : mat_of(NULL, 0), rows, drop);
    ref_group(&c, c.v, exact);
    check_close("linear_fwd", y, exact, outs, 2e-6);
    struct mat dys[LINEARS];
    float *column = dy;
    for (int i = 0; i < LINEARS; i++) {
        dys[i] = mat_of(column, c.outs);
        column += c.out[i];
    }
    check_linear_gradient(group_loss, &c, c.v, c.count, gradient);
    k->linear_bwd_input(dev, mat_of(dx, in), mat_of(du, c.ranks + 1), dys, &g, rows, drop);
    k->linear_bwd_weight(dev, &g, dys, mat_of(du, c.ranks + 1), mat_of(x, stride), rows, drop);
    check_close("linear_bwd_input dx", dx, gradient, n, 3e-6);
    check_weights(&c, dw, da, db, gradient);
    for (int i = 0; i < LINEARS; i++)
        free(c.keep[i]);
    check_free_all();
}

static void test_plain(void **state)
{
    (void)state;
    one_group(1, 8, false, 0, false, false);
    one_group(33, 24, false, 0, true, true);
}

static void test_adapters(void **state)
{
    (void)state;
    one_group(1, 8, true, 0, false, false);
    one_group(20, 16, true, 0, true, false);
    one_group(129, 8, true, 0, false, true);
}

static void test_dropout(void **state)
{
    (void)state;
    one_group(20, 16, true, 0.25f, true, false);
    one_group(130, 8, true, 0.5f, false, true);
    one_group(530, 8, true, 0.25f, true, false); /* more rows than a GPU masks at once */
    /* Rows that begin inside a block of masks. */
    one_group(20, 13, true, 0.25f, true, false);
    one_group(9, 141, true, 0.5f, false, false);
}

/* y with biases must be y without biases, plus the biases. A linear layer without a bias gets none.
 * With is_read there are few rows and no backward pass, so the kernel multiplies the rows by the
 * weights as they are stored. */
static void one_bias(int64_t rows, int64_t in, int64_t out, bool has_residual, bool is_read,
                     bool is_compact)
{
    int64_t outs = 3 * out, stride = in + 2;
    size_t n = (size_t)(rows * outs);
    float *x = check_random_buffer((size_t)(rows * stride)), *y = check_buffer(n);
    float *plain = check_buffer(n), *residual = check_random_buffer(n);
    float *dy = check_random_buffer(n);
    struct linear l[LINEARS];
    double *exact = check_doubles(NULL, n), *sums[LINEARS];
    struct mat dys[LINEARS], from = has_residual ? mat_of(residual, outs) : mat_of(NULL, 0);
    struct dropout none = { 0 };
    for (int i = 0; i < LINEARS; i++) {
        float *w = check_random_buffer((size_t)(out * in));
        for (int64_t j = 0; j < out * in && is_compact; j++)
            ((uint16_t *)(void *)w)[j] = bf16_from_float(w[j]);
        l[i] = (struct linear){ .type = is_compact ? DTYPE_BF16 : DTYPE_F32,
                                .weight = w,
                                .out = out,
                                .in = in,
                                .dbias_acc = check_random_buffer((size_t)out) };
        sums[i] = check_doubles(l[i].dbias_acc, (size_t)out);
        dys[i] = mat_of(dy + i * out, outs);
        for (int64_t t = 0; t < rows; t++)
            for (int64_t o = 0; o < out; o++)
                sums[i][o] += (double)dy[t * outs + i * out + o];
    }
    struct group g = { l, LINEARS, 0, false };
    struct shape shape = small_shape(rows, in);
    shape.ffn = outs;
    shape.has_compact_weights = is_compact;
    shape.slot[0] = (struct slot_shape){ outs, in, 0 };
    shape.has_backward = !is_read;
    backend_reserve(shape);
    k->linear_prepare(dev, &g);
    k->linear_fwd(dev, mat_of(plain, outs), mat_of(x, stride), &g, from, rows, none);
    l[0].bias = check_random_buffer((size_t)out);
    l[2].bias = check_random_buffer((size_t)out);
    for (int64_t i = 0; i < rows * outs; i++) {
        const float *bias = l[i % outs / out].bias;
        exact[i] = (double)plain[i] + (bias ? (double)bias[i % out] : 0);
    }
    k->linear_fwd(dev, mat_of(y, outs), mat_of(x, stride), &g, from, rows, none);
    check_close("linear_fwd with biases", y, exact, n, 1e-6);
    for (int i = 0; i < LINEARS && !is_read; i++) {
        k->linear_bwd_weight(dev, &(struct group){ &l[i], 1, 0, false }, &dys[i], mat_of(NULL, 0),
                             mat_of(x, stride), rows, none);
        check_close("linear_bwd_weight dbias", l[i].dbias_acc, sums[i], (size_t)out, 2e-6);
    }
    check_free_all();
}

static void test_biases(void **state)
{
    (void)state;
    one_bias(1, 8, 5, false, false, false);
    one_bias(33, 24, 16, true, false, false);
    one_bias(130, 8, 300, false, false, false);
    one_bias(3, 16, 24, false, true, false);
    one_bias(8, 32, 7, true, true, false);
    /* These weights are packed into tiles if the CPU has tiles. */
    one_bias(20, 32, 48, false, false, true);
    one_bias(300, 64, 208, true, false, true);
    one_bias(5, 64, 32, true, true, true);
}

static void test_residual_in_place(void **state)
{
    (void)state;
    float *x = check_random_buffer(40 * 8), *w = check_random_buffer(8 * 8);
    float *y = check_random_buffer(40 * 8), *z = check_buffer(40 * 8), *r = check_buffer(40 * 8);
    memcpy(r, y, 40 * 8 * sizeof *r);
    struct linear l = { .type = DTYPE_F32, .weight = w, .out = 8, .in = 8 };
    struct group g = { &l, 1, 0, false };
    struct dropout none = { 0 };
    k->linear_fwd(dev, mat_of(y, 8), mat_of(x, 8), &g, mat_of(y, 8), 40, none);
    k->linear_fwd(dev, mat_of(z, 8), mat_of(x, 8), &g, mat_of(r, 8), 40, none);
    assert_memory_equal(y, z, 40 * 8 * sizeof *y);
}

/* With every type of weight, y is the exact product of the values that the weights represent. For
 * few rows the weights are used as stored, for many rows through a copy in f32. With the copy, the
 * bits are those of f32 weights. */
static void one_packed(int64_t rows, int64_t in, bool has_backward)
{
    enum { OUT = 48, RANK = 3 };
    int64_t stride = (in + RANK + 7) / 8 * 8;
    size_t n = (size_t)(OUT * in), outs = (size_t)(rows * OUT);
    float *x = check_random_buffer((size_t)(rows * stride)), *w = check_buffer(n);
    float *y = check_buffer(outs), *z = check_buffer(outs), *residual = check_random_buffer(outs);
    float *source = check_random_buffer(n), *scratch = check_buffer(n);
    uint8_t *codes = (uint8_t *)check_buffer(n), *absmax = (uint8_t *)check_buffer(n);
    uint16_t *half = (uint16_t *)check_buffer(n);
    float *absmax_scale = check_buffer(4), offset;
    struct linear packed = { .out = OUT,
                             .in = in,
                             .rank = RANK,
                             .scale = 0.5f,
                             .a = check_random_buffer((size_t)(RANK * in)),
                             .b = check_random_buffer(OUT * RANK) };
    struct linear plain = packed;
    struct group pg = { &packed, 1, 2, false }, fg = { &plain, 1, 0, false };
    double *exact = check_doubles(NULL, outs);
    struct dropout drop = { 0 };
    plain.weight = w;
    struct shape shape = small_shape(rows, in);
    shape.slot[0] = shape.slot[2] = (struct slot_shape){ OUT, in, RANK };
    shape.has_backward = has_backward;
    shape.has_compact_weights = true;
    backend_reserve(shape);
    k->nf4_codes(dev, codes, scratch, source, DTYPE_F32, (int64_t)n);
    k->nf4_offset(dev, &offset, scratch, (int64_t)(n + 63) / 64);
    k->nf4_nest(dev, absmax, absmax_scale, scratch, offset, (int64_t)(n + 63) / 64);
    /* The last kind is NF4 without double quantization. */
    for (int kind = DTYPE_BF16; kind <= DTYPE_NF4 + 1; kind++) {
        enum dtype type = kind > DTYPE_NF4 ? DTYPE_NF4 : (enum dtype)kind;
        packed.type = type;
        for (size_t i = 0; i < n; i++) {
            half[i] = type == DTYPE_BF16 ? bf16_from_float(source[i]) : f16_from_float(source[i]);
            w[i] = type == DTYPE_BF16 ? bf16_to_float(half[i]) : f16_to_float(half[i]);
        }
        packed.weight = half;
        if (type == DTYPE_NF4) {
            bool is_nested = kind == DTYPE_NF4;
            packed.weight = codes;
            packed.absmax = is_nested ? absmax : NULL;
            packed.absmax_scale = is_nested ? absmax_scale : scratch;
            packed.offset = is_nested ? offset : 0;
            k->nf4_dequantize(dev, w, codes, packed.absmax, packed.absmax_scale, packed.offset,
                              (int64_t)n);
        }
        k->linear_prepare(dev, &pg);
        k->linear_fwd(dev, mat_of(y, OUT), mat_of(x, stride), &pg, mat_of(residual, OUT), rows,
                      drop);
        k->linear_prepare(dev, &fg);
        k->linear_fwd(dev, mat_of(z, OUT), mat_of(x, stride), &fg, mat_of(residual, OUT), rows,
                      drop);
        if (has_backward) assert_memory_equal(y, z, outs * sizeof *y);
        for (int64_t t = 0; t < rows; t++)
            for (int64_t o = 0; o < OUT; o++) {
                double sum = (double)residual[t * OUT + o];
                for (int64_t i = 0; i < in; i++)
                    sum += (double)x[t * stride + i] * (double)w[o * in + i];
                for (int64_t r = 0; r < RANK; r++)
                    for (int64_t i = 0; i < in; i++)
                        sum += 0.5 * (double)x[t * stride + i] * (double)plain.a[r * in + i] *
                               (double)plain.b[o * RANK + r];
                exact[t * OUT + o] = sum;
            }
        check_close("linear_fwd of packed weights", y, exact, outs, 2e-6);
    }
    check_free_all();
}

static void test_packed_weights(void **state)
{
    (void)state;
    for (int64_t rows = 1; rows <= 6; rows++) {
        one_packed(rows, 40, false);
        one_packed(rows, 128, false);
        one_packed(rows, 192, false); /* a whole unit of two blocks, and a half */
        one_packed(rows, 1056, false);
    }
    /* A row has 13 blocks; the nested scale changes at the 256th block, inside a unit of row 19. */
    one_packed(1, 832, false);
    one_packed(4, 64, false);
    one_packed(8, 96, false);
    one_packed(16, 192, false);
    one_packed(17, 64, false);
    one_packed(9, 40, true);
    one_packed(5, 52, false);
    /* Rows of NF4 begin inside a block, and inside a byte. */
    one_packed(1, 37, false);
    one_packed(17, 37, true);
    one_packed(33, 101, false);
}

static float *small_integers(size_t count)
{
    float *x = check_buffer(count);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(check_below(9) - 4);
    return x;
}

/* bf16 and f32 represent small integers and their sums exactly. So every element must be exact in
 * each of these types. The shapes exceed tiles and blocks. */
static void exact_products(int64_t rows, int64_t in, int64_t out)
{
    float *x = small_integers((size_t)(rows * in)), *w = small_integers((size_t)(out * in));
    float *dy = small_integers((size_t)(rows * out)), *dw = small_integers((size_t)(out * in));
    float *y = small_integers((size_t)(rows * out)), *dx = check_buffer((size_t)(rows * in));
    float *first = check_buffer((size_t)(out * in));
    memcpy(first, dw, (size_t)(out * in) * sizeof *dw);
    struct linear l = { .type = DTYPE_F32, .weight = w, .out = out, .in = in, .dweight_acc = dw };
    struct group g = { &l, 1, 0, false };
    struct mat none = mat_of(NULL, 0), dys = mat_of(dy, out);
    struct dropout drop = { 0 };
    struct shape shape = small_shape(rows, in);
    shape.ffn = out;
    shape.slot[0] = (struct slot_shape){ out, in, 0 };
    shape.has_backward = true;
    backend_reserve(shape);
    k->linear_prepare(dev, &g);
    k->linear_fwd(dev, mat_of(y, out), mat_of(x, in), &g, none, rows, drop);
    k->linear_bwd_input(dev, mat_of(dx, in), none, &dys, &g, rows, drop);
    k->linear_bwd_weight(dev, &g, &dys, none, mat_of(x, in), rows, drop);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t o = 0; o < out; o++) {
            double sum = 0;
            for (int64_t i = 0; i < in; i++)
                sum += (double)x[t * in + i] * (double)w[o * in + i];
            assert_true((double)y[t * out + o] == sum);
        }
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;
            for (int64_t o = 0; o < out; o++)
                sum += (double)dy[t * out + o] * (double)w[o * in + i];
            assert_true((double)dx[t * in + i] == sum);
        }
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++) {
            double sum = (double)first[o * in + i];
            for (int64_t t = 0; t < rows; t++)
                sum += (double)dy[t * out + o] * (double)x[t * in + i];
            assert_true((double)dw[o * in + i] == sum);
        }
    check_free_all();
}

static void test_products_of_integers_are_exact(void **state)
{
    (void)state;
    exact_products(1, 1, 1);
    exact_products(3, 7, 8);
    exact_products(16, 32, 16);
    exact_products(17, 33, 47);
    exact_products(130, 65, 31);
    if (!k->is_host) return; /* the emulation takes minutes for these */
    exact_products(129, 530, 521);
    exact_products(300, 96, 1030);
    /* Rows are 4 KiB apart, and have more columns than are copied at once. */
    exact_products(40, 1024, 530);
    exact_products(280, 1024, 32);
    exact_products(280, 24, 1024);
}

/* ---- weights that are not one matrix in memory ---- */

/* The gradient of the input has the same bits wherever the weights of a group lie in memory. */
static void test_scattered_weights(void **state)
{
    (void)state;
    enum { ROWS = 16, IN = 32 };
    static const int64_t out[LINEARS] = { 32, 16, 16 };
    static const int position[LINEARS] = { 32, 0, 16 }; /* v, q, k instead of q, k, v */
    const int64_t outs = 64;
    float *one = check_random_buffer((size_t)(outs * IN));
    float *other = check_buffer((size_t)(outs * IN));
    float *dy = check_random_buffer((size_t)(ROWS * outs)), *dx[2];
    struct linear l[2][LINEARS];
    struct mat dys[LINEARS];
    for (int64_t i = 0, column = 0; i < LINEARS; column += out[i++]) {
        float *moved = other + position[i] * IN;
        memcpy(moved, one + column * IN, (size_t)(out[i] * IN) * sizeof *moved);
        l[0][i] = l[1][i] = (struct linear){
            .type = DTYPE_F32, .weight = one + column * IN, .out = out[i], .in = IN
        };
        l[1][i].weight = moved;
        dys[i] = mat_of(dy + column, outs);
    }
    struct shape shape = small_shape(ROWS, IN);
    shape.ffn = outs;
    shape.slot[0] = (struct slot_shape){ outs, IN, 0 };
    shape.has_backward = shape.has_scattered_weights = true;
    backend_reserve(shape);
    for (int i = 0; i < 2; i++) {
        struct group g = { l[i], LINEARS, 0, false };
        dx[i] = check_buffer(ROWS * IN);
        k->linear_prepare(dev, &g);
        k->linear_bwd_input(dev, mat_of(dx[i], IN), (struct mat){ 0 }, dys, &g, ROWS,
                            (struct dropout){ 0 });
    }
    assert_true(group_is_one_matrix(&(struct group){ l[0], LINEARS, 0, false }));
    assert_false(group_is_one_matrix(&(struct group){ l[1], LINEARS, 0, false }));
    assert_memory_equal(dx[0], dx[1], ROWS * IN * sizeof(float));
    check_free_all();
}

/* ---- groups wider than a task's patch of results ---- */

enum { WIDE_RANK = 40, WIDE_LINEARS = 3 };

struct wide_case {
    int64_t rows, in, outs, stride;
    const int64_t *out;
    const float *x, *residual, *dy;
    struct linear l[WIDE_LINEARS]; /* in f32 */
    uint8_t *keep;
    double p, scale, *y, *dx, *da[WIDE_LINEARS], *db[WIDE_LINEARS];
};

/* Adds y, dx and the adapter's gradients of one linear layer, in double precision. */
REFERENCE static void add_wide(struct wide_case *c, int i, int64_t column)
{
    const struct linear *l = &c->l[i];
    const float *w = l->weight;
    double *dropped = malloc((size_t)c->in * sizeof *dropped);
    for (int64_t t = 0; t < c->rows; t++) {
        const float *x = c->x + t * c->stride, *dy = c->dy + t * c->outs + column;
        double *y = c->y + t * c->outs + column, *dx = c->dx + t * c->in;
        double u[WIDE_RANK] = { 0 }, du[WIDE_RANK] = { 0 };
        for (int64_t j = 0; j < c->in; j++)
            dropped[j] = c->keep[t * c->in + j] ? (double)x[j] / (1 - c->p) : 0;
        for (int r = 0; r < WIDE_RANK; r++)
            for (int64_t j = 0; j < c->in; j++)
                u[r] += dropped[j] * (double)l->a[r * c->in + j];
        for (int64_t o = 0; o < l->out; o++) {
            double sum = 0, d = (double)dy[o];
            for (int64_t j = 0; j < c->in; j++) {
                sum += (double)x[j] * (double)w[o * c->in + j];
                dx[j] += d * (double)w[o * c->in + j];
            }
            for (int r = 0; r < WIDE_RANK; r++) {
                sum += c->scale * u[r] * (double)l->b[o * WIDE_RANK + r];
                du[r] += c->scale * d * (double)l->b[o * WIDE_RANK + r];
            }
            y[o] += sum;
            for (int r = 0; r < WIDE_RANK; r++)
                c->db[i][o * WIDE_RANK + r] += c->scale * d * u[r];
        }
        for (int r = 0; r < WIDE_RANK; r++)
            for (int64_t j = 0; j < c->in; j++)
                c->da[i][r * c->in + j] += du[r] * dropped[j];
        for (int r = 0; r < WIDE_RANK; r++)
            for (int64_t j = 0; j < c->in; j++)
                if (c->keep[t * c->in + j])
                    dx[j] += du[r] * (double)l->a[r * c->in + j] / (1 - c->p);
    }
    free(dropped);
}

/* Puts random values as NF4 into `packed`, and the values that they represent into `plain`. */
static void two_of_one_weight(struct linear *packed, struct linear *plain, float *w)
{
    int64_t n = plain->out * plain->in, blocks = (n + 63) / 64;
    float *source = check_random_buffer((size_t)n), *absmax = check_buffer((size_t)blocks);
    float *absmax_scale = check_buffer((size_t)(blocks + 255) / 256);
    uint8_t *codes = (uint8_t *)check_buffer((size_t)n / 8 + 1);
    uint8_t *absmax_u8 = (uint8_t *)check_buffer((size_t)blocks / 4 + 1);
    float offset;
    k->nf4_codes(dev, codes, absmax, source, DTYPE_F32, n);
    k->nf4_offset(dev, &offset, absmax, blocks);
    k->nf4_nest(dev, absmax_u8, absmax_scale, absmax, offset, blocks);
    k->nf4_dequantize(dev, w, codes, absmax_u8, absmax_scale, offset, n);
    plain->weight = w;
    *packed = *plain;
    packed->type = DTYPE_NF4;
    packed->weight = codes;
    packed->absmax = absmax_u8;
    packed->absmax_scale = absmax_scale;
    packed->offset = offset;
}

static void one_wide(int64_t rows, int64_t in, const int64_t *out, float p, bool has_residual,
                     int64_t first_row)
{
    struct wide_case c = { .rows = rows, .in = in, .out = out, .p = (double)p, .scale = 0.5 };
    struct linear packed[WIDE_LINEARS];
    int64_t ranks = WIDE_LINEARS * WIDE_RANK;
    size_t n = (size_t)(rows * in);
    for (int i = 0; i < WIDE_LINEARS; i++)
        c.outs += out[i];
    size_t outs = (size_t)(rows * c.outs);
    c.stride = in + ranks;
    float *x = check_random_buffer((size_t)(rows * c.stride)), *dy = check_random_buffer(outs);
    float *residual = check_random_buffer(outs), *y[2], *dx[2];
    float *all = check_buffer((size_t)(c.outs * in)); /* one matrix, as in a slot */
    c.x = x, c.dy = dy;
    c.y = check_doubles(has_residual ? residual : NULL, outs);
    c.dx = check_doubles(NULL, n);
    c.keep = malloc(n);
    struct dropout drop = { .key = 99, .p = p, .first_row = first_row };
    struct mat dys[WIDE_LINEARS], du = mat_of(check_buffer((size_t)(rows * ranks)), ranks);
    for (int64_t i = 0, column = 0; i < WIDE_LINEARS; column += out[i++]) {
        c.l[i] = (struct linear){ .type = DTYPE_F32,
                                  .out = out[i],
                                  .in = in,
                                  .rank = WIDE_RANK,
                                  .scale = 0.5f,
                                  .dropout_stream = (uint32_t)(40 + i),
                                  .a = check_random_buffer((size_t)(WIDE_RANK * in)),
                                  .b = check_random_buffer((size_t)(WIDE_RANK * out[i])) };
        c.l[i].da_acc = check_buffer((size_t)(WIDE_RANK * in));
        c.l[i].db_acc = check_buffer((size_t)(WIDE_RANK * out[i]));
        c.da[i] = check_doubles(NULL, (size_t)(WIDE_RANK * in));
        c.db[i] = check_doubles(NULL, (size_t)(WIDE_RANK * out[i]));
        two_of_one_weight(&packed[i], &c.l[i], all + column * in);
        k->dropout_mask(dev, c.keep, c.l[i].dropout_stream, rows, in, drop);
        add_wide(&c, (int)i, column);
        dys[i] = mat_of(dy + column, c.outs);
    }
    struct shape shape = small_shape(rows, in);
    shape.ffn = c.outs;
    shape.slot[0] = (struct slot_shape){ c.outs, in, ranks };
    shape.has_backward = true;
    shape.has_compact_weights = true;
    shape.dropout = p;
    backend_reserve(shape);
    for (int is_packed = 0; is_packed < 2; is_packed++) {
        struct group g = { is_packed ? packed : c.l, WIDE_LINEARS, 0, false };
        y[is_packed] = check_buffer(outs);
        dx[is_packed] = check_buffer(n);
        k->linear_prepare(dev, &g);
        k->linear_fwd(dev, mat_of(y[is_packed], c.outs), mat_of(x, c.stride), &g,
                      mat_of(has_residual ? residual : NULL, c.outs), rows, drop);
        check_close("linear_fwd of a wide group", y[is_packed], c.y, outs, 2e-6);
        k->linear_bwd_input(dev, mat_of(dx[is_packed], in), du, dys, &g, rows, drop);
        check_close("linear_bwd_input of a wide group", dx[is_packed], c.dx, n, 3e-6);
    }
    struct group g = { packed, WIDE_LINEARS, 0, false };
    k->linear_bwd_weight(dev, &g, dys, du, mat_of(x, c.stride), rows, drop);
    for (int i = 0; i < WIDE_LINEARS; i++) {
        check_close("linear_bwd_weight da of a wide group", c.l[i].da_acc, c.da[i],
                    (size_t)(WIDE_RANK * in), 3e-6);
        check_close("linear_bwd_weight db of a wide group", c.l[i].db_acc, c.db[i],
                    (size_t)(WIDE_RANK * out[i]), 3e-6);
    }
    assert_memory_equal(y[0], y[1], outs * sizeof **y);
    free(c.keep);
    check_free_all();
}

static void test_wide_groups(void **state)
{
    (void)state;
    static const int64_t even[] = { 32, 1008, 48 }, odd[] = { 9, 1020, 40 };
    static const int64_t narrow[] = { 16, 16, 32 }, falling[] = { 1008, 48, 32 };
    static const int64_t widest[] = { 16, 2064, 32 };
    if (!k->is_host) return; /* the emulation takes minutes for these */
    one_wide(270, 1040, even, 0.25f, true, 5);
    one_wide(140, 1040, falling, 0, false, 5);
    one_wide(270, 1040, odd, 0, true, 5);
    one_wide(40, 1104, narrow, 0.5f, false, 5);
    one_wide(530, 2064, narrow, 0.25f, true, 5); /* more inputs than a product sums at once */
    /* There are more outputs than a block, and the masks' counter needs 33 bits at the end. */
    one_wide(30, 64, widest, 0.25f, false, (1 << 29) - 7);
    one_wide(30, 531, odd, 0.25f, true, 5); /* odd sizes, wider than a task's patch */
}

/* A mask depends only on the element's place in the step. */
static void test_masks_do_not_depend_on_the_split_of_rows(void **state)
{
    (void)state;
    enum { ROWS = 40, DIM = 16 };
    uint8_t whole[ROWS * DIM], part[ROWS * DIM];
    struct dropout drop = { .key = 7, .p = 0.3f, .first_row = 0 };
    k->dropout_mask(dev, whole, 3, ROWS, DIM, drop);
    drop.first_row = 11;
    k->dropout_mask(dev, part, 3, ROWS - 11, DIM, drop);
    assert_memory_equal(part, whole + 11 * DIM, (ROWS - 11) * DIM);
    int kept = 0;
    for (int i = 0; i < ROWS * DIM; i++)
        kept += whole[i];
    assert_in_range(kept, ROWS * DIM * 6 / 10, ROWS * DIM * 8 / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_plain, buffers_close),
        cmocka_unit_test_teardown(test_adapters, buffers_close),
        cmocka_unit_test_teardown(test_dropout, buffers_close),
        cmocka_unit_test_teardown(test_biases, buffers_close),
        cmocka_unit_test_teardown(test_residual_in_place, buffers_close),
        cmocka_unit_test_teardown(test_packed_weights, buffers_close),
        cmocka_unit_test_teardown(test_products_of_integers_are_exact, buffers_close),
        cmocka_unit_test_teardown(test_scattered_weights, buffers_close),
        cmocka_unit_test_teardown(test_wide_groups, buffers_close),
        cmocka_unit_test_teardown(test_masks_do_not_depend_on_the_split_of_rows, buffers_close),
    };
    return cmocka_run_group_tests(tests, backend_open, backend_close);
}
