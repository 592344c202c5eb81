/* lora_bwd_input: what adapters add to the gradient of their input, for a group whose weights are
 * multiplied elsewhere, such as the output head. */
#include "kernels/cpu/cpu.h"

struct lora_call {
    struct device *dev;
    const struct group *g;
    struct mat dx, du;
    int64_t rows;
    struct dropout drop;
};

static void dx_tile(void *arg, int64_t task, int worker)
{
    const struct lora_call *c = arg;
    int64_t in = c->g->at[0].in;
    struct patch t = patch_of(c->rows, in, task);
    const float *du = row_of(c->du, t.row);
    for (int i = 0; i < c->g->count; i++) {
        const struct linear *l = &c->g->at[i];
        bool drops = c->drop.p > 0;
        float *part = worker_scratch(c->dev, worker), *dx = row_of(c->dx, t.row) + t.col;
        if (!l->rank) continue;
        gemm(gemm_scratch(c->dev, worker), false, false, t.rows, t.cols, l->rank, 1, du,
             c->du.stride, l->a + t.col, in, drops ? 0 : 1, drops ? part : dx,
             drops ? t.cols : c->dx.stride);
        if (drops) dropout_add_patch(c->dx, part, l->dropout_stream, t, in, c->drop);
        du += l->rank;
    }
}

void lora_bwd_input(struct device *dev, struct mat dx_acc, struct mat du, const struct group *g,
                    int64_t rows, struct dropout drop)
{
    struct lora_call c = { dev, g, dx_acc, du, rows, drop };
    pool_run(dev->pool, patches_of(rows, g->at[0].in), dx_tile, &c);
}
