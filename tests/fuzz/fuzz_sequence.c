/* Reads the components of a tokenizer.json. An accepted tokenizer must encode any text and decode
 * the tokens. The input is an object of components, a NUL, and a text. */
#include "lib/common/utf8.h"
#include "lib/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static const char model[] =
    "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"byte_fallback\":false,\"vocab\":{\"<"
    "unk>\":0,"
    "\"a\":1,\"b\":2,\"ab\":3,\"\u2581\":4,\"\u2581a\":5,\"\u0120\":6,\"\u0120a\":7,\"<\":8,\"1\":"
    "9,"
    "\"11\":10,\"<0x61>\":11,\"\u00c3\":12,\"\u00a4\":13,\"\u00c3\u00a4\":14},\"merges\":[\"a b\","
    "\"\u2581 a\",\"\u0120 a\",\"1 1\",\"\u00c3 \u00a4\"]},";

static void try_text(const struct tokenizer *t, const char *text, size_t bytes, bool parses_special)
{
    struct fail why;
    struct token_buffer b = { .parses_special = parses_special };
    if (tokenizer_encode(t, &b, text, bytes, &why)) {
        fuzz_check_failure(&why);
    } else {
        size_t decoded;
        for (size_t i = 0; i < b.count; i++)
            must(b.ids[i] < tokenizer_vocab(t));
        free(tokenizer_decode(t, b.ids, b.count, &decoded, &why));
    }
    token_buffer_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    size_t length = end ? (size_t)(end - data) : size, bytes = end ? size - length - 1 : 0;
    struct fail why;
    struct tokenizer *t;
    if (!length || data[0] != '{') return 0;
    char *whole = malloc(sizeof model + length), *text = malloc(bytes + 1);
    must(whole && text);
    memcpy(whole, model, sizeof model - 1);
    memcpy(whole + sizeof model - 1, data + 1, length - 1);
    if (bytes) memcpy(text, end + 1, bytes);
    for (size_t i = 0, n; i < bytes; i += n ? n : 1) {
        n = utf8_valid((const unsigned char *)text + i, bytes - i);
        if (!n) text[i] = '?';
    }
    if (tokenizer_parse(&t, whole, sizeof model - 2 + length, "it", &why)) {
        fuzz_check_failure(&why);
    } else {
        try_text(t, text, bytes, false);
        try_text(t, text, bytes, true);
        tokenizer_close(t);
    }
    free(whole);
    free(text);
    return 0;
}
