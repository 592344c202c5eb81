/* Tests counts by name: the most frequent names come first, as many as fit into a line, and no
 * count is lost. */
#include "lib/common/tally.h"
#include "tests/lib/check.h"

static void test_the_most_frequent_come_first(void **state)
{
    (void)state;
    struct tally t = { 0 }, more = { 0 };
    char text[120];
    tally_text(&t, TALLY_THINGS, text, sizeof text);
    assert_string_equal(text, "");
    tally_add(&t, "empty", 1);
    tally_add(&t, "with tools", 3);
    tally_add(&t, "without", 1);
    tally_add(&more, "empty", 4);
    tally_add(&more, "with", 2);
    tally_add_all(&t, &more);
    tally_text(&t, TALLY_THINGS, text, sizeof text);
    assert_string_equal(text, "5 empty, 3 with tools, 2 with, 1 without");
    tally_text(&t, TALLY_KEYS, text, sizeof text);
    assert_string_equal(text, "'empty' (5), 'with tools' (3), 'with' (2), 'without' (1)");
    assert_int_equal(tally_sum(&t), 11);
    tally_release(&t);
    tally_release(&more);
}

static void test_what_does_not_fit_is_counted(void **state)
{
    (void)state;
    struct tally t = { 0 };
    char name[300], text[80];
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "name %d", i);
        tally_add(&t, name, i ? 1 : 2);
    }
    assert_int_equal(t.count, TALLY_NAMES_MAX);
    assert_int_equal(tally_sum(&t), 1001);
    tally_text(&t, TALLY_KEYS, text, sizeof text);
    assert_string_equal(text, "'name 0' (2), 'name 1' (1), 'name 10' (1), 997 others");
    /* A name that is longer than the part by which names are distinguished. */
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    struct tally one = { 0 };
    tally_add(&one, name, 1);
    name[TALLY_NAME_MAX] = 'y';
    tally_add(&one, name, 1);
    assert_int_equal(one.count, 1);
    assert_int_equal(one.at->count, 2);
    tally_text(&one, TALLY_KEYS, text, sizeof text);
    assert_string_equal(text, "2 others");
    tally_release(&one);
    tally_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_most_frequent_come_first),
        cmocka_unit_test(test_what_does_not_fit_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
