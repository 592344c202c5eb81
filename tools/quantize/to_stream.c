/* Writes the records of a weights stream, tensor by tensor, in pieces of rows. */
#include "lib/common/mapped.h"
#include "lib/common/output.h"
#include "lib/llama/base_digest.h"
#include "tools/quantize/sinks.h"

#include "lib/common/nf4.h"

static struct weights_record rows_of(const struct tensor *t, const char *dtype, int64_t first,
                                     int64_t each)
{
    struct weights_record r = { .rows = t->rows, .cols = t->cols, .first_row = first };
    r.end_row = first + each < t->rows ? first + each : t->rows;
    snprintf(r.name, sizeof r.name, "%s", t->name);
    snprintf(r.dtype, sizeof r.dtype, "%s", dtype);
    return r;
}

static int write_plain(struct writer *out, const struct weights *w, int64_t i, struct fail *why)
{
    const struct tensor *t = &w->table[i];
    enum dtype type = w->at[i].type;
    size_t bytes = dtype_bits(type) / 8;
    int64_t each = weights_rows_each(t->rows, t->cols, bytes * 8);
    float *buffer = w->at[i].data ? NULL : malloc((size_t)(each * t->cols) * sizeof *buffer);
    int status = w->at[i].data || buffer ? 0 : fail(why, "out of memory");
    for (int64_t first = 0; first < t->rows && !status; first += each) {
        struct weights_record r = rows_of(t, dtype_stream_name(type), first, each);
        r.data = weights_rows(w, i, first, r.end_row - first, buffer);
        r.data_bytes = (size_t)((r.end_row - first) * t->cols) * bytes;
        status = weights_write(out, &r, why);
    }
    free(buffer);
    return status;
}

static int write_nf4(const struct quantizer *q, struct writer *out, const struct tensor *t,
                     struct fail *why)
{
    int64_t each = weights_rows_each(t->rows, t->cols, 4);
    for (int64_t first = 0; first < t->rows; first += each) {
        struct weights_record r = rows_of(t, "nf4", first, each);
        int64_t at = first * t->cols, n = (r.end_row - first) * t->cols;
        r.data = q->codes + at / 2;
        r.data_bytes = (size_t)nf4_code_bytes(n);
        r.absmax = q->absmax + at / NF4_BLOCK;
        r.absmax_bytes = (size_t)nf4_block_count(n);
        r.absmax_scale = q->absmax_scale + at / NF4_NESTED;
        r.absmax_scale_bytes = (size_t)nf4_nested_block_count(n) * sizeof(float);
        r.offset = q->offset;
        if (weights_write(out, &r, why)) return -1;
    }
    return 0;
}

static int write_tensor(struct quantizer *q, struct writer *out, int64_t i, struct fail *why)
{
    const struct tensor *t = &q->weights->table[i];
    if (t->role != ROLE_LINEAR)
        return quantizer_check(q, i, why) || write_plain(out, q->weights, i, why) ? -1 : 0;
    if (quantizer_linear(q, i, why)) return -1;
    return write_nf4(q, out, t, why);
}

/* Returns the size of the stream before compression, plus a megabyte for headers. Compression would
 * save only little. */
static uint64_t stream_bytes(const struct weights *w)
{
    uint64_t sum = 1 << 20;
    for (int64_t i = 0; i < w->count; i++) {
        uint64_t n = (uint64_t)(w->table[i].rows * w->table[i].cols);
        sum += w->table[i].role == ROLE_LINEAR ? n / 2 + n / 64 + n / 4096
                                               : n * dtype_bits(w->at[i].type) / 8;
    }
    return sum;
}

int quantize_to_stream(struct quantizer *q, const char *path, struct fail *why)
{
    const struct weights *w = q->weights;
    if (strcmp(path, "-") != 0 && output_check_space_for(path, stream_bytes(w), why)) return -1;
    struct writer *out;
    struct msgpack_map none;
    struct weights_info info = { .quantization = "nf4" };
    info.config = json_dumps(w->config.json, JSON_COMPACT);
    memcpy(info.tokenizer, w->tokenizer, sizeof info.tokenizer);
    msgpack_map_init(&none);
    int status = weights_writer(&out, path, "quantize", &info, &none, why);
    weights_info_release(&info);
    if (status) return -1;
    writer_write_behind(out, stream_bytes(w));
    struct base_reading *reading = NULL;
    char base[STREAM_DIGEST_TEXT];
    status = base_reading_begin(&reading, w, why);
    for (int64_t i = 0; i < w->count && !status; i++) {
        base_reading_reach(reading, i);
        status = write_tensor(q, out, i, why);
    }
    base_reading_end(reading, status ? NULL : base);
    if (!status) status = mapped_check(why);
    if (!status) {
        writer_parent(out, WEIGHTS_BASE, base);
        return writer_close(out, why);
    }
    writer_abandon(out);
    return -1;
}
