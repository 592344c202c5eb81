#include "tools/pack/job.h"

#include "lib/cli/die.h"
#include "lib/cli/progress.h"
#include "lib/common/file.h"
#include "lib/stream/targets.h"
#include "lib/tokenizer/tokenizer.h"

static const char *const strategy_names[] = { "truncate", "split", "concat", "best-fit" };

static int write_sample(void *arg, const struct sample *s, struct fail *why)
{
    struct job *j = arg;
    return samples_write(j->out, &j->info, s, why);
}

void job_count_drawn(struct job *j, const char *source, uint64_t tokens)
{
    struct source_summary *e = summary_source(&j->summary, source);
    e->drawn_documents++;
    j->drawn++;
    for (size_t i = 0; i < j->draw.quota_count; i++)
        if (!strcmp(j->draw.quotas[i].source, source)) j->quota_drawn[i]++;
    e->drawn_tokens += tokens;
}

static int pack_document(void *arg, const struct tokens *t, struct fail *why)
{
    struct job *j = arg;
    job_count_drawn(j, t->source, t->count);
    return packer_add(&j->packer, t, why);
}

void job_leave_out(void *job, uint64_t tokens) { ((struct job *)job)->summary.left_out += tokens; }

bool job_draws(const struct job *j) { return j->draw.samples || j->draw.quota_count; }

bool job_takes(const struct job *j, uint64_t tokens)
{
    return tokens >= j->min_tokens && (!j->max_tokens || tokens <= j->max_tokens);
}

void job_put_options(const struct job *j, struct msgpack_map *made)
{
    msgpack_map_count(made, "min_tokens", j->min_tokens);
    msgpack_map_count(made, "max_tokens", j->max_tokens);
    msgpack_map_count(made, "samples", j->draw.samples);
    if (j->draw.quota_count) {
        struct msgpack_map quotas;
        msgpack_map_init(&quotas);
        for (size_t i = 0; i < j->draw.quota_count; i++)
            msgpack_map_count(&quotas, j->draw.quotas[i].source, j->draw.quotas[i].max);
        msgpack_map_map(made, "quota", &quotas);
        msgpack_map_release(&quotas);
    }
    if (j->draw.long_tokens) {
        msgpack_map_count(made, "upsample_from", j->draw.long_tokens);
        msgpack_map_count(made, "upsample", j->draw.tickets);
    }
}

static int open_output(struct job *j, struct fail *why)
{
    struct msgpack_map made;
    j->info.context = j->context;
    j->info.seed = j->draw.seed;
    snprintf(j->info.strategy, sizeof j->info.strategy, "%s", strategy_names[j->strategy]);
    j->packer = (struct packer){
        .context = j->context, .strategy = j->strategy, .take = write_sample, .arg = j
    };
    msgpack_map_init(&made);
    job_put_options(j, &made);
    int status = samples_writer(&j->out, j->output, j->to, "pack", &j->info, &made, why);
    msgpack_map_release(&made);
    return status;
}

static int offer(struct job *j, struct reservoir *drawn, const struct tokens *t, uint64_t number,
                 struct fail *why)
{
    summary_document(&j->summary, t->source, t->count);
    if (t->count > j->longest) j->longest = t->count;
    if (!job_takes(j, t->count))
        job_leave_out(j, t->count);
    else if (drawn)
        return reservoir_offer(drawn, t, number, job_leave_out, j, why);
    else
        return pack_document(j, t, why);
    return 0;
}

/* Fails because there is no sample. The message says why, and names the option that is the reason.
 */
static void fail_of_options(const struct job *j, struct fail *why)
{
    unsigned long long longest = j->longest, documents = summary_documents(&j->summary);
    const char *none = "no sample can be made";
    if (!documents)
        (void)fail_input(why, "%s: no document in it", none);
    else if (j->drawn && j->summary.without_target)
        (void)fail_input(why,
                         "%s: %llu had nothing to be trained on (answers beyond --context %llu, or "
                         "documents of a single token?)",
                         none, (unsigned long long)j->summary.without_target,
                         (unsigned long long)j->context);
    else if (j->drawn && j->strategy == STRATEGY_CONCAT)
        (void)fail_input(why,
                         "%s: the documents drawn have too few tokens to fill --context %llu "
                         "(--strategy best-fit also makes shorter samples)",
                         none, (unsigned long long)j->context);
    else if (j->drawn)
        (void)fail_input(why, "%s: the documents drawn have no tokens", none);
    else if (j->min_tokens > longest)
        (void)fail_input(why, "%s: --min-tokens %llu, the longest of %llu documents has %llu", none,
                         (unsigned long long)j->min_tokens, documents, longest);
    else if (j->draw.quota_count)
        (void)fail_input(
            why,
            "%s: none of %llu documents has the source of a --quota and a length within the bounds",
            none, documents);
    else
        (void)fail_input(
            why, "%s: of %llu documents none has --min-tokens %llu to --max-tokens %llu", none,
            documents, (unsigned long long)j->min_tokens, (unsigned long long)j->max_tokens);
}

/* Closes samples and summary together. Neither file gets its final name before both are written. */
static int close_output(struct job *j, struct fail *why)
{
    struct output summary = { .fd = -1 };
    struct writer *out = j->out;
    if (j->summary_path && summary_begin(&j->summary, j->summary_path, &summary, why)) return -1;
    j->out = NULL;
    if (!writer_close(out, why)) return output_close(&summary, why);
    output_abandon(&summary);
    return -1;
}

static int finish(struct job *j, struct reservoir *drawn, const char *input, const char *digest,
                  const struct template_record *template, struct fail *why)
{
    if (drawn && reservoir_drain(drawn, pack_document, job_leave_out, j, why)) return -1;
    if (packer_end(&j->packer, why)) return -1;
    j->summary.samples = j->packer.samples;
    j->summary.kept = j->packer.kept;
    j->summary.cut = j->packer.cut;
    j->summary.without_target = j->packer.without_target;
    if (!j->packer.samples) {
        fail_of_options(j, why);
        return fail_in(why, input);
    }
    writer_parent(j->out, "tokens", digest);
    if (template) writer_template(j->out, template);
    return close_output(j, why);
}

/* Packs a file of raw token ids. It has no header, so the tokenizer gives the vocabulary and the
 * special tokens. */
static int pack_raw(struct job *j, const char *input, struct fail *why)
{
    struct tokenizer *t;
    struct tokens all = { 0 };
    struct reservoir *drawn = NULL;
    char digest[STREAM_DIGEST_TEXT];
    if (tokenizer_open(&t, j->tokenizer, why)) return -1;
    j->info.text = (struct token_info){ .vocab_size = tokenizer_vocab(t),
                                        .bos = tokenizer_bos(t),
                                        .eos = tokenizer_eos(t) };
    memcpy(j->info.text.tokenizer, tokenizer_digest(t), sizeof j->info.text.tokenizer);
    int status = tokens_read_raw(input, j->from, 0, j->info.text.vocab_size, &all, digest, why);
    if (!status) status = open_output(j, why);
    if (!status && job_draws(j)) status = reservoir_open(&drawn, &j->draw, why);
    if (!status) status = offer(j, drawn, &all, 1, why);
    const char *name = file_shown(input);
    if (!status) status = finish(j, drawn, name, digest, NULL, why);
    reservoir_close(drawn);
    tokens_release(&all);
    tokenizer_close(t);
    return status;
}

static int check_part(const struct job *j, const struct reader *in, bool at_end, struct fail *why)
{
    const struct drawn_part *part = reader_drawn_part(in);
    bool is_begin = !reader_position(in) && !at_end;
    if (drawn_part_check(part, at_end, why) ||
        (is_begin && part->is_drawn && job_check_drawn(j, reader_header(in), why)))
        return fail_in(why, reader_name(in));
    return 0;
}

/* Returns the digest that the samples record for their tokens. For parts of a draw it is the digest
 * of the shards' streams of all documents, one after the other, because samples that are made from
 * these streams record it. So the samples are equal in both cases, byte for byte. */
static const char *digest_of(const struct reader *in)
{
    const struct drawn_part *part = reader_drawn_part(in);
    return part->is_drawn ? part->whole : reader_digest(in);
}

static int pack_records(struct job *j, struct reader *in, struct fail *why)
{
    struct tokens t = { 0 };
    struct reservoir *drawn = NULL;
    struct progress p = { .unit = "documents" };
    int got = 0, status = check_part(j, in, false, why) ? -1 : open_output(j, why);
    if (!status && job_draws(j)) status = reservoir_open(&drawn, &j->draw, why);
    progress_begin(&p);
    while (!status && (got = tokens_read(in, &j->info.text, &t, why)) > 0) {
        status = check_part(j, in, false, why);
        if (!status) status = offer(j, drawn, &t, reader_position(in), why);
        progress_at((double)reader_position(in));
    }
    progress_end();
    if (got < 0) status = -1;
    if (!status) status = check_part(j, in, true, why);
    if (!status)
        status = finish(j, drawn, reader_name(in), digest_of(in), reader_template(in), why);
    reservoir_close(drawn);
    tokens_release(&t);
    return status;
}

int job_pack(struct job *j, const char *input, struct fail *why)
{
    struct reader *in;
    if (token_format_is_raw(j->from)) return pack_raw(j, input, why);
    if (tokens_reader(&in, input, j->from, &j->info.text, why)) return -1;
    int status = pack_records(j, in, why);
    reader_close(in);
    return status;
}

/* Writes the samples of `in`. A stream gets only those that have a target, because the others would
 * teach nothing. JSON lines get all of them, because they show what is there. */
static int copy_samples(struct job *j, struct reader *in, struct sample *s, struct fail *why)
{
    bool masks = sample_info_masks_documents(&j->info);
    uint64_t without = 0, first = 0;
    int got;
    while ((got = samples_read(in, &j->info, s, why)) > 0) {
        if (j->to == TOKEN_FORMAT_JSONL || sample_has_target(s, masks)) {
            if (samples_write(j->out, &j->info, s, why)) return -1;
        } else if (!without++) {
            first = reader_position(in);
        }
    }
    if (got < 0) return -1;
    if (without && without == reader_position(in))
        return fail_input(why, "%s: none of its samples has a target token", reader_name(in));
    if (without)
        warn("%s: %llu of %llu samples have no target token and are left out; the first is sample "
             "%llu",
             reader_name(in), (unsigned long long)without, (unsigned long long)reader_position(in),
             (unsigned long long)first);
    return 0;
}

int job_copy(struct job *j, const char *input, struct fail *why)
{
    struct reader *in;
    struct sample s = { 0 };
    if (samples_reader(&in, input, j->from, &j->info, why)) return -1;
    int status = samples_writer(&j->out, j->output, j->to, "pack", &j->info, NULL, why);
    if (!status) status = copy_samples(j, in, &s, why);
    if (!status) {
        struct writer *out = j->out;
        writer_parent(out, "samples", reader_digest(in));
        writer_template(out, reader_template(in));
        j->out = NULL;
        status = writer_close(out, why);
    }
    sample_release(&s);
    reader_close(in);
    return status;
}

void job_release(struct job *j)
{
    writer_abandon(j->out);
    packer_release(&j->packer);
    free(j->quota_drawn);
}
