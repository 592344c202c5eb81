/* corpus.h - the tokens that perplexity is measured on. */
#ifndef LONGQLORA_CORPUS_H
#define LONGQLORA_CORPUS_H

#include "../../lib/common/record_tokens.h"
#include "../../lib/common/tokenizer.h"
#include "../../lib/llama/weights.h"

struct corpus {
    uint32_t *ids; /* all documents, one after the other, as the report's data is */
    int64_t count;
    int64_t *ends; /* of each document, in ids */
    int64_t documents;
    uint64_t bytes; /* of the text that the tokens are; 0: not known */
    uint32_t bos;
    char digest[STREAM_DIGEST_TEXT]; /* of the stream */
};

/* source NULL: every document. tokenizer NULL: the text's bytes are not known. Dies of a
 * stream that does not fit the model or the tokenizer. */
struct corpus corpus_read(const char *path, enum view view, const char *source,
                          const struct weights *model, const struct tokenizer *tokenizer);
void corpus_release(struct corpus *c);

#endif
