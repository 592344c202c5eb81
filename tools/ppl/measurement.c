#include "tools/ppl/measurement.h"

#include "lib/cli/die.h"
#include "lib/cli/launch.h"
#include "lib/cli/opt.h"
#include "tools/ppl/samples.h"

#include <math.h>

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

const char *measurement_form(const struct measure_options *o)
{
    const char *dot = strrchr(o->output, '.');
    if (strcmp(o->to, "auto") != 0) return o->to;
    if (dot && !strcmp(dot, ".scores")) return "scores";
    if (dot && !strcmp(dot, ".json")) return "json";
    return "table";
}

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
    if (!strcmp(measurement_form(o), "scores"))
        die_usage("--to scores holds one --rope: use --to json");
}

/* Dies if an option is given that does not apply to samples. */
static void check_samples(void)
{
    const char *given =
        opt_given("protocol|stride|short-context|bytes|tokenizer|per-document|max-tokens");
    if (given) die_usage("--%s applies to a text, not to samples", given);
}

void measurement_plan(const struct measure_options *o, struct measurement *m)
{
    m->has_samples = !strncmp(o->from, "samples", 7);
    if (m->has_samples) check_samples();
    if (!m->has_samples || opt_given("context"))
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
static void sort_samples(const struct measure_options *o, struct measurement *m)
{
    int64_t in_row[CONTEXTS_MAX] = { 0 };
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
static struct corpus read_corpus(const struct measure_options *o, const struct measurement *m)
{
    int64_t max_tokens = o->per_document || o->bytes ? 0 : o->max_tokens;
    if (!m->has_samples)
        return corpus_read(o->data, token_format_of(o->from), o->source, max_tokens);
    return corpus_read_samples(
        o->data, strcmp(o->from, "samples") ? TOKEN_FORMAT_JSONL : TOKEN_FORMAT_STREAM, o->source);
}

/* Reads the data on rank 0, and copies them to the others, which wait as long as that takes. */
static void read_and_share(const struct measure_options *o, struct measurement *m)
{
    if (!ranks_place(o->ranks)->rank) m->corpus = read_corpus(o, m);
    ranks_set_timeout(o->ranks, INFINITY);
    corpus_share(&m->corpus, o->data, o->ranks);
    ranks_set_timeout(o->ranks, (double)o->rank_timeout);
}

void measurement_read(const struct measure_options *o, struct measurement *m)
{
    bool is_shared = ranks_place(o->ranks)->count > 1 && launch_reads_once(o->data);
    or_die(ranks_broadcast(o->ranks, &is_shared, sizeof is_shared, &why), &why);
    if (is_shared)
        read_and_share(o, m);
    else
        m->corpus = read_corpus(o, m);
    if (m->has_samples) {
        sort_samples(o, m);
        return;
    }
    m->texts = (struct texts){ .ids = m->corpus.ids, .ends = &m->corpus.count, .count = 1 };
    if (o->per_document) {
        m->texts.ends = m->corpus.ends;
        m->texts.count = m->corpus.documents;
    }
    int64_t longest = protocol_longest(&m->protocol, &m->texts);
    for (int i = 0; i < m->count; i++)
        if (m->needs[i] > longest) refuse_contexts(m, longest);
}
