/* output.h - a file that is whole or absent.
 *
 * Bytes go to a temporary name beside the target (temporary.h); output_close flushes them to the
 * disk and renames. Whatever is given up, or pending when a signal ends the program, is removed;
 * what a killed one left is, when the same target is written again. "-" is standard output, written
 * as it comes; so is a device or a named pipe. A link is followed to its end and stays (target.h);
 * a file that is replaced leaves its permissions, with its access control list, and, where that is
 * allowed, its owner to the new one, and must be writable. An input is never an output
 * (file_guard.h).
 */
#ifndef LONGQLORA_OUTPUT_H
#define LONGQLORA_OUTPUT_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stdint.h>

struct behind;
struct temporary;

struct output {
    int fd;
    char *path;             /* as it was given; "-" for standard output */
    char *target;           /* where its links end */
    struct temporary *made; /* NULL for what is written as it comes */
    char *buffer;
    size_t used;
    uint64_t written;      /* bytes accepted so far */
    int error;             /* errno of the first failed write; repeated by close */
    bool is_shown;         /* on a terminal: nothing that it would obey is written (message_show) */
    struct behind *behind; /* the thread that writes; NULL: the caller's does */
};

int output_open(struct output *out, const char *path, struct fail *why) MUST_USE;
/* The same for a file that is made of what stands in it, and so is open for reading. */
int output_rewrite(struct output *out, const char *path, struct fail *why) MUST_USE;
/* Fails as output_open would, and leaves nothing: before hours of work whose results go there. What
 * is written as it comes is not opened. */
int output_try(const char *path, struct fail *why) MUST_USE;
/* The same for a path that the user gave with that option ("-o "), which is an output from now on:
 * by each program before any work. */
int output_declare(const char *option, const char *path, struct fail *why) MUST_USE;
/* For data that a line of text would damage: fails if the path is standard output and messages go
 * into the same file. */
int output_check_apart(const char *path, struct fail *why) MUST_USE;
int output_write(struct output *out, const void *data, size_t bytes, struct fail *why) MUST_USE;
int output_print(struct output *out, struct fail *why, const char *format, ...) PRINTF_LIKE(3, 4);
/* From now on another thread writes, and the disk begins with what is written at once. Does nothing
 * where the bytes that are to come are too few for that, or where no thread can be had. */
void output_write_behind(struct output *out, uint64_t bytes);
/* True if the target is a regular file, so that a seek table makes sense. */
bool output_seekable(const struct output *out);
/* Writes what was put so far, to the disk: what fails then fails before output_close, which only
 * gives the file its name. For a result of two files. */
int output_settle(struct output *out, struct fail *why) MUST_USE;
/* Completes the file, or removes it and says why. Releases *out either way. */
int output_close(struct output *out, struct fail *why) MUST_USE;
/* Removes what was written; also right for a zeroed struct. */
void output_abandon(struct output *out);

/* Unlinks every temporary file of the process; safe in a signal handler. */
void output_remove_pending(void);

/* Writes a small file whole. */
int output_text(const char *path, const char *text, struct fail *why) MUST_USE;
/* Copies a file whole; from "-": standard input. */
int output_copy(const char *from, const char *to, struct fail *why) MUST_USE;
/* mkdir -p. */
int output_directory(const char *path, struct fail *why) MUST_USE;
/* Fails if the file system of `directory` has not that many bytes free, naming both. */
int output_room(const char *directory, uint64_t bytes, struct fail *why) MUST_USE;
/* The same for the directory that a file is to stand in; a device has room. */
int output_room_for(const char *path, uint64_t bytes, struct fail *why) MUST_USE;
/* fsync of a directory, so that renames in it last. */
int output_sync_directory(const char *path, struct fail *why) MUST_USE;

#endif
