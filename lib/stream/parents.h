/* parents.h - reads which files a stream was made from. The end record lists them as "parents".
 * Only reader.c includes it. */
#ifndef LONGQLORA_STREAM_PARENTS_H
#define LONGQLORA_STREAM_PARENTS_H

#include "lib/stream/msgpack_map.h"
#include "lib/stream/stream.h"

struct parents {
    struct parent {
        char kind[32], digest[STREAM_DIGEST_TEXT];
    } at[STREAM_PARENTS_MAX];
    uint32_t count;
};

/* Reads `list`, the value of the end record's "parents", or NULL if the record has none. Fails if
 * it is not a valid list of parents; the message says what is wrong. */
int parents_read(struct parents *p, const msgpack_object *list, struct fail *why) MUST_USE;
/* The digest of the first parent of that kind; NULL if there is none. It belongs to *p. */
const char *parents_find(const struct parents *p, const char *kind);

#endif
