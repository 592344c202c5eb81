/* write_behind.h - a thread that writes full buffers while the next ones are filled; a part
 * of output.h that nobody else includes.
 */
#ifndef LONGQLORA_COMMON_WRITE_BEHIND_H
#define LONGQLORA_COMMON_WRITE_BEHIND_H

#include "lib/common/fail.h"

#include <stddef.h>
#include <stdint.h>

struct behind;

/* Writes to fd from now on, buffers of at most so many bytes. NULL: no thread or no memory. */
struct behind *behind_open(int fd, size_t buffer_bytes);
/* Takes a full buffer and gives an empty one, when there is one. */
char *behind_give(struct behind *b, char *buffer, size_t bytes);
/* errno of the first write that failed so far; 0: none. */
int behind_error(struct behind *b);
/* Waits until all is written, unless is_given_up; ends the thread. Returns behind_error. */
int behind_close(struct behind *b, bool is_given_up);

#endif
