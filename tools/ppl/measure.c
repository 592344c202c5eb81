#include "tools/ppl/measure.h"

#include "lib/cli/die.h"
#include "lib/cli/opt.h"
#include "lib/common/file.h"
#include "lib/common/mapped.h"
#include "lib/common/output.h"
#include "lib/llama/own_tokenizer.h"
#include "tools/ppl/corpus.h"
#include "tools/ppl/report.h"
#include "tools/ppl/samples.h"

#include <unistd.h>

enum { CONTEXTS_MAX = 64, ROPES_MAX = 16, ROPE_TEXT = 48 };

static struct fail why;

static int parse_contexts(const char *text, int64_t contexts[CONTEXTS_MAX])
{
    int n = 0;
    for (const char *at = text;; at++) {
        char *end;
        long long value = strtoll(at, &end, 10);
        if (end == at || value < 2 || value > 1 << 24 || (*end && *end != ','))
            die_usage("--context: '%s' is not a list of lengths, such as 1024,2048 (2 to 16777216)",
                      text);
        if (n == CONTEXTS_MAX) die_usage("--context: more than %d lengths", CONTEXTS_MAX);
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

/* Dies if the memory is too small. is_early: so far only the shapes of the base have been read. */
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
    if (longest) snprintf(rest, sizeof rest, "; the length %lld alone fits", (long long)longest);
    die(STATUS_FAILED, "--context %s: needs %s%s", o->contexts, text, rest);
}

/* Checks the memory of a model directory from its shapes alone, because computing its digest may
 * take minutes. */
static void check_outline(const struct measure_options *o, const char *rope,
                          const int64_t *contexts, int n)
{
    struct loaded l;
    struct loaded_options outline = o->loaded;
    struct model_setup setup = set_up(o, contexts, n);
    outline.is_outline = true;
    if (*rope) outline.rope = rope;
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

/* Returns the form of the output: that of --to, or else that of the output's suffix, or else a
 * table. */
static const char *form_of(const struct measure_options *o)
{
    const char *dot = strrchr(o->output, '.');
    if (strcmp(o->to, "auto") != 0) return o->to;
    if (dot && !strcmp(dot, ".scores")) return "scores";
    if (dot && !strcmp(dot, ".json")) return "json";
    return "table";
}

static int write_form(const struct measure_options *o, const struct report *r, int count)
{
    const char *form = form_of(o);
    if (!strcmp(form, "positions")) return report_positions(r, count, o->output, &why);
    if (!strcmp(form, "table")) return report_table(r, count, o->output, &why);
    if (!strcmp(form, "json")) return report_json(r, count, o->output, &why);
    return report_stream(r, o->output, &why);
}

/* Writes the reports. If the output cannot be written, prints the result, because the measurement
 * may have taken hours. */
static void write_reports(const struct measure_options *o, const struct report *r, int count)
{
    if (!write_form(o, r, count)) return;
    for (int k = 0; k < count; k++)
        for (int i = 0; i < r[k].count; i++)
            warn("%s%scontext %lld: %lld windows, %lld scored, loss %.5f, perplexity %.4f",
                 r[k].asked_rope, count > 1 ? ": " : "", (long long)r[k].scores[i].context,
                 (long long)r[k].scores[i].windows, (long long)r[k].scores[i].scored,
                 r[k].scores[i].nll, r[k].scores[i].perplexity);
    die_fail(&why);
}

/* Opens the tokenizer of --tokenizer, or else of the adapter or the model. Returns NULL if --bytes
 * gives the number of bytes, or if there is no tokenizer that can be read. */
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
        /* A failure here does not end the program, because only the bits per byte need the
         * tokenizer. */
        note("bits per byte are not computed (they need --bytes or --tokenizer): %s", why.text);
        return NULL;
    }
    const struct vocabulary pieces = { .size = tokenizer_pieces(t) };
    const struct vocabulary model = { .name = "the model", .size = (uint64_t)l->config.vocab };
    if (vocabulary_check(&pieces, &model, "--tokenizer names the model's own", &why))
        or_die(fail_in(&why, path), &why);
    return t;
}

/* The parts of a measurement that do not depend on the model. */
struct measurement {
    struct protocol protocol;
    struct corpus corpus;
    struct texts texts;
    /* needs[i]: how many tokens a text must have for contexts[i] */
    int64_t contexts[CONTEXTS_MAX], needs[CONTEXTS_MAX];
    int count;
    bool has_samples;
    /* [rope_count] the position scalings to compare; "" is the model's own */
    char ropes[ROPES_MAX][ROPE_TEXT];
    int rope_count;
};

/* Lists contexts. If `fitting`, these are the contexts for which a text of `longest` tokens has a
 * window; otherwise they are the others. */
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
    snprintf(text, size, ", or use --protocol sliding, which needs the tokens of one window only");
}

NORETURN static void refuse_contexts(const struct measurement *m, int64_t longest)
{
    char refused[160], fitting[160], sliding[80];
    const char *document = m->texts.count > 1 ? "the longest document has " : "";
    const char *limit = m->protocol.max_tokens ? " (--max-tokens)" : "";
    int64_t needed = 0;
    if (m->protocol.stride >= longest)
        die(STATUS_INPUT, "%s: %s%lld tokens%s, too few for --stride %lld: choose a smaller one",
            m->corpus.name, document, (long long)longest, limit, (long long)m->protocol.stride);
    for (int i = 0; i < m->count; i++)
        if (m->needs[i] > needed) needed = m->needs[i];
    list_contexts(m, longest, false, refused, sizeof refused);
    suggest_sliding(m, longest, sliding, sizeof sliding);
    if (list_contexts(m, longest, true, fitting, sizeof fitting))
        die(STATUS_INPUT,
            "%s: %s%lld tokens%s, too few for --context %s by --protocol %s, which needs %lld: "
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
        "%s: %s%lld tokens%s, too few for --context %s by --protocol %s, which needs %lld: %s",
        m->corpus.name, document, (long long)longest, limit, refused, m->protocol.name,
        (long long)needed, fitting);
}

/* Dies if the last position scaling equals one of the others, even if written differently. */
static void refuse_twice(const struct measurement *m)
{
    int last = m->rope_count - 1;
    struct rope before, own;
    or_die(rope_set(&own, m->ropes[last], &why), &why);
    for (int i = 0; i < last; i++) {
        or_die(rope_set(&before, m->ropes[i], &why), &why);
        bool is_word = !strcmp(m->ropes[i], m->ropes[last]);
        if (rope_equal(&before, &own))
            die_usage("--rope: %s occurs twice%s%s", m->ropes[i], is_word ? "" : ", also as ",
                      is_word ? "" : m->ropes[last]);
    }
}

/* Parses "linear:2,yarn:2" and checks each position scaling. */
static void parse_ropes(const struct measure_options *o, struct measurement *m)
{
    m->rope_count = 1;
    if (!o->loaded.rope) {
        or_die(loaded_check_places(&o->loaded, &why), &why);
        return;
    }
    m->rope_count = 0;
    for (const char *at = o->loaded.rope;; at++) {
        size_t length = strcspn(at, ",");
        if (m->rope_count == ROPES_MAX) die_usage("--rope: more than %d kinds", ROPES_MAX);
        char *rope = m->ropes[m->rope_count++];
        snprintf(rope, ROPE_TEXT, "%.*s", (int)(length < ROPE_TEXT ? length : ROPE_TEXT - 1), at);
        struct loaded_options one = o->loaded;
        one.rope = rope;
        or_die(loaded_check_places(&one, &why), &why);
        refuse_twice(m);
        at += length;
        if (!*at) break;
    }
    if (m->rope_count == 1) return;
    if (!strcmp(o->loaded.model, "-"))
        die_usage("--rope: to measure several kinds, name a file instead of standard input");
    if (!strcmp(form_of(o), "scores")) die_usage("--to scores holds one --rope: use --to json");
}

/* Dies if an option is given that does not apply to samples. */
static void check_samples(const struct measure_options *o)
{
    const char *given = o->protocol != measure_protocol ? "--protocol"
                        : o->stride                     ? "--stride"
                        : o->short_context              ? "--short-context"
                        : o->bytes                      ? "--bytes"
                        : o->tokenizer                  ? "--tokenizer"
                        : o->per_document               ? "--per-document"
                        : o->max_tokens                 ? "--max-tokens"
                                                        : NULL;
    if (given) die_usage("%s applies to a text, not to samples", given);
}

static void check_usage(const struct measure_options *o, struct measurement *m)
{
    m->has_samples = !strncmp(o->from, "samples", 7);
    if (m->has_samples) check_samples(o);
    if (!m->has_samples || o->contexts != measure_contexts)
        m->count = parse_contexts(o->contexts, m->contexts);
    m->protocol = (struct protocol){ .name = m->has_samples ? "samples" : o->protocol,
                                     .stride = o->stride,
                                     .short_context = o->short_context,
                                     .max_tokens = o->max_tokens };
    for (int i = 0; i < m->count && !m->has_samples; i++)
        if (protocol_needs(&m->protocol, m->contexts[i], &m->needs[i], &why))
            die_usage("%s", why.text);
    const struct kernels *k;
    parse_ropes(o, m);
    or_die(kernels_open(&k, o->device, &why), &why);
}

/* Without --context there is one row, of all samples. */
static void read_samples(const struct measure_options *o, struct measurement *m)
{
    enum view view = strcmp(o->from, "samples") ? VIEW_JSONL : VIEW_STREAM;
    int64_t in_row[CONTEXTS_MAX] = { 0 };
    m->corpus = corpus_read_samples(o->data, view, o->source);
    if (!m->count) m->contexts[m->count++] = (int64_t)m->corpus.context;
    for (int64_t i = 0; i < m->corpus.documents; i++) {
        size_t tokens = m->corpus.samples[i].count;
        int row = samples_row((int64_t)tokens, m->contexts, m->count);
        if (row < 0)
            die(STATUS_INPUT, "%s: sample %lld has %zu tokens, more than --context %s",
                m->corpus.name, (long long)i + 1, tokens, o->contexts);
        in_row[row]++;
    }
    for (int i = 0; i < m->count; i++)
        if (!in_row[i])
            die(STATUS_INPUT,
                "%s: --context %lld: no sample is longer than the next smaller context and fits "
                "here",
                m->corpus.name, (long long)m->contexts[i]);
}

/* Reads only as many tokens as are measured. All tokens are read if each document is measured by
 * itself, and also with --bytes, which counts the bytes of all data. */
static void read_corpus(const struct measure_options *o, struct measurement *m)
{
    int64_t most = o->per_document || o->bytes ? 0 : o->max_tokens;
    if (m->has_samples) {
        read_samples(o, m);
        return;
    }
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

/* The result for one position scaling. */
struct result {
    char rope[160];
    struct score scores[CONTEXTS_MAX];
};

/* Facts about the model, which are the same for every position scaling. */
struct facts {
    char model[DIGEST_TEXT], base[DIGEST_TEXT], adapter[DIGEST_TEXT], tokenizer[DIGEST_TEXT];
    const char *dtype;
    bool is_quantized;
};

static void copy_digest(char to[DIGEST_TEXT], const char *from)
{
    snprintf(to, DIGEST_TEXT, "%s", from);
}

/* Checks the data against the first model that is opened. */
static void check_corpus(const struct measure_options *o, struct measurement *m,
                         const struct loaded *l)
{
    char remark[400];
    if (config_remark(&l->config, remark, sizeof remark))
        warn("%s: %s", file_shown(o->loaded.model), remark);
    struct tokenizer *tokenizer =
        m->has_samples ? NULL : open_tokenizer(o, l, m->corpus.info.tokenizer);
    corpus_check(&m->corpus, &l->weights, o->loaded.adapter);
    if (tokenizer)
        corpus_count_bytes(&m->corpus, tokenizer, o->tokenizer ? o->tokenizer : "the model");
    tokenizer_close(tokenizer);
    m->protocol.bos = (uint32_t)m->corpus.info.bos;
}

static void open_base(const struct measure_options *o, struct measurement *m, int rope,
                      struct loaded *l, struct facts *facts)
{
    struct asked asked = { o, m };
    struct loaded_options options = o->loaded;
    options.check = check_stream;
    options.arg = &asked;
    options.with_base = !rope;
    if (*m->ropes[rope]) options.rope = m->ropes[rope];
    or_die(loaded_open(l, &options, &why), &why);
    if (rope) return;
    for (int i = 1; i < m->rope_count; i++)
        or_die(loaded_check_rope(l, m->ropes[i], &why), &why);
    const struct weights *w = &l->weights;
    check_corpus(o, m, l);
    copy_digest(facts->model, w->stream[0] ? w->stream : w->base);
    copy_digest(facts->base, w->base);
    copy_digest(facts->adapter, l->has_adapter ? l->adapter.digest : "");
    copy_digest(facts->tokenizer, w->tokenizer);
    facts->is_quantized = w->is_quantized;
}

static void run(const struct measurement *m, const struct loaded *l, struct model *model,
                struct score *scores)
{
    int64_t positions = config_context(&l->config);
    const struct samples samples = { .at = m->corpus.samples,
                                     .count = (size_t)m->corpus.documents,
                                     .masks_documents = m->corpus.masks_documents };
    for (int i = 0; i < m->count; i++) {
        long long context = m->contexts[i];
        if (context > positions)
            note("context %lld is beyond the %lld that the model's positions allow", context,
                 (long long)positions);
        if (m->has_samples)
            or_die(samples_run(&samples, model, m->contexts, m->count, i, &scores[i], &why), &why);
        else
            or_die(protocol_run(&m->protocol, model, &m->texts, context, &scores[i], &why), &why);
        if (!m->has_samples && m->texts.ends != &m->corpus.count)
            note("context %lld: %lld of %lld documents are long enough", context,
                 (long long)scores[i].texts, (long long)m->texts.count);
    }
}

/* Measures with one position scaling. */
static void run_rope(const struct measure_options *o, struct measurement *m, int rope,
                     struct result *result, struct facts *facts)
{
    struct loaded l;
    char loaded[120];
    struct fail changed;
    open_base(o, m, rope, &l, facts);
    const struct weights *w = &l.weights;
    struct model *model = open_model(o, &l, m->contexts, m->count);
    config_describe_rope(&l.config, result->rope, sizeof result->rope);
    weights_describe(w, loaded, sizeof loaded);
    note("rope: %s; attention: full; base: %s, %s; device: %s, %s", result->rope,
         w->is_quantized ? "nf4" : "unquantized", loaded, model_kernels(model)->name,
         model_kernels(model)->act_name);
    facts->dtype = model_kernels(model)->act_name;
    run(m, &l, model, result->scores);
    if (mapped_check(&changed))
        warn("%s: the results belong neither to the old nor to the new model", changed.text);
    model_close(model);
    loaded_close(&l);
}

const char measure_protocol[] = "longqlora", measure_contexts[] = "1024,2048,4096,8192";

void measure(const struct measure_options *o)
{
    static struct measurement m;
    static struct result results[ROPES_MAX];
    static struct report reports[ROPES_MAX];
    static struct facts facts;
    if (!strcmp(form_of(o), "scores")) die_if_terminal(o->output);
    or_die(output_try(o->output, &why), &why);
    check_usage(o, &m);
    read_corpus(o, &m);
    check_outline(o, m.ropes[0], m.contexts, m.count);
    for (int i = 0; i < m.rope_count; i++)
        run_rope(o, &m, i, &results[i], &facts);
    bool is_longppl = !strcmp(m.protocol.name, "longppl");
    for (int i = 0; i < m.rope_count; i++)
        reports[i] =
            (struct report){ .model = facts.model,
                             .base = facts.base,
                             .adapter = facts.adapter,
                             .rope = results[i].rope,
                             .asked_rope = m.ropes[i],
                             .tokenizer = facts.tokenizer,
                             .protocol = m.protocol.name,
                             .definition = protocol_definition(m.protocol.name),
                             .dtype = facts.dtype,
                             .quantization = facts.is_quantized ? "nf4" : "none",
                             .source = o->source ? o->source : "",
                             .data = m.corpus.digest,
                             .per_document = o->per_document,
                             .stride = o->stride,
                             .short_context =
                                 o->short_context || !is_longppl ? o->short_context : SHORT_CONTEXT,
                             .tokens = (uint64_t)m.corpus.count,
                             .bytes = o->bytes ? (uint64_t)o->bytes : m.corpus.bytes,
                             .scores = results[i].scores,
                             .count = m.count };
    write_reports(o, reports, m.rope_count);
    corpus_release(&m.corpus);
}
