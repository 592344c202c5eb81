#include "tools/needle/table.h"

#include "lib/common/output.h"

#include <math.h>

enum { SHOWN = 16 };

/* Writes a score, or a sign that there is none. */
static void show(double value, const char *none, char text[SHOWN])
{
    if (isnan(value))
        snprintf(text, SHOWN, "%s", none);
    else
        snprintf(text, SHOWN, "%.1f", value);
}

static double value_at(const struct scores *s, const struct cell *row, int depth)
{
    const struct cell *c = scores_at(s, row, depth);
    return c ? cell_mean(c) : NAN;
}

/* Prints the name of a task. A control character becomes a space, and the characters in `special`
 * get a backslash. */
static int print_task(struct output *out, const char *name, const char *special, struct fail *why)
{
    for (; *name; name++) {
        char c = (unsigned char)*name < ' ' || *name == 127 ? ' ' : *name;
        if (strchr(special, c) && output_write(out, "\\", 1, why)) return -1;
        if (output_write(out, &c, 1, why)) return -1;
    }
    return 0;
}

static int print_table(struct output *out, const struct scores *s, struct fail *why)
{
    char shown[SHOWN], error[SHOWN];
    if (output_print(out, why, "%-12s %8s %8s", "task", "tokens", "prompts")) return -1;
    for (int d = 0; d < s->depth_count; d++) {
        snprintf(shown, SHOWN, "%d %%", s->depths[d]);
        if (output_print(out, why, " %7s", shown)) return -1;
    }
    if (output_print(out, why, " %7s %7s\n", "all", "stderr")) return -1;
    for (size_t i = 0; i < s->row_count; i++) {
        const struct cell *row = &s->rows[i];
        const char *task = s->tasks[row->task];
        int gap = strlen(task) < 12 ? 12 - (int)strlen(task) : 0;
        if (print_task(out, task, "", why) ||
            output_print(out, why, "%*s %8lld %8llu", gap, "", (long long)row->tokens,
                         (unsigned long long)row->prompts))
            return -1;
        for (int d = 0; d < s->depth_count; d++) {
            show(value_at(s, row, s->depths[d]), "-", shown);
            if (output_print(out, why, " %7s", shown)) return -1;
        }
        show(cell_mean(row), "-", shown);
        show(cell_stderr(row), "-", error);
        if (output_print(out, why, " %7s %7s\n", shown, error)) return -1;
    }
    return 0;
}

static int print_markdown(struct output *out, const struct scores *s, struct fail *why)
{
    char shown[SHOWN], error[SHOWN];
    if (output_print(out, why, "| task | tokens | prompts |")) return -1;
    for (int d = 0; d < s->depth_count; d++)
        if (output_print(out, why, " %d %% |", s->depths[d])) return -1;
    if (output_print(out, why, " all | stderr |\n| --- | --- | --- |")) return -1;
    for (int d = 0; d <= s->depth_count + 1; d++)
        if (output_print(out, why, " --- |")) return -1;
    for (size_t i = 0; i < s->row_count; i++) {
        const struct cell *row = &s->rows[i];
        if (output_print(out, why, "\n| ") ||
            print_task(out, s->tasks[row->task], "\\|`*<[&", why) ||
            output_print(out, why, " | %lld | %llu |", (long long)row->tokens,
                         (unsigned long long)row->prompts))
            return -1;
        for (int d = 0; d < s->depth_count; d++) {
            show(value_at(s, row, s->depths[d]), "–", shown);
            if (output_print(out, why, " %s |", shown)) return -1;
        }
        show(cell_mean(row), "–", shown);
        show(cell_stderr(row), "–", error);
        if (output_print(out, why, " %s | %s |", shown, error)) return -1;
    }
    return output_print(out, why, "\n");
}

static json_t *cell_to_json(const struct scores *s, const struct cell *c)
{
    json_t *o = json_object();
    json_object_set_new(o, "task", json_string(s->tasks[c->task]));
    json_object_set_new(o, "tokens", json_integer(c->tokens));
    if (c->depth != NO_DEPTH) json_object_set_new(o, "depth", json_integer(c->depth));
    json_object_set_new(o, "prompts", json_integer((json_int_t)c->prompts));
    json_object_set_new(o, "whole", json_integer((json_int_t)c->whole));
    json_object_set_new(o, "score", json_real(cell_mean(c)));
    if (!isnan(cell_stderr(c))) json_object_set_new(o, "stderr", json_real(cell_stderr(c)));
    return o;
}

static int print_json(struct output *out, const struct scores *s, struct fail *why)
{
    json_t *all = json_object(), *rows = json_array(), *cells = json_array();
    for (size_t i = 0; i < s->row_count; i++)
        json_array_append_new(rows, cell_to_json(s, &s->rows[i]));
    for (size_t i = 0; i < s->cell_count; i++)
        json_array_append_new(cells, cell_to_json(s, &s->cells[i]));
    json_object_set_new(all, "prompts", json_integer((json_int_t)s->prompts));
    json_object_set_new(all, "rows", rows);
    json_object_set_new(all, "cells", cells);
    char *text = json_text(all);
    json_decref(all);
    int status = text ? output_write(out, text, strlen(text), why) : fail(why, "out of memory");
    free(text);
    return status;
}

int table_write(const struct scores *s, const char *to, const char *path, struct fail *why)
{
    struct output out;
    const char *dot = strrchr(path, '.');
    bool is_auto = !strcmp(to, "auto");
    bool is_json = is_auto ? dot && !strcmp(dot, ".json") : !strcmp(to, "json");
    bool is_markdown = is_auto ? dot && !strcmp(dot, ".md") : !strcmp(to, "markdown");
    if (output_open(&out, path, why)) return -1;
    int status = is_json       ? print_json(&out, s, why)
                 : is_markdown ? print_markdown(&out, s, why)
                               : print_table(&out, s, why);
    if (!status) return output_close(&out, why);
    output_abandon(&out);
    return -1;
}
