/* Growing arrays keep their content, also if memory is exhausted or a size is too large. */
#include "lib/common/buffer.h"
#include "tests/lib/bounded.h"
#include "tests/lib/check.h"

static struct fail why;

static void says(const char *text)
{
    assert_string_equal(why.text, text);
    memset(&why, 0, sizeof why);
}

static void test_buffer_reserve(void **state)
{
    (void)state;
    uint32_t *at = NULL;
    size_t capacity = 0, moves = 0;
    assert_int_equal(buffer_reserve(&at, &capacity, 0, 0, &why), 0);
    /* The pointer is valid even without an element, so that memcpy may be called. */
    assert_non_null(at);
    for (uint32_t i = 0; i < 100000; i++) {
        size_t before = capacity;
        assert_int_equal(buffer_reserve(&at, &capacity, i, 1, &why), 0);
        assert_true(capacity > i);
        if (capacity != before) assert_true(capacity >= 2 * before);
        moves += capacity != before;
        at[i] = i;
    }
    assert_true(moves < 20);
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(at[i], i);
    /* As long as the elements fit into the capacity, nothing new is reserved. */
    uint32_t *before = at;
    size_t same = capacity;
    assert_int_equal(buffer_reserve(&at, &capacity, capacity - 3, 3, &why), 0);
    assert_int_equal(buffer_reserve(&at, &capacity, capacity, 0, &why), 0);
    assert_true(at == before && capacity == same);
    /* If more than twice the capacity is requested, exactly the requested number is reserved. */
    assert_int_equal(buffer_reserve(&at, &capacity, 10, 4 * same, &why), 0);
    assert_int_equal(capacity, 10 + 4 * same);
    assert_int_equal(at[99999], 99999);
    free(at);
}

static void test_buffer_fit(void **state)
{
    (void)state;
    char *at = NULL;
    size_t capacity = 0;
    assert_int_equal(buffer_fit(&at, &capacity, 0, &why), 0);
    assert_non_null(at);
    assert_int_equal(buffer_fit(&at, &capacity, 1000, &why), 0);
    assert_int_equal(capacity, 1000);
    memset(at, 'x', 1000);
    assert_int_equal(buffer_fit(&at, &capacity, 1001, &why), 0);
    assert_int_equal(capacity, 1001);
    assert_int_equal(at[999], 'x');
    assert_int_equal(buffer_fit(&at, &capacity, 10, &why), 0);
    assert_int_equal(capacity, 1001);
    free(at);
}

static void test_buffer_extend(void **state)
{
    (void)state;
    struct pair {
        size_t number, square;
    } *at = NULL;
    for (size_t i = 0; i < 3000; i++) {
        assert_int_equal(buffer_extend(&at, i, &why), 0);
        at[i] = (struct pair){ i, i * i };
    }
    for (size_t i = 0; i < 3000; i++)
        assert_true(at[i].number == i && at[i].square == i * i);
    /* The count may become smaller and larger again. Sanitizers would report an element outside the
     * array. */
    for (size_t count = 0; count <= 3000; count += 7) {
        assert_int_equal(buffer_extend(&at, 3000 - count, &why), 0);
        at[3000 - count] = (struct pair){ count, 0 };
    }
    assert_int_equal(at[3000 - 2996].number, 2996);
    free(at);
}

static void test_sizes_that_do_not_fit(void **state)
{
    (void)state;
    uint64_t *at = NULL, *before;
    size_t capacity = 0;
    assert_int_equal(buffer_reserve(&at, &capacity, 0, 5, &why), 0);
    at[4] = 7;
    before = at;
    size_t same = capacity;
    const size_t too_many[] = { SIZE_MAX, SIZE_MAX - 4, SIZE_MAX / 8 + 1, SIZE_MAX / 16 + 1 };
    for (size_t i = 0; i < sizeof too_many / sizeof *too_many; i++) {
        assert_int_equal(buffer_reserve(&at, &capacity, 5, too_many[i], &why), -1);
        says("out of memory");
        assert_int_equal(buffer_fit(&at, &capacity, too_many[i], &why), -1);
        says("out of memory");
    }
    const size_t powers[] = { SIZE_MAX / 2 + 1, SIZE_MAX / 8 + 1, SIZE_MAX / 16 + 1 };
    for (size_t i = 0; i < sizeof powers / sizeof *powers; i++) {
        assert_int_equal(buffer_extend(&at, powers[i], &why), -1);
        says("out of memory");
    }
    assert_true(at == before && capacity == same && at[4] == 7);
    free(at);
}

static bool is_out_of_memory(const char *text)
{
    bool is = !strcmp(why.text, text) && why.status == STATUS_FAILED;
    memset(&why, 0, sizeof why);
    return is;
}

/* Returns 1 if an array that cannot grow stays unchanged, and if it still grows as far as it
 * can. */
static int grow_until_memory_ends(void)
{
    char *at = NULL;
    size_t capacity = 0, used = 0;
    if (bounded_more(64 << 20)) return -1;
    while (!buffer_reserve(&at, &capacity, used, 1 << 20, &why)) {
        memset(at + used, 1 + (int)(used >> 20), 1 << 20);
        used += 1 << 20;
    }
    if (!is_out_of_memory("out of memory") || used < 16 << 20 || used != capacity) return -2;
    for (size_t i = 0; i < used; i++)
        if (at[i] != 1 + (int)(i >> 20)) return -3;
    if (!buffer_fit(&at, &capacity, 1 << 30, &why) || !is_out_of_memory("out of memory")) return -4;
    char *before = at;
    for (used = 1; !buffer_extend(&at, used << 10, &why) && used < 1 << 20; used *= 2)
        before = at;
    return is_out_of_memory("out of memory") && at == before;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    if (bounded_is_measured()) bounded_work(grow_until_memory_ends, 1, 128 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffer_reserve), cmocka_unit_test(test_buffer_fit),
        cmocka_unit_test(test_buffer_extend),  cmocka_unit_test(test_sizes_that_do_not_fit),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
