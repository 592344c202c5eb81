#include "lib/llama/model_max_length.h"

#include "lib/common/file.h"
#include "lib/common/json_scan.h"
#include "lib/common/output.h"

#include <unistd.h>

enum { FILE_MAX = 64 << 20 };

bool model_max_length_find(const char *text, size_t bytes, size_t *at, size_t *length)
{
    struct fail unused;
    struct json_scan s = json_scan_begin("tokenizer_config.json", text, bytes, &unused);
    size_t count = 0;
    char key[64];
    bool is_found = false;
    if (json_scan_kind(&s) != '{' || json_scan_open(&s, '{')) return false;
    int more;
    while ((more = json_scan_more(&s, &count)) > 0) {
        /* A key that is longer than the buffer cannot be the one that is sought. */
        size_t capacity = json_scan_longest(&s);
        char *long_key = capacity > sizeof key ? malloc(capacity) : key;
        if (!long_key ||
            json_scan_key(&s, long_key, capacity > sizeof key ? capacity : sizeof key)) {
            if (long_key != key) free(long_key);
            return false;
        }
        bool is_it = !strcmp(long_key, "model_max_length");
        if (long_key != key) free(long_key);
        char kind = json_scan_kind(&s); /* skips the white space before the value */
        const unsigned char *from = s.at;
        if (json_scan_skip(&s)) return false;
        if (!is_it || is_found || kind < '0' || kind > '9') continue;
        is_found = true;
        *at = (size_t)(from - s.start);
        *length = (size_t)(s.at - from);
    }
    return !more && !json_scan_end(&s) && is_found;
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
