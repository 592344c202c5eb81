/* raw_tokens.c - reads files of bare token ids: little-endian numbers and nothing else. LongLoRA's
 * evaluation uses this format. */
#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "lib/common/vocabulary.h"
#include "lib/stream/tokens.h"

#include <unistd.h>
#include <xxhash.h>

/* Reads at most `most` bytes. Bytes of a pipe after these stay unread. */
static int read_bytes(int fd, uint64_t most, char **data, size_t *bytes, struct fail *why)
{
    enum { PIECE = 1 << 20 };
    size_t capacity = 0;
    uint64_t size = file_size(fd);
    *data = NULL;
    *bytes = 0;
    while (*bytes < most) {
        size_t wanted = most - *bytes < PIECE ? (size_t)most - *bytes : PIECE;
        if (buffer_reserve(data, &capacity, *bytes, wanted, why)) return -1;
        int64_t n = file_read_piece(fd, *data + *bytes, wanted, why);
        if (n < 0) return -1;
        if (n == 0) return file_check_end(fd, size, "tokens", why);
        *bytes += (size_t)n;
    }
    return 0;
}

/* Fails if a regular file ends with an incomplete token, even if that token is not read. */
static int check_size(uint64_t bytes, size_t width, struct fail *why)
{
    if (bytes % width == 0) return 0;
    return fail_input(why,
                      "%llu bytes are no whole number of tokens of %zu bytes: the file is cut, or "
                      "needs another --from",
                      (unsigned long long)bytes, width);
}

/* Are these probably 32-bit ids that were read as 16-bit ones? Then every second id is 0. */
static bool are_halves(const uint32_t *ids, size_t count)
{
    enum { LEAST = 16 };
    bool is_any = false;
    for (size_t i = 0; i < count; i++) {
        if (i % 2 && ids[i]) return false;
        is_any |= ids[i] != 0;
    }
    return count >= LEAST && is_any;
}

static int read_numbers(struct tokens *t, const char *data, size_t bytes, size_t width,
                        uint64_t vocab, struct fail *why)
{
    if (bytes >= 4 && !memcmp(data, "\x28\xb5\x2f\xfd", 4))
        return fail_input(
            why, "this is zstd, not raw token ids: is it a stream of tokens (--from stream)?");
    if (check_size(bytes, width, why)) return -1;
    size_t count = t->count = bytes / width;
    if (buffer_fit(&t->ids, &t->capacity, count, why)) return -1;
    uint32_t *ids = t->ids;
    for (size_t i = 0; i < count; i++) {
        ids[i] = 0;
        memcpy(&ids[i], data + i * width, width);
    }
    if (width == 2 && are_halves(ids, count))
        return fail_input(why, "every second id is 0, as if each id had 32 bits: --from u32?");
    const struct vocabulary tokens = { .ids = ids, .count = count };
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
