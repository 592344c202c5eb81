/* decode.h - turns a stream of tokens back into text, or copies it to another form.
 */
#ifndef LONGQLORA_DECODE_H
#define LONGQLORA_DECODE_H

#include "lib/common/output.h"
#include "lib/stream/tokens.h"
#include "lib/tokenizer/tokenizer.h"

/* Copies the documents from one form to another: a stream, JSON lines or raw token ids. */
int decode_tokens(const char *path, enum token_format from, enum token_format to,
                  const char *output, struct fail *why) MUST_USE;

/* Writes each document as a JSON line {"text", "source"}, or as plain text if as_text. Fails if the
 * stream was made with another tokenizer. */
int decode_stream(const struct tokenizer *t, const char *path, enum token_format from, bool as_text,
                  struct output *out, struct fail *why) MUST_USE;

#endif
