#include "tools/merge/biases.h"
#include "tools/merge/update.h"

#include "lib/cli/progress.h"
#include "lib/common/nf4.h"

#include <math.h>

/* The number of elements of a piece. Two f32 buffers and a 16-bit piece of the result then take
 * 10 MiB, which fits in the last cache of most CPUs. */
enum { PIECE = 1 << 20 };

static int64_t least_common_multiple(int64_t a, int64_t b)
{
    int64_t multiple = a;
    while (multiple % b)
        multiple += a;
    return multiple;
}

/* Returns how many rows a piece has. The number is such that no nested block of NF4 lies in two
 * pieces. */
static int64_t rows_of_piece(const struct merger *m, const struct tensor *t)
{
    int64_t unit = weights_rows_unit(t->cols), head = m->base->config.head_dim;
    if (m->keeps_heads && (t->part == PART_Q || t->part == PART_K))
        unit = least_common_multiple(unit, head);
    int64_t fit = PIECE / t->cols / unit * unit;
    int64_t rows = fit > unit ? fit : unit;
    return rows < t->rows ? rows : t->rows;
}

int merger_open(struct merger *m, const struct merger_job *job, struct fail *why)
{
    *m = (struct merger){ .base = job->base,
                          .table = job->table,
                          .count = job->count,
                          .parts = job->parts,
                          .part_count = job->part_count,
                          .dtypes = job->dtypes,
                          .biases = job->biases,
                          .keeps_heads = job->keeps_heads };
    must(job->part_count <= MERGE_ADAPTERS_MAX);
    for (int64_t i = 0; i < m->count; i++) {
        int64_t count = rows_of_piece(m, &m->table[i]) * m->table[i].cols;
        if (count > m->capacity) m->capacity = count;
    }
    m->wide = malloc((size_t)m->capacity * sizeof *m->wide);
    m->change = malloc((size_t)m->capacity * sizeof *m->change);
    m->narrow = malloc((size_t)m->capacity * sizeof(float));
    int status = m->wide && m->change && m->narrow ? 0 : fail(why, "out of memory");
    if (!status) status = update_check_parts(m, why);
    if (!status) status = kernels_open(&m->k, "cpu", why);
    if (!status) status = m->k->open(&m->dev, job->threads, why);
    if (!status && job->checks_base) status = base_reading_begin(&m->reading, job->base, why);
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

/* Rows [first, first + count) of a tensor. */
struct rows {
    const struct tensor *t;
    int64_t index, first, count;
};

static int64_t elements_of(struct rows r) { return r.count * r.t->cols; }

/* Converts the base's rows to f32 in m->wide. */
static void widen_rows(struct merger *m, struct rows r)
{
    const struct weight *w = &m->base->at[r.index];
    size_t at = (size_t)(r.first * r.t->cols);
    int64_t count = elements_of(r);
    if (w->type == DTYPE_NF4)
        m->k->nf4_dequantize(m->dev, m->wide, (const uint8_t *)w->data + at / 2,
                             w->absmax ? w->absmax + at / NF4_BLOCK : NULL,
                             w->absmax_scale + at / (w->absmax ? NF4_NESTED : NF4_BLOCK), w->offset,
                             count);
    else
        m->k->widen(m->dev, m->wide, weights_rows(m->base, r.index, r.first, r.count, m->narrow),
                    w->type, count);
}

/* Replaces the rows of trained tokens in m->wide. */
static void replace_tokens(struct merger *m, const struct own_rows *own, struct rows r)
{
    size_t i;
    json_t *id;
    json_array_foreach(own->tokens, i, id)
    {
        int64_t row = json_integer_value(id) - r.first;
        if (row >= 0 && row < r.count)
            adapter_rows(own->adapter, own->t, own->kind, r.t->cols, (int64_t)i, 1,
                         m->wide + row * r.t->cols);
    }
}

/* Copies the rows of the base, or those that an adapter has instead, into m->wide. */
static void widen_own(struct merger *m, const struct update *u, struct rows r)
{
    const struct own_rows *own = &u->own;
    enum dtype type = m->base->at[r.index].type;
    int64_t count = elements_of(r);
    if (!own->adapter || own->tokens) {
        widen_rows(m, r);
        if (own->tokens) replace_tokens(m, own, r);
        return;
    }
    adapter_rows(own->adapter, own->t, own->kind, r.t->cols, r.first, r.count, m->wide);
    if (!own->rounds || type == DTYPE_F32) return;
    m->k->narrow_sum(m->dev, m->narrow, type, m->wide, 0, NULL, count);
    m->k->widen(m->dev, m->wide, m->narrow, type, count);
}

/* Puts the rows to which the changes will be added into m->wide. A bias includes what lora_bias
 * adds. */
static void begin_rows(struct merger *m, const struct update *u, struct rows r)
{
    widen_own(m, u, r);
    for (int64_t i = 0; u->bias && i < r.count; i++)
        m->wide[i] += u->bias[r.first + i];
}

/* Computes change = B·A for these rows, as a linear layer with the input B and the weight Aᵀ. */
static int multiply(struct merger *m, const struct change *c, struct rows r, struct fail *why)
{
    struct linear l = {
        .type = DTYPE_F32, .weight = c->a_transposed, .out = r.t->cols, .in = c->rank
    };
    struct group g = { &l, 1, 0, false };
    struct mat x = { (struct act *)(void *)(c->b + r.first * c->rank), c->rank };
    struct mat y = { (struct act *)(void *)m->change, r.t->cols };
    m->k->linear_fwd(m->dev, y, x, &g, (struct mat){ NULL, 0 }, r.count, (struct dropout){ 0 });
    return m->k->sync(m->dev, why);
}

static double sum_of_squares(struct merger *m, const float *x, int64_t count)
{
    double sum;
    m->k->sum_squares(m->dev, &sum, x, count);
    return sum;
}

/* ---- DoRA ---- */

/* Returns ‖W + scale·change‖ for one row of a linear layer's weight. */
static double row_norm(const float *from, const float *change, float scale, int64_t cols)
{
    double sum = 0;
    for (int64_t c = 0; c < cols; c++) {
        double x = (double)(from[c] + scale * change[c]);
        sum += x * x;
    }
    return sqrt(sum);
}

/* Computes wide = factor ∘ (from + scale·change). `from` may be m->wide itself. */
static void rescale_rows(struct merger *m, const struct update *u, struct rows r, const float *from)
{
    int64_t cols = r.t->cols;
    float scale = u->at[0].scale;
    for (int64_t row = 0; row < r.count; row++) {
        const float *x = from + row * cols, *change = m->change + row * cols;
        float *to = m->wide + row * cols;
        double norm = u->norm ? 0 : row_norm(x, change, scale, cols);
        float whole = u->norm ? 0 : u->magnitude[r.first + row] / (float)norm;
        for (int64_t c = 0; c < cols; c++) {
            float factor = u->norm ? u->magnitude[c] / u->norm[c] : whole;
            float before = x[c], after = factor * (before + scale * change[c]);
            double moved = (double)after - (double)before;
            m->change_squares += moved * moved;
            to[c] = after;
        }
    }
}

/* Computes the norm of each column of an embedding over all rows. */
static int find_norms(struct merger *m, int64_t index, struct update *u, struct fail *why)
{
    const struct tensor *t = &m->table[index];
    if (!u->magnitude || t->role != ROLE_EMBEDDING) return 0;
    double *sums = calloc((size_t)t->cols, sizeof *sums);
    u->norm = malloc((size_t)t->cols * sizeof *u->norm);
    int status = sums && u->norm ? 0 : fail(why, "out of memory");
    int64_t each = rows_of_piece(m, t);
    for (int64_t row = 0; row < t->rows && !status; row += each) {
        struct rows r = { t, index, row, row + each < t->rows ? each : t->rows - row };
        const float *from = m->wide;
        begin_rows(m, u, r);
        status = multiply(m, &u->at[0], r, why);
        for (int64_t i = 0; i < elements_of(r) && !status; i++) {
            double x = (double)(from[i] + u->at[0].scale * m->change[i]);
            sums[i % t->cols] += x * x;
        }
    }
    for (int64_t c = 0; c < t->cols && !status; c++)
        u->norm[c] = (float)sqrt(sums[c]);
    free(sums);
    return status;
}

/* ---- one tensor ---- */

/* Adds all changes except the last one to *from. The last change stays in m->change and its scale
 * in *scale; it will be added when the result is rounded. */
static int add_changes(struct merger *m, const struct update *u, struct rows r, const float **from,
                       float *scale, struct fail *why)
{
    int64_t count = elements_of(r);
    *scale = 0;
    if (u->count) m->squares += sum_of_squares(m, *from, count);
    for (int i = 0; i < u->count; i++) {
        if (i) {
            m->k->narrow_sum(m->dev, m->wide, DTYPE_F32, *from, *scale, m->change, count);
            *from = m->wide;
        }
        if (multiply(m, &u->at[i], r, why)) return -1;
        *scale = u->at[i].scale;
        if (!u->magnitude)
            m->change_squares +=
                (double)*scale * (double)*scale * sum_of_squares(m, m->change, count);
    }
    return 0;
}

/* Computes rows of the result into m->narrow, in the result's type. */
static int compute_rows(struct merger *m, const struct update *u, struct rows r, struct fail *why)
{
    enum dtype type = m->dtypes[r.index];
    int64_t count = elements_of(r);
    float scale;
    const float *from = m->wide;
    begin_rows(m, u, r);
    if (add_changes(m, u, r, &from, &scale, why)) return -1;
    bool adds = u->count > 0;
    if (u->magnitude) {
        rescale_rows(m, u, r, from);
        from = m->wide;
        adds = false;
    }
    m->k->narrow_sum(m->dev, m->narrow, type, from, scale, adds ? m->change : NULL, count);
    /* Converts the result back to f32, to find values that became infinite in the result's type. */
    m->k->widen(m->dev, m->change, m->narrow, type, count);
    if (!isfinite(sum_of_squares(m, m->change, count)))
        return fail_input(why,
                          "%s: rows %lld to %lld are not finite after merging to %s: if values "
                          "overflow, use --dtype f32; if a file is damaged, fetch it again",
                          r.t->name, (long long)r.first, (long long)(r.first + r.count - 1),
                          dtype_name(type));
    return 0;
}

/* Compares the base's digest with that of every adapter. The whole base must have been read. */
static int check_base(struct merger *m, struct fail *why)
{
    char base[STREAM_DIGEST_TEXT];
    base_reading_end(m->reading, base);
    m->reading = NULL;
    for (int i = 0; i < m->part_count; i++)
        if (adapter_check_base(m->parts[i].adapter, base, m->base_path, why))
            return loaded_fail_base(m->parts[i].path, !m->base->added_rows, why);
    return 0;
}

static int make_tensor(struct merger *m, int64_t index, merger_put *put, void *sink,
                       struct fail *why)
{
    const struct tensor *t = &m->table[index];
    struct update u;
    int64_t each = rows_of_piece(m, t);
    int status = update_read(m, index, &u, why) || find_norms(m, index, &u, why) ? -1 : 0;
    for (int64_t row = 0; row < t->rows && !status; row += each) {
        struct rows r = { t, index, row, row + each < t->rows ? each : t->rows - row };
        status = compute_rows(m, &u, r, why);
        if (!status) status = put(sink, index, m->narrow, elements_of(r), why);
    }
    update_release(&u);
    return status;
}

int merger_make(struct merger *m, int64_t index, merger_put *put, void *sink, struct fail *why)
{
    if (index >= m->count) {
        const struct bias *b = &m->biases[index - m->count];
        return bias_compute(m, b, why) ? -1 : put(sink, index, m->narrow, b->of->rows, why);
    }
    if (m->reading) {
        base_reading_reach(m->reading, index);
        if (index == m->count - 1 && check_base(m, why)) return -1;
    }
    int status = make_tensor(m, index, put, sink, why);
    progress_at((double)index + 1);
    return status;
}

/* A safetensors file, to which the pieces of one tensor are written. */
struct shard {
    struct safetensors_writer *w;
    size_t element; /* bytes of an element */
};

static int put_in_shard(void *sink, int64_t index, const void *rows, int64_t count,
                        struct fail *why)
{
    const struct shard *s = sink;
    (void)index;
    return safetensors_put(s->w, rows, (size_t)count * s->element, why);
}

int merger_produce(void *arg, int64_t index, struct safetensors_writer *w, struct fail *why)
{
    struct merger *m = arg;
    int64_t of = index < m->count ? index : m->biases[index - m->count].index;
    struct shard s = { w, dtype_size(m->dtypes[of]) };
    return merger_make(m, index, put_in_shard, &s, why);
}
