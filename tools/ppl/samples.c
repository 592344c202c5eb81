#include "tools/ppl/samples.h"

#include "lib/cli/progress.h"
#include "lib/common/buffer.h"
#include "tools/ppl/sums.h"

#include <math.h>

int samples_row(int64_t tokens, const int64_t *contexts, int n)
{
    int row = -1;
    for (int i = 0; i < n; i++)
        if (contexts[i] >= tokens && (row < 0 || contexts[i] < contexts[row])) row = i;
    return row;
}

/* A run over the samples of one row of the table. */
struct run {
    const struct samples *s;
    struct model *m;
    struct batch b;
    const struct attention_plan *attention;
    int64_t *indices; /* [count] of the samples */
    int64_t count;
    struct sums sums;
};

static const struct sample *sample_of(const struct run *r, int64_t i)
{
    return &r->s->at[r->indices[i]];
}

/* ---- the samples, as turns.h has them ---- */

/* A sample gives the losses of its rows. */
static int64_t values_of(const void *arg, int64_t i) { return (int64_t)sample_of(arg, i)->count; }

static void fill_batch(struct run *r, int64_t i)
{
    r->b.rows = 0;
    (void)batch_add(&r->b, sample_of(r, i), r->attention);
}

static int compute(void *arg, int64_t i, float *nll, struct fail *why)
{
    struct run *r = arg;
    fill_batch(r, i);
    model_at(r->m, "sample %lld", (long long)r->indices[i] + 1);
    model_forward(r->m, &r->b, (struct dropout){ 0 });
    if (model_loss(r->m, nll, 0, why) || model_gather_losses(r->m, nll, why)) return -1;
    progress_at((double)(r->indices[i] + 1));
    return 0;
}

/* Adds the losses of a sample's targets. Row t predicts token t + 1. */
static void add(void *arg, int64_t i, const float *nll)
{
    struct run *r = arg;
    int64_t scored = 0;
    double sum = 0;
    fill_batch(r, i);
    for (int64_t t = 0; t < r->b.rows; t++) {
        if (r->b.target[t] < 0) continue;
        sum += (double)nll[t];
        scored++;
        sums_add_prediction(&r->sums, t + 1, (double)nll[t]);
    }
    if (scored) sums_add_window(&r->sums, sum, (double)scored, scored);
}

static int list_samples(struct run *r, const int64_t *contexts, int n, int row, struct fail *why)
{
    for (size_t i = 0; i < r->s->count; i++) {
        if (samples_row((int64_t)r->s->at[i].count, contexts, n) != row) continue;
        if (buffer_extend(&r->indices, r->count, why)) return -1;
        r->indices[r->count++] = (int64_t)i;
    }
    return 0;
}

int samples_run(const struct samples *s, struct model *m, const int64_t *contexts, int n, int row,
                struct turns *turns, struct score *score, struct fail *why)
{
    const struct attention_plan full = { .masks_documents = s->masks_documents };
    struct run r = { .s = s, .m = m, .attention = &full };
    int status =
        batch_init(&r.b, contexts[row], why) || list_samples(&r, contexts, n, row, why) ? -1 : 0;
    const struct turns_work work = { .unit = "sample",
                                     .context = contexts[row],
                                     .count = r.count,
                                     .arg = &r,
                                     .values = values_of,
                                     .compute = compute,
                                     .add = add };
    *score = (struct score){ .context = contexts[row], .windows = r.count };
    progress_begin(&(struct progress){ .unit = "samples", .total = (double)s->count });
    if (!status) status = turns_run(turns, &work, why);
    progress_end();
    if (!status && !r.sums.scored)
        status = fail_input(why, "context %lld: its samples have no target tokens",
                            (long long)contexts[row]);
    if (!status) sums_finish(&r.sums, score);
    if (!status && !isfinite(score->nll))
        status = fail(why, "context %lld: mean loss is %f", (long long)contexts[row], score->nll);
    batch_release(&r.b);
    free(r.indices);
    return status;
}
