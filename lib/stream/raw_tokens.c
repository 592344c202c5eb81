/* raw_tokens.c - reads files of bare token ids: little-endian numbers and nothing else. LongLoRA's
 * evaluation uses this format. */
#include "lib/common/file.h"
#include "lib/stream/tokens.h"

#include <errno.h>
#include <unistd.h>
#include <xxhash.h>

static int read_all(int fd, char **data, size_t *bytes, struct fail *why)
{
    size_t capacity = 0;
    uint64_t size = file_size(fd);
    *data = NULL;
    *bytes = 0;
    for (;;) {
        if (*bytes == capacity) {
            capacity = 2 * capacity + (1 << 20);
            char *grown = realloc(*data, capacity);
            if (!grown) return fail(why, "out of memory");
            *data = grown;
        }
        ssize_t n = read(fd, *data + *bytes, capacity - *bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(why, "cannot read: %s", strerror(errno));
        if (n == 0) return file_check_end(fd, size, "tokens", why);
        *bytes += (size_t)n;
    }
}

static int read_numbers(struct tokens *t, const char *data, size_t bytes, size_t width,
                        uint64_t vocab, struct fail *why)
{
    if (bytes >= 4 && !memcmp(data, "\x28\xb5\x2f\xfd", 4))
        return fail_input(why, "zstd, not raw numbers: a stream of tokens (--from stream)?");
    if (bytes % width)
        return fail_input(why, "%zu bytes are no whole number of tokens of %zu bytes", bytes,
                          width);
    t->count = bytes / width;
    uint32_t *ids = malloc(4 * t->count + 1);
    if (!ids) return fail(why, "out of memory");
    free(t->ids);
    t->ids = ids;
    t->capacity = t->count;
    for (size_t i = 0; i < t->count; i++) {
        ids[i] = 0;
        memcpy(&ids[i], data + i * width, width);
        if (ids[i] >= vocab)
            return fail_input(why, "token %zu is %u, vocabulary %llu (of --from %s?)", i, ids[i],
                              (unsigned long long)vocab, width == 2 ? "u32" : "u16");
    }
    return 0;
}

int tokens_read_raw(const char *path, enum view view, uint64_t vocab, struct tokens *t,
                    char digest[STREAM_DIGEST_TEXT], struct fail *why)
{
    must(view == VIEW_U16 || view == VIEW_U32);
    char *data = NULL;
    size_t bytes = 0;
    int fd = file_open_stream(path, why);
    if (fd < 0) return -1;
    int status = read_all(fd, &data, &bytes, why);
    if (!status) status = read_numbers(t, data, bytes, view == VIEW_U16 ? 2 : 4, vocab, why);
    if (!status) digest_of_bytes(data, bytes, digest);
    const char *name = strcmp(path, "-") ? path : "standard input";
    snprintf(t->id, sizeof t->id, "%.4000s", name);
    const char *slash = strrchr(name, '/');
    snprintf(t->source, sizeof t->source, "%.255s", slash ? slash + 1 : name);
    t->has_targets = false;
    t->target_count = 0;
    free(data);
    close(fd);
    return status ? fail_in(why, name) : 0;
}
