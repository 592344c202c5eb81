/* lines.h - reads prompts from JSON lines and writes the answers as JSON lines.
 */
#ifndef LONGQLORA_LINES_H
#define LONGQLORA_LINES_H

#include "tools/generate/request.h"
#include "tools/generate/talk.h"

/* Each record of the file (json_records.h; "-" is standard input) is an object with a string
 * "prompt" and optional keys (request.h), which override *defaults. The record is written as one
 * line, to which "completion", "tokens" (how many) and "stop" (why the answer ended) are added. The
 * lines have the order of the file. If talk is NULL, the model continues the prompt, which gets a
 * BOS before it if adds_bos is set. Otherwise the prompt is the first turn of a conversation. The
 * prompts of a regular file are computed in another order, in which each shares a long beginning
 * with the one before. */
int lines_answer(struct generator *g, struct talk *t, const struct request *defaults, bool adds_bos,
                 const char *path, struct answer *a, struct fail *why) MUST_USE;

#endif
