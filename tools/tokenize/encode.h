/* encode.h - encodes the documents of text files on all threads, in the order of the input.
 *
 * A document that cannot be read ends the work, or is skipped and counted with its reason. A lack
 * of memory, or a file that cannot be read, always ends the work.
 */
#ifndef LONGQLORA_ENCODE_H
#define LONGQLORA_ENCODE_H

#include "lib/common/json_records.h"
#include "lib/common/pool.h"
#include "lib/stream/tokens.h"
#include "lib/tokenizer/chat_record.h"
#include "lib/tokenizer/chat_template.h"
#include "lib/tokenizer/tokenizer.h"
#include "tools/tokenize/lines.h"

/* A document is the text of a line, a whole file, or the conversation of a line. */
enum format { FORMAT_JSONL, FORMAT_TEXT, FORMAT_CHAT };
enum on_error { ON_ERROR_STOP, ON_ERROR_SKIP, ON_ERROR_REPLACE };

struct encoder {
    const struct tokenizer *tokenizer;
    struct pool *pool;
    enum format format;
    const struct chat_template *chat;
    struct chat_reader reader; /* reads conversations */
    const char *text_key, *source_key, *source;
    bool asks_source;    /* every document should have a source; see `unnamed` */
    uint32_t begin, end; /* tokens before and after each document; UINT32_MAX: none */
    bool parses_special; /* the text of a special token in a document becomes that token */
    enum on_error on_error;
    struct lines *lines;    /* only these documents are made; NULL: all */
    uint64_t max_documents; /* stops after this many documents; 0: no limit */
    /* results */
    /* read_bytes: bytes read from the files, before decompression */
    uint64_t documents, skipped, tokens, text_bytes, read_bytes;
    /* counts of the reasons for skips, and of the repairs */
    struct tally skips, mends;
    struct fail first_skipped; /* the fault of the first skipped document, with advice */
    struct tally unknown;      /* unknown keys of conversations; filled by encoder_run */
    /* Documents whose source is their file's name, because the value at source_key is no name, or
     * is missing although asks_source. */
    uint64_t unnamed;
    uint64_t dropped; /* how many characters or bytes have no piece, so that they gave no token */
    struct encoder_work *work;
};

int encoder_open(struct encoder *e, struct fail *why) MUST_USE;
void encoder_close(struct encoder *e);

/* Encodes every document of the input and passes it to `take`, in order. */
int encoder_run(struct encoder *e, struct input *in,
                int (*take)(void *arg, const struct tokens *t, struct fail *why), void *arg,
                struct fail *why) MUST_USE;

#endif
