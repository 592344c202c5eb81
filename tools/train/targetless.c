#include "tools/train/targetless.h"

#include "lib/cli/progress.h"
#include "lib/common/clock.h"
#include "lib/common/program.h"
#include "lib/stream/targets.h"
#include "tools/train/sharing.h"

int targetless_check_eval(const struct trainer *t, const struct eval_file *f, struct fail *why)
{
    bool masks = trainer_masks_documents(t->recipe, &f->info), has_target = false;
    struct sample sample = { 0 };
    int status = 0;
    for (uint64_t i = 0; i < reader_records(f->samples) && !status && !has_target; i++) {
        status = samples_read_at(f->samples, &f->info, i, &sample, why);
        if (!status) has_target = sample_has_target(&sample, masks);
    }
    sample_release(&sample);
    if (status || has_target) return status;
    return fail_input(why, "%s: its samples have no target tokens", f->path);
}

/* What is known of a sample of the run. */
enum { NOT_TAKEN, TAKEN, TARGETLESS };

struct found {
    unsigned char *kind; /* [records] */
    uint64_t count;      /* samples without a target */
    uint64_t first;      /* the first of them, from 0 */
    uint64_t taken;      /* samples that the run takes */
};

static uint64_t samples_of_step(const struct trainer *t)
{
    return (uint64_t)(t->recipe->batch_size * t->recipe->accumulation);
}

/* Marks the samples that the run takes. */
static int mark_taken(struct trainer *t, struct found *f, struct fail *why)
{
    uint64_t records = reader_records(t->samples), number;
    uint64_t all = (uint64_t)t->optimiser.steps * samples_of_step(t);
    for (uint64_t i = 0; i < records && i < all; i++) {
        number = i;
        if (all < records && trainer_sample_at(t, i, &number, why)) return -1;
        f->kind[number] = TAKEN;
        f->taken++;
    }
    return 0;
}

/* Reads the samples that are marked, and marks those without a target. */
static int mark_targetless(struct trainer *t, struct found *f, struct fail *why)
{
    uint64_t records = reader_records(t->samples), done = 0;
    struct sample sample = { 0 };
    double told = clock_seconds();
    int status = 0;
    for (uint64_t i = 0; i < records && !status; i++) {
        if (f->kind[i] == NOT_TAKEN) continue;
        status = samples_read_at(t->samples, &t->info, i, &sample, why);
        if (!status && !sample_has_target(&sample, t->attention.masks_documents)) {
            if (!f->count++) f->first = i;
            f->kind[i] = TARGETLESS;
        }
        progress_at((double)++done);
        if (status || clock_seconds() - told < 1) continue;
        told = clock_seconds();
        status = sharing_ask_to_wait(t, why);
    }
    sample_release(&sample);
    return status;
}

/* Fails, and says what to do. `number` is the first sample of the step, from 0. */
static int refuse_step(const struct trainer *t, uint64_t step, uint64_t number, struct fail *why)
{
    bool is_by_mask = t->attention.masks_documents && !sample_info_masks_documents(&t->info);
    char way[200];
    if (is_by_mask)
        snprintf(way, sizeof way, "with document_mask=auto more tokens are targets");
    else
        snprintf(way, sizeof way, "%s --from samples leaves such samples out", program_of("pack"));
    return fail_input(why, "%s: step %llu: its samples have no target tokens (sample %llu%s): %s",
                      reader_name(t->samples), (unsigned long long)step + 1,
                      (unsigned long long)number + 1, samples_of_step(t) > 1 ? ", ..." : "", way);
}

/* Fails if none of the samples of some step has a target. */
static int check_steps(struct trainer *t, const struct found *f, struct fail *why)
{
    uint64_t samples = samples_of_step(t);
    for (uint64_t step = 0; step < (uint64_t)t->optimiser.steps; step++) {
        uint64_t first = 0, number, i = 0;
        bool has_target = false;
        for (; i < samples && !has_target; i++) {
            if (trainer_sample_at(t, step * samples + i, &number, why)) return -1;
            if (!i) first = number;
            has_target = f->kind[number] != TARGETLESS;
        }
        if (!has_target) return refuse_step(t, step, first, why);
    }
    return 0;
}

static int check(struct trainer *t, struct found *f, void (*report)(const char *text),
                 struct fail *why)
{
    char text[400];
    progress_begin(&(struct progress){ .unit = "samples looked at", .total = (double)f->taken });
    int status = mark_targetless(t, f, why);
    progress_end();
    if (status || !f->count) return status;
    if (f->count == reader_records(t->samples))
        return fail_input(why, "%s: its samples have no target tokens", reader_name(t->samples));
    if (check_steps(t, f, why)) return -1;
    snprintf(text, sizeof text,
             "%.200s: %llu of %llu samples have no target tokens, and teach nothing; the first is "
             "sample %llu",
             reader_name(t->samples), (unsigned long long)f->count, (unsigned long long)f->taken,
             (unsigned long long)f->first + 1);
    report(text);
    return 0;
}

int targetless_check_steps(struct trainer *t, void (*report)(const char *text), struct fail *why)
{
    struct found f = { .kind = calloc(reader_records(t->samples), 1) };
    if (!f.kind) return fail(why, "out of memory");
    int status = mark_taken(t, &f, why) || check(t, &f, report, why) ? -1 : 0;
    free(f.kind);
    return status;
}
