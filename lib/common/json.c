#include "lib/common/json.h"

#include "lib/common/file.h"
#include "lib/common/json_advice.h"
#include "lib/common/json_scan.h"
#include "lib/common/output.h"
#include "lib/common/wrong_kind.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/stat.h>

/* ---- the memory of a tree ---- */

/* What jansson has allocated, and may allocate, while this thread reads a text. */
static _Thread_local struct {
    /* is_exhausted: the limit is reached; has_failed: malloc has failed */
    bool is_counting, is_exhausted, has_failed;
    size_t used, max;
} budget;

static void (*on_out_of_memory)(void);

static void *count_malloc(size_t bytes)
{
    if (budget.is_counting && budget.used + bytes > budget.max) {
        budget.is_exhausted = true;
        return NULL;
    }
    void *at = malloc(bytes);
    if (!at && !budget.is_counting && on_out_of_memory) on_out_of_memory();
    if (!at) budget.has_failed = true;
    if (at && budget.is_counting) budget.used += malloc_usable_size(at);
    return at;
}

static void count_free(void *at)
{
    size_t bytes = budget.is_counting && at ? malloc_usable_size(at) : 0;
    budget.used -= bytes < budget.used ? bytes : budget.used;
    free(at);
}

static void count_memory(void) { json_set_alloc_funcs(count_malloc, count_free); }

static void begin_memory(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, count_memory);
}

void json_on_out_of_memory(void (*handler)(void))
{
    begin_memory();
    on_out_of_memory = handler;
}

/* Fails if brackets outside of strings are nested too deeply, because jansson recurses for each. */
static int check_depth(const char *text, size_t bytes, struct fail *why)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string)
            i += c == '\\';
        else if (c == '[' || c == '{')
            depth++;
        else if (c == ']' || c == '}')
            depth--;
        if (depth > JSON_DEPTH_MAX)
            return fail_input(why, "byte %zu: nested deeper than %d", i + 1, JSON_DEPTH_MAX);
    }
    return 0;
}

/* Returns NULL on failure, with the message in error->text, or in *why if error->text is empty. */
static json_t *read_tree(const char *text, size_t bytes, size_t flags, json_error_t *error,
                         struct fail *why)
{
    begin_memory();
    error->text[0] = 0;
    if (check_depth(text, bytes, why)) return NULL;
    memset(&budget, 0, sizeof budget);
    budget.max =
        bytes > JSON_TREE_MIN / JSON_TREE_TIMES ? bytes * JSON_TREE_TIMES : (size_t)JSON_TREE_MIN;
    budget.is_counting = true;
    json_t *value = json_loadb(text, bytes, flags | JSON_REJECT_DUPLICATES, error);
    budget.is_counting = false;
    if (value) return value;
    /* jansson's message names an option that only a programmer can set. */
    if (strstr(error->text, "JSON_ALLOW_NUL"))
        snprintf(error->text, sizeof error->text, "a text has a NUL character (\\u0000)");
    bool is_memory = budget.is_exhausted || budget.has_failed;
    if (budget.is_exhausted)
        (void)fail_input(why, "its values take more than %zu bytes, which is %d times its length",
                         budget.max, JSON_TREE_TIMES);
    else if (is_memory || !error->text[0])
        (void)fail(why, "out of memory: the values of %zu bytes of JSON", bytes);
    if (is_memory) error->text[0] = 0;
    return NULL;
}

/* Finds the next number from *at on, which is outside of strings. Sets *at to its first byte, and
 * returns how many bytes it has; 0: there is none. */
static size_t next_number(const char *text, size_t bytes, size_t *at)
{
    bool in_string = false;
    for (size_t i = *at, n = 1; i < bytes; i++) {
        char c = text[i];
        if (c == '"') in_string = !in_string;
        if (in_string && c == '\\') i++;
        if (in_string || (c != '-' && (c < '0' || c > '9'))) continue;
        while (i + n < bytes && text[i + n] && strchr("+-.0123456789eE", text[i + n]))
            n++;
        *at = i;
        return n;
    }
    return 0;
}

/* Returns a copy of the text in which "e0" is appended to each whole number that needs more than 64
 * bits, so that it is read as a real number. The caller frees it; NULL: out of memory. */
static char *copy_with_reals(const char *text, size_t bytes, size_t *copied)
{
    /* Such a number has at least 19 digits, so the copy has at most a quarter more bytes. */
    char *copy = malloc(bytes + bytes / 4 + 3);
    size_t from = 0, to = 0, n;
    for (size_t at = 0; copy && (n = next_number(text, bytes, &at)); at += n) {
        const char *number = text + at;
        if (n < 19 || memchr(number, '.', n) || memchr(number, 'e', n) || memchr(number, 'E', n))
            continue;
        memcpy(copy + to, text + from, at + n - from);
        to += at + n - from;
        from = at + n;
        copy[to] = 0;
        errno = 0;
        (void)strtoll(copy + to - n, NULL, 10);
        if (errno != ERANGE) continue;
        memcpy(copy + to, "e0", 2);
        to += 2;
    }
    if (copy) memcpy(copy + to, text + from, bytes - from);
    *copied = to + bytes - from;
    return copy;
}

/* Reads a whole number of more than 64 bits as a real number. transformers writes 10^30 for a
 * model_max_length without a limit. */
static json_t *read_large(const char *text, size_t bytes, json_error_t *error, struct fail *why)
{
    size_t copied;
    char *copy = copy_with_reals(text, bytes, &copied);
    error->text[0] = 0;
    json_t *value = copy ? read_tree(copy, copied, 0, error, why) : NULL;
    if (!copy) (void)fail(why, "out of memory");
    free(copy);
    return value;
}

/* Returns what to do about a fault that other programs do not mind, in brackets; "" for others. */
static const char *advice_of(const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);
    if (code == json_error_duplicate_key)
        return " (Python takes the last value: remove the others; python3 -m json.tool FILE "
               "prints the file without them)";
    if (code == json_error_numeric_overflow)
        return " (Python reads it as infinity: write a smaller number, such as 1e30)";
    /* jansson stops behind the minus of -Infinity. */
    bool is_python = strstr(error->text, "near 'Infinity'") || strstr(error->text, "near 'NaN'") ||
                     strstr(error->text, "near '-'");
    return is_python ? JSON_ADVICE_PYTHON : "";
}

static json_t *read_named(const char *text, size_t bytes, const char *name, struct fail *why)
{
    static const char mark[] = "\xef\xbb\xbf";
    if (bytes >= 3 && !memcmp(text, mark, 3)) {
        fail_input(
            why,
            "%s: begins with a byte order mark, which JSON does not allow and Python refuses too: "
            "save it in UTF-8 without one (sed -i '1s/^\\xEF\\xBB\\xBF//' FILE)",
            name);
        return NULL;
    }
    json_error_t error;
    json_t *value = read_tree(text, bytes, 0, &error, why);
    if (!value && error.text[0] && json_error_code(&error) == json_error_numeric_overflow)
        value = read_large(text, bytes, &error, why);
    if (!value && error.text[0])
        fail_input(why, "%s: line %d, column %d: %s%s", name, error.line, error.column, error.text,
                   advice_of(&error));
    else if (!value)
        (void)fail_in(why, name);
    return value;
}

json_t *json_read_text(const char *text, size_t bytes, const char *name, struct fail *why)
{
    return read_named(text, bytes, name, why);
}

/* ---- numbers that are too large, in lines ---- */

/* Is this a number in JSON's syntax that overflows a real number or, if it is whole and
 * reads_integers is set, 64 bits? Without memory the answer is no, and jansson refuses the number.
 */
static bool is_too_large(const char *number, size_t n, bool reads_integers)
{
    const unsigned char *at = (const unsigned char *)number;
    const char *fault;
    bool is_whole;
    if (json_scan_number_end(at, at + n, &is_whole, &fault) != at + n) return false;
    char *copy = strndup(number, n);
    if (!copy) return false;
    errno = 0;
    if (is_whole && reads_integers) (void)strtoll(copy, NULL, 10);
    bool is_large = errno == ERANGE || isinf(strtod(copy, NULL));
    free(copy);
    return is_large;
}

/* Such a number is read as an object with one member. No other object of a line has its key,
 * because the key has a random number of 128 bits, which is drawn once in each process. */
#define LARGE_END "\"}"
static char large_begin[64];

static void make_large_begin(void)
{
    uint64_t random[2];
    if (getrandom(random, sizeof random, 0) != sizeof random) return;
    snprintf(large_begin, sizeof large_begin, "{\"number %016llx%016llx\":\"",
             (unsigned long long)random[0], (unsigned long long)random[1]);
}

/* Returns false if the system has no random numbers. */
static bool has_large_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_large_begin);
    return *large_begin;
}

/* Returns a copy of the text in which an object is in place of each number that is too large. The
 * caller frees it; NULL: out of memory. */
static char *copy_with_objects(const char *text, size_t bytes, size_t *copied)
{
    char *copy = NULL;
    size_t from = 0, n;
    FILE *to = open_memstream(&copy, copied);
    if (!to) return NULL;
    for (size_t at = 0; (n = next_number(text, bytes, &at)); at += n) {
        if (!is_too_large(text + at, n, true)) continue;
        fwrite(text + from, 1, at - from, to);
        fwrite(large_begin, 1, strlen(large_begin), to);
        fwrite(text + at, 1, n, to);
        fwrite(LARGE_END, 1, sizeof LARGE_END - 1, to);
        from = at + n;
    }
    fwrite(text + from, 1, bytes - from, to);
    bool is_lost = ferror(to);
    if (!fclose(to) && !is_lost) return copy;
    free(copy);
    return NULL;
}

json_t *json_read_line(const char *text, size_t bytes, size_t flags, struct fail *why)
{
    json_error_t error;
    json_t *value = read_tree(text, bytes, flags, &error, why);
    if (!value && error.text[0]) fail_input(why, "%s", error.text);
    return value;
}

json_t *json_read_data(const char *text, size_t bytes, size_t flags, bool *has_large,
                       struct fail *why)
{
    json_error_t error;
    json_t *value = read_tree(text, bytes, flags, &error, why);
    *has_large = !value && error.text[0] &&
                 json_error_code(&error) == json_error_numeric_overflow && has_large_begin();
    if (*has_large) {
        size_t copied;
        char *copy = copy_with_objects(text, bytes, &copied);
        error.text[0] = 0;
        if (copy)
            value = read_tree(copy, copied, flags, &error, why);
        else
            (void)fail(why, "out of memory");
        free(copy);
    }
    if (!value && error.text[0]) fail_input(why, "%s", error.text);
    return value;
}

char *json_data_text(const json_t *value, bool has_large)
{
    static const char end[] = LARGE_END;
    char *text = json_dumps(value, JSON_COMPACT), *to = text, *next;
    if (!text || !has_large) return text;
    for (const char *from = text;; from = next + sizeof end - 1) {
        next = strstr(from, large_begin);
        size_t n = next ? (size_t)(next - from) : strlen(from);
        memmove(to, from, n);
        to += n;
        if (!next) break;
        from = next + strlen(large_begin);
        next = strstr(from, end);
        must(next != NULL);
        memmove(to, from, (size_t)(next - from));
        to += next - from;
    }
    *to = 0;
    return text;
}

/* Replaces each number outside of strings that overflows a real number. */
static void replace_overflows(char *text, size_t bytes)
{
    static const char large[] = "9e307";
    for (size_t i = 0, n; (n = next_number(text, bytes, &i)); i += n) {
        if (n < sizeof large - 1 || !is_too_large(text + i, n, false)) continue;
        memset(text + i, ' ', n);
        memcpy(text + i, large, sizeof large - 1);
    }
}

json_t *json_read_line_of_reals(const char *text, size_t bytes, size_t flags, struct fail *why)
{
    json_error_t error;
    flags |= JSON_DECODE_INT_AS_REAL;
    json_t *value = read_tree(text, bytes, flags, &error, why);
    if (!value && error.text[0] && json_error_code(&error) == json_error_numeric_overflow) {
        char *copy = malloc(bytes);
        error.text[0] = 0;
        if (copy) {
            memcpy(copy, text, bytes);
            replace_overflows(copy, bytes);
            value = read_tree(copy, bytes, flags, &error, why);
        } else {
            (void)fail(why, "out of memory");
        }
        free(copy);
    }
    if (!value && error.text[0]) fail_input(why, "%s", error.text);
    return value;
}

/* If the file is not JSON at all, replaces the message by the kind of the file. */
static void fail_of_kind(const char *text, size_t bytes, const char *path, struct fail *why)
{
    struct fail kind = { 0 };
    (void)wrong_kind_of_json(text, bytes, &kind);
    if (!*kind.text) return;
    *why = kind;
    fail_prefix(why, path);
}

json_t *json_read_file(const char *path, struct fail *why)
{
    char *text;
    size_t bytes;
    int got = file_read(path, JSON_FILE_MAX, &text, &bytes, why);
    if (got > 0)
        fail_input(why, "%s: %zu bytes, at most %d are read as JSON", path, bytes, JSON_FILE_MAX);
    if (got) return NULL;
    json_t *value = read_named(text, bytes, path, why);
    if (!value) fail_of_kind(text, bytes, path, why);
    free(text);
    return value;
}

char *json_text(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    char *line;
    if (!text || asprintf(&line, "%s\n", text) < 0) line = NULL;
    free(text);
    return line;
}

int json_write_file(const json_t *value, const char *path, struct fail *why)
{
    char *text = json_text(value);
    if (!text) return fail(why, "%s: out of memory", path);
    int status = output_text(path, text, why);
    free(text);
    return status;
}

int json_get_count(const json_t *object, const char *key, int64_t max, int64_t *value,
                   struct fail *why)
{
    const json_t *found = json_object_get(object, key);
    if (!found) return 0;
    if (!json_is_integer(found)) return fail_input(why, "'%s' is not a whole number", key);
    int64_t n = json_integer_value(found);
    if (n < 0 || n > max)
        return fail_input(why, "'%s' is %lld, not between 0 and %lld", key, (long long)n,
                          (long long)max);
    *value = n;
    return 0;
}

int json_get_real(const json_t *object, const char *key, double *value, struct fail *why)
{
    const json_t *found = json_object_get(object, key);
    if (!found || json_is_null(found)) return 0;
    if (!json_is_number(found)) return fail_input(why, "'%s' is not a number", key);
    *value = json_number_value(found);
    return 0;
}

int json_get_flag(const json_t *object, const char *key, bool *value, struct fail *why)
{
    const json_t *found = json_object_get(object, key);
    if (!found || json_is_null(found)) return 0;
    if (!json_is_boolean(found)) return fail_input(why, "'%s' is not true or false", key);
    *value = json_is_true(found);
    return 0;
}

const char *json_get_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

const json_t *json_at_path(const json_t *object, const char *path)
{
    if (!json_is_object(object)) return NULL;
    for (size_t n = strcspn(path, ".");; n += 1 + strcspn(path + n + 1, ".")) {
        char *key = strndup(path, n);
        const json_t *value = key ? json_object_get(object, key) : NULL;
        free(key);
        if (!path[n]) return value;
        value = json_at_path(value, path + n + 1);
        if (value) return value;
    }
}

/* Reads an exponent, from its sign on. A large one becomes 10^10, which is more than the number of
 * digits in any text that is read. */
static int64_t exponent_of(const char *at, const char *end)
{
    bool is_negative = at < end && *at == '-';
    int64_t value = 0;
    for (at += at < end && (*at == '-' || *at == '+'); at < end; at++)
        value = value < 1000000000 ? 10 * value + (*at - '0') : 10000000000;
    return is_negative ? -value : value;
}

bool json_whole_text(const char *number, size_t bytes, char *text)
{
    enum { DIGITS_MAX = 20 }; /* of 2^64 - 1 */
    const char *end = number + bytes, *at = number + (*number == '-');
    char digits[DIGITS_MAX + 1];
    /* The first `count` significant digits, up to the last one that is not 0; how many zeros follow
     * them; and how many of all digits are behind the point. */
    size_t count = 0;
    int64_t zeros = 0, behind = 0;
    bool is_behind = false;
    for (; at < end && *at != 'e' && *at != 'E'; at++) {
        behind += is_behind;
        if (*at == '.')
            is_behind = true;
        else if (*at == '0')
            zeros += count > 0;
        else {
            /* With more digits the value is too large, or has a fraction. */
            if ((int64_t)count + zeros >= DIGITS_MAX) return false;
            memset(digits + count, '0', (size_t)zeros);
            count += (size_t)zeros;
            digits[count++] = *at;
            zeros = 0;
        }
    }
    zeros += (at < end ? exponent_of(at + 1, end) : 0) - behind;
    if (!count) zeros = 0;
    if (zeros < 0 || (int64_t)count + zeros > DIGITS_MAX) return false;
    memset(digits + count, '0', (size_t)zeros);
    digits[count + (size_t)zeros] = 0;
    errno = 0;
    uint64_t value = strtoull(digits, NULL, 10);
    if (errno || (*number == '-' && value > UINT64_C(1) << 63)) return false;
    snprintf(text, JSON_WHOLE_TEXT, "%s%llu", *number == '-' && value ? "-" : "",
             (unsigned long long)value);
    return true;
}

const char *json_key_of_records(const json_t *object, bool (*is_record)(const json_t *element))
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        const json_t *first = json_array_get(value, 0);
        if (json_is_object(first) && is_record(first)) return key;
    }
    return NULL;
}
