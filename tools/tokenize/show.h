/* show.h - conversations as the model will see them, for people to look at before they train.
 *
 * Each is printed from its tokens: what they decode to, special tokens between marks. Lines that
 * are trained on begin with ">", and are of another colour on a terminal; a mark says where a line
 * of the text ends, since a new line is begun where training begins and ends, too.
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

/* Prints to standard output; the colours are for a terminal, and for none if NO_COLOR is set. */
void show_begin(struct show *s, const struct tokenizer *t);
/* For encoder_run: arg is the struct. */
int show_document(void *arg, const struct tokens *t, struct fail *why) MUST_USE;

#endif
