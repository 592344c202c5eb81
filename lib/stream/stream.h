/* stream.h - the one container for what the programs hand to each other.
 *
 * msgpack objects in zstd frames: a header map, record maps, an end record with
 * their number and digest; docs/formats/stream.md has it to the byte. A stream
 * that stops without its end record is damaged, never merely short. Streams of one
 * kind whose own fields agree may be concatenated.
 */
#ifndef LONGQLORA_STREAM_STREAM_H
#define LONGQLORA_STREAM_STREAM_H

#include "lib/common/digest.h"
#include "lib/stream/msgpack_map.h"
#include "lib/stream/wording.h"

enum stream_kind { STREAM_TOKENS, STREAM_SAMPLES, STREAM_WEIGHTS, STREAM_SCORES, STREAM_STATE };

enum {
    STREAM_VERSION = 1,
    STREAM_FRAME_BYTES = 1 << 20, /* a frame is cut when it holds so many */
    STREAM_FRAME_MAX = 1 << 28,   /* a longer one is refused */
    STREAM_HEADER_MAX = 1 << 20,  /* so is a longer header */
    STREAM_DEPTH_MAX = 8,         /* and deeper nesting */
    STREAM_VALUES_MAX = 1 << 20,  /* and an object of more values: each is 24 bytes of memory */
    STREAM_PARENTS_MAX = 8,
    STREAM_DIGEST_TEXT = DIGEST_TEXT,
};

const char *stream_kind_name(enum stream_kind kind);

/* ---- writing ---- */

struct writer;

/* own: the kind's own fields; options: what changes the records. Both are copied. */
int writer_open(struct writer **w, const char *path, enum stream_kind kind, const char *tool,
                const struct msgpack_map *own, const struct msgpack_map *options,
                struct fail *why) MUST_USE;
/* The same as JSON lines (jsonl.h); for tokens and samples. */
int writer_open_json(struct writer **w, const char *path, enum stream_kind kind, const char *tool,
                     const struct msgpack_map *own, const struct msgpack_map *options,
                     struct fail *why) MUST_USE;
/* Lets another thread write so many bytes to come: see output_write_behind. */
void writer_write_behind(struct writer *w, uint64_t bytes);
/* Appends a record; *record is emptied. */
int writer_add(struct writer *w, struct msgpack_map *record, struct fail *why) MUST_USE;
/* Names what the stream was made from; may be called until the close. */
void writer_parent(struct writer *w, const char *kind, const char *digest);
/* Says how its conversations are worded; may be called until the close. */
void writer_wording(struct writer *w, const struct stream_wording *wording);
/* Writes the end record and completes the file, or removes it and says why. */
int writer_close(struct writer *w, struct fail *why) MUST_USE;
void writer_abandon(struct writer *w);

/* ---- reading ---- */

struct reader;

/* "-" is standard input. Reads and checks the header. */
int reader_open(struct reader **r, const char *path, enum stream_kind kind,
                struct fail *why) MUST_USE;
int reader_open_json(struct reader **r, const char *path, enum stream_kind kind,
                     struct fail *why) MUST_USE;
void reader_close(struct reader *r);

/* The path, for messages; and the header's map. */
const char *reader_name(const struct reader *r);
/* Another name for messages, no longer than the path: what the user called a file that lies
 * elsewhere. */
void reader_call(struct reader *r, const char *name);
const msgpack_object *reader_header(const struct reader *r);

/* The next record, valid until the next call. 1 a record, 0 the end, -1 see why. */
int reader_next(struct reader *r, msgpack_object *record, struct fail *why) MUST_USE;
/* Lets another thread read and decompress what comes next, where that is a regular file.
 * For reading from the beginning to the end. */
int reader_read_ahead(struct reader *r, struct fail *why) MUST_USE;
/* Number of records that were read; what a message about the last one calls it. */
uint64_t reader_position(const struct reader *r);
/* Reports damage in the record just read: "name: record 18: what". Returns -1. */
int reader_fail(const struct reader *r, struct fail *why);
/* Once reader_next has returned 0: the digest of the whole stream, and that of what it was made
 * from, of a kind; NULL if it does not say. */
const char *reader_digest(const struct reader *r);
const char *reader_parent(const struct reader *r, const char *kind);
/* How its conversations are worded; likewise at the end, or after reader_index. */
const struct stream_wording *reader_wording(const struct reader *r);

/* Makes any record reachable by number: by the seek table if it adds up, else by
 * reading all once. Regular files only; to be called before reader_next. */
int reader_index(struct reader *r, struct fail *why) MUST_USE;
uint64_t reader_records(const struct reader *r); /* after reader_index */
int reader_at(struct reader *r, uint64_t number, msgpack_object *record, struct fail *why) MUST_USE;

#endif
