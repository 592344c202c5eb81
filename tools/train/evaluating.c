/* Evaluates the samples of each eval_file. */
#include "tools/train/base_check.h"
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
    if (!model_find_nonfinite(t->model, &t->batch, (struct dropout){ 0 }, &fault))
        fail(&fault, "logits or loss");
    return fail_of_sample(t, f, sample, &fault, why);
}

/* Reads a sample into t->batch. */
static int read_batch(struct trainer *t, struct eval_file *f, uint64_t number,
                      struct sample *sample, struct fail *why)
{
    struct attention_plan full = { .masks_documents =
                                       trainer_masks_documents(t->recipe, &f->info) };
    if (samples_read_at(f->samples, &f->info, number, sample, why)) return -1;
    t->batch.rows = 0;
    batch_add(&t->batch, sample, &full);
    return 0;
}

/* Computes the loss of one sample. */
static int evaluate_sample(struct trainer *t, struct eval_file *f, uint64_t number,
                           struct sample *sample, double *loss, struct fail *why)
{
    *loss = 0;
    if (read_batch(t, f, number, sample, why)) return -1;
    model_forward(t->model, &t->batch, (struct dropout){ 0 });
    if (setup_is_stopped(&t->setup)) return 1;
    if (model_loss(t->model, t->nll, 0, why)) return -1;
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

/* ---- samples in segments ---- */

/* Called by all ranks after a loss was not finite. A rank that computed such a loss keeps the
 * failure. */
static int end_by_fault(struct trainer *t, struct eval_file *f, uint64_t number, bool has_sample,
                        struct fail *why)
{
    struct fail fault;
    bool is_own = groups_have_fault(t, has_sample, (struct dropout){ 0 }, &fault);
    if (is_own && sharing_keep(t, fail_of_sample(t, f, number, &fault, why), true, why)) return -1;
    int met = groups_meet(t, why);
    return met ? met : fail_of_sample(t, f, number, &fault, why);
}

/* Computes a round, in which each group of ranks has one sample, and adds the losses to *sum.
 * status: whether the samples before it were read. The ranks first tell each other of failures,
 * because in a forward they wait for each other. */
static int evaluate_in_segments(struct trainer *t, struct eval_file *f, uint64_t number, int status,
                                struct sample *sample, double *sum, struct fail *why)
{
    bool has_sample = number < reader_records(f->samples);
    if (!status && has_sample) status = read_batch(t, f, number, sample, why);
    status = sharing_keep(t, status, true, why);
    if (!status) status = groups_meet(t, why);
    if (status) return status;
    groups_clear_losses(t);
    if (has_sample) {
        model_forward(t->model, &t->batch, (struct dropout){ 0 });
        if (groups_are_stopped(t)) return 1;
        if (model_loss(t->model, t->nll, 0, why)) return -1;
        groups_sum_losses(t);
    }
    if (groups_add_losses(t, sum, why)) return -1;
    if (!isfinite(*sum)) return end_by_fault(t, f, number, has_sample, why);
    return sharing_stops(t);
}

/* ---- a file ---- */

/* Computes a round, in which each rank has one sample, and adds the losses to *sum, in the order of
 * the samples [first, end). status: whether the samples were read. */
static int evaluate_round(struct trainer *t, struct eval_file *f, uint64_t first, uint64_t end,
                          int status, struct sample *sample, double *sum, struct fail *why)
{
    uint64_t own = (uint64_t)groups_own(t);
    if (!status && first + own < end)
        status = evaluate_sample(t, f, first + own, sample, &t->numbers[own], why);
    status = sharing_keep(t, status, true, why);
    if (!status) status = sharing_numbers(t, t->numbers, 1, why);
    if (!status && sharing_count(t) > 1 && sharing_stops(t)) status = 1;
    for (uint64_t i = first; i < end && !status; i++)
        *sum += t->numbers[i - first];
    return status;
}

static int evaluate_file(struct trainer *t, struct eval_file *f, struct evaluation *e,
                         struct fail *why)
{
    struct sample sample = { 0 };
    uint64_t count = reader_records(f->samples), groups = (uint64_t)groups_count(t);
    double sum = 0;
    int status = 0;
    *e = (struct evaluation){ 0 };
    for (uint64_t first = 0; first < count && !status; first += groups) {
        uint64_t end = first + groups < count ? first + groups : count;
        groups_clear_losses(t);
        if (groups_are_stopped(t)) status = 1;
        for (uint64_t i = first; i < end && !status; i++)
            status = count_tokens(t, f, i, &sample, e, why);
        if (t->setup.segments > 1)
            status = evaluate_in_segments(t, f, first + (uint64_t)groups_own(t), status, &sample,
                                          &sum, why);
        else
            status = evaluate_round(t, f, first, end, status, &sample, &sum, why);
    }
    sample_release(&sample);
    if (status) return status;
    if (!e->targets) return fail_input(why, "%s: its samples have no target tokens", f->path);
    e->loss = sum / (double)e->targets;
    return 0;
}

int trainer_evaluate(struct trainer *t, struct evaluation *e, struct fail *why)
{
    char place[64];
    bool is_alone = sharing_count(t) == 1;
    int status;
    snprintf(place, sizeof place, "the evaluation after step %lld", (long long)t->state.step);
    base_check_guard(t, true);
    do {
        status = 0;
        for (int i = 0; i < t->eval_count && !status; i++)
            status = evaluate_file(t, &t->eval_files[i], &e[i], why);
        /* If the base was changed, a loss that is not finite says nothing. */
        struct fail changed;
        int found = !status || (status < 0 && is_alone) ? base_check(t, place, &changed) : 0;
        if (found < 0) *why = changed;
        if (found) status = found;
    } while (status == BASE_AGAIN);
    base_check_guard(t, false);
    return status;
}

json_t *trainer_eval_json(const struct trainer *t)
{
    json_t *digests = json_array();
    for (int i = 0; digests && i < t->eval_count; i++)
        json_array_append_new(digests, json_string(reader_digest(t->eval_files[i].samples)));
    return digests;
}

void trainer_compare_eval_files(const struct trainer *t, void (*report)(const char *text))
{
    char text[200];
    const json_t *run = run_folder_record(&t->folder, "run");
    const json_t *then = json_object_get(run, "eval_files");
    json_t *now = trainer_eval_json(t);
    snprintf(text, sizeof text,
             "eval_file has other samples than before: losses of evaluations are not comparable "
             "with those up to step %lld",
             (long long)t->resumed);
    if (json_array_size(then) && json_array_size(now) && !json_equal(then, now)) report(text);
    json_decref(now);
}
