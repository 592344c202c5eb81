#include "tools/train/groups.h"

#include "lib/cli/progress.h"
#include "model/sample_ranks.h"
#include "tools/train/sharing.h"

#include <math.h>

/* ---- how many ranks share a sample ---- */

static int check_rows(const struct trainer *t, struct fail *why)
{
    int64_t count = t->recipe->segments, context = t->setup.positions, rows = context / count;
    int64_t chunk = t->recipe->chunk_rows;
    if (context % count || rows % SEGMENT_UNIT)
        return fail_usage(
            why,
            "context_segments %lld, and max_seq_length is %lld: it must be a multiple "
            "of %lld, which are %d rows a segment",
            (long long)count, (long long)context, (long long)(count * SEGMENT_UNIT), SEGMENT_UNIT);
    if (chunk && chunk < rows && rows % chunk)
        return fail_usage(why,
                          "chunk_rows %lld, and a segment has %lld rows (max_seq_length / "
                          "context_segments): it must divide them",
                          (long long)chunk, (long long)rows);
    return 0;
}

/* Fails, and says why, if the ranks of a sample cannot exchange groups. */
static int check_groups(const struct trainer *t, struct fail *why)
{
    int64_t group = t->attention.group, context = t->setup.positions;
    enum { UNIT = 2 * ATTENTION_UNIT };
    if (!group) return fail_usage(why, "context_exchange: groups needs attention: s2");
    if (group % UNIT)
        return fail_usage(why,
                          "context_exchange: groups, and a group has %lld tokens (group): it must "
                          "be a multiple of %d",
                          (long long)group, UNIT);
    if (context % (group / 2))
        return fail_usage(why,
                          "context_exchange: groups, and max_seq_length is %lld: it must be a "
                          "multiple of %lld, half a group",
                          (long long)context, (long long)(group / 2));
    if (t->config.kv_heads % 2)
        return fail_usage(why,
                          "context_exchange: groups, and the model has %lld key/value heads: only "
                          "an even number can be halved",
                          (long long)t->config.kv_heads);
    return 0;
}

/* An evaluation has full attention, whose ranks exchange heads. */
static bool evaluates(const struct trainer *t)
{
    return t->recipe->eval_file && t->recipe->eval_strategy != INTERVAL_NO;
}

/* May the ranks of a sample exchange heads, or groups? */
static bool may_exchange_heads(const struct trainer *t, int64_t ranks)
{
    return t->config.kv_heads % ranks == 0;
}
static bool may_exchange_groups(const struct trainer *t, int64_t ranks)
{
    struct fail unused;
    if (check_groups(t, &unused) || (evaluates(t) && !may_exchange_heads(t, ranks))) return false;
    return t->setup.positions / (t->attention.group / 2) % ranks == 0;
}

/* Does this number of ranks share a sample evenly, its segments, and its heads or groups? */
static bool is_even(const struct trainer *t, int64_t ranks)
{
    enum context_exchange asked = t->recipe->exchange;
    return t->setup.parts % ranks == 0 && t->recipe->segments % ranks == 0 &&
           ((asked != CONTEXT_EXCHANGE_GROUPS && may_exchange_heads(t, ranks)) ||
            (asked != CONTEXT_EXCHANGE_HEADS && may_exchange_groups(t, ranks)));
}

static int check_asked(const struct trainer *t, int64_t asked, struct fail *why)
{
    bool by_groups = t->recipe->exchange == CONTEXT_EXCHANGE_GROUPS;
    int64_t halves = by_groups ? t->setup.positions / (t->attention.group / 2) : asked;
    const struct sample_ranks_divided each[] = {
        { "ranks", t->setup.parts },
        { "segments of a sample (context_segments)", t->recipe->segments },
        { "halves of groups of a sample", halves },
        { by_groups ? "key/value heads, which an evaluation exchanges" : "key/value heads",
          t->config.kv_heads }
    };
    if (is_even(t, asked)) return 0;
    return sample_ranks_divide(each, sizeof each / sizeof *each, asked, why);
}

int groups_plan(struct trainer *t, int64_t asked, struct fail *why)
{
    int64_t count = t->recipe->segments, ranks = asked ? asked : count;
    int64_t batches = t->recipe->accumulation, parts = t->setup.parts;
    if (count < 2 && asked < 2) return 0;
    if (t->recipe->exchange == CONTEXT_EXCHANGE_GROUPS && check_groups(t, why)) return -1;
    if (check_rows(t, why) || (asked && check_asked(t, asked, why))) return -1;
    while (ranks > 1 && !is_even(t, ranks))
        ranks--;
    t->setup.segments = count;
    t->setup.sample_parts = ranks;
    /* Groups send at most half of what heads do, because a rank has at least half a group. */
    bool by_groups =
        ranks > 1 && t->recipe->exchange != CONTEXT_EXCHANGE_HEADS && may_exchange_groups(t, ranks);
    t->setup.exchange_group = by_groups ? t->attention.group : 0;
    t->setup.also_by_heads = by_groups && evaluates(t);
    if (parts < (batches + 1) * ranks) return 0; /* parts / ranks <= batches */
    return fail_usage(why,
                      "%lld ranks, and a step has %lld sample%s, each on %lld ranks at most: the "
                      "ranks of a sample must divide the ranks, context_segments (%lld) and the "
                      "%lld key/value heads%s",
                      (long long)parts, (long long)batches, batches > 1 ? "s" : "",
                      (long long)ranks, (long long)count, (long long)t->config.kv_heads,
                      by_groups && !evaluates(t) ? " or the halves of groups" : "");
}

bool groups_exchange_otherwise(const struct trainer *t, struct model_setup *setup)
{
    bool by_groups = setup->exchange_group;
    int64_t ranks = setup->sample_parts;
    if (by_groups ? !may_exchange_heads(t, ranks) : !may_exchange_groups(t, ranks)) return false;
    setup->exchange_group = by_groups ? 0 : t->attention.group;
    return true;
}

/* What a rank stores, and how much that is. */
struct stored {
    int64_t amount, layers, attention;
    int64_t inputs_on_host, outputs_on_host;
};

static struct stored stored_of(const struct trainer *t)
{
    const struct model_setup *s = &t->setup;
    int64_t all = t->config.layers, layers = s->stored_layers < all ? s->stored_layers : all;
    struct stored own = { .layers = s->stored_layers,
                          .attention = s->stored_attention,
                          .inputs_on_host = s->inputs_on_host,
                          .outputs_on_host = s->outputs_on_host };
    own.amount = layers * (all + 1) + s->stored_attention;
    if (!s->inputs_on_host) own.amount += (all + 1) * (all + 1);
    if (!s->outputs_on_host) own.amount += (all + 1) * (all + 1) * 2;
    return own;
}

int groups_agree(struct trainer *t, struct fail *why)
{
    struct stored own = stored_of(t), least = own;
    int64_t ranks = sharing_count(t);
    if (t->setup.sample_parts < 2) return 0;
    struct stored *all = calloc((size_t)ranks, sizeof *all);
    int status =
        all ? ranks_all_gather(t->ranks, all, &own, sizeof own, why) : fail(why, "out of memory");
    for (int64_t r = 0; r < ranks && !status; r++)
        if (all[r].amount < least.amount) least = all[r];
    free(all);
    t->setup.stored_layers = least.layers;
    t->setup.stored_attention = least.attention;
    t->setup.inputs_on_host = least.inputs_on_host;
    t->setup.outputs_on_host = least.outputs_on_host;
    return status;
}

bool groups_are_stopped(const struct trainer *t)
{
    bool exchanges = t->setup.segments > 1 && sharing_count(t) > 1;
    return !exchanges && setup_is_stopped(&t->setup);
}

/* ---- the losses of segments ---- */

static int64_t ranks_of_sample(const struct trainer *t)
{
    return t->setup.sample_parts > 1 ? t->setup.sample_parts : 1;
}

int64_t groups_count(const struct trainer *t) { return sharing_count(t) / ranks_of_sample(t); }

int64_t groups_own(const struct trainer *t)
{
    return ranks_place(t->ranks)->rank / ranks_of_sample(t);
}

static int64_t own_segments(const struct trainer *t)
{
    return t->setup.segments > 1 ? t->setup.segments / ranks_of_sample(t) : 1;
}

static double *own_losses(const struct trainer *t)
{
    return t->numbers + ranks_place(t->ranks)->rank * own_segments(t);
}

void groups_clear_losses(struct trainer *t)
{
    memset(own_losses(t), 0, (size_t)own_segments(t) * sizeof(double));
}

void groups_sum_losses(struct trainer *t)
{
    int64_t rows = model_rows(t->model);
    int64_t most = t->setup.segments > 1 ? t->setup.positions / t->setup.segments : rows;
    groups_clear_losses(t);
    for (int64_t row = 0; row < rows; row++)
        own_losses(t)[row / most] += (double)t->nll[row];
}

int groups_add_losses(struct trainer *t, double *sum, struct fail *why)
{
    int64_t ranks = sharing_count(t), count = own_segments(t);
    if (sharing_numbers(t, t->numbers, count, why)) return -1;
    for (int64_t i = 0; i < ranks * count; i++)
        *sum += t->numbers[i];
    return 0;
}

int groups_meet(struct trainer *t, struct fail *why)
{
    if (sharing_numbers(t, t->numbers, 0, why)) return -1;
    return sharing_count(t) > 1 && sharing_stops(t);
}

/* ---- a step ---- */

/* Returns the first rank with a loss that is not finite. */
static int64_t first_faulty(const struct trainer *t)
{
    int64_t ranks = sharing_count(t), count = own_segments(t);
    for (int64_t i = 0; i < ranks * count; i++)
        if (!isfinite(t->numbers[i])) return i / count;
    return ranks_place(t->ranks)->rank;
}

bool groups_have_fault(struct trainer *t, bool has_sample, struct dropout drop, struct fail *fault)
{
    bool is_found = has_sample && model_find_nonfinite(t->model, &t->batch, drop, fault);
    if (!is_found) fail(fault, "logits or loss");
    return first_faulty(t) == ranks_place(t->ranks)->rank;
}

/* The first rank with such a loss names it and ends all. The others wait for that, also if their
 * losses are not finite either. */
void groups_find_fault(struct trainer *t, bool has_sample, struct dropout drop, struct fail *fault)
{
    double sum = 0;
    if (!groups_have_fault(t, has_sample, drop, fault) && groups_add_losses(t, &sum, fault)) return;
}

/* Names the step, the sample and the tensor of a loss that is not finite. */
static int report_fault(struct trainer *t, int64_t batch, struct dropout drop, struct fail *why)
{
    uint64_t position = (uint64_t)(t->state.step * t->recipe->accumulation + batch), number;
    struct fail fault;
    if (trainer_sample_at(t, position, &number, why)) return -1;
    groups_find_fault(t, batch < t->recipe->accumulation, drop, &fault);
    return fail(why, "step %lld: sample %llu: the loss is not finite; first: %s",
                (long long)t->state.step + 1, (unsigned long long)number + 1, fault.text);
}

/* Computes the loss of a sample of the step, and begins its backward with dscale. Returns 1 if
 * groups_are_stopped. */
static int compute_sample(struct trainer *t, int64_t number, struct dropout drop, float dscale,
                          struct fail *why)
{
    t->batch.rows = 0;
    batch_add(&t->batch, &t->step[number], &t->attention);
    trainer_measure_fp8(t, number);
    model_forward(t->model, &t->batch, drop);
    if (groups_are_stopped(t)) return 1;
    if (model_loss(t->model, t->nll, dscale, why)) return -1;
    groups_sum_losses(t);
    return 0;
}

int groups_add_gradients(struct trainer *t, int64_t targets, struct dropout drop,
                         struct step_result *result, struct fail *why)
{
    int64_t batches = t->recipe->accumulation, groups = groups_count(t);
    int64_t own = groups_own(t), row = 0;
    float dscale = (float)(t->state.loss_scale / (double)targets);
    double loss = 0;
    model_at_step(t->model, t->state.step + 1);
    int met = groups_meet(t, why);
    if (met) return met;
    for (int64_t first = 0; first < batches; first += groups) {
        int64_t mine = first + own, row_of_mine = row;
        for (int64_t g = 0; g < groups; g++) {
            int64_t rows = first + g < batches ? (int64_t)t->step[first + g].count : 0;
            model_set_round(t->model, g, rows);
            if (g < own) row_of_mine += rows;
            row += rows;
        }
        struct dropout own_drop = dropout_from(drop, row_of_mine);
        groups_clear_losses(t);
        int status = mine < batches ? compute_sample(t, mine, own_drop, dscale, why) : 0;
        if (status) return status;
        if (groups_add_losses(t, &loss, why)) return -1;
        if (!isfinite(loss)) return report_fault(t, mine, own_drop, why);
        if (sharing_stops(t)) return 1;
        if (mine < batches)
            model_backward(t->model);
        else
            model_join_backward(t->model);
        if (sharing_stops(t)) return 1;
        int64_t done = first + groups < batches ? first + groups : batches;
        progress_at((double)(t->state.step * batches + done));
    }
    result->loss = loss / (double)targets;
    result->targets = targets;
    result->tokens = row;
    return 0;
}
