/* lines.h - prompts from JSON lines, answers as JSON lines.
 */
#ifndef LONGQLORA_LINES_H
#define LONGQLORA_LINES_H

#include "talk.h"

/* Each line of the file (plain or zstd; "-" is standard input) is an object with a string
 * "prompt", and perhaps "system"; it is written again with "completion", "tokens" (their
 * number) and "stop" (why it ended). talk NULL: the prompt is continued, after BOS if
 * adds_bos; else it is a conversation's first turn. */
int lines_answer(struct generator *g, struct talk *t, bool adds_bos, const char *path,
                 struct answer *a, struct fail *why) MUST_USE;

#endif
