/* raw_tokens.c - reads files of bare token ids: little-endian numbers and nothing else. LongLoRA's
 * evaluation uses this format. */
#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "lib/common/file_kind.h"
#include "lib/common/program.h"
#include "lib/common/utf8.h"
#include "lib/common/vocabulary.h"
#include "lib/stream/tokens.h"

#include <unistd.h>
#include <xxhash.h>

/* Reads at most `max` bytes. Bytes of a pipe after these stay unread. */
static int read_bytes(int fd, uint64_t max, char **data, size_t *bytes, struct fail *why)
{
    enum { PIECE = 1 << 20 };
    size_t capacity = 0;
    uint64_t size = file_size(fd);
    *data = NULL;
    *bytes = 0;
    while (*bytes < max) {
        size_t wanted = max - *bytes < PIECE ? (size_t)max - *bytes : PIECE;
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

/* The largest number that the upper half of an id of 32 bits can be in this vocabulary. No real
 * vocabulary is larger than REAL_VOCAB_MAX; a larger one, or 0, means that it is not known. */
static uint32_t upper_half_max(uint64_t vocab)
{
    enum { REAL_VOCAB_MAX = 1 << 19 };
    bool is_known = vocab && vocab < REAL_VOCAB_MAX;
    return (uint32_t)((is_known ? vocab : REAL_VOCAB_MAX) - 1) >> 16;
}

/* Is each id probably written as `parts` numbers, because the ids have more bits than --from says?
 * Then the number with its lowest bits comes first, the second one is at most `second`, and the
 * others are 0. At least COUNT_MIN numbers must agree, and one of them must be above `second`. */
static bool are_parts(const uint32_t *numbers, size_t count, size_t parts, uint32_t second)
{
    enum { COUNT_MIN = 16 };
    bool is_any = false;
    for (size_t i = 0; i < count; i++) {
        if (i % parts && numbers[i] > (i % parts == 1 ? second : 0)) return false;
        is_any |= numbers[i] > second;
    }
    return count >= COUNT_MIN && is_any;
}

/* Fails if the numbers are parts of ids that have more bits. */
static int check_width(const uint32_t *numbers, size_t count, size_t width, uint64_t vocab,
                       struct fail *why)
{
    uint32_t second = width == 2 ? upper_half_max(vocab) : 0;
    int bits = 0;
    if (width == 2 && are_parts(numbers, count, 2, second)) bits = 32;
    if (width < 8 && are_parts(numbers, count, 8 / width, second)) bits = 64;
    if (!bits) return 0;
    char values[24] = "0";
    if (second) snprintf(values, sizeof values, "at most %u", second);
    return fail_input(why, "%s %s, as if each id had %d bits: --from u%d?",
                      bits == 8 * (int)width * 2 ? "every second id is" : "three of four ids are",
                      values, bits, bits);
}

/* Do these first bytes of a file show its kind for certain? Raw ids can begin with any bytes. So
 * at least three bytes must be those of the kind. */
static bool is_certain(enum file_kind kind, const unsigned char *head, size_t bytes)
{
    switch (kind) {
    case FILE_KIND_OTHER:
    case FILE_KIND_LZMA:
    case FILE_KIND_UTF16: /* ids below 128 look like text in UTF-16 or UTF-32 */
    case FILE_KIND_UTF32:
        return false;
    case FILE_KIND_ARROW: /* four bytes 255 may be a number, -1; a length below 2^16 follows them */
        return bytes >= 8 && (head[0] != 0xff || (!head[6] && !head[7]));
    case FILE_KIND_GZIP: /* the method deflate, without reserved flags */
        return bytes >= 4 && head[2] == 8 && head[3] < 32;
    case FILE_KIND_PICKLE: /* protocol 4 or 5, with the length of a frame below 2^48 */
        return bytes >= 11 && head[2] == 0x95 && !head[9] && !head[10];
    case FILE_KIND_SAFETENSORS:
        return bytes >= 10 && head[9] == '"';
    default:
        return true;
    }
}

/* Is this text? It is UTF-8 without control characters other than tabs and ends of lines. The bytes
 * of ids are hardly ever so. */
static bool is_text(const unsigned char *head, size_t bytes)
{
    enum { COUNT_MIN = 32, LETTER_MAX = 4 };
    size_t valid = utf8_valid_prefix((const char *)head, bytes);
    for (size_t i = 0; i < valid; i++)
        if (head[i] == 127 || (head[i] < 32 && !memchr("\t\n\r", head[i], 3))) return false;
    return bytes >= COUNT_MIN && valid + LETTER_MAX > bytes;
}

/* Says how the ids of a file of this kind become raw ids. */
static const char *way_to_raw(enum file_kind kind)
{
    switch (kind) {
    case FILE_KIND_NUMPY:
        return "in Python numpy.load(FILE).astype('uint32').tofile('ids.u32') makes them, of "
               "a .npz with [NAME] after (FILE)";
    case FILE_KIND_TORCH:
        return "in Python torch.load(FILE).numpy().astype('uint32').tofile('ids.u32') makes "
               "them of a tensor";
    case FILE_KIND_ZSTD:
        return "is it a stream of tokens (--from stream)? Otherwise zstd -dc gives its content";
    case FILE_KIND_LONGQLORA:
        return "--from stream?";
    case FILE_KIND_HTML:
    case FILE_KIND_XML:
    case FILE_KIND_LFS_POINTER:
    case FILE_KIND_GZIP:
    case FILE_KIND_XZ:
    case FILE_KIND_BZIP2:
    case FILE_KIND_LZ4:
    case FILE_KIND_LZIP:
    case FILE_KIND_ZIP:
    case FILE_KIND_7Z:
    case FILE_KIND_RAR:
    case FILE_KIND_TAR:
        return file_kind_way_to_text(kind);
    default:
        return "make them of text";
    }
}

/* Fails if the first bytes show that this is a file of another kind. */
static int check_kind(const char *data, size_t bytes, struct fail *why)
{
    const unsigned char *head = (const unsigned char *)data;
    if (bytes > FILE_KIND_HEAD) bytes = FILE_KIND_HEAD;
    enum file_kind kind = bytes ? file_kind_of(data, bytes) : FILE_KIND_OTHER;
    if (is_certain(kind, head, bytes))
        return fail_input(why, "%s, not raw token ids: %s", file_kind_words(kind),
                          way_to_raw(kind));
    if (bytes && is_text(head, bytes))
        return data[0] == '{'
                   ? fail_input(why, "text, not raw token ids: --from jsonl, if it has tokens?")
                   : fail_input(why, "text, not raw token ids: run %s on it",
                                program_of("tokenize"));
    return 0;
}

bool token_format_is_raw(enum token_format format)
{
    return format == TOKEN_FORMAT_U16 || format == TOKEN_FORMAT_U32 || format == TOKEN_FORMAT_U64;
}

static size_t width_of(enum token_format format)
{
    return format == TOKEN_FORMAT_U16 ? 2 : format == TOKEN_FORMAT_U32 ? 4 : 8;
}

const char *token_format_raw_advice(enum token_format format)
{
    return format == TOKEN_FORMAT_U16   ? "--from u32?"
           : format == TOKEN_FORMAT_U32 ? "--from u16?"
                                        : "are they of another tokenizer?";
}

static int read_numbers(struct tokens *t, const char *data, size_t bytes, enum token_format format,
                        uint64_t vocab, struct fail *why)
{
    size_t width = width_of(format);
    if (check_kind(data, bytes, why) || check_size(bytes, width, why)) return -1;
    size_t count = t->count = bytes / width;
    if (buffer_fit(&t->ids, &t->capacity, count, why)) return -1;
    uint32_t *ids = t->ids;
    for (size_t i = 0; i < count; i++) {
        uint64_t id = 0;
        memcpy(&id, data + i * width, width);
        if (id > UINT32_MAX)
            return fail_input(why, "token %zu is %lld, which is no token: --from u32?", i,
                              (long long)id);
        ids[i] = (uint32_t)id;
    }
    if (check_width(ids, count, width, vocab, why)) return -1;
    const struct vocabulary tokens = { .ids = ids, .count = count };
    const struct vocabulary own = { .name = "the tokenizer", .size = vocab };
    return vocabulary_check(&tokens, &own, token_format_raw_advice(format), why);
}

int tokens_read_raw(const char *path, enum token_format format, uint64_t max, uint64_t vocab,
                    struct tokens *t, char digest[STREAM_DIGEST_TEXT], struct fail *why)
{
    must(token_format_is_raw(format));
    char *data = NULL;
    size_t bytes = 0, width = width_of(format);
    int fd = file_open_stream(path, why);
    if (fd < 0) return -1;
    int status =
        read_bytes(fd, max && max < SIZE_MAX / width ? max * width : SIZE_MAX, &data, &bytes, why);
    if (!status) status = read_numbers(t, data, bytes, format, vocab, why);
    if (!status) status = check_size(file_size(fd), width, why);
    if (!status) digest_of_bytes(data, bytes, digest);
    const char *name = file_shown(path);
    snprintf(t->id, sizeof t->id, "%.4000s", name);
    const char *slash = strrchr(name, '/');
    snprintf(t->source, sizeof t->source, "%.255s", slash ? slash + 1 : name);
    utf8_mend(t->id);
    utf8_mend(t->source);
    t->has_targets = false;
    t->target_count = 0;
    free(data);
    close(fd);
    return status ? fail_in(why, name) : 0;
}
