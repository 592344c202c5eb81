#include "merger.h"

#include "../../lib/common/progress.h"

#include <math.h>

/* Elements of a piece: f32 twice and the result are 10 MiB, two threads' share of the caches. */
enum { PIECE = 1 << 20 };

/* Rows of a piece: at least so many that one of NF4 begins a nested scale. */
static int64_t rows_of_piece(const struct tensor *t)
{
    int64_t unit = weights_rows_unit(t->cols), fit = PIECE / t->cols / unit * unit;
    int64_t rows = fit > unit ? fit : unit;
    return rows < t->rows ? rows : t->rows;
}

int merger_open(struct merger *m, const struct weights *base, const struct adapter *adapter,
                const enum dtype *dtypes, bool checks_base, int threads, struct fail *why)
{
    *m = (struct merger){ .base = base, .adapter = adapter, .dtypes = dtypes };
    for (int64_t i = 0; i < base->count; i++) {
        int64_t count = rows_of_piece(&base->table[i]) * base->table[i].cols;
        if (count > m->room) m->room = count;
    }
    m->wide = malloc((size_t)m->room * sizeof *m->wide);
    m->change = malloc((size_t)m->room * sizeof *m->change);
    m->narrow = malloc((size_t)m->room * sizeof(float));
    int status = m->wide && m->change && m->narrow ? 0 : fail(why, "out of memory");
    if (!status) status = kernels_open(&m->k, "cpu", why);
    if (!status) status = m->k->open(&m->dev, threads, why);
    if (!status && checks_base) status = base_reading_begin(&m->reading, base, why);
    if (status) merger_close(m);
    return status;
}

void merger_close(struct merger *m)
{
    base_reading_end(m->reading, NULL);
    if (m->dev) m->k->close(m->dev);
    free(m->wide);
    free(m->change);
    free(m->narrow);
    *m = (struct merger){ 0 };
}

/* What an adapter does to a tensor. */
struct update {
    float *turned_a; /* Aᵀ [cols, r]; NULL: no LoRA */
    float *b;        /* [rows, r] */
    float *own;      /* instead of the base's; NULL: none */
};

static void update_release(struct update *u)
{
    free(u->turned_a);
    free(u->b);
    free(u->own);
}

static int read_matrices(struct merger *m, const struct tensor *t, struct update *u,
                         struct fail *why)
{
    int64_t rank = m->adapter->rank;
    float *a = adapter_values(m->adapter, t, TRAINED_LORA_A, rank, t->cols, why);
    if (!a) return -1;
    u->b = adapter_values(m->adapter, t, TRAINED_LORA_B, t->rows, rank, why);
    u->turned_a = malloc((size_t)(rank * t->cols) * sizeof *u->turned_a);
    if (u->b && !u->turned_a) (void)fail(why, "out of memory");
    for (int64_t r = 0; u->turned_a && r < rank; r++)
        for (int64_t i = 0; i < t->cols; i++)
            u->turned_a[i * rank + r] = a[r * t->cols + i];
    free(a);
    return u->b && u->turned_a ? 0 : -1;
}

static int read_update(struct merger *m, const struct tensor *t, struct update *u, struct fail *why)
{
    const struct adapter *a = m->adapter;
    *u = (struct update){ 0 };
    if (a->whole >> t->part & 1) {
        u->own = adapter_values(a, t, TRAINED_WEIGHT, t->rows, t->cols, why);
        m->replaced++;
        return u->own ? 0 : -1;
    }
    if (!(a->targets >> t->part & 1)) return 0;
    m->merged++;
    return read_matrices(m, t, u, why);
}

/* The base's elements in f32. */
static void widen_rows(struct merger *m, const struct weight *w, int64_t first, int64_t count)
{
    size_t at = (size_t)first;
    if (w->type == WEIGHT_NF4)
        m->k->nf4_dequantize(m->dev, m->wide, (const uint8_t *)w->data + at / 2,
                             w->absmax ? w->absmax + at / 64 : NULL,
                             w->nested + at / (w->absmax ? 16384 : 64), w->offset, count);
    else
        m->k->widen(m->dev, m->wide, (const char *)w->data + at * weight_type_bits(w->type) / 8,
                    w->type, count);
}

/* change = B·A of some rows: the kernels' linear with x = B and the weight Aᵀ. */
static int multiply(struct merger *m, const struct tensor *t, const struct update *u,
                    int64_t first_row, int64_t rows, struct fail *why)
{
    int64_t rank = m->adapter->rank;
    struct linear l = { .type = WEIGHT_F32, .weight = u->turned_a, .out = t->cols, .in = rank };
    struct group g = { &l, 1, 0 };
    struct mat x = { (struct act *)(void *)(u->b + first_row * rank), rank };
    struct mat y = { (struct act *)(void *)m->change, t->cols };
    m->k->linear_fwd(m->dev, y, x, &g, (struct mat){ NULL, 0 }, rows, (struct dropout){ 0 });
    return m->k->sync(m->dev, why);
}

static double sum_of_squares(struct merger *m, const float *x, int64_t count)
{
    double sum;
    m->k->sum_squares(m->dev, &sum, x, count);
    return sum;
}

static int produce_rows(struct merger *m, int64_t index, const struct update *u, int64_t first_row,
                        int64_t rows, struct safetensors_writer *w, struct fail *why)
{
    const struct tensor *t = &m->base->table[index];
    enum dtype dtype = m->dtypes[index];
    enum weight_type type = weight_type_of_dtype(dtype);
    float scale = (float)(m->adapter->alpha / (double)m->adapter->rank);
    int64_t first = first_row * t->cols, count = rows * t->cols;
    const float *from = u->own ? u->own + first : m->wide;
    if (!u->own) widen_rows(m, &m->base->at[index], first, count);
    if (u->b) {
        if (multiply(m, t, u, first_row, rows, why)) return -1;
        m->squares += sum_of_squares(m, m->wide, count);
        m->change_squares += (double)scale * (double)scale * sum_of_squares(m, m->change, count);
    }
    m->k->narrow_sum(m->dev, m->narrow, type, from, scale, u->b ? m->change : NULL, count);
    /* Infinite in the result's type counts too. */
    m->k->widen(m->dev, m->change, m->narrow, type, count);
    if (!isfinite(sum_of_squares(m, m->change, count)))
        return fail_input(why, "%s: rows %lld to %lld are not finite after merging to %s", t->name,
                          (long long)first_row, (long long)(first_row + rows - 1),
                          dtype_name(dtype));
    return safetensors_put(w, m->narrow, (size_t)count * dtype_size(dtype), why);
}

/* Once all of the base has been read. */
static int check_base(struct merger *m, struct fail *why)
{
    char base[STREAM_DIGEST_TEXT];
    base_reading_end(m->reading, base);
    m->reading = NULL;
    if (!adapter_check_base(m->adapter, base, m->base_path, why)) return 0;
    return loaded_blame_base(m->adapter_path, why);
}

int merger_produce(void *arg, int64_t index, struct safetensors_writer *w, struct fail *why)
{
    struct merger *m = arg;
    const struct tensor *t = &m->base->table[index];
    struct update u;
    if (m->reading) {
        base_reading_reach(m->reading, index);
        if (index == m->base->count - 1 && check_base(m, why)) return -1;
    }
    int64_t each = rows_of_piece(t);
    int status = read_update(m, t, &u, why);
    if (status && m->adapter_path) fail_prefix(why, m->adapter_path);
    for (int64_t row = 0; row < t->rows && !status; row += each)
        status =
            produce_rows(m, index, &u, row, row + each < t->rows ? each : t->rows - row, w, why);
    update_release(&u);
    progress_at((double)index + 1);
    return status;
}
