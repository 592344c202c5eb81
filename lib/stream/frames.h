/* frames.h - reads the zstd frames of a file or pipe one after the other, decompressed. A file of
 * JSON lines can be read too: each line then counts as one frame.
 *
 * Source: RFC 8878 (zstd).
 */
#ifndef LONGQLORA_STREAM_FRAMES_H
#define LONGQLORA_STREAM_FRAMES_H

#include "lib/common/input.h"

#include <msgpack.h>
#include <stdint.h>
#include <zstd.h>

struct frames_ahead;

struct frames {
    int fd;
    /* Both are used in messages and are borrowed. `wanted` says what the file should be. */
    const char *name;
    const char *wanted;
    /* Advice on how to make a stream of a file of JSON lines; may be "". */
    const char *from_json;
    ZSTD_DCtx *zstd;
    char *input; /* compressed bytes; [input_at, input_size) is not yet used */
    size_t input_at, input_size;
    uint64_t size_of_file; /* the file's size when it was opened; 0 if it is not regular */
    uint64_t consumed;     /* bytes of the file that precede input[input_at] */
    uint64_t offset;       /* position in the file where the current frame begins */
    char *content;         /* the current frame, decompressed; valid until the next call */
    size_t content_size, content_capacity;
    struct input *lines; /* the JSON lines; NULL if the file consists of zstd frames */
    msgpack_sbuffer object;
    int token_width;
    struct frames_ahead *ahead; /* the thread that reads ahead; NULL if there is none */
};

/* Open a file or pipe ("-" is standard input). *name and the texts that the caller puts into *f
 * must outlive *f. The caller calls frames_close, also after a failure. */
int frames_open(struct frames *f, const char *path, const char *name, struct fail *why) MUST_USE;
int frames_open_json(struct frames *f, const char *path, const char *name,
                     struct fail *why) MUST_USE;
void frames_close(struct frames *f);
/* Loads the next frame into f->content. Skippable frames are skipped. Returns 1, 0 at the end of
 * the file, or -1. */
int frames_next(struct frames *f, struct fail *why) MUST_USE;
/* Fails if the first frame, which has been loaded, does not begin with a map of msgpack. The
 * message says what it holds instead, such as a stream that was compressed again. */
int frames_check_first(const struct frames *f, struct fail *why) MUST_USE;
/* Starts a thread that loads the next few frames in advance. Only frames_next and frames_close may
 * be called after it. */
int frames_read_ahead(struct frames *f, struct fail *why) MUST_USE;
/* frames_seekable: is it a regular file of frames? frames_rewind returns to its first frame. */
bool frames_seekable(const struct frames *f);
int frames_rewind(struct frames *f, struct fail *why) MUST_USE;
/* Loads the frame that begins at byte `offset` of the file. */
int frames_at(struct frames *f, uint64_t offset, struct fail *why) MUST_USE;
/* Reads the seek table. Returns 1 if it exists, its sizes add up to the file's size, and no frame
 * is longer than STREAM_FRAME_MAX: *offsets then are the positions of all frames (the caller frees
 * them) and *content is the decompressed size of all. Returns 0 if there is no such table. */
int frames_table(struct frames *f, uint64_t **offsets, size_t *count, uint64_t *content,
                 struct fail *why) MUST_USE;

#endif
