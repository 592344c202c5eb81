#include "tools/tokenize/decode.h"

#include "lib/common/vocabulary.h"

#include <jansson.h>

static int put_document(const struct tokenizer *t, const struct tokens *d, bool as_text,
                        struct output *out, struct fail *why)
{
    size_t bytes;
    char *text = tokenizer_decode(t, d->ids, d->count, &bytes, why);
    if (!text) return -1;
    if (as_text) {
        int status = output_write(out, text, bytes, why);
        free(text);
        return status;
    }
    json_t *line = json_object();
    json_t *value = json_stringn(text, bytes);
    free(text);
    if (!value) {
        json_decref(line);
        return fail_input(why, "%s: decodes to invalid UTF-8: use --format text", d->id);
    }
    json_object_set_new(line, "text", value);
    json_object_set_new(line, "source", json_string(d->source));
    char *dumped = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (!dumped) return fail(why, "out of memory");
    int status = output_write(out, dumped, strlen(dumped), why);
    free(dumped);
    return status ? status : output_write(out, "\n", 1, why);
}

int decode_tokens(const char *path, enum token_format from, enum token_format to,
                  const char *output, struct fail *why)
{
    struct reader *r;
    struct writer *w;
    struct token_info info;
    struct tokens d = { 0 };
    int got = 0;
    if (tokens_reader(&r, path, from, &info, why)) return -1;
    int status = tokens_writer(&w, output, to, "tokenize", &info, NULL, why);
    while (!status && (got = tokens_read(r, &info, &d, why)) > 0)
        status = tokens_write(w, &info, &d, why);
    if (got < 0) status = -1;
    if (!status) {
        writer_parent(w, "tokens", reader_digest(r));
        writer_template(w, reader_template(r));
        status = writer_close(w, why);
    } else {
        writer_abandon(w);
    }
    tokens_release(&d);
    reader_close(r);
    return status;
}

int decode_stream(const struct tokenizer *t, const char *path, enum token_format from, bool as_text,
                  struct output *out, struct fail *why)
{
    struct reader *r;
    struct token_info info;
    struct tokens d = { 0 };
    if (tokens_reader(&r, path, from, &info, why)) return -1;
    int status = 0, got = 0;
    const struct vocabulary tokens = { .tokenizer = info.tokenizer };
    const struct vocabulary own = { .name = "--model", .tokenizer = tokenizer_digest(t) };
    if (vocabulary_check(&tokens, &own, "name the tokenizer that made the tokens", why))
        status = fail_in(why, reader_name(r));
    while (!status && (got = tokens_read(r, &info, &d, why)) > 0)
        status = put_document(t, &d, as_text, out, why);
    tokens_release(&d);
    reader_close(r);
    return got < 0 ? -1 : status;
}
