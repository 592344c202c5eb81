/* Samples in segments: each sum over rows is computed for each segment from zero, and the segments
 * are added in their order. */
#include "model/batch.h"
#include "tests/lib/check.h"

enum { ROWS = 64, SEGMENTS = 4, OF_ONE = ROWS / SEGMENTS, WORDS = 300 };

static struct fail why;

#define CONFIG(tied, more)                                                                         \
    "{\"vocab_size\":300,\"hidden_size\":24,\"intermediate_size\":40,\"num_hidden_layers\":3,"     \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,"                   \
    "\"rope_theta\":10000,\"initializer_range\":0.1,\"max_position_embeddings\":64,"               \
    "\"tie_word_embeddings\":" tied ",\"model_type\":" more "}"
static const char *const configs[] = {
    CONFIG("false", "\"llama\""), CONFIG("true", "\"qwen2\""), /* with biases */
    CONFIG("true", "\"gemma3_text\",\"head_dim\":8,\"query_pre_attn_scalar\":8,"
                   "\"sliding_window\":8,\"sliding_window_pattern\":2"),
    /* one norm for all heads together, and norms after attention and MLP */
    CONFIG("false", "\"olmo2\""),
    CONFIG("false", "\"qwen3\",\"head_dim\":8"), /* a norm for each head */
    CONFIG("false", "\"granite\",\"residual_multiplier\":0.22,\"embedding_multiplier\":3,"
                    "\"attention_multiplier\":0.3,\"logits_scaling\":2"),
    CONFIG("false", "\"phi3\",\"pad_token_id\":0"), /* fused q, k, v and gate, up */
};
enum { CONFIGS = sizeof configs / sizeof *configs };

static struct model *open_model(const char *text, int64_t segments, int64_t stored)
{
    struct config c;
    struct model *m;
    struct model_setup setup = { .method = METHOD_FULL,
                                 .is_training = true,
                                 .segments = segments,
                                 .stored_layers = stored,
                                 .batches = 2,
                                 .positions = ROWS,
                                 .rows = ROWS,
                                 .chunk = OF_ONE / 2,
                                 .device = check_device(),
                                 .threads = 2 };
    assert_int_equal(config_parse(&c, text, "config", &why), 0);
    if (model_open(&m, &setup, &c, NULL, 5, &why)) fail_msg("%s", why.text);
    config_release(&c);
    return m;
}

/* Returns the gradients of a batch of which rows [first, end) have targets. nll gets the loss of
 * each row. If `apart`, no row sees a row of another segment. */
static float *gradients_of(struct model *m, int rows, int first, int end, bool apart, float *nll)
{
    const struct parameters *p = model_parameters(m);
    const struct kernels *k = model_kernels(m);
    float *g = malloc((size_t)p->count * sizeof *g);
    struct batch b;
    assert_non_null(g);
    assert_int_equal(batch_init(&b, ROWS, &why), 0);
    b.rows = rows;
    for (int t = 0; t < rows; t++) {
        b.id[t] = 7 * t * t % WORDS;
        b.target[t] = t >= first && t < end ? 7 * (t + 1) * (t + 1) % WORDS : -1;
        b.position[t] = t;
        b.low_starts[t] = b.high_starts[t] = apart ? t / OF_ONE * OF_ONE : 0;
    }
    k->zero(model_device(m), p->gradient, (size_t)p->count * sizeof *g);
    model_end_update(m);
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_rows(m), rows);
    assert_int_equal(model_loss(m, nll, 0.05f, &why), 0);
    model_backward(m);
    k->download(model_device(m), g, p->gradient, (size_t)p->count * sizeof *g);
    batch_release(&b);
    return g;
}

/* If no row sees another segment, a segment's gradients are those of a batch in which only this
 * segment has targets. */
static void test_segments_are_added_in_order(void **state)
{
    (void)state;
    for (int i = 0; i < CONFIGS; i++) {
        struct model *whole = open_model(configs[i], 0, 1);
        struct model *cut = open_model(configs[i], SEGMENTS, 1);
        int64_t count = model_parameters(cut)->count, differ = 0;
        for (int rows = ROWS; rows > 0; rows -= 23) {
            float nll[ROWS], *sum = NULL;
            for (int s = 0; s * OF_ONE < rows; s++) {
                float *g = gradients_of(whole, rows, s * OF_ONE, (s + 1) * OF_ONE, true, nll);
                for (int64_t j = 0; sum && j < count; j++)
                    sum[j] += g[j];
                if (sum) free(g);
                if (!sum) sum = g;
            }
            float *have = gradients_of(cut, rows, 0, rows, true, nll);
            float *chain = gradients_of(whole, rows, 0, rows, true, nll);
            for (int64_t j = 0; j < count; j++) {
                if (have[j] != sum[j])
                    fail_msg("config %d, %d rows, value %lld", i, rows, (long long)j);
                differ += chain[j] != sum[j];
            }
            free(sum);
            free(have);
            free(chain);
        }
        /* A single chain over all rows has other bits. */
        assert_true(differ > count / 100);
        model_close(whole);
        model_close(cut);
    }
}

static void test_gradients_are_those_of_one_segment_within_rounding(void **state)
{
    (void)state;
    for (int i = 0; i < CONFIGS; i++)
        for (int stored = 0; stored < 3; stored += 2) {
            struct model *whole = open_model(configs[i], 0, stored);
            struct model *cut = open_model(configs[i], SEGMENTS, stored);
            int64_t count = model_parameters(cut)->count;
            for (int rows = ROWS; rows > 0; rows -= 30) {
                float nll[ROWS], same[ROWS];
                float *g = gradients_of(whole, rows, 0, rows, false, nll);
                float *have = gradients_of(cut, rows, 0, rows, false, same);
                double *exact = check_doubles(g, (size_t)count);
                assert_memory_equal(same, nll, (size_t)rows * sizeof *nll);
                check_close("gradient", have, exact, (size_t)count, 1e-5);
                check_free_all();
                free(g);
                free(have);
            }
            model_close(whole);
            model_close(cut);
        }
}

/* A chunk has rows of one segment only. */
static void test_chunks_divide_segments(void **state)
{
    (void)state;
    const struct {
        int64_t rows, segments, chunk, likes, expected;
    } cases[] = {
        { 8192, 0, 0, 512, 512 },        { 8192, 4, 0, 512, 512 },   { 8192, 4, 0, 4096, 2048 },
        { 24576, 4, 0, 4096, 3072 },     { 4096, 8, 128, 512, 128 }, { 4096, 8, 1024, 512, 512 },
        { 100, 0, 0, 512, 100 },         { 64, 4, 0, 512, 16 },      { 9984, 3, 0, 4096, 3328 },
        { 47168, 2, 0, 4096, 1072 * 2 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model_setup s = { .rows = cases[i].rows,
                                 .segments = cases[i].segments,
                                 .chunk = cases[i].chunk };
        assert_int_equal(model_chunk(&s, cases[i].likes), cases[i].expected);
    }
}

/* Each of the ranks that share a sample stores the inputs of layers for its own rows only. */
static void test_ranks_of_a_sample_need_less_memory(void **state)
{
    (void)state;
    struct model *m = open_model(configs[0], SEGMENTS, 0);
    struct memory_plan one, two;
    struct model_setup setup = *model_setup_of(m);
    setup.rows = ROWS;
    assert_int_equal(model_plan(&one, &setup, model_config(m), NULL, &why), 0);
    setup.parts = setup.sample_parts = 2;
    assert_int_equal(model_plan(&two, &setup, model_config(m), NULL, &why), 0);
    assert_int_equal(one.of_attention, 0);
    /* In a layer q, k, v and o are sent in the forward and again in the backward, and then their
     * gradients. Each row's half of the heads is sent to the other rank: 2 query heads of 6
     * elements, in 16 columns, and one key head, in 8. */
    assert_int_equal(two.of_attention, ROWS * 6 * (16 + 8) * model_kernels(m)->act_bytes);
    assert_int_equal(two.bytes[MEMORY_CHECKPOINTS] * 2, one.bytes[MEMORY_CHECKPOINTS]);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_are_added_in_order),
        cmocka_unit_test(test_gradients_are_those_of_one_segment_within_rounding),
        cmocka_unit_test(test_chunks_divide_segments),
        cmocka_unit_test(test_ranks_of_a_sample_need_less_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
