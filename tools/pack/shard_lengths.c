#include "lib/cli/progress.h"
#include "lib/stream/lengths.h"
#include "tools/pack/job.h"

#include <errno.h>

/* Splits an id, "docs.jsonl:12", into the name of the file and the line. */
static int split_id(const char *id, char file[TOKENS_ID_MAX], uint64_t *line, struct fail *why)
{
    const char *colon = strrchr(id, ':');
    char *end = NULL;
    errno = 0;
    *line = colon && colon[1] >= '1' && colon[1] <= '9' ? strtoull(colon + 1, &end, 10) : 0;
    if (!end || *end || errno)
        return fail_input(why,
                          "the id '%.60s' does not end with a line, as tokenize writes it: "
                          "text is needed from which tokenize can make documents again",
                          id);
    memcpy(file, id, (size_t)(colon - id));
    file[colon - id] = 0;
    return 0;
}

/* Counts and adds a document. */
static int add(struct job *j, struct lengths_writer *out, const struct tokens *t, uint64_t number,
               struct fail *why)
{
    char file[TOKENS_ID_MAX];
    struct length l = { .source = t->source, .file = file, .number = number };
    if (split_id(t->id, file, &l.line, why)) return -1;
    if (t->count > UINT32_MAX)
        return fail_input(why, "a document of %zu tokens is too long: at most 2^32 - 1", t->count);
    l.tokens = (uint32_t)t->count;
    summary_document(&j->summary, t->source, t->count);
    if (!job_takes(j, t->count)) {
        j->summary.left_out += t->count;
        return 0;
    }
    job_count_drawn(j, t->source, t->count);
    return lengths_add(out, &l, t, why);
}

/* Fails unless the tokens are one whole shard that tokenize made of a text. */
static int check_shard(const struct reader *in, struct fail *why)
{
    if (reader_drawn_part(in)->is_drawn)
        return fail_input(why,
                          "these documents were drawn, but lengths must be those of all documents");
    if (reader_drawn_part(in)->streams != 1)
        return fail_input(why, "several streams one after the other, but a shard is one stream");
    if (!reader_parent(in, "text"))
        return fail_input(why, "it does not say of which text it was made (older programs and "
                               "--from do not): run tokenize on the text");
    return 0;
}

static int write_all(struct job *j, struct reader *in, struct lengths_writer *out, struct fail *why)
{
    struct tokens t = { 0 };
    struct progress p = { .unit = "documents" };
    int got = 0, status = 0;
    progress_begin(&p);
    while (!status && (got = tokens_read(in, &j->info.text, &t, why)) > 0) {
        if (add(j, out, &t, reader_position(in), why)) status = reader_fail(in, why);
        progress_at((double)reader_position(in));
    }
    progress_end();
    tokens_release(&t);
    if (status || got < 0) return -1;
    return check_shard(in, why) ? fail_in(why, reader_name(in)) : 0;
}

/* Closes lengths and summary together. */
static int finish(struct job *j, const struct reader *in, struct lengths_writer *out,
                  struct fail *why)
{
    struct output summary = { .fd = -1 };
    if (j->summary_path && summary_begin(&j->summary, j->summary_path, &summary, why)) {
        lengths_abandon(out);
        return -1;
    }
    if (!lengths_finish(out, reader_position(in), reader_digest(in), reader_parent(in, "text"),
                        why))
        return output_close(&summary, why);
    output_abandon(&summary);
    return -1;
}

int job_lengths(struct job *j, const char *input, struct fail *why)
{
    struct reader *in;
    struct lengths_writer *out = NULL;
    struct msgpack_map made_with;
    struct fail ignored;
    if (tokens_reader(&in, input, j->from, &j->info.text, why)) return -1;
    const msgpack_object *options = map_find(reader_header(in), "options");
    msgpack_map_init(&made_with);
    if (options && !map_check_keys(options, &ignored)) msgpack_map_copy(&made_with, options);
    struct lengths_info info = { .text = j->info.text,
                                 .min_tokens = j->min_tokens,
                                 .max_tokens = j->max_tokens,
                                 .shard = j->shard,
                                 .shards = j->shards,
                                 .made_with = &made_with };
    int status = lengths_create(&out, j->output, &info, why);
    msgpack_map_release(&made_with);
    if (!status && write_all(j, in, out, why)) {
        lengths_abandon(out);
        status = -1;
    } else if (!status) {
        status = finish(j, in, out, why);
    }
    reader_close(in);
    return status;
}
