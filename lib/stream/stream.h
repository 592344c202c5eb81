/* stream.h - reads and writes the container in which all programs exchange data.
 *
 * A stream is a sequence of msgpack objects in zstd frames: a header map, record maps, and an end
 * record with the number of records and a digest. docs/formats/stream.md defines every byte. A
 * stream without its end record is damaged. Streams of one kind may be concatenated if the fields
 * of their headers agree.
 *
 *     struct writer *w;
 *     if (writer_open(&w, path, STREAM_SCORES, "ppl", &own, &options, why)) return -1;
 *     ... fill a msgpack_map and call writer_add(w, &map, why); if it fails, writer_abandon(w) ...
 *     if (writer_close(w, why)) return -1;
 *
 *     struct reader *r;
 *     msgpack_object record;
 *     if (reader_open(&r, path, STREAM_SCORES, why)) return -1;
 *     while ((got = reader_next(r, &record, why)) > 0)
 *         if (use(&record, why)) { got = reader_fail(r, why); break; }
 *     reader_close(r);      got is 0 at the end and -1 on failure
 *
 * If a stream is damaged, the reader's error has status 3 and names the record or the byte.
 */
#ifndef LONGQLORA_STREAM_STREAM_H
#define LONGQLORA_STREAM_STREAM_H

#include "lib/common/digest.h"
#include "lib/stream/drawn_part.h"
#include "lib/stream/msgpack_map.h"
#include "lib/stream/template_record.h"

enum stream_kind {
    STREAM_TOKENS,
    STREAM_SAMPLES,
    STREAM_WEIGHTS,
    STREAM_SCORES,
    STREAM_STATE,
    STREAM_LENGTHS,
    STREAM_LINES
};

enum {
    STREAM_VERSION = 1,
    /* The writer starts a new frame when the current one has this many bytes. */
    STREAM_FRAME_BYTES = 1 << 20,
    STREAM_FRAME_MAX = 1 << 28,  /* the reader refuses a longer frame */
    STREAM_HEADER_MAX = 1 << 20, /* the longest header */
    STREAM_DEPTH_MAX = 8,        /* the deepest nesting of an object */
    /* The largest number of values in an object; each takes 24 bytes of memory. */
    STREAM_VALUES_MAX = 1 << 20,
    STREAM_PARENTS_MAX = 8,
    STREAM_DIGEST_TEXT = DIGEST_TEXT,
};

/* "tokens", "samples" and so on, as in the header. */
const char *stream_kind_name(enum stream_kind kind);

/* ---- writing ---- */

struct writer;

/* Begins a stream. The path "-" is standard output. `own` has the header fields that belong to the
 * kind, and `options` the program's options that influence the records. Both may be empty, and are
 * copied. */
int writer_open(struct writer **w, const char *path, enum stream_kind kind, const char *tool,
                const struct msgpack_map *own, const struct msgpack_map *options,
                struct fail *why) MUST_USE;
/* Begins a stream in the form of JSON lines (jsonl.h). Only for tokens and samples. */
int writer_open_json(struct writer **w, const char *path, enum stream_kind kind, const char *tool,
                     const struct msgpack_map *own, const struct msgpack_map *options,
                     struct fail *why) MUST_USE;
/* Lets another thread write the next `bytes` bytes; see output_write_behind. */
void writer_write_behind(struct writer *w, uint64_t bytes);
/* Appends a record and releases it, also on failure. */
int writer_add(struct writer *w, struct msgpack_map *record, struct fail *why) MUST_USE;
/* Adds a file that the stream was made from, to be listed in the end record. May be called until
 * writer_close. */
void writer_parent(struct writer *w, const char *kind, const char *digest);
/* Sets the template with which the conversations in this stream were formatted. May be called until
 * writer_close. */
void writer_template(struct writer *w, const struct template_record *template);
/* Writes the end record and completes the file. On failure, removes the file and fills *why.
 * Releases w in both cases. */
int writer_close(struct writer *w, struct fail *why) MUST_USE;
/* Removes the file and releases w. */
void writer_abandon(struct writer *w);

/* ---- reading ---- */

struct reader;

/* Opens a stream and checks its header. "-" is standard input. The caller closes *r. */
int reader_open(struct reader **r, const char *path, enum stream_kind kind,
                struct fail *why) MUST_USE;
int reader_open_json(struct reader **r, const char *path, enum stream_kind kind,
                     struct fail *why) MUST_USE;
void reader_close(struct reader *r);

/* The name of the stream in messages, which is its path. It belongs to r. */
const char *reader_name(const struct reader *r);
/* Sets another name for messages, no longer than the path, if the user knows the file by that
 * name. Not after reader_read_ahead, whose thread reads the name. */
void reader_call(struct reader *r, const char *name);
/* The header's map. It belongs to r. */
const msgpack_object *reader_header(const struct reader *r);

/* Reads the next record. It is valid until the next call. Returns 1, 0 at the end, or -1. */
int reader_next(struct reader *r, msgpack_object *record, struct fail *why) MUST_USE;
/* Starts a thread that reads and decompresses in advance, if the stream is a regular file. Use it
 * to read from the beginning to the end: reader_stop and reader_index may not follow. */
int reader_read_ahead(struct reader *r, struct fail *why) MUST_USE;
/* Ends the reading before the stream's end. After that, reader_digest returns the digest that the
 * end record names, if the stream is a regular file with a seek table. Otherwise it returns the
 * digest of the records that were read. */
void reader_stop(struct reader *r);
/* How many records were read. Messages use it as the number of the last record. */
uint64_t reader_position(const struct reader *r);
/* Reports an error in the last record: puts "name: record 18: " before *why and sets status 3.
 * Returns -1. */
int reader_fail(const struct reader *r, struct fail *why);
/* reader_digest returns the digest of the whole stream, or that of all concatenated streams in
 * their order (digest_join); call it after reader_next has returned 0, after reader_index, or after
 * reader_stop. reader_parent returns the digest of the last stream's parent of that kind (NULL if
 * it names none); call it after reader_next has returned 0. Both texts belong to r. */
const char *reader_digest(const struct reader *r);
const char *reader_parent(const struct reader *r, const char *kind);
/* The template of the conversations. It is known after reader_next has returned 0, or after
 * reader_index. */
const struct template_record *reader_template(const struct reader *r);
/* How many concatenated streams have begun so far, and which shards of a draw they are. */
const struct drawn_part *reader_drawn_part(const struct reader *r);

/* Prepares access to records by number. Uses the seek table if it is valid, otherwise reads the
 * whole stream once. Only for regular files; call it before reader_next. */
int reader_index(struct reader *r, struct fail *why) MUST_USE;
uint64_t reader_records(const struct reader *r); /* the number of records; after reader_index */
/* Reads record `number`, from 0; after reader_index. It is valid until the next call. */
int reader_at(struct reader *r, uint64_t number, msgpack_object *record, struct fail *why) MUST_USE;

#endif
