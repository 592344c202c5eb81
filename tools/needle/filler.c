#include "tools/needle/filler.h"

#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "lib/common/input.h"
#include "lib/common/utf8.h"
#include "lib/common/vocabulary.h"
#include "lib/stream/tokens.h"
#include "tools/needle/text.h"

#include <string.h>

static const char noise[] =
    "The leaves turn in the wind. The water runs down to the sea. Morning comes and the birds "
    "wake. Somebody opens a window. The road goes on and on. ";

enum { TEXT_MAX = 256 << 20 }; /* no more tokens are decoded after this many bytes of text */

/* A sentence ends with . ! or ?, and closing quotes and brackets may follow. */
static bool ends_sentence(const char *text, size_t start, size_t end)
{
    while (end > start && strchr("\"')]", text[end - 1]))
        end--;
    return end > start && strchr(".!?", text[end - 1]);
}

/* Returns the end of the piece that begins at `start`. A piece ends after a sentence, after a blank
 * line, or after FILLER_PIECE_MAX bytes; white space that follows belongs to it. */
static size_t piece_end(const char *text, size_t bytes, size_t start)
{
    size_t at = start;
    while (at < bytes) {
        size_t word = at, lines = 0;
        while (word < bytes && !text_is_space(text[word]))
            word++;
        size_t next = word;
        for (; next < bytes && text_is_space(text[next]); next++)
            lines += text[next] == '\n';
        if (ends_sentence(text, at, word) || lines > 1 || next - start >= FILLER_PIECE_MAX)
            return next;
        at = next;
    }
    return bytes;
}

static int cut(struct filler *f, size_t bytes, struct fail *why)
{
    for (size_t at = 0; at < bytes;) {
        at = piece_end(f->text, bytes, at);
        if (buffer_extend(&f->ends, f->count, why)) return -1;
        f->ends[f->count++] = at;
    }
    return 0;
}

/* Fails unless the bytes are a text: UTF-8 without a NUL character. */
static int check_text(const char *text, size_t bytes, const char *name, struct fail *why)
{
    size_t valid = utf8_valid_prefix(text, bytes), at = strnlen(text, valid);
    return at == bytes ? 0 : fail_input(why, "%s: byte %zu: not a text in UTF-8", name, at);
}

static int fail_document(const char *path, uint64_t number, struct fail *why)
{
    struct fail first = *why;
    return fail_input(why, "%s: document %llu: %s: tokenize a text, or name the text itself", path,
                      (unsigned long long)number, first.text);
}

static int read_tokens(struct text *to, const char *path, const struct tokenizer *t,
                       struct fail *why)
{
    struct reader *in;
    struct token_info info;
    struct tokens doc = { 0 };
    int got = 0, status = 0;
    uint64_t n = 0;
    if (tokens_reader(&in, path, TOKEN_FORMAT_STREAM, &info, why)) return -1;
    const struct vocabulary tokens = { .tokenizer = info.tokenizer, .size = info.vocab_size };
    const struct vocabulary own = { .name = "--model",
                                    .tokenizer = tokenizer_digest(t),
                                    .size = tokenizer_vocab(t) };
    status = vocabulary_check(&tokens, &own, "--model names the tokenizer that made them", why);
    if (status) (void)fail_in(why, path);
    while (!status && to->bytes < TEXT_MAX && (got = tokens_read(in, &info, &doc, why)) > 0) {
        size_t bytes;
        char *text = tokenizer_decode(t, doc.ids, doc.count, &bytes, why);
        status = text ? 0 : -1;
        if (!status && check_text(text, bytes, "its text", why))
            status = fail_document(path, n + 1, why);
        n++;
        if (!status) status = text_add(to, text, bytes, why);
        if (!status) status = text_add(to, "\n\n", 2, why);
        free(text);
    }
    tokens_release(&doc);
    reader_close(in);
    return got < 0 ? -1 : status;
}

/* Does the text begin like JSON lines, or like a JSON array of objects? */
static bool is_json(const char *text, size_t bytes)
{
    size_t at = 0;
    for (const char *next = "[{\""; at < bytes; at++) {
        if (text_is_space(text[at])) continue;
        if (*next == '[' && text[at] == '{') next++;
        if (text[at] != *next++) return false;
        if (!*next) return true;
    }
    return false;
}

static int read_text(struct text *to, struct input *in, struct fail *why)
{
    char *text;
    size_t bytes;
    if (input_rest(in, &text, &bytes, why) || check_text(text, bytes, input_name(in), why))
        return -1;
    if (is_json(text, bytes))
        return fail_input(why,
                          "%s: JSON, where a text is needed (jq -r .text makes a text of JSON "
                          "lines; tokenize makes a stream of tokens, which is read too)",
                          input_name(in));
    return text_add(to, text, bytes, why);
}

static int read_file(struct text *to, const char *path, const struct tokenizer *t, struct fail *why)
{
    struct input *in;
    if (input_open(&in, path, why)) return -1;
    enum file_kind kind = input_kind(in);
    int status = kind == FILE_KIND_LONGQLORA ? 0
                 : kind != FILE_KIND_OTHER
                     ? fail_input(why, "%s: %s, where a text is needed (%s)", path,
                                  file_kind_words(kind), file_kind_way_to_text(kind))
                     : read_text(to, in, why);
    input_close(in);
    if (!status && kind == FILE_KIND_LONGQLORA) status = read_tokens(to, path, t, why);
    return status;
}

/* Makes the last piece end in white space, because the first piece may follow it again. */
static int end_text(struct text *t, struct fail *why)
{
    return text_is_space(t->at[t->bytes - 1]) ? 0 : text_add(t, " ", 1, why);
}

/* Removes white space at the beginning. */
static void strip(struct text *t)
{
    size_t spaces = 0;
    while (spaces < t->bytes && text_is_space(t->at[spaces]))
        spaces++;
    t->bytes -= spaces;
    if (spaces) memmove(t->at, t->at + spaces, t->bytes + 1);
}

int filler_open(struct filler *f, const char *path, const struct tokenizer *t, struct fail *why)
{
    struct text text = { 0 };
    *f = (struct filler){ .is_noise = !path };
    int status =
        path ? read_file(&text, path, t, why) : text_add(&text, noise, sizeof noise - 1, why);
    if (!status && text.bytes) strip(&text);
    if (!status && !text.bytes) status = fail_input(why, "%s: no text in it", file_shown(path));
    if (!status) status = end_text(&text, why);
    f->text = text.at;
    if (!status && path) digest_of_bytes(text.at, text.bytes, f->digest);
    if (!status) status = cut(f, text.bytes, why);
    if (status) filler_release(f);
    return status;
}

void filler_release(struct filler *f)
{
    free(f->text);
    free(f->ends);
    *f = (struct filler){ 0 };
}

const char *filler_piece(const struct filler *f, size_t n, size_t *bytes)
{
    size_t at = n % f->count, start = at ? f->ends[at - 1] : 0;
    *bytes = f->ends[at] - start;
    return f->text + start;
}
