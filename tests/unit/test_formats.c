/* Tests the reading and writing of foreign formats: safetensors (hostile files too), config.json
 * and its position scaling, model directories, adapters. */
#include "lib/common/output.h"
#include "lib/llama/base_digest.h"
#include "lib/llama/model_directory.h"
#include "model/adapter_load.h"
#include "model/adapter_save.h"
#include "model/checkpoint.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <math.h>
#include <unistd.h>

static struct fail why;
/* The norms that a LLaMA has. */
static const uint32_t norms = 1u << PART_ATTN_NORM | 1u << PART_MLP_NORM | 1u << PART_FINAL_NORM;

static void store(const char *header, size_t length, size_t data)
{
    FILE *f = fopen(scratch_file, "wb");
    for (int i = 0; i < 8; i++)
        fputc((int)(length >> (8 * i) & 255), f);
    fputs(header, f);
    for (size_t i = 0; i < data; i++)
        fputc(0, f);
    fclose(f);
}

static void refused(const char *header, size_t data, const char *reason)
{
    struct tensor_file s;
    store(header, strlen(header), data);
    assert_int_equal(safetensors_open(&s, scratch_file, &why), -1);
    if (!strstr(why.text, reason)) print_error("'%s' lacks '%s'\n", why.text, reason);
    assert_non_null(strstr(why.text, reason));
    assert_int_equal(why.status, STATUS_INPUT);
}

static void test_hostile_safetensors(void **state)
{
    (void)state;
    struct tensor_file s;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "truncated");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "need 8");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "leaves a gap");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8,
            "belong to no tensor");
    refused(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\","
        "\"shape\":[1],\"data_offsets\":[0,4]}}",
        4, "overlaps");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4194305,4194305,211106198978564],"
            "\"data_offsets\":[0,4]}}",
            4, "overflows");
    refused("{\"a\":{\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype F4");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "not a count");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4,
            "data are at 4 to 0");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets");
#define EMPTY "{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}"
    refused("{\"a\":" EMPTY ",\"a\":" EMPTY "}", 0, "a occurs twice");
    refused("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 0, "a: 'dtype' occurs twice");
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ occurs twice");
    refused("[1]", 0, "header byte 1: not an object");
    refused("{\"a\":", 0, "header byte 6: not an object (truncated?)");
    refused("{\"a\":" EMPTY "]", 0, "',' or '}' is missing");
    refused("{\"a\":" EMPTY ",}", 0, "not a string");
    refused("{\"a\":" EMPTY "} x", 0, "something follows the end");
    refused("{\"a\\u0000\":" EMPTY "}", 0, "\\u0000");
    refused("{\"\xc0\":" EMPTY "}", 0, "not UTF-8");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1e0],\"data_offsets\":[0,4]}}", 4, "no shape");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],"
            "\"data_offsets\":[0,4]}}",
            4, "no shape");
    store("{}", (size_t)-1, 0);
    assert_int_equal(safetensors_open(&s, scratch_file, &why), -1);
    assert_non_null(strstr(why.text, "at most 104857600"));
    store("{}", 1000, 0);
    assert_int_equal(safetensors_open(&s, scratch_file, &why), -1);
    assert_non_null(strstr(why.text, "its header should have 1000 bytes, but the file has 2"));
    FILE *f = fopen(scratch_file, "wb");
    fclose(f);
    assert_int_equal(safetensors_open(&s, scratch_file, &why), -1);
    assert_int_equal(safetensors_open(&s, "/nonexistent/x", &why), -1);
    assert_int_equal(why.status, STATUS_FAILED);
}

/* White space and unknown keys of other programs between the values do not matter. */
static void test_foreign_spelling(void **state)
{
    (void)state;
    static const char header[] =
        " {\n\t\"__metadata__\" : {\"format\":\"pt\", \"x\": [1.5e-3, true, null, {\"a\":[]}]},\r\n"
        " \"a\\u00e4\\ud83d\\ude00\\n\": {\"shape\": [ 1 , 2 ], \"other\": {\"b\": [{}]}, "
        "\"data_offsets\": [0, 8], \"dtype\": \"F32\"} , \"c\": " EMPTY " }  ";
    struct tensor_file s;
    store(header, sizeof header - 1, 8);
    assert_int_equal(safetensors_open(&s, scratch_file, &why), 0);
    const struct stored_tensor *t = tensor_file_find(&s, "a\xc3\xa4\xf0\x9f\x98\x80\n");
    assert_true(t && t->dims == 2 && t->shape[1] == 2 && t->bytes == 8 && s.count == 2);
    tensor_file_close(&s);
}

/* Every type that a file may name is found by its name. NF4 is not such a type; it is stored as
 * bytes. */
static void test_dtypes(void **state)
{
    (void)state;
    enum dtype found;
    for (int i = DTYPE_F32; i <= DTYPE_BOOL; i++) {
        enum dtype dtype = (enum dtype)i;
        if (dtype == DTYPE_NF4) continue;
        assert_int_equal(dtype_parse(dtype_name(dtype), &found), 0);
        assert_int_equal(found, dtype);
        assert_int_equal(dtype_stored(dtype), dtype);
        assert_int_equal(dtype_bits(dtype), 8 * dtype_size(dtype));
        assert_int_equal(dtype_is_float(dtype),
                         dtype == DTYPE_F32 || dtype == DTYPE_BF16 || dtype == DTYPE_F16);
    }
    assert_int_equal(dtype_parse("NF4", &found), -1);
    assert_int_equal(dtype_parse("nf4", &found), -1);
    assert_string_equal(dtype_stream_name(DTYPE_NF4), "nf4");
    assert_int_equal(dtype_stored(DTYPE_NF4), DTYPE_U8);
    assert_int_equal(dtype_bits(DTYPE_NF4), 4);
}

static void test_safetensors_round_trip(void **state)
{
    (void)state;
    const struct tensor_header headers[] = { { "x", DTYPE_F32, 2, { 2, 3 } },
                                             { "y", DTYPE_BF16, 1, { 5 } },
                                             { "z", DTYPE_U8, 1, { 3 } } };
    unsigned char data[24 + 10 + 3];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)i;
    struct safetensors_writer *w;
    struct tensor_file s;
    assert_int_equal(safetensors_create(&w, scratch_file, headers, 3, &why), 0);
    assert_int_equal(safetensors_put(w, data, 30, &why), 0);
    assert_int_equal(safetensors_put(w, data + 30, 7, &why), 0);
    assert_int_equal(safetensors_finish(w, &why), 0);
    assert_int_equal(safetensors_open(&s, scratch_file, &why), 0);
    assert_int_equal(s.count, 3);
    const struct stored_tensor *y = tensor_file_find(&s, "y");
    assert_true(y && y->dtype == DTYPE_BF16 && y->dims == 1 && y->shape[0] == 5 && y->bytes == 10);
    assert_memory_equal(y->data, data + 24, 10);
    assert_true(((uintptr_t)s.at[0].data & 7) == 0);
    assert_null(tensor_file_find(&s, "nothing"));
    tensor_file_close(&s);
}

static void test_safetensors_names_differ(void **state)
{
    (void)state;
    static const struct {
        const char *name, *fault;
    } bad[] = { { "x", "two tensors have the name x" },
                { "__metadata__", "two tensors have the name __metadata__" },
                { "\xff", "not UTF-8" } };
    struct safetensors_writer *w;
    unlink(scratch_file);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct tensor_header headers[] = { { "x", DTYPE_F32, 2, { 2, 3 } },
                                                 { bad[i].name, DTYPE_BF16, 1, { 5 } } };
        assert_int_equal(safetensors_create(&w, scratch_file, headers, 2, &why), -1);
        assert_non_null(strstr(why.text, bad[i].fault));
        assert_null(w);
        assert_int_equal(access(scratch_file, F_OK), -1);
    }
}

/* ---- config.json ---- */

#define SIZES                                                                                      \
    "\"vocab_size\":32000,\"hidden_size\":4096,\"intermediate_size\":11008,"                       \
    "\"num_hidden_layers\":32,\"num_attention_heads\":32,\"max_position_embeddings\":4096"

static void config_refused(const char *more, const char *reason)
{
    struct config c;
    char text[1024];
    snprintf(text, sizeof text, "{" SIZES "%s}", more);
    assert_int_equal(config_parse(&c, text, "c", &why), -1);
    if (!strstr(why.text, reason)) print_error("'%s' lacks '%s'\n", why.text, reason);
    assert_non_null(strstr(why.text, reason));
}

static void test_config(void **state)
{
    (void)state;
    struct config c, copy;
    char text[200];
    assert_int_equal(config_parse(&c, "{" SIZES "}", "c", &why), 0);
    assert_true(c.kv_heads == 32 && c.head_dim == 128 && c.theta == 10000 && !c.is_tied);
    assert_true(tensors_parameters(&c) == 6738415616);
    assert_int_equal(config_context(&c), 4096);
    assert_int_equal(config_extend(&c, 8192, &why), 0);
    assert_true(c.rope.type == ROPE_LINEAR && c.rope.factor == 2 && config_context(&c) == 8192);
    config_describe_rope(&c, text, sizeof text);
    assert_string_equal(text, "linear 2 (4096 → 8192), theta 10000");
    assert_int_equal(config_extend(&c, 6000, &why), 0);
    assert_true(c.rope.factor == 2);
    /* Extending the context 4k → 8k → 16k equals 4k → 16k, even if the config is written and read
     * in between. For a context of 12,000 the factor is rounded up to an integer. */
    json_t *json = config_to_json(&c, false);
    char *dumped = json_dumps(json, 0);
    assert_int_equal(config_parse(&copy, dumped, "c", &why), 0);
    assert_true(copy.rope.factor == 2 && copy.original_position == 4096 &&
                copy.max_position == 4096);
    const json_t *scaling = json_object_get(json, "rope_scaling");
    assert_int_equal(json_object_size(scaling), 2);
    assert_int_equal(config_extend(&copy, 16384, &why), 0);
    assert_true(copy.rope.factor == 4);
    assert_int_equal(config_extend(&copy, 12000, &why), 0);
    assert_true(copy.rope.factor == 4);
    config_release(&copy);
    free(dumped);
    json_decref(json);
    json = config_to_json(&c, true);
    assert_int_equal(json_object_size(json_object_get(json, "rope_scaling")), 3);
    json_decref(json);
    assert_int_equal(rope_set(&c.rope, "linear:2.5", &why), 0);
    assert_true(c.rope.factor == 2.5);
    assert_int_equal(rope_set(&c.rope, "none", &why), 0);
    assert_true(c.rope.type == ROPE_DEFAULT);
    static const char *const bad[] = { "linear:0.5", "linear:x",   "linear:2x", "longrope:2",
                                       "default:2",  "linear:nan", "linear",    "yarn:",
                                       ":2",         "none:1" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(rope_set(&c.rope, bad[i], &why), -1);
    config_release(&c);
}

static void test_unsupported_values_are_refused(void **state)
{
    (void)state;
    config_refused(",\"attention_bias\":1", "'attention_bias' is not true or false");
    config_refused(",\"qkv_bias\":true", "qkv_bias");
    config_refused(",\"hidden_act\":\"gelu\"", "hidden_act 'gelu'");
    config_refused(",\"sliding_window\":0", "sliding_window is not positive");
    config_refused(",\"partial_rotary_factor\":0.5", "partial_rotary_factor");
    config_refused(",\"ntk_rope\":{\"factor\":2,\"rope_theta\":10000}", "ntk_rope does not fit");
    config_refused(",\"rope_parameters\":{\"rope_type\":\"default\"},\"rope_scaling\":{\"type\":"
                   "\"linear\",\"factor\":2}",
                   "remove one of them");
    config_refused(
        ",\"original_max_position_embeddings\":1024,\"rope_scaling\":{\"type\":\"dynamic\","
        "\"factor\":2}",
        "the original context of dynamic positions is not");
    config_refused(
        ",\"original_max_position_embeddings\":1024,\"rope_scaling\":{\"rope_type\":\"yarn\","
        "\"factor\":2,\"original_max_position_embeddings\":2048}",
        "is 1024 and, for the position scaling, 2048");
    config_refused(",\"model_type\":\"gpt2\"", "model_type 'gpt2'");
    config_refused(",\"rope_scaling\":{\"type\":\"longrope\",\"factor\":2}", "type 'longrope'");
    config_refused(",\"rope_scaling\":{\"type\":\"ntk\",\"factor\":2}", "type 'ntk'");
    config_refused(",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}", "factor 0.5");
    config_refused(",\"rope_scaling\":{\"type\":\"linear\",\"rope_type\":\"dynamic\"}", "differ");
    config_refused(",\"rope_scaling\":{\"factor\":2}", "no type");
    config_refused(",\"rope_scaling\":{\"type\":\"linear\"}", "linear positions need a factor");
    config_refused(",\"rope_scaling\":{\"type\":\"linear\",\"factor\":null}", "need a factor");
    config_refused(",\"num_key_value_heads\":5",
                   "num_attention_heads 32 is no multiple of num_key_value_heads 5");
    config_refused(",\"head_dim\":127", "127 is not an even number above 0");
    config_refused(",\"num_key_value_heads\":-1", "is -1");
    struct config c;
    assert_int_equal(config_parse(&c, "{}", "c", &why), -1);
    assert_int_equal(config_read(&c, "/nonexistent", &why), -1);
}

static void parsed(struct config *c, const char *more)
{
    char text[1024];
    snprintf(text, sizeof text, "{" SIZES "%s}", more);
    if (config_parse(c, text, "c", &why)) print_error("%s\n", why.text);
    assert_non_null(c->json);
}

/* Writes the config as merge does, and reads it again. */
static void reread(struct config *c)
{
    json_t *json = config_to_json(c, false);
    char *text = json_dumps(json, 0);
    json_decref(json);
    config_release(c);
    assert_int_equal(config_parse(c, text, "c", &why), 0);
    free(text);
}

/* The keys have the names that transformers 5 writes into its config.json. */
static void test_key_names_of_transformers_5(void **state)
{
    (void)state;
    struct config c;
    parsed(&c,
           ",\"dtype\":\"bfloat16\",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
           "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"rope_theta\":500000.0,"
           "\"original_max_position_embeddings\":2048}");
    assert_true(c.theta == 500000 && c.rope.type == ROPE_LLAMA3 && c.original_position == 2048);
    assert_int_equal(weights_config_type(&c), DTYPE_BF16);
    reread(&c);
    assert_true(c.theta == 500000 && c.rope.type == ROPE_LLAMA3 && c.rope.high == 4);
    assert_null(json_object_get(c.json, "rope_parameters"));
    assert_null(json_object_get(c.json, "dtype"));
    assert_string_equal(json_string_value(json_object_get(c.json, "torch_dtype")), "bfloat16");
    config_release(&c);
    parsed(&c, ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":20000.0}");
    assert_true(c.theta == 20000 && c.rope.type == ROPE_DEFAULT);
    assert_int_equal(config_extend(&c, 8192, &why), 0);
    reread(&c);
    assert_true(c.theta == 20000 && c.rope.type == ROPE_LINEAR && c.rope.factor == 2);
    config_release(&c);
}

/* A merged config states NTK-aware scaling in such a way that other programs read a larger
 * theta. */
static void test_ntk_and_yarn_through_a_config(void **state)
{
    (void)state;
    struct config c;
    parsed(&c, "");
    assert_int_equal(rope_set(&c.rope, "ntk:2", &why), 0);
    assert_int_equal(config_context(&c), 8192);
    reread(&c);
    double theta = json_number_value(json_object_get(c.json, "rope_theta"));
    assert_true(fabs(theta - 10000 * pow(2, 128.0 / 126)) < 1e-6 * theta);
    assert_true(json_is_null(json_object_get(c.json, "rope_scaling")));
    assert_int_equal(json_integer_value(json_object_get(c.json, "max_position_embeddings")), 8192);
    assert_true(c.rope.type == ROPE_NTK && c.rope.factor == 2 && c.theta == 10000 &&
                c.original_position == 4096 && config_context(&c) == 8192);
    reread(&c);
    assert_true(c.rope.type == ROPE_NTK && c.theta == 10000);
    config_release(&c);
    /* All keys of the base's own YaRN are kept. rope_set sets beta_fast to its default again. */
    parsed(&c, ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"beta_fast\":16,"
               "\"original_max_position_embeddings\":4096}");
    reread(&c);
    assert_true(c.rope.high == 16 && c.rope.type == ROPE_YARN);
    assert_int_equal(config_context(&c), 8192);
    assert_int_equal(rope_set(&c.rope, "yarn:4", &why), 0);
    reread(&c);
    assert_true(c.rope.factor == 4 && c.rope.high == 32 && c.original_position == 4096);
    config_release(&c);
}

/* llama3:8 is the same as Llama 3.1's object rope_scaling, in positions and in the config that is
 * written. Only where the file has the scaling, the file's max_position_embeddings is the context.
 */
static void test_llama3_that_a_user_chose(void **state)
{
    (void)state;
    struct config c, stored;
    float own[2][64], theirs[2][64];
    parsed(&c, "");
    assert_int_equal(rope_set(&c.rope, "llama3:8", &why), 0);
    assert_int_equal(config_context(&c), 32768);
    parsed(&stored, ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
                    "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
                    "\"original_max_position_embeddings\":4096}");
    assert_int_equal(config_context(&stored), 4096);
    config_rope_tables(&c, 100, 99, 1, own[0], own[1]);
    config_rope_tables(&stored, 100, 99, 1, theirs[0], theirs[1]);
    assert_memory_equal(own, theirs, sizeof own);
    reread(&c);
    assert_true(rope_equal(&c.rope, &stored.rope) && c.original_position == 4096);
    assert_int_equal(config_context(&c), 32768);
    assert_int_equal(json_integer_value(json_object_get(c.json, "max_position_embeddings")), 32768);
    assert_int_equal(rope_set(&stored.rope, "llama3:16", &why), 0);
    assert_int_equal(config_context(&stored), 65536);
    config_release(&c);
    config_release(&stored);
}

/* Mistral's window is computed, so it does not limit the context. LLaMA's window is not computed,
 * so it limits the context. */
static void test_sliding_window(void **state)
{
    (void)state;
    struct config c;
    parsed(&c, ",\"model_type\":\"mistral\",\"sliding_window\":1024");
    assert_int_equal(config_context(&c), 4096);
    assert_int_equal(config_check_context(&c, 5000, &why), 0);
    assert_int_equal(config_window(&c, 1), 1024);
    assert_int_equal(config_extend(&c, 8192, &why), 0);
    assert_int_equal(config_context(&c), 8192);
    config_release(&c);
    parsed(&c, ",\"sliding_window\":1024");
    assert_int_equal(config_context(&c), 1024);
    assert_int_equal(config_check_context(&c, 1024, &why), 0);
    assert_int_equal(config_check_context(&c, 1025, &why), -1);
    assert_non_null(strstr(why.text, "sliding_window 1024 is shorter than a context of 1025"));
    assert_int_equal(config_extend(&c, 8192, &why), -1);
    config_release(&c);
    parsed(&c, ",\"sliding_window\":null");
    assert_int_equal(config_context(&c), 4096);
    config_release(&c);
}

/* The published config.json of widely used models, without keys that have no meaning here.
 * `parameters` is the known number of parameters. */
static const struct {
    const char *name, *text;
    int64_t parameters, context;
} models[] = {
    { "LLaMA 7B",
      "{\"architectures\":[\"LLaMAForCausalLM\"],\"bos_token_id\":0,\"eos_token_id\":1,"
      "\"hidden_act\":\"silu\",\"hidden_size\":4096,\"intermediate_size\":11008,"
      "\"initializer_range\":0.02,\"max_sequence_length\":2048,\"model_type\":\"llama\","
      "\"num_attention_heads\":32,\"num_hidden_layers\":32,\"pad_token_id\":-1,"
      "\"rms_norm_eps\":1e-06,\"torch_dtype\":\"float16\",\"use_cache\":true,"
      "\"vocab_size\":32000}",
      6738415616, 2048 },
    { "LLaMA 2 70B",
      "{\"hidden_act\":\"silu\",\"hidden_size\":8192,\"intermediate_size\":28672,"
      "\"max_position_embeddings\":4096,\"model_type\":\"llama\",\"num_attention_heads\":64,"
      "\"num_hidden_layers\":80,\"num_key_value_heads\":8,\"pretraining_tp\":1,"
      "\"rms_norm_eps\":1e-05,\"rope_scaling\":null,\"tie_word_embeddings\":false,"
      "\"vocab_size\":32000}",
      68976648192, 4096 },
    { "Vicuna 13B v1.5 16k",
      "{\"hidden_act\":\"silu\",\"hidden_size\":5120,\"intermediate_size\":13824,"
      "\"max_position_embeddings\":4096,\"max_sequence_length\":16384,\"model_type\":\"llama\","
      "\"num_attention_heads\":40,\"num_hidden_layers\":40,\"num_key_value_heads\":40,"
      "\"pad_token_id\":0,\"rms_norm_eps\":1e-05,\"rope_scaling\":{\"factor\":4.0,"
      "\"type\":\"linear\"},\"tie_word_embeddings\":false,\"vocab_size\":32000}",
      13015864320, 16384 },
    { "CodeLlama 7B",
      "{\"hidden_act\":\"silu\",\"hidden_size\":4096,\"intermediate_size\":11008,"
      "\"max_position_embeddings\":16384,\"model_type\":\"llama\",\"num_attention_heads\":32,"
      "\"num_hidden_layers\":32,\"num_key_value_heads\":32,\"rms_norm_eps\":1e-05,"
      "\"rope_scaling\":null,\"rope_theta\":1000000,\"tie_word_embeddings\":false,"
      "\"torch_dtype\":\"bfloat16\",\"vocab_size\":32016}",
      6738546688, 16384 },
    { "TinyLlama 1.1B",
      "{\"attention_bias\":false,\"hidden_act\":\"silu\",\"hidden_size\":2048,"
      "\"intermediate_size\":5632,\"max_position_embeddings\":2048,\"model_type\":\"llama\","
      "\"num_attention_heads\":32,\"num_hidden_layers\":22,\"num_key_value_heads\":4,"
      "\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,\"tie_word_embeddings\":false,"
      "\"vocab_size\":32000}",
      1100048384, 2048 },
    { "Mistral 7B v0.1",
      "{\"architectures\":[\"MistralForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":"
      "4096,"
      "\"intermediate_size\":14336,\"max_position_embeddings\":32768,"
      "\"model_type\":\"mistral\",\"num_attention_heads\":32,\"num_hidden_layers\":32,"
      "\"num_key_value_heads\":8,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,"
      "\"sliding_window\":4096,\"tie_word_embeddings\":false,\"vocab_size\":32000}",
      7241732096, 32768 },
    { "Ministral 8B",
      "{\"head_dim\":128,\"hidden_size\":4096,\"intermediate_size\":12288,"
      "\"max_position_embeddings\":32768,\"model_type\":\"mistral\",\"num_attention_heads\":32,"
      "\"num_hidden_layers\":36,\"num_key_value_heads\":8,\"rms_norm_eps\":1e-05,"
      "\"rope_theta\":100000000.0,\"sliding_window\":32768,\"tie_word_embeddings\":false,"
      "\"vocab_size\":131072}",
      8019808256, 32768 },
    { "Qwen2.5 0.5B",
      "{\"hidden_act\":\"silu\",\"hidden_size\":896,\"intermediate_size\":4864,"
      "\"max_position_embeddings\":32768,\"max_window_layers\":24,\"model_type\":\"qwen2\","
      "\"num_attention_heads\":14,\"num_hidden_layers\":24,\"num_key_value_heads\":2,"
      "\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"sliding_window\":32768,"
      "\"tie_word_embeddings\":true,\"use_mrope\":false,\"use_sliding_window\":false,"
      "\"vocab_size\":151936}",
      494032768, 32768 },
    { "R1-Distill-Qwen 1.5B",
      "{\"hidden_act\":\"silu\",\"hidden_size\":1536,\"intermediate_size\":8960,"
      "\"max_position_embeddings\":131072,\"max_window_layers\":21,\"model_type\":\"qwen2\","
      "\"num_attention_heads\":12,\"num_hidden_layers\":28,\"num_key_value_heads\":2,"
      "\"rms_norm_eps\":1e-06,\"rope_theta\":10000,\"sliding_window\":4096,"
      "\"tie_word_embeddings\":false,\"use_mrope\":false,\"use_sliding_window\":false,"
      "\"vocab_size\":151936}",
      1777088000, 131072 },
    { "Qwen3 0.6B",
      "{\"attention_bias\":false,\"head_dim\":128,\"hidden_act\":\"silu\",\"hidden_size\":1024,"
      "\"intermediate_size\":3072,\"max_position_embeddings\":40960,\"max_window_layers\":28,"
      "\"model_type\":\"qwen3\",\"num_attention_heads\":16,\"num_hidden_layers\":28,"
      "\"num_key_value_heads\":8,\"rms_norm_eps\":1e-06,\"rope_scaling\":null,"
      "\"rope_theta\":1000000,\"sliding_window\":null,\"tie_word_embeddings\":true,"
      "\"use_sliding_window\":false,\"vocab_size\":151936}",
      596049920, 40960 },
    { "SmolLM2 135M",
      "{\"hidden_act\":\"silu\",\"hidden_size\":576,\"intermediate_size\":1536,"
      "\"is_llama_config\":true,\"max_position_embeddings\":8192,\"model_type\":\"llama\","
      "\"num_attention_heads\":9,\"num_hidden_layers\":30,\"num_key_value_heads\":3,"
      "\"rms_norm_eps\":1e-05,\"rope_interleaved\":false,\"rope_scaling\":null,"
      "\"rope_theta\":100000,\"tie_word_embeddings\":true,\"vocab_size\":49152}",
      134515008, 8192 },
    { "SmolLM3 3B",
      "{\"attention_bias\":false,\"hidden_act\":\"silu\",\"hidden_size\":2048,"
      "\"intermediate_size\":11008,\"max_position_embeddings\":65536,\"max_window_layers\":28,"
      "\"mlp_bias\":false,\"model_type\":\"smollm3\",\"no_rope_layer_interval\":4,"
      "\"num_attention_heads\":16,\"num_hidden_layers\":36,\"num_key_value_heads\":4,"
      "\"rms_norm_eps\":1e-06,\"rope_scaling\":null,\"rope_theta\":5000000.0,"
      "\"sliding_window\":null,\"use_sliding_window\":false,\"vocab_size\":128256}",
      3075098624, 65536 },
    { "Llama 3.1 8B",
      "{\"attention_bias\":false,\"bos_token_id\":128000,\"eos_token_id\":[128001,128008,"
      "128009],"
      "\"hidden_act\":\"silu\",\"hidden_size\":4096,\"intermediate_size\":14336,"
      "\"max_position_embeddings\":131072,\"mlp_bias\":false,\"model_type\":\"llama\","
      "\"num_attention_heads\":32,\"num_hidden_layers\":32,\"num_key_value_heads\":8,"
      "\"rms_norm_eps\":1e-05,\"rope_scaling\":{\"factor\":8.0,\"low_freq_factor\":1.0,"
      "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192,"
      "\"rope_type\":\"llama3\"},\"rope_theta\":500000.0,\"tie_word_embeddings\":false,"
      "\"vocab_size\":128256}",
      8030261248, 131072 },
    { "Llama 3.2 1B",
      "{\"head_dim\":64,\"hidden_act\":\"silu\",\"hidden_size\":2048,\"intermediate_size\":"
      "8192,"
      "\"max_position_embeddings\":131072,\"model_type\":\"llama\",\"num_attention_heads\":32,"
      "\"num_hidden_layers\":16,\"num_key_value_heads\":8,\"rms_norm_eps\":1e-05,"
      "\"rope_scaling\":{\"factor\":32.0,\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,"
      "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"},"
      "\"rope_theta\":500000.0,\"tie_word_embeddings\":true,\"vocab_size\":128256}",
      1235814400, 131072 },
};

static void test_known_models(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct config c;
        if (config_parse(&c, models[i].text, models[i].name, &why)) print_error("%s\n", why.text);
        assert_non_null(c.json);
        assert_int_equal(tensors_parameters(&c), models[i].parameters);
        assert_int_equal(config_context(&c), models[i].context);
        config_release(&c);
    }
}

/* An angle is the f32 frequency times the quotient of position and factor. */
static void test_rope_tables(void **state)
{
    (void)state;
    struct config c;
    float cos_got[5 * 64], sin_got[5 * 64];
    assert_int_equal(config_parse(&c, "{" SIZES "}", "c", &why), 0);
    assert_int_equal(rope_set(&c.rope, "linear:4", &why), 0);
    config_rope_tables(&c, 5, 0, 5, cos_got, sin_got);
    for (int t = 0; t < 5; t++)
        for (int i = 0; i < 64; i++) {
            double angle = t / 4.0 * pow(10000, -2.0 * i / 128);
            assert_true(fabs((double)cos_got[t * 64 + i] - cos(angle)) < 1e-6);
            assert_true(fabs((double)sin_got[t * 64 + i] - sin(angle)) < 1e-6);
        }
    config_release(&c);
}

/* ---- directories ---- */

static int produce_stored(void *arg, int64_t index, struct safetensors_writer *w, struct fail *f)
{
    struct weights *from = arg;
    return safetensors_put(w, from->at[index].data,
                           (size_t)(from->table[index].rows * from->table[index].cols) * 4, f);
}

static void test_directory_in_shards(void **state)
{
    (void)state;
    struct weights w, back;
    char sub[80], file[120];
    assert_int_equal(weights_open(&w, "tests/golden/llama-gqa", true, &why), 0);
    snprintf(sub, sizeof sub, "%s/shards", scratch_directory);
    struct companions *companions;
    struct companions_place from = { .folder = "tests/golden/llama-gqa" };
    assert_int_equal(companions_read(&companions, from, &why), 0);
    struct model_directory_job job = { .config = &w.config,
                                       .headers = model_directory_headers(w.table, w.count, NULL),
                                       .count = w.count,
                                       .produce = produce_stored,
                                       .arg = &w,
                                       .companions = companions,
                                       .max_shard_bytes = 5000 };
    assert_int_equal(model_directory_write(sub, &job, &why), 0);
    free((void *)job.headers);
    companions_free(companions);
    assert_int_equal(weights_open(&back, sub, true, &why), 0);
    assert_true(back.files.count > 3);
    assert_string_equal(back.base, w.base);
    weights_close(&back);
    /* A shard is missing, or the index points outside the directory. */
    snprintf(file, sizeof file, "%s/model-00002-of-%05zu.safetensors", sub, (size_t)5);
    snprintf(file, sizeof file, "%s/model.safetensors.index.json", sub);
    assert_int_equal(output_text(file, "{\"weight_map\":{\"a\":\"../evil\"}}", &why), 0);
    assert_int_equal(weights_open(&back, sub, true, &why), -1);
    assert_non_null(strstr(why.text, "not the name of a shard"));
    assert_int_equal(output_text(file, "{\"weight_map\":{\"a\":\"gone.safetensors\"}}", &why), 0);
    assert_int_equal(weights_open(&back, sub, true, &why), -1);
    assert_non_null(strstr(why.text, "it lists gone.safetensors, which is not there"));
    unlink(file);
    assert_int_equal(weights_open(&back, sub, true, &why), -1);
    assert_non_null(strstr(why.text, "5 shards of a model (model-00001-of-00005.safetensors …)"));
    weights_close(&w);
    assert_int_equal(scratch_remove(sub), 0);
}

/* The base's digest is computed while tensors are used in their order. Some tensors may be left
 * out, and the reading may end early. */
static void test_base_digest_while_tensors_are_used(void **state)
{
    (void)state;
    struct weights w;
    struct base_reading *r;
    char digest[STREAM_DIGEST_TEXT];
    assert_int_equal(weights_open(&w, "tests/golden/llama-gqa", true, &why), 0);
    for (int64_t step = 1; step <= w.count; step++) {
        assert_int_equal(base_reading_begin(&r, &w, &why), 0);
        for (int64_t i = 0; i < w.count; i += step)
            base_reading_reach(r, i);
        base_reading_reach(r, w.count - 1);
        base_reading_end(r, digest);
        assert_string_equal(digest, w.base);
        assert_int_equal(base_reading_begin(&r, &w, &why), 0);
        base_reading_reach(r, step - 1);
        base_reading_end(r, NULL);
    }
    weights_close(&w);
}

/* A stream has the base's digest in its header or in its end record. Without it no adapter would
 * know its base. The digest stays when the tensors in memory are released. */
static void test_a_stream_has_the_digest_of_its_base(void **state)
{
    (void)state;
    struct weights w, back;
    assert_int_equal(weights_open(&w, "tests/golden/llama-gqa", true, &why), 0);
    for (int where = 0; where < 3; where++) {
        struct weights_info info = { .quantization = "none" };
        struct writer *out;
        struct msgpack_map none;
        msgpack_map_init(&none);
        info.config = json_dumps(w.config.json, JSON_COMPACT);
        if (where == 1) memcpy(info.base, w.base, sizeof info.base);
        assert_int_equal(weights_writer(&out, scratch_file, "test", &info, &none, &why), 0);
        for (int64_t i = 0; i < w.count; i++) {
            const struct tensor *t = &w.table[i];
            struct weights_record r = { .dtype = "f32",
                                        .rows = t->rows,
                                        .cols = t->cols,
                                        .end_row = t->rows,
                                        .data = w.at[i].data,
                                        .data_bytes = (size_t)(t->rows * t->cols) * 4 };
            snprintf(r.name, sizeof r.name, "%s", t->name);
            assert_int_equal(weights_write(out, &r, &why), 0);
        }
        if (where == 2) writer_parent(out, WEIGHTS_BASE, w.base);
        assert_int_equal(writer_close(out, &why), 0);
        weights_info_release(&info);
        assert_int_equal(weights_open(&back, scratch_file, false, &why), where ? 0 : -1);
        if (where) {
            uint64_t all = 0;
            for (int64_t i = 0; i < w.count; i++)
                all += weight_bytes(&back.at[i], &back.table[i]);
            assert_in_range(back.copied, all, all + 64 * (uint64_t)w.count);
            weights_forget(&back);
            assert_int_equal(back.copied, 0);
            assert_null(back.at[0].data);
            assert_string_equal(back.base, w.base);
        } else
            assert_non_null(strstr(why.text, "has the base's digest"));
        weights_close(&back);
    }
    weights_close(&w);
}

/* After a header without padding, f32 data lies at unaligned addresses. It is copied, and read
 * correctly. */
static void test_unaligned_file(void **state)
{
    (void)state;
    struct weights w, back;
    char sub[80], file[120];
    assert_int_equal(weights_open(&w, "tests/golden/llama-gqa", true, &why), 0);
    snprintf(sub, sizeof sub, "%s/odd", scratch_directory);
    snprintf(file, sizeof file, "%s/model.safetensors", sub);
    assert_int_equal(output_directory(sub, &why), 0);
    FILE *in = fopen("tests/golden/llama-gqa/model.safetensors", "rb"), *out = fopen(file, "wb");
    uint64_t length;
    assert_int_equal(fread(&length, 8, 1, in), 1);
    length++;
    assert_int_equal(fwrite(&length, 8, 1, out), 1);
    for (uint64_t i = 1; i < length; i++)
        fputc(fgetc(in), out);
    fputc(' ', out);
    for (int c; (c = fgetc(in)) != EOF;)
        fputc(c, out);
    fclose(in);
    fclose(out);
    snprintf(file, sizeof file, "%s/config.json", sub);
    assert_int_equal(output_copy("tests/golden/llama-gqa/config.json", file, &why), 0);
    assert_int_equal(weights_open(&back, sub, true, &why), 0);
    assert_string_equal(back.base, w.base);
    for (int64_t i = 0; i < back.count; i++)
        assert_true((uintptr_t)back.at[i].data % 4 == 0);
    weights_close(&back);
    weights_close(&w);
    assert_int_equal(scratch_remove(sub), 0);
}

static void test_tensor_table(void **state)
{
    (void)state;
    struct config c;
    struct tensor *list;
    assert_int_equal(config_read(&c, "tests/golden/llama-gqa", &why), 0);
    int64_t n = tensors_list(&c, &list, &why), sum = 0;
    assert_int_equal(n, 2 * 9 + 3);
    for (int64_t i = 0; i < n; i++)
        sum += list[i].rows * list[i].cols;
    assert_int_equal(sum, tensors_parameters(&c));
    assert_string_equal(list[2].name, "model.layers.0.self_attn.q_proj.weight");
    assert_string_equal(part_module(PART_DOWN), "down_proj");
    assert_null(part_module(PART_HEAD));
    assert_int_equal(part_by_module("up_proj"), PART_UP);
    assert_int_equal(part_by_module("lm_head"), -1);
    free(list);
    config_release(&c);
}

/* ---- adapters ---- */

static void test_adapter_round_trip(void **state)
{
    (void)state;
    struct weights w;
    struct model *m, *n;
    struct adapter a;
    char sub[80], file[120];
    assert_int_equal(weights_open(&w, "tests/golden/llama-gqa", true, &why), 0);
    snprintf(sub, sizeof sub, "%s/adapter", scratch_directory);
    assert_int_equal(output_directory(sub, &why), 0);
    struct model_setup setup = { .method = METHOD_LORA,
                                 .is_training = true,
                                 .rank = 3,
                                 .alpha = 6,
                                 .dropout = 0.1,
                                 .targets = 1u << PART_Q | 1u << PART_DOWN,
                                 .modules_to_save =
                                     parts_of_role(ROLE_EMBEDDING) | parts_of_role(ROLE_NORM),
                                 .positions = 8,
                                 .rows = 8,
                                 .chunk = 8,
                                 .device = "cpu",
                                 .threads = 1 };
    assert_int_equal(model_open(&m, &setup, NULL, &w, 3, &why), 0);
    struct adapter_origin origin = {
        .base_name = "x", .base = w.base, .tokenizer = "", .quantization = "none"
    };
    assert_int_equal(adapter_save(m, &origin, sub, &why), 0);
    assert_int_equal(adapter_open(&a, sub, &why), 0);
    assert_true(a.rank == 3 && a.alpha == 6 && a.dropout == 0.1 &&
                a.modules_to_save == (parts_of_role(ROLE_EMBEDDING) | norms));
    assert_true(a.targets == setup.targets && a.knows_base && a.has_rope && a.factor == 2);
    assert_int_equal(adapter_check_base(&a, w.base, "given", &why), 0);
    setup.method = METHOD_FROZEN;
    setup.is_training = false;
    setup.rank = 0;
    setup.targets = 0;
    struct fit fit;
    struct config own;
    assert_int_equal(config_copy(&own, &w.config, &why), 0);
    assert_int_equal(adapter_fit(&a, &own, &fit, &why), 0);
    fit_set_up(&fit, &a, &setup);
    assert_int_equal(model_open(&n, &setup, NULL, &w, 4, &why), 0);
    assert_int_equal(adapter_load(&a, &fit, n, &why), 0);
    assert_int_equal(model_parameters(m)->count, model_parameters(n)->count);
    assert_memory_equal(model_parameters(m)->value, model_parameters(n)->value,
                        (size_t)model_parameters(m)->count * 4);
    /* Adapters with another base, another original context or a missing tensor are refused. */
    w.base[0] ^= 1;
    assert_int_equal(adapter_check_base(&a, w.base, "given", &why), -1);
    assert_non_null(strstr(why.text, "trained on the base x (digest "));
    assert_non_null(strstr(why.text, "), not on given (digest "));
    struct config c = w.config;
    c.original_position = 99;
    assert_int_equal(adapter_set_rope(&a, &c, &why), -1);
    fit_release(&fit);
    config_release(&own);
    adapter_close(&a);
    snprintf(file, sizeof file, "%s/adapter_config.json", sub);
    static const char *const bad[] = {
        "{\"peft_type\":\"IA3\"}",
        "{\"peft_type\":\"LORA\",\"lora_alpha\":null,\"target_modules\":[\"q_proj\"]}",
        "{\"peft_type\":\"LORA\",\"r\":0,\"target_modules\":[\"q_proj\"]}",
        "{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":[]}",
        "{\"peft_type\":\"LORA\",\"r\":4,\"use_qalora\":true,\"target_modules\":[\"q_proj\"]}",
        "{\"peft_type\":\"LORA\",\"r\":4,\"bias\":\"some\",\"target_modules\":[\"q_proj\"]}",
        "[]"
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(output_text(file, bad[i], &why), 0);
        assert_int_equal(adapter_open(&a, sub, &why), -1);
        assert_non_null(strstr(why.text, "adapter_config.json: "));
    }
    model_close(m);
    model_close(n);
    weights_close(&w);
    assert_int_equal(scratch_remove(sub), 0);
}

static void test_tokenizer_of_an_adapter(void **state)
{
    (void)state;
    char name[] = "x";
    struct adapter a = { .base_name = name, .knows_base = true, .tokenizer = "ab" };
    assert_int_equal(adapter_check_tokenizer(&a, "", "given", &why), 0);
    assert_int_equal(adapter_check_tokenizer(&a, "ab", "given", &why), 0);
    assert_int_equal(adapter_check_tokenizer(&a, "cd", "given", &why), -1);
    assert_string_equal(
        why.text,
        "its tokenizer is ab, but that of given is cd: trained on the base x: take that base");
    a.knows_base = false;
    assert_int_equal(adapter_check_tokenizer(&a, "cd", "given", &why), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hostile_safetensors),
        cmocka_unit_test(test_foreign_spelling),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_safetensors_round_trip),
        cmocka_unit_test(test_safetensors_names_differ),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_unsupported_values_are_refused),
        cmocka_unit_test(test_key_names_of_transformers_5),
        cmocka_unit_test(test_ntk_and_yarn_through_a_config),
        cmocka_unit_test(test_llama3_that_a_user_chose),
        cmocka_unit_test(test_sliding_window),
        cmocka_unit_test(test_known_models),
        cmocka_unit_test(test_rope_tables),
        cmocka_unit_test(test_directory_in_shards),
        cmocka_unit_test(test_base_digest_while_tensors_are_used),
        cmocka_unit_test(test_a_stream_has_the_digest_of_its_base),
        cmocka_unit_test(test_unaligned_file),
        cmocka_unit_test(test_tensor_table),
        cmocka_unit_test(test_adapter_round_trip),
        cmocka_unit_test(test_tokenizer_of_an_adapter),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
