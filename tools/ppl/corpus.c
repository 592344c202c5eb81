#include "tools/ppl/corpus.h"

#include "lib/cli/die.h"
#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "lib/llama/own_tokenizer.h"
#include "lib/stream/targets.h"

static struct fail why;

/* Stores the end of a document. */
static void add_end(struct corpus *c)
{
    or_die(buffer_extend(&c->ends, c->documents, &why), &why);
    c->ends[c->documents++] = c->count;
}

/* Adds a document, or only its beginning if the corpus then has the requested number of tokens. */
static void add_document(struct corpus *c, const struct tokens *t, size_t *capacity)
{
    size_t before = (size_t)c->count, count = t->count;
    if (c->max_tokens && count > (size_t)c->max_tokens - before)
        count = (size_t)c->max_tokens - before;
    or_die(buffer_reserve(&c->ids, capacity, before, count, &why), &why);
    if (count) memcpy(c->ids + before, t->ids, count * sizeof *c->ids);
    c->count += (int64_t)count;
    add_end(c);
}

/* The first few sources that were skipped. The error message lists them if the requested source
 * does not exist. */
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
    or_die(tokens_reader(&r, path, c->format, &c->info, &why), &why);
    bool is_enough = false;
    while (!is_enough && or_die(tokens_read(r, &c->info, &t, &why), &why) > 0)
        if (source && strcmp(source, t.source) != 0) {
            pass_over(&others, t.source);
        } else {
            add_document(c, &t, &capacity);
            is_enough = c->max_tokens && c->count == c->max_tokens;
        }
    if (is_enough) reader_stop(r);
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
    or_die(tokens_read_raw(path, c->format, (uint64_t)c->max_tokens, UINT64_C(1) << 32, &t,
                           c->digest, &why),
           &why);
    c->ids = t.ids;
    c->count = (int64_t)t.count;
    free(t.targets);
    add_end(c);
}

/* Moves the sample into the corpus; *s is empty then. */
static void add_sample(struct corpus *c, struct sample *s, size_t *capacity)
{
    size_t count = (size_t)c->count;
    or_die(buffer_reserve(&c->ids, capacity, count, s->count, &why), &why);
    if (s->count) memcpy(c->ids + count, s->ids, s->count * sizeof *c->ids);
    c->count += (int64_t)s->count;
    or_die(buffer_extend(&c->samples, c->documents, &why), &why);
    free(s->ids);
    s->ids = NULL;
    c->samples[c->documents] = *s;
    *s = (struct sample){ 0 };
    add_end(c);
}

struct corpus corpus_read_samples(const char *path, enum token_format format, const char *source)
{
    struct corpus c = { .format = format, .name = file_shown(path) };
    struct reader *r;
    struct sample s = { 0 };
    struct sample_info info;
    struct others others = { 0 };
    size_t capacity = 0;
    or_die(samples_reader(&r, path, format, &info, &why), &why);
    while (or_die(samples_read(r, &info, &s, &why), &why) > 0)
        if (source && strcmp(source, s.source) != 0)
            pass_over(&others, s.source);
        else
            add_sample(&c, &s, &capacity);
    if (!c.documents)
        die(STATUS_INPUT, "%s: no sample%s%s%s%s", c.name, source ? " of --source '" : " in it",
            source ? source : "", source ? "': there are " : "",
            !source          ? ""
            : others.text[0] ? others.text
                             : "none at all");
    for (int64_t i = 0; i < c.documents; i++)
        c.samples[i].ids = c.ids + (i ? c.ends[i - 1] : 0);
    c.info = info.text;
    c.context = info.context;
    c.masks_documents = sample_info_masks_documents(&info);
    memcpy(c.digest, reader_digest(r), sizeof c.digest);
    sample_release(&s);
    reader_close(r);
    return c;
}

static bool is_raw(const struct corpus *c) { return token_format_is_raw(c->format); }

struct corpus corpus_read(const char *path, enum token_format format, const char *source,
                          int64_t max_tokens)
{
    struct corpus c = { .format = format, .max_tokens = max_tokens, .name = file_shown(path) };
    if (source && is_raw(&c))
        die_usage("--source: raw token ids are one document without a source");
    if (is_raw(&c))
        read_raw(&c, path);
    else
        read_stream(&c, path, source);
    if (!c.count) die(STATUS_INPUT, "%s: no tokens in it", c.name);
    return c;
}

/* ---- what rank 0 has read ---- */

/* Copies an array of rank 0. Returns rank 0's own array there, and a new one on the others. */
static void *share_array(struct ranks *r, void *own, size_t bytes)
{
    void *at = ranks_place(r)->rank ? calloc(bytes + 1, 1) : own;
    if (ranks_place(r)->rank && !at) die(STATUS_FAILED, "out of memory");
    if (bytes) or_die(ranks_broadcast(r, at, bytes, &why), &why);
    return at;
}

/* Copies samples without their ids, which lie in the corpus. */
static void share_samples(struct corpus *c, struct ranks *r)
{
    c->samples = share_array(r, c->samples, (size_t)c->documents * sizeof *c->samples);
    for (int64_t i = 0; i < c->documents; i++) {
        struct sample *s = &c->samples[i];
        s->ids = c->ids + (i ? c->ends[i - 1] : 0);
        s->documents = share_array(r, s->documents, s->document_count * sizeof *s->documents);
        s->targets = share_array(r, s->targets, 2 * s->target_count * sizeof *s->targets);
    }
}

void corpus_share(struct corpus *c, const char *path, struct ranks *r)
{
    struct corpus all = *c;
    or_die(ranks_broadcast(r, &all, sizeof all, &why), &why);
    if (ranks_place(r)->rank) {
        *c = all;
        c->name = file_shown(path);
        c->ids = NULL;
        c->ends = NULL;
        c->samples = NULL;
    }
    c->ids = share_array(r, c->ids, (size_t)c->count * sizeof *c->ids);
    c->ends = share_array(r, c->ends, (size_t)c->documents * sizeof *c->ends);
    if (all.samples) share_samples(c, r);
}

/* Describes the tokens for vocabulary_check. */
static struct vocabulary tokens_of(const struct corpus *c)
{
    return (struct vocabulary){ .tokenizer = c->info.tokenizer,
                                .ids = c->ids,
                                .count = (size_t)c->count };
}

static int check_raw(struct corpus *c, const struct weights *w)
{
    const struct vocabulary tokens = tokens_of(c);
    const struct vocabulary model = { .name = "the model", .size = (uint64_t)w->config.vocab };
    int64_t bos = 1;
    or_die(json_get_count(w->config.json, "bos_token_id", w->config.vocab - 1, &bos, &why), &why);
    c->info.bos = (uint64_t)bos;
    return vocabulary_check(&tokens, &model, token_format_raw_advice(c->format), &why);
}

void corpus_check(struct corpus *c, const struct weights *w, const char *adapter)
{
    const struct vocabulary tokens = tokens_of(c);
    int status = is_raw(c) ? check_raw(c, w)
                           : own_tokenizer_check(&tokens, w, w->config.vocab, adapter, &why);
    or_die(status ? fail_in(&why, c->name) : 0, &why);
}

void corpus_count_bytes(struct corpus *c, const struct tokenizer *t, const char *name)
{
    const struct vocabulary tokens = tokens_of(c);
    const struct vocabulary named = { .name = name,
                                      .tokenizer = tokenizer_digest(t),
                                      .size = tokenizer_vocab(t) };
    if (vocabulary_check(
            &tokens, &named,
            "name the data's tokenizer with --tokenizer, or the size of the text with --bytes",
            &why))
        or_die(fail_in(&why, c->name), &why);
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
    for (int64_t i = 0; c->samples && i < c->documents; i++) {
        c->samples[i].ids = NULL;
        sample_release(&c->samples[i]);
    }
    free(c->samples);
    free(c->ids);
    free(c->ends);
    *c = (struct corpus){ 0 };
}
