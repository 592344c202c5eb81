#include "lib/stream/frames.h"

#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "lib/stream/jsonl.h"
#include "lib/stream/readahead.h"
#include "lib/stream/seek_table.h"
#include "lib/stream/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd_errors.h>

enum { INPUT_BYTES = 1 << 18, FRAME_HEAD_MAX = 18 };
/* The largest ratio of content to compressed bytes, because a zstd block takes at least four bytes
 * and has at most 128 KiB of content. */
enum { ZSTD_RATIO_MAX = (128 << 10) / 4 };

static uint64_t get_le(const void *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;)
        value = value << 8 | ((const unsigned char *)at)[i];
    return value;
}

int frames_open(struct frames *f, const char *path, const char *name, struct fail *why)
{
    *f = (struct frames){ .fd = -1, .name = name };
    f->fd = file_open_stream(path, why);
    if (f->fd < 0) return -1;
    f->size_of_file = file_size(f->fd);
    f->zstd = ZSTD_createDCtx();
    f->input = malloc(INPUT_BYTES);
    if (!f->zstd || !f->input) return fail(why, "%s: out of memory", name);
    ZSTD_DCtx_setParameter(f->zstd, ZSTD_d_windowLogMax, 28);
    return 0;
}

int frames_open_json(struct frames *f, const char *path, const char *name, struct fail *why)
{
    *f = (struct frames){ .fd = -1, .name = name };
    msgpack_sbuffer_init(&f->object);
    if (input_open(&f->lines, path, why)) return -1;
    input_allow_lines(f->lines, INPUT_LINE_OF_NUMBERS);
    return 0;
}

void frames_close(struct frames *f)
{
    frames_ahead_close(f);
    if (f->fd >= 0) close(f->fd);
    ZSTD_freeDCtx(f->zstd);
    free(f->input);
    if (f->lines)
        msgpack_sbuffer_destroy(&f->object);
    else
        free(f->content);
    input_close(f->lines);
    *f = (struct frames){ .fd = -1 };
}

/* Makes at least `wanted` compressed bytes available, or all that are left if they are fewer. */
static int refill(struct frames *f, size_t wanted, struct fail *why)
{
    size_t have = f->input_size - f->input_at;
    if (have >= wanted) return 0;
    memmove(f->input, f->input + f->input_at, have);
    f->input_at = 0;
    f->input_size = have;
    while (f->input_size < wanted) {
        char *to = f->input + f->input_size;
        int64_t n = file_read_piece(f->fd, to, INPUT_BYTES - f->input_size, why);
        if (n < 0) return fail_in(why, f->name);
        if (n == 0 && file_check_end(f->fd, f->size_of_file, f->name, why)) return -1;
        if (n == 0) break;
        f->input_size += (size_t)n;
    }
    return 0;
}

static void consume(struct frames *f, size_t bytes)
{
    f->input_at += bytes;
    f->consumed += bytes;
}

static int fail_at_byte(struct frames *f, struct fail *why, const char *what)
{
    return fail_input(why, "%s: byte %llu: %s", f->name, (unsigned long long)f->consumed, what);
}

static int skip_frame(struct frames *f, struct fail *why)
{
    uint64_t left = SKIPPABLE_HEAD + get_le(f->input + f->input_at + 4, 4);
    while (left) {
        if (refill(f, 1, why)) return -1;
        size_t have = f->input_size - f->input_at;
        if (!have) return fail_at_byte(f, why, "stream ends inside its seek table");
        size_t n = left < have ? (size_t)left : have;
        consume(f, n);
        left -= n;
    }
    return 0;
}

static int reserve_bytes(struct frames *f, size_t bytes, struct fail *why)
{
    if (!buffer_fit(&f->content, &f->content_capacity, bytes, why)) return 0;
    return fail(why, "%s: out of memory: a frame of %zu bytes", f->name, bytes);
}

/* Reads the size that the frame's header declares. Frames of other writers may declare no size; for
 * these *bytes becomes the size of a first buffer. */
static int declared_size(struct frames *f, size_t *bytes, struct fail *why)
{
    const unsigned char *head = (const unsigned char *)f->input + f->input_at;
    unsigned long long size = ZSTD_getFrameContentSize(head, f->input_size - f->input_at);
    if (size == ZSTD_CONTENTSIZE_ERROR) return fail_at_byte(f, why, "not a zstd frame");
    if (!(head[4] & 1 << 2)) return fail_at_byte(f, why, "the zstd frame has no checksum");
    if (size == ZSTD_CONTENTSIZE_UNKNOWN) size = STREAM_FRAME_BYTES;
    if (size > STREAM_FRAME_MAX)
        return fail_input(why,
                          "%s: byte %llu: the frame has %llu bytes, but at most %d are possible",
                          f->name, (unsigned long long)f->consumed, size, STREAM_FRAME_MAX);
    *bytes = (size_t)size;
    return 0;
}

/* Decompresses a frame into f->content, which has `size` bytes at first and grows if the frame
 * declares no size. */
static int decompress(struct frames *f, size_t size, struct fail *why)
{
    ZSTD_DCtx_reset(f->zstd, ZSTD_reset_session_only);
    ZSTD_outBuffer out = { f->content, size, 0 };
    for (;;) {
        if (refill(f, 1, why)) return -1;
        ZSTD_inBuffer in = { f->input + f->input_at, f->input_size - f->input_at, 0 };
        bool has_ended = in.size == 0;
        size_t before = out.pos, left = ZSTD_decompressStream(f->zstd, &out, &in);
        if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
            return fail(why, "%s: out of memory: its zstd window", f->name);
        if (ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge)
            return fail_at_byte(f, why, "the zstd window is larger than 256 MiB");
        if (ZSTD_isError(left)) return fail_at_byte(f, why, ZSTD_getErrorName(left));
        consume(f, in.pos);
        f->content_size = out.pos;
        if (left == 0) return 0;
        if (has_ended && out.pos == before && out.pos < out.size)
            return fail_at_byte(
                f, why, "stream ends inside a frame, without its end record (did the writer die?)");
        if (out.pos < out.size) continue;
        if (out.size >= STREAM_FRAME_MAX)
            return fail_at_byte(f, why, "the frame is longer than 256 MiB");
        /* The buffer is full. Only a frame of undeclared size has more content; a frame of declared
         * size needs one extra byte of space to end. */
        size_t more = out.size < STREAM_FRAME_BYTES ? out.size + 1 : 2 * out.size;
        if (reserve_bytes(f, more, why)) return -1;
        out.dst = f->content;
        out.size = more;
    }
}

static int load(struct frames *f, struct fail *why)
{
    size_t size = 0;
    f->offset = f->consumed;
    if (declared_size(f, &size, why) || reserve_bytes(f, size ? size : 1, why)) return -1;
    return decompress(f, size ? size : 1, why);
}

static int next_line(struct frames *f, struct fail *why)
{
    char *line;
    size_t bytes, indent;
    uint64_t before = input_line_number(f->lines);
    /* A stream has no blank lines. If there are any, they are skipped, which needs little memory,
     * and then refused. */
    int got = input_skip_blank(f->lines, &indent, why);
    f->content_size = 0;
    if (got >= 0 && input_line_number(f->lines) > before)
        return fail_input(why, "%.240s:%llu: not a JSON object", f->name,
                          (unsigned long long)before + 1);
    if (got > 0) got = input_line(f->lines, &line, &bytes, why);
    if (got <= 0) return got;
    f->object.size = 0;
    if (stream_json_parse(&f->object, line, bytes, &f->token_width, why)) {
        char place[300];
        snprintf(place, sizeof place, "%.240s:%llu", f->name,
                 (unsigned long long)input_line_number(f->lines));
        return fail_in(why, place);
    }
    f->content = f->object.data;
    f->content_size = f->object.size;
    return 1;
}

/* Writes into what[size] a description of bytes that are no stream: JSON lines of a stream, other
 * JSON lines, or a file of another kind. other: what else they are. */
static void name_content(const struct frames *f, const char *text, size_t bytes, const char *other,
                         char *what, size_t size)
{
    static const char mark[] = "\"longqlora\"";
    enum file_kind kind =
        f->consumed && text == f->input + f->input_at ? FILE_KIND_OTHER : file_kind_of(text, bytes);
    if (kind != FILE_KIND_OTHER) {
        bool is_pointer = kind == FILE_KIND_LFS_POINTER;
        snprintf(what, size, "%s%s%s: not %s", file_kind_words(kind), is_pointer ? ": " : "",
                 is_pointer ? file_kind_way_to_text(kind) : "", f->wanted);
        return;
    }
    bool is_json = *text == '{';
    bool is_ours = is_json && memmem(text, bytes < 40 ? bytes : 40, mark, sizeof mark - 1);
    snprintf(what, size, "%s not %s%s", is_json ? "JSON lines," : other, f->wanted,
             is_ours ? f->from_json : "");
}

int frames_load_next(struct frames *f, struct fail *why)
{
    for (;;) {
        f->content_size = 0;
        if (refill(f, FRAME_HEAD_MAX, why)) return -1;
        size_t have = f->input_size - f->input_at;
        if (!have) return 0;
        if (have < SKIPPABLE_HEAD)
            return fail_at_byte(f, why,
                                "stream ends inside a frame, without its end record (did the "
                                "writer die?)");
        uint32_t magic = (uint32_t)get_le(f->input + f->input_at, 4);
        if ((magic & 0xfffffff0u) == ZSTD_MAGIC_SKIPPABLE_START) {
            if (skip_frame(f, why)) return -1;
            continue;
        }
        if (magic != ZSTD_MAGICNUMBER) {
            char what[160];
            name_content(f, f->input + f->input_at, have, "not a zstd frame:", what, sizeof what);
            return fail_at_byte(f, why, what);
        }
        return load(f, why) ? -1 : 1;
    }
}

int frames_check_first(const struct frames *f, struct fail *why)
{
    unsigned char first = (unsigned char)*f->content;
    bool is_map = (first & 0xf0) == 0x80 || first == 0xde || first == 0xdf;
    char what[400];
    if (f->lines || is_map) return 0;
    name_content(f, f->content, f->content_size, "something else:", what, sizeof what);
    bool is_twice = file_kind_of(f->content, f->content_size) == FILE_KIND_ZSTD;
    return fail_input(why, "%s: a zstd file of %s%s", f->name, what,
                      is_twice ? " (compressed again? zstd -dc gives what was compressed)" : "");
}

int frames_next(struct frames *f, struct fail *why)
{
    if (f->lines) return next_line(f, why);
    return f->ahead ? frames_ahead_next(f, why) : frames_load_next(f, why);
}

bool frames_seekable(const struct frames *f)
{
    struct stat st;
    return !f->lines && !fstat(f->fd, &st) && S_ISREG(st.st_mode);
}

static int seek(struct frames *f, uint64_t offset, struct fail *why)
{
    if (lseek(f->fd, (off_t)offset, SEEK_SET) < 0)
        return fail(why, "%s: cannot seek: %s", f->name, strerror(errno));
    f->input_at = f->input_size = 0;
    f->consumed = offset;
    return 0;
}

int frames_rewind(struct frames *f, struct fail *why)
{
    f->content_size = 0;
    return seek(f, 0, why);
}

int frames_at(struct frames *f, uint64_t offset, struct fail *why)
{
    if (seek(f, offset, why)) return -1;
    int got = frames_next(f, why);
    if (got < 0) return -1;
    if (!got || f->offset != offset)
        return fail_at_byte(f, why, "there is no frame where the seek table has one");
    return 0;
}

int frames_table(struct frames *f, uint64_t **offsets, size_t *count, uint64_t *content,
                 struct fail *why)
{
    struct stat st;
    unsigned char foot[SEEK_FOOT], head[SKIPPABLE_HEAD];
    if (fstat(f->fd, &st) || st.st_size < SKIPPABLE_HEAD + SEEK_FOOT) return 0;
    uint64_t size = (uint64_t)st.st_size;
    if (pread(f->fd, foot, SEEK_FOOT, (off_t)(size - SEEK_FOOT)) != SEEK_FOOT) return 0;
    uint64_t n = get_le(foot, 4), table = SKIPPABLE_HEAD + SEEK_ENTRY * n + SEEK_FOOT;
    if (get_le(foot + 5, 4) != SEEK_FOOTER_MAGIC || foot[4] != 0 || table > size || !n) return 0;
    if (pread(f->fd, head, sizeof head, (off_t)(size - table)) != (ssize_t)sizeof head) return 0;
    if (get_le(head, 4) != SEEK_SKIPPABLE_MAGIC || get_le(head + 4, 4) != table - SKIPPABLE_HEAD)
        return 0;
    unsigned char *entries = malloc(n * SEEK_ENTRY);
    *offsets = malloc(n * sizeof **offsets);
    if (!entries || !*offsets) {
        free(entries);
        free(*offsets);
        return fail(why, "%s: out of memory", f->name);
    }
    uint64_t offset = 0;
    ssize_t bytes = (ssize_t)(n * SEEK_ENTRY);
    bool ok = pread(f->fd, entries, (size_t)bytes, (off_t)(size - table + SKIPPABLE_HEAD)) == bytes;
    *content = 0;
    for (uint64_t i = 0; ok && i < n; i++) {
        uint64_t packed = get_le(entries + SEEK_ENTRY * i, 4);
        uint64_t inside = get_le(entries + SEEK_ENTRY * i + 4, 4);
        (*offsets)[i] = offset;
        offset += packed;
        *content += inside;
        ok = inside <= STREAM_FRAME_MAX && inside <= packed * ZSTD_RATIO_MAX;
    }
    free(entries);
    if (ok && offset == size - table) {
        *count = n;
        return 1;
    }
    free(*offsets);
    return 0;
}
