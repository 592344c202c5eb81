/* A tokenizer and its files get added tokens as in transformers, and a model gets rows for them. */
#include "lib/common/bf16.h"
#include "lib/common/file.h"
#include "lib/common/json.h"
#include "lib/common/json_member.h"
#include "lib/llama/base_digest.h"
#include "lib/llama/vocabulary_resize.h"
#include "lib/tokenizer/grown.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOLDEN "tests/golden/tokenizer"
enum { TOKENS_MAX = 8 };

static struct fail why;

/* ---- setting a member in the text of a JSON object ---- */

static void set(const char *text, const char *key, const char *value, const char *expected)
{
    char *own = strdup(text);
    size_t bytes = strlen(own);
    json_t *json = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    assert_int_equal(json_member_set(&own, &bytes, key, "text", json, &why), 0);
    assert_string_equal(own, expected);
    assert_int_equal(bytes, strlen(expected));
    json_decref(json);
    free(own);
}

static void test_setting_a_member_of_json_text(void **state)
{
    (void)state;
    set("{\"a\": 1,\"b\":[2, 3] }", "b", "{}", "{\"a\": 1,\"b\":{} }");
    set("{\"a\": 1000000000000000019884624838656 }\n", "b", "\"\\n\"",
        "{\"a\": 1000000000000000019884624838656,\n  \"b\": \"\\n\" }\n");
    set("{}", "\"q\\", "[1]", "{\n  \"\\\"q\\\\\": [\n    1\n  ]\n}");
    set("{\"\\u0061\":1,\"c\":{\"a\":2}}", "a", "3", "{\"\\u0061\":3,\"c\":{\"a\":2}}");
    set("{\"c\":{\"a\":2}}", "a", "3", "{\"c\":{\"a\":2},\n  \"a\": 3}");
    /* Of two members with one key, Python takes the last. */
    set("{\"a\":1,\"a\":[2],\"b\":4}", "a", "3", "{\"a\":1,\"a\":3,\"b\":4}");
    struct json_member m;
    assert_int_equal(json_member_find("[1]", 3, "a", "text", &m, &why), -1);
    assert_int_equal(json_member_find("{\"b\":1", 6, "a", "text", &m, &why), -1);
    json_t *value;
    assert_int_equal(json_member_read("{\"a\":null}", 10, "a", "text", &value, &why), 0);
    assert_null(value);
}

/* ---- a tokenizer and its files ---- */

static void store(const char *folder, const char *name, const json_t *value)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(json_write_file(value, path, &why), 0);
}

static void store_base(const char *folder, const json_t *base)
{
    char from[100], to[400];
    const char *name = json_string_value(json_array_get(base, 0));
    bool is_json = strstr(name, ".json");
    snprintf(from, sizeof from, GOLDEN "/%s", name);
    if (is_json) {
        json_t *json = json_read_file(from, &why);
        assert_non_null(json);
        if (json_array_size(base) > 1) json_object_update(json, json_array_get(base, 1));
        store(folder, "tokenizer.json", json);
        json_decref(json);
        return;
    }
    struct scratch_bytes bytes = scratch_load(from);
    snprintf(to, sizeof to, "%s/tokenizer.model", folder);
    scratch_store(to, bytes.at, bytes.count);
    free(bytes.at);
}

/* Lists the tokens to add. Special tokens come last. */
static size_t list_tokens(const json_t *c, struct grown_token *tokens)
{
    size_t count = 0, i;
    json_t *text;
    static const char *const keys[] = { "tokens", "special" };
    for (int k = 0; k < 2; k++)
        json_array_foreach(json_object_get(c, keys[k]), i, text)
        {
            assert_true(count < TOKENS_MAX);
            tokens[count++] =
                (struct grown_token){ .content = json_string_value(text), .is_special = k };
        }
    return count;
}

static void read_files(const char *folder, struct grown_files *f)
{
    char path[400];
    *f = (struct grown_files){ 0 };
    for (int i = 0; i < GROWN_FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, grown_file_name((enum grown_file)i));
        if (access(path, F_OK)) continue;
        assert_int_equal(file_read(path, 1 << 20, &f->text[i], &f->bytes[i], &why), 0);
    }
}

/* Writes the files of f. Fails if f lacks a file that the test case lists under `made`, or has a
 * file that is not listed there. */
static void write_files(const char *folder, const struct grown_files *f, const json_t *made)
{
    char path[400];
    for (int i = 0; i < GROWN_FILES; i++) {
        const char *name = grown_file_name((enum grown_file)i);
        bool is_made = false;
        json_t *one;
        size_t n;
        json_array_foreach(made, n, one) { is_made |= !strcmp(json_string_value(one), name); }
        assert_int_equal(f->text[i] != NULL, is_made);
        if (!f->text[i]) continue;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        scratch_store(path, (const unsigned char *)f->text[i], f->bytes[i]);
    }
}

static void compare_ids(const struct tokenizer *t, const json_t *texts, const json_t *all,
                        size_t number)
{
    size_t i, n;
    json_t *text, *id;
    struct token_buffer b = { .parses_special = true };
    json_array_foreach(texts, i, text)
    {
        const json_t *ids = json_array_get(all, i);
        b.count = 0;
        assert_int_equal(
            tokenizer_encode(t, &b, json_string_value(text), json_string_length(text), &why), 0);
        if (b.count != json_array_size(ids))
            fail_msg("case %zu, text %zu: %zu ids", number, i, b.count);
        json_array_foreach(ids, n, id)
        {
            if (b.ids[n] != json_number_value(id))
                fail_msg("case %zu, text %zu: id %zu is %u", number, i, n, b.ids[n]);
        }
    }
    token_buffer_release(&b);
}

static void try_case(const json_t *c, const json_t *texts, size_t number)
{
    char place[300], made[300], name[100], to[400];
    struct tokenizer *t, *back;
    struct grown_token tokens[TOKENS_MAX];
    struct grown_files files;
    const char *key;
    json_t *value;
    size_t count = list_tokens(c, tokens);
    snprintf(place, sizeof place, "%s/%zu", scratch_directory, number);
    snprintf(made, sizeof made, "%s/%zu.new", scratch_directory, number);
    assert_int_equal(mkdir(place, 0700) || mkdir(made, 0700), 0);
    store_base(place, json_object_get(c, "base"));
    json_object_foreach(json_object_get(c, "files"), key, value) { store(place, key, value); }
    assert_int_equal(tokenizer_open(&t, place, &why), 0);
    if (grown_add(t, tokens, count, &why)) fail_msg("case %zu: %s", number, why.text);
    read_files(place, &files);
    assert_int_equal(grown_write(t, tokens, count, &files, &why), 0);
    write_files(made, &files, json_object_get(c, "made"));
    snprintf(name, sizeof name, "%s",
             json_string_value(json_array_get(json_object_get(c, "base"), 0)));
    if (!strstr(name, ".json")) {
        snprintf(to, sizeof to, "%s/tokenizer.model", made);
        struct scratch_bytes bytes = scratch_load(GOLDEN "/spm.model");
        scratch_store(to, bytes.at, bytes.count);
        free(bytes.at);
    }
    if (tokenizer_open(&back, made, &why)) fail_msg("case %zu: %s", number, why.text);
    if (grown_compare(t, back, &why)) fail_msg("case %zu: %s", number, why.text);
    compare_ids(t, texts, json_object_get(c, "ids"), number);
    compare_ids(back, texts, json_object_get(c, "ids"), number);
    grown_files_release(&files);
    tokenizer_close(t);
    tokenizer_close(back);
    assert_int_equal(scratch_remove(place) || scratch_remove(made), 0);
}

static void test_tokenizers(void **state)
{
    (void)state;
    char *line = NULL;
    size_t capacity = 0, number = 0;
    json_t *texts = NULL;
    FILE *file = fopen(GOLDEN "/grown", "re");
    assert_non_null(file);
    while (getline(&line, &capacity, file) > 0) {
        json_t *c = json_loads(line, 0, NULL);
        /* Some lines contain an integer of 31 digits, which jansson reads only as a real number. */
        if (!c) c = json_loads(line, JSON_DECODE_INT_AS_REAL, NULL);
        assert_non_null(c);
        if (!texts)
            texts = json_incref(json_object_get(c, "texts"));
        else
            try_case(c, texts, ++number);
        json_decref(c);
    }
    assert_true(number > 40);
    json_decref(texts);
    free(line);
    fclose(file);
}

static void refuse_token(const char *content, bool is_special, const char *reason)
{
    struct tokenizer *t;
    struct grown_token token = { .content = content, .is_special = is_special };
    assert_int_equal(tokenizer_open(&t, GOLDEN "/chars.json", &why), 0);
    assert_int_equal(grown_add(t, &token, 1, &why), -1);
    if (!strstr(why.text, reason)) fail_msg("'%s', not '%s'", why.text, reason);
    tokenizer_close(t);
}

static void test_refused_tokens(void **state)
{
    (void)state;
    char *long_one = calloc(1, TOKENIZER_PIECE_MAX + 2);
    memset(long_one, 'x', TOKENIZER_PIECE_MAX + 1);
    refuse_token("", true, "a token to be added is empty");
    refuse_token("a\xff", false, "is not UTF-8");
    refuse_token(long_one, false, "is longer than 512 bytes");
    refuse_token("<s>", false, "'<s>' is already an added token, and it is special");
    free(long_one);
}

/* A tokenizer that differs after it was read back is detected. */
static void test_compare(void **state)
{
    (void)state;
    struct tokenizer *t, *back;
    struct grown_token token = { .content = "<new>" },
                       other = { .content = "<new>", .is_special = true };
    assert_int_equal(tokenizer_open(&t, GOLDEN "/chars.json", &why), 0);
    assert_int_equal(tokenizer_open(&back, GOLDEN "/chars.json", &why), 0);
    assert_int_equal(grown_compare(t, back, &why), 0);
    assert_int_equal(grown_add(t, &token, 1, &why), 0);
    assert_int_equal(grown_compare(t, back, &why), -1);
    assert_int_equal(grown_compare(back, t, &why), -1);
    assert_int_equal(grown_add(back, &other, 1, &why), 0);
    assert_int_equal(grown_compare(t, back, &why), -1);
    tokenizer_close(t);
    tokenizer_close(back);
}

/* ---- rows ---- */

static float stored_value(const struct weight *w, size_t i)
{
    uint16_t half;
    if (w->type == DTYPE_F32) return ((const float *)w->data)[i];
    memcpy(&half, (const char *)w->data + 2 * i, 2);
    return w->type == DTYPE_BF16 ? bf16_to_float(half) : f16_to_float(half);
}

/* Fails unless each of rows [had, rows) of tensor i is the mean of the first `had` rows, rounded
 * once. */
static void check_means(const struct weights *w, int64_t i, int64_t had)
{
    const struct tensor *t = &w->table[i];
    for (int64_t c = 0; c < t->cols; c++) {
        double sum = 0;
        for (int64_t r = 0; r < had; r++)
            sum += (double)stored_value(&w->at[i], (size_t)(r * t->cols + c));
        float mean = (float)(sum / (double)had);
        if (w->at[i].type == DTYPE_BF16) mean = bf16_to_float(bf16_from_float(mean));
        if (w->at[i].type == DTYPE_F16) mean = f16_to_float(f16_from_float(mean));
        for (int64_t r = had; r < t->rows; r++)
            if (stored_value(&w->at[i], (size_t)(r * t->cols + c)) != mean)
                fail_msg("%s: row %lld, column %lld", t->name, (long long)r, (long long)c);
    }
}

static void test_added_rows(void **state)
{
    (void)state;
    struct weights w, old;
    char digest[STREAM_DIGEST_TEXT], again[STREAM_DIGEST_TEXT];
    struct vocabulary_resize o = { .tokenizer = GOLDEN "/spm.model", .multiple = 64 };
    assert_int_equal(weights_open(&old, "tests/golden/llama-gqa", true, &why), 0);
    assert_int_equal(weights_open(&w, "tests/golden/llama-gqa", true, &why), 0);
    int64_t had = w.config.vocab, head = w.count - 1;
    assert_int_equal(vocabulary_resize(&w, &o, "no model", &why), 0);
    assert_int_equal(w.config.vocab, 448); /* the least multiple of 64 that holds 400 tokens */
    assert_int_equal(w.added_rows, 448 - had);
    assert_int_equal(json_integer_value(json_object_get(w.config.json, "vocab_size")), 448);
    assert_int_equal(w.table[head].role, ROLE_HEAD);
    for (int64_t i = 0; i < w.count; i++) {
        bool grows = i == 0 || i == head;
        assert_int_equal(w.table[i].rows, grows ? 448 : old.table[i].rows);
        assert_memory_equal(w.at[i].data, old.at[i].data, weight_bytes(&old.at[i], &old.table[i]));
        if (grows) check_means(&w, i, had);
    }
    assert_string_equal(w.base, "");
    base_digest(&w, digest);
    assert_string_not_equal(digest, old.base);
    /* Rows are never removed. The digest stays the same if no row is added. */
    o.multiple = 1;
    assert_int_equal(vocabulary_resize(&w, &o, "no model", &why), 0);
    assert_int_equal(w.config.vocab, 448);
    base_digest(&w, again);
    assert_string_equal(again, digest);
    weights_close(&w);
    weights_close(&old);
}

/* Tests a tied model with tensors of one type: only its embedding grows. */
static void try_type(enum dtype type)
{
    struct weights w = { 0 };
    struct vocabulary_resize o = { .tokenizer = GOLDEN "/spm.model" };
    static const char config[] =
        "{\"vocab_size\":390,\"hidden_size\":16,\"intermediate_size\":16,\"num_hidden_layers\":1,"
        "\"num_attention_heads\":1,\"max_position_embeddings\":16,\"tie_word_embeddings\":true}";
    assert_int_equal(config_parse(&w.config, config, "config", &why), 0);
    w.count = w.source_count = tensors_list(&w.config, &w.table, &why);
    assert_true(w.count > 1);
    w.at = calloc((size_t)w.count, sizeof *w.at);
    uint16_t *halves = malloc(390 * 16 * sizeof *halves);
    assert_true(w.at && halves);
    for (int i = 0; i < 390 * 16; i++) {
        float value = (float)(check_random() + 0.5);
        halves[i] = type == DTYPE_BF16 ? bf16_from_float(value) : f16_from_float(value);
    }
    w.at[0] = (struct weight){ .type = type, .data = halves };
    assert_int_equal(vocabulary_resize(&w, &o, "no model", &why), 0);
    assert_int_equal(w.table[0].rows, 400);
    assert_memory_equal(w.at[0].data, halves, 390 * 16 * sizeof *halves);
    check_means(&w, 0, 390);
    assert_int_equal(w.at[w.count - 1].data == NULL, true);
    free(halves);
    weights_close(&w);
}

static void test_added_rows_in_16_bits(void **state)
{
    (void)state;
    try_type(DTYPE_BF16);
    try_type(DTYPE_F16);
}

static void test_refused_resize(void **state)
{
    (void)state;
    struct weights w = { .is_quantized = true, .config = { .vocab = 390 } };
    struct vocabulary_resize o = { .tokenizer = GOLDEN "/spm.model" };
    assert_int_equal(vocabulary_resize(&w, &o, "no model", &why), -1);
    assert_non_null(
        strstr(why.text, "its linear layers are NF4, and it has 390 rows where 400 are"));
    /* A model that has enough rows is accepted unchanged. */
    w.config.vocab = 400;
    assert_int_equal(vocabulary_resize(&w, &o, "no model", &why), 0);
    assert_int_equal(w.added_rows, 0);
    struct vocabulary_resize none = { .multiple = 8 }, absent = { .tokenizer = "no/such" },
                             empty = { .tokenizer = "tests/golden/recipe" };
    assert_int_equal(vocabulary_resize_check(&none, &why), -1);
    assert_non_null(strstr(why.text, "--pad-to-multiple-of is for --resize-vocab"));
    assert_int_equal(vocabulary_resize_check(&absent, &why), -1);
    assert_non_null(strstr(why.text, "it does not exist"));
    assert_int_equal(vocabulary_resize_check(&empty, &why), -1);
    assert_non_null(strstr(why.text, "no tokenizer in it"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_setting_a_member_of_json_text),
        cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_refused_tokens),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_added_rows),
        cmocka_unit_test(test_added_rows_in_16_bits),
        cmocka_unit_test(test_refused_resize),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
