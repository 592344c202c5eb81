/* mapped.h - files mapped into memory (mmap).
 *
 * If somebody shortens a file while it is mapped, reading the lost bytes does not return an error:
 * it raises the signal SIGBUS. Mappings are registered here, so that the signal's handler can name
 * the file.
 */
#ifndef LONGQLORA_MAPPED_H
#define LONGQLORA_MAPPED_H

#include "lib/common/fail.h"

#include <stddef.h>

/* Maps the first `bytes` of an open file for reading. Returns NULL with *why on failure. `name`
 * is used in messages and is copied. The caller calls mapped_close. */
const void *mapped_open(int fd, size_t bytes, const char *name, struct fail *why) MUST_USE;
/* Unmaps; `at` may be NULL. */
void mapped_close(const void *at, size_t bytes);

/* Fails if a mapped file was written to since it was mapped, because what was read of it may be a
 * mixture. If another file has taken the name of a mapped one, the mapped one is unchanged, so the
 * call does not fail. Call it before a result gets its name. */
int mapped_check(struct fail *why) MUST_USE;

/* Reads one byte of each page. Call it after the kernel has reported missing bytes in this range
 * (EFAULT): reading them here raises SIGBUS, so that the loss is reported as any other. */
void mapped_touch(const void *at, size_t bytes);

/* The name of the file that is mapped at this address; NULL if there is none. Safe in a signal
 * handler. */
const char *mapped_name(const void *address);

#endif
