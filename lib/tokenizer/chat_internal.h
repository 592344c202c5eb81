/* chat_internal.h - the messages of a record, before they are made into turns. Only chat_*.c
 * include it. */
#ifndef LONGQLORA_TOKENIZER_CHAT_INTERNAL_H
#define LONGQLORA_TOKENIZER_CHAT_INTERNAL_H

#include "lib/common/json.h"
#include "lib/tokenizer/chat_record.h"

enum chat_speaker {
    SPEAKER_SYSTEM,
    SPEAKER_USER,
    SPEAKER_ASSISTANT,
    SPEAKER_TOOL,
    SPEAKER_UNKNOWN
};

struct chat_message {
    enum chat_speaker who;
    char *text;
    bool has_input; /* text[input_at] is the first byte of Alpaca's input */
    size_t input_at;
    /* For an answer: where its reasoning_content begins, which is stored in `text` after the
     * answer's NUL; 0 if there is none. */
    size_t reasoning_at;
    size_t number;   /* position in its list, from 1 */
    bool is_trained; /* for an answer: it counts in the loss */
};

struct chat_reading {
    const struct chat_reader *how;
    struct chat *chat;
    struct tally *unknown;
    struct fail *why;
    struct chat_message *at;
    size_t count, capacity;
    const char *list; /* the key of the list of messages; NULL if there is none */
};

/* Sets the reason of the failure, fails and returns -1. */
#define chat_refuse(r, which, ...) ((r)->chat->reason = (which), fail_input((r)->why, __VA_ARGS__))

/* Does the reader's option allow this repair? If so, counts it. */
bool chat_repairs(struct chat_reading *r, enum chat_repair repair);

/* Returns the value of a key, or NULL if the key is absent or its value is null. */
const json_t *chat_value(const json_t *object, const char *key);
/* Is the value empty: null, "", [] or {}? */
bool chat_is_nothing(const json_t *value);
/* Fails if the string contains a NUL, behind which a C string would be cut. */
int chat_check_nul(struct chat_reading *r, const json_t *text, const char *key) MUST_USE;
/* Reads the text of a message: a string, or a list of parts of type "text", which are joined as the
 * reader says. The caller frees *text. */
int chat_text_of(struct chat_reading *r, const json_t *value, const char *key,
                 char **text) MUST_USE;
/* The same for a system prompt. */
int chat_system_of(struct chat_reading *r, const json_t *value, const char *key,
                   char **text) MUST_USE;

/* Does Python's str.strip remove this character? */
bool chat_is_space(uint32_t c);
/* Removes white space at both ends, as Python's str.strip does. Returns how many bytes were removed
 * at the beginning. */
size_t chat_strip(char *text);

/* Adds a message. Takes ownership of the text, also on failure. */
int chat_add(struct chat_reading *r, enum chat_speaker who, char *text, bool is_trained) MUST_USE;
/* Adds a list of messages. is_trained applies to answers that do not say whether they count in the
 * loss. */
int chat_add_messages(struct chat_reading *r, const json_t *list, bool is_trained) MUST_USE;
/* Does this key of a record say something about an answer, as it does in a message: reasoning, a
 * call of a tool, a part that counts in the loss? */
bool chat_is_of_answer(const char *key, const json_t *value);
/* Adds the answer of a record with one answer, a text under `text_key`, with what the record's keys
 * say about it. */
int chat_add_answer(struct chat_reading *r, const json_t *record, const json_t *answer,
                    const char *text_key) MUST_USE;
/* Refuses keys about an answer beside a list of messages, because nothing says which answer is
 * meant. */
int chat_check_beside(struct chat_reading *r, const json_t *record) MUST_USE;
/* Is the value a list whose first element is a message? */
bool chat_is_messages(const json_t *value);

/* Is this element of a list a whole record instead of a message? That happens if a file is one JSON
 * object with its records in a list. */
bool chat_is_record(const json_t *element);

/* Makes turns of the messages. `preference` is the key of better and worse answers, or NULL. If the
 * messages end with a prompt, these answers stand in place of the prompt's answer, and the record
 * is refused. */
int chat_read_turns(struct chat_reading *r, const char *preference) MUST_USE;

#endif
