#include "tools/ppl/measure.h"

#include "lib/cli/die.h"
#include "lib/cli/opt.h"
#include "lib/common/file.h"
#include "lib/common/mapped.h"
#include "lib/common/output.h"
#include "lib/llama/own_tokenizer.h"
#include "tools/ppl/corpus.h"
#include "tools/ppl/report.h"

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
            die_usage("--context: '%s' is not a list of lengths, 2 to 16777216, as 1024,2048",
                      text);
        if (n == CONTEXTS_MAX) die_usage("--context: at most %d lengths", CONTEXTS_MAX);
        contexts[n++] = value;
        at = end;
        if (!*at) return n;
    }
}

/* Returns a setup whose batches are large enough for every one of the contexts. */
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

/* Dies if the memory is too small. is_early: only the shapes of the base have been read so far. */
static void check_memory(const struct measure_options *o, const struct loaded *l,
                         const struct model_setup *setup, const int64_t *contexts, int n,
                         bool is_early)
{
    char text[240], alone[240], rest[64] = "";
    bool fits;
    int64_t longest = 0;
    or_die(loaded_check_memory(l, setup, &fits, text, sizeof text, &why), &why);
    if (fits) {
        if (!is_early) note("memory: %s", text);
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

/* Checks the memory of a model directory from its shapes alone, because its digest may take
 * minutes. */
static void check_outline(const struct measure_options *o, const int64_t *contexts, int n)
{
    struct loaded l;
    struct loaded_options outline = o->loaded;
    struct model_setup setup = set_up(o, contexts, n);
    outline.is_outline = true;
    if (!weights_have_companions(outline.model)) return;
    or_die(loaded_open(&l, &outline, &why), &why);
    check_memory(o, &l, &setup, contexts, n, true);
    loaded_close(&l);
}

static struct model *open_model(const struct measure_options *o, struct loaded *l,
                                const int64_t *contexts, int n)
{
    struct model *m;
    struct model_setup setup = set_up(o, contexts, n);
    check_memory(o, l, &setup, contexts, n, false);
    or_die(loaded_model(l, &setup, &m, &why), &why);
    model_forget_weights(m, &l->weights);
    return m;
}

/* Returns the form of the output: the one that --to names, or else the one that the suffix of the
 * output's name stands for, or else a table. */
static const char *form_of(const struct measure_options *o)
{
    const char *dot = strrchr(o->output, '.');
    if (strcmp(o->to, "auto") != 0) return o->to;
    if (dot && !strcmp(dot, ".scores")) return "scores";
    if (dot && !strcmp(dot, ".json")) return "json";
    return "table";
}

static int write_form(const struct measure_options *o, const struct report *r)
{
    const char *form = form_of(o);
    if (!strcmp(form, "positions")) return report_positions(r, o->output, &why);
    if (!strcmp(form, "table")) return report_table(r, o->output, &why);
    if (!strcmp(form, "json")) return report_json(r, o->output, &why);
    return report_stream(r, o->output, &why);
}

/* Writes the report. If the output cannot be written, prints the result, because it may have taken
 * hours. */
static void write_report(const struct measure_options *o, const struct report *r)
{
    struct fail changed;
    if (mapped_check(&changed)) warn("%s: the figures are of neither model", changed.text);
    if (!write_form(o, r)) return;
    for (int i = 0; i < r->count; i++)
        warn("context %lld: %lld windows, %lld scored, loss %.5f, perplexity %.4f",
             (long long)r->scores[i].context, (long long)r->scores[i].windows,
             (long long)r->scores[i].scored, r->scores[i].nll, r->scores[i].perplexity);
    die_fail(&why);
}

/* Opens the tokenizer of --tokenizer, or else of the adapter or the model. Returns NULL if --bytes
 * gives the number of bytes, or if there is no tokenizer. */
static struct tokenizer *open_tokenizer(const struct measure_options *o, const struct loaded *l,
                                        const char *digest)
{
    struct tokenizer *t;
    char path[4096];
    const char *place = o->tokenizer ? o->tokenizer : o->loaded.model;
    bool is_own = !o->tokenizer && own_tokenizer_is(o->loaded.adapter, digest, path, sizeof path);
    bool is_there = is_own || tokenizer_locate(place, path, sizeof path);
    if (o->bytes || (!o->tokenizer && !is_own && (!is_there || !weights_have_companions(place))))
        return NULL;
    if (tokenizer_open(&t, path, &why)) {
        if (o->tokenizer) die_fail(&why);
        /* A failure is no error, because only the bits per byte need the tokenizer. */
        note("no bits per byte (--bytes, or --tokenizer): %s", why.text);
        return NULL;
    }
    const struct vocabulary pieces = { .size = tokenizer_pieces(t) };
    const struct vocabulary model = { .name = "the model", .size = (uint64_t)l->config.vocab };
    if (vocabulary_check(&pieces, &model, "--tokenizer names the model's own", &why))
        or_die(fail_in(&why, path), &why);
    return t;
}

/* Everything about a measurement that does not depend on the model. */
struct measurement {
    struct protocol protocol;
    struct corpus corpus;
    struct texts texts;
    /* needs[i]: how many tokens a text must have for contexts[i] */
    int64_t contexts[CONTEXTS_MAX], needs[CONTEXTS_MAX];
    int count;
};

/* Lists the contexts for which a text of `longest` tokens has a window if `fitting`, and the other
 * contexts otherwise. */
static int list_contexts(const struct measurement *m, int64_t longest, bool fitting, char *text,
                         size_t size)
{
    size_t used = 0;
    int listed = 0;
    *text = 0;
    for (int i = 0; i < m->count && used + 24 < size; i++) {
        if ((m->needs[i] <= longest) != fitting) continue;
        used += (size_t)snprintf(text + used, size - used, "%s%lld", listed++ ? "," : "",
                                 (long long)m->contexts[i]);
    }
    return listed;
}

/* Returns the longest context for which a text of `tokens` tokens has a window. */
static int64_t longest_context(const struct protocol *p, int64_t tokens)
{
    int64_t fits = 0, too_long = tokens + 1, needed;
    struct fail none;
    while (too_long - fits > 1) {
        int64_t middle = fits + (too_long - fits) / 2;
        if (protocol_needs(p, middle, &needed, &none) || needed <= tokens)
            fits = middle;
        else
            too_long = middle;
    }
    return protocol_needs(p, fits, &needed, &none) ? 0 : fits;
}

/* Suggests the protocol `sliding`, for which a text needs only as many tokens as one window has. */
static void suggest_sliding(const struct measurement *m, int64_t longest, char *text, size_t size)
{
    struct protocol sliding = m->protocol;
    struct fail none;
    sliding.name = "sliding";
    *text = 0;
    for (int i = 0; i < m->count; i++) {
        int64_t needed;
        if (protocol_needs(&sliding, m->contexts[i], &needed, &none) || needed > longest) return;
    }
    snprintf(text, size, ", or by --protocol sliding, which wants a window's tokens alone");
}

NORETURN static void refuse_contexts(const struct measurement *m, int64_t longest)
{
    char refused[160], fitting[160], sliding[80];
    const char *document = m->texts.count > 1 ? "the longest document has " : "";
    const char *limit = m->protocol.max_tokens ? " (--max-tokens)" : "";
    int64_t needed = 0;
    if (m->protocol.stride >= longest)
        die(STATUS_INPUT, "%s: %s%lld tokens%s, too few for --stride %lld: a smaller one",
            m->corpus.name, document, (long long)longest, limit, (long long)m->protocol.stride);
    for (int i = 0; i < m->count; i++)
        if (m->needs[i] > needed) needed = m->needs[i];
    list_contexts(m, longest, false, refused, sizeof refused);
    suggest_sliding(m, longest, sliding, sizeof sliding);
    if (list_contexts(m, longest, true, fitting, sizeof fitting))
        die(STATUS_INPUT,
            "%s: %s%lld tokens%s, too few for --context %s by --protocol %s, which wants %lld: "
            "measure at --context %s%s",
            m->corpus.name, document, (long long)longest, limit, refused, m->protocol.name,
            (long long)needed, fitting, sliding);
    int64_t fits = longest_context(&m->protocol, longest);
    if (fits)
        snprintf(fitting, sizeof fitting, "--context %lld is the longest that fits%s",
                 (long long)fits, sliding);
    else
        snprintf(fitting, sizeof fitting, "no context fits: more text is needed");
    die(STATUS_INPUT,
        "%s: %s%lld tokens%s, too few for --context %s by --protocol %s, which wants "
        "%lld: %s",
        m->corpus.name, document, (long long)longest, limit, refused, m->protocol.name,
        (long long)needed, fitting);
}

static void check_usage(const struct measure_options *o, struct measurement *m)
{
    m->count = parse_contexts(o->contexts, m->contexts);
    m->protocol = (struct protocol){ .name = o->protocol,
                                     .stride = o->stride,
                                     .short_context = o->short_context,
                                     .max_tokens = o->max_tokens };
    for (int i = 0; i < m->count; i++)
        if (protocol_needs(&m->protocol, m->contexts[i], &m->needs[i], &why))
            die_usage("%s", why.text);
    const struct kernels *k;
    or_die(loaded_check_places(&o->loaded, &why), &why);
    or_die(kernels_open(&k, o->device, &why), &why);
}

/* Reads only as many tokens as are measured. All tokens are read if each document is measured by
 * itself, and also with --bytes, which counts the bytes of all data. */
static void read_corpus(const struct measure_options *o, struct measurement *m)
{
    int64_t most = o->per_document || o->bytes ? 0 : o->max_tokens;
    m->corpus = corpus_read(o->data, view_of(o->from), o->source, most);
    m->texts = (struct texts){ .ids = m->corpus.ids, .ends = &m->corpus.count, .count = 1 };
    if (o->per_document) {
        m->texts.ends = m->corpus.ends;
        m->texts.count = m->corpus.documents;
    }
    int64_t longest = protocol_longest(&m->protocol, &m->texts);
    for (int i = 0; i < m->count; i++)
        if (m->needs[i] > longest) refuse_contexts(m, longest);
}

struct asked {
    const struct measure_options *o;
    const struct measurement *m;
};

/* Checks that the memory is large enough before the stream is read. */
static int check_stream(void *arg, const struct loaded *outline, struct fail *unused)
{
    const struct asked *asked = arg;
    struct model_setup setup = set_up(asked->o, asked->m->contexts, asked->m->count);
    (void)unused;
    check_memory(asked->o, outline, &setup, asked->m->contexts, asked->m->count, true);
    return 0;
}

static void open_base(const struct measure_options *o, struct measurement *m, struct loaded *l)
{
    char remark[400];
    struct asked asked = { o, m };
    struct loaded_options options = o->loaded;
    options.check = check_stream;
    options.arg = &asked;
    or_die(loaded_open(l, &options, &why), &why);
    if (config_remark(&l->config, remark, sizeof remark))
        warn("%s: %s", file_shown(o->loaded.model), remark);
    struct tokenizer *tokenizer = open_tokenizer(o, l, m->corpus.info.tokenizer);
    corpus_check(&m->corpus, &l->weights, o->loaded.adapter);
    if (tokenizer)
        corpus_count_bytes(&m->corpus, tokenizer, o->tokenizer ? o->tokenizer : "the model");
    tokenizer_close(tokenizer);
    m->protocol.bos = (uint32_t)m->corpus.info.bos;
}

static void run(const struct measurement *m, const struct loaded *l, struct model *model,
                struct score *scores)
{
    int64_t positions = config_context(&l->config);
    for (int i = 0; i < m->count; i++) {
        long long context = m->contexts[i];
        if (context > positions)
            note("context %lld is beyond the %lld that the positions are made for", context,
                 (long long)positions);
        or_die(protocol_run(&m->protocol, model, &m->texts, context, &scores[i], &why), &why);
        if (m->texts.ends != &m->corpus.count)
            note("context %lld: %lld of %lld documents are long enough", context,
                 (long long)scores[i].texts, (long long)m->texts.count);
    }
}

void measure(const struct measure_options *o)
{
    static struct measurement m;
    struct loaded l;
    struct score scores[CONTEXTS_MAX];
    char rope[160], loaded[120];
    if (!strcmp(form_of(o), "scores")) die_if_terminal(o->output);
    or_die(output_try(o->output, &why), &why);
    check_usage(o, &m);
    read_corpus(o, &m);
    check_outline(o, m.contexts, m.count);
    open_base(o, &m, &l);
    const struct weights *w = &l.weights;
    struct model *model = open_model(o, &l, m.contexts, m.count);
    config_describe_rope(&l.config, rope, sizeof rope);
    weights_describe(w, loaded, sizeof loaded);
    note("rope: %s; attention: full; base: %s, %s; device: %s, %s", rope,
         w->is_quantized ? "nf4" : "unquantized", loaded, model_kernels(model)->name,
         model_kernels(model)->act_name);
    run(&m, &l, model, scores);
    bool is_longppl = !strcmp(o->protocol, "longppl");
    struct report r = { .model = w->stream[0] ? w->stream : w->base,
                        .base = w->base,
                        .adapter = l.has_adapter ? l.adapter.digest : "",
                        .rope = rope,
                        .tokenizer = w->tokenizer,
                        .protocol = o->protocol,
                        .definition = protocol_definition(o->protocol),
                        .dtype = model_kernels(model)->act_name,
                        .quantization = w->is_quantized ? "nf4" : "none",
                        .source = o->source ? o->source : "",
                        .data = m.corpus.digest,
                        .per_document = o->per_document,
                        .stride = o->stride,
                        .short_context =
                            o->short_context || !is_longppl ? o->short_context : SHORT_CONTEXT,
                        .tokens = (uint64_t)m.corpus.count,
                        .bytes = o->bytes ? (uint64_t)o->bytes : m.corpus.bytes,
                        .scores = scores,
                        .count = m.count };
    write_report(o, &r);
    model_close(model);
    corpus_release(&m.corpus);
    loaded_close(&l);
}
