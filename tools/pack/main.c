/* pack - cut a stream of documents into training samples of one context. */
#include "../../lib/common/die.h"
#include "../../lib/common/opt.h"
#include "packer.h"
#include "reservoir.h"
#include "summary.h"

struct options {
    int64_t context, min_tokens, max_tokens, samples, seed;
    const char *output, *strategy, *summary;
    struct opt_list quotas;
};

struct run {
    struct summary summary;
    struct packer packer;
    struct writer *out;
    struct sample_info info;
};

static int write_sample(void *arg, const struct sample *s, struct fail *why)
{
    struct run *run = arg;
    return samples_write(run->out, &run->info, s, why);
}

static int pack_document(void *arg, const struct tokens *t, struct fail *why)
{
    struct run *run = arg;
    struct source_summary *e = summary_source(&run->summary, t->source);
    e->drawn_documents++;
    e->drawn_tokens += t->count;
    return packer_add(&run->packer, t, why);
}

static void leave_out(void *arg, const char *source, uint64_t tokens)
{
    (void)source;
    ((struct run *)arg)->summary.left_out += tokens;
}

static struct reservoir *open_reservoir(const struct options *o)
{
    struct fail why;
    struct reservoir *r = NULL;
    size_t count = o->quotas.count ? (size_t)o->quotas.count : 1;
    struct quota *quotas = calloc(count, sizeof *quotas);
    if (!quotas) die(STATUS_FAILED, "out of memory");
    if (o->quotas.count && o->samples) die_usage("--samples and --quota exclude each other");
    quotas[0].most = (uint64_t)o->samples;
    for (int i = 0; i < o->quotas.count; i++) {
        const char *equals = strrchr(o->quotas.at[i], '=');
        char *end = NULL;
        unsigned long long most = equals ? strtoull(equals + 1, &end, 10) : 0;
        size_t length = equals ? (size_t)(equals - o->quotas.at[i]) : 0;
        if (!equals || !length || length >= SOURCE_MAX || !equals[1] || equals[1] == '-' || *end)
            die_usage("--quota: '%s' is not SOURCE=N", o->quotas.at[i]);
        memcpy(quotas[i].source, o->quotas.at[i], length);
        quotas[i].most = most;
    }
    if (o->samples || o->quotas.count)
        or_die(reservoir_open(&r, (uint64_t)o->seed, quotas, count, &why), &why);
    free(quotas);
    return r;
}

static void open_output(struct run *run, const struct options *o)
{
    struct fail why;
    struct fields made;
    run->info.context = (uint64_t)o->context;
    run->info.seed = (uint64_t)o->seed;
    snprintf(run->info.strategy, sizeof run->info.strategy, "%s", o->strategy);
    fields_init(&made);
    fields_integer(&made, "min_tokens", o->min_tokens);
    fields_integer(&made, "max_tokens", o->max_tokens);
    fields_integer(&made, "samples", o->samples);
    for (int i = 0; i < o->quotas.count; i++)
        fields_text(&made, "quota", o->quotas.at[i]);
    or_die(samples_writer(&run->out, o->output, "pack", &run->info, &made, &why), &why);
    fields_release(&made);
    run->packer = (struct packer){ .context = run->info.context, .take = write_sample, .arg = run };
    run->packer.strategy = !strcmp(o->strategy, "truncate") ? STRATEGY_TRUNCATE
                           : !strcmp(o->strategy, "split")  ? STRATEGY_SPLIT
                                                            : STRATEGY_CONCAT;
}

static void pack_all(struct run *run, const struct options *o, struct reader *in)
{
    struct fail why;
    struct tokens t = { 0 };
    struct reservoir *drawn = open_reservoir(o);
    while (or_die(tokens_read(in, &run->info.text, &t, &why), &why) > 0) {
        summary_document(&run->summary, t.source, t.count);
        if ((int64_t)t.count < o->min_tokens || (o->max_tokens && (int64_t)t.count > o->max_tokens))
            leave_out(run, t.source, t.count);
        else if (drawn)
            or_die(reservoir_offer(drawn, &t, reader_position(in), leave_out, run, &why), &why);
        else
            or_die(pack_document(run, &t, &why), &why);
    }
    if (drawn) or_die(reservoir_drain(drawn, pack_document, run, &why), &why);
    packer_end(&run->packer);
    reservoir_close(drawn);
    tokens_release(&t);
}

int main(int argc, char **argv)
{
    struct options o = { .context = 8192, .seed = 42, .output = "-", .strategy = "truncate" };
    struct opt table[] = {
        { "context", 'c', OPT_COUNT, &o.context, "TOKENS", "tokens in a sample, at most", 0 },
        { "strategy", 0, OPT_WORD, &o.strategy, "HOW",
          "one document a sample, cut; a document into many; or documents joined",
          "truncate|split|concat" },
        { "min-tokens", 0, OPT_COUNT, &o.min_tokens, "N", "leave shorter documents out", 0 },
        { "max-tokens", 0, OPT_COUNT, &o.max_tokens, "N", "leave longer documents out; 0: none",
          0 },
        { "samples", 0, OPT_COUNT, &o.samples, "N", "draw N documents uniformly; 0: all", 0 },
        { "quota", 0, OPT_LIST, &o.quotas, "SOURCE=N",
          "draw N documents of that source; may be repeated", 0 },
        { "seed", 0, OPT_COUNT, &o.seed, "N", "of the draw", 0 },
        { "summary", 0, OPT_TEXT, &o.summary, "FILE", "write the counts as JSON", 0 },
        { "output", 'o', OPT_TEXT, &o.output, "FILE", "where the stream goes; - is standard output",
          0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "pack",
        .summary = "cut documents into training samples of one context",
        .usage = "pack [options] [TOKENS] > samples",
        .example =
            "pack --context 8192 --min-tokens 4096 --max-tokens 32768 --samples 54212 train.tok "
            "-o train.smp",
        .table = table,
    };
    const char **files = opt_parse(argc, argv, &program);
    if (files[0] && files[1]) die_usage("one stream at a time: join more with cat");
    if (o.context < 2) die_usage("--context: at least 2");
    die_if_terminal(o.output);
    static struct run run;
    struct fail why;
    struct reader *in;
    or_die(tokens_reader(&in, *files ? *files : "-", &run.info.text, &why), &why);
    open_output(&run, &o);
    pack_all(&run, &o, in);
    run.summary.samples = run.packer.samples;
    run.summary.kept = run.packer.kept;
    run.summary.cut = run.packer.cut;
    run.summary.without_target = run.packer.without_target;
    if (!run.packer.samples)
        die(STATUS_INPUT, "%s: no sample comes out (see --min-tokens, --quota)", reader_name(in));
    writer_parent(run.out, "tokens", reader_digest(in));
    or_die(writer_close(run.out, &why), &why);
    summary_print(&run.summary);
    if (o.summary) or_die(summary_write(&run.summary, o.summary, &why), &why);
    packer_release(&run.packer);
    reader_close(in);
    free(o.quotas.at);
    free(files);
    return 0;
}
