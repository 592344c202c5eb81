/* lengths.h - streams of kind "lengths": how long the documents of one shard are, and where they
 * stand. docs/formats/lengths.md defines the bytes.
 *
 * `pack --lengths` writes one for each shard, and `pack --draw` reads those of all shards, so that
 * documents can be drawn without their tokens.
 */
#ifndef LONGQLORA_STREAM_LENGTHS_H
#define LONGQLORA_STREAM_LENGTHS_H

#include "lib/stream/tokens.h"

enum { LENGTHS_BLOCK = 4096, SHARDS_MAX = 1 << 20 };

struct lengths_info {
    struct token_info text;
    uint64_t min_tokens, max_tokens; /* shorter and longer documents are left out; 0: none are */
    uint64_t shard, shards;          /* number of the shard, from 1; how many there are; both 0:
                                      * none */
    /* The options with which the tokens were made, as in their header. lengths_create copies these
     * options; the options of a reader belong to the reader. */
    const struct msgpack_map *made_with;
};

/* One document. The texts of a document that was read belong to the reader, and are valid until the
 * next call. */
struct length {
    const char *source;
    const char *file;     /* the text that has it, as its id names it */
    uint64_t file_number; /* counts the changes of `file`, from 1 */
    uint64_t line;        /* the line of the file, or the element of its array */
    uint64_t number;      /* its number among the documents of the shard, from 1 */
    uint64_t digest;      /* tokens_digest */
    uint32_t tokens;
};

struct lengths_writer;

int lengths_create(struct lengths_writer **w, const char *path, const struct lengths_info *info,
                   struct fail *why) MUST_USE;
/* Adds a document. A new file begins if the name differs from the previous document's, or if the
 * line is not greater. The fields file_number and digest are not used: `t` has what the digest is
 * computed from. */
int lengths_add(struct lengths_writer *w, const struct length *l, const struct tokens *t,
                struct fail *why) MUST_USE;
/* Completes the file. `documents` counts all documents of the shard, also those left out. `tokens`
 * and `text` are the digests of the stream of all its tokens and of its text. Releases w. */
int lengths_finish(struct lengths_writer *w, uint64_t documents, const char *tokens,
                   const char *text, struct fail *why) MUST_USE;
/* Removes the file and releases w. */
void lengths_abandon(struct lengths_writer *w);

struct lengths_reader;

/* Opens the lengths of a shard. The caller closes *r. */
int lengths_open(struct lengths_reader **r, const char *path, struct fail *why) MUST_USE;
void lengths_close(struct lengths_reader *r);
const struct lengths_info *lengths_info(const struct lengths_reader *r);
const char *lengths_name(const struct lengths_reader *r);
/* Reads the next document. Returns 1, 0 at the end, or -1. */
int lengths_next(struct lengths_reader *r, struct length *l, struct fail *why) MUST_USE;
/* After lengths_next has returned 0: the number of all documents of the shard; the digests of the
 * lengths themselves, of the tokens and of the text. They belong to r. */
uint64_t lengths_documents(const struct lengths_reader *r);
const char *lengths_digest(const struct lengths_reader *r);
const char *lengths_tokens_digest(const struct lengths_reader *r);
const char *lengths_text_digest(const struct lengths_reader *r);

#endif
