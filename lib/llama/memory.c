/* What a model's memory is used for, in words. */
#include "model.h"

static const char *const memory_names[MEMORY_COUNT] = {
    "frozen weights",    "parameters (f32)", "gradients (f32)", "moments (f32)",
    "keys and values",   "layer inputs",     "activations",     "chunk activations",
    "inputs and tables", "kernels' scratch",
};

const char *memory_name(enum memory memory) { return memory_names[memory]; }

static size_t sum(const size_t *bytes)
{
    size_t total = 0;
    for (int i = 0; i < MEMORY_COUNT; i++)
        total += bytes[i];
    return total;
}

size_t memory_total(const struct memory_plan *plan) { return sum(plan->bytes); }
size_t memory_host_total(const struct memory_plan *plan) { return sum(plan->host); }

void memory_print(const struct memory_plan *plan, FILE *out)
{
    for (int i = 0; i < MEMORY_COUNT; i++) {
        if (!plan->bytes[i] && !plan->host[i]) continue;
        fprintf(out, "%-20s %16zu bytes", memory_names[i], plan->bytes[i]);
        if (plan->host[i]) fprintf(out, " and %zu of the host's", plan->host[i]);
        fprintf(out, "\n");
    }
    fprintf(out, "%-20s %16zu bytes\n", "total", memory_total(plan));
    if (memory_host_total(plan))
        fprintf(out, "%-20s %16zu bytes\n", "total on the host", memory_host_total(plan));
}
