#include "tools/train/recipe_inside.h"

#include <float.h>
#include <stddef.h>

#define AT(field) offsetof(struct recipe, field)

static const struct {
    const char *name;
    size_t at;
    int64_t most;
} counts[] = {
    { "max_steps", AT(max_steps), RECIPE_STEPS_MAX },
    { "per_device_train_batch_size", AT(batch_size), RECIPE_SAMPLES_MAX },
    { "gradient_accumulation_steps", AT(accumulation), RECIPE_SAMPLES_MAX },
    { "gradient_block", AT(block), RECIPE_SAMPLES_MAX },
    { "max_seq_length", AT(context), RECIPE_CONTEXT_MAX },
    { "context_segments", AT(segments), RECIPE_SEGMENTS_MAX },
    { "original_context", AT(original_context), RECIPE_CONTEXT_MAX },
    { "group", AT(group), RECIPE_CONTEXT_MAX },
    { "chunk_rows", AT(chunk_rows), RECIPE_CONTEXT_MAX },
    { "save_total_limit", AT(save_total_limit), RECIPE_STEPS_MAX },
    { "warmup_steps", AT(warmup_steps), RECIPE_STEPS_MAX },
    { "lora_rank", AT(lora_rank), RECIPE_RANK_MAX },
};

/* These numbers must be representable as f32. The other numbers are not limited in this way. */
static const struct {
    const char *name;
    size_t at;
    double most;
} reals[] = {
    { "num_train_epochs", AT(epochs), RECIPE_EPOCHS_MAX },
    { "logging_steps", AT(logging_steps), RECIPE_STEPS_MAX },
    { "save_steps", AT(save_steps), RECIPE_STEPS_MAX },
    { "eval_steps", AT(eval_steps), RECIPE_STEPS_MAX },
    { "eval_delay", AT(eval_delay), RECIPE_STEPS_MAX },
    { "learning_rate", AT(learning_rate), (double)FLT_MAX },
    { "warmup_ratio", AT(warmup_ratio), 1 },
    { "weight_decay", AT(weight_decay), (double)FLT_MAX },
    { "adam_epsilon", AT(epsilon), (double)FLT_MAX },
    { "max_grad_norm", AT(max_grad_norm), (double)FLT_MAX },
    { "lora_alpha", AT(lora_alpha), (double)FLT_MAX },
};

int recipe_check_ranges(const struct recipe *r, struct fail *why)
{
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int64_t n = *(const int64_t *)(const void *)((const char *)r + counts[i].at);
        if (n > counts[i].most)
            return fail_usage(why, "%s is %lld, at most %lld", counts[i].name, (long long)n,
                              (long long)counts[i].most);
    }
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        double x = *(const double *)(const void *)((const char *)r + reals[i].at);
        if (x > reals[i].most)
            return fail_usage(why, "%s is %g, at most %g", reals[i].name, x, reals[i].most);
    }
    return 0;
}
