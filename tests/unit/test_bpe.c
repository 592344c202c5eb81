/* tokenizer.json: the ids are those of Hugging Face's tokenizers, and other files are refused. */
#include "lib/common/json.h"
#include "lib/tokenizer/tokenizer.h"
#include "tests/lib/check.h"

static struct fail why;

static char *read_whole(const char *path)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char *text = NULL;
    size_t capacity = 0;
    assert_true(getdelim(&text, &capacity, '\0', file) >= 0);
    fclose(file);
    return text;
}

static void compare(const char *kind)
{
    char place[100], path[200], *line = NULL, *numbers = NULL;
    size_t capacity = 0, number_capacity = 0, texts = 0;
    struct tokenizer *t;
    struct token_buffer b = { 0 };
    snprintf(place, sizeof place, "tests/golden/bpe/%s", kind);
    assert_true(tokenizer_locate(place, path, sizeof path));
    if (tokenizer_open(&t, path, &why)) fail_msg("%s", why.text);
    assert_int_equal(tokenizer_bos(t), 700);
    assert_int_equal(tokenizer_eos(t), 701);
    snprintf(path, sizeof path, "tests/golden/bpe/%s/ids", kind);
    FILE *ids = fopen(path, "re"), *in = fopen("tests/golden/bpe/texts", "re");
    assert_true(ids && in);
    while (getline(&line, &capacity, in) > 0) {
        assert_true(getline(&numbers, &number_capacity, ids) > 0);
        json_t *text = json_loads(line, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        size_t bytes = json_string_length(text), count = 0, back;
        b.count = 0;
        if (tokenizer_encode(t, &b, json_string_value(text), bytes, &why)) fail_msg("%s", why.text);
        for (char *at = numbers, *end; *at && *at != '\n'; at = *end == ' ' ? end + 1 : end) {
            unsigned long id = strtoul(at, &end, 10);
            if (count >= b.count || b.ids[count] != id)
                fail_msg("%s: text %zu, id %zu: %s", kind, texts + 1, count, line);
            count++;
        }
        if (count != b.count) fail_msg("%s: text %zu: %zu ids more", kind, texts + 1, b.count);
        char *decoded = tokenizer_decode(t, b.ids, b.count, &back, &why);
        assert_int_equal(back, bytes);
        assert_memory_equal(decoded, json_string_value(text), bytes);
        free(decoded);
        json_decref(text);
        texts++;
    }
    assert_true(texts > 200);
    assert_true(getline(&numbers, &number_capacity, ids) < 0);
    fclose(ids);
    fclose(in);
    free(line);
    free(numbers);
    token_buffer_release(&b);
    tokenizer_close(t);
}

static void test_ids_equal_hugging_face(void **state)
{
    (void)state;
    compare("llama3");
    compare("gpt2");
}

/* A special token is not made from ordinary text, and does not become ordinary text again. */
static void test_special_tokens(void **state)
{
    (void)state;
    struct tokenizer *t;
    struct token_buffer b = { 0 };
    size_t bytes;
    assert_int_equal(tokenizer_open(&t, "tests/golden/bpe/llama3/tokenizer.json", &why), 0);
    assert_int_equal(tokenizer_vocab(t), 703);
    assert_int_equal(tokenizer_encode(t, &b, "<|end_of_text|>", 15, &why), 0);
    for (size_t i = 0; i < b.count; i++)
        assert_true(b.ids[i] < 700);
    const uint32_t ids[] = { 700, b.ids[0], 701 };
    char *text = tokenizer_decode(t, ids, 3, &bytes, &why);
    assert_int_equal(bytes, 2);
    assert_memory_equal(text, "<|", 2);
    free(text);
    token_buffer_release(&b);
    tokenizer_close(t);
}

/* The vocabulary and the merges are read from the text, wherever they stand in the model. */
static void test_order_of_lists(void **state)
{
    (void)state;
    static const char text[] = "It's the 12th word of the text.\n\n  And one more";
    char *file = read_whole("tests/golden/bpe/llama3/tokenizer.json");
    json_t *root = json_loads(file, 0, NULL), *model = json_object_get(root, "model");
    struct token_buffer b[2] = { { 0 } };
    for (int i = 0; i < 2; i++) {
        struct tokenizer *t;
        char *json = json_dumps(root, i ? JSON_COMPACT | JSON_ENSURE_ASCII : JSON_INDENT(2));
        if (tokenizer_parse(&t, json, strlen(json), "it", &why)) fail_msg("%s", why.text);
        assert_int_equal(tokenizer_encode(t, &b[i], text, sizeof text - 1, &why), 0);
        tokenizer_close(t);
        free(json);
        json_t *vocab = json_incref(json_object_get(model, "vocab"));
        json_object_del(model, "vocab");
        json_object_set_new(model, "vocab", vocab); /* now it is the last key */
    }
    assert_int_equal(b[0].count, b[1].count);
    assert_memory_equal(b[0].ids, b[1].ids, b[0].count * sizeof *b[0].ids);
    assert_true(b[0].count > 5 && b[0].count < sizeof text - 8);
    for (int i = 0; i < 2; i++)
        token_buffer_release(&b[i]);
    json_decref(root);
    free(file);
}

enum { WORD_BYTES = 64 };

/* Writes a space and a word. Most words are new, and some of them occur again soon. */
static size_t put_word(char *text, int number)
{
    static char words[8][WORD_BYTES];
    char *word = words[check_below(8)];
    if (!*word || check_below(4) < 3) {
        /* short ones, long ones that are in the cache, and longer ones */
        int length = 1 + (int)check_below(number % 3 ? 14 : 60);
        for (int i = 0; i < length; i++)
            word[i] = "etaonish"[check_below(8)];
        word[length] = 0;
    }
    return (size_t)snprintf(text, WORD_BYTES, " %s", word);
}

/* New pre-tokens are merged together, and their ids put between those of the known ones. */
static void test_many_new_pre_tokens(void **state)
{
    (void)state;
    enum { WORDS = 3000 };
    static char text[WORDS * WORD_BYTES];
    struct tokenizer *t;
    struct token_buffer all = { 0 }, each = { 0 };
    size_t bytes = 0, start[WORDS + 1] = { 0 };
    assert_int_equal(tokenizer_open(&t, "tests/golden/bpe/llama3/tokenizer.json", &why), 0);
    for (int i = 0; i < WORDS; i++)
        start[i + 1] = bytes += put_word(text + bytes, i);
    assert_int_equal(tokenizer_encode(t, &all, text, bytes, &why), 0);
    for (int i = 0; i < WORDS; i++)
        assert_int_equal(tokenizer_encode(t, &each, text + start[i], start[i + 1] - start[i], &why),
                         0);
    assert_int_equal(all.count, each.count);
    assert_memory_equal(all.ids, each.ids, each.count * sizeof *each.ids);
    /* now all of them are known */
    all.count = 0;
    assert_int_equal(tokenizer_encode(t, &all, text, bytes, &why), 0);
    assert_int_equal(all.count, each.count);
    assert_memory_equal(all.ids, each.ids, each.count * sizeof *each.ids);
    token_buffer_release(&all);
    token_buffer_release(&each);
    tokenizer_close(t);
}

/* Two pieces with the number 0 merge like any others. */
static void test_piece_zero_merges_with_itself(void **state)
{
    (void)state;
    static const char text[] = "a          b";
    const char *spaces = "\u0120\u0120";
    char *file = read_whole("tests/golden/bpe/llama3/tokenizer.json");
    json_t *root = json_loads(file, 0, NULL);
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    uint32_t two = (uint32_t)json_integer_value(json_object_get(vocab, spaces));
    struct token_buffer b[2] = { { 0 } };
    for (int i = 0; i < 2; i++) {
        struct tokenizer *t;
        char *json = json_dumps(root, 0);
        if (tokenizer_parse(&t, json, strlen(json), "it", &why)) fail_msg("%s", why.text);
        assert_int_equal(tokenizer_encode(t, &b[i], text, sizeof text - 1, &why), 0);
        tokenizer_close(t);
        free(json);
        json_object_set_new(vocab, "!", json_integer(two));
        json_object_set_new(vocab, spaces, json_integer(0));
    }
    assert_int_equal(b[0].count, b[1].count);
    for (size_t i = 0; i < b[0].count; i++)
        assert_int_equal(b[1].ids[i], b[0].ids[i] == two ? 0 : b[0].ids[i]);
    token_buffer_release(&b[0]);
    token_buffer_release(&b[1]);
    json_decref(root);
    free(file);
}

/* Fails unless the model is refused once `from` is replaced in it. */
static void refused(const char *model, const char *from, const char *to, const char *message)
{
    struct tokenizer *t;
    const char *at = strstr(model, from);
    if (!at) fail_msg("no %s", from);
    size_t before = (size_t)(at - model), size = strlen(model) + strlen(to) + 1;
    char *changed = malloc(size);
    int bytes = snprintf(changed, size, "%.*s%s%s", (int)before, model, to, at + strlen(from));
    assert_int_equal(tokenizer_parse(&t, changed, (size_t)bytes, "it", &why), -1);
    assert_int_equal(why.status, STATUS_INPUT);
    if (!strstr(why.text, message)) fail_msg("'%s' is not in: %s", message, why.text);
    free(changed);
}

static void test_refusals(void **state)
{
    (void)state;
    char *l = read_whole("tests/golden/bpe/llama3/tokenizer.json");
    char *g = read_whole("tests/golden/bpe/gpt2/tokenizer.json");
    refused(l, "\"type\": \"BPE\"", "\"type\": \"Unigram\"", "model Unigram");
    refused(l, "\"dropout\": null", "\"dropout\": 0.1", "dropout");
    refused(l, "\"normalizer\": null", "\"normalizer\": {\"type\":\"NFKC\"}", "normalizer NFKC");
    refused(l, "\"type\": \"ByteLevel\"", "\"type\": \"Metaspace\"", "Metaspace");
    refused(l, "(?i:", "(?i", "pattern");
    /* These patterns mean something else in PCRE2 than in Oniguruma. */
    refused(l, "[^\\\\s", "[^]\\\\s", "a pattern with [] or [^] is not supported");
    refused(l, "(?i:", "(?m:.)|(?i:", "a pattern with (?m is not supported");
    refused(l, "\"!\": 0", "\"!\": 1", "occurs twice");
    refused(l, "\"!\": 0", "\"!\": 0, \"!\": 900", "'!' occurs twice");
    refused(l, "\"!\": 0", "\"\\n\": 900, \"\\n\": 0", "occurs twice");
    refused(l, "\"!\": 0", "\"!\": 0.0", "the id of '!'");
    refused(l, "\"!\": 0", "\"!\": [0]", "the id of '!'");
    refused(l, "\"!\": 0", "\"!\" 0", "vocab byte ");
    refused(l, "\"vocab\": {", "\"vocab\": [], \"words\": {", "option 'words'");
    refused(l, "\"!\": 0", "\"!\": -1", "the id of '!'");
    refused(l, "\"!\": 0", "\"!\": 99999999", "the id of '!'");
    refused(l, "[[\"", "[[\"no such piece", "merge 0");
    refused(l, "\"merges\": [", "\"merges\": [7,", "merge 0");
    refused(g, "\"merges\": [", "\"merges\": [\"aa\",", "merge 0");
    refused(g, "\"merges\":", "\"mergers\":", "option 'mergers'");
    refused(g, "{\"version\"", "{\"version\": 1, \"version\"", "");
    /* A file that is cut at any place is refused. */
    for (size_t bytes = 1; bytes < strlen(g) - 2; bytes += 97) {
        struct tokenizer *t;
        assert_int_equal(tokenizer_parse(&t, g, bytes, "it", &why), -1);
        assert_int_equal(why.status, STATUS_INPUT);
    }
    free(l);
    free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_equal_hugging_face),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_order_of_lists),
        cmocka_unit_test(test_many_new_pre_tokens),
        cmocka_unit_test(test_piece_zero_merges_with_itself),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
