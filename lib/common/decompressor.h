/* decompressor.h - zstd, gzip and xz behind one call: compressed bytes go in, their content comes
 * out.
 *
 * Several frames, members or streams one after the other are one content, as zstd, gzip and xz have
 * it themselves: files that were put together with cat, and what pzstd, pigz and bgzip write.
 * Checksums are checked. What is cut short is never taken for the whole.
 */
#ifndef LONGQLORA_DECOMPRESSOR_H
#define LONGQLORA_DECOMPRESSOR_H

#include "lib/common/fail.h"
#include "lib/common/file_kind.h"

#include <stdint.h>

/* What a file may want of memory: zstd's window and xz's dictionary. */
enum { DECOMPRESSOR_WINDOW_LOG_MAX = 31 };

struct decompressor;

/* kind: of the first bytes; *d becomes NULL for what is not compressed in one of the three ways. */
int decompressor_open(struct decompressor **d, enum file_kind kind, struct fail *why) MUST_USE;
void decompressor_close(struct decompressor *d);

/* Bytes of memory that it has asked for, its window or dictionary above all. */
uint64_t decompressor_memory(const struct decompressor *d);

/* Takes bytes from *from, which moves on, and writes to *to, which moves on, until one of the two
 * is used up. */
int decompressor_run(struct decompressor *d, const char **from, const char *from_end, char **to,
                     const char *to_end, struct fail *why) MUST_USE;

/* No more bytes will come: fails if the content is not whole. There may be content that is still to
 * be written: 1, then it is to be called again; 0 that was all. */
int decompressor_end(struct decompressor *d, char **to, const char *to_end,
                     struct fail *why) MUST_USE;

#endif
