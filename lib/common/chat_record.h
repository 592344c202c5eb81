/* chat_record.h - a record of a file becomes a conversation. */
#ifndef LONGQLORA_CHAT_RECORD_H
#define LONGQLORA_CHAT_RECORD_H

#include "fail.h"

#include <stddef.h>

struct chat_turn {
    char *prompt, *answer; /* stripped */
};

/* One conversation. */
struct chat {
    struct chat_turn *turns;
    size_t count;
    char *system, *source; /* NULL: not said */
};

/* Reads {"input", "output"}, {"messages": [{"role", "content"}]} or {"conversations": [{"from",
 * "value"}]}: prompts and answers in turn, perhaps after a system sentence. */
int chat_parse(struct chat *c, const char *line, size_t bytes, const char *source_key,
               struct fail *why) MUST_USE;
void chat_release(struct chat *c);

#endif
