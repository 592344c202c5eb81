/* Reads GGUF files: values of every type equal those of gguf's own code
 * (tests/golden/gguf_files.py). The file also tests the position scaling and the tokenizer that are
 * read from them. */
#include "lib/llama/gguf_model.h"
#include "lib/llama/weights_gguf.h"
#include "lib/tokenizer/chat_known.h"
#include "lib/tokenizer/gguf_internal.h"
#include "tests/lib/check.h"

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

/* Returns the CRC of a tensor's f32 values, read `each` rows at a time. */
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
    /* After widening, the values are the same. */
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
    /* If one of the stored factors differs, the position scaling is not recognized as llama3. */
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

/* Each known name of a pre-tokenizer means what the models' own files say. */
static void test_pre_tokenizers(void **state)
{
    (void)state;
    char *line = NULL;
    size_t size = 0;
    int count = 0;
    FILE *list = fopen("tests/golden/gguf/pre.tsv", "r");
    assert_non_null(list);
    for (; getline(&line, &size, list) > 0; count++) {
        char *rest = line;
        const char *name = strsep(&rest, "\t");
        const struct gguf_pre *p = gguf_pre_find((struct gguf_text){ name, strlen(name) }, &why);
        assert_non_null(p);
        const char *texts[2] = { p->normalizer, p->pre_tokenizer };
        for (int i = 0; i < 2; i++) {
            json_t *wanted = json_loads(strsep(&rest, "\t"), JSON_DECODE_ANY, NULL);
            json_t *got = json_loads(texts[i], JSON_DECODE_ANY, NULL);
            assert_true(wanted && got);
            if (!json_equal(wanted, got)) fail_msg("%s: %s", p->name, texts[i]);
            json_decref(wanted);
            json_decref(got);
        }
        assert_string_equal(rest, p->ignores_merges ? "1\n" : "0\n");
    }
    free(line);
    fclose(list);
    assert_int_equal(count, 12);
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
    assert_non_null(strstr(why.text, "the file has no tokenizer"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),   cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_ids),      cmocka_unit_test(test_pre_tokenizers),
        cmocka_unit_test(test_template),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
