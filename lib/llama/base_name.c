#include "lib/llama/base_name.h"

#include "lib/common/file.h"
#include "lib/llama/model_files.h"

#include <stdlib.h>

static bool is_same_shape(const struct config *a, const struct config *b)
{
    return a->vocab == b->vocab && a->dim == b->dim && a->ffn == b->ffn && a->layers == b->layers &&
           a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim;
}

/* Does the directory, or the GGUF file, have the same weights as w? The function reads all weights,
 * but only if the sizes in the config agree. */
static bool is_model_of(const char *directory, const struct weights *w)
{
    struct weights other;
    struct fail unused;
    if (file_is_folder(directory) ? !model_files_exist(directory)
                                  : !weights_have_companions(directory))
        return false;
    if (weights_outline(&other, directory, false, &unused)) return false;
    bool is_same = is_same_shape(&other.config, &w->config);
    weights_close(&other);
    if (!is_same || weights_open(&other, directory, true, &unused)) return false;
    is_same = !strcmp(other.base, w->base);
    weights_close(&other);
    return is_same;
}

/* Extracts "owner/name" from …/models--owner--name/snapshots/REVISION. */
static bool hub_name(const char *path, char *name, size_t size)
{
    static const char models[] = "/models--", snapshots[] = "/snapshots/";
    const char *from = strstr(path, models), *end = from ? strstr(from, snapshots) : NULL;
    if (!end) return false;
    from += sizeof models - 1;
    const char *middle = strstr(from, "--");
    if (!middle || middle >= end || middle == from) return false;
    snprintf(name, size, "%.*s/%.*s", (int)(middle - from), from, (int)(end - middle - 2),
             middle + 2);
    return true;
}

bool base_name(const char *model, const char *tokenizer, const struct weights *w, char *name,
               size_t size)
{
    bool is_stream = !weights_have_companions(model);
    bool is_found = is_stream && tokenizer && is_model_of(tokenizer, w);
    const char *found = is_found ? tokenizer : model;
    char *real = realpath(found, NULL);
    if (!real || !hub_name(real, name, size)) snprintf(name, size, "%s", found);
    free(real);
    return is_found;
}
