#include "lib/tokenizer/chat_own.h"

#include "lib/tokenizer/chat_known.h"

#include <string.h>

/* Sets own->digest to that of our template for the text. */
static void open_known(struct chat_own *own, const struct chat_known *known, const char *place)
{
    struct fail unknown;
    struct tokenizer *tokenizer;
    struct chat_template t = { 0 };
    if (tokenizer_open(&tokenizer, place, &unknown)) return;
    if (!chat_known_open(&t, known, tokenizer, &unknown))
        memcpy(own->digest, t.digest, sizeof own->digest);
    chat_template_close(&t);
    tokenizer_close(tokenizer);
}

void chat_own_find(struct chat_own *own, const char *place)
{
    struct chat_source source = { 0 };
    struct fail unknown;
    *own = (struct chat_own){ 0 };
    if (!place) return;
    if (chat_source_find(&source, place, &unknown)) {
        own->is_there = true;
        snprintf(own->place, sizeof own->place, "%s", place);
        snprintf(own->name, sizeof own->name, "none that can be read (%.300s)", unknown.text);
        return;
    }
    own->is_there = source.text;
    snprintf(own->place, sizeof own->place, "%s", source.place);
    const struct chat_known *known =
        source.text ? chat_known_find(source.text, source.bytes, "-", &unknown) : NULL;
    if (known) {
        snprintf(own->name, sizeof own->name, "%s of %s", known->template_name, known->of);
        open_known(own, known, place);
    } else {
        snprintf(own->name, sizeof own->name, "none of the published ones that are known");
    }
    chat_source_release(&source);
}

bool chat_own_is(const struct chat_own *own, const char *digest)
{
    return *own->digest && !strcmp(own->digest, digest);
}
