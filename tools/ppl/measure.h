/* measure.h - a model's perplexity on a corpus at several context lengths. */
#ifndef LONGQLORA_MEASURE_H
#define LONGQLORA_MEASURE_H

#include "model/loaded.h"

#include <stdint.h>

struct measure_options {
    struct loaded_options loaded;
    const char *data, *contexts, *protocol, *source, *to, *output, *device, *from;
    const char *tokenizer; /* to count the text's bytes with; NULL: the model's, if it is there */
    int64_t stride, max_tokens, short_context; /* 0: as the protocol says; all */
    bool per_document;
    int64_t bytes; /* of the text; 0: see tokenizer */
};

/* Measures and writes the report; dies of what goes wrong. What is wrong with the options, the
 * output or the tokens is said before the model is opened. */
void measure(const struct measure_options *o);

#endif
