/* report.h - scores as a table, as JSON, as a stream of kind "scores". */
#ifndef LONGQLORA_REPORT_H
#define LONGQLORA_REPORT_H

#include "tools/ppl/protocol.h"

/* What was measured, beside the numbers; all texts borrowed. */
struct report {
    const char *model, *base, *adapter, *rope, *tokenizer, *protocol, *definition, *dtype,
        *quantization, *source, *data;
    int64_t stride, short_context; /* 0: as the protocol says; of longppl */
    uint64_t tokens, bytes;        /* of the data; bytes 0: not known */
    bool per_document;             /* each document for itself */
    const struct score *scores;
    int count;
};

/* Bits that a byte of the text costs: nll/ln 2 · tokens/bytes. NaN if the bytes are not known. */
double report_bits_per_byte(const struct report *r, const struct score *s);

int report_table(const struct report *r, const char *path, struct fail *why) MUST_USE;
/* A line for each power of two of tokens that a prediction has seen. */
int report_positions(const struct report *r, const char *path, struct fail *why) MUST_USE;
int report_json(const struct report *r, const char *path, struct fail *why) MUST_USE;
int report_stream(const struct report *r, const char *path, struct fail *why) MUST_USE;

#endif
