#include "tools/generate/lines.h"

#include "tools/generate/run.h"

#include "lib/cli/die.h"
#include "lib/cli/progress.h"
#include "lib/common/buffer.h"
#include "lib/common/clock.h"
#include "lib/common/json_advice.h"
#include "lib/common/json_records.h"

#include <sys/stat.h>
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
            return fail_input(why, "no string 'prompt', but '%s': jq -c '.prompt = .%s' adds one",
                              names[i], names[i]);
    if (json_is_array(json_object_get(line, "prompt")))
        return fail_input(why, "'prompt' is a list: write one text, and one line for each text");
    return fail_input(why, "no string 'prompt', which each line needs: {\"prompt\": \"…\"}");
}

/* Totals over all lines. */
struct sum {
    uint64_t answers, tokens;
    uint64_t prompts, shared; /* tokens of all prompts, and those that the cache held already */
    uint64_t cut;             /* answers that --max-new-tokens or the end of the context ended */
    struct request_keys keys;
};

/* One prompt of a group: what is asked, and then its answer. */
struct entry {
    json_t *line;
    bool has_large;  /* the line has a number that is too large for jansson */
    uint64_t number; /* of the record */
    struct request request;
    const char *stops[REQUEST_STOPS_MAX];
    uint32_t *ids; /* [count] the prompt */
    int64_t count;
    struct text text; /* the answer */
    int64_t tokens;
    enum ending ending;
    bool is_answered;
};

/* The prompts of a file are answered in groups. Within a group the prompts are computed in the
 * order of their tokens, so that each prompt shares the longest possible beginning with the one
 * before, which is in the cache. The answers are written in the order of the file. A pipe's prompts
 * come one at a time, because its writer may wait for each answer. */
enum { GROUP = 1024 };
static const size_t group_bytes = 64 << 20; /* a group with so many bytes takes no further record */

struct lines {
    struct generator *g;
    struct talk *talk;
    const struct request *defaults;
    bool adds_bos;
    struct answer *answer;
    struct token_buffer own;
    struct json_records records;
    struct entry *entries; /* [GROUP] */
    struct entry *order[GROUP];
    size_t count, most, written;
    struct sum sum;
    bool has_ended, has_failed;
    struct fail late; /* why no further record is taken; told after the group's answers */
};

static int keep_ids(struct entry *e, const struct token_buffer *ids, struct fail *why)
{
    e->count = (int64_t)ids->count;
    e->ids = malloc((ids->count + 1) * sizeof *e->ids);
    if (!e->ids) return fail(why, "out of memory");
    memcpy(e->ids, ids->ids, ids->count * sizeof *e->ids);
    return 0;
}

static int encode(struct lines *l, struct entry *e, struct fail *why)
{
    struct talk *t = l->talk;
    const json_t *prompt = json_object_get(e->line, "prompt");
    const char *text = json_string_value(prompt);
    if (!text) return refuse_lack(e->line, why);
    if (!t) {
        if (generator_encode(l->g, text, json_string_length(prompt), l->adds_bos, &l->own, why))
            return -1;
        return keep_ids(e, &l->own, why);
    }
    size_t dropped;
    const json_t *own = json_object_get(e->line, "system");
    const char *system = t->system, *says = json_string_value(own);
    if (strlen(text) != json_string_length(prompt))
        return fail_input(why, "'prompt' holds a NUL character");
    if (says && strlen(says) != json_string_length(own))
        return fail_input(why, "'system' holds a NUL character");
    talk_forget(t);
    if (says) t->system = says;
    int status = talk_ask(t, text, 0, &dropped, why);
    t->system = system;
    return status ? -1 : keep_ids(e, &t->ids, why);
}

static int write_line(struct entry *e, struct fail *why)
{
    const struct text *text = &e->text;
    json_t *line = e->line;
    json_object_set_new(line, "completion", json_stringn(text->at ? text->at : "", text->bytes));
    json_object_set_new(line, "tokens", json_integer(e->tokens));
    json_object_set_new(line, "stop", json_string(ending_name(e->ending)));
    char *dumped = json_data_text(line, e->has_large);
    int status = !dumped ? fail(why, "out of memory") : run_emit(NULL, dumped, strlen(dumped), why);
    free(dumped);
    return status ? status : run_emit(NULL, "\n", 1, why);
}

static void count_answer(struct sum *s, const struct entry *e, const struct answer *a)
{
    s->prompts += (uint64_t)e->count;
    s->shared += (uint64_t)a->shared;
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
    if (s->shared)
        note("of %llu tokens of prompts %llu were in the cache already, as the beginning of the "
             "prompt before",
             (unsigned long long)s->prompts, (unsigned long long)s->shared);
    note("%llu prompts answered with %llu tokens in %.2f s: %.1f tokens/s; %llu ended by "
         "--max-new-tokens or the context",
         (unsigned long long)s->answers, (unsigned long long)s->tokens, seconds,
         (double)s->tokens / (seconds > 0 ? seconds : 1e-9), (unsigned long long)s->cut);
    char keys[320];
    if (tally_sum(&s->keys.replaced)) {
        tally_text(&s->keys.replaced, TALLY_KEYS, keys, sizeof keys);
        warn("keys of the lines that were replaced by keys of the answers: %s: rename them to keep "
             "them",
             keys);
    }
    if (tally_sum(&s->keys.carried)) {
        tally_text(&s->keys.carried, TALLY_KEYS, keys, sizeof keys);
        note("unused keys, which are copied to the answers: %s", keys);
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

/* Puts the place of a record before the text of *why. */
static void name_place(const struct json_records *r, uint64_t number, struct fail *why)
{
    char place[4200];
    snprintf(place, sizeof place, "%s: %s %llu", input_name(r->in),
             r->is_array ? "element" : "line", (unsigned long long)number);
    fail_prefix(why, place);
}

/* ---- a group ---- */

/* Reads what the record asks for. *e owns the line. */
static int read_entry(struct lines *l, struct entry *e, const char *text, size_t bytes,
                      struct fail *why)
{
    e->number = l->records.number;
    e->request = *l->defaults;
    e->line = json_read_data(text, bytes, JSON_ALLOW_NUL, &e->has_large, why);
    if (!json_is_object(e->line))
        return refuse_record(&l->records, text, bytes, e->line != NULL, why);
    if (request_read(&e->request, e->line, l->talk != NULL, e->stops, &l->sum.keys, why) ||
        encode(l, e, why))
        return -1;
    return generator_check_prompt(l->g, e->ids, e->count, why);
}

static void release_entries(struct lines *l)
{
    for (size_t i = 0; i < l->count; i++) {
        json_decref(l->entries[i].line);
        free(l->entries[i].ids);
        free(l->entries[i].text.at);
    }
    l->count = l->written = 0;
}

/* Reads the next records. If a record cannot be answered, the group ends before that record, and
 * l->late says why. */
static void read_group(struct lines *l)
{
    char *text;
    size_t bytes, all = 0;
    int got = 1;
    while (l->count < l->most && all < group_bytes &&
           (got = json_records_next(&l->records, &text, &bytes, &l->late)) > 0) {
        struct entry *e = &l->entries[l->count++];
        *e = (struct entry){ 0 };
        all += bytes;
        if (!read_entry(l, e, text, bytes, &l->late)) continue;
        name_place(&l->records, e->number, &l->late);
        json_decref(e->line);
        free(e->ids);
        l->count--;
        got = -1;
        break;
    }
    l->has_failed = got < 0;
    l->has_ended = got <= 0;
}

/* Prompts with equal tokens keep their order. */
static int by_tokens(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    for (int64_t i = 0; i < x->count && i < y->count; i++)
        if (x->ids[i] != y->ids[i]) return x->ids[i] < y->ids[i] ? -1 : 1;
    if (x->count != y->count) return x->count < y->count ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Writes the next answers in the order of the file, as far as they are computed. */
static int write_answered(struct lines *l, struct fail *why)
{
    while (l->written < l->count && l->entries[l->written].is_answered) {
        struct entry *e = &l->entries[l->written++];
        if (write_line(e, why)) return -1;
        free(e->text.at);
        e->text = (struct text){ 0 };
    }
    return 0;
}

/* Answers one prompt with its own options, which override the program's. */
static int answer_entry(struct lines *l, struct entry *e, struct fail *why)
{
    struct generator *g = l->g, before = *g;
    struct answer *a = l->answer;
    g->speech.arg = &e->text;
    g->max_tokens = e->request.max_tokens;
    g->speech.stops = &e->request.stops;
    sampler_change(g->sampler, &e->request.sampling);
    sampler_restart(g->sampler, e->request.has_seed ? 0 : e->number);
    int status = generator_answer(g, e->ids, e->count, a, why);
    g->max_tokens = before.max_tokens;
    g->speech.stops = before.speech.stops;
    if (status) {
        name_place(&l->records, e->number, why);
        return -1;
    }
    /* An answer of a model that changed meanwhile is not written. */
    if (generator_check_model(g, why)) return -1;
    e->tokens = a->count;
    e->ending = a->ending;
    e->is_answered = true;
    count_answer(&l->sum, e, a);
    progress_at((double)l->sum.answers);
    return write_answered(l, why);
}

static int answer_group(struct lines *l, struct fail *why)
{
    int status = 0;
    for (size_t i = 0; i < l->count; i++)
        l->order[i] = &l->entries[i];
    if (l->count) qsort(l->order, l->count, sizeof *l->order, by_tokens);
    for (size_t i = 0; i < l->count && !status; i++)
        status = answer_entry(l, l->order[i], why);
    return status;
}

/* True for a regular file, whose prompts can be read before the first answer. */
static bool is_file(const char *path)
{
    struct stat s;
    int status = strcmp(path, "-") ? stat(path, &s) : fstat(STDIN_FILENO, &s);
    return !status && S_ISREG(s.st_mode);
}

int lines_answer(struct generator *g, struct talk *t, const struct request *defaults, bool adds_bos,
                 const char *path, struct answer *a, struct fail *why)
{
    static struct lines l;
    struct input *in;
    double start = clock_seconds();
    l = (struct lines){ .g = g,
                        .talk = t,
                        .defaults = defaults,
                        .adds_bos = adds_bos,
                        .answer = a,
                        .most = is_file(path) ? GROUP : 1 };
    if (input_open(&in, path, why)) return -1;
    l.entries = calloc(l.most, sizeof *l.entries);
    int status = l.entries ? json_records_open(&l.records, in, why) : fail(why, "out of memory");
    struct progress p = { .unit = "prompts" };
    /* Progress is shown unless the answers themselves appear on the terminal. */
    if (!isatty(STDOUT_FILENO)) progress_begin(&p);
    g->speech.emit = append;
    while (!status && !l.has_ended) {
        read_group(&l);
        status = answer_group(&l, why);
        release_entries(&l);
    }
    progress_end();
    if (!status && l.has_failed) {
        *why = l.late;
        status = -1;
    }
    if (!status) report(&l.sum, input_name(in), clock_seconds() - start);
    tally_release(&l.sum.keys.carried);
    tally_release(&l.sum.keys.replaced);
    free(l.entries);
    token_buffer_release(&l.own);
    input_close(in);
    return status;
}
