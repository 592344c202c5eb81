/* chat_record.h - reads a record of a data file as a conversation: prompts and answers that
 * alternate.
 *
 * Records have many forms (docs/formats/records.md): lists of messages as in OpenAI's and
 * ShareGPT's data, single questions as in Alpaca's, and mixtures. A key that the reader knows is
 * understood, or refused by name if it asks for something unsupported. Other keys are ignored and
 * counted, so that a report can name them.
 *
 * Real conversations are often irregular: an answer comes first, a prompt comes last, one role
 * speaks twice in a row, tools are called. The reader's field `irregular` says what to do with such
 * conversations.
 */
#ifndef LONGQLORA_TOKENIZER_CHAT_RECORD_H
#define LONGQLORA_TOKENIZER_CHAT_RECORD_H

#include "lib/common/fail.h"
#include "lib/common/tally.h"

/* Which answers count in the loss: all, as in FastChat, LLaMA-Factory and OpenAI's data; or only
 * the last (LLaMA-Factory's mask_history). A message's own "weight": 0 or "train": false overrides
 * this. */
enum chat_train_on { CHAT_TRAIN_ALL, CHAT_TRAIN_LAST };

/* What to do with an irregular conversation. STOP and SKIP: reading it fails, and the caller stops
 * or skips the conversation. DROP: turns that do not fit are left out. MERGE: a turn is joined to
 * the previous turn of the same role. If a conversation cannot be repaired, reading it fails. */
enum chat_irregular {
    CHAT_IRREGULAR_STOP,
    CHAT_IRREGULAR_SKIP,
    CHAT_IRREGULAR_DROP,
    CHAT_IRREGULAR_MERGE
};

/* Why a record is not a conversation for training. From CHAT_TOOLS on, the conversation is
 * irregular; before that, the record is damaged or has an unknown form. */
enum chat_reason {
    CHAT_FINE,
    CHAT_NOT_JSON,
    CHAT_NO_FORM,
    CHAT_UNREADABLE, /* a value does not fit its key, or two keys contradict each other */
    CHAT_UNKNOWN_ROLE,
    CHAT_TOOLS,
    CHAT_DEVELOPER, /* the role developer, which the template does not know */
    CHAT_REASONING,
    CHAT_MEDIA,
    CHAT_PREFERENCE,
    CHAT_UNSUPPORTED, /* the record asks for something else that is unsupported */
    CHAT_ANSWER_FIRST,
    CHAT_PROMPT_LAST,
    CHAT_IN_A_ROW,
    CHAT_SYSTEM_LATER,
    CHAT_EMPTY,
    CHAT_NO_ANSWER,
    CHAT_UNTRAINED,
    CHAT_REASONS
};
/* Returns the reason in words that can follow a number: "with tools". */
const char *chat_reason_words(enum chat_reason reason);
bool chat_reason_is_irregular(enum chat_reason reason);

/* The irregularities that were repaired. Each is counted. */
enum chat_repair {
    CHAT_REPAIR_FIRST,     /* an answer before the first prompt */
    CHAT_REPAIR_LAST,      /* a prompt at the end, without an answer */
    CHAT_REPAIR_ROW,       /* the second of two messages of one role was left out */
    CHAT_REPAIR_MERGED,    /* the second of two messages of one role was joined to the first */
    CHAT_REPAIR_SYSTEM,    /* a system message that is not at the beginning */
    CHAT_REPAIR_EMPTY,     /* a message without text */
    CHAT_REPAIR_TOOL,      /* a message from or to a tool */
    CHAT_REPAIR_TOOLS,     /* a list of tools */
    CHAT_REPAIR_REASONING, /* the reasoning before an answer */
    /* A system prompt that is left out, because the template writes it only in a turn whose answer
     * is to be generated. */
    CHAT_REPAIR_SENTENCE,
    /* The thinking at the beginning of an answer, for a template that drops it. */
    CHAT_REPAIR_THOUGHT,
    CHAT_REPAIRS
};
const char *chat_repair_words(enum chat_repair repair);

/* How the parts of a message's text are joined. */
enum chat_parts {
    CHAT_PARTS_LINES,        /* by newlines, as vLLM and llama.cpp do */
    CHAT_PARTS_FILLED_LINES, /* by newlines, but there is none before the first part with text */
    /* Each part loses the white space at its ends, and there is nothing between the parts. A system
     * prompt of several parts is an irregularity, because the template would write only the first.
     */
    CHAT_PARTS_TRIMMED,
};

struct chat_reader {
    /* Path of the key that names a record's subset: "meta.set". Its value is a text or a whole
     * number. */
    const char *source_key;
    enum chat_train_on train_on;
    enum chat_irregular irregular;
    /* Keeps white space around messages. Otherwise it is removed, as by Python's str.strip. */
    bool keeps_space;
    /* Reads the reasoning_content of answers. Otherwise reasoning_content is an irregularity. */
    bool takes_reasoning;
    /* A message of the role developer is a system message. Otherwise it is an irregularity. */
    bool takes_developer;
    enum chat_parts parts;
};

struct chat_turn {
    char *prompt, *answer;
    /* Alpaca's "input" begins at prompt[input_at], after the instruction and a newline. If input_at
     * is 0, the instruction is empty, and there is no newline. */
    bool has_input;
    size_t input_at;
    /* Where the answer's reasoning_content begins, which is stored in `answer` after the answer's
     * NUL; 0 if there is none. */
    size_t reasoning_at;
    bool is_trained; /* the answer counts in the loss */
};

/* One conversation. At least one of its answers counts in the loss. */
struct chat {
    struct chat_turn *turns;
    size_t count;
    char *system, *source;  /* NULL if the record has none */
    bool has_number_source; /* the source is a number; the caller reads it from the record's text */
    bool has_other_source;  /* the source is neither a text nor a number, nor null */
    enum chat_reason reason;
    uint64_t repaired[CHAT_REPAIRS];
};

/* Reads a record from its JSON text. Counts unknown keys in *unknown. The caller calls
 * chat_release. On failure c->reason says why, and *c owns no memory. */
int chat_read(struct chat *c, const struct chat_reader *how, const char *text, size_t bytes,
              struct tally *unknown, struct fail *why) MUST_USE;
void chat_release(struct chat *c);

/* Is the text a single message in JSON? Then the list that contains it is a record. */
bool chat_is_message(const char *text, size_t bytes);

#endif
