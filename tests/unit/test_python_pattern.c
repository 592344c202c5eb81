/* Regular expressions for names match as in Python's module re. */
#include "lib/common/python_pattern.h"
#include "tests/lib/check.h"

static struct fail why;

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool whole;
        int matches;
    } cases[] = {
        { ".*q_proj", "model.layers.0.self_attn.q_proj", true, 1 },
        { ".*q_proj", "model.layers.0.self_attn.q_proj.x", true, 0 },
        { "q_proj|up_proj", "up_proj", true, 1 },
        { "q_pro|q_proj", "q_proj", true, 1 },
        { "q|q_proj", "q_proj", false, 1 },
        { "proj", "q_proj", false, 0 },
        { "(?i)Q_PROJ", "q_proj", true, 1 },
        { "(?i:Q)_proj", "q_proj", true, 1 },
        { "layers\\.\\d{,2}\\.x", "layers.12.x", true, 1 },
        { "layers\\.\\d{,2}\\.x", "layers.123.x", true, 0 },
        { "a{,}b", "aaab", true, 1 },
        { "a{}b", "a{}b", true, 1 },
        { "a{1,x}", "a{1,x}", true, 1 },
        { "[]a]+", "a]a", true, 1 },
        { "[^.]*\\Z", "q_proj", true, 1 },
        { "(?P<idx>\\d+)$", "17", true, 1 },
        { "(?!k)._proj", "q_proj", true, 1 },
        { "(?!k)._proj", "k_proj", true, 0 },
        { "q(?<=q)_proj", "q_proj", true, 1 },
        { "q\\_proj", "q_proj", true, 1 },
        { ".*?", "q_proj", true, 1 },
        /* The pattern that Unsloth writes. */
        { "(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|up_proj).*?)|(?:\\bmodel\\."
          "layers\\."
          "[\\d]{1,}\\.(?:self_attn|mlp)\\.(?:(?:q_proj|up_proj)))",
          "model.layers.31.mlp.up_proj", true, 1 },
    };
    static const char *const refused[] = {
        "\\z",      "\\h",      "\\Qx\\E", "[[:alpha:]]", "[a&&b]",  "(?>a)",  "a++", "a*+",
        "(*FAIL)",  "(?#x)",    "(?x)a",   "(?s)a",       "a**",     "*a",     "^*",  "\\1(a)",
        "(?1)",     "(?<n>a)",  "(?P=n)",  "(?|a|b)",     "(?(1)a)", "a(",     "a)",  "[a",
        "\xc3\xa4", "(?<=a|b)", "\\K",     "\\p{L}",      "[\\d-x]", "a{9,2}", "\\",  "(?P<1>a)",
    };
    struct python_pattern *p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (python_pattern_open(&p, cases[i].pattern, cases[i].whole, &why))
            fail_msg("%s", why.text);
        int found = python_pattern_match(p, cases[i].name, &why);
        if (found != cases[i].matches)
            print_error("'%s' on '%s': %d\n", cases[i].pattern, cases[i].name, found);
        assert_int_equal(found, cases[i].matches);
        python_pattern_close(p);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        int status = python_pattern_open(&p, refused[i], true, &why);
        if (!status) print_error("'%s' was taken\n", refused[i]);
        assert_int_equal(status, -1);
        assert_null(p);
    }
    assert_int_equal(python_pattern_open(&p, ".*?\\.[^.]*\\.(?P<idx>\\d+)\\.", false, &why), 0);
    assert_int_equal(python_pattern_match(p, "model.layers.27.mlp.x", &why), 1);
    assert_true(python_pattern_number(p, "idx") == 27);
    python_pattern_close(p);
    /* A pattern that would run for ages is stopped. */
    assert_int_equal(python_pattern_open(&p, "(a*)*(a*)*(a*)*b", true, &why), 0);
    assert_true(python_pattern_match(p, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", &why) <=
                0);
    python_pattern_close(p);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        long long number;
    } cases[] = { { "layers.27", 27 },
                  { "layers.9223372036854775807", INT64_MAX },
                  { "layers.9223372036854775808", -1 },
                  { "layers.99999999999999999999999999999999", -1 },
                  { "layers.x", -1 },
                  { "layers.7x", -1 },
                  { "layers.-7", -1 },
                  { "layers.", -1 },
                  { "layers", -1 } };
    struct python_pattern *p;
    assert_int_equal(python_pattern_open(&p, "layers(\\.(?P<idx>[^.]*))?", true, &why), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", cases[i].name);
        assert_int_equal(python_pattern_match(p, name, &why), 1);
        memset(name, '1', sizeof name - 1); /* the name is the caller's, who may overwrite it */
        if (python_pattern_number(p, "idx") != cases[i].number)
            fail_msg("%s: %lld", cases[i].name, python_pattern_number(p, "idx"));
    }
    assert_true(python_pattern_number(p, "other") == -1);
    python_pattern_close(p);
}

/* All of a name counts, however long it is. */
static void test_long_name(void **state)
{
    (void)state;
    struct python_pattern *p;
    char name[1000];
    memset(name, 'a', sizeof name);
    snprintf(name + 900, 8, "q_proj");
    assert_int_equal(python_pattern_open(&p, "a*q_proj", true, &why), 0);
    assert_int_equal(python_pattern_match(p, name, &why), 1);
    snprintf(name + 900, 8, "q_prox");
    assert_int_equal(python_pattern_match(p, name, &why), 0);
    python_pattern_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_long_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
