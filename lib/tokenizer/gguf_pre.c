/* gguf_pre.c - the pre-tokenizers that GGUF files name.
 *
 * A GGUF file has no pattern, only the name of a pre-tokenizer that llama.cpp's converter has
 * recognised. llama.cpp's own patterns are adapted to its regular-expression engine. The patterns
 * here are copied from the tokenizer.json of the model that each name stands for, so the tokens are
 * those of the original model.
 */
#include "lib/tokenizer/gguf_internal.h"

#define BYTES(regex)                                                                               \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_"              \
    "regex\":" regex "}"
#define NFC "{\"type\":\"NFC\"}"

/* Each backslash is written as four, because both C and JSON double it. */
#define LLAMA3                                                                                     \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "         \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define QWEN2                                                                                      \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "              \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define UPPER "[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define LOWER "[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]"
#define TEKKEN                                                                                     \
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" UPPER "*" LOWER "+|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" UPPER      \
    "+" LOWER "*|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|"          \
    "\\\\s+(?!\\\\S)|\\\\s+"

#define QWEN35                                                                                     \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{L}\\\\p{M}]+|\\\\p{N}| "    \
    "?[^\\\\s\\\\p{L}\\\\p{M}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define O200K                                                                                      \
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*[\\\\p{Ll}"      \
    "\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?["    \
    "\\\\p{Lu}\\\\p{Lt}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]+[\\\\p{Ll}\\\\p{Lm}\\\\p{Lo}\\\\p{M}]*(?i:'s|'" \
    "t|'re|'ve|'m|'ll|'d)?|\\\\p{N}{1,3}| "                                                        \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n/]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define DEEPSEEK_LETTERS                                                                           \
    "\\\\s?[A-Za-z\\u00b5\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u01ba\\u01bc-\\u01bf\\u01c4-"     \
    "\\u0293\\u0295-\\u02af\\u0370-\\u0373\\u0376\\u0377\\u037b-\\u037d\\u037f\\u0386\\u0388-"     \
    "\\u038a\\u038c\\u038e-\\u03a1\\u03a3-\\u03f5\\u03f7-\\u0481\\u048a-\\u052f\\u0531-"           \
    "\\u0556\\u10a0-\\u10c5\\u13a0-\\u13f5\\u13f8-\\u13fd\\u1c90-\\u1cba\\u1cbd-\\u1cbf\\u1d00-"   \
    "\\u1d2b\\u1d6b-\\u1d77\\u1d79-\\u1d9a\\u1e00-\\u1f15\\u1f18-\\u1f1d\\u1f20-\\u1f45\\u1f48-"   \
    "\\u1f4d\\u1f50-\\u1f57\\u1f59\\u1f5b\\u1f5d\\u1f5f-\\u1f7d\\u1f80-\\u1fb4\\u1fb6-"            \
    "\\u1fbc\\u1fbe\\u1fc2-\\u1fc4\\u1fc6-\\u1fcc\\u1fd0-\\u1fd3\\u1fd6-\\u1fdb\\u1fe0-"           \
    "\\u1fec\\u1ff2-\\u1ff4\\u1ff6-\\u1ffc\\u2102\\u2107\\u210a-\\u2113\\u2115\\u2119-"            \
    "\\u211d\\u2124\\u2126\\u2128\\u212a-\\u212d\\u212f-\\u2134\\u2139\\u213c-\\u213f\\u2145-"     \
    "\\u2149\\u214e\\u2183\\u2184\\u2c00-\\u2c7b\\u2c7e-\\u2ce4\\u2ceb-"                           \
    "\\u2cee\\u2cf2\\u2cf3\\ua640-\\ua66d\\ua680-\\ua69b\\ua722-\\ua76f\\ua771-\\ua787\\ua78b-"    \
    "\\ua78e\\uab70-\\uabbf\\ufb00-\\ufb06\\ufb13-\\ufb17\\uff21-\\uff3a\\uff41-"                  \
    "\\uff5a\\ud801\\udc00-\\ud801\\udc4f\\ud801\\udcb0-\\ud801\\udcd3\\ud801\\udcd8-"             \
    "\\ud801\\udcfb\\ud803\\udc80-\\ud803\\udcb2\\ud803\\udcc0-\\ud803\\udcf2\\ud806\\udca0-"      \
    "\\ud806\\udcdf\\ud83a\\udd00-\\ud83a\\udd43]+"
#define DEEPSEEK_V3                                                                                \
    "[!\\\"#$%&'()*+,\\\\-./"                                                                      \
    ":;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{" \
    "M}]+| ?[\\\\p{P}\\\\p{S}]+[\\r\\n]*|\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define DEEPSEEK_MARKS "\\\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+"
#define CJK "[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+"
#define CJK_KANA "[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+"
#define ISOLATED(pattern)                                                                          \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern                                        \
    "\"},\"behavior\":\"Isolated\",\"invert\":false},"
#define INVERTED(pattern)                                                                          \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern                                        \
    "\"},\"behavior\":\"Removed\",\"invert\":true},"
#define SEQUENCE "{\"type\":\"Sequence\",\"pretokenizers\":["
#define DIGITS "{\"type\":\"Digits\",\"individual_digits\":true},"

static const struct gguf_pre pres[] = {
    { "gpt-2", "null", BYTES("true"), false, false },
    { "phi-2", "null", BYTES("true"), false, false },
    { "smollm", "null", SEQUENCE DIGITS BYTES("true") "]}", false, false },
    { "starcoder", "null", SEQUENCE DIGITS BYTES("true") "]}", false, false },
    { "refact", "null", SEQUENCE DIGITS BYTES("true") "]}", false, false },
    { "command-r", NFC, SEQUENCE DIGITS BYTES("true") "]}", false, false },
    { "llama-bpe", "null", SEQUENCE ISOLATED(LLAMA3) BYTES("false") "]}", true, true },
    { "llama3", "null", SEQUENCE ISOLATED(LLAMA3) BYTES("false") "]}", true, true },
    { "llama-v3", "null", SEQUENCE ISOLATED(LLAMA3) BYTES("false") "]}", true, true },
    { "smaug-bpe", "null", SEQUENCE ISOLATED(LLAMA3) BYTES("false") "]}", false, false },
    { "qwen2", NFC, SEQUENCE ISOLATED(QWEN2) BYTES("false") "]}", false, false },
    { "qwen35", NFC, SEQUENCE ISOLATED(QWEN35) BYTES("false") "]}", false, false },
    { "gpt-4o", "null", SEQUENCE INVERTED(O200K) BYTES("false") "]}", false, false },
    { "dbrx", "null", SEQUENCE INVERTED(LLAMA3) BYTES("false") "]}", false, false },
    { "deepseek-llm", "null",
      SEQUENCE ISOLATED("[\\r\\n]") ISOLATED(DEEPSEEK_LETTERS) ISOLATED(DEEPSEEK_MARKS)
          ISOLATED("\\\\s+$") ISOLATED(CJK) DIGITS BYTES("false") "]}",
      false, false },
    { "deepseek-coder", "null",
      SEQUENCE ISOLATED("[\\r\\n]") ISOLATED("\\\\s?\\\\p{L}+") ISOLATED("\\\\s?\\\\p{P}+")
          ISOLATED(CJK) DIGITS BYTES("false") "]}",
      false, false },
    { "deepseek-v3", "null",
      SEQUENCE ISOLATED("\\\\p{N}{1,3}") ISOLATED(CJK_KANA) ISOLATED(DEEPSEEK_V3)
          BYTES("false") "]}",
      false, false },
    { "tekken", "null", SEQUENCE ISOLATED(TEKKEN) BYTES("false") "]}", true, true },
};

const struct gguf_pre *gguf_pre_at(size_t i)
{
    return i < sizeof pres / sizeof *pres ? &pres[i] : NULL;
}

const struct gguf_pre *gguf_pre_find(struct gguf_text name, struct fail *why)
{
    char known[260] = "";
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
        size_t used = strlen(known);
        if (gguf_text_is(name, pres[i].name)) return &pres[i];
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", pres[i].name);
    }
    fail_input(why,
               "%s '%.*s': this pre-tokenizer is not known; the known ones are %s: name the "
               "model's own tokenizer.json",
               GGUF_KEY_PRE, (int)(name.bytes < 40 ? name.bytes : 40), name.at, known);
    return NULL;
}
