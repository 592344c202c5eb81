#include "tools/ppl/samples.h"

#include "lib/cli/progress.h"
#include "tools/ppl/sums.h"

#include <math.h>

int samples_row(int64_t tokens, const int64_t *contexts, int n)
{
    int row = -1;
    for (int i = 0; i < n; i++)
        if (contexts[i] >= tokens && (row < 0 || contexts[i] < contexts[row])) row = i;
    return row;
}

/* Adds the losses of the batch's targets, nll [rows]. Row t predicts token t + 1. */
static void add_sample(const struct batch *b, const float *nll, struct sums *s)
{
    int64_t scored = 0;
    double sum = 0;
    for (int64_t t = 0; t < b->rows; t++) {
        if (b->target[t] < 0) continue;
        sum += (double)nll[t];
        scored++;
        sums_add_prediction(s, t + 1, (double)nll[t]);
    }
    if (scored) sums_add_window(s, sum, (double)scored, scored);
}

int samples_run(const struct samples *s, struct model *m, const int64_t *contexts, int n, int row,
                struct score *score, struct fail *why)
{
    const struct attention_plan full = { .masks_documents = s->masks_documents };
    struct progress shown = { .unit = "samples", .total = (double)s->count };
    struct sums sums = { 0 };
    struct batch b;
    float *nll = malloc((size_t)contexts[row] * sizeof *nll);
    *score = (struct score){ .context = contexts[row] };
    int status = batch_init(&b, contexts[row], why);
    if (!status && !nll) status = fail(why, "out of memory");
    progress_begin(&shown);
    for (size_t i = 0; i < s->count && !status; i++) {
        if (samples_row((int64_t)s->at[i].count, contexts, n) != row) continue;
        b.rows = 0;
        (void)batch_add(&b, &s->at[i], &full);
        model_forward(m, &b, (struct dropout){ 0 });
        status = model_loss(m, nll, 0, why);
        if (!status) add_sample(&b, nll, &sums);
        score->windows++;
        progress_at((double)(i + 1));
    }
    progress_end();
    if (!status && !sums.scored)
        status = fail_input(why, "context %lld: its samples have no target tokens",
                            (long long)contexts[row]);
    if (!status) sums_finish(&sums, score);
    if (!status && !isfinite(score->nll))
        status = fail(why, "context %lld: mean loss is %f", (long long)contexts[row], score->nll);
    batch_release(&b);
    free(nll);
    return status;
}
