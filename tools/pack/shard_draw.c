#include "lib/cli/die.h"
#include "lib/cli/progress.h"
#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "lib/common/file_guard.h"
#include "lib/common/output_dir.h"
#include "lib/common/vocabulary.h"
#include "lib/stream/drawn_lines.h"
#include "lib/stream/lengths.h"
#include "tools/pack/job.h"

#include <errno.h>

static const char lengths_suffix[] = ".len", lines_suffix[] = ".lines";

/* A document that is chosen unless later ones replace it. */
struct candidate {
    uint64_t file;                 /* index of the name in struct shard_drawn */
    struct source_summary *source; /* counts the document */
    size_t quota; /* index of the quota that counts the document; draw.quota_count: none */
    struct drawn_line line;
};

/* One shard. `number` is how many documents all shards before it have. */
struct shard_drawn {
    char name[256]; /* name of the shard's lines in the folder */
    uint64_t number;
    char lengths[STREAM_DIGEST_TEXT], tokens[STREAM_DIGEST_TEXT], text[STREAM_DIGEST_TEXT];
    struct msgpack_map made_with;
    char **files;
    size_t file_count;
};

struct shards_drawn {
    struct job *job;
    struct lots *lots;
    struct lengths_info info; /* header of the first shard's lengths */
    const char *first;        /* path of the first shard's lengths */
    struct shard_drawn *shards;
    size_t count;
    struct candidate *candidates;
    size_t candidate_count;
    uint64_t documents;
    char draw[STREAM_DIGEST_TEXT];
};

/* ---- the folder ---- */

static bool has_suffix(const char *name, const char *suffix)
{
    size_t length = strlen(name), n = strlen(suffix);
    return length > n && !strcmp(name + length - n, suffix);
}

static bool holds_lines(const char *name) { return has_suffix(name, lines_suffix); }

/* Fails unless each file of the folder is a stream of lines. The names were checked before. */
static int check_folder(const char *path, struct fail *why)
{
    char file[4400];
    const char *name;
    int status = 0;
    DIR *folder = opendir(path);
    if (!folder) return fail(why, "%s: %s", path, strerror(errno));
    while (!status && (name = file_next_name(folder))) {
        struct reader *r;
        snprintf(file, sizeof file, "%.4000s/%.255s", path, name);
        status = reader_open(&r, file, STREAM_LINES, why);
        if (!status) reader_close(r);
    }
    closedir(folder);
    return status ? fail_in(why, "this file is not the result of a draw, so nothing is replaced")
                  : 0;
}

static const struct folder_kind kind = { "lines of a draw", holds_lines, check_folder };

int job_check_draw(const struct job *j, struct fail *why)
{
    if (file_guard_output_folder("-o ", j->output, holds_lines, why)) return -1;
    return folder_check(j->output, &kind, why);
}

/* ---- reading the lengths ---- */

/* Names the lines of a shard: "07.lines" for "lengths/07.len". */
static int name_lines(struct shards_drawn *d, struct shard_drawn *s, const char *path,
                      struct fail *why)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t length = strlen(base);
    if (has_suffix(base, lengths_suffix)) length -= strlen(lengths_suffix);
    if (length + strlen(lines_suffix) >= sizeof s->name)
        return fail_usage(why, "%s: the name is too long: at most %zu bytes before .len", path,
                          sizeof s->name - sizeof lines_suffix);
    snprintf(s->name, sizeof s->name, "%.*s%s", (int)length, base, lines_suffix);
    for (struct shard_drawn *other = d->shards; other < s; other++)
        if (!strcmp(other->name, s->name))
            return fail_usage(
                why,
                "%s: another shard would also write %s: give each file of lengths another name",
                path, s->name);
    return 0;
}

/* Fails unless the bounds of the draw leave out all that the lengths leave out. */
static int check_bounds(const struct job *j, const struct lengths_info *info, struct fail *why)
{
    if (j->min_tokens < info->min_tokens)
        return fail_input(why, "it was made with --min-tokens %llu: shorter documents are missing",
                          (unsigned long long)info->min_tokens);
    if (info->max_tokens && (!j->max_tokens || j->max_tokens > info->max_tokens))
        return fail_input(why, "it was made with --max-tokens %llu: longer documents are missing",
                          (unsigned long long)info->max_tokens);
    return 0;
}

static int check_tokens(const struct shards_drawn *d, const struct lengths_info *info,
                        struct fail *why)
{
    const struct token_info *a = &info->text, *b = &d->info.text;
    const struct vocabulary own = { .tokenizer = a->tokenizer, .size = a->vocab_size };
    const struct vocabulary first = { .name = d->first, .tokenizer = b->tokenizer };
    if (vocabulary_check(&own, &first, "tokenize all shards with one tokenizer", why)) return -1;
    if (strcmp(a->tokenizer, b->tokenizer) != 0 || a->vocab_size != b->vocab_size ||
        a->bos != b->bos || a->eos != b->eos || a->add_bos != b->add_bos ||
        a->add_eos != b->add_eos)
        return fail_input(why, "its tokens have another vocabulary, BOS or EOS than those of %s",
                          d->first);
    return 0;
}

/* Fails unless this is the next shard in order. */
static int check_place(const struct shards_drawn *d, const struct lengths_info *info, size_t files,
                       struct fail *why)
{
    unsigned long long shard = info->shard, shards = info->shards, due = d->count;
    if (d->info.shards != shards)
        return fail_input(why,
                          "it is one of %llu numbered shards, %s is one of %llu: number all of "
                          "them (pack --lengths --shard I/N), or none",
                          shards, d->first, (unsigned long long)d->info.shards);
    if (shard && shard != due)
        return fail_input(
            why, "shard %llu of %llu, but shard %llu was expected: name all of them once, in order",
            shard, shards, due);
    if (shards && files != shards)
        return fail_usage(why,
                          "%zu files, and there are %llu shards: name all of them once, in "
                          "order",
                          files, shards);
    return 0;
}

static int check_header(struct shards_drawn *d, struct lengths_reader *r, size_t files,
                        struct fail *why)
{
    const struct lengths_info *info = lengths_info(r);
    struct job *j = d->job;
    if (d->count == 1) {
        d->info = *info;
        d->info.made_with = NULL; /* it belongs to the reader */
        /* Without options the draw has the bounds of the lengths. */
        if (!j->min_tokens) j->min_tokens = info->min_tokens;
        if (!j->max_tokens) j->max_tokens = info->max_tokens;
        if (j->max_tokens && j->min_tokens > j->max_tokens)
            return fail_usage(why, "no document has --min-tokens %llu to --max-tokens %llu",
                              (unsigned long long)j->min_tokens, (unsigned long long)j->max_tokens);
    }
    return check_place(d, info, files, why) || check_tokens(d, info, why) ||
                   check_bounds(j, info, why)
               ? -1
               : 0;
}

static int add_file(struct shard_drawn *s, const char *name, struct fail *why)
{
    if (buffer_extend(&s->files, s->file_count, why)) return -1;
    s->files[s->file_count] = strdup(name);
    return s->files[s->file_count++] ? 0 : fail(why, "out of memory");
}

static int offer(struct shards_drawn *d, struct shard_drawn *s, const struct length *l,
                 struct fail *why)
{
    struct job *j = d->job;
    summary_document(&j->summary, l->source, l->tokens);
    if (!job_takes(j, l->tokens)) {
        job_leave_out(j, l->tokens);
        return 0;
    }
    struct lot lot = { .number = s->number + l->number,
                       .tokens = l->tokens,
                       .place = d->candidate_count };
    int chosen = lots_offer(d->lots, l->source, lot, job_leave_out, j, why);
    if (chosen <= 0) return chosen;
    if (buffer_extend(&d->candidates, d->candidate_count, why)) return -1;
    size_t quota = 0;
    while (quota < j->draw.quota_count && strcmp(j->draw.quotas[quota].source, l->source) != 0)
        quota++;
    d->candidates[d->candidate_count++] = (struct candidate){
        .file = l->file_number - 1,
        .source = summary_source(&j->summary, l->source),
        .quota = quota,
        .line = { .line = l->line, .digest = l->digest, .tokens = l->tokens },
    };
    return 0;
}

static int check_twice(const struct shards_drawn *d, const struct shard_drawn *s,
                       const char **files, struct fail *why)
{
    for (const struct shard_drawn *other = d->shards; other < s; other++)
        if (!strcmp(other->tokens, s->tokens))
            return fail_input(why, "has the tokens of %s: name each shard once",
                              files[other - d->shards]);
    return 0;
}

static int read_shard(struct shards_drawn *d, const char **files, size_t count, struct fail *why)
{
    struct lengths_reader *r;
    struct length l;
    const char *path = files[d->count];
    struct shard_drawn *s = &d->shards[d->count];
    int got = 0;
    s->number = d->documents;
    if (name_lines(d, s, path, why) || lengths_open(&r, path, why)) return -1;
    d->count++;
    msgpack_map_init(&s->made_with);
    msgpack_map_join(&s->made_with, lengths_info(r)->made_with);
    int status = check_header(d, r, count, why);
    if (status) (void)fail_in(why, path);
    while (!status && (got = lengths_next(r, &l, why)) > 0) {
        while (!status && s->file_count < l.file_number)
            status = add_file(s, l.file, why);
        if (!status) status = offer(d, s, &l, why);
    }
    if (got < 0) status = -1;
    if (!status) {
        d->documents += lengths_documents(r);
        memcpy(s->lengths, lengths_digest(r), sizeof s->lengths);
        memcpy(s->tokens, lengths_tokens_digest(r), sizeof s->tokens);
        memcpy(s->text, lengths_text_digest(r), sizeof s->text);
        if (lengths_documents(r) && check_twice(d, s, files, why)) status = fail_in(why, path);
    }
    lengths_close(r);
    progress_at((double)d->documents);
    return status;
}

/* Sets d->draw to the digest of everything that determines which documents are chosen. */
static void digest_draw(struct shards_drawn *d)
{
    const struct job *j = d->job;
    struct msgpack_map made;
    XXH3_state_t *state = XXH3_createState();
    must(state);
    XXH3_128bits_reset(state);
    msgpack_map_init(&made);
    msgpack_map_count(&made, "seed", j->draw.seed);
    job_put_options(j, &made);
    must(!msgpack_bytes_are_lost(&made.bytes));
    XXH3_128bits_update(state, made.bytes.data, made.bytes.size);
    for (size_t i = 0; i < d->count; i++) {
        const struct shard_drawn *s = &d->shards[i];
        XXH3_128bits_update(state, s->lengths, sizeof s->lengths);
        XXH3_128bits_update(state, s->tokens, sizeof s->tokens);
        XXH3_128bits_update(state, s->text, sizeof s->text);
    }
    digest_of_state(state, d->draw);
    XXH3_freeState(state);
    msgpack_map_release(&made);
}

/* ---- writing the lines ---- */

/* Writes the lines of the shard whose chosen documents are lots[0] to lots[count - 1]. */
static int write_shard(const struct shards_drawn *d, size_t shard, const struct lot *lots,
                       size_t count, const char *folder, struct fail *why)
{
    const struct shard_drawn *s = &d->shards[shard];
    struct drawn_lines lines;
    char path[4400];
    drawn_lines_init(&lines);
    lines.text = d->info.text;
    lines.shard = shard + 1;
    lines.shards = d->count;
    lines.seed = d->job->draw.seed;
    memcpy(lines.draw, d->draw, sizeof lines.draw);
    memcpy(lines.lengths, s->lengths, sizeof lines.lengths);
    memcpy(lines.whole, s->tokens, sizeof lines.whole);
    memcpy(lines.text_digest, s->text, sizeof lines.text_digest);
    job_put_options(d->job, &lines.options);
    msgpack_map_join(&lines.made_with, &s->made_with);
    int status = 0;
    size_t named = 0;
    for (size_t i = 0; i < count && !status; i++) {
        const struct candidate *c = &d->candidates[lots[i].place];
        for (; named <= c->file && !status; named++)
            status = drawn_lines_add_file(&lines, s->files[named], why);
        if (!status) status = drawn_lines_add(&lines, &c->line, why);
    }
    snprintf(path, sizeof path, "%.4000s/%s", folder, s->name);
    if (!status) status = drawn_lines_write(&lines, path, why);
    drawn_lines_release(&lines);
    return status;
}

static int write_folder(const struct shards_drawn *d, const struct lot *lots, size_t count,
                        struct fail *why)
{
    struct folder f;
    int status = 0;
    size_t at = 0;
    if (folder_open(&f, d->job->output, &kind, why)) return -1;
    for (size_t shard = 0; shard < d->count && !status; shard++) {
        uint64_t last = shard + 1 < d->count ? d->shards[shard + 1].number : UINT64_MAX;
        size_t end = at;
        while (end < count && lots[end].number <= last)
            end++;
        status = write_shard(d, shard, lots + at, end - at, f.temporary, why);
        at = end;
    }
    if (!status) return folder_close(&f, why);
    fail_rename(why, f.temporary, f.shown);
    folder_abandon(&f);
    return -1;
}

static void count_drawn(struct job *j, const struct candidate *c)
{
    c->source->drawn_documents++;
    c->source->drawn_tokens += c->line.tokens;
    j->drawn++;
    j->quota_drawn[c->quota]++;
}

static int finish(struct shards_drawn *d, struct fail *why)
{
    struct job *j = d->job;
    struct output summary = { .fd = -1 };
    struct lot *lots;
    size_t count;
    if (lots_finish(d->lots, &lots, &count, job_leave_out, j, why)) return -1;
    for (size_t i = 0; i < count; i++)
        count_drawn(j, &d->candidates[lots[i].place]);
    digest_draw(d);
    int status = count ? 0
                       : fail_input(why, "none of %llu documents is drawn",
                                    (unsigned long long)summary_documents(&j->summary));
    if (!status && j->summary_path)
        status = summary_begin(&j->summary, j->summary_path, &summary, why);
    if (!status) status = write_folder(d, lots, count, why);
    if (!status)
        status = output_close(&summary, why);
    else
        output_abandon(&summary);
    free(lots);
    return status;
}

static void release(struct shards_drawn *d, size_t count)
{
    lots_close(d->lots);
    for (size_t i = 0; i < count && d->shards; i++) {
        for (size_t f = 0; f < d->shards[i].file_count; f++)
            free(d->shards[i].files[f]);
        free(d->shards[i].files);
        msgpack_map_release(&d->shards[i].made_with);
    }
    free(d->shards);
    free(d->candidates);
}

int job_draw(struct job *j, const char **files, struct fail *why)
{
    struct shards_drawn d = { .job = j, .first = files[0] };
    struct progress p = { .unit = "documents" };
    size_t count = 0;
    while (files[count])
        count++;
    d.shards = calloc(count + 1, sizeof *d.shards);
    int status = d.shards ? lots_open(&d.lots, &j->draw, why) : fail(why, "out of memory");
    progress_begin(&p);
    while (!status && d.count < count)
        status = read_shard(&d, files, count, why);
    progress_end();
    if (!status) status = finish(&d, why);
    if (!status)
        note("%zu shards, %llu documents; draw %s", d.count, (unsigned long long)d.documents,
             d.draw);
    release(&d, count);
    return status;
}
