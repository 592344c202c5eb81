#include "lib/llama/model_max_length.h"

#include "lib/common/file.h"
#include "lib/common/json_member.h"
#include "lib/common/output.h"

#include <unistd.h>

enum { FILE_MAX = 64 << 20 };

bool model_max_length_find(const char *text, size_t bytes, size_t *at, size_t *length)
{
    struct fail unused;
    struct json_member m;
    if (json_member_find(text, bytes, "model_max_length", "tokenizer_config.json", &m, &unused) <=
            0 ||
        text[m.at] < '0' || text[m.at] > '9')
        return false;
    *at = m.at;
    *length = m.length;
    return true;
}

static int rewrite(const char *path, const char *text, size_t bytes, int64_t context,
                   struct fail *why)
{
    size_t at, length;
    if (!model_max_length_find(text, bytes, &at, &length)) return 0;
    /* The number may be larger than any integer type: 1000000000000000019884624838656. */
    if (strtod(text + at, NULL) >= (double)context) return 0;
    struct output out;
    char number[32];
    snprintf(number, sizeof number, "%lld", (long long)context);
    if (output_rewrite(&out, path, why)) return -1;
    if (!output_write(&out, text, at, why) && !output_write(&out, number, strlen(number), why) &&
        !output_write(&out, text + at + length, bytes - at - length, why))
        return output_close(&out, why);
    output_abandon(&out);
    return -1;
}

int model_max_length_raise(const char *directory, int64_t context, struct fail *why)
{
    char path[4200], *text;
    size_t bytes;
    snprintf(path, sizeof path, "%.4000s/tokenizer_config.json", directory);
    if (access(path, F_OK)) return 0;
    if (file_read(path, FILE_MAX, &text, &bytes, why)) return -1;
    int status = rewrite(path, text, bytes, context, why);
    free(text);
    return status;
}
