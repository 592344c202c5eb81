/* GGUF files of every family. Files of llama.cpp's own converter give the weights from which they
 * were made, and the logits that llama.cpp computes (tests/golden/gguf_families.py). A model that
 * llama.cpp does not compute is refused, both in reading and in writing. */
#include "lib/llama/families.h"
#include "lib/llama/gguf_config.h"
#include "lib/llama/gguf_model.h"
#include "model/batch.h"
#include "model/model.h"
#include "tests/lib/check.h"
#include "tests/lib/synthetic_model.h"

static struct fail why;

enum { TOKENS = 20, VOCAB = 24 };

/* The models are in the order of logits.f32. */
static const struct {
    const char *name, *model_type;
} files[] = { { "gemma3", "gemma3_text" }, { "granite", "granite" }, { "llama-biases", "llama" },
              { "llama31", "llama" },      { "mistral", "llama" },   { "olmo2", "olmo2" },
              { "phi3-longrope", "phi3" }, { "phi4", "phi3" },       { "qwen2", "qwen2" },
              { "qwen3", "qwen3" },        { "smollm3", "smollm3" } };
enum { FILES = sizeof files / sizeof *files };

static void open_file(size_t i, struct weights *w)
{
    char path[80];
    snprintf(path, sizeof path, "tests/golden/gguf-families/%s.gguf", files[i].name);
    if (weights_open_checked(w, path, false, NULL, NULL, &why)) fail_msg("%s", why.text);
}

/* ---- weights ---- */

static void test_weights(void **state)
{
    (void)state;
    for (size_t i = 0; i < FILES; i++) {
        struct weights w;
        open_file(i, &w);
        assert_string_equal(w.config.family->model_type, files[i].model_type);
        for (int64_t t = 0; t < w.count; t++) {
            size_t count = (size_t)(w.table[t].rows * w.table[t].cols);
            float *wanted = synthetic_values(&w.table[t], t), *got = malloc(count * sizeof *got);
            bool adds_one = w.config.norm_adds_one && w.table[t].role == ROLE_NORM;
            assert_non_null(got);
            for (size_t n = 0; n < count && adds_one; n++)
                wanted[n] -= 1;
            ggml_widen(w.at[t].type == DTYPE_F16 ? GGML_F16 : GGML_F32, w.at[t].data, got,
                       (int64_t)count);
            if (memcmp(got, wanted, count * sizeof *got) != 0)
                fail_msg("%s: %s", files[i].name, w.table[t].name);
            free(wanted);
            free(got);
        }
        weights_close(&w);
    }
}

/* ---- logits ---- */

static void compare_logits(size_t i, const float *exact)
{
    /* llama.cpp computes Gemma's GELU with a table in f16, so this bound is wider. With the same
     * rounding of GELU, transformers' logits are within 2.3e-5 of llama.cpp's. */
    double limit = strcmp(files[i].name, "gemma3") != 0 ? 2e-5 : 1e-3;
    struct weights w;
    struct model *m;
    struct batch b;
    float logits[TOKENS * VOCAB];
    uint32_t ids[TOKENS];
    open_file(i, &w);
    struct model_setup setup = {
        .positions = TOKENS, .rows = TOKENS, .chunk = TOKENS, .device = check_device()
    };
    for (int64_t t = 0; t < TOKENS; t++)
        ids[t] = synthetic_token(t, VOCAB);
    assert_int_equal(model_open(&m, &setup, NULL, &w, 0, &why), 0);
    assert_int_equal(batch_init(&b, TOKENS, &why), 0);
    batch_add_window(&b, ids, TOKENS);
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_logits(m, TOKENS, logits, &why), 0);
    double *wanted = check_doubles(exact, TOKENS * VOCAB);
    check_close(files[i].name, logits, wanted, TOKENS * VOCAB, limit);
    check_free_all();
    batch_release(&b);
    model_close(m);
    weights_close(&w);
}

static void test_logits(void **state)
{
    (void)state;
    static float exact[FILES][TOKENS * VOCAB];
    FILE *file = fopen("tests/golden/gguf-families/logits.f32", "rb");
    assert_non_null(file);
    assert_int_equal(fread(exact, sizeof exact, 1, file), 1);
    fclose(file);
    for (size_t i = 0; i < FILES; i++)
        compare_logits(i, exact[i]);
}

/* ---- models that llama.cpp does not compute ---- */

#define SIZES                                                                                      \
    "\"vocab_size\":24,\"hidden_size\":16,\"intermediate_size\":16,\"num_attention_heads\":2,"     \
    "\"num_key_value_heads\":1,\"num_hidden_layers\":4,\"rms_norm_eps\":1e-6,"                     \
    "\"max_position_embeddings\":64,"
#define LLAMA3                                                                                     \
    ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"              \
    "\"high_freq_factor\":4,\"original_max_position_embeddings\":32}}"

static void test_written(void **state)
{
    (void)state;
    static const struct {
        const char *config, *is; /* `is`: the architecture, or a part of the refusal's message */
    } cases[] = {
        { "\"model_type\":\"llama\",\"attention_bias\":true,\"mlp_bias\":true}", "llama" },
        { "\"model_type\":\"mistral\",\"sliding_window\":null}", "llama" },
        { "\"model_type\":\"mistral\",\"sliding_window\":64}", "llama" },
        { "\"model_type\":\"mistral\",\"sliding_window\":63}",
          "sliding_window 63 is shorter than" },
        { "\"model_type\":\"ministral\",\"head_dim\":8,\"sliding_window\":64}", "llama" },
        { "\"model_type\":\"ministral\",\"head_dim\":8,\"sliding_window\":8,\"layer_types\":["
          "\"full_attention\",\"full_attention\",\"full_attention\",\"sliding_attention\"]}",
          "sliding_window 8 is shorter than" },
        { "\"model_type\":\"llama\",\"hidden_act\":\"gelu_pytorch_tanh\"}",
          "hidden_act: llama.cpp's llama has no other gate than silu" },
        { "\"model_type\":\"qwen2\"}", "qwen2" },
        { "\"model_type\":\"qwen2\",\"head_dim\":12}", "head_dim: llama.cpp's qwen2 has no heads" },
        { "\"model_type\":\"qwen2\"" LLAMA3, "llama3 positions: llama.cpp's qwen2 has no factors" },
        { "\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"sliding_window\":8,"
          "\"max_window_layers\":3}",
          "sliding_window 8 is shorter than the context of 64" },
        { "\"model_type\":\"qwen3\"}", "qwen3" },
        { "\"model_type\":\"qwen3\",\"attention_bias\":true}",
          "attention_bias: llama.cpp's qwen3 has no bias on o_proj" },
        { "\"model_type\":\"smollm3\"}", "smollm3" },
        { "\"model_type\":\"granite\",\"attention_bias\":true,\"logits_scaling\":8}", "granite" },
        { "\"model_type\":\"smollm3\",\"mlp_bias\":true}",
          "mlp_bias: llama.cpp's smollm3 has no biases in the MLP" },
        { "\"model_type\":\"smollm3\",\"no_rope_layers\":[1,1,1,1]}",
          "no_rope_layers: llama.cpp's smollm3 has no other such layers" },
        { "\"model_type\":\"smollm3\",\"no_rope_layer_interval\":2}", "no_rope_layers: llama.cpp" },
        { "\"model_type\":\"gemma3_text\",\"head_dim\":4,\"query_pre_attn_scalar\":4}", "gemma3" },
        { "\"model_type\":\"gemma3_text\",\"sliding_window\":8}", "gemma3" },
        { "\"model_type\":\"gemma3_text\",\"query_pre_attn_scalar\":168}",
          "query_pre_attn_scalar: llama.cpp's gemma3 has no other divisor" },
        { "\"model_type\":\"gemma3_text\",\"hidden_activation\":\"silu\"}",
          "hidden_activation: llama.cpp's gemma3 has no other gate than gelu_pytorch_tanh" },
        { "\"model_type\":\"gemma3_text\",\"attention_bias\":true}",
          "attention_bias: llama.cpp's gemma3 has no bias on o_proj" },
        { "\"model_type\":\"gemma3_text\",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2}}",
          "gemma3" },
        { "\"model_type\":\"gemma3_text\",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2,"
          "\"attention_factor\":1.5}}",
          "yarn positions with an attention_factor: llama.cpp's gemma3 has no factor of cos" },
        { "\"model_type\":\"gemma3_text\"" LLAMA3, "llama3 positions: llama.cpp's gemma3 has no" },
        { "\"model_type\":\"phi3\"}", "phi3" },
        { "\"model_type\":\"phi3\",\"sliding_window\":64}", "phi3" },
        { "\"model_type\":\"phi3\",\"sliding_window\":63}", "sliding_window 63 is shorter than" },
        { "\"model_type\":\"phi3\",\"head_dim\":12}", "head_dim: llama.cpp's phi3 has no heads" },
        { "\"model_type\":\"phi3\",\"partial_rotary_factor\":0.5}", "phi3" },
        { "\"model_type\":\"smollm3\"" LLAMA3, "llama3 positions: llama.cpp's smollm3 has no" },
        { "\"model_type\":\"olmo2\"}", "olmo2" },
        { "\"model_type\":\"olmo2\",\"head_dim\":12}", "head_dim: llama.cpp's olmo2 has no heads" },
        { "\"model_type\":\"olmo2\",\"tie_word_embeddings\":true}",
          "tie_word_embeddings: llama.cpp's olmo2 has no head that uses" },
        { "\"model_type\":\"olmo2\",\"attention_bias\":true}",
          "attention_bias: llama.cpp's olmo2 has no bias on o_proj" },
        { "\"model_type\":\"olmo2\"" LLAMA3, "llama3 positions: llama.cpp's olmo2 has no" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config c;
        char text[900];
        snprintf(text, sizeof text, "{%s%s", SIZES, cases[i].config);
        if (config_parse(&c, text, "x", &why)) fail_msg("%zu: %s", i, why.text);
        const struct gguf_architecture *a = gguf_config_architecture(&c, &why);
        if (a)
            assert_string_equal(a->name, cases[i].is);
        else if (!strstr(why.text, cases[i].is))
            fail_msg("'%s' lacks '%s'", why.text, cases[i].is);
        assert_int_equal(!a, strchr(cases[i].is, ' ') != NULL);
        config_release(&c);
    }
}

static void test_names(void **state)
{
    (void)state;
    char name[80];
    for (size_t i = 0; gguf_architecture_at(i); i++) {
        const struct gguf_architecture *a = gguf_architecture_at(i);
        assert_non_null(family_find(a->model_types[0]));
        bool is_llama = a->has_all_biases, is_phi3 = !strcmp(a->name, "phi3");
        bool is_gemma3 = !strcmp(a->name, "gemma3");
        bool is_olmo2 = !strcmp(a->name, "olmo2");
        bool has_norms = is_gemma3 || is_olmo2 || !strcmp(a->name, "qwen3");
        assert_int_equal(gguf_tensor_name(a, "model.layers.3.self_attn.q_proj.bias", name, 80),
                         !is_phi3);
        if (!is_phi3) assert_string_equal(name, "blk.3.attn_q.bias");
        assert_true(
            gguf_tensor_name(a, "model.layers.3.post_attention_layernorm.weight", name, 80));
        assert_string_equal(name, is_gemma3 || is_olmo2 ? "blk.3.post_attention_norm.weight"
                                                        : "blk.3.ffn_norm.weight");
        assert_int_equal(gguf_tensor_name(a, "model.layers.3.input_layernorm.weight", name, 80),
                         !is_olmo2);
        assert_int_equal(gguf_tensor_name(a, "model.layers.3.mlp.gate_up_proj.weight", name, 80),
                         is_phi3);
        if (is_phi3) assert_string_equal(name, "blk.3.ffn_up.weight");
        assert_int_equal(gguf_tensor_name(a, "model.layers.3.self_attn.o_proj.bias", name, 80),
                         is_llama);
        assert_int_equal(gguf_tensor_name(a, "model.layers.0.mlp.up_proj.bias", name, 80),
                         is_llama);
        assert_int_equal(gguf_tensor_name(a, "model.layers.0.self_attn.k_norm.weight", name, 80),
                         has_norms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
