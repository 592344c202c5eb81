/* Tests recipes: scalars are read as by PyYAML, keys of other programs are understood, and values
 * on the command line are read as in a file. */
#include "tests/lib/check.h"
#include "tests/lib/recipe_text.h"
#include "tools/train/recipe_inside.h"
#include "tools/train/recipe_scalar.h"

#include <math.h>
#include <unistd.h>

static struct fail why;
static char ignored_keys[4000];

static void ignored(const char *key, const char *reason)
{
    assert_true(*reason != 0);
    strncat(ignored_keys, key, sizeof ignored_keys - strlen(ignored_keys) - 1);
    strncat(ignored_keys, " ", sizeof ignored_keys - strlen(ignored_keys) - 1);
}

static int read_recipe(struct recipe *r, const char *yaml)
{
    ignored_keys[0] = 0;
    return recipe_text_read(r, yaml, ignored, &why);
}

static void refused(const char *yaml, const char *reason)
{
    struct recipe r;
    if (!read_recipe(&r, yaml)) fail_msg("'%s' is taken", yaml);
    if (!strstr(why.text, reason)) fail_msg("'%s' lacks '%s'", why.text, reason);
    assert_int_equal(why.status, STATUS_USAGE);
    recipe_release(&r);
}

/* Reads the recipe into *r, which is released first. Fails if the recipe is refused. */
static void taken(struct recipe *r, const char *yaml)
{
    recipe_release(r);
    if (read_recipe(r, yaml)) fail_msg("'%s': %s", yaml, why.text);
}

static void say(struct recipe *r, const char *assignment)
{
    if (recipe_override(r, assignment, ignored, &why)) fail_msg("'%s': %s", assignment, why.text);
}

static void unsaid(const char *assignment, const char *reason)
{
    struct recipe r;
    recipe_defaults(&r);
    if (!recipe_override(&r, assignment, ignored, &why)) fail_msg("'%s' is taken", assignment);
    if (!strstr(why.text, reason)) fail_msg("'%s' lacks '%s'", why.text, reason);
    assert_int_equal(why.status, STATUS_USAGE);
    recipe_release(&r);
}

/* ---- scalars ---- */

/* Returns true for "0" followed by digits, and for numbers like 0o10. PyYAML reads 010 as 8, but
 * other programs read 10; it reads 08 and 0o10 as texts. */
static bool leads_with_zero(const char *text)
{
    const char *s = text + (*text == '+' || *text == '-');
    if (s[0] == '0' && s[1] == 'o') return s[2] && !s[2 + strspn(s + 2, "01234567_")];
    return s[0] == '0' && s[1] && !s[strspn(s, "0123456789_")];
}

static void expect_kind(const char *text, enum scalar_kind kind, enum scalar_kind wanted)
{
    if (kind != wanted) fail_msg("'%s' is of kind %d, PyYAML's is %d", text, kind, wanted);
}

static void expect_number(const char *text, struct scalar s, const char *said)
{
    double value = strtod(said, NULL);
    if (strchr(text, ':')) return expect_kind(text, s.kind, SCALAR_SIXTIES);
    if (!isfinite(value)) return expect_kind(text, s.kind, SCALAR_INFINITE);
    if (s.kind != SCALAR_INTEGER) expect_kind(text, s.kind, SCALAR_REAL);
    if (s.real < value || s.real > value) fail_msg("'%s' is %.17g, not %s", text, s.real, said);
    if (s.kind == SCALAR_INTEGER && strspn(said, "-0123456789") == strlen(said))
        assert_int_equal(s.integer, strtoll(said, NULL, 10));
}

static void check_scalar(const char *text, const char *type, const char *said, const char *cast)
{
    struct scalar s = scalar_read(text);
    if (!strcmp(type, "error")) return;
    if (leads_with_zero(text)) return expect_kind(text, s.kind, SCALAR_LEADING_ZERO);
    if (!strcmp(type, "NoneType")) return expect_kind(text, s.kind, SCALAR_NULL);
    if (!strcmp(type, "bool"))
        return expect_kind(text, s.kind,
                           strchr("tTyY", *text) || strchr("nN", text[1]) ? SCALAR_TRUE
                                                                          : SCALAR_FALSE);
    /* A number in base 2 or 16 that does not fit into an int64_t is read as a text. So is one with
     * underscores in its exponent. */
    if (!strncmp(text, "0x8", 3) || !strcmp(text, "1e1_0"))
        return expect_kind(text, s.kind, SCALAR_TEXT);
    if (!strcmp(type, "int") || !strcmp(type, "float")) return expect_number(text, s, said);
    if (*cast) return expect_number(text, s, cast);
    expect_kind(text, s.kind, SCALAR_TEXT);
}

static void test_scalars(void **state)
{
    (void)state;
    char line[1000];
    int count = 0;
    FILE *table = fopen("tests/golden/recipe/scalars.tsv", "r");
    assert_non_null(table);
    while (fgets(line, sizeof line, table)) {
        char *fields[4] = { line };
        line[strcspn(line, "\n")] = 0;
        for (int i = 1; i < 4; i++) {
            fields[i] = strchr(fields[i - 1], '\t');
            assert_non_null(fields[i]);
            *fields[i]++ = 0;
        }
        json_t *text = json_loads(fields[0], JSON_DECODE_ANY, NULL);
        assert_non_null(text);
        check_scalar(json_string_value(text), fields[1], fields[2], fields[3]);
        json_decref(text);
        count++;
    }
    fclose(table);
    assert_true(count > 300);
}

/* ---- values ---- */

static void test_null(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    static const char *const nulls[] = { "null", "~", "Null", "NULL", "" };
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
        char yaml[300];
        snprintf(yaml, sizeof yaml,
                 "train_norm: %s\neval_file: %s\nmax_steps: %s\nsave_total_limit: %s\n"
                 "metric_for_best_model: %s\nresume_from_checkpoint: %s\nbf16: %s\n"
                 "gradient_checkpointing: %s\ngreater_is_better: %s\nrun_name: %s\n",
                 nulls[i], nulls[i], nulls[i], nulls[i], nulls[i], nulls[i], nulls[i], nulls[i],
                 nulls[i], nulls[i]);
        taken(&r, yaml);
        assert_false(r.train_norm);
        assert_null(r.eval_file);
        assert_int_equal(r.metric, METRIC_NONE);
        assert_string_equal(r.resume, "none");
        assert_true(!r.bf16 && r.checkpointing == TOGGLE_AUTO && r.greater == TOGGLE_AUTO);
        /* Null means no limit; the default is a limit. */
        assert_true(r.max_steps == 0 && r.save_total_limit == 0);
        snprintf(yaml, sizeof yaml, "learning_rate: %s\n", nulls[i]);
        refused(yaml, "learning_rate has no value: write one, or leave the key out");
        snprintf(yaml, sizeof yaml, "target_modules: %s\n", nulls[i]);
        refused(yaml, "target_modules has no value, for which PEFT takes a list of its own");
        snprintf(yaml, sizeof yaml, "lora_target: %s\n", nulls[i]);
        refused(yaml, "target_modules has no value, for which PEFT takes a list of its own");
    }
    unsaid("target_modules=null", "target_modules has no value");
    say(&r, "output_dir=out");
    say(&r, "output_dir=~");
    assert_null(r.output_dir);
    say(&r, "output_dir='null'");
    assert_string_equal(r.output_dir, "null");
    say(&r, "output_dir=a: b #c [d");
    assert_string_equal(r.output_dir, "a: b #c [d");
    assert_int_equal(setenv("HOME", "/home/someone", 1), 0);
    say(&r, "output_dir=~/out");
    assert_string_equal(r.output_dir, "/home/someone/out");
    assert_int_equal(unsetenv("HOME"), 0);
    unsaid("target_modules=[q_proj], v_proj", "target_modules: the value ends before this");
    unsaid("seed=\"3\" 4", "seed: the value ends before this");
    unsaid("eval_file=[a, b]]", "eval_file: the value ends before this");
    unsaid("output_dir=~/out", "output_dir: '~/out' begins with ~, but HOME is not set");
    unsaid("learning_rate=", "learning_rate has no value");
    refused("learning_rate: \"\"\n", "learning_rate has no value");
    refused("lora_rank: 'null'\n", "lora_rank: 'null' is not a count");
    recipe_release(&r);
}

static void test_numbers(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    taken(&r, "learning_rate: 1e-4\nlora_alpha: 2e1\nmax_steps: 1_000\nlora_rank: 0x10\n"
              "save_steps: 1.0\neval_steps: 0.1\nwarmup_steps: 5.0\nadam_epsilon: '1e-8'\n"
              "seed: 0b101\nweight_decay: .5\nmax_grad_norm: +1.\n");
    assert_true(r.learning_rate == 1e-4 && r.lora_alpha == 20 && r.max_steps == 1000);
    assert_true(r.lora_rank == 16 && r.save_steps == 1 && r.eval_steps == 0.1);
    assert_true(r.warmup_steps == 5 && r.epsilon == 1e-8 && r.seed == 5);
    assert_true(r.weight_decay == 0.5 && r.max_grad_norm == 1);
    taken(&r, "max_steps: -1\nsave_total_limit: -1\n");
    assert_true(r.max_steps == 0 && r.save_total_limit == 0);
    refused("save_steps: -1\n", "save_steps: '-1' is not a number of at least 0");
    refused("save_steps: 2.5\n", "save_steps: '2.5' is neither a count nor a share below 1");
    refused("max_steps: 2.5\n", ":1:12: max_steps: '2.5' is not a count");
    refused("max_steps: 010\n", "'010' begins with 0");
    refused("learning_rate: 0o17\n", "'0o17' begins with 0");
    refused("max_steps: 1:30\n", "'1:30' is a base-60 number");
    refused("learning_rate: .inf\n", "'.inf' is not finite");
    refused("learning_rate: .NaN\n", "'.NaN' is not finite");
    refused("learning_rate: 1e999\n", "'1e999' is not finite");
    refused("learning_rate: nan\n", "'nan' is not a number");
    refused("learning_rate: inf\n", "'inf' is not a number");
    refused("learning_rate: 0x1p3\n", "not a number");
    refused("learning_rate: 1,5\n", "not a number");
    refused("learning_rate: true\n", "not a number");
    unsaid("max_steps=010", "'010' begins with 0");
    unsaid("learning_rate=.inf", "'.inf' is not finite");
    say(&r, "learning_rate=1e-4 # a comment");
    assert_true(r.learning_rate == 1e-4);
    recipe_release(&r);
}

/* As in transformers 5, a number below 1 is a share of all steps. */
static void test_warmup(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    taken(&r, "warmup_steps: 0.1\n");
    assert_true(r.warmup_steps == 0 && r.warmup_ratio == 0.1);
    taken(&r, "warmup_steps: 20\n");
    say(&r, "warmup_steps=0.1");
    assert_true(r.warmup_steps == 0 && r.warmup_ratio == 0.1);
    taken(&r, "warmup_steps: 0.1\nwarmup_ratio: 0.1\n");
    refused("warmup_steps: 0.1\nwarmup_ratio: 0.2\n",
            "sets warmup_ratio to another value than an earlier key");
    refused("warmup_ratio: 0.2\nwarmup_steps: 0.1\n",
            "sets warmup_ratio to another value than an earlier key");
    refused("warmup_steps: 1.5\n", "is not a count");
    recipe_release(&r);
}

static void test_flags_and_words(void **state)
{
    (void)state;
    static const char *const yes[] = { "true", "True", "TRUE", "yes",   "Yes",
                                       "on",   "ON",   "1",    "'true'" };
    static const char *const no[] = { "false", "False", "no", "NO", "off", "Off", "0", "\"no\"" };
    struct recipe r = { 0 };
    char yaml[60];
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        snprintf(yaml, sizeof yaml, "bf16: %s\n", yes[i]);
        taken(&r, yaml);
        assert_true(r.bf16);
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        snprintf(yaml, sizeof yaml, "train_norm: true\nbf16: %s\n", no[i]);
        taken(&r, yaml);
        assert_true(r.train_norm && !r.bf16);
    }
    refused("bf16: y\n", "'y' is not true or false");
    refused("bf16: tRUE\n", "'tRUE' is not true or false");
    refused("bf16: 2\n", "'2' is not true or false");
    taken(&r, "save_strategy: no\neval_strategy: False\nresume_from_checkpoint: True\n");
    assert_int_equal(r.save_strategy, INTERVAL_NO);
    assert_int_equal(r.eval_strategy, INTERVAL_NO);
    assert_string_equal(r.resume, "true");
    taken(&r, "resume_from_checkpoint: Off\nsave_strategy: epoch\nevaluation_strategy: epoch\n");
    assert_string_equal(r.resume, "none");
    assert_int_equal(r.save_strategy, INTERVAL_EPOCH);
    assert_int_equal(r.eval_strategy, INTERVAL_EPOCH);
    refused("save_strategy: yes\n", "'yes' is not one of steps|epoch|best|no");
    refused("optim: adafactor\n", "'adafactor' is not one of ");
    refused("optimizer: adamw_hf\n", "optimizer: optim: 'adamw_hf', which adds adam_epsilon");
    refused("bf16: auto\n",
            "bf16: 'auto', which is true in Axolotl on a GPU of compute capability");
    refused("bf16: full\n", "bf16: 'full', trained weights are f32 here: write true");
    refused("fp16: auto\n", "fp16: 'auto', the type decides the result: write true or false");
    refused("bfloat16: true\n", "bfloat16: 'true': trained weights are f32: write bf16: true");
    recipe_release(&r);
}

static void test_lists(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    taken(&r, "report_to: [tensorboard]\ntarget_modules: all-linear\n");
    assert_int_equal(r.report_to, REPORT_TENSORBOARD);
    assert_string_equal(r.target_modules, "all");
    taken(&r, "report_to:\n- tensorboard\ntarget_modules:\n  - q_proj\n  - 'v_proj'\n");
    assert_string_equal(r.target_modules, "q_proj,v_proj");
    taken(&r, "report_to: all\ntarget_modules: \"q_proj, v_proj\"\n");
    assert_int_equal(r.report_to, REPORT_TENSORBOARD);
    assert_string_equal(r.target_modules, "q_proj,v_proj");
    taken(&r, "report_to: []\n");
    assert_int_equal(r.report_to, REPORT_NONE);
    say(&r, "report_to=[tensorboard]");
    assert_int_equal(r.report_to, REPORT_TENSORBOARD);
    say(&r, "report_to=none");
    assert_int_equal(r.report_to, REPORT_NONE);
    say(&r, "target_modules=[q_proj,v_proj]");
    assert_string_equal(r.target_modules, "q_proj,v_proj");
    say(&r, "target_modules=[\"q_proj\", 'v_proj']");
    assert_string_equal(r.target_modules, "q_proj,v_proj");
    say(&r, "target_modules=all-linear");
    assert_string_equal(r.target_modules, "all");
    say(&r, "target_modules=q_proj,v_proj");
    assert_string_equal(r.target_modules, "q_proj,v_proj");
    refused("report_to: [tensorboard, wandb]\n",
            "report_to: 'wandb' is not one of none|tensorboard|all");
    refused("report_to: wandb\n", "'wandb' is not one of");
    refused("target_modules: [[q_proj]]\n", "target_modules: a list of plain words is needed");
    refused("target_modules: [q_proj, ~, '']\n", "a list of plain words is needed");
    refused("target_modules: {q_proj: 1}\n", "target_modules: one plain value is needed");
    unsaid("target_modules=[q_proj", "target_modules: did not find expected ',' or ']'");
    unsaid("seed=[1]", "seed: one plain value is needed");
    recipe_release(&r);
}

static void test_yaml(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    taken(&r, "%YAML 1.1\n---\nseed: 7\n...\n");
    assert_int_equal(r.seed, 7);
    taken(&r, "{\"seed\": 7, \"bf16\": true, \"learning_rate\": 1e-05}\n");
    assert_true(r.seed == 7 && r.bf16 && r.learning_rate == 1e-5);
    taken(&r, "save_steps: &n 10\neval_steps: *n\noutput_dir: >-\n  a\n  b\n");
    assert_true(r.save_steps == 10 && r.eval_steps == 10);
    assert_string_equal(r.output_dir, "a b");
    taken(&r, "");
    taken(&r, "---\n");
    refused("seed: 1\n---\nseed: 2\n", ":2:1: a second document begins here");
    refused("seed: 1\nseed: 1\n", ":2:1: key 'seed' occurs twice");
    refused("deepspeed: a\ndeepspeed: b\n", ":2:1: key 'deepspeed' occurs twice");
    refused("run_name: a\nrun_name: b\n", ":2:1: key 'run_name' occurs twice");
    refused("<<: {seed: 1}\n", ":1:1: the merge key <<");
    refused("base: &b {seed: 1}\n", "unknown key 'base'");
    refused("seed: !!int 3\n", ":1:7: the tag tag:yaml.org,2002:int");
    refused("seed: !mine 3\n", "the tag !mine");
    refused("seed: 1\n\tbf16: true\n", ":2:1: a tab, where YAML wants spaces");
    /* What follows the end of the first node would not be read. */
    refused("  seed: 1\nbf16: true\n", ":2:1: the recipe ends before this: check indentation");
    refused("{seed: 1}\nbf16: true\n", ":2:1: the recipe ends before this");
    refused("{seed: 1}}\n", ":1:10: the recipe ends before this");
    refused("seed: 1\n...\nbf16: true\n", ":3:1: the recipe ends before this");
    refused("? [a]\n: 1\n", "a key is not a word");
    refused("? [a, b]\n: 1\nseed: 3\n", "a key is not a word");
    refused("output_dir: \"a\\0b\"\n", "the value has a NUL character");
    refused("seed: *none\n", "undefined alias");
    recipe_release(&r);
}

/* A character that looks like a space is named with its place. In quotes it is a part of a text. */
static void test_invisible_characters(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    refused("seed: 1\nlearning_rate: \xc2\xa0"
            "1e-3\n",
            ":2:16: U+00A0, a no-break space: write a space");
    refused("seed:\xc2\xa0"
            "1\nbf16: true\n",
            ":1:6: U+00A0, a no-break space: write");
    refused("seed: 1\xe2\x80\x8b\n", ":1:8: U+200B, a space without width: write");
    refused("seed\xe2\x80\x83: 1\n", ":1:5: U+2003, a space of another width: write");
    refused("seed: 1\n\xef\xbb\xbf"
            "bf16: true\n",
            ":2:1: U+FEFF, a byte order mark");
    refused("\xc2\xa0seed: 1\n", ":1:1: U+00A0");
    refused("seed: 1\nreport_to: [none,\xe3\x80\x80none]\n", ":2:18: U+3000");
    refused("output_dir: \xc3\xa9\xc2\xa0z\n", ":1:14: U+00A0");
    taken(&r, "# a\xc2\xa0 comment\noutput_dir: \"a\xc2\xa0z\"\n");
    assert_string_equal(r.output_dir, "a\xc2\xa0z");
    taken(&r, "\xef\xbb\xbfseed: 3\n");
    assert_int_equal(r.seed, 3);
    say(&r, "output_dir=a\xc2\xa0z");
    assert_string_equal(r.output_dir, "a\xc2\xa0z");
    recipe_release(&r);
}

/* ---- keys of other programs ---- */

static void test_keys_of_other_programs(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    taken(&r,
          "base_model: m\nsequence_len: 4096\nlora_r: 8\nmicro_batch_size: 2\nnum_epochs: 3\n"
          "optimizer: adamw_torch\nlr_scheduler: cosine\nload_in_4bit: true\ns2_attention: true\n"
          "adapter: qlora\nlora_target_linear: true\nwandb_project:\nval_set_size: 0.0\n"
          "load_in_8bit: false\nstrict: false\n");
    assert_string_equal(r.model, "m");
    assert_true(r.context == 4096 && r.lora_rank == 8 && r.batch_size == 2 && r.epochs == 3);
    assert_int_equal(r.scheduler, SCHEDULE_COSINE);
    assert_int_equal(r.quantization, QUANTIZATION_NF4);
    assert_int_equal(r.attention, ATTENTION_S2);
    assert_int_equal(r.method, METHOD_LORA);
    assert_string_equal(ignored_keys, "strict ");
    taken(&r, "cutoff_len: 2048\nlora_target: q_proj,v_proj\nfinetuning_type: full\nstage: sft\n"
              "shift_attn: false\nquantization_bit: 4\n");
    assert_true(r.context == 2048);
    assert_string_equal(r.target_modules, "q_proj,v_proj");
    assert_int_equal(r.method, METHOD_FULL);
    assert_int_equal(r.attention, ATTENTION_FULL);
    refused("dataset: alpaca\n",
            ":1:10: dataset (of QLoRA, LLaMA-Factory) is not a key here: train_file: samples");
    refused("datasets:\n  - path: x\n", "datasets (of Axolotl) is not a key here: train_file");
    taken(&r, "dataset: null\ndatasets: []\n");
    refused("template: vicuna\n", "train_file: tokenize --format chat --template");
    refused("val_size: 0.1\n", "val_size: '0.1': name a separate stream of samples in eval_file");
    refused("group_by_length: true\n", "group_by_length: 'true': the order of samples is random");
    refused("use_rslora: true\n", "multiply lora_alpha by the square root of lora_rank");
    refused("use_dora: true\n", "DoRA is not trained");
    refused("init_lora_weights: pissa\n", "init_lora_weights: 'pissa'");
    refused("lr_scheduler_kwargs: {num_cycles: 2}\n", "lr_scheduler_kwargs: '{...}'");
    refused("push_to_hub: true\n", "nothing is uploaded");
    refused("quantization_bit: 8\n", "quantization_bit: '8' is not one of 4");
    refused("lora_r: 8\nlora_rank: 16\n",
            ":2:12: lora_rank sets lora_rank to another value than an earlier key");
    taken(&r, "lora_r: 8\nlora_rank: 8\n");
    taken(&r, "activation_checkpointing: true\ngradient_checkpointing: null\n");
    assert_true(r.checkpointing == TOGGLE_YES);
    taken(&r, "gradient_checkpointing: null\nactivation_checkpointing: true\n");
    assert_true(r.checkpointing == TOGGLE_YES);
    /* The recipes of the original state both keys. Two different values mean two things there, but
     * there is only one such setting here. */
    taken(&r, "max_seq_length: 8192\nmodel_max_length: 8192\n");
    refused("max_seq_length: 4096\nmodel_max_length: 8192\n",
            "model_max_length sets max_seq_length to another value");
    say(&r, "max_seq_length=4096");
    assert_int_equal(r.context, 4096);
    say(&r, "lora_r=4");
    say(&r, "s2_attention=false");
    assert_true(r.lora_rank == 4);
    assert_int_equal(r.attention, ATTENTION_FULL);
    unsaid("dataset=alpaca", "train_file: samples");
    unsaid("evaluation_stratgy=steps", "did you mean evaluation_strategy (eval_strategy)?");
    refused("learning_rat: 1\n", "unknown key 'learning_rat': did you mean learning_rate?");
    refused("frobnicate_all_of_it: 1\n", "--list-keys prints all keys");
    char *longer = malloc(400);
    memset(longer, 'x', 300);
    snprintf(longer + 300, 100, ": 1\n");
    refused(longer, "--list-keys prints all keys");
    free(longer);
    recipe_release(&r);
}

/* Keys of which only the usual value changes nothing. */
static void test_deciding_values(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    static const char *const deciding[] = { "do_train: false",
                                            "do_train:",
                                            "average_tokens_across_devices: false",
                                            "fp16_opt_level: O3",
                                            "use_mps_device: true",
                                            "save_safetensors: false",
                                            "accelerator_config: {split_batches: true}",
                                            "split_batches: true",
                                            "ensure_weight_tying: true",
                                            "eval_dataset_size: 1024",
                                            "plugins: [axolotl.integrations.kd.KDPlugin]" };
    for (size_t i = 0; i < sizeof deciding / sizeof *deciding; i++) {
        char yaml[100], reason[100];
        snprintf(yaml, sizeof yaml, "%s\n", deciding[i]);
        snprintf(reason, sizeof reason, "%.*s: '", (int)strcspn(yaml, ":"), yaml);
        refused(yaml, reason);
    }
    taken(&r, "do_train: true\nsplit_batches: false\nensure_weight_tying: false\nplugins:\n");
    assert_string_equal(ignored_keys, "");
    refused("do_train: false\n", "this program always trains: write true; ppl measures a model");
    refused("ensure_weight_tying: true\n", "is separate: write false; train_embedding: true");
    recipe_release(&r);
}

/* Null has the meaning that it has in the program of the key, or is refused. */
static void test_null_of_other_programs(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    static const char *const nulls[] = { "", "null", "~" };
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
        char yaml[200];
        snprintf(yaml, sizeof yaml, "adapter: %s\nload_in_4bit: %s\ns2_attention: %s\n", nulls[i],
                 nulls[i], nulls[i]);
        taken(&r, yaml);
        assert_int_equal(r.method, METHOD_FULL);
        assert_int_equal(r.quantization, QUANTIZATION_NONE);
        assert_int_equal(r.attention, ATTENTION_FULL);
        snprintf(yaml, sizeof yaml, "shift_attn: %s\nquantization_bit: %s\n", nulls[i], nulls[i]);
        taken(&r, yaml);
        assert_int_equal(r.quantization, QUANTIZATION_NONE);
        assert_int_equal(r.attention, ATTENTION_FULL);
        snprintf(yaml, sizeof yaml, "finetuning_type: %s\n", nulls[i]);
        refused(yaml, "' is not one of lora, full: ");
    }
    taken(&r, "low_rank_training:\nuse_full_attn:\n");
    assert_int_equal(r.method, METHOD_FULL);
    assert_int_equal(r.attention, ATTENTION_S2);
    refused("adapter: 'null'\n", "adapter: 'null' is not one of lora, qlora, null");
    taken(&r, "lora_target_modules:\nlora_target_linear: true\n");
    taken(&r, "lora_target_modules: [q_proj]\nlora_target_linear:\n");
    assert_string_equal(r.target_modules, "q_proj");
    taken(&r, "attn_implementation: flash_attention_2\n");
    taken(&r, "attn_implementation:\n");
    refused("attn_implementation: sage\n", "attn_implementation: 'sage': the device decides");
    refused("attn_implementation: false\n", "attn_implementation: 'false': the device decides");
    refused("r: 4\nlora_target_modules: 'model.layers.[01].self_attn.(q|k)_proj'\n",
            ":2:22: lora_target_modules: target_modules: "
            "'model.layers.[01].self_attn.(q|k)_proj' is a regular expression, which is not "
            "understood: write all, or a list of embed_tokens, q_proj, ");
    refused("lora_target: all,embed_tokens\n",
            "'all' has no meaning beside other names: write it alone, or a list of embed_tokens, ");
    refused("target_modules: [all-linear, q_proj]\n", "'all-linear' has no meaning beside other");
    refused("target_modules: [q_proj, norm]\n", "'norm' cannot have an adapter, only embed_tokens");
    /* Null is false, so it is refused where only true is accepted. */
    refused("double_quantization:\n", "double_quantization: '': quantize always stores absmax");
    /* In LongLoRA every name contains the empty text, so that all weights are trained. */
    refused("trainable_params: ''\n", "trainable_params (of LongLoRA) is not a key here: train_");
    refused("trainable_params:\n", "trainable_params (of LongLoRA) is not a key here: train_");
    refused("init_lora_weights: null\n", "init_lora_weights: 'null': A is random as in PEFT");
    refused("stage: ~\n", "stage: '~': ");
    taken(&r, "use_dora:\nval_set_size:\npeft_init_lora_weights:\nloraplus_lr_ratio:\n");
    recipe_release(&r);
}

static char told[1000];
static void tell(const char *line) { strncat(told, line, sizeof told - strlen(told) - 1); }

static void settled(struct recipe *r, const char *yaml, enum method method,
                    enum attention_kind attention, const char *says)
{
    taken(r, yaml);
    *told = 0;
    if (recipe_settle(r, tell, &why)) fail_msg("%s: %s", yaml, why.text);
    if (r->method != method || r->attention != attention) fail_msg("%s: %s", yaml, told);
    if (*says ? !strstr(told, says) : strstr(told, ", as in ") != NULL)
        fail_msg("%s: '%s'", yaml, told);
}

static void unsettled(struct recipe *r, const char *yaml, const char *reason)
{
    taken(r, yaml);
    if (!recipe_settle(r, tell, &why)) fail_msg("'%s' is taken", yaml);
    if (!strstr(why.text, reason)) fail_msg("'%s' lacks '%s'", why.text, reason);
}

static void tells(struct recipe *r, const char *yaml, const char *line)
{
    taken(r, yaml);
    *told = 0;
    recipe_tell_defaults(r, tell);
    if (strcmp(told, line) != 0) fail_msg("%s: '%s'", yaml, told);
}

/* In Axolotl a warmup_steps of 0 counts, and warmup_ratio only without warmup_steps. */
static void test_warmup_of_axolotl(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    static const struct {
        const char *yaml;
        int64_t steps;
        double ratio;
        bool is_told;
    } rows[] = {
        { "micro_batch_size: 1\nwarmup_steps: 0\nwarmup_ratio: 0.1\n", 0, 0, true },
        { "micro_batch_size: 1\nwarmup_ratio: 0.1\nwarmup_steps: 0\n", 0, 0, true },
        { "micro_batch_size: 1\nwarmup_steps: 0\n", 0, 0, false },
        { "micro_batch_size: 1\nwarmup_steps: null\nwarmup_ratio: 0.1\n", 0, 0.1, false },
        { "micro_batch_size: 1\nwarmup_ratio: 0.1\n", 0, 0.1, false },
        { "micro_batch_size: 1\nwarmup_steps: 0.1\n", 0, 0.1, false },
        { "micro_batch_size: 1\nwarmup_steps: 3\nwarmup_ratio: 0.1\n", 3, 0.1, false },
        { "cutoff_len: 8\nwarmup_steps: 0\nwarmup_ratio: 0.1\n", 0, 0.1, false },
        { "warmup_steps: 0\nwarmup_ratio: 0.1\n", 0, 0.1, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        taken(&r, rows[i].yaml);
        *told = 0;
        assert_int_equal(recipe_settle(&r, tell, &why), 0);
        bool is_told = strstr(told, "warmup_steps: 0 means no warm-up, as in Axolotl, and not "
                                    "warmup_ratio: 0.1");
        bool misses_ratio = strstr(told, "warmup_ratio: 0 (there 0.03)");
        if (r.warmup_steps != rows[i].steps || r.warmup_ratio != rows[i].ratio ||
            is_told != rows[i].is_told || misses_ratio)
            fail_msg("%s: %lld %g '%s'", rows[i].yaml, (long long)r.warmup_steps, r.warmup_ratio,
                     told);
    }
    recipe_release(&r);
}

static void test_missing_defaults(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    static const char given[] =
        "attention: full\nmethod: lora\nrope: none\nlearning_rate: 1\nlr_scheduler_type: linear\n"
        "lora_rank: 8\nper_device_train_batch_size: 1\nlora_dropout: 0\ndocument_mask: no\n"
        "max_seq_length: 8\n";
    char yaml[400];
    tells(&r, given, "");
    tells(&r, "learning_rate: 1\n", "");
    snprintf(yaml, sizeof yaml, "%scutoff_len: 8\n", given);
    tells(&r, yaml, "not given, so not as in LLaMA-Factory: num_train_epochs: 1 (there 3)");
    say(&r, "lora_rank=16");
    *told = 0;
    recipe_tell_defaults(&r, tell);
    assert_string_equal(told, "not given, so not as in LLaMA-Factory: num_train_epochs: 1 (there "
                              "3), lora_alpha: 16 (there 2 lora_rank)");
    snprintf(yaml, sizeof yaml, "%scutoff_len: 8\nmax_steps: 3\nlora_alpha: 3\n", given);
    tells(&r, yaml, "");
    snprintf(yaml, sizeof yaml, "%srun_name: x\nmax_steps: 3\nlora_alpha: 3\n", given);
    tells(&r, yaml,
          "not given, so not as in transformers and PEFT: target_modules: all (there by "
          "model)");
    snprintf(yaml, sizeof yaml, "%sbase_model: m\nmodel_type: x\n", given);
    tells(
        &r, yaml,
        "not given, so not as in Axolotl: warmup_ratio: 0 (there 0.03), bf16: false (there auto), "
        "lora_alpha: 16 (there it must be given), target_modules: all (there it must be given)");
    snprintf(yaml, sizeof yaml,
             "%sbits: 4\nmax_steps: 3\ngradient_accumulation_steps: 2\nmax_grad_norm: 1\n", given);
    tells(&r, yaml,
          "not given, so not as in QLoRA: group_by_length: false (there true), warmup_ratio: 0 "
          "(there 0.03)");
    /* A key that is everywhere, and two that are together in one program only by chance, name none.
     * The word of one key that is in one program alone counts more than two that are in several. */
    snprintf(yaml, sizeof yaml, "%strust_remote_code: true\nmax_steps: 3\nlora_alpha: 3\n", given);
    tells(&r, yaml,
          "for one of the programs QLoRA, Axolotl, LLaMA-Factory, and some of them have another "
          "value (see --list-keys) of what is not given: gradient_accumulation_steps: 1, "
          "group_by_length: false, warmup_ratio: 0, max_grad_norm: 1, bf16: false, target_modules: "
          "all");
    snprintf(yaml, sizeof yaml, "%smodel_type: x\ncache_dir: y\nmax_steps: 3\nmax_grad_norm: 1\n",
             given);
    tells(&r, yaml,
          "for one of the programs LongLoRA, QLoRA, Axolotl, LLaMA-Factory, and some of them have "
          "another value (see --list-keys) of what is not given: gradient_accumulation_steps: 1, "
          "group_by_length: false, warmup_ratio: 0, bf16: false, lora_alpha: 16, target_modules: "
          "all, train_embedding: false, train_norm: false");
    snprintf(yaml, sizeof yaml,
             "%smodel_type: x\ncache_dir: y\ncutoff_len: 8\nmax_steps: 3\nlora_alpha: 3\n", given);
    tells(&r, yaml, "");
    tells(&r, "method: full\ncutoff_len: 8\nattention: full\nrope: none\nmax_steps: 2\n",
          "not given, so not as in LLaMA-Factory: document_mask: auto (there yes), "
          "per_device_train_batch_size: 1 (there 8), "
          "learning_rate: 0.0002 (there 5e-05), lr_scheduler_type: constant_with_warmup (there "
          "linear)");
    recipe_release(&r);
}

/* Sections of DeepSpeed's configuration that replace the optimiser or its schedule are refused. */
static void test_deepspeed(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    refused("deepspeed: {scheduler: {type: WarmupLR}}\n", "deepspeed: its scheduler replaces that");
    refused(
        "deepspeed: {zero_optimization: {stage: 2}, optimizer: {type: Lion}}\n",
        "deepspeed: its optimizer replaces that of the recipe there: write optim, learning_rate");
    refused("deepspeed: {progressive_layer_drop: {enabled: true}}\n",
            "deepspeed: its key 'progressive_layer_drop' may change what is computed");
    refused("deepspeed: {[a]: 1}\n", "deepspeed: its key '?' may change");
    unsaid("deepspeed={optimizer: {type: Lion}}", "deepspeed: its optimizer replaces");
    taken(&r, "deepspeed: {zero_optimization: {stage: 3}, bf16: {enabled: auto}}\n");
    assert_string_equal(ignored_keys, "deepspeed ");
    taken(&r, "deepspeed: ds.json\n");
    assert_string_equal(ignored_keys, "deepspeed ");
    say(&r, "deepspeed={zero_optimization: {stage: 3}}");
    taken(&r, "deepspeed: {}\n");
    taken(&r, "deepspeed:\n");
    assert_string_equal(ignored_keys, "");
    recipe_release(&r);
}

/* LLaMA-Factory's packing, neat_packing and stage decide together whether documents see each
 * other. Where these programs are silent, no sample has several documents, except in stage pt. */
static void test_packing(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        enum toggle mask;
    } rows[] = {
        { "packing: true\n", TOGGLE_NO },
        { "packing: true\nneat_packing: false\n", TOGGLE_NO },
        { "neat_packing: false\npacking: false\n", TOGGLE_YES },
        { "packing: true\nneat_packing: true\n", TOGGLE_YES },
        { "neat_packing: true\n", TOGGLE_YES },
        { "neat_packing: true\npacking: false\n", TOGGLE_YES },
        { "neat_packing: false\n", TOGGLE_YES },
        { "neat_packing: false\nstage: sft\n", TOGGLE_YES },
        { "neat_packing: false\nstage: pt\n", TOGGLE_NO },
        { "stage: pt\n", TOGGLE_NO },
        { "stage: pt\npacking:\n", TOGGLE_NO },
        { "stage: pt\npacking: false\n", TOGGLE_YES },
        { "stage: pt\nneat_packing: true\n", TOGGLE_YES },
        { "stage: pt\ndocument_mask: auto\n", TOGGLE_AUTO },
        { "stage: sft\n", TOGGLE_YES },
        { "cutoff_len: 8\n", TOGGLE_YES },
        { "cutoff_len: 8\ndocument_mask: no\n", TOGGLE_NO },
        { "base_model: m\nadapter: lora\n", TOGGLE_YES },
        { "base_model: m\nadapter: lora\nsample_packing:\n", TOGGLE_YES },
        { "bits: 4\n", TOGGLE_YES },
        { "low_rank_training: true\n", TOGGLE_AUTO },
        { "run_name: x\n", TOGGLE_AUTO },
        { "seed: 1\n", TOGGLE_AUTO },
        { "packing: false\n", TOGGLE_YES },
        { "packing:\nneat_packing:\n", TOGGLE_YES },
        { "packing: false\ndocument_mask: yes\n", TOGGLE_YES },
        { "sample_packing: true\nadapter: lora\n", TOGGLE_YES },
        { "sample_packing: false\nadapter: lora\n", TOGGLE_YES },
    };
    struct recipe r = { 0 };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        taken(&r, rows[i].yaml);
        if (recipe_settle(&r, NULL, &why)) fail_msg("%s: %s", rows[i].yaml, why.text);
        if (r.document_mask != rows[i].mask) fail_msg("%s: %d", rows[i].yaml, r.document_mask);
    }
    settled(&r, "stage: pt\n", METHOD_LORA, ATTENTION_FULL,
            "document_mask: no, as in LLaMA-Factory, whose stage pt packs documents that see");
    settled(&r, "cutoff_len: 8\n", METHOD_LORA, ATTENTION_FULL,
            "document_mask: yes, as in LLaMA-Factory without packing (cutoff_len is its key)");
    unsettled(&r, "packing: true\ndocument_mask: yes\n", "document_mask: yes, but packing and ");
    refused("sample_packing: true\ndocument_mask: no\n",
            "document_mask sets document_mask to another");
    refused("packing: some\n", "packing: 'some' is not true or false");
    taken(&r, "packing: true\n");
    say(&r, "document_mask=yes");
    assert_int_equal(recipe_settle(&r, NULL, &why), 0);
    assert_int_equal(r.document_mask, TOGGLE_YES);
    taken(&r, "packing: true\n");
    say(&r, "neat_packing=true");
    assert_int_equal(recipe_settle(&r, NULL, &why), 0);
    assert_int_equal(r.document_mask, TOGGLE_YES);
    recipe_release(&r);
}

/* Axolotl's numbers per epoch become shares of all steps, if these are below 1. */
static void test_numbers_per_epoch(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    static const struct {
        const char *yaml;
        double save, eval;
        enum interval save_strategy;
        bool is_told;
    } rows[] = {
        { "saves_per_epoch: 2\nnum_epochs: 4\n", 0.125, 0, INTERVAL_STEPS, false },
        { "num_epochs: 4\nsaves_per_epoch: 2\nsave_strategy: epoch\n", 0.125, 0, INTERVAL_STEPS,
          false },
        { "saves_per_epoch: 3\nsave_steps: 0\n", 1.0 / 3, 0, INTERVAL_STEPS, false },
        { "saves_per_epoch: 1\n", 0, 0, INTERVAL_EPOCH, false },
        { "saves_per_epoch: 1\nsave_strategy: no\n", 0, 0, INTERVAL_NO, false },
        { "saves_per_epoch: 1\nnum_epochs: 0.5\n", 0, 0, INTERVAL_EPOCH, false },
        { "saves_per_epoch: 0\n", 0, 0, INTERVAL_STEPS, false },
        { "saves_per_epoch:\n", 0, 0, INTERVAL_STEPS, false },
        { "evals_per_epoch: 4\neval_file: e\n", 0, 0.25, INTERVAL_STEPS, false },
        { "evals_per_epoch: 1\nnum_epochs: 2\neval_strategy: steps\n", 0, 0.5, INTERVAL_STEPS,
          false },
        { "evals_per_epoch: 1\neval_file: e\n", 0, 0, INTERVAL_STEPS, true },
        { "evals_per_epoch: 0\neval_strategy: epoch\n", 0, 0, INTERVAL_STEPS, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        taken(&r, rows[i].yaml);
        *told = 0;
        assert_int_equal(recipe_settle(&r, tell, &why), 0);
        bool is_told = strstr(told, "evals_per_epoch: 1 is no evaluation within a run of 1 epochs");
        if (r.save_steps != rows[i].save || r.eval_steps != rows[i].eval ||
            r.save_strategy != rows[i].save_strategy || is_told != rows[i].is_told)
            fail_msg("%s: %g %g %d '%s'", rows[i].yaml, r.save_steps, r.eval_steps,
                     (int)r.save_strategy, told);
    }
    unsettled(&r, "saves_per_epoch: 2\nsave_steps: 5\n",
              "save_steps and saves_per_epoch exclude each other");
    unsettled(&r, "evals_per_epoch: 2\neval_steps: 5\n",
              "eval_steps and evals_per_epoch exclude each other");
    unsettled(&r, "evals_per_epoch: 2\neval_strategy: epoch\n",
              "eval_strategy and evals_per_epoch exclude each other");
    refused("saves_per_epoch: 1.5\n", "saves_per_epoch: '1.5' is not a count");
    refused("evals_per_epoch: -1\n", "evals_per_epoch: '-1' is not a count");
    refused("evals_per_epoch: [1]\n", "is not a count");
    recipe_release(&r);
}

/* Where Axolotl takes the best model and this program the last one, a line says so. */
static void test_best_of_axolotl(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    static const struct {
        const char *yaml;
        bool is_told;
    } rows[] = {
        { "micro_batch_size: 1\neval_file: e\neval_steps: 5\nsave_steps: 10\n", true },
        { "num_epochs: 4\neval_file: e\nevals_per_epoch: 4\nsaves_per_epoch: 1\n", true },
        { "num_epochs: 4\neval_file: e\nevals_per_epoch: 1\nsaves_per_epoch: 2\n", false },
        { "num_epochs: 4\nevals_per_epoch: 4\nsaves_per_epoch: 1\n", false },
        { "num_epochs: 4\neval_file: e\nsave_steps: 1\n", false },
        { "cutoff_len: 8\neval_file: e\neval_steps: 5\nsave_steps: 10\n", false },
        { "micro_batch_size: 1\neval_file: e\neval_steps: 5\nsave_steps: 10\n"
          "load_best_model_at_end: true\n",
          false },
        { "micro_batch_size: 1\neval_file: e\neval_steps: 5\nsave_steps: 10\n"
          "load_best_model_at_end: false\n",
          false },
        { "micro_batch_size: 1\neval_file: e\neval_steps: 5\nsave_steps: 10\n"
          "load_best_model_at_end: false\nearly_stopping_patience: 2\n",
          true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        taken(&r, rows[i].yaml);
        *told = 0;
        assert_int_equal(recipe_settle(&r, tell, &why), 0);
        bool is_told = strstr(told, "the result is the last model, but the best one in Axolotl");
        if (is_told != rows[i].is_told) fail_msg("%s: '%s'", rows[i].yaml, told);
    }
    recipe_release(&r);
}

/* A missing key means what it means in the program whose keys the recipe has. */
static void test_missing_keys(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    settled(&r, "learning_rate: 1\nmax_seq_length: 8\n", METHOD_LORA, ATTENTION_S2, "");
    settled(&r, "do_eval: true\nddp_timeout: 3\n", METHOD_LORA, ATTENTION_S2, "");
    settled(&r, "cutoff_len: 8\n", METHOD_LORA, ATTENTION_FULL,
            "attention: full, as in LLaMA-Factory without a key for it (cutoff_len is its key)");
    settled(&r, "r: 8\n", METHOD_LORA, ATTENTION_FULL, "attention: full, as in PEFT");
    settled(&r, "base_model: m\n", METHOD_FULL, ATTENTION_FULL,
            "method: full, as in Axolotl without the key adapter (base_model is its key)");
    settled(&r, "wandb_entity:\n", METHOD_FULL, ATTENTION_FULL, "method: full");
    settled(&r, "base_model: m\nadapter: lora\n", METHOD_LORA, ATTENTION_FULL, "attention: full");
    settled(&r, "base_model: m\nadapter: lora\ns2_attention: true\nsample_packing: true\n",
            METHOD_LORA, ATTENTION_S2, "");
    settled(&r, "cutoff_len: 8\nattention: s2\ndocument_mask: no\n", METHOD_LORA, ATTENTION_S2, "");
    settled(&r, "cutoff_len: 8\ngroup: 2\npacking: true\n", METHOD_LORA, ATTENTION_S2, "");
    /* Keys that LongLoRA has, too. */
    settled(&r, "low_rank_training: true\ncache_dir: c\n", METHOD_LORA, ATTENTION_S2, "");
    settled(&r, "model_type: llama\n", METHOD_LORA, ATTENTION_S2, "");
    settled(&r, "lora_r: 8\n", METHOD_LORA, ATTENTION_FULL, "full, as in QLoRA, Axolotl without");
    unsettled(&r, "base_model: m\nlora_r: 8\n", "method is missing: base_model is a key of ");
    unsettled(&r, "base_model: m\nload_in_4bit: true\n", "but quantization: nf4 is for adapters");
    unsettled(&r, "base_model: m\ncutoff_len: 8\n", "but cutoff_len is for adapters");
    unsettled(&r, "cutoff_len: 8\nlow_rank_training: true\n", "attention is missing: cutoff_len");
    unsettled(&r, "adapter: lora\nlora_target_modules:\n", "name no module: write");
    unsettled(&r, "adapter: lora\nlora_target_linear: false\n", "name no module: write");
    settled(&r, "adapter:\nlora_target_modules:\ns2_attention:\nsample_packing:\n", METHOD_FULL,
            ATTENTION_FULL, "");
    recipe_release(&r);
}

/* Reads a file, and comments out the line, with which the recipe is refused for this reason. */
static void read_without(struct recipe *r, const char *path, const char *line, const char *reason)
{
    char text[10000] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t bytes = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[bytes] = 0;
    refused(text, reason);
    char *at = strstr(text, line);
    assert_non_null(at);
    *at = '#';
    if (read_recipe(r, text)) fail_msg("%s", why.text);
}

/* A recipe with the defaults of the reference is accepted, so no key of the reference is unknown.
 * One of them is refused in each file: a TrainingArguments that does not train, and a LoraConfig
 * without modules. */
static void test_defaults_of_hugging_face(void **state)
{
    (void)state;
    struct recipe r;
    static const struct {
        const char *file, *line, *reason;
    } files[] = { { "tests/golden/recipe/training-arguments.yaml", "do_train: false", "do_train" },
                  { "tests/golden/recipe/lora-config.yaml", "target_modules: null",
                    "target_modules has no value" } };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        read_without(&r, files[i].file, files[i].line, files[i].reason);
        if (i == 0) {
            assert_true(r.learning_rate == 5e-5 && r.epochs == 3 && r.batch_size == 8);
            assert_true(r.save_steps == 500 && r.save_total_limit == 0 && r.epsilon == 1e-8);
            assert_int_equal(r.scheduler, SCHEDULE_LINEAR);
        } else {
            assert_true(r.lora_rank == 8 && r.lora_alpha == 8 && r.lora_dropout == 0);
        }
        recipe_release(&r);
    }
}

/* The defaults of the reference are those of the table. */
static void test_table_of_defaults(void **state)
{
    (void)state;
    static const char *const keys[] = { "num_train_epochs", "per_device_train_batch_size",
                                        "learning_rate",    "lr_scheduler_type",
                                        "max_grad_norm",    "gradient_accumulation_steps",
                                        "save_steps",       "save_total_limit",
                                        "logging_steps",    "eval_on_start" };
    struct recipe r;
    char buffer[64];
    read_without(&r, "tests/golden/recipe/training-arguments.yaml", "do_train: false", "do_train");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_string_equal(recipe_value_text(&r, recipe_find_key(keys[i]), buffer),
                            recipe_foreign_default(keys[i], 0));
    recipe_release(&r);
    read_without(&r, "tests/golden/recipe/lora-config.yaml", "target_modules: null",
                 "target_modules has no value");
    static const char *const of_lora[] = { "lora_rank", "lora_alpha", "lora_dropout" };
    for (size_t i = 0; i < sizeof of_lora / sizeof *of_lora; i++)
        assert_string_equal(recipe_value_text(&r, recipe_find_key(of_lora[i]), buffer),
                            recipe_foreign_default(of_lora[i], 0));
    recipe_release(&r);
}

/* ---- the table ---- */

/* Each row of the table is valid: the keys that it names exist, and no name occurs twice. */
static void test_table(void **state)
{
    (void)state;
    const struct foreign_key *f, *other;
    int count = 0;
    for (int i = 0; (f = recipe_foreign_at(i)); i++, count++) {
        if (recipe_find_key(f->name)) fail_msg("%s is ours", f->name);
        for (int j = 0; j < i && (other = recipe_foreign_at(j)); j++)
            if (!strcmp(f->name, other->name)) fail_msg("%s occurs twice", f->name);
        if (f->kind == SAME_AS && !recipe_find_key(f->ours)) fail_msg("%s: %s", f->name, f->ours);
        if (f->kind == SAME_AS && f->values && !*f->says) fail_msg("%s says nothing", f->name);
        if (f->kind == ONLY && !f->values) fail_msg("%s: only what?", f->name);
        if (f->kind != SAME_AS && !*f->says) fail_msg("%s says nothing", f->name);
        if (f->kind == ANSWERED) {
            char key[64];
            snprintf(key, sizeof key, "%.*s", (int)strspn(f->says, "abcdefghijklmnopqrstuvwxyz_"),
                     f->says);
            if (!recipe_find_key(key)) fail_msg("%s: %s names no key", f->name, f->says);
        }
        if (f->kind != SAME_AS || !f->values) continue;
        /* Each translation is a value of our key. */
        for (const char *at = f->values; *at;) {
            char word[64], yaml[200];
            size_t length = strcspn(at, "|");
            struct recipe r = { 0 };
            snprintf(word, sizeof word, "%.*s", (int)strcspn(at, "="), at);
            snprintf(yaml, sizeof yaml, "%s: %s\n", f->name, word);
            taken(&r, yaml);
            recipe_release(&r);
            at += length + (at[length] == '|');
        }
    }
    assert_true(count > 200 && count < FOREIGN_KEYS_MAX);
}

/* Each word of a key is read as the enumerator that prints as this word, and no other text is
 * read. */
static void test_words_of_each_key(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    int tables = 0;
    for (int i = 0; i < recipe_key_count; i++) {
        const struct recipe_key *k = &recipe_keys[i];
        char yaml[100], refusal[200], all[RECIPE_WORDS_TEXT];
        assert_true((k->kind == WORD || k->kind == WORDS) == (k->words != NULL));
        for (int w = 0; k->words && k->words[w]; w++) {
            if (!*k->words[w]) continue;
            snprintf(yaml, sizeof yaml, "%s: %s\n", k->name, k->words[w]);
            taken(&r, yaml);
            int value = *(const int *)((const char *)&r + k->at);
            int wanted = k->kind == WORDS && w == REPORT_ALL ? REPORT_TENSORBOARD : w;
            if (value != wanted) fail_msg("%s: %s is %d", k->name, k->words[w], value);
        }
        if (!k->words) continue;
        tables++;
        snprintf(yaml, sizeof yaml, "%s: bogus\n", k->name);
        snprintf(refusal, sizeof refusal, "%s: 'bogus' is not one of %s", k->name,
                 recipe_words_join(k->words, "|", all));
        refused(yaml, refusal);
    }
    assert_int_equal(tables, 13);
    refused("metric_for_best_model: \"\"\n", "'' is not one of loss|eval_loss");
    recipe_release(&r);
}

static void test_resume(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        enum resume resume;
    } rows[] = { { "", RESUME_NONE },       { "auto", RESUME_AUTO },
                 { "true", RESUME_NEWEST }, { "none", RESUME_NONE },
                 { "false", RESUME_NONE },  { "'false'", RESUME_NONE },
                 { "'yes'", RESUME_NAMED }, { "out/checkpoint-4", RESUME_NAMED } };
    struct recipe r = { 0 };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char yaml[100];
        snprintf(yaml, sizeof yaml, "resume_from_checkpoint: %s\n", rows[i].yaml);
        taken(&r, yaml);
        if (recipe_resume(&r) != rows[i].resume) fail_msg("%s", yaml);
    }
    recipe_release(&r);
}

static int idle_count;
static char idle_text[1000];
static void count_idle(const char *text)
{
    idle_count++;
    strncat(idle_text, text, sizeof idle_text - strlen(idle_text) - 1);
}

/* Each recipe has one key that has no effect because of the others. With the assignments in
 * `effective`, every key has an effect. */
static void test_conditional_keys(void **state)
{
    static const struct {
        const char *idle, *effective[2], *key;
    } rows[] = {
        { "method: full\nlora_alpha: 8\n", { "method=lora" }, "lora_alpha" },
        { "method: full\nlora_dropout: 0.1\n", { "method=lora" }, "lora_dropout" },
        { "method: full\ntarget_modules: q_proj\n", { "method=lora" }, "target_modules" },
        { "method: full\ntrain_norm: true\n", { "method=lora" }, "train_norm" },
        { "method: full\ntrain_embedding: true\n", { "method=lora" }, "train_embedding" },
        { "model_name_or_path: /\ntokenizer: t\n", { "method=full" }, "tokenizer" },
        { "model_name_or_path: /\ntokenizer: t\n", { "model_name_or_path=a.nf4" }, "tokenizer" },
        { "context_exchange: heads\n", { "context_segments=2" }, "context_exchange" },
        { "save_strategy: 'no'\nsave_total_limit: 2\n",
          { "save_strategy=epoch" },
          "save_total_limit" },
        { "save_strategy: 'no'\nsave_total_limit: 2\n",
          { "resume_from_checkpoint=auto" },
          "save_total_limit" },
        { "save_strategy: 'no'\nsave_steps: 2\n", { "save_strategy=steps" }, "save_steps" },
        { "logging_strategy: 'no'\nlogging_steps: 2\n",
          { "logging_strategy=steps" },
          "logging_steps" },
        { "logging_strategy: epoch\nlogging_steps: 2\n",
          { "eval_file=e", "eval_strategy=steps" },
          "logging_steps" },
        { "eval_delay: 2\n", { "eval_file=e" }, "eval_delay" },
        { "eval_strategy: epoch\neval_file: e\neval_steps: 2\n",
          { "eval_strategy=steps" },
          "eval_steps" },
        { "greater_is_better: false\n", { "metric_for_best_model=loss" }, "greater_is_better" },
        { "early_stopping_threshold: 1\n",
          { "early_stopping_patience=2" },
          "early_stopping_threshold" },
        { "lr_scheduler_type: constant\nwarmup_steps: 2\n",
          { "lr_scheduler_type=linear" },
          "warmup_steps" },
        { "lr_scheduler_type: constant\nwarmup_steps: 0.1\n",
          { "lr_scheduler_type=cosine" },
          "warmup_ratio" },
        { "lr_scheduler_type: constant\nwarmup_ratio: 0.1\n",
          { "lr_scheduler_type=constant_with_warmup" },
          "warmup_ratio" },
        { "warmup_steps: 2\nwarmup_ratio: 0.1\n", { "warmup_steps=0" }, "warmup_ratio" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct recipe r = { 0 };
        char text[100];
        taken(&r, rows[i].idle);
        idle_count = 0;
        *idle_text = 0;
        recipe_find_idle(&r, count_idle);
        snprintf(text, sizeof text, "%s does nothing: it needs ", rows[i].key);
        if (idle_count != 1 || strncmp(idle_text, text, strlen(text)) != 0)
            fail_msg("%s: %d: %s", rows[i].idle, idle_count, idle_text);
        for (int k = 0; k < 2 && rows[i].effective[k]; k++)
            say(&r, rows[i].effective[k]);
        idle_count = 0;
        recipe_find_idle(&r, count_idle);
        if (idle_count) fail_msg("%s, %s: %s", rows[i].idle, rows[i].effective[0], idle_text);
        recipe_release(&r);
    }
    idle_count = 0;
    *idle_text = 0;
}

static void test_keys_without_effect(void **state)
{
    (void)state;
    struct recipe r = { 0 };
    taken(&r, "method: lora\nlora_rank: 4\nsave_steps: 10\ngroup: 8\n");
    recipe_find_idle(&r, count_idle);
    assert_int_equal(idle_count, 0);
    taken(&r, "method: full\nlora_rank: 4\nlearning_rate: 0\nattention: full\ngroup: 8\n"
              "save_strategy: epoch\nsave_steps: 10\nwarmup_steps: 5\nwarmup_ratio: 0.1\n"
              "logging_dir: x\nmax_steps: 5\nnum_train_epochs: 2\n");
    recipe_find_idle(&r, count_idle);
    assert_int_equal(idle_count, 7);
    assert_non_null(strstr(idle_text, "learning_rate is 0: nothing is learned"));
    assert_non_null(strstr(idle_text, "lora_rank does nothing: it needs method: lora"));
    taken(&r, "model_name_or_path: m\noutput_dir: o\ntrain_file: t\nlora_alpha: 0\n");
    assert_int_equal(recipe_check(&r, false, &why), -1);
    assert_string_equal(why.text,
                        "lora_alpha: 0 makes adapters that change nothing: choose a larger number");
    taken(&r, "model_name_or_path: m\noutput_dir: o\ntrain_file: t\nnum_train_epochs: 0\n");
    assert_int_equal(recipe_check(&r, false, &why), -1);
    assert_non_null(strstr(why.text, "trains nothing"));
    taken(&r, "model_name_or_path: m\noutput_dir: o\ntrain_file: t\neval_strategy: epoch\n");
    assert_int_equal(recipe_check(&r, false, &why), -1);
    assert_string_equal(why.text, "eval_strategy: epoch needs eval_file");
    taken(&r, "model_name_or_path: m\noutput_dir: o\ntrain_file: t\nsave_strategy: best\n");
    assert_int_equal(recipe_check(&r, false, &why), -1);
    assert_string_equal(why.text, "save_strategy: best needs metric_for_best_model");
    taken(&r, "model_name_or_path: m\noutput_dir: o\ntrain_file: t\nbf16: true\nfp16: true\n");
    assert_int_equal(recipe_check(&r, false, &why), -1);
    recipe_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_warmup),
        cmocka_unit_test(test_warmup_of_axolotl),
        cmocka_unit_test(test_numbers_per_epoch),
        cmocka_unit_test(test_best_of_axolotl),
        cmocka_unit_test(test_flags_and_words),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_invisible_characters),
        cmocka_unit_test(test_keys_of_other_programs),
        cmocka_unit_test(test_deciding_values),
        cmocka_unit_test(test_null_of_other_programs),
        cmocka_unit_test(test_packing),
        cmocka_unit_test(test_deepspeed),
        cmocka_unit_test(test_table_of_defaults),
        cmocka_unit_test(test_missing_defaults),
        cmocka_unit_test(test_missing_keys),
        cmocka_unit_test(test_defaults_of_hugging_face),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_words_of_each_key),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_conditional_keys),
        cmocka_unit_test(test_keys_without_effect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
