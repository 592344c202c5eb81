/* companions.h - the tokenizer's and licence's files that go with a model.
 *
 * A model's folder is often cloned from elsewhere, and a link in it may lead to anything on this
 * machine. So each must be a regular file, of at most 64 MiB, that lies in the folder itself when
 * all links are followed, or in the blobs of the Hugging Face hub cache that the folder is a
 * snapshot of (models--NAME/snapshots/REVISION, models--NAME/blobs).
 *
 * They are read before any work, and written from memory at its end: what happens to the folder
 * meanwhile costs nothing.
 */
#ifndef LONGQLORA_LLAMA_COMPANIONS_H
#define LONGQLORA_LLAMA_COMPANIONS_H

#include "lib/common/fail.h"

#include <stdbool.h>

enum { COMPANION_MAX = 64 << 20 };

/* Their names, one by one; NULL: no more. */
const char *companion_name(size_t i);
/* Is it one's name? */
bool companion_is(const char *name);

/* Where they come from; NULL: from nowhere. */
struct companions_place {
    const char *folder;
    const char
        *tokenizer; /* the tokenizer's files, with the chat template, come from here instead */
};

struct companions;
/* Before any work: reads those that are there; fails naming the first that may not be copied. The
 * caller frees. */
int companions_read(struct companions **all, struct companions_place from,
                    struct fail *why) MUST_USE;
/* Is one of that name among them? NULL holds none. */
bool companions_hold(const struct companions *all, const char *name);
/* Writes them; fails where another file stands. One that stands there with the same content stays.
 */
int companions_write(const struct companions *all, const char *to, struct fail *why) MUST_USE;
void companions_free(struct companions *all);

#endif
