#include "lib/common/decompressor.h"

#include <limits.h>
#include <lzma.h>
#include <stdint.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define XZ_MEMORY_MAX ((uint64_t)1 << DECOMPRESSOR_WINDOW_LOG_MAX)

struct decompressor {
    enum file_kind kind;
    bool is_whole; /* every frame, member or stream that has begun has also ended */
    ZSTD_DCtx *zstd;
    z_stream gzip;
    bool is_padded; /* zeros follow a gzip member; tapes are padded in this way */
    int padding;    /* how many zeros have followed the last xz stream, modulo 4 */
    lzma_stream xz;
};

static int open_kind(struct decompressor *d, struct fail *why)
{
    if (d->kind == FILE_KIND_ZSTD) {
        d->zstd = ZSTD_createDCtx();
        if (d->zstd)
            ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, DECOMPRESSOR_WINDOW_LOG_MAX);
        return d->zstd ? 0 : fail(why, "out of memory");
    }
    if (d->kind == FILE_KIND_GZIP) {
        enum { GZIP_ONLY = 16 };
        return inflateInit2(&d->gzip, GZIP_ONLY + MAX_WBITS) == Z_OK ? 0
                                                                     : fail(why, "out of memory");
    }
    d->xz = (lzma_stream)LZMA_STREAM_INIT;
    return lzma_stream_decoder(&d->xz, XZ_MEMORY_MAX, 0) == LZMA_OK ? 0
                                                                    : fail(why, "out of memory");
}

int decompressor_open(struct decompressor **out, enum file_kind kind, struct fail *why)
{
    *out = NULL;
    if (kind != FILE_KIND_ZSTD && kind != FILE_KIND_GZIP && kind != FILE_KIND_XZ) return 0;
    struct decompressor *d = calloc(1, sizeof *d);
    if (!d) return fail(why, "out of memory");
    d->kind = kind;
    d->is_whole = kind == FILE_KIND_ZSTD; /* an input of skippable frames alone is complete */
    if (!open_kind(d, why)) {
        *out = d;
        return 0;
    }
    free(d);
    return -1;
}

void decompressor_close(struct decompressor *d)
{
    if (!d) return;
    if (d->kind == FILE_KIND_ZSTD) ZSTD_freeDCtx(d->zstd);
    if (d->kind == FILE_KIND_GZIP) inflateEnd(&d->gzip);
    if (d->kind == FILE_KIND_XZ) lzma_end(&d->xz);
    free(d);
}

uint64_t decompressor_memory(const struct decompressor *d)
{
    if (d->kind == FILE_KIND_ZSTD) return ZSTD_sizeof_DCtx(d->zstd);
    return d->kind == FILE_KIND_XZ ? lzma_memusage(&d->xz) : 0;
}

static int run_zstd(struct decompressor *d, const char **from, const char *from_end, char **to,
                    const char *to_end, struct fail *why)
{
    ZSTD_inBuffer in = { *from, (size_t)(from_end - *from), 0 };
    ZSTD_outBuffer out = { *to, (size_t)(to_end - *to), 0 };
    size_t left = ZSTD_decompressStream(d->zstd, &out, &in);
    if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
        return fail(why, "out of memory: its zstd window, of up to 2 GiB");
    if (ZSTD_isError(left)) return fail_input(why, "zstd: %s", ZSTD_getErrorName(left));
    *from += in.pos;
    *to += out.pos;
    d->is_whole = left == 0;
    return 0;
}

/* Prepares for the next gzip member, if there is one, after a member has ended. Zeros after the
 * last member are ignored, as the program gzip does. */
static int next_member(struct decompressor *d, const char **from, const char *from_end,
                       struct fail *why)
{
    while (*from < from_end && !**from) {
        d->is_padded = true;
        ++*from;
    }
    if (*from == from_end) return 0;
    if (d->is_padded || (unsigned char)**from != 0x1f)
        return fail_input(why, "gzip: other bytes follow its end: was the file damaged?");
    d->is_whole = false;
    return inflateReset(&d->gzip) == Z_OK ? 0
                                          : fail_input(why, "gzip: the next part cannot be read");
}

static unsigned bounded(size_t bytes) { return bytes < UINT_MAX ? (unsigned)bytes : UINT_MAX; }

static int run_gzip(struct decompressor *d, const char **from, const char *from_end, char **to,
                    const char *to_end, struct fail *why)
{
    z_stream *z = &d->gzip;
    if (d->is_whole) {
        if (next_member(d, from, from_end, why)) return -1;
        if (*from == from_end) return 0;
    }
    z->next_in = (Bytef *)(uintptr_t)*from;
    z->avail_in = bounded((size_t)(from_end - *from));
    z->next_out = (Bytef *)*to;
    z->avail_out = bounded((size_t)(to_end - *to));
    int status = inflate(z, Z_NO_FLUSH);
    *from = (const char *)z->next_in;
    *to = (char *)z->next_out;
    if (status == Z_STREAM_END) d->is_whole = true;
    if (status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR) return 0;
    if (status == Z_MEM_ERROR) return fail(why, "out of memory");
    return fail_input(why, "gzip: %s", z->msg ? z->msg : "damaged");
}

/* Prepares for the next xz stream, if there is one, after a stream has ended. Between two streams
 * and after the last there may be zeros, whose number is a multiple of 4. */
static int next_stream(struct decompressor *d, const char **from, const char *from_end,
                       struct fail *why)
{
    while (*from < from_end && !**from) {
        d->padding = (d->padding + 1) % 4;
        ++*from;
    }
    if (*from == from_end) return 0;
    if (d->padding || (unsigned char)**from != 0xfd)
        return fail_input(why, "xz: other bytes follow its end: was the file damaged?");
    d->is_whole = false;
    return lzma_stream_decoder(&d->xz, XZ_MEMORY_MAX, 0) == LZMA_OK ? 0
                                                                    : fail(why, "out of memory");
}

static int run_xz(struct decompressor *d, lzma_action action, struct fail *why)
{
    lzma_ret status = lzma_code(&d->xz, action);
    d->is_whole = status == LZMA_STREAM_END;
    switch (status) {
    case LZMA_OK:
    case LZMA_STREAM_END:
        return 0;
    case LZMA_BUF_ERROR: /* no input, or no space for output */
        return action == LZMA_FINISH && d->xz.avail_out ? fail_input(why, "xz stream is truncated")
                                                        : 0;
    case LZMA_MEM_ERROR:
        return fail(why, "out of memory: its xz dictionary");
    case LZMA_MEMLIMIT_ERROR:
        return fail_input(why, "xz: its dictionary is larger than 2 GiB");
    case LZMA_OPTIONS_ERROR:
        return fail_input(why, "xz: it has unknown options: decompress it with xz -d first");
    default:
        return fail_input(why, "xz: damaged");
    }
}

int decompressor_run(struct decompressor *d, const char **from, const char *from_end, char **to,
                     const char *to_end, struct fail *why)
{
    if (d->kind == FILE_KIND_ZSTD) return run_zstd(d, from, from_end, to, to_end, why);
    if (d->kind == FILE_KIND_GZIP) return run_gzip(d, from, from_end, to, to_end, why);
    if (d->is_whole) {
        if (next_stream(d, from, from_end, why)) return -1;
        if (*from == from_end) return 0;
    }
    d->xz.next_in = (const uint8_t *)*from;
    d->xz.avail_in = (size_t)(from_end - *from);
    d->xz.next_out = (uint8_t *)*to;
    d->xz.avail_out = (size_t)(to_end - *to);
    int status = run_xz(d, LZMA_RUN, why);
    *from = (const char *)d->xz.next_in;
    *to = (char *)d->xz.next_out;
    return status;
}

int decompressor_end(struct decompressor *d, char **to, const char *to_end, struct fail *why)
{
    if (d->kind == FILE_KIND_XZ) {
        if (d->is_whole && d->padding)
            return fail_input(why, "xz: the zeros after its end are cut: was the file damaged?");
        d->xz.next_in = NULL;
        d->xz.avail_in = 0;
        d->xz.next_out = (uint8_t *)*to;
        d->xz.avail_out = (size_t)(to_end - *to);
        int status = d->is_whole ? 0 : run_xz(d, LZMA_FINISH, why);
        *to = (char *)d->xz.next_out;
        return status ? -1 : !d->is_whole;
    }
    const char *nothing = "", *written = *to;
    if (!d->is_whole && decompressor_run(d, &nothing, nothing, to, to_end, why)) return -1;
    if (d->is_whole) return 0;
    if (*to > written) return 1;
    return fail_input(why, d->kind == FILE_KIND_ZSTD ? "zstd frame is truncated"
                                                     : "gzip member is truncated");
}
