/* chat_template.h - how a conversation is worded: as text, as tokens, and where the answers stand.
 *
 * A template is a JSON file (docs/formats/chat_template.md), or one of those that are built in,
 * each of which is somebody's: its ids are those of the program or the model that it is named
 * after. A model's own chat_template (Jinja) is not run; chat_known.h says which of the published
 * ones are understood.
 *
 * The template's special tokens are tokens; those that a conversation spells out are text.
 *
 *     struct chat_template t;
 *     if (chat_template_open(&t, "chatml", tokenizer, why)) return -1;
 *     status = chat_template_encode(&t, &ids, NULL, turns, count, spans, why);
 *     chat_template_close(&t);
 */
#ifndef LONGQLORA_TOKENIZER_CHAT_TEMPLATE_H
#define LONGQLORA_TOKENIZER_CHAT_TEMPLATE_H

#include "lib/common/digest.h"
#include "lib/tokenizer/tokenizer.h"

#include <stdbool.h>

#define CHAT_TEMPLATES                                                                             \
    "longqlora, vicuna, alpaca, llama-2, llama-3, llama-3.1, zephyr, chatml, mistral, "            \
    "mistral-v3, mistral-nemo, mistral-2023, mistral-2023-space, vicuna-apart, auto, or a file"

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
    char *name;               /* in messages */
    char *text;               /* itself as a file, with what was changed in it */
    char digest[DIGEST_TEXT]; /* of all that it says */
    char *begin;              /* of a conversation */
    char *system;             /* the sentence of conversations that have none of their own */
    char *between;            /* an answer's end and the next turn */
    char *following;          /* every answer's end, the last one's too */
    char *finish;             /* of a whole conversation */
    char *lead;               /* of a turn, before the system's sentence */
    char *once, *never;       /* texts that a turn has once, before its answer, and never */
    struct chat_around system_turn, turn, answer;
    struct chat_around input_turn, input; /* where a turn has an input besides; input: around it */
    struct chat_special *specials;
    size_t special_count;
    uint32_t end; /* after an answer */
    unsigned strips;
    bool has_system_turn, has_input_turn, adds_bos, begins_with_bos, is_whole, is_counted;
    bool is_single;      /* one turn is all that there is */
    bool says_system;    /* around no sentence too */
    bool refuses_system; /* has no place for one */
    bool asks_system;    /* says one in the turn alone that waits for its answer */
    bool refuses_empty;  /* messages */
};

/* A prompt and its answer, as they were said: white space is the template's matter. The answer of a
 * turn that waits for it is NULL. Borrowed. */
struct chat_said {
    const char *prompt, *answer;
    size_t input_at; /* where Alpaca's input begins in the prompt, behind a newline; 0: none */
};

bool chat_template_is_builtin(const char *name);
/* Fails, as a usage error with the nearest name and all of them, if there is no template of that
 * name and no file. */
int chat_template_check(const char *name_or_path, struct fail *why) MUST_USE;
/* The tokenizer must outlive it; one without the template's special tokens is refused. "auto" is
 * for chat_known_open. */
int chat_template_open(struct chat_template *t, const char *name_or_path,
                       const struct tokenizer *tokenizer, struct fail *why) MUST_USE;
/* The same of a file's text; name: what it is called. */
int chat_template_open_text(struct chat_template *t, const char *name, const char *text,
                            const struct tokenizer *tokenizer, struct fail *why) MUST_USE;
void chat_template_close(struct chat_template *t);

/* Appends a whole conversation to ids. `system` is its own sentence; NULL: the template's. spans
 * gets two numbers a turn: where in ids the answer's tokens begin and end, what ends the answer
 * among them. A token that is partly the answer's is the answer's, but with a template that counts
 * as Stanford's and FastChat's code do: there it is not. */
int chat_template_encode(const struct chat_template *t, struct token_buffer *ids,
                         const char *system, const struct chat_said *turns, size_t count,
                         uint32_t *spans, struct fail *why) MUST_USE;

/* Appends what stands before the answer to the turn's prompt. The first one begins the
 * conversation; a later one follows the id that ends an answer. */
int chat_template_prompt(const struct chat_template *t, struct token_buffer *ids,
                         const char *system, const struct chat_said *turn, bool is_first,
                         struct fail *why) MUST_USE;

#endif
