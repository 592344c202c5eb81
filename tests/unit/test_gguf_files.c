/* Reads GGUF files that this program makes. It tests values of every type, the meaning of keys for
 * a model, and damaged files. */
#include "lib/llama/gguf_model.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static struct fail why;

/* ---- making a file ---- */

struct bytes {
    char at[4096];
    size_t used;
};

static void put(struct bytes *b, const void *data, size_t bytes)
{
    assert_true(b->used + bytes <= sizeof b->at);
    memcpy(b->at + b->used, data, bytes);
    b->used += bytes;
}
static void put_u32(struct bytes *b, uint32_t x) { put(b, &x, sizeof x); }
static void put_u64(struct bytes *b, uint64_t x) { put(b, &x, sizeof x); }
static void put_text(struct bytes *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}
static void put_key(struct bytes *b, const char *key, enum gguf_type type)
{
    put_text(b, key);
    put_u32(b, type);
}
static void put_head(struct bytes *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    b->used = 0;
    put(b, GGUF_MAGIC, 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, keys);
}
static void put_tensor(struct bytes *b, const char *name, uint32_t type, uint64_t cols,
                       uint64_t rows, uint64_t offset)
{
    put_text(b, name);
    put_u32(b, 2);
    put_u64(b, cols);
    put_u64(b, rows);
    put_u32(b, type);
    put_u64(b, offset);
}
/* Adds the data section: this many zeros after the padding. */
static void put_data(struct bytes *b, size_t bytes)
{
    while (b->used % 32)
        put(b, "", 1);
    for (size_t i = 0; i < bytes; i++)
        put(b, "", 1);
}

static const char *write_file(const struct bytes *b)
{
    scratch_store(scratch_file, (const unsigned char *)b->at, b->used);
    return scratch_file;
}

/* Fails unless opening the file fails with a message that contains the text. */
static void refused(const struct bytes *b, const char *text)
{
    struct gguf g;
    const char *path = write_file(b);
    assert_int_equal(gguf_open(&g, path, &why), -1);
    assert_int_equal(why.status, STATUS_INPUT);
    if (!strstr(why.text, text)) fail_msg("'%s' lacks '%s'", why.text, text);
}

/* A key of a model and its value. The value is `text` if that is set, or the f32 `real` if that is
 * not 0, or else a u32. */
struct key {
    const char *name, *text;
    uint32_t whole;
    float real;
};

static void put_value(struct bytes *b, const struct key *k)
{
    put_key(b, k->name, k->text ? GGUF_STRING : k->real != 0 ? GGUF_F32 : GGUF_U32);
    if (k->text)
        put_text(b, k->text);
    else if (k->real != 0)
        put(b, &k->real, sizeof k->real);
    else
        put_u32(b, k->whole);
}

/* Reads the config of a model of this architecture. It has the keys `more` beside the usual ones,
 * and, unless `extra` is NULL, an f32 tensor with the name `extra` and 4 elements. */
static int read_architecture(struct config *c, const char *name, const struct key *more,
                             size_t count, const char *extra)
{
    static const struct key usual[] = {
        { "context_length", NULL, 4096, 0 },
        { "embedding_length", NULL, 8, 0 },
        { "feed_forward_length", NULL, 16, 0 },
        { "block_count", NULL, 1, 0 },
        { "attention.head_count", NULL, 2, 0 },
        { "attention.layer_norm_rms_epsilon", NULL, 0, 1e-6F },
    };
    struct bytes b;
    struct gguf g;
    put_head(&b, 3, 1 + !!extra, 7 + count);
    put_value(&b, &(struct key){ "general.architecture", name, 0, 0 });
    for (size_t i = 0; i < 6; i++) {
        char key[80];
        struct key prefixed = usual[i];
        snprintf(key, sizeof key, "%s.%s", name, usual[i].name);
        prefixed.name = key;
        put_value(&b, &prefixed);
    }
    for (size_t i = 0; i < count; i++)
        put_value(&b, &more[i]);
    put_tensor(&b, GGUF_EMBEDDING, GGML_F32, 8, 10, 0);
    if (extra) put_tensor(&b, extra, GGML_F32, 4, 1, 320);
    put_data(&b, 320 + 32);
    assert_int_equal(gguf_open(&g, write_file(&b), &why), 0);
    int status = gguf_model_read_config(c, &g, "model", &why);
    gguf_close(&g);
    return status;
}

static void read_model(struct config *c, const struct key *more, size_t count)
{
    if (read_architecture(c, "llama", more, count, NULL)) fail_msg("%s", why.text);
}

static void test_sizes(void **state)
{
    (void)state;
    struct config c;
    const struct key ends[] = { { "tokenizer.ggml.eos_token_id", NULL, 2, 0 },
                                { "tokenizer.ggml.eot_token_id", NULL, 7, 0 } };
    read_model(&c, ends, 2);
    assert_true(c.vocab == 10 && c.dim == 8 && c.ffn == 16 && c.layers == 1);
    assert_true(c.heads == 2 && c.kv_heads == 2 && c.head_dim == 4 && c.is_tied);
    assert_true(c.norm_eps == 1e-6 && c.theta == 10000 && c.max_position == 4096);
    assert_int_equal(c.rope.type, ROPE_DEFAULT);
    /* The token that ends a turn differs from the token that ends a text. */
    const json_t *eos = json_object_get(c.json, "eos_token_id");
    assert_int_equal(json_array_size(eos), 2);
    assert_int_equal(json_integer_value(json_array_get(eos, 1)), 7);
    config_release(&c);
}

static void test_positions(void **state)
{
    (void)state;
    struct config c;
    const struct key keys[] = { { "llama.rope.scaling.type", "linear", 0, 0 },
                                { "llama.rope.scaling.factor", NULL, 0, 4 },
                                { "llama.rope.scaling.original_context_length", NULL, 1024, 0 } };
    const struct key yarn[] = { { "llama.rope.scaling.type", "yarn", 0, 0 },
                                keys[1],
                                keys[2],
                                { "llama.rope.scaling.yarn_beta_fast", NULL, 0, 16 },
                                { "llama.rope.freq_base", NULL, 0, 1000000 } };
    /* As llama.cpp's converter writes linear position scaling: the stored context is the original
     * one. */
    read_model(&c, keys, 2);
    assert_true(c.rope.type == ROPE_LINEAR && c.rope.factor == 4);
    assert_true(c.original_position == 4096 && config_context(&c) == 16384);
    config_release(&c);
    read_model(&c, keys, 3);
    assert_true(c.original_position == 1024 && config_context(&c) == 4096);
    config_release(&c);
    read_model(&c, yarn, 5);
    assert_true(c.rope.type == ROPE_YARN && c.rope.high == 16 && c.rope.low == 1);
    assert_true(c.theta == 1000000 && config_context(&c) == 4096);
    config_release(&c);
}

static void test_architectures(void **state)
{
    (void)state;
    struct config c;
    /* transformers would assume a head size of 128, but llama.cpp divides the width by the
     * heads. */
    assert_int_equal(read_architecture(&c, "qwen3", NULL, 0, NULL), 0);
    assert_true(c.head_dim == 4 && c.has_head_norms && !c.has_qkv_bias);
    config_release(&c);
    assert_int_equal(read_architecture(&c, "qwen2", NULL, 0, NULL), 0);
    assert_true(c.has_qkv_bias && !c.has_o_bias && config_window(&c, 0) == INT64_MAX);
    config_release(&c);
    /* transformers would assume a window of 4096. */
    assert_int_equal(read_architecture(&c, "mistral3", NULL, 0, NULL), 0);
    assert_true(config_window(&c, 0) == INT64_MAX);
    config_release(&c);
    assert_int_equal(read_architecture(&c, "llama", NULL, 0, "blk.0.attn_q.bias"), 0);
    assert_true(c.has_qkv_bias && c.has_o_bias && !c.has_mlp_bias);
    config_release(&c);
    assert_int_equal(read_architecture(&c, "llama", NULL, 0, "blk.0.ffn_gate.bias"), 0);
    assert_true(!c.has_qkv_bias && c.has_mlp_bias);
    config_release(&c);
    /* The factor of attention is head_dim^-0.5 in llama.cpp; transformers would assume 1. */
    const struct key scales[] = { { "granite.logit_scale", NULL, 0, 8 },
                                  { "granite.residual_scale", NULL, 0, 0.25F },
                                  { "granite.rope.scaling.finetuned", NULL, 0, 0 } };
    assert_int_equal(read_architecture(&c, "granite", scales, 2, NULL), 0);
    assert_true(c.attention_scale == 0.5 && c.logit_scale == 0.125);
    assert_true(c.residual_scale == 0.25 && c.embedding_scale == 1);
    config_release(&c);
    assert_int_equal(read_architecture(&c, "granite", scales, 3, NULL), -1);
    assert_non_null(strstr(why.text, "layers without rotation are not supported"));
    assert_int_equal(read_architecture(&c, "granite", NULL, 0, NULL), -1);
    assert_non_null(strstr(why.text, "granite.logit_scale is missing or 0"));
    const struct key zero = { "granite.logit_scale", NULL, 0, 0 };
    assert_int_equal(read_architecture(&c, "granite", &zero, 1, NULL), -1);
    assert_non_null(strstr(why.text, "granite.logit_scale is missing or 0"));
    assert_int_equal(read_architecture(&c, "smollm3", NULL, 0, GGUF_ROPE_FREQS), -1);
    assert_non_null(strstr(why.text, "llama.cpp's smollm3 has no such tensor"));
}

/* Fails unless the keys are refused with a message that contains the text. */
static void refuses(const char *architecture, const struct key *more, size_t count,
                    const char *extra, const char *text)
{
    struct config c;
    assert_int_equal(read_architecture(&c, architecture, more, count, extra), -1);
    assert_int_equal(why.status, STATUS_INPUT);
    if (!strstr(why.text, text)) fail_msg("'%s' lacks '%s'", why.text, text);
}

static void test_gemma3(void **state)
{
    (void)state;
    struct config c;
    const struct key keys[] = { { "gemma3.attention.sliding_window", NULL, 512, 0 },
                                { "gemma3.attention.sliding_window_pattern", NULL, 0, 0 },
                                { "gemma3.rope.freq_base_swa", NULL, 0, 5000 } };
    const struct key bad[] = { { "gemma3.attention.sliding_window_pattern", "six", 0, 0 },
                               { "gemma3.attention.sliding_window_pattern", NULL, 0, 6.5F },
                               { "gemma3.final_logit_softcapping", NULL, 0, 30 },
                               { "gemma3.attention.scale", NULL, 0, 0.25F } };
    /* No window: transformers would assume one of 4096. */
    assert_int_equal(read_architecture(&c, "gemma3", NULL, 0, NULL), 0);
    assert_true(config_window(&c, 0) == INT64_MAX && c.norm_adds_one && c.has_post_norms);
    assert_true(c.attention_scale == 0.5 && c.activation == ACTIVATION_GELU_TANH);
    assert_true(c.head_dim == 4 && c.theta == 10000);
    config_release(&c);
    assert_int_equal(read_architecture(&c, "gemma3", keys, 1, NULL), 0);
    assert_true(config_window(&c, 0) == 512 && c.local_theta == 10000);
    config_release(&c);
    assert_int_equal(read_architecture(&c, "gemma3", keys, 3, NULL), 0);
    assert_true(config_window(&c, 0) == 512 && c.local_theta == 5000);
    config_release(&c);
    refuses("gemma3", &bad[0], 1, NULL, "is neither a number nor a list of them");
    refuses("gemma3", &bad[1], 1, NULL, "is neither a number nor a list of them");
    refuses("gemma3", &bad[2], 1, NULL, "final_logit_softcapping: capped logits");
    refuses("gemma3", &bad[3], 1, NULL, "attention.scale: another scale of attention");
    refuses("gemma3", NULL, 0, GGUF_ROPE_FREQS, "llama.cpp's gemma3 has no such tensor");
}

/* llama.cpp's olmo2 has no tied head. A file with a window is an OLMo 3. */
static void test_olmo2(void **state)
{
    (void)state;
    struct config c;
    const struct key window = { "olmo2.attention.sliding_window", NULL, 512, 0 };
    assert_int_equal(read_architecture(&c, "olmo2", NULL, 0, GGUF_HEAD), 0);
    assert_true(!c.is_tied && c.norms_join_heads && !c.has_pre_norms && c.head_dim == 4);
    config_release(&c);
    refuses("olmo2", NULL, 0, NULL, "tensor output.weight is missing");
    refuses("olmo2", &window, 1, GGUF_HEAD, "a sliding window is not supported for this");
}

static void test_phi3(void **state)
{
    (void)state;
    struct config c;
    const struct key keys[] = { { "phi3.attention.sliding_window", NULL, 2047, 0 },
                                { "phi3.rope.dimension_count", NULL, 2, 0 },
                                { "phi3.rope.scaling.original_context_length", NULL, 1024, 0 },
                                { "phi3.rope.scaling.factor", NULL, 0, 4 } };
    const struct key bad[] = { { "phi3.rope.scaling.type", "yarn", 0, 0 },
                               { "phi3.rope.scaling.factor", NULL, 0, 4 },
                               { "phi3.rope.dimension_count", NULL, 6, 0 },
                               { "phi3.rope.scaling.type", "longrope", 0, 0 },
                               { "phi3.rope.freq_base_swa", NULL, 0, 5000 },
                               { "phi3.rope.scaling.type", "longrope", 0, 0 },
                               { "phi3.rope.scaling.factor", NULL, 0, 3 } };
    /* The window is transformers'; llama.cpp has the key, but attends to all keys. */
    assert_int_equal(read_architecture(&c, "phi3", keys, 2, NULL), 0);
    assert_true(config_window(&c, 0) == 2047 && c.rotary_dim == 2 && c.head_dim == 4);
    assert_true(c.has_fused_qkv && c.has_fused_gate_up && c.rope.type == ROPE_DEFAULT);
    config_release(&c);
    assert_int_equal(read_architecture(&c, "phi3", keys, 4, NULL), 0);
    assert_true(c.rope.type == ROPE_LINEAR && c.rope.factor == 4 && c.rope.attention == 1);
    assert_int_equal(config_context(&c), 4096);
    config_release(&c);
    refuses("phi3", bad, 2, NULL, "do not exist in transformers' phi3");
    refuses("phi3", &bad[2], 1, NULL, "partial rotation is not supported");
    refuses("phi3", &bad[3], 1, NULL, "rope_factors_short.weight is not f32 [2]");
    refuses("phi3", &bad[4], 1, NULL, "another theta of some layers is not supported");
    refuses("phi3", &bad[5], 2, NULL, "rope.scaling.factor is 3, but longrope has its factors in");
    refuses("phi3", NULL, 0, GGUF_LONG_FACTORS, "rope_factors_short.weight is not f32 [2]");
    refuses("phi3", &bad[1], 1, GGUF_LONG_FACTORS, "only one is possible");
    const struct key wide = { "phi3.attention.key_length", NULL, 1 << 20, 0 };
    refuses("phi3",
            (const struct key[]){ wide, { "phi3.attention.value_length", NULL, 1 << 20, 0 } }, 2,
            NULL, "1048576 elements of each head are rotated, but at most 512 are supported");
}

static void test_types_of_values(void **state)
{
    (void)state;
    struct bytes b;
    struct gguf g;
    static const struct {
        enum gguf_type type;
        size_t bytes;
    } integers[] = { { GGUF_U8, 1 },  { GGUF_I8, 1 },  { GGUF_U16, 2 }, { GGUF_I16, 2 },
                     { GGUF_U32, 4 }, { GGUF_I32, 4 }, { GGUF_U64, 8 }, { GGUF_I64, 8 } };
    uint64_t big = 77;
    float real = 0.5F;
    double wide = 0.25;
    put_head(&b, 2, 0, 8 + 6);
    for (size_t i = 0; i < 8; i++) {
        char key[16];
        snprintf(key, sizeof key, "i%zu", i);
        put_key(&b, key, integers[i].type);
        put(&b, &big, integers[i].bytes);
    }
    put_key(&b, "f", GGUF_F32);
    put(&b, &real, sizeof real);
    put_key(&b, "d", GGUF_F64);
    put(&b, &wide, sizeof wide);
    put_key(&b, "b", GGUF_BOOL);
    put(&b, "\1", 1);
    put_key(&b, "s", GGUF_STRING);
    put_text(&b, "text");
    put_key(&b, "n", GGUF_ARRAY); /* [5, 5, 5] */
    put_u32(&b, GGUF_U32);
    put_u64(&b, 3);
    for (int i = 0; i < 3; i++)
        put_u32(&b, 5);
    put_key(&b, "a", GGUF_ARRAY); /* [["x"], []] */
    put_u32(&b, GGUF_ARRAY);
    put_u64(&b, 2);
    put_u32(&b, GGUF_STRING);
    put_u64(&b, 1);
    put_text(&b, "x");
    put_u32(&b, GGUF_F64);
    put_u64(&b, 0);
    assert_int_equal(gguf_open(&g, write_file(&b), &why), 0);
    assert_int_equal(g.value_count, 14);
    for (size_t i = 0; i < 8; i++) {
        char key[16];
        int64_t value = 0;
        snprintf(key, sizeof key, "i%zu", i);
        assert_int_equal(gguf_get_integer(&g, key, 0, 100, &value, &why), 0);
        assert_int_equal(value, 77);
        assert_int_equal(gguf_get_integer(&g, key, 0, 76, &value, &why), -1);
    }
    int64_t of_layers = 0;
    assert_int_equal(gguf_get_integer_by_layer(&g, "n", 3, 0, 5, &of_layers, &why), 0);
    assert_int_equal(of_layers, 5);
    assert_int_equal(gguf_get_integer_by_layer(&g, "i0", 3, 0, 100, &of_layers, &why), 0);
    assert_int_equal(of_layers, 77);
    assert_int_equal(gguf_get_integer_by_layer(&g, "n", 4, 0, 5, &of_layers, &why), -1);
    assert_non_null(strstr(why.text, "n has 3 values, but the model has 4 layers"));
    assert_int_equal(gguf_get_integer_by_layer(&g, "n", 3, 0, 4, &of_layers, &why), -1);
    assert_int_equal(gguf_get_integer(&g, "n", 0, 5, &of_layers, &why), -1);
    assert_non_null(strstr(why.text, "n is no integer"));
    double number = 0;
    bool flag = false;
    struct gguf_text text;
    const struct gguf_value *array;
    assert_int_equal(gguf_get_number(&g, "f", &number, &why), 0);
    assert_true(number == 0.5);
    assert_int_equal(gguf_get_number(&g, "d", &number, &why), 0);
    assert_true(number == 0.25);
    assert_int_equal(gguf_get_flag(&g, "b", &flag, &why), 0);
    assert_true(flag);
    assert_int_equal(gguf_get_text(&g, "s", &text, &why), 0);
    assert_true(gguf_text_is(text, "text") && !gguf_text_is(text, "tex"));
    assert_int_equal(gguf_get_flag(&g, "s", &flag, &why), -1);
    assert_int_equal(gguf_get_text(&g, "f", &text, &why), -1);
    assert_int_equal(gguf_get_array(&g, "a", GGUF_STRING, &array, &why), -1);
    assert_null(gguf_find(&g, "absent"));
    gguf_close(&g);
}

static void test_damaged_heads(void **state)
{
    (void)state;
    struct bytes b;
    put_head(&b, 3, 0, 0);
    b.used -= 1;
    refused(&b, "truncated in its header");
    put_head(&b, 1, 0, 0);
    refused(&b, "GGUF version 1 is not supported, only 2 and 3");
    put_head(&b, 4, 0, 0);
    refused(&b, "GGUF version 4");
    put_head(&b, 0x03000000, 0, 0);
    refused(&b, "big-endian");
    put_head(&b, 3, 0, UINT64_MAX);
    refused(&b, "18446744073709551615 keys");
    put_head(&b, 3, UINT64_MAX / 2, 0);
    refused(&b, "9223372036854775807 tensors");
    put_head(&b, 3, 0, 1);
    put_u64(&b, UINT64_MAX - 3);
    put_data(&b, 64);
    refused(&b, "a string has 18446744073709551612 bytes");
    put_head(&b, 3, 0, 1);
    put_key(&b, "k", (enum gguf_type)13);
    put_data(&b, 64);
    refused(&b, "k: a value has the unknown type 13");
    put_head(&b, 3, 0, 1);
    put_key(&b, "k", GGUF_ARRAY);
    put_u32(&b, GGUF_U64);
    put_u64(&b, UINT64_MAX / 8 + 2);
    put_data(&b, 64);
    refused(&b, "k: an array has 2305843009213693953 items");
    put_head(&b, 3, 0, 1);
    put_key(&b, "k", GGUF_ARRAY);
    for (int i = 0; i < 8; i++) {
        put_u32(&b, GGUF_ARRAY);
        put_u64(&b, 1);
    }
    put_data(&b, 64);
    refused(&b, "deeper than 4");
    put_head(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_key(&b, "twice", GGUF_U8);
        put(&b, "", 1);
    }
    refused(&b, "key twice occurs twice");
    put_head(&b, 3, 0, 1);
    put_key(&b, "k\xff", GGUF_U8);
    put_data(&b, 8);
    refused(&b, "no text in UTF-8");
    put_head(&b, 3, 0, 1);
    put_key(&b, "split.count", GGUF_U16);
    put(&b, "\2\0", 2);
    refused(&b, "one part of 2 (split.count)");
    put_head(&b, 3, 0, 1);
    put_key(&b, "general.alignment", GGUF_U32);
    put_u32(&b, 24);
    refused(&b, "general.alignment 24");
}

static void test_damaged_tensors(void **state)
{
    (void)state;
    struct bytes b;
    struct gguf g;
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", GGML_F32, 8, 4, 0);
    put_tensor(&b, "b", GGML_Q4_0, 32, 2, 128);
    put_data(&b, 128 + 36);
    assert_int_equal(gguf_open(&g, write_file(&b), &why), 0);
    const struct gguf_tensor *t = gguf_tensor(&g, "b");
    assert_non_null(t);
    assert_true(t->shape[0] == 2 && t->shape[1] == 32 && t->bytes == 36);
    assert_null(gguf_tensor(&g, "c"));
    gguf_close(&g);
    b.used -= 1;
    refused(&b, "b has 36 bytes of data at 128, but the file has only 163 (truncated?)");
    const struct {
        uint32_t type;
        uint64_t cols, rows, offset;
        const char *name, *text;
    } wrong[] = {
        { GGML_F32, 8, 4, 4, "a", "a: its data are not aligned to 32 bytes" },
        { GGML_F32, 8, 4, UINT64_MAX - 31, "a", "a has 128 bytes of data at" },
        { GGML_Q4_0, 33, 4, 0, "a",
          "a: rows of 33 elements do not consist of q4_0's blocks of 32" },
        { GGML_F32, 0, 4, 0, "a", "a: the shape is impossible" },
        { GGML_F32, UINT64_C(1) << 33, UINT64_C(1) << 33, 0, "a", "the shape is impossible" },
        { 10, 256, 1, 0, "a", "a: type q2_K is not supported, only f32" },
        { 5, 256, 1, 0, "a", "a: type (unknown) is not supported" },
        { 4000000000U, 256, 1, 0, "a", "a: type (unknown) is not supported" },
        { GGML_F32, 8, 4, 0, "", "a tensor's name has 0 bytes" },
        { GGML_F32, 8, 4, 0, "0123456789012345678901234567890123456789012345678901234567890123",
          "a tensor's name has 64 bytes" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put_head(&b, 3, 1, 0);
        put_tensor(&b, wrong[i].name, wrong[i].type, wrong[i].cols, wrong[i].rows, wrong[i].offset);
        put_data(&b, 256);
        refused(&b, wrong[i].text);
    }
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", GGML_F32, 8, 4, 0);
    put_tensor(&b, "b", GGML_F32, 8, 4, 96);
    put_data(&b, 256);
    refused(&b, "a and b overlap");
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", GGML_F32, 8, 1, 0);
    put_tensor(&b, "a", GGML_F32, 8, 1, 32);
    put_data(&b, 64);
    refused(&b, "tensor a occurs twice");
    put_head(&b, 3, 1, 0);
    put_text(&b, "a");
    put_u32(&b, 5);
    put_data(&b, 256);
    refused(&b, "a has 5 dimensions, but at most 4");
}

/* A file that is cut after any byte is refused. */
static void test_cut(void **state)
{
    (void)state;
    struct bytes b;
    struct gguf g;
    put_head(&b, 3, 1, 1);
    put_key(&b, "general.architecture", GGUF_STRING);
    put_text(&b, "llama");
    put_tensor(&b, "a", GGML_F32, 8, 1, 0);
    put_data(&b, 32);
    assert_int_equal(gguf_open(&g, write_file(&b), &why), 0);
    gguf_close(&g);
    while (b.used--) {
        assert_int_equal(gguf_open(&g, write_file(&b), &why), -1);
        assert_int_equal(why.status, STATUS_INPUT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),           cmocka_unit_test(test_positions),
        cmocka_unit_test(test_architectures),   cmocka_unit_test(test_gemma3),
        cmocka_unit_test(test_olmo2),           cmocka_unit_test(test_phi3),
        cmocka_unit_test(test_types_of_values), cmocka_unit_test(test_damaged_heads),
        cmocka_unit_test(test_damaged_tensors), cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
