/* template_choice.h - chooses the template for --template, and records it in the stream.
 */
#ifndef LONGQLORA_TOKENIZE_TEMPLATE_CHOICE_H
#define LONGQLORA_TOKENIZE_TEMPLATE_CHOICE_H

#include "lib/stream/stream.h"
#include "lib/tokenizer/chat_template.h"
#include "tools/tokenize/options.h"

/* Opens the template that --template names. Dies if none fits the tokenizer. */
void template_choice_make(struct chat_template *t, const struct options *o,
                          const struct tokenizer *tokenizer);
void template_choice_record(struct msgpack_map *made, const struct chat_template *t);
/* Puts name, digest and text of the template into the stream's end record. */
void template_choice_record_end(struct writer *stream, const struct chat_template *t);

#endif
