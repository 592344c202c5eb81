#include "tools/generate/request.h"

#include "tools/generate/generator.h"

#include <math.h>

enum ask {
    ASK_CARRIED,
    ASK_READ_BY_LINES,    /* lines.c reads the key */
    ASK_WRITTEN_BY_LINES, /* lines.c writes the key */
    ASK_SYSTEM,
    ASK_MAX_TOKENS,
    ASK_TEMPERATURE,
    ASK_TOP_P,
    ASK_TOP_K,
    ASK_MIN_P,
    ASK_REPETITION,
    ASK_SEED,
    ASK_STOP,
    ASK_DO_SAMPLE,
    ASK_REFUSED,
};

/* `idle` is the value with which an unsupported key has no effect. `advice` says what the user can
 * do instead. */
/* clang-format off */
static const struct {
    const char *name;
    enum ask ask;
    double idle;
    const char *advice;
} keys[] = {
    { "prompt", ASK_READ_BY_LINES, 0, NULL },
    { "completion", ASK_WRITTEN_BY_LINES, 0, NULL },
    { "tokens", ASK_WRITTEN_BY_LINES, 0, NULL },
    { "system", ASK_SYSTEM, 0, NULL },
    { "max_tokens", ASK_MAX_TOKENS, 0, NULL },
    { "max_completion_tokens", ASK_MAX_TOKENS, 0, NULL },
    { "max_new_tokens", ASK_MAX_TOKENS, 0, NULL },
    { "n_predict", ASK_MAX_TOKENS, 0, NULL },
    { "temperature", ASK_TEMPERATURE, 0, NULL },
    { "top_p", ASK_TOP_P, 0, NULL },
    { "top_k", ASK_TOP_K, 0, NULL },
    { "min_p", ASK_MIN_P, 0, NULL },
    { "repetition_penalty", ASK_REPETITION, 0, NULL },
    { "repeat_penalty", ASK_REPETITION, 0, NULL },
    { "seed", ASK_SEED, 0, NULL },
    { "stop", ASK_STOP, 0, NULL },
    { "stop_sequences", ASK_STOP, 0, NULL },
    { "do_sample", ASK_DO_SAMPLE, 0, NULL },
    { "messages", ASK_REFUSED, 0, "write its question as 'prompt', its system prompt as 'system', with --chat auto" },
    { "body", ASK_REFUSED, 0, "a line must be the request itself: jq -c .body takes it out of a line of a batch" },
    { "n", ASK_REFUSED, 1, "repeat the line instead, each time with another seed" },
    { "best_of", ASK_REFUSED, 1, "repeat the line instead, each time with another seed" },
    { "num_return_sequences", ASK_REFUSED, 1, "repeat the line instead, each time with another seed" },
    { "num_beams", ASK_REFUSED, 1, "beam search is not supported: leave it out" },
    { "presence_penalty", ASK_REFUSED, 0, "only repetition_penalty is supported: write that" },
    { "frequency_penalty", ASK_REFUSED, 0, "only repetition_penalty is supported: write that" },
    { "length_penalty", ASK_REFUSED, 1, "beam search is not supported: leave it out" },
    { "no_repeat_ngram_size", ASK_REFUSED, 0, "only repetition_penalty is supported: write that" },
    { "typical_p", ASK_REFUSED, 1, "only top_p, top_k and min_p are supported: write one of these" },
    { "mirostat", ASK_REFUSED, 0, "only top_p, top_k and min_p are supported: write one of these" },
    { "min_tokens", ASK_REFUSED, 0, "an answer ends where the model ends it: leave it out" },
    { "min_new_tokens", ASK_REFUSED, 0, "an answer ends where the model ends it: leave it out" },
    { "max_length", ASK_REFUSED, NAN, "write max_tokens instead, which counts only the answer" },
    { "ignore_eos", ASK_REFUSED, 0, "an answer ends where the model ends it: leave it out" },
    { "stop_token_ids", ASK_REFUSED, NAN, "write their texts as stop" },
    { "logit_bias", ASK_REFUSED, 0, "single tokens cannot be made more likely: leave it out" },
    { "logprobs", ASK_REFUSED, NAN, "no probabilities are written: leave it out" },
    { "prompt_logprobs", ASK_REFUSED, NAN, "no probabilities are written: leave it out" },
    { "top_logprobs", ASK_REFUSED, 0, "no probabilities are written: leave it out" },
    { "echo", ASK_REFUSED, 0, "the prompt is written beside its answer: leave it out" },
    { "stream", ASK_REFUSED, 0, "answers are not streamed: leave it out" },
    { "suffix", ASK_REFUSED, 0, "a text can only be continued, not filled in: leave it out" },
    { "tools", ASK_REFUSED, 0, "tools are not supported: leave it out" },
    { "functions", ASK_REFUSED, 0, "tools are not supported: leave it out" },
    { "tool_choice", ASK_REFUSED, 0, "tools are not supported: leave it out" },
    { "response_format", ASK_REFUSED, 0, "the form of an answer cannot be forced: ask for it in the prompt" },
    { "json_schema", ASK_REFUSED, 0, "the form of an answer cannot be forced: ask for it in the prompt" },
    { "grammar", ASK_REFUSED, 0, "the form of an answer cannot be forced: ask for it in the prompt" },
};
/* clang-format on */
enum { KEYS = sizeof keys / sizeof *keys };

static size_t find_key(const char *name)
{
    size_t i = 0;
    while (i < KEYS && strcmp(name, keys[i].name) != 0)
        i++;
    return i;
}

bool request_is_idle(const json_t *value, double idle)
{
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && !json_string_length(value)) ||
           (json_is_array(value) && !json_array_size(value)) ||
           (json_is_object(value) && !json_object_size(value)) ||
           (json_is_number(value) && json_number_value(value) == idle);
}

/* True if the line is the output of an earlier run. Its "stop" then says why the answer ended. */
static bool is_answered(const json_t *line)
{
    const char *stop = json_string_value(json_object_get(line, "stop"));
    if (!stop || !json_is_string(json_object_get(line, "completion")) ||
        !json_is_integer(json_object_get(line, "tokens")))
        return false;
    for (enum ending e = END_EOS; e <= END_INTERRUPTED; e++)
        if (!strcmp(stop, ending_name(e))) return true;
    return false;
}

static int read_stops(struct request *q, const char *name, const json_t *value, const char **stops,
                      struct fail *why)
{
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count > REQUEST_STOPS_MAX)
        return fail_input(why, "'%s' has %zu texts, at most %d are read", name, count,
                          REQUEST_STOPS_MAX);
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        stops[i] = json_string_value(one);
        if (!stops[i] || !*stops[i] || strlen(stops[i]) != json_string_length(one))
            return fail_input(why, "'%s' must be a text that is not empty, or a list of such texts",
                              name);
    }
    q->stops = (struct opt_list){ .at = stops, .count = (int)count };
    return 0;
}

static int read_real(double *to, const char *name, const json_t *value, double least, double most,
                     bool may_be_least, struct fail *why)
{
    double number = json_number_value(value);
    bool is_inside = number <= most && (may_be_least ? number >= least : number > least);
    if (json_is_number(value) && is_inside) {
        *to = number;
        return 0;
    }
    if (isinf(most))
        return fail_input(why, "'%s' must be a number %s %g", name,
                          may_be_least ? "of at least" : "above", least);
    return fail_input(why, "'%s' must be a number in %c%g, %g]", name, may_be_least ? '[' : '(',
                      least, most);
}

static int read_count(int64_t *to, const char *name, const json_t *value, int64_t least,
                      struct fail *why)
{
    int64_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < least || number > OPT_COUNT_MAX)
        return fail_input(why, "'%s' must be a whole number of at least %lld", name,
                          (long long)least);
    *to = number;
    return 0;
}

static int read_seed(struct request *q, const char *name, const json_t *value, struct fail *why)
{
    if (!json_is_integer(value)) return fail_input(why, "'%s' must be a whole number", name);
    q->sampling.seed = json_integer_value(value);
    q->has_seed = true;
    return 0;
}

/* Other programs write top_k: -1 for all tokens. */
static int read_top_k(struct request *q, const char *name, const json_t *value, struct fail *why)
{
    if (read_count(&q->sampling.top_k, name, value, -1, why)) return -1;
    if (q->sampling.top_k < 0) q->sampling.top_k = 0;
    return 0;
}

static int read_key(struct request *q, size_t key, const json_t *value, const char **stops,
                    struct fail *why)
{
    struct sampling *s = &q->sampling;
    const char *name = keys[key].name;
    switch (keys[key].ask) {
    case ASK_MAX_TOKENS:
        return read_count(&q->max_tokens, name, value, 1, why);
    case ASK_TEMPERATURE:
        return read_real(&s->temperature, name, value, 0, INFINITY, true, why);
    case ASK_TOP_P:
        return read_real(&s->top_p, name, value, 0, 1, false, why);
    case ASK_TOP_K:
        return read_top_k(q, name, value, why);
    case ASK_MIN_P:
        return read_real(&s->min_p, name, value, 0, 1, true, why);
    case ASK_REPETITION:
        return read_real(&s->repetition, name, value, 0, INFINITY, false, why);
    case ASK_SEED:
        return read_seed(q, name, value, why);
    case ASK_STOP:
        return read_stops(q, name, value, stops, why);
    case ASK_DO_SAMPLE:
        return json_is_boolean(value) ? 0 : fail_input(why, "'%s' must be true or false", name);
    default:
        return 0;
    }
}

/* As in transformers, do_sample: false takes the most likely token at any temperature. */
static int settle_sampling(struct request *q, const json_t *do_sample, struct fail *why)
{
    if (json_is_false(do_sample)) q->sampling.temperature = 0;
    if (json_is_true(do_sample) && !(q->sampling.temperature > 0))
        return fail_input(why,
                          "'do_sample' is true, but the temperature is 0, which takes the most "
                          "likely token: write a temperature");
    return 0;
}

int request_read(struct request *q, const json_t *line, bool has_chat, const char **stops,
                 struct request_keys *counts, struct fail *why)
{
    const char *given[ASK_REFUSED] = { NULL };
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)line, name, value)
    {
        size_t key = find_key(name);
        enum ask ask = key < KEYS ? keys[key].ask : ASK_CARRIED;
        if (ask == ASK_CARRIED) tally_add(&counts->carried, name, 1);
        if (ask == ASK_WRITTEN_BY_LINES && !json_is_null(value) && !is_answered(line))
            tally_add(&counts->replaced, name, 1);
        if (ask == ASK_REFUSED && !request_is_idle(value, keys[key].idle))
            return fail_input(why, "'%s' is not supported: %s", name, keys[key].advice);
        if (ask == ASK_SYSTEM && !json_is_null(value)) {
            if (!json_is_string(value)) return fail_input(why, "'system' must be a text");
            if (!has_chat && json_string_length(value))
                return fail_input(why, "'system' needs --chat");
        }
        if (ask <= ASK_SYSTEM || ask == ASK_REFUSED || json_is_null(value)) continue;
        if (ask == ASK_STOP && is_answered(line)) continue;
        if (given[ask])
            return fail_input(why, "'%s' and '%s' mean the same: leave one out", given[ask], name);
        given[ask] = name;
        if (read_key(q, key, value, stops, why)) return -1;
    }
    return settle_sampling(q, json_object_get(line, "do_sample"), why);
}
