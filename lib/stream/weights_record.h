/* weights_record.h - streams of kind "weights": a model's tensors, row range by row
 * range, quantized or not. docs/formats/weights.md has the bytes.
 */
#ifndef LONGQLORA_STREAM_WEIGHTS_RECORD_H
#define LONGQLORA_STREAM_WEIGHTS_RECORD_H

#include "lib/stream/stream.h"

enum {
    WEIGHTS_RECORD_BYTES = 2 << 20, /* as they are written: what is copied stays in the cache */
    WEIGHTS_CONFIG_MAX = 1 << 20,
    WEIGHTS_NAME_MAX = 255, /* bytes of a tensor's name, as in safetensors */
};

struct weights_info {
    char *config; /* config.json's text; given by the reader, freed by weights_info_release */
    char quantization[16];              /* "nf4" or "none" */
    char base[STREAM_DIGEST_TEXT];      /* of the source tensors; empty: a parent has it */
    char tokenizer[STREAM_DIGEST_TEXT]; /* of its file; empty if unknown */
};

/* Rows [first_row, end_row) of a tensor [rows, cols]. NF4: data holds the codes, absmax
 * and nested those of the range, which begins at a multiple of 16384 elements. */
struct weights_record {
    char name[WEIGHTS_NAME_MAX + 1];
    char dtype[8]; /* f32 f16 bf16 nf4 */
    int64_t rows, cols, first_row, end_row;
    const void *data, *absmax, *absmax_scale; /* borrowed from the reader */
    size_t data_bytes, absmax_bytes, absmax_scale_bytes;
    float offset;
};

/* The kind of the parent that a stream has the source tensors' digest from. */
#define WEIGHTS_BASE "base"

void weights_info_release(struct weights_info *info);
int weights_writer(struct writer **w, const char *path, const char *tool,
                   const struct weights_info *info, const struct msgpack_map *options,
                   struct fail *why) MUST_USE;
int weights_write(struct writer *w, const struct weights_record *r, struct fail *why) MUST_USE;
int weights_reader(struct reader **r, const char *path, struct weights_info *info,
                   struct fail *why) MUST_USE;
/* 1, 0, -1. Sizes are checked against the shape. */
int weights_read(struct reader *r, struct weights_record *record, struct fail *why) MUST_USE;

/* The fewest rows of so many columns whose end begins a nested scale of NF4. */
int64_t weights_rows_unit(int64_t cols);
/* Rows of a tensor with so many columns that one record holds. */
int64_t weights_rows_each(int64_t rows, int64_t cols, size_t bits_each);

#endif
