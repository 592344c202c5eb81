/* measure.h - measures a model's perplexity on a corpus at several context lengths.
 */
#ifndef LONGQLORA_MEASURE_H
#define LONGQLORA_MEASURE_H

#include "model/loaded.h"

#include <stdint.h>

struct measure_options {
    struct loaded_options loaded;
    const char *data, *contexts, *protocol, *source, *to, *output, *device, *from;
    /* counts the text's bytes; NULL: the model's tokenizer if there is one */
    const char *tokenizer;
    /* stride and short_context 0: those of the protocol; max_tokens 0: all */
    int64_t stride, max_tokens, short_context;
    bool per_document;
    int64_t bytes; /* size of the text; 0: the tokenizer counts it */
};

/* The defaults of protocol and contexts. Samples need neither, so a user who names one there has
 * made a mistake. */
extern const char measure_protocol[], measure_contexts[];

/* Measures and writes the report. Dies if something fails. Faults of options, output and tokens are
 * reported before the model is opened. */
void measure(const struct measure_options *o);

#endif
