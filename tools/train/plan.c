#include "plan.h"

/* The run's plan for a device at a context; S2's groups and the rows grow with it. */
static int plan_at(const struct trainer *t, const char *device, int64_t context,
                   struct memory_plan *plan, struct fail *why)
{
    struct model_setup setup = t->setup;
    setup.device = device;
    setup.positions = context;
    setup.rows = t->recipe->batch_size * context;
    if (setup.rows < setup.chunk) setup.chunk = setup.rows;
    return model_plan(plan, &setup, &t->config, t->recipe->from_scratch ? NULL : &t->weights, why);
}

/* In steps of 256 tokens; 0 if not even one fits. */
static int longest_context(const struct trainer *t, const char *device, uint64_t bytes,
                           int64_t *longest, struct fail *why)
{
    enum { STEP = 256 };
    struct memory_plan plan;
    int64_t fits = 0, too_long = (1 << 24) / STEP;
    while (too_long - fits > 1) {
        int64_t middle = fits + (too_long - fits) / 2;
        if (plan_at(t, device, middle * STEP, &plan, why)) return -1;
        if (memory_total(&plan) <= bytes)
            fits = middle;
        else
            too_long = middle;
    }
    *longest = fits * STEP;
    return 0;
}

static const uint64_t card_gib[] = { 8, 12, 16, 24, 40, 48, 80 };
enum { CARDS = sizeof card_gib / sizeof *card_gib };

/* What the driver, the libraries' handles and the screen keep of a card. */
static const uint64_t card_overhead = (uint64_t)600 << 20;

static int print_device(const struct trainer *t, const char *device, FILE *to, struct fail *why)
{
    struct memory_plan plan;
    const struct kernels *k;
    int64_t context = t->setup.positions, longest;
    if (kernels_open(&k, device, why) || plan_at(t, device, context, &plan, why)) return -1;
    fprintf(to, "%s, %s, %lld tokens\n", k->name, k->act_name, (long long)context);
    memory_print(&plan, to);
    uint64_t available = k->available();
    if (available) {
        if (longest_context(t, device, available, &longest, why)) return -1;
        fprintf(to, "%-20s %16llu bytes\n", "free now", (unsigned long long)available);
        fprintf(to, "%-20s %16lld tokens\n", "longest that fits", (long long)longest);
        return 0;
    }
    for (int i = 0; i < CARDS; i++) {
        char name[32];
        if (longest_context(t, device, (card_gib[i] << 30) - card_overhead, &longest, why))
            return -1;
        snprintf(name, sizeof name, "longest in %llu GiB", (unsigned long long)card_gib[i]);
        fprintf(to, "%-20s %16lld tokens\n", name, (long long)longest);
    }
    return 0;
}

int plan_print(const struct trainer *t, FILE *to, struct fail *why)
{
    const struct kernels *own, *gpu;
    struct fail none = { .status = STATUS_FAILED };
    if (kernels_open(&own, t->setup.device, why) || print_device(t, t->setup.device, to, why))
        return -1;
    if (!own->is_host || kernels_open(&gpu, "cuda", &none)) return 0;
    fprintf(to, "\n");
    return print_device(t, "cuda", to, why);
}

int plan_check(const struct trainer *t, struct fail *why)
{
    struct memory_plan plan;
    const struct kernels *k;
    int64_t longest;
    if (kernels_open(&k, t->setup.device, why) ||
        plan_at(t, t->setup.device, t->setup.positions, &plan, why))
        return -1;
    uint64_t available = k->available(), needed = memory_total(&plan);
    if (!available || needed <= available) return 0;
    if (longest_context(t, t->setup.device, available, &longest, why)) return -1;
    return fail(why,
                "the run needs %.2f GB of memory, %.2f GB are free; the longest context that "
                "fits is %lld (see --dry-run)",
                (double)needed / 1e9, (double)available / 1e9, (long long)longest);
}
