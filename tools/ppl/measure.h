/* measure.h - measures a model's perplexity on a corpus at several context lengths.
 */
#ifndef LONGQLORA_MEASURE_H
#define LONGQLORA_MEASURE_H

#include "lib/ranks/ranks.h"
#include "model/loaded.h"

#include <stdint.h>

struct measure_options {
    struct loaded_options loaded;
    const char *data, *contexts, *protocol, *source, *to, *output, *device, *from;
    /* The tokenizer that counts the bytes of the text; NULL: the model's, if it has one. */
    const char *tokenizer;
    /* 0 is the default: the protocol's stride, all tokens, the protocol's short context. */
    int64_t stride, max_tokens, short_context;
    bool per_document;
    int64_t bytes;       /* size of the text in bytes; 0: the tokenizer counts the bytes */
    struct ranks *ranks; /* the processes that share the measurement, perhaps only one */
    int64_t asked_ranks, rank_timeout; /* the values of --ranks and --rank-timeout */
    int64_t segments;                  /* segments of a batch of windows; 1: a batch is not cut */
    int64_t sample_ranks;              /* the value of --sample-ranks; 0: as many as possible */
    int threads;                       /* 0: one for each CPU */
};

/* Measures, and on rank 0 writes the report. Dies if something fails. Errors in the options, in the
 * output, and in the data by themselves are reported before the model is opened. */
void measure(const struct measure_options *o);

#endif
