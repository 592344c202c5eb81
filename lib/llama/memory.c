/* What a model's memory is used for, in words. */
#include "model.h"

static const char *const memory_names[MEMORY_COUNT] = {
    "frozen weights",    "parameters (f32)", "gradients (f32)", "moments (f32)",
    "keys and values",   "layer inputs",     "activations",     "chunk activations",
    "inputs and tables", "kernels' scratch",
};

const char *memory_name(enum memory memory) { return memory_names[memory]; }

size_t memory_total(const struct memory_plan *plan)
{
    size_t sum = 0;
    for (int i = 0; i < MEMORY_COUNT; i++)
        sum += plan->bytes[i];
    return sum;
}

void memory_print(const struct memory_plan *plan, FILE *out)
{
    for (int i = 0; i < MEMORY_COUNT; i++)
        fprintf(out, "%-20s %16zu bytes\n", memory_names[i], plan->bytes[i]);
    fprintf(out, "%-20s %16zu bytes\n", "total", memory_total(plan));
}
