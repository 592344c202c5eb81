/* Biases of linear layers. Before the products are added to the result, the forward puts the
 * biases there, or adds them to the residual that is there. The backward adds up their gradient.
 */
#include "kernels/cpu/cpu.h"

void bias_put(const struct group *g, struct mat y, struct patch t, bool has_residual)
{
    int64_t first = 0;
    for (int i = 0; i < g->count; first += g->at[i++].out) {
        const struct linear *l = &g->at[i];
        int64_t from = first > t.col ? first : t.col;
        int64_t count = min_i64(first + l->out, t.col + t.cols) - from;
        const float *bias = l->bias ? l->bias + (from - first) : NULL;
        for (int64_t r = t.row; r < t.row + t.rows; r++)
            for (int64_t j = 0; j < count; j++) {
                float *to = row_of(y, r) + from + j;
                *to = (has_residual ? *to : 0) + (bias ? bias[j] : 0);
            }
    }
}

struct bias_call {
    float *dbias;
    struct mat dy;
    int64_t rows, out;
};

/* Computes dbias += Σ_t dy for some columns, row after row. */
static void bias_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct bias_call *b = arg;
    int64_t first = task * OUT_TILE, count = min_i64(OUT_TILE, b->out - first);
    float sum[OUT_TILE] = { 0 };
    for (int64_t t = 0; t < b->rows; t++) {
        const float *dy = row_of(b->dy, t) + first;
        for (int64_t i = 0; i < count; i++)
            sum[i] += dy[i];
    }
    for (int64_t i = 0; i < count; i++)
        b->dbias[first + i] += sum[i];
}

void bias_gradient(struct device *dev, const struct linear *l, struct mat dy, int64_t rows)
{
    struct bias_call b = { l->dbias_acc, dy, rows, l->out };
    pool_run(dev->pool, ceil_div(l->out, OUT_TILE), bias_tile, &b);
}
