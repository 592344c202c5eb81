#include "tools/ppl/corpus.h"

#include "lib/cli/die.h"
#include "lib/llama/own_tokenizer.h"

static struct fail why;

/* Stores the end of a document. The array grows whenever the count reaches a power of two. */
static void add_end(struct corpus *c)
{
    if (!(c->documents & (c->documents - 1))) {
        size_t capacity = c->documents ? 2 * (size_t)c->documents : 1;
        c->ends = realloc(c->ends, capacity * sizeof *c->ends);
        if (!c->ends) die(STATUS_FAILED, "out of memory");
    }
    c->ends[c->documents++] = c->count;
}

static void add_document(struct corpus *c, const struct tokens *t, size_t *capacity)
{
    size_t wanted = (size_t)c->count + t->count;
    if (wanted > *capacity) {
        *capacity = 2 * wanted;
        c->ids = realloc(c->ids, *capacity * sizeof *c->ids);
        if (!c->ids) die(STATUS_FAILED, "out of memory");
    }
    if (t->count) memcpy(c->ids + c->count, t->ids, t->count * sizeof *c->ids);
    c->count += (int64_t)t->count;
    add_end(c);
}

/* The first few sources that were skipped, for the error if the requested source does not exist. */
struct others {
    char text[200];
    char last[SOURCE_MAX];
};

static void pass_over(struct others *o, const char *source)
{
    char listed[SOURCE_MAX + 5];
    size_t used = strlen(o->text);
    if (!strcmp(o->last, source)) return;
    snprintf(o->last, sizeof o->last, "%s", source);
    size_t length = (size_t)snprintf(listed, sizeof listed, ", '%s'", source);
    const char *shown = used ? listed : listed + 2;
    if (strstr(o->text, listed + 2) || used + length >= sizeof o->text) return;
    memcpy(o->text + used, shown, strlen(shown) + 1);
}

static void read_stream(struct corpus *c, const char *path, const char *source)
{
    struct reader *r;
    struct tokens t = { 0 };
    struct others others = { 0 };
    size_t capacity = 0;
    or_die(tokens_reader(&r, path, c->view, &c->info, &why), &why);
    while (or_die(tokens_read(r, &c->info, &t, &why), &why) > 0)
        if (source && strcmp(source, t.source) != 0)
            pass_over(&others, t.source);
        else
            add_document(c, &t, &capacity);
    if (source && !c->documents)
        die(STATUS_INPUT, "%s: no document of --source '%s': there are %s", c->name, source,
            others.text[0] ? others.text : "none at all");
    memcpy(c->digest, reader_digest(r), sizeof c->digest);
    tokens_release(&t);
    reader_close(r);
}

static void read_raw(struct corpus *c, const char *path)
{
    struct tokens t = { 0 };
    or_die(tokens_read_raw(path, c->view, UINT64_C(1) << 32, &t, c->digest, &why), &why);
    c->ids = t.ids;
    c->count = (int64_t)t.count;
    free(t.targets);
    add_end(c);
}

static bool is_raw(const struct corpus *c) { return c->view == VIEW_U16 || c->view == VIEW_U32; }

struct corpus corpus_read(const char *path, enum view view, const char *source)
{
    struct corpus c = { .view = view, .name = strcmp(path, "-") ? path : "standard input" };
    if (source && is_raw(&c))
        die_usage("--source: raw numbers are one document, which names no source");
    if (is_raw(&c))
        read_raw(&c, path);
    else
        read_stream(&c, path, source);
    if (!c.count) die(STATUS_INPUT, "%s: no tokens in it", c.name);
    return c;
}

static void check_raw(struct corpus *c, const struct weights *w)
{
    int64_t bos = 1;
    or_die(json_get_count(w->config.json, "bos_token_id", w->config.vocab - 1, &bos, &why), &why);
    c->info.bos = (uint64_t)bos;
    for (int64_t i = 0; i < c->count; i++)
        if (c->ids[i] >= w->config.vocab)
            die(STATUS_INPUT, "%s: token %lld is %u, the model's vocabulary %lld (of --from %s?)",
                c->name, (long long)i, c->ids[i], (long long)w->config.vocab,
                c->view == VIEW_U16 ? "u32" : "u16");
}

void corpus_check(struct corpus *c, const struct weights *w, const char *adapter)
{
    if (is_raw(c)) {
        check_raw(c, w);
        return;
    }
    /* The vocabulary may be smaller than the model's embedding. If it is larger, the ids themselves
     * are checked. */
    for (int64_t i = 0; i < c->count && (int64_t)c->info.vocab_size > w->config.vocab; i++)
        if (c->ids[i] >= w->config.vocab)
            die(STATUS_INPUT,
                "%s: made with a vocabulary of %llu, the model has %lld, and token %lld is %u: "
                "tokenize the text with the model's own tokenizer",
                c->name, (unsigned long long)c->info.vocab_size, (long long)w->config.vocab,
                (long long)i, c->ids[i]);
    if (!own_tokenizer_fits(c->info.tokenizer, w, adapter))
        die(STATUS_INPUT,
            "%s: made with tokenizer %s, the model's is %s: tokenize the text with the model's own",
            c->name, c->info.tokenizer, w->tokenizer);
}

void corpus_count_bytes(struct corpus *c, const struct tokenizer *t)
{
    if (c->info.tokenizer[0] && strcmp(c->info.tokenizer, tokenizer_digest(t)) != 0)
        die(STATUS_INPUT, "%s: made with tokenizer %s, the one to count bytes with is %s", c->name,
            c->info.tokenizer, tokenizer_digest(t));
    for (int64_t i = 0; i < c->count; i++)
        if (c->ids[i] >= tokenizer_vocab(t))
            die(STATUS_INPUT, "%s: token %lld is %u, the tokenizer's vocabulary %u", c->name,
                (long long)i, c->ids[i], tokenizer_vocab(t));
    for (int64_t i = 0, start = 0; i < c->documents; start = c->ends[i++]) {
        size_t bytes;
        char *text =
            tokenizer_decode(t, c->ids + start, (size_t)(c->ends[i] - start), &bytes, &why);
        if (!text) die_fail(&why);
        free(text);
        c->bytes += bytes;
    }
}

void corpus_release(struct corpus *c)
{
    free(c->ids);
    free(c->ends);
    *c = (struct corpus){ 0 };
}
