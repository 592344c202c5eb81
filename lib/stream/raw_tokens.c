/* raw_tokens.c - reads files of bare token ids: little-endian numbers and nothing else. LongLoRA's
 * evaluation uses this format. */
#include "lib/common/file.h"
#include "lib/common/vocabulary.h"
#include "lib/stream/tokens.h"

#include <errno.h>
#include <unistd.h>
#include <xxhash.h>

/* Reads at most `most` bytes. */
static int read_bytes(int fd, uint64_t most, char **data, size_t *bytes, struct fail *why)
{
    size_t capacity = 0;
    uint64_t size = file_size(fd);
    *data = NULL;
    *bytes = 0;
    while (*bytes < most) {
        if (*bytes == capacity) {
            capacity = 2 * capacity + (1 << 20);
            if (capacity > most) capacity = (size_t)most;
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
    return 0;
}

/* Fails for a regular file that holds a part of a token, even if that part is not read. */
static int check_size(uint64_t bytes, size_t width, struct fail *why)
{
    if (bytes % width == 0) return 0;
    return fail_input(
        why, "%llu bytes are no whole number of tokens of %zu bytes: of another --from, or cut",
        (unsigned long long)bytes, width);
}

static int read_numbers(struct tokens *t, const char *data, size_t bytes, size_t width,
                        uint64_t vocab, struct fail *why)
{
    if (bytes >= 4 && !memcmp(data, "\x28\xb5\x2f\xfd", 4))
        return fail_input(why, "zstd, no bare numbers: a stream of tokens (--from stream)?");
    if (check_size(bytes, width, why)) return -1;
    t->count = bytes / width;
    uint32_t *ids = malloc(4 * t->count + 1);
    if (!ids) return fail(why, "out of memory");
    free(t->ids);
    t->ids = ids;
    t->capacity = t->count;
    for (size_t i = 0; i < t->count; i++) {
        ids[i] = 0;
        memcpy(&ids[i], data + i * width, width);
    }
    const struct vocabulary tokens = { .ids = ids, .count = t->count };
    const struct vocabulary own = { .name = "the tokenizer", .size = vocab };
    return vocabulary_check(&tokens, &own, width == 2 ? "--from u32?" : "--from u16?", why);
}

int tokens_read_raw(const char *path, enum view view, uint64_t most, uint64_t vocab,
                    struct tokens *t, char digest[STREAM_DIGEST_TEXT], struct fail *why)
{
    must(view == VIEW_U16 || view == VIEW_U32);
    char *data = NULL;
    size_t bytes = 0, width = view == VIEW_U16 ? 2 : 4;
    int fd = file_open_stream(path, why);
    if (fd < 0) return -1;
    int status = read_bytes(fd, most && most < SIZE_MAX / width ? most * width : SIZE_MAX, &data,
                            &bytes, why);
    if (!status) status = read_numbers(t, data, bytes, width, vocab, why);
    if (!status) status = check_size(file_size(fd), width, why);
    if (!status) digest_of_bytes(data, bytes, digest);
    const char *name = file_shown(path);
    snprintf(t->id, sizeof t->id, "%.4000s", name);
    const char *slash = strrchr(name, '/');
    snprintf(t->source, sizeof t->source, "%.255s", slash ? slash + 1 : name);
    t->has_targets = false;
    t->target_count = 0;
    free(data);
    close(fd);
    return status ? fail_in(why, name) : 0;
}
