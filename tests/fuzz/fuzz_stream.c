/* Reads streams. The first byte says which kind of stream it is, and whether a file, JSON lines, or
 * the msgpack of one frame follows. The frame is compressed here, because a fuzzer cannot guess
 * checksums. */
#include "lib/stream/tokens.h"
#include "lib/stream/weights_record.h"
#include "tests/fuzz/fuzz.h"

#include <zstd.h>

static const char *compressed(const uint8_t *data, size_t size)
{
    static ZSTD_CCtx *c;
    static char packed[1 << 20];
    if (!c) c = ZSTD_createCCtx();
    must(c);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    size_t n = ZSTD_compress2(c, packed, sizeof packed, data, size);
    return ZSTD_isError(n) ? NULL : fuzz_file(0, packed, n);
}

static int read_tokens(const char *path, enum token_format format, struct fail *why)
{
    struct reader *r;
    struct token_info info;
    struct tokens t = { 0 };
    int got;
    if (tokens_reader(&r, path, format, &info, why)) return -1;
    while ((got = tokens_read(r, &info, &t, why)) > 0)
        for (size_t i = 0; i < t.count; i++)
            must(t.ids[i] < info.vocab_size);
    tokens_release(&t);
    reader_close(r);
    return got;
}

static int read_samples(const char *path, enum token_format format, struct fail *why)
{
    struct reader *r;
    struct sample_info info;
    struct sample s = { 0 };
    int got;
    if (samples_reader(&r, path, format, &info, why)) return -1;
    while ((got = samples_read(r, &info, &s, why)) > 0) {
        size_t sum = 0;
        for (size_t i = 0; i < s.document_count; i++)
            sum += s.documents[i];
        must(s.count <= info.context && sum == s.count);
    }
    sample_release(&s);
    reader_close(r);
    return got;
}

static int read_weights(const char *path, struct fail *why)
{
    struct reader *r;
    struct weights_info info;
    struct weights_record record;
    int got;
    if (weights_reader(&r, path, &info, why)) return -1;
    while ((got = weights_read(r, &record, why)) > 0)
        must(record.first_row >= 0 && record.first_row < record.end_row &&
             record.end_row <= record.rows);
    weights_info_release(&info);
    reader_close(r);
    return got;
}

static int read_any(const char *path, enum stream_kind kind, struct fail *why)
{
    struct reader *r;
    msgpack_object record;
    int got;
    if (reader_open(&r, path, kind, why)) return -1;
    if (!reader_index(r, why)) {
        for (uint64_t i = reader_records(r); i-- > 0;)
            if (reader_at(r, i, &record, why)) break;
        reader_close(r);
        return 0;
    }
    reader_close(r);
    if (reader_open(&r, path, kind, why)) return -1;
    while ((got = reader_next(r, &record, why)) > 0)
        ;
    reader_close(r);
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fail why;
    if (!size) return 0;
    int kind = data[0] & 7, form = data[0] >> 3 & 3;
    bool as_lines = form == 2;
    const char *path =
        form == 1 ? compressed(data + 1, size - 1) : fuzz_file(0, data + 1, size - 1);
    if (!path) return 0;
    enum token_format format = as_lines ? TOKEN_FORMAT_JSONL : TOKEN_FORMAT_STREAM;
    int got = kind == STREAM_TOKENS    ? read_tokens(path, format, &why)
              : kind == STREAM_SAMPLES ? read_samples(path, format, &why)
              : kind == STREAM_WEIGHTS ? read_weights(path, &why)
                                       : read_any(path, (enum stream_kind)(kind % 5), &why);
    if (got < 0) fuzz_check_failure(&why);
    return 0;
}
