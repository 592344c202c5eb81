/* pack - cut a stream of documents into training samples of one context. */
#include "../../lib/common/die.h"
#include "../../lib/common/file_guard.h"
#include "../../lib/common/model_guard.h"
#include "../../lib/common/opt.h"
#include "../../lib/common/output.h"
#include "job.h"

#include <errno.h>

struct options {
    int64_t context, min_tokens, max_tokens, samples, seed;
    const char *output, *strategy, *summary, *from, *to, *tokenizer, *upsample;
    struct opt_list quotas;
};

/* "NAME=N": the length of NAME, and N. */
static size_t parse_pair(const char *option, const char *text, uint64_t *value)
{
    const char *equals = strrchr(text, '=');
    char *end = NULL;
    errno = 0;
    *value = equals && equals[1] >= '0' && equals[1] <= '9' ? strtoull(equals + 1, &end, 10) : 0;
    if (!end || *end || equals == text || errno || *value > OPT_COUNT_MOST)
        die_usage("--%s: '%s' is not %s=N", option, text,
                  !strcmp(option, "quota") ? "SOURCE" : "TOKENS");
    return (size_t)(equals - text);
}

static struct quota *parse_quotas(const struct opt_list *list)
{
    struct quota *quotas = calloc((size_t)list->count + 1, sizeof *quotas);
    if (!quotas) die(STATUS_FAILED, "out of memory");
    for (int i = 0; i < list->count; i++) {
        size_t length = parse_pair("quota", list->at[i], &quotas[i].most);
        if (length >= SOURCE_MAX) die_usage("--quota: '%s' is too long", list->at[i]);
        memcpy(quotas[i].source, list->at[i], length);
        for (int k = 0; k < i; k++)
            if (!strcmp(quotas[k].source, quotas[i].source))
                die_usage("--quota: '%s' stands twice", quotas[i].source);
    }
    return quotas;
}

static struct draw parse_draw(const struct options *o, const struct quota *quotas)
{
    struct draw d = { .seed = (uint64_t)o->seed,
                      .samples = (uint64_t)o->samples,
                      .quotas = quotas,
                      .quota_count = (size_t)o->quotas.count };
    if (o->quotas.count && o->samples) die_usage("--samples and --quota exclude each other");
    if (!o->upsample) return d;
    if (!o->quotas.count && !o->samples)
        die_usage("--upsample: nothing is drawn: add --samples or --quota");
    size_t length = parse_pair("upsample", o->upsample, &d.tickets);
    d.long_tokens = strtoull(o->upsample, NULL, 10);
    if (strspn(o->upsample, "0123456789") != length || !d.long_tokens ||
        d.long_tokens > OPT_COUNT_MOST || d.tickets < 2 || d.tickets > 1000)
        die_usage("--upsample: '%s': at least 1 token, 2 to 1000 times", o->upsample);
    return d;
}

/* Samples are written as they are: what makes or chooses them has nothing to do. */
static void check_copy(const struct options *o)
{
    const char *given = o->min_tokens || o->max_tokens  ? "--min-tokens and --max-tokens"
                        : o->samples || o->quotas.count ? "--samples and --quota"
                        : o->upsample                   ? "--upsample"
                        : o->summary                    ? "--summary"
                                                        : NULL;
    if (given) die_usage("%s: --from %s writes samples as they are", given, o->from);
}

/* Fewer documents were there than were asked for. */
static void warn_of_few(const struct job *j)
{
    const struct draw *d = &j->draw;
    if (d->samples && j->drawn < d->samples)
        warn("--samples %llu: only %llu documents were there to draw from (see --min-tokens, "
             "--max-tokens), all are taken",
             (unsigned long long)d->samples, (unsigned long long)j->drawn);
    for (size_t i = 0; i < d->quota_count; i++)
        if (j->quota_drawn[i] < d->quotas[i].most)
            warn("--quota %s=%llu: only %llu documents of it were there%s, all are taken",
                 d->quotas[i].source, (unsigned long long)d->quotas[i].most,
                 (unsigned long long)j->quota_drawn[i],
                 j->quota_drawn[i] ? "" : " (a name that no document has?)");
}

static enum strategy strategy_of(const char *word)
{
    return !strcmp(word, "truncate") ? STRATEGY_TRUNCATE
           : !strcmp(word, "split")  ? STRATEGY_SPLIT
           : !strcmp(word, "concat") ? STRATEGY_CONCAT
                                     : STRATEGY_BEST_FIT;
}

static void declare_files(const struct options *o, const char *input)
{
    struct fail why;
    or_die(file_guard_input("", input, &why), &why);
    if (o->tokenizer) or_die(model_guard_input("--tokenizer ", o->tokenizer, &why), &why);
    if (!strcmp(o->to, "stream") && !opt_standard.quiet)
        or_die(output_check_apart(o->output, &why), &why);
    or_die(output_declare("-o ", o->output, &why), &why);
    if (o->summary) or_die(output_declare("--summary ", o->summary, &why), &why);
}

int main(int argc, char **argv)
{
    struct options o = { .context = 8192,
                         .seed = 42,
                         .output = "-",
                         .strategy = "truncate",
                         .from = "stream",
                         .to = "stream" };
    struct opt table[] = {
        { "context", 'c', OPT_COUNT, &o.context, "TOKENS", "tokens in a sample, at most", 0 },
        { "strategy", 0, OPT_WORD, &o.strategy, "HOW",
          "one document a sample, cut; a document into many; documents joined and cut; or "
          "several whole ones a sample",
          "truncate|split|concat|best-fit" },
        { "min-tokens", 0, OPT_COUNT, &o.min_tokens, "N", "leave shorter documents out", 0 },
        { "max-tokens", 0, OPT_COUNT, &o.max_tokens, "N", "leave longer documents out; 0: none",
          0 },
        { "samples", 0, OPT_COUNT, &o.samples, "N", "draw N documents uniformly; 0: all", 0 },
        { "quota", 0, OPT_LIST, &o.quotas, "SOURCE=N",
          "draw N documents of that source; may be repeated", 0 },
        { "upsample", 0, OPT_TEXT, &o.upsample, "TOKENS=N",
          "draw documents of at least TOKENS tokens N times as readily as shorter ones of their "
          "source",
          0 },
        { "seed", 0, OPT_COUNT, &o.seed, "N", "of the draw", OPT_ANY_COUNT },
        { "from", 0, OPT_WORD, &o.from, "HOW",
          "what is read: tokens in our stream, as JSON lines, as bare little-endian numbers; or "
          "samples, which are written as they are",
          VIEW_WORDS "|samples|samples-jsonl" },
        { "tokenizer", 0, OPT_TEXT, &o.tokenizer, "FILE",
          "tokenizer.model or .json that bare numbers were made with", 0 },
        { "to", 0, OPT_WORD, &o.to, "HOW", "write our stream, or JSON lines", "stream|jsonl" },
        { "summary", 0, OPT_TEXT, &o.summary, "FILE", "write the counts as JSON", 0 },
        { "output", 'o', OPT_TEXT, &o.output, "FILE", "where the samples go; - is standard output",
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
    const char *input = *files ? *files : "-";
    if (files[0] && files[1])
        die_usage("one stream at a time, not '%s' and '%s': join more with cat", files[0],
                  files[1]);
    if (o.context < 2 || o.context > 1 << 30)
        die_usage("--context: %lld is not between 2 and 2^30", (long long)o.context);
    if (o.max_tokens && o.max_tokens < o.min_tokens)
        die_usage("--max-tokens %lld is less than --min-tokens %lld: no document is left",
                  (long long)o.max_tokens, (long long)o.min_tokens);
    if (*o.from == 'u' && !o.tokenizer)
        die_usage("--from %s: --tokenizer is needed: bare numbers do not say whose they are",
                  o.from);
    if (*o.from != 'u' && o.tokenizer)
        die_usage("--tokenizer is for bare numbers (--from u16, u32)");
    if (!strncmp(o.from, "samples", 7)) check_copy(&o);
    if (!strcmp(o.to, "stream")) die_if_terminal(o.output);
    if (*o.from != 'j' && strcmp(o.from, "samples-jsonl") != 0) die_if_typed(input, "the stream");
    struct fail why;
    struct quota *quotas = parse_quotas(&o.quotas);
    if (o.summary) or_die(output_try(o.summary, &why), &why);
    static struct job job;
    job = (struct job){ .strategy = strategy_of(o.strategy),
                        .context = (uint64_t)o.context,
                        .min_tokens = (uint64_t)o.min_tokens,
                        .max_tokens = (uint64_t)o.max_tokens,
                        .draw = parse_draw(&o, quotas),
                        .output = o.output,
                        .summary_path = o.summary,
                        .tokenizer = o.tokenizer,
                        .to = view_of(o.to) };
    declare_files(&o, input);
    if (!strncmp(o.from, "samples", 7)) {
        job.from = strcmp(o.from, "samples") ? VIEW_JSONL : VIEW_STREAM;
        or_die(job_copy(&job, input, &why), &why);
    } else {
        job.from = view_of(o.from);
        or_die(job_pack(&job, input, &why), &why);
        summary_print(&job.summary);
        warn_of_few(&job);
    }
    job_release(&job);
    free(quotas);
    free(o.quotas.at);
    free(files);
    return 0;
}
