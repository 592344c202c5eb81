/* decode.h - a stream of tokens back to text. */
#ifndef LONGQLORA_DECODE_H
#define LONGQLORA_DECODE_H

#include "lib/common/output.h"
#include "lib/stream/tokens.h"
#include "lib/tokenizer/tokenizer.h"

/* Writes the documents of a stream or of JSON lines again, in the other view. */
int decode_tokens(const char *path, enum view from, enum view to, const char *output,
                  struct fail *why) MUST_USE;

/* Each document as a JSON line {"text", "source"}, or (as_text) its bare text. Fails if the
 * stream was made with another tokenizer. */
int decode_stream(const struct tokenizer *t, const char *path, enum view from, bool as_text,
                  struct output *out, struct fail *why) MUST_USE;

#endif
