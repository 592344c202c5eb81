/* chat_internal.h - what the parts of chat_record share: a record's messages before they are turns.
 * Used by chat_*.c only.
 */
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
    size_t input_at;
    size_t number;   /* from 1, in its list */
    bool is_trained; /* for answers */
};

struct chat_reading {
    const struct chat_reader *how;
    struct chat *chat;
    struct tally *unknown;
    struct fail *why;
    struct chat_message *at;
    size_t count, capacity;
    const char *list; /* the key that the messages stand under; NULL: none */
};

/* Fails for that reason. */
#define chat_refuse(r, which, ...) ((r)->chat->reason = (which), fail_input((r)->why, __VA_ARGS__))

/* May it be mended? Then it is counted. */
bool chat_mends(struct chat_reading *r, enum chat_mend mend);

/* Is there nothing in the value: null, "", [] or {}? */
bool chat_is_nothing(const json_t *value);
/* A string, or a list of parts of type "text", which are joined by newlines. The caller frees. */
int chat_text_of(struct chat_reading *r, const json_t *value, const char *key,
                 char **text) MUST_USE;

/* Takes white space away around it, as Python's str.strip does; returns how many bytes before it.
 */
size_t chat_strip(char *text);

/* Takes the text, also where it fails. */
int chat_add(struct chat_reading *r, enum chat_speaker who, char *text, bool is_trained) MUST_USE;
/* A list of messages; is_trained: answers that do not say otherwise. */
int chat_add_messages(struct chat_reading *r, const json_t *list, bool is_trained) MUST_USE;
/* Is it a list whose first element is a message? */
bool chat_is_messages(const json_t *value);

/* Makes turns of the messages; preference: the key of better and worse answers, which stand in for
 * the last answer; NULL: none. */
int chat_take_turns(struct chat_reading *r, const char *preference) MUST_USE;

#endif
