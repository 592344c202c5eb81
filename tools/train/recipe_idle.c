/* Finds values that were set but have no effect, given the other values. */
#include "tools/train/recipe_inside.h"

static bool is_given(const struct recipe *r, const char *key)
{
    return *recipe_origin((struct recipe *)r, key) != NULL;
}

/* Finds keys that have an effect only under a condition. */
static void find_conditional(const struct recipe *r, void (*warn)(const char *))
{
    bool is_full = r->method == METHOD_FULL;
    const struct {
        const char *key;
        bool counts;
        const char *needs;
    } rows[] = {
        { "lora_rank", !is_full, "method: lora" },
        { "lora_alpha", !is_full, "method: lora" },
        { "lora_dropout", !is_full, "method: lora" },
        { "target_modules", !is_full, "method: lora" },
        { "group", r->attention == ATTENTION_S2 || !r->group, "attention: s2" },
        { "context_exchange", r->segments > 1 || r->exchange == CONTEXT_EXCHANGE_AUTO,
          "context_segments above 1" },
        { "save_steps", r->save_strategy == INTERVAL_STEPS || !(r->save_steps > 0),
          "save_strategy: steps" },
        { "logging_dir", r->report_to == REPORT_TENSORBOARD, "report_to: tensorboard" },
        { "eval_file", r->eval_strategy != INTERVAL_NO, "another eval_strategy than no" },
        { "eval_on_start",
          !r->eval_on_start ||
              (r->eval_file && r->eval_strategy != INTERVAL_NO && !(r->eval_delay > 0)),
          "eval_file, and no eval_delay" },
        { "eval_steps",
          r->eval_strategy == INTERVAL_AUTO || r->eval_strategy == INTERVAL_STEPS ||
              !(r->eval_steps > 0),
          "eval_strategy: steps" },
        { "early_stopping_threshold", r->patience || !(r->threshold > 0),
          "early_stopping_patience" },
        { "num_train_epochs", !r->max_steps, "max_steps: 0" },
        { "warmup_ratio", !r->warmup_steps || !(r->warmup_ratio > 0), "warmup_steps: 0" },
    };
    char text[200];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].counts || !is_given(r, rows[i].key)) continue;
        snprintf(text, sizeof text, "%s does nothing: it needs %s", rows[i].key, rows[i].needs);
        warn(text);
    }
}

void recipe_find_idle(const struct recipe *r, void (*warn)(const char *))
{
    find_conditional(r, warn);
    if (!(r->learning_rate > 0)) warn("learning_rate is 0: nothing is learned");
}
