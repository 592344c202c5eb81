/* chat.h - conversations as text: templates, and the lines that hold conversations.
 *
 * A template is a JSON file (docs/formats/chat.md); "vicuna" is built in. Each prompt and
 * each answer is stripped and encoded for itself; answers end with EOS.
 */
#ifndef LONGQLORA_CHAT_H
#define LONGQLORA_CHAT_H

#include "fail.h"

#include <stdbool.h>
#include <stddef.h>

struct chat_template {
    char *system, *before, *after; /* the sentence first; what stands around a prompt */
    bool adds_bos;
};

int chat_template_open(struct chat_template *t, const char *name_or_path,
                       struct fail *why) MUST_USE;
void chat_template_close(struct chat_template *t);

/* The text of a prompt; the first one has the system sentence in front: `system`, or the
 * template's if that is NULL. The caller frees; NULL: out of memory. */
char *chat_prompt(const struct chat_template *t, const char *system, const char *prompt,
                  bool is_first);

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
