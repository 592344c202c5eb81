/* Reads the files beside a tokenizer.json. The first byte of the input chooses one of two
 * tokenizers. The lines of the input are tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json and config.json; an empty line means that the file is absent. */
#include "lib/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

#include <unistd.h>

enum { BASES = 2, FILES = 4 };
static const char *const bases[BASES] = { "bytes", "chars" };
static const char *const names[FILES] = { "tokenizer_config.json", "special_tokens_map.json",
                                          "added_tokens.json", "config.json" };
static char directory[] = "/tmp/longqlora-fuzz-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[120];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void remove_directory(void)
{
    unlink(path_of("tokenizer.json"));
    for (int i = 0; i < FILES; i++)
        unlink(path_of(names[i]));
    if (rmdir(directory)) perror(directory);
}

static void begin(void)
{
    static bool is_begun;
    if (is_begun) return;
    is_begun = true;
    must(mkdtemp(directory));
    atexit(remove_directory);
}

static void choose_base(const char *name)
{
    char target[200], here[100];
    snprintf(target, sizeof target, "%s/tests/golden/tokenizer/%s.json",
             getcwd(here, sizeof here) ? here : ".", name);
    unlink(path_of("tokenizer.json"));
    must(!symlink(target, path_of("tokenizer.json")));
}

static void store(const char *name, const uint8_t *data, size_t size)
{
    unlink(path_of(name));
    FILE *file = size ? fopen(path_of(name), "we") : NULL;
    if (!size) return;
    must(file && fwrite(data, 1, size, file) == size && !fclose(file));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = " a <think>b</think> <s>caf\xc3\xa9 e\xcc\x81 the\n";
    struct fail why;
    struct tokenizer *t;
    begin();
    if (!size) return 0;
    choose_base(bases[*data % BASES]);
    data++, size--;
    for (int i = 0; i < FILES; i++) {
        const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
        size_t length = end ? (size_t)(end - data) : size;
        store(names[i], data, length);
        data += length + (end != NULL);
        size -= length + (end != NULL);
    }
    if (tokenizer_open(&t, directory, &why)) {
        fuzz_check_failure(&why);
        return 0;
    }
    for (int parses = 0; parses < 2; parses++) {
        struct token_buffer b = { .parses_special = parses };
        if (!tokenizer_encode(t, &b, text, sizeof text - 1, &why))
            for (size_t i = 0; i < b.count; i++)
                must(b.ids[i] < tokenizer_vocab(t));
        token_buffer_release(&b);
    }
    must(!tokenizer_remark(t, true) || *tokenizer_remark(t, true));
    tokenizer_close(t);
    return 0;
}
