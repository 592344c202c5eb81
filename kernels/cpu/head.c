/* The output head with cross-entropy, in chunks of rows whose logits stay in the
 * cache; the softmax's gradient takes the logits' place. */
#include "cpu.h"

#include <math.h>

enum { HEAD_TILE = 64 };

struct head_call {
    struct device *dev;
    struct mat x, dx;
    const float *weight;
    const int32_t *target;
    float *nll, *logits, *dweight;
    int64_t first, rows, vocab, dim; /* of the chunk */
    float dscale;
};

static float loss_row(float *restrict z, int64_t vocab, int32_t target, float dscale, bool wants_d)
{
    float top = z[0], sum = 0, at_target = z[target];
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < vocab; i++)
        top = z[i] > top ? z[i] : top;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < vocab; i++) {
        float e = fast_exp(z[i] - top);
        z[i] = e;
        sum += e;
    }
    if (wants_d) {
        float factor = dscale / sum;
        for (int64_t i = 0; i < vocab; i++)
            z[i] *= factor;
        z[target] -= dscale;
    }
    return top + logf(sum) - at_target;
}

static void loss_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct head_call *c = arg;
    int64_t first = task * HEAD_TILE, rows = least(HEAD_TILE, c->rows - first), vocab = c->vocab;
    float *z = c->logits + first * vocab;
    product(false, true, rows, vocab, c->dim, 1, row_of(c->x, c->first + first), c->x.stride,
            c->weight, c->dim, 0, z, vocab);
    for (int64_t r = 0; r < rows; r++) {
        int64_t t = c->first + first + r;
        bool is_scored = c->target[t] >= 0;
        c->nll[t] = is_scored
                        ? loss_row(z + r * vocab, vocab, c->target[t], c->dscale, c->dx.at != NULL)
                        : 0;
        if (!is_scored && c->dx.at) memset(z + r * vocab, 0, (size_t)vocab * sizeof *z);
    }
    if (c->dx.at)
        product(false, false, rows, c->dim, vocab, 1, z, vocab, c->weight, c->dim, 0,
                row_of(c->dx, c->first + first), c->dx.stride);
}

static void weight_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct head_call *c = arg;
    int64_t first = task * OUT_TILE, count = least(OUT_TILE, c->vocab - first);
    product(true, false, count, c->dim, c->rows, 1, c->logits + first, c->vocab,
            row_of(c->x, c->first), c->x.stride, 1, c->dweight + first * c->dim, c->dim);
}

void head_loss(struct device *dev, float *nll, struct mat dx, float *dweight_acc, struct mat x,
               const struct linear *head, const int32_t *target, int64_t rows, float dscale)
{
    must(head->type == WEIGHT_F32 && !head->rank);
    must(!dweight_acc || dx.at);
    struct head_call c = { .dev = dev,
                           .x = x,
                           .dx = dx,
                           .weight = head->weight,
                           .target = target,
                           .nll = nll,
                           .logits = dev->logits,
                           .dweight = dweight_acc,
                           .vocab = head->out,
                           .dim = head->in,
                           .dscale = dscale };
    int64_t chunk = (int64_t)dev->logits_floats / c.vocab / HEAD_TILE * HEAD_TILE;
    must(chunk > 0);
    for (c.first = 0; c.first < rows; c.first += chunk) {
        c.rows = least(chunk, rows - c.first);
        pool_run(dev->pool, pieces(c.rows, HEAD_TILE), loss_tile, &c);
        if (dweight_acc) pool_run(dev->pool, pieces(c.vocab, OUT_TILE), weight_tile, &c);
    }
}

static void logits_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct head_call *c = arg;
    int64_t first = task * HEAD_TILE, rows = least(HEAD_TILE, c->rows - first);
    product(false, true, rows, c->vocab, c->dim, 1, row_of(c->x, first), c->x.stride, c->weight,
            c->dim, 0, c->logits + first * c->vocab, c->vocab);
}

void head_logits(struct device *dev, float *logits, struct mat x, const struct linear *head,
                 int64_t rows)
{
    must(!head->rank);
    if (head->type != WEIGHT_F32) {
        struct group g = { head, 1, 0 };
        struct mat none = { NULL, 0 };
        for (int64_t t = 0; t < rows; t += FEW_ROWS) {
            struct mat z = { (struct act *)(logits + t * head->out), head->out };
            struct mat few = { (struct act *)row_of(x, t), x.stride };
            linear_few(dev, z, few, &g, none, least(FEW_ROWS, rows - t));
        }
        return;
    }
    struct head_call c = { .dev = dev,
                           .x = x,
                           .weight = head->weight,
                           .logits = logits,
                           .rows = rows,
                           .vocab = head->out,
                           .dim = head->in };
    pool_run(dev->pool, pieces(rows, HEAD_TILE), logits_tile, &c);
}
