/* mapped.h - files in memory as they lie on the disk.
 *
 * Reading a mapped file that somebody has shortened meanwhile is no error that a call returns but a
 * signal, SIGBUS. So that its handler can say which file that was, mappings are registered here.
 */
#ifndef LONGQLORA_MAPPED_H
#define LONGQLORA_MAPPED_H

#include "lib/common/fail.h"

#include <stddef.h>

/* `bytes` of the open file, to be read only; NULL if that fails. name: for messages, copied. */
const void *mapped_open(int fd, size_t bytes, const char *name, struct fail *why) MUST_USE;
/* at may be NULL. */
void mapped_close(const void *at, size_t bytes);

/* Fails if somebody has written into a file that is mapped since it was: what was read of it may be
 * of neither. One that was replaced under its name stays what it was. Before a result gets its
 * name. */
int mapped_check(struct fail *why) MUST_USE;

/* Reads a byte of each page: where the kernel has found bytes missing (EFAULT), that is told as it
 * would have been if we had read them. */
void mapped_touch(const void *at, size_t bytes);

/* The name of the file that is mapped there; NULL if none is. Safe in a signal handler. */
const char *mapped_name(const void *address);

#endif
