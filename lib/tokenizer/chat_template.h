/* chat_template.h - formats a conversation with a template, as text or as tokens, and finds the
 * positions of the answers.
 *
 * A template is a JSON file (docs/formats/chat_template.md) or built in. A built-in one gives the
 * same ids as the program or model after which it is named. A model's own chat_template (Jinja) is
 * not run; chat_known.h maps published ones to templates.
 *
 * Special tokens in the template's own text become tokens. The text of a special token inside a
 * message stays text.
 *
 *     struct chat_template t;
 *     if (chat_template_open(&t, "chatml", tokenizer, why)) return -1;
 *     status = chat_template_encode(&t, &ids, NULL, turns, count, spans, why);
 *     chat_template_close(&t);
 */
#ifndef LONGQLORA_TOKENIZER_CHAT_TEMPLATE_H
#define LONGQLORA_TOKENIZER_CHAT_TEMPLATE_H

#include "lib/common/digest.h"
#include "lib/tokenizer/chat_record.h"
#include "lib/tokenizer/tokenizer.h"

#include <stdbool.h>

#define CHAT_TEMPLATES                                                                             \
    "longqlora, vicuna, alpaca, llama-2, llama-3, llama-3.1, zephyr, chatml, qwen3, "              \
    "qwen3-no-think, deepseek, deepseek-r1, phi-3, phi-3-medium, phi-4, phi-4-mini, gemma, "       \
    "gemma-3, granite, olmo-2, mistral, mistral-v3, mistral-nemo, mistral-small, mistral-2023, "   \
    "mistral-2023-space, vicuna-apart, auto, or a file"

enum { CHAT_SPECIALS_MAX = 256 };

struct chat_around {
    char *before, *after;
};
struct chat_special {
    char *text;
    uint32_t id;
    unsigned spaces; /* which white space beside the token belongs to it (enum token_spaces) */
};

/* What the template does with the thinking in an answer, which is the text up to its last
 * </think>. */
enum chat_thinking {
    THINKING_KEPT, /* answers are written as they are */
    THINKING_DROPPED,
    /* The thinking is dropped together with the newlines after it. */
    THINKING_DROPPED_WITH_NEWLINES,
};

struct chat_template {
    const struct tokenizer *tokenizer;
    char *name;               /* for messages */
    char *text;               /* as JSON; of a published chat_template: our template, changed */
    char digest[DIGEST_TEXT]; /* digest of everything in the template */
    char *begin;              /* text at the beginning of a conversation */
    char *system;             /* the default system prompt, for conversations without one */
    char *between;            /* text between an answer and the next turn */
    char *following;          /* text after every answer, also the last */
    char *finish;             /* text at the end of a conversation */
    char *waiting; /* the generation prompt: text after a turn whose answer is to be generated */
    char *lead;    /* text at the beginning of each turn, before a system prompt */
    /* A turn must have the text `once` where its answer begins and nowhere else, and the text
     * `never` nowhere. "" demands nothing. */
    char *once, *never;
    struct chat_around system_turn, turn, answer;
    /* The text around the thinking of a conversation's last answer, if has_thought. */
    struct chat_around thought;
    enum chat_thinking thinking;
    enum chat_parts parts; /* how the parts of a message's text are joined */
    /* For a turn with an Alpaca input: the text around the prompt, and around the input. */
    struct chat_around input_turn, input;
    struct chat_special *specials;
    size_t special_count;
    uint32_t end;        /* the id that ends an answer */
    unsigned end_spaces; /* which white space beside that token belongs to it */
    unsigned strips;
    bool has_system_turn, has_input_turn, has_thought, adds_bos, begins_with_bos, is_whole,
        is_counted;
    bool is_single;      /* the template allows one turn only */
    bool always_system;  /* writes the text around the system prompt even if there is none */
    bool refuses_system; /* has no place for a system prompt */
    bool last_system; /* writes the system prompt only in a turn whose answer is to be generated */
    bool refuses_empty; /* refuses empty messages */
    bool skips_empty;   /* an empty system prompt counts as none */
    /* It is the template of a model, so a role of a message means what it means there. Otherwise it
     * is that of a program or a file, and the role developer means the same as system. */
    bool is_of_model;
};

/* A prompt and its answer as the data have them; the template decides about white space. `answer`
 * is NULL if the answer is to be generated. The texts are borrowed. */
struct chat_exchange {
    const char *prompt, *answer;
    /* Where Alpaca's input begins in the prompt: after the instruction and a newline, or at the
     * beginning if the instruction is empty. NULL if there is none. */
    const char *input;
    /* The thinking, if the data have it in a key of its own; then no thinking is searched for in
     * the answer. NULL if the answer itself may have thinking between <think> and </think>. */
    const char *reasoning;
};

/* Is this the name of a built-in template? */
bool chat_template_is_builtin(const char *name);
/* Fails with a usage error (status 2) if no template has that name and no such file exists. The
 * message gives the nearest name and all names. */
int chat_template_check(const char *name_or_path, struct fail *why) MUST_USE;
/* Opens a built-in template or a file. The tokenizer must outlive *t. Fails if the tokenizer lacks
 * the template's special tokens. "auto" is not accepted; see chat_known_choose. The caller calls
 * chat_template_close. */
int chat_template_open(struct chat_template *t, const char *name_or_path,
                       const struct tokenizer *tokenizer, struct fail *why) MUST_USE;
/* Like chat_template_open, for a template's JSON text. `name` is used in messages. */
int chat_template_open_text(struct chat_template *t, const char *name, const char *text,
                            const struct tokenizer *tokenizer, struct fail *why) MUST_USE;
/* Opens the template of a stream or an adapter, which stores its name and its text. Without a text
 * ("") it is the built-in template of that name. Fails if there is neither. */
int chat_template_open_stored(struct chat_template *t, const char *name, const char *text,
                              const struct tokenizer *tokenizer, struct fail *why) MUST_USE;
void chat_template_close(struct chat_template *t);

/* Appends the ids of a whole conversation. `system` is its system prompt; NULL means the template's
 * default. spans[2 i] and spans[2 i + 1] become the positions in ids where answer i begins and
 * ends; the text that ends an answer belongs to it. A token that only partly belongs to the answer
 * counts as part of it, except in templates that count tokens as the code of Stanford Alpaca and
 * FastChat does. */
int chat_template_encode(const struct chat_template *t, struct token_buffer *ids,
                         const char *system, const struct chat_exchange *turns, size_t count,
                         uint32_t *spans, struct fail *why) MUST_USE;

/* Does this turn's answer have thinking that the template leaves out? is_last: the answer ends its
 * conversation. */
bool chat_template_drops(const struct chat_template *t, const struct chat_exchange *turn,
                         bool is_last);

/* Appends the ids of a turn with its answer. The conversation may continue after it. */
int chat_template_turn(const struct chat_template *t, struct token_buffer *ids, const char *system,
                       const struct chat_exchange *turn, bool is_first, struct fail *why) MUST_USE;

/* Appends the ids of a turn up to where its answer begins. is_first: the turn begins the
 * conversation. Otherwise it follows the id that ended the previous answer. */
int chat_template_prompt(const struct chat_template *t, struct token_buffer *ids,
                         const char *system, const struct chat_exchange *turn, bool is_first,
                         struct fail *why) MUST_USE;

#endif
