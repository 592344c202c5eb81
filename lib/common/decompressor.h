/* decompressor.h - one interface to zstd, gzip and xz: compressed bytes go in, content comes out.
 *
 * Several zstd frames, gzip members or xz streams in a row give one content, as they do in the
 * programs zstd, gzip and xz. So files joined with cat, and the output of pzstd, pigz and bgzip,
 * are read completely. Checksums are verified. Truncated input is an error.
 */
#ifndef LONGQLORA_DECOMPRESSOR_H
#define LONGQLORA_DECOMPRESSOR_H

#include "lib/common/fail.h"
#include "lib/common/file_kind.h"

#include <stdint.h>

/* The largest zstd window and xz dictionary that is accepted, as log2 of its bytes. */
enum { DECOMPRESSOR_WINDOW_LOG_MAX = 31 };

struct decompressor;

/* Makes a decompressor for `kind`, which file_kind_of found. If kind is none of the three formats,
 * *d becomes NULL and the call succeeds. The caller closes *d. */
int decompressor_open(struct decompressor **d, enum file_kind kind, struct fail *why) MUST_USE;
void decompressor_close(struct decompressor *d);

/* How many bytes of memory the decompressor has allocated, mostly for its window or dictionary. */
uint64_t decompressor_memory(const struct decompressor *d);

/* Decompresses until the input [*from, from_end) is used up or the output [*to, to_end) is full.
 * Advances *from and *to. Fails on damaged data. */
int decompressor_run(struct decompressor *d, const char **from, const char *from_end, char **to,
                     const char *to_end, struct fail *why) MUST_USE;

/* Tells the decompressor that the input has ended, and writes content that it still holds. Returns
 * 1 if more content is left (call again with a new buffer), 0 if that was all, or -1 if the input
 * is truncated. */
int decompressor_end(struct decompressor *d, char **to, const char *to_end,
                     struct fail *why) MUST_USE;

#endif
