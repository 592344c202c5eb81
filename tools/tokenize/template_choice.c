#include "tools/tokenize/template_choice.h"

#include "lib/cli/die.h"
#include "lib/tokenizer/chat_known.h"

void template_choice_make(struct chat_template *t, const struct options *o,
                          const struct tokenizer *tokenizer)
{
    struct fail why;
    const struct chat_known *known;
    const char *name = o->template ? o->template : "longqlora";
    or_die(chat_known_choose(t, name, &o->model, 1, "--template", tokenizer, &known, &why), &why);
    char text[480];
    chat_known_describe(t, known, "--template", text, sizeof text);
    if (*text) note("%s", text);
}

/* Returns the template's name; for a file, its name without the folders. */
static const char *name_of(const struct chat_template *t)
{
    const char *slash = strrchr(t->name, '/');
    return slash ? slash + 1 : t->name;
}

/* Records name and digest, because the text that a name stands for may change. */
void template_choice_record(struct msgpack_map *made, const struct chat_template *t)
{
    msgpack_map_text(made, "template", name_of(t));
    msgpack_map_text(made, "template_digest", t->digest);
}

void template_choice_record_end(struct writer *stream, const struct chat_template *t)
{
    struct template_record w = { 0 };
    snprintf(w.name, sizeof w.name, "%s", name_of(t));
    memcpy(w.digest, t->digest, sizeof w.digest);
    if (strlen(t->text) < sizeof w.text) memcpy(w.text, t->text, strlen(t->text) + 1);
    writer_template(stream, &w);
}
