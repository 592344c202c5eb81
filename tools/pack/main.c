/* pack - cuts a stream of documents into training samples of one context length. */
#include "lib/cli/die.h"
#include "lib/common/output.h"
#include "tools/pack/options.h"

/* Warns if the input has fewer documents than the options ask for. */
static void warn_of_few(const struct job *j)
{
    const struct draw *d = &j->draw;
    if (d->samples && j->drawn < d->samples)
        warn("--samples %llu: there are only %llu documents to draw from (see --min-tokens, "
             "--max-tokens); all are taken",
             (unsigned long long)d->samples, (unsigned long long)j->drawn);
    for (size_t i = 0; i < d->quota_count; i++)
        if (j->quota_drawn[i] < d->quotas[i].max)
            warn("--quota %s=%llu: there are only %llu documents of this source%s; all are taken",
                 d->quotas[i].source, (unsigned long long)d->quotas[i].max,
                 (unsigned long long)j->quota_drawn[i],
                 j->quota_drawn[i] ? "" : " (a name that no document has?)");
}

static void work(const struct options *o, const char **files)
{
    const char *input = *files ? *files : "-";
    static struct job job;
    struct fail why;
    options_check(o, files);
    options_job(o, &job);
    if (o->summary) or_die(output_try(o->summary, &why), &why);
    options_declare_files(o, &job, files);
    if (o->draw) {
        or_die(job_draw(&job, files, &why), &why);
        summary_print_sources(&job.summary);
        warn_of_few(&job);
    } else if (o->lengths) {
        job.from = token_format_of(o->from);
        or_die(job_lengths(&job, input, &why), &why);
        summary_print_sources(&job.summary);
    } else if (!strncmp(o->from, "samples", 7)) {
        job.from = strcmp(o->from, "samples") ? TOKEN_FORMAT_JSONL : TOKEN_FORMAT_STREAM;
        or_die(job_copy(&job, input, &why), &why);
    } else {
        job.from = token_format_of(o->from);
        or_die(job_pack(&job, input, &why), &why);
        summary_print(&job.summary);
        warn_of_few(&job);
    }
    job_release(&job);
    free((void *)job.draw.quotas);
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
        { "context", 'c', OPT_COUNT, &o.context, "TOKENS", "largest number of tokens in a sample",
          0 },
        { "strategy", 0, OPT_WORD, &o.strategy, "HOW",
          "how documents become samples: each gives one sample, truncated; each is cut into "
          "several; all are joined and cut; or a sample has several whole documents",
          "truncate|split|concat|best-fit" },
        { "min-tokens", 0, OPT_COUNT, &o.min_tokens, "N", "leave out shorter documents", 0 },
        { "max-tokens", 0, OPT_COUNT, &o.max_tokens, "N",
          "leave out longer documents; 0: leave out none", 0 },
        { "samples", 0, OPT_COUNT, &o.samples, "N", "draw N documents uniformly; 0: all", 0 },
        { "quota", 0, OPT_LIST, &o.quotas, "SOURCE=N",
          "draw N documents of that source; may be repeated", 0 },
        { "upsample", 0, OPT_TEXT, &o.upsample, "TOKENS=N",
          "give documents of at least TOKENS tokens N chances in the draw; shorter ones have one "
          "chance",
          0 },
        { "lengths", 0, OPT_FLAG, &o.lengths, 0,
          "write the lengths of the documents, for --draw, instead of samples", 0 },
        { "shard", 0, OPT_TEXT, &o.shard, "I/N",
          "with --lengths: the documents are those of shard I of N", 0 },
        { "draw", 0, OPT_FLAG, &o.draw, 0,
          "draw from the lengths of all shards; write the lines of each, for tokenize --lines, to "
          "the folder of -o",
          0 },
        { "seed", 0, OPT_COUNT, &o.seed, "N", "seed of the draw", OPT_ANY_COUNT },
        { "from", 0, OPT_WORD, &o.from, "HOW",
          "form of the input: tokens as a stream, JSON lines or raw token ids (little-endian); or "
          "samples, which are not changed",
          TOKEN_FORMAT_WORDS "|samples|samples-jsonl" },
        { "tokenizer", 0, OPT_TEXT, &o.tokenizer, "FILE",
          "the tokenizer.model, tokenizer.json or GGUF file with which raw token ids were made",
          0 },
        { "to", 0, OPT_WORD, &o.to, "HOW", "write a stream, or JSON lines", "stream|jsonl" },
        { "summary", 0, OPT_TEXT, &o.summary, "FILE", "write the counts as JSON", 0 },
        { "output", 'o', OPT_TEXT, &o.output, "FILE",
          "output file, or with --draw a folder; - is standard output", 0 },
        OPT_STANDARD,
        { 0 },
    };
    const struct opt_program program = {
        .name = "pack",
        .summary = "cut documents into training samples of one context",
        .usage = "pack [options] [TOKENS] > samples\n"
                 "       pack --lengths [options] [TOKENS] > lengths\n"
                 "       pack --draw [options] LENGTHS... -o FOLDER",
        .example =
            "pack --context 8192 --min-tokens 4096 --max-tokens 32768 --samples 54212 train.tok "
            "-o train.smp",
        .table = table,
    };
    const char **files = opt_parse(argc, argv, &program);
    work(&o, files);
    free(o.quotas.at);
    free(files);
    return 0;
}
