/* wrong_kind.h - what a reader stumbled over, told as what the file is.
 *
 * A reader that fails asks here with the first bytes of its file. If they are those of a kind that
 * is known (file_kind.h) and not its own, *why becomes that kind and what to do; else it stays.
 */
#ifndef LONGQLORA_WRONG_KIND_H
#define LONGQLORA_WRONG_KIND_H

#include "lib/common/fail.h"
#include "lib/common/file_kind.h"

/* Of weights. own: the kind that the reader reads; wanted: its name. Both return -1. */
int wrong_kind_of_weights(const void *head, size_t bytes, enum file_kind own, const char *wanted,
                          struct fail *why);
/* Of JSON that is read whole: a config, an index, a tokenizer. */
int wrong_kind_of_json(const void *head, size_t bytes, struct fail *why);
/* What to do with a file of that kind where a model's weights were wanted; NULL: nothing is known.
 */
const char *wrong_kind_way_to_weights(enum file_kind kind);

#endif
