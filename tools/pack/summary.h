/* summary.h - what went in, what came out, per source; as a table and as JSON. */
#ifndef LONGQLORA_SUMMARY_H
#define LONGQLORA_SUMMARY_H

#include "lib/common/output.h"

#include <stdint.h>

enum { SUMMARY_SOURCES = 64, SUMMARY_BINS = 24 };

/* bin[i] counts documents of 2^i to 2^(i+1) − 1 tokens, the last one all longer. */
struct source_summary {
    char name[256];
    uint64_t documents, tokens, drawn_documents, drawn_tokens, bin[SUMMARY_BINS];
};

struct summary {
    struct source_summary source[SUMMARY_SOURCES + 1]; /* the last: all beyond 64 */
    int sources;
    uint64_t samples, kept, cut, left_out, without_target;
};

/* The entry of a source, made if it is new. */
struct source_summary *summary_source(struct summary *s, const char *name);
void summary_document(struct summary *s, const char *source, uint64_t tokens);
uint64_t summary_documents(const struct summary *s); /* of all sources */
void summary_print(const struct summary *s);         /* on standard error */
/* As JSON, into an output that it opens and that is written but for its name: output_close gives it
 * that, output_abandon removes it. */
int summary_begin(const struct summary *s, const char *path, struct output *out,
                  struct fail *why) MUST_USE;

#endif
