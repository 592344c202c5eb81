/* The words that set the enums of a recipe. Reading, printing, help and error messages share these
 * tables. Only resume_from_checkpoint has its words in recipe_resume, because it may also be a
 * path. */
#include "tools/train/recipe_inside.h"

const char *const recipe_toggles[] = {
    [TOGGLE_AUTO] = "auto", [TOGGLE_YES] = "true", [TOGGLE_NO] = "false", NULL
};
const char *const recipe_document_masks[] = {
    [TOGGLE_AUTO] = "auto", [TOGGLE_YES] = "yes", [TOGGLE_NO] = "no", NULL
};
const char *const recipe_log_intervals[] = {
    [INTERVAL_AUTO] = "", [INTERVAL_STEPS] = "steps", [INTERVAL_EPOCH] = "epoch",
    [INTERVAL_BEST] = "", [INTERVAL_NO] = "no",       NULL
};
const char *const recipe_save_intervals[] = {
    [INTERVAL_AUTO] = "",     [INTERVAL_STEPS] = "steps", [INTERVAL_EPOCH] = "epoch",
    [INTERVAL_BEST] = "best", [INTERVAL_NO] = "no",       NULL
};
const char *const recipe_eval_intervals[] = {
    [INTERVAL_AUTO] = "auto", [INTERVAL_STEPS] = "steps", [INTERVAL_EPOCH] = "epoch",
    [INTERVAL_BEST] = "",     [INTERVAL_NO] = "no",       NULL
};
const char *const recipe_metrics[] = {
    [METRIC_NONE] = "", [METRIC_LOSS] = "loss", [METRIC_EVAL_LOSS] = "eval_loss", NULL
};
const char *const recipe_schedules[] = {
    [SCHEDULE_CONSTANT] = "constant",
    [SCHEDULE_CONSTANT_WITH_WARMUP] = "constant_with_warmup",
    [SCHEDULE_LINEAR] = "linear",
    [SCHEDULE_COSINE] = "cosine",
    NULL,
};
const char *const recipe_optimisers[] = { [OPTIM_PAGED_ADAMW_32BIT] = "paged_adamw_32bit",
                                          [OPTIM_ADAMW_TORCH] = "adamw_torch",
                                          [OPTIM_ADAMW_BNB_32BIT] = "adamw_bnb_32bit",
                                          [OPTIM_ADAMW_TORCH_FUSED] = "adamw_torch_fused",
                                          NULL };
const char *const recipe_methods[] = {
    [METHOD_FROZEN] = "", [METHOD_LORA] = "lora", [METHOD_FULL] = "full", NULL
};
const char *const recipe_quantizations[] = { [QUANTIZATION_AUTO] = "auto",
                                             [QUANTIZATION_ANY] = "any",
                                             [QUANTIZATION_NF4] = "nf4",
                                             [QUANTIZATION_NONE] = "none",
                                             NULL };
const char *const recipe_embeddings[] = { [EMBEDDING_FROZEN] = "false",
                                          [EMBEDDING_AND_HEAD] = "true",
                                          [EMBEDDING_ALONE] = "embedding",
                                          NULL };
const char *const recipe_attentions[] = { [ATTENTION_S2] = "s2", [ATTENTION_FULL] = "full", NULL };
const char *const recipe_exchanges[] = { [CONTEXT_EXCHANGE_AUTO] = "auto",
                                         [CONTEXT_EXCHANGE_HEADS] = "heads",
                                         [CONTEXT_EXCHANGE_GROUPS] = "groups",
                                         NULL };
const char *const recipe_reports[] = {
    [REPORT_NONE] = "none", [REPORT_TENSORBOARD] = "tensorboard", [REPORT_ALL] = "all", NULL
};

const char *recipe_attention_name(enum attention_kind attention)
{
    return recipe_attentions[attention];
}

int recipe_word_find(const char *const *words, const char *text)
{
    for (int i = 0; *text && words[i]; i++)
        if (!strcmp(words[i], text)) return i;
    return -1;
}

const char *recipe_words_join(const char *const *words, const char *separator,
                              char text[RECIPE_WORDS_TEXT])
{
    size_t used = 0;
    for (text[0] = 0; *words; words++)
        if (**words)
            used += (size_t)snprintf(text + used, RECIPE_WORDS_TEXT - used, "%s%s",
                                     used ? separator : "", *words);
    must(used < RECIPE_WORDS_TEXT);
    return text;
}

enum resume recipe_resume(const struct recipe *r)
{
    static const char *const words[] = {
        [RESUME_NONE] = "none", [RESUME_AUTO] = "auto", [RESUME_NEWEST] = "true", NULL
    };
    int word = recipe_word_find(words, r->resume);
    if (!strcmp(r->resume, "false")) return RESUME_NONE;
    return word < 0 ? RESUME_NAMED : (enum resume)word;
}
