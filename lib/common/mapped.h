/* mapped.h - files mapped into memory (mmap).
 *
 * If somebody shortens a file while it is mapped, reading the lost bytes does not return an error:
 * it raises the signal SIGBUS. Mappings are registered here, so that the signal's handler can name
 * the file, or can go on with zeros in its place (mapped_survive).
 */
#ifndef LONGQLORA_MAPPED_H
#define LONGQLORA_MAPPED_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stddef.h>

/* Maps the first `bytes` of an open file for reading. Returns NULL with *why on failure. `name`
 * is used in messages and is copied. The caller calls mapped_close. The mapping keeps a descriptor
 * of its own, so the file is watched wherever it is moved. */
const void *mapped_open(int fd, size_t bytes, const char *name, struct fail *why) MUST_USE;
/* Unmaps; `at` may be NULL. */
void mapped_close(const void *at, size_t bytes);

/* Fails if a mapped file was written to since it was mapped, because the bytes that were read may
 * be a mixture of old and new. If the file was renamed or removed, or another file has its name
 * now, the mapped file itself is unchanged, so the call does not fail. Call it before a result is
 * renamed to its final name. */
int mapped_check(struct fail *why) MUST_USE;

/* Finds a mapped file whose time of modification or of change is no longer what it was when the
 * file was mapped, or when this function last found it. Writes the file's name to name[size].
 * Returns false if there is none. Unlike mapped_check it also finds a file whose old time of
 * modification was restored, and one whose mode was changed or one of whose names was removed. The
 * caller then compares the content. */
bool mapped_find_touched(char *name, size_t size);

/* While it is switched on, a read of lost bytes does not end the program: mapped_fill replaces the
 * whole mapping by zeros, for the rest of the program. The caller must discard what it computes
 * from them, so it calls mapped_find_lost before it uses a result. At first it is switched off. */
void mapped_survive(bool is_on);
/* Finds a file whose mapping was replaced. Writes its name to name[size]. Returns false if there is
 * none. mapped_check then fails, too. */
bool mapped_find_lost(char *name, size_t size);
/* Replaces the mapping at this address by zeros. Returns false if mapped_survive is off or if no
 * file is mapped there. Safe in a signal handler, in any thread. */
bool mapped_fill(const void *address);

/* Faults in each page of the range, by reading one byte of it. Call it after a system call has
 * failed with EFAULT because bytes of this range are missing. Reading them here raises SIGBUS,
 * whose handler reports the shortened file. */
void mapped_fault_in(const void *at, size_t bytes);

/* The name of the file that is mapped at this address; NULL if there is none. Safe in a signal
 * handler. */
const char *mapped_name(const void *address);

#endif
