/* writer.c - the writing half of stream.h: frames, the end record and the seek table. */
#include "lib/common/buffer.h"
#include "lib/common/output.h"
#include "lib/stream/jsonl.h"
#include "lib/stream/seek_table.h"
#include "lib/stream/stream.h"

#include <xxhash.h>
#include <zstd.h>

#ifndef LONGQLORA_VERSION
#define LONGQLORA_VERSION "unknown"
#endif

struct frame {
    uint32_t compressed, content;
    uint64_t first_record;
};

struct writer {
    struct output out;
    /* Frames are stored uncompressed. True for weights, whose NF4 codes would shrink by 2.5 % at
     * most, and for the state of a training run. */
    bool is_raw;
    bool as_json;
    int token_width; /* bytes of a token in JSON lines */
    msgpack_sbuffer frame;
    ZSTD_CCtx *zstd;
    char *compressed;
    size_t compressed_size;
    XXH3_state_t *hash;
    struct frame *frames;
    size_t frame_count;
    uint64_t records, frame_first;
    struct msgpack_map parents[STREAM_PARENTS_MAX];
    int parent_count;
    struct template_record template;
    struct fail failed; /* the first failure; writer_close reports it */
    bool has_failed;
};

static const char *const kind_names[] = { "tokens", "samples", "weights", "scores",
                                          "state",  "lengths", "lines" };

const char *stream_kind_name(enum stream_kind kind) { return kind_names[kind]; }

static void put_le(unsigned char *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

/* Writes a zstd frame (RFC 8878) of raw blocks: magic number; descriptor "single segment, 8-byte
 * content size, checksum"; blocks of at most 128 KiB; the low half of XXH64. */
static size_t store_frame(unsigned char *to, const char *data, size_t bytes)
{
    enum { BLOCK = 128 << 10, DESCRIPTOR = 3 << 6 | 1 << 5 | 1 << 2 };
    unsigned char *at = to;
    put_le(at, ZSTD_MAGICNUMBER, 4);
    at[4] = DESCRIPTOR;
    put_le(at + 5, bytes, 8);
    at += 13;
    size_t done = 0;
    do {
        size_t n = bytes - done < BLOCK ? bytes - done : BLOCK;
        bool is_last = done + n == bytes;
        put_le(at, n << 3 | is_last, 3);
        memcpy(at + 3, data + done, n);
        at += 3 + n;
        done += n;
    } while (done < bytes);
    put_le(at, XXH64(data, bytes, 0), 4);
    return (size_t)(at + 4 - to);
}

static int remember_frame(struct writer *w, size_t compressed, size_t content, struct fail *why)
{
    if (buffer_extend(&w->frames, w->frame_count, why)) return fail_in(why, w->out.path);
    w->frames[w->frame_count++] =
        (struct frame){ (uint32_t)compressed, (uint32_t)content, w->frame_first };
    return 0;
}

static int flush_frame(struct writer *w, struct fail *why)
{
    size_t content = w->frame.size;
    if (!content) return 0;
    if (msgpack_bytes_are_lost(&w->frame)) return fail(why, "%s: out of memory", w->out.path);
    if (content > STREAM_FRAME_MAX)
        return fail(why, "%s: record %llu: its frame has %zu bytes, but at most %d are possible",
                    w->out.path, (unsigned long long)w->records, content, STREAM_FRAME_MAX);
    if (w->as_json) {
        int status = stream_json_print(&w->out, w->frame.data, w->frame.size, &w->token_width, why);
        w->frame.size = 0;
        return status ? status : remember_frame(w, 0, 0, why);
    }
    size_t capacity = ZSTD_compressBound(content) + 3 * (content >> 17) + 64;
    if (buffer_fit(&w->compressed, &w->compressed_size, capacity, why))
        return fail_in(why, w->out.path);
    size_t n;
    if (w->is_raw) {
        n = store_frame((unsigned char *)w->compressed, w->frame.data, content);
    } else {
        n = ZSTD_compress2(w->zstd, w->compressed, w->compressed_size, w->frame.data, content);
        if (ZSTD_isError(n)) return fail(why, "%s: zstd: %s", w->out.path, ZSTD_getErrorName(n));
    }
    if (remember_frame(w, n, content, why)) return -1;
    w->frame.size = 0;
    w->frame_first = w->records;
    return output_write(&w->out, w->compressed, n, why);
}

static void pack_header(struct writer *w, enum stream_kind kind, const char *tool,
                        const struct msgpack_map *own, const struct msgpack_map *options)
{
    struct msgpack_map header;
    msgpack_map_init(&header);
    msgpack_map_count(&header, "longqlora", STREAM_VERSION);
    msgpack_map_text(&header, "kind", stream_kind_name(kind));
    msgpack_map_join(&header, own);
    msgpack_map_text(&header, "tool", tool);
    msgpack_map_text(&header, "version", LONGQLORA_VERSION);
    msgpack_map_map(&header, "options", options);
    msgpack_packer pk;
    msgpack_packer_init(&pk, &w->frame, msgpack_write_bytes);
    msgpack_map_pack(&header, &pk);
    msgpack_map_release(&header);
}

static void release(struct writer *w)
{
    for (int i = 0; i < w->parent_count; i++)
        msgpack_map_release(&w->parents[i]);
    msgpack_sbuffer_destroy(&w->frame);
    ZSTD_freeCCtx(w->zstd);
    XXH3_freeState(w->hash);
    free(w->compressed);
    free(w->frames);
    free(w);
}

static int open_writer(struct writer **out, const char *path, enum stream_kind kind, bool as_json,
                       const char *tool, const struct msgpack_map *own,
                       const struct msgpack_map *options, struct fail *why)
{
    *out = NULL;
    struct writer *w = calloc(1, sizeof *w);
    if (!w) return fail(why, "%s: out of memory", path);
    w->out.fd = -1;
    msgpack_sbuffer_init(&w->frame);
    w->as_json = as_json;
    w->is_raw = kind == STREAM_WEIGHTS || kind == STREAM_STATE;
    w->zstd = ZSTD_createCCtx();
    w->hash = XXH3_createState();
    if (!w->zstd || !w->hash)
        fail(why, "%s: out of memory", path);
    else if (!output_open(&w->out, path, why)) {
        ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, 1);
        ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1);
        XXH3_128bits_reset(w->hash);
        pack_header(w, kind, tool, own, options);
        if (msgpack_bytes_are_lost(&w->frame)) {
            fail(why, "%s: out of memory", path);
        } else if (w->frame.size > STREAM_HEADER_MAX) {
            fail(why, "%s: the header has %zu bytes, but at most %d are possible", path,
                 w->frame.size, STREAM_HEADER_MAX);
        } else {
            XXH3_128bits_update(w->hash, w->frame.data, w->frame.size);
            if (!flush_frame(w, why)) {
                *out = w;
                return 0;
            }
        }
    }
    writer_abandon(w);
    return -1;
}

int writer_open(struct writer **w, const char *path, enum stream_kind kind, const char *tool,
                const struct msgpack_map *own, const struct msgpack_map *options, struct fail *why)
{
    return open_writer(w, path, kind, false, tool, own, options, why);
}

int writer_open_json(struct writer **w, const char *path, enum stream_kind kind, const char *tool,
                     const struct msgpack_map *own, const struct msgpack_map *options,
                     struct fail *why)
{
    return open_writer(w, path, kind, true, tool, own, options, why);
}

void writer_write_behind(struct writer *w, uint64_t bytes) { output_write_behind(&w->out, bytes); }

int writer_add(struct writer *w, struct msgpack_map *record, struct fail *why)
{
    size_t before = w->frame.size;
    msgpack_packer pk;
    msgpack_packer_init(&pk, &w->frame, msgpack_write_bytes);
    msgpack_map_pack(record, &pk);
    msgpack_map_release(record);
    if (!msgpack_bytes_are_lost(&w->frame)) {
        XXH3_128bits_update(w->hash, w->frame.data + before, w->frame.size - before);
        w->records++;
        if (w->frame.size < STREAM_FRAME_BYTES || !flush_frame(w, why)) return 0;
    } else if (!w->has_failed) {
        fail(why, "%s: out of memory", w->out.path);
    }
    if (!w->has_failed) w->failed = *why;
    w->has_failed = true;
    return -1;
}

void writer_parent(struct writer *w, const char *kind, const char *digest)
{
    must(w->parent_count < STREAM_PARENTS_MAX);
    struct msgpack_map *p = &w->parents[w->parent_count++];
    msgpack_map_init(p);
    msgpack_map_text(p, "kind", kind);
    msgpack_map_text(p, "digest", digest);
}

void writer_template(struct writer *w, const struct template_record *template)
{
    template_record_add(&w->template, template);
}

static void pack_end(struct writer *w, size_t data_frames)
{
    char digest[STREAM_DIGEST_TEXT];
    digest_of_state(w->hash, digest);
    msgpack_packer pk;
    msgpack_packer_init(&pk, &w->frame, msgpack_write_bytes);
    /* The list of frames is left out if it would exceed the reader's limit. Then a reader that
     * wants access by number reads the whole stream once. */
    bool has_frames = data_frames <= STREAM_VALUES_MAX / 2;
    bool has_template = *w->template.name;
    msgpack_pack_map(&pk, 3 + (size_t)has_frames + (w->parent_count ? 1 : 0) + has_template);
    msgpack_pack_str_with_body(&pk, "end", 3);
    msgpack_pack_true(&pk);
    msgpack_pack_str_with_body(&pk, "records", 7);
    msgpack_pack_uint64(&pk, w->records);
    msgpack_pack_str_with_body(&pk, "digest", 6);
    msgpack_pack_str_with_body(&pk, digest, strlen(digest));
    if (has_frames) {
        msgpack_pack_str_with_body(&pk, "frames", 6);
        msgpack_pack_array(&pk, data_frames);
    }
    for (size_t i = 0; has_frames && i < data_frames; i++)
        msgpack_pack_uint64(&pk, w->frames[i + 1].first_record);
    if (has_template) template_record_pack(&w->template, &pk);
    if (!w->parent_count) return;
    msgpack_pack_str_with_body(&pk, "parents", 7);
    msgpack_pack_array(&pk, (size_t)w->parent_count);
    for (int i = 0; i < w->parent_count; i++)
        msgpack_map_pack(&w->parents[i], &pk);
}

/* Writes the table of zstd's seekable format, in a skippable frame. */
static int write_seek_table(struct writer *w, struct fail *why)
{
    size_t entries = w->frame_count, bytes = 8 + 8 * entries + 9;
    unsigned char *table = malloc(bytes);
    if (!table) return fail(why, "%s: out of memory", w->out.path);
    put_le(table, SEEK_SKIPPABLE_MAGIC, 4);
    put_le(table + 4, bytes - 8, 4);
    for (size_t i = 0; i < entries; i++) {
        put_le(table + 8 + 8 * i, w->frames[i].compressed, 4);
        put_le(table + 12 + 8 * i, w->frames[i].content, 4);
    }
    unsigned char *foot = table + 8 + 8 * entries;
    put_le(foot, entries, 4);
    foot[4] = 0;
    put_le(foot + 5, SEEK_FOOTER_MAGIC, 4);
    int status = output_write(&w->out, table, bytes, why);
    free(table);
    return status;
}

int writer_close(struct writer *w, struct fail *why)
{
    if (!w) return 0;
    int status = 0;
    if (w->has_failed) {
        *why = w->failed;
        status = -1;
    }
    if (!status) status = flush_frame(w, why);
    if (!status) {
        pack_end(w, w->frame_count - 1);
        status = flush_frame(w, why);
    }
    if (!status && !w->as_json && output_seekable(&w->out)) status = write_seek_table(w, why);
    if (!status)
        status = output_close(&w->out, why);
    else
        output_abandon(&w->out);
    release(w);
    return status;
}

void writer_abandon(struct writer *w)
{
    if (!w) return;
    output_abandon(&w->out);
    release(w);
}
