#include "input.h"

#include "file.h"

#include <errno.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { PIECE = 1 << 18 };

struct input {
    int fd;
    char *name;
    ZSTD_DCtx *zstd; /* NULL: plain */
    char *raw;       /* bytes of the file, [raw_at, raw_size) unused */
    size_t raw_at, raw_size;
    bool at_end, in_frame;
    char *text; /* [at, size) not yet handed out */
    size_t at, size, room;
    uint64_t lines, consumed;
    uint64_t size_of_file; /* when it was opened; 0: no regular file */
};

static int read_raw(struct input *in, struct fail *why)
{
    in->raw_at = in->raw_size = 0;
    for (;;) {
        ssize_t n = read(in->fd, in->raw, PIECE);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(why, "%s: cannot read: %s", in->name, strerror(errno));
        if (n == 0 && file_check_end(in->fd, in->size_of_file, in->name, why)) return -1;
        in->raw_size = (size_t)n;
        in->consumed += (size_t)n;
        return n > 0;
    }
}

/* A frame, or one that is to be skipped, as pzstd puts one before each. */
static bool begins_zstd(const unsigned char *at)
{
    return !memcmp(at, "\x28\xb5\x2f\xfd", 4) ||
           ((at[0] & 0xf0) == 0x50 && !memcmp(at + 1, "\x2a\x4d\x18", 3));
}

int input_open(struct input **out, const char *path, struct fail *why)
{
    *out = NULL;
    struct input *in = calloc(1, sizeof *in);
    if (!in) return fail(why, "%s: out of memory", path);
    in->fd = file_open_stream(path, why);
    in->name = strdup(strcmp(path, "-") ? path : "standard input");
    in->raw = malloc(PIECE);
    if (in->fd >= 0 && (!in->name || !in->raw))
        fail(why, "%s: out of memory", path);
    else if (in->fd >= 0) {
        in->size_of_file = file_size(in->fd);
        /* Four bytes tell; a pipe may give them one by one. */
        int got = 1;
        while (got > 0 && in->raw_size < 4) {
            ssize_t n = read(in->fd, in->raw + in->raw_size, PIECE - in->raw_size);
            if (n < 0 && errno == EINTR) continue;
            got = n > 0;
            if (n < 0) {
                fail(why, "%s: cannot read: %s", in->name, strerror(errno));
                input_close(in);
                return -1;
            }
            in->raw_size += (size_t)n;
        }
        in->consumed = in->raw_size;
        bool is_zstd = in->raw_size >= 4 && begins_zstd((const unsigned char *)in->raw);
        if (is_zstd) in->zstd = ZSTD_createDCtx();
        if (!is_zstd || in->zstd) {
            if (is_zstd)
                ZSTD_DCtx_setParameter(in->zstd, ZSTD_d_windowLogMax, INPUT_WINDOW_LOG_MAX);
            *out = in;
            return 0;
        }
        fail(why, "%s: out of memory", path);
    }
    input_close(in);
    return -1;
}

void input_close(struct input *in)
{
    if (!in) return;
    if (in->fd >= 0) close(in->fd);
    ZSTD_freeDCtx(in->zstd);
    free(in->name);
    free(in->raw);
    free(in->text);
    free(in);
}

const char *input_name(const struct input *in) { return in->name; }
uint64_t input_line_number(const struct input *in) { return in->lines; }
uint64_t input_bytes_read(const struct input *in) { return in->consumed; }

static int grow(struct input *in, struct fail *why)
{
    if (in->at) {
        memmove(in->text, in->text + in->at, in->size - in->at);
        in->size -= in->at;
        in->at = 0;
    }
    if (in->room - in->size >= PIECE) return 0;
    if (in->size > INPUT_LINE_MAX)
        return fail_input(why, "%s: line %llu is longer than 1 GiB", in->name,
                          (unsigned long long)in->lines + 1);
    size_t more = in->room < 2 * PIECE ? 4 * PIECE : 2 * in->room;
    char *grown = realloc(in->text, more + 1);
    if (!grown) return fail(why, "%s: out of memory: a line of %zu bytes", in->name, more);
    in->text = grown;
    in->room = more;
    return 0;
}

/* Adds text; 1, 0 at the end of the input, -1. */
static int more_text(struct input *in, struct fail *why)
{
    if (in->at_end) return 0;
    if (grow(in, why)) return -1;
    if (in->raw_at == in->raw_size) {
        int got = read_raw(in, why);
        if (got < 0) return -1;
        if (!got && in->in_frame) return fail_input(why, "%s: zstd frame is truncated", in->name);
        if (!got) {
            in->at_end = true;
            return 0;
        }
    }
    if (!in->zstd) {
        size_t n = in->raw_size - in->raw_at;
        if (n > in->room - in->size) n = in->room - in->size;
        memcpy(in->text + in->size, in->raw + in->raw_at, n);
        in->raw_at += n;
        in->size += n;
        return 1;
    }
    ZSTD_inBuffer from = { in->raw, in->raw_size, in->raw_at };
    ZSTD_outBuffer to = { in->text, in->room, in->size };
    size_t left = ZSTD_decompressStream(in->zstd, &to, &from);
    if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
        return fail(why, "%s: out of memory: its zstd window, of up to 2 GiB", in->name);
    if (ZSTD_isError(left))
        return fail_input(why, "%s: zstd: %s", in->name, ZSTD_getErrorName(left));
    in->raw_at = from.pos;
    in->size = to.pos;
    in->in_frame = left != 0;
    return 1;
}

int input_line(struct input *in, char **line, size_t *bytes, struct fail *why)
{
    size_t scanned = 0;
    for (;;) {
        char *start = in->text ? in->text + in->at : NULL; /* nothing was read yet */
        char *end = start && in->size - in->at > scanned
                        ? memchr(start + scanned, '\n', in->size - in->at - scanned)
                        : NULL;
        if (end) {
            *line = start;
            *bytes = (size_t)(end - start);
            in->at += *bytes + 1;
            in->lines++;
            return 1;
        }
        scanned = in->size - in->at;
        int got = more_text(in, why);
        if (got < 0) return -1;
        if (got) continue;
        if (!scanned) return 0;
        *line = in->text + in->at;
        *bytes = scanned;
        in->at = in->size;
        in->lines++;
        return 1;
    }
}

int input_rest(struct input *in, char **text, size_t *bytes, struct fail *why)
{
    int got;
    while ((got = more_text(in, why)) > 0)
        ;
    if (got < 0) return -1;
    *text = in->text ? in->text + in->at : in->raw;
    *bytes = in->size - in->at;
    in->at = in->size;
    in->lines = 1;
    return 0;
}
