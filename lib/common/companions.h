/* companions.h - the tokenizer's and licence's files that go with a model.
 *
 * A model's folder is often cloned from elsewhere, and a link in it may lead to anything on this
 * machine. So each must be a regular file, of at most 64 MiB, that lies in the folder itself when
 * all links are followed, or in the blobs of the Hugging Face hub cache that the folder is a
 * snapshot of (models--NAME/snapshots/REVISION, models--NAME/blobs).
 */
#ifndef LONGQLORA_COMPANIONS_H
#define LONGQLORA_COMPANIONS_H

#include "fail.h"

#include <stdbool.h>

enum { COMPANION_MAX = 64 << 20 };

/* Their names, one by one; NULL: no more. */
const char *companion_name(size_t i);
/* Is it one's name? */
bool companion_is(const char *name);
/* Before any work: fails naming the first that may not be copied, or that stands in `to` (NULL: not
 * looked at) with other content, since it is the user's. */
int companions_check(const char *from, const char *to, struct fail *why) MUST_USE;
/* Copies those that are there; checks again. One that stands there with the same content stays. */
int companions_copy(const char *from, const char *to, struct fail *why) MUST_USE;

/* A model's tokenizer may come from another folder (an adapter's) than the rest: its files alone,
 * with the chat template, and the others alone. */
enum companion_part { COMPANIONS_ALL, COMPANIONS_TOKENIZER, COMPANIONS_OTHERS };
int companions_check_part(const char *from, const char *to, enum companion_part part,
                          struct fail *why) MUST_USE;
int companions_copy_part(const char *from, const char *to, enum companion_part part,
                         struct fail *why) MUST_USE;
bool companion_is_of(const char *name, enum companion_part part);

#endif
