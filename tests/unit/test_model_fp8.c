/* Which groups of linear layers a model computes in fp8: those whose weights are all frozen. */
#include "model/batch.h"
#include "model/model.h"
#include "tests/lib/check.h"

enum { ROWS = 24 };

static struct fail why;

struct result {
    float nll[ROWS], *gradient;
    int64_t count;
    bool has_error;
    struct fp8_error error;
};

/* Computes a batch with LoRA on q, k and v. The weights of the parts in `trained` are trained. */
static struct result compute(bool fp8, uint32_t trained)
{
    struct result r = { .count = 0 };
    struct weights w;
    struct model *m;
    struct batch b;
    uint32_t tokens[ROWS], length = ROWS;
    struct attention_plan full = { 0 };
    const uint32_t targets = 1u << PART_Q | 1u << PART_K | 1u << PART_V;
    struct model_setup setup = { .method = METHOD_LORA,
                                 .is_training = true,
                                 .rank = 4,
                                 .alpha = 6,
                                 .targets = targets & ~trained,
                                 .modules_to_save = trained,
                                 .positions = 32,
                                 .rows = ROWS,
                                 .chunk = 10,
                                 .fp8 = fp8,
                                 .device = "cpu",
                                 .threads = 2 };
    assert_int_equal(weights_open(&w, "tests/golden/llama-gqa", true, &why), 0);
    assert_int_equal(model_open(&m, &setup, NULL, &w, 5, &why), 0);
    assert_int_equal(batch_init(&b, ROWS, &why), 0);
    for (uint32_t i = 0; i < ROWS; i++)
        tokens[i] = (7 * i * i + i) % 40;
    struct sample s = { .ids = tokens, .count = ROWS, .documents = &length, .document_count = 1 };
    batch_add(&b, &s, &full);
    model_measure_fp8(m);
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_loss(m, r.nll, 0.01f, &why), 0);
    model_backward(m);
    r.has_error = model_fp8_error(m, &r.error);
    r.count = model_parameters(m)->count;
    r.gradient = malloc((size_t)r.count * sizeof *r.gradient);
    memcpy(r.gradient, model_parameters(m)->gradient, (size_t)r.count * sizeof *r.gradient);
    batch_release(&b);
    model_close(m);
    weights_close(&w);
    return r;
}

/* True if fp8 changes the losses and gradients. *error gets the error that was measured. */
static bool is_changed(uint32_t trained, struct fp8_error *error, bool *has_error)
{
    struct result in_fp8 = compute(true, trained), plain = compute(false, trained);
    size_t bytes = (size_t)plain.count * sizeof *plain.gradient;
    bool losses = memcmp(in_fp8.nll, plain.nll, sizeof plain.nll) != 0;
    bool gradients = memcmp(in_fp8.gradient, plain.gradient, bytes) != 0;
    assert_int_equal(losses, gradients);
    assert_false(plain.has_error);
    *error = in_fp8.error;
    *has_error = in_fp8.has_error;
    free(in_fp8.gradient);
    free(plain.gradient);
    return losses;
}

static const uint32_t all_but_qkv =
    1u << PART_O | 1u << PART_GATE | 1u << PART_UP | 1u << PART_DOWN;

static void test_frozen_groups_are_in_fp8(void **state)
{
    (void)state;
    struct fp8_error e;
    bool has;
    assert_true(is_changed(0, &e, &has));
    assert_true(has && e.mean > 0.01 && e.largest < 0.08);
    assert_true(is_changed(all_but_qkv, &e, &has));
    assert_true(has && e.mean > 0.01);
    assert_string_equal(e.group, "q, k, v");
}

static void test_groups_with_a_trained_weight_are_not(void **state)
{
    (void)state;
    struct fp8_error e;
    bool has;
    assert_false(is_changed(all_but_qkv | 1u << PART_K, &e, &has));
    assert_false(has);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frozen_groups_are_in_fp8),
        cmocka_unit_test(test_groups_with_a_trained_weight_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
