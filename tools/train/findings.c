#include "tools/train/findings.h"

#include "lib/cli/progress.h"
#include "lib/common/message.h"
#include "lib/common/utf8.h"

#include <stdio.h>
#include <string.h>

void findings_begin(struct findings *r, bool as_json)
{
    *r = (struct findings){ .as_json = as_json,
                            .stretches = json_array(),
                            .problems = json_array() };
}

/* Returns a text for the report. A path may have bytes that JSON may not. */
static json_t *text_of(const char *text)
{
    char valid[RUN_PATH];
    snprintf(valid, sizeof valid, "%s", text);
    utf8_mend(valid);
    return json_string(valid);
}

/* Keeps the gravest status: damage is graver than what could not be done. */
static void count(struct findings *r, const struct fail *why)
{
    if (!r->status) r->first = *why;
    if (r->status != STATUS_INPUT)
        r->status = why->status == STATUS_INPUT ? STATUS_INPUT : STATUS_FAILED;
}

/* Prints one line. A line feed in the name of a file does not make two lines. */
static void print_line(const char *place, const char *text)
{
    char line[RUN_NAME + 64 + sizeof((struct fail *)0)->text];
    snprintf(line, sizeof line, "%s%s", place, text);
    printf("%.*s\n", (int)message_mask(line, strlen(line)), line);
}

void findings_problem(struct findings *r, const struct fail *why)
{
    count(r, why);
    json_array_append_new(r->problems, text_of(why->text));
    if (!r->as_json) print_line("", why->text);
}

/* Writes "checkpoint-4: steps 3-4: ", or "the result: ". */
static void put_place(const struct kept *to, int64_t from, char *text, size_t size)
{
    int64_t step = kept_step(to);
    const char *name = *to->name ? to->name : to->is_result ? "the result" : "the checkpoint";
    if (from >= 0 && from + 1 < step)
        snprintf(text, size, "%s: steps %lld-%lld: ", name, (long long)from + 1, (long long)step);
    else if (from < step && from >= 0)
        snprintf(text, size, "%s: step %lld: ", name, (long long)step);
    else
        snprintf(text, size, "%s: ", name);
}

/* Lists a stretch and prints its line. problem: NULL if it was verified. */
static void put_stretch(struct findings *r, const struct kept *to, int64_t from, const char *place,
                        const char *problem, bool is_left)
{
    json_t *one = json_pack("{s:o,s:s,s:I,s:I,s:b}", "name", text_of(to->name), "kind",
                            to->is_result ? "result" : "checkpoint", "from", (json_int_t)from, "to",
                            (json_int_t)kept_step(to), "verified", !problem);
    if (is_left) json_object_set_new(one, "left", json_true());
    if (problem) json_object_set_new(one, "problem", text_of(problem));
    json_array_append_new(r->stretches, one);
    if (r->as_json) return;
    print_line(place, problem ? problem : "verified");
    fflush(stdout);
}

void findings_left(struct findings *r, const struct kept *to, int64_t from)
{
    char place[RUN_NAME + 64];
    put_place(to, from, place, sizeof place);
    r->left++;
    put_stretch(
        r, to, from, place,
        "not verified, and left by the run, which went on from an earlier checkpoint in "
        "another way: its result does not come from here, so this checkpoint may be removed",
        true);
}

void findings_stretch(struct findings *r, const struct kept *to, int64_t from,
                      const struct fail *problem)
{
    char place[RUN_NAME + 64];
    put_place(to, from, place, sizeof place);
    if (problem) {
        struct fail whole = *problem;
        char name[sizeof place];
        snprintf(name, sizeof name, "%.*s", (int)strlen(place) - 2, place);
        fail_prefix(&whole, name);
        count(r, &whole);
    }
    *(problem ? &r->failed : &r->verified) += 1;
    put_stretch(r, to, from, place, problem ? problem->text : NULL, false);
}

int findings_end(struct findings *r, const char *run, struct fail *why)
{
    bool is_verified = !r->status;
    json_t *all =
        json_pack("{s:i,s:o,s:b,s:i,s:i,s:o,s:o}", "longqlora", 1, "run", text_of(run), "verified",
                  is_verified, "stretches_verified", r->verified, "stretches_failed", r->failed,
                  "stretches", r->stretches, "problems", r->problems);
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    if (!text) return fail(why, "out of memory");
    if (r->as_json) printf("%s\n", text);
    free(text);
    return 0;
}
