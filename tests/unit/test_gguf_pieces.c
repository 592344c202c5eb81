/* Tokenizers of GGUF files whose pieces have unusual scores, types or ids. The expected ids were
 * computed by llama.cpp (llama-cpp-python 0.3.36) from files with the same keys. */
#include "lib/tensorfile/gguf_writer.h"
#include "lib/tokenizer/end_tokens.h"
#include "lib/tokenizer/gguf_ends.h"
#include "lib/tokenizer/gguf_tokenizer.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static struct fail why;

/* What a file has. Its first pieces are <unk>, <s>, </s>, <0x00> to <0xFF>, "▁", a, b, c, d, e (ids
 * 259 to 264). `extra` follows from id 265 on. */
struct piece_row {
    const char *text;
    double score;
    int type;
};
enum { EXTRA_MAX = 12, FIRST = 3, LETTERS = 6, EXTRA_ID = FIRST + 256 + LETTERS };
struct file {
    struct piece_row extra[EXTRA_MAX];
    int byte_type;            /* 0: 6 */
    int bytes;                /* 0: 256 */
    bool no_types, no_scores; /* the key is missing */
    bool minus_one;           /* the ids of BOS and EOS are 4294967295, and both are added */
    const char *count_key;    /* a further key, whose value is `count` */
    uint32_t count;
};

static struct piece_row row_of(const struct file *f, int i)
{
    static const char *const first[FIRST] = { "<unk>", "<s>", "</s>" };
    static const char *const letters[LETTERS] = { "\u2581", "a", "b", "c", "d", "e" };
    static char byte[16];
    int bytes = f->bytes ? f->bytes : 256;
    if (i < FIRST) return (struct piece_row){ first[i], 0, i ? 3 : 2 };
    if (i < FIRST + bytes) {
        snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)(i - FIRST));
        return (struct piece_row){ byte, 0, f->byte_type ? f->byte_type : 6 };
    }
    i -= FIRST + bytes;
    if (i < LETTERS) return (struct piece_row){ letters[i], i ? -19 - i : -1, 1 };
    if (i - LETTERS < EXTRA_MAX) return f->extra[i - LETTERS];
    return (struct piece_row){ 0 };
}

static void write_keys(struct gguf_keys *k, const struct file *f)
{
    uint64_t count = 0;
    while (row_of(f, (int)count).text)
        count++;
    gguf_keys_text(k, "tokenizer.ggml.model", "llama", 5);
    gguf_keys_array(k, "tokenizer.ggml.tokens", GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++) {
        const char *text = row_of(f, (int)i).text;
        gguf_keys_item_text(k, text, strlen(text));
    }
    if (!f->no_scores) gguf_keys_array(k, "tokenizer.ggml.scores", GGUF_F32, count);
    for (uint64_t i = 0; i < count && !f->no_scores; i++) {
        float score = (float)row_of(f, (int)i).score;
        gguf_keys_item(k, &score, sizeof score);
    }
    if (!f->no_types) gguf_keys_array(k, "tokenizer.ggml.token_type", GGUF_I32, count);
    for (uint64_t i = 0; i < count && !f->no_types; i++) {
        int32_t type = row_of(f, (int)i).type;
        gguf_keys_item(k, &type, sizeof type);
    }
    if (f->minus_one) {
        gguf_keys_count(k, "tokenizer.ggml.bos_token_id", UINT32_MAX);
        gguf_keys_count(k, "tokenizer.ggml.eos_token_id", UINT32_MAX);
        gguf_keys_flag(k, "tokenizer.ggml.add_eos_token", true);
    }
    if (f->count_key) gguf_keys_count(k, f->count_key, f->count);
}

static void finish(struct gguf_keys *keys)
{
    struct gguf_writer *w;
    assert_int_equal(gguf_create(&w, scratch_file, keys, NULL, 0, &why), 0);
    assert_int_equal(gguf_finish(w, &why), 0);
    gguf_keys_release(keys);
}

static void make(const struct file *f)
{
    struct gguf_keys keys;
    assert_int_equal(gguf_keys_begin(&keys, &why), 0);
    write_keys(&keys, f);
    finish(&keys);
}

static struct tokenizer *open_file(const struct file *f)
{
    struct tokenizer *t;
    make(f);
    if (tokenizer_open(&t, scratch_file, &why)) fail_msg("%s", why.text);
    return t;
}

/* Compares the ids of a text with `wanted`, which is written as "1 2 3". */
static void check_ids(const struct tokenizer *t, const char *text, bool parses, const char *wanted)
{
    struct token_buffer b = { .parses_special = parses };
    char got[400] = "";
    assert_int_equal(tokenizer_encode(t, &b, text, strlen(text), &why), 0);
    for (size_t i = 0; i < b.count; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), i ? " %u" : "%u", b.ids[i]);
    assert_string_equal(got, wanted);
    token_buffer_release(&b);
}

static void check_refused(const struct file *f, const char *text)
{
    struct tokenizer *t;
    make(f);
    if (!tokenizer_open(&t, scratch_file, &why)) fail_msg("not refused: %s", text);
    assert_int_equal(why.status, STATUS_INPUT);
    if (!strstr(why.text, text)) fail_msg("'%s' lacks '%s'", why.text, text);
}

/* ---- scores ---- */

static void test_equal_scores(void **state)
{
    (void)state;
    struct file f = { .extra = { { "ab", -2, 1 }, { "bc", -2, 1 } } };
    check_refused(&f, "scores gives tokens 266 'bc' and 265 'ab' the same score");
    f.extra[1].score = -3;
    struct tokenizer *t = open_file(&f);
    check_ids(t, "abc", false, "259 265 262");
    tokenizer_close(t);
    f.no_scores = true;
    check_refused(&f, "scores is missing");
    /* A merge that comes before those of its part's score. */
    f = (struct file){ .extra = { { "ab", -2, 1 }, { "cd", -2, 1 }, { "abe", -1.5, 1 } } };
    check_refused(&f, "scores gives tokens 265 'ab' and 266 'cd' the same score");
    f.extra[2].score = -3;
    t = open_file(&f);
    check_ids(t, "abcdabecdcdab", false, "259 265 266 267 266 266 265");
    check_ids(t, "bcdab", false, "259 261 266 265");
    tokenizer_close(t);
}

/* ---- user-defined and unused pieces ---- */

static void test_pieces_with_space_marks(void **state)
{
    (void)state;
    const struct file f = { .extra = { { "\u2581\u2581", -2, 1 },
                                       { "\u2581\u2581\u2581", -1000, 4 },
                                       { "\u2581a", -3, 1 } } };
    struct tokenizer *t = open_file(&f);
    check_ids(t, "a   b", false, "267 266 261");
    check_ids(t, "a\u2581\u2581\u2581b", false, "267 266 259 261");
    check_ids(t, "a      b", false, "267 265 265 265 261");
    tokenizer_close(t);
    /* Runs of one score, as in Gemma's tokenizer.model. */
    const struct file runs = { .extra = { { "\u2581\u2581", 0, 4 },
                                          { "\u2581\u2581\u2581", 0, 4 },
                                          { "\u2581\u2581\u2581\u2581", 0, 4 },
                                          { "\u2581\u2581\u2581\u2581\u2581", 0, 4 },
                                          { "\u2581a", -3, 1 } } };
    t = open_file(&runs);
    check_ids(t, "a b   a", false, "269 259 261 266 260");
    check_ids(t, "a      b a", false, "269 268 259 261 269");
    check_ids(t, "a        b  a", false, "269 268 266 261 265 260");
    tokenizer_close(t);
    /* Runs of one score, as in Mistral's tokenizer.model, but shorter. */
    const struct file gaps = { .extra = { { "\u2581\u2581", -1000, 1 },
                                          { "\u2581\u2581\u2581", -1000, 1 },
                                          { "\u2581\u2581\u2581\u2581\u2581", -1000, 1 },
                                          { "\u2581a", -3, 1 } } };
    t = open_file(&gaps);
    check_ids(t, "a     b    a", false, "268 267 261 266 268");
    check_ids(t, "a      b", false, "268 267 259 261");
    tokenizer_close(t);
    const struct file mixed = { .extra = { { "\u2581\u2581", -2, 1 },
                                           { "\u2581\u2581\u2581", -1000, 1 },
                                           { "\u2581\u2581\u2581\u2581", -1000, 1 } } };
    check_refused(&mixed, "the same score");
}

static void test_unused_pieces(void **state)
{
    (void)state;
    struct file f = { .extra = { { "ab", -2, 5 }, { "abc", -3, 1 } } };
    check_refused(&f, "token_type: token 265 'ab' is unused, but a text can give it");
    f.extra[0] = (struct piece_row){ "z", 0, 5 };
    check_refused(&f, "token 265 'z' is unused");
    f.extra[0] = (struct piece_row){ "[PAD265]", 0, 5 };
    tokenizer_close(open_file(&f));
}

/* ---- bytes ---- */

static void test_bytes(void **state)
{
    (void)state;
    struct file f = { .byte_type = 1 };
    struct tokenizer *t = open_file(&f);
    check_ids(t, "a\nz", false, "259 260 13 125");
    tokenizer_close(t);
    f = (struct file){ .no_types = true };
    t = open_file(&f);
    check_ids(t, "a\nz", false, "259 260 13 125");
    /* BOS, EOS and the unknown token are special whatever their types are, as in transformers. */
    check_ids(t, "<unk>", true, "0");
    check_ids(t, "a</s>", false, "259 260 63 50 118 65");
    check_ids(t, "a</s>", true, "259 260 2");
    tokenizer_close(t);
    f = (struct file){ .bytes = 200 };
    check_refused(&f, "tokens has the pieces of 200 bytes, but not <0xFF>");
}

/* ---- ids ---- */

static void test_ids(void **state)
{
    (void)state;
    const struct file f = { .minus_one = true };
    struct tokenizer *t = open_file(&f);
    struct gguf g;
    struct end_tokens ends;
    assert_int_equal(tokenizer_begin(t), 1);
    assert_int_equal(tokenizer_end(t), 2);
    assert_int_equal(tokenizer_eos(t), 2);
    tokenizer_close(t);
    assert_int_equal(gguf_open(&g, scratch_file, &why), 0);
    assert_int_equal(gguf_ends_read(&ends, &g, &why), 0);
    assert_true(ends.count == 1 && ends.ids[0] == 2);
    gguf_close(&g);
}

/* BPE over bytes has no default for BOS and EOS. */
static void make_bpe(const char *pre, const char *adds)
{
    struct gguf_keys k;
    assert_int_equal(gguf_keys_begin(&k, &why), 0);
    gguf_keys_text(&k, "tokenizer.ggml.model", "gpt2", 4);
    gguf_keys_text(&k, "tokenizer.ggml.pre", pre, strlen(pre));
    gguf_keys_array(&k, "tokenizer.ggml.tokens", GGUF_STRING, 3);
    gguf_keys_item_text(&k, "a", 1);
    gguf_keys_item_text(&k, "b", 1);
    gguf_keys_item_text(&k, "ab", 2);
    gguf_keys_array(&k, "tokenizer.ggml.merges", GGUF_STRING, 1);
    gguf_keys_item_text(&k, "a b", 3);
    if (adds) gguf_keys_flag(&k, adds, true);
    finish(&k);
}

static void test_missing_ids(void **state)
{
    (void)state;
    static const struct {
        const char *pre, *adds, *text;
    } cases[] = {
        { "llama-bpe", NULL, "bos_token_id names no token, but every text gets one" },
        { "qwen2", "tokenizer.ggml.add_bos_token", "bos_token_id names no token, but every" },
        { "qwen2", "tokenizer.ggml.add_eos_token", "eos_token_id names no token, but every" },
        { "qwen2", NULL, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *t;
        make_bpe(cases[i].pre, cases[i].adds);
        int status = tokenizer_open(&t, scratch_file, &why);
        assert_int_equal(status, cases[i].text ? -1 : 0);
        if (cases[i].text && !strstr(why.text, cases[i].text)) fail_msg("%s", why.text);
        if (!status) tokenizer_close(t);
    }
}

/* ---- names of control tokens ---- */

static void test_control_names(void **state)
{
    (void)state;
    static const char whole[] = "259 260 265 259 261";
    static const struct {
        const char *name, *parts;
        bool always; /* found in every text */
    } cases[] = {
        { "<|im_end|>", "259 260 63 127 108 112 98 264 113 263 127 65 261", false },
        { "<|fim_prefix|>", "259 260 63 127 105 108 112 98 115 117 264 105 108 123 127 65 261",
          false },
        { "<|message|>", whole, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const int types[] = { 1, 3, 4 };
        char text[40];
        snprintf(text, sizeof text, "a%sb", cases[i].name);
        for (int j = 0; j < 3; j++) {
            const struct file f = { .extra = { { cases[i].name, -1000, types[j] } } };
            struct tokenizer *t = open_file(&f);
            check_ids(t, text, false, cases[i].parts);
            check_ids(t, text, true, whole);
            tokenizer_close(t);
        }
    }
    /* If a key has a token for the purpose, the name counts for nothing. */
    struct file f = { .extra = { { "<|fim_prefix|>", -1000, 1 }, { "<PRE>", -1001, 1 } } };
    check_refused(&f, "token_type: tokens 265 and 266 are not both control tokens");
    f.count_key = "tokenizer.ggml.fim_pre_token_id";
    f.count = 264;
    struct tokenizer *t = open_file(&f);
    check_ids(t, "<PRE>", true, "259 63 83 85 72 65");
    tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_scores),  cmocka_unit_test(test_pieces_with_space_marks),
        cmocka_unit_test(test_unused_pieces), cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_ids),           cmocka_unit_test(test_missing_ids),
        cmocka_unit_test(test_control_names),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
