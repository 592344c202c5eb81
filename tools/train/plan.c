#include "tools/train/plan.h"

#include "tools/train/groups.h"
#include "tools/train/sharing.h"

#include "lib/common/size.h"
#include "model/sample_ranks.h"

static int plan_of(const struct trainer *t, const struct model_setup *setup,
                   struct memory_plan *plan, struct fail *why)
{
    return model_plan(plan, setup, &t->config, t->recipe->from_scratch ? NULL : &t->weights, why);
}

/* Lowers *limits to the memory that automatic choices may use. A tenth of the free memory is left
 * to other programs, and the mapped weights stay in memory. */
static int limits_for_storing(const struct trainer *t, const struct model_setup *setup,
                              struct memory_limits *limits, struct fail *why)
{
    struct memory_plan plan;
    if (plan_of(t, setup, &plan, why)) return -1;
    limits->host -= limits->host / 10;
    if (!limits->device) return 0;
    limits->device -= limits->device / 10;
    uint64_t mapped = memory_mapped_share(&plan);
    limits->device = limits->device > mapped ? limits->device - mapped : 1;
    return 0;
}

/* Returns a setup for another context on another device. The rows of a batch grow with the
 * context. */
static struct model_setup setup_at(const struct trainer *t, const struct model_setup *own,
                                   const char *device, int64_t context)
{
    struct model_setup setup = *own;
    setup.device = device;
    setup.positions = context;
    setup.rows = t->recipe->batch_size * context;
    if (setup.exchange_group && !t->recipe->group) setup.exchange_group = context / 4;
    return setup;
}

/* Decides whether AdamW's moments and the layers' inputs are kept on the device or the host. Tries
 * the allowed choices, the cheapest first, and takes the first that fits: moments on the host cross
 * the bus in both directions once per step, inputs once per layer and batch. */
static int settle_places(const struct trainer *t, const struct kernels *k,
                         struct memory_limits limits, bool may_offload, struct model_setup *setup,
                         bool *does_fit, struct fail *why)
{
    static const struct {
        bool moments, inputs;
    } places[] = { { false, false }, { true, false }, { false, true }, { true, true } };
    enum toggle moments = t->recipe->offload_optimizer, inputs = t->recipe->offload_activations;
    struct memory_plan plan;
    *does_fit = false;
    for (int i = 0; i < 4 && !*does_fit; i++) {
        bool is_asked = places[i].moments == (moments == TOGGLE_YES) &&
                        places[i].inputs == (inputs == TOGGLE_YES);
        bool is_open = (moments == TOGGLE_AUTO || places[i].moments == (moments == TOGGLE_YES)) &&
                       (inputs == TOGGLE_AUTO || places[i].inputs == (inputs == TOGGLE_YES));
        /* Offloading is pointless if the device's memory is the host's. */
        if (k->is_host || !limits.device || !may_offload ? !is_asked : !is_open) continue;
        setup->moments_on_host = places[i].moments;
        setup->inputs_on_host = places[i].inputs;
        if (plan_of(t, setup, &plan, why)) return -1;
        *does_fit = memory_fits(&plan, k, limits);
    }
    return 0;
}

/* Sets *stored, a field of the setup, to the largest number of layers that fits. */
static int store_most(const struct trainer *t, const struct kernels *k, struct memory_limits limits,
                      struct model_setup *setup, int64_t *stored, struct fail *why)
{
    struct memory_plan plan;
    int64_t least = 0, too_many = t->config.layers + 1;
    while (too_many - least > 1) {
        *stored = least + (too_many - least) / 2;
        if (plan_of(t, setup, &plan, why)) return -1;
        if (memory_fits(&plan, k, limits))
            least = *stored;
        else
            too_many = *stored;
    }
    *stored = least;
    return 0;
}

/* Plans the setup with the least memory, in which everything is recomputed that the recipe allows
 * to be recomputed. */
static int settle_least(const struct trainer *t, const struct kernels *k,
                        struct memory_limits limits, bool may_offload, struct model_setup *setup,
                        bool *does_fit, struct fail *why)
{
    setup->stored_layers = t->recipe->checkpointing == TOGGLE_NO ? STORES_ALL : 0;
    setup->stored_attention = 0;
    setup->outputs_on_host = false;
    return settle_places(t, k, limits, may_offload, setup, does_fit, why);
}

/* If inputs are offloaded and no layer stores its activations, offloads attention's outputs too,
 * provided that they fit on the host and the two buffers for them fit on the device. */
static int settle_outputs(const struct trainer *t, const struct kernels *k,
                          struct memory_limits limits, struct model_setup *setup, struct fail *why)
{
    struct memory_plan plan;
    if (!setup->inputs_on_host || k->is_host || setup->stored_layers) return 0;
    setup->outputs_on_host = true;
    if (plan_of(t, setup, &plan, why)) return -1;
    setup->outputs_on_host = memory_fits(&plan, k, limits);
    return 0;
}

int plan_settle(const struct trainer *t, struct model_setup *setup, struct fail *why)
{
    const struct kernels *k;
    bool does_fit;
    if (kernels_choose(&k, setup->device, true, why)) return -1;
    struct memory_limits limits = memory_limits_of(k, &t->weights);
    if (settle_least(t, k, limits, true, setup, &does_fit, why)) return -1;
    if (!does_fit) return 0;
    if (limits_for_storing(t, setup, &limits, why) || settle_outputs(t, k, limits, setup, why))
        return -1;
    if (t->recipe->checkpointing != TOGGLE_AUTO || !limits.device) return 0;
    if (!setup->outputs_on_host) {
        /* Stored outputs of attention save more time per gigabyte than stored layers, so they come
         * first. */
        if (store_most(t, k, limits, setup, &setup->stored_attention, why)) return -1;
        if (setup->stored_attention < t->config.layers) return 0;
    }
    return store_most(t, k, limits, setup, &setup->stored_layers, why);
}

/* Finds the longest context that fits with this setup, in steps up to the model's limit; 0 if not
 * even one step fits. *host becomes how many bytes of the host's memory the run takes with that
 * context. */
static int longest_context(const struct trainer *t, const struct model_setup *own,
                           const char *device, struct memory_limits limits, bool may_offload,
                           int64_t *longest, uint64_t *host, struct fail *why)
{
    enum { TOKENS = 256, MOST = 1 << 24 };
    const struct kernels *k;
    const int64_t step = sample_ranks_rows(TOKENS, own->segments);
    struct memory_plan plan;
    int64_t most = t->config.limit < MOST ? t->config.limit : MOST;
    int64_t least = 0, too_long = most / step + 1;
    *host = 0;
    if (kernels_choose(&k, device, true, why)) return -1;
    while (too_long - least > 1) {
        /* The shortest context is tried first. If it does not fit, nothing does. */
        int64_t middle = least ? least + (too_long - least) / 2 : 1;
        struct model_setup setup = setup_at(t, own, device, middle * step);
        bool does_fit;
        if (settle_least(t, k, limits, may_offload, &setup, &does_fit, why)) return -1;
        if (!does_fit) {
            too_long = middle;
            continue;
        }
        least = middle;
        if (plan_of(t, &setup, &plan, why)) return -1;
        *host = memory_host_total(&plan);
    }
    *longest = least * step;
    return 0;
}

/* Writes for example "4096 tokens, 8192 with 3.20 GiB on the host". */
static int describe_longest(const struct trainer *t, const char *device,
                            struct memory_limits limits, char *text, size_t size, struct fail *why)
{
    int64_t alone, longest;
    uint64_t host, most_host;
    char more[80] = "";
    if (longest_context(t, &t->setup, device, limits, false, &alone, &host, why) ||
        longest_context(t, &t->setup, device, limits, true, &longest, &most_host, why))
        return -1;
    if (longest > alone)
        snprintf(more, sizeof more, ", %lld with %s on the host", (long long)longest,
                 size_binary((double)most_host).at);
    snprintf(text, size, "%lld tokens%s", (long long)alone, more);
    return 0;
}

/* Writes "fits", "fits with 3.20 GiB on the host" or "does not fit" for the run at its context. */
static int describe_verdict(const struct trainer *t, const char *device,
                            struct memory_limits limits, char *text, size_t size, struct fail *why)
{
    const struct kernels *k;
    struct memory_plan plan;
    bool does_fit = false;
    if (kernels_choose(&k, device, true, why)) return -1;
    for (int may_offload = 0; may_offload < 2 && !does_fit; may_offload++) {
        struct model_setup setup = setup_at(t, &t->setup, device, t->setup.positions);
        if (settle_least(t, k, limits, may_offload, &setup, &does_fit, why) ||
            plan_of(t, &setup, &plan, why))
            return -1;
    }
    double host = (double)memory_host_total(&plan);
    if (does_fit && host > 0)
        snprintf(text, size, "fits with %s on the host", size_binary(host).at);
    else
        snprintf(text, size, "%s", does_fit ? "fits" : "does not fit");
    return 0;
}

static const uint64_t card_sizes[] = { 8, 12, 16, 24, 32, 40, 48, 80 };
enum { CARDS = sizeof card_sizes / sizeof *card_sizes };

/* Memory of a card that the driver, the libraries' handles and the screen occupy. */
static const uint64_t card_overhead = (uint64_t)600 << 20;

/* Prints how the run would fit on cards of the usual sizes, if the host's memory were unlimited. */
static int print_cards(const struct trainer *t, const char *device, FILE *to, struct fail *why)
{
    char verdict[80], longest[160];
    fprintf(to, "%-10s %-34s %s\n", "GPU with", "this run", "longest context");
    for (int i = 0; i < CARDS; i++) {
        struct memory_limits limits = { (card_sizes[i] << 30) - card_overhead, 0 };
        if (describe_verdict(t, device, limits, verdict, sizeof verdict, why) ||
            describe_longest(t, device, limits, longest, sizeof longest, why))
            return -1;
        fprintf(to, "%5llu GB   %-34s %s\n", (unsigned long long)card_sizes[i], verdict, longest);
    }
    return 0;
}

/* Writes the longest context of a sample that `cards` cards of this size share, or "-" if they
 * cannot share one: their number must divide the key/value heads. */
static int describe_shared(const struct trainer *t, const char *device, int64_t cards,
                           struct memory_limits limits, char *text, size_t size, struct fail *why)
{
    struct model_setup setup = t->setup;
    int64_t longest;
    uint64_t host;
    snprintf(text, size, "-");
    if (t->config.kv_heads % cards) return 0;
    /* As many segments as the recipe has, if these cards can share them evenly. */
    if (setup.segments % cards) setup.segments = cards;
    setup.parts = setup.sample_parts = cards;
    setup.part = 0;
    if (longest_context(t, &setup, device, limits, true, &longest, &host, why)) return -1;
    snprintf(text, size, "%lld", (long long)longest);
    return 0;
}

/* Prints how long a sample may be that several cards share (context_segments). Data may be moved
 * from the cards to the host's memory as far as that is possible. */
static int print_shared(const struct trainer *t, const char *device, FILE *to, struct fail *why)
{
    static const uint64_t sizes[] = { 24, 48, 80 };
    enum { SIZES = sizeof sizes / sizeof *sizes, MOST_CARDS = 8 };
    char text[40];
    fprintf(to, "%-34s", "tokens of a sample, shared by");
    for (int i = 0; i < SIZES; i++)
        fprintf(to, " %9llu GB", (unsigned long long)sizes[i]);
    fprintf(to, "\n");
    for (int64_t cards = 1; cards <= MOST_CARDS; cards *= 2) {
        fprintf(to, "%5lld card%-24s", (long long)cards, cards > 1 ? "s" : "");
        for (int i = 0; i < SIZES; i++) {
            struct memory_limits limits = { (sizes[i] << 30) - card_overhead, 0 };
            if (describe_shared(t, device, cards, limits, text, sizeof text, why)) return -1;
            fprintf(to, " %12s", text);
        }
        fprintf(to, "\n");
    }
    return 0;
}

static void describe_stored(const struct trainer *t, const struct model_setup *setup,
                            const struct memory_plan *plan, char *text, size_t size)
{
    int64_t layers = t->config.layers;
    int64_t stored = setup->stored_layers < layers ? setup->stored_layers : layers;
    int64_t outputs =
        setup->stored_attention < layers - stored ? setup->stored_attention : layers - stored;
    char more[64] = "";
    if (outputs)
        snprintf(more, sizeof more, ", attention's output of %lld more", (long long)outputs);
    snprintf(text, size, "activations of %lld of %lld layers stored%s%s", (long long)stored,
             (long long)layers, more,
             plan->host[MEMORY_ACTIVATIONS] ? ", attention's outputs on the host" : "");
}

/* Ranks that share a sample exchange what attention needs by heads or by groups. Writes which of
 * the two the run uses, and, if the other one is possible, how much the ranks would send with it.
 */
static int describe_exchange(const struct trainer *t, const struct model_setup *setup, char *text,
                             size_t size, struct fail *why)
{
    struct model_setup other = *setup;
    struct memory_plan plan;
    char group[48];
    snprintf(group, sizeof group, "by groups of %lld tokens", (long long)t->attention.group);
    const char *ways[] = { "by heads", group };
    bool by_groups = setup->exchange_group;
    snprintf(text, size, ", %s", ways[by_groups]);
    if (setup->sample_parts < 2 || !groups_exchange_otherwise(t, &other)) return 0;
    if (plan_of(t, &other, &plan, why)) return -1;
    snprintf(text, size, ", %s (%s it would be %llu bytes a layer)", ways[by_groups],
             ways[!by_groups], (unsigned long long)plan.of_attention);
    return 0;
}

/* Says how messages between GPUs move. What the ranks of another launch have is not known, so their
 * messages are planned in the host's memory. */
static void print_way(const struct trainer *t, const struct kernels *k, FILE *to)
{
    const char *way = device_messages_way(t->ranks);
    if (k->is_host) return;
    if (*way)
        fprintf(to, "messages between GPUs go %s\n", way);
    else
        fprintf(to, "messages between GPUs are planned through the host's memory; where all ranks "
                    "have NCCL, and a GPU each, they need none there\n");
}

/* Prints how many bytes the ranks of a run send each other in a step. Each rank updates a part of
 * the parameters. It receives the gradients of its part for each block that others compute. It
 * sends all others the sum of the squares of the part's gradient, the new values of the part, and
 * the losses of the batches that it computes. If several ranks share a sample, also prints how much
 * they send each other for attention. These bytes are counted as if every sample had the full
 * length. */
static int print_ranks(const struct trainer *t, const struct model_setup *setup,
                       const struct kernels *k, const struct memory_plan *plan, FILE *to,
                       struct fail *why)
{
    int64_t ranks = setup->parts, batches = setup->batches, block = setup->block;
    int64_t of_sample = setup->sample_parts > 1 ? setup->sample_parts : 1;
    int64_t groups = ranks / of_sample, losses = block;
    if (ranks < 2) return 0;
    if (setup->segments > 1) losses = setup->segments / of_sample;
    int64_t blocks = (batches + block - 1) / block, rounds = (blocks + groups - 1) / groups;
    uint64_t attention = plan->of_attention * (uint64_t)t->config.layers;
    uint64_t bytes = plan->sent + (uint64_t)rounds * sharing_bytes(ranks, losses) +
                     (uint64_t)batches * attention;
    if (setup->segments > 1) bytes += sharing_bytes(ranks, 0);
    char in_blocks[64] = "", exchange[160];
    if (block > 1) snprintf(in_blocks, sizeof in_blocks, " in %lld blocks", (long long)blocks);
    fprintf(
        to,
        "one of %lld ranks: %lld batches a step%s in %lld round%s, %lld ranks idle in the last; "
        "all ranks together send %llu bytes, %s, a step\n",
        (long long)ranks, (long long)batches, in_blocks, (long long)rounds, rounds > 1 ? "s" : "",
        (long long)((rounds * groups - blocks) * of_sample), (unsigned long long)bytes,
        size_text((double)bytes).at);
    print_way(t, k, to);
    if (of_sample < 2) return 0;
    if (describe_exchange(t, setup, exchange, sizeof exchange, why)) return -1;
    fprintf(to,
            "a sample on %lld ranks, %lld of %lld segments on each: they send %llu bytes, %s, a "
            "layer, %s a sample%s\n",
            (long long)of_sample, (long long)losses, (long long)setup->segments,
            (unsigned long long)plan->of_attention, size_text((double)plan->of_attention).at,
            size_text((double)attention).at, exchange);
    return 0;
}

static int print_device(const struct trainer *t, const char *device, FILE *to, struct fail *why)
{
    struct memory_plan plan;
    const struct kernels *k;
    struct model_setup setup = setup_at(t, &t->setup, device, t->setup.positions);
    if (kernels_choose(&k, device, true, why) || plan_settle(t, &setup, why) ||
        plan_of(t, &setup, &plan, why))
        return -1;
    struct memory_limits limits = memory_limits_of(k, &t->weights);
    char stored[160], table[MEMORY_TABLE];
    describe_stored(t, &setup, &plan, stored, sizeof stored);
    fprintf(to, "%s, %s, %lld tokens, %s\n", k->name, k->act_name, (long long)setup.positions,
            stored);
    if (print_ranks(t, &setup, k, &plan, to, why)) return -1;
    memory_table(&plan, table);
    fputs(table, to);
    if (limits.device) {
        char longest[160];
        if (describe_longest(t, device, limits, longest, sizeof longest, why)) return -1;
        fprintf(to, "%-20s %16llu bytes %14s\n%-20s %s\n", "free now",
                (unsigned long long)limits.device, size_binary((double)limits.device).at,
                "longest that fits", longest);
    }
    if (k->is_host) return 0;
    if (print_cards(t, device, to, why)) return -1;
    return t->setup.segments > 1 ? print_shared(t, device, to, why) : 0;
}

int plan_print(const struct trainer *t, bool is_auto, FILE *to, struct fail *why)
{
    const struct kernels *own;
    if (kernels_choose(&own, t->setup.device, true, why) ||
        print_device(t, t->setup.device, to, why))
        return -1;
    if (!is_auto || !own->is_host) return 0;
    fprintf(to, "\n");
    struct fail cause = { .status = STATUS_FAILED };
    if (print_device(t, "cuda", to, &cause)) fprintf(to, "not on a GPU: %s\n", cause.text);
    return 0;
}

int plan_check(const struct trainer *t, void (*report)(const char *), struct fail *why)
{
    struct memory_plan plan;
    const struct kernels *k;
    int64_t longest;
    uint64_t host;
    char text[480], takes[240], stored[160], advice[120];
    if (kernels_choose(&k, t->setup.device, true, why) || plan_of(t, &t->setup, &plan, why))
        return -1;
    struct memory_limits limits = memory_limits_of(k, &t->weights);
    if (memory_fits(&plan, k, limits)) {
        memory_describe(&plan, k, limits, takes, sizeof takes);
        describe_stored(t, &t->setup, &plan, stored, sizeof stored);
        snprintf(text, sizeof text, "memory: %s; %s", takes, stored);
        report(text);
        return 0;
    }
    if (longest_context(t, &t->setup, t->setup.device, limits, true, &longest, &host, why))
        return -1;
    memory_describe_lack(&plan, k, limits, takes, sizeof takes);
    weights_advise_memory(&t->weights, advice, sizeof advice);
    return fail(why, "the run needs %s; the longest context that fits is %lld (see --dry-run)%s",
                takes, (long long)longest, advice);
}
