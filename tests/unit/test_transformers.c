/* The logits of synthetic models are compared with those of transformers: every kind of position
 * scaling, multi-head and grouped-query attention, 1 to 4096 tokens
 * (tests/golden/transformers_logits.py). */
#include "lib/tensorfile/safetensors.h"
#include "model/batch.h"
#include "model/checkpoint.h"
#include "model/session.h"
#include "tests/lib/check.h"
#include "tests/lib/compare_model.h"
#include "tests/lib/scratch.h"
#include "tests/lib/synthetic_model.h"

static struct fail why;
static const double bound = 2e-5;      /* relative to the largest logit */
static const double half_bound = 1e-2; /* for keys and values in 16 bits */

static void open_case(const json_t *item, struct weights *w, struct config *c)
{
    char *text = json_dumps(json_object_get(item, "config"), 0);
    const char *rope = json_string_value(json_object_get(item, "rope"));
    synthetic_model(scratch_directory, text, "f32");
    free(text);
    assert_int_equal(weights_open(w, scratch_directory, false, &why), 0);
    assert_int_equal(config_copy(c, &w->config, &why), 0);
    if (rope) assert_int_equal(rope_set(&c->rope, rope, &why), 0);
}

/* Compares the logits of the wanted rows, computed in one batch. */
static void compare_batch(const json_t *item, const struct stored_tensor *exact)
{
    struct weights w;
    struct config c;
    open_case(item, &w, &c);
    compare_logits(&w, &c, item, 512, exact, bound);
    config_release(&c);
    weights_close(&w);
}

/* Computes the last row again with a session's cache of keys and values, in f32 and in 16 bits. */
static void compare_session(const json_t *item, const struct stored_tensor *exact)
{
    struct loaded l = { 0 };
    struct session s;
    open_case(item, &l.weights, &l.config);
    int64_t count = json_integer_value(json_object_get(item, "tokens")), vocab = l.config.vocab;
    uint32_t *ids = synthetic_ids(count, vocab);
    double *wanted = check_doubles(exact->data, exact->bytes / 4);
    struct model_setup setup = session_setup(count, check_device(), 0);
    for (int is_exact = 0; is_exact < 2; is_exact++) {
        setup.exact_cache = is_exact;
        assert_int_equal(session_open(&s, &l, &setup, &why), 0);
        assert_int_equal(session_read(&s, ids, count, &why), 0);
        check_close(json_string_value(json_object_get(item, "name")), s.logits,
                    wanted + (int64_t)(exact->bytes / 4) - vocab, (size_t)vocab,
                    is_exact ? bound : half_bound);
        session_close(&s);
    }
    free(ids);
    loaded_close(&l);
}

static void test_logits(void **state)
{
    (void)state;
    struct tensor_file file;
    size_t i;
    json_t *item, *cases = json_read_file("tests/golden/transformers/cases.json", &why);
    assert_non_null(cases);
    assert_int_equal(safetensors_open(&file, "tests/golden/transformers/logits.safetensors", &why),
                     0);
    assert_true(json_array_size(cases) == file.count && file.count > 80);
    json_array_foreach(cases, i, item)
    {
        const struct stored_tensor *exact =
            tensor_file_find(&file, json_string_value(json_object_get(item, "name")));
        assert_non_null(exact);
        int64_t tokens = json_integer_value(json_object_get(item, "tokens"));
        if (tokens > COMPARE_TOKENS_MAX) continue;
        compare_batch(item, exact);
        if (tokens == 300) compare_session(item, exact);
        check_free_all();
    }
    tensor_file_close(&file);
    json_decref(cases);
}

/* A session with dynamic position scaling gives the same logits as a new one, whatever it read
 * before. */
static void test_dynamic_session_after_another_text(void **state)
{
    (void)state;
    struct loaded l = { 0 };
    struct session a, b;
    uint32_t ids[400], other[400];
    synthetic_model(scratch_directory,
                    "{\"model_type\":\"llama\",\"vocab_size\":48,\"num_hidden_layers\":1,"
                    "\"hidden_size\":64,\"intermediate_size\":64,\"num_attention_heads\":2,"
                    "\"max_position_embeddings\":128,\"rope_scaling\":{\"type\":\"dynamic\","
                    "\"factor\":4.0}}",
                    "f32");
    assert_int_equal(weights_open(&l.weights, scratch_directory, false, &why), 0);
    assert_int_equal(config_copy(&l.config, &l.weights.config, &why), 0);
    assert_int_equal(config_context(&l.config), 512);
    for (int t = 0; t < 400; t++) {
        ids[t] = synthetic_token(t, 48);
        other[t] = t < 200 ? ids[t] : synthetic_token(t + 1, 48);
    }
    struct model_setup setup = session_setup(400, check_device(), 1);
    assert_int_equal(session_open(&a, &l, &setup, &why), 0);
    assert_int_equal(session_open(&b, &l, &setup, &why), 0);
    assert_int_equal(session_read(&a, other, 400, &why), 0);
    assert_int_equal(session_read(&a, ids, 300, &why), 0);
    assert_int_equal(session_read(&b, ids, 300, &why), 0);
    assert_memory_equal(a.logits, b.logits, 48 * sizeof(float));
    session_close(&a);
    session_close(&b);
    loaded_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_dynamic_session_after_another_text),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
