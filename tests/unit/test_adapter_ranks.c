/* Computes gradients of an adapter whose rank differs from layer to layer. They equal the gradients
 * of the same adapter with A and B padded with zeros to one rank. */
#include "lib/common/output.h"
#include "model/batch.h"
#include "model/loaded.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/synthetic_model.h"

#include <math.h>

enum { TOKENS = 12, WIDEST = 8 };

static struct fail why;

static int64_t index_of(const struct loaded *l, const struct tensor *t)
{
    int64_t i = 0;
    while (strcmp(l->weights.table[i].name, t->name) != 0)
        i++;
    return i;
}

/* Computes the loss of synthetic tokens and returns all gradients, with the adapter of *l. `kept`
 * is how many layers store their activations. If is_padded, every rank but 0 becomes WIDEST, and
 * the missing elements of A and B are zeros. */
static float *gradients_of(const struct loaded *l, bool is_padded, int64_t kept, struct model **m,
                           double *loss)
{
    struct adapted *each = calloc((size_t)l->fit.count, sizeof *each);
    struct batch b;
    uint32_t ids[TOKENS];
    float nll[TOKENS];
    for (int64_t i = 0; i < l->fit.count; i++) {
        each[i] = l->fit.each[i];
        if (is_padded && each[i].rank) each[i].rank = WIDEST;
    }
    struct model_setup setup = { .method = METHOD_LORA,
                                 .is_training = true,
                                 .positions = TOKENS,
                                 .rows = TOKENS,
                                 .chunk = 5,
                                 .stored_layers = kept,
                                 .each = each,
                                 .rank = WIDEST,
                                 .device = "cpu",
                                 .threads = 1 };
    if (model_open(m, &setup, &l->config, &l->weights, 0, &why)) fail_msg("%s", why.text);
    const struct parameters *p = model_parameters(*m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        int64_t rank = l->fit.each[index_of(l, t->tensor)].rank;
        bool is_a = t->kind == TRAINED_LORA_A;
        int64_t rows = is_a ? rank : t->rows, cols = is_a ? t->cols : rank;
        float *values = adapter_values(&l->adapter, t->tensor, (int)t->kind, rows, cols, &why);
        assert_non_null(values);
        memset(p->value + t->offset, 0, (size_t)(t->rows * t->cols) * sizeof(float));
        for (int64_t j = 0; j < rows * cols; j++)
            p->value[t->offset + j / cols * t->cols + j % cols] = values[j];
        free(values);
    }
    assert_int_equal(batch_init(&b, TOKENS, &why), 0);
    for (int t = 0; t < TOKENS; t++)
        ids[t] = synthetic_token(t, l->config.vocab);
    batch_add_window(&b, ids, TOKENS);
    model_forward(*m, &b, (struct dropout){ 0 });
    assert_int_equal(model_loss(*m, nll, 1.0f / (TOKENS - 1), &why), 0);
    model_backward(*m);
    *loss = 0;
    for (int t = 0; t + 1 < TOKENS; t++)
        *loss += (double)nll[t];
    batch_release(&b);
    free(each);
    return p->gradient;
}

static void compare_gradients(const struct loaded *l, int64_t kept)
{
    struct model *own, *padded;
    double loss, exact_loss;
    const float *g = gradients_of(l, false, kept, &own, &loss);
    const float *wide = gradients_of(l, true, STORES_ALL, &padded, &exact_loss);
    assert_true(fabs(loss - exact_loss) < 1e-6 * exact_loss);
    const struct parameters *p = model_parameters(own), *q = model_parameters(padded);
    assert_int_equal(p->at_count, q->at_count);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i], *u = &q->at[i];
        size_t count = (size_t)(t->rows * t->cols);
        double *exact = check_doubles(g + t->offset, count);
        for (size_t j = 0; j < count; j++)
            exact[j] =
                (double)wide[u->offset + (int64_t)j / t->cols * u->cols + (int64_t)j % t->cols];
        check_close(t->tensor->name, g + t->offset, exact, count, 1e-5);
        check_free_all();
    }
    model_close(own);
    model_close(padded);
}

static void test_gradients_by_layer(void **state)
{
    (void)state;
    struct loaded l;
    char base[200];
    int64_t ranks = 0;
    json_t *cases = json_read_file("tests/golden/adapters/cases.json", &why);
    char *config = json_dumps(json_object_get(json_array_get(cases, 0), "config"), 0);
    json_decref(cases);
    snprintf(base, sizeof base, "%s/base", scratch_directory);
    assert_int_equal(output_directory(base, &why), 0);
    synthetic_model(base, config, "f32");
    struct loaded_options o = { .model = base, .adapter = "tests/golden/adapters/ranks" };
    if (loaded_open(&l, &o, &why)) fail_msg("%s", why.text);
    for (int64_t i = 0; i < l.fit.count; i++)
        ranks |= 1 << l.fit.each[i].rank;
    assert_int_equal(ranks, 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6);
    compare_gradients(&l, STORES_ALL);
    compare_gradients(&l, 0);
    loaded_close(&l);
    assert_int_equal(scratch_remove(base), 0);
    free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_by_layer),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
