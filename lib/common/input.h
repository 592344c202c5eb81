/* input.h - the one opener of text files: plain or compressed, line by line, whole, or by the
 * piece.
 *
 * zstd, gzip and xz are told by a file's first bytes, not by its name, and are read as what is in
 * them. A byte order mark of UTF-8 at the beginning is left out. A file of another kind
 * (file_kind.h) is refused by its name, with what to do: parquet, UTF-16, weights and so on.
 */
#ifndef LONGQLORA_INPUT_H
#define LONGQLORA_INPUT_H

#include "lib/common/fail.h"
#include "lib/common/file_kind.h"

#include <stdint.h>

enum {
    INPUT_LINE_MAX = 64 << 20,       /* a line, or an element of an array: longer than any book */
    INPUT_LINE_OF_NUMBERS = 1 << 30, /* of a stream as JSON lines, which is longer than its text */
    INPUT_TEXT_MAX = 1 << 29,        /* a text that is one document */
};

struct input;

/* "-" is standard input. */
int input_open(struct input **in, const char *path, struct fail *why) MUST_USE;
void input_close(struct input *in);
const char *input_name(const struct input *in);

/* FILE_KIND_OTHER, or what is left to who reads: text that may have been meant (a web page, XML,
 * RTF) and our own streams, which some programs read with another option. */
enum file_kind input_kind(const struct input *in);

/* Lines may have so many bytes, instead of INPUT_LINE_MAX. */
void input_allow_lines(struct input *in, size_t bytes);

/* Takes the blank lines that come, and counts them; nothing of them is kept in memory, however many
 * they are. *taken: bytes of white space at the beginning of the next line that were taken too,
 * since they were many. 1, 0 the end, -1. */
int input_skip_blank(struct input *in, size_t *taken, struct fail *why) MUST_USE;

/* The next line without its newline, valid until the next call. 1, 0 the end, -1. */
int input_line(struct input *in, char **line, size_t *bytes, struct fail *why) MUST_USE;
/* All that is left. */
int input_rest(struct input *in, char **text, size_t *bytes, struct fail *why) MUST_USE;

/* What was not yet taken, at least `more` bytes of it where there are so many; valid until the next
 * call. Fewer than that: the input ends there. */
int input_look(struct input *in, size_t more, char **text, size_t *bytes,
               struct fail *why) MUST_USE;
/* Takes bytes that were looked at. */
void input_take(struct input *in, size_t bytes);

uint64_t input_line_number(const struct input *in); /* of the line just read, from 1 */
uint64_t input_bytes_read(const struct input *in);  /* of the file, compressed or not */

#endif
