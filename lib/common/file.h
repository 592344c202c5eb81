/* file.h - opens files after checking what they are, and reads whole ones.
 *
 * Opening a named pipe waits until somebody writes to it, and reading a pipe or a device may never
 * end. So where a regular file is needed, any other kind of file is refused, and the message names
 * the path.
 *
 * The functions that open return a descriptor that the caller closes, or -1 with *why.
 */
#ifndef LONGQLORA_FILE_H
#define LONGQLORA_FILE_H

#include "lib/common/fail.h"

#include <dirent.h>
#include <stdint.h>

/* Opens a regular file for reading. *bytes becomes its size; bytes may be NULL. */
int file_open(const char *path, uint64_t *bytes, struct fail *why) MUST_USE;

/* Opens text that is read once from beginning to end: a regular file, or a descriptor that the
 * program inherited (/dev/stdin; /dev/fd/63, which a shell's <( ) gives; /dev/null). */
int file_open_text(const char *path, struct fail *why) MUST_USE;
/* Fails if file_open_text would fail, but does not open the file. It is for a file that other code
 * opens later. "-" means standard input. */
int file_check_text(const char *path, struct fail *why) MUST_USE;

/* Opens a stream for reading. "-" means standard input. Named pipes and devices are accepted;
 * opening a named pipe waits for a writer. Directories and sockets are refused. */
int file_open_stream(const char *path, struct fail *why) MUST_USE;

/* What messages call the input: its path, or "standard input" for "-". */
const char *file_shown(const char *path);

/* Returns 1 if something exists at the path, otherwise 0. Fails for a symbolic link whose target is
 * missing or cannot be reached. If such a link counted as absent, a file that the user meant to
 * provide would be ignored without a message. */
int file_is_there(const char *path, struct fail *why) MUST_USE;

/* Fails if the path exists but cannot be read, because permission is missing or the disk fails at
 * the file's beginning. */
int file_check_readable(const char *path, struct fail *why) MUST_USE;

/* file_size returns the size of a regular file, and 0 for anything else. file_check_end is called
 * when reading has reached the end, with the size that the file had when it was opened. It fails if
 * the file has become shorter, because then only a part of the file was read. */
uint64_t file_size(int fd);
int file_check_end(int fd, uint64_t size, const char *name, struct fail *why) MUST_USE;

/* Reads a whole regular file. A NUL follows its content, which *bytes does not count. The caller
 * frees *data; it is NULL on failure. Returns 0, -1, or 1 if the file has more than `limit` bytes.
 * In that case nothing was read, *bytes is the size of the file, and *why says so. The caller may
 * say more. */
int file_read(const char *path, size_t limit, char **data, size_t *bytes,
              struct fail *why) MUST_USE;
/* Like file_read, for an open file, pipe or device, which is read from its present offset to its
 * end. `name` is used in messages. If a pipe holds more than `limit` bytes, limit + 1 of them have
 * been read.
 */
int file_read_rest(int fd, const char *name, size_t limit, char **data, size_t *bytes,
                   struct fail *why) MUST_USE;
/* Reads up to `size` bytes at the beginning of a regular file. Returns how many it read, or -1. */
int64_t file_read_head(const char *path, void *head, size_t size, struct fail *why) MUST_USE;
/* Reads a piece of an open file, up to `size` bytes. Returns how many bytes, 0 at the end, or -1
 * with a message that does not name the file. */
int64_t file_read_piece(int fd, void *to, size_t size, struct fail *why) MUST_USE;
/* As file_read_piece, but reads again until `size` bytes are there or the file ends. */
int64_t file_read_full(int fd, void *to, size_t size, struct fail *why) MUST_USE;
/* Calls take(arg, piece, bytes) for each piece of a file, from its beginning to its end. */
typedef void file_take(void *arg, const void *piece, size_t bytes);
int file_read_pieces(const char *path, file_take *take, void *arg, struct fail *why) MUST_USE;

/* True for "." and "..". */
bool file_is_dots(const char *name);
/* Returns the part of a path after its last slash. */
const char *file_name_in(const char *path);
/* Is the path a folder? "-" is standard input. */
bool file_is_folder(const char *path);
/* Returns the name of the next entry of a folder other than "." and "..", or NULL at the end. The
 * name is valid until the next call. */
const char *file_next_name(DIR *dir);

/* Fails if the path is a directory whose files the program may not open, because it could not even
 * tell which of them exist. */
int file_check_folder(const char *path, struct fail *why) MUST_USE;

#endif
