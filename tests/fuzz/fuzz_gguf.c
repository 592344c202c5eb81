/* Reads GGUF files. All tensors of an accepted file must lie in it. Its config, weights, tokenizer
 * and template are opened or refused. */
#include "lib/llama/weights_gguf.h"
#include "lib/tokenizer/chat_known.h"
#include "lib/tokenizer/gguf_tokenizer.h"
#include "tests/fuzz/fuzz.h"

static void check_tensors(const struct gguf *g)
{
    const char *begin = g->map;
    for (size_t i = 0; i < g->tensor_count; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        const char *at = t->data;
        size_t elements = 1;
        for (int d = 0; d < t->dims; d++)
            elements *= (size_t)t->shape[d];
        must(at >= begin && t->bytes <= (size_t)(begin + g->map_bytes - at));
        must(t->bytes == ggml_row_bytes(t->type, (int64_t)elements) &&
             gguf_tensor(g, t->name) == t);
    }
}

static void check_rows(const struct weights *w)
{
    for (int64_t i = 0; i < w->count; i++) {
        const struct tensor *t = &w->table[i];
        int64_t count = t->rows < 3 ? t->rows : 3;
        float *buffer = malloc((size_t)(count * t->cols) * sizeof *buffer);
        unsigned char sum = 0;
        must(buffer);
        const unsigned char *rows = weights_rows(w, i, t->rows - count, count, buffer);
        for (size_t b = 0; b < (size_t)(count * t->cols) * dtype_size(w->at[i].type); b++)
            sum ^= rows[b];
        must(sum + 1);
        free(buffer);
    }
}

static void check_weights(const char *path)
{
    struct fail why;
    struct weights w = { 0 };
    if (weights_open_gguf(&w, path, &why))
        fuzz_check_failure(&why);
    else
        check_rows(&w);
    weights_close(&w);
}

static void check_tokenizer(const char *path)
{
    static const char text[] = "hello  world 12\n\xe2\x82\xac<s>";
    struct fail why;
    struct tokenizer *t;
    struct token_buffer b = { 0 };
    struct chat_source s;
    if (chat_source_find(&s, path, &why))
        fuzz_check_failure(&why);
    else
        chat_source_release(&s);
    if (tokenizer_open(&t, path, &why)) {
        fuzz_check_failure(&why);
        return;
    }
    if (tokenizer_encode(t, &b, text, sizeof text - 1, &why)) fuzz_check_failure(&why);
    for (size_t i = 0; i < b.count; i++)
        must(b.ids[i] < tokenizer_vocab(t));
    token_buffer_release(&b);
    tokenizer_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fail why;
    struct gguf g;
    const char *path = fuzz_file(0, data, size);
    if (gguf_open(&g, path, &why)) {
        fuzz_check_failure(&why);
        return 0;
    }
    check_tensors(&g);
    gguf_close(&g);
    check_weights(path);
    check_tokenizer(path);
    return 0;
}
