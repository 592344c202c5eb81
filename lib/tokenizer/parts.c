#include "lib/tokenizer/parts.h"

#include <string.h>

#define NORMALIZER "normalizer"
#define PRE "pre_tokenizer"
#define POST "post_processor"
#define DECODER "decoder"
#define ALL(where, type, option)                                                                   \
    {                                                                                              \
        where, type, option, PART_UNDERSTOOD, NULL, NULL                                           \
    }
#define SOME(where, type, option, values, refused)                                                 \
    {                                                                                              \
        where, type, option, PART_UNDERSTOOD, values, refused                                      \
    }
#define HARMLESS(where, type, option, why)                                                         \
    {                                                                                              \
        where, type, option, PART_HARMLESS, why, NULL                                              \
    }
#define REFUSED(where, type, refused)                                                              \
    {                                                                                              \
        where, type, NULL, PART_REFUSED, NULL, refused                                             \
    }

static const char behaviors[] = "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous";
static const char other_model[] = "BPE is; such a tokenizer belongs to another kind of model";
static const char unicode_forms[] =
    "normalize the text yourself and take this normalizer out of the file";
static const char no_text[] = "it decides where tokens lie in the text, not which tokens they are";

static const struct tokenizer_part parts[] = {
    ALL("model", "BPE", NULL),
    ALL("model", "BPE", "vocab"),
    SOME("model", "BPE", "merges", "lists of two, or texts with one space",
         "a list of merges of two pieces is needed"),
    SOME("model", "BPE", "dropout", "null, 0", "it splits text at random: set it to null"),
    SOME("model", "BPE", "unk_token", "null, a piece", "a piece of the vocabulary is needed"),
    ALL("model", "BPE", "fuse_unk"),
    SOME("model", "BPE", "byte_fallback",
         "true, false; after ByteLevel only with a piece for each byte",
         "byte_fallback after ByteLevel needs a piece for each byte"),
    ALL("model", "BPE", "ignore_merges"),
    SOME("model", "BPE", "continuing_subword_prefix", "null, \"\"",
         "LLaMA's models have no pieces with a prefix inside words"),
    SOME("model", "BPE", "end_of_word_suffix", "null, \"\"",
         "LLaMA's models have no pieces with a suffix at the ends of words"),
    REFUSED("model", "Unigram", other_model),
    REFUSED("model", "WordPiece", other_model),
    REFUSED("model", "WordLevel", other_model),

    ALL(NORMALIZER, "Sequence", NULL),
    ALL(NORMALIZER, "Sequence", "normalizers"),
    ALL(NORMALIZER, "Prepend", NULL),
    SOME(NORMALIZER, "Prepend", "prepend", "not empty",
         "an empty text changes nothing: take this normalizer out of the file"),
    ALL(NORMALIZER, "Replace", NULL),
    SOME(NORMALIZER, "Replace", "pattern", "a String, a Regex that can be translated",
         "a pattern that always matches some text is needed"),
    ALL(NORMALIZER, "Replace", "content"),
    ALL(NORMALIZER, "NFC", NULL),
    REFUSED(NORMALIZER, "NFD", unicode_forms),
    REFUSED(NORMALIZER, "NFKC", unicode_forms),
    REFUSED(NORMALIZER, "NFKD", unicode_forms),
    REFUSED(NORMALIZER, "Nmt", unicode_forms),
    REFUSED(NORMALIZER, "Precompiled", unicode_forms),
    REFUSED(NORMALIZER, "Lowercase", unicode_forms),
    REFUSED(NORMALIZER, "Strip", unicode_forms),
    REFUSED(NORMALIZER, "StripAccents", unicode_forms),
    REFUSED(NORMALIZER, "BertNormalizer", unicode_forms),
    REFUSED(NORMALIZER, "ByteLevel", "the pre_tokenizer ByteLevel is"),

    ALL(PRE, "Sequence", NULL),
    ALL(PRE, "Sequence", "pretokenizers"),
    SOME(PRE, "ByteLevel", NULL, "as the last one", "nothing may come after it"),
    ALL(PRE, "ByteLevel", "add_prefix_space"),
    ALL(PRE, "ByteLevel", "use_regex"),
    HARMLESS(PRE, "ByteLevel", "trim_offsets", no_text),
    ALL(PRE, "Split", NULL),
    SOME(PRE, "Split", "pattern", "a String, a Regex that can be translated",
         "a pattern that is not empty is needed"),
    SOME(PRE, "Split", "behavior", behaviors, behaviors),
    ALL(PRE, "Split", "invert"),
    ALL(PRE, "Digits", NULL),
    ALL(PRE, "Digits", "individual_digits"),
    ALL(PRE, "Punctuation", NULL),
    SOME(PRE, "Punctuation", "behavior", behaviors, behaviors),
    ALL(PRE, "Metaspace", NULL),
    SOME(PRE, "Metaspace", "replacement", "one character", "one character is needed"),
    SOME(PRE, "Metaspace", "prepend_scheme",
         "always, never; also first, if nothing cuts or prepends before it",
         "always, never; also first, if nothing cuts or prepends before it"),
    SOME(PRE, "Metaspace", "add_prefix_space",
         "true; false with prepend_scheme never or without one", "it contradicts prepend_scheme"),
    ALL(PRE, "Metaspace", "split"),
    HARMLESS(PRE, "Metaspace", "str_rep", "the replacement again"),
    ALL(PRE, "Whitespace", NULL),
    ALL(PRE, "WhitespaceSplit", NULL),
    REFUSED(PRE, "BertPreTokenizer", other_model),
    REFUSED(PRE, "CharDelimiterSplit", "Split by a String is"),
    REFUSED(PRE, "Delimiter", "Split by a String is"),
    REFUSED(PRE, "FixedLength", "no LLaMA has it"),
    REFUSED(PRE, "UnicodeScripts", "no LLaMA has it"),

    ALL(POST, "Sequence", NULL),
    SOME(POST, "Sequence", "processors", "at most one that adds tokens",
         "only one of them may add tokens: merge them into one TemplateProcessing"),
    HARMLESS(POST, "ByteLevel", NULL, no_text),
    HARMLESS(POST, "ByteLevel", "add_prefix_space", no_text),
    HARMLESS(POST, "ByteLevel", "trim_offsets", no_text),
    HARMLESS(POST, "ByteLevel", "use_regex", no_text),
    ALL(POST, "TemplateProcessing", NULL),
    SOME(POST, "TemplateProcessing", "single", "at most one token before the text, one after it",
         "more than one token before or after a text is not supported"),
    HARMLESS(POST, "TemplateProcessing", "pair", "texts are encoded one at a time"),
    ALL(POST, "TemplateProcessing", "special_tokens"),
    ALL(POST, "BertProcessing", NULL),
    ALL(POST, "BertProcessing", "cls"),
    ALL(POST, "BertProcessing", "sep"),
    ALL(POST, "RobertaProcessing", NULL),
    ALL(POST, "RobertaProcessing", "cls"),
    ALL(POST, "RobertaProcessing", "sep"),
    HARMLESS(POST, "RobertaProcessing", "trim_offsets", no_text),
    HARMLESS(POST, "RobertaProcessing", "add_prefix_space", no_text),

    ALL(DECODER, "Sequence", NULL),
    ALL(DECODER, "Sequence", "decoders"),
    SOME(DECODER, "ByteLevel", NULL, "where the pre_tokenizer is ByteLevel",
         "it can only decode the tokens of the pre_tokenizer ByteLevel"),
    HARMLESS(DECODER, "ByteLevel", "add_prefix_space", no_text),
    HARMLESS(DECODER, "ByteLevel", "trim_offsets", no_text),
    HARMLESS(DECODER, "ByteLevel", "use_regex", no_text),
    SOME(DECODER, "ByteFallback", NULL, "where the pre_tokenizer is not ByteLevel, before Fuse",
         "before Fuse, and not for a ByteLevel tokenizer"),
    HARMLESS(DECODER, "Fuse", NULL, "a text is decoded as a whole anyway"),
    SOME(DECODER, "Replace", NULL, "one character by a space, before ByteFallback and Fuse",
         "a decoder may only replace one character by a space, before ByteFallback and Fuse"),
    ALL(DECODER, "Replace", "pattern"),
    ALL(DECODER, "Replace", "content"),
    SOME(DECODER, "Strip", NULL, "spaces at the start of the whole text (after Fuse)",
         "only spaces at the start, after Fuse, may be stripped"),
    ALL(DECODER, "Strip", "content"),
    ALL(DECODER, "Strip", "start"),
    SOME(DECODER, "Strip", "stop", "0", "only spaces at the start may be stripped"),
    SOME(DECODER, "Metaspace", NULL,
         "before ByteFallback and Fuse, where the pre_tokenizer is not ByteLevel",
         "before ByteFallback and Fuse, and not for a ByteLevel tokenizer"),
    ALL(DECODER, "Metaspace", "replacement"),
    ALL(DECODER, "Metaspace", "prepend_scheme"),
    ALL(DECODER, "Metaspace", "add_prefix_space"),
    HARMLESS(DECODER, "Metaspace", "split", "it cuts nothing here"),
    HARMLESS(DECODER, "Metaspace", "str_rep", "the replacement again"),
    REFUSED(DECODER, "BPEDecoder", "LLaMA's models have no pieces with a suffix"),
    REFUSED(DECODER, "WordPiece", other_model),
    REFUSED(DECODER, "CTC", other_model),

    ALL("added_tokens", "*", "id"),
    ALL("added_tokens", "*", "content"),
    ALL("added_tokens", "*", "single_word"),
    ALL("added_tokens", "*", "lstrip"),
    ALL("added_tokens", "*", "rstrip"),
    ALL("added_tokens", "*", "normalized"),
    ALL("added_tokens", "*", "special"),
    HARMLESS("version", "1.0", NULL, "there is no other"),
    HARMLESS("truncation", "*", NULL, "transformers cuts only where a caller asks for it"),
    HARMLESS("padding", "*", NULL, "transformers pads only where a caller asks for it"),
};
enum { PARTS = sizeof parts / sizeof *parts };

const struct tokenizer_part *tokenizer_part(size_t number)
{
    return number < PARTS ? &parts[number] : NULL;
}

static bool is_same(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

static const struct tokenizer_part *find(const char *where, const char *type, const char *option)
{
    for (int i = 0; i < PARTS; i++)
        if (is_same(parts[i].where, where) && is_same(parts[i].type, type) &&
            is_same(parts[i].option, option))
            return &parts[i];
    return NULL;
}

bool part_has_option(const char *where, const char *option)
{
    for (int i = 0; i < PARTS; i++)
        if (is_same(parts[i].where, where) && is_same(parts[i].option, option)) return true;
    return false;
}

int part_refuse(const char *where, const char *type, const char *option, struct fail *why)
{
    const struct tokenizer_part *p = find(where, type, option);
    return fail_input(why, "%s %s%s%s is not supported: %s", where, type, option ? ": this " : "",
                      option ? option : "", p && p->refused ? p->refused : "it is not known");
}

const char *part_check(const char *where, const json_t *object, struct fail *why)
{
    const char *type = json_string_value(json_object_get(object, "type")), *key;
    json_t *value;
    if (!type && !strcmp(where, "model")) type = "BPE"; /* files from 2020 lack the model's type */
    if (!type) {
        (void)fail_input(why, "%s: a component has no type", where);
        return NULL;
    }
    const struct tokenizer_part *p = find(where, type, NULL);
    if (!p || p->verdict == PART_REFUSED) {
        char shown[64];
        snprintf(shown, sizeof shown, "%.60s", type);
        (void)part_refuse(where, shown, NULL, why);
        return NULL;
    }
    json_object_foreach((json_t *)object, key, value)
    {
        if (!strcmp(key, "type") || find(where, type, key)) continue;
        (void)fail_input(why, "%s %s: option '%.60s' is not known", where, type, key);
        return NULL;
    }
    return p->type;
}
