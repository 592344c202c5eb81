/* corpus.h - the tokens that perplexity is measured on. */
#ifndef LONGQLORA_CORPUS_H
#define LONGQLORA_CORPUS_H

#include "lib/llama/weights.h"
#include "lib/stream/tokens.h"
#include "lib/tokenizer/tokenizer.h"

struct corpus {
    uint32_t *ids; /* all documents, one after the other, as the report's data is */
    int64_t count;
    int64_t *ends; /* of each document, in ids */
    int64_t documents;
    const char *name;                /* of the file, for messages */
    enum view view;                  /* that it was read in */
    struct token_info info;          /* of bare numbers: nothing is said */
    uint64_t bytes;                  /* of the text that the tokens are; 0: not known */
    char digest[STREAM_DIGEST_TEXT]; /* of the stream */
};

/* Reads the tokens alone, so that what is wrong with them is said before a model is opened. source
 * NULL: every document. Dies of damage, and where there is no token. */
struct corpus corpus_read(const char *path, enum view view, const char *source);

/* Dies if the tokens are not of the model's vocabulary and tokenizer, or of the one that the
 * adapter (its directory, or NULL) brings along. Bare numbers say no BOS: it is the model's. */
void corpus_check(struct corpus *c, const struct weights *model, const char *adapter);
/* Finds the bytes of the text. Dies if the tokens are another tokenizer's. */
void corpus_count_bytes(struct corpus *c, const struct tokenizer *tokenizer);
void corpus_release(struct corpus *c);

#endif
