/* Compares the families of models with transformers and PEFT (tests/golden/families.py): logits of
 * 1 to 4096 tokens, in one batch and with a cache; gradients of all weights and of LoRA's matrices;
 * merges; greedily generated tokens. It also tests the content of our quantized directories. */
#include "lib/common/bf16.h"
#include "lib/tensorfile/safetensors.h"
#include "model/batch.h"
#include "model/session.h"
#include "tests/lib/check.h"
#include "tests/lib/compare_model.h"
#include "tests/lib/scratch.h"
#include "tests/lib/synthetic_model.h"

#include <math.h>
#include <unistd.h>

static struct fail why;
static const double bound = 2e-5;      /* relative to the largest logit */
static const double half_bound = 1e-2; /* for keys and values in 16 bits */
/* The bound of a gradient, relative to the tensor's largest value. With sanitizers the kernels are
 * compiled with -O1, which sums in another order; q's gradient of llama-odder, a difference of
 * larger numbers, is then 1.08e-5 off. PyTorch's own gradient in f32 is 2.5e-6 off there. */
#ifdef __SANITIZE_ADDRESS__
static const double gradient_bound = 2e-5;
#else
static const double gradient_bound = 1e-5;
#endif
enum { RANK = 2, ALPHA = 3, FIRST_SEQUENCE = 5000 };

static void open_model(const json_t *item, const char *dtype, struct weights *w)
{
    char path[4096], *text = json_dumps(json_object_get(item, "config"), 0);
    snprintf(path, sizeof path, "%s/adapter_config.json", scratch_directory);
    unlink(path); /* an earlier model's adapter */
    synthetic_model(scratch_directory, text, dtype);
    free(text);
    if (weights_open(w, scratch_directory, false, &why)) print_error("%s\n", why.text);
    assert_true(w->count > 0);
}

static const char *name_of(const json_t *item)
{
    return json_string_value(json_object_get(item, "name"));
}

static int64_t tokens_of(const json_t *item)
{
    return json_integer_value(json_object_get(item, "tokens"));
}

/* ---- logits ---- */

/* Compares the logits of the wanted rows, computed in one batch. */
static void compare_batch(const json_t *item, const struct stored_tensor *exact, int64_t chunk)
{
    struct weights w;
    open_model(item, "f32", &w);
    compare_logits(&w, NULL, item, chunk, exact, bound);
    weights_close(&w);
}

/* Compares the last row, computed with a cache in f32 or in 16 bits. In f32 the last two rows are
 * added one by one. This is not done if the position scaling depends on the length of the text. */
static void compare_session(const json_t *item, const struct stored_tensor *exact, bool is_exact)
{
    struct loaded l = { 0 };
    struct session s;
    open_model(item, "f32", &l.weights);
    assert_int_equal(config_copy(&l.config, &l.weights.config, &why), 0);
    int64_t count = tokens_of(item), vocab = l.config.vocab;
    uint32_t *ids = synthetic_ids(count, vocab);
    double *wanted = check_doubles(exact->data, exact->bytes / 4);
    struct model_setup setup = session_setup(count, check_device(), 0);
    setup.exact_cache = is_exact;
    assert_int_equal(session_open(&s, &l, &setup, &why), 0);
    bool in_pieces = is_exact && l.config.rope.type != ROPE_DYNAMIC;
    for (int64_t n = in_pieces ? count - 2 : count; n <= count; n++)
        assert_int_equal(session_read(&s, ids, n, &why), 0);
    check_close(name_of(item), s.logits, wanted + (int64_t)(exact->bytes / 4) - vocab,
                (size_t)vocab, is_exact ? bound : half_bound);
    session_close(&s);
    free(ids);
    loaded_close(&l);
}

/* The emulated GPU is slow, so only the shorter texts of some models are computed on it. */
static void test_logits(void **state)
{
    (void)state;
    struct tensor_file file;
    const struct kernels *k;
    size_t i;
    json_t *item, *cases = json_read_file("tests/golden/families/cases.json", &why);
    assert_non_null(cases);
    assert_int_equal(kernels_open(&k, check_device(), &why), 0);
    assert_int_equal(safetensors_open(&file, "tests/golden/families/logits.safetensors", &why), 0);
    assert_true(json_array_size(cases) == file.count && file.count > 100);
    json_array_foreach(cases, i, item)
    {
        const struct stored_tensor *exact = tensor_file_find(&file, name_of(item));
        assert_non_null(exact);
        if (tokens_of(item) > COMPARE_TOKENS_MAX) continue;
        if (!k->is_host && (tokens_of(item) > 9 || i % 4)) continue;
        compare_batch(item, exact, 512);
        if (tokens_of(item) == 300) {
            compare_batch(item, exact, 47);
            compare_session(item, exact, true);
            compare_session(item, exact, false);
        }
        check_free_all();
    }
    tensor_file_close(&file);
    json_decref(cases);
}

/* ---- gradients ---- */

static const struct stored_tensor *golden(const struct tensor_file *file, const char *format, ...)
{
    char name[200];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const struct stored_tensor *t = tensor_file_find(file, name);
    if (!t) print_error("no golden tensor %s\n", name);
    assert_non_null(t);
    return t;
}

/* Returns LoRA's matrices as families.py makes them, in the order of the parameters. */
static float *lora_values(int64_t index, int64_t count)
{
    float *values = malloc((size_t)count * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(synthetic_number((uint64_t)(FIRST_SEQUENCE + index), (uint64_t)i) / 4);
    return values;
}

static void fill_adapters(struct model *m)
{
    const struct parameters *p = model_parameters(m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        float *values = lora_values(i, t->rows * t->cols);
        model_kernels(m)->upload(model_device(m), p->value + t->offset, values,
                                 (size_t)(t->rows * t->cols) * 4);
        free(values);
    }
}

static void compare_gradients(const json_t *item, const struct tensor_file *file, bool is_lora,
                              int64_t stored, int64_t chunk)
{
    struct weights w;
    struct model *m;
    struct batch b;
    const char *name = name_of(item);
    open_model(item, "f32", &w);
    int64_t count = tokens_of(item);
    struct model_setup setup = { .method = is_lora ? METHOD_LORA : METHOD_FULL,
                                 .is_training = true,
                                 .rank = is_lora ? RANK : 0,
                                 .alpha = ALPHA,
                                 .targets = parts_of_role(ROLE_LINEAR),
                                 .stored_layers = stored,
                                 .positions = count,
                                 .rows = count,
                                 .chunk = chunk,
                                 .device = check_device(),
                                 .threads = 2 };
    if (model_open(&m, &setup, NULL, &w, 1, &why)) print_error("%s\n", why.text);
    if (is_lora) fill_adapters(m);
    assert_int_equal(batch_init(&b, count, &why), 0);
    uint32_t *ids = synthetic_ids(count, w.config.vocab);
    float *nll = check_buffer((size_t)count), loss = 0;
    batch_add_window(&b, ids, count);
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_loss(m, nll, 1.0f / (float)(count - 1), &why), 0);
    model_backward(m);
    for (int64_t t = 0; t + 1 < count; t++)
        loss += nll[t] / (float)(count - 1);
    const float *exact = golden(file, "%s/%s", name, is_lora ? "lora-loss" : "loss")->data;
    assert_true(fabsf(loss - *exact) < 2e-6f * *exact);
    const struct parameters *p = model_parameters(m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        char own[160];
        if (is_lora)
            adapter_tensor_name(t->tensor, t->kind, own, sizeof own);
        else
            snprintf(own, sizeof own, "%s", t->tensor->name);
        const struct stored_tensor *s =
            golden(file, "%s/%s/%s", name, is_lora ? "lora" : "full", own);
        assert_int_equal(s->bytes, (size_t)(t->rows * t->cols) * 4);
        check_close(own, p->gradient + t->offset, check_doubles(s->data, s->bytes / 4),
                    s->bytes / 4, gradient_bound);
    }
    free(ids);
    batch_release(&b);
    model_close(m);
    weights_close(&w);
    check_free_all();
}

static json_t *open_gradients(struct tensor_file *file)
{
    json_t *cases = json_read_file("tests/golden/families/gradients.json", &why);
    assert_non_null(cases);
    assert_int_equal(safetensors_open(file, "tests/golden/families/gradients.safetensors", &why),
                     0);
    return cases;
}

static void test_gradients(void **state)
{
    (void)state;
    static const struct {
        int64_t stored, chunk;
    } ways[] = { { 0, 40 }, { 1, 16 }, { STORES_ALL, 7 } };
    struct tensor_file file;
    const struct kernels *k;
    size_t i;
    json_t *item, *cases = open_gradients(&file);
    assert_int_equal(kernels_open(&k, check_device(), &why), 0);
    json_array_foreach(cases, i, item)
    {
        for (size_t n = 0; n < sizeof ways / sizeof *ways; n++) {
            if (!k->is_host && n != i % 3) continue;
            compare_gradients(item, &file, false, ways[n].stored, ways[n].chunk);
            compare_gradients(item, &file, true, ways[n].stored, ways[n].chunk);
        }
    }
    tensor_file_close(&file);
    json_decref(cases);
}

/* ---- merges ---- */

/* Returns one unit in the last place of bf16 at that magnitude. */
static double last_place(double magnitude)
{
    int exponent;
    if (magnitude <= 0) return 0;
    frexp(magnitude, &exponent);
    return ldexp(1, exponent - 8);
}

/* Writes an adapter for every linear layer. The formula gives its matrices. */
static void write_adapter(const struct weights *w, const char *directory)
{
    struct tensor_header headers[64];
    char names[64][160], path[4096];
    struct safetensors_writer *out;
    size_t count = 0;
    snprintf(path, sizeof path, "%s/adapter_config.json", directory);
    json_t *config =
        json_pack("{s:s,s:s,s:i,s:i,s:s}", "peft_type", "LORA", "task_type", "CAUSAL_LM", "r", RANK,
                  "lora_alpha", ALPHA, "target_modules", "all-linear");
    assert_int_equal(json_write_file(config, path, &why), 0);
    json_decref(config);
    for (int64_t i = 0; i < w->count; i++)
        for (int kind = TRAINED_LORA_A; w->table[i].role == ROLE_LINEAR && kind <= TRAINED_LORA_B;
             kind++) {
            const struct tensor *t = &w->table[i];
            bool is_a = kind == TRAINED_LORA_A;
            adapter_tensor_name(t, kind, names[count], sizeof names[count]);
            headers[count] = (struct tensor_header){
                names[count], DTYPE_F32, 2, { is_a ? RANK : t->rows, is_a ? t->cols : RANK }
            };
            count++;
        }
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", directory);
    assert_int_equal(safetensors_create(&out, path, headers, count, &why), 0);
    for (size_t i = 0; i < count; i++) {
        int64_t n = headers[i].shape[0] * headers[i].shape[1];
        float *values = lora_values((int64_t)i, n);
        assert_int_equal(safetensors_put(out, values, (size_t)n * 4, &why), 0);
        free(values);
    }
    assert_int_equal(safetensors_finish(out, &why), 0);
}

static float narrowed(const void *data, size_t i)
{
    return bf16_to_float(((const uint16_t *)data)[i]);
}

/* Linear layers differ from PEFT's by at most one unit in the last place of the larger of W and
 * s·B·A. All other tensors are equal.
 */
static void compare_merged(const char *name, const struct weights *w, const struct adapter *a,
                           const struct model_files *ours, const struct tensor_file *theirs)
{
    for (int64_t i = 0; i < w->count; i++) {
        const struct tensor *t = &w->table[i];
        const struct stored_tensor *got = model_files_find(ours, t->name);
        const struct stored_tensor *exact = golden(theirs, "%s/merged/%s", name, t->name);
        assert_true(got && got->dtype == DTYPE_BF16 && got->bytes == exact->bytes &&
                    got->dims == exact->dims);
        if (t->role != ROLE_LINEAR) {
            assert_memory_equal(got->data, exact->data, got->bytes);
            continue;
        }
        float *lora_a = adapter_values(a, t, TRAINED_LORA_A, RANK, t->cols, &why);
        float *lora_b = adapter_values(a, t, TRAINED_LORA_B, t->rows, RANK, &why);
        for (int64_t j = 0; j < t->rows * t->cols; j++) {
            double change = 0, before = (double)narrowed(w->at[i].data, (size_t)j);
            for (int r = 0; r < RANK; r++)
                change += (double)lora_b[j / t->cols * RANK + r] *
                          (double)lora_a[r * t->cols + j % t->cols] * ALPHA / RANK;
            double apart = fabs((double)narrowed(got->data, (size_t)j) -
                                (double)narrowed(exact->data, (size_t)j));
            assert_true(apart <= last_place(fmax(fabs(before), fabs(change))));
        }
        free(lora_a);
        free(lora_b);
    }
}

static void merge_and_compare(const json_t *item, const struct tensor_file *theirs)
{
    struct weights w;
    struct adapter a;
    struct fit fit;
    struct model_files ours;
    char path[4096];
    open_model(item, "bf16", &w);
    write_adapter(&w, scratch_directory);
    if (adapter_open(&a, scratch_directory, &why)) print_error("%s\n", why.text);
    if (adapter_fit(&a, &w.config, &fit, &why)) print_error("%s\n", why.text);
    const struct merge_adapter part = { &a, &fit, 1, "adapter" };
    snprintf(path, sizeof path, "%s/merged", scratch_directory);
    const struct compare_merge how = { .base = &w,
                                       .adapters = &part,
                                       .adapter_count = 1,
                                       .dtype = DTYPE_BF16,
                                       .threads = 1,
                                       .max_shard_bytes = 1 << 20 };
    (void)compare_merge(&how, path);
    assert_int_equal(model_files_open(&ours, path, &why), 0);
    compare_merged(name_of(item), &w, &a, &ours, theirs);
    model_files_close(&ours);
    assert_int_equal(scratch_remove(path), 0);
    fit_release(&fit);
    adapter_close(&a);
    weights_close(&w);
}

static void test_merges(void **state)
{
    (void)state;
    struct tensor_file file;
    size_t i;
    json_t *item, *cases = open_gradients(&file);
    json_array_foreach(cases, i, item) { merge_and_compare(item, &file); }
    tensor_file_close(&file);
    json_decref(cases);
}

/* An adapter without target_modules applies to q and v if this is PEFT's default for the family.
 * Otherwise it is refused. */
static void test_default_targets(void **state)
{
    (void)state;
    static const struct {
        const char *family, *reason;
    } cases[] = { { "qwen2", ".weight matches no module" },
                  { "smollm3", "target_modules is null, for which PEFT has no names in a smollm3" },
                  { "granite", "target_modules is null, for which PEFT has no names in a granite" },
                  { "olmo2", "target_modules is null, for which PEFT has no names in a olmo2" } };
    struct tensor_file file;
    char path[4096];
    size_t i;
    json_t *item, *all = open_gradients(&file);
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++)
        json_array_foreach(all, i, item)
        {
            struct weights w;
            struct adapter a;
            struct fit fit;
            if (strcmp(name_of(item), cases[n].family) != 0) continue;
            open_model(item, "f32", &w);
            write_adapter(&w, scratch_directory);
            snprintf(path, sizeof path, "%s/adapter_config.json", scratch_directory);
            json_t *config = json_read_file(path, &why);
            json_object_set_new(config, "target_modules", json_null());
            assert_int_equal(json_write_file(config, path, &why), 0);
            json_decref(config);
            assert_int_equal(adapter_open(&a, scratch_directory, &why), 0);
            assert_int_equal(adapter_fit(&a, &w.config, &fit, &why), -1);
            if (!strstr(why.text, cases[n].reason)) fail_msg("%s", why.text);
            fit_release(&fit);
            adapter_close(&a);
            weights_close(&w);
        }
    tensor_file_close(&file);
    json_decref(all);
}

/* ---- what is generated ---- */

/* Generates 256 tokens with a cache in f32, each time the most likely one. On the emulated GPU it
 * generates only 12. */
static void test_greedy(void **state)
{
    (void)state;
    const struct kernels *k;
    size_t i;
    json_t *item, *cases = json_read_file("tests/golden/families/generated.json", &why);
    assert_non_null(cases);
    assert_int_equal(kernels_open(&k, check_device(), &why), 0);
    json_array_foreach(cases, i, item)
    {
        const json_t *prompt = json_object_get(item, "prompt"), *ids = json_object_get(item, "ids");
        struct loaded l = { 0 };
        struct session s;
        uint32_t text[32];
        size_t count = json_array_size(prompt), more = json_array_size(ids);
        assert_true(count <= 32 && more == 256);
        if (!k->is_host) more = 12;
        for (size_t t = 0; t < count; t++)
            text[t] = (uint32_t)json_integer_value(json_array_get(prompt, t));
        open_model(item, "f32", &l.weights);
        assert_int_equal(config_copy(&l.config, &l.weights.config, &why), 0);
        struct model_setup setup = session_setup((int64_t)(count + more), check_device(), 0);
        setup.exact_cache = true;
        assert_int_equal(session_open(&s, &l, &setup, &why), 0);
        assert_int_equal(session_read(&s, text, (int64_t)count, &why), 0);
        for (size_t t = 0; t < more; t++) {
            int64_t best = 0;
            for (int64_t v = 1; v < l.config.vocab; v++)
                if (s.logits[v] > s.logits[best]) best = v;
            if (best != json_integer_value(json_array_get(ids, t)))
                fail_msg("%s: token %zu is %lld", name_of(item), t, (long long)best);
            assert_int_equal(session_append(&s, (uint32_t)best, &why), 0);
        }
        session_close(&s);
        loaded_close(&l);
    }
    json_decref(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits), cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_merges), cmocka_unit_test(test_default_targets),
        cmocka_unit_test(test_greedy),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
