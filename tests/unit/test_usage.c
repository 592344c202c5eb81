/* Runs the examples that are in comments of headers. tests/cli/docs.bats checks that this file has
 * each line of these examples. */
#include "lib/common/vocabulary.h"
#include "lib/llama/adapter.h"
#include "lib/stream/stream.h"
#include "lib/tokenizer/tokenizer.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static uint64_t sum;

static int write_records(const char *path, struct fail *why)
{
    struct msgpack_map own, options;
    msgpack_map_init(&own);
    msgpack_map_init(&options);
    int status;
    struct writer *w;
    if (writer_open(&w, path, STREAM_SCORES, "ppl", &own, &options, why)) return -1;
    struct msgpack_map m;
    msgpack_map_init(&m);
    msgpack_map_text(&m, "id", "doc-1");
    msgpack_map_count(&m, "tokens", 512);
    status = writer_add(w, &m, why);
    assert_int_equal(status, 0);
    if (writer_close(w, why)) return -1;
    return 0;
}

static int use(const msgpack_object *object, struct fail *why)
{
    const msgpack_object record = *object;
    static const char *const known[] = { "id", "tokens", NULL };
    uint64_t tokens;
    if (map_check(&record, known, why)) return -1;
    if (map_get_count(&record, "tokens", UINT32_MAX, &tokens, why)) return -1;
    sum += tokens;
    return 0;
}

static int read_records(const char *path, struct fail *why)
{
    int got;
    struct reader *r;
    msgpack_object record;
    if (reader_open(&r, path, STREAM_SCORES, why)) return -1;
    while ((got = reader_next(r, &record, why)) > 0)
        if (use(&record, why)) {
            got = reader_fail(r, why);
            break;
        }
    reader_close(r);
    return got;
}

static void test_streams(void **state)
{
    (void)state;
    struct fail why;
    assert_int_equal(write_records(scratch_file, &why), 0);
    assert_int_equal(read_records(scratch_file, &why), 0);
    assert_int_equal(sum, 512);
}

static int open_adapter(const char *directory, const char *base, int64_t *count, struct fail *why)
{
    int status;
    struct config config;
    if (config_read(&config, base, why)) return -1;
    struct adapter a;
    struct fit fit;
    if (adapter_open(&a, directory, why)) return -1;
    status = adapter_fit(&a, &config, &fit, why);
    *count = fit.count;
    fit_release(&fit);
    adapter_close(&a);
    config_release(&config);
    return status;
}

static void test_adapters(void **state)
{
    (void)state;
    struct fail why;
    int64_t count;
    assert_int_equal(
        open_adapter("tests/golden/peft/adapter", "tests/golden/peft/config.json", &count, &why),
        0);
    assert_true(count > 0);
}

static int encode(const char *directory, const char *text, size_t bytes, uint64_t rows,
                  struct fail *why)
{
    int status;
    struct tokenizer *t;
    struct token_buffer b = { 0 };
    if (tokenizer_open(&t, directory, why)) return -1;
    status = tokenizer_encode(t, &b, text, bytes, why);
    assert_int_equal(status, 0);
    struct {
        const char *tokenizer;
    } info = { tokenizer_digest(t) };
    const uint32_t *ids = b.ids;
    size_t n = b.count;
    const char *path = directory, *digest = "";
    struct vocabulary tokens = { .tokenizer = info.tokenizer, .ids = ids, .count = n };
    struct vocabulary model = { .name = "the model", .tokenizer = digest, .size = rows };
    if (vocabulary_check(&tokens, &model, "tokenize the text again", why))
        status = fail_in(why, path);
    token_buffer_release(&b);
    tokenizer_close(t);
    return status;
}

static void test_tokenizers(void **state)
{
    (void)state;
    struct fail why;
    assert_int_equal(encode("tests/golden/bpe/llama3", "a", 1, 1 << 20, &why), 0);
    assert_int_equal(encode("tests/golden/bpe/llama3", "a", 1, 1, &why), -1);
    assert_non_null(strstr(why.text, "tests/golden/bpe/llama3: token 0 is "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_tokenizers),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
