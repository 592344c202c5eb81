/* decode.h - a stream of tokens back to text. */
#ifndef LONGQLORA_DECODE_H
#define LONGQLORA_DECODE_H

#include "../../lib/common/output.h"
#include "../../lib/common/tokenizer.h"

/* Each document as a JSON line {"text", "source"}, or (as_text) its bare text. Fails if the
 * stream was made with another tokenizer. */
int decode_stream(const struct tokenizer *t, const char *path, bool as_text, struct output *out,
                  struct fail *why) MUST_USE;

#endif
