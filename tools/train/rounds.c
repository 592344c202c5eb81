/* Computes the gradients of a step in rounds. In each round every rank computes one block of the
 * step's batches, if there is one left for it. */
#include "tools/train/rounds.h"

#include "lib/cli/progress.h"
#include "lib/common/arithmetic.h"
#include "lib/common/rng.h"
#include "tools/train/groups.h"
#include "tools/train/sharing.h"

#include <math.h>

static struct dropout dropout_of(const struct trainer *t, int64_t first_row)
{
    char purpose[48];
    snprintf(purpose, sizeof purpose, "dropout of step %lld", (long long)t->state.step);
    return (struct dropout){ .key = rng_key((uint64_t)t->recipe->seed, purpose),
                             .p = (float)t->setup.dropout,
                             .first_row = first_row };
}

/* If a loss is not finite, names the step, the first sample of the batch, and the tensor. */
static int report_fault(struct trainer *t, int64_t first_sample, int64_t samples,
                        struct dropout drop, struct fail *why)
{
    struct fail fault;
    uint64_t position = (uint64_t)(t->state.step * samples + first_sample), number;
    if (trainer_sample_at(t, position, &number, why)) return -1;
    if (!model_find_nonfinite(t->model, &t->batch, drop, &fault)) fail(&fault, "logits or loss");
    return fail(why, "step %lld: sample %llu: the loss is not finite; first: %s",
                (long long)t->state.step + 1, (unsigned long long)number + 1, fault.text);
}

/* Computes the loss of a batch of the step, and begins its backward with dscale. `row` is the
 * number of its first row in the step. Returns 1 if setup.stop was set meanwhile. */
static int compute_batch(struct trainer *t, int64_t number, int64_t row, float dscale, double *loss,
                         struct fail *why)
{
    int64_t size = t->recipe->batch_size, first = number * size;
    struct dropout drop = dropout_of(t, row);
    t->batch.rows = 0;
    *loss = 0;
    for (int64_t i = first; i < first + size; i++)
        batch_add(&t->batch, &t->step[i], &t->attention);
    trainer_measure_fp8(t, number);
    model_forward(t->model, &t->batch, drop);
    if (setup_is_stopped(&t->setup)) return 1;
    if (model_loss(t->model, t->nll, dscale, why)) return -1;
    for (int64_t i = 0; i < t->batch.rows; i++)
        *loss += (double)t->nll[i];
    return isfinite(*loss) ? 0 : report_fault(t, first, size * t->recipe->accumulation, drop, why);
}

static int64_t rows_of_batch(const struct trainer *t, int64_t number)
{
    int64_t rows = 0, size = t->recipe->batch_size;
    for (int64_t i = number * size; i < (number + 1) * size; i++)
        rows += (int64_t)t->step[i].count;
    return rows;
}

/* Computes the batches [first, end) of the step. `row` is the number of their first row in the
 * step. Writes the loss of each batch to loss [end - first]. The backward of the last one is left
 * to the caller, because the ranks share their losses before it. Returns 1 if setup.stop was set
 * meanwhile. */
static int compute_block(struct trainer *t, int64_t first, int64_t end, int64_t row, float dscale,
                         double *loss, struct fail *why)
{
    for (int64_t b = first; b < end; b++) {
        int status = compute_batch(t, b, row, dscale, &loss[b - first], why);
        if (status) return status;
        row += rows_of_batch(t, b);
        if (b + 1 < end) model_backward(t->model);
        if (setup_is_stopped(&t->setup)) return 1;
    }
    return 0;
}

/* Computes the gradient of the step's mean loss, times the loss scale. Returns 1 if the run is to
 * stop. */
int rounds_add_gradients(struct trainer *t, int64_t targets, struct step_result *result,
                         struct fail *why)
{
    if (t->setup.segments > 1)
        return groups_add_gradients(t, targets, dropout_of(t, 0), result, why);
    int64_t batches = t->recipe->accumulation, block = t->recipe->block, row = 0;
    int64_t own = ranks_place(t->ranks)->rank, round = sharing_count(t) * block;
    int64_t samples = t->recipe->batch_size * batches;
    float dscale = (float)(t->state.loss_scale / (double)targets);
    double loss = 0, *own_losses = t->numbers + own * block;
    model_at_step(t->model, t->state.step + 1);
    for (int64_t first = 0; first < batches; first += round) {
        int64_t end = min_i64(first + round, batches);
        int64_t own_first = min_i64(first + own * block, end), own_row = row;
        int64_t own_end = min_i64(own_first + block, end);
        for (int64_t b = first; b < end; b++) {
            if (b < own_first) own_row += rows_of_batch(t, b);
            row += rows_of_batch(t, b);
        }
        int status = compute_block(t, own_first, own_end, own_row, dscale, own_losses, why);
        status = sharing_keep(t, status, false, why);
        if (status) return status;
        if (sharing_numbers(t, t->numbers, block, why)) return -1;
        for (int64_t b = first; b < end; b++)
            loss += t->numbers[b - first];
        if (sharing_stops(t)) return 1;
        if (own_first < own_end)
            model_backward(t->model);
        else
            model_join_backward(t->model);
        if (sharing_stops(t)) return 1;
        progress_at((double)(t->state.step * samples + end * t->recipe->batch_size));
    }
    result->loss = loss / (double)targets;
    result->targets = targets;
    result->tokens = row;
    return 0;
}
