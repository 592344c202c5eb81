/* The head with an adapter is compared with finite differences. */
#include "lib/common/bf16.h"
#include "tests/lib/backend.h"

#include <math.h>

struct head_case {
    int64_t rows, vocab, dim, rank;
    const int32_t *target;
    double scale, logit_scale, dscale, p;
    uint8_t *keep;
    size_t a, b, w, count; /* where A, B and W begin; x comes first */
    const double *weight;  /* W, at its own place: check_gradient copies what is before it */
};

REFERENCE static void logits_of(const struct head_case *c, const double *v, int64_t row, double *z)
{
    const double *x = v + row * c->dim;
    double u[16] = { 0 };
    for (int64_t r = 0; r < c->rank; r++)
        for (int64_t i = 0; i < c->dim; i++)
            if (c->keep[row * c->dim + i])
                u[r] += x[i] / (1 - c->p) * v[c->a + (size_t)(r * c->dim + i)];
    for (int64_t o = 0; o < c->vocab; o++) {
        z[o] = 0;
        for (int64_t i = 0; i < c->dim; i++)
            z[o] += x[i] * c->weight[o * c->dim + i];
        for (int64_t r = 0; r < c->rank; r++)
            z[o] += c->scale * u[r] * v[c->b + (size_t)(o * c->rank + r)];
    }
}

static double row_loss(const struct head_case *c, const double *v, int64_t row)
{
    double *z = malloc((size_t)c->vocab * sizeof *z), largest = -INFINITY, sum = 0;
    logits_of(c, v, row, z);
    for (int64_t o = 0; o < c->vocab; o++)
        largest = fmax(largest, c->logit_scale * z[o]);
    for (int64_t o = 0; o < c->vocab; o++)
        sum += exp(c->logit_scale * z[o] - largest);
    double loss = largest + log(sum) - c->logit_scale * z[c->target[row]];
    free(z);
    return loss;
}

static double loss_ref(void *arg, const double *v)
{
    const struct head_case *c = arg;
    double sum = 0;
    for (int64_t t = 0; t < c->rows; t++)
        if (c->target[t] >= 0) sum += row_loss(c, v, t);
    return c->dscale * sum;
}

/* Makes one vector of doubles from x, A, B and W. W is last, because it has no gradient. */
static double *all_values(struct head_case *c, const float *x, int64_t stride,
                          const struct linear *head)
{
    c->a = (size_t)(c->rows * c->dim);
    c->b = c->a + (size_t)(c->rank * c->dim);
    c->w = c->b + (size_t)(c->rank * c->vocab);
    c->count = c->w + (size_t)(c->vocab * c->dim);
    double *v = check_doubles(NULL, c->count);
    for (int64_t i = 0; i < c->rows * c->dim; i++)
        v[i] = (double)x[i / c->dim * stride + i % c->dim];
    for (size_t i = c->a; i < c->count; i++)
        v[i] = (double)(i < c->b   ? head->a[i - c->a]
                        : i < c->w ? head->b[i - c->b]
                                   : ((const float *)head->weight)[i - c->w]);
    c->weight = v + c->w;
    return v;
}

/* Runs the operations in the order in which a model calls them. */
static void one_head(int64_t rows, int64_t vocab, int64_t dim, int64_t rank, float p)
{
    int64_t stride = dim + rank + 1;
    size_t n = (size_t)(rows * dim), ranks = (size_t)(rank * dim), outs = (size_t)(vocab * rank);
    float *x = check_random_buffer((size_t)(rows * stride)), *nll = check_buffer((size_t)rows);
    float *dx = check_buffer(n), *du = check_buffer((size_t)(rows * (rank + 1)));
    float *da = check_random_buffer(ranks), *db = check_random_buffer(outs);
    float *logits = check_buffer((size_t)(rows * vocab));
    double *da0 = check_doubles(da, ranks), *db0 = check_doubles(db, outs);
    int32_t *target = (int32_t *)check_buffer((size_t)rows);
    struct linear head = { .type = DTYPE_F32,
                           .weight = check_random_buffer((size_t)(vocab * dim)),
                           .out = vocab,
                           .in = dim,
                           .rank = rank,
                           .scale = 0.75f,
                           .a = check_random_buffer(ranks),
                           .b = check_random_buffer(outs),
                           .db_acc = db };
    struct linear down = { .type = DTYPE_F32,
                           .in = dim,
                           .rank = rank,
                           .scale = 0.75f,
                           .a = head.a,
                           .da_acc = da,
                           .dropout_stream = 7 };
    struct group g = { &down, 1, 5, false };
    struct dropout drop = { .key = 99, .p = p, .first_row = 5 };
    struct mat none = mat_of(NULL, 0), to_dx = mat_of(dx, dim), to_du = mat_of(du, rank + 1);
    for (int64_t t = 0; t < rows; t++)
        target[t] = t % 5 == 3 ? -1 : (int32_t)check_below(vocab);
    struct shape shape = small_shape(rows, dim);
    shape.vocab = vocab;
    shape.slot[5] = (struct slot_shape){ 0, dim, rank };
    shape.head_rank = rank;
    shape.has_backward = true;
    shape.dropout = p;
    backend_reserve(shape);
    struct head_case c = { rows,      vocab,     dim, rank, target, 0.75, 1.5, 0.25,
                           (double)p, malloc(n), 0,   0,    0,      0,    NULL };
    k->dropout_mask(dev, c.keep, down.dropout_stream, rows, dim, drop);
    double *v = all_values(&c, x, stride, &head), *gradient = check_doubles(NULL, c.w);
    k->linear_prepare(dev, &g);
    k->lora_down(dev, mat_of(x, stride), &g, rows, drop);
    k->head_loss(dev, nll, to_dx, to_du, NULL, mat_of(x, stride), &head, 1.5f, target, rows, 0.25f);
    k->linear_prepare(dev, &g);
    k->lora_bwd_input(dev, to_dx, to_du, &g, rows, drop);
    k->linear_bwd_weight(dev, &g, &none, to_du, mat_of(x, stride), rows, drop);
    check_gradient(loss_ref, &c, v, c.w, gradient);
    check_close("head_loss and lora_bwd_input: dx", dx, gradient, n, 3e-6);
    for (size_t i = 0; i < ranks; i++)
        gradient[c.a + i] += da0[i];
    for (size_t i = 0; i < outs; i++)
        gradient[c.b + i] += db0[i];
    check_close("linear_bwd_weight da", da, gradient + c.a, ranks, 3e-6);
    check_close("head_loss db", db, gradient + c.b, outs, 3e-6);
    double *exact = check_doubles(NULL, (size_t)rows);
    double *z = check_doubles(NULL, (size_t)(rows * vocab));
    for (int64_t t = 0; t < rows; t++) {
        exact[t] = target[t] < 0 ? 0 : row_loss(&c, v, t);
        logits_of(&c, v, t, z + t * vocab);
    }
    check_close("head_loss nll", nll, exact, (size_t)rows, 1e-6);
    k->head_logits(dev, logits, mat_of(x, stride), &head, rows);
    check_close("head_logits", logits, z, (size_t)(rows * vocab), 2e-6);
    free(c.keep);
    check_free_all();
}

static void test_head_with_adapter(void **state)
{
    (void)state;
    one_head(1, 3, 8, 1, 0);
    one_head(70, 11, 8, 5, 0);
    one_head(20, 130, 16, 8, 0);
    one_head(5, 600, 24, 3, 0.25f); /* more words than a task's patch has columns */
}

static void test_head_with_dropout(void **state)
{
    (void)state;
    one_head(20, 10, 16, 4, 0.25f);
    one_head(130, 7, 13, 3, 0.5f);
}

/* A head that is stored in 16 bits gives the same logits as its values in f32, for generating. */
static void test_stored_in_16_bits(void **state)
{
    (void)state;
    enum { ROWS = 3, VOCAB = 40, DIM = 16, RANK = 4, STRIDE = DIM + RANK + 4 };
    float *x = check_random_buffer(ROWS * STRIDE), *w = check_random_buffer(VOCAB * DIM);
    float *logits = check_buffer(ROWS * VOCAB), *stored = check_buffer(ROWS * VOCAB);
    uint16_t *half = (uint16_t *)check_buffer(VOCAB * DIM);
    for (int i = 0; i < VOCAB * DIM; i++)
        w[i] = bf16_to_float(half[i] = bf16_from_float(w[i]));
    struct linear head = { .type = DTYPE_F32,
                           .weight = w,
                           .out = VOCAB,
                           .in = DIM,
                           .rank = RANK,
                           .scale = 0.5f,
                           .a = check_random_buffer(RANK * DIM),
                           .b = check_random_buffer(RANK * VOCAB) };
    struct linear down = { .type = DTYPE_F32, .in = DIM, .rank = RANK, .a = head.a };
    struct group g = { &down, 1, 5, false };
    struct shape shape = small_shape(ROWS, DIM);
    shape.vocab = VOCAB;
    shape.slot[5] = (struct slot_shape){ 0, DIM, RANK };
    shape.head_rank = RANK;
    backend_reserve(shape);
    k->linear_prepare(dev, &g);
    k->lora_down(dev, mat_of(x, STRIDE), &g, ROWS, (struct dropout){ 0 });
    k->head_logits(dev, logits, mat_of(x, STRIDE), &head, ROWS);
    shape.head_type = DTYPE_BF16;
    backend_reserve(shape);
    head.weight = half;
    head.type = DTYPE_BF16;
    k->linear_prepare(dev, &g);
    k->lora_down(dev, mat_of(x, STRIDE), &g, ROWS, (struct dropout){ 0 });
    k->head_logits(dev, stored, mat_of(x, STRIDE), &head, ROWS);
    check_close("head_logits, bf16", stored, check_doubles(logits, ROWS * VOCAB), ROWS * VOCAB,
                2e-6);
    check_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_head_with_adapter, buffers_close),
        cmocka_unit_test_teardown(test_head_with_dropout, buffers_close),
        cmocka_unit_test_teardown(test_stored_in_16_bits, buffers_close),
    };
    return cmocka_run_group_tests(tests, backend_open, backend_close);
}
