/* file.h - files are asked what they are before they are opened.
 *
 * Opening a named pipe waits until somebody writes to it, and reading one, or a device, may never
 * end. What must be a file is refused by name if it is anything else.
 */
#ifndef LONGQLORA_FILE_H
#define LONGQLORA_FILE_H

#include "lib/common/fail.h"

#include <stdint.h>

/* Opens a regular file to be read, and tells its size unless bytes is NULL. Returns a descriptor,
 * or -1 and why. */
int file_open(const char *path, uint64_t *bytes, struct fail *why) MUST_USE;

/* For text that is read from its beginning to its end: a regular file, or what the program was
 * given open (/dev/stdin, /dev/fd/63, as a shell's <( ) is named, /dev/null). */
int file_open_text(const char *path, struct fail *why) MUST_USE;
/* Fails as it would, without opening: for what is opened elsewhere. "-" is standard input. */
int file_check_text(const char *path, struct fail *why) MUST_USE;

/* For streams: "-" is standard input; named pipes and devices are streams too, which are waited
 * for. Only directories and sockets are none. */
int file_open_stream(const char *path, struct fail *why) MUST_USE;

/* 1: something is there, which opening says more of; 0: nothing. Fails for a link whose end is not
 * there: what was to be there is missing, and taking it for nothing would change what is done. */
int file_is_there(const char *path, struct fail *why) MUST_USE;

/* The size of a regular file, else 0; and at the end of what can be read: fails if it was that long
 * and has become shorter, which would be a part of its text taken for all. */
uint64_t file_size(int fd);
int file_check_end(int fd, uint64_t size, const char *name, struct fail *why) MUST_USE;

/* file_open and file_open_text for stdio; NULL where they return -1. */
FILE *file_open_stdio(const char *path, uint64_t *bytes, struct fail *why) MUST_USE;
FILE *file_open_text_stdio(const char *path, struct fail *why) MUST_USE;

/* Fails if it is a directory whose files the program may not open: nothing can be said of them. */
int file_check_folder(const char *path, struct fail *why) MUST_USE;

#endif
