/* Tests the limits on objects, depth and time. Without these limits, reading a small file could
 * take much memory or would not end. */
#include "lib/common/json.h"
#include "lib/llama/adapter.h"
#include "lib/llama/model_files.h"
#include "lib/stream/jsonl.h"
#include "lib/stream/tokens.h"
#include "lib/tensorfile/pickle.h"
#include "lib/tensorfile/safetensors.h"
#include "lib/tokenizer/tokenizer_internal.h"
#include "model/checkpoint.h"
#include "tests/lib/bounded.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <math.h>
#include <zstd.h>

static struct fail why;
static char path[64];

static int open_directory(void **state)
{
    if (scratch_open(state)) return -1;
    snprintf(path, sizeof path, "%s/a", scratch_directory);
    return 0;
}

static void says(const char *what)
{
    if (!strstr(why.text, what)) fail_msg("'%s' does not say '%s'", why.text, what);
}

/* ---- streams ---- */

static int read_it(void)
{
    struct reader *r;
    msgpack_object o;
    int got;
    if (reader_open(&r, path, STREAM_TOKENS, &why)) return -1;
    while ((got = reader_next(r, &o, &why)) > 0)
        ;
    reader_close(r);
    return got;
}

/* Stores `count` objects of one byte after the bytes of `head`. */
static void store_many(const void *head, size_t head_bytes, unsigned char each, size_t count)
{
    unsigned char *all = malloc(head_bytes + count);
    memcpy(all, head, head_bytes);
    memset(all + head_bytes, each, count);
    scratch_store_frame(path, all, head_bytes + count);
    free(all);
}

/* Each value takes 24 bytes in msgpack-c. Without the limit 2 KB of a file would take 1.6 GB. */
static void test_too_many_values(void **state)
{
    (void)state;
    static const char head[] = "\x83\xa9longqlora\x01\xa4kind\xa6tokens\xa3x-a\xdd\x04\x00\x00\x00";
    store_many(head, sizeof head - 1, 0xc0, 1 << 26);
    assert_int_equal(read_it(), -1);
    says(": record 1: an object has more than 1048576 values");
    bounded_work(read_it, -1, 80 << 20); /* the frame has 64 MiB */
    /* An object that has nearly as many values as are allowed. */
    static const char few[] = "\x83\xa9longqlora\x01\xa4kind\xa6tokens\xa3x-a\xdd\x00\x0f\x00\x00";
    store_many(few, sizeof few - 1, 0xc0, 15 << 16);
    assert_int_equal(read_it(), -1);
    says("without its end record");
}

/* Without the limit, all keys of a header would be compared with each other. */
static void test_too_many_keys(void **state)
{
    (void)state;
    enum { KEYS = 90000 };
    char *all = malloc(32 + 12 * KEYS);
    size_t n = 0;
    static const char head[] = "\xdf....\xa9longqlora\x01\xa4kind\xa6tokens";
    memcpy(all, head, n = sizeof head - 1);
    all[1] = 0;
    all[2] = (char)((KEYS + 2) >> 16);
    all[3] = (char)((KEYS + 2) >> 8 & 255);
    all[4] = (char)((KEYS + 2) & 255);
    for (int i = 0; i < KEYS; i++)
        n += (size_t)snprintf(all + n, 12, "\xa8x-%06d\x01", i);
    scratch_store_frame(path, all, n);
    free(all);
    assert_int_equal(read_it(), -1);
    says("a map has 90002 keys, but at most 256");
}

static void write_stream(void)
{
    struct writer *w;
    struct msgpack_map none, r;
    static char data[60000];
    msgpack_map_init(&none);
    assert_int_equal(writer_open(&w, path, STREAM_TOKENS, "test", &none, &none, &why), 0);
    for (int i = 0; i < 40; i++) {
        msgpack_map_init(&r);
        msgpack_map_bin(&r, "data", data, sizeof data);
        assert_int_equal(writer_add(w, &r, &why), 0);
    }
    assert_int_equal(writer_close(w, &why), 0);
}

/* Writes a stream whose end record promises `number` records. `inside` is how many bytes each data
 * frame has according to the seek table; 0 means the true number. */
static void promise_records(const void *number, uint32_t inside)
{
    write_stream();
    struct scratch_bytes b = scratch_load(path);
    /* The last frame before the seek table contains the end record. It is decompressed, changed and
     * compressed again. */
    unsigned char table[4096], end[512], packed[1024];
    uint32_t entries;
    memcpy(&entries, b.at + b.count - 9, 4);
    size_t table_bytes = 8 + 8 * (size_t)entries + 9;
    assert_true(table_bytes <= sizeof table);
    memcpy(table, b.at + b.count - table_bytes, table_bytes);
    uint32_t end_bytes;
    memcpy(&end_bytes, table + 8 + 8 * (entries - 1), 4);
    size_t at = b.count - table_bytes - end_bytes;
    size_t length = ZSTD_decompress(end, sizeof end, b.at + at, end_bytes);
    assert_false(ZSTD_isError(length));
    unsigned char *records = memmem(end, length, "\xa7records", 8);
    assert_non_null(records);
    assert_int_equal(records[8], 40);
    memmove(records + 17, records + 9, length - (size_t)(records + 9 - end));
    memcpy(records + 8, number, 9);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    uint32_t packed_bytes = (uint32_t)ZSTD_compress2(c, packed, sizeof packed, end, length + 8);
    ZSTD_freeCCtx(c);
    memcpy(table + 8 + 8 * (entries - 1), &packed_bytes, 4);
    for (uint32_t i = 1; inside && i < entries - 1; i++)
        memcpy(table + 8 + 8 * i + 4, &inside, 4);
    unsigned char *all = malloc(b.count + sizeof packed);
    memcpy(all, b.at, at);
    memcpy(all + at, packed, packed_bytes);
    memcpy(all + at + packed_bytes, table, table_bytes);
    scratch_store(path, all, at + packed_bytes + table_bytes);
    free(all);
    free(b.at);
}

/* A reader allocates memory by the number of records in the end record, so a wrong number is
 * dangerous. */
static void test_impossible_record_counts(void **state)
{
    (void)state;
    static const struct {
        const char *number;
        uint32_t inside;
        const char *said;
    } cases[] = {
        /* With 2^61 - 1 records, the size of the index, 8 (n + 1) bytes, overflows to zero. */
        { "\xcf\x1f\xff\xff\xff\xff\xff\xff\xff", 0,
          "promises 2305843009213693951 records, but 40 were read" },
        /* The seek table promises enough bytes for these records, but the frames are shorter. */
        { "\xcf\0\0\0\0\x10\0\0\0", 1 << 28, "promises 268435456 records, but 40 were read" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader *r;
        promise_records(cases[i].number, cases[i].inside);
        assert_int_equal(reader_open(&r, path, STREAM_TOKENS, &why), 0);
        assert_int_equal(reader_index(r, &why), -1); /* it then reads the stream from its start */
        says(cases[i].said);
        reader_close(r);
    }
}

/* ---- JSON ---- */

/* Returns the text `times` times between brackets. The caller frees it. */
static char *list_of(const char *text, size_t times)
{
    size_t each = strlen(text);
    char *all = malloc(each * times + 8), *to = all;
    *to++ = '[';
    for (size_t i = 0; i < times; i++, to += each)
        memcpy(to, text, each);
    memcpy(to, "0]", 3);
    return all;
}

static json_t *read_text(char *text)
{
    json_t *j = json_read_text(text, strlen(text), "name", &why);
    free(text);
    return j;
}

static int read_empty_objects(void) { return read_text(list_of("{},", 1 << 20)) != NULL; }

static int read_more_than_is_there(void)
{
    char *text = list_of("\"word\",", 1 << 20);
    if (bounded_more(8 << 20)) return -1;
    if (read_text(text)) return -2;
    return strstr(why.text, "name: out of memory: the values of") && why.status == STATUS_FAILED;
}

/* A JSON tree takes at most 32 times as much memory as its text, even if each value has the
 * shortest possible text. Nested brackets cannot exhaust the stack. */
static void test_json_trees(void **state)
{
    (void)state;
    if (bounded_is_measured()) bounded_work(read_more_than_is_there, 1, 100 << 20);
    bounded_work(read_empty_objects, 0, 110 << 20); /* 32 times 3 MiB */
    assert_null(read_text(list_of("{},", 1 << 20)));
    says("name: its values take more than 100663392 bytes, which is 32 times its length");
    json_t *j = read_text(list_of("1,", 1 << 20));
    assert_int_equal(json_array_size(j), (1 << 20) + 1);
    json_decref(j);
    assert_null(read_text(list_of("[", 600)));
    says("name: byte 513: nested deeper than 512");
    assert_null(read_text(list_of("\"a", 3)));
    says("name: line 1, column");
    j = read_text(list_of("\"[[[\\\"[[[[\",", 300));
    assert_int_equal(json_array_size(j), 301);
    json_decref(j);
}

/* ---- safetensors ---- */

static struct tensor_file tensors;
enum { TENSORS = 100000 };

static int open_tensors(void) { return safetensors_open(&tensors, path, &why); }

/* The header has five megabytes and describes as many tensors as the largest models have. A JSON
 * tree of it would take 250 megabytes. */
static void test_many_tensors(void **state)
{
    (void)state;
    char *header = malloc(80 * TENSORS);
    size_t n = 8;
    header[n++] = '{';
    for (int i = 0; i < TENSORS; i++)
        n += (size_t)snprintf(header + n, 80,
                              "%s\"%05d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                              i ? "," : "", i);
    header[n++] = '}';
    uint64_t length = n - 8;
    memcpy(header, &length, 8);
    scratch_store(path, (unsigned char *)header, n);
    free(header);
    bounded_work(open_tensors, 0, 6 * n);
    assert_int_equal(open_tensors(), 0);
    assert_int_equal(tensors.count, TENSORS);
    assert_non_null(tensor_file_find(&tensors, "07654"));
    tensor_file_close(&tensors);
    /* Deep nesting is refused even where no value is read. */
    char deep[8 + 300] = "\x2c\1\0\0\0\0\0\0{\"a\":{\"b\":";
    memset(deep + 8 + 10, '[', sizeof deep - 18);
    scratch_store(path, (unsigned char *)deep, sizeof deep);
    assert_int_equal(open_tensors(), -1);
    says("header byte 73: nested deeper than 64");
}

/* ---- streams as JSON lines ---- */

static int parse_line(const char *line, msgpack_sbuffer *to)
{
    int width = 2;
    msgpack_sbuffer_init(to);
    return stream_json_parse(to, line, strlen(line), &width, &why);
}

static int parse_tokens(void)
{
    msgpack_sbuffer packed;
    char *numbers = list_of("0,", 1 << 20), *line = malloc(strlen(numbers) + 20);
    snprintf(line, strlen(numbers) + 20, "{\"tokens\":%s}", numbers);
    free(numbers);
    return parse_line(line, &packed) ? -1 : (int)packed.size;
}

/* A token takes two bytes of a line. In a JSON tree it would take forty bytes. */
static void test_json_lines(void **state)
{
    (void)state;
    bounded_work(parse_tokens, 1 + 7 + 5 + 2 * ((1 << 20) + 1), 20 << 20);
    msgpack_sbuffer packed;
    static const char line[] =
        "{ \"a\" : 1.5 , \"b\":[true,false,-3, {}],\"c\":{\"\\u00e4\":\"\\\"x\"}, "
        "\"targets\": [[1,2],[3,4]], \"n\": 9223372036854775807}";
    static const char wanted[] =
        "\x85\xa1"
        "a\xcb\x3f\xf8\0\0\0\0\0\0\xa1"
        "b\x94\xc3\xc2\xfd\x80\xa1"
        "c\x81\xa2"
        "\xc3\xa4\xa2\"x\xa7targets\xc4\x10\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\xa1"
        "n\xcf\x7f\xff\xff\xff\xff\xff\xff\xff";
    if (parse_line(line, &packed)) fail_msg("%s", why.text);
    assert_int_equal(packed.size, sizeof wanted - 1);
    assert_memory_equal(packed.data, wanted, packed.size);
    msgpack_sbuffer_destroy(&packed);
    char deep[200] = "{\"x-a\":", digits[700] = "{\"a\":1";
    memset(deep + 7, '[', 100);
    memset(digits + 6, '1', 600);
    digits[606] = '}';
    const char *const refused[][2] = {
        { deep, "not JSON: byte 71: nested deeper than 64" },
        { digits, "not JSON: byte 6: the number has 601 characters, but at most 511 are possible" },
        { "{\"a\":99999999999999999999}", "the number does not fit in 64 bits" },
        { "{\"a\":1e999}", "the number does not fit in 64 bits" },
        { "{\"a\":null}", "a: null has no place here" },
        { "{\"a\":tru}", "not a JSON value" },
        { "{\"a\":1,}", "not a string" },
        { "{\"a\":1}}", "something follows the end" },
        { "{\"tokens\":[65536]}", "tokens: a list holds something that is no number below 2^16" },
        { "{\"tokens\":[[1,2],[3]]}",
          "tokens: a list holds something that is no number below 2^16" },
        { "{\"documents\":[1,[2]]}", "documents: a list holds something that is no number" },
        { "{\"targets\":[1,2]}", "targets: a list holds something that is no pair [start, end]" },
        { "{\"targets\":[[1],[2,4]]}",
          "targets: a list of 1 numbers, where a pair [start, end] is" },
        { "{\"targets\":[[1,2,4]]}", "targets: a list of 3 numbers, where a pair [start, end] is" },
        { "{\"targets\":[[1,[2]]]}", "targets: a list holds something that is no number" },
        { "{\"targets\":[[]]}",
          "targets: a list of 0 numbers, where a pair [start, end] is needed" },
        { "{\"a\":01}", "not a JSON value" },
        { "{\"a\":NaN}", "not a JSON value (Python writes it, but it is not JSON: write a number" },
        { "{\"a\":-Infinity}",
          "not a JSON value (Python writes it, but it is not JSON: write a number" },
        { "{\"a\":\"\\ud800\"}", "a lone surrogate" },
        { "[]", "not a JSON object" },
        { "{\"a\"", "':' is missing (truncated?)" },
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(parse_line(refused[i][0], &packed), -1);
        says(refused[i][1]);
        assert_int_equal(why.status, STATUS_INPUT);
        msgpack_sbuffer_destroy(&packed);
    }
}

/* ---- pickles and archives ---- */

/* Begins a pickled dict. Its first entry is the text 'a', which gets the memo number 0, and a
 * tensor, which gets 1. `key` is the length of the storage's key. `capacity` more bytes fit at
 * *to. */
static char *begin_dict(size_t key, size_t capacity, char **to)
{
    static const char before[] =
        "\x80\2}(\x8c\1aq\0ctorch._utils\n_rebuild_tensor_v2\n((\x8c\7storage"
        "ctorch\nByteStorage\nX";
    static const char after[] = "\x8c\3cpuK\1tQK\0K\1\x85K\1\x85tRq\1";
    char *all = malloc(sizeof before + 4 + key + sizeof after + capacity);
    uint32_t bytes = (uint32_t)key;
    memcpy(all, before, sizeof before - 1);
    memcpy(all + sizeof before - 1, &bytes, 4);
    memset(all + sizeof before + 3, 'k', key);
    memcpy(all + sizeof before + 3 + key, after, sizeof after - 1);
    *to = all + sizeof before + 3 + key + sizeof after - 1;
    return all;
}

static int end_dict(char *all, char *to)
{
    struct pickled_tensor *list;
    size_t count;
    memcpy(to, "u.", 2);
    int status = pickle_tensors(all, (size_t)(to + 2 - all), &list, &count, &why);
    if (!status) pickle_release(list, count);
    free(all);
    return status ? -1 : (int)count;
}

/* All tensors have the same storage, whose key is a text of a megabyte. It must not be copied for
 * each of them. */
static int read_long_keys(void)
{
    enum { ENTRIES = 1 << 12 };
    char *to, *all = begin_dict(1 << 20, 16 * ENTRIES, &to);
    for (int i = 1; i < ENTRIES; i++)
        to += snprintf(to, 12, "\x8c\5%05xh%c", (unsigned)i, 1);
    return end_dict(all, to);
}

/* The text and the tensor of the memo are repeated, so that each entry takes only four bytes. */
static int read_same_names(void)
{
    enum { ENTRIES = 1 << 20 };
    char *to, *all = begin_dict(1, 4 * ENTRIES, &to);
    for (int i = 1; i < ENTRIES; i++, to += 4)
        memcpy(to, "h\0h\1", 4);
    return end_dict(all, to);
}

static void test_pickled_names(void **state)
{
    (void)state;
    bounded_work(read_long_keys, 1 << 12, 16 << 20);
    assert_int_equal(read_same_names(), -1);
    says("a occurs twice");
}

/* ---- tokenizers ---- */

static const char *const real_patterns[] = {
    /* GPT-2; LLaMA-3; Qwen; one like GPT-4o's; cl100k; DeepSeek-LLM's ends of lines; DeepSeek-V3 */
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
    "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| "
    "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s",
    "\\s+$",
    "[!-/:-@\\[-`{-~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
};
enum { REAL = sizeof real_patterns / sizeof *real_patterns, LONG = 1 << 18 };

/* Writes a text of at most LONG bytes: the head, the piece again and again, the tail. Returns its
 * length. */
static size_t repeat(char *to, const char *head, const char *piece, const char *tail)
{
    size_t at = strlen(head), each = strlen(piece);
    memcpy(to, head, at);
    for (; at + each + strlen(tail) <= LONG; at += each)
        memcpy(to + at, piece, each);
    memcpy(to + at, tail, strlen(tail));
    return at + strlen(tail);
}

/* The patterns of real models never reach the limit of steps, even with long backtracking. */
static void test_real_patterns(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        " ",      "\n",           "a", "A",     "1",  "!",  "\t ",
        "\n  \n", "\xe4\xb8\x80", "'", " \r\n", "aA", " !", "\xc2\xa0"
    };
    char *text = malloc(LONG + 8);
    uint64_t *starts = malloc((LONG / 64 + 1) * sizeof *starts);
    for (size_t p = 0; p < REAL; p++) {
        struct splitter *s;
        struct split_work *w = NULL;
        assert_int_equal(splitter_open(&s, real_patterns[p], &why), 0);
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
            size_t bytes = repeat(text, i % 2 ? "x" : "\n", pieces[i], i % 3 ? "x" : "");
            if (splitter_cut(s, &w, starts, text, bytes, &why)) fail_msg("%s", why.text);
        }
        split_work_release(w);
        splitter_close(s);
    }
    free(text);
    free(starts);
}

/* Each match is first tried on a short piece of the text. A match that is longer than the piece
 * must end where it ends in the whole text. */
static void test_matches_longer_than_a_piece(void **state)
{
    (void)state;
    enum { RUN = 1000 };
    static char text[RUN + 8];
    static const struct {
        char each;
        const char *tail;
        int starts[4];
    } cases[] = {
        { ' ', "x", { 0, RUN - 1, RUN + 1, -1 } },
        { 'a', "!", { 0, RUN, RUN + 1, -1 } },
        { '!', "\n\nb", { 0, RUN + 2, RUN + 3, -1 } },
        { ' ', "\n ", { 0, RUN + 1, RUN + 2, -1 } },
    };
    struct splitter *s;
    struct split_work *w = NULL;
    uint64_t starts[(RUN + 8) / 64 + 1];
    assert_int_equal(splitter_open(&s, real_patterns[1], &why), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bytes = RUN + strlen(cases[i].tail), next = 0;
        memset(text, cases[i].each, RUN);
        memcpy(text + RUN, cases[i].tail, strlen(cases[i].tail));
        assert_int_equal(splitter_cut(s, &w, starts, text, bytes, &why), 0);
        for (int at = 0; at <= (int)bytes; at++)
            if (starts[at / 64] >> (at % 64) & 1) assert_int_equal(at, cases[i].starts[next++]);
        assert_int_equal(cases[i].starts[next], -1);
    }
    split_work_release(w);
    splitter_close(s);
}

/* Without limits these patterns would run for years or minutes, or would use all memory. */
static void test_hostile_patterns(void **state)
{
    (void)state;
    static const char *const made[] = { "(\\w+\\w+)+\\d",
                                        "(a|aa)+[!?]",
                                        "(?=.*x)a",
                                        "\\w+\\w+\\w+\\w+\\w+\\d",
                                        "(a?){40}a{40}[!?]",
                                        ".*.*.*.*[=:]",
                                        "(?:\\w++ x|\\w)*[!?]",
                                        "(((((((((a|b)|c)|d)|e)|f)|g)|h)|i)|j)+" };
    enum { BYTES = 1 << 17 };
    char *text = malloc(BYTES);
    uint64_t *starts = malloc((BYTES / 64 + 1) * sizeof *starts);
    memset(text, 'a', BYTES);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        struct splitter *s;
        struct split_work *w = NULL;
        assert_int_equal(splitter_open(&s, made[i], &why), 0);
        if (!splitter_cut(s, &w, starts, text, BYTES, &why)) fail_msg("%s passed", made[i]);
        says(made[i]);
        says(i + 1 < sizeof made / sizeof *made ? " takes too long on a text of 131072 bytes"
                                                : " takes too much memory on a text of");
        assert_int_equal(why.status, STATUS_INPUT);
        split_work_release(w);
        splitter_close(s);
    }
    free(text);
    free(starts);
    struct splitter *s;
    char *wide = malloc(20001);
    memset(wide, 'a', 20000);
    wide[20000] = 0;
    assert_int_equal(splitter_open(&s, wide, &why), -1);
    says("a pattern has 20000 bytes, but at most 16384 are possible");
    splitter_close(s);
    free(wide);
}

/* Opens tokenizer.json with one text replaced by another. */
static struct tokenizer *open_changed(const char *from, const char *to)
{
    struct tokenizer *t = NULL;
    struct scratch_bytes model = scratch_load("tests/golden/bpe/llama3/tokenizer.json");
    model.at[model.count] = 0;
    const char *at = strstr((char *)model.at, from);
    if (!at) fail_msg("no %s", from);
    char *changed = malloc(model.count + strlen(to) + 1);
    int n = snprintf(changed, model.count + strlen(to) + 1, "%.*s%s%s",
                     (int)(at - (char *)model.at), (char *)model.at, to, at + strlen(from));
    if (tokenizer_parse(&t, changed, (size_t)n, "it", &why)) t = NULL;
    free(changed);
    free(model.at);
    return t;
}

static int open_with_holes(void) { return open_changed("\"!\": 0", "\"!\": 16777215") != NULL; }

static void test_tokenizer_numbers(void **state)
{
    (void)state;
    struct token_buffer b = { 0 };
    struct tokenizer *t = open_changed("(?i:", "(\\\\w+\\\\w+)+\\\\d|(?i:");
    if (!t) fail_msg("%s", why.text);
    char text[2000];
    memset(text, 'a', sizeof text);
    assert_int_equal(tokenizer_encode(t, &b, text, sizeof text, &why), -1);
    says("it: pattern (\\w+\\w+)+\\d|(?i:");
    says("takes too long on a text of 2000 bytes");
    token_buffer_release(&b);
    tokenizer_close(t);
    /* Without the limit, an id of eight digits would take half a gigabyte. */
    bounded_work(open_with_holes, 0, 16 << 20);
    assert_null(open_changed("\"!\": 0", "\"!\": 16777215"));
    says("it: the highest id is 16777215, but there are 70");
    t = open_changed("\"!\": 0", "\"!\": 60000"); /* some unused ids are allowed */
    if (!t) fail_msg("%s", why.text);
    tokenizer_close(t);
}

/* ---- numbers in files ---- */

static void write_file(const char *name, const char *text)
{
    char file[128];
    snprintf(file, sizeof file, "%s/%s", scratch_directory, name);
    scratch_store(file, (const unsigned char *)text, strlen(text));
}

/* The number of shards is limited because, with very many of them, looking up each name would take
 * too long. */
static void test_many_shards(void **state)
{
    (void)state;
    enum { SHARDS = 60000 };
    struct model_files m;
    char *index = malloc(40 * SHARDS), *to = index;
    to += snprintf(to, 40, "{\"weight_map\": {");
    for (int i = 0; i < SHARDS; i++)
        to += snprintf(to, 40, "%s\"%06d\": \"s%06d\"", i ? "," : "", i, i);
    snprintf(to, 40, "}}");
    write_file("model.safetensors.index.json", index);
    free(index);
    assert_int_equal(model_files_open(&m, scratch_directory, &why), -1);
    says("model.safetensors.index.json: it lists more than 4096 shards");
}

/* transformers writes 10^30 for a length without a limit. */
static void test_whole_numbers_of_more_than_64_bits(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": \"\\\"99999999999999999999, \\\\\", "
                               "\"b\": [1000000000000000019884624838656,-99999999999999999999],"
                               "\"c\": 9223372036854775807, \"d\": 12345678901234567890}";
    json_t *json = json_read_text(text, sizeof text - 1, "x", &why),
           *b = json_object_get(json, "b");
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "a")),
                        "\"99999999999999999999, \\");
    assert_true(json_real_value(json_array_get(b, 0)) == 1e30);
    assert_true(json_real_value(json_array_get(b, 1)) == -99999999999999999999.0);
    assert_true(json_integer_value(json_object_get(json, "c")) == INT64_MAX);
    assert_true(json_real_value(json_object_get(json, "d")) == 12345678901234567890.0);
    json_decref(json);
    assert_null(json_read_text("99999999999999999999x", 21, "x", &why));
}

static void test_config_numbers(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "\"hidden_size\": 1000000000000000000",
          "'hidden_size' is 1000000000000000000, not between 0 and 1048576" },
        { "\"num_hidden_layers\": -1", "'num_hidden_layers' is -1, not between 0 and 4096" },
        { "\"hidden_size\": 99999999999999999999", "'hidden_size' is not a whole number" },
        { "\"num_attention_heads\": 65536, \"head_dim\": 65536",
          "65536 attention heads of 65536 elements have more than 1048576 elements together" },
        { "\"rope_theta\": 1e300", "rope_theta is 1e+300, more than f32 can hold" },
        { "\"rms_norm_eps\": 1e300", "rms_norm_eps is 1e+300, more than f32 can hold" },
        { "\"rope_theta\": 1e999999999",
          "real number overflow near '1e999999999' (Python reads it as infinity: write a smaller "
          "number, such as 1e30)" },
        { "\"vocab_size\": 1e3", "'vocab_size' is not a whole number" },
    };
    static const char *const keys[][2] = { { "\"vocab_size\"", "32" },
                                           { "\"hidden_size\"", "16" },
                                           { "\"intermediate_size\"", "16" },
                                           { "\"num_hidden_layers\"", "1" },
                                           { "\"num_attention_heads\"", "2" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config c;
        char text[400];
        int n = snprintf(text, sizeof text, "{%s", cases[i][0]);
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            if (!strstr(cases[i][0], keys[k][0]))
                n += snprintf(text + n, sizeof text - (size_t)n, ",%s:%s", keys[k][0], keys[k][1]);
        snprintf(text + n, sizeof text - (size_t)n, "}");
        assert_int_equal(config_parse(&c, text, "c", &why), -1);
        says(cases[i][1]);
        assert_int_equal(why.status, STATUS_INPUT);
    }
}

/* A model must not allocate memory for the rank in the configuration before the rank is checked. */
static void test_adapter_rank(void **state)
{
    (void)state;
    struct adapter a;
    struct safetensors_writer *w;
    char file[128];
    float values[16] = { 0 };
    const struct tensor_header headers[] = {
        { "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
          DTYPE_F32,
          2,
          { 2, 4 } },
        { "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
          DTYPE_F32,
          2,
          { 4, 2 } },
    };
    snprintf(file, sizeof file, "%s/adapter_model.safetensors", scratch_directory);
    assert_int_equal(safetensors_create(&w, file, headers, 2, &why), 0);
    assert_int_equal(safetensors_put(w, values, sizeof values, &why), 0);
    assert_int_equal(safetensors_finish(w, &why), 0);
#define ADAPTER "\"peft_type\": \"LORA\", \"target_modules\": [\"q_proj\"]"
    write_file("adapter_config.json", "{" ADAPTER ", \"r\": 65536, \"lora_alpha\": 4}");
    assert_int_equal(adapter_open(&a, scratch_directory, &why), -1);
    says("lora_A.weight is F32 [2, 4], but adapter_config.json has the rank r 65536");
    write_file("adapter_config.json", "{" ADAPTER ", \"r\": 2, \"lora_alpha\": 1e300}");
    assert_int_equal(adapter_open(&a, scratch_directory, &why), -1);
    says("lora_alpha is 1e+300, more than f32 can hold");
    write_file("adapter_config.json", "{" ADAPTER ", \"r\": 2, \"lora_alpha\": 4}");
    if (adapter_open(&a, scratch_directory, &why)) fail_msg("%s", why.text);
    adapter_close(&a);
}

static uint64_t sums_written = CHECKPOINT_SUMS;
static struct run_state peeked;

static int peek(uint64_t step, uint64_t loss_steps, double loss_sum, double loss_scale)
{
    static const char *const texts[] = { "recipe", "data",   "tokenizer", "base",
                                         "rope",   "device", "schedules", "eval_data" };
    static const char *const counts[] = { "computed",  "since",       "steps",     "warmup",
                                          "evaluated", "evaluations", "best_step", "worse" };
    struct writer *w;
    struct msgpack_map own, none;
    msgpack_map_init(&own);
    msgpack_map_init(&none);
    if (sums_written) msgpack_map_count(&own, "sums", sums_written);
    msgpack_map_count(&own, "step", step);
    msgpack_map_count(&own, "tokens", 1);
    msgpack_map_real(&own, "loss_sum", loss_sum);
    msgpack_map_count(&own, "loss_steps", loss_steps);
    msgpack_map_real(&own, "loss_scale", loss_scale);
    msgpack_map_count(&own, "scale_steps", 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        msgpack_map_text(&own, texts[i], "x");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        msgpack_map_count(&own, counts[i], 0);
    msgpack_map_real(&own, "best_metric", 0);
    msgpack_map_count(&own, "chunk", 8);
    msgpack_map_count(&own, "parameters", 8);
    assert_int_equal(writer_open(&w, path, STREAM_STATE, "test", &own, &none, &why), 0);
    assert_int_equal(writer_close(w, &why), 0);
    msgpack_map_release(&own);
    return checkpoint_peek(path, &peeked, &why);
}

static void test_checkpoint_numbers(void **state)
{
    (void)state;
    assert_int_equal(peek(10, 10, 3.5, 65536), 0);
    assert_int_equal(peek(1 << 30, 0, 0, 1), 0);
    assert_int_equal(peek((1 << 30) + 1, 0, 0, 1), -1);
    says("'step' is 1073741825, but at most 1073741824");
    assert_int_equal(peek(10, 11, 0, 1), -1);
    says("is more than 'step', 10");
    assert_int_equal(peek(10, 1, NAN, 1), -1);
    says("'loss_sum' is nan");
    assert_int_equal(peek(10, 1, 1, 0), -1);
    says("'loss_scale' is 0");
    assert_int_equal(peek(10, 1, 1, INFINITY), -1);
    says("'loss_scale' is inf");
    assert_int_equal(peek(10, 1, 1, -2), -1);
    says("'loss_scale' is -2");
    /* If the checkpoint has another order of sums, its loss and loss scale are not checked. */
    for (int later = 0; later < 2; later++) {
        sums_written = later ? CHECKPOINT_SUMS + 1 : 0;
        assert_int_equal(peek(10, 1, NAN, -2), 0);
        assert_int_equal(peeked.step, 10);
        assert_int_equal(peeked.sums, sums_written);
    }
    sums_written = CHECKPOINT_SUMS;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_too_many_values),
        cmocka_unit_test(test_too_many_keys),
        cmocka_unit_test(test_impossible_record_counts),
        cmocka_unit_test(test_json_trees),
        cmocka_unit_test(test_many_tensors),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_pickled_names),
        cmocka_unit_test(test_real_patterns),
        cmocka_unit_test(test_matches_longer_than_a_piece),
        cmocka_unit_test(test_hostile_patterns),
        cmocka_unit_test(test_tokenizer_numbers),
        cmocka_unit_test(test_many_shards),
        cmocka_unit_test(test_config_numbers),
        cmocka_unit_test(test_whole_numbers_of_more_than_64_bits),
        cmocka_unit_test(test_adapter_rank),
        cmocka_unit_test(test_checkpoint_numbers),
    };
    return cmocka_run_group_tests(tests, open_directory, scratch_close);
}
