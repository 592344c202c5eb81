/* chat_known.h - which wording a model's own chat_template asks for.
 *
 * A chat_template is a program (Jinja), and it is not run. The published texts whose wording we
 * have, to the token, stand in a table by the digest of their form (jinja_form.h), with the
 * system's sentence that each has of its own. Any other text is refused, and the wording named
 * whose marks it has, which the user may ask for.
 */
#ifndef LONGQLORA_TOKENIZER_CHAT_KNOWN_H
#define LONGQLORA_TOKENIZER_CHAT_KNOWN_H

#include "lib/tokenizer/chat_template.h"

/* A model's own chat_template, as transformers finds it: chat_template.jinja, else the
 * tokenizer_config.json's text, or of a list of named texts the one that is called default. */
struct chat_source {
    char *text; /* NULL: there is none */
    size_t bytes;
    char place[4200]; /* the file */
};
/* `place` is a model's directory or a file in it. The caller releases what it gets. */
int chat_source_find(struct chat_source *s, const char *place, struct fail *why) MUST_USE;
void chat_source_release(struct chat_source *s);

struct chat_known {
    const char *digest;        /* of the text's form */
    const char *template_name; /* NULL: none, since */
    const char *reason;        /* this */
    const char *begin, *system,
        *finish;    /* where the text has others than the wording; NULL: it has not */
    const char *of; /* whose text it is */
};
/* NULL, with why, if the text is none of the known ones; `option` is what asks for a wording by
 * name in the program that speaks. */
const struct chat_known *chat_known_find(const char *text, size_t bytes, const char *option,
                                         struct fail *why);
const struct chat_known *chat_known_at(size_t i); /* NULL behind the last one */
int chat_known_open(struct chat_template *t, const struct chat_known *known,
                    const struct tokenizer *tokenizer, struct fail *why) MUST_USE;

/* Opens the template of that name or file, or for "auto" (and for a file *.jinja) the wording of
 * the known text; *known is then not NULL. It is looked for in `places` in turn, NULL is none. */
int chat_known_choose(struct chat_template *t, const char *name, const char *const *places,
                      size_t count, const char *option, const struct tokenizer *tokenizer,
                      const struct chat_known **known, struct fail *why) MUST_USE;

/* What a user should be told of that choice; "" if there is nothing to tell. */
void chat_known_describe(const struct chat_template *t, const struct chat_known *known,
                         const char *option, char *text, size_t size);

#endif
