/* NF4 is compared with bitsandbytes' own code (tests/golden/bnb.py): codes, scales, a directory
 * that transformers wrote and its logits, and the directory that we write. */
#include "lib/common/bf16.h"
#include "lib/common/nf4.h"
#include "lib/tensorfile/safetensors.h"
#include "model/batch.h"
#include "tests/lib/check.h"
#include "tests/lib/synthetic_model.h"

#include <math.h>

static struct fail why;
static const char golden[] = "tests/golden/bnb/";

static const void *vector(const struct tensor_file *f, int kind, const char *name, size_t *count)
{
    char full[64];
    snprintf(full, sizeof full, "%d.%s", kind, name);
    const struct stored_tensor *s = tensor_file_find(f, full);
    assert_non_null(s);
    if (count) *count = (size_t)s->shape[0];
    return s->data;
}

/* Returns the same test numbers that bnb.py makes for this kind of numbers. */
static float *numbers(const struct tensor_file *f, int kind, size_t blocks)
{
    float *x = malloc(blocks * 64 * sizeof *x);
    assert_non_null(x);
    if (kind == 2) {
        memcpy(x, vector(f, 2, "x", NULL), blocks * 64 * sizeof *x);
        return x;
    }
    for (size_t i = 0; i < blocks * 64; i++) {
        double u = synthetic_number(5000 + (uint64_t)kind, i);
        x[i] = (float)(kind == 1 ? ldexp(u, (int)(i / 64 % 23) - 12) : u);
    }
    return x;
}

static void test_codes(void **state)
{
    (void)state;
    struct tensor_file f;
    const struct kernels *k;
    struct device *dev;
    assert_int_equal(kernels_open(&k, check_device(), &why), 0);
    assert_int_equal(k->open(&dev, 2, &why), 0);
    assert_int_equal(safetensors_open(&f, "tests/golden/bnb/vectors.safetensors", &why), 0);
    for (int kind = 0; kind < 4; kind++) {
        size_t blocks;
        const float *absmax = vector(&f, kind, "absmax", &blocks);
        float offset, *x = numbers(&f, kind, blocks), *tops = malloc(blocks * sizeof *tops);
        float *absmax_scale = malloc((blocks / 256 + 1) * sizeof *absmax_scale);
        uint8_t *codes = malloc(blocks * 32), *absmax_codes = malloc(blocks);
        k->nf4_codes(dev, codes, tops, x, DTYPE_F32, (int64_t)blocks * 64);
        assert_memory_equal(codes, vector(&f, kind, "codes", NULL), blocks * 32);
        assert_memory_equal(tops, absmax, blocks * sizeof *tops);
        float theirs = *(const float *)vector(&f, kind, "offset", NULL);
        k->nf4_offset(dev, &offset, tops, (int64_t)blocks);
        assert_true(fabsf(offset - theirs) <= 1e-6f * fabsf(theirs));
        /* If our code gets the offset (the mean of the scales) from bitsandbytes, all other values
         * equal those of bitsandbytes. */
        k->nf4_nest(dev, absmax_codes, absmax_scale, tops, theirs, (int64_t)blocks);
        assert_memory_equal(absmax_scale, vector(&f, kind, "nested", NULL),
                            (blocks + 255) / 256 * sizeof *absmax_scale);
        const uint8_t *exact = vector(&f, kind, "absmax_codes", NULL);
        const uint8_t *native = vector(&f, kind, "cpu_absmax_codes", NULL);
        /* For blocks of zeros the CPU kernel of bitsandbytes has code 0, as ours has. */
        for (size_t i = 0; i < blocks; i++)
            assert_int_equal(absmax_codes[i], absmax_scale[i / 256] > 0 ? exact[i] : native[i]);
        free(x);
        free(tops);
        free(absmax_scale);
        free(codes);
        free(absmax_codes);
    }
    tensor_file_close(&f);
    k->close(dev);
}

/* A linear layer of the directory that transformers wrote has the same codes and scales as ours. We
 * compute ours from the synthetic weights in f16. */
static void same_codes(const struct tensor *t, int64_t index, const struct weight *theirs)
{
    const struct kernels *k;
    struct device *dev;
    int64_t n = t->rows * t->cols, blocks = nf4_block_count(n);
    float *x = synthetic_values(t, index), *tops = malloc((size_t)blocks * sizeof *tops),
          absmax_scale[8];
    uint8_t *codes = malloc((size_t)n / 2), *absmax = malloc((size_t)blocks);
    assert_true(tops && codes && absmax && n <= 8 * NF4_NESTED);
    assert_int_equal(kernels_open(&k, check_device(), &why), 0);
    assert_int_equal(k->open(&dev, 1, &why), 0);
    for (int64_t i = 0; i < n; i++)
        x[i] = f16_to_float(f16_from_float(x[i]));
    k->nf4_codes(dev, codes, tops, x, DTYPE_F32, n);
    k->nf4_nest(dev, absmax, absmax_scale, tops, theirs->offset, blocks);
    assert_memory_equal(codes, theirs->data, (size_t)n / 2);
    assert_memory_equal(absmax, theirs->absmax, (size_t)blocks);
    assert_memory_equal(absmax_scale, theirs->absmax_scale, (size_t)nf4_nested_block_count(n) * 4);
    k->close(dev);
    free(x);
    free(tops);
    free(codes);
    free(absmax);
}

static void same_logits(const char *name)
{
    struct weights w;
    struct model *m;
    struct batch b;
    struct tensor_file f;
    enum { TOKENS = 40, VOCAB = 48 };
    uint32_t ids[TOKENS];
    float logits[TOKENS * VOCAB];
    char path[80];
    snprintf(path, sizeof path, "%s%s", golden, name);
    if (weights_open(&w, path, true, &why)) print_error("%s\n", why.text);
    assert_true(w.is_quantized && w.at[1].type == DTYPE_F32 && w.at[2].type == DTYPE_NF4);
    for (int64_t i = 0; i < w.count; i++)
        if (w.at[i].absmax) same_codes(&w.table[i], i, &w.at[i]);
    struct model_setup setup = {
        .positions = TOKENS, .rows = TOKENS, .chunk = TOKENS, .device = check_device()
    };
    assert_int_equal(model_open(&m, &setup, NULL, &w, 0, &why), 0);
    assert_int_equal(batch_init(&b, TOKENS, &why), 0);
    for (int t = 0; t < TOKENS; t++)
        ids[t] = synthetic_token(t, VOCAB);
    batch_add_window(&b, ids, TOKENS);
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_logits(m, TOKENS, logits, &why), 0);
    assert_int_equal(safetensors_open(&f, "tests/golden/bnb/logits.safetensors", &why), 0);
    double *exact = check_doubles(tensor_file_find(&f, name)->data, TOKENS * VOCAB);
    check_close("logits", logits, exact, TOKENS * VOCAB, 2e-5);
    tensor_file_close(&f);
    batch_release(&b);
    model_close(m);
    weights_close(&w);
}

static void test_directories_of_transformers(void **state)
{
    (void)state;
    same_logits("model");
    same_logits("model-single");
}

/* Counts of bytes and blocks: two codes share a byte, and the last block and the last nested block
 * may be shorter than the others. */
static void test_counts_of_codes_and_blocks(void **state)
{
    (void)state;
    static const int64_t rows[][4] = {
        { 0, 0, 0, 0 },   { 1, 1, 1, 1 },          { 64, 32, 1, 1 },
        { 65, 33, 2, 1 }, { 16384, 8192, 256, 1 }, { 16385, 8193, 257, 2 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int64_t *r = rows[i];
        assert_int_equal(nf4_code_bytes(r[0]), r[1]);
        assert_int_equal(nf4_block_count(r[0]), r[2]);
        assert_int_equal(nf4_nested_block_count(r[0]), r[3]);
        assert_int_equal(nf4_scale_count(r[0], true), r[3]);
        assert_int_equal(nf4_scale_count(r[0], false), r[2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_of_codes_and_blocks),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_directories_of_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
