#include "merger.h"

#include "../../lib/common/bf16.h"

#include <math.h>

static void widen(struct merger *m, const struct weight *w, int64_t count)
{
    const uint16_t *half = w->data;
    if (w->type == WEIGHT_NF4) {
        m->k->nf4_dequantize(m->dev, m->wide, w->data, w->absmax, w->nested, w->offset, count);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        m->wide[i] = w->type == WEIGHT_F32    ? ((const float *)w->data)[i]
                     : w->type == WEIGHT_BF16 ? bf16_to_float(half[i])
                                              : f16_to_float(half[i]);
}

static double sum_of_squares(struct merger *m, const float *x, int64_t count)
{
    double sum;
    m->k->sum_squares(m->dev, &sum, x, count);
    return sum;
}

/* wide += s·B·A: the kernels' linear with x = B [rows, r] and the weight s·Aᵀ [cols, r]. */
static int add_product(struct merger *m, const struct tensor *t, struct fail *why)
{
    int64_t rank = m->adapter->rank, count = t->rows * t->cols;
    float scale = (float)(m->adapter->alpha / (double)rank);
    float *a = adapter_values(m->adapter, t, TRAINED_LORA_A, rank, t->cols, why);
    float *b = a ? adapter_values(m->adapter, t, TRAINED_LORA_B, t->rows, rank, why) : NULL;
    float *turned = b ? malloc((size_t)(rank * t->cols) * sizeof *turned) : NULL;
    float *change = b ? malloc((size_t)count * sizeof *change) : NULL;
    int status = b && (!turned || !change) ? fail(why, "out of memory") : b ? 0 : -1;
    if (!status) {
        for (int64_t r = 0; r < rank; r++)
            for (int64_t i = 0; i < t->cols; i++)
                turned[i * rank + r] = scale * a[r * t->cols + i];
        struct linear l = { .type = WEIGHT_F32, .weight = turned, .out = t->cols, .in = rank };
        struct group g = { &l, 1, 0 };
        struct mat x = { (struct act *)b, rank }, y = { (struct act *)change, t->cols };
        m->k->linear_fwd(m->dev, y, x, &g, (struct mat){ NULL, 0 }, t->rows, (struct dropout){ 0 });
        m->squares += sum_of_squares(m, m->wide, count);
        m->change_squares += sum_of_squares(m, change, count);
        for (int64_t i = 0; i < count; i++)
            m->wide[i] += change[i];
        m->merged++;
    }
    free(a);
    free(b);
    free(turned);
    free(change);
    return status;
}

static int replace(struct merger *m, const struct tensor *t, struct fail *why)
{
    float *own = adapter_values(m->adapter, t, TRAINED_WEIGHT, t->rows, t->cols, why);
    if (!own) return -1;
    memcpy(m->wide, own, (size_t)(t->rows * t->cols) * sizeof *own);
    free(own);
    m->replaced++;
    return 0;
}

static int put(struct merger *m, const struct tensor *t, enum dtype dtype,
               struct safetensors_writer *w, struct fail *why)
{
    enum { PIECE = 1 << 16 };
    int64_t count = t->rows * t->cols;
    if (dtype == DTYPE_F32) return safetensors_put(w, m->wide, (size_t)count * 4, why);
    uint16_t *half = malloc(PIECE * sizeof *half);
    int status = half ? 0 : fail(why, "out of memory");
    for (int64_t i = 0; i < count && !status; i += PIECE) {
        int64_t n = count - i < PIECE ? count - i : PIECE;
        for (int64_t j = 0; j < n; j++)
            half[j] = dtype == DTYPE_BF16 ? bf16_from_float(m->wide[i + j])
                                          : f16_from_float(m->wide[i + j]);
        status = safetensors_put(w, half, (size_t)n * 2, why);
    }
    free(half);
    return status;
}

int merger_produce(void *arg, int64_t index, struct safetensors_writer *w, struct fail *why)
{
    struct merger *m = arg;
    const struct tensor *t = &m->base->table[index];
    const struct adapter *a = m->adapter;
    widen(m, &m->base->at[index], t->rows * t->cols);
    bool is_adapted = t->role == ROLE_LINEAR && (a->targets >> t->part & 1);
    bool is_replaced =
        (t->role == ROLE_EMBEDDING && a->has_embedding) || (t->role == ROLE_NORM && a->has_norm);
    if (is_adapted && add_product(m, t, why)) return -1;
    if (is_replaced && replace(m, t, why)) return -1;
    for (int64_t i = 0; i < t->rows * t->cols; i++)
        if (!isfinite(m->wide[i]))
            return fail_input(why, "%s: element %lld is not finite after merging", t->name,
                              (long long)i);
    return put(m, t, m->dtypes[index], w, why);
}
