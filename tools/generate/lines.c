#include "tools/generate/lines.h"

#include "tools/generate/run.h"

#include "lib/cli/die.h"
#include "lib/cli/progress.h"
#include "lib/common/buffer.h"
#include "lib/common/json_advice.h"
#include "lib/common/json_records.h"

#include <unistd.h>

struct text {
    char *at;
    size_t bytes, capacity;
};

static int append(void *arg, const char *bytes, size_t count, struct fail *why)
{
    struct text *t = arg;
    if (buffer_reserve(&t->at, &t->capacity, t->bytes, count, why)) return -1;
    memcpy(t->at + t->bytes, bytes, count);
    t->bytes += count;
    return 0;
}

/* Fails because the line has no "prompt", and names the key that seems to hold the prompt. */
static int refuse_lack(const json_t *line, struct fail *why)
{
    static const char *const names[] = { "question", "instruction", "input",
                                         "query",    "text",        "content" };
    for (size_t i = 0; i < sizeof names / sizeof *names && !json_object_get(line, "prompt"); i++)
        if (json_is_string(json_object_get(line, names[i])))
            return fail_input(why,
                              "no string 'prompt', but '%s': jq -c '.prompt = .%s' calls it so",
                              names[i], names[i]);
    if (json_is_array(json_object_get(line, "prompt")))
        return fail_input(why, "'prompt' is a list: one text is needed, a line for each");
    return fail_input(why, "no string 'prompt', which each line needs: {\"prompt\": \"…\"}");
}

static int answer_object(struct generator *g, struct talk *t, bool adds_bos, json_t *line,
                         struct answer *a, struct token_buffer *own, struct fail *why)
{
    const json_t *prompt = json_object_get(line, "prompt");
    const char *text = json_string_value(prompt);
    if (!text) return refuse_lack(line, why);
    if (!t) {
        if (generator_encode(g, text, json_string_length(prompt), adds_bos, own, why)) return -1;
        return generator_answer(g, own->ids, (int64_t)own->count, a, why);
    }
    size_t dropped;
    const char *system = t->system, *says = json_string_value(json_object_get(line, "system"));
    if (strlen(text) != json_string_length(prompt))
        return fail_input(why, "'prompt' holds a NUL character");
    talk_forget(t);
    if (says) t->system = says;
    int status = talk_ask(t, text, 0, &dropped, why);
    t->system = system;
    return status ? -1 : generator_answer(g, t->ids.ids, (int64_t)t->ids.count, a, why);
}

static int write_line(json_t *line, const struct text *text, const struct answer *a,
                      struct fail *why)
{
    json_object_set_new(line, "completion", json_stringn(text->at ? text->at : "", text->bytes));
    json_object_set_new(line, "tokens", json_integer(a->count));
    json_object_set_new(line, "stop", json_string(ending_name(a->ending)));
    char *dumped = json_dumps(line, JSON_COMPACT);
    int status = !dumped ? fail(why, "out of memory") : run_emit(NULL, dumped, strlen(dumped), why);
    free(dumped);
    return status ? status : run_emit(NULL, "\n", 1, why);
}

/* Totals over all lines. */
struct sum {
    uint64_t answers, tokens;
    uint64_t cut; /* answers that --max-new-tokens or the end of the context ended */
    struct request_keys keys;
};

static void count_answer(struct sum *s, const struct answer *a)
{
    s->answers++;
    s->tokens += (uint64_t)a->count;
    s->cut += a->ending == END_LENGTH || a->ending == END_CONTEXT;
}

static void report(struct sum *s, const char *name, double seconds)
{
    if (!s->answers) {
        warn("%s: no prompt in it", name);
        return;
    }
    note("%llu prompts answered with %llu tokens in %.2f s: %.1f tokens/s; %llu ended by "
         "--max-new-tokens or the context",
         (unsigned long long)s->answers, (unsigned long long)s->tokens, seconds,
         (double)s->tokens / (seconds > 0 ? seconds : 1e-9), (unsigned long long)s->cut);
    char keys[320];
    if (tally_sum(&s->keys.replaced)) {
        tally_text(&s->keys.replaced, TALLY_KEYS, keys, sizeof keys);
        warn("keys of the lines whose place the answer's took: %s: another name keeps them", keys);
    }
    if (tally_sum(&s->keys.carried)) {
        tally_text(&s->keys.carried, TALLY_KEYS, keys, sizeof keys);
        note("keys that are not used here, copied to the answers: %s", keys);
    }
}

/* Fails because the record is not a JSON object. If the record is not JSON at all, *why already
 * says so. */
static int refuse_record(const struct json_records *r, const char *text, size_t bytes, bool is_json,
                         struct fail *why)
{
    char advice[200];
    if (is_json) (void)fail_input(why, "not a JSON object");
    struct fail first = *why;
    json_advise(text, bytes,
                r->is_array      ? JSON_ELEMENT
                : r->number == 1 ? JSON_FIRST_LINE
                                 : JSON_LATER_LINE,
                advice, sizeof advice);
    fail_with(why, first.status, "%s%s", first.text, advice);
    return -1;
}

/* Answers one line with its own options, which override the program's. */
static int answer_request(struct generator *g, struct talk *t, struct request q, bool adds_bos,
                          uint64_t number, json_t *line, struct answer *a, struct token_buffer *own,
                          struct request_keys *counts, struct fail *why)
{
    const char *stops[REQUEST_STOPS_MAX];
    struct generator before = *g;
    if (request_read(&q, line, t != NULL, stops, counts, why)) return -1;
    g->max_tokens = q.max_tokens;
    g->speech.stops = &q.stops;
    sampler_change(g->sampler, &q.sampling);
    sampler_restart(g->sampler, q.has_seed ? 0 : number);
    int status = answer_object(g, t, adds_bos, line, a, own, why);
    g->max_tokens = before.max_tokens;
    g->speech.stops = before.speech.stops;
    return status;
}

static void name_place(const struct json_records *r, struct fail *why)
{
    char place[4200];
    snprintf(place, sizeof place, "%s: %s %llu", input_name(r->in),
             r->is_array ? "element" : "line", (unsigned long long)r->number);
    fail_prefix(why, place);
}

int lines_answer(struct generator *g, struct talk *t, const struct request *defaults, bool adds_bos,
                 const char *path, struct answer *a, struct fail *why)
{
    struct input *in;
    struct json_records records;
    struct text text = { 0 };
    struct token_buffer own = { 0 };
    char *at;
    size_t bytes;
    struct sum sum = { 0 };
    int got = 0;
    double start = progress_clock();
    if (input_open(&in, path, why)) return -1;
    int status = json_records_open(&records, in, why);
    struct progress p = { .unit = "prompts" };
    /* Progress is shown unless the answers themselves appear on the terminal. */
    if (!isatty(STDOUT_FILENO)) progress_begin(&p);
    g->speech.emit = append;
    g->speech.arg = &text;
    while (!status && (got = json_records_next(&records, &at, &bytes, why)) > 0) {
        json_t *line = json_read_line(at, bytes, JSON_ALLOW_NUL, why);
        text.bytes = 0;
        status = json_is_object(line) ? answer_request(g, t, *defaults, adds_bos, records.number,
                                                       line, a, &own, &sum.keys, why)
                                      : refuse_record(&records, at, bytes, line != NULL, why);
        if (status) name_place(&records, why);
        /* The answer is not written if the model's file changed meanwhile. */
        if (!status) status = generator_check_model(g, why);
        if (!status) {
            status = write_line(line, &text, a, why);
            count_answer(&sum, a);
            progress_at((double)sum.answers);
        }
        json_decref(line);
    }
    progress_end();
    if (!status && got >= 0) report(&sum, input_name(in), progress_clock() - start);
    tally_release(&sum.keys.carried);
    tally_release(&sum.keys.replaced);
    free(text.at);
    token_buffer_release(&own);
    input_close(in);
    return got < 0 ? -1 : status;
}
