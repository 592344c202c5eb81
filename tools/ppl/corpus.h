/* corpus.h - the tokens that perplexity is measured on. */
#ifndef LONGQLORA_CORPUS_H
#define LONGQLORA_CORPUS_H

#include "../../lib/common/record_tokens.h"
#include "../../lib/llama/weights.h"

struct corpus {
    uint32_t *ids; /* all documents, one after the other, as the report's data is */
    int64_t count;
    uint32_t bos;
    char digest[STREAM_DIGEST_TEXT]; /* of the stream */
};

/* source NULL: every document. Dies of a stream that does not fit the model. */
struct corpus corpus_read(const char *path, enum view view, const char *source,
                          const struct weights *model);

#endif
