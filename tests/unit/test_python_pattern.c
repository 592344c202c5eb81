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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
