#include "quantizer.h"

#include "../../lib/common/bf16.h"
#include "../../lib/common/die.h"
#include "../../lib/common/opt.h"

#include <math.h>

static struct fail why;

/* One tensor in f32, its codes and scales, and what comes back from them. */
struct work {
    const struct kernels *k;
    struct device *dev;
    float *wide, *back, *scratch, *nested, offset;
    uint8_t *codes, *absmax;
};

static void *room(size_t bytes)
{
    void *at = malloc(bytes + 64);
    if (!at) die(STATUS_FAILED, "out of memory: %zu bytes", bytes);
    return at;
}

static int64_t largest_linear(const struct weights *w)
{
    int64_t most = 1;
    for (int64_t i = 0; i < w->count; i++)
        if (w->table[i].role == ROLE_LINEAR && w->table[i].rows * w->table[i].cols > most)
            most = w->table[i].rows * w->table[i].cols;
    return most;
}

static struct work open_work(const struct weights *w)
{
    struct work q = { 0 };
    size_t n = (size_t)largest_linear(w);
    or_die(kernels_open(&q.k, "cpu", &why), &why);
    or_die(q.k->open(&q.dev, (int)opt_standard.threads, &why), &why);
    q.wide = room(n * 4);
    q.back = room(n * 4);
    q.scratch = room((n + 63) / 64 * 4);
    q.nested = room((n + 16383) / 16384 * 4);
    q.codes = room((n + 1) / 2);
    q.absmax = room((n + 63) / 64);
    return q;
}

static void close_work(struct work *q)
{
    q->k->close(q->dev);
    free(q->wide);
    free(q->back);
    free(q->scratch);
    free(q->nested);
    free(q->codes);
    free(q->absmax);
}

/* To f32, if there is room given; refuses what is not finite. */
static void widen(float *to, const struct tensor *t, const struct weight *w, const char *path)
{
    const uint16_t *half = w->data;
    for (int64_t i = 0; i < t->rows * t->cols; i++) {
        float x = w->type == WEIGHT_F32    ? ((const float *)w->data)[i]
                  : w->type == WEIGHT_BF16 ? bf16_to_float(half[i])
                                           : f16_to_float(half[i]);
        if (!isfinite(x))
            die(STATUS_INPUT, "%s: %s: element [%lld, %lld] is %f", path, t->name,
                (long long)(i / t->cols), (long long)(i % t->cols), (double)x);
        if (to) to[i] = x;
    }
}

static void write_plain(struct writer *out, const struct tensor *t, const struct weight *w)
{
    size_t bits = weight_type_bits(w->type);
    int64_t each = weights_rows_each(t->rows, t->cols, bits);
    for (int64_t first = 0; first < t->rows; first += each) {
        int64_t end = first + each < t->rows ? first + each : t->rows;
        struct weights_record r = {
            .rows = t->rows, .cols = t->cols, .first_row = first, .end_row = end
        };
        snprintf(r.name, sizeof r.name, "%s", t->name);
        snprintf(r.dtype, sizeof r.dtype, "%s", weight_type_name(w->type));
        r.data = (const char *)w->data + (size_t)(first * t->cols) * bits / 8;
        r.data_bytes = (size_t)((end - first) * t->cols) * bits / 8;
        or_die(weights_write(out, &r, &why), &why);
    }
}

static void write_nf4(const struct work *q, struct writer *out, const struct tensor *t)
{
    int64_t each = weights_rows_each(t->rows, t->cols, 4);
    for (int64_t first = 0; first < t->rows; first += each) {
        int64_t end = first + each < t->rows ? first + each : t->rows;
        size_t at = (size_t)(first * t->cols), n = (size_t)((end - first) * t->cols);
        struct weights_record r = { .dtype = "nf4",
                                    .rows = t->rows,
                                    .cols = t->cols,
                                    .first_row = first,
                                    .end_row = end,
                                    .data = q->codes + at / 2,
                                    .data_bytes = (n + 1) / 2,
                                    .absmax = q->absmax + at / 64,
                                    .absmax_bytes = (n + 63) / 64,
                                    .nested = q->nested + at / 16384,
                                    .nested_bytes = (n + 16383) / 16384 * 4,
                                    .offset = q->offset };
        snprintf(r.name, sizeof r.name, "%s", t->name);
        or_die(weights_write(out, &r, &why), &why);
    }
}

/* ‖W − Q‖ / ‖W‖ and the largest single difference. */
static void report_error(const struct work *q, const struct tensor *t, double *squares,
                         double *wrong_squares)
{
    double sum = 0, wrong = 0, most = 0;
    for (int64_t i = 0; i < t->rows * t->cols; i++) {
        double x = (double)q->wide[i], d = fabs(x - (double)q->back[i]);
        sum += x * x;
        wrong += d * d;
        if (d > most) most = d;
    }
    *squares += sum;
    *wrong_squares += wrong;
    note("%s: relative error %.4f, largest %.3g", t->name, sum > 0 ? sqrt(wrong / sum) : 0, most);
}

void quantize_all(const struct weights *w, struct writer *out, const char *path)
{
    struct work q = open_work(w);
    double squares = 0, wrong = 0;
    for (int64_t i = 0; i < w->count; i++) {
        const struct tensor *t = &w->table[i];
        widen(t->role == ROLE_LINEAR ? q.wide : NULL, t, &w->at[i], path);
        if (t->role != ROLE_LINEAR) {
            write_plain(out, t, &w->at[i]);
            continue;
        }
        int64_t n = t->rows * t->cols;
        q.k->nf4_quantize(q.dev, q.codes, q.absmax, q.nested, &q.offset, q.scratch, q.wide, n);
        q.k->nf4_dequantize(q.dev, q.back, q.codes, q.absmax, q.nested, q.offset, n);
        report_error(&q, t, &squares, &wrong);
        write_nf4(&q, out, t);
    }
    note("all linears: relative error %.4f", squares > 0 ? sqrt(wrong / squares) : 0);
    close_work(&q);
}
