/* Reads tokenizer.model. An accepted tokenizer must encode any text and decode the tokens. */
#include "lib/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = " a  b\xc3\xa4\xe2\x96\x81\xf0\x9f\x98\x80 aaaa abababab\n\t0123";
    struct fail why;
    struct tokenizer *t;
    struct token_buffer b = { 0 };
    if (tokenizer_parse(&t, data, size, "model", &why)) {
        fuzz_check_failure(&why);
        return 0;
    }
    if (!tokenizer_encode(t, &b, text, sizeof text - 1, &why)) {
        size_t bytes;
        for (size_t i = 0; i < b.count; i++)
            must(b.ids[i] < tokenizer_vocab(t));
        free(tokenizer_decode(t, b.ids, b.count, &bytes, &why));
    }
    token_buffer_release(&b);
    tokenizer_close(t);
    return 0;
}
