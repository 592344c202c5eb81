/* LoRA on the embedding and on the head is trained as PEFT trains it (tests/golden/peft_tables.py).
 */
#include "lib/common/output.h"
#include "lib/tensorfile/safetensors.h"
#include "model/adapter_load.h"
#include "model/adapter_save.h"
#include "model/batch.h"
#include "model/optimiser.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/synthetic_model.h"

#include <math.h>

enum { TOKENS = 24, STEPS = 3 };

/* The seed of the dropout masks and the number of the first row are those of peft_tables.py. */
static const uint64_t mask_key = 0x123456789ABCDEF;
enum { FIRST_ROW = 7 };

static struct fail why;
static struct tensor_file results;
static json_t *cases;

static int open_all(void **state)
{
    cases = json_read_file("tests/golden/peft-tables/cases.json", &why);
    if (!cases || safetensors_open(&results, "tests/golden/peft-tables/results.safetensors", &why))
        return -1;
    return scratch_open(state);
}

static int close_all(void **state)
{
    json_decref(cases);
    tensor_file_close(&results);
    return scratch_close(state);
}

/* A base with an adapter, and the model that trains the adapter. */
struct trained_base {
    struct weights weights;
    struct config config;
    struct adapter adapter;
    struct fit fit;
    struct model *model;
    struct batch batch;
};

static void path_to(char path[200], const char *name)
{
    snprintf(path, 200, "%s/%s", scratch_directory, name);
}

/* Opens the adapter in `directory` on the case's base. */
static void open_trained(struct trained_base *t, const char *directory, const char *config,
                         struct model_setup setup)
{
    char base[200];
    uint32_t ids[TOKENS];
    path_to(base, "base");
    assert_int_equal(output_directory(base, &why), 0);
    synthetic_model(base, config, "f32");
    if (weights_open(&t->weights, base, false, &why) ||
        config_copy(&t->config, &t->weights.config, &why) ||
        adapter_open(&t->adapter, directory, &why) ||
        adapter_fit(&t->adapter, &t->config, &t->fit, &why) ||
        fit_check_applied(&t->fit, directory, &why) ||
        adapter_check_copies(&t->adapter, &t->fit, &t->weights, ADAPTER_COPY_ADVICE, &why) ||
        (t->fit.unties && weights_untie(&t->weights, &why)))
        fail_msg("%s", why.text);
    assert_null(t->fit.not_trainable);
    setup.method = METHOD_LORA;
    setup.is_training = true;
    setup.positions = setup.rows = TOKENS;
    setup.batches = 2;
    fit_set_up(&t->fit, &t->adapter, &setup);
    if (model_open(&t->model, &setup, &t->config, &t->weights, 0, &why) ||
        adapter_load(&t->adapter, &t->fit, t->model, &why) || batch_init(&t->batch, TOKENS, &why))
        fail_msg("%s", why.text);
    for (int i = 0; i < TOKENS; i++)
        ids[i] = synthetic_token(i, t->config.vocab);
    batch_add_window(&t->batch, ids, TOKENS);
}

static void close_trained(struct trained_base *t)
{
    char base[200];
    batch_release(&t->batch);
    model_close(t->model);
    fit_release(&t->fit);
    adapter_close(&t->adapter);
    config_release(&t->config);
    weights_close(&t->weights);
    path_to(base, "base");
    assert_int_equal(scratch_remove(base), 0);
}

static const struct stored_tensor *result(const char *name, const char *what, const char *of)
{
    char key[260];
    snprintf(key, sizeof key, "%s/%s%s%s", name, what, *of ? "/" : "", of);
    const struct stored_tensor *s = tensor_file_find(&results, key);
    if (!s) print_error("no %s\n", key);
    assert_non_null(s);
    return s;
}

/* Compares trained matrices, or their gradients, with PEFT's. */
static void compare(const struct trained_base *t, const float *from, const char *name,
                    const char *what, double bound)
{
    const struct parameters *p = model_parameters(t->model);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *at = &p->at[i];
        int kind = adapter_stored_kind(at->tensor, at->kind);
        size_t count = (size_t)(at->rows * at->cols);
        char key[160];
        adapter_tensor_name(at->tensor, kind, key, sizeof key);
        const struct stored_tensor *s = result(name, what, key);
        assert_int_equal(s->bytes, count * sizeof(float));
        const float *theirs = s->data;
        float *turned = NULL;
        if (kind == STORED_EMBEDDING_A)
            theirs = turned = adapter_transposed(theirs, at->cols, at->rows, &why);
        check_close(key, from + at->offset, check_doubles(theirs, count), count, bound);
        free(turned);
        check_free_all();
    }
}

/* Adds the same batch once more. Its gradients are computed from zero, so each becomes exactly
 * twice what it was. */
static void add_again(const struct trained_base *t, struct dropout drop)
{
    float nll[TOKENS];
    const struct parameters *p = model_parameters(t->model);
    size_t bytes = (size_t)p->count * sizeof(float);
    float *once = malloc(bytes);
    memcpy(once, p->gradient, bytes);
    model_forward(t->model, &t->batch, drop);
    assert_int_equal(model_loss(t->model, nll, 1.0f / (TOKENS - 1), &why), 0);
    model_backward(t->model);
    for (int64_t i = 0; i < p->count; i++)
        assert_true(p->gradient[i] == 2 * once[i]);
    free(once);
}

/* Trains STEPS steps and compares logits, gradients, losses and the trained matrices. */
static void train_case(json_t *item, struct model_setup setup)
{
    struct trained_base t = { 0 };
    float nll[TOKENS], *logits;
    char directory[200];
    const char *name = json_string_value(json_object_get(item, "name"));
    char *config = json_dumps(json_object_get(item, "config"), 0);
    double p = json_number_value(json_object_get(item, "dropout"));
    struct dropout drop = { mask_key, (float)p, FIRST_ROW };
    struct optimiser o = { .schedule = SCHEDULE_CONSTANT,
                           .learning_rate = 0.01,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .eps = 1e-8,
                           .decay = 0.1,
                           .max_norm = 1,
                           .steps = STEPS };
    snprintf(directory, sizeof directory, "tests/golden/peft-tables/%s", name);
    open_trained(&t, directory, config, setup);
    const float *losses = result(name, "losses", "")->data;
    for (int step = 0; step < STEPS; step++) {
        double mean = 0, norm;
        model_forward(t.model, &t.batch, drop);
        if (!step && p <= 0) {
            const struct stored_tensor *s = result(name, "logits", "");
            size_t count = s->bytes / sizeof(float);
            logits = malloc(s->bytes);
            assert_int_equal(model_logits(t.model, TOKENS, logits, &why), 0);
            check_close(name, logits, check_doubles(s->data, count), count, 2e-5);
            check_free_all();
            free(logits);
        }
        assert_int_equal(model_loss(t.model, nll, 1.0f / (TOKENS - 1), &why), 0);
        model_backward(t.model);
        for (int i = 0; i < TOKENS; i++)
            mean += (double)nll[i] / (TOKENS - 1);
        if (!(fabs(mean - (double)losses[step]) < 1e-5 * mean))
            print_error("%s: loss %g of step %d, PEFT has %g\n", name, mean, step,
                        (double)losses[step]);
        assert_true(fabs(mean - (double)losses[step]) < 1e-5 * mean);
        if (!step) compare(&t, model_parameters(t.model)->gradient, name, "gradient", 1e-5);
        if (!step) add_again(&t, drop);
        assert_int_equal(optimiser_step(&o, t.model, step, step ? 1 : 2, &norm, &why), 0);
    }
    compare(&t, model_parameters(t.model)->value, name, "after", 2e-5);
    close_trained(&t);
    free(config);
}

static void test_training_as_peft(void **state)
{
    (void)state;
    size_t i;
    json_t *item;
    json_array_foreach(cases, i, item)
    {
        struct model_setup all = {
            .device = check_device(), .threads = 2, .chunk = TOKENS, .stored_layers = STORES_ALL
        };
        struct model_setup chunks = { .device = check_device(), .threads = 1, .chunk = 5 };
        train_case(item, all);
        train_case(item, chunks);
    }
    assert_int_equal(json_array_size(cases), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training_as_peft),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
