#include "model/memory_plan.h"

#include "lib/common/size.h"

#include <stdarg.h>

static const char *const memory_names[MEMORY_COUNT] = {
    "frozen weights",    "parameters (f32)",  "gradients (f32)",  "a batch's gradients",
    "moments (f32)",     "keys and values",   "layer inputs",     "activations",
    "chunk activations", "inputs and tables", "kernels' scratch",
};

static size_t sum(const size_t *bytes)
{
    size_t total = 0;
    for (int i = 0; i < MEMORY_COUNT; i++)
        total += bytes[i];
    return total;
}

size_t memory_total(const struct memory_plan *plan) { return sum(plan->bytes); }
size_t memory_host_total(const struct memory_plan *plan) { return sum(plan->host); }

/* The text of a table while it is written. */
struct rows {
    char *at;
    size_t used;
};

PRINTF_LIKE(2, 3) static void add(struct rows *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(r->at + r->used, MEMORY_TABLE - r->used, format, args);
    va_end(args);
    must(length >= 0 && (size_t)length < MEMORY_TABLE - r->used);
    r->used += (size_t)length;
}

static void add_bytes(struct rows *r, const char *what, size_t bytes)
{
    add(r, "%-20s %16zu bytes %14s", what, bytes, size_binary((double)bytes).at);
}

void memory_table(const struct memory_plan *plan, char text[MEMORY_TABLE])
{
    struct rows r = { .at = text };
    for (int i = 0; i < MEMORY_COUNT; i++) {
        if (!plan->bytes[i] && !plan->host[i]) continue;
        add_bytes(&r, memory_names[i], plan->bytes[i]);
        if (plan->host[i])
            add(&r, " and %zu bytes, %s, on the host", plan->host[i],
                size_binary((double)plan->host[i]).at);
        if (i == MEMORY_WEIGHTS && plan->mapped) add(&r, ", of them %zu mapped", plan->mapped);
        add(&r, "\n");
    }
    add_bytes(&r, "total", memory_total(plan));
    add(&r, "\n");
    if (!memory_host_total(plan)) return;
    add_bytes(&r, "total on the host", memory_host_total(plan));
    add(&r, "\n");
}

/* How many ranks share this rank's device, and how many share its machine. */
static struct {
    uint64_t of_device, of_host;
} sharers = { 1, 1 };

int memory_share_with(struct ranks *r, const struct kernels *k, struct fail *why)
{
    struct device_facts facts;
    int same = 1;
    if (ranks_place(r)->count == 1) return 0;
    k->describe(&facts);
    if (ranks_count_same(r, facts.own, &same, why)) return -1;
    sharers.of_host = (uint64_t)ranks_place(r)->local_count;
    sharers.of_device = k->is_host ? sharers.of_host : (uint64_t)same;
    return 0;
}

uint64_t memory_mapped_share(const struct memory_plan *plan)
{
    return plan->mapped / sharers.of_host;
}

/* LONGQLORA_MEMORY limits what may be used of the device's memory, so that a large machine can try
 * what fits a small one. On a CPU it also replaces the estimate of the free memory if it is larger,
 * for tests of plans. kernels_open has checked that it is a number. */
static uint64_t available(const struct kernels *k)
{
    const char *told = getenv("LONGQLORA_MEMORY");
    uint64_t free = k->available(), limit = told && *told ? strtoull(told, NULL, 10) : 0;
    if (!limit) return free;
    return k->is_host || !free || limit < free ? limit : free;
}

struct memory_limits memory_limits_of(const struct kernels *k, const struct weights *w)
{
    const struct kernels *cpu;
    struct fail none;
    bool has_cpu = !kernels_open(&cpu, "cpu", &none);
    struct memory_limits limits = { available(k), has_cpu ? cpu->available() : 0 };
    limits.device /= sharers.of_device;
    limits.host /= sharers.of_host;
    if (k->is_host && limits.device) limits.device += w->copied;
    return limits;
}

static bool is_within(uint64_t bytes, uint64_t limits) { return !limits || bytes <= limits; }

/* Returns the bytes that the device must have. On a CPU the host's memory is the device's, so both
 * sums are added. */
static uint64_t needed(const struct memory_plan *plan, const struct kernels *k)
{
    return memory_total(plan) + (k->is_host ? memory_host_total(plan) : 0);
}

bool memory_fits(const struct memory_plan *plan, const struct kernels *k,
                 struct memory_limits limits)
{
    return is_within(needed(plan, k) - plan->mapped, limits.device) &&
           (k->is_host || is_within(memory_host_total(plan), limits.host));
}

void memory_describe(const struct memory_plan *plan, const struct kernels *k,
                     struct memory_limits limits, char *text, size_t size)
{
    char of[64] = "", host[80] = "", again[96] = "";
    uint64_t waits = memory_host_total(plan);
    if (limits.device)
        snprintf(of, sizeof of, " of %s that are free", size_text((double)limits.device).at);
    if (waits && !k->is_host)
        snprintf(host, sizeof host, ", on the host %s of %s", size_text((double)waits).at,
                 size_text((double)limits.host).at);
    if (!is_within(needed(plan, k), limits.device))
        snprintf(again, sizeof again, "; %s of weights are read from their files every time",
                 size_text((double)plan->mapped).at);
    snprintf(text, size, "%s%s%s%s", size_text((double)needed(plan, k)).at, of, host, again);
}

void memory_describe_lack(const struct memory_plan *plan, const struct kernels *k,
                          struct memory_limits limits, char *text, size_t size)
{
    uint64_t of_device = needed(plan, k) - plan->mapped;
    bool lacks_device = !is_within(of_device, limits.device);
    snprintf(text, size, "%s of %smemory, %s are free",
             size_text((double)(lacks_device ? of_device : memory_host_total(plan))).at,
             lacks_device ? "" : "the host's ",
             size_text((double)(lacks_device ? limits.device : limits.host)).at);
}
