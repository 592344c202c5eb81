/* parents.h - what a stream was made from, as its end record says. For the reader.
 */
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

/* list: the end record's, or NULL. Fails, naming what is wrong, unless it is a list of parents. */
int parents_read(struct parents *p, const msgpack_object *list, struct fail *why) MUST_USE;
/* The digest of the first one of that kind; NULL if there is none. */
const char *parents_find(const struct parents *p, const char *kind);

#endif
