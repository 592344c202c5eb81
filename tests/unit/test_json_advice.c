/* The message about a record that is not JSON names the format that may be meant. A record that
 * only looks similar gets no such advice. */
#include "lib/common/json_advice.h"
#include "tests/lib/check.h"

#include <string.h>

static void says(const char *text, enum json_place place, const char *words)
{
    char advice[200];
    json_advise(text, strlen(text), place, advice, sizeof advice);
    if (!*words && *advice) fail_msg("'%s':%s", text, advice);
    if (*words && !strstr(advice, words)) fail_msg("'%s':%s, not %s", text, advice, words);
}

static void test_first_lines(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "" },
        { "{", "many lines" },
        { "{\"a\": \"b\",", "many lines" },
        { "{\"a\": \"b", "many lines" },
        { "{\"a}\": [", "many lines" },
        { "\"a\": 1,", "many lines" },
        { "}", "many lines" },
        { "  ],\r", "many lines" },
        { "{}{}", "many objects" },
        { "{\"a\":\"}{\"} {}", "many objects" },
        { "{}\r{}", "CR alone" },
        { "{},", "without its brackets" },
        { "{\"a\":NaN}", "NaN" },
        { "{\"a\":[1,-Infinity]}", "NaN" },
        { "{\"a\":\"NaN\" \"b\"}", "" },
        { "{'a':1}", "Python" },
        { "[{'a':1}]", "Python" },
        { "[ { 'a':1}]", "Python" },
        { "{\"a\":True}", "Python's" },
        { "{\"a\":1,}", "a comma behind" },
        { "{\"a\":[1, ]}", "a comma behind" },
        { "{\"a\":\",}\" 1}", "" },
        { "{a: 1}", "double quotes" },
        { "{\"a\":\"True\"", "many lines" },
        { "a,b", "a table" },
        { "a\tb", "a table" },
        { "a;b;c\r", "a table" },
        { "\"a\",\"b\"", "a table" },
        { "a, b", "plain text" },
        { "Once, long ago.", "plain text" },
        { "hello", "plain text" },
        { "---", "YAML" },
        { "- role: user", "YAML" },
        { "messages:", "YAML" },
        { "text: |", "YAML" },
        { "text: hello", "YAML" },
        { "http://a", "plain text" },
        { "12:30 o'clock", "plain text" },
        { "- a list of text", "plain text" },
        { "Note: a text", "plain text" },
        { "<p>", "web page" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        says(cases[i].text, JSON_FIRST_LINE, cases[i].words);
}

static void test_kinds_that_only_a_first_line_can_be(void **state)
{
    (void)state;
    static const char *const kinds[] = { "a,b", "hello", "---", "<p>", "a\tb" };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        says(kinds[i], JSON_LATER_LINE, "");
        says(kinds[i], JSON_ELEMENT, "");
    }
    says("{\"a\":", JSON_LATER_LINE, "many lines");
    says("{\"a\":", JSON_ELEMENT, "");
    says("{} {}", JSON_ELEMENT, "a comma missing");
    says("{\"a\":NaN}", JSON_ELEMENT, "NaN");
    says("{'a':1}", JSON_ELEMENT, "Python");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_lines),
        cmocka_unit_test(test_kinds_that_only_a_first_line_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
