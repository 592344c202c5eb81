/* tokenizer.json in many forms, the files beside it, and Oniguruma's character classes give the
 * same as in Hugging Face's tokenizers and transformers. */
#include "lib/common/json.h"
#include "lib/common/utf8.h"
#include "lib/tokenizer/parts.h"
#include "lib/tokenizer/tokenizer_internal.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <sys/stat.h>
#include <unistd.h>

static struct fail why;
/* Returns the folder of the golden files. Other folders can be compared by hand. */
static const char *golden_place(void)
{
    const char *other = getenv("GOLDEN_TOKENIZER");
    return other ? other : "tests/golden/tokenizer";
}

static uint32_t crc_of(const uint32_t *numbers, size_t count)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < 4 * count; i++) {
        crc ^= numbers[i / 4] >> (8 * (i % 4)) & 0xff;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static FILE *open_golden(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", golden_place(), name);
    FILE *file = fopen(path, "re");
    if (!file) fail_msg("no %s", path);
    return file;
}

static json_t *load_golden(const char *name)
{
    FILE *file = open_golden(name);
    json_t *value = json_loadf(file, JSON_DECODE_ANY, NULL);
    fclose(file);
    assert_non_null(value);
    return value;
}

/* Returns the base with values changed at paths of keys. The value "DELETE" removes a key. */
static json_t *with_set(const json_t *base, json_t *changes)
{
    json_t *copy = json_deep_copy(base), *value;
    const char *path;
    json_object_foreach(changes, path, value)
    {
        json_t *at = copy;
        const char *rest = path, *slash;
        char key[64];
        while ((slash = strchr(rest, '/'))) {
            snprintf(key, sizeof key, "%.*s", (int)(slash - rest), rest);
            at = json_object_get(at, key);
            rest = slash + 1;
        }
        if (json_is_string(value) && !strcmp(json_string_value(value), "DELETE"))
            json_object_del(at, rest);
        else
            json_object_set(at, rest, value);
    }
    return copy;
}

/* ---- cases ---- */

struct texts {
    json_t *at[200];
    size_t count;
};

static struct texts load_texts(void)
{
    struct texts t = { 0 };
    char *line = NULL;
    size_t capacity = 0;
    FILE *file = open_golden("texts");
    while (getline(&line, &capacity, file) > 0)
        t.at[t.count++] = json_loads(line, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    free(line);
    fclose(file);
    return t;
}

static int differing; /* how many cases have other ids */

static void compare_ids(const struct tokenizer *t, const struct texts *texts, const json_t *wanted,
                        bool parses_special, size_t number)
{
    struct token_buffer b = { .parses_special = parses_special };
    for (size_t i = 0; i < texts->count; i++) {
        char crc[16];
        b.count = 0;
        if (json_is_null(json_array_get(wanted, i))) continue;
        if (tokenizer_encode(t, &b, json_string_value(texts->at[i]),
                             json_string_length(texts->at[i]), &why))
            fail_msg("case %zu, text %zu: %s", number, i + 1, why.text);
        snprintf(crc, sizeof crc, "%08x", crc_of(b.ids, b.count));
        if (strcmp(crc, json_string_value(json_array_get(wanted, i))) != 0) {
            printf("# case %zu, text %zu%s: other ids:", number, i + 1,
                   parses_special ? " with special tokens" : "");
            for (size_t n = 0; n < b.count; n++)
                printf(" %u", b.ids[n]);
            printf("\n");
            differing++;
            break;
        }
    }
    token_buffer_release(&b);
}

static void compare_text(const struct tokenizer *t, const struct texts *texts, const json_t *wanted,
                         size_t number)
{
    struct token_buffer b = { .parses_special = true };
    const json_t *last = texts->at[texts->count - 1];
    size_t bytes;
    if (!json_is_string(wanted)) return;
    assert_int_equal(
        tokenizer_encode(t, &b, json_string_value(last), json_string_length(last), &why), 0);
    char *text = tokenizer_decode(t, b.ids, b.count, &bytes, &why);
    assert_non_null(text);
    if (bytes != json_string_length(wanted) || memcmp(text, json_string_value(wanted), bytes) != 0)
        fail_msg("case %zu: decoded '%.*s', not '%s'", number, (int)bytes, text,
                 json_string_value(wanted));
    free(text);
    token_buffer_release(&b);
}

/* Each case has the same ids, or is refused. A case with a name is not refused. */
static void test_cases(void **state)
{
    (void)state;
    struct texts texts = load_texts();
    json_t *bytes = load_golden("bytes.json"), *chars = load_golden("chars.json");
    char *line = NULL;
    size_t capacity = 0, number = 0, refused = 0;
    FILE *file = open_golden("cases");
    while (getline(&line, &capacity, file) > 0) {
        json_t *c = json_loads(line, 0, NULL);
        bool is_chars = !strcmp(json_string_value(json_object_get(c, "base")), "chars");
        json_t *model = with_set(is_chars ? chars : bytes, json_object_get(c, "set"));
        char *text = json_dumps(model, JSON_COMPACT);
        struct tokenizer *t;
        number++;
        if (!tokenizer_parse(&t, text, strlen(text), "it", &why)) {
            compare_ids(t, &texts, json_object_get(c, "plain"), false, number);
            compare_ids(t, &texts, json_object_get(c, "special"), true, number);
            compare_text(t, &texts, json_object_get(c, "text"), number);
            tokenizer_close(t);
        } else if (json_is_true(json_object_get(c, "named")) || why.status != STATUS_INPUT) {
            fail_msg("case %zu is refused: %s", number, why.text);
        } else {
            printf("# case %zu: %s\n", number, why.text);
            refused++;
        }
        free(text);
        json_decref(model);
        json_decref(c);
    }
    assert_int_equal(differing, 0);
    assert_true(number > 90 && refused < number / 2);
    free(line);
    fclose(file);
    json_decref(bytes);
    json_decref(chars);
    for (size_t i = 0; i < texts.count; i++)
        json_decref(texts.at[i]);
}

/* ---- the files beside a tokenizer ---- */

static void store(const char *folder, const char *name, const json_t *value)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(json_write_file(value, path, &why), 0);
}

static void compare_beside_texts(const struct tokenizer *t, const json_t *line, size_t number,
                                 bool parses_special)
{
    size_t i;
    json_t *text;
    json_array_foreach(json_object_get(line, "texts"), i, text)
    {
        struct token_buffer b = { .parses_special = parses_special };
        uint32_t begin = tokenizer_begin(t), end = tokenizer_end(t);
        const json_t *ids =
            json_array_get(json_object_get(line, parses_special ? "ids" : "plain"), i);
        if (begin != UINT32_MAX) assert_int_equal(token_buffer_add(&b, &begin, 1, &why), 0);
        if (tokenizer_encode(t, &b, json_string_value(text), json_string_length(text), &why))
            fail_msg("case %zu: %s", number, why.text);
        if (end != UINT32_MAX) assert_int_equal(token_buffer_add(&b, &end, 1, &why), 0);
        for (size_t n = 0; n < json_array_size(ids) || n < b.count; n++)
            if (n >= b.count || b.ids[n] != json_number_value(json_array_get(ids, n)))
                fail_msg("case %zu, text %zu: id %zu is %d, not %d", number, i + 1, n,
                         n < b.count ? (int)b.ids[n] : -1,
                         (int)json_number_value(json_array_get(ids, n)));
        token_buffer_release(&b);
    }
}

static void compare_beside(const char *place, const json_t *line, size_t number)
{
    struct tokenizer *t;
    if (tokenizer_open(&t, place, &why)) fail_msg("case %zu: %s", number, why.text);
    if (tokenizer_vocab(t) != (uint32_t)json_number_value(json_object_get(line, "vocab")))
        fail_msg("case %zu: vocabulary %u", number, tokenizer_vocab(t));
    compare_beside_texts(t, line, number, true);
    compare_beside_texts(t, line, number, false);
    tokenizer_close(t);
}

static void test_files_beside_a_tokenizer(void **state)
{
    (void)state;
    json_t *chars = load_golden("chars.json");
    char *line = NULL;
    size_t capacity = 0, number = 0;
    FILE *file = open_golden("beside");
    while (getline(&line, &capacity, file) > 0) {
        json_t *c = json_loads(line, 0, NULL), *content;
        /* One line contains a number of 31 digits. */
        if (!c) c = json_loads(line, JSON_DECODE_INT_AS_REAL, NULL);
        const char *name;
        char place[300], path[400];
        snprintf(place, sizeof place, "%s/beside-%zu", scratch_directory, ++number);
        assert_int_equal(mkdir(place, 0700), 0);
        if (strcmp(json_string_value(json_object_get(c, "base")), "spm") != 0) {
            json_t *model = with_set(chars, json_object_get(c, "set"));
            store(place, "tokenizer.json", model);
            json_decref(model);
        } else {
            char spm[300];
            snprintf(spm, sizeof spm, "%s/spm.model", golden_place());
            struct scratch_bytes model = scratch_load(spm);
            snprintf(path, sizeof path, "%s/tokenizer.model", place);
            scratch_store(path, model.at, model.count);
            free(model.at);
        }
        json_object_foreach(json_object_get(c, "files"), name, content)
        {
            store(place, name, content);
        }
        compare_beside(place, c, number);
        assert_int_equal(scratch_remove(place), 0);
        json_decref(c);
    }
    assert_true(number > 15);
    free(line);
    fclose(file);
    json_decref(chars);
}

/* ---- classes of characters ---- */

/* Lists the characters near which classes change. It lists all characters if EVERY is set; the
 * golden file must then contain all, too. */
static size_t list_scalars(uint32_t *to)
{
    static const uint32_t parts[][2] = {
        { 0, 0x3410 },        { 0x4db0, 0x4e10 },    { 0x9fe0, 0xac10 },   { 0xd790, 0xd800 },
        { 0xe000, 0xe010 },   { 0xf8f0, 0x17010 },   { 0x187e0, 0x18d40 }, { 0x1aff0, 0x1fc10 },
        { 0x1fff0, 0x20010 }, { 0x2a6d0, 0x2a710 },  { 0x2b730, 0x2b830 }, { 0x2cea0, 0x2ceb8 },
        { 0x2ebdf, 0x2ec00 }, { 0x2ee50, 0x2ee70 },  { 0x2f7f0, 0x2fa30 }, { 0x2fff0, 0x30010 },
        { 0x31340, 0x31360 }, { 0x323a0, 0x323c0 },  { 0x3fff0, 0x40010 }, { 0xdfff0, 0xe0200 },
        { 0xefff0, 0xf0010 }, { 0x10fff0, 0x110000 }
    };
    static const uint32_t every[1][2] = { { 0, 0x110000 } };
    bool has_every = getenv("EVERY") != NULL;
    size_t count = 0;
    for (size_t i = 0; i < (has_every ? 1 : sizeof parts / sizeof *parts); i++) {
        const uint32_t *part = has_every ? every[i] : parts[i];
        for (uint32_t c = part[0]; c < part[1]; c++)
            if (c < 0xd800 || c >= 0xe000) to[count++] = c;
    }
    return count;
}

/* Lists the characters of the text that the pattern matches. The text is split in pieces, because
 * the steps for one text are limited.
 */
static size_t list_matches(const struct splitter *s, struct split_work **work, const char *text,
                           size_t bytes, uint32_t *to)
{
    size_t count = 0, start, end, n;
    int got = 0;
    assert_int_equal(split_work_begin(work, &why), 0);
    assert_int_equal(splitter_begin(s, *work, text, bytes, &why), 0);
    for (size_t at = 0; (got = splitter_next(s, *work, at, &start, &end, &why)) > 0; at = end) {
        assert_true(end > start);
        for (size_t i = start; i < end; i += n)
            to[count++] = utf8_decode(text + i, &n);
    }
    if (got < 0) fail_msg("%s", why.text);
    return count;
}

static void test_classes(void **state)
{
    (void)state;
    static uint32_t scalars[0x110000], found[0x110000];
    static char text[4 * 0x110000];
    size_t count = list_scalars(scalars), bytes = 0, capacity = 0, patterns = 0, others = 0;
    for (size_t i = 0; i < count; i++)
        bytes += utf8_encode(scalars[i], text + bytes);
    char *line = NULL;
    FILE *file = open_golden("classes");
    while (getline(&line, &capacity, file) > 0) {
        struct splitter *s;
        struct split_work *work = NULL;
        size_t wanted, end;
        unsigned crc;
        json_error_t error;
        json_t *pattern = json_loads(line, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
        end = (size_t)error.position;
        assert_int_equal(sscanf(line + end, "%zu %x", &wanted, &crc), 2);
        if (splitter_open(&s, json_string_value(pattern), &why))
            fail_msg("%s: %s", json_string_value(pattern), why.text);
        size_t n = list_matches(s, &work, text, bytes, found);
        if (n != wanted || crc_of(found, n) != crc) {
            printf("# %s: %zu characters, not %zu, or others\n", json_string_value(pattern), n,
                   wanted);
            others++;
        }
        split_work_release(work);
        splitter_close(s);
        json_decref(pattern);
        patterns++;
    }
    assert_int_equal(others, 0);
    assert_true(patterns > 80);
    free(line);
    fclose(file);
}

/* ---- files that are refused ---- */

static void refuses(const char *set, const char *message)
{
    json_t *bytes = load_golden("bytes.json"), *chars = load_golden("chars.json");
    json_t *changes = json_loads(set, 0, NULL);
    assert_non_null(changes);
    bool is_chars = json_object_get(changes, "chars") != NULL;
    json_object_del(changes, "chars");
    json_t *model = with_set(is_chars ? chars : bytes, changes);
    char *text = json_dumps(model, 0);
    struct tokenizer *t;
    if (!tokenizer_parse(&t, text, strlen(text), "it", &why)) fail_msg("%s is taken", set);
    assert_int_equal(why.status, STATUS_INPUT);
    if (!strstr(why.text, message)) fail_msg("'%s' is not in: %s", message, why.text);
    free(text);
    json_decref(model);
    json_decref(changes);
    json_decref(bytes);
    json_decref(chars);
}

static void refuses_pattern(const char *pattern, const char *message)
{
    struct splitter *s = NULL;
    if (!splitter_open(&s, pattern, &why)) fail_msg("%s is taken", pattern);
    splitter_close(s);
    if (!strstr(why.text, message)) fail_msg("'%s' is not in: %s", message, why.text);
}

static void test_refusals(void **state)
{
    (void)state;
    refuses("{\"normalizer\": {\"type\": \"NFKC\"}}",
            "normalizer NFKC is not supported: normalize");
    refuses("{\"normalizer\": {\"type\": \"Strange\"}}",
            "normalizer Strange is not supported: it is");
    refuses("{\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}}", "BertPreTokenizer");
    refuses("{\"pre_tokenizer\": {\"type\": \"Digits\", \"individual_digits\": true, \"x\": 1}}",
            "pre_tokenizer Digits: option 'x' is not known");
    refuses("{\"pre_tokenizer\": {\"type\": \"Punctuation\", \"behavior\": \"Odd\"}}",
            "pre_tokenizer Punctuation: this behavior is not supported: Removed, Isolated");
    refuses("{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
            "\"ByteLevel\", "
            "\"add_prefix_space\": false}, {\"type\": \"Whitespace\"}]}}",
            "pre_tokenizer ByteLevel is not supported: nothing may come after it");
    refuses("{\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"__\"}}",
            "one character");
    refuses("{\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\", "
            "\"add_prefix_space\": false}}",
            "it contradicts prepend_scheme");
    refuses("{\"chars\": 1, \"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\", "
            "\"prepend_scheme\": \"first\"}}",
            "also first, if nothing cuts or prepends before it");
    refuses("{\"model/dropout\": 0.1}",
            "model BPE: this dropout is not supported: it splits text at");
    refuses("{\"model/end_of_word_suffix\": \"</w>\"}", "end_of_word_suffix");
    refuses("{\"model/byte_fallback\": true, \"model/vocab\": {\"a\": 0}, \"model/merges\": []}",
            "needs a piece for each byte");
    refuses("{\"model/type\": \"Unigram\"}", "model Unigram is not supported: BPE is");
    refuses("{\"model/odd\": 1}", "model BPE: option 'odd' is not known");
    refuses("{\"decoder\": {\"type\": \"CTC\"}}", "decoder CTC");
    refuses("{\"chars\": 1, \"decoder\": {\"type\": \"Strip\", \"content\": \"x\", \"start\": 1, "
            "\"stop\": 0}}",
            "only spaces at the start");
    refuses(
        "{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
        "{\"id\": \"x\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], "
        "\"pair\": [], \"special_tokens\": {\"x\": {\"id\": \"x\", \"ids\": [1, 2], \"tokens\": "
        "[\"a\", \"b\"]}}}}",
        "more than one token before or after a text");
    refuses("{\"added_tokens\": [{\"id\": 9999, \"content\": \"new\"}]}",
            "added token 'new' has the id 9999 in the file, but Hugging Face's tokenizers gives it "
            "420");
    refuses("{\"version\": \"2.0\"}", "version '2.0'");
    refuses_pattern("(?<name>a)", "a pattern with (?");
    refuses_pattern("(?m:.)", "(?m");
    refuses_pattern("(a)\\1", "\\1");
    refuses_pattern("\\X", "\\X");
    refuses_pattern("\\p{Cherokee}", "\\p{Cherokee}");
    refuses_pattern("(?i)gro\xc3\x9f", "beyond ASCII under (?i)");
    refuses_pattern("(?i)fish|ss", "fi under (?i)");
    refuses_pattern("a**", "one quantifier after another");
    refuses_pattern("a{,3}", "{ that begins no interval");
    refuses_pattern("[a", "[ without ]");
    refuses_pattern("a)", ") without (");
    refuses_pattern("[\\x{4e00}-\\x{1f000}]|\\p{L}", "newer than Unicode 14");
}

#define BERT "{\"type\": \"BertProcessing\", \"sep\": [\"b\", 2], \"cls\": [\"a\", 1]}"
#define ROBERTA "{\"type\": \"RobertaProcessing\", \"sep\": [\"b\", 2], \"cls\": [\"a\", 1]}"
#define PROCESSORS(list)                                                                           \
    "{\"post_processor\": {\"type\": \"Sequence\", \"processors\": [" list "]}}"

/* The library tokenizers finds such a token in all white space, and panics at an empty Prepend. */
static void test_normalizers_that_leave_nothing(void **state)
{
    (void)state;
#define ERASED(flag)                                                                               \
    "{\"added_tokens\": [{\"id\": 420, \"content\": \"@@@@\", \"normalized\": true, "              \
    "\"" flag "\": true}], \"normalizer\": {\"type\": \"Replace\", \"content\": \"\", "            \
    "\"pattern\": {\"String\": \"@\"}}}"
    static const char message[] = "added token '@@@@': the normalizer leaves nothing of its text";
    refuses(ERASED("lstrip"), message);
    refuses(ERASED("rstrip"), message);
    refuses("{\"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"\"}}",
            "normalizer Prepend: this prepend is not supported: an empty text changes nothing");
}

/* The library tokenizers applies the second one as to a pair of texts. */
static void test_a_second_processor_is_refused(void **state)
{
    (void)state;
    static const char message[] = "post_processor Sequence: this processors is not supported: only "
                                  "one of them may add tokens";
    refuses(PROCESSORS(BERT ", " ROBERTA), message);
    refuses(PROCESSORS(ROBERTA ", {\"type\": \"ByteLevel\"}, " BERT), message);
    refuses(PROCESSORS(BERT ", {\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": "
                            "{\"id\": \"A\", \"type_id\": 0}}], \"pair\": [], "
                            "\"special_tokens\": {}}"),
            message);
    refuses(PROCESSORS(BERT ", {\"type\": \"Sequence\", \"processors\": [" BERT "]}"), message);
}

/* ---- the table of components, and its document ---- */

static void test_table_is_documented(void **state)
{
    (void)state;
    static const char *const verdicts[] = { "understood", "harmless", "refused" };
    struct scratch_bytes page = scratch_load("docs/formats/tokenizer.md");
    char *text = strndup((char *)page.at, page.count), row[600];
    size_t i = 0, rows = 0;
    for (const struct tokenizer_part *p; (p = tokenizer_part(i)); i++) {
        snprintf(row, sizeof row, "| %s | %s | %s | %s | %s | %s |\n", p->where, p->type,
                 p->option ? p->option : "", verdicts[p->verdict], p->values ? p->values : "",
                 p->refused ? p->refused : "");
        if (!strstr(text, row)) fail_msg("docs/formats/tokenizer.md has no row %s", row);
    }
    for (const char *at = strstr(text, "## The components"); (at = strstr(at, "\n| ")); at++)
        rows += strncmp(at, "\n| where", 8) != 0 && strncmp(at, "\n| ---", 6) != 0;
    assert_int_equal(rows, i);
    free(text);
    free(page.at);
}

/* A buffer's cache of pre-tokens becomes larger after many texts, and is emptied for another
 * tokenizer. The ids are those of a new buffer. */
static void test_cache(void **state)
{
    (void)state;
    static const char *const files[2] = { "tests/golden/bpe/llama3/tokenizer.json",
                                          "tests/golden/bpe/gpt2/tokenizer.json" };
    struct tokenizer *of[2];
    struct token_buffer b = { 0 };
    size_t all = 0;
    for (int i = 0; i < 2; i++)
        assert_int_equal(tokenizer_open(&of[i], files[i], &why), 0);
    for (int i = 0; i < 300; i++) {
        char text[1200];
        size_t bytes = 0;
        while (bytes < 1000)
            bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, " %s%d",
                                      bytes % 3 ? "the number " : "of_a_long_word_",
                                      (i * 7 + (int)bytes * 13) % 4000);
        const struct tokenizer *t = of[i % 50 == 49];
        struct token_buffer new = { 0 };
        b.count = 0;
        assert_int_equal(tokenizer_encode(t, &b, text, bytes, &why), 0);
        assert_int_equal(tokenizer_encode(t, &new, text, bytes, &why), 0);
        assert_int_equal(b.count, new.count);
        assert_memory_equal(b.ids, new.ids, b.count * sizeof *b.ids);
        token_buffer_release(&new);
        all += bytes;
    }
    assert_true(all > (size_t)2 << 17);
    token_buffer_release(&b);
    for (int i = 0; i < 2; i++)
        tokenizer_close(of[i]);
}

/* A character without a piece gives no token, and is counted each time, also if the pre-token with
 * the character occurs several times in a text. */
static void test_characters_without_a_piece(void **state)
{
    (void)state;
    static const struct {
        const char *use_regex, *text;
        size_t count, dropped;
    } cases[] = { { "false", "axb", 1, 1 }, { "true", "axb axb axb axb", 4, 7 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char model[400];
        struct tokenizer *t;
        struct token_buffer b = { 0 };
        snprintf(model, sizeof model,
                 "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, "
                 "\"merges\": [\"a b\"]}, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
                 "\"add_prefix_space\": false, \"use_regex\": %s}}",
                 cases[i].use_regex);
        if (tokenizer_parse(&t, model, strlen(model), "it", &why)) fail_msg("%s", why.text);
        for (int n = 0; n < 2; n++)
            assert_int_equal(tokenizer_encode(t, &b, cases[i].text, strlen(cases[i].text), &why),
                             0);
        assert_int_equal(b.count, 2 * cases[i].count);
        for (size_t n = 0; n < b.count; n++) /* "x" is dropped, so "a" and "b" are merged */
            assert_int_equal(b.ids[n], 2);
        assert_int_equal(b.dropped, 2 * cases[i].dropped);
        token_buffer_release(&b);
        tokenizer_close(t);
    }
}

/* The types of pieces in a SentencePiece model. */
enum { UNKNOWN = 2, CONTROL = 3, BYTE = 6 };

/* Gives a piece of a SentencePiece model another text of the same length, and the type. The text
 * follows its length in bytes; then come a score and the type. */
static void change_piece(const struct scratch_bytes *model, const char *old, const char *new,
                         int type)
{
    char part[300];
    size_t length = strlen(old);
    int bytes = snprintf(part, sizeof part, "\n%c%s\x15", (char)length, old);
    unsigned char *at = memmem(model->at, model->count, part, (size_t)bytes);
    assert_non_null(at);
    assert_int_equal(strlen(new), length);
    memcpy(at + 2, new, length);
    assert_int_equal(at[length + 7], 0x18);
    at[length + 8] = (unsigned char)type;
}

/* Models that SentencePiece refuses, too. */
static void test_impossible_pieces(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new;
        int type;
        const char *fault;
    } bad[] = { { "<0x41>", "<0x41x", BYTE, "byte piece 68 is not spelled <0xNN>" },
                { "<0x41>", "<0x+1>", BYTE, "byte piece 68 is not spelled <0xNN>" },
                { "<0x41>", "<0x 1>", BYTE, "byte piece 68 is not spelled <0xNN>" },
                { "<0x4A>", "<0x4a>", BYTE, "byte piece 77 is not spelled <0xNN>" },
                { "<0x41>", "<0x40>", BYTE, "piece 68 occurs twice" },
                { "<0x41>", "<0x41>", CONTROL, "there is no piece <0x41>" },
                { "<unk>", "<unk>", CONTROL, "the unknown piece is missing" },
                { "<s>", "<s>", UNKNOWN, "pieces 0 and 1 are both unknown" } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct scratch_bytes model = scratch_load("tests/golden/tokenizer/spm.model");
        struct tokenizer *t;
        change_piece(&model, bad[i].old, bad[i].new, bad[i].type);
        assert_int_equal(tokenizer_parse(&t, model.at, model.count, "m", &why), -1);
        if (!strstr(why.text, bad[i].fault)) fail_msg("%s: %s", bad[i].new, why.text);
        free(model.at);
    }
}

/* The model without byte_fallback: its byte pieces are not allowed, and a character without a piece
 * becomes the piece of the type unknown, even if trainer_spec.unk_id (0 here) names another. */
static void test_unknown_is_a_type(void **state)
{
    (void)state;
    static const char text[] = "\xe2\x98\x83", fallback[] = { (char)0x98, 2, 1 };
    struct scratch_bytes model = scratch_load("tests/golden/tokenizer/spm.model");
    struct tokenizer *t;
    struct token_buffer b = { 0 };
    unsigned char *at = memmem(model.at, model.count, fallback, sizeof fallback);
    assert_non_null(at);
    at[2] = 0;
    assert_int_equal(tokenizer_parse(&t, model.at, model.count, "m", &why), -1);
    assert_string_equal(why.text, "m: piece 3 is a byte piece, but byte_fallback is not set");
    for (int i = 0; i < 256; i++) {
        char name[16];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        change_piece(&model, name, name, CONTROL);
    }
    change_piece(&model, "<unk>", "<unk>", CONTROL);
    change_piece(&model, "<s>", "<s>", UNKNOWN);
    if (tokenizer_parse(&t, model.at, model.count, "m", &why)) fail_msg("%s", why.text);
    assert_int_equal(tokenizer_encode(t, &b, text, sizeof text - 1, &why), 0);
    assert_true(b.count && b.ids[b.count - 1] == 1);
    token_buffer_release(&b);
    tokenizer_close(t);
    /* Two control pieces of one name. */
    change_piece(&model, "<0x41>", "<0x40>", CONTROL);
    assert_int_equal(tokenizer_parse(&t, model.at, model.count, "m", &why), -1);
    assert_string_equal(why.text, "m: piece 68 occurs twice");
    free(model.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_files_beside_a_tokenizer),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_normalizers_that_leave_nothing),
        cmocka_unit_test(test_a_second_processor_is_refused),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_characters_without_a_piece),
        cmocka_unit_test(test_impossible_pieces),
        cmocka_unit_test(test_unknown_is_a_type),
        cmocka_unit_test(test_table_is_documented),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
