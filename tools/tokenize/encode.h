/* encode.h - documents of text files, encoded on all threads, in the order of the input.
 */
#ifndef LONGQLORA_ENCODE_H
#define LONGQLORA_ENCODE_H

#include "../../lib/common/chat_record.h"
#include "../../lib/common/chat_template.h"
#include "../../lib/common/input.h"
#include "../../lib/common/pool.h"
#include "../../lib/common/record_tokens.h"
#include "../../lib/common/tokenizer.h"

/* A document is a line's text, a whole file, or a line's conversation. */
enum format { FORMAT_JSONL, FORMAT_TEXT, FORMAT_CHAT };
enum on_error { ON_ERROR_STOP, ON_ERROR_SKIP, ON_ERROR_REPLACE };

struct encoder {
    const struct tokenizer *tokenizer;
    struct pool *pool;
    enum format format;
    const struct chat_template *chat;
    const char *text_key, *source_key, *source;
    bool add_bos, add_eos;
    enum on_error on_error;
    /* counted */
    uint64_t documents, skipped, tokens, text_bytes, read_bytes; /* read: of inputs, as stored */
    struct encoder_work *work;
};

int encoder_open(struct encoder *e, struct fail *why) MUST_USE;
void encoder_close(struct encoder *e);

/* Gives every document of the input to `take`, in order. */
int encoder_run(struct encoder *e, struct input *in,
                int (*take)(void *arg, const struct tokens *t, struct fail *why), void *arg,
                struct fail *why) MUST_USE;

#endif
