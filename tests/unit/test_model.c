/* Compares the model's logits and gradients with golden ones of PyTorch: MHA and GQA, full
 * attention and S2-Attn, with and without adapters, chunks of several sizes, and with the
 * activations of all layers, of some or of none stored. */
#include "model/batch.h"
#include "model/optimiser.h"
#include "tests/lib/check.h"

#include <math.h>
#include <unistd.h>

enum { ROWS = 41, FIRST = 24, SECOND = 17, RANK = 4 };
static const double alpha = 6;
static const double bound = 1e-5; /* relative to the tensor's largest value */

static struct fail why;

static void golden_path(char *path, size_t size, const char *kind, const char *file)
{
    snprintf(path, size, "tests/golden/llama-%s%s%s", kind, *file ? "/" : "", file);
}

static const struct stored_tensor *golden(const struct tensor_file *cases, const char *format, ...)
{
    char name[200];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const struct stored_tensor *t = tensor_file_find(cases, name);
    if (!t) print_error("no golden tensor %s\n", name);
    assert_non_null(t);
    return t;
}

static void compare(const char *what, const float *got, const struct stored_tensor *t)
{
    size_t n = t->bytes / 4;
    check_close(what, got, check_doubles(t->data, n), n, bound);
}

static void build_batch(struct batch *b, const struct tensor_file *cases, bool s2)
{
    const float *ids = golden(cases, "ids")->data;
    uint32_t tokens[ROWS], length;
    struct attention_plan plan = { .group = s2 ? 8 : 0 };
    for (int i = 0; i < ROWS; i++)
        tokens[i] = (uint32_t)ids[i];
    assert_int_equal(batch_init(b, ROWS, &why), 0);
    for (int at = 0; at < ROWS; at += FIRST) {
        length = at ? SECOND : FIRST;
        struct sample s = {
            .ids = tokens + at, .count = length, .documents = &length, .document_count = 1
        };
        assert_int_equal(batch_add(b, &s, &plan), length - 1);
    }
}

static void fill_adapters(struct model *m, const struct tensor_file *cases)
{
    const struct parameters *p = model_parameters(m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        const struct stored_tensor *s =
            golden(cases, "lora_%c.%s", t->kind == TRAINED_LORA_A ? 'A' : 'B', t->tensor->name);
        model_kernels(m)->upload(model_device(m), p->value + t->offset, s->data, s->bytes);
    }
}

static void one_case(const char *kind, bool s2, bool lora, int64_t kept, int64_t chunk)
{
    char path[256], prefix[32];
    struct weights w;
    struct tensor_file cases;
    struct model *m;
    struct batch b;
    golden_path(path, sizeof path, kind, "");
    assert_int_equal(weights_open(&w, path, false, &why), 0);
    golden_path(path, sizeof path, kind, "cases.safetensors");
    assert_int_equal(safetensors_open(&cases, path, &why), 0);
    snprintf(prefix, sizeof prefix, "%s.%s.", s2 ? "s2" : "full", lora ? "lora" : "plain");
    struct model_setup setup = { .method = lora ? METHOD_LORA : METHOD_FULL,
                                 .is_training = true,
                                 .rank = lora ? RANK : 0,
                                 .alpha = alpha,
                                 .targets = parts_of_role(ROLE_LINEAR),
                                 .stored_layers = kept,
                                 .positions = 32,
                                 .rows = ROWS,
                                 .chunk = chunk,
                                 .device = check_device(),
                                 .threads = 2 };
    assert_int_equal(model_open(&m, &setup, NULL, &w, 1, &why), 0);
    if (lora) fill_adapters(m, &cases);
    build_batch(&b, &cases, s2);
    float *logits = check_buffer(ROWS * 40), *nll = check_buffer(ROWS), loss = 0;
    float scale = 1.0f / (FIRST + SECOND - 2);
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_logits(m, ROWS, logits, &why), 0);
    compare("logits", logits, golden(&cases, "%slogits", prefix));
    assert_int_equal(model_loss(m, nll, scale, &why), 0);
    model_backward(m);
    for (int i = 0; i < ROWS; i++)
        loss += nll[i] * scale;
    compare("loss", &loss, golden(&cases, "%sloss", prefix));
    const struct parameters *p = model_parameters(m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        static const char *const kinds[] = { "", "lora_A.", "lora_B." };
        compare(t->tensor->name, p->gradient + t->offset,
                golden(&cases, "%sgrad.%s%s", prefix, kinds[t->kind], t->tensor->name));
    }
    batch_release(&b);
    model_close(m);
    tensor_file_close(&cases);
    weights_close(&w);
    check_free_all();
}

/* The emulation is slow, so it runs only some combinations, such that each pair of values of the
 * four choices occurs. A CPU runs all combinations. */
static void test_against_pytorch(void **state)
{
    static const int64_t chunks[] = { 41, 7, 16 };
    const struct kernels *k;
    (void)state;
    assert_int_equal(kernels_open(&k, check_device(), &why), 0);
    for (int lora = 0; lora < 2; lora++)
        for (int s2 = 0; s2 < 2; s2++)
            for (int kept = 0; kept <= 2; kept++)
                for (int i = 0; i < 3; i++) {
                    if (!k->is_host && i != (lora + s2 + kept) % 3) continue;
                    one_case("mha", s2, lora, kept, chunks[i]);
                    one_case("gqa", s2, lora, kept, chunks[i]);
                }
}

/* Nine query heads share three heads of keys. S2 shifts five of the nine. */
static void test_odd_heads_against_pytorch(void **state)
{
    (void)state;
    for (int lora = 0; lora < 2; lora++) {
        one_case("odd", true, lora, 0, 16);
        one_case("odd", true, lora, 1, 41);
    }
}

/* ---- laws ---- */

struct opened {
    struct weights w;
    struct model *m;
    struct batch b;
};

static int stop_tiny;

/* `kept` is how many layers store their activations. With ON_HOST none does, and the layers' inputs
 * are stored on the host. */
#define ON_HOST (-1)
static void open_tiny(struct opened *o, int64_t kept, double dropout, int threads, int64_t chunk)
{
    struct tensor_file cases;
    assert_int_equal(weights_open(&o->w, "tests/golden/llama-gqa", true, &why), 0);
    assert_int_equal(safetensors_open(&cases, "tests/golden/llama-gqa/cases.safetensors", &why), 0);
    struct model_setup setup = { .method = METHOD_LORA,
                                 .is_training = true,
                                 .rank = RANK,
                                 .alpha = alpha,
                                 .targets = parts_of_role(ROLE_LINEAR),
                                 .dropout = dropout,
                                 .modules_to_save =
                                     parts_of_role(ROLE_EMBEDDING) | parts_of_role(ROLE_NORM),
                                 .stored_layers = kept == ON_HOST ? 0 : kept,
                                 .inputs_on_host = kept == ON_HOST,
                                 .positions = 32,
                                 .rows = ROWS,
                                 .chunk = chunk,
                                 .stop = &stop_tiny,
                                 .device = check_device(),
                                 .threads = threads };
    assert_int_equal(model_open(&o->m, &setup, NULL, &o->w, 5, &why), 0);
    const struct parameters *p = model_parameters(o->m);
    for (int64_t i = 0; i < p->at_count; i++)
        if (p->at[i].kind == TRAINED_LORA_B)
            for (int64_t j = 0; j < p->at[i].rows * p->at[i].cols; j++)
                p->value[p->at[i].offset + j] = (float)((j * 7 + i) % 5) * 0.02f;
    build_batch(&o->b, &cases, true);
    tensor_file_close(&cases);
}

static void close_tiny(struct opened *o)
{
    batch_release(&o->b);
    model_close(o->m);
    weights_close(&o->w);
}

static void run_tiny(struct opened *o, float *nll)
{
    struct dropout drop = { .key = 3, .p = (float)model_setup_of(o->m)->dropout, .first_row = 100 };
    model_forward(o->m, &o->b, drop);
    assert_int_equal(model_loss(o->m, nll, 0.01f, &why), 0);
    model_backward(o->m);
}

/* The numbers of threads and of stored layers change no bit. A layer that is not stored computes
 * its dropout masks and u (LoRA's x·Aᵀ) again, and gets the same bits. */
static void test_same_bits(void **state)
{
    (void)state;
    static const int64_t kept[] = { 0, 1, ON_HOST };
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        struct opened a, b;
        float nll[2][ROWS];
        open_tiny(&a, STORES_ALL, 0.3, 1, 16);
        open_tiny(&b, kept[i], 0.3, 2, 16);
        run_tiny(&a, nll[0]);
        run_tiny(&b, nll[1]);
        assert_memory_equal(nll[0], nll[1], sizeof nll[0]);
        assert_memory_equal(model_parameters(a.m)->gradient, model_parameters(b.m)->gradient,
                            (size_t)model_parameters(a.m)->count * 4);
        close_tiny(&a);
        close_tiny(&b);
    }
}

/* ---- where data is stored ---- */

static const char seven[] =
    "{\"model_type\":\"llama\",\"vocab_size\":40,\"hidden_size\":16,\"intermediate_size\":24,"
    "\"num_hidden_layers\":7,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
    "\"rms_norm_eps\":1e-5,\"rope_theta\":10000,\"initializer_range\":0.1,"
    "\"max_position_embeddings\":32,\"tie_word_embeddings\":false}";

static void fill_batch(struct batch *b, int rows)
{
    b->rows = rows;
    for (int t = 0; t < rows; t++) {
        b->id[t] = (7 * t * t + rows) % 40;
        b->target[t] = (7 * (t + 1) * (t + 1) + rows) % 40;
        b->position[t] = t;
        b->low_starts[t] = t / 8 * 8;
        b->high_starts[t] = 0;
    }
}

/* Trains three updates on batches of several lengths, with an evaluation between two of them.
 * Returns the parameters. The emulation is slow, so there two updates are trained. */
static float *train_seven(struct model_setup setup, int64_t *count, struct memory_plan *plan)
{
    struct config c;
    struct batch b;
    struct model *m;
    float nll[32];
    double norm;
    static const struct optimiser o = {
        .learning_rate = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .max_norm = 1
    };
    setup.method = METHOD_FULL;
    setup.is_training = setup.names_ranges = true;
    setup.positions = setup.rows = 32;
    setup.chunk = 12;
    setup.device = check_device();
    setup.threads = 2;
    assert_int_equal(config_parse(&c, seven, "seven", &why), 0);
    assert_int_equal(model_open(&m, &setup, &c, NULL, 5, &why), 0);
    assert_int_equal(model_plan(plan, &setup, &c, NULL, &why), 0);
    assert_int_equal(batch_init(&b, 32, &why), 0);
    int steps = model_kernels(m)->is_host ? 3 : 2;
    for (int step = 0; step < steps; step++) {
        fill_batch(&b, 32 - 9 * step);
        model_forward(m, &b, (struct dropout){ 0 });
        assert_int_equal(model_loss(m, nll, 0.05f, &why), 0);
        model_backward(m);
        assert_int_equal(optimiser_step(&o, m, step, 1, &norm, &why), 0);
        fill_batch(&b, 32);
        model_forward(m, &b, (struct dropout){ 0 });
        assert_int_equal(model_loss(m, nll, 0, &why), 0);
    }
    *count = model_parameters(m)->count;
    float *value = malloc((size_t)*count * sizeof *value);
    model_kernels(m)->download(model_device(m), value, model_parameters(m)->value,
                               (size_t)*count * sizeof *value);
    batch_release(&b);
    model_close(m);
    config_release(&c);
    return value;
}

/* The bits are the same whether layers are stored or recomputed, and whether the layers' inputs and
 * AdamW's moments are on the device or on the host. The plan says where they are. */
static void test_memory_changes_no_bit(void **state)
{
    (void)state;
    static const struct model_setup setups[] = {
        { .stored_layers = 0 },
        { .stored_layers = 3 },
        { .stored_attention = 3 },
        { .stored_layers = 2, .stored_attention = 99 },
        { .inputs_on_host = true },
        { .outputs_on_host = true },
        { .stored_layers = 2, .inputs_on_host = true, .outputs_on_host = true },
        { .stored_layers = 6, .outputs_on_host = true },
        { .moments_on_host = true },
        { .stored_layers = 2, .inputs_on_host = true, .moments_on_host = true }
    };
    struct memory_plan all, plan;
    int64_t count, same;
    float *exact = train_seven((struct model_setup){ .stored_layers = STORES_ALL }, &count, &all);
    assert_int_equal(memory_host_total(&all), 0);
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
        float *value = train_seven(setups[i], &same, &plan);
        assert_int_equal(same, count);
        assert_memory_equal(value, exact, (size_t)count * sizeof *value);
        free(value);
        assert_true(plan.bytes[MEMORY_ACTIVATIONS] < all.bytes[MEMORY_ACTIVATIONS]);
        /* The eight inputs share three places on the device. The last three inputs need no place on
         * the host. */
        bool inputs = setups[i].inputs_on_host, moments = setups[i].moments_on_host;
        size_t each = all.bytes[MEMORY_CHECKPOINTS] / 8;
        assert_int_equal(plan.bytes[MEMORY_CHECKPOINTS], each * (inputs ? 3 : 8));
        assert_int_equal(plan.host[MEMORY_CHECKPOINTS], inputs ? each * 5 : 0);
        assert_int_equal(plan.bytes[MEMORY_MOMENTS], moments ? 0 : all.bytes[MEMORY_MOMENTS]);
        assert_int_equal(plan.host[MEMORY_MOMENTS], moments ? all.bytes[MEMORY_MOMENTS] : 0);
    }
    free(exact);
}

static double loss_of(struct opened *o)
{
    float nll[ROWS];
    double sum = 0;
    struct dropout drop = { .key = 3, .p = (float)model_setup_of(o->m)->dropout, .first_row = 100 };
    model_forward(o->m, &o->b, drop);
    assert_int_equal(model_loss(o->m, nll, 0, &why), 0);
    for (int i = 0; i < ROWS; i++)
        sum += (double)nll[i];
    return sum * 0.01;
}

/* In a model with dropout and with trained embeddings and norms, the slope of the loss in the
 * gradient's direction is the norm of the gradient. */
static void test_gradient_with_dropout_is_the_slope(void **state)
{
    (void)state;
    struct opened o;
    float nll[ROWS];
    open_tiny(&o, 0, 0.25, 2, 16);
    run_tiny(&o, nll);
    const struct parameters *p = model_parameters(o.m);
    for (int64_t i = 0; i < p->at_count; i++) {
        const struct trainable *t = &p->at[i];
        int64_t n = t->rows * t->cols;
        float *value = p->value + t->offset, *g = p->gradient + t->offset;
        double norm = 0, slope;
        float *kept = malloc((size_t)n * sizeof *kept);
        memcpy(kept, value, (size_t)n * sizeof *kept);
        for (int64_t j = 0; j < n; j++)
            norm += (double)g[j] * (double)g[j];
        norm = sqrt(norm);
        assert_true(norm > 0);
        double step = 2e-3, loss[2];
        for (int side = 0; side < 2; side++) {
            for (int64_t j = 0; j < n; j++)
                value[j] = kept[j] + (float)((side ? step : -step) * (double)g[j] / norm);
            loss[side] = loss_of(&o);
        }
        memcpy(value, kept, (size_t)n * sizeof *kept);
        free(kept);
        slope = (loss[1] - loss[0]) / (2 * step);
        if (!(fabs(slope - norm) <= 0.01 * norm + 1e-4))
            print_error("%s: slope %g, gradient %g\n", t->tensor->name, slope, norm);
        assert_true(fabs(slope - norm) <= 0.01 * norm + 1e-4);
    }
    close_tiny(&o);
}

static void test_plan_equals_allocated_memory(void **state)
{
    (void)state;
    struct opened o;
    struct memory_plan plan;
    open_tiny(&o, STORES_ALL, 0, 1, 16);
    assert_int_equal(model_plan(&plan, model_setup_of(o.m), NULL, &o.w, &why), 0);
    assert_true(plan.bytes[MEMORY_MOMENTS] == 2 * plan.bytes[MEMORY_GRADIENTS]);
    assert_true(plan.bytes[MEMORY_PARAMETERS] >= (size_t)model_parameters(o.m)->count * 4);
    assert_true(plan.bytes[MEMORY_WEIGHTS] > 0 && memory_total(&plan) > 0);
    close_tiny(&o);
}

static void test_tensor_with_nan_is_named(void **state)
{
    (void)state;
    struct opened o;
    open_tiny(&o, STORES_ALL, 0, 1, 16);
    assert_int_equal(model_find_nonfinite(o.m, &o.b, (struct dropout){ 0 }, &why), 0);
    model_parameters(o.m)->value[model_parameters(o.m)->at[0].offset] = NAN;
    for (int i = 0; i < ROWS; i++)
        o.b.id[i] = 0;
    assert_int_equal(model_find_nonfinite(o.m, &o.b, (struct dropout){ 0 }, &why), -1);
    assert_ptr_equal(strstr(why.text, "embedding: row 0, column 0 is "), why.text);
    close_tiny(&o);
}

/* After a stop, no layer is computed, neither forward nor backward. */
static void test_passes_end_after_a_stop(void **state)
{
    (void)state;
    struct opened o;
    struct dropout none = { 0 };
    float *before = check_buffer(ROWS * 40), *after = check_buffer(ROWS * 40), nll[ROWS];
    open_tiny(&o, STORES_ALL, 0, 1, 16);
    model_forward(o.m, &o.b, none);
    assert_int_equal(model_logits(o.m, ROWS, before, &why), 0);
    assert_int_equal(model_loss(o.m, nll, 0.01f, &why), 0);
    stop_tiny = 1;
    model_backward(o.m);
    const struct parameters *p = model_parameters(o.m);
    for (int64_t i = 0; i < p->at_count; i++)
        for (int64_t j = 0; p->at[i].kind != TRAINED_WEIGHT && j < p->at[i].rows * p->at[i].cols;
             j++)
            assert_true(p->gradient[p->at[i].offset + j] == 0);
    for (int i = 0; i < ROWS; i++)
        o.b.id[i] = 3;
    model_forward(o.m, &o.b, none);
    assert_int_equal(model_logits(o.m, ROWS, after, &why), 0);
    assert_memory_equal(before, after, ROWS * 40 * sizeof *after);
    stop_tiny = 0;
    model_forward(o.m, &o.b, none);
    assert_int_equal(model_logits(o.m, ROWS, after, &why), 0);
    assert_memory_not_equal(before, after, ROWS * 40 * sizeof *after);
    close_tiny(&o);
    check_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_against_pytorch, NULL),
        cmocka_unit_test_teardown(test_odd_heads_against_pytorch, NULL),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_memory_changes_no_bit),
        cmocka_unit_test(test_gradient_with_dropout_is_the_slope),
        cmocka_unit_test(test_plan_equals_allocated_memory),
        cmocka_unit_test(test_tensor_with_nan_is_named),
        cmocka_unit_test(test_passes_end_after_a_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
