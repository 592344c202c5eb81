/* Names the part of a training state in which a byte lies. The state's frames are stored without
 * compression: 13 bytes, then blocks of 3 bytes and at most 128 KiB of content, then a checksum of
 * 4 bytes (docs/formats/stream.md). The first frame has the header, the others have records. */
#include "model/checkpoint.h"

#include "lib/common/file.h"

#include <errno.h>
#include <unistd.h>
#include <zstd.h>

enum { HEAD = 13, BLOCK_HEAD = 3, BLOCK = 128 << 10, CHECKSUM = 4 };

/* A frame: where it begins in the file, how many bytes it has there, and how many bytes its content
 * has. */
struct frame {
    int64_t first, bytes, content;
    bool is_table; /* it has no content, but the table of the frames */
};

static int64_t read_le(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;)
        value = value << 8 | at[i];
    return (int64_t)value;
}

/* Finds the frame in which the byte `at` lies. *number becomes its number. Returns 1 if there is
 * none. */
static int find_frame(int fd, int64_t at, struct frame *f, int64_t *number, struct fail *why)
{
    unsigned char head[HEAD];
    *number = -1;
    for (f->first = f->bytes = 0; at >= f->first + f->bytes;) {
        f->first += f->bytes;
        ssize_t n = pread(fd, head, sizeof head, f->first);
        if (n < 0) return fail(why, "%s", strerror(errno));
        if (n < (ssize_t)sizeof head) return 1;
        f->is_table = read_le(head, 4) != ZSTD_MAGICNUMBER;
        f->content = f->is_table ? 0 : read_le(head + 5, 8);
        int64_t blocks = f->content ? (f->content + BLOCK - 1) / BLOCK : 1;
        f->bytes = f->is_table ? read_le(head + 4, 4) + 8
                               : HEAD + blocks * BLOCK_HEAD + f->content + CHECKSUM;
        if (f->bytes <= 0) return 1;
        ++*number;
    }
    return 0;
}

/* Returns the content of a frame, which the caller frees. */
static char *read_content(int fd, const struct frame *f, struct fail *why)
{
    char *content = malloc((size_t)f->content + 1);
    int64_t from = f->first + HEAD + BLOCK_HEAD;
    if (!content) (void)fail(why, "out of memory");
    for (int64_t done = 0; content && done < f->content; from += BLOCK + BLOCK_HEAD) {
        int64_t n = f->content - done < BLOCK ? f->content - done : BLOCK;
        if (pread(fd, content + done, (size_t)n, from) != n) {
            (void)fail(why, "it has become shorter");
            free(content);
            return NULL;
        }
        done += n;
    }
    return content;
}

/* Names the record of the content in which the byte `at` of the content lies. The data of a record
 * are its last field. */
static void name_record(const char *content, size_t bytes, size_t at, char *text, size_t size)
{
    msgpack_unpacked object;
    struct fail ignored;
    char name[16];
    uint64_t first;
    const void *data;
    size_t end = 0, length;
    snprintf(text, size, "the end record");
    msgpack_unpacked_init(&object);
    while (end <= at &&
           msgpack_unpack_next(&object, content, bytes, &end) == MSGPACK_UNPACK_SUCCESS)
        if (end > at && object.data.type == MSGPACK_OBJECT_MAP &&
            !map_get_text(&object.data, "name", name, sizeof name, &ignored) &&
            !map_get_count(&object.data, "first", INT64_MAX, &first, &ignored) &&
            !map_get_bin(&object.data, "data", &data, &length, &ignored))
            snprintf(
                text, size, "the array %s, element %llu", name,
                (unsigned long long)(first + (at + length > end ? (at + length - end) / 4 : 0)));
    msgpack_unpacked_destroy(&object);
}

/* Names the first field of the header that differs, or the header. */
static int name_field(const char *path, const char *other, char *text, size_t size,
                      struct fail *why)
{
    struct reader *a, *b;
    struct fail damage;
    snprintf(text, size, "the header");
    if (reader_open(&a, path, STREAM_STATE, why)) return -1;
    if (!reader_open(&b, other, STREAM_STATE, &damage)) {
        const msgpack_object *fields = reader_header(a);
        for (uint32_t i = 0; i < fields->via.map.size; i++) {
            const msgpack_object *key = &fields->via.map.ptr[i].key;
            const msgpack_object *value = map_find_like(reader_header(b), key);
            if (value && msgpack_object_equal(fields->via.map.ptr[i].val, *value)) continue;
            snprintf(text, size, "the field %.*s", (int)key->via.str.size, key->via.str.ptr);
            break;
        }
        reader_close(b);
    }
    reader_close(a);
    return 0;
}

int checkpoint_part(const char *path, const char *other, int64_t at, char *text, size_t size,
                    struct fail *why)
{
    struct frame f = { 0 };
    int64_t number;
    char *content = NULL;
    int fd = file_open(path, NULL, why);
    if (fd < 0) return -1;
    int status = find_frame(fd, at, &f, &number, why);
    bool is_content = !status && !f.is_table && number;
    if (is_content) content = read_content(fd, &f, why);
    close(fd);
    if (status < 0 || (is_content && !content)) return fail_in(why, path);
    if (!status && !number) return name_field(path, other, text, size, why);
    /* The byte of the content; a byte of a block's own header counts for the content behind it. */
    int64_t inside = at - f.first - HEAD, blocks = inside / (BLOCK + BLOCK_HEAD);
    int64_t byte = inside - (blocks + 1) * BLOCK_HEAD;
    if (byte < blocks * BLOCK) byte = blocks * BLOCK;
    if (!is_content || inside < 0)
        snprintf(text, size, is_content ? "a frame's first bytes" : "the table of its frames");
    else if (byte >= f.content)
        snprintf(text, size, "a frame's checksum");
    else
        name_record(content, (size_t)f.content, (size_t)byte, text, size);
    free(content);
    return 0;
}
