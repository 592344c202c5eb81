#include "lib/llama/own_tokenizer.h"

#include "lib/llama/base_digest.h"
#include "lib/tokenizer/tokenizer.h"

bool own_tokenizer_fits(const char *digest, const struct weights *w, const char *adapter)
{
    char path[4096], own[STREAM_DIGEST_TEXT];
    struct fail ignored;
    if (!*digest || !w->tokenizer[0] || !strcmp(digest, w->tokenizer)) return true;
    return adapter && weights_are_directory(adapter) &&
           tokenizer_locate(adapter, path, sizeof path) && !digest_file(path, own, &ignored) &&
           !strcmp(digest, own);
}
