/* weights_record.h - streams of kind "weights": the tensors of a model, in ranges of rows,
 * quantized or not. docs/formats/weights.md defines the bytes.
 *
 * To write: fill struct weights_info and call weights_writer, weights_write for each record, and
 * writer_close. To read: weights_reader, weights_read until it returns 0, reader_close.
 */
#ifndef LONGQLORA_STREAM_WEIGHTS_RECORD_H
#define LONGQLORA_STREAM_WEIGHTS_RECORD_H

#include "lib/stream/stream.h"

enum {
    /* Bytes of data in a record. They are so few that copied data stay in the CPU's cache. */
    WEIGHTS_RECORD_BYTES = 2 << 20,
    WEIGHTS_CONFIG_MAX = 1 << 20,
    WEIGHTS_NAME_MAX = 255, /* bytes of a tensor's name */
};

struct weights_info {
    /* The text of config.json; allocated by the reader, freed by weights_info_release. */
    char *config;
    char quantization[16]; /* "nf4" or "none" */
    /* Digest of the source tensors; "" if a parent of kind WEIGHTS_BASE has it. */
    char base[STREAM_DIGEST_TEXT];
    char tokenizer[STREAM_DIGEST_TEXT]; /* digest of the tokenizer's file; "" if unknown */
};

/* Rows [first_row, end_row) of a tensor [rows, cols]. For NF4, `data` has the 4-bit codes, and
 * `absmax` the 8-bit codes of the blocks' absmax. `absmax_scale` has the f32 scales for the codes
 * in `absmax`. All are for this range of rows only. The range begins at a multiple of 16384
 * elements. */
struct weights_record {
    char name[WEIGHTS_NAME_MAX + 1];
    char dtype[8]; /* "f32", "f16", "bf16" or "nf4" */
    int64_t rows, cols, first_row, end_row;
    /* A record to be written borrows these from the caller. A record that was read borrows them
     * from the reader until the next call. */
    const void *data, *absmax, *absmax_scale;
    size_t data_bytes, absmax_bytes, absmax_scale_bytes;
    float offset;
};

/* The parent of this kind has the digest of the source tensors. */
#define WEIGHTS_BASE "base"

void weights_info_release(struct weights_info *info);
/* Begins a stream of weights. options: see writer_open. */
int weights_writer(struct writer **w, const char *path, const char *tool,
                   const struct weights_info *info, const struct msgpack_map *options,
                   struct fail *why) MUST_USE;
/* Appends a record. Its data are copied. */
int weights_write(struct writer *w, const struct weights_record *r, struct fail *why) MUST_USE;
/* Opens a stream of weights and fills *info from its header. */
int weights_reader(struct reader **r, const char *path, struct weights_info *info,
                   struct fail *why) MUST_USE;
/* Reads the next record and checks that its sizes match its shape. Returns 1, 0 at the end, or
 * -1. */
int weights_read(struct reader *r, struct weights_record *record, struct fail *why) MUST_USE;

/* The smallest number of rows whose elements are a multiple of 16384, so that the last nested block
 * of NF4 ends with the last row. */
int64_t weights_rows_unit(int64_t cols);
/* How many rows of a tensor [rows, cols] one record holds, at bits_each bits per element. */
int64_t weights_rows_each(int64_t rows, int64_t cols, size_t bits_each);

#endif
