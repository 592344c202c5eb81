/* chat_known.h - maps a model's chat_template (Jinja) to one of our templates.
 *
 * A chat_template is a program, and it is not run. Instead a table has the hash of each published
 * text that one of our templates reproduces token for token. The hash is of the text without white
 * space that has no effect (jinja_form.h). An entry also has the default system prompt of the text.
 * Any other text is refused, and the message names the template that it most resembles, so that the
 * user can choose it.
 */
#ifndef LONGQLORA_TOKENIZER_CHAT_KNOWN_H
#define LONGQLORA_TOKENIZER_CHAT_KNOWN_H

#include "lib/tokenizer/chat_template.h"

/* A model's own chat_template, found as transformers finds it: the file chat_template.jinja, or the
 * text in tokenizer_config.json. If tokenizer_config.json has a list of named texts, the one named
 * "default" is taken. */
struct chat_source {
    char *text; /* NULL if the model has none */
    size_t bytes;
    char place[4200]; /* the file that it was read from */
};
/* `place` is a model's directory or a file in it. The caller calls chat_source_release. */
int chat_source_find(struct chat_source *s, const char *place, struct fail *why) MUST_USE;
void chat_source_release(struct chat_source *s);

struct chat_known {
    const char *digest;        /* hash of the text without white space that has no effect */
    const char *template_name; /* our template for the text; NULL if none reproduces the text */
    const char *reason;        /* if template_name is NULL: why no template reproduces the text */
    /* The parts in which the text differs from our template; NULL where they are equal. */
    const char *begin, *system, *finish;
    const char *others; /* an object of further keys, as JSON */
    const char *of;     /* the model that publishes the text */
};
/* Finds the entry for a text. Returns NULL with *why if the text is unknown; the message tells the
 * user to choose a template by name with `option`. */
const struct chat_known *chat_known_find(const char *text, size_t bytes, const char *option,
                                         struct fail *why);
/* All entries. An entry without a digest follows the last one. */
extern const struct chat_known chat_known_table[];
/* Opens an entry's template, with the entry's parts in place of the template's. The tokenizer must
 * outlive *t. */
int chat_known_open(struct chat_template *t, const struct chat_known *known,
                    const struct tokenizer *tokenizer, struct fail *why) MUST_USE;

/* Opens the template called `name`, or a template file. For "auto" or a file *.jinja, searches
 * places[0..count) in order for the model's chat_template; NULL entries are skipped. Then it opens
 * our template for that text, and sets *known to the entry. Otherwise *known is NULL. */
int chat_known_choose(struct chat_template *t, const char *name, const char *const *places,
                      size_t count, const char *option, const struct tokenizer *tokenizer,
                      const struct chat_known **known, struct fail *why) MUST_USE;

/* Writes into text[size] what the user should know about the chosen template, or "" if there is
 * nothing. */
void chat_known_describe(const struct chat_template *t, const struct chat_known *known,
                         const char *option, char *text, size_t size);

#endif
