/* Reads JSON lines of documents. */
#include "tests/fuzz/fuzz.h"
#include "tools/tokenize/jsonl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jsonl_text text, source;
    struct fail why;
    size_t byte;
    for (int replaces = 0; replaces < 2; replaces++)
        if (jsonl_parse((const char *)data, size, "text", "meta.set", replaces, &text, &source,
                        &byte, &why)) {
            fuzz_check_failure(&why);
            must(byte >= 1 && byte <= size + 1);
        }
    return 0;
}
