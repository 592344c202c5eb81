/* gguf_pre.c - the pre-tokenizers that GGUF files name.
 *
 * A GGUF has no pattern, only a name that llama.cpp's converter has recognised. llama.cpp's own
 * patterns are adapted to its engine. These here are those of the tokenizer.json files of the
 * models whose names they are, so the tokens are the model's own.
 */
#include "lib/tokenizer/gguf_internal.h"

#define BYTES(regex)                                                                               \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_"              \
    "regex\":" regex "}"
#define DIGITS_BYTES                                                                               \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true}"   \
    "," BYTES("true") "]}"
#define SPLIT(pattern)                                                                             \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"        \
    "\"" pattern "\"},\"behavior\":\"Isolated\",\"invert\":false}," BYTES("false") "]}"
#define NFC "{\"type\":\"NFC\"}"

/* Backslashes are doubled twice, for C and for JSON. */
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

static const struct gguf_pre pres[] = {
    { "gpt-2", "null", BYTES("true"), false, false },
    { "phi-2", "null", BYTES("true"), false, false },
    { "smollm", "null", DIGITS_BYTES, false, false },
    { "starcoder", "null", DIGITS_BYTES, false, false },
    { "refact", "null", DIGITS_BYTES, false, false },
    { "command-r", NFC, DIGITS_BYTES, false, false },
    { "llama-bpe", "null", SPLIT(LLAMA3), true, true },
    { "llama3", "null", SPLIT(LLAMA3), true, true },
    { "llama-v3", "null", SPLIT(LLAMA3), true, true },
    { "qwen2", NFC, SPLIT(QWEN2), false, false },
    { "tekken", "null", SPLIT(TEKKEN), true, true },
};

const struct gguf_pre *gguf_pre_at(size_t i)
{
    return i < sizeof pres / sizeof *pres ? &pres[i] : NULL;
}

const struct gguf_pre *gguf_pre_find(struct gguf_text name, struct fail *why)
{
    char known[160] = "";
    for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
        size_t used = strlen(known);
        if (gguf_text_is(name, pres[i].name)) return &pres[i];
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", pres[i].name);
    }
    fail_input(why,
               "%s '%.*s': this pre-tokenizer is not known here, only %s: name the model's own "
               "tokenizer.json",
               GGUF_KEY_PRE, (int)(name.bytes < 40 ? name.bytes : 40), name.at, known);
    return NULL;
}
