#include "tools/generate/generation_config.h"

#include "lib/cli/die.h"
#include "lib/common/file.h"
#include "lib/common/json.h"
#include "tools/generate/request.h"

/* Settings that change which token is taken, and that no option has. `idle` is the number that
 * changes nothing. Settings of draws alone are not here, such as typical_p, because `generate`
 * draws only if it is told how. */
static const struct {
    const char *name;
    double idle;
} unsupported[] = {
    { "num_beams", 1 },
    { "penalty_alpha", 0 },
    { "dola_layers", 0 },
    { "guidance_scale", 1 },
    { "encoder_repetition_penalty", 1 },
    { "no_repeat_ngram_size", 0 },
    { "encoder_no_repeat_ngram_size", 0 },
    { "bad_words_ids", 0 },
    { "force_words_ids", 0 },
    { "constraints", 0 },
    { "forced_bos_token_id", -1 },
    { "forced_eos_token_id", -1 },
    { "forced_decoder_ids", 0 },
    { "suppress_tokens", 0 },
    { "begin_suppress_tokens", 0 },
    { "sequence_bias", 0 },
    { "exponential_decay_length_penalty", 0 },
    { "min_length", 0 },
    { "min_new_tokens", 0 },
    { "stop_strings", 0 },
    { "watermarking_config", 0 },
};

struct asked {
    char options[200], others[600];
};

static void add_option(struct asked *a, const char *option, double value)
{
    size_t used = strlen(a->options);
    snprintf(a->options + used, sizeof a->options - used, " --%s %.9g", option, value);
}

/* Adds the option for this key, if its value is a number other than `idle`. */
static void add_key(struct asked *a, const json_t *file, const char *key, const char *option,
                    double idle)
{
    const json_t *value = json_object_get(file, key);
    if (json_is_number(value) && json_number_value(value) != idle)
        add_option(a, option, json_number_value(value));
}

static void add_sampling(struct asked *a, const json_t *file, const struct sampling *how)
{
    const json_t *temperature = json_object_get(file, "temperature");
    const json_t *top_k = json_object_get(file, "top_k");
    if (how->temperature == 0)
        add_option(a, "temperature",
                   json_is_number(temperature) ? json_number_value(temperature) : 1);
    if (!how->top_k && json_integer_value(top_k) > 0)
        add_option(a, "top-k", (double)json_integer_value(top_k));
    if (how->top_p == 1) add_key(a, file, "top_p", "top-p", 1);
    if (how->min_p == 0) add_key(a, file, "min_p", "min-p", 0);
}

static void add_unsupported(struct asked *a, const json_t *file)
{
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        size_t used = strlen(a->others);
        const char *name = unsupported[i].name;
        if (request_is_idle(json_object_get(file, name), unsupported[i].idle)) continue;
        snprintf(a->others + used, sizeof a->others - used, "%s%s", used ? ", " : " ", name);
    }
}

int generation_config_tell(const char *model, const struct sampling *how, struct fail *why)
{
    char path[4200];
    struct asked a = { 0 };
    snprintf(path, sizeof path, "%.4000s/generation_config.json", model);
    int found = file_is_folder(model) ? file_is_there(path, why) : 0;
    json_t *file = found > 0 ? json_read_file(path, why) : NULL;
    if (found > 0 && !file) return -1;
    if (found <= 0) return found;
    if (json_is_true(json_object_get(file, "do_sample"))) add_sampling(&a, file, how);
    if (how->repetition == 1) add_key(&a, file, "repetition_penalty", "repetition-penalty", 1);
    add_unsupported(&a, file);
    json_decref(file);
    if (!*a.options && !*a.others) return 0;
    note("%s asks for%s%s%s%s%s", path, a.options,
         *a.options ? ", which has no effect unless it is given here" : "",
         *a.options && *a.others ? "; and for" : "", a.others,
         *a.others ? ", which is not supported" : "");
    return 0;
}
