/* input.h - reads text files, plain or compressed: line by line, as a whole, or piece by piece. All
 * text input goes through it.
 *
 * Compression by zstd, gzip or xz is recognised by the first bytes, not by the file's name. A UTF-8
 * byte order mark at the beginning is dropped. A file of another kind (file_kind.h) is refused,
 * with its kind and what to do: parquet, UTF-16, weights and so on.
 *
 * Text that a function returns belongs to the input and is valid until the next call.
 */
#ifndef LONGQLORA_INPUT_H
#define LONGQLORA_INPUT_H

#include "lib/common/fail.h"
#include "lib/common/file_kind.h"

#include <stdint.h>
#include <xxhash.h>

enum {
    /* Bytes of a line or of an array's element; longer than any book. */
    INPUT_LINE_MAX = 64 << 20,
    /* Bytes of a line of a stream in JSON. This limit is higher, because token ids take more space
     * than the text that they stand for. */
    INPUT_LINE_OF_NUMBERS = 1 << 30,
    INPUT_TEXT_MAX = 1 << 29, /* bytes of a text that is one document */
};

struct input;

/* Opens a file; "-" is standard input. The caller closes *in. */
int input_open(struct input **in, const char *path, struct fail *why) MUST_USE;
void input_close(struct input *in);
const char *input_name(const struct input *in);

/* The kind of the file. FILE_KIND_OTHER needs no decision. The caller must accept or refuse any
 * other kind. That kind may be a text that the user really wants to pass (a web page, XML, RTF), or
 * one of our own streams, which some programs read with another option. */
enum file_kind input_kind(const struct input *in);

/* Raises the longest allowed line from INPUT_LINE_MAX to `bytes`. */
void input_allow_lines(struct input *in, size_t bytes);

/* Adds all text, decompressed and without a byte order mark, to an XXH3-128 hash as it is read.
 * Call it before anything was read. The caller keeps the hash until the input is closed. */
void input_hash(struct input *in, XXH3_state_t *hash);

/* Skips blank lines and counts them as lines. Any number of them takes constant memory. If the next
 * line begins with very much white space, this white space is skipped too, and *taken is its number
 * of bytes; otherwise *taken is 0. Returns 1, 0 at the end of the input, or -1. */
int input_skip_blank(struct input *in, size_t *taken, struct fail *why) MUST_USE;

/* Reads the next line, without its newline. Returns 1, 0 at the end of the input, or -1. */
int input_line(struct input *in, char **line, size_t *bytes, struct fail *why) MUST_USE;
/* Reads the rest of the input as one text. */
int input_rest(struct input *in, char **text, size_t *bytes, struct fail *why) MUST_USE;

/* Returns the next text without consuming it: at least `more` bytes, unless the input ends before
 * that. */
int input_peek(struct input *in, size_t more, char **text, size_t *bytes,
               struct fail *why) MUST_USE;
/* Consumes bytes that input_peek has returned. */
void input_consume(struct input *in, size_t bytes);

uint64_t input_line_number(const struct input *in); /* number of the line read last, from 1 */
/* Bytes of the file on disk that were read so far. */
uint64_t input_bytes_read(const struct input *in);

#endif
