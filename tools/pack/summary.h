/* summary.h - counts documents and tokens by source, and prints them as a table or as JSON.
 */
#ifndef LONGQLORA_SUMMARY_H
#define LONGQLORA_SUMMARY_H

#include "lib/common/output.h"

#include <stdint.h>

enum { SUMMARY_SOURCES = 64, SUMMARY_BINS = 24 };

/* bin[i] counts the documents of 2^i to 2^(i+1) − 1 tokens; the last bin also counts longer
 * ones. */
struct source_summary {
    char name[256];
    uint64_t documents, tokens, drawn_documents, drawn_tokens, bin[SUMMARY_BINS];
};

struct summary {
    /* the last entry counts all sources beyond the 64th */
    struct source_summary source[SUMMARY_SOURCES + 1];
    int sources;
    uint64_t samples, kept, cut, left_out, without_target;
};

/* Returns the entry of a source, and creates it if the source is new. */
struct source_summary *summary_source(struct summary *s, const char *name);
void summary_document(struct summary *s, const char *source, uint64_t tokens);
uint64_t summary_documents(const struct summary *s); /* documents of all sources */
/* Print to standard error. summary_print_sources prints what each source has; summary_print also
 * prints how many tokens were kept, cut and left out. */
void summary_print_sources(const struct summary *s);
void summary_print(const struct summary *s);
/* Writes the summary as JSON to a temporary file. output_close then gives the file its name;
 * output_abandon removes it. */
int summary_begin(const struct summary *s, const char *path, struct output *out,
                  struct fail *why) MUST_USE;

#endif
