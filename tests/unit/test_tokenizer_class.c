/* transformers 5.24 changes some tokenizer.json files because of tokenizer_class. If the result
 * differs from the file, the user is told or the file is refused
 * (tests/golden/tokenizer_class.py). */
#include "lib/common/json.h"
#include "lib/tokenizer/class.h"
#include "lib/tokenizer/tokenizer_internal.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <sys/stat.h>

#define PLACE "tests/golden/tokenizer-class/"

static struct fail why;

enum { LINES = 1000 };
struct lines {
    json_t *at[LINES];
    size_t count;
};

static struct lines load(const char *name)
{
    struct lines l = { 0 };
    char path[200], *line = NULL;
    size_t capacity = 0;
    snprintf(path, sizeof path, PLACE "%s", name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (getline(&line, &capacity, file) > 0) {
        assert_true(l.count < LINES);
        l.at[l.count] = json_loads(line, JSON_DECODE_ANY, NULL);
        assert_non_null(l.at[l.count++]);
    }
    free(line);
    fclose(file);
    return l;
}

static void release(struct lines *l)
{
    for (size_t i = 0; i < l->count; i++)
        json_decref(l->at[i]);
}

static uint32_t crc_more(uint32_t crc, uint32_t number)
{
    for (int i = 0; i < 4; i++) {
        crc ^= number >> (8 * i) & 0xff;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return crc;
}

/* Returns the CRC of the ids of all texts. The number of ids precedes them. */
static uint32_t crc_of_texts(const struct tokenizer *t, const struct lines *texts)
{
    uint32_t crc = UINT32_MAX;
    struct token_buffer b = { .parses_special = true };
    for (size_t i = 0; i < texts->count; i++) {
        b.count = 0;
        if (tokenizer_encode(t, &b, json_string_value(texts->at[i]),
                             json_string_length(texts->at[i]), &why))
            fail_msg("%s", why.text);
        crc = crc_more(crc, (uint32_t)b.count);
        for (size_t n = 0; n < b.count; n++)
            crc = crc_more(crc, b.ids[n]);
    }
    token_buffer_release(&b);
    return ~crc;
}

/* Returns the tokenizer.json of that name. It is one of the two small ones with some parts
 * changed. */
static json_t *make_file(const struct lines *files, const char *name)
{
    for (size_t i = 0; i < files->count; i++) {
        json_t *f = files->at[i], *value;
        const char *key, *base = json_string_value(json_object_get(f, "base"));
        char path[100];
        if (strcmp(json_string_value(json_object_get(f, "name")), name) != 0) continue;
        snprintf(path, sizeof path, "tests/golden/tokenizer/%s.json", base);
        json_t *file = json_read_file(path, &why);
        assert_non_null(file);
        json_object_foreach(json_object_get(f, "set"), key, value)
        {
            if (strcmp(key, "model/ignore_merges") != 0)
                json_object_set(file, key, value);
            else
                json_object_set(json_object_get(file, "model"), "ignore_merges", value);
        }
        return file;
    }
    fail_msg("no file %s", name);
    return NULL;
}

static void store(const char *place, const char *name, const json_t *value)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", place, name);
    assert_int_equal(json_write_file(value, path, &why), 0);
}

struct counts {
    size_t one, told, refused, too_many;
};

static void compare(const struct lines *files, const struct lines *texts, const json_t *c,
                    size_t number, struct counts *counts)
{
    char place[300], crc[16];
    struct tokenizer *t;
    json_t *same = json_object_get(c, "same"), *type = json_object_get(c, "type");
    snprintf(place, sizeof place, "%s/class-%zu", scratch_directory, number);
    assert_int_equal(mkdir(place, 0700), 0);
    json_t *file = make_file(files, json_string_value(json_object_get(c, "file")));
    json_t *config = json_pack("{s:O}", "model_type", type);
    store(place, "tokenizer.json", file);
    store(place, "tokenizer_config.json", json_object_get(c, "config"));
    store(place, "config.json", config);
    json_decref(file);
    json_decref(config);
    int status = tokenizer_open(&t, place, &why);
    if (!status) {
        snprintf(crc, sizeof crc, "%08x", crc_of_texts(t, texts));
        if (strcmp(crc, json_string_value(json_object_get(c, "ids"))) != 0)
            fail_msg("case %zu: other ids", number);
    } else if (!strstr(why.text, "add_prefix_space")) {
        fail_msg("case %zu: %s", number, why.text);
    }
    bool is_told = status || tokenizer_remark(t, true);
    if (json_is_false(same) && !is_told) fail_msg("case %zu: the difference is not told", number);
    if (json_is_true(same) && status) fail_msg("case %zu: %s", number, why.text);
    /* The ids of these texts are the same, but other texts may have other ids. */
    counts->too_many += json_is_true(same) && is_told;
    counts->one += !is_told;
    counts->told += !status && is_told;
    counts->refused += status != 0;
    if (!status) tokenizer_close(t);
    assert_int_equal(scratch_remove(place), 0);
}

/* With sanitizers, every seventh case is compared. These cases have every class, file and
 * model_type. */
#if defined __SANITIZE_ADDRESS__
enum { CASES_STEP = 7, FEWEST = 40, FEWEST_REFUSED = 5 };
#else
enum { CASES_STEP = 1, FEWEST = 300, FEWEST_REFUSED = 70 };
#endif

static void test_cases(void **state)
{
    (void)state;
    struct lines files = load("files"), texts = load("texts"), cases = load("cases");
    struct counts counts = { 0 };
    for (size_t i = 0; i < cases.count; i += CASES_STEP)
        compare(&files, &texts, cases.at[i], i + 1, &counts);
    printf("# %zu alike, %zu told, %zu refused; %zu told without need\n", counts.one, counts.told,
           counts.refused, counts.too_many);
    assert_true(counts.one > FEWEST && counts.told > FEWEST && counts.refused > FEWEST_REFUSED);
    assert_true(counts.too_many < 40);
    release(&files);
    release(&texts);
    release(&cases);
}

/* Each line of the file is one of the words, and there are no other words. */
static void compare_names(const char *name, const char *words)
{
    char path[200], line[200], word[210];
    size_t count = 0, own = 0;
    snprintf(path, sizeof path, PLACE "%s", name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        snprintf(word, sizeof word, "%s ", line);
        const char *at = strstr(words, word);
        while (at && at > words && at[-1] != ' ')
            at = strstr(at + 1, word);
        if (!at) fail_msg("%s: %s is not known", name, line);
        count++;
    }
    fclose(file);
    for (const char *at = words; (at = strchr(at, ' ')); at++)
        own++;
    assert_int_equal(own, count);
}

static void test_lists_of_classes_and_types(void **state)
{
    (void)state;
    compare_names("classes", class_names);
    compare_names("types", class_file_types);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases),
                                        cmocka_unit_test(test_lists_of_classes_and_types) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
