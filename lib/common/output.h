/* output.h - writes a file that is complete or absent.
 *
 * Bytes go to a temporary file beside the target (temporary.h). output_close flushes it to the disk
 * and renames it. The temporary file is removed if the output is abandoned, or if a signal ends the
 * program. If the program was killed, it is removed when the same target is written again.
 *
 * "-" is standard output. Standard output, devices and named pipes are written directly. A symbolic
 * link is followed and stays (target.h). A file that is replaced must be writable; the new file
 * gets its permissions, access-control lists, the user's attributes and, where that is allowed, its
 * owner (attributes.h). Other names of the old file (hard links) keep the old content. An output
 * that is also an input is refused (file_guard.h).
 */
#ifndef LONGQLORA_OUTPUT_H
#define LONGQLORA_OUTPUT_H

#include "lib/common/fail.h"

#include <stdbool.h>
#include <stdint.h>

struct write_behind;
struct temporary;

struct output {
    int fd;
    char *path;             /* the name for messages: the path, or "standard output" */
    char *target;           /* the path after following symbolic links */
    struct temporary *made; /* the temporary file; NULL for an output that is written directly */
    char *buffer;
    size_t used;
    uint64_t written; /* bytes accepted so far */
    int error;        /* errno of the first failed write; output_close reports it */
    /* The output is a terminal, so control characters are escaped (message_escape). */
    bool is_shown;
    struct write_behind *writer; /* the thread that writes; NULL: the caller writes */
};

/* Opens an output. "-" is standard output. The caller ends it with output_close or output_abandon.
 * Fails if the path cannot be written or is an input. */
int output_open(struct output *out, const char *path, struct fail *why) MUST_USE;
/* Like output_open, for a file whose new content is made from its old content. Here the file may be
 * an input too. */
int output_rewrite(struct output *out, const char *path, struct fail *why) MUST_USE;
/* Fails if output_open would fail, and leaves no file behind. Programs call it before hours of
 * work. It does not open outputs that are written directly. */
int output_try(const char *path, struct fail *why) MUST_USE;
/* Like output_try, and declares the path as an output (file_guard.h). `option` is the option that
 * gave the path, such as "-o ". Every program calls it before it works. */
int output_declare(const char *option, const char *path, struct fail *why) MUST_USE;
/* Fails if the path is standard output and messages go to the same file, because a line of text
 * would damage binary data. */
int output_check_apart(const char *path, struct fail *why) MUST_USE;
int output_write(struct output *out, const void *data, size_t bytes, struct fail *why) MUST_USE;
int output_print(struct output *out, struct fail *why, const char *format, ...) PRINTF_LIKE(3, 4);
/* Lets a second thread write the buffers from now on, so that the disk starts immediately. `bytes`
 * is how much will be written. Does nothing if that is too little to gain time, or if no thread can
 * be started. */
void output_write_behind(struct output *out, uint64_t bytes);
/* Is the target a regular file? Then a seek table is useful. */
bool output_seekable(const struct output *out);
/* Writes everything so far to the disk (fsync), so that output_close only has to rename the file. A
 * result that consists of two files calls this for both before it closes the first. */
int output_sync(struct output *out, struct fail *why) MUST_USE;
/* Completes the file. On failure, removes the file and fills *why. Releases *out in both cases. */
int output_close(struct output *out, struct fail *why) MUST_USE;
/* Removes what was written. A zeroed struct is allowed. */
void output_abandon(struct output *out);

/* Removes every unfinished file of the process. Safe in a signal handler. */
void output_remove_pending(void);

/* Writes `text` to a file, which is complete or absent. */
int output_text(const char *path, const char *text, struct fail *why) MUST_USE;
/* Copies a file; `to` is complete or absent. From "-" it copies standard input. */
int output_copy(const char *from, const char *to, struct fail *why) MUST_USE;
/* Creates the directory and missing ones above it, as mkdir -p. */
int output_directory(const char *path, struct fail *why) MUST_USE;
/* Fails if the file system of `directory` has less than `bytes` free. The message says both
 * numbers. */
int output_check_space(const char *directory, uint64_t bytes, struct fail *why) MUST_USE;
/* Like output_check_space, for the directory that contains the file `path`. A device always has
 * enough space. */
int output_check_space_for(const char *path, uint64_t bytes, struct fail *why) MUST_USE;
/* Calls fsync on a directory, so that renames in it survive a crash. */
int output_sync_directory(const char *path, struct fail *why) MUST_USE;

#endif
