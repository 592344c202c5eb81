/* reader.c - the reading half of stream.h: interprets the objects that frames.c delivers. */
#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "lib/stream/frames.h"
#include "lib/stream/msgpack_check.h"
#include "lib/stream/parents.h"
#include "lib/stream/stream.h"
#include "lib/stream/wanted.h"

#include <xxhash.h>

struct loaded_frame;

struct reader {
    struct frames in;
    enum stream_kind kind;
    char *name;
    char wanted[320], from_json[160];
    size_t at; /* position in the current frame */
    msgpack_unpacked header, object;
    char *header_bytes; /* a copy of the header's bytes; its texts point into it */
    XXH3_state_t *hash;
    /* Records read so far: of all concatenated streams, and of the current stream. */
    uint64_t records, stream_records;
    bool has_ended, has_failed;
    struct fail failed;
    char digest[STREAM_DIGEST_TEXT]; /* of all streams that have ended (digest_join) */
    struct parents parents;
    struct template_record template;
    struct drawn_part drawn;
    /* For access by number: each frame's place in the file, and its first record's number. */
    uint64_t *frame_offset, *frame_first;
    size_t first_capacity;
    size_t frame_count;
    struct loaded_frame *cached; /* [frame_count] */
    size_t cached_bytes;
    uint64_t clock;
};

/* A frame that is kept for access by number: its content, and where each record begins. */
struct loaded_frame {
    char *content;
    size_t bytes, *object_at;
    uint64_t used; /* when it was used last */
};
enum { CACHED_BYTES_MAX = 64 << 20 };

enum object_role { OBJECT_RECORD, OBJECT_HEADER, OBJECT_END };

static int fail_at_record(struct reader *r, struct fail *why, const char *what)
{
    return fail_input(why, "%s: record %llu: %s", r->name, (unsigned long long)r->records + 1,
                      what);
}

static enum object_role role_of(const msgpack_object *o)
{
    const msgpack_object *end = map_find(o, "end");
    if (end) return OBJECT_END;
    return map_find(o, "longqlora") ? OBJECT_HEADER : OBJECT_RECORD;
}

/* Parses the map at the start of some bytes. */
static int parse_object(struct reader *r, const char *start, size_t bytes, size_t *length,
                        struct fail *why)
{
    if (stream_object_length((const unsigned char *)start, bytes, length, why)) {
        char place[300];
        snprintf(place, sizeof place, "%.240s: record %llu", r->name,
                 (unsigned long long)r->records + 1);
        return fail_in(why, place);
    }
    size_t offset = 0;
    msgpack_unpack_return got = msgpack_unpack_next(&r->object, start, *length, &offset);
    if (got == MSGPACK_UNPACK_NOMEM_ERROR)
        return fail(why, "%s: out of memory: an object of %zu bytes", r->name, *length);
    if (got != MSGPACK_UNPACK_SUCCESS || offset != *length)
        return fail_at_record(r, why, "not a msgpack object");
    if (r->object.data.type != MSGPACK_OBJECT_MAP) return fail_at_record(r, why, "not a map");
    return 0;
}

/* Reads the object at r->at of the current frame and advances r->at. */
static int read_object(struct reader *r, const char **start, size_t *length, struct fail *why)
{
    *start = r->in.content + r->at;
    if (parse_object(r, *start, r->in.content_size - r->at, length, why)) return -1;
    r->at += *length;
    return 0;
}

/* Makes sure that the current frame has an unread object. Returns 1, 0 at the end, or -1. */
static int fill(struct reader *r, struct fail *why)
{
    while (r->at >= r->in.content_size) {
        int got = frames_next(&r->in, why);
        if (got <= 0) return got;
        r->at = 0;
    }
    return 1;
}

static int check_header(struct reader *r, const msgpack_object *header, size_t bytes,
                        struct fail *why)
{
    uint64_t version;
    char kind[32];
    if (bytes > STREAM_HEADER_MAX)
        return fail_input(why, "%s: the header has %zu bytes, but at most %d are possible", r->name,
                          bytes, STREAM_HEADER_MAX);
    if (map_check_keys(header, why)) return fail_in(why, r->name);
    if (map_get_count(header, "longqlora", UINT32_MAX, &version, why)) return fail_in(why, r->name);
    if (version != STREAM_VERSION)
        return fail_input(why, "%s: the format's version is %llu, but this program reads %d",
                          r->name, (unsigned long long)version, STREAM_VERSION);
    if (map_get_text(header, "kind", kind, sizeof kind, why)) return fail_in(why, r->name);
    if (strcmp(kind, stream_kind_name(r->kind)) != 0)
        return fail_input(why, "%s: a stream of %s, not %s", r->name, kind, r->wanted);
    template_record_add_header(&r->template, header);
    drawn_part_add_header(&r->drawn, header);
    return 0;
}

static int read_header(struct reader *r, struct fail *why)
{
    const char *start;
    size_t bytes;
    int n = fill(r, why);
    if (!n) return fail_input(why, "%s: empty: no stream begins here", r->name);
    if (n < 0 || frames_check_first(&r->in, why) || read_object(r, &start, &bytes, why)) return -1;
    if (role_of(&r->object.data) != OBJECT_HEADER)
        return fail_input(why, "%s: does not begin with the header of %s", r->name, r->in.wanted);
    if (check_header(r, &r->object.data, bytes, why)) return -1;
    r->header_bytes = malloc(bytes);
    if (!r->header_bytes) return fail(why, "%s: out of memory", r->name);
    memcpy(r->header_bytes, start, bytes);
    size_t offset = 0;
    if (msgpack_unpack_next(&r->header, r->header_bytes, bytes, &offset) != MSGPACK_UNPACK_SUCCESS)
        return fail(why, "%s: out of memory", r->name);
    XXH3_128bits_update(r->hash, start, bytes);
    return 0;
}

static int open_reader(struct reader **out, const char *path, enum stream_kind kind, bool as_json,
                       struct fail *why)
{
    *out = NULL;
    struct reader *r = calloc(1, sizeof *r);
    if (!r) return fail(why, "%s: out of memory", path);
    r->in.fd = -1;
    r->kind = kind;
    r->name = strdup(file_shown(path));
    r->hash = XXH3_createState();
    msgpack_unpacked_init(&r->header);
    msgpack_unpacked_init(&r->object);
    if (!r->name || !r->hash) {
        fail(why, "%s: out of memory", path);
    } else if (!(as_json ? frames_open_json(&r->in, path, r->name, why)
                         : frames_open(&r->in, path, r->name, why))) {
        stream_wanted(kind, r->wanted, sizeof r->wanted, r->from_json, sizeof r->from_json);
        r->in.wanted = r->wanted;
        r->in.from_json = r->from_json;
        XXH3_128bits_reset(r->hash);
        if (!read_header(r, why)) {
            *out = r;
            return 0;
        }
    }
    reader_close(r);
    return -1;
}

int reader_open(struct reader **r, const char *path, enum stream_kind kind, struct fail *why)
{
    /* Weights and states must be files. Other kinds may come from a pipe still being written. */
    bool may_be_pipe = kind != STREAM_WEIGHTS && kind != STREAM_STATE;
    *r = NULL;
    return !may_be_pipe && file_check_text(path, why) ? -1 : open_reader(r, path, kind, false, why);
}

int reader_open_json(struct reader **r, const char *path, enum stream_kind kind, struct fail *why)
{
    return open_reader(r, path, kind, true, why);
}

void reader_close(struct reader *r)
{
    if (!r) return;
    frames_close(&r->in);
    msgpack_unpacked_destroy(&r->header);
    msgpack_unpacked_destroy(&r->object);
    XXH3_freeState(r->hash);
    free(r->header_bytes);
    free(r->frame_offset);
    free(r->frame_first);
    for (size_t i = 0; r->cached && i < r->frame_count; i++) {
        free(r->cached[i].content);
        free(r->cached[i].object_at);
    }
    free(r->cached);
    free(r->name);
    free(r);
}

int reader_read_ahead(struct reader *r, struct fail *why)
{
    return frames_seekable(&r->in) ? frames_read_ahead(&r->in, why) : 0;
}

const char *reader_name(const struct reader *r) { return r->name; }
void reader_call(struct reader *r, const char *name)
{
    snprintf(r->name, strlen(r->name) + 1, "%s", name); /* r->in points to this text, too */
}
const msgpack_object *reader_header(const struct reader *r) { return &r->header.data; }
uint64_t reader_position(const struct reader *r) { return r->records; }
const char *reader_digest(const struct reader *r) { return r->digest; }
uint64_t reader_records(const struct reader *r) { return r->frame_first[r->frame_count]; }

int reader_fail(const struct reader *r, struct fail *why)
{
    char place[300];
    snprintf(place, sizeof place, "%.240s: record %llu", r->name, (unsigned long long)r->records);
    why->status = STATUS_INPUT;
    return fail_in(why, place);
}

const struct template_record *reader_template(const struct reader *r) { return &r->template; }
const struct drawn_part *reader_drawn_part(const struct reader *r) { return &r->drawn; }

const char *reader_parent(const struct reader *r, const char *kind)
{
    return parents_find(&r->parents, kind);
}

static int check_end(struct reader *r, const msgpack_object *end, struct fail *why)
{
    static const char *const known[] = { "end", "records", "digest", "frames", "parents", NULL };
    uint64_t records;
    char digest[STREAM_DIGEST_TEXT], computed[STREAM_DIGEST_TEXT];
    digest_of_state(r->hash, computed);
    if (map_check(end, known, why) || map_get_count(end, "records", UINT64_MAX, &records, why) ||
        (!r->in.lines && map_get_text(end, "digest", digest, sizeof digest, why)) ||
        parents_read(&r->parents, map_find(end, "parents"), why)) {
        fail_in(why, "end record");
        return fail_in(why, r->name);
    }
    if (records != r->stream_records)
        return fail_input(why, "%s: end record: promises %llu records, but %llu were read", r->name,
                          (unsigned long long)records, (unsigned long long)r->stream_records);
    if (!r->in.lines && strcmp(digest, computed) != 0)
        return fail_input(why, "%s: end record: its digest is %s, but the records have %s", r->name,
                          digest, computed);
    digest_join(r->digest, computed);
    r->has_ended = true;
    template_record_add_end(&r->template, end);
    return 0;
}

/* Fails unless the fields in the header of a concatenated stream agree with the first stream's. */
static int check_same(struct reader *r, const msgpack_object *header, size_t bytes,
                      struct fail *why)
{
    const msgpack_object *first = &r->header.data;
    if (check_header(r, header, bytes, why)) return -1;
    if (header->via.map.size != first->via.map.size)
        return fail_input(why, "%s: the concatenated streams have different fields", r->name);
    for (uint32_t i = 0; i < first->via.map.size; i++) {
        const msgpack_object_kv *kv = &first->via.map.ptr[i];
        if (stream_is_provenance_key(&kv->key)) continue;
        const msgpack_object *other = map_find_like(header, &kv->key);
        if (!other || !msgpack_object_equal(kv->val, *other))
            return fail_input(why, "%s: the concatenated streams differ in '%.*s'", r->name,
                              kv->key.via.str.size < 60 ? (int)kv->key.via.str.size : 60,
                              kv->key.via.str.ptr);
    }
    return 0;
}

/* Handles a header or an end record between concatenated streams. Returns 0 if reading may go
 * on. */
static int check_boundary(struct reader *r, enum object_role role, const char *start, size_t length,
                          struct fail *why)
{
    if (r->has_ended != (role == OBJECT_HEADER))
        return fail_at_record(r, why,
                              r->has_ended ? "something follows the end record"
                                           : "a header is in the middle of a stream");
    if (role == OBJECT_END) return check_end(r, &r->object.data, why);
    if (role == OBJECT_HEADER) {
        if (check_same(r, &r->object.data, length, why)) return -1;
        r->has_ended = false;
        r->stream_records = 0;
        XXH3_128bits_reset(r->hash);
        XXH3_128bits_update(r->hash, start, length);
    }
    return 0;
}

static int next_object(struct reader *r, struct fail *why)
{
    for (;;) {
        const char *start;
        size_t length;
        int got = fill(r, why);
        if (got < 0 || (!got && r->has_ended)) return got;
        if (!got)
            return fail_input(
                why, "%s: record %llu: stream ends without its end record (did the writer die?)",
                r->name, (unsigned long long)r->records + 1);
        if (read_object(r, &start, &length, why)) return -1;
        enum object_role role = role_of(&r->object.data);
        if (check_boundary(r, role, start, length, why)) return -1;
        if (role != OBJECT_RECORD) continue;
        XXH3_128bits_update(r->hash, start, length);
        r->records++;
        r->stream_records++;
        return 1;
    }
}

int reader_next(struct reader *r, msgpack_object *record, struct fail *why)
{
    if (r->has_failed) {
        *why = r->failed;
        return -1;
    }
    int got = next_object(r, why);
    if (got < 0) {
        r->has_failed = true;
        r->failed = *why;
    }
    if (got > 0) *record = r->object.data;
    return got;
}

/* ---- random access ---- */

static int add_frame(struct reader *r, uint64_t offset, uint64_t first, struct fail *why)
{
    /* frame_first has one entry more, for the number of all records, which the caller writes. */
    if (buffer_extend(&r->frame_offset, r->frame_count, why) ||
        buffer_reserve(&r->frame_first, &r->first_capacity, r->frame_count, 2, why))
        return fail_in(why, r->name);
    r->frame_offset[r->frame_count] = offset;
    r->frame_first[r->frame_count++] = first;
    return 0;
}

/* Reads the end record. Returns its list of each frame's first record; NULL if there is none. */
static const msgpack_object *read_end(struct reader *r, uint64_t offset, uint64_t content,
                                      uint64_t *records, struct fail *why)
{
    const char *start;
    size_t length;
    r->at = 0;
    if (frames_at(&r->in, offset, why) || read_object(r, &start, &length, why) ||
        role_of(&r->object.data) != OBJECT_END ||
        map_get_count(&r->object.data, "records", content, records, why) ||
        map_get_text(&r->object.data, "digest", r->digest, sizeof r->digest, why))
        return NULL;
    template_record_add_end(&r->template, &r->object.data);
    const msgpack_object *first = map_find(&r->object.data, "frames");
    return first && first->type == MSGPACK_OBJECT_ARRAY ? first : NULL;
}

/* Tries to index by the seek table. Returns 1 if that worked, 0 if the table cannot be used. */
static int index_by_table(struct reader *r, struct fail *why)
{
    /* `content` bounds the number of records, because a record has at least one byte. */
    uint64_t *offsets, records = 0, last = 0, content;
    size_t count;
    int got = frames_table(&r->in, &offsets, &count, &content, why);
    if (got <= 0) return got;
    const msgpack_object *first = read_end(r, offsets[count - 1], content, &records, why);
    int status = first && first->via.array.size == count - 2;
    for (size_t i = 0; i + 2 < count && status > 0; i++) {
        const msgpack_object *o = &first->via.array.ptr[i];
        bool is_good = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 >= last &&
                       o->via.u64 < records && (i > 0 || o->via.u64 == 0);
        if (is_good) last = o->via.u64;
        status = !is_good ? 0 : add_frame(r, offsets[i + 1], last, why) ? -1 : 1;
    }
    if (status > 0 && !r->frame_count && add_frame(r, offsets[count - 1], 0, why)) status = -1;
    if (status > 0) r->frame_first[r->frame_count] = records;
    if (!status) r->frame_count = 0;
    free(offsets);
    return status;
}

void reader_stop(struct reader *r)
{
    struct fail ignored;
    char read[STREAM_DIGEST_TEXT], rest[STREAM_DIGEST_TEXT];
    memcpy(read, r->digest, sizeof read);
    digest_of_state(r->hash, rest);
    if (!r->has_ended) digest_join(read, rest);
    if (frames_seekable(&r->in) && index_by_table(r, &ignored) > 0) return;
    memcpy(r->digest, read, sizeof read);
}

static int index_by_reading(struct reader *r, struct fail *why)
{
    if (frames_rewind(&r->in, why)) return -1;
    r->at = 0;
    r->records = r->stream_records = 0;
    r->has_ended = false;
    *r->digest = 0;
    uint64_t seen = UINT64_MAX;
    XXH3_128bits_reset(r->hash);
    const char *start;
    size_t length;
    if (fill(r, why) <= 0 || read_object(r, &start, &length, why)) return -1;
    XXH3_128bits_update(r->hash, start, length);
    int got;
    while ((got = next_object(r, why)) > 0)
        if (r->in.offset != seen) {
            seen = r->in.offset;
            if (add_frame(r, seen, r->records - 1, why)) return -1;
        }
    if (got < 0 || (!r->frame_count && add_frame(r, 0, 0, why))) return -1;
    r->frame_first[r->frame_count] = r->records;
    return 0;
}

int reader_index(struct reader *r, struct fail *why)
{
    if (!frames_seekable(&r->in))
        return fail_input(why, "%s: not a regular file: its records cannot be read in any order",
                          r->name);
    int got = index_by_table(r, why);
    return got > 0 ? 0 : got < 0 ? -1 : index_by_reading(r, why);
}

/* Evicts the least recently used frames, until a frame of `bytes` fits into CACHED_BYTES_MAX. */
static void evict(struct reader *r, size_t bytes)
{
    while (r->cached_bytes && r->cached_bytes + bytes > CACHED_BYTES_MAX) {
        struct loaded_frame *oldest = NULL;
        for (size_t i = 0; i < r->frame_count; i++)
            if (r->cached[i].content && (!oldest || r->cached[i].used < oldest->used))
                oldest = &r->cached[i];
        if (!oldest) return;
        r->cached_bytes -= oldest->bytes;
        /* The static analyser does not see that freed entries are zeroed. */
        free(oldest->content);
        free(oldest->object_at); /* NOLINT(clang-analyzer-unix.Malloc) */
        *oldest = (struct loaded_frame){ 0 };
    }
}

/* Stores where the records of the current frame begin. */
static int find_records(struct reader *r, size_t *object_at, uint64_t expected, struct fail *why)
{
    uint64_t found = 0;
    for (r->at = 0; r->at < r->in.content_size;) {
        size_t at = r->at, length;
        const char *start;
        if (read_object(r, &start, &length, why)) return -1;
        if (role_of(&r->object.data) != OBJECT_RECORD) continue;
        if (found < expected) object_at[found] = at;
        found++;
    }
    if (found == expected) return 0;
    return fail_input(why, "%s: a frame holds %llu records, but %llu were promised", r->name,
                      (unsigned long long)found, (unsigned long long)expected);
}

static int load_frame(struct reader *r, size_t frame, struct fail *why)
{
    uint64_t expected = r->frame_first[frame + 1] - r->frame_first[frame];
    if (!r->cached) r->cached = calloc(r->frame_count, sizeof *r->cached);
    if (!r->cached) return fail(why, "%s: out of memory", r->name);
    struct loaded_frame *l = &r->cached[frame];
    if (l->content) return 0;
    if (frames_at(&r->in, r->frame_offset[frame], why)) return -1;
    /* The end record's count may be wrong. A record takes at least a byte. */
    if (expected > r->in.content_size)
        return fail_input(why, "%s: a frame has %zu bytes, but %llu records were promised in it",
                          r->name, r->in.content_size, (unsigned long long)expected);
    evict(r, r->in.content_size);
    size_t *object_at = malloc((expected + 1) * sizeof *object_at);
    char *content = malloc(r->in.content_size + 1);
    int status = object_at && content ? find_records(r, object_at, expected, why)
                                      : fail(why, "%s: out of memory", r->name);
    if (status) {
        free(object_at);
        free(content);
        return -1;
    }
    memcpy(content, r->in.content, r->in.content_size);
    l->content = content;
    l->object_at = object_at;
    l->bytes = r->in.content_size;
    r->cached_bytes += l->bytes;
    return 0;
}

int reader_at(struct reader *r, uint64_t number, msgpack_object *record, struct fail *why)
{
    must(number < reader_records(r));
    size_t low = 0, high = r->frame_count, length;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (r->frame_first[middle] <= number)
            low = middle;
        else
            high = middle;
    }
    r->records = number;
    if (load_frame(r, low, why)) return -1;
    struct loaded_frame *l = &r->cached[low];
    l->used = ++r->clock;
    /* The static analyser errs as in evict(). NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    size_t at = l->object_at[number - r->frame_first[low]];
    if (parse_object(r, l->content + at, l->bytes - at, &length, why)) return -1;
    r->records = number + 1;
    *record = r->object.data;
    return 0;
}
