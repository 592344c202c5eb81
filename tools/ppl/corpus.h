/* corpus.h - the tokens on which perplexity is measured.
 */
#ifndef LONGQLORA_CORPUS_H
#define LONGQLORA_CORPUS_H

#include "lib/llama/weights.h"
#include "lib/ranks/ranks.h"
#include "lib/stream/tokens.h"
#include "lib/tokenizer/tokenizer.h"

struct corpus {
    /* [count] all documents, one after the other, as in the data of the LongQLoRA report */
    uint32_t *ids;
    int64_t count, max_tokens; /* max_tokens: the largest number of tokens to read; 0: all */
    int64_t *ends;             /* [documents] end of each document in ids */
    int64_t documents;
    struct sample *samples;   /* [documents] if samples were read; their ids lie in ids */
    uint64_t context;         /* the largest number of tokens that a sample may have */
    bool masks_documents;     /* the documents of a sample do not see each other */
    const char *name;         /* the file's name, or "standard input", for messages */
    enum token_format format; /* the form of the file */
    struct token_info info;   /* from the stream's header; raw token ids have no header */
    uint64_t bytes;           /* bytes of the text of these tokens; 0: unknown */
    /* Digest of the stream's records (reader_stop), or of the raw token ids. */
    char digest[STREAM_DIGEST_TEXT];
};

/* Reads the tokens. No model is needed, so errors in the data are reported before a model is
 * opened. If source is not NULL, only documents of this source are taken. Reading stops after
 * max_tokens tokens (0: no limit), so the input may be an endless pipe or a huge file. Dies if the
 * data are damaged or empty. */
struct corpus corpus_read(const char *path, enum token_format format, const char *source,
                          int64_t max_tokens);

/* Reads samples in place of documents. format: TOKEN_FORMAT_STREAM or TOKEN_FORMAT_JSONL. */
struct corpus corpus_read_samples(const char *path, enum token_format format, const char *source);

/* Gives all ranks what rank 0 has read. `path` is the data's name. Dies if a rank does not come. */
void corpus_share(struct corpus *c, const char *path, struct ranks *r);

/* Dies if a token id is outside the model's vocabulary, or if the tokens were made with another
 * tokenizer than the model's or the adapter's. `adapter` is the adapter's directory, or NULL. For
 * raw token ids, sets BOS from the model. */
void corpus_check(struct corpus *c, const struct weights *model, const char *adapter);
/* Decodes the tokens to count the bytes of the text. Dies if they were made with another tokenizer.
 * `name` is the origin of `tokenizer`, for messages. */
void corpus_count_bytes(struct corpus *c, const struct tokenizer *tokenizer, const char *name);
void corpus_release(struct corpus *c);

#endif
