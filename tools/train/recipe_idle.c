/* Finds values that were set but have no effect, given the other values. */
#include "lib/llama/weights.h"
#include "tools/train/recipe_inside.h"

const char *const recipe_lora_keys[RECIPE_LORA_KEYS] = { "lora_rank",       "lora_alpha",
                                                         "lora_dropout",    "target_modules",
                                                         "train_embedding", "train_norm" };

bool recipe_is_given(const struct recipe *r, const char *key)
{
    return *recipe_origin((struct recipe *)r, key) != NULL;
}

bool recipe_reads_tokenizer(const struct recipe *r)
{
    return r->method == METHOD_FULL || !r->model || !weights_have_companions(r->model);
}

/* Finds keys that have an effect only under a condition. */
static void find_conditional(const struct recipe *r, void (*warn)(const char *))
{
    bool is_full = r->method == METHOD_FULL, warms_up = r->scheduler != SCHEDULE_CONSTANT;
    bool evaluates = r->eval_file && r->eval_strategy != INTERVAL_NO;
    bool seeks_best = r->load_best || r->metric || r->patience;
    /* Without eval_steps, eval_strategy: steps evaluates every logging_steps. */
    bool logs_at_steps = r->logging_strategy == INTERVAL_STEPS ||
                         (r->eval_strategy == INTERVAL_STEPS && !(r->eval_steps > 0));
    /* A checkpoint that a signal asks for may still remove those of an earlier run. */
    bool saves_several = r->save_strategy != INTERVAL_NO || recipe_resume(r) != RESUME_NONE;
    const struct {
        const char *key;
        bool counts;
        const char *needs;
    } rows[] = {
        { "lora_rank", !is_full, "method: lora" },
        { "lora_alpha", !is_full, "method: lora" },
        { "lora_dropout", !is_full, "method: lora" },
        { "target_modules", !is_full, "method: lora" },
        { "train_embedding", !is_full || !r->train_embedding, "method: lora" },
        { "train_norm", !is_full || !r->train_norm, "method: lora" },
        { "tokenizer", recipe_reads_tokenizer(r),
          "method: full, or a weights stream as model_name_or_path" },
        { "group", r->attention == ATTENTION_S2 || !r->group, "attention: s2" },
        { "context_exchange", r->segments > 1 || r->exchange == CONTEXT_EXCHANGE_AUTO,
          "context_segments above 1" },
        { "save_steps", r->save_strategy == INTERVAL_STEPS || !(r->save_steps > 0),
          "save_strategy: steps" },
        { "save_total_limit", saves_several || !r->save_total_limit,
          "another save_strategy than no" },
        { "logging_steps", logs_at_steps || !(r->logging_steps > 0), "logging_strategy: steps" },
        { "logging_dir", r->report_to == REPORT_TENSORBOARD, "report_to: tensorboard" },
        { "eval_file", r->eval_strategy != INTERVAL_NO, "another eval_strategy than no" },
        { "eval_on_start", !r->eval_on_start || (evaluates && !(r->eval_delay > 0)),
          "eval_file, and no eval_delay" },
        { "eval_delay", evaluates || !(r->eval_delay > 0),
          "eval_file, and another eval_strategy than no" },
        { "eval_steps",
          r->eval_strategy == INTERVAL_AUTO || r->eval_strategy == INTERVAL_STEPS ||
              !(r->eval_steps > 0),
          "eval_strategy: steps" },
        { "greater_is_better", seeks_best || r->greater == TOGGLE_AUTO,
          "metric_for_best_model, load_best_model_at_end or early_stopping_patience" },
        { "early_stopping_threshold", r->patience || !(r->threshold > 0),
          "early_stopping_patience" },
        { "num_train_epochs", !r->max_steps, "max_steps: 0" },
        { "warmup_steps", warms_up || !r->warmup_steps, "another lr_scheduler_type than constant" },
        { "warmup_ratio", warms_up || !(r->warmup_ratio > 0),
          "another lr_scheduler_type than constant" },
        { "warmup_ratio", !warms_up || !r->warmup_steps || !(r->warmup_ratio > 0),
          "warmup_steps: 0" },
    };
    char text[240];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].counts || !recipe_is_given(r, rows[i].key)) continue;
        snprintf(text, sizeof text, "%s does nothing: it needs %s", rows[i].key, rows[i].needs);
        warn(text);
    }
}

void recipe_find_idle(const struct recipe *r, void (*warn)(const char *))
{
    find_conditional(r, warn);
    if (!(r->learning_rate > 0)) warn("learning_rate is 0: nothing is learned");
}
