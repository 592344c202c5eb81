/* tokens.h - streams of kind "tokens" and "samples": documents as token
 * numbers, and training samples cut from them. docs/formats has the bytes.
 */
#ifndef LONGQLORA_STREAM_TOKENS_H
#define LONGQLORA_STREAM_TOKENS_H

#include "lib/stream/stream.h"

enum { TOKENS_ID_MAX = 4096, TOKENS_VOCAB_MAX = 1 << 24, SOURCE_MAX = 256 };

/* The fields that tokens and samples share: how the text became numbers. */
struct token_info {
    char tokenizer[STREAM_DIGEST_TEXT]; /* digest of the tokenizer's file; may be empty */
    uint64_t vocab_size, bos, eos;
    bool add_bos, add_eos;
};

/* One document. targets: pairs [start, end) of positions that are trained on;
 * target_count 0 and has_targets false: all of them. */
struct tokens {
    char id[TOKENS_ID_MAX], source[SOURCE_MAX];
    uint32_t *ids;
    size_t count, capacity;
    uint32_t *targets;
    size_t target_count; /* pairs */
    bool has_targets;
};

/* One training sample. documents: the lengths of the documents in it, which add up
 * to count. */
struct sample {
    char source[SOURCE_MAX];
    uint32_t *ids;
    size_t count, capacity;
    uint32_t *documents;
    size_t document_count;
    uint32_t *targets;
    size_t target_count;
    bool has_targets;
};

struct sample_info {
    struct token_info text;
    uint64_t context, seed;
    char strategy[32];
};

void tokens_release(struct tokens *t);
void sample_release(struct sample *s);

/* How records stand in a file: in our streams, as JSON lines, or (tokens only) as bare
 * little-endian numbers, all of them one document. */
enum view { VIEW_STREAM, VIEW_JSONL, VIEW_U16, VIEW_U32 };
#define VIEW_WORDS "stream|jsonl|u16|u32"
enum view view_of(const char *word);

/* Not for bare numbers. Options may be NULL. */
int tokens_writer(struct writer **w, const char *path, enum view view, const char *tool,
                  const struct token_info *info, const struct msgpack_map *options,
                  struct fail *why) MUST_USE;
int tokens_write(struct writer *w, const struct token_info *info, const struct tokens *t,
                 struct fail *why) MUST_USE;
int tokens_reader(struct reader **r, const char *path, enum view view, struct token_info *info,
                  struct fail *why) MUST_USE;
/* 1 a document, 0 the end, -1 damaged. *t is reused from call to call. */
int tokens_read(struct reader *r, const struct token_info *info, struct tokens *t,
                struct fail *why) MUST_USE;

/* A file of bare numbers as one document whose source is the file's name. */
int tokens_read_raw(const char *path, enum view view, uint64_t vocab, struct tokens *t,
                    char digest[STREAM_DIGEST_TEXT], struct fail *why) MUST_USE;

int samples_writer(struct writer **w, const char *path, enum view view, const char *tool,
                   const struct sample_info *info, const struct msgpack_map *options,
                   struct fail *why) MUST_USE;
int samples_write(struct writer *w, const struct sample_info *info, const struct sample *s,
                  struct fail *why) MUST_USE;
int samples_reader(struct reader **r, const char *path, enum view view, struct sample_info *info,
                   struct fail *why) MUST_USE;
int samples_read(struct reader *r, const struct sample_info *info, struct sample *s,
                 struct fail *why) MUST_USE;
/* The sample of that number; the reader must be indexed. */
int samples_read_at(struct reader *r, const struct sample_info *info, uint64_t number,
                    struct sample *s, struct fail *why) MUST_USE;

#endif
