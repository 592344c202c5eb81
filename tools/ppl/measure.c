#include "tools/ppl/measure.h"

#include "lib/cli/die.h"
#include "lib/common/digest.h"
#include "lib/common/file.h"
#include "lib/common/mapped.h"
#include "lib/common/output.h"
#include "lib/llama/own_tokenizer.h"
#include "model/device_messages.h"
#include "model/sample_ranks.h"
#include "tools/ppl/measurement.h"
#include "tools/ppl/report.h"
#include "tools/ppl/samples.h"

static struct fail why;

/* Is this rank 0? Only rank 0 writes. */
static bool is_first(const struct measure_options *o) { return !ranks_place(o->ranks)->rank; }

/* Returns how many ranks share a window. */
static int64_t ranks_of_window(const struct measure_options *o, const struct config *c)
{
    const struct sample_ranks s = { ranks_place(o->ranks)->count, o->segments, c->kv_heads,
                                    "--context-segments" };
    if (!o->sample_ranks) return sample_ranks_max(&s);
    or_die(sample_ranks_check(&s, o->sample_ranks, &why), &why);
    return o->sample_ranks;
}

/* Returns a setup whose batches are large enough for every one of the contexts. */
static struct model_setup set_up(const struct measure_options *o, const struct config *c,
                                 const int64_t *contexts, int n)
{
    const struct ranks_place *place = ranks_place(o->ranks);
    struct model_setup setup = { .method = METHOD_FROZEN,
                                 .device = o->device,
                                 .threads = o->threads,
                                 .segments = o->segments,
                                 .parts = place->count,
                                 .part = place->rank,
                                 .ranks = o->ranks,
                                 .sample_parts = ranks_of_window(o, c) };
    for (int i = 0; i < n; i++) {
        if (contexts[i] > setup.positions) setup.positions = contexts[i];
        if (protocol_rows(contexts[i]) > setup.rows) setup.rows = protocol_rows(contexts[i]);
    }
    setup.rows = sample_ranks_rows(setup.rows, o->segments);
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
        struct model_setup own = set_up(o, &l->config, contexts + i, 1);
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
    outline.is_outline = true;
    if (*rope) outline.rope = rope;
    if (!weights_have_companions(outline.model)) return;
    or_die(loaded_open(&l, &outline, &why), &why);
    struct model_setup setup = set_up(o, &l.config, contexts, n);
    check_memory(o, &l, &setup, contexts, n, true);
    loaded_close(&l);
}

static struct model *open_model(const struct measure_options *o, struct loaded *l,
                                const int64_t *contexts, int n)
{
    struct model *m;
    struct model_setup setup = set_up(o, &l->config, contexts, n);
    check_memory(o, l, &setup, contexts, n, false);
    /* Every rank measures the free memory before another takes some of it. */
    or_die(ranks_barrier(o->ranks, &why), &why);
    or_die(loaded_model(l, &setup, &m, &why), &why);
    model_forget_weights(m, &l->weights);
    return m;
}

static int write_form(const struct measure_options *o, const struct report *r, int count)
{
    const char *form = measurement_form(o);
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

struct asked {
    const struct measure_options *o;
    const struct measurement *m;
};

/* Checks that the memory is large enough before the stream is read. */
static int check_stream(void *arg, const struct loaded *outline, struct fail *unused)
{
    const struct asked *asked = arg;
    struct model_setup setup =
        set_up(asked->o, &outline->config, asked->m->contexts, asked->m->count);
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
    if (is_first(o) && config_remark(&l->config, remark, sizeof remark))
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

/* ---- what must be equal on all ranks ---- */

static void agree(const struct measure_options *o, const struct ranks_text *texts, size_t count)
{
    or_die(ranks_agree(o->ranks, texts, (int)count, &why), &why);
}

/* Compares what the command line says of the result, and what computes it. */
static void agree_on_options(const struct measure_options *o)
{
    char stride[24], short_context[24], bytes[24], most[24], original[24], segments[24],
        sample_ranks[24];
    or_die(loaded_agree_on_device(o->ranks, o->device, &why), &why);
    snprintf(stride, sizeof stride, "%lld", (long long)o->stride);
    snprintf(short_context, sizeof short_context, "%lld", (long long)o->short_context);
    snprintf(bytes, sizeof bytes, "%lld", (long long)o->bytes);
    snprintf(most, sizeof most, "%lld", (long long)o->max_tokens);
    snprintf(segments, sizeof segments, "%lld", (long long)o->segments);
    snprintf(sample_ranks, sizeof sample_ranks, "%lld", (long long)o->sample_ranks);
    snprintf(original, sizeof original, "%lld", (long long)o->loaded.original_context);
    const struct ranks_text texts[] = {
        { "--from", o->from },
        { "--context", o->contexts },
        { "--protocol", o->protocol },
        { "--stride", stride },
        { "--short-context", short_context },
        { "--bytes", bytes },
        { "--max-tokens", most },
        { "--per-document", o->per_document ? "given" : "not given" },
        { "--source", o->source },
        { "--rope", o->loaded.rope },
        { "--original-context", original },
        { "--context-segments", segments },
        { "--sample-ranks", sample_ranks },
    };
    agree(o, texts, sizeof texts / sizeof *texts);
}

static void agree_on_data(const struct measure_options *o, const struct corpus *c)
{
    char tokens[24];
    snprintf(tokens, sizeof tokens, "%lld", (long long)c->count);
    const struct ranks_text texts[] = {
        { "digest of the data (--data)", c->digest },
        { "number of tokens", tokens },
        { "tokenizer of the data", c->info.tokenizer },
    };
    agree(o, texts, sizeof texts / sizeof *texts);
}

static void agree_on_model(const struct measure_options *o, const struct measurement *m,
                           const struct loaded *l, const struct facts *facts)
{
    char bytes[24], config[DIGEST_TEXT];
    or_die(loaded_config_digest(l, config, &why), &why);
    snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)m->corpus.bytes);
    const struct ranks_text texts[] = {
        { "base", facts->base },           { "model", facts->model },
        { "config.json", config },         { "adapter", facts->adapter },
        { "tokenizer", facts->tokenizer }, { "size of the text in bytes", bytes },
    };
    agree(o, texts, sizeof texts / sizeof *texts);
}

static void run(const struct measurement *m, const struct loaded *l, struct model *model,
                struct turns *turns, struct score *scores)
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
            or_die(samples_run(&samples, model, m->contexts, m->count, i, turns, &scores[i], &why),
                   &why);
        else
            or_die(protocol_run(&m->protocol, model, &m->texts, context, turns, &scores[i], &why),
                   &why);
        if (!m->has_samples && m->texts.ends != &m->corpus.count)
            note("context %lld: %lld of %lld documents are long enough", context,
                 (long long)scores[i].texts, (long long)m->texts.count);
    }
}

/* Measures with one position scaling. */
static void run_rope(const struct measure_options *o, struct measurement *m, int rope,
                     struct turns *turns, struct result *result, struct facts *facts)
{
    struct loaded l;
    char loaded[120];
    open_base(o, m, rope, &l, facts);
    if (!rope) agree_on_model(o, m, &l, facts);
    const struct weights *w = &l.weights;
    struct model *model = open_model(o, &l, m->contexts, m->count);
    turns->group = model_setup_of(model)->sample_parts;
    if (turns->group > 1) note("%lld ranks compute a batch together", (long long)turns->group);
    config_describe_rope(&l.config, result->rope, sizeof result->rope);
    weights_describe(w, loaded, sizeof loaded);
    note("rope: %s; attention: full; base: %s, %s; device: %s, %s", result->rope,
         w->is_quantized ? "nf4" : "unquantized", loaded, model_kernels(model)->name,
         model_kernels(model)->act_name);
    facts->dtype = model_kernels(model)->act_name;
    run(m, &l, model, turns, result->scores);
    /* On a GPU the weights were copied before. */
    if (model_kernels(model)->is_host) or_die(mapped_check(&why), &why);
    model_close(model);
    loaded_close(&l);
    /* The next position scaling measures the free memory again, so all ranks must have freed their
     * memory first. */
    or_die(ranks_barrier(o->ranks, &why), &why);
}

void measure(const struct measure_options *o)
{
    static struct measurement m;
    static struct result results[ROPES_MAX];
    static struct report reports[ROPES_MAX];
    static struct facts facts;
    struct turns turns = { .ranks = o->ranks, .timeout = (double)o->rank_timeout };
    if (is_first(o) && !strcmp(measurement_form(o), "scores")) die_if_terminal(o->output);
    if (is_first(o)) or_die(output_try(o->output, &why), &why);
    measurement_plan(o, &m);
    agree_on_options(o);
    measurement_read(o, &m);
    agree_on_data(o, &m.corpus);
    if (ranks_place(o->ranks)->count > 1)
        note("%d ranks share the %s", ranks_place(o->ranks)->count,
             m.has_samples ? "samples" : "windows");
    if (*device_messages_way(o->ranks))
        note("messages between GPUs go %s", device_messages_way(o->ranks));
    check_outline(o, m.ropes[0], m.contexts, m.count);
    for (int i = 0; i < m.rope_count; i++)
        run_rope(o, &m, i, &turns, &results[i], &facts);
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
    if (is_first(o)) write_reports(o, reports, m.rope_count);
    corpus_release(&m.corpus);
}
