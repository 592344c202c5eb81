/* report.h - writes scores as a table, as JSON, or as a stream of kind "scores".
 */
#ifndef LONGQLORA_REPORT_H
#define LONGQLORA_REPORT_H

#include "tools/ppl/protocol.h"

/* The scores, and a description of what was measured. The pointers belong to the caller. */
struct report {
    const char *model, *base, *adapter, *rope, *tokenizer, *protocol, *definition, *dtype,
        *quantization, *source, *data;
    int64_t stride, short_context; /* 0: the protocol's default; only longppl has a short context */
    uint64_t tokens, bytes;        /* size of the data; bytes is 0 if it is unknown */
    bool per_document;             /* each document was measured by itself */
    const char *asked_rope;        /* the value of --rope, or "" */
    const struct score *scores;
    int count;
};

/* Returns the bits per byte of the text, nll/ln 2 · tokens/bytes, or NaN if the bytes are
 * unknown. */
double report_bits_per_byte(const struct report *r, const struct score *s);

/* Each writes `count` reports, which differ in their position scaling. If there are several, a
 * table has a first column with the position scaling, and JSON is a list. A stream has only one
 * report. */
int report_table(const struct report *r, int count, const char *path, struct fail *why) MUST_USE;
/* Writes for each i one line about all predictions that had 2^i to 2^(i+1) − 1 tokens before them,
 * if there are any. */
int report_positions(const struct report *r, int count, const char *path,
                     struct fail *why) MUST_USE;
int report_json(const struct report *r, int count, const char *path, struct fail *why) MUST_USE;
int report_stream(const struct report *r, const char *path, struct fail *why) MUST_USE;

#endif
