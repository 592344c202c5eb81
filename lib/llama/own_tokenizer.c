#include "lib/llama/own_tokenizer.h"

#include "lib/common/file.h"
#include "lib/llama/base_digest.h"
#include "lib/tokenizer/tokenizer.h"

bool own_tokenizer_is(const char *adapter, const char *digest, char *path, size_t size)
{
    char of_file[STREAM_DIGEST_TEXT];
    struct fail ignored;
    return adapter && file_is_folder(adapter) && tokenizer_locate(adapter, path, size) &&
           !digest_file(path, of_file, &ignored) && !strcmp(digest, of_file);
}

int own_tokenizer_check(const struct vocabulary *tokens, const struct weights *w, int64_t rows,
                        const char *adapter, struct fail *why)
{
    struct vocabulary known = *tokens;
    const struct vocabulary model = { "the model", w->tokenizer, (uint64_t)rows, NULL, 0 };
    char path[4096];
    if (vocabulary_differs(known.tokenizer, w->tokenizer) &&
        own_tokenizer_is(adapter, known.tokenizer, path, sizeof path))
        known.tokenizer = NULL;
    return vocabulary_check(&known, &model, OWN_TOKENIZER_ADVICE, why);
}
