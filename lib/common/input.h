/* input.h - text files, plain or zstd-compressed, line by line or whole. */
#ifndef LONGQLORA_INPUT_H
#define LONGQLORA_INPUT_H

#include "fail.h"

#include <stdint.h>

enum { INPUT_LINE_MAX = 1 << 30, INPUT_WINDOW_LOG_MAX = 31 };

struct input;

/* "-" is standard input. Compression is told by the first bytes, not by the name. */
int input_open(struct input **in, const char *path, struct fail *why) MUST_USE;
void input_close(struct input *in);
const char *input_name(const struct input *in);

/* The next line without its newline, valid until the next call. 1, 0 the end, -1. */
int input_line(struct input *in, char **line, size_t *bytes, struct fail *why) MUST_USE;
/* All that is left. */
int input_rest(struct input *in, char **text, size_t *bytes, struct fail *why) MUST_USE;

uint64_t input_line_number(const struct input *in); /* of the line just read, from 1 */
uint64_t input_bytes_read(const struct input *in);  /* of the file, compressed or not */

#endif
