/* Reads config.json in every spelling that transformers loads. Sizes, position scaling and logits
 * equal those of transformers (tests/golden/odd_configs.py). The file also tests the table of keys,
 * and models with and without tied heads. */
#include "lib/common/bf16.h"
#include "lib/common/output.h"
#include "lib/llama/base_config.h"
#include "lib/llama/base_name.h"
#include "lib/llama/families.h"
#include "lib/llama/model_directory.h"
#include "lib/llama/model_max_length.h"
#include "lib/tensorfile/safetensors.h"
#include "model/batch.h"
#include "model/loaded.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/synthetic_model.h"

#include <math.h>
#include <unistd.h>

static struct fail why;
static const double bound = 2e-5; /* relative to the largest logit */

/* ---- against transformers ---- */

static float *logits_of(const struct weights *w, int64_t count)
{
    struct model *m;
    struct batch b;
    struct model_setup setup = {
        .positions = count, .rows = count, .chunk = count, .device = "cpu", .threads = 1
    };
    int64_t vocab = w->config.vocab;
    float *logits = malloc((size_t)(count * vocab) * sizeof *logits);
    uint32_t *ids = malloc((size_t)count * sizeof *ids);
    assert_true(logits && ids);
    for (int64_t t = 0; t < count; t++)
        ids[t] = synthetic_token(t, vocab);
    assert_int_equal(model_open(&m, &setup, &w->config, w, 0, &why), 0);
    assert_int_equal(batch_init(&b, count, &why), 0);
    batch_add_window(&b, ids, count);
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_logits(m, count, logits, &why), 0);
    batch_release(&b);
    model_close(m);
    free(ids);
    return logits;
}

static void check_size(const char *name, const json_t *values, const char *key, int64_t ours)
{
    int64_t theirs = json_integer_value(json_object_get(values, key));
    if (theirs != ours) print_error("%s: %s is %lld\n", name, key, (long long)ours);
    assert_int_equal(theirs, ours);
}

static void check_sizes(const char *name, const json_t *values, const struct config *c)
{
    check_size(name, values, "vocab_size", c->vocab);
    check_size(name, values, "hidden_size", c->dim);
    check_size(name, values, "intermediate_size", c->ffn);
    check_size(name, values, "num_hidden_layers", c->layers);
    check_size(name, values, "num_attention_heads", c->heads);
    check_size(name, values, "num_key_value_heads", c->kv_heads);
    check_size(name, values, "head_dim", c->head_dim);
    assert_int_equal(json_is_true(json_object_get(values, "tie_word_embeddings")), c->is_tied);
}

/* The models of which check_identity has seen the logits. */
static struct {
    char identity[DIGEST_TEXT], logits[DIGEST_TEXT];
} seen[256];
static int seen_count, seen_again;

/* Models with equal tensors and an equal base_config, whose position scaling has the same type and
 * factor, have logits with the same bits. */
static void check_identity(const char *name, const struct weights *w, const float *logits,
                           int64_t count)
{
    char config[BASE_CONFIG_TEXT], rope[160], text[BASE_CONFIG_TEXT + 300], digest[DIGEST_TEXT];
    config_describe_rope(&w->config, rope, sizeof rope);
    assert_int_equal(base_config_text(&w->config, config, &why), 0);
    int length =
        snprintf(text, sizeof text, "%s %s %s %lld", w->base, config, rope, (long long)count);
    digest_of_bytes(text, (size_t)length, digest);
    assert_in_range(seen_count, 0, 255);
    digest_of_bytes(logits, (size_t)(count * w->config.vocab) * sizeof *logits,
                    seen[seen_count].logits);
    for (int i = 0; i < seen_count; i++) {
        if (strcmp(seen[i].identity, digest) != 0) continue;
        if (strcmp(seen[i].logits, seen[seen_count].logits) != 0)
            fail_msg("%s: other logits than another model with %s", name, text);
        seen_again++;
        return;
    }
    memcpy(seen[seen_count++].identity, digest, sizeof digest);
}

static void compare(const char *name, const json_t *item, const struct stored_tensor *exact)
{
    struct weights w;
    int64_t count = json_integer_value(json_object_get(item, "tokens"));
    const json_t *rows = json_object_get(item, "rows");
    synthetic_model(scratch_directory, json_string_value(json_object_get(item, "text")), "f32");
    assert_int_equal(weights_open(&w, scratch_directory, true, &why), 0);
    int64_t vocab = w.config.vocab;
    check_sizes(name, json_object_get(item, "values"), &w.config);
    float *logits = logits_of(&w, count), *got = malloc(exact->bytes);
    check_identity(name, &w, logits, count);
    double *wanted = check_doubles(exact->data, exact->bytes / 4);
    assert_non_null(got);
    for (size_t i = 0; i < json_array_size(rows); i++)
        memcpy(got + (int64_t)i * vocab,
               logits + json_integer_value(json_array_get(rows, i)) * vocab, (size_t)vocab * 4);
    check_close(name, got, wanted, exact->bytes / 4, bound);
    free(logits);
    free(got);
    weights_close(&w);
    check_free_all();
}

/* Do we accept this config.json, for that many tokens? */
static bool is_understood(const char *text, int64_t tokens)
{
    struct config c;
    if (config_parse(&c, text, "config.json", &why)) return false;
    bool is_whole = !config_check_context(&c, tokens, &why);
    config_release(&c);
    return is_whole;
}

/* Every case has the same logits as in transformers, or is refused by name. A case that
 * transformers refuses is refused. CONFIGS names another folder, which has random cases. */
static void test_equal_to_transformers(void **state)
{
    (void)state;
    const char *folder = getenv("CONFIGS");
    char path[4096];
    struct tensor_file file;
    json_t *item;
    size_t i;
    int equal = 0, only_theirs = 0, neither = 0, only_ours = 0;
    if (!folder) folder = "tests/golden/configs";
    snprintf(path, sizeof path, "%s/cases.json", folder);
    json_t *cases = json_read_file(path, &why);
    assert_non_null(cases);
    snprintf(path, sizeof path, "%s/logits.safetensors", folder);
    assert_int_equal(safetensors_open(&file, path, &why), 0);
    json_array_foreach(cases, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        const char *text = json_string_value(json_object_get(item, "text"));
        bool is_loaded = json_is_true(json_object_get(item, "is_loaded"));
        bool is_ours = is_understood(text, json_integer_value(json_object_get(item, "tokens")));
        if (is_ours && is_loaded) compare(name, item, tensor_file_find(&file, name));
        if (getenv("CONFIGS") && is_ours != is_loaded)
            print_message("%s: %s: %s\n", name, text,
                          is_ours ? "understood only by ours" : why.text);
        equal += is_ours && is_loaded;
        only_theirs += !is_ours && is_loaded;
        only_ours += is_ours && !is_loaded;
        neither += !is_ours && !is_loaded;
    }
    print_message(
        "%d equal, %d refused only by ours, %d refused by both, %d understood only by ours\n",
        equal, only_theirs, neither, only_ours);
    if (!getenv("CONFIGS")) {
        /* only transformers 4 loads these five: all layers full, null for a bias (twice) and for
         * tie_word_embeddings, longrope named su */
        assert_int_equal(only_ours, 5);
        assert_true(equal >= 135 && neither >= 58);
        print_message("%d different models, %d again\n", seen_count, seen_again);
        assert_true(seen_again >= 30);
    }
    tensor_file_close(&file);
    json_decref(cases);
}

/* ---- what decides the computation ---- */

#define SIZES "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":6,"
#define HEADS "\"num_attention_heads\":8,\"num_key_value_heads\":4"
#define SCALING(kind) "\"rope_scaling\":{\"rope_type\":\"" kind "\",\"factor\":4,"

/* Changes of a config, and what is told of each. told NULL: nothing, because the two configs
 * compute the same. */
static const struct {
    const char *type, *then, *now, *told;
} config_changes[] = {
    { "llama", HEADS, "\"num_attention_heads\":4,\"num_key_value_heads\":2",
      "num_attention_heads was 8, is 4" },
    { "llama", HEADS, "\"num_attention_heads\":8", "num_key_value_heads was 4, is 8" },
    { "llama", HEADS, HEADS ",\"head_dim\":16", "head_dim was 8, is 16" },
    { "llama", HEADS, HEADS ",\"head_dim\":8", NULL },
    { "llama", HEADS, HEADS ",\"rms_norm_eps\":1e-5", "rms_norm_eps was 1e-06, is 1e-05" },
    { "llama", HEADS, HEADS ",\"rms_norm_eps\":9.99999997475e-7", NULL },
    { "llama", HEADS, HEADS ",\"rope_theta\":500000", "rope_theta was 10000, is 500000" },
    { "llama", HEADS, HEADS ",\"rope_parameters\":{\"rope_theta\":10000}", NULL },
    { "llama", HEADS, HEADS ",\"hidden_act\":\"gelu_pytorch_tanh\"",
      "hidden_act was silu, is gelu_pytorch_tanh" },
    { "llama", HEADS, HEADS ",\"hidden_act\":\"swish\"", NULL },
    { "llama", HEADS,
      HEADS ",\"eos_token_id\":[1,2],\"torch_dtype\":\"float16\",\"use_cache\":false,"
            "\"initializer_range\":1,\"attention_dropout\":0.5,\"_name_or_path\":\"x\","
            "\"note\":1,\"vocab_size\":99,\"max_position_embeddings\":99",
      NULL },
    { "llama", HEADS "," SCALING("llama3") "\"low_freq_factor\":1,\"high_freq_factor\":4}",
      HEADS "," SCALING("llama3") "\"low_freq_factor\":1,\"high_freq_factor\":8}",
      "high_freq_factor was 4, is 8" },
    { "llama", HEADS "," SCALING("llama3") "\"low_freq_factor\":1,\"high_freq_factor\":4}",
      HEADS "," SCALING("llama3") "\"low_freq_factor\":2,\"high_freq_factor\":4}",
      "low_freq_factor was 1, is 2" },
    { "llama", HEADS "," SCALING("yarn") "\"beta_slow\":1}",
      HEADS "," SCALING("yarn") "\"beta_slow\":2}", "beta_slow was 1, is 2" },
    { "llama", HEADS "," SCALING("yarn") "\"beta_fast\":32}",
      HEADS "," SCALING("yarn") "\"beta_fast\":16}", "beta_fast was 32, is 16" },
    { "llama", HEADS "," SCALING("yarn") "\"beta_slow\":1}",
      HEADS "," SCALING("yarn") "\"attention_factor\":1}",
      "attention_factor was 1.13862944, is 1" },
    { "llama", HEADS "," SCALING("yarn") "\"truncate\":true}",
      HEADS "," SCALING("yarn") "\"truncate\":false}", "is_exact (truncate) was false, is true" },
    { "granite", HEADS, HEADS ",\"embedding_multiplier\":12",
      "embedding_scale (embedding_multiplier) was 1, is 12" },
    { "granite", HEADS, HEADS ",\"attention_multiplier\":0.5",
      "attention_scale (attention_multiplier, query_pre_attn_scalar) was 1, is 0.5" },
    { "granite", HEADS, HEADS ",\"residual_multiplier\":0.5",
      "residual_scale (residual_multiplier) was 1, is 0.5" },
    { "granite", HEADS, HEADS ",\"logits_scaling\":8", "logits_scaling was 1, is 8" },
    { "gemma3_text", HEADS, HEADS ",\"query_pre_attn_scalar\":64",
      "attention_scale (attention_multiplier, query_pre_attn_scalar) was 0.0625, is 0.125" },
    { "gemma3_text", HEADS, HEADS ",\"rope_local_base_freq\":20000",
      "rope_local_base_freq was 10000, is 20000" },
    { "gemma3_text", HEADS, HEADS ",\"sliding_window\":512", "sliding_window was 4096, is 512" },
    { "gemma3_text", HEADS, HEADS ",\"sliding_window_pattern\":3",
      "windowed_layers (layer_types) was 0-4, is 0-1,3-4" },
    { "gemma3_text", HEADS, HEADS ",\"hidden_act\":\"silu\"", NULL },
    { "smollm3", HEADS, HEADS ",\"no_rope_layer_interval\":6",
      "unrotated_layers (no_rope_layers) was 3, is 5" },
    { "smollm3", HEADS, HEADS ",\"no_rope_layers\":[1,1,1,0,1,1]", NULL },
    { "qwen2", HEADS, HEADS ",\"use_sliding_window\":true,\"max_window_layers\":6", NULL },
    { "qwen2", HEADS, HEADS ",\"use_sliding_window\":true,\"max_window_layers\":5",
      "sliding_window was 0, is 4096" },
    { "phi3", HEADS, HEADS ",\"partial_rotary_factor\":0.5",
      "rotary_dim (partial_rotary_factor) was 8, is 4" },
    { "phi3",
      HEADS ",\"max_position_embeddings\":8192,\"rope_scaling\":{\"type\":\"longrope\","
            "\"short_factor\":[1,1,1,1],\"long_factor\":[1,1,2,2]}",
      HEADS ",\"max_position_embeddings\":8192,\"rope_scaling\":{\"type\":\"longrope\","
            "\"short_factor\":[1,1,1,1],\"long_factor\":[1,1,2,3]}",
      "long_factor was " },
    { "phi3",
      HEADS ",\"max_position_embeddings\":8192,\"rope_scaling\":{\"type\":\"longrope\","
            "\"short_factor\":[1,1,1,1],\"long_factor\":[1,1,2,2]}",
      HEADS ",\"max_position_embeddings\":8192,\"rope_scaling\":{\"type\":\"longrope\","
            "\"short_factor\":[1,1,1,2],\"long_factor\":[1,1,2,2]}",
      "short_factor was " },
};

/* Fails unless docs/formats/adapter.md names each key of this object. */
static void check_documented(const char *config)
{
    struct scratch_bytes page = scratch_load("docs/formats/adapter.md");
    const char *key;
    json_t *value, *object = json_read_text(config, strlen(config), "config", &why);
    char *text = strndup((const char *)page.at, page.count);
    assert_true(object && text);
    json_object_foreach(object, key, value)
    {
        char name[80];
        snprintf(name, sizeof name, "`%s`", key);
        if (!strstr(text, name)) fail_msg("docs/formats/adapter.md lacks %s", name);
    }
    json_decref(object);
    free(text);
    free(page.at);
}

/* Each key that decides what the model computes is named with both values if it changes. Keys
 * without such an effect, and other spellings of the same value, are not told. */
static void test_base_configs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof config_changes / sizeof *config_changes; i++) {
        char text[2][BASE_CONFIG_TEXT], told[200];
        for (int j = 0; j < 2; j++) {
            char json[1024];
            struct config c;
            snprintf(json, sizeof json, "{\"model_type\":\"%s\"," SIZES "%s}",
                     config_changes[i].type, j ? config_changes[i].now : config_changes[i].then);
            if (config_parse(&c, json, "c", &why)) fail_msg("%s: %s", json, why.text);
            assert_int_equal(base_config_text(&c, text[j], &why), 0);
            config_release(&c);
            check_documented(text[j]);
        }
        int status = base_config_compare(text[0], text[1], &why);
        if (status != (config_changes[i].told ? -1 : 0))
            fail_msg("%s: %s", config_changes[i].now, why.text);
        if (!config_changes[i].told) continue;
        snprintf(told, sizeof told, "the model's config changed since the run began: %s",
                 config_changes[i].told);
        if (strncmp(why.text, told, strlen(told)) != 0) fail_msg("%s", why.text);
    }
    /* What the model_type alone decides. */
    static const char *const flags[][2] = { { "gemma3_text", "\"norm_adds_one\":true" },
                                            { "gemma3_text", "\"rounds_embedding_scale\":true" },
                                            { "olmo2", "\"norms_join_heads\":true" } };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        for (int j = 0; j < 2; j++) {
            char json[80], text[BASE_CONFIG_TEXT];
            struct config c;
            snprintf(json, sizeof json, "{\"model_type\":\"%s\"}", j ? "llama" : flags[i][0]);
            assert_int_equal(config_parse(&c, json, "c", &why), 0);
            assert_int_equal(base_config_text(&c, text, &why), 0);
            assert_true((strstr(text, flags[i][1]) != NULL) == !j);
            config_release(&c);
        }
    /* A text of an earlier version is unknown. Of a later version, what is unknown is refused. */
    assert_int_equal(base_config_compare("", "{\"head_dim\":8}", &why), 0);
    assert_int_equal(base_config_compare("{\"cap\":8}", "{\"head_dim\":8}", &why), -1);
    assert_non_null(strstr(why.text, "has 'cap', which this version does not know"));
    assert_int_equal(base_config_compare("{\"head_dim\":\"8\"}", "{\"head_dim\":8}", &why), -1);
    assert_non_null(strstr(why.text, "the value of 'head_dim' has a wrong type"));
    assert_int_equal(base_config_compare("{", "{\"head_dim\":8}", &why), -1);
}

/* ---- keys that are absent ---- */

static void parsed(struct config *c, const char *text)
{
    if (config_parse(c, text, "c", &why)) print_error("%s\n", why.text);
    assert_non_null(c->json);
}

static void test_absent_keys(void **state)
{
    (void)state;
    struct config c;
    parsed(&c, "{\"model_type\":\"llama\"}");
    assert_true(c.vocab == 32000 && c.dim == 4096 && c.ffn == 11008 && c.layers == 32);
    assert_true(c.heads == 32 && c.kv_heads == 32 && c.head_dim == 128 && c.max_position == 2048);
    assert_true(c.norm_eps == 1e-6 && c.theta == 10000 && !c.is_tied && c.limit == INT64_MAX);
    assert_true(config_window(&c, 0) == INT64_MAX && !c.has_qkv_bias && !c.has_head_norms);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"mistral\"}");
    assert_true(c.ffn == 14336 && c.kv_heads == 8 && c.max_position == 131072);
    assert_true(config_window(&c, 0) == 4096 && config_window(&c, 31) == 4096);
    assert_int_equal(config_context(&c), 131072);
    assert_int_equal(config_check_context(&c, 5000, &why), 0);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"mistral\",\"sliding_window\":null,\"num_key_value_heads\":null}");
    assert_true(config_window(&c, 0) == INT64_MAX && c.kv_heads == 32);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"llama\",\"sliding_window\":4096}");
    assert_int_equal(config_check_context(&c, 5000, &why), -1);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"qwen2\"}");
    assert_true(c.has_qkv_bias && !c.has_o_bias && !c.has_mlp_bias && c.head_dim == 128);
    assert_true(config_window(&c, 31) == INT64_MAX && c.vocab == 151936 && !c.is_tied);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"qwen2\",\"use_sliding_window\":true}");
    assert_true(config_window(&c, 27) == INT64_MAX && config_window(&c, 28) == 4096);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"qwen3\",\"hidden_size\":1024,\"attention_bias\":true}");
    assert_true(c.head_dim == 128 && c.has_head_norms && c.has_qkv_bias && c.has_o_bias);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"smollm3\"}");
    assert_true(c.is_tied && c.theta == 2000000 && c.kv_heads == 4 && c.layers == 36);
    for (int64_t layer = 0; layer < 36; layer++)
        assert_int_equal(layer_set_has(&c.unrotated, layer), layer % 4 == 3);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"granite\"}");
    assert_true(c.embedding_scale == 1 && c.residual_scale == 1 && c.logit_scale == 1);
    assert_true(c.attention_scale == 1 && c.kv_heads == 32 && c.head_dim == 128);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"llama\"}");
    assert_true((float)c.attention_scale == 1 / sqrtf(128) && c.embedding_scale == 1);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"gemma3_text\"}");
    assert_true(c.vocab == 262208 && c.head_dim == 256 && c.kv_heads == 4 && c.is_tied);
    assert_true(c.theta == 1000000 && c.local_theta == 10000 && c.attention_scale == 1.0 / 16);
    assert_true(c.has_post_norms && c.norm_adds_one && c.has_head_norms);
    assert_true(c.activation == ACTIVATION_GELU_TANH && c.embedding_scale == 48);
    for (int64_t layer = 0; layer < 26; layer++)
        assert_true(config_window(&c, layer) == (layer % 6 == 5 ? INT64_MAX : 4096));
    config_release(&c);
    parsed(&c, "{\"model_type\":\"olmo2\"}");
    assert_true(c.vocab == 50304 && c.norm_eps == 1e-5 && c.kv_heads == 32 && c.theta == 10000);
    assert_true(c.has_head_norms && c.norms_join_heads && c.has_post_norms && !c.has_pre_norms);
    assert_true(c.max_position == 2048 && !c.is_tied && !c.norm_adds_one && !c.has_qkv_bias);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"phi3\"}");
    assert_true(c.norm_eps == 1e-5 && c.has_fused_qkv && c.has_fused_gate_up && c.ffn == 8192);
    assert_true(c.head_dim == 96 && c.rotary_dim == 96 && config_window(&c, 0) == INT64_MAX);
    config_release(&c);
    /* like transformers' embed_scale.to(dtype): 33.9411… rounded to 24, 8 and 11 bits */
    parsed(&c, "{\"model_type\":\"gemma3_text\",\"hidden_size\":1152}");
    assert_true(config_embedding_scale(&c, DTYPE_F32) == (float)sqrt(1152) &&
                config_embedding_scale(&c, DTYPE_BF16) == 34 &&
                config_embedding_scale(&c, DTYPE_F16) == 33.9375f);
    config_release(&c);
    /* The config.json of an unrelated program is refused. */
    assert_int_equal(config_parse(&c, "{\"name\":\"webapp\"}", "c", &why), -1);
    assert_non_null(strstr(why.text, "'vocab_size' is missing"));
}

/* ---- position scaling ---- */

static void test_yarn_with_null_or_zero(void **state)
{
    (void)state;
    struct config c;
    parsed(&c,
           "{\"model_type\":\"llama\",\"max_position_embeddings\":8192,\"rope_scaling\":{"
           "\"rope_type\":\"yarn\",\"factor\":null,\"original_max_position_embeddings\":2048}}");
    assert_true(c.rope.type == ROPE_YARN && c.rope.factor == 4 && c.original_position == 2048);
    config_release(&c);
    parsed(&c, "{\"model_type\":\"llama\",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,"
               "\"truncate\":null,\"beta_fast\":0,\"beta_slow\":null}}");
    assert_true(c.rope.is_exact && c.rope.high == 32 && c.rope.low == 1);
    config_release(&c);
}

/* The bits equal those of transformers since version 4.43, which divides the frequency instead of
 * the position. With a power of two, both orders of operations give the same bits. */
static void test_linear_scaling_has_the_bits_of_transformers(void **state)
{
    (void)state;
    struct config c;
    static const double factors[] = { 3, 2 };
    float cosine[50 * 64], sine[50 * 64];
    parsed(&c, "{\"model_type\":\"llama\"}");
    for (int f = 0; f < 2; f++) {
        float factor = (float)factors[f];
        int others = 0;
        c.rope = (struct rope){ .type = ROPE_LINEAR, .factor = factors[f], .attention = 1 };
        config_rope_tables(&c, 12000, 11950, 50, cosine, sine);
        for (int t = 0; t < 50; t++)
            for (int i = 0; i < 64; i++) {
                float frequency = 1 / powf(10000, (float)(2 * i) / 128),
                      position = (float)(11950 + t);
                float angle = position * (frequency / factor), old = position / factor * frequency;
                assert_true(cosine[t * 64 + i] == (float)cos((double)angle));
                assert_true(sine[t * 64 + i] == (float)sin((double)angle));
                others += angle != old;
            }
        assert_true(factor == 3 ? others > 0 : others == 0);
    }
    config_release(&c);
}

static void refused(const char *text, const char *reason)
{
    struct config c;
    assert_int_equal(config_parse(&c, text, "c", &why), -1);
    if (!strstr(why.text, reason)) print_error("'%s' lacks '%s'\n", why.text, reason);
    assert_non_null(strstr(why.text, reason));
}

#define TYPED(more) "{\"model_type\":\"llama\"," more "}"
#define GEMMA(more) "{\"model_type\":\"gemma3_text\"," more "}"

/* Each entry is a config.json and a part of the message that refuses it. */
static const char *const refusals[][2] = {
    { TYPED("\"hidden_act\":5"), "'hidden_act' is not a text" },
    { TYPED("\"hidden_act\":\"gelu\""), "hidden_act 'gelu' is not supported" },
    { "{\"model_type\":7}", "'model_type' is not a text" },
    { TYPED("\"architectures\":[\"LlamaForSequenceClassification\"]"), "is no language model" },
    { "{\"architectures\":[\"GraniteForCausalLM\"]}",
      "there is no model_type, but architectures has GraniteForCausalLM" },
    { TYPED("\"rope_theta\":null"), "rope_theta is null" },
    { TYPED("\"rms_norm_eps\":null"), "rms_norm_eps is null" },
    { TYPED("\"rms_norm_eps\":1"), "rms_norm_eps is 1, a whole number" },
    { TYPED("\"head_dim\":25"), "head_dim 25 is not an even number above 0" },
    { TYPED("\"hidden_size\":4100"), "hidden_size 4100 is no multiple of 32 heads" },
    { TYPED("\"is_causal\":false"), "is_causal: false" },
    { TYPED("\"rope_scaling\":{\"type\":\"dynamic\"}"), "dynamic positions need a factor" },
    { TYPED("\"rope_scaling\":{\"type\":\"llama3\",\"low_freq_factor\":1}"),
      "llama3 positions need a factor" },
    { TYPED("\"rope_scaling\":{\"type\":\"yarn\"}"), "yarn positions need a factor" },
    { TYPED("\"rope_scaling\":{\"type\":\"su\",\"factor\":2}"), "type 'su' is not supported" },
    { TYPED("\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,\"alpha\":3}"),
      "rope_scaling: 'alpha' is not known" },
    { TYPED("\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2,\"rope_theta\":null}"),
      "rope_theta is null" },
    { TYPED("\"rope_theta\":100,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,"
            "\"rope_theta\":200}"),
      "rope_theta is 100 and, in rope_scaling, 200: keep one" },
    { TYPED("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"beta_fast\":1}"),
      "rope_scaling: beta_slow is 1 and beta_fast is 1: they must be positive" },
    { TYPED("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"attention_factor\":0}"),
      "rope_scaling: attention_factor 0 must be positive" },
    { TYPED("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"mscale\":-90,"
            "\"mscale_all_dim\":1}"),
      "which follows from factor, mscale and mscale_all_dim, must be positive" },
    { "{\"model_type\":\"phi3\",\"rope_scaling\":{\"type\":\"longrope\","
      "\"original_max_position_embeddings\":32}}",
      "original_max_position_embeddings is in rope_scaling only" },
    { TYPED("\"layer_types\":[\"full_attention\"]"), "layer_types is not a list of 32" },
    { TYPED("\"layer_types\":[\"linear_attention\"],\"num_hidden_layers\":1"),
      "'linear_attention' at layer 0 is not supported" },
    { TYPED("\"layer_types\":[\"sliding_attention\"],\"num_hidden_layers\":1"),
      "but there is no sliding_window" },
    { TYPED("\"layer_types\":[\"sliding_attention\"],\"num_hidden_layers\":1,"
            "\"sliding_window\":5"),
      "this model_type has no sliding_window: remove layer_types" },
    { "{\"model_type\":\"gemma\"}", "only llama, mistral, ministral, qwen2, qwen3, smollm3, "
                                    "granite, olmo2, gemma3_text and phi3 are supported" },
    { "{\"model_type\":\"gemma3\",\"text_config\":{}}",
      "supported; docs/config.md tells how its text model is saved alone" },
    { "{\"model_type\":\"mistral\",\"attention_bias\":true}", "attention_bias: true" },
    { "{\"model_type\":\"qwen2\",\"mlp_bias\":true}", "mlp_bias: true" },
    { "{\"model_type\":\"qwen2\",\"no_rope_layers\":[1]}", "no_rope_layers" },
    { "{\"model_type\":\"qwen3\",\"head_dim\":null}", "'head_dim' is not a whole number" },
    { "{\"model_type\":\"ministral\"}", "'head_dim' is missing" },
    { "{\"model_type\":\"ministral\",\"head_dim\":64,\"sliding_window\":null}",
      "write model_type mistral" },
    { "{\"model_type\":\"mistral\",\"num_hidden_layers\":2,\"layer_types\":["
      "\"full_attention\",\"sliding_attention\"]}",
      "so head_dim is needed" },
    { "{\"model_type\":\"granite\",\"residual_multiplier\":null}", "residual_multiplier is null" },
    { "{\"model_type\":\"granite\",\"logits_scaling\":0}", "logits_scaling is 0, no positive" },
    { "{\"model_type\":\"granite\",\"embedding_multiplier\":-1}", "is -1, no positive number" },
    { "{\"model_type\":\"olmo2\",\"mlp_bias\":true}", "mlp_bias: true" },
    { "{\"model_type\":\"olmo2\",\"clip_qkv\":8.0}", "clip_qkv: 8.0: limits on q, k and v" },
    { "{\"model_type\":\"olmo2\",\"head_dim\":null}", "'head_dim' is not a whole number" },
    { "{\"model_type\":\"smollm3\",\"no_rope_layers\":[1]}", "no_rope_layers is not a list of 36" },
    { "{\"model_type\":\"smollm3\",\"no_rope_layer_interval\":0}", "no_rope_layer_interval is 0" },
    { "{\"model_type\":\"smollm3\",\"num_hidden_layers\":1,\"sliding_window\":8,"
      "\"layer_types\":[\"sliding_attention\"]}",
      "change the wrong one" },
    { TYPED("\"num_experts\":8"), "num_experts: 8: mixtures of experts" },
    { TYPED("\"embedding_multiplier\":12.0"), "embedding_multiplier: 12.0: factors on" },
    { TYPED("\"final_logit_softcapping\":30"), "final_logit_softcapping: 30" },
    { TYPED("\"per_layer_config\":{\"1\":{\"head_dim\":64}}"), "per_layer_config" },
    { TYPED("\"rope_local_base_freq\":10000"), "rope_local_base_freq" },
};

static void test_refusals_name_the_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        refused(refusals[i][0], refusals[i][1]);
}

static void test_refusals_of_gemma3(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { GEMMA("\"hidden_activation\":\"gelu\""), "hidden_activation 'gelu' is not supported" },
        { GEMMA("\"query_pre_attn_scalar\":0"), "query_pre_attn_scalar is 0" },
        { GEMMA("\"sliding_window\":null"), "sliding_window is null" },
        { GEMMA("\"sliding_window_pattern\":0"), "sliding_window_pattern is 0" },
        { GEMMA("\"num_attention_heads\":20"), "hidden_size 2304 is no multiple of 20 heads" },
        { GEMMA("\"num_key_value_heads\":null"), "'num_key_value_heads' is not a whole number" },
        { GEMMA("\"head_dim\":null"), "'head_dim' is not a whole number" },
        { GEMMA("\"tie_word_embeddings\":null"), "tie_word_embeddings is null" },
        { GEMMA("\"final_logit_softcapping\":30.0"), "final_logit_softcapping: soft capping" },
        { GEMMA("\"attn_logit_softcapping\":0"), "attn_logit_softcapping: soft capping" },
        { GEMMA("\"use_bidirectional_attention\":true"), "use_bidirectional_attention: true" },
        { GEMMA("\"rope_local_base_freq\":null"), "sliding_attention: its rope_theta is null" },
        { GEMMA("\"rope_local_base_freq\":0"), "the rope_theta of sliding_attention is 0" },
        { GEMMA("\"rope_scaling\":{\"type\":\"linear\",\"factor\":8}"), "write rope_type" },
        { GEMMA("\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4},"
                "\"original_max_position_embeddings\":16"),
          "is outside of this object" },
        { GEMMA("\"rope_parameters\":{\"rope_type\":\"default\"}"),
          "rope_parameters: 'rope_type' is not known; the known ones are full_attention" },
        { GEMMA("\"rope_parameters\":{\"full_attention\":1}"), "full_attention is not an object" },
        { GEMMA("\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8},"
                "\"rope_parameters\":{\"sliding_attention\":{}}"),
          "rope_scaling and rope_parameters both exist: remove one of them" },
        { GEMMA("\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"linear\","
                "\"factor\":2}}"),
          "linear positions of layers with a window are not supported" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i][0], cases[i][1]);
}

/* Each foreign name of a key is refused if our name of the key is absent, and docs/config.md lists
 * it. */
static void test_keys_of_other_models(void **state)
{
    (void)state;
    struct scratch_bytes page = scratch_load("docs/config.md");
    char *document = strndup((const char *)page.at, page.count), text[200], wanted[200];
    for (const struct config_name *n = config_names; n->name; n++) {
        snprintf(text, sizeof text, "{\"model_type\":\"llama\",\"%s\":16}", n->name);
        snprintf(wanted, sizeof wanted, "'%s' is another model's name for '%s': rename the key",
                 n->name, n->own);
        refused(text, wanted);
        snprintf(wanted, sizeof wanted, "\n- `%s`: ", n->own);
        const char *row = strstr(document, wanted);
        if (!row) fail_msg("docs/config.md has no line of %s", n->own);
        snprintf(wanted, sizeof wanted, "`%s`", n->name);
        if (!memmem(row, strcspn(row + 1, "\n") + 1, wanted, strlen(wanted)))
            fail_msg("docs/config.md lacks %s", n->name);
    }
    free(document);
    free(page.at);
}

/* A key that is switched off has no effect, and neither has a factor of 1. */
static void test_keys_that_are_off(void **state)
{
    (void)state;
    struct config c;
    char text[400];
    parsed(&c, TYPED("\"num_experts\":null,\"num_local_experts\":0,\"embedding_multiplier\":1.0,"
                     "\"use_qk_norm\":false,\"attention_bias\":false,\"pruned_heads\":{}"));
    assert_false(config_remark(&c, text, sizeof text));
    assert_int_equal(config_check_training(&c, &why), 0);
    config_release(&c);
    parsed(&c, TYPED("\"attention_dropout\":0.1"));
    assert_int_equal(config_check_training(&c, &why), -1);
    assert_non_null(strstr(why.text, "attention_dropout 0.1"));
    config_release(&c);
}

static void test_unknown_keys_are_named(void **state)
{
    (void)state;
    struct config c;
    char text[400], many[4000] = "{\"model_type\":\"llama\"";
    parsed(&c, TYPED("\"use_cache\":true,\"my_note\":3,\"another\":null"));
    assert_true(config_remark(&c, text, sizeof text));
    assert_string_equal(
        text, "config.json: unknown keys without effect, as in transformers: my_note, another");
    config_release(&c);
    for (int i = 0; i < 60; i++)
        snprintf(many + strlen(many), 40, ",\"note_%d\":%d", i, i);
    snprintf(many + strlen(many), 2, "}");
    parsed(&c, many);
    assert_true(config_remark(&c, text, sizeof text));
    assert_non_null(strstr(text, "note_0, note_1, "));
    assert_string_equal(text + strlen(text) - strlen(", …"), ", …");
    config_release(&c);
}

/* ---- the table ---- */

static const char *kind_name(const struct config_key *k)
{
    return k->kind == CONFIG_KEY_UNDERSTOOD ? "understood"
           : k->kind == CONFIG_KEY_HARMLESS ? "harmless"
                                            : "refused";
}

static int count_rows(const char *text, const char *from, const char *to)
{
    int count = 0;
    const char *at = strstr(text, from), *end = to ? strstr(text, to) : NULL;
    assert_non_null(at);
    while ((at = strstr(at + 1, "\n| `")) && (!end || at < end))
        count++;
    return count;
}

/* docs/config.md has one row for each key, and no other rows. */
static void test_the_table_is_documented(void **state)
{
    (void)state;
    struct scratch_bytes document = scratch_load("docs/config.md");
    char *text = strndup((const char *)document.at, document.count), row[400];
    assert_non_null(text);
    int keys = 0, rope_keys = 0;
    for (const struct config_key *k = config_keys; k->name; k++, keys++) {
        snprintf(row, sizeof row, "\n| `%s` | %s | %s |\n", k->name, kind_name(k), k->text);
        if (!strstr(text, row)) print_error("docs/config.md lacks:%s", row);
        assert_non_null(strstr(text, row));
    }
    for (const struct config_key *k = config_rope_keys; k->name; k++, rope_keys++) {
        snprintf(row, sizeof row, "\n| `%s` | %s | %s |\n", k->name, kind_name(k), k->text);
        if (!strstr(text, row)) print_error("docs/config.md lacks:%s", row);
        assert_non_null(strstr(text, row));
    }
    assert_int_equal(count_rows(text, "\n## The keys", "## In rope_scaling"), keys);
    assert_int_equal(count_rows(text, "## In rope_scaling", "## Files"), rope_keys);
    free(text);
    free(document.at);
}

/* Each family has one row for its defaults, and one row for each of its own keys. */
static void test_the_families_are_documented(void **state)
{
    (void)state;
    static const char *const dims[] = { "width / heads, which must be whole",
                                        "width / heads, rounded down",
                                        "width / heads, rounded down",
                                        "128",
                                        "256",
                                        "must be there" };
    struct scratch_bytes document = scratch_load("docs/config.md");
    char *text = strndup((const char *)document.at, document.count), row[400], kv[24];
    assert_non_null(text);
    int families = 0, keys = 0;
    for (const struct family *f; (f = family_at((size_t)families)); families++) {
        snprintf(kv, sizeof kv, "%lld", (long long)f->kv_heads);
        snprintf(row, sizeof row,
                 "\n| `%s` | %lld | %lld | %lld | %lld | %lld | %s | %s | %lld | %g | %s |\n",
                 f->model_type, (long long)f->vocab, (long long)f->dim, (long long)f->ffn,
                 (long long)f->layers, (long long)f->heads, f->kv_heads ? kv : "as heads",
                 dims[f->head_dim], (long long)f->max_position, f->theta,
                 f->is_tied ? "true" : "false");
        if (!strstr(text, row)) print_error("docs/config.md lacks:%s", row);
        assert_non_null(strstr(text, row));
        for (const struct config_key *k = f->features->keys; k->name; k++, keys++) {
            snprintf(row, sizeof row, "\n| `%s` | `%s` | %s | %s |\n", f->model_type, k->name,
                     kind_name(k), k->text);
            if (!strstr(text, row)) print_error("docs/config.md lacks:%s", row);
            assert_non_null(strstr(text, row));
        }
    }
    assert_int_equal(count_rows(text, "## The families", "### Keys of some"), families + 1);
    assert_int_equal(count_rows(text, "### Keys of some", "\n## The keys"), keys);
    free(text);
    free(document.at);
}

/* Each model_type is treated as the table in docs/ecosystem.md says. One row of the table lists the
 * types that are supported, another one the types that are refused by name. */
static void test_every_model_type_is_documented(void **state)
{
    (void)state;
    struct scratch_bytes document = scratch_load("docs/ecosystem.md");
    char *text = strndup((const char *)document.at, document.count), name[64], config[200];
    static const char *const rows[] = { "\n| supported (", "\n| refused by name (" };
    assert_non_null(text);
    for (int is_refused = 0; is_refused < 2; is_refused++) {
        const char *at = strstr(text, rows[is_refused]);
        assert_non_null(at);
        long listed = strtol(at + strlen(rows[is_refused]), NULL, 10);
        int count = 0;
        const char *end = strchr(at + 1, '\n');
        while ((at = strchr(at, '`')) && at < end) {
            const char *close = strchr(at + 1, '`');
            snprintf(name, sizeof name, "%.*s", (int)(close - at - 1), at + 1);
            snprintf(config, sizeof config, "{\"model_type\":\"%s\",\"head_dim\":128}", name);
            struct config c;
            int status = config_parse(&c, config, name, &why);
            if (!status) config_release(&c);
            if (status != -is_refused) fail_msg("%s: %s", name, status ? why.text : "supported");
            if (is_refused) assert_non_null(strstr(why.text, "model_type '"));
            at = close + 1;
            count++;
        }
        assert_int_equal(count, listed);
    }
    free(text);
    free(document.at);
}

/* ---- heads and names ---- */

static const char tiny[] = "{\"model_type\":\"llama\",\"vocab_size\":24,\"hidden_size\":32,"
                           "\"intermediate_size\":40,\"num_hidden_layers\":1,"
                           "\"num_attention_heads\":4,\"max_position_embeddings\":64,"
                           "\"tie_word_embeddings\":%s}";

/* The tensors of an untied model, under other names and with other heads. */
struct variant {
    const char *tied, *prefix; /* tie_word_embeddings; the prefix that replaces "model." */
    bool head_is_embedding, head_is_f16, lacks_head, lacks_embedding;
};

static void write_variant(const struct variant *v)
{
    struct config c;
    struct tensor *table;
    struct safetensors_writer *w;
    char text[400], path[300];
    char names[16][80];
    struct tensor_header headers[16];
    float *values[16];
    snprintf(text, sizeof text, tiny, "false");
    assert_int_equal(config_parse(&c, text, "c", &why), 0);
    int64_t count = tensors_list(&c, &table, &why), n = 0;
    for (int64_t i = 0; i < count; i++) {
        const struct tensor *t = &table[i];
        if ((t->part == PART_HEAD && v->lacks_head) ||
            (t->part == PART_EMBEDDING && v->lacks_embedding))
            continue;
        bool has_prefix = t->part != PART_HEAD;
        snprintf(names[n], sizeof names[n], "%s%s", has_prefix ? v->prefix : "",
                 t->name + (has_prefix ? strlen("model.") : 0));
        values[n] = synthetic_values(t, t->part == PART_HEAD && v->head_is_embedding ? 0 : i);
        headers[n] = model_directory_header(t, DTYPE_F32);
        headers[n].name = names[n];
        if (t->part == PART_HEAD && v->head_is_f16) {
            uint16_t *half = (uint16_t *)(void *)values[n]; /* narrows the values in place */
            headers[n].dtype = DTYPE_F16;
            for (int64_t j = 0; j < t->rows * t->cols; j++)
                half[j] = f16_from_float(values[n][j]);
        }
        n++;
    }
    snprintf(path, sizeof path, "%s/model.safetensors", scratch_directory);
    assert_int_equal(safetensors_create(&w, path, headers, (size_t)n, &why), 0);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(safetensors_put(w, values[i], tensor_header_bytes(&headers[i]), &why), 0);
        free(values[i]);
    }
    assert_int_equal(safetensors_finish(w, &why), 0);
    snprintf(text, sizeof text, tiny, v->tied);
    snprintf(path, sizeof path, "%s/config.json", scratch_directory);
    assert_int_equal(output_text(path, text, &why), 0);
    free(table);
    config_release(&c);
}

static float *logits_of_variant(const struct variant *v, bool is_tied)
{
    struct weights w;
    write_variant(v);
    if (weights_open(&w, scratch_directory, true, &why)) print_error("%s\n", why.text);
    assert_int_equal(w.count, is_tied ? 11 : 12);
    assert_int_equal(w.config.is_tied, is_tied);
    assert_int_equal(json_is_true(json_object_get(w.config.json, "tie_word_embeddings")), is_tied);
    float *logits = logits_of(&w, 5);
    char text[400];
    assert_int_equal(config_remark(&w.config, text, sizeof text),
                     !strcmp(v->tied, "true") && !is_tied);
    weights_close(&w);
    return logits;
}

static void check_same(const struct variant *a, const struct variant *b, bool is_tied)
{
    float *one = logits_of_variant(a, is_tied), *other = logits_of_variant(b, is_tied);
    assert_memory_equal(one, other, 5 * 24 * sizeof *one);
    free(one);
    free(other);
}

/* As in transformers 5: a tied head that is stored with other values is used. A head with the same
 * values as the embedding counts as the embedding, and so does a head that is stored without an
 * embedding. */
static void test_a_stored_head(void **state)
{
    (void)state;
    struct variant untied = { .tied = "false", .prefix = "model." };
    struct variant differs = { .tied = "true", .prefix = "model." };
    struct variant same = { .tied = "true", .prefix = "model.", .head_is_embedding = true };
    struct variant narrower = {
        .tied = "true", .prefix = "model.", .head_is_embedding = true, .head_is_f16 = true
    };
    struct variant absent = { .tied = "true", .prefix = "model.", .lacks_head = true };
    struct variant alone = {
        .tied = "true", .prefix = "model.", .head_is_embedding = true, .lacks_embedding = true
    };
    check_same(&untied, &differs, false);
    check_same(&same, &absent, true);
    check_same(&narrower, &absent, true);
    check_same(&absent, &alone, true);
}

/* The tensors have LlamaModel's names, with and without a head. */
static void test_tensor_names_without_the_prefix_model(void **state)
{
    (void)state;
    struct weights w;
    struct variant whole = { .tied = "true", .prefix = "model.", .lacks_head = true };
    struct variant bare = { .tied = "true", .prefix = "", .lacks_head = true };
    struct variant bare_head = { .tied = "false", .prefix = "" };
    struct variant untied = { .tied = "false", .prefix = "model." };
    check_same(&whole, &bare, true);
    check_same(&untied, &bare_head, false);
    struct variant headless = { .tied = "false", .prefix = "", .lacks_head = true };
    write_variant(&headless);
    assert_int_equal(weights_open(&w, scratch_directory, false, &why), -1);
    assert_non_null(strstr(why.text, "lm_head.weight is missing: the model was saved without its "
                                     "head"));
    static const char *const prefixes[][2] = {
        { "_orig_mod.model.", "saved from a compiled model" },
        { "base_model.model.model.", "save the model after merge_and_unload" },
        { "module.model.", "saved from a parallel model" },
        { "language_model.model.", "save that part alone" },
        { "model.language_model.", "save that part alone" },
    };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        struct variant wrapped = { .tied = "false", .prefix = prefixes[i][0] };
        write_variant(&wrapped);
        assert_int_equal(weights_open(&w, scratch_directory, false, &why), -1);
        assert_non_null(strstr(why.text, prefixes[i][1]));
    }
}

/* ---- what merge writes for servers ---- */

static void test_yarn_is_written_with_the_long_context(void **state)
{
    (void)state;
    struct config c;
    parsed(&c, TYPED("\"max_position_embeddings\":4096"));
    assert_int_equal(rope_set(&c.rope, "yarn:4", &why), 0);
    json_t *json = config_to_json(&c, false);
    assert_int_equal(json_integer_value(json_object_get(json, "max_position_embeddings")), 16384);
    char *text = json_dumps(json, 0);
    config_release(&c);
    parsed(&c, text);
    assert_true(c.rope.factor == 4 && c.original_position == 4096 && config_context(&c) == 16384);
    config_release(&c);
    free(text);
    json_decref(json);
}

/* Gemma 3 of 4B and more has the context after linear scaling as max_position_embeddings. */
static void test_gemma3_has_the_whole_context(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *rope;                        /* a new scaling, or NULL */
        int64_t context, max_position, original; /* original: 0 if it is not written */
    } cases[] = {
        { GEMMA("\"max_position_embeddings\":131072,\"rope_scaling\":{\"rope_type\":\"linear\","
                "\"factor\":8}"),
          NULL, 131072, 131072, 0 },
        { GEMMA("\"max_position_embeddings\":131072,\"rope_parameters\":{\"full_attention\":{"
                "\"rope_type\":\"linear\",\"factor\":8,\"rope_theta\":1000000}}"),
          NULL, 131072, 131072, 0 },
        { GEMMA("\"max_position_embeddings\":131072,\"rope_scaling\":{\"rope_type\":\"linear\","
                "\"factor\":8}"),
          "linear:16", 262144, 262144, 16384 },
        { GEMMA("\"max_position_embeddings\":32768"), "linear:2", 65536, 65536, 32768 },
        { GEMMA("\"max_position_embeddings\":65536,\"original_max_position_embeddings\":32768,"
                "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2}"),
          NULL, 65536, 65536, 32768 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config c;
        parsed(&c, cases[i].text);
        if (cases[i].rope) assert_int_equal(rope_set(&c.rope, cases[i].rope, &why), 0);
        assert_int_equal(config_context(&c), cases[i].context);
        json_t *json = config_to_json(&c, false);
        const json_t *max = json_object_get(json, "max_position_embeddings");
        const json_t *original = json_object_get(json, "original_max_position_embeddings");
        assert_int_equal(json_integer_value(max), cases[i].max_position);
        assert_int_equal(json_integer_value(original), cases[i].original);
        json_decref(json);
        config_release(&c);
    }
}

static void test_model_max_length(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "{\"a\":{\"model_max_length\":1},\"model_max_length\": 16 }",
          "{\"a\":{\"model_max_length\":1},\"model_max_length\": 32 }" },
        { "{\"model_max_length\":16.0,\"b\":1000000000000000019884624838656}",
          "{\"model_max_length\":32,\"b\":1000000000000000019884624838656}" },
        { "{\"model_max_length\":1e30}", "{\"model_max_length\":1e30}" },
        { "{\"model_max_length\":64}", "{\"model_max_length\":64}" },
        { "{\"model_max_length\":\"16\"}", "{\"model_max_length\":\"16\"}" },
        { "{\"model_max_length\":null}", "{\"model_max_length\":null}" },
        { "{\"model_max_length\":-1}", "{\"model_max_length\":-1}" },
        { "[16]", "[16]" },
        { "{\"model_max_length\":16", "{\"model_max_length\":16" },
    };
    char path[300];
    snprintf(path, sizeof path, "%s/tokenizer_config.json", scratch_directory);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(output_text(path, cases[i][0], &why), 0);
        assert_int_equal(model_max_length_raise(scratch_directory, 32, &why), 0);
        struct scratch_bytes got = scratch_load(path);
        assert_int_equal(got.count, strlen(cases[i][1]));
        assert_memory_equal(got.at, cases[i][1], got.count);
        free(got.at);
    }
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_to_transformers),
        cmocka_unit_test(test_base_configs),
        cmocka_unit_test(test_absent_keys),
        cmocka_unit_test(test_yarn_with_null_or_zero),
        cmocka_unit_test(test_linear_scaling_has_the_bits_of_transformers),
        cmocka_unit_test(test_refusals_name_the_key),
        cmocka_unit_test(test_refusals_of_gemma3),
        cmocka_unit_test(test_keys_of_other_models),
        cmocka_unit_test(test_keys_that_are_off),
        cmocka_unit_test(test_unknown_keys_are_named),
        cmocka_unit_test(test_the_table_is_documented),
        cmocka_unit_test(test_the_families_are_documented),
        cmocka_unit_test(test_every_model_type_is_documented),
        cmocka_unit_test(test_a_stored_head),
        cmocka_unit_test(test_tensor_names_without_the_prefix_model),
        cmocka_unit_test(test_yarn_is_written_with_the_long_context),
        cmocka_unit_test(test_gemma3_has_the_whole_context),
        cmocka_unit_test(test_model_max_length),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
