#include "measure.h"

#include "../../lib/common/die.h"
#include "../../lib/common/opt.h"
#include "corpus.h"
#include "report.h"

#include <unistd.h>

enum { CONTEXTS_MAX = 64 };

static struct fail why;

static int parse_contexts(const char *text, int64_t contexts[CONTEXTS_MAX])
{
    int n = 0;
    for (const char *at = text;; at++) {
        char *end;
        long long value = strtoll(at, &end, 10);
        if (end == at || value < 2 || value > 1 << 24 || (*end && *end != ','))
            die_usage("--context: '%s' is not a list of lengths of at least 2", text);
        if (n == CONTEXTS_MAX) die_usage("--context: at most %d lengths", CONTEXTS_MAX);
        contexts[n++] = value;
        at = end;
        if (!*at) return n;
    }
}

/* Rows of all contexts' batches. */
static struct model_setup set_up(const struct measure_options *o, const int64_t *contexts, int n)
{
    struct model_setup setup = { .method = METHOD_FROZEN,
                                 .device = o->device,
                                 .threads = (int)opt_standard.threads };
    for (int i = 0; i < n; i++) {
        if (contexts[i] > setup.positions) setup.positions = contexts[i];
        if (protocol_rows(contexts[i]) > setup.rows) setup.rows = protocol_rows(contexts[i]);
    }
    return setup;
}

/* Before anything is measured. */
static void check_memory(const struct measure_options *o, const struct loaded *l,
                         const struct model_setup *setup, const int64_t *contexts, int n)
{
    char text[240], alone[240], rest[64] = "";
    bool fits;
    int64_t longest = 0;
    or_die(loaded_check_memory(l, setup, &fits, text, sizeof text, &why), &why);
    if (fits) {
        note("memory: %s", text);
        return;
    }
    for (int i = 0; i < n; i++) {
        struct model_setup own = set_up(o, contexts + i, 1);
        or_die(loaded_check_memory(l, &own, &fits, alone, sizeof alone, &why), &why);
        if (fits && contexts[i] > longest) longest = contexts[i];
    }
    if (longest) snprintf(rest, sizeof rest, "; %lld fits alone", (long long)longest);
    die(STATUS_FAILED, "--context %s: needs %s%s", o->contexts, text, rest);
}

static struct model *open_model(const struct measure_options *o, struct loaded *l,
                                const int64_t *contexts, int n)
{
    struct model *m;
    struct model_setup setup = set_up(o, contexts, n);
    check_memory(o, l, &setup, contexts, n);
    or_die(loaded_model(l, &setup, &m, &why), &why);
    model_forget_weights(m, &l->weights);
    return m;
}

static void write_report(const struct measure_options *o, const struct report *r)
{
    const char *to = o->to;
    if (!strcmp(to, "auto"))
        to = !strcmp(o->output, "-") && isatty(STDOUT_FILENO) ? "table" : "scores";
    if (!strcmp(to, "positions"))
        or_die(report_positions(r, o->output, &why), &why);
    else if (!strcmp(to, "table"))
        or_die(report_table(r, o->output, &why), &why);
    else if (!strcmp(to, "json"))
        or_die(report_json(r, o->output, &why), &why);
    else
        or_die(report_stream(r, o->output, &why), &why);
}

/* The one that was named, or the one beside the model; NULL if the bytes are said or there is none.
 */
static struct tokenizer *open_tokenizer(const struct measure_options *o, const struct loaded *l)
{
    struct tokenizer *t;
    char path[4096];
    const char *place = o->tokenizer ? o->tokenizer : o->loaded.model;
    bool is_there = tokenizer_locate(place, path, sizeof path);
    if (o->bytes || (!o->tokenizer && (!is_there || !weights_are_directory(place)))) return NULL;
    or_die(tokenizer_open(&t, path, &why), &why);
    if (tokenizer_vocab(t) > l->config.vocab)
        die(STATUS_INPUT, "%s: vocabulary %u, the model has %lld", path, tokenizer_vocab(t),
            (long long)l->config.vocab);
    return t;
}

void measure(const struct measure_options *o, struct loaded *l)
{
    const struct weights *w = &l->weights;
    const struct config *c = &l->config;
    int64_t contexts[CONTEXTS_MAX];
    struct score scores[CONTEXTS_MAX];
    char rope[160], loaded[120];
    int n = parse_contexts(o->contexts, contexts);
    struct protocol p = { .name = o->protocol,
                          .stride = o->stride,
                          .short_context = o->short_context,
                          .max_tokens = o->max_tokens };
    struct tokenizer *tokenizer = open_tokenizer(o, l);
    struct corpus corpus = corpus_read(o->data, view_of(o->from), o->source, w, tokenizer);
    tokenizer_close(tokenizer);
    p.bos = corpus.bos;
    struct texts texts = { .ids = corpus.ids, .ends = &corpus.count, .count = 1 };
    if (o->per_document) {
        texts.ends = corpus.ends;
        texts.count = corpus.documents;
    }
    for (int i = 0; i < n; i++)
        or_die(protocol_check(&p, &texts, contexts[i], &why), &why);
    struct model *m = open_model(o, l, contexts, n);
    config_describe_rope(c, rope, sizeof rope);
    weights_describe(w, loaded, sizeof loaded);
    note("rope: %s; attention: full; base: %s, %s; device: %s, %s", rope,
         w->is_quantized ? "nf4" : "unquantized", loaded, model_kernels(m)->name,
         model_kernels(m)->act_name);
    for (int i = 0; i < n; i++) {
        if (contexts[i] > config_context(c))
            note("context %lld is beyond the %lld that the positions are made for",
                 (long long)contexts[i], (long long)config_context(c));
        or_die(protocol_run(&p, m, &texts, contexts[i], &scores[i], &why), &why);
        if (o->per_document)
            note("context %lld: %lld of %lld documents are long enough", (long long)contexts[i],
                 (long long)scores[i].texts, (long long)texts.count);
    }
    struct report r = { .model = w->stream[0] ? w->stream : w->base,
                        .base = w->base,
                        .adapter = l->has_adapter ? l->adapter.digest : "",
                        .rope = rope,
                        .tokenizer = w->tokenizer,
                        .protocol = o->protocol,
                        .definition = protocol_definition(o->protocol),
                        .dtype = model_kernels(m)->act_name,
                        .quantization = w->is_quantized ? "nf4" : "none",
                        .source = o->source ? o->source : "",
                        .data = corpus.digest,
                        .per_document = o->per_document,
                        .stride = o->stride,
                        .short_context = !strcmp(o->protocol, "longppl") ? o->short_context : 0,
                        .tokens = (uint64_t)corpus.count,
                        .bytes = o->bytes ? (uint64_t)o->bytes : corpus.bytes,
                        .scores = scores,
                        .count = n };
    write_report(o, &r);
    model_close(m);
    corpus_release(&corpus);
}
