/* chat.h - conversations as tokens: templates (how records become conversations: chat_record.h).
 *
 * A template is a JSON file (docs/formats/chat.md), or one of those that are built in. Each
 * prompt with what stands around it and each answer is encoded for itself, or, if the template
 * says so, an answer with the text before it; the template's special tokens are tokens, those that
 * a conversation spells out are text.
 */
#ifndef LONGQLORA_CHAT_H
#define LONGQLORA_CHAT_H

#include "tokenizer.h"

#include <stdbool.h>

#define CHAT_TEMPLATES "vicuna, llama-2, llama-3, zephyr, chatml, or a file"

enum { CHAT_SPECIALS_MAX = 256 };

struct chat_around {
    char *before, *after;
};
struct chat_special {
    char *text;
    uint32_t id;
};

struct chat_template {
    const struct tokenizer *tokenizer;
    char *system;  /* the sentence of conversations that have none of their own */
    char *between; /* an answer's end and the next turn */
    char *lead;    /* of a turn, before the system's sentence */
    struct chat_around system_turn, turn, answer;
    struct chat_special *specials;
    size_t special_count;
    uint32_t end; /* after an answer */
    bool has_system_turn, adds_bos;
    char *tail; /* text between the last special token and an answer, if both are encoded whole */
    struct token_buffer tail_ids;
};

/* Fails, as a usage error with the names, if there is no template of that name and no file. */
int chat_template_check(const char *name_or_path, struct fail *why) MUST_USE;
/* The tokenizer must outlive it; one without the template's special tokens is refused. */
int chat_template_open(struct chat_template *t, const char *name_or_path,
                       const struct tokenizer *tokenizer, struct fail *why) MUST_USE;
void chat_template_close(struct chat_template *t);

/* These append to ids. BOS, if the template begins with it. */
int chat_begin(const struct chat_template *t, struct token_buffer *ids, struct fail *why) MUST_USE;
/* A prompt, after what stands between; the first one has the system's sentence: `system`, or the
 * template's if that is NULL.
 */
int chat_put_prompt(const struct chat_template *t, struct token_buffer *ids, const char *system,
                    const char *prompt, bool is_first, struct fail *why) MUST_USE;
/* An answer and its end. */
int chat_put_answer(const struct chat_template *t, struct token_buffer *ids, const char *answer,
                    struct fail *why) MUST_USE;

#endif
