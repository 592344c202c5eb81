/* write_behind.h - a thread that writes full buffers to the disk while the caller fills the next
 * ones. Only output.c includes it. */
#ifndef LONGQLORA_COMMON_WRITE_BEHIND_H
#define LONGQLORA_COMMON_WRITE_BEHIND_H

#include "lib/common/fail.h"

#include <stddef.h>
#include <stdint.h>

struct write_behind;

/* Starts a thread that writes buffers of at most buffer_bytes to fd. Returns NULL if no thread can
 * be started or memory runs out. */
struct write_behind *write_behind_open(int fd, size_t buffer_bytes);
/* Hands a full buffer to the thread, which then owns it, and returns an empty one of buffer_bytes.
 * Waits until one is free. */
char *write_behind_put(struct write_behind *b, char *buffer, size_t bytes);
/* errno of the first write that failed so far; 0 if none failed. */
int write_behind_error(struct write_behind *b);
/* Waits until everything is written; if is_given_up, drops the buffers that are not yet written.
 * Ends the thread, frees its buffers and returns write_behind_error. */
int write_behind_close(struct write_behind *b, bool is_given_up);

#endif
