/* tokens.h - streams of kind "tokens" (documents as token ids) and "samples" (training samples cut
 * from them). docs/formats/tokens.md and samples.md define the bytes.
 *
 * tokens_read and samples_read return 1 if there is a record, 0 at the end of the stream, and -1 on
 * failure. Functions that read reuse the buffers of *t or *s from call to call; zero the struct
 * before the first call and release it after the last.
 */
#ifndef LONGQLORA_STREAM_TOKENS_H
#define LONGQLORA_STREAM_TOKENS_H

#include "lib/stream/stream.h"

enum { TOKENS_ID_MAX = 4096, TOKENS_VOCAB_MAX = 1 << 24, SOURCE_MAX = 256 };

/* The header fields that tokens and samples share. They say how text was turned into token ids. */
struct token_info {
    char tokenizer[STREAM_DIGEST_TEXT]; /* digest of the tokenizer's file; may be "" */
    uint64_t vocab_size, bos, eos;
    bool add_bos, add_eos;
};

/* One document of `count` token ids. targets are pairs [start, end) of positions that count in the
 * loss. If has_targets is false, all positions count. */
struct tokens {
    char id[TOKENS_ID_MAX], source[SOURCE_MAX];
    uint32_t *ids;
    size_t count, capacity;
    uint32_t *targets;
    /* The number of pairs, and how many numbers fit, two for each pair. */
    size_t target_count, target_capacity;
    bool has_targets;
};

/* One training sample of `count` token ids. documents are the lengths of the documents in it, which
 * add up to count. targets are as in struct tokens. */
struct sample {
    char source[SOURCE_MAX];
    uint32_t *ids;
    size_t count, capacity;
    uint32_t *documents;
    size_t document_count, document_capacity;
    uint32_t *targets;
    size_t target_count, target_capacity;
    bool has_targets;
};

struct sample_info {
    struct token_info text;
    uint64_t context, seed;
    char strategy[32];
};

/* Free the buffers. */
void tokens_release(struct tokens *t);
void sample_release(struct sample *s);

/* The format of a file of tokens or samples: a stream, JSON lines, or (tokens only) little-endian
 * numbers of 16, 32 or 64 bits, which are one document. */
enum token_format {
    TOKEN_FORMAT_STREAM,
    TOKEN_FORMAT_JSONL,
    TOKEN_FORMAT_U16,
    TOKEN_FORMAT_U32,
    TOKEN_FORMAT_U64
};
#define TOKEN_FORMAT_WORDS "stream|jsonl|u16|u32|u64"
/* Returns the format that `word` names, which is one of TOKEN_FORMAT_WORDS. */
enum token_format token_format_of(const char *word);
/* Has the file only ids, without a header? */
bool token_format_is_raw(enum token_format format);
/* Returns advice for raw ids that are not in the vocabulary. */
const char *token_format_raw_advice(enum token_format format);

/* Begins a stream of tokens. The format may not be one of raw ids. options may be NULL. */
int tokens_writer(struct writer **w, const char *path, enum token_format format, const char *tool,
                  const struct token_info *info, const struct msgpack_map *options,
                  struct fail *why) MUST_USE;
/* Appends a document. */
int tokens_write(struct writer *w, const struct token_info *info, const struct tokens *t,
                 struct fail *why) MUST_USE;
/* Opens a stream of tokens, and fills *info from its header. */
int tokens_reader(struct reader **r, const char *path, enum token_format format,
                  struct token_info *info, struct fail *why) MUST_USE;
/* Reads the next document. */
int tokens_read(struct reader *r, const struct token_info *info, struct tokens *t,
                struct fail *why) MUST_USE;

/* The header fields of *info, for other kinds of streams. token_info_put appends them to `own`,
 * token_info_get reads them. */
void token_info_put(struct msgpack_map *own, const struct token_info *info);
int token_info_get(const msgpack_object *header, struct token_info *info,
                   struct fail *why) MUST_USE;
/* The digest of a document, without its id (docs/formats/lengths.md). */
uint64_t tokens_digest(const struct tokens *t);

/* Reads a file of little-endian numbers as one document: the first `max` tokens, or all of them if
 * max is 0. The document's `source` becomes the file's name. An id that is not below `vocab` is an
 * error, and so is a file of another kind, or whose ids have more bits. digest becomes the digest
 * of the bytes that were read. */
int tokens_read_raw(const char *path, enum token_format format, uint64_t max, uint64_t vocab,
                    struct tokens *t, char digest[STREAM_DIGEST_TEXT], struct fail *why) MUST_USE;

/* Like the functions above, for samples. */
int samples_writer(struct writer **w, const char *path, enum token_format format, const char *tool,
                   const struct sample_info *info, const struct msgpack_map *options,
                   struct fail *why) MUST_USE;
int samples_write(struct writer *w, const struct sample_info *info, const struct sample *s,
                  struct fail *why) MUST_USE;
int samples_reader(struct reader **r, const char *path, enum token_format format,
                   struct sample_info *info, struct fail *why) MUST_USE;
int samples_read(struct reader *r, const struct sample_info *info, struct sample *s,
                 struct fail *why) MUST_USE;
/* Reads sample `number`. reader_index must have been called. */
int samples_read_at(struct reader *r, const struct sample_info *info, uint64_t number,
                    struct sample *s, struct fail *why) MUST_USE;

#endif
