/* Conversions of arrays are compared with the definitions of the formats. */
#include "lib/common/bf16.h"
#include "tests/lib/backend.h"

#include <math.h>

/* These counts of elements are near multiples of a vector's and of a task's length. */
static const int64_t counts[] = { 0, 1, 7, 15, 16, 17, 255, 257, 32768, 32769, 70001 };
enum { COUNTS = sizeof counts / sizeof *counts };

/* Every f16 and bf16 except NaN is the same after widening and narrowing. */
static void test_widen_and_back(void **state)
{
    (void)state;
    enum { ALL = 1 << 16 };
    uint16_t *half = (uint16_t *)(void *)check_buffer(ALL / 2);
    uint16_t *back = (uint16_t *)(void *)check_buffer(ALL / 2);
    float *wide = check_buffer(ALL);
    for (int type = DTYPE_BF16; type <= DTYPE_F16; type++) {
        for (int i = 0; i < ALL; i++)
            half[i] = (uint16_t)i;
        k->widen(dev, wide, half, (enum dtype)type, ALL);
        k->narrow_sum(dev, back, (enum dtype)type, wide, 0, NULL, ALL);
        for (int i = 0; i < ALL; i++) {
            float exact = type == DTYPE_F16 ? f16_to_float(half[i]) : bf16_to_float(half[i]);
            if (isnan(exact)) {
                assert_true(isnan(wide[i]));
                continue;
            }
            assert_true(float_bits(wide[i]) == float_bits(exact) && back[i] == half[i]);
        }
    }
}

/* A sum is rounded to f32 and then to the type, ties to even. */
static void test_narrow_sum(void **state)
{
    (void)state;
    for (int c = 0; c < COUNTS; c++) {
        int64_t n = counts[c];
        float *a = check_random_buffer((size_t)n + 1), *b = check_random_buffer((size_t)n + 1);
        float *wide = check_buffer((size_t)n + 1);
        uint16_t *half = (uint16_t *)(void *)check_buffer((size_t)n / 2 + 1);
        for (int64_t i = 0; i < n; i++) {
            int power = (int)(i % 40) - 30; /* from f16's subnormals to its largest numbers */
            a[i] = ldexpf(a[i], power);
            b[i] = i % 3 ? ldexpf(b[i], power - 9) : 0;
            if (i % 5 == 0) a[i] = ldexpf(rintf(ldexpf(a[i], 12 - power)), power - 12); /* ties */
        }
        k->narrow_sum(dev, wide, DTYPE_F32, a, 1.7f, b, n);
        for (int64_t i = 0; i < n; i++) {
            volatile float product = 1.7f * b[i];
            assert_true(wide[i] == (float)((double)a[i] + (double)product));
        }
        k->narrow_sum(dev, half, DTYPE_F16, a, 1.7f, b, n);
        for (int64_t i = 0; i < n; i++)
            assert_int_equal(half[i], f16_from_float(wide[i]));
        k->narrow_sum(dev, half, DTYPE_BF16, a, 1.7f, b, n);
        for (int64_t i = 0; i < n; i++)
            assert_int_equal(half[i], bf16_from_float(wide[i]));
        check_free_all();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_widen_and_back, buffers_close),
        cmocka_unit_test_teardown(test_narrow_sum, buffers_close),
    };
    return cmocka_run_group_tests(tests, backend_open, backend_close);
}
