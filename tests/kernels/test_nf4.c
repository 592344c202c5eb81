/* The codes and scales of NF4 equal those of the definition, which is computed by a simple
 * search. */
#include "lib/common/bf16.h"
#include "lib/common/nf4.h"
#include "tests/lib/backend.h"

#include <math.h>

enum { N = 64 * 256 * 2 + 64 * 3 + 17 };

/* Returns the code of the nearest value, by a slow search. A tie gives the lower code. */
static int slow_code(float x)
{
    int best = 0;
    for (int i = 0; i < 15; i++)
        if (x > nf4_threshold[i]) best = i + 1;
    return best;
}

static int code_at(const uint8_t *codes, int i)
{
    return i % 2 ? codes[i / 2] & 15 : codes[i / 2] >> 4;
}

/* Does all three steps of the quantization. */
static void quantize(uint8_t *codes, uint8_t *absmax_u8, float *absmax_scale, float *offset,
                     float *absmax, const float *x, int64_t count)
{
    int64_t blocks = (count + 63) / 64;
    k->nf4_codes(dev, codes, absmax, x, DTYPE_F32, count);
    k->nf4_offset(dev, offset, absmax, blocks);
    k->nf4_nest(dev, absmax_u8, absmax_scale, absmax, *offset, blocks);
}

static void test_tables(void **state)
{
    (void)state;
    for (int i = 0; i < 15; i++) {
        assert_true(nf4_value[i] < nf4_value[i + 1]);
        assert_true(nf4_threshold[i] ==
                    (float)(((double)nf4_value[i] + (double)nf4_value[i + 1]) / 2));
    }
    assert_true(nf4_value[0] == -1 && nf4_value[7] == 0 && nf4_value[15] == 1);
    for (int i = 0; i < 255; i++)
        assert_true(nf4_absmax_value[i] < nf4_absmax_value[i + 1]);
    assert_true(nf4_absmax_value[255] == 1 && nf4_absmax_value[127] == 0);
}

static void test_quantize(void **state)
{
    (void)state;
    float *x = check_random_buffer(N), *back = check_buffer(N), *scratch = check_buffer(N / 64 + 1);
    uint8_t *codes = (uint8_t *)check_buffer(N / 8 + 1),
            *absmax = (uint8_t *)check_buffer(N / 256 + 1);
    float *absmax_scale = check_buffer(3), offset;
    for (int i = 0; i < N; i++)
        x[i] *= i / 64 % 7 ? 0.02f : 3;
    memset(x + 128, 0, 64 * sizeof *x); /* a block of zeros */
    quantize(codes, absmax, absmax_scale, &offset, scratch, x, N);
    int blocks = (N + 63) / 64;
    double sum = 0;
    for (int b = 0; b < blocks; b++) {
        float top = 0;
        for (int i = b * 64; i < (b + 1) * 64 && i < N; i++)
            top = fmaxf(top, fabsf(x[i]));
        assert_true(scratch[b] == top);
        sum += (double)top;
        float inverse = 1 / (top > 1e-38f ? top : 1e-38f);
        for (int i = b * 64; i < (b + 1) * 64 && i < N; i++)
            assert_int_equal(code_at(codes, i), slow_code(x[i] * inverse));
    }
    assert_true(offset == (float)(sum / blocks));
    assert_int_equal(code_at(codes, N), 7);
    for (int b = 0; b < blocks; b++) {
        /* No other value of the map is closer. */
        float scaled = (scratch[b] - offset) * (1 / absmax_scale[b / 256]);
        float got = fabsf(scaled - nf4_absmax_value[absmax[b]]);
        for (int i = 0; i < 256; i++)
            assert_true(got <= fabsf(scaled - nf4_absmax_value[i]) * 1.00001f);
    }
    k->nf4_dequantize(dev, back, codes, absmax, absmax_scale, offset, N);
    for (int i = 0; i < N; i++) {
        volatile float product = nf4_absmax_value[absmax[i / 64]] * absmax_scale[i / 16384];
        volatile float scale = product + offset;
        assert_true(back[i] == nf4_value[code_at(codes, i)] * scale);
    }
    for (int i = 128; i < 192; i++)
        assert_true(back[i] == 0);
    /* Without double quantization. */
    k->nf4_dequantize(dev, back, codes, NULL, scratch, 0, N);
    for (int i = 0; i < N; i++)
        assert_true(back[i] == nf4_value[code_at(codes, i)] * scratch[i / 64]);
}

static void test_ties_take_the_lower_code(void **state)
{
    (void)state;
    float *x = check_buffer(64), *scratch = check_buffer(1), *absmax_scale = check_buffer(1),
          offset;
    uint8_t *codes = (uint8_t *)check_buffer(8), *absmax = (uint8_t *)check_buffer(1);
    memset(x, 0, 64 * sizeof *x);
    x[0] = 1;
    for (int i = 0; i < 15; i++)
        x[1 + i] = nf4_threshold[i];
    for (int i = 0; i < 15; i++)
        x[16 + i] = nextafterf(nf4_threshold[i], 2);
    quantize(codes, absmax, absmax_scale, &offset, scratch, x, 64);
    for (int i = 0; i < 15; i++) {
        assert_int_equal(code_at(codes, 1 + i), i);
        assert_int_equal(code_at(codes, 16 + i), i + 1);
    }
    /* With one block, its absmax equals the mean, and is restored exactly. */
    assert_true(offset == 1 && absmax_scale[0] == 0);
    float *back = check_buffer(64);
    k->nf4_dequantize(dev, back, codes, absmax, absmax_scale, offset, 64);
    assert_true(back[0] == 1);
}

/* Values near every threshold between codes, at every position in a vector. */
static void test_codes_near_thresholds(void **state)
{
    (void)state;
    enum { COUNT = 64 * 15 + 31 };
    float *x = check_buffer(COUNT), *absmax = check_buffer(COUNT / 64 + 1);
    uint8_t *codes = (uint8_t *)check_buffer(COUNT / 8 + 1);
    for (int i = 0; i < COUNT; i++) {
        x[i] = nf4_threshold[i / 64 % 15];
        for (int step = 0; step < i % 4; step++)
            x[i] = nextafterf(x[i], i % 8 < 4 ? 2 : -2);
        if (i % 64 == 0 || i == COUNT - 1) x[i] = -1;
    }
    for (int count = 1; count <= COUNT; count += count < 70 ? 1 : 97) {
        k->nf4_codes(dev, codes, absmax, x, DTYPE_F32, count);
        for (int i = 0; i < count; i++) {
            float top = absmax[i / 64];
            assert_int_equal(code_at(codes, i), slow_code(x[i] * (1 / top)));
        }
    }
}

static void test_values_that_are_not_finite_show_in_the_scales(void **state)
{
    (void)state;
    float *x = check_random_buffer(192), *absmax = check_buffer(3), offset;
    uint8_t *codes = (uint8_t *)check_buffer(24);
    x[70] = -INFINITY;
    x[130] = NAN;
    k->nf4_codes(dev, codes, absmax, x, DTYPE_F32, 192);
    k->nf4_offset(dev, &offset, absmax, 3);
    assert_true(absmax[0] < 1 && absmax[1] == INFINITY && isnan(absmax[2]) && isnan(offset));
}

/* Values in 16 bits get the same codes as in f32. The error that is returned equals the real
 * one. */
static void test_types_and_error(void **state)
{
    (void)state;
    static const int counts[] = { 1, 63, 64, 1023, 1025, 16384 * 2 + 1000 };
    for (int c = 0; c < 6; c++)
        for (int type = DTYPE_F32; type <= DTYPE_F16; type++) {
            int n = counts[c];
            size_t capacity = (size_t)n + 64;
            float *x = check_random_buffer(capacity), *scratch = check_buffer(capacity / 64 + 1);
            float *absmax_scale = check_buffer(4), *back = check_buffer(capacity), offset;
            uint16_t *half = (uint16_t *)(void *)check_buffer(capacity);
            uint8_t *codes = (uint8_t *)check_buffer(capacity),
                    *same = (uint8_t *)check_buffer(capacity);
            uint8_t *absmax = (uint8_t *)check_buffer(capacity);
            for (int i = 0; i < n; i++) {
                x[i] *= 0.02f * (float)(1 + i / 64 % 5);
                half[i] = type == DTYPE_F16 ? f16_from_float(x[i]) : bf16_from_float(x[i]);
                if (type == DTYPE_F16) x[i] = f16_to_float(half[i]);
                if (type == DTYPE_BF16) x[i] = bf16_to_float(half[i]);
            }
            const void *stored = type == DTYPE_F32 ? (const void *)x : half;
            quantize(codes, absmax, absmax_scale, &offset, scratch, x, n);
            k->nf4_codes(dev, same, scratch, stored, (enum dtype)type, n);
            assert_memory_equal(codes, same, (size_t)(n + 1) / 2);
            k->nf4_dequantize(dev, back, codes, absmax, absmax_scale, offset, n);
            struct nf4_error e;
            double squares = 0, error_squares = 0, most = 0;
            k->nf4_error(dev, &e, stored, (enum dtype)type, codes, absmax, absmax_scale, offset, n);
            for (int i = 0; i < n; i++) {
                double d = fabs((double)(x[i] - back[i]));
                squares += (double)x[i] * (double)x[i];
                error_squares += d * d;
                most = fmax(most, d);
            }
            assert_true(fabs(e.squares - squares) <= 2e-6 * squares);
            assert_true(fabs(e.error_squares - error_squares) <= 2e-6 * error_squares &&
                        e.max_error == most);
            check_free_all();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test_teardown(test_quantize, buffers_close),
        cmocka_unit_test_teardown(test_ties_take_the_lower_code, buffers_close),
        cmocka_unit_test_teardown(test_codes_near_thresholds, buffers_close),
        cmocka_unit_test_teardown(test_values_that_are_not_finite_show_in_the_scales,
                                  buffers_close),
        cmocka_unit_test_teardown(test_types_and_error, buffers_close),
    };
    return cmocka_run_group_tests(tests, backend_open, backend_close);
}
