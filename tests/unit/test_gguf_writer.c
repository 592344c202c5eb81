/* Writing GGUF: the bits of every type equal those of gguf's own code
 * (tests/golden/gguf_quantize.py). Keys, tensors, position scaling and tokenizers are the same when
 * they are read back. */
#include "lib/llama/gguf_config.h"
#include "lib/llama/gguf_model.h"
#include "lib/tensorfile/ggml_quantize.h"
#include "lib/tokenizer/gguf_export.h"
#include "lib/tokenizer/gguf_tokenizer.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <math.h>
#include <unistd.h>
#include <zlib.h>

static struct fail why;

/* ---- bits ---- */

enum { COUNT = 1 << 14 };

static float *make_values(void)
{
    float *values = malloc(COUNT * sizeof *values);
    uint32_t state = 28;
    assert_non_null(values);
    for (int i = 0; i < COUNT; i++) {
        state = state * 1664525 + 1013904223;
        values[i] = ldexpf((float)((int)(state >> 8) - (1 << 23)), -53 + i / 32 % 40);
    }
    for (int i = 0; i < 32; i++) {
        values[i] = 0;
        values[32 + i] = (float)(i % 2 ? -1 : 1) * (float)(i % 8) / 2;
        values[64 + i] = -0.0F;
        values[96 + i] = ldexpf(values[96 + i], -80);
    }
    return values;
}

static void test_bits(void **state)
{
    (void)state;
    float *values = make_values();
    unsigned char *made = malloc(COUNT * sizeof *values);
    FILE *list = fopen("tests/golden/gguf/quantized.tsv", "r");
    char name[16];
    unsigned long crc;
    int listed = 0;
    assert_true(made && list);
    while (fscanf(list, "%15s %lu", name, &crc) == 2) {
        const enum ggml_type types[] = { GGML_F32, GGML_F16, GGML_BF16, GGML_Q8_0, GGML_Q4_0 };
        enum ggml_type type = types[listed++];
        size_t bytes = ggml_row_bytes(type, COUNT);
        assert_true(ggml_is_written(type) && !strcasecmp(ggml_format(type)->name, name));
        assert_true(ggml_narrow(type, values, made, COUNT));
        if (crc32(crc32(0, NULL, 0), made, (unsigned)bytes) != crc) fail_msg("%s differs", name);
    }
    assert_int_equal(listed, 5);
    fclose(list);
    free(made);
    free(values);
}

static void test_overflow(void **state)
{
    (void)state;
    float values[GGML_BLOCK] = { 0 };
    unsigned char made[4 * GGML_BLOCK];
    values[3] = 65519;
    assert_true(ggml_narrow(GGML_F16, values, made, GGML_BLOCK));
    values[3] = 65520;
    assert_false(ggml_narrow(GGML_F16, values, made, GGML_BLOCK));
    assert_true(ggml_narrow(GGML_BF16, values, made, GGML_BLOCK));
    values[3] = 127.0F * 65520;
    assert_false(ggml_narrow(GGML_Q8_0, values, made, GGML_BLOCK));
    values[3] = -8 * 65519;
    assert_true(ggml_narrow(GGML_Q4_0, values, made, GGML_BLOCK));
    values[3] = -8 * 65520;
    assert_false(ggml_narrow(GGML_Q4_0, values, made, GGML_BLOCK));
}

/* ---- the file ---- */

static void test_file(void **state)
{
    (void)state;
    struct gguf_keys keys;
    struct gguf_writer *w;
    struct gguf g;
    const struct gguf_header headers[] = {
        { .name = "z", .type = GGML_F32, .dims = 1, .shape = { 3 } },
        { .name = "a", .type = GGML_Q8_0, .dims = 2, .shape = { 3, 64 } },
    };
    char data[3 * 2 * 34];
    int64_t number = 0;
    double real = 0;
    bool flag = false;
    const struct gguf_value *array;
    memset(data, 1, sizeof data);
    assert_int_equal(gguf_keys_begin(&keys, &why), 0);
    gguf_keys_text(&keys, "text", "two\nlines", 9);
    gguf_keys_count(&keys, "count", UINT32_MAX);
    gguf_keys_number(&keys, "number", 0.5);
    gguf_keys_flag(&keys, "flag", true);
    gguf_keys_array(&keys, "array", GGUF_STRING, 2);
    gguf_keys_item_text(&keys, "", 0);
    gguf_keys_item_text(&keys, "x", 1);
    assert_int_equal(gguf_create(&w, scratch_file, &keys, headers, 2, &why), 0);
    assert_int_equal(gguf_put(w, data, 12, &why), 0);
    assert_int_equal(gguf_put(w, data, 100, &why), 0);
    assert_int_equal(access(scratch_file, F_OK), -1);
    gguf_abandon(w);
    assert_int_equal(access(scratch_file, F_OK), -1);
    assert_int_equal(gguf_create(&w, scratch_file, &keys, headers, 2, &why), 0);
    assert_int_equal(gguf_put(w, data, 12, &why), 0);
    assert_int_equal(gguf_put(w, data, 100, &why), 0);
    assert_int_equal(gguf_put(w, data, 104, &why), 0);
    assert_int_equal(gguf_finish(w, &why), 0);
    gguf_keys_release(&keys);
    assert_int_equal(gguf_open(&g, scratch_file, &why), 0);
    assert_int_equal(g.version, 3);
    assert_int_equal(g.value_count, 5);
    assert_int_equal(gguf_get_integer(&g, "count", 0, UINT32_MAX, &number, &why), 0);
    assert_int_equal(number, UINT32_MAX);
    assert_int_equal(gguf_get_number(&g, "number", &real, &why), 0);
    assert_true(real == 0.5);
    assert_int_equal(gguf_get_flag(&g, "flag", &flag, &why), 0);
    assert_true(flag);
    assert_int_equal(gguf_get_array(&g, "array", GGUF_STRING, &array, &why), 0);
    const char *at = array->at;
    assert_true(gguf_text_is(gguf_next_text(&at), "") && gguf_text_is(gguf_next_text(&at), "x"));
    const struct gguf_tensor *t = gguf_tensor(&g, "a");
    assert_true(t && t->dims == 2 && t->shape[0] == 3 && t->shape[1] == 64);
    assert_int_equal((uintptr_t)t->data % GGUF_ALIGNMENT, 0);
    assert_memory_equal(t->data, data, sizeof data);
    gguf_close(&g);
    unlink(scratch_file);
}

/* ---- position scaling ---- */

#define SIZES                                                                                      \
    "\"model_type\":\"llama\",\"vocab_size\":32,\"hidden_size\":64,\"intermediate_size\":32,"      \
    "\"num_hidden_layers\":1,\"num_attention_heads\":4,\"max_position_embeddings\":"

/* Writes the config as the keys of a GGUF file and reads it back. */
static void go_round(const struct config *c, struct config *back)
{
    struct gguf_keys keys;
    struct gguf_writer *w;
    struct gguf g;
    float factors[8], zeros[32 * 64] = { 0 };
    bool has_factors = gguf_config_frequencies(c, factors);
    const struct gguf_header headers[] = {
        { .name = GGUF_EMBEDDING, .type = GGML_F32, .dims = 2, .shape = { 32, 64 } },
        { .name = GGUF_ROPE_FREQS, .type = GGML_F32, .dims = 1, .shape = { 8 } },
    };
    const struct gguf_general general = { .name = "n", .type = "model", .parameters = 1 };
    const struct gguf_architecture *a = gguf_config_architecture(c, &why);
    if (!a) fail_msg("%s", why.text);
    assert_int_equal(gguf_keys_begin(&keys, &why), 0);
    gguf_config_put_general(&keys, a, &general);
    gguf_config_put(&keys, a, c);
    assert_int_equal(gguf_create(&w, scratch_file, &keys, headers, 1 + has_factors, &why), 0);
    gguf_keys_release(&keys);
    assert_int_equal(gguf_put(w, zeros, sizeof zeros, &why), 0);
    if (has_factors) assert_int_equal(gguf_put(w, factors, sizeof factors, &why), 0);
    assert_int_equal(gguf_finish(w, &why), 0);
    assert_int_equal(gguf_open(&g, scratch_file, &why), 0);
    if (gguf_model_read_config(back, &g, "x", &why)) fail_msg("%s", why.text);
    gguf_close(&g);
    unlink(scratch_file);
}

static void test_positions(void **state)
{
    (void)state;
    static const struct {
        const char *config, *rope; /* rope: the value of merge's --rope, or NULL */
        int64_t context;
    } cases[] = {
        { "{" SIZES "128,\"rope_theta\":5000}", NULL, 128 },
        { "{" SIZES "128}", "linear:4", 512 },
        { "{" SIZES "128}", "ntk:2", 256 },
        { "{" SIZES "128}", "yarn:8", 1024 },
        { "{" SIZES "4096,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}", NULL, 10240 },
        { "{" SIZES "65536,\"rope_theta\":500000,\"rope_scaling\":{\"rope_type\":\"llama3\","
          "\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
          "\"original_max_position_embeddings\":8192}}",
          NULL, 65536 },
        { "{" SIZES "128,\"rope_theta\":100,\"rope_scaling\":{\"rope_type\":\"llama3\","
          "\"factor\":4,\"low_freq_factor\":1,\"high_freq_factor\":4,"
          "\"original_max_position_embeddings\":64}}",
          NULL, 128 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config c, back;
        float own[2][8], read[2][8];
        if (config_parse(&c, cases[i].config, "x", &why)) fail_msg("%zu: %s", i, why.text);
        if (cases[i].rope) assert_int_equal(rope_set(&c.rope, cases[i].rope, &why), 0);
        go_round(&c, &back);
        assert_int_equal(config_context(&c), cases[i].context);
        assert_int_equal(config_context(&back), cases[i].context);
        config_rope_tables(&c, 100, 99, 1, own[0], own[1]);
        config_rope_tables(&back, 100, 99, 1, read[0], read[1]);
        for (int j = 0; j < 8; j++)
            if (fabsf(own[0][j] - read[0][j]) > 2e-5F || fabsf(own[1][j] - read[1][j]) > 2e-5F)
                fail_msg("case %zu: pair %d turns differently", i, j);
        config_release(&c);
        config_release(&back);
    }
}

static void test_refused_positions(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(config_parse(&c, "{" SIZES "128}", "x", &why), 0);
    assert_int_equal(rope_set(&c.rope, "dynamic:2", &why), 0);
    assert_null(gguf_config_architecture(&c, &why));
    assert_non_null(strstr(why.text, "dynamic positions"));
    assert_int_equal(rope_set(&c.rope, "yarn:2", &why), 0);
    c.rope.is_exact = true;
    assert_null(gguf_config_architecture(&c, &why));
    assert_non_null(strstr(why.text, "truncate"));
    config_release(&c);
}

/* ---- tokenizers ---- */

static int export(const char *place, int64_t vocab)
{
    struct gguf_keys keys;
    struct gguf_writer *w;
    char remark[200];
    json_t *config = json_pack("{s:i,s:i}", "bos_token_id", 1, "eos_token_id", 2);
    assert_int_equal(gguf_keys_begin(&keys, &why), 0);
    int status = gguf_export_tokenizer(&keys, place, vocab, config, remark, sizeof remark, &why);
    if (!status) {
        assert_int_equal(gguf_create(&w, scratch_file, &keys, NULL, 0, &why), 0);
        assert_int_equal(gguf_finish(w, &why), 0);
    }
    gguf_keys_release(&keys);
    json_decref(config);
    return status;
}

static const char *const texts[] = {
    "Hello, world!",
    "  two spaces\n\n\ttab",
    "it's 12345 o'clock",
    "h\xc3\xa9 \xe2\x82\xac",
    "\xf0\x9f\xa6\x99 \xe6\x97\xa5\xe6\x9c\xac",
    "a",
    "",
};

static char json_file[4200];

/* Makes the tokenizer.json of a SentencePiece model. Its scores must be derived from its merges. */
static void make_json(void)
{
    struct gguf g;
    struct gguf_tokenizer made;
    snprintf(json_file, sizeof json_file, "%s/tokenizer.json", scratch_directory);
    assert_int_equal(export("tests/golden/tokenizer/spm.model", 1000), 0);
    assert_int_equal(gguf_open(&g, scratch_file, &why), 0);
    assert_int_equal(gguf_tokenizer_make(&made, &g, &why), 0);
    scratch_store(json_file, (const unsigned char *)made.json, made.bytes);
    gguf_tokenizer_release(&made);
    gguf_close(&g);
}

static void test_merges_of_another_kind_are_refused(void **state)
{
    (void)state;
    assert_int_equal(export("tests/golden/tokenizer/chars.json", 10000), -1);
    assert_int_equal(why.status, STATUS_INPUT);
    assert_non_null(strstr(why.text, "are not those of a SentencePiece model"));
}

static void test_tokenizers(void **state)
{
    (void)state;
    static const char *const places[] = { "tests/golden/bpe/gpt2", "tests/golden/bpe/llama3",
                                          "tests/golden/tokenizer/spm.model", json_file };
    make_json();
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct tokenizer *own, *read;
        struct token_buffer a = { 0 }, b = { 0 };
        if (tokenizer_open(&own, places[i], &why)) fail_msg("%s", why.text);
        if (export(places[i], tokenizer_vocab(own) + 3)) fail_msg("%s: %s", places[i], why.text);
        if (tokenizer_open(&read, scratch_file, &why)) fail_msg("%s: %s", places[i], why.text);
        assert_int_equal(tokenizer_begin(own), tokenizer_begin(read));
        assert_int_equal(tokenizer_end(own), tokenizer_end(read));
        for (size_t j = 0; j < sizeof texts / sizeof *texts; j++) {
            a.count = b.count = 0;
            assert_int_equal(tokenizer_encode(own, &a, texts[j], strlen(texts[j]), &why), 0);
            assert_int_equal(tokenizer_encode(read, &b, texts[j], strlen(texts[j]), &why), 0);
            if (a.count != b.count || memcmp(a.ids, b.ids, a.count * sizeof *a.ids) != 0)
                fail_msg("%s: '%s' gives other ids", places[i], texts[j]);
        }
        assert_int_equal(export(places[i], tokenizer_vocab(own) - 1), -1);
        assert_non_null(strstr(why.text, "a tokenizer of this model is needed"));
        token_buffer_release(&a);
        token_buffer_release(&b);
        tokenizer_close(own);
        tokenizer_close(read);
        unlink(scratch_file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_refused_positions),
        cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_merges_of_another_kind_are_refused),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
