#include "lib/common/input.h"

#include "lib/common/buffer.h"
#include "lib/common/decompressor.h"
#include "lib/common/file.h"

#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 18 };
static const char line_word[] = "line"; /* what messages call a line; see struct input */

struct input {
    int fd;
    char *name;
    struct decompressor *decompressor; /* NULL for plain text */
    enum file_kind kind;
    char *raw; /* bytes read from the file; [raw_at, raw_size) is unused */
    size_t raw_at, raw_size;
    bool at_end;
    char *text; /* [at, size) is not yet handed out */
    size_t at, size, capacity;
    uint64_t lines, consumed, made; /* made: bytes that came out of the decompressor */
    size_t max_bytes;               /* the largest line or text that is allowed */
    const char *what;      /* "line" or another word, for the message that the text is too long */
    uint64_t size_of_file; /* the size when the file was opened; 0 if it is not regular */
    XXH3_state_t *hash;    /* of the text, borrowed; NULL: none is computed */
};

/* Reads more raw bytes. Returns 1, 0 at the end of the file, or -1. */
static int read_raw(struct input *in, struct fail *why)
{
    struct fail changed;
    int64_t n = file_read_piece(in->fd, in->raw + in->raw_size, PIECE - in->raw_size, why);
    if (n < 0) return -1;
    if (n == 0 && file_check_end(in->fd, in->size_of_file, in->name, &changed))
        return fail_input(why, "changed while it was read: begin again");
    in->raw_size += (size_t)n;
    in->consumed += (size_t)n;
    return n > 0;
}

/* Reads enough bytes to recognise the kind of the file. A pipe may deliver them one by one. After a
 * first line of text the function waits for no more bytes, because a user who types a short line
 * expects an answer to it. */
static int read_head(struct input *in, struct fail *why)
{
    enum { TEXT_TELLS = 4, BINARY_TELLS = 16 };
    for (int got = 1; got > 0;) {
        unsigned char first = in->raw_size ? (unsigned char)*in->raw : '\n';
        bool is_binary = first < '\t' || first > 0xf4;
        if (in->raw_size >= (size_t)(is_binary ? BINARY_TELLS : TEXT_TELLS)) return 0;
        if (!is_binary && memchr(in->raw, '\n', in->raw_size)) return 0;
        got = read_raw(in, why);
        if (got < 0) return -1;
    }
    return 0;
}

static int grow(struct input *in, struct fail *why)
{
    if (in->at) {
        memmove(in->text, in->text + in->at, in->size - in->at);
        in->size -= in->at;
        in->at = 0;
    }
    if (in->capacity - in->size >= PIECE) return 0;
    if (in->size > in->max_bytes) {
        char number[32] = "";
        if (!strcmp(in->what, line_word))
            snprintf(number, sizeof number, " %llu", (unsigned long long)in->lines + 1);
        return fail_input(why, "%s%s is longer than %zu MiB: split it", in->what, number,
                          in->max_bytes >> 20);
    }
    size_t more = in->capacity < 2 * PIECE ? 4 * PIECE : 2 * in->capacity;
    if (more > in->max_bytes + 2 * PIECE) more = in->max_bytes + 2 * PIECE;
    if (buffer_fit(&in->text, &in->capacity, more + 1, why))
        return fail(why, "out of memory: a line of %zu bytes", more);
    in->capacity = more; /* one more byte is allocated, for the NUL that ends a text */
    return 0;
}

/* Sets the end of the text that was read, and hashes what is new. */
static void extend(struct input *in, size_t size)
{
    if (in->hash && size > in->size)
        XXH3_128bits_update(in->hash, in->text + in->size, size - in->size);
    in->size = size;
}

void input_hash(struct input *in, XXH3_state_t *hash)
{
    in->hash = hash;
    if (in->size > in->at) XXH3_128bits_update(hash, in->text + in->at, in->size - in->at);
}

/* Adds the content that the decompressor still holds after the file has ended. */
static int last_text(struct input *in, struct fail *why)
{
    char *to = in->text + in->size;
    int more = in->decompressor
                   ? decompressor_end(in->decompressor, &to, in->text + in->capacity, why)
                   : 0;
    if (more < 0) return -1;
    extend(in, (size_t)(to - in->text));
    in->at_end = !more;
    return 1;
}

/* Refuses a small compressed file that needs a large window and expands to an enormous text. Such a
 * file is an attack: it only makes the program allocate much memory. */
static int check_growth(const struct input *in, struct fail *why)
{
    enum {
        MUCH = 256 << 20,
        RATIO_MAX = 1000
    }; /* a ratio above RATIO_MAX occurs in no real text */
    if (in->made <= MUCH || in->made / RATIO_MAX <= in->consumed ||
        decompressor_memory(in->decompressor) <= MUCH)
        return 0;
    return fail_input(why,
                      "more than %d MiB come out of its first %llu KiB, with a window of %llu MiB, "
                      "which no usual text needs: decompress the file first",
                      MUCH >> 20, (unsigned long long)in->consumed >> 10,
                      (unsigned long long)decompressor_memory(in->decompressor) >> 20);
}

/* Adds text to the buffer. Returns 1 even if a read has given no text yet, 0 at the end of the
 * input, or -1 with a message that does not contain the file's name. */
static int add_text(struct input *in, struct fail *why)
{
    if (in->at_end) return 0;
    if (grow(in, why)) return -1;
    if (in->raw_at == in->raw_size) {
        in->raw_at = in->raw_size = 0;
        int got = read_raw(in, why);
        if (got <= 0) return got < 0 ? -1 : last_text(in, why);
    }
    if (!in->decompressor) {
        size_t n = in->raw_size - in->raw_at;
        if (n > in->capacity - in->size) n = in->capacity - in->size;
        memcpy(in->text + in->size, in->raw + in->raw_at, n);
        in->raw_at += n;
        extend(in, in->size + n);
        return 1;
    }
    const char *from = in->raw + in->raw_at;
    char *to = in->text + in->size;
    if (decompressor_run(in->decompressor, &from, in->raw + in->raw_size, &to,
                         in->text + in->capacity, why))
        return -1;
    in->raw_at = (size_t)(from - in->raw);
    in->made += (size_t)(to - in->text) - in->size;
    extend(in, (size_t)(to - in->text));
    return check_growth(in, why) ? -1 : 1;
}

static int more_text(struct input *in, struct fail *why)
{
    int got = add_text(in, why);
    return got < 0 ? fail_in(why, in->name) : got;
}

static int refuse_kind(enum file_kind outer, enum file_kind kind, struct fail *why)
{
    bool is_packed = outer != kind && outer != FILE_KIND_OTHER;
    return fail_input(why, "%s%s%s: %s", file_kind_words(kind), is_packed ? " in " : "",
                      is_packed ? file_kind_words(outer) : "", file_kind_way_to_text(kind));
}

/* Finds out the kind of the file and, if it is compressed, the kind of its content. */
static int begin(struct input *in, struct fail *why)
{
    enum { HEAD = 16 };
    if (read_head(in, why)) return -1;
    enum file_kind outer = file_kind_of(in->raw, in->raw_size);
    if (decompressor_open(&in->decompressor, outer, why)) return -1;
    for (int got = 1; got > 0;) {
        got = add_text(in, why);
        if (got < 0) return -1;
        if (!in->decompressor || in->size >= HEAD) break;
    }
    size_t bytes = in->size < FILE_KIND_HEAD ? in->size : FILE_KIND_HEAD;
    in->kind = bytes ? file_kind_of(in->text, bytes) : FILE_KIND_OTHER;
    bool is_left = file_kind_is_text(in->kind) || in->kind == FILE_KIND_LONGQLORA;
    if (in->kind != FILE_KIND_OTHER && !is_left) return refuse_kind(outer, in->kind, why);
    if (bytes >= 3 && !memcmp(in->text, "\xef\xbb\xbf", 3)) in->at = 3;
    return 0;
}

int input_open(struct input **out, const char *path, struct fail *why)
{
    *out = NULL;
    if (file_is_folder(path))
        return fail(why, "%s: a directory, where a file is needed: name what is in it", path);
    struct input *in = calloc(1, sizeof *in);
    if (!in) return fail(why, "%s: out of memory", path);
    in->max_bytes = INPUT_LINE_MAX;
    in->what = line_word;
    in->fd = file_open_stream(path, why);
    int status = in->fd < 0 ? -1 : 0;
    if (!status) {
        in->size_of_file = file_size(in->fd);
        in->name = strdup(file_shown(path));
        in->raw = malloc(PIECE);
        status = in->name && in->raw ? begin(in, why) : fail(why, "out of memory");
        if (status) (void)fail_in(why, in->name ? in->name : path);
    }
    if (status) {
        input_close(in);
        return -1;
    }
    *out = in;
    return 0;
}

void input_close(struct input *in)
{
    if (!in) return;
    if (in->fd >= 0) close(in->fd);
    decompressor_close(in->decompressor);
    free(in->name);
    free(in->raw);
    free(in->text);
    free(in);
}

const char *input_name(const struct input *in) { return in->name; }
enum file_kind input_kind(const struct input *in) { return in->kind; }
uint64_t input_line_number(const struct input *in) { return in->lines; }
uint64_t input_bytes_read(const struct input *in) { return in->consumed; }

void input_allow_lines(struct input *in, size_t bytes) { in->max_bytes = bytes; }

/* Returns where the white space from `at` on ends. *line becomes where its last line begins. */
static size_t skip_space(struct input *in, size_t at, size_t *line)
{
    const uint64_t spaces = 0x2020202020202020u, newlines = 0x0a0a0a0a0a0a0a0au;
    *line = at;
    while (at < in->size) {
        uint64_t x = 0;
        char c = in->text[at];
        if (in->size - at >= sizeof x) memcpy(&x, in->text + at, sizeof x);
        if (x == spaces) {
            at += sizeof x;
        } else if (x == newlines) {
            *line = at += sizeof x;
            in->lines += sizeof x;
        } else if (c == '\n') {
            *line = ++at;
            in->lines++;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            at++;
        } else {
            break;
        }
    }
    return at;
}

int input_skip_blank(struct input *in, size_t *taken, struct fail *why)
{
    *taken = 0;
    for (;;) {
        size_t before = in->at, line, end = skip_space(in, before, &line);
        if (line > before) *taken = 0;
        if (end < in->size) {
            in->at = line;
            return 1;
        }
        *taken += in->size - line;
        in->at = in->size;
        int got = more_text(in, why);
        if (got <= 0) return got;
    }
}

int input_line(struct input *in, char **line, size_t *bytes, struct fail *why)
{
    size_t scanned = 0;
    in->what = line_word;
    for (;;) {
        /* in->text is NULL if nothing was read yet */
        char *start = in->text ? in->text + in->at : NULL;
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
    in->max_bytes = INPUT_TEXT_MAX;
    in->what = "the text";
    while ((got = more_text(in, why)) > 0)
        ;
    if (got < 0) return -1;
    *text = in->text + in->at;
    *bytes = in->size - in->at;
    in->at = in->size;
    in->lines = 1;
    return 0;
}

int input_peek(struct input *in, size_t more, char **text, size_t *bytes, struct fail *why)
{
    int got = 1;
    in->what = "an element";
    while (got > 0 && in->size - in->at < more)
        got = more_text(in, why);
    if (got < 0) return -1;
    *text = in->text + in->at;
    *bytes = in->size - in->at;
    return 0;
}

void input_consume(struct input *in, size_t bytes) { in->at += bytes; }
