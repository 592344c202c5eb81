/* Evaluates the samples of each eval_file. */
#include "tools/train/groups.h"
#include "tools/train/sharing.h"

#include <math.h>

static int fail_of_sample(const struct trainer *t, const struct eval_file *f, uint64_t sample,
                          const struct fail *fault, struct fail *why)
{
    return fail(why,
                "evaluation after step %lld: %s: sample %llu: the loss is not finite; first: %s",
                (long long)t->state.step, f->path, (unsigned long long)sample + 1, fault->text);
}

/* Names the sample and tensor if an evaluation's loss is not finite. */
static int report_evaluation(struct trainer *t, const struct eval_file *f, uint64_t sample,
                             struct fail *why)
{
    struct fail fault;
    if (!model_find_fault(t->model, &t->batch, (struct dropout){ 0 }, &fault))
        fail(&fault, "logits or loss");
    return fail_of_sample(t, f, sample, &fault, why);
}

/* Computes the loss of one sample. With segments it computes the losses of this rank's segments, in
 * t->numbers, and *loss is 0. */
static int evaluate_sample(struct trainer *t, struct eval_file *f, uint64_t number,
                           struct sample *sample, double *loss, struct fail *why)
{
    struct attention_plan full = { .masks_documents =
                                       trainer_masks_documents(t->recipe, &f->info) };
    *loss = 0;
    if (samples_read_at(f->samples, &f->info, number, sample, why)) return -1;
    t->batch.rows = 0;
    batch_add(&t->batch, sample, &full);
    model_forward(t->model, &t->batch, (struct dropout){ 0 });
    if (groups_are_stopped(t)) return 1;
    if (model_loss(t->model, t->nll, 0, why)) return -1;
    if (t->setup.segments > 1) {
        groups_sum_losses(t);
        return 0;
    }
    for (int64_t row = 0; row < t->batch.rows; row++)
        *loss += (double)t->nll[row];
    return isfinite(*loss) ? 0 : report_evaluation(t, f, number, why);
}

/* Counts the tokens and targets of a sample, whichever rank computes it. */
static int count_tokens(struct trainer *t, struct eval_file *f, uint64_t number,
                        struct sample *sample, struct evaluation *e, struct fail *why)
{
    struct attention_plan full = { .masks_documents =
                                       trainer_masks_documents(t->recipe, &f->info) };
    if (samples_read_at(f->samples, &f->info, number, sample, why)) return -1;
    e->targets += sample_targets(sample, &full);
    e->tokens += (int64_t)sample->count;
    return 0;
}

/* Adds the losses of a round of samples in segments. `number` is this rank's sample. */
static int add_losses(struct trainer *t, struct eval_file *f, uint64_t number, double *sum,
                      struct fail *why)
{
    struct fail fault;
    if (groups_add_losses(t, sum, why)) return -1;
    if (isfinite(*sum)) return 0;
    groups_find_fault(t, number < reader_records(f->samples), (struct dropout){ 0 }, &fault);
    return fail_of_sample(t, f, number, &fault, why);
}

/* In each round every group of ranks computes one sample. The losses are added in the order of the
 * samples.
 */
static int evaluate_file(struct trainer *t, struct eval_file *f, struct evaluation *e,
                         struct fail *why)
{
    struct sample sample = { 0 };
    uint64_t count = reader_records(f->samples), groups = (uint64_t)groups_count(t);
    uint64_t own = (uint64_t)groups_own(t);
    bool in_segments = t->setup.segments > 1;
    double sum = 0;
    int status = 0;
    *e = (struct evaluation){ 0 };
    for (uint64_t first = 0; first < count && !status; first += groups) {
        uint64_t end = first + groups < count ? first + groups : count;
        double *loss = &t->numbers[own];
        groups_clear_losses(t);
        if (groups_are_stopped(t)) status = 1;
        for (uint64_t i = first; i < end && !status; i++)
            status = count_tokens(t, f, i, &sample, e, why);
        if (!status && first + own < end)
            status = evaluate_sample(t, f, first + own, &sample, loss, why);
        if (!status && in_segments) status = add_losses(t, f, first + own, &sum, why);
        if (!status && in_segments && sharing_stops(t)) status = 1;
        if (!in_segments) status = sharing_keep(t, status, true, why);
        if (!status && !in_segments) status = sharing_numbers(t, t->numbers, 1, why);
        if (!status && !in_segments && groups > 1 && sharing_stops(t)) status = 1;
        for (uint64_t i = first; i < end && !status && !in_segments; i++)
            sum += t->numbers[i - first];
    }
    sample_release(&sample);
    if (status) return status;
    if (!e->targets) return fail_input(why, "%s: its samples have no target tokens", f->path);
    e->loss = sum / (double)e->targets;
    return 0;
}

int trainer_evaluate(struct trainer *t, struct evaluation *e, struct fail *why)
{
    int status = 0;
    for (int i = 0; i < t->eval_count && !status; i++)
        status = evaluate_file(t, &t->eval_files[i], &e[i], why);
    return status;
}
