/* wording.h - the template that --template asks for, and what the stream says of it. */
#ifndef LONGQLORA_TOKENIZE_WORDING_H
#define LONGQLORA_TOKENIZE_WORDING_H

#include "lib/stream/stream.h"
#include "lib/tokenizer/chat_template.h"
#include "tools/tokenize/options.h"

/* Dies if there is none that fits the tokenizer. */
void wording_choose(struct chat_template *t, const struct options *o,
                    const struct tokenizer *tokenizer);
void wording_record(struct msgpack_map *made, const struct chat_template *t);
/* The same for the end record, with its text. */
void wording_hand_on(struct writer *stream, const struct chat_template *t);

#endif
