#include "tools/quantize/quantizer.h"

#include "lib/cli/die.h"
#include "lib/cli/opt.h"
#include "lib/cli/progress.h"
#include "lib/common/nf4.h"

#include <math.h>

/* The largest number of elements of a piece of a tensor. A piece is converted, or searched for a
 * value that is not finite, as a whole. */
enum { PIECE = 1 << 18 };

static int64_t elements(const struct tensor *t) { return t->rows * t->cols; }

static int64_t largest_linear(const struct weights *w)
{
    int64_t max = 1;
    for (int64_t i = 0; i < w->count; i++)
        if (w->table[i].role == ROLE_LINEAR && elements(&w->table[i]) > max)
            max = elements(&w->table[i]);
    return max;
}

int64_t quantizer_rows(const struct tensor *t)
{
    int64_t unit = weights_rows_unit(t->cols), fit = PIECE / t->cols / unit * unit;
    return fit > unit ? fit : unit;
}

static int64_t largest_piece(const struct weights *w)
{
    int64_t max = PIECE;
    for (int64_t i = 0; i < w->count; i++) {
        int64_t count = quantizer_rows(&w->table[i]) * w->table[i].cols;
        if (!w->at[i].data && count > max) max = count;
    }
    return max;
}

int quantizer_open(struct quantizer *q, const struct weights *w, const char *path, struct fail *why)
{
    *q = (struct quantizer){ .weights = w, .path = path };
    int64_t n = largest_linear(w), blocks = nf4_block_count(n);
    int64_t piece = largest_piece(w);
    q->wide = malloc((size_t)piece * sizeof *q->wide);
    q->rows = malloc((size_t)piece * sizeof *q->rows);
    q->absmax_f32 = malloc((size_t)blocks * sizeof *q->absmax_f32);
    q->codes = malloc((size_t)nf4_code_bytes(n));
    q->absmax = malloc((size_t)blocks);
    q->absmax_scale = malloc((size_t)nf4_nested_block_count(n) * sizeof *q->absmax_scale);
    int status = 0;
    if (!q->wide || !q->rows || !q->absmax_f32 || !q->codes || !q->absmax || !q->absmax_scale)
        status = fail(why, "out of memory");
    if (!status) status = kernels_open(&q->k, "cpu", why);
    if (!status) status = q->k->open(&q->dev, (int)opt_standard.threads, why);
    if (status) quantizer_close(q);
    return status;
}

void quantizer_close(struct quantizer *q)
{
    if (q->dev) q->k->close(q->dev);
    free(q->wide);
    free(q->rows);
    free(q->absmax_f32);
    free(q->codes);
    free(q->absmax);
    free(q->absmax_scale);
    *q = (struct quantizer){ 0 };
}

/* Points *piece to the next elements of tensor i, beginning with element `first`, in their stored
 * type. Returns how many elements the piece has. */
static int64_t read_piece(struct quantizer *q, int64_t i, int64_t first, const void **piece)
{
    const struct weight *w = &q->weights->at[i];
    const struct tensor *t = &q->weights->table[i];
    int64_t left = elements(t) - first, n = left < PIECE ? left : PIECE;
    if (w->data) {
        *piece = (const char *)w->data + (size_t)first * dtype_bits(w->type) / 8;
        return n;
    }
    int64_t rows = left / t->cols, each = quantizer_rows(t);
    if (rows > each) rows = each;
    *piece = weights_rows(q->weights, i, first / t->cols, rows, q->rows);
    return rows * t->cols;
}

/* Reads the next elements as read_piece does, and converts them to f32 in q->wide. */
static int64_t widen_piece(struct quantizer *q, int64_t i, int64_t first)
{
    const void *piece;
    int64_t n = read_piece(q, i, first, &piece);
    q->k->widen(q->dev, q->wide, piece, q->weights->at[i].type, n);
    return n;
}

static int fail_not_finite(struct quantizer *q, int64_t i, struct fail *why)
{
    const struct tensor *t = &q->weights->table[i];
    for (int64_t first = 0, n; first < elements(t); first += n) {
        n = widen_piece(q, i, first);
        for (int64_t j = 0; j < n; j++)
            if (!isfinite(q->wide[j]))
                return fail_input(why, "%s: %s: element [%lld, %lld] is %f", q->path, t->name,
                                  (long long)((first + j) / t->cols),
                                  (long long)((first + j) % t->cols), (double)q->wide[j]);
    }
    return fail_input(why, "%s: %s: its values are too large, so that their sum is not finite",
                      q->path, t->name);
}

static double relative(const struct nf4_error *e)
{
    return e->squares > 0 ? sqrt(e->error_squares / e->squares) : 0;
}

static void count_error(struct quantizer *q, const struct tensor *t)
{
    struct kind_error *kind = &q->kinds[t->part];
    double error = relative(&q->error);
    q->errors.squares += q->error.squares;
    q->errors.error_squares += q->error.error_squares;
    kind->sum += error;
    if (!kind->count++ || error > kind->worst) {
        kind->worst = error;
        kind->worst_layer = t->layer;
    }
    if (q->is_verbose)
        note("%s: relative error %.4f, largest %.3g", t->name, error, q->error.max_error);
}

/* Computes q->error of a linear layer that is packed in a GGUF, piece by piece. */
static void find_error(struct quantizer *q, int64_t i)
{
    struct nf4_error sum = { 0 }, e;
    const void *x;
    for (int64_t first = 0, n; first < elements(&q->weights->table[i]); first += n) {
        n = read_piece(q, i, first, &x);
        q->k->nf4_error(q->dev, &e, x, q->weights->at[i].type, q->codes + first / 2,
                        q->absmax + first / NF4_BLOCK, q->absmax_scale + first / NF4_NESTED,
                        q->offset, n);
        sum.squares += e.squares;
        sum.error_squares += e.error_squares;
        if (e.max_error > sum.max_error) sum.max_error = e.max_error;
    }
    q->error = sum;
}

int quantizer_linear(struct quantizer *q, int64_t i, struct fail *why)
{
    const struct weight *w = &q->weights->at[i];
    int64_t count = elements(&q->weights->table[i]), blocks = nf4_block_count(count);
    const void *x = w->data;
    for (int64_t first = 0, n; !w->data && first < count; first += n) {
        n = read_piece(q, i, first, &x);
        q->k->nf4_codes(q->dev, q->codes + first / 2, q->absmax_f32 + first / NF4_BLOCK, x, w->type,
                        n);
    }
    if (w->data) q->k->nf4_codes(q->dev, q->codes, q->absmax_f32, x, w->type, count);
    q->k->nf4_offset(q->dev, &q->offset, q->absmax_f32, blocks);
    if (!isfinite(q->offset)) return fail_not_finite(q, i, why);
    q->k->nf4_nest(q->dev, q->absmax, q->absmax_scale, q->absmax_f32, q->offset, blocks);
    if (w->data)
        q->k->nf4_error(q->dev, &q->error, w->data, w->type, q->codes, q->absmax, q->absmax_scale,
                        q->offset, count);
    else
        find_error(q, i);
    count_error(q, &q->weights->table[i]);
    progress_at((double)i + 1);
    return 0;
}

int quantizer_check(struct quantizer *q, int64_t i, struct fail *why)
{
    for (int64_t first = 0, n; first < elements(&q->weights->table[i]); first += n) {
        double squares;
        n = widen_piece(q, i, first);
        q->k->sum_squares(q->dev, &squares, q->wide, n);
        if (!isfinite(squares)) return fail_not_finite(q, i, why);
    }
    progress_at((double)i + 1);
    return 0;
}

void quantizer_report(const struct quantizer *q)
{
    for (int part = 0; part < PART_COUNT; part++) {
        const struct kind_error *k = &q->kinds[part];
        if (!k->count) continue;
        note("%-9s of %lld layers: relative error %.4f in the mean, %.4f at worst (layer %lld)",
             part_module((enum part)part), (long long)k->count, k->sum / (double)k->count, k->worst,
             (long long)k->worst_layer);
    }
    note("all linear layers: relative error %.4f%s", relative(&q->errors),
         q->is_verbose ? "" : " (--verbose prints that of each layer)");
}
