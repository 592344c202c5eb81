#include "tools/needle/options.h"

#include "lib/cli/die.h"
#include "lib/tokenizer/chat_template.h"

#include <errno.h>

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), wanted = strlen(end);
    return length > wanted && !strcmp(text + length - wanted, end);
}

/* Parses "500,1000" into at most `most` numbers, each between least and greatest. */
static int parse_counts(const char *option, const char *text, int64_t least, int64_t greatest,
                        int64_t *to, int most)
{
    int count = 0;
    for (const char *at = text;; at++) {
        char *end;
        errno = 0;
        long long value = *at >= '0' && *at <= '9' ? strtoll(at, &end, 10) : -1;
        if (value < least || value > greatest || errno || (*end && *end != ','))
            die_usage("--%s: '%s' is not a list of numbers from %lld to %lld, such as %s", option,
                      text, (long long)least, (long long)greatest,
                      least ? "1000,2000" : "0,50,100");
        if (count == most) die_usage("--%s: more than %d numbers", option, most);
        for (int i = 0; i < count; i++)
            if (to[i] == value) die_usage("--%s: %lld occurs twice", option, value);
        to[count++] = value;
        at = end;
        if (!*at) return count;
    }
}

static void parse_tasks(const char *text, bool has_task[TASKS])
{
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ","), t = 0;
        while (t < TASKS &&
               (strlen(task_names[t]) != length || strncmp(at, task_names[t], length) != 0))
            t++;
        if (length == 3 && !strncmp(at, "all", 3))
            for (int i = 0; i < TASKS; i++)
                has_task[i] = true;
        else if (t == TASKS)
            die_usage("--tasks: '%.*s' is not a task: write single, multikey, multivalue, "
                      "multiquery, tracking, common, frequent, or all",
                      (int)(length < 40 ? length : 40), at);
        else
            has_task[t] = true;
        at += length;
        if (!*at) return;
    }
}

/* Warns of options that none of the chosen tasks uses. */
static void warn_of_idle(const struct options *o, const struct plan *plan)
{
    bool has_filler = false, has_depth = false, has_number = false;
    for (int t = 0; t < TASKS; t++) {
        if (!plan->has_task[t]) continue;
        has_filler |= task_has_filler((enum task)t);
        has_depth |= task_has_depth((enum task)t);
        has_number |= t != TASK_SINGLE;
    }
    if (opt_given("filler") && !has_filler)
        warn("--filler changes nothing: the texts of --tasks %s are lists of words", o->tasks);
    if (opt_given("depths") && !has_depth)
        warn("--depths changes nothing: --tasks %s spreads the needles over the text", o->tasks);
    if (opt_given("needles") && !has_number)
        warn("--needles changes nothing: --tasks %s has one needle", o->tasks);
}

void options_make(const struct options *o, const char **operands, struct plan *plan)
{
    struct fail why;
    int64_t depths[DEPTHS_MAX];
    *plan = (struct plan){ 0 };
    if (operands[1])
        die_usage("make has no operands, but '%s' is one: --filler names a text", operands[1]);
    const char *given = opt_given("figure|to");
    if (given) die_usage("--%s belongs to score, not to make", given);
    if (!o->model)
        die_usage("--model is needed: the model's tokenizer.model, tokenizer.json, or directory");
    if (o->template && chat_template_check(o->template, &why))
        die_usage("--template: %s", why.text);
    if (o->system && !o->template) die_usage("--system needs --template");
    if (!o->count) die_usage("--count must be at least 1");
    if (o->needles > PROBLEM_NEEDLES_MAX)
        die_usage("--needles must be at most %d", PROBLEM_NEEDLES_MAX);
    plan->length_count =
        parse_counts("lengths", o->lengths, 16, 1 << 24, plan->lengths, LENGTHS_MAX);
    plan->depth_count = parse_counts("depths", o->depths, 0, 100, depths, DEPTHS_MAX);
    for (int i = 0; i < plan->depth_count; i++)
        plan->depths[i] = (unsigned)depths[i];
    parse_tasks(o->tasks, plan->has_task);
    warn_of_idle(o, plan);
    if (o->samples) die_if_terminal(o->output);
}

void options_score(const struct options *o)
{
    const char *given = opt_given("model|lengths|depths|tasks|count|needles|filler|wording|"
                                  "template|system|samples|seed");
    if (given) die_usage("--%s belongs to make, not to score", given);
    for (int i = 0; i < o->figures.count; i++)
        if (!ends_with(o->figures.at[i], ".svg") && !ends_with(o->figures.at[i], ".png"))
            die_usage("--figure: '%s' ends neither with .svg nor with .png", o->figures.at[i]);
    if (o->figures.count > FIGURES_MAX)
        die_usage("--figure may be given at most %d times", FIGURES_MAX);
}
