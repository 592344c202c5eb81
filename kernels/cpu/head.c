/* The output head with cross-entropy. Rows are processed in chunks: first their logits, then the
 * loss, whose gradient overwrites the logits, then dx.
 *
 * The weights are read twice for each chunk. If products are in bf16 and the model is wide enough
 * (head_is_packed), a task of head_loss packs its part of the weights and multiplies all rows of
 * the chunk by it. x and the gradient of the logits are packed once.
 */
#include "kernels/cpu/cpu.h"

#include <math.h>

enum { LOSS_TILE = PANEL }; /* rows that a task of the loss processes */

struct head_call {
    struct device *dev;
    struct mat x, dx;
    const float *weight;
    const int32_t *target;
    float *nll, *logits, *dweight;
    /* The adapter: its rank, or 0; du; B [vocab, rank] and its gradient. u of lora_down is
     * in the columns of x from dim on. */
    int64_t rank;
    struct mat du;
    const float *b;
    float *db, scale;
    int64_t first, rows; /* the chunk that is being processed */
    int64_t vocab, dim;
    float logit_scale, dscale;
    bool is_packed;
    struct packed a; /* packed: first x, then the gradient of the logits */
};

/* Scales a row of logits. */
static void scale_row(float *restrict z, int64_t vocab, float scale)
{
#pragma omp simd
    for (int64_t i = 0; i < vocab; i++)
        z[i] *= scale;
}

static float loss_row(float *restrict z, int64_t vocab, int32_t target, float dscale, bool wants_d)
{
    float max_logit = z[0], sum = 0, at_target = z[target];
#pragma omp simd reduction(max : max_logit)
    for (int64_t i = 0; i < vocab; i++)
        max_logit = z[i] > max_logit ? z[i] : max_logit;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < vocab; i++) {
        float e = fast_exp(z[i] - max_logit);
        z[i] = e;
        sum += e;
    }
    if (wants_d) {
        float factor = dscale / sum;
        for (int64_t i = 0; i < vocab; i++)
            z[i] *= factor;
        z[target] -= dscale;
    }
    return max_logit + logf(sum) - at_target;
}

static void logits_tile(void *arg, int64_t task, int worker)
{
    const struct head_call *c = arg;
    struct patch t = patch_of(c->rows, c->vocab, task);
    gemm(gemm_scratch(c->dev, worker), false, true, t.rows, t.cols, c->dim, 1,
         row_of(c->x, c->first + t.row), c->x.stride, c->weight + t.col * c->dim, c->dim, 0,
         c->logits + t.row * c->vocab + t.col, c->vocab);
}

/* Adds scale · u Bᵀ to a patch of the logits. */
static void adapter_tile(void *arg, int64_t task, int worker)
{
    const struct head_call *c = arg;
    struct patch t = patch_of(c->rows, c->vocab, task);
    gemm(gemm_scratch(c->dev, worker), false, true, t.rows, t.cols, c->rank, c->scale,
         row_of(c->x, c->first + t.row) + c->dim, c->x.stride, c->b + t.col * c->rank, c->rank, 1,
         c->logits + t.row * c->vocab + t.col, c->vocab);
}

/* Packs a part of the weights and multiplies c->a by it, for PACK_DEPTH values of the inner index
 * from k on. If k is 0, to [rows, count] becomes the product; otherwise the product is added to it.
 * The logits are x Wᵀ: a column of the part is a row of W, and k_is_outer is false. dx is
 * dlogits W: k counts rows of W, and k_is_outer is true. */
static void multiply_packed(const struct head_call *c, int worker, float *to, int64_t ld, int64_t k,
                            const float *weights, int64_t count, bool k_is_outer)
{
    struct packed b = { (bf16 *)(void *)worker_scratch(c->dev, worker), count,
                        min_i64(PACK_DEPTH, c->a.depth - k) };
    pack_operand(&b, (struct packed_part){ 0, count, 0, b.depth },
                 (struct source){ weights, c->dim, k_is_outer, 1 }, true);
    for (int64_t r = 0; r < c->rows; r += WIDE_ROWS)
        gemm_packed(min_i64(WIDE_ROWS, c->rows - r), count, b.depth,
                    (struct packed_view){ &c->a, r, k }, (struct packed_view){ &b, 0, 0 }, k > 0,
                    to + r * ld, ld);
}

static void logits_packed(void *arg, int64_t task, int worker)
{
    const struct head_call *c = arg;
    int64_t col = task * HEAD_COLUMNS, count = min_i64(HEAD_COLUMNS, c->vocab - col);
    for (int64_t k = 0; k < c->dim; k += PACK_DEPTH)
        multiply_packed(c, worker, c->logits + col, c->vocab, k, c->weight + col * c->dim + k,
                        count, false);
}

static void gradient_packed(void *arg, int64_t task, int worker)
{
    const struct head_call *c = arg;
    int64_t col = task * HEAD_COLUMNS, count = min_i64(HEAD_COLUMNS, c->dim - col);
    for (int64_t k = 0; k < c->vocab; k += PACK_DEPTH)
        multiply_packed(c, worker, row_of(c->dx, c->first) + col, c->dx.stride, k,
                        c->weight + k * c->dim + col, count, true);
}

static void loss_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct head_call *c = arg;
    for (int64_t r = task * LOSS_TILE; r < min_i64((task + 1) * LOSS_TILE, c->rows); r++) {
        int64_t t = c->first + r;
        float *z = c->logits + r * c->vocab;
        bool is_scored = c->target[t] >= 0;
        if (is_scored && c->logit_scale != 1) scale_row(z, c->vocab, c->logit_scale);
        c->nll[t] = is_scored ? loss_row(z, c->vocab, c->target[t], c->dscale * c->logit_scale,
                                         c->dx.at != NULL)
                              : 0;
        if (!is_scored && c->dx.at) memset(z, 0, (size_t)c->vocab * sizeof *z);
    }
    int64_t first = task * LOSS_TILE;
    if (c->is_packed && c->dx.at)
        pack_operand(
            &c->a, (struct packed_part){ first, min_i64(LOSS_TILE, c->rows - first), 0, c->vocab },
            (struct source){ c->logits + first * c->vocab, c->vocab, false, 1 }, false);
}

static void gradient_tile(void *arg, int64_t task, int worker)
{
    const struct head_call *c = arg;
    struct patch t = patch_of(c->rows, c->dim, task);
    gemm(gemm_scratch(c->dev, worker), false, false, t.rows, t.cols, c->vocab, 1,
         c->logits + t.row * c->vocab, c->vocab, c->weight + t.col, c->dim, 0,
         row_of(c->dx, c->first + t.row) + t.col, c->dx.stride);
}

static void weight_tile(void *arg, int64_t task, int worker)
{
    const struct head_call *c = arg;
    int64_t first = task * OUT_TILE, count = min_i64(OUT_TILE, c->vocab - first);
    gemm(gemm_scratch(c->dev, worker), true, false, count, c->dim, c->rows, 1, c->logits + first,
         c->vocab, row_of(c->x, c->first), c->x.stride, 1, c->dweight + first * c->dim, c->dim);
}

/* Computes du = scale · dlogits B for a task's rows. */
static void du_tile(void *arg, int64_t task, int worker)
{
    const struct head_call *c = arg;
    int64_t first = task * ROW_TILE, rows = min_i64(ROW_TILE, c->rows - first);
    gemm(gemm_scratch(c->dev, worker), false, false, rows, c->rank, c->vocab, c->scale,
         c->logits + first * c->vocab, c->vocab, c->b, c->rank, 0, row_of(c->du, c->first + first),
         c->du.stride);
}

/* Computes db += scale · dlogitsᵀ u for a task's rows of B. */
static void db_tile(void *arg, int64_t task, int worker)
{
    const struct head_call *c = arg;
    int64_t first = task * OUT_TILE, count = min_i64(OUT_TILE, c->vocab - first);
    gemm(gemm_scratch(c->dev, worker), true, false, count, c->rank, c->rows, c->scale,
         c->logits + first, c->vocab, row_of(c->x, c->first) + c->dim, c->x.stride, 1,
         c->db + first * c->rank, c->rank);
}

static void chunk_loss(struct head_call *c)
{
    struct pool *pool = c->dev->pool;
    if (c->is_packed) {
        struct mat x = { (struct act *)row_of(c->x, c->first), c->x.stride };
        bf16 *at = c->dev->packed;
        c->a.depth = c->dim;
        packed_alloc(c->dev, &c->a, 1, c->rows, &at);
        pack_rows(c->dev, &c->a, &x, 1);
        pool_run(pool, ceil_div(c->vocab, HEAD_COLUMNS), logits_packed, c);
        c->a.depth = c->vocab;
    } else {
        pool_run(pool, patches_of(c->rows, c->vocab), logits_tile, c);
    }
    if (c->rank) pool_run(pool, patches_of(c->rows, c->vocab), adapter_tile, c);
    pool_run(pool, ceil_div(c->rows, LOSS_TILE), loss_rows, c);
    if (c->dx.at && c->is_packed)
        pool_run(pool, ceil_div(c->dim, HEAD_COLUMNS), gradient_packed, c);
    else if (c->dx.at)
        pool_run(pool, patches_of(c->rows, c->dim), gradient_tile, c);
    if (c->dweight) pool_run(pool, ceil_div(c->vocab, OUT_TILE), weight_tile, c);
    if (c->rank && c->dx.at) pool_run(pool, ceil_div(c->rows, ROW_TILE), du_tile, c);
    if (c->db) pool_run(pool, ceil_div(c->vocab, OUT_TILE), db_tile, c);
}

void head_loss(struct device *dev, float *nll, struct mat dx, struct mat du, float *dweight_acc,
               struct mat x, const struct linear *head, float logit_scale, const int32_t *target,
               int64_t rows, float dscale)
{
    must(head->type == DTYPE_F32 && (!head->rank || x.stride >= head->in + head->rank));
    must((!dweight_acc || dx.at) && (!head->rank || !dx.at || du.stride >= head->rank));
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
                           .rank = head->rank,
                           .du = du,
                           .b = head->b,
                           .db = dx.at ? head->db_acc : NULL,
                           .scale = head->scale,
                           .logit_scale = logit_scale,
                           .dscale = dscale,
                           .is_packed = head_is_packed(head->in) };
    int64_t chunk = (int64_t)dev->logits_floats / c.vocab;
    must(chunk > 0);
    for (c.first = 0; c.first < rows; c.first += chunk) {
        c.rows = min_i64(chunk, rows - c.first);
        chunk_loss(&c);
    }
}

void head_logits(struct device *dev, float *logits, struct mat x, const struct linear *head,
                 int64_t rows)
{
    if (head->type != DTYPE_F32) {
        struct group g = { head, 1, 0, false };
        struct mat none = { NULL, 0 };
        for (int64_t t = 0; t < rows; t += DECODE_ROWS) {
            struct mat z = { (struct act *)(logits + t * head->out), head->out };
            struct mat x_rows = { (struct act *)row_of(x, t), x.stride };
            linear_decode(dev, z, x_rows, &g, none, min_i64(DECODE_ROWS, rows - t));
        }
        return;
    }
    struct head_call c = { .dev = dev,
                           .x = x,
                           .weight = head->weight,
                           .logits = logits,
                           .rows = rows,
                           .vocab = head->out,
                           .dim = head->in,
                           .rank = head->rank,
                           .b = head->b,
                           .scale = head->scale };
    pool_run(dev->pool, patches_of(rows, c.vocab), logits_tile, &c);
    if (c.rank) pool_run(dev->pool, patches_of(rows, c.vocab), adapter_tile, &c);
}
