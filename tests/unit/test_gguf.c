/* GGUF files: values of every type against gguf's own code (tests/golden/gguf_files.py), the config
 * and the tokenizer that they give, and files that are damaged or not understood. */
#include "lib/llama/gguf_model.h"
#include "lib/llama/weights_gguf.h"
#include "lib/tokenizer/chat_known.h"
#include "lib/tokenizer/gguf_internal.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <zlib.h>

static struct fail why;
static const char types_file[] = "tests/golden/gguf/types.gguf";
static const char llama3_file[] = "tests/golden/gguf/llama3.gguf";

/* ---- values ---- */

static int64_t find(const struct weights *w, const char *name)
{
    for (int64_t i = 0; i < w->count; i++)
        if (!strcmp(w->table[i].name, name)) return i;
    fail_msg("%s is not in the table", name);
    return -1;
}

/* The CRC of a tensor's f32 values, read `each` rows at a time. */
static unsigned long crc_of(const struct weights *w, int64_t i, int64_t each)
{
    const struct tensor *t = &w->table[i];
    float *buffer = malloc((size_t)(t->rows * t->cols) * sizeof *buffer);
    float *wide = malloc((size_t)(t->rows * t->cols) * sizeof *wide);
    unsigned long crc = crc32(0, NULL, 0);
    assert_true(buffer && wide);
    for (int64_t row = 0; row < t->rows; row += each) {
        int64_t count = row + each < t->rows ? each : t->rows - row;
        const void *rows = weights_rows(w, i, row, count, buffer);
        enum ggml_type type = w->at[i].type == DTYPE_F16    ? GGML_F16
                              : w->at[i].type == DTYPE_BF16 ? GGML_BF16
                                                            : GGML_F32;
        ggml_widen(type, rows, wide, count * t->cols);
        crc = crc32(crc, (const unsigned char *)wide, (unsigned)(count * t->cols) * 4);
    }
    free(buffer);
    free(wide);
    return crc;
}

static void test_values(void **state)
{
    (void)state;
    struct weights w;
    char name[64];
    long long rows, cols;
    unsigned long crc;
    FILE *list = fopen("tests/golden/gguf/types.tsv", "r");
    assert_non_null(list);
    assert_int_equal(weights_open(&w, types_file, true, &why), 0);
    int64_t listed = 0;
    while (fscanf(list, "%63s %lld %lld %lu", name, &rows, &cols, &crc) == 4) {
        int64_t i = find(&w, name);
        assert_int_equal(w.table[i].rows, rows);
        assert_int_equal(w.table[i].cols, cols);
        for (int64_t each = 1; each < 40; each += 13)
            if (crc_of(&w, i, each) != crc) fail_msg("%s, %d rows at a time", name, (int)each);
        listed++;
    }
    fclose(list);
    assert_int_equal(listed, w.count);
    /* Widened, they are the same. */
    char base[STREAM_DIGEST_TEXT];
    memcpy(base, w.base, sizeof base);
    unsigned long packed = crc_of(&w, 2, 5);
    assert_null(w.at[2].data);
    assert_int_equal(weights_widen(&w, &why), 0);
    assert_non_null(w.at[2].data);
    assert_int_equal(crc_of(&w, 2, 5), packed);
    assert_true(w.copied > 0);
    weights_close(&w);
    assert_int_equal(weights_open_checked(&w, types_file, true, NULL, NULL, &why), 0);
    assert_string_equal(w.base, base);
    weights_close(&w);
}

/* ---- config ---- */

static void test_llama3(void **state)
{
    (void)state;
    struct gguf g;
    struct config c;
    assert_int_equal(gguf_open(&g, llama3_file, &why), 0);
    assert_int_equal(gguf_model_read_config(&c, &g, llama3_file, &why), 0);
    assert_int_equal(c.rope.type, ROPE_LLAMA3);
    assert_true(c.rope.factor == 8 && c.rope.low == 1 && c.rope.high == 4);
    assert_int_equal(c.original_position, 8192);
    assert_true(c.theta == 500000 && c.norm_eps == 1e-5);
    config_release(&c);
    /* One factor that is another is not taken for these. */
    const struct gguf_tensor *t = gguf_tensor(&g, GGUF_ROPE_FREQS);
    float factors[8];
    memcpy(factors, t->data, sizeof factors);
    factors[6] *= 1.001F;
    for (size_t i = 0; i < g.tensor_count; i++)
        if (!strcmp(g.tensors[i].name, GGUF_ROPE_FREQS)) g.tensors[i].data = factors;
    assert_int_equal(gguf_model_read_config(&c, &g, llama3_file, &why), -1);
    assert_non_null(strstr(why.text, "no llama3 positions give"));
    gguf_close(&g);
}

/* ---- the tokenizer ---- */

static void test_ids(void **state)
{
    (void)state;
    struct tokenizer *t;
    struct token_buffer b = { 0 };
    char *line = NULL;
    size_t size = 0;
    FILE *list = fopen("tests/golden/gguf/ids.tsv", "r");
    assert_non_null(list);
    assert_int_equal(tokenizer_open(&t, types_file, &why), 0);
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 2);
    assert_true(tokenizer_begin(t) == UINT32_MAX);
    while (getline(&line, &size, list) > 0) {
        char *ids = strchr(line, '\t');
        *ids++ = 0;
        json_t *text = json_loads(line, JSON_DECODE_ANY, NULL);
        b.count = 0;
        assert_int_equal(
            tokenizer_encode(t, &b, json_string_value(text), json_string_length(text), &why), 0);
        for (size_t i = 0; i < b.count; i++)
            assert_int_equal(strtoul(ids, &ids, 10), b.ids[i]);
        assert_string_equal(ids, "\n");
        json_decref(text);
    }
    free(line);
    fclose(list);
    token_buffer_release(&b);
    tokenizer_close(t);
}

/* Each known name means what the models' own files say. */
static void test_pre_tokenizers(void **state)
{
    (void)state;
    char *line = NULL;
    size_t size = 0;
    int count = 0;
    FILE *list = fopen("tests/golden/gguf/pre.tsv", "r");
    assert_non_null(list);
    for (; getline(&line, &size, list) > 0; count++) {
        const char *name = strtok(line, "\t");
        const struct gguf_pre *p = gguf_pre_find((struct gguf_text){ name, strlen(name) }, &why);
        assert_non_null(p);
        const char *texts[2] = { p->normalizer, p->pre_tokenizer };
        for (int i = 0; i < 2; i++) {
            json_t *wanted = json_loads(strtok(NULL, "\t"), JSON_DECODE_ANY, NULL);
            json_t *got = json_loads(texts[i], JSON_DECODE_ANY, NULL);
            assert_true(wanted && got);
            if (!json_equal(wanted, got)) fail_msg("%s: %s", p->name, texts[i]);
            json_decref(wanted);
            json_decref(got);
        }
        assert_int_equal(atoi(strtok(NULL, "\t")), p->ignores_merges);
    }
    free(line);
    fclose(list);
    assert_int_equal(count, 11);
    assert_null(gguf_pre_find((struct gguf_text){ "default", 7 }, &why));
}

static void test_template(void **state)
{
    (void)state;
    struct chat_source s;
    assert_int_equal(chat_source_find(&s, types_file, &why), 0);
    assert_non_null(strstr(s.text, "<|im_start|>assistant\n"));
    chat_source_release(&s);
    assert_int_equal(chat_source_find(&s, llama3_file, &why), 0);
    assert_null(s.text);
    struct tokenizer *t;
    assert_int_equal(tokenizer_open(&t, llama3_file, &why), -1);
    assert_non_null(strstr(why.text, "no tokenizer in it"));
}

/* ---- files made here ---- */

struct bytes {
    char at[4096];
    size_t used;
};

static void put(struct bytes *b, const void *data, size_t bytes)
{
    assert_true(b->used + bytes <= sizeof b->at);
    memcpy(b->at + b->used, data, bytes);
    b->used += bytes;
}
static void put_u32(struct bytes *b, uint32_t x) { put(b, &x, sizeof x); }
static void put_u64(struct bytes *b, uint64_t x) { put(b, &x, sizeof x); }
static void put_text(struct bytes *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}
static void put_key(struct bytes *b, const char *key, enum gguf_type type)
{
    put_text(b, key);
    put_u32(b, type);
}
static void put_head(struct bytes *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    b->used = 0;
    put(b, GGUF_MAGIC, 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, keys);
}
static void put_tensor(struct bytes *b, const char *name, uint32_t type, uint64_t cols,
                       uint64_t rows, uint64_t offset)
{
    put_text(b, name);
    put_u32(b, 2);
    put_u64(b, cols);
    put_u64(b, rows);
    put_u32(b, type);
    put_u64(b, offset);
}
/* The data section: so many zeros behind the padding. */
static void put_data(struct bytes *b, size_t bytes)
{
    while (b->used % 32)
        put(b, "", 1);
    for (size_t i = 0; i < bytes; i++)
        put(b, "", 1);
}

static const char *write_file(const struct bytes *b)
{
    scratch_store(scratch_file, (const unsigned char *)b->at, b->used);
    return scratch_file;
}

/* Fails unless opening fails with that text. */
static void refused(const struct bytes *b, const char *text)
{
    struct gguf g;
    const char *path = write_file(b);
    assert_int_equal(gguf_open(&g, path, &why), -1);
    assert_int_equal(why.status, STATUS_INPUT);
    if (!strstr(why.text, text)) fail_msg("'%s' lacks '%s'", why.text, text);
}

static void test_types_of_values(void **state)
{
    (void)state;
    struct bytes b;
    struct gguf g;
    static const struct {
        enum gguf_type type;
        size_t bytes;
    } integers[] = { { GGUF_U8, 1 },  { GGUF_I8, 1 },  { GGUF_U16, 2 }, { GGUF_I16, 2 },
                     { GGUF_U32, 4 }, { GGUF_I32, 4 }, { GGUF_U64, 8 }, { GGUF_I64, 8 } };
    uint64_t big = 77;
    float real = 0.5F;
    double wide = 0.25;
    put_head(&b, 2, 0, 8 + 5);
    for (size_t i = 0; i < 8; i++) {
        char key[16];
        snprintf(key, sizeof key, "i%zu", i);
        put_key(&b, key, integers[i].type);
        put(&b, &big, integers[i].bytes);
    }
    put_key(&b, "f", GGUF_F32);
    put(&b, &real, sizeof real);
    put_key(&b, "d", GGUF_F64);
    put(&b, &wide, sizeof wide);
    put_key(&b, "b", GGUF_BOOL);
    put(&b, "\1", 1);
    put_key(&b, "s", GGUF_STRING);
    put_text(&b, "text");
    put_key(&b, "a", GGUF_ARRAY); /* [["x"], []] */
    put_u32(&b, GGUF_ARRAY);
    put_u64(&b, 2);
    put_u32(&b, GGUF_STRING);
    put_u64(&b, 1);
    put_text(&b, "x");
    put_u32(&b, GGUF_F64);
    put_u64(&b, 0);
    assert_int_equal(gguf_open(&g, write_file(&b), &why), 0);
    assert_int_equal(g.value_count, 13);
    for (size_t i = 0; i < 8; i++) {
        char key[16];
        int64_t value = 0;
        snprintf(key, sizeof key, "i%zu", i);
        assert_int_equal(gguf_get_integer(&g, key, 0, 100, &value, &why), 0);
        assert_int_equal(value, 77);
        assert_int_equal(gguf_get_integer(&g, key, 0, 76, &value, &why), -1);
    }
    double number = 0;
    bool flag = false;
    struct gguf_text text;
    const struct gguf_value *array;
    assert_int_equal(gguf_get_number(&g, "f", &number, &why), 0);
    assert_true(number == 0.5);
    assert_int_equal(gguf_get_number(&g, "d", &number, &why), 0);
    assert_true(number == 0.25);
    assert_int_equal(gguf_get_flag(&g, "b", &flag, &why), 0);
    assert_true(flag);
    assert_int_equal(gguf_get_text(&g, "s", &text, &why), 0);
    assert_true(gguf_text_is(text, "text") && !gguf_text_is(text, "tex"));
    assert_int_equal(gguf_get_flag(&g, "s", &flag, &why), -1);
    assert_int_equal(gguf_get_text(&g, "f", &text, &why), -1);
    assert_int_equal(gguf_get_array(&g, "a", GGUF_STRING, &array, &why), -1);
    assert_null(gguf_find(&g, "absent"));
    gguf_close(&g);
}

static void test_damaged_heads(void **state)
{
    (void)state;
    struct bytes b;
    put_head(&b, 3, 0, 0);
    b.used -= 1;
    refused(&b, "truncated in its header");
    put_head(&b, 1, 0, 0);
    refused(&b, "GGUF version 1, only 2 and 3");
    put_head(&b, 4, 0, 0);
    refused(&b, "GGUF version 4");
    put_head(&b, 0x03000000, 0, 0);
    refused(&b, "big-endian");
    put_head(&b, 3, 0, UINT64_MAX);
    refused(&b, "18446744073709551615 keys");
    put_head(&b, 3, UINT64_MAX / 2, 0);
    refused(&b, "9223372036854775807 tensors");
    put_head(&b, 3, 0, 1);
    put_u64(&b, UINT64_MAX - 3);
    put_data(&b, 64);
    refused(&b, "a string of 18446744073709551612 bytes");
    put_head(&b, 3, 0, 1);
    put_key(&b, "k", (enum gguf_type)13);
    put_data(&b, 64);
    refused(&b, "k: values of the unknown type 13");
    put_head(&b, 3, 0, 1);
    put_key(&b, "k", GGUF_ARRAY);
    put_u32(&b, GGUF_U64);
    put_u64(&b, UINT64_MAX / 8 + 2);
    put_data(&b, 64);
    refused(&b, "k: 2305843009213693953 items");
    put_head(&b, 3, 0, 1);
    put_key(&b, "k", GGUF_ARRAY);
    for (int i = 0; i < 8; i++) {
        put_u32(&b, GGUF_ARRAY);
        put_u64(&b, 1);
    }
    put_data(&b, 64);
    refused(&b, "deeper than 4");
    put_head(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_key(&b, "twice", GGUF_U8);
        put(&b, "", 1);
    }
    refused(&b, "key twice stands there twice");
    put_head(&b, 3, 0, 1);
    put_key(&b, "k\xff", GGUF_U8);
    put_data(&b, 8);
    refused(&b, "no text in UTF-8");
    put_head(&b, 3, 0, 1);
    put_key(&b, "split.count", GGUF_U16);
    put(&b, "\2\0", 2);
    refused(&b, "one part of 2 (split.count)");
    put_head(&b, 3, 0, 1);
    put_key(&b, "general.alignment", GGUF_U32);
    put_u32(&b, 24);
    refused(&b, "general.alignment 24");
}

static void test_damaged_tensors(void **state)
{
    (void)state;
    struct bytes b;
    struct gguf g;
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", GGML_F32, 8, 4, 0);
    put_tensor(&b, "b", GGML_Q4_0, 32, 2, 128);
    put_data(&b, 128 + 36);
    assert_int_equal(gguf_open(&g, write_file(&b), &why), 0);
    const struct gguf_tensor *t = gguf_tensor(&g, "b");
    assert_non_null(t);
    assert_true(t->shape[0] == 2 && t->shape[1] == 32 && t->bytes == 36);
    assert_null(gguf_tensor(&g, "c"));
    gguf_close(&g);
    b.used -= 1;
    refused(&b, "b: data of 36 bytes at 128, the file has 163 (truncated?)");
    const struct {
        uint32_t type;
        uint64_t cols, rows, offset;
        const char *name, *text;
    } wrong[] = {
        { GGML_F32, 8, 4, 4, "a", "a: its data are not aligned to 32 bytes" },
        { GGML_F32, 8, 4, UINT64_MAX - 31, "a", "a: data of 128 bytes at" },
        { GGML_Q4_0, 33, 4, 0, "a", "a: rows of 33 elements, q4_0 has blocks of 32" },
        { GGML_F32, 0, 4, 0, "a", "a: a shape that no tensor has" },
        { GGML_F32, UINT64_C(1) << 33, UINT64_C(1) << 33, 0, "a", "a shape that no tensor has" },
        { 10, 256, 1, 0, "a", "a: type q2_K is not read here, only f32" },
        { 5, 256, 1, 0, "a", "a: type (unknown) is not read here" },
        { 4000000000U, 256, 1, 0, "a", "a: type (unknown) is not read here" },
        { GGML_F32, 8, 4, 0, "", "a tensor's name of 0 bytes" },
        { GGML_F32, 8, 4, 0, "0123456789012345678901234567890123456789012345678901234567890123",
          "a tensor's name of 64 bytes" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put_head(&b, 3, 1, 0);
        put_tensor(&b, wrong[i].name, wrong[i].type, wrong[i].cols, wrong[i].rows, wrong[i].offset);
        put_data(&b, 256);
        refused(&b, wrong[i].text);
    }
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", GGML_F32, 8, 4, 0);
    put_tensor(&b, "b", GGML_F32, 8, 4, 96);
    put_data(&b, 256);
    refused(&b, "a and b overlap");
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", GGML_F32, 8, 1, 0);
    put_tensor(&b, "a", GGML_F32, 8, 1, 32);
    put_data(&b, 64);
    refused(&b, "tensor a stands there twice");
    put_head(&b, 3, 1, 0);
    put_text(&b, "a");
    put_u32(&b, 5);
    put_data(&b, 256);
    refused(&b, "a: 5 dimensions, at most 4");
}

/* Cut after any byte, the file is refused. */
static void test_cut(void **state)
{
    (void)state;
    struct bytes b;
    struct gguf g;
    put_head(&b, 3, 1, 1);
    put_key(&b, "general.architecture", GGUF_STRING);
    put_text(&b, "llama");
    put_tensor(&b, "a", GGML_F32, 8, 1, 0);
    put_data(&b, 32);
    assert_int_equal(gguf_open(&g, write_file(&b), &why), 0);
    gguf_close(&g);
    while (b.used--) {
        assert_int_equal(gguf_open(&g, write_file(&b), &why), -1);
        assert_int_equal(why.status, STATUS_INPUT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_ids),           cmocka_unit_test(test_pre_tokenizers),
        cmocka_unit_test(test_template),      cmocka_unit_test(test_types_of_values),
        cmocka_unit_test(test_damaged_heads), cmocka_unit_test(test_damaged_tensors),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
