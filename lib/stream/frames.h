/* frames.h - zstd frames of a file or pipe, one at a time, decompressed; or JSON
 * lines as if each were a frame. */
#ifndef LONGQLORA_STREAM_FRAMES_H
#define LONGQLORA_STREAM_FRAMES_H

#include "lib/common/input.h"

#include <msgpack.h>
#include <stdint.h>
#include <zstd.h>

struct frames_ahead;

struct frames {
    int fd;
    const char *name; /* borrowed, for messages, as is what the file should be */
    const char *wanted;
    const char *from_json; /* what makes one of JSON lines that are such a stream in our view; "" */
    ZSTD_DCtx *zstd;
    char *input; /* compressed bytes [input_at, input_size) not yet used */
    size_t input_at, input_size;
    uint64_t size_of_file; /* when it was opened; 0: no regular file */
    uint64_t consumed;     /* bytes of the file before input_at */
    uint64_t offset;       /* where the current frame begins */
    char *content;         /* the current frame, decompressed */
    size_t content_size, content_capacity;
    struct input *lines; /* NULL: frames */
    msgpack_sbuffer object;
    int token_width;
    struct frames_ahead *ahead; /* NULL: frames are loaded when they are asked for */
};

int frames_open(struct frames *f, const char *path, const char *name, struct fail *why) MUST_USE;
int frames_open_json(struct frames *f, const char *path, const char *name,
                     struct fail *why) MUST_USE;
void frames_close(struct frames *f);
/* Loads the next frame, skipping skippable ones. 1, 0 at the end, -1 damaged. */
int frames_next(struct frames *f, struct fail *why) MUST_USE;
/* From now on a thread loads the next few frames; only frames_next and frames_close may follow. */
int frames_read_ahead(struct frames *f, struct fail *why) MUST_USE;
bool frames_seekable(const struct frames *f);
int frames_rewind(struct frames *f, struct fail *why) MUST_USE;
/* Loads the frame that begins at that byte. */
int frames_at(struct frames *f, uint64_t offset, struct fail *why) MUST_USE;
/* The offsets of all frames by the seek table, if its sizes add up to the file's and none is longer
 * than a frame may be: 1, *offsets given to the caller, *content the bytes of all frames
 * decompressed, as the table has them; 0 there is no such table. */
int frames_table(struct frames *f, uint64_t **offsets, size_t *count, uint64_t *content,
                 struct fail *why) MUST_USE;

#endif
