/* chat_record.h - a record of a file becomes a conversation: prompts and answers in turn.
 *
 * Records come in many forms (docs/formats/chat.md): lists of messages as OpenAI and ShareGPT have
 * them, single questions as Alpaca has them, and what lies between. Each key of a record is
 * understood, or refused by name because what it asks for is not done here, or unknown: then it is
 * left out and counted, so that a report can name it.
 *
 * Real conversations are odd in known ways: an answer comes first, a prompt last, two of one role
 * follow each other, tools are called. `odd` says what is done with them.
 */
#ifndef LONGQLORA_TOKENIZER_CHAT_RECORD_H
#define LONGQLORA_TOKENIZER_CHAT_RECORD_H

#include "lib/common/fail.h"
#include "lib/common/tally.h"

/* Which answers are trained on: every one, as FastChat, LLaMA-Factory and OpenAI do it, or the last
 * (LLaMA-Factory's mask_history). A message's own "weight": 0 or "train": false goes before. */
enum chat_train_on { CHAT_TRAIN_ALL, CHAT_TRAIN_LAST };

/* An odd conversation is a failure (STOP, SKIP: the caller tells them apart), or it is mended:
 * turns that do not fit are left out (DROP), or joined with the one before if the role is the same
 * (MERGE). What cannot be mended is a failure. */
enum chat_odd { CHAT_ODD_STOP, CHAT_ODD_SKIP, CHAT_ODD_DROP, CHAT_ODD_MERGE };

/* Why a record is no conversation to train on. Those from CHAT_TOOLS on are odd ones, the others
 * are damaged, or of no form that is known. */
enum chat_reason {
    CHAT_FINE,
    CHAT_NOT_JSON,
    CHAT_NO_FORM,
    CHAT_UNREADABLE, /* a value that is not what its key needs, keys that contradict each other */
    CHAT_UNKNOWN_ROLE,
    CHAT_TOOLS,
    CHAT_REASONING,
    CHAT_MEDIA,
    CHAT_PREFERENCE,
    CHAT_UNDONE, /* something else that is asked for and not done */
    CHAT_ANSWER_FIRST,
    CHAT_PROMPT_LAST,
    CHAT_IN_A_ROW,
    CHAT_SYSTEM_LATER,
    CHAT_EMPTY,
    CHAT_NO_ANSWER,
    CHAT_UNTRAINED,
    CHAT_REASONS
};
/* "with tools": to stand behind a number. */
const char *chat_reason_words(enum chat_reason reason);
bool chat_reason_is_odd(enum chat_reason reason);

/* What was mended, to be counted. */
enum chat_mend {
    CHAT_MEND_FIRST,     /* an answer before the first prompt */
    CHAT_MEND_LAST,      /* a prompt without an answer at the end */
    CHAT_MEND_ROW,       /* one of two of a role in a row: left out */
    CHAT_MEND_MERGED,    /* the same, joined */
    CHAT_MEND_SYSTEM,    /* a system message behind the beginning */
    CHAT_MEND_EMPTY,     /* a message without a text */
    CHAT_MEND_TOOL,      /* a message of a tool, or to one */
    CHAT_MEND_TOOLS,     /* a list of tools */
    CHAT_MEND_REASONING, /* the reasoning before an answer */
    CHAT_MEND_SENTENCE,  /* the system's, by a template that writes none before an answer */
    CHAT_MENDS
};
const char *chat_mend_words(enum chat_mend mend);

struct chat_reader {
    const char *source_key; /* path of the name of a record's subset: "meta.set" */
    enum chat_train_on train_on;
    enum chat_odd odd;
    bool keeps_space; /* else messages are stripped of white space, as Python's str.strip does */
};

struct chat_turn {
    char *prompt, *answer;
    size_t input_at; /* where Alpaca's "input" begins in the prompt, behind a newline; 0: none */
    bool is_trained; /* the answer is */
};

/* One conversation; at least one answer is trained on. */
struct chat {
    struct chat_turn *turns;
    size_t count;
    char *system, *source; /* NULL: not said */
    enum chat_reason reason;
    uint64_t mended[CHAT_MENDS];
};

/* Reads the JSON of a record. unknown: keys that say nothing here are counted there. On failure
 * c->reason says why, in short; nothing else is in it, and it need not be released. */
int chat_read(struct chat *c, const struct chat_reader *how, const char *text, size_t bytes,
              struct tally *unknown, struct fail *why) MUST_USE;
void chat_release(struct chat *c);

#endif
