/* The embedding: looks up rows of a table of f32, bf16 or f16 by token id; sums their gradient. */
#include "kernels/cpu/cpu.h"

enum { COLUMN_TILE = 64 };

struct lookup {
    struct mat x;
    const void *table;
    enum dtype type;
    const int32_t *id;
    float *dtable;
    int64_t rows, dim;
};

static void fwd_rows(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct lookup *l = arg;
    for (int64_t t = task * LIGHT_TILE; t < min_i64((task + 1) * LIGHT_TILE, l->rows); t++) {
        float *x = row_of(l->x, t);
        int64_t at = l->id[t] * l->dim;
        if (l->type == DTYPE_F32) {
            memcpy(x, (const float *)l->table + at, (size_t)l->dim * sizeof *x);
            continue;
        }
        const uint16_t *half = (const uint16_t *)l->table + at;
        for (int64_t i = 0; i < l->dim; i++)
            x[i] = l->type == DTYPE_BF16 ? bf16_to_float(half[i]) : f16_to_float(half[i]);
    }
}

void embedding_fwd(struct device *dev, struct mat x, const void *table, enum dtype type,
                   const int32_t *id, int64_t rows, int64_t dim)
{
    must(type != DTYPE_NF4);
    struct lookup l = { x, table, type, id, NULL, rows, dim };
    pool_run(dev->pool, ceil_div(rows, LIGHT_TILE), fwd_rows, &l);
}

/* A task has some columns of the table and goes over all rows in order, so that sums have one
 * order. */
static void bwd_columns(void *arg, int64_t task, int worker)
{
    (void)worker;
    const struct lookup *l = arg;
    int64_t first = task * COLUMN_TILE, end = min_i64(first + COLUMN_TILE, l->dim);
    for (int64_t t = 0; t < l->rows; t++) {
        const float *dx = row_of(l->x, t);
        float *d = l->dtable + l->id[t] * l->dim;
        for (int64_t i = first; i < end; i++)
            d[i] += dx[i];
    }
}

void embedding_bwd(struct device *dev, float *dtable_acc, struct mat dx, const int32_t *id,
                   int64_t rows, int64_t dim)
{
    struct lookup l = { dx, NULL, DTYPE_F32, id, dtable_acc, rows, dim };
    pool_run(dev->pool, ceil_div(dim, COLUMN_TILE), bwd_columns, &l);
}
