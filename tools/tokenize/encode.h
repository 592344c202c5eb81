/* encode.h - documents of text files, encoded on all threads, in the order of the input.
 *
 * A document that cannot be read ends the work, or is skipped and counted with the reason; what a
 * program lacks (memory, a file) ends it always.
 */
#ifndef LONGQLORA_ENCODE_H
#define LONGQLORA_ENCODE_H

#include "lib/common/json_records.h"
#include "lib/common/pool.h"
#include "lib/stream/tokens.h"
#include "lib/tokenizer/chat_record.h"
#include "lib/tokenizer/chat_template.h"
#include "lib/tokenizer/tokenizer.h"

/* A document is a line's text, a whole file, or a line's conversation. */
enum format { FORMAT_JSONL, FORMAT_TEXT, FORMAT_CHAT };
enum on_error { ON_ERROR_STOP, ON_ERROR_SKIP, ON_ERROR_REPLACE };

struct encoder {
    const struct tokenizer *tokenizer;
    struct pool *pool;
    enum format format;
    const struct chat_template *chat;
    struct chat_reader reader; /* of conversations */
    const char *text_key, *source_key, *source;
    uint32_t begin, end; /* what documents begin and end with; UINT32_MAX: nothing */
    bool parses_special; /* special tokens that a text spells are tokens */
    enum on_error on_error;
    uint64_t most; /* documents are enough; 0: all that there are */
    /* counted */
    uint64_t documents, skipped, tokens, text_bytes, read_bytes; /* read: of inputs, as stored */
    struct tally skips, mends;                                   /* why and what */
    struct fail first_skipped; /* what is wrong with the first one, and what to do */
    struct tally unknown;      /* keys of conversations that say nothing here; after encoder_run */
    uint64_t dropped;          /* characters or bytes without a piece, which gave nothing */
    struct encoder_work *work;
};

int encoder_open(struct encoder *e, struct fail *why) MUST_USE;
void encoder_close(struct encoder *e);

/* Gives every document of the input to `take`, in order. */
int encoder_run(struct encoder *e, struct input *in,
                int (*take)(void *arg, const struct tokens *t, struct fail *why), void *arg,
                struct fail *why) MUST_USE;

#endif
