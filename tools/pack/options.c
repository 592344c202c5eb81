#include "tools/pack/options.h"

#include "lib/cli/die.h"
#include "lib/common/file_guard.h"
#include "lib/common/output.h"
#include "lib/llama/model_guard.h"
#include "lib/stream/lengths.h"

#include <errno.h>

/* With --from samples the samples are copied. Dies if an option is given that would select
 * documents or make samples, because copying does neither. */
static void check_copy(const struct options *o)
{
    const char *given =
        opt_given("context|strategy|min-tokens|max-tokens|samples|quota|upsample|seed|summary");
    if (given)
        die_usage("--%s: --from %s copies samples unchanged: leave this out", given, o->from);
}

/* Dies if --lengths, which makes no samples, is combined with an option of draws or of other
 * streams, or if --shard is given without it. */
static void check_lengths(const struct options *o)
{
    const char *given = opt_given("samples|quota|upsample|seed");
    if (o->shard && !o->lengths) die_usage("--shard needs --lengths");
    if (!o->lengths) return;
    if (o->draw) die_usage("--lengths and --draw exclude each other: lengths first, then the draw");
    if (given)
        die_usage("--%s: --lengths draws nothing: use this option with --draw, which sees all "
                  "shards",
                  given);
    if (strcmp(o->from, "stream") != 0 && strcmp(o->from, "jsonl") != 0)
        die_usage("--from %s: --lengths reads documents, as a stream or jsonl", o->from);
    if (strcmp(o->to, "stream") != 0) die_usage("--to %s: --lengths writes a stream", o->to);
}

static void check_draw(const struct options *o, const char **files)
{
    if (!o->draw) return;
    if (!*files) die_usage("--draw: name the lengths of all shards, which --lengths made");
    if (!o->samples && !o->quotas.count)
        die_usage("--draw: --samples or --quota is needed. Without a draw: for the strategies "
                  "truncate and split, pack each shard by itself and join the samples with cat; "
                  "for concat and best-fit, pack the tokens of all shards in one process");
    if (!strcmp(o->output, "-"))
        die_usage("--draw: -o is needed: the folder for the lists of line numbers");
    if (strcmp(o->from, "stream") != 0) die_usage("--from %s: --draw reads lengths", o->from);
    if (strcmp(o->to, "stream") != 0)
        die_usage("--to %s: --draw writes only lists of line numbers", o->to);
    for (; *files; files++)
        if (!strcmp(*files, "-")) die_usage("--draw: lengths are read from files, not from -");
}

void options_check(const struct options *o, const char **files)
{
    const char *input = *files ? *files : "-", *given = opt_given("context|strategy");
    check_lengths(o);
    check_draw(o, files);
    if ((o->lengths || o->draw) && given)
        die_usage("--%s: %s makes no samples: use this option where pack makes them", given,
                  o->draw ? "--draw" : "--lengths");
    if (!o->draw && files[0] && files[1])
        die_usage("one stream at a time, not '%s' and '%s': join more with cat", files[0],
                  files[1]);
    if (o->context < 2 || o->context > 1 << 30)
        die_usage("--context: %lld is not between 2 and 2^30", (long long)o->context);
    if (o->max_tokens && o->max_tokens < o->min_tokens)
        die_usage("--max-tokens %lld is less than --min-tokens %lld: no document is left",
                  (long long)o->max_tokens, (long long)o->min_tokens);
    if (*o->from == 'u' && !o->tokenizer)
        die_usage("--from %s: --tokenizer is needed: raw token ids do not name their tokenizer",
                  o->from);
    if (*o->from != 'u' && o->tokenizer)
        die_usage("--tokenizer needs raw token ids (--from u16, u32 or u64)");
    if (!strncmp(o->from, "samples", 7)) check_copy(o);
    if (opt_given("seed") && !o->samples && !o->quotas.count)
        warn("--seed changes nothing: without --samples and --quota no document is drawn");
    if (!strcmp(o->to, "stream") && !o->draw) die_if_terminal(o->output);
    if (*o->from != 'j' && strcmp(o->from, "samples-jsonl") != 0) die_if_typed(input, "the stream");
}

/* Parses "NAME=N". Returns the length of NAME and sets *value to N. */
static size_t parse_pair(const char *option, const char *text, uint64_t *value)
{
    const char *equals = strrchr(text, '=');
    char *end = NULL;
    errno = 0;
    *value = equals && equals[1] >= '0' && equals[1] <= '9' ? strtoull(equals + 1, &end, 10) : 0;
    if (!end || *end || equals == text || errno || *value > OPT_COUNT_MAX)
        die_usage("--%s: '%s' is not %s=N", option, text,
                  !strcmp(option, "quota") ? "SOURCE" : "TOKENS");
    return (size_t)(equals - text);
}

static struct quota *parse_quotas(const struct opt_list *list)
{
    struct quota *quotas = calloc((size_t)list->count + 1, sizeof *quotas);
    if (!quotas) die(STATUS_FAILED, "out of memory");
    for (int i = 0; i < list->count; i++) {
        size_t length = parse_pair("quota", list->at[i], &quotas[i].max);
        if (length >= SOURCE_MAX) die_usage("--quota: '%s' is too long", list->at[i]);
        memcpy(quotas[i].source, list->at[i], length);
        for (int k = 0; k < i; k++)
            if (!strcmp(quotas[k].source, quotas[i].source))
                die_usage("--quota: '%s' occurs twice", quotas[i].source);
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
        d.long_tokens > OPT_COUNT_MAX || d.tickets < 2 || d.tickets > 1000)
        die_usage("--upsample: '%s' is not TOKENS=N with at least 1 token and N from 2 to 1000",
                  o->upsample);
    return d;
}

/* Parses --shard I/N. */
static void parse_shard(const char *text, uint64_t *shard, uint64_t *shards)
{
    char *slash, *end;
    *shard = *shards = 0;
    if (!text) return;
    errno = 0;
    unsigned long long i = strtoull(text, &slash, 10),
                       n = *slash == '/' ? strtoull(slash + 1, &end, 10) : 0;
    if (strspn(text, "0123456789/") != strlen(text) || *slash != '/' || *end || errno || !i ||
        i > n || n > SHARDS_MAX)
        die_usage("--shard: '%s' is not I/N, from 1/N to N/N, N at most %d", text, SHARDS_MAX);
    *shard = i;
    *shards = n;
}

static enum strategy strategy_of(const char *word)
{
    return !strcmp(word, "truncate") ? STRATEGY_TRUNCATE
           : !strcmp(word, "split")  ? STRATEGY_SPLIT
           : !strcmp(word, "concat") ? STRATEGY_CONCAT
                                     : STRATEGY_BEST_FIT;
}

void options_job(const struct options *o, struct job *j)
{
    *j = (struct job){ .strategy = strategy_of(o->strategy),
                       .context = (uint64_t)o->context,
                       .min_tokens = (uint64_t)o->min_tokens,
                       .max_tokens = (uint64_t)o->max_tokens,
                       .draw = parse_draw(o, parse_quotas(&o->quotas)),
                       .output = o->output,
                       .summary_path = o->summary,
                       .tokenizer = o->tokenizer,
                       .to = token_format_of(o->to) };
    parse_shard(o->shard, &j->shard, &j->shards);
    j->quota_drawn = calloc(j->draw.quota_count + 1, sizeof *j->quota_drawn);
    if (!j->quota_drawn) die(STATUS_FAILED, "out of memory");
}

void options_declare_files(const struct options *o, const struct job *j, const char **files)
{
    static const char *const standard_input[] = { "-", NULL };
    struct fail why;
    for (const char *const *f = *files ? files : standard_input; *f; f++)
        or_die(file_guard_input("", *f, &why), &why);
    if (o->draw) {
        or_die(job_check_draw(j, &why), &why);
        if (o->summary) die_unless_writable("--summary ", o->summary);
        return;
    }
    if (o->tokenizer) or_die(model_guard_input("--tokenizer ", o->tokenizer, &why), &why);
    if (!strcmp(o->to, "stream") && !opt_standard.quiet)
        or_die(output_check_apart(o->output, &why), &why);
    die_unless_writable("-o ", o->output);
    if (o->summary) die_unless_writable("--summary ", o->summary);
}
