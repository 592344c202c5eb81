/* measurement.h - what is measured, and on which data: all of a measurement that does not depend on
 * the model.
 */
#ifndef LONGQLORA_PPL_MEASUREMENT_H
#define LONGQLORA_PPL_MEASUREMENT_H

#include "tools/ppl/corpus.h"
#include "tools/ppl/measure.h"
#include "tools/ppl/protocol.h"

enum { CONTEXTS_MAX = 64, ROPES_MAX = 16, ROPE_TEXT = 48 };

struct measurement {
    struct protocol protocol;
    struct corpus corpus;
    struct texts texts;
    /* needs[i]: how many tokens a text must have for contexts[i] */
    int64_t contexts[CONTEXTS_MAX], needs[CONTEXTS_MAX];
    int count;
    bool has_samples;
    /* [rope_count] the position scalings to compare; "" is the model's own */
    char ropes[ROPES_MAX][ROPE_TEXT];
    int rope_count;
};

/* Returns the form of the output: that of --to, or else that of the output's suffix, or else a
 * table. */
const char *measurement_form(const struct measure_options *o);
/* Fills in what the options say. Dies if they are wrong, before any data are read. */
void measurement_plan(const struct measure_options *o, struct measurement *m);
/* Reads the data. If only rank 0 can read the data (standard input, a pipe), it sends them to the
 * other ranks. Dies if the data are damaged, or too short for a context. */
void measurement_read(const struct measure_options *o, struct measurement *m);

#endif
