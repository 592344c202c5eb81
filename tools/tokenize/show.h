/* show.h - shows conversations as the model will see them, so that a person can check them before
 * training.
 *
 * The text is decoded from the tokens; special tokens stand between marks. Lines that count in the
 * loss begin with ">" and have another colour on a terminal. A new line also begins where text that
 * counts begins or ends. So that such a line is not taken for one of the text, a mark shows each
 * line break of the text itself.
 */
#ifndef LONGQLORA_TOKENIZE_SHOW_H
#define LONGQLORA_TOKENIZE_SHOW_H

#include "lib/stream/tokens.h"
#include "lib/tokenizer/tokenizer.h"

struct show {
    const struct tokenizer *tokenizer;
    bool is_coloured;
    uint64_t shown;
};

/* Prints to standard output, in colour if that is a terminal and NO_COLOR is not set. */
void show_begin(struct show *s, const struct tokenizer *t);
/* A callback for encoder_run; arg is a struct show. */
int show_document(void *arg, const struct tokens *t, struct fail *why) MUST_USE;

#endif
