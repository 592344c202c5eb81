#include "corpus.h"

#include "../../lib/common/die.h"

static void check_fits(const struct reader *r, const struct token_info *info,
                       const struct weights *w)
{
    if ((int64_t)info->vocab_size != w->config.vocab)
        die(STATUS_INPUT, "%s: vocabulary %llu, the model has %lld", reader_name(r),
            (unsigned long long)info->vocab_size, (long long)w->config.vocab);
    if (info->tokenizer[0] && w->tokenizer[0] && strcmp(info->tokenizer, w->tokenizer) != 0)
        die(STATUS_INPUT, "%s: tokenizer %s, the model has %s", reader_name(r), info->tokenizer,
            w->tokenizer);
}

/* Bytes of the text that these tokens are. */
static uint64_t text_bytes(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count)
{
    struct fail why;
    size_t bytes;
    if (!tokenizer) return 0;
    char *text = tokenizer_decode(tokenizer, ids, count, &bytes, &why);
    if (!text) die_fail(&why);
    free(text);
    return bytes;
}

/* Room for a power of two of them, taken when it is reached. */
static void add_end(struct corpus *c)
{
    if (!(c->documents & (c->documents - 1))) {
        size_t room = c->documents ? 2 * (size_t)c->documents : 1;
        c->ends = realloc(c->ends, room * sizeof *c->ends);
        if (!c->ends) die(STATUS_FAILED, "out of memory");
    }
    c->ends[c->documents++] = c->count;
}

static struct corpus read_bare(const char *path, enum view view, const struct weights *model,
                               const struct tokenizer *tokenizer)
{
    struct fail why;
    struct tokens t = { 0 };
    struct corpus c = { 0 };
    int64_t bos = 1;
    or_die(json_get_count(model->config.json, "bos_token_id", model->config.vocab - 1, &bos, &why),
           &why);
    c.bos = (uint32_t)bos;
    or_die(tokens_read_bare(path, view, (uint64_t)model->config.vocab, &t, c.digest, &why), &why);
    c.ids = t.ids;
    c.count = (int64_t)t.count;
    c.bytes = text_bytes(tokenizer, t.ids, t.count);
    free(t.targets);
    add_end(&c);
    return c;
}

struct corpus corpus_read(const char *path, enum view view, const char *source,
                          const struct weights *model, const struct tokenizer *tokenizer)
{
    struct fail why;
    struct reader *r;
    struct token_info info;
    struct tokens t = { 0 };
    struct corpus c = { 0 };
    size_t room = 0;
    if (view == VIEW_U16 || view == VIEW_U32) return read_bare(path, view, model, tokenizer);
    or_die(tokens_reader(&r, path, view, &info, &why), &why);
    check_fits(r, &info, model);
    if (tokenizer && info.tokenizer[0] && strcmp(info.tokenizer, tokenizer_digest(tokenizer)) != 0)
        die(STATUS_INPUT, "%s: tokenizer %s, the one to count bytes with is %s", reader_name(r),
            info.tokenizer, tokenizer_digest(tokenizer));
    while (or_die(tokens_read(r, &info, &t, &why), &why) > 0) {
        if (source && strcmp(source, t.source) != 0) continue;
        size_t wanted = (size_t)c.count + t.count;
        if (wanted > room) {
            room = 2 * wanted;
            c.ids = realloc(c.ids, room * sizeof *c.ids);
            if (!c.ids) die(STATUS_FAILED, "out of memory");
        }
        if (t.count) memcpy(c.ids + c.count, t.ids, t.count * sizeof *c.ids);
        c.count += (int64_t)t.count;
        add_end(&c);
        c.bytes += text_bytes(tokenizer, t.ids, t.count);
    }
    memcpy(c.digest, reader_digest(r), sizeof c.digest);
    c.bos = (uint32_t)info.bos;
    tokens_release(&t);
    reader_close(r);
    return c;
}

void corpus_release(struct corpus *c)
{
    free(c->ids);
    free(c->ends);
    *c = (struct corpus){ 0 };
}
