/* class.c - the tokenizer_class, by which transformers 5 decides how it uses a tokenizer.json.
 *
 * The class TokenizersBackend (formerly PreTrainedTokenizerFast) uses the file as it is. So do the
 * tokenizers library, transformers 4, llama.cpp and this program. Most other classes take only
 * vocabulary, merges and post_processor from the file; their normalizer, pre_tokenizer and model
 * options are fixed in Python. If these differ from the file, this program follows the file and
 * makes a remark. But if the difference comes from a key of tokenizer_config.json, the program
 * refuses the files. All versions of transformers follow that key, so it is unknown whether the key
 * or the file states what was meant.
 *
 * Source: the tables are those of transformers 5.24 (models/auto/tokenization_auto.py and each
 * class's __init__); tests/golden/tokenizer_class.py compares them.
 */
#include "lib/tokenizer/beside.h"

#include "lib/common/json.h"
#include "lib/tokenizer/class.h"

#include <unistd.h>

#define END "<|endoftext|>"
#define QWEN2                                                                                      \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "                          \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN3_5                                                                                    \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| "                  \
    "?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* How a class cuts text into pre-tokens; make_pre_tokenizer has the steps of each. */
enum cutting { METASPACE, METASPACE_FIRST, BYTES, DIGITS_BYTES, QWEN_BYTES, AT_SPACES };

/* A class with a normalizer, pre_tokenizer and model options of its own. */
struct form {
    const char *name;
    enum cutting cutting;
    const char *pattern; /* for QWEN_BYTES */
    bool normalizes;     /* it applies NFC */
    /* takes_prefix: the class has the option add_prefix_space; puts_prefix: its default. */
    bool takes_prefix, puts_prefix;
    bool falls_back, has_unknown;
    /* The special tokens if the files do not name others: unk, bos, eos, pad. */
    const char *unknown, *begin, *end, *pad;
    const char *const *others; /* pairs of key and token; NULL if there are none */
};

static const char *const code_llama[] = { "prefix_token",
                                          "\xe2\x96\x81<PRE>",
                                          "middle_token",
                                          "\xe2\x96\x81<MID>",
                                          "suffix_token",
                                          "\xe2\x96\x81<SUF>",
                                          "eot_token",
                                          "\xe2\x96\x81<EOT>",
                                          "fill_token",
                                          "<FILL_ME>",
                                          NULL };
static const char *const cohere[] = { "cls_token",  "<CLS>",        "sep_token", "<SEP>",
                                      "mask_token", "<MASK_TOKEN>", NULL };
static const char *const gemma[] = { "mask_token", "<mask>", NULL };

static const struct form forms[] = {
    { "LlamaTokenizer", METASPACE, NULL, false, true, true, true, false, "<unk>", "<s>", "</s>",
      NULL, NULL },
    { "CodeLlamaTokenizer", METASPACE_FIRST, NULL, false, true, true, true, true, "<unk>", "<s>",
      "</s>", NULL, code_llama },
    { "GPT2Tokenizer", BYTES, NULL, false, true, false, false, false, END, END, END, NULL, NULL },
    { "GPTNeoXTokenizer", BYTES, NULL, true, true, false, false, false, END, END, END,
      "<|padding|>", NULL },
    { "Qwen2Tokenizer", QWEN_BYTES, QWEN2, true, true, false, false, false, END, NULL, END, END,
      NULL },
    { "Qwen3_5Tokenizer", QWEN_BYTES, QWEN3_5, true, true, false, false, false, END, NULL, END, END,
      NULL },
    { "CohereTokenizer", DIGITS_BYTES, NULL, true, true, false, false, false, "<UNK>",
      "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<PAD>", cohere },
    { "GemmaTokenizer", AT_SPACES, NULL, false, false, false, true, true, "<unk>", "<bos>", "<eos>",
      "<pad>", gemma },
};
enum { FORMS = sizeof forms / sizeof *forms };

/* Only classes that are in `forms` are compared in detail. */
const char class_names[] =
    "AlbertTokenizer AutoTokenizer BartTokenizer BarthezTokenizer BartphoTokenizer "
    "BasicTokenizer BertGenerationTokenizer BertJapaneseTokenizer BertTokenizer "
    "BertweetTokenizer BigBirdTokenizer BioGptTokenizer BlenderbotSmallTokenizer "
    "BlenderbotTokenizer ByT5Tokenizer CLIPTokenizer CTRLTokenizer CamembertTokenizer "
    "CanineTokenizer CharacterTokenizer ClvpTokenizer CodeGenTokenizer CodeLlamaTokenizer "
    "CohereTokenizer CpmAntTokenizer CpmTokenizer DPRContextEncoderTokenizer "
    "DPRQuestionEncoderTokenizer DPRReaderTokenizer DebertaTokenizer DebertaV2Tokenizer "
    "DiaTokenizer DistilBertTokenizer EsmTokenizer EsmcTokenizer FSMTTokenizer "
    "FastSpeech2ConformerTokenizer FlaubertTokenizer FunnelTokenizer GPT2Tokenizer "
    "GPTNeoXJapaneseTokenizer GPTNeoXTokenizer GPTSw3Tokenizer GemmaTokenizer "
    "HerbertTokenizer LEDTokenizer LasrTokenizer LayoutLMv2Tokenizer LayoutLMv3Tokenizer "
    "LayoutXLMTokenizer LlamaTokenizer LukeTokenizer LxmertTokenizer M2M100Tokenizer "
    "MBart50Tokenizer MBartTokenizer MLukeTokenizer MPNetTokenizer MarianTokenizer "
    "MarkupLMTokenizer MecabTokenizer MgpstrTokenizer MobileBertTokenizer MvpTokenizer "
    "MyT5Tokenizer NllbTokenizer NougatTokenizer OpenAIGPTTokenizer PLBartTokenizer "
    "PegasusTokenizer PerceiverTokenizer PhobertTokenizer Pop2PianoTokenizer "
    "ProphetNetTokenizer Qwen2Tokenizer Qwen3_5Tokenizer RagTokenizer ReformerTokenizer "
    "RemBertTokenizer RoCBertTokenizer RoFormerTokenizer RobertaTokenizer "
    "SeamlessM4TTokenizer Siglip2Tokenizer SiglipTokenizer Speech2TextTokenizer "
    "SpeechT5Tokenizer SplinterTokenizer SqueezeBertTokenizer T5Tokenizer TapasTokenizer "
    "Tipsv2Tokenizer UdopTokenizer VideoPrismTokenizer VitsTokenizer Wav2Vec2CTCTokenizer "
    "Wav2Vec2PhonemeCTCTokenizer WhisperTokenizer WordpieceTokenizer XGLMTokenizer "
    "XLMRobertaTokenizer XLMTokenizer XLNetTokenizer ";

const char class_file_types[] =
    "EvollaModel arctic aria beam bigbird_pegasus camembertv2-base canary chatlm cohere_asr "
    "ernie4_5 ernie4_5_moe flex_olmo fuyu glm glm4 glm4_moe glm4_moe_lite glm4v glm4v_moe "
    "glm_image glmasr got_ocr2 gpt_bigcode gradium_phonon_tts granite granitemoe "
    "granitemoehybrid granitemoeshared h2ovl_chat hyperclovax hyperclovax_vlm internlm2 "
    "internlm3 iquestcoder jamba kimi_k25 kimi_linear kosmos-2 llava llava_next mimo_v2_flash "
    "minicpm3 minicpm_ocr minicpmv minicpmv4_6 minicpmv4_7 minimax_m2 ministral ministral3 "
    "mistral mistral3 mistral_large4 mixtral modernbert modernbert-decoder molmo molmo2 "
    "nemo_speechlm nemotron nvfp4 nystromformer olmo2 olmo3 olmo_hybrid omniasr opencua "
    "openvla paddleocr_vl pegasus_x persimmon phi3 phi3_v phimoe pix2struct pixtral "
    "pocket_tts smolvlm stablelm step3_vl umt5 vipllava voxtral voxtral_realtime "
    "xlm-roberta-xl ";

/* Model types that determine the class: always if is_forced, otherwise if no class is named. */
static const struct type_class {
    const char *type, *name;
    bool is_forced;
} type_classes[] = {
    { "qwen2", "Qwen2Tokenizer", true },        { "qwen3", "Qwen2Tokenizer", false },
    { "qwen3_5", "Qwen3_5Tokenizer", true },    { "qwen3_5_text", "Qwen3_5Tokenizer", false },
    { "gemma3_text", "GemmaTokenizer", false },
};

/* ---- which class ---- */

static bool is_listed(const char *words, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = words; length && (at = strstr(at, word)); at += length)
        if ((at == words || at[-1] == ' ') && at[length] == ' ') return true;
    return false;
}

/* Finds the name of the class by which AutoTokenizer loads these files, without "Fast" at its end.
 * The name is "" if the class uses tokenizer.json as it is. */
static void find_class(const struct tokenizer *t, const json_t *config, const json_t *model,
                       char *name, size_t size)
{
    const char *type = json_string_value(json_object_get(model, "model_type")) ?: "";
    const char *named = json_string_value(json_object_get(config, "tokenizer_class"));
    if (!named) named = json_string_value(json_object_get(model, "tokenizer_class"));
    size_t length = strlen(named ?: "");
    if (length > 4 && !strcmp(named + length - 4, "Fast")) length -= 4;
    snprintf(name, size, "%.*s", (int)length, named ?: "");
    bool is_file = is_listed(class_file_types, type);
    for (size_t i = 0; i < sizeof type_classes / sizeof *type_classes; i++) {
        const struct type_class *c = &type_classes[i];
        if (strcmp(c->type, type) != 0 || (*name && !c->is_forced)) continue;
        snprintf(name, size, "%s", c->name);
        return;
    }
    if (is_file || (t->spells_byte_level && !strcmp(name, "LlamaTokenizer"))) *name = 0;
}

/* ---- the steps of the class and of the file, in the same notation ---- */

static int put_steps(json_t *list, const json_t *part, int depth)
{
    const char *const inside[] = { "normalizers", "pretokenizers" };
    if (!part || json_is_null(part)) return 0;
    for (int i = 0; i < 2; i++) {
        const json_t *parts = json_object_get(part, inside[i]);
        for (size_t n = 0; n < json_array_size(parts); n++)
            if (depth > 64 || put_steps(list, json_array_get(parts, n), depth + 1)) return -1;
        if (parts) return 0;
    }
    json_t *step = json_deep_copy(part);
    const char *type = json_string_value(json_object_get(step, "type")) ?: "";
    json_object_del(step, "trim_offsets");
    json_object_del(step, "str_rep");
    if (!strcmp(type, "ByteLevel") && !json_object_get(step, "use_regex"))
        json_object_set_new(step, "use_regex", json_true());
    if (!strcmp(type, "Metaspace")) {
        const char *scheme = json_string_value(json_object_get(step, "prepend_scheme"));
        bool puts = !json_is_false(json_object_get(step, "add_prefix_space"));
        bool splits = !json_is_false(json_object_get(step, "split"));
        json_object_set_new(step, "prepend_scheme",
                            json_string(!puts    ? "never"
                                        : scheme ? scheme
                                                 : "always"));
        json_object_set_new(step, "split", json_boolean(splits));
        json_object_del(step, "add_prefix_space");
    }
    return json_array_append_new(list, step);
}

static json_t *make_pre_tokenizer(const struct form *f, bool puts_prefix, bool is_legacy)
{
    const char *scheme = !puts_prefix                                  ? "never"
                         : f->cutting == METASPACE_FIRST || !is_legacy ? "first"
                                                                       : "always";
    bool cuts = f->cutting != QWEN_BYTES;
    json_t *bytes = json_pack("{s:s,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", puts_prefix,
                              "use_regex", cuts);
    json_t *made = NULL;
    switch (f->cutting) {
    case METASPACE:
    case METASPACE_FIRST:
        made = json_pack("{s:s,s:s,s:s,s:b}", "type", "Metaspace", "replacement", SPACE_MARK,
                         "prepend_scheme", scheme, "split", 0);
        break;
    case BYTES:
        return bytes;
    case DIGITS_BYTES:
        return json_pack("{s:[{s:s,s:b},o]}", "pretokenizers", "type", "Digits",
                         "individual_digits", 1, bytes);
    case QWEN_BYTES:
        return json_pack("{s:[{s:s,s:{s:s},s:s,s:b},o]}", "pretokenizers", "type", "Split",
                         "pattern", "Regex", f->pattern, "behavior", "Isolated", "invert", 0,
                         bytes);
    case AT_SPACES:
        made = json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "String", " ",
                         "behavior", "MergedWithPrevious", "invert", 0);
        break;
    }
    json_decref(bytes);
    return made;
}

static json_t *make_normalizer(const struct form *f)
{
    if (f->normalizes) return json_pack("{s:s}", "type", "NFC");
    if (f->cutting != AT_SPACES) return json_null();
    return json_pack("{s:s,s:{s:s},s:s}", "type", "Replace", "pattern", "String", " ", "content",
                     SPACE_MARK);
}

/* Are the two lists of steps equal? Takes ownership of `made`. */
static int is_same_steps(json_t *made, const json_t *file)
{
    json_t *a = json_array(), *b = json_array();
    int same =
        made && a && b && !put_steps(a, made, 0) && !put_steps(b, file, 0) && json_equal(a, b);
    json_decref(made);
    json_decref(a);
    json_decref(b);
    return same;
}

/* ---- differences ---- */

static bool puts_prefix(const struct tokenizer *t)
{
    for (int i = 0; i < t->normalizers.count; i++)
        if (t->normalizers.at[i].kind == STEP_PREPEND) return true;
    for (int i = 0; i < t->pre_tokenizers.count; i++) {
        const struct tokenizer_step *step = &t->pre_tokenizers.at[i];
        if (step->kind == STEP_BYTES && step->adds_space) return true;
        if (step->kind == STEP_METASPACE && step->scheme != PREPEND_NEVER) return true;
    }
    return false;
}

/* Returns how the model's options differ, in words; NULL if they do not, or if the difference
 * changes no ids. */
static const char *differs_in_model(const struct tokenizer *t, const struct form *f)
{
    bool is_class_of_bytes =
        f->cutting == BYTES || f->cutting == DIGITS_BYTES || f->cutting == QWEN_BYTES;
    if (t->ignores_merges) return "knows no ignore_merges";
    /* In this case the steps differ too, and that difference is reported. */
    if (is_class_of_bytes != t->is_byte_level) return NULL;
    if (!t->is_byte_level && t->falls_back != f->falls_back) return "has another byte_fallback";
    if (t->has_bytes) return NULL;
    bool has_unknown = t->unknown != UINT32_MAX;
    if (has_unknown != f->has_unknown) return "has another unk_token";
    return has_unknown && !t->fuses_unknown ? "has another fuse_unk" : NULL;
}

static bool is_special(const struct tokenizer *t, const struct named_tokens *named, const char *key,
                       const char *content)
{
    if (!content || named_value(named, key) || json_object_get(named->own, key)) return true;
    const struct added_token *token = added_find(t, content);
    return token && token->special;
}

/* Does the class add special tokens of its own, or ignore added tokens of the file or what the file
 * says of them? Returns the difference in words, or NULL if there is none. */
static const char *differs_in_tokens(const struct tokenizer *t, const struct form *f,
                                     const json_t *config, const struct named_tokens *named,
                                     size_t file_tokens)
{
    const json_t *decoder = json_object_get(config, "added_tokens_decoder");
    const char *key;
    json_t *value;
    bool knows_all = is_special(t, named, "unk_token", f->unknown) &&
                     is_special(t, named, "bos_token", f->begin) &&
                     is_special(t, named, "eos_token", f->end) &&
                     is_special(t, named, "pad_token", f->pad);
    for (const char *const *at = f->others; at && *at && knows_all; at += 2)
        knows_all = is_special(t, named, at[0], at[1]);
    if (!knows_all) return "adds special tokens of its own";
    for (size_t i = 0; i < file_tokens && json_is_object(decoder); i++) {
        bool is_there = false, is_plain = false; /* is_plain: not special there */
        json_object_foreach((json_t *)decoder, key, value)
        {
            const char *content = named_content(value);
            if (!content || strcmp(content, t->added.at[i].content) != 0) continue;
            is_there = true;
            is_plain = !json_is_true(json_object_get(value, "special"));
        }
        if (!is_there) return "takes added tokens from added_tokens_decoder alone";
        if (is_plain && t->added.at[i].special && !named_has(named, t->added.at[i].content))
            return "takes from added_tokens_decoder alone whether a token is special";
    }
    return NULL;
}

/* ---- the whole check ---- */

static int remark(struct tokenizer *t, const char *name, const char *what, struct fail *why)
{
    static const char format[] =
        "%s: the file is used unchanged, as by tokenizers, transformers 4 and llama.cpp; but "
        "transformers 5 turns it into a %.60s (tokenizer_class), which %s: write "
        "\"PreTrainedTokenizerFast\" as tokenizer_class of tokenizer_config.json, and "
        "transformers 5 uses the file unchanged too";
    if (asprintf(&t->remark, format, t->name, name, what) >= 0) return 0;
    t->remark = NULL;
    return fail(why, "out of memory");
}

static int check_form(struct tokenizer *t, const struct form *f, const json_t *config,
                      const struct named_tokens *named, size_t file_tokens, struct fail *why)
{
    const json_t *prefix = json_object_get(config, "add_prefix_space");
    bool is_legacy = json_is_true(json_object_get(config, "legacy"));
    bool is_given = f->takes_prefix && prefix && !json_is_null(prefix);
    bool puts = is_given ? json_is_true(prefix) : f->puts_prefix;
    if (is_given && !json_is_boolean(prefix))
        return fail_input(why, "tokenizer_config.json: 'add_prefix_space' is neither true nor "
                               "false");
    if (is_given && puts != puts_prefix(t))
        return fail_input(why,
                          "tokenizer_config.json says 'add_prefix_space': %s, so transformers' %s "
                          "puts %s space before a text, but tokenizer.json %s: remove the key if "
                          "the file is right; otherwise save the tokenizer with transformers "
                          "(AutoTokenizer, save_pretrained), which writes the file anew",
                          puts ? "true" : "false", f->name, puts ? "a" : "no",
                          puts ? "puts none" : "puts one");
    const char *what = NULL;
    if (!is_same_steps(make_normalizer(f), t->normalizer_json))
        what = "has another normalizer";
    else if (!is_same_steps(make_pre_tokenizer(f, puts, is_legacy), t->pre_tokenizer_json))
        what = "has another pre_tokenizer";
    if (!what) what = differs_in_model(t, f);
    if (!what) what = differs_in_tokens(t, f, config, named, file_tokens);
    return what ? remark(t, f->name, what, why) : 0;
}

/* Reads config.json, for its model_type. Returns NULL if the file is missing or cannot be read.
 * That is no error here, because other code reads the file and reports the error. */
static json_t *load_model(const char *folder)
{
    char path[4200];
    struct fail ignored;
    snprintf(path, sizeof path, "%sconfig.json", folder);
    return access(path, F_OK) ? NULL : json_read_file(path, &ignored);
}

int class_check(struct tokenizer *t, const char *folder, const json_t *config,
                const struct named_tokens *named, size_t file_tokens, struct fail *why)
{
    char name[128];
    if (!t->is_json || !config) return 0;
    if (json_is_true(json_object_get(config, "fix_mistral_regex")))
        return fail_input(
            why,
            "tokenizer_config.json says 'fix_mistral_regex': true, so transformers replaces the "
            "pattern of tokenizer.json: save the tokenizer with transformers (AutoTokenizer, "
            "save_pretrained), which writes the file anew, and remove the key");
    json_t *model = load_model(folder);
    find_class(t, config, model, name, sizeof name);
    json_decref(model);
    for (int i = 0; i < FORMS && *name; i++)
        if (!strcmp(name, forms[i].name))
            return check_form(t, &forms[i], config, named, file_tokens, why);
    if (!*name || !is_listed(class_names, name)) return 0;
    return remark(t, name, "has a normalizer and a pre_tokenizer of its own", why);
}
