#include "tools/generate/template_choice.h"

#include "lib/cli/die.h"
#include "lib/tokenizer/chat_known.h"

static struct fail why;

/* Returns the template that the adapter names, or NULL if it names none. */
static const struct template_record *trained_with(const struct loaded *l)
{
    return l->has_adapter && *l->adapter.template.name ? &l->adapter.template : NULL;
}

/* Opens the template whose text the adapter stores, or else the built-in template of the same
 * name. */
static void open_trained(struct chat_template *t, const struct template_record *record,
                         const char *adapter, const struct tokenizer *tokenizer)
{
    if (!*record->text && !chat_template_is_builtin(record->name))
        die(STATUS_INPUT,
            "%s: trained with the template %s, but only its name is stored: name the file with "
            "--chat",
            adapter, record->name);
    or_die(chat_template_open_stored(t, record->name, record->text, tokenizer, &why), &why);
    note("%s was trained with the template %s, which formats the prompt", adapter, record->name);
    if (*record->digest && strcmp(record->digest, t->digest) != 0)
        warn("%s: trained with an earlier text of the template %s", adapter, record->name);
    if (record->is_mixed)
        warn("%s: trained with several templates, of which %s is the first: --chat NAME takes "
             "another",
             adapter, record->name);
}

/* Opens the template that belongs to the tokenizer of --tokenizer, or else to the adapter, or else
 * to the model. The adapter comes before the model, because the adapter's tokenizer may differ. */
static void open_asked(struct chat_template *t, const struct options *o,
                       const struct tokenizer *tokenizer)
{
    const char *places[] = { o->tokenizer, o->loaded.adapter, NULL };
    const struct chat_known *known;
    char text[480];
    if (weights_have_companions(o->loaded.model)) places[2] = o->loaded.model;
    or_die(chat_known_choose(t, o->chat, places, 3, "--chat", tokenizer, &known, &why), &why);
    chat_known_describe(t, known, "--chat", text, sizeof text);
    if (*text) note("%s", text);
}

/* True if the template is the one that the record names. If an older program stored no digest, the
 * names are compared. */
static bool is_same(const struct chat_template *t, const struct template_record *record)
{
    return *record->digest ? !strcmp(record->digest, t->digest) : !strcmp(record->name, t->name);
}

void template_choice_make(struct chat_template *t, const struct options *o, const struct loaded *l,
                          const struct tokenizer *tokenizer)
{
    const struct template_record *trained = trained_with(l);
    if (trained && !strcmp(o->chat, "auto")) {
        open_trained(t, trained, o->loaded.adapter, tokenizer);
    } else {
        open_asked(t, o, tokenizer);
        if (trained && !is_same(t, trained))
            warn("--chat %s: %s was trained with the template %s, and may answer worse with "
                 "another one: --chat auto uses that template",
                 o->chat, o->loaded.adapter, trained->name);
    }
    if (t->is_single)
        note("the template %s has single turns: each prompt is answered separately", t->name);
}

void template_choice_remark(const struct loaded *l)
{
    const struct template_record *trained = trained_with(l);
    if (trained)
        note("%s was trained on conversations, by the template %s: --chat auto formats the prompt "
             "with it",
             l->adapter_path, trained->name);
}

void template_choice_add_end(struct end_tokens *ends, const struct loaded *l,
                             const struct tokenizer *tokenizer)
{
    const struct template_record *trained = trained_with(l);
    struct chat_template t;
    struct fail unknown;
    if (!trained ||
        chat_template_open_stored(&t, trained->name, trained->text, tokenizer, &unknown))
        return;
    if (!end_tokens_have(ends, t.end) && ends->count < END_TOKENS_MAX + 1)
        end_tokens_add(ends, t.end);
    chat_template_close(&t);
}
