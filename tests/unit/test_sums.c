/* The order of sums: the gradients of an update are those of its batches, each computed from zero,
 * added in the order of the batches; the squares of the norm are summed piece by piece. */
#include "model/batch.h"
#include "model/optimiser.h"
#include "tests/lib/check.h"

#include <math.h>

enum { ROWS = 24, BATCHES = 3, WORDS = 300 };

static struct fail why;

/* The embedding and the layers have more than one piece of squares each. */
#define CONFIG(tied, more)                                                                         \
    "{\"vocab_size\":300,\"hidden_size\":24,\"intermediate_size\":40,\"num_hidden_layers\":3,"     \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,"                   \
    "\"rope_theta\":10000,\"initializer_range\":0.1,\"max_position_embeddings\":32,"               \
    "\"tie_word_embeddings\":" tied ",\"model_type\":" more "}"
static const char *const configs[] = {
    CONFIG("false", "\"llama\""),
    CONFIG("true", "\"qwen2\""), /* with biases */
    CONFIG("true", "\"gemma3_text\",\"head_dim\":8,\"query_pre_attn_scalar\":8,"
                   "\"sliding_window\":8,\"sliding_window_pattern\":2"),
};

static struct model *open_blocks(const char *text, int64_t batches, int64_t block)
{
    struct config c;
    struct model *m;
    struct model_setup setup = { .method = METHOD_FULL,
                                 .is_training = true,
                                 .batches = batches,
                                 .block = block,
                                 .positions = 32,
                                 .rows = ROWS,
                                 .chunk = 16,
                                 .device = check_device(),
                                 .threads = 2 };
    assert_int_equal(config_parse(&c, text, "config", &why), 0);
    if (model_open(&m, &setup, &c, NULL, 5, &why)) fail_msg("%s", why.text);
    config_release(&c);
    return m;
}

static struct model *open_model(const char *text, int64_t batches)
{
    return open_blocks(text, batches, 0);
}

/* Adds the gradients of a batch. Each number has another length and other tokens. */
static void add_batch(struct model *m, int number)
{
    struct batch b;
    float nll[ROWS];
    assert_int_equal(batch_init(&b, ROWS, &why), 0);
    b.rows = ROWS - 5 * number;
    for (int t = 0; t < b.rows; t++) {
        b.id[t] = (7 * t * t + 31 * number) % WORDS;
        b.target[t] = (7 * (t + 1) * (t + 1) + 31 * number) % WORDS;
        b.position[t] = t;
        b.low_starts[t] = b.high_starts[t] = 0;
    }
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_loss(m, nll, 0.05f, &why), 0);
    model_backward(m);
    batch_release(&b);
}

static float *gradient_of(const struct model *m)
{
    const struct parameters *p = model_parameters(m);
    float *g = malloc((size_t)p->count * sizeof *g);
    assert_non_null(g);
    model_kernels(m)->download(model_device(m), g, p->gradient, (size_t)p->count * sizeof *g);
    return g;
}

static void begin_update(struct model *m)
{
    const struct parameters *p = model_parameters(m);
    model_kernels(m)->zero(model_device(m), p->gradient, (size_t)p->count * sizeof(float));
    model_end_update(m);
}

static void test_batches_are_folded(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct model *alone = open_model(configs[i], 1), *all = open_model(configs[i], BATCHES);
        int64_t count = model_parameters(all)->count;
        float *sum = calloc((size_t)count, sizeof *sum);
        for (int b = 0; b < BATCHES; b++) {
            begin_update(alone);
            add_batch(alone, b);
            add_batch(all, b);
            float *g = gradient_of(alone), *have = gradient_of(all);
            for (int64_t j = 0; j < count; j++)
                sum[j] = b ? sum[j] + g[j] : g[j];
            assert_memory_equal(have, sum, (size_t)count * sizeof *sum);
            free(have);
            free(g);
        }
        /* The next update begins from zero again. */
        begin_update(all);
        add_batch(all, 1);
        begin_update(alone);
        add_batch(alone, 1);
        float *g = gradient_of(alone), *have = gradient_of(all);
        assert_memory_equal(have, g, (size_t)count * sizeof *g);
        free(have);
        free(g);
        free(sum);
        model_close(alone);
        model_close(all);
    }
}

/* Computes the gradient of one batch into g [count], with a model whose updates have one batch. */
static void compute_alone(struct model *alone, int number, float *g)
{
    const struct parameters *p = model_parameters(alone);
    begin_update(alone);
    add_batch(alone, number);
    model_kernels(alone)->download(model_device(alone), g, p->gradient,
                                   (size_t)p->count * sizeof *g);
}

/* The sum of an update is the sum over its blocks, and the sum of a block is the sum over its
 * batches. The last block may be shorter. A second update gives the same sum. */
static void check_blocks(const char *config, int64_t batches, int64_t block)
{
    struct model *alone = open_model(config, 1), *all = open_blocks(config, batches, block);
    int64_t count = model_parameters(all)->count;
    float *g = malloc((size_t)count * sizeof *g), *of_block = malloc((size_t)count * sizeof *g);
    float *sum = calloc((size_t)count, sizeof *sum);
    assert_true(g && of_block && sum);
    for (int b = 0; b < batches; b++) {
        compute_alone(alone, b, g);
        for (int64_t j = 0; j < count; j++)
            of_block[j] = b % block ? of_block[j] + g[j] : g[j];
        if ((b + 1) % block && b + 1 < batches) continue;
        for (int64_t j = 0; j < count; j++)
            sum[j] = b < block ? of_block[j] : sum[j] + of_block[j];
    }
    for (int update = 0; update < 2; update++) {
        begin_update(all);
        for (int b = 0; b < batches; b++)
            add_batch(all, b);
        float *have = gradient_of(all);
        assert_memory_equal(have, sum, (size_t)count * sizeof *sum);
        free(have);
    }
    free(g);
    free(of_block);
    free(sum);
    model_close(alone);
    model_close(all);
}

static void test_blocks_are_summed_first(void **state)
{
    (void)state;
    check_blocks(configs[0], 4, 2);
    check_blocks(configs[1], 4, 3);
    check_blocks(configs[2], 3, 2);
    check_blocks(configs[0], 3, 3);
}

/* Returns the bytes of a plan for one of `parts` ranks, for gradients of batches and blocks, and
 * writes what the ranks send. */
static size_t planned(int64_t batches, int64_t block, int64_t parts, uint64_t *sent)
{
    struct model *m = open_model(configs[0], 1);
    struct model_setup setup = *model_setup_of(m);
    struct memory_plan plan;
    setup.batches = batches;
    setup.block = block;
    setup.parts = parts;
    assert_int_equal(model_plan(&plan, &setup, model_config(m), NULL, &why), 0);
    model_close(m);
    *sent = plan.sent;
    return plan.bytes[MEMORY_BATCH_GRADIENTS];
}

/* Two ranks send half of each block's gradients, all values, and the squares. In each round they
 * send signals with every section. */
static void test_blocks_are_planned(void **state)
{
    (void)state;
    struct model *m = open_model(configs[0], 1);
    const struct parameters *p = model_parameters(m);
    uint64_t sent, halved, none;
    size_t with = planned(8, 2, 1, &none), without = planned(8, 1, 1, &none);
    assert_int_equal(none, 0);
    assert_int_equal(with - without, ((size_t)p->count * sizeof(float) + 255) / 256 * 256);
    assert_int_equal(planned(8, 8, 1, &none), without);
    planned(8, 1, 2, &sent);
    planned(8, 2, 2, &halved);
    uint64_t values = 0, squares = 11 * sizeof(double);
    uint64_t signals = 2 * (uint64_t)p->section_count * sizeof(int);
    for (int64_t i = 0; i < p->section_count; i++)
        values += (uint64_t)p->section[i].count * sizeof(float);
    assert_int_equal(sent, 4 * (values + signals) + values + squares);
    assert_int_equal(halved, 2 * (values + signals) + values + squares);
    model_close(m);
}

/* Adds the squares of the gradient, section by section and piece by piece. Sets *pieces to the
 * number of pieces. */
static double sum_of_sections(const struct model *m, int *pieces)
{
    const struct parameters *p = model_parameters(m);
    const struct kernels *k = model_kernels(m);
    double sum = 0;
    *pieces = 0;
    for (int64_t i = 0; i < p->section_count; i++) {
        const struct section *s = &p->section[i];
        for (int64_t first = 0; first < s->count; first += SQUARES_PIECE) {
            int64_t n = s->count - first < SQUARES_PIECE ? s->count - first : SQUARES_PIECE;
            void *squares;
            double one;
            assert_int_equal(k->alloc(model_device(m), &squares, sizeof one, &why), 0);
            k->square_pieces(model_device(m), squares, p->gradient + s->first + first, n);
            k->download(model_device(m), &one, squares, sizeof one);
            k->release(model_device(m), squares, sizeof one);
            sum += one;
            ++*pieces;
        }
    }
    return sum;
}

static void test_squares_are_summed_in_pieces(void **state)
{
    (void)state;
    struct model *m = open_model(configs[0], 1);
    const struct parameters *p = model_parameters(m);
    double sum, exact = 0;
    int pieces;
    add_batch(m, 0);
    assert_int_equal(model_sum_squares(m, &sum, &why), 0);
    assert_true(sum == sum_of_sections(m, &pieces));
    /* Embedding and head have two pieces each, three layers two each, the final norm has one. */
    assert_int_equal(pieces, 2 + 3 * 2 + 1 + 2);
    float *g = gradient_of(m);
    for (int64_t i = 0; i < p->count; i++)
        exact += (double)g[i] * (double)g[i];
    assert_true(fabs(sum - exact) <= 1e-12 * exact);
    free(g);
    model_close(m);
}

/* Each parameter is in one section. A section is a layer, or a tensor outside of the layers. */
static void test_sections_cover_the_parameters(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct model *m = open_model(configs[i], 1);
        const struct parameters *p = model_parameters(m);
        int64_t section = 0;
        for (int64_t j = 0; j < p->at_count; j++) {
            const struct trainable *t = &p->at[j];
            while (t->offset >= p->section[section].first + p->section[section].count)
                section++;
            const struct section *s = &p->section[section];
            assert_true(t->offset >= s->first && s->first % 64 == 0);
            assert_true(t->offset + t->rows * t->cols <= s->first + s->count);
            assert_int_equal(s->layer, t->tensor->layer);
        }
        assert_int_equal(section, p->section_count - 1);
        assert_true(p->section[section].first + p->section[section].count == p->count);
        model_close(m);
    }
}

static size_t rounded(int64_t floats) { return ((size_t)floats * sizeof(float) + 255) / 256 * 256; }

/* From two batches on, there is room for a batch's gradients: for the largest layer, and for each
 * tensor outside of the layers. */
static void test_one_batch_needs_no_scratch(void **state)
{
    (void)state;
    for (int64_t batches = 0; batches < 4; batches++) {
        struct model *m = open_model(configs[0], batches);
        const struct parameters *p = model_parameters(m);
        struct memory_plan plan;
        size_t wanted = 0;
        int64_t largest = 0;
        for (int64_t i = 0; i < p->section_count; i++)
            if (p->section[i].layer < 0)
                wanted += rounded(p->section[i].count);
            else if (p->section[i].count > largest)
                largest = p->section[i].count;
        wanted += rounded(largest);
        assert_int_equal(model_plan(&plan, model_setup_of(m), model_config(m), NULL, &why), 0);
        assert_int_equal(plan.bytes[MEMORY_BATCH_GRADIENTS], batches > 1 ? wanted : 0);
        model_close(m);
    }
}

/* An overflow drops the gradients. The update is repeated from its first batch on. */
static void test_overflow_begins_the_update_again(void **state)
{
    (void)state;
    struct model *m = open_model(configs[0], BATCHES), *other = open_model(configs[0], BATCHES);
    static const struct optimiser o = {
        .learning_rate = 0.01, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .max_norm = 1
    };
    const struct parameters *p = model_parameters(m);
    double norm[2];
    float huge = INFINITY;
    add_batch(m, 0);
    add_batch(m, 1);
    model_kernels(m)->upload(model_device(m), p->gradient + p->at[1].offset, &huge, sizeof huge);
    assert_int_equal(optimiser_step(&o, m, 0, 1, &norm[0], &why), 1);
    for (int b = 0; b < BATCHES; b++) {
        add_batch(m, b);
        add_batch(other, b);
    }
    assert_int_equal(optimiser_step(&o, m, 0, 1, &norm[0], &why), 0);
    assert_int_equal(optimiser_step(&o, other, 0, 1, &norm[1], &why), 0);
    assert_true(norm[0] == norm[1]);
    add_batch(m, 2);
    add_batch(other, 2);
    float *g = gradient_of(m), *have = gradient_of(other);
    assert_memory_equal(g, have, (size_t)p->count * sizeof *g);
    free(g);
    free(have);
    model_close(m);
    model_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_are_folded),
        cmocka_unit_test(test_blocks_are_summed_first),
        cmocka_unit_test(test_blocks_are_planned),
        cmocka_unit_test(test_squares_are_summed_in_pieces),
        cmocka_unit_test(test_sections_cover_the_parameters),
        cmocka_unit_test(test_one_batch_needs_no_scratch),
        cmocka_unit_test(test_overflow_begins_the_update_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
