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

#define OTHER(type, more)                                                                          \
    "\"model_type\":\"" type "\",\"vocab_size\":32,\"hidden_size\":64,\"intermediate_size\":32,"   \
    "\"num_hidden_layers\":7,\"num_attention_heads\":4,\"num_key_value_heads\":4,"                 \
    "\"head_dim\":16," more "\"max_position_embeddings\":"
#define GEMMA3 OTHER("gemma3_text", "\"query_pre_attn_scalar\":16,")
#define PHI3 OTHER("phi3", "")
#define FACTORS(name, first) "\"" name "\":[" first ",1,1.5,2,3,4]"
#define LONGROPE                                                                                   \
    "\"type\":\"longrope\"," FACTORS("short_factor", "1") "," FACTORS("long_factor", "2")

/* Writes the config as the keys of a GGUF file and reads it back. */
static void go_round(const struct config *c, struct config *back)
{
    struct gguf_keys keys;
    struct gguf_writer *w;
    struct gguf g;
    struct gguf_factors factors[GGUF_FACTORS_MAX];
    float zeros[32 * 64] = { 0 };
    int count = gguf_config_factors(c, factors, &why);
    struct gguf_header headers[1 + GGUF_FACTORS_MAX] = {
        { .name = GGUF_EMBEDDING, .type = GGML_F32, .dims = 2, .shape = { 32, 64 } },
    };
    for (int i = 0; i < count; i++) {
        headers[1 + i] =
            (struct gguf_header){ .type = GGML_F32, .dims = 1, .shape = { factors[i].count } };
        snprintf(headers[1 + i].name, sizeof headers[1 + i].name, "%s", factors[i].name);
    }
    const struct gguf_general general = { .name = "n", .type = "model", .parameters = 1 };
    const struct gguf_architecture *a = gguf_config_architecture(c, &why);
    if (!a) fail_msg("%s", why.text);
    assert_int_equal(gguf_keys_begin(&keys, &why), 0);
    gguf_config_put_general(&keys, a, &general);
    gguf_config_put(&keys, a, c);
    assert_int_equal(gguf_create(&w, scratch_file, &keys, headers, (size_t)(1 + count), &why), 0);
    gguf_keys_release(&keys);
    assert_int_equal(gguf_put(w, zeros, sizeof zeros, &why), 0);
    for (int i = 0; i < count; i++) {
        size_t bytes = (size_t)factors[i].count * sizeof(float);
        assert_int_equal(gguf_put(w, factors[i].values, bytes, &why), 0);
        free(factors[i].values);
    }
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
        { "{" SIZES "128}", "llama3:8", 1024 },
        { "{" SIZES "4096,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}}", NULL, 10240 },
        { "{" SIZES "65536,\"rope_theta\":500000,\"rope_scaling\":{\"rope_type\":\"llama3\","
          "\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
          "\"original_max_position_embeddings\":8192}}",
          NULL, 65536 },
        { "{" SIZES "128,\"rope_theta\":100,\"rope_scaling\":{\"rope_type\":\"llama3\","
          "\"factor\":4,\"low_freq_factor\":1,\"high_freq_factor\":4,"
          "\"original_max_position_embeddings\":64}}",
          NULL, 128 },
        { "{" GEMMA3 "128}", NULL, 128 },
        { "{" GEMMA3 "128}", "linear:4", 512 },
        { "{" GEMMA3 "128}", "yarn:4", 512 },
        { "{" GEMMA3 "128}", "ntk:2", 256 },
        /* Gemma 3 of 4B: the context is the one after scaling. */
        { "{" GEMMA3 "128,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}}", NULL, 128 },
        { "{" GEMMA3 "128,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}}", "linear:2",
          32 },
        { "{" PHI3 "128}", NULL, 128 },
        { "{" PHI3 "128,\"partial_rotary_factor\":0.75}", "ntk:2", 256 },
        { "{" PHI3 "128,\"partial_rotary_factor\":0.75,\"sliding_window\":512}", "linear:4", 512 },
        { "{" PHI3 "128,\"partial_rotary_factor\":0.75,"
          "\"original_max_position_embeddings\":64,\"rope_scaling\":{" LONGROPE "}}",
          NULL, 128 },
        /* 100 positions, for which the table is made, are not longer than the original context. */
        { "{" PHI3 "512,\"partial_rotary_factor\":0.75,"
          "\"original_max_position_embeddings\":256,\"rope_scaling\":{" LONGROPE
          ",\"attention_factor\":1.5}}",
          NULL, 512 },
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
        assert_int_equal(c.rotary_dim, back.rotary_dim);
        for (int j = 0; j < c.rotary_dim / 2; j++)
            if (fabsf(own[0][j] - read[0][j]) > 2e-5F || fabsf(own[1][j] - read[1][j]) > 2e-5F)
                fail_msg("case %zu: pair %d turns differently", i, j);
        for (int64_t l = 0; l < c.layers; l++)
            assert_int_equal(config_window(&c, l), config_window(&back, l));
        assert_true(c.local_theta == back.local_theta);
        assert_true(fabs(c.attention_scale / back.attention_scale - 1) < 1e-7);
        config_release(&c);
        config_release(&back);
    }
}

/* The windows of Gemma 3's layers, in patterns that llama.cpp assumes and that it reads. */
static void test_windows(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        bool has_pattern; /* does the file say which layers have the window? */
    } cases[] = {
        { "\"sliding_window\":8}", false },
        { "\"sliding_window\":8,\"sliding_window_pattern\":6}", false },
        { "\"sliding_window\":8,\"sliding_window_pattern\":2,\"rope_local_base_freq\":5000}",
          true },
        { "\"sliding_window\":4096,\"sliding_window_pattern\":7}", true },
        { "\"sliding_window\":8,\"sliding_window_pattern\":1}", false },
        { "\"sliding_window\":8,\"layer_types\":[\"full_attention\",\"sliding_attention\","
          "\"sliding_attention\",\"sliding_attention\",\"sliding_attention\","
          "\"sliding_attention\",\"sliding_attention\"]}",
          true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config c, back;
        char text[900];
        struct gguf_keys keys;
        snprintf(text, sizeof text, "{%s128,%s", GEMMA3, cases[i].keys);
        if (config_parse(&c, text, "x", &why)) fail_msg("%zu: %s", i, why.text);
        go_round(&c, &back);
        for (int64_t l = 0; l < c.layers; l++)
            assert_int_equal(config_window(&c, l), config_window(&back, l));
        bool has_window = c.window < INT64_MAX;
        if (has_window) assert_true(c.local_theta == back.local_theta);
        assert_int_equal(gguf_keys_begin(&keys, &why), 0);
        gguf_windows_put(&keys, gguf_config_architecture(&c, &why), &c);
        fflush(keys.to);
        assert_int_equal(keys.count, !has_window ? 0 : 2 + cases[i].has_pattern);
        gguf_keys_release(&keys);
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
    struct gguf_export_notes notes;
    json_t *config = json_pack("{s:i,s:i}", "bos_token_id", 1, "eos_token_id", 2);
    assert_int_equal(gguf_keys_begin(&keys, &why), 0);
    int status = gguf_export_tokenizer(&keys, place, vocab, config, &notes, &why);
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

/* llama.cpp treats the tokens of a model as Phi-3's if its name contains "phi-3" or "phi3". */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        /* strips: the file's name if added tokens take white space; keeps: if they do not */
        const char *name, *strips, *keeps;
    } cases[] = {
        { "llama", "llama (phi-3)", "llama" },
        { "Phi-3-mini", "Phi-3-mini", "Phi 3-mini" },
        { "my-PHI3.5-and-phi-3", "my-PHI3.5-and-phi-3", "my-PHI 3.5-and-phi 3" },
        { "phi-4", "phi-4 (phi-3)", "phi-4" },
        { "", " (phi-3)", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[80];
        gguf_export_name(cases[i].name, true, name, sizeof name);
        assert_string_equal(name, cases[i].strips);
        gguf_export_name(cases[i].name, false, name, sizeof name);
        assert_string_equal(name, cases[i].keeps);
    }
    char small[12];
    gguf_export_name("a-phi3-of-many-letters", false, small, sizeof small);
    assert_string_equal(small, "a-phi 3-of");
}

/* Does this added token of the file take the white space that follows it? */
static bool takes_right(const char *path, const char *token)
{
    struct tokenizer *t;
    if (tokenizer_open(&t, path, &why)) fail_msg("%s", why.text);
    uint32_t id = tokenizer_special(t, token);
    assert_int_not_equal(id, UINT32_MAX);
    bool takes = tokenizer_special_spaces(t, id) & TOKEN_TAKES_RIGHT;
    tokenizer_close(t);
    return takes;
}

static void test_white_space(void **state)
{
    (void)state;
    static const char phi3[] = "tests/golden/gguf-families/phi3-longrope.gguf";
    static const char gemma3[] = "tests/golden/gguf-families/gemma3.gguf";
    struct gguf g;
    struct gguf_tokenizer made;
    struct gguf_keys keys;
    struct gguf_export_notes notes;
    assert_true(takes_right(phi3, "<|end|>") && takes_right(phi3, "</s>"));
    assert_false(takes_right(phi3, "<|endoftext|>") || takes_right(phi3, "<s>"));
    /* The same tokens in a model of another name. */
    assert_false(takes_right(gemma3, "<|end|>"));
    /* A GGUF's name says that tokens take white space; in tokenizer.json the tokens say so. */
    snprintf(json_file, sizeof json_file, "%s/tokenizer.json", scratch_directory);
    assert_int_equal(gguf_open(&g, phi3, &why), 0);
    assert_int_equal(gguf_tokenizer_make(&made, &g, &why), 0);
    scratch_store(json_file, (const unsigned char *)made.json, made.bytes);
    gguf_tokenizer_release(&made);
    gguf_close(&g);
    struct tokenizer *t;
    if (tokenizer_open(&t, json_file, &why)) fail_msg("%s", why.text);
    assert_true(gguf_export_strips(t));
    tokenizer_close(t);
    const char *const places[] = { phi3, gemma3 };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gguf_keys_begin(&keys, &why), 0);
        if (gguf_export_tokenizer(&keys, places[i], 24, NULL, &notes, &why))
            fail_msg("%s: %s", places[i], why.text);
        assert_int_equal(notes.strips, i == 0);
        assert_string_equal(notes.added, "");
        assert_string_equal(notes.ends, "");
        gguf_keys_release(&keys);
    }
}

/* Writes a tokenizer as Gemma's: runs of spaces are added tokens, and pieces that merges make. */
static void store_gemma(const char *merges)
{
    char text[20000];
    int used =
        snprintf(text, sizeof text,
                 "{\"added_tokens\":[{\"id\":4,\"content\":\"\xe2\x96\x81\xe2\x96\x81\","
                 "\"special\":false,\"normalized\":false},{\"id\":5,\"content\":"
                 "\"\xe2\x96\x81\xe2\x96\x81\xe2\x96\x81\",\"special\":false,\"normalized\":"
                 "false}],\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
                 "\"content\":\"\xe2\x96\x81\"},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":"
                 "{\"String\":\" \"},\"behavior\":\"MergedWithPrevious\",\"invert\":false},"
                 "\"post_processor\":null,\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{"
                 "\"type\":\"Replace\",\"pattern\":{\"String\":\"\xe2\x96\x81\"},\"content\":"
                 "\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},\"model\":{\"type\":"
                 "\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,"
                 "\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"\xe2\x96\x81\":3,"
                 "\"\xe2\x96\x81\xe2\x96\x81\":4,\"\xe2\x96\x81\xe2\x96\x81\xe2\x96\x81\":5,"
                 "\"\xe2\x96\x81"
                 "a\":6,\"ab\":7");
    for (int b = 0; b < 256; b++)
        used += snprintf(text + used, sizeof text - (size_t)used, ",\"<0x%02X>\":%d", b, 8 + b);
    used += snprintf(text + used, sizeof text - (size_t)used, "},\"merges\":[%s]}}", merges);
    scratch_store(json_file, (const unsigned char *)text, (size_t)used);
}

#define MARK "\xe2\x96\x81"
#define RUNS                                                                                       \
    "[\"" MARK MARK "\",\"" MARK "\"],[\"" MARK "\",\"" MARK MARK "\"],[\"" MARK "\",\"" MARK "\"" \
    "]"

static void test_gemma(void **state)
{
    (void)state;
    static const char *const spaces[] = {
        "a", " a", "  a", "   ab", "    a  b", "     ", "b      a"
    };
    snprintf(json_file, sizeof json_file, "%s/tokenizer.json", scratch_directory);
    store_gemma(RUNS ",[\"a\",\"b\"],[\"" MARK "\",\"a\"]");
    struct tokenizer *own, *read;
    struct token_buffer a = { 0 }, b = { 0 };
    if (tokenizer_open(&own, json_file, &why)) fail_msg("%s", why.text);
    if (export(json_file, 264)) fail_msg("%s", why.text);
    if (tokenizer_open(&read, scratch_file, &why)) fail_msg("%s", why.text);
    for (size_t j = 0; j < sizeof spaces / sizeof *spaces; j++) {
        a.count = b.count = 0;
        assert_int_equal(tokenizer_encode(own, &a, spaces[j], strlen(spaces[j]), &why), 0);
        assert_int_equal(tokenizer_encode(read, &b, spaces[j], strlen(spaces[j]), &why), 0);
        assert_int_equal(a.count, b.count);
        assert_memory_equal(a.ids, b.ids, a.count * sizeof *a.ids);
    }
    token_buffer_release(&a);
    token_buffer_release(&b);
    tokenizer_close(own);
    tokenizer_close(read);
    /* A space merges with a letter before it merges with another space. */
    store_gemma("[\"" MARK "\",\"a\"]," RUNS ",[\"a\",\"b\"]");
    assert_int_equal(export(json_file, 264), -1);
    assert_non_null(strstr(why.text, "are not those of a SentencePiece model"));
    /* Three spaces are not one token, because one of the merges is missing. */
    store_gemma("[\"" MARK "\",\"" MARK "\"],[\"a\",\"b\"],[\"" MARK "\",\"a\"]");
    assert_int_equal(export(json_file, 264), -1);
    assert_non_null(strstr(why.text, "are not those of a SentencePiece model"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_refused_positions),
        cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_merges_of_another_kind_are_refused),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_gemma),
        cmocka_unit_test(test_white_space),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
