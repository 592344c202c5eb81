/* Chat templates: a Jinja text that is looked up among the known ones, and a JSON file that formats
 * a conversation. */
#include "lib/tokenizer/chat_known.h"
#include "lib/tokenizer/jinja_form.h"
#include "tests/fuzz/fuzz.h"

/* Checks that each answer is a range of the tokens, in order. */
static void word(const struct chat_template *t)
{
    static struct token_buffer ids;
    struct fail why;
    static const char prompt[] = "c\nd";
    const struct chat_exchange turns[] = { { " a\n", "\nb ", NULL, NULL },
                                           { prompt, "e", prompt + 2, NULL } };
    uint32_t spans[4] = { 0 };
    for (size_t count = 1; count <= 2; count++) {
        ids.count = 0;
        if (chat_template_encode(t, &ids, count == 1 ? "s" : NULL, turns, count, spans, &why)) {
            fuzz_check_failure(&why);
            continue;
        }
        must(spans[0] < spans[1] && spans[1] <= ids.count);
        if (count == 2) must(spans[1] <= spans[2] && spans[2] < spans[3] && spans[3] <= ids.count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *tokenizer;
    struct fail why;
    struct chat_template t;
    if (!tokenizer) must(!tokenizer_open(&tokenizer, "tests/golden/templates/spm-legacy", &why));
    char *form = jinja_form((const char *)data, size, &why);
    if (!form) fuzz_check_failure(&why);
    if (form) must(strlen(form) <= 2 * size);
    free(form);
    if (!chat_known_find((const char *)data, size, "--chat", &why)) fuzz_check_failure(&why);
    if (chat_template_open(&t, fuzz_file(0, data, size), tokenizer, &why)) {
        fuzz_check_failure(&why);
        return 0;
    }
    word(&t);
    chat_template_close(&t);
    return 0;
}
