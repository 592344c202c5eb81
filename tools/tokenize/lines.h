/* lines.h - finds the documents that a draw chose (--lines), because only these are encoded. Checks
 * that they are the documents whose lengths the draw saw.
 *
 * The text is read to its end, because its digest tells whether it has changed since its lengths
 * were taken. While one batch of documents is read, an earlier one is written, so reading and
 * writing each have a place of their own in the list of drawn lines.
 */
#ifndef LONGQLORA_TOKENIZE_LINES_H
#define LONGQLORA_TOKENIZE_LINES_H

#include "lib/stream/drawn_lines.h"

/* A place in the list of drawn lines: the file, and the index of the next line. */
struct lines_place {
    size_t file, line;
};

struct lines {
    const char *path; /* path of the stream of lines */
    struct drawn_lines drawn;
    /* the text has one file, and the draw at most one: its name does not matter */
    bool is_one_file;
    size_t end; /* index in drawn.lines after the last line of the file that is read */
    struct lines_place read, written;
};

/* Reads the stream. `texts` is how many files of text will be read. The caller releases *l. */
int lines_open(struct lines *l, const char *path, size_t texts, struct fail *why) MUST_USE;
void lines_release(struct lines *l);
/* Fails unless the tokens that will be made are those of the draw: they have the same tokenizer,
 * and the same options in their header. */
int lines_check_tokens(const struct lines *l, const struct token_info *info,
                       const struct msgpack_map *options, struct fail *why) MUST_USE;

/* Call this before a file is read, with the name that messages give it. */
void lines_begin(struct lines *l, const char *name);
/* Returns 1 if the document at this line of the file was drawn, 0 if not, or -1 if an earlier line
 * was drawn and had no document. Lines are asked for in order. */
int lines_want(struct lines *l, uint64_t line, struct fail *why) MUST_USE;
/* Fails unless this is the document that was drawn. Documents come in order. */
int lines_check(struct lines *l, uint64_t line, const struct tokens *t, struct fail *why) MUST_USE;
/* Call this after a file was read to its end. Fails if drawn lines were not found in it. */
int lines_end(struct lines *l, const char *name, struct fail *why) MUST_USE;
/* Call this at the end of the work. Fails unless all drawn lines were found, and the text has the
 * digest that it had when its lengths were taken. */
int lines_finish(const struct lines *l, const char *text_digest, struct fail *why) MUST_USE;

#endif
