/* lines.h - prompts from JSON lines, answers as JSON lines.
 */
#ifndef LONGQLORA_LINES_H
#define LONGQLORA_LINES_H

#include "tools/generate/request.h"
#include "tools/generate/talk.h"

/* Each record of the file (json_records.h; "-" is standard input) is an object with a string
 * "prompt", and perhaps "system" and what request.h reads, which goes before *defaults; it is
 * written again as a line with "completion", "tokens" (their number) and "stop" (why it ended).
 * talk NULL: the prompt is continued, after BOS if adds_bos; else it is a conversation's first
 * turn. */
int lines_answer(struct generator *g, struct talk *t, const struct request *defaults, bool adds_bos,
                 const char *path, struct answer *a, struct fail *why) MUST_USE;

#endif
