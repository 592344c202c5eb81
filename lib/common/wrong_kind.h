/* wrong_kind.h - replaces a parser's error by the kind of the file, if the file has a wrong format.
 *
 * A reader that has failed passes the first bytes of its file. If they belong to a known kind
 * (file_kind.h) other than the reader's own, *why becomes the name of that kind and what to do.
 * Otherwise *why stays.
 */
#ifndef LONGQLORA_WRONG_KIND_H
#define LONGQLORA_WRONG_KIND_H

#include "lib/common/fail.h"
#include "lib/common/file_kind.h"

/* For a reader of weights. `expected` is the kind that it reads, and `wanted` is that kind's name.
 * Always returns -1. */
int wrong_kind_of_weights(const void *head, size_t bytes, enum file_kind expected,
                          const char *wanted, struct fail *why);
/* For a reader of JSON files (a config, an index, a tokenizer). Always returns -1. */
int wrong_kind_of_json(const void *head, size_t bytes, struct fail *why);
/* Returns advice on how to get a model's weights from a file of that kind, or NULL if there is
 * none. */
const char *wrong_kind_way_to_weights(enum file_kind kind);

#endif
