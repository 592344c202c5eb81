/* Numbers of 8 bits (e4m3) are compared with ml_dtypes: the values of all codes, and roundings at
 * and beside every tie (tests/golden/fp8.py). */
#include "lib/common/fp8.h"
#include "tests/lib/check.h"

#include <math.h>

/* Calls check with the two numbers of each line that begins with `word`. Returns their count. */
static int for_lines(const char *word, void (*check)(uint32_t first, uint32_t second))
{
    char line[64], kind[16];
    unsigned first, second;
    int count = 0;
    FILE *golden = fopen("tests/golden/fp8/e4m3", "re");
    assert_non_null(golden);
    while (fgets(line, sizeof line, golden)) {
        assert_int_equal(sscanf(line, "%15s %x %x", kind, &first, &second), 3);
        if (strcmp(kind, word) != 0) continue;
        check(first, second);
        count++;
    }
    fclose(golden);
    return count;
}

static void check_value(uint32_t code, uint32_t bits)
{
    float value = fp8_to_float((uint8_t)code);
    if ((code & 0x7f) == 0x7f) {
        assert_true(isnan(value));
        return;
    }
    assert_int_equal(fp8_bits_of(value), bits);
    assert_int_equal(fp8_from_float(value), code);
    assert_int_equal(fp8_bits_of(fp8_round(value)), bits);
}

static void check_rounding(uint32_t bits, uint32_t code)
{
    float x = fp8_of_bits(bits), rounded = fp8_round(x);
    if ((code & 0x7f) == 0x7f) {
        assert_true(isnan(rounded));
        assert_int_equal(fp8_from_float(x) & 0x7f, 0x7f);
        return;
    }
    assert_int_equal(fp8_from_float(x), code);
    assert_int_equal(fp8_bits_of(rounded), fp8_bits_of(fp8_to_float((uint8_t)code)));
}

static void test_the_values_of_all_codes(void **state)
{
    (void)state;
    assert_int_equal(for_lines("value", check_value), 256);
}

static void test_roundings(void **state)
{
    (void)state;
    assert_in_range(for_lines("round", check_rounding), 1000, 10000);
}

static void test_scales(void **state)
{
    (void)state;
    assert_true(fp8_scale(0) == 1);
    assert_true(fp8_scale(448) == 1);
    assert_true(fp8_scale(1) == 1 / 448.0f);
    assert_true(fp8_scale(3e38f) == 3e38f / 448.0f);
    assert_true(fp8_scale(1e-36f) == 1); /* the scale would not be normal */
    assert_true(isinf(fp8_scale(INFINITY)));
    assert_true(isnan(fp8_scale(NAN)));
    assert_true(fp8_magnitude(-NAN) > fp8_magnitude(INFINITY));
    assert_true(fp8_magnitude(-2) > fp8_magnitude(1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_values_of_all_codes),
        cmocka_unit_test(test_roundings),
        cmocka_unit_test(test_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
