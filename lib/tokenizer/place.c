/* place.c - finds a tokenizer's file and opens it. */
#include "lib/tokenizer/tokenizer_internal.h"

#include "lib/common/file.h"
#include "lib/common/hub_name.h"
#include "lib/tokenizer/gguf_tokenizer.h"

#include <errno.h>
#include <sys/stat.h>

/* Is the file a SentencePiece model of a supported kind? A file that cannot be read counts as such
 * a model, so that opening it reports the error. */
static bool is_understood(const char *path)
{
    struct fail ignored;
    struct tokenizer *t = calloc(1, sizeof *t);
    size_t bytes;
    bool is = true;
    if (t && !file_read(path, TOKENIZER_MODEL_MAX, &t->model, &bytes, &ignored))
        is = !tokenizer_read_model(t, bytes, &ignored);
    tokenizer_close(t);
    return is;
}

/* Does the name exist? A symbolic link to a missing file counts, so that opening it reports the
 * error. */
static bool has_name(const char *path)
{
    struct stat st;
    return !lstat(path, &st);
}

/* If both files exist, tokenizer.model is taken, unless it is of an unsupported kind (user-defined
 * pieces, unigram). */
bool tokenizer_locate(const char *place, char *path, size_t size)
{
    struct stat st;
    char json[4096];
    bool is_there = !stat(place, &st);
    snprintf(path, size, "%s", place);
    if (!is_there || !S_ISDIR(st.st_mode)) return is_there;
    snprintf(json, sizeof json, "%s/tokenizer.json", place);
    snprintf(path, size, "%s/tokenizer.model", place);
    bool has_json = has_name(json), has_model = has_name(path);
    if (has_model && (!has_json || is_understood(path))) return true;
    snprintf(path, size, "%s", json);
    return has_json;
}

/* Fails for a folder that has neither tokenizer.model nor tokenizer.json. If the folder has a file
 * from which transformers makes a tokenizer.json, the message says so. */
static int name_lack(const char *place, struct fail *why)
{
    static const char *const others[] = { "vocab.json", "tekken.json", "tiktoken.model",
                                          "tokenizer.tiktoken" };
    char path[4200];
    if (file_check_folder(place, why)) return -1;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(path, sizeof path, "%s/%s", place, others[i]);
        if (has_name(path))
            return fail(why,
                        "%s: neither tokenizer.model nor tokenizer.json in it, but %s, of which "
                        "transformers makes a tokenizer.json: "
                        "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
                        place, others[i]);
    }
    return fail(why,
                "%s: neither tokenizer.model nor tokenizer.json in it: name the model's own "
                "directory or file",
                place);
}

/* Does the text begin with a line of a tiktoken file: a token in base64 and its rank? */
static bool is_tiktoken(const char *text, size_t bytes)
{
    static const char base64[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    size_t at = 0;
    while (at < bytes && text[at] && strchr(base64, text[at]))
        at++;
    if (at < 4 || at % 4 || at + 1 >= bytes || text[at] != ' ') return false;
    size_t digits = ++at;
    while (at < bytes && text[at] >= '0' && text[at] <= '9')
        at++;
    return at > digits && at < bytes && text[at] == '\n';
}

/* Refuses vocabularies of other libraries. transformers can convert them to a tokenizer.json. */
static int refuse_others(const char *text, size_t bytes, struct fail *why)
{
    const char *kind = NULL;
    size_t looked = bytes < 65536 ? bytes : 65536;
    if (is_tiktoken(text, bytes))
        kind = "tiktoken";
    else if (*text == '{' && memmem(text, looked, "\"token_bytes\"", 13))
        kind = "Mistral's tekken";
    if (!kind) return 0;
    return fail_input(
        why,
        "this is a vocabulary of %s: use the model's tokenizer.json; if there is none, "
        "transformers makes it: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
        kind);
}

int tokenizer_open(struct tokenizer **t, const char *place, struct fail *why)
{
    char path[4096], *model;
    *t = NULL;
    struct stat st;
    size_t bytes;
    if (!tokenizer_locate(place, path, sizeof path)) {
        if (stat(place, &st)) return hub_name_absent(place, errno, why);
        if (S_ISDIR(st.st_mode)) return name_lack(place, why);
    }
    if (file_is_there(path, why) < 0) return -1;
    if (gguf_is(path)) return gguf_tokenizer_open(t, path, why);
    if (file_read(path, TOKENIZER_MODEL_MAX, &model, &bytes, why)) return -1;
    int status = refuse_others(model, bytes, why) ? fail_in(why, path)
                                                  : tokenizer_parse(t, model, bytes, path, why);
    if (!status && tokenizer_read_beside(*t, path, why)) {
        status = fail_in(why, path);
        tokenizer_close(*t);
        *t = NULL;
    }
    free(model);
    return status;
}
