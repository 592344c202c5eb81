/* Gradients and merges are compared with those of PEFT (tests/golden/peft_cases.py). */
#include "lib/common/bf16.h"
#include "lib/common/output.h"
#include "lib/tensorfile/safetensors.h"
#include "model/adapter_load.h"
#include "model/batch.h"
#include "tests/lib/check.h"
#include "tests/lib/compare_model.h"
#include "tests/lib/scratch.h"
#include "tests/lib/synthetic_model.h"

#include <math.h>
#include <unistd.h>

enum { TOKENS = 24, VOCAB = 48 };

static struct fail why;
static char *config_text;
/* The norms that a LLaMA has. */
static const uint32_t norms = 1u << PART_ATTN_NORM | 1u << PART_MLP_NORM | 1u << PART_FINAL_NORM;

static int open_directory(void **state)
{
    json_t *config = json_read_file("tests/golden/peft/config.json", &why);
    config_text = json_dumps(config, 0);
    json_decref(config);
    return config_text ? scratch_open(state) : -1;
}

static int close_directory(void **state)
{
    free(config_text);
    return scratch_close(state);
}

static void open_adapter(struct adapter *a, const char *path)
{
    if (adapter_open(a, path, &why)) print_error("%s\n", why.text);
    assert_true(a->rank == 4 && a->alpha == 6);
    assert_int_equal(a->modules_to_save,
                     parts_of_role(ROLE_EMBEDDING) | norms | parts_of_role(ROLE_HEAD));
}

static void test_gradients(void **state)
{
    (void)state;
    struct weights w;
    struct adapter a;
    struct model *m;
    struct batch b;
    struct tensor_file exact;
    uint32_t ids[TOKENS];
    float nll[TOKENS];
    synthetic_model(scratch_directory, config_text, "f32");
    assert_int_equal(weights_open(&w, scratch_directory, false, &why), 0);
    open_adapter(&a, "tests/golden/peft/adapter-bin");
    struct fit fit;
    assert_int_equal(adapter_fit(&a, &w.config, &fit, &why), 0);
    struct model_setup setup = { .method = METHOD_LORA,
                                 .is_training = true,
                                 .positions = TOKENS,
                                 .rows = TOKENS,
                                 .chunk = TOKENS,
                                 .device = check_device() };
    fit_set_up(&fit, &a, &setup);
    assert_int_equal(model_open(&m, &setup, NULL, &w, 0, &why), 0);
    assert_int_equal(adapter_load(&a, &fit, m, &why), 0);
    assert_int_equal(batch_init(&b, TOKENS, &why), 0);
    for (int t = 0; t < TOKENS; t++)
        ids[t] = synthetic_token(t, VOCAB);
    batch_add_window(&b, ids, TOKENS);
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_loss(m, nll, 1.0f / (TOKENS - 1), &why), 0);
    model_backward(m);
    double mean = 0;
    for (int t = 0; t + 1 < TOKENS; t++)
        mean += (double)nll[t] / (TOKENS - 1);
    assert_int_equal(safetensors_open(&exact, "tests/golden/peft/gradients.safetensors", &why), 0);
    double loss = (double)*(const float *)tensor_file_find(&exact, "loss")->data;
    assert_true(fabs(mean - loss) < 1e-6 * loss);
    const struct parameters *p = model_parameters(m);
    assert_int_equal(p->at_count + 1, exact.count);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        size_t count = (size_t)(t->rows * t->cols);
        char name[160];
        adapter_tensor_name(t->tensor, t->kind, name, sizeof name);
        const struct stored_tensor *s = tensor_file_find(&exact, name);
        assert_non_null(s);
        assert_int_equal(s->bytes, count * sizeof(float));
        check_close(name, p->gradient + t->offset, check_doubles(s->data, count), count, 1e-5);
        check_free_all();
    }
    tensor_file_close(&exact);
    batch_release(&b);
    model_close(m);
    fit_release(&fit);
    adapter_close(&a);
    weights_close(&w);
}

/* Returns one unit in the last place of the type at that magnitude. */
static double last_place(enum dtype dtype, double magnitude)
{
    int bits = dtype == DTYPE_F32 ? 24 : dtype == DTYPE_F16 ? 11 : 8, exponent;
    if (magnitude <= 0) return 0;
    frexp(magnitude, &exponent);
    if (dtype == DTYPE_F16 && exponent < -13) exponent = -13;
    return ldexp(1, exponent - bits);
}

static double element(const struct stored_tensor *s, size_t i)
{
    if (s->dtype == DTYPE_F32) return (double)((const float *)s->data)[i];
    uint16_t half = ((const uint16_t *)s->data)[i];
    return (double)(s->dtype == DTYPE_F16 ? f16_to_float(half) : bf16_to_float(half));
}

static double stored_value(const struct weight *w, size_t i)
{
    if (w->type == DTYPE_F32) return (double)((const float *)w->data)[i];
    uint16_t half = ((const uint16_t *)w->data)[i];
    return (double)(w->type == DTYPE_F16 ? f16_to_float(half) : bf16_to_float(half));
}

/* Returns one element of s·B·A, in double. */
static double change_at(const float *a, const float *b, double scale, const struct tensor *t,
                        size_t i)
{
    size_t row = i / (size_t)t->cols, col = i % (size_t)t->cols;
    double sum = 0;
    for (size_t r = 0; r < 4; r++)
        sum += (double)b[row * 4 + r] * (double)a[r * (size_t)t->cols + col];
    return scale * sum;
}

static void compare_merged(const struct weights *w, const struct adapter *a,
                           const struct model_files *ours, const struct tensor_file *theirs)
{
    assert_int_equal(theirs->count, w->count);
    for (int64_t i = 0; i < w->count; i++) {
        const struct tensor *t = &w->table[i];
        const struct stored_tensor *got = model_files_find(ours, t->name);
        const struct stored_tensor *exact = tensor_file_find(theirs, t->name);
        assert_true(got && exact && got->dtype == exact->dtype && got->bytes == exact->bytes);
        if (t->role != ROLE_LINEAR || !(a->targets >> t->part & 1)) {
            assert_memory_equal(got->data, exact->data, got->bytes);
            continue;
        }
        float *lora_a = adapter_values(a, t, TRAINED_LORA_A, 4, t->cols, &why);
        float *lora_b = adapter_values(a, t, TRAINED_LORA_B, t->rows, 4, &why);
        for (size_t j = 0; j < (size_t)(t->rows * t->cols); j++) {
            double largest =
                fmax(fabs(stored_value(&w->at[i], j)),
                     fabs(change_at(lora_a, lora_b, a->alpha / (double)a->rank, t, j)));
            double apart = fabs(element(got, j) - element(exact, j));
            if (apart > last_place(got->dtype, largest))
                print_error("%s[%zu]: %.9g, PEFT has %.9g\n", t->name, j, element(got, j),
                            element(exact, j));
            assert_true(apart <= last_place(got->dtype, largest));
        }
        free(lora_a);
        free(lora_b);
    }
}

static void merge_and_compare(const char *name, enum dtype dtype, const struct adapter *a,
                              const char *golden, int64_t merged, int64_t replaced)
{
    struct weights w;
    struct tensor_file theirs;
    struct model_files ours;
    char path[120];
    synthetic_model(scratch_directory, config_text, name);
    assert_int_equal(weights_open(&w, scratch_directory, false, &why), 0);
    struct fit fit;
    if (adapter_fit(a, &w.config, &fit, &why)) print_error("%s\n", why.text);
    const struct merge_adapter part = { a, &fit, 1, golden };
    snprintf(path, sizeof path, "%s/merged", scratch_directory);
    const struct compare_merge how = { .base = &w,
                                       .adapters = &part,
                                       .adapter_count = 1,
                                       .dtype = dtype,
                                       .threads = 2,
                                       .max_shard_bytes = 4000 };
    struct compare_merged count = compare_merge(&how, path);
    assert_true(count.merged == merged && count.replaced == replaced);
    assert_int_equal(model_files_open(&ours, path, &why), 0);
    assert_true(ours.count > 3);
    assert_int_equal(safetensors_open(&theirs, golden, &why), 0);
    compare_merged(&w, a, &ours, &theirs);
    tensor_file_close(&theirs);
    model_files_close(&ours);
    assert_int_equal(scratch_remove(path), 0);
    fit_release(&fit);
    weights_close(&w);
}

static void test_merges(void **state)
{
    (void)state;
    static const char *const names[] = { "f32", "bf16", "f16" };
    struct adapter a;
    open_adapter(&a, "tests/golden/peft/adapter");
    for (int i = 0; i < 3; i++) {
        char golden[80];
        snprintf(golden, sizeof golden, "tests/golden/peft/merged-%s.safetensors", names[i]);
        merge_and_compare(names[i], DTYPE_F32 + i, &a, golden, 7, 5);
    }
    adapter_close(&a);
}

static void scratch_copy(const char *name, const char *to)
{
    char from[120], path[120];
    snprintf(from, sizeof from, "tests/golden/longlora/%s", name);
    snprintf(path, sizeof path, "%s/%s", scratch_directory, to);
    assert_int_equal(output_copy(from, path, &why), 0);
}

/* Merges the embedding and norms of trainable_params.bin. This embedding has one row more than the
 * base's. */
static void test_longlora(void **state)
{
    (void)state;
    struct adapter a;
    char path[120], base[120];
    assert_int_equal(adapter_open(&a, "tests/golden/longlora", &why), 0);
    assert_int_equal(a.modules_to_save, parts_of_role(ROLE_EMBEDDING) | norms);
    merge_and_compare("f32", DTYPE_F32, &a, "tests/golden/longlora/merged.safetensors", 4, 4);
    adapter_close(&a);
    /* A tensor that is not in a base, or is neither the embedding nor a norm, is refused. */
    snprintf(path, sizeof path, "%s/trainable_params.bin", scratch_directory);
    scratch_copy("adapter_config.json", "adapter_config.json");
    scratch_copy("adapter_model.bin", "adapter_model.bin");
    scratch_copy("adapter_model.bin", "trainable_params.bin");
    assert_int_equal(adapter_open(&a, scratch_directory, &why), -1);
    assert_non_null(strstr(why.text, "trainable_params.bin: base_model.model.model.layers.0."));
    assert_non_null(strstr(why.text, "is not supported"));
    /* Only one of the adapter's files is there, so some of its tensors are missing. */
    struct weights w;
    scratch_copy("trainable_params.bin", "trainable_params.bin");
    scratch_copy("trainable_params.bin", "adapter_model.bin");
    /* The base has a folder of its own, because a model's folder must not hold an adapter. */
    snprintf(base, sizeof base, "%s/base", scratch_directory);
    assert_int_equal(output_directory(base, &why), 0);
    synthetic_model(base, config_text, "f32");
    assert_int_equal(weights_open(&w, base, false, &why), 0);
    assert_int_equal(adapter_open(&a, scratch_directory, &why), 0);
    struct fit fit;
    assert_int_equal(adapter_fit(&a, &w.config, &fit, &why), -1);
    assert_non_null(strstr(why.text, " is missing, which its target_modules "));
    fit_release(&fit);
    adapter_close(&a);
    weights_close(&w);
    assert_int_equal(scratch_remove(base), 0);
    unlink(path);
    snprintf(path, sizeof path, "%s/adapter_model.bin", scratch_directory);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_longlora),
    };
    return cmocka_run_group_tests(tests, open_directory, close_directory);
}
