#include "tools/needle/make.h"

#include "lib/cli/die.h"
#include "lib/cli/progress.h"
#include "lib/common/json.h"
#include "lib/common/output.h"
#include "lib/stream/tokens.h"
#include "lib/tokenizer/chat_known.h"
#include "tools/needle/fit.h"

static struct fail why;

struct maker {
    const struct options *o;
    const struct plan *plan;
    struct tokenizer *tokenizer;
    struct chat_template template;
    struct filler filler, noise;
    struct wording wording;
    struct finish finish;
    /* The output: `samples` with --samples, else `lines`. */
    struct output lines;
    struct writer *samples;
    struct sample_info info;
    uint64_t made, total;
    double tokens;
};

/* The task, length and depth of one prompt. */
struct place {
    enum task task;
    int length, depth; /* indexes into the plan's lists */
    uint64_t repetition;
};

/* ---- opening ---- */

static void open_template(struct maker *m)
{
    const struct options *o = m->o;
    const struct chat_known *known;
    char text[480];
    if (!o->template) return;
    or_die(chat_known_choose(&m->template, o->template, &o->model, 1, "--template", m->tokenizer,
                             &known, &why),
           &why);
    chat_known_describe(&m->template, known, "--template", text, sizeof text);
    if (*text) note("%s", text);
    m->finish.template = &m->template;
    m->finish.system = o->system;
}

/* Returns the template's name. For a file, this is its name without the folders. */
static const char *template_name(const struct maker *m)
{
    const char *slash = m->o->template ? strrchr(m->template.name, '/') : NULL;
    return !m->o->template ? "" : slash ? slash + 1 : m->template.name;
}

static void put_options(const struct maker *m, struct msgpack_map *made)
{
    const struct options *o = m->o;
    msgpack_map_text(made, "tasks", o->tasks);
    msgpack_map_text(made, "lengths", o->lengths);
    msgpack_map_text(made, "depths", o->depths);
    msgpack_map_count(made, "count", (uint64_t)o->count);
    if (o->needles) msgpack_map_count(made, "needles", (uint64_t)o->needles);
    if (o->filler) msgpack_map_text(made, "filler", m->filler.digest);
    if (!o->template) return;
    msgpack_map_text(made, "template", template_name(m));
    msgpack_map_text(made, "template_digest", m->template.digest);
}

static void open_samples(struct maker *m)
{
    struct msgpack_map made;
    const struct tokenizer *t = m->tokenizer;
    bool has_begin = tokenizer_begin(t) != UINT32_MAX;
    m->info = (struct sample_info){ .seed = (uint64_t)m->o->seed, .strategy = "needle" };
    m->info.text = (struct token_info){
        .vocab_size = tokenizer_vocab(t),
        .bos = has_begin ? tokenizer_begin(t) : tokenizer_bos(t),
        .eos = tokenizer_eos(t),
        .add_bos = m->o->template ? m->template.begins_with_bos : has_begin,
        .add_eos = m->o->template && m->template.end == tokenizer_eos(t),
    };
    memcpy(m->info.text.tokenizer, tokenizer_digest(t), sizeof m->info.text.tokenizer);
    for (int i = 0; i < m->plan->length_count; i++)
        if ((uint64_t)m->plan->lengths[i] > m->info.context)
            m->info.context = (uint64_t)m->plan->lengths[i];
    msgpack_map_init(&made);
    put_options(m, &made);
    or_die(samples_writer(&m->samples, m->o->output, TOKEN_FORMAT_STREAM, "needle", &m->info, &made,
                          &why),
           &why);
    msgpack_map_release(&made);
}

static void open_maker(struct maker *m, const struct options *o, const struct plan *plan)
{
    *m = (struct maker){ .o = o, .plan = plan };
    or_die(tokenizer_open(&m->tokenizer, o->model, &why), &why);
    const char *remark = tokenizer_remark(m->tokenizer, !o->template);
    if (remark) warn("%s", remark);
    m->finish.tokenizer = m->tokenizer;
    m->finish.has_answer = o->samples;
    open_template(m);
    or_die(wording_open(&m->wording, o->wording, !o->template, &why), &why);
    or_die(filler_open(&m->filler, o->filler, m->tokenizer, &why), &why);
    if (o->samples)
        open_samples(m);
    else
        or_die(output_open(&m->lines, o->output, &why), &why);
}

static void close_maker(struct maker *m)
{
    if (m->samples && m->o->template) {
        struct template_record w = { 0 };
        snprintf(w.name, sizeof w.name, "%s", template_name(m));
        memcpy(w.digest, m->template.digest, sizeof w.digest);
        if (strlen(m->template.text) < sizeof w.text)
            memcpy(w.text, m->template.text, strlen(m->template.text) + 1);
        writer_template(m->samples, &w);
    }
    or_die(m->samples ? writer_close(m->samples, &why) : output_close(&m->lines, &why), &why);
    finish_release(&m->finish);
    filler_release(&m->filler);
    wording_release(&m->wording);
    chat_template_close(&m->template);
    tokenizer_close(m->tokenizer);
}

/* ---- a prompt ---- */

static int write_line(struct maker *m, const struct place *at, const struct problem *p)
{
    enum family f = task_family(at->task);
    /* max_tokens is enough for 10 answers. Each further answer, with the text before it, has up to
     * 12 tokens. */
    int64_t most = m->wording.max_tokens[f] + 12 * ((int64_t)p->answer_count - 10);
    if (most < m->wording.max_tokens[f]) most = m->wording.max_tokens[f];
    json_t *line = json_object(), *needle = json_object(), *answers = json_array();
    json_object_set_new(line, "prompt", json_stringn(m->finish.prompt.at, m->finish.prompt.bytes));
    if (m->o->system) json_object_set_new(line, "system", json_string(m->o->system));
    json_object_set_new(line, "max_tokens", json_integer(most));
    json_object_set_new(needle, "task", json_string(task_names[at->task]));
    json_object_set_new(needle, "tokens", json_integer(m->plan->lengths[at->length]));
    if (task_has_depth(at->task))
        json_object_set_new(needle, "depth", json_integer(m->plan->depths[at->depth]));
    json_object_set_new(needle, "number", json_integer((json_int_t)at->repetition));
    for (size_t i = 0; i < p->answer_count; i++)
        json_array_append_new(answers, json_string(p->answers[i]));
    json_object_set_new(needle, "answers", answers);
    json_object_set_new(line, "needle", needle);
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    int status = text ? output_write(&m->lines, text, strlen(text), &why)
                      : fail(&why, "the prompt cannot be written as JSON");
    free(text);
    return status ? status : output_write(&m->lines, "\n", 1, &why);
}

static int by_place(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static int write_sample(struct maker *m, const struct place *at, const struct problem *p)
{
    uint32_t targets[2 * (PROBLEM_NEEDLES_MAX + 1)], count = (uint32_t)m->finish.ids.count;
    size_t n = 0;
    if (finish_targets(&m->finish, p, targets, &why)) return -1;
    qsort(targets, p->answer_count, 2 * sizeof *targets, by_place);
    /* Two answers that share a token become one range. */
    for (size_t i = 0; i < p->answer_count; i++) {
        if (n && targets[2 * i] <= targets[2 * n - 1]) {
            targets[2 * n - 1] = targets[2 * i + 1];
            continue;
        }
        targets[2 * n] = targets[2 * i];
        targets[2 * n + 1] = targets[2 * i + 1];
        n++;
    }
    struct sample s = { .ids = m->finish.ids.ids,
                        .count = count,
                        .documents = &count,
                        .document_count = 1,
                        .targets = targets,
                        .target_count = n,
                        .has_targets = true };
    snprintf(s.source, sizeof s.source, "%s", task_names[at->task]);
    return samples_write(m->samples, &m->info, &s, &why);
}

static void make_one(struct maker *m, const struct place *at)
{
    struct problem p;
    char place[80], depth[16] = "";
    int64_t tokens = m->plan->lengths[at->length];
    unsigned percent = m->plan->depths[at->depth];
    struct wish wish = { .task = at->task,
                         .seed = (uint64_t)m->o->seed,
                         .repetition = at->repetition,
                         .needles = m->o->needles ? m->o->needles : task_needles(at->task) };
    if (at->task == TASK_SINGLE) wish.needles = 1;
    if (task_has_depth(at->task)) wish.depth = 10 * percent;
    /* The number depends only on this prompt and not on which others are made. So with a longer
     * list of lengths or depths the same prompts are made, and more. */
    wish.number = (at->repetition << 32) + ((uint64_t)tokens << 7) + (wish.depth ? percent : 0);
    int status = problem_make(&p, &wish, &m->filler, &m->wording, &why);
    if (status && m->o->wording) (void)fail_in(&why, m->o->wording);
    or_die(status, &why);
    if (task_has_depth(at->task)) snprintf(depth, sizeof depth, ", depth %u %%", percent);
    snprintf(place, sizeof place, "--lengths: %s%s", task_names[at->task], depth);
    if (fit_make(&m->finish, &p, tokens, &why)) or_die(fail_in(&why, place), &why);
    or_die(m->samples ? write_sample(m, at, &p) : write_line(m, at, &p), &why);
    problem_release(&p);
    m->tokens += (double)tokens;
    progress_at((double)++m->made);
}

/* Prompts that begin with the same text are made one after the other. */
static void make_task(struct maker *m, enum task task)
{
    int depths = task_has_depth(task) ? m->plan->depth_count : 1;
    for (uint64_t r = 0; r < (uint64_t)m->o->count; r++)
        for (int l = 0; l < m->plan->length_count; l++)
            for (int d = 0; d < depths; d++)
                make_one(m, &(struct place){ task, l, d, r });
}

static uint64_t count_prompts(const struct options *o, const struct plan *plan)
{
    uint64_t total = 0;
    for (int t = 0; t < TASKS; t++)
        if (plan->has_task[t])
            total += (uint64_t)o->count * (uint64_t)plan->length_count *
                     (uint64_t)(task_has_depth((enum task)t) ? plan->depth_count : 1);
    return total;
}

void make(const struct options *o, const struct plan *plan)
{
    struct maker m;
    open_maker(&m, o, plan);
    m.total = count_prompts(o, plan);
    struct progress p = { .unit = o->samples ? "samples" : "prompts", .total = (double)m.total };
    progress_begin(&p);
    for (int t = 0; t < TASKS; t++)
        if (plan->has_task[t]) make_task(&m, (enum task)t);
    progress_end();
    uint64_t dropped = m.finish.ids.dropped;
    note("%llu %s, %.0f tokens", (unsigned long long)m.made, p.unit, m.tokens);
    if (dropped)
        warn("some characters have no piece in this vocabulary and gave no token: the model does "
             "not see them");
    close_maker(&m);
}
