/* Adapters that PEFT 0.21 writes: each is applied and merged as PEFT does it, or refused by name
 * (tests/golden/peft_random.py). */
#include "lib/common/output.h"
#include "lib/llama/adapter_fields.h"
#include "lib/tensorfile/safetensors.h"
#include "model/batch.h"
#include "model/loaded.h"
#include "tests/lib/check.h"
#include "tests/lib/compare_model.h"
#include "tests/lib/scratch.h"
#include "tests/lib/synthetic_model.h"
#include "tools/merge/biases.h"
#include "tools/merge/parts.h"

#include <math.h>
#include <unistd.h>

enum { TOKENS = 12, LOGITS_MAX = TOKENS * 64 };

static struct fail why;

static void path_to(char path[200], const char *name)
{
    snprintf(path, 200, "%s/%s", scratch_directory, name);
}

static void write_text(const char *name, const char *text)
{
    char path[200];
    path_to(path, name);
    if (output_text(path, text, &why)) fail_msg("%s", why.text);
}

static void says(const char *words)
{
    if (!strstr(why.text, words)) print_error("'%s' lacks '%s'\n", why.text, words);
    assert_non_null(strstr(why.text, words));
}

/* ---- golden ---- */

/* Computes the logits of TOKENS synthetic tokens. Returns the size of the vocabulary. */
static int64_t logits_of(const struct loaded *l, float *logits)
{
    struct model *m;
    struct batch b;
    uint32_t ids[TOKENS];
    struct model_setup setup = {
        .positions = TOKENS, .rows = TOKENS, .chunk = TOKENS, .device = check_device()
    };
    if (loaded_model(l, &setup, &m, &why)) fail_msg("%s", why.text);
    assert_int_equal(batch_init(&b, TOKENS, &why), 0);
    for (int t = 0; t < TOKENS; t++)
        ids[t] = synthetic_token(t, l->config.vocab);
    batch_add_window(&b, ids, TOKENS);
    model_forward(m, &b, (struct dropout){ 0 });
    assert_int_equal(model_logits(m, TOKENS, logits, &why), 0);
    batch_release(&b);
    model_close(m);
    return l->config.vocab;
}

static void compare(const char *name, const struct loaded *l, const struct stored_tensor *exact)
{
    float logits[LOGITS_MAX];
    size_t count = exact->bytes / sizeof(float);
    assert_true(count <= LOGITS_MAX && exact->shape[0] == TOKENS);
    assert_int_equal(exact->shape[1], l->config.vocab);
    logits_of(l, logits);
    check_close(name, logits, check_doubles(exact->data, count), count, 2e-5);
    check_free_all();
}

/* Merges the adapters into a base in f32 and writes the result into the directory `path`. */
static void merge_to(const char *path, struct loaded *l, const struct part_word *words, int count)
{
    static struct parts parts;
    struct tensor *table;
    if (parts_open(&parts, l, words, count, true, "base", &why)) fail_msg("%s", why.text);
    assert_true(tensors_list(&l->config, &table, &why) == l->weights.count);
    const struct compare_merge how = { .base = &l->weights,
                                       .config = &l->config,
                                       .table = table,
                                       .adapters = parts.at,
                                       .adapter_count = count,
                                       .threads = 1,
                                       .max_shard_bytes = 1 << 20 };
    (void)compare_merge(&how, path);
    free(table);
    parts_close(&parts);
}

static void test_adapters_written_by_peft(void **state)
{
    (void)state;
    struct tensor_file logits;
    size_t i;
    int by_merge = 0, applied = 0, tokens = 0;
    json_t *item, *cases = json_read_file("tests/golden/adapters/cases.json", &why);
    assert_int_equal(safetensors_open(&logits, "tests/golden/adapters/logits.safetensors", &why),
                     0);
    assert_true(json_array_size(cases) == logits.count && logits.count >= 20);
    json_array_foreach(cases, i, item)
    {
        struct loaded l, merged;
        char adapter[200], base[200], out[200];
        const char *name = json_string_value(json_object_get(item, "name"));
        char *config = json_dumps(json_object_get(item, "config"), 0);
        path_to(base, "base");
        path_to(out, "merged");
        snprintf(adapter, sizeof adapter, "tests/golden/adapters/%s", name);
        assert_int_equal(output_directory(base, &why), 0);
        synthetic_model(base, config, "f32");
        struct loaded_options o = { .model = base, .adapter = adapter, .merges = true };
        if (loaded_open(&l, &o, &why)) fail_msg("%s: %s", name, why.text);
        const struct stored_tensor *exact = tensor_file_find(&logits, name);
        if (!l.fit.merge_only) compare(name, &l, exact);
        if (l.fit.tokens) assert_non_null(strstr(l.fit.not_trainable, "trainable_token_indices"));
        tokens += l.fit.tokens != NULL;
        applied += !l.fit.merge_only;
        by_merge += l.fit.merge_only != NULL;
        merge_to(out, &l, &(struct part_word){ adapter, 1, false }, 1);
        loaded_close(&l);
        /* The merged model has the same logits. An adapter that only merge can apply is refused if
         * it is opened for any other program. */
        struct loaded_options alone = { .model = out };
        struct loaded_options elsewhere = { .model = base, .adapter = adapter };
        if (loaded_open(&merged, &alone, &why)) fail_msg("%s: %s", name, why.text);
        compare(name, &merged, exact);
        bool is_refused = loaded_open(&l, &elsewhere, &why);
        if (!is_refused) loaded_close(&l);
        if (is_refused) says("only merge supports it: merge it first, and name the merged model");
        loaded_close(&merged);
        assert_int_equal(scratch_remove(out) | scratch_remove(base), 0);
        free(config);
    }
    assert_true(by_merge >= 6 && applied >= 14 && tokens >= 1);
    tensor_file_close(&logits);
    json_decref(cases);
}

/* ---- several adapters ---- */

static void test_folder_and_weight_arguments(void **state)
{
    (void)state;
    struct part_word p;
    char there[200], word[260];
    path_to(there, "a:0.5");
    assert_int_equal(output_directory(there, &why), 0);
    static const struct {
        const char *word, *path;
        double weight;
    } cases[] = { { "x/run", "x/run", 1 },
                  { "x/run:0.7", "x/run", 0.7 },
                  { "x/run:-1", "x/run", -1 },
                  { "c:/run:2e-1", "c:/run", 0.2 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(part_parse(&p, cases[i].word, &why), 0);
        assert_string_equal(p.path, cases[i].path);
        assert_true(p.weight == cases[i].weight);
        free(p.path);
    }
    /* A word that is the whole name of a folder means that folder. A weight may follow such a
     * name. */
    assert_int_equal(part_parse(&p, there, &why), 0);
    assert_string_equal(p.path, there);
    assert_true(p.weight == 1);
    free(p.path);
    snprintf(word, sizeof word, "%s:0.25", there);
    assert_int_equal(part_parse(&p, word, &why), 0);
    assert_string_equal(p.path, there);
    assert_true(p.weight == 0.25);
    free(p.path);
    static const char *const bad[] = { "x:half", "x:nan", "x:inf", "x:0.5y" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(part_parse(&p, bad[i], &why), -1);
        says("is not a weight");
        assert_int_equal(why.status, STATUS_USAGE);
    }
    assert_int_equal(scratch_remove(there), 0);
}

/* Returns one element of s·B·A of the adapter, in double. */
static double change_at(const struct adapter *a, const struct adapted *own, const struct tensor *t,
                        const float *lora_a, const float *lora_b, int64_t i)
{
    double sum = 0;
    (void)a;
    for (int64_t r = 0; r < own->rank; r++)
        sum +=
            (double)lora_b[i / t->cols * own->rank + r] * (double)lora_a[r * t->cols + i % t->cols];
    return own->scale * sum;
}

static void add_change(double *sum, const char *path, double weight, const struct tensor *t,
                       int64_t index, const struct config *base)
{
    struct adapter a;
    struct fit fit;
    struct config c;
    assert_int_equal(adapter_open(&a, path, &why), 0);
    assert_int_equal(config_copy(&c, base, &why), 0);
    assert_int_equal(adapter_fit(&a, &c, &fit, &why), 0);
    const struct adapted *own = &fit.each[index];
    if (own->rank) {
        float *lora_a = adapter_values(&a, t, TRAINED_LORA_A, own->rank, t->cols, &why);
        float *lora_b = adapter_values(&a, t, TRAINED_LORA_B, t->rows, own->rank, &why);
        for (int64_t i = 0; i < t->rows * t->cols; i++)
            sum[i] += weight * change_at(&a, own, t, lora_a, lora_b, i);
        free(lora_a);
        free(lora_b);
    }
    fit_release(&fit);
    config_release(&c);
    adapter_close(&a);
}

/* The merge of several adapters is W + Σ wᵢ sᵢ BᵢAᵢ. Adapters that do not fit together are
 * refused. */
static void test_weighted_sum(void **state)
{
    (void)state;
    struct loaded l, merged;
    char base[200], out[200];
    struct part_word words[] = { { (char *)"tests/golden/adapters/ranks", 0.75, true },
                                 { (char *)"tests/golden/adapters/names", -0.5, true },
                                 { (char *)"tests/golden/adapters/plain-f64", 2, true } };
    json_t *cases = json_read_file("tests/golden/adapters/cases.json", &why);
    char *config = json_dumps(json_object_get(json_array_get(cases, 0), "config"), 0);
    json_decref(cases);
    path_to(base, "base");
    path_to(out, "merged");
    assert_int_equal(output_directory(base, &why), 0);
    synthetic_model(base, config, "f32");
    struct loaded_options o = { .model = base, .adapter = words[0].path, .merges = true };
    assert_int_equal(loaded_open(&l, &o, &why), 0);
    merge_to(out, &l, words, 3);
    assert_int_equal(loaded_open(&merged, &(struct loaded_options){ .model = out }, &why), 0);
    for (int64_t i = 0; i < l.weights.count; i++) {
        const struct tensor *t = &l.weights.table[i];
        size_t count = (size_t)(t->rows * t->cols);
        double *sum = check_doubles(l.weights.at[i].data, count);
        for (int p = 0; p < 3; p++)
            add_change(sum, words[p].path, words[p].weight, t, i, &l.weights.config);
        check_close(t->name, merged.weights.at[i].data, sum, count, 1e-6);
        check_free_all();
    }
    loaded_close(&merged);
    loaded_close(&l);
    assert_int_equal(scratch_remove(out) | scratch_remove(base), 0);
    free(config);
}

/* Returns the config of the base of a golden adapter. It belongs to `all`. */
static json_t *base_config(json_t *all, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(all, i, item)
    {
        if (!strcmp(json_string_value(json_object_get(item, "name")), name))
            return json_object_get(item, "config");
    }
    fail_msg("no %s", name);
    return NULL;
}

/* On a tied base one adapter replaces the head. Another one, with LoRA on the embedding, stores a
 * copy of the base's embedding. The head is the first one's in either order. */
static void test_the_order_of_a_replaced_head_and_a_stored_embedding(void **state)
{
    (void)state;
    char base[200], out[200];
    struct part_word orders[2][2] = {
        { { (char *)"tests/golden/adapters/save-head-tied", 1, true },
          { (char *)"tests/golden/adapters/adapt-embedding-tied", 1, true } },
        { { (char *)"tests/golden/adapters/adapt-embedding-tied", 1, true },
          { (char *)"tests/golden/adapters/save-head-tied", 1, true } }
    };
    json_t *all = json_read_file("tests/golden/adapters/cases.json", &why);
    char *config = json_dumps(base_config(all, "save-head-tied"), 0);
    path_to(base, "base");
    path_to(out, "merged");
    assert_int_equal(output_directory(base, &why), 0);
    synthetic_model(base, config, "f32");
    float *saved = NULL;
    for (int i = 0; i < 2; i++) {
        struct loaded l, merged;
        struct loaded_options o = { .model = base, .adapter = orders[i][0].path, .merges = true };
        assert_int_equal(loaded_open(&l, &o, &why), 0);
        merge_to(out, &l, orders[i], 2);
        assert_int_equal(loaded_open(&merged, &(struct loaded_options){ .model = out }, &why), 0);
        int64_t head = merged.weights.count - 1, rows = merged.weights.table[head].rows;
        int64_t cols = merged.weights.table[head].cols;
        if (!i)
            saved = adapter_values(&l.adapter, &merged.weights.table[head], TRAINED_WEIGHT, rows,
                                   cols, &why);
        assert_non_null(saved);
        assert_memory_equal(merged.weights.at[head].data, saved,
                            (size_t)(rows * cols) * sizeof *saved);
        loaded_close(&merged);
        loaded_close(&l);
        assert_int_equal(scratch_remove(out), 0);
    }
    assert_int_equal(scratch_remove(base), 0);
    free(saved);
    free(config);
    json_decref(all);
}

/* lora_bias on q and v of a qwen2, which have biases: no other layer gets one, because a qwen2 has
 * none on o. */
static void test_lora_bias_on_biases_of_the_base(void **state)
{
    (void)state;
    static struct parts parts;
    struct loaded l;
    struct tensor *table;
    struct bias *list;
    char base[200];
    struct part_word words[] = { { (char *)"tests/golden/adapters/lora-bias-qwen2", 1, true } };
    json_t *all = json_read_file("tests/golden/adapters/cases.json", &why);
    char *config = json_dumps(base_config(all, "lora-bias-qwen2"), 0);
    path_to(base, "base");
    assert_int_equal(output_directory(base, &why), 0);
    synthetic_model(base, config, "f32");
    struct loaded_options o = { .model = base, .adapter = words[0].path, .merges = true };
    assert_int_equal(loaded_open(&l, &o, &why), 0);
    assert_int_equal(parts_open(&parts, &l, words, 1, true, "base", &why), 0);
    assert_true(tensors_list(&l.config, &table, &why) == l.weights.count);
    assert_int_equal(biases_list(parts.at, 1, table, l.weights.count, &l.config, &list, &why), 0);
    free(list);
    free(table);
    parts_close(&parts);
    loaded_close(&l);
    assert_int_equal(scratch_remove(base), 0);
    free(config);
    json_decref(all);
}

static void test_adapters_that_cannot_be_added(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second, *words;
        double weight;
        bool tied;
    } cases[] = {
        { "dora", "plain-f64", "a DoRA adapter cannot be added", 1, false },
        { "plain-f64", "dora", "a DoRA adapter cannot be added", 1, false },
        { "dora", NULL, "a DoRA adapter cannot be added", 0.5, false },
        { "grown", NULL, "replaces model.embed_tokens.weight completely", 0.5, false },
        { "grown", "adapt-head", "replaces lm_head.weight, which ", 1, false },
        { "save-head-tied", "save-tying-tied", "unties the head", 1, true },
        { "both-biases-qwen2", "lora-bias-qwen2",
          "replaces model.layers.0.self_attn.q_proj.bias, which tests/golden/adapters/"
          "lora-bias-qwen2 changes too",
          1, false },
        { "lora-bias-qwen2", "both-biases-qwen2", "lora-bias-qwen2 changes too", 1, false },
    };
    char base[200], paths[2][200];
    path_to(base, "base");
    assert_int_equal(output_directory(base, &why), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct parts parts;
        struct loaded l;
        struct merger m;
        struct tensor *table;
        enum dtype dtypes[64] = { DTYPE_F32 };
        struct part_word words[2] = { { paths[0], cases[i].weight, true }, { paths[1], 1, true } };
        int count = cases[i].second ? 2 : 1;
        json_t *all = json_read_file("tests/golden/adapters/cases.json", &why);
        json_t *config = base_config(all, cases[i].first);
        json_object_set_new(config, "tie_word_embeddings", json_boolean(cases[i].tied));
        char *text = json_dumps(config, 0);
        synthetic_model(base, text, "f32");
        snprintf(paths[0], sizeof paths[0], "tests/golden/adapters/%s", cases[i].first);
        snprintf(paths[1], sizeof paths[1], "tests/golden/adapters/%s",
                 cases[i].second ? cases[i].second : "?");
        struct loaded_options o = { .model = base, .adapter = paths[0], .merges = true };
        if (loaded_open(&l, &o, &why)) fail_msg("%s", why.text);
        if (parts_open(&parts, &l, words, count, true, "base", &why)) fail_msg("%s", why.text);
        assert_true(tensors_list(&l.config, &table, &why) == l.weights.count);
        const struct merger_job job = { .base = &l.weights,
                                        .table = table,
                                        .count = l.weights.count,
                                        .parts = parts.at,
                                        .part_count = count,
                                        .dtypes = dtypes,
                                        .threads = 1 };
        assert_int_equal(merger_open(&m, &job, &why), -1);
        says(cases[i].words);
        assert_int_equal(why.status, STATUS_USAGE);
        free(table);
        parts_close(&parts);
        loaded_close(&l);
        free(text);
        json_decref(all);
    }
    assert_int_equal(scratch_remove(base), 0);
}

/* ---- refusals ---- */

static void test_refusals(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "\"lora_alpha\":null", "lora_alpha is null, with which PEFT fails: remove it" },
        { "\"lora_alpha\":\"8\"", "lora_alpha is not a number" },
        { "\"r\":0", "r is not a rank" },
        { "\"r\":\"8\"", "r is not a whole number" },
        { "\"r\":70000", "r is not a rank" },
        { "\"bias\":\"some\"", "bias is 'some', not none, all or lora_only" },
        { "\"bias\":null", "bias is null, with which PEFT fails" },
        { "\"rank_pattern\":null", "rank_pattern is null, with which PEFT fails" },
        { "\"alpha_pattern\":null", "alpha_pattern is null, with which PEFT fails" },
        { "\"lora_dropout\":null", "lora_dropout is null, with which PEFT fails" },
        { "\"r\":null", "r is null, with which PEFT fails" },
        { "\"use_rslora\":1", "use_rslora is not true or false" },
        { "\"task_type\":\"SEQ_CLS\"", "task_type 'SEQ_CLS': only CAUSAL_LM" },
        { "\"init_lora_weights\":\"pissa\"",
          "init_lora_weights 'pissa' changes the base when the adapter is made" },
        { "\"init_lora_weights\":\"pissa_niter_16\"", "path_initial_model_for_weight_conversion" },
        { "\"init_lora_weights\":\"olora\"", "path_initial_model_for_weight_conversion" },
        { "\"init_lora_weights\":\"corda\"", "path_initial_model_for_weight_conversion" },
        { "\"init_lora_weights\":\"lora_ga\"", "path_initial_model_for_weight_conversion" },
        { "\"init_lora_weights\":\"loftq\"", "changes the base when the adapter is made" },
        { "\"init_lora_weights\":\"new\"", "init_lora_weights 'new' is none that PEFT 0.21 has" },
        { "\"init_lora_weights\":5", "init_lora_weights is not true or false or a text" },
        { "\"megatron_config\":{\"a\":1}", "megatron_config: " },
        { "\"trainable_token_indices\":1", "trainable_token_indices is not a list or an object" },
        { "\"alora_invocation_tokens\":[1]", "alora_invocation_tokens: " },
        { "\"use_qalora\":true", "use_qalora: " },
        { "\"layer_replication\":[[0,1]]", "layer_replication: " },
        { "\"lora_bias\":true,\"use_dora\":true", "lora_bias with DoRA" },
        { "\"lora_bias\":true,\"init_lora_weights\":\"gaussian\"", "lora_bias with DoRA, or" },
        { "\"target_parameters\":[\"x\"]", "target_parameters: " },
        { "\"use_bdlora\":{\"nblocks\":2}", "use_bdlora: " },
        { "\"arrow_config\":{\"top_k\":2}", "arrow_config: " },
        { "\"kasa_config\":{\"beta\":1}", "kasa_config: " },
        { "\"use_newlora\":true", "'use_newlora': PEFT 0.21 does not have this field" },
        { "\"target_modules\":5", "target_modules is not a text or a list" },
        { "\"target_modules\":[]", "target_modules names nothing" },
        { "\"target_modules\":[\"q_proj\",5]", "target_modules is not a list of names" },
        { "\"target_modules\":\".*(\"", "target_modules: '.*(': not a regular expression" },
        { "\"target_modules\":\"(?<=q|kv)_proj\"", "target_modules: " },
        { "\"modules_to_save\":\"lm_head\"", "modules_to_save is not a list" },
        { "\"modules_to_save\":[\"\"]", "modules_to_save is not a list of names" },
        { "\"exclude_modules\":\"*\"", "exclude_modules: '*': " },
        { "\"rank_pattern\":{\"q_proj\":2.5}", "rank_pattern: q_proj is not a rank" },
        { "\"rank_pattern\":{\"(?i)q\":2}", "rank_pattern: " },
        { "\"alpha_pattern\":{\"q_proj\":null}", "alpha_pattern: q_proj is not a number" },
        { "\"layers_pattern\":\"layers\"", "layers_pattern needs layers_to_transform" },
        { "\"layers_to_transform\":[1.5]", "layers_to_transform is not a list of whole numbers" },
        { "\"layers_to_transform\":[0],\"target_modules\":\"all-linear\"",
          "layers_to_transform needs target_modules to be a list" },
    };
    struct adapter a;
    char text[400];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool has_targets = strstr(cases[i][0], "target_modules") != NULL;
        snprintf(text, sizeof text, "{\"peft_type\":\"LORA\",%s%s}",
                 has_targets ? "" : "\"target_modules\":[\"q_proj\"],", cases[i][0]);
        write_text("adapter_config.json", text);
        assert_int_equal(adapter_open(&a, scratch_directory, &why), -1);
        says(cases[i][1]);
        says("adapter_config.json: ");
        assert_int_equal(why.status, STATUS_INPUT);
    }
}

/* Only LORA is read. The message says whether PEFT can merge an adapter of another type. */
static void test_other_types_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "{\"peft_type\":\"IA3\"}",
          "'IA3', not LORA: merge it in PEFT (merge_and_unload), and use" },
        { "{\"peft_type\":\"PREFIX_TUNING\"}",
          "'PREFIX_TUNING', not LORA: it cannot be used here" },
        { "{\"peft_type\":\"P_TUNING\"}", "'P_TUNING', not LORA: it cannot be used here" },
        { "{\"peft_type\":\"PROMPT_TUNING\"}",
          "PEFT cannot merge it into the base: use it in PEFT" },
        { "{\"peft_type\":\"lora\"}", "peft_type is 'lora', which PEFT refuses too: write LORA" },
        { "{\"peft_type\":null}", "peft_type is missing: PEFT writes LORA there" },
        { "{}", "peft_type is missing: PEFT writes LORA there" },
    };
    struct adapter a;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("adapter_config.json", cases[i][0]);
        assert_int_equal(adapter_open(&a, scratch_directory, &why), -1);
        says(cases[i][1]);
        assert_int_equal(why.status, STATUS_INPUT);
    }
}

/* An option that is off, harmless or PEFT's default is no reason to refuse an adapter. */
static void test_harmless_options_are_accepted(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "\"use_newlora\":false",
        "\"new_config\":null",
        "\"new_config\":{}",
        "\"merge_weights\":true",
        "\"enable_lora\":null",
        "\"megatron_config\":null",
        "\"megatron_core\":\"megatron.core\"",
        "\"loftq_config\":{}",
        "\"eva_config\":{\"rho\":2}",
        "\"qalora_group_size\":16",
        "\"runtime_config\":{\"ephemeral_gpu_offload\":false}",
        "\"auto_mapping\":{\"a\":\"b\"}",
        "\"revision\":\"main\"",
        "\"init_lora_weights\":\"eva\"",
        "\"init_lora_weights\":\"mica\"",
        "\"init_lora_weights\":\"gaussian\"",
        "\"init_lora_weights\":false",
        "\"lora_bias\":false",
        "\"bias\":\"all\"",
        "\"bias\":\"lora_only\"",
        "\"task_type\":null",
        "\"use_bdlora\":null",
        "\"layer_replication\":[]",
        "\"velora_config\":{\"num_groups\":4}",
        "\"fan_in_fan_out\":true",
        "\"lora_alpha\":8.5",
        "\"exclude_modules\":\"\"",
    };
    struct adapter a;
    char text[400];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"],%s}",
                 cases[i]);
        write_text("adapter_config.json", text);
        assert_int_equal(adapter_open(&a, scratch_directory, &why), -1);
        says("neither adapter_model.safetensors nor adapter_model.bin in it");
    }
}

/* Our own file beside PEFT's is refused if it has another version or an invalid position
 * scaling. */
static void test_our_own_file(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "{\"longqlora\":2,ROPE}", "'longqlora' is not 1" },
        { "{ROPE}", "'longqlora' is not 1" },
        { "{\"longqlora\":1,\"tied_head\":\"yes\",ROPE}", "'tied_head' is not true or false" },
        { "{\"longqlora\":1,\"base\":\"0\",\"tokenizer\":\"\",\"rope\":{\"type\":\"default\","
          "\"factor\":2.0,\"original_max_position_embeddings\":16}}",
          "type default, which has no factor, but it has the factor 2" },
        { "{\"longqlora\":1,\"base\":\"0\",\"tokenizer\":\"\",\"rope\":{\"type\":\"linear\","
          "\"factor\":0.5,\"original_max_position_embeddings\":16}}",
          "rope needs a factor of at least 1" },
    };
    static const char rope[] = "\"base\":\"0\",\"tokenizer\":\"\",\"rope\":{\"type\":\"linear\","
                               "\"factor\":2.0,\"original_max_position_embeddings\":16}";
    struct adapter a;
    char text[400], path[200];
    write_text("adapter_config.json", "{\"peft_type\":\"LORA\"}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *at = strstr(cases[i][0], "ROPE");
        if (at)
            snprintf(text, sizeof text, "%.*s%s%s", (int)(at - cases[i][0]), cases[i][0], rope,
                     at + 4);
        else
            snprintf(text, sizeof text, "%s", cases[i][0]);
        write_text("longqlora.json", text);
        assert_int_equal(adapter_open(&a, scratch_directory, &why), -1);
        says("longqlora.json: ");
        says(cases[i][1]);
    }
    path_to(path, "longqlora.json");
    unlink(path);
}

/* The document contains the same table from which the refusals are made. */
static void test_refusals_are_documented(void **state)
{
    (void)state;
    char *table = NULL, *text = NULL;
    size_t bytes = 0, capacity = 0;
    FILE *to = open_memstream(&table, &bytes);
    static const char *const rules[] = { "read", "harmless", "refused unless off" };
    fprintf(to,
            "| field | here | what it does, why it is harmless, or the message |\n|---|---|---|\n");
    for (int i = 0; i < ADAPTER_FIELDS; i++)
        fprintf(to, "| `%s` | %s | %s |\n", adapter_fields[i].name, rules[adapter_fields[i].rule],
                adapter_fields[i].text);
    fclose(to);
    FILE *file = fopen("docs/formats/adapter.md", "r");
    assert_non_null(file);
    assert_true(getdelim(&text, &capacity, 0, file) > 0);
    fclose(file);
    if (!strstr(text, table)) print_error("docs/formats/adapter.md lacks:\n%s", table);
    assert_non_null(strstr(text, table));
    free(table);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adapters_written_by_peft),
        cmocka_unit_test(test_folder_and_weight_arguments),
        cmocka_unit_test(test_weighted_sum),
        cmocka_unit_test(test_adapters_that_cannot_be_added),
        cmocka_unit_test(test_lora_bias_on_biases_of_the_base),
        cmocka_unit_test(test_the_order_of_a_replaced_head_and_a_stored_embedding),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_other_types_are_refused),
        cmocka_unit_test(test_harmless_options_are_accepted),
        cmocka_unit_test(test_our_own_file),
        cmocka_unit_test(test_refusals_are_documented),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
