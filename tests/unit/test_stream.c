/* Tests the format of streams: round trips, cut files, changed bytes, hostile lengths,
 * concatenation, indexes. */
#include "lib/common/output.h"
#include "lib/stream/jsonl.h"
#include "lib/stream/msgpack_check.h"
#include "lib/stream/tokens.h"
#include "model/checkpoint.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fail why;
static char path[64], other[64];

static int open_directory(void **state)
{
    if (scratch_open(state)) return -1;
    snprintf(path, sizeof path, "%s/a", scratch_directory);
    snprintf(other, sizeof other, "%s/b", scratch_directory);
    return 0;
}

/* ---- small streams of each kind ---- */

static const char filler[] =
    "the records of this stream are long enough to fill more than one frame";

/* writes records of about `size` bytes each, of any kind */
static void write_stream(const char *name, enum stream_kind kind, int records, size_t size)
{
    struct writer *w;
    struct msgpack_map own, none;
    char *data = malloc(size + 1);
    msgpack_map_init(&own);
    msgpack_map_init(&none);
    msgpack_map_text(&own, "x-field", "same");
    assert_int_equal(writer_open(&w, name, kind, "test", &own, &none, &why), 0);
    for (int i = 0; i < records; i++) {
        struct msgpack_map r;
        msgpack_map_init(&r);
        for (size_t j = 0; j < size; j++)
            data[j] = filler[(j * 7 + (size_t)i) % sizeof filler];
        msgpack_map_count(&r, "number", (uint64_t)i);
        msgpack_map_bin(&r, "data", data, size);
        assert_int_equal(writer_add(w, &r, &why), 0);
    }
    writer_parent(w, "test", "0123");
    assert_int_equal(writer_close(w, &why), 0);
    msgpack_map_release(&own);
    free(data);
}

/* Reads the whole stream. Returns the number of records, or -1. *sum becomes the sum of all bytes
 * of all records. */
static int read_once(const char *name, enum stream_kind kind, bool ahead, uint64_t *sum)
{
    struct reader *r;
    msgpack_object o;
    int records = 0, got;
    *sum = 0;
    if (reader_open(&r, name, kind, &why)) return -1;
    if (ahead) assert_int_equal(reader_read_ahead(r, &why), 0);
    while ((got = reader_next(r, &o, &why)) > 0) {
        const void *data;
        size_t bytes;
        uint64_t number;
        if (map_get_bin(&o, "data", &data, &bytes, &why) ||
            map_get_count(&o, "number", UINT64_MAX, &number, &why)) {
            got = -1;
            break;
        }
        for (size_t i = 0; i < bytes; i++)
            *sum = *sum * 31 + ((const unsigned char *)data)[i];
        *sum = *sum * 31 + number;
        records++;
    }
    reader_close(r);
    return got < 0 ? -1 : records;
}

/* Reads a file twice, the second time with a thread that reads ahead. Both must give the same. */
static int read_stream(const char *name, enum stream_kind kind, uint64_t *sum)
{
    int records = read_once(name, kind, false, sum);
    if (!strcmp(name, "-")) return records;
    struct fail first = why;
    uint64_t again;
    assert_int_equal(read_once(name, kind, true, &again), records);
    if (records < 0) {
        assert_string_equal(why.text, first.text);
        assert_int_equal(why.status, first.status);
    } else {
        assert_int_equal(again, *sum);
    }
    return records;
}

/* Reads from a pipe whose writer ends after `count` bytes. */
static int read_pipe(const unsigned char *at, size_t count, enum stream_kind kind, uint64_t *sum)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (!child) {
        signal(SIGPIPE, SIG_IGN);
        close(ends[0]);
        for (size_t done = 0; done < count;) {
            ssize_t n = write(ends[1], at + done, count - done);
            if (n <= 0) break;
            done += (size_t)n;
        }
        _exit(0);
    }
    close(ends[1]);
    int kept = dup(0);
    dup2(ends[0], 0);
    close(ends[0]);
    int records = read_stream("-", kind, sum);
    dup2(kept, 0);
    close(kept);
    waitpid(child, NULL, 0);
    return records;
}

/* ---- tests ---- */

static void test_round_trip(void **state)
{
    (void)state;
    uint64_t sum, again;
    for (int kind = STREAM_TOKENS; kind <= STREAM_STATE; kind++) {
        write_stream(path, (enum stream_kind)kind, 40, 100000);
        assert_int_equal(read_stream(path, (enum stream_kind)kind, &sum), 40);
        struct scratch_bytes b = scratch_load(path);
        assert_int_equal(read_pipe(b.at, b.count, (enum stream_kind)kind, &again), 40);
        assert_int_equal(sum, again);
        free(b.at);
    }
    write_stream(path, STREAM_TOKENS, 0, 0);
    assert_int_equal(read_stream(path, STREAM_TOKENS, &sum), 0);
}

static size_t table_bytes(const struct scratch_bytes *b)
{
    const unsigned char *foot = b->at + b->count - 9;
    return 8 + 8 * (size_t)(foot[0] | foot[1] << 8) + 9;
}

static void test_cut_anywhere_is_refused(void **state)
{
    (void)state;
    uint64_t sum;
    for (int kind = STREAM_TOKENS; kind <= STREAM_STATE; kind++) {
        write_stream(path, (enum stream_kind)kind, 5, 700);
        struct scratch_bytes b = scratch_load(path);
        size_t whole = b.count - table_bytes(&b);
        for (size_t cut = 0; cut < b.count; cut += 97) {
            if (cut == whole) continue; /* only the table is missing, which is allowed */
            scratch_store(other, b.at, cut);
            assert_int_equal(read_stream(other, (enum stream_kind)kind, &sum), -1);
            assert_int_equal(why.status, STATUS_INPUT);
            assert_non_null(strstr(why.text, other));
            assert_int_equal(read_pipe(b.at, cut, (enum stream_kind)kind, &sum), -1);
            assert_int_equal(why.status, STATUS_INPUT);
        }
        assert_int_equal(read_pipe(b.at, whole, (enum stream_kind)kind, &sum), 5);
        free(b.at);
    }
}

static void test_changed_byte_is_refused_or_harmless(void **state)
{
    (void)state;
    uint64_t sum, got;
    int harmless = 0;
    for (int kind = STREAM_TOKENS; kind <= STREAM_STATE; kind++) {
        write_stream(path, (enum stream_kind)kind, 5, 300);
        assert_int_equal(read_stream(path, (enum stream_kind)kind, &sum), 5);
        struct scratch_bytes b = scratch_load(path);
        size_t whole = b.count - table_bytes(&b);
        for (size_t at = 0; at < b.count; at += kind == STREAM_TOKENS ? 1 : 97) {
            unsigned char before = b.at[at];
            b.at[at] ^= (unsigned char)(1 + check_below(255));
            /* The stream is read as a file with its seek table, as a file without it, and from a
             * pipe. */
            for (int way = 0; way < (at % 97 ? 1 : 3); way++) {
                size_t count = way == 1 ? whole : b.count;
                if (at >= count) continue;
                scratch_store(other, b.at, count);
                int records = way == 2 ? read_pipe(b.at, count, (enum stream_kind)kind, &got)
                                       : read_stream(other, (enum stream_kind)kind, &got);
                if (records < 0) continue;
                assert_int_equal(records, 5);
                assert_int_equal(got, sum);
                harmless++;
            }
            b.at[at] = before;
        }
        free(b.at);
    }
    printf("# %d changed bytes carried no meaning\n", harmless);
}

static void test_wrong_kind_and_version(void **state)
{
    (void)state;
    uint64_t sum;
    write_stream(path, STREAM_TOKENS, 1, 10);
    assert_int_equal(read_stream(path, STREAM_SAMPLES, &sum), -1);
    assert_non_null(strstr(why.text, "a stream of tokens, not a stream of samples, which "));
    assert_int_equal(why.status, STATUS_INPUT);
    scratch_store(other, (const unsigned char *)"hello, this is no stream", 24);
    assert_int_equal(read_stream(other, STREAM_TOKENS, &sum), -1);
    assert_non_null(strstr(why.text, "not a zstd frame"));
    scratch_store(other, (const unsigned char *)"", 0);
    assert_int_equal(read_stream(other, STREAM_TOKENS, &sum), -1);
    assert_non_null(strstr(why.text, "empty"));
    assert_int_equal(read_stream("/nonexistent/x", STREAM_TOKENS, &sum), -1);
    assert_int_equal(why.status, STATUS_FAILED);
}

static void test_versions_and_roles(void **state)
{
    (void)state;
    uint64_t sum;
    static const char version2[] = "\x82\xa9longqlora\x02\xa4kind\xa6tokens";
    scratch_store_frame(path, version2, sizeof version2 - 1);
    assert_int_equal(read_stream(path, STREAM_TOKENS, &sum), -1);
    assert_non_null(strstr(why.text, "the format's version is 2, but this program reads 1"));
    static const char no_header[] = "\x81\xa6number\x01";
    scratch_store_frame(path, no_header, sizeof no_header - 1);
    assert_int_equal(read_stream(path, STREAM_TOKENS, &sum), -1);
    assert_non_null(strstr(why.text, "does not begin with the header of a stream of tokens"));
    static const char no_end[] = "\x82\xa9longqlora\x01\xa4kind\xa6tokens";
    scratch_store_frame(path, no_end, sizeof no_end - 1);
    assert_int_equal(read_stream(path, STREAM_TOKENS, &sum), -1);
    assert_non_null(strstr(why.text, "without its end record"));
    /* These are an array that claims 2^32 − 1 elements, a text of 4 GiB, and nesting beyond the
     * limit. */
    static const char huge_array[] = "\x82\xa9longqlora\x01\xa4kind\xdd\xff\xff\xff\xff";
    scratch_store_frame(path, huge_array, sizeof huge_array - 1);
    assert_int_equal(read_stream(path, STREAM_TOKENS, &sum), -1);
    assert_non_null(strstr(why.text, "not a msgpack object"));
    static const char huge_text[] = "\x81\xdb\xff\xff\xff\xff"
                                    "abc";
    scratch_store_frame(path, huge_text, sizeof huge_text - 1);
    assert_int_equal(read_stream(path, STREAM_TOKENS, &sum), -1);
    unsigned char deep[64];
    memset(deep, 0x91, sizeof deep);
    memcpy(deep, "\x81\xa1k", 3);
    scratch_store_frame(path, deep, sizeof deep);
    assert_int_equal(read_stream(path, STREAM_TOKENS, &sum), -1);
    assert_non_null(strstr(why.text, ": record 1: nested deeper than 8"));
    size_t length;
    assert_int_equal(stream_object_length((const unsigned char *)"\xc1", 1, &length, &why), -1);
    assert_string_equal(why.text, "not a msgpack object");
}

/* A frame that declares more bytes than the limit is refused before memory is allocated. */
static void test_oversize_frame(void **state)
{
    (void)state;
    uint64_t sum;
    unsigned char head[32] = { 0x28, 0xb5, 0x2f, 0xfd, 0xe4 };
    head[5 + 5] = 1; /* 2^40 bytes */
    scratch_store(path, head, sizeof head);
    assert_int_equal(read_stream(path, STREAM_TOKENS, &sum), -1);
    assert_non_null(strstr(why.text, "the frame has 1099511627776 bytes, but at most 268435456"));
    head[4] = 0xe0; /* no checksum */
    scratch_store(path, head, sizeof head);
    assert_int_equal(read_stream(path, STREAM_TOKENS, &sum), -1);
    assert_non_null(strstr(why.text, "has no checksum"));
}

static void concatenate(const struct scratch_bytes *a, const struct scratch_bytes *b)
{
    unsigned char *both = malloc(a->count + b->count);
    memcpy(both, a->at, a->count);
    memcpy(both + a->count, b->at, b->count);
    scratch_store(other, both, a->count + b->count);
    free(both);
}

static void test_concatenated(void **state)
{
    (void)state;
    uint64_t sum;
    write_stream(path, STREAM_TOKENS, 30, 100000);
    struct scratch_bytes a = scratch_load(path);
    write_stream(path, STREAM_TOKENS, 7, 10);
    struct scratch_bytes b = scratch_load(path);
    concatenate(&a, &b);
    assert_int_equal(read_stream(other, STREAM_TOKENS, &sum), 37);
    /* The index of both streams together cannot use the second stream's table, and does not need
     * it. */
    struct reader *r;
    msgpack_object o;
    assert_int_equal(reader_open(&r, other, STREAM_TOKENS, &why), 0);
    assert_int_equal(reader_index(r, &why), 0);
    assert_int_equal(reader_records(r), 37);
    for (int i = 36; i >= 0; i--) {
        uint64_t number;
        assert_int_equal(reader_at(r, (uint64_t)i, &o, &why), 0);
        assert_int_equal(map_get_count(&o, "number", UINT64_MAX, &number, &why), 0);
        assert_int_equal(number, i < 30 ? i : i - 30);
    }
    reader_close(r);
    /* The file is refused if the second stream is cut or has another kind. */
    b.count -= 100;
    concatenate(&a, &b);
    assert_int_equal(read_stream(other, STREAM_TOKENS, &sum), -1);
    free(b.at);
    write_stream(path, STREAM_SAMPLES, 7, 10);
    b = scratch_load(path);
    concatenate(&a, &b);
    assert_int_equal(read_stream(other, STREAM_TOKENS, &sum), -1);
    free(a.at);
    free(b.at);
}

/* How the digest of a stream is found: by reading all of it or all but the end, or by the index. */
enum digest_way { BY_READING, BY_STOPPING, BY_INDEX, DIGEST_WAYS };

static const char *digest_by(enum digest_way way, const char *name)
{
    static char digest[STREAM_DIGEST_TEXT];
    struct reader *r;
    msgpack_object o;
    int got = way != BY_INDEX;
    assert_int_equal(reader_open(&r, name, STREAM_TOKENS, &why), 0);
    if (way == BY_INDEX) assert_int_equal(reader_index(r, &why), 0);
    while (got > 0 && !(way == BY_STOPPING && reader_position(r) == 10))
        got = reader_next(r, &o, &why);
    assert_true(got >= 0);
    if (way == BY_STOPPING) reader_stop(r);
    memcpy(digest, reader_digest(r), sizeof digest);
    reader_close(r);
    return digest;
}

/* The digest of concatenated streams is that of all of them, in their order. */
static void test_digest_of_concatenated(void **state)
{
    (void)state;
    static const char *const orders[] = { "a", "b", "ab", "ba", "cb", "abb" };
    static const int joins[] = { 0, 2, 5 }; /* a, ab, abb */
    enum { COUNT = sizeof orders / sizeof *orders };
    char digests[COUNT][STREAM_DIGEST_TEXT] = { "" }, joined[STREAM_DIGEST_TEXT] = "";
    for (int i = 0; i < COUNT; i++) {
        struct scratch_bytes all = { .at = malloc(1 << 16) };
        for (const char *c = orders[i]; *c; c++) {
            write_stream(path, STREAM_TOKENS, 5, (size_t)(10 + *c - 'a'));
            struct scratch_bytes one = scratch_load(path);
            memcpy(all.at + all.count, one.at, one.count);
            all.count += one.count;
            free(one.at);
        }
        scratch_store(other, all.at, all.count);
        free(all.at);
        memcpy(digests[i], digest_by(BY_READING, other), sizeof *digests);
        assert_string_equal(digest_by(BY_INDEX, other), digests[i]);
        /* Reading stops in the second stream. If there is a third one, it is not read. */
        if (strlen(orders[i]) < 3) assert_string_equal(digest_by(BY_STOPPING, other), digests[i]);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(digests[i], digests[k]);
    }
    for (int i = 0; i < 3; i++) {
        digest_join(joined, digests[i > 0]);
        assert_string_equal(joined, digests[joins[i]]);
    }
}

static void test_index(void **state)
{
    (void)state;
    static const int counts[] = { 0, 1, 40 };
    for (size_t c = 0; c < 3; c++)
        for (int with_table = 0; with_table < 2; with_table++) {
            write_stream(path, STREAM_SAMPLES, counts[c], 100000);
            struct scratch_bytes b = scratch_load(path);
            scratch_store(other, b.at, with_table ? b.count : b.count - table_bytes(&b));
            free(b.at);
            struct reader *r;
            msgpack_object o;
            assert_int_equal(reader_open(&r, other, STREAM_SAMPLES, &why), 0);
            assert_int_equal(reader_index(r, &why), 0);
            assert_int_equal(reader_records(r), counts[c]);
            assert_int_equal(strlen(reader_digest(r)), 32);
            for (int i = 0; i < 60 && counts[c]; i++) {
                uint64_t number, wanted = (uint64_t)check_below(counts[c]);
                assert_int_equal(reader_at(r, wanted, &o, &why), 0);
                assert_int_equal(map_get_count(&o, "number", UINT64_MAX, &number, &why), 0);
                assert_int_equal(number, wanted);
            }
            reader_close(r);
        }
}

static void test_index_of_a_pipe_is_refused(void **state)
{
    (void)state;
    struct reader *r;
    write_stream(path, STREAM_SAMPLES, 3, 10);
    char command[128];
    snprintf(command, sizeof command, "cat %s", path);
    FILE *f = popen(command, "r");
    int kept = dup(0);
    dup2(fileno(f), 0);
    assert_int_equal(reader_open(&r, "-", STREAM_SAMPLES, &why), 0);
    assert_int_equal(reader_index(r, &why), -1);
    assert_non_null(strstr(why.text, "not a regular file"));
    reader_close(r);
    dup2(kept, 0);
    close(kept);
    pclose(f);
}

/* ---- tokens and samples ---- */

static void test_tokens(void **state)
{
    (void)state;
    for (uint64_t vocab = 1000; vocab <= 100000; vocab *= 100) {
        struct token_info info = { .vocab_size = vocab, .bos = 1, .eos = 2, .add_bos = true }, got;
        uint32_t ids[5] = { 1, 999, 0, 7, (uint32_t)vocab - 1 }, targets[4] = { 1, 2, 3, 5 };
        struct tokens t = { .id = "file:1",
                            .source = "books",
                            .ids = ids,
                            .count = 5,
                            .targets = targets,
                            .target_count = 2,
                            .has_targets = true };
        struct writer *w;
        struct reader *r;
        assert_int_equal(tokens_writer(&w, path, TOKEN_FORMAT_STREAM, "test", &info, NULL, &why),
                         0);
        assert_int_equal(tokens_write(w, &info, &t, &why), 0);
        t.count = 0;
        t.has_targets = false;
        t.target_count = 0;
        assert_int_equal(tokens_write(w, &info, &t, &why), 0);
        assert_int_equal(writer_close(w, &why), 0);
        struct tokens back = { 0 };
        assert_int_equal(tokens_reader(&r, path, TOKEN_FORMAT_STREAM, &got, &why), 0);
        assert_memory_equal(&got.vocab_size, &info.vocab_size, 3 * sizeof(uint64_t));
        assert_int_equal(tokens_read(r, &got, &back, &why), 1);
        assert_int_equal(back.count, 5);
        assert_memory_equal(back.ids, ids, sizeof ids);
        assert_memory_equal(back.targets, targets, sizeof targets);
        assert_string_equal(back.source, "books");
        assert_int_equal(tokens_read(r, &got, &back, &why), 1);
        assert_int_equal(back.count, 0);
        assert_false(back.has_targets);
        assert_int_equal(tokens_read(r, &got, &back, &why), 0);
        tokens_release(&back);
        reader_close(r);
    }
}

/* Writes one sample and reads it back. Returns 1, or -1 with `why`. */
static int through(struct sample *s, uint64_t context)
{
    struct sample_info info = { .text = { .vocab_size = 10 },
                                .context = context,
                                .strategy = "split" };
    struct writer *w;
    struct reader *r;
    struct sample back = { 0 };
    assert_int_equal(samples_writer(&w, path, TOKEN_FORMAT_STREAM, "test", &info, NULL, &why), 0);
    assert_int_equal(samples_write(w, &info, s, &why), 0);
    assert_int_equal(writer_close(w, &why), 0);
    assert_int_equal(samples_reader(&r, path, TOKEN_FORMAT_STREAM, &info, &why), 0);
    int got = samples_read(r, &info, &back, &why);
    sample_release(&back);
    reader_close(r);
    return got;
}

static void test_impossible_samples_are_refused(void **state)
{
    (void)state;
    uint32_t ids[4] = { 1, 2, 3, 4 }, documents[2] = { 1, 3 }, targets[2] = { 1, 4 };
    struct sample s = { .source = "a",
                        .ids = ids,
                        .count = 4,
                        .documents = documents,
                        .document_count = 2,
                        .targets = targets,
                        .target_count = 1,
                        .has_targets = true };
    assert_int_equal(through(&s, 4), 1);
    assert_int_equal(through(&s, 3), -1);
    assert_non_null(strstr(why.text, "record 1: 4 tokens, but the context is 3"));
    assert_int_equal(why.status, STATUS_INPUT);
    documents[1] = 2;
    assert_int_equal(through(&s, 4), -1);
    assert_non_null(strstr(why.text, "'documents' add up to 3 tokens, but the sample has 4"));
    documents[1] = 3;
    targets[1] = 5;
    assert_int_equal(through(&s, 4), -1);
    assert_non_null(strstr(why.text, "'targets' [1, 5)"));
    targets[1] = 4;
    ids[2] = 10;
    assert_int_equal(through(&s, 4), -1);
    assert_non_null(strstr(why.text, "token 10 is outside of the vocabulary of 10"));
}

/* The parents of a stream are known at its end. An invalid list of parents is refused. */
static void test_parents(void **state)
{
    (void)state;
    struct reader *r;
    msgpack_object o;
    write_stream(path, STREAM_TOKENS, 3, 100);
    assert_int_equal(reader_open(&r, path, STREAM_TOKENS, &why), 0);
    while (reader_next(r, &o, &why) > 0)
        assert_null(reader_parent(r, "test"));
    assert_string_equal(reader_parent(r, "test"), "0123");
    assert_null(reader_parent(r, "tests"));
    reader_close(r);
    static const char *const bad[][2] = {
        { "1", "'parents' is not a list of at most 8" },
        { "[1]", "a parent is not a map" },
        { "[{\"kind\":\"a\"}]", "'digest' is missing" },
        { "[{\"kind\":\"a\",\"digest\":1}]", "'digest' is not a text" },
        { "[{\"kind\":1,\"digest\":\"a\"}]", "'kind'" },
        { "[{\"kind\":\"a\",\"digest\":\"0123456789abcdef0123456789abcdef0\"}]", "'digest'" },
        { "[{},{},{},{},{},{},{},{},{}]", "'parents' is not a list of at most 8" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[400];
        int n = snprintf(text, sizeof text,
                         "{\"longqlora\":1,\"kind\":\"tokens\"}\n"
                         "{\"end\":true,\"records\":0,\"parents\":%s}\n",
                         bad[i][0]);
        scratch_store(path, (const unsigned char *)text, (size_t)n);
        assert_int_equal(reader_open_json(&r, path, STREAM_TOKENS, &why), 0);
        assert_int_equal(reader_next(r, &o, &why), -1);
        if (!strstr(why.text, "end record: ") || !strstr(why.text, bad[i][1]))
            print_error("'%s' lacks '%s'\n", why.text, bad[i][1]);
        assert_non_null(strstr(why.text, "end record: "));
        assert_non_null(strstr(why.text, bad[i][1]));
        reader_close(r);
    }
}

static void test_unknown_and_double_keys(void **state)
{
    (void)state;
    static const char *const known[] = { "a", "b", NULL };
    static const char good[] = "\x82\xa1"
                               "a\x01\xa3x-z\x02",
                      bad[] = "\x81\xa1"
                              "c\x01";
    static const char twice[] = "\x82\xa1"
                                "a\x01\xa1"
                                "a\x02";
    msgpack_unpacked u;
    msgpack_unpacked_init(&u);
    size_t off = 0;
    msgpack_unpack_next(&u, good, sizeof good - 1, &off);
    assert_int_equal(map_check(&u.data, known, &why), 0);
    off = 0;
    msgpack_unpack_next(&u, bad, sizeof bad - 1, &off);
    assert_int_equal(map_check(&u.data, known, &why), -1);
    assert_string_equal(why.text, "unknown key 'c'");
    off = 0;
    msgpack_unpack_next(&u, twice, sizeof twice - 1, &off);
    assert_int_equal(map_check(&u.data, known, &why), -1);
    assert_string_equal(why.text, "key 'a' occurs twice");
    msgpack_unpacked_destroy(&u);
}

/* Appends {key: value}, where `value` is msgpack. */
static void put_value(struct msgpack_map *m, const char *key, const char *value, size_t bytes)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, &m->bytes, msgpack_write_bytes);
    msgpack_pack_str_with_body(&pk, key, strlen(key));
    assert_int_equal(msgpack_write_bytes(&m->bytes, value, bytes), 0);
    m->count++;
}

static void test_keys_are_texts(void **state)
{
    (void)state;
    static const char *const good[] = { "\x81\xa1"
                                        "a\x01",
                                        "\x81\xd9\x01"
                                        "a\x01",
                                        NULL },
                             *const bad[] = { "\x81\x05\x01",
                                              "\x81\xa1"
                                              "a\x81\x05\x01",
                                              "\x92\x01\x81\x90\x01",
                                              "\x82\xa1"
                                              "a\x01\xc4\x01"
                                              "a\x01",
                                              NULL };
    uint64_t sum;
    size_t length;
    for (int i = 0; good[i]; i++) {
        size_t bytes = strlen(good[i]);
        assert_int_equal(stream_object_length((const void *)good[i], bytes, &length, &why), 0);
        assert_int_equal(length, bytes);
    }
    for (int i = 0; bad[i]; i++) {
        struct writer *w;
        struct msgpack_map r, none;
        msgpack_map_init(&none);
        msgpack_map_init(&r);
        put_value(&r, "nested", bad[i], strlen(bad[i]));
        assert_int_equal(writer_open(&w, path, STREAM_SCORES, "test", &none, &none, &why), 0);
        assert_int_equal(writer_add(w, &r, &why), 0);
        assert_int_equal(writer_close(w, &why), 0);
        assert_int_equal(read_stream(path, STREAM_SCORES, &sum), -1);
        assert_non_null(strstr(why.text, "record 1: a key is not a text"));
        assert_int_equal(why.status, STATUS_INPUT);
    }
}

/* JSON has neither bytes nor infinity. Bytes are numbers only under keys that say so. */
static void test_values_without_json_form(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        size_t bytes;
        const char *fault;
    } bad[] = { { "a", "\x91\xc4\x01x", 4, "bytes have no JSON form" },
                { "a",
                  "\x81\xa1"
                  "b\xc4\x01x",
                  6, "bytes have no JSON form" },
                { "documents", "\xc4\x03xyz", 5, "bytes have no JSON form" },
                { "targets", "\xc4\x04xyzw", 6, "bytes have no JSON form" },
                { "a", "\xca\x7f\x80\0\0", 5, "a number that is not finite" } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct output out;
        struct msgpack_map m;
        msgpack_sbuffer line;
        msgpack_packer pk;
        int width = 2;
        msgpack_map_init(&m);
        put_value(&m, bad[i].key, bad[i].value, bad[i].bytes);
        msgpack_sbuffer_init(&line);
        msgpack_packer_init(&pk, &line, msgpack_write_bytes);
        msgpack_map_pack(&m, &pk);
        assert_int_equal(output_open(&out, path, &why), 0);
        assert_int_equal(stream_json_print(&out, line.data, line.size, &width, &why), -1);
        assert_non_null(strstr(why.text, bad[i].fault));
        output_abandon(&out);
        msgpack_sbuffer_destroy(&line);
        msgpack_map_release(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cut_anywhere_is_refused),
        cmocka_unit_test(test_changed_byte_is_refused_or_harmless),
        cmocka_unit_test(test_wrong_kind_and_version),
        cmocka_unit_test(test_versions_and_roles),
        cmocka_unit_test(test_oversize_frame),
        cmocka_unit_test(test_concatenated),
        cmocka_unit_test(test_digest_of_concatenated),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_index_of_a_pipe_is_refused),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_impossible_samples_are_refused),
        cmocka_unit_test(test_parents),
        cmocka_unit_test(test_unknown_and_double_keys),
        cmocka_unit_test(test_keys_are_texts),
        cmocka_unit_test(test_values_without_json_form),
    };
    return cmocka_run_group_tests(tests, open_directory, scratch_close);
}
