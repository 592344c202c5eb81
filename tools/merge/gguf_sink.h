/* gguf_sink.h - writes the pieces of merged tensors into a GGUF file. All threads convert the
 * pieces to the file's types. For some families they also reorder the rows of q and k, and add 1 to
 * norms, as llama.cpp's converter does.
 */
#ifndef LONGQLORA_MERGE_GGUF_SINK_H
#define LONGQLORA_MERGE_GGUF_SINK_H

#include "lib/common/pool.h"
#include "lib/tensorfile/gguf_writer.h"
#include "tools/merge/result.h"

struct gguf_sink {
    struct gguf_writer *w;
    const struct result *result;
    const struct gguf_header *headers; /* the headers of the result's tensors, then of its biases */
    int64_t head_dim; /* rows of an attention head, whose order changes; 0: no change */
    bool adds_one;    /* 1 + weight is stored for norms */
    struct pool *pool;
    char *converted; /* a piece in the file's type */
    size_t capacity;
};

/* The caller has set the first five fields; w, result and headers must outlive the sink. The caller
 * calls gguf_sink_close. */
int gguf_sink_open(struct gguf_sink *s, int threads, struct fail *why) MUST_USE;
void gguf_sink_close(struct gguf_sink *s);
/* Converts a piece and appends it to the file; the callback of merger_make. */
int gguf_sink_put(void *sink, int64_t index, const void *rows, int64_t count, struct fail *why);

#endif
