/* Reads the lengths of a shard, or its drawn lines. The first byte says which of the two, and
 * whether a file or the msgpack of one frame follows. The frame is compressed here, because a
 * fuzzer cannot guess checksums. It cannot guess the digest in the end record either, so most
 * inputs are refused there. What was read before must be as lengths.h and drawn_lines.h promise. */
#include "lib/stream/drawn_lines.h"
#include "lib/stream/lengths.h"
#include "tests/fuzz/fuzz.h"

#include <zstd.h>

static const char *compressed(const uint8_t *data, size_t size)
{
    static char packed[1 << 20];
    static ZSTD_CCtx *c;
    if (!c) c = ZSTD_createCCtx();
    must(c);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    size_t n = ZSTD_compress2(c, packed, sizeof packed, data, size);
    return ZSTD_isError(n) ? NULL : fuzz_file(0, packed, n);
}

static int read_lengths(const char *path, struct fail *why)
{
    struct lengths_reader *r;
    struct length l;
    uint64_t number = 0, file = 0, line = 0;
    int got;
    if (lengths_open(&r, path, why)) return -1;
    const struct lengths_info *info = lengths_info(r);
    while ((got = lengths_next(r, &l, why)) > 0) {
        if (l.file_number != file) line = 0;
        must(l.number > number && l.file_number >= file && l.line > line);
        must(l.tokens >= info->min_tokens && (!info->max_tokens || l.tokens <= info->max_tokens));
        must(strlen(l.source) < SOURCE_MAX && strlen(l.file) < TOKENS_ID_MAX);
        number = l.number;
        file = l.file_number;
        line = l.line;
    }
    if (!got) must(lengths_documents(r) >= number && lengths_text_digest(r));
    lengths_close(r);
    return got;
}

static int read_lines(const char *path, struct fail *why)
{
    struct drawn_lines d;
    int status = drawn_lines_read(&d, path, why);
    for (size_t f = 0; f < d.file_count; f++) {
        size_t end = f + 1 < d.file_count ? d.files[f + 1].first : d.line_count;
        must(d.files[f].first <= end && end <= d.line_count);
        for (size_t i = d.files[f].first; i < end; i++)
            must(d.lines[i].line > (i > d.files[f].first ? d.lines[i - 1].line : 0));
    }
    if (!status) must(d.shard && d.shard <= d.shards);
    drawn_lines_release(&d);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fail why;
    if (!size) return 0;
    const char *path =
        data[0] & 2 ? compressed(data + 1, size - 1) : fuzz_file(0, data + 1, size - 1);
    if (!path) return 0;
    if ((data[0] & 1 ? read_lines(path, &why) : read_lengths(path, &why)) < 0)
        fuzz_check_failure(&why);
    return 0;
}
