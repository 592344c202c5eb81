#include "tools/merge/conversations.h"

#include "lib/cli/die.h"
#include "lib/common/file.h"
#include "lib/llama/chat_end.h"
#include "lib/tokenizer/chat_own.h"

static struct fail why;

static const struct template_record *template_of(const struct parts *parts, int i)
{
    return &parts->at[i].adapter->template;
}

/* The place of the result's tokenizer and chat_template; NULL if there is none. For an adapter's
 * GGUF it is the place of the base's. */
static const char *place_of(const struct options *o)
{
    return o->companions.tokenizer ? o->companions.tokenizer : o->companions.folder;
}

static void tell_end(const struct options *o, const char *path, const struct template_record *w,
                     const struct chat_end_notes *notes)
{
    if (*notes->lack)
        warn("%s: the token at which its template %s ends an answer is not known, so the result "
             "may write past it: %s",
             path, w->name, notes->lack);
    else if (*notes->added && !strcmp(o->to, "gguf-lora"))
        warn("%s: its template %s ends an answer at %s, which is not an end token of %s: give its "
             "text to llama.cpp as --reverse-prompt, unless the base's GGUF ends an answer there",
             path, w->name, notes->added, file_shown(o->loaded.model));
    else if (*notes->added)
        note("eos_token_id: %s is added, at which the template %s of %s ends an answer",
             notes->added, w->name, path);
}

void conversations_add_ends(const struct options *o, struct loaded *l, const struct parts *parts,
                            struct companions *companions)
{
    struct chat_end_job job = { .tokenizer = place_of(o),
                                .config = l->config.json,
                                .companions = companions };
    struct chat_end_notes notes;
    for (int i = 0; i < parts->count; i++) {
        job.template = template_of(parts, i);
        or_die(chat_end_add(&job, &notes, &why), &why);
        tell_end(o, parts->at[i].path, job.template, &notes);
        if (job.template->is_mixed)
            warn("%s: trained with several templates, of which %s is the first: the tokens at "
                 "which the others end an answer are not known",
                 parts->at[i].path, job.template->name);
    }
}

/* ---- comparison ---- */

/* True if both are the same template. If an older program stored no digest, the names are
 * compared. */
static bool is_same(const struct template_record *w, const char *name, const char *digest)
{
    return *w->digest && *digest ? !strcmp(w->digest, digest) : !strcmp(w->name, name);
}

static void compare_pair(const struct parts *parts, int i, int j)
{
    const struct template_record *a = template_of(parts, i), *b = template_of(parts, j);
    if (!*a->name || !*b->name || is_same(a, b->name, b->digest)) return;
    warn("%s was trained with the template %s, but %s with %s%s: the result may answer worse with "
         "either",
         parts->at[i].path, a->name, parts->at[j].path,
         strcmp(a->name, b->name) != 0 ? "" : "another text of ", b->name);
}

/* What the chat_template of the result belongs to, for messages. */
static const char *of_result(const struct options *o)
{
    return !strcmp(o->to, "gguf-lora") ? "the base" : "the result";
}

void conversations_compare(const struct options *o, const struct parts *parts)
{
    struct chat_own own;
    bool is_read = false;
    for (int i = 0; i < parts->count; i++) {
        const struct template_record *w = template_of(parts, i);
        for (int j = 0; j < i; j++)
            compare_pair(parts, j, i);
        if (!*w->name) continue;
        if (!is_read) chat_own_find(&own, place_of(o));
        is_read = true;
        if (!own.is_there)
            warn("%s was trained with the template %s, but %s has no chat_template: tell the "
                 "programs that serve it the format (docs/formats/chat_template.md)",
                 parts->at[i].path, w->name, of_result(o));
        else if (!chat_own_is(&own, w->digest))
            warn("%s was trained with the template %s, but %s has the chat_template of %s, which "
                 "is %s: programs that serve it use that one, and it may answer worse with it",
                 parts->at[i].path, w->name, of_result(o), own.place, own.name);
    }
}
