#include "tools/needle/problem.h"

#include "tools/needle/list.h"

#include <string.h>

const char *const task_names[TASKS] = { "single",   "multikey", "multivalue", "multiquery",
                                        "tracking", "common",   "frequent" };

enum family task_family(enum task t)
{
    return t == TASK_TRACKING   ? FAMILY_TRACKING
           : t == TASK_COMMON   ? FAMILY_COMMON
           : t == TASK_FREQUENT ? FAMILY_FREQUENT
                                : FAMILY_NEEDLE;
}

bool task_has_filler(enum task t) { return t != TASK_COMMON && t != TASK_FREQUENT; }

bool task_has_depth(enum task t) { return t == TASK_SINGLE || t == TASK_MULTIKEY; }

int64_t task_needles(enum task t)
{
    static const int64_t needles[TASKS] = { 1, 4, 4, 4, 4, 10, 3 };
    return needles[t];
}

/* ---- needles ---- */

static int hide(struct problem *p, const struct wording *w, const char *key, const char *value,
                unsigned depth, struct fail *why)
{
    enum family f = task_family(p->task);
    const char *type = w->words[f][NUMBER_MANY].type;
    const struct text_value values[] = {
        { "type_needle_v", type ? type : "" }, { "key", key }, { "value", value }, { 0 }
    };
    struct text text = { 0 };
    if (text_add_wording(&text, w->needle[f], values, why)) {
        free(text.at);
        return fail_in(why, "needle");
    }
    size_t at = p->hidden_count++;
    for (; at && p->hidden[at - 1].depth > depth; at--)
        p->hidden[at] = p->hidden[at - 1];
    p->hidden[at] = (struct hidden){ .text = text.at, .depth = depth };
    return 0;
}

static void add_answer(struct problem *p, const char *text)
{
    snprintf(p->answers[p->answer_count++], DRAW_TEXT, "%s", text);
}

/* Draws a number that occurs in none of the needles so far. */
static void new_number(struct draw *d, const struct problem *p, char number[DRAW_TEXT])
{
    bool is_new = false;
    while (!is_new) {
        draw_number(d, number);
        is_new = true;
        for (size_t i = 0; i < p->hidden_count; i++)
            if (strstr(p->hidden[i].text, number)) is_new = false;
    }
}

static unsigned any_depth(struct draw *d) { return (unsigned)draw_below(d, 1001); }

/* Writes name i of a prompt. The names are consecutive members of a random permutation, so none is
 * drawn twice. */
static void name_at(uint64_t first, uint64_t step, uint64_t i, char name[DRAW_TEXT])
{
    draw_name((first + i * step) % DRAW_NAMES, name);
}

/* single and multikey ask for the first name, whose needle is at the depth. multiquery asks for all
 * names. */
static int hide_keys(struct problem *p, const struct wish *wish, const struct wording *w,
                     struct draw *d, struct text *query, struct fail *why)
{
    bool asks_all = p->task == TASK_MULTIQUERY;
    uint64_t first = draw_below(d, DRAW_NAMES), step = 2 * draw_below(d, DRAW_NAMES / 2) + 1;
    for (int64_t i = 0; i < p->needles; i++) {
        char name[DRAW_TEXT], number[DRAW_TEXT];
        bool is_asked = asks_all || !i;
        name_at(first, step, (uint64_t)i, name);
        new_number(d, p, number);
        unsigned depth = i || asks_all ? any_depth(d) : wish->depth;
        if (hide(p, w, name, number, depth, why)) return -1;
        if (!is_asked) continue;
        add_answer(p, number);
        const char *before = !i                   ? ""
                             : i + 1 < p->needles ? ", "
                             : p->needles > 2     ? ", and "
                                                  : " and ";
        if (text_add_word(query, before, why) || text_add_word(query, name, why)) return -1;
    }
    return 0;
}

static int hide_values(struct problem *p, const struct wording *w, struct draw *d,
                       struct text *query, struct fail *why)
{
    char name[DRAW_TEXT], number[DRAW_TEXT];
    draw_name(draw_below(d, DRAW_NAMES), name);
    for (int64_t i = 0; i < p->needles; i++) {
        new_number(d, p, number);
        if (hide(p, w, name, number, any_depth(d), why)) return -1;
        add_answer(p, number);
    }
    return text_add_word(query, name, why);
}

/* The first variable gets a number. Each of the others gets the value of the variable before it, at
 * a later place in the text. */
static int hide_variables(struct problem *p, const struct wording *w, struct draw *d,
                          struct text *query, struct fail *why)
{
    unsigned depths[PROBLEM_NEEDLES_MAX + 1];
    char number[DRAW_TEXT], value[DRAW_TEXT + 8];
    for (int64_t i = 0; i <= p->needles; i++) {
        int64_t at = i;
        unsigned depth = any_depth(d);
        for (; at && depths[at - 1] > depth; at--)
            depths[at] = depths[at - 1];
        depths[at] = depth;
    }
    snprintf(number, sizeof number, "%d", 10000 + (int)draw_below(d, 90000));
    snprintf(value, sizeof value, "%s", number);
    for (int64_t i = 0; i <= p->needles; i++) {
        char name[DRAW_TEXT];
        bool is_new = false;
        while (!is_new) {
            draw_letters(d, 'A', 5, name);
            is_new = true;
            for (size_t k = 0; k < p->answer_count; k++)
                if (!strcmp(p->answers[k], name)) is_new = false;
        }
        if (hide(p, w, name, value, depths[i], why)) return -1;
        add_answer(p, name);
        snprintf(value, sizeof value, "VAR %s", name);
    }
    return text_add_word(query, number, why);
}

/* ---- making ---- */

/* Fills in template and prefix, and cuts the template at the place of the context. */
static int set_wording(struct problem *p, const struct wording *w, const char *query,
                       struct fail *why)
{
    enum family f = task_family(p->task);
    const struct words *words = &w->words[f][p->answer_count == 1 ? NUMBER_ONE : NUMBER_MANY];
    char count[24];
    static const char mark[] = "\x01";
    snprintf(count, sizeof count, "%zu", p->answer_count);
    const struct text_value values[] = { { "context", mark },
                                         { "query", query },
                                         { "type_needle_v", words->type ? words->type : "" },
                                         { "num_v", count },
                                         { 0 } };
    struct text whole = { 0 }, prefix = { 0 };
    if (text_add_wording(&whole, words->template, values, why) ||
        text_add_wording(&prefix, words->prefix, values + 1, why)) {
        free(whole.at);
        free(prefix.at);
        return -1;
    }
    char *context = strchr(whole.at, *mark);
    p->before = strndup(whole.at, (size_t)(context - whole.at));
    p->after = strdup(context + 1);
    free(whole.at);
    p->prefix = prefix.at ? prefix.at : strdup("");
    if (!p->before || !p->after || !p->prefix) return fail(why, "out of memory");
    if (strchr(p->after, *mark)) return fail_input(why, "'template' has {context} twice");
    return 0;
}

int problem_make(struct problem *p, const struct wish *wish, const struct filler *filler,
                 const struct wording *wording, struct fail *why)
{
    char purpose[48];
    struct text query = { 0 };
    *p = (struct problem){ .task = wish->task,
                           .filler = filler,
                           .seed = wish->seed,
                           .number = wish->number,
                           .needles = wish->needles };
    must(p->needles >= 1 && p->needles <= PROBLEM_NEEDLES_MAX);
    struct draw start = draw_begin(wish->seed, "filler", wish->repetition);
    if (!filler->is_noise) p->first_piece = draw_below(&start, filler->count);
    snprintf(purpose, sizeof purpose, "needles of %s", task_names[p->task]);
    struct draw d = draw_begin(wish->seed, purpose, wish->number);
    int status = 0;
    if (p->task == TASK_TRACKING)
        status = hide_variables(p, wording, &d, &query, why);
    else if (p->task == TASK_MULTIVALUE)
        status = hide_values(p, wording, &d, &query, why);
    else if (task_has_filler(p->task))
        status = hide_keys(p, wish, wording, &d, &query, why);
    for (int64_t i = 0; !task_has_filler(p->task) && i < p->needles; i++)
        list_answer(p, (uint64_t)i, p->answers[p->answer_count++]);
    if (!status) status = set_wording(p, wording, query.at ? query.at : "", why);
    free(query.at);
    if (status) problem_release(p);
    return status;
}

void problem_release(struct problem *p)
{
    for (size_t i = 0; i < p->hidden_count; i++)
        free(p->hidden[i].text);
    free(p->before);
    free(p->after);
    free(p->prefix);
    *p = (struct problem){ 0 };
}

/* ---- the text ---- */

/* Appends a needle as a sentence of its own. */
static int add_needle(struct text *to, size_t begin, const char *needle, struct fail *why)
{
    bool needs_space = to->bytes > begin && !text_is_space(to->at[to->bytes - 1]);
    if (needs_space && text_add(to, " ", 1, why)) return -1;
    return text_add_word(to, needle, why) || text_add(to, " ", 1, why) ? -1 : 0;
}

/* Appends the filler, and each needle before the first piece that begins at its depth or later. */
static int add_context(const struct problem *p, size_t n, const char *pad, size_t pad_bytes,
                       struct text *to, struct fail *why)
{
    size_t total = pad_bytes, done = 0, next = 0, bytes, begin = to->bytes;
    for (size_t i = 0; i < n; i++) {
        (void)filler_piece(p->filler, p->first_piece + i, &bytes);
        total += bytes;
    }
    for (size_t i = 0; i <= n + 1; i++) {
        while (next < p->hidden_count && done * 1000 >= total * p->hidden[next].depth)
            if (add_needle(to, begin, p->hidden[next++].text, why)) return -1;
        const char *piece = pad;
        if (i < n)
            piece = filler_piece(p->filler, p->first_piece + i, &bytes);
        else
            bytes = i == n ? pad_bytes : 0;
        if (text_add(to, piece, bytes, why)) return -1;
        done += bytes;
    }
    return 0;
}

int problem_text(const struct problem *p, size_t n, const char *pad, size_t pad_bytes,
                 struct text *to, struct fail *why)
{
    if (text_add_word(to, p->before, why)) return -1;
    size_t begin = to->bytes;
    int status = task_has_filler(p->task) ? add_context(p, n, pad, pad_bytes, to, why)
                                          : list_add(p, n, pad, pad_bytes, to, why);
    if (status) return status;
    while (to->bytes > begin && text_is_space(to->at[to->bytes - 1]))
        to->bytes--;
    return text_add_word(to, p->after, why);
}
