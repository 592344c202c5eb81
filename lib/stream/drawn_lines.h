/* drawn_lines.h - streams of kind "lines": which documents of one shard a draw chose, as lines of
 * its text. docs/formats/lines.md defines the bytes.
 *
 * `pack --draw` writes one for each shard. `tokenize --lines` reads it, and tokenizes these
 * documents.
 */
#ifndef LONGQLORA_STREAM_DRAWN_LINES_H
#define LONGQLORA_STREAM_DRAWN_LINES_H

#include "lib/stream/tokens.h"

struct drawn_line {
    uint64_t line, digest; /* as in struct length (lengths.h) */
    uint32_t tokens;
};

/* The lines of one text file: lines[first] up to the first line of the next file. */
struct drawn_file {
    char *name;
    size_t first;
};

struct drawn_lines {
    struct token_info text;
    /* Digests of the draw, of the shard's lengths, of all its tokens, and of its text. */
    char draw[STREAM_DIGEST_TEXT], lengths[STREAM_DIGEST_TEXT], whole[STREAM_DIGEST_TEXT],
        text_digest[STREAM_DIGEST_TEXT];
    uint64_t shard, shards, seed;
    struct msgpack_map options;   /* the options of the draw, as in the header of samples */
    struct msgpack_map made_with; /* the options of the tokens, as in struct lengths_info */
    struct drawn_file *files;
    struct drawn_line *lines;
    size_t file_count, line_count;
};

/* Makes an empty struct. drawn_lines_release frees what a struct holds. */
void drawn_lines_init(struct drawn_lines *d);
void drawn_lines_release(struct drawn_lines *d);
/* Append a file, and a line of the last file. */
int drawn_lines_add_file(struct drawn_lines *d, const char *name, struct fail *why) MUST_USE;
int drawn_lines_add(struct drawn_lines *d, const struct drawn_line *line,
                    struct fail *why) MUST_USE;

/* Writes a stream. */
int drawn_lines_write(const struct drawn_lines *d, const char *path, struct fail *why) MUST_USE;
/* Reads a whole stream into *d, which the caller releases, also after a failure. */
int drawn_lines_read(struct drawn_lines *d, const char *path, struct fail *why) MUST_USE;
/* Appends to the options of a stream of tokens which part of the draw it is (drawn_part.h). */
void drawn_lines_put_part(const struct drawn_lines *d, struct msgpack_map *options);

#endif
