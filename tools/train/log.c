#include "log.h"

#include "../../lib/common/input.h"
#include "../../lib/common/output.h"
#include "../../lib/common/progress.h"

#include <errno.h>
#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

/* Rewrites the log with its lines up to a step; other lines are another run's. */
static int keep_until(const char *path, int64_t step, struct fail *why)
{
    struct input *in;
    struct output out;
    char *line;
    size_t bytes;
    int got = 0, status = 0;
    if (access(path, F_OK)) return 0;
    if (input_open(&in, path, why)) return -1;
    if (output_rewrite(&out, path, why)) {
        input_close(in);
        return -1;
    }
    while (!status && (got = input_line(in, &line, &bytes, why)) > 0) {
        json_t *entry = json_loadb(line, bytes, 0, NULL);
        if (entry && json_integer_value(json_object_get(entry, "step")) <= step) {
            status = output_write(&out, line, bytes, why);
            if (!status) status = output_write(&out, "\n", 1, why);
        }
        json_decref(entry);
    }
    input_close(in);
    if (got >= 0 && !status) return output_close(&out, why);
    output_abandon(&out);
    return -1;
}

int log_open(struct log *log, const struct recipe *recipe, int64_t step, struct fail *why)
{
    char path[4096];
    *log = (struct log){ .started = progress_clock(), .first_step = step };
    snprintf(path, sizeof path, "%s/trainer_log.jsonl", recipe->output_dir);
    if (keep_until(path, step, why)) return -1;
    log->file = fopen(path, "ae");
    if (!log->file) return fail(why, "%s: %s", path, strerror(errno));
    if (strcmp(recipe->report_to, "tensorboard") != 0) return 0;
    if (recipe->logging_dir)
        snprintf(path, sizeof path, "%s", recipe->logging_dir);
    else
        snprintf(path, sizeof path, "%s/runs", recipe->output_dir);
    return events_open(&log->events, path, step, why);
}

/* Takes the object. */
static int write_line(struct log *log, json_t *line, struct fail *why)
{
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(line);
    if (!text) return fail(why, "out of memory");
    bool failed = fprintf(log->file, "%s\n", text) < 0 || fflush(log->file);
    free(text);
    return failed ? fail(why, "trainer_log.jsonl: cannot write: %s", strerror(errno)) : 0;
}

int log_line(struct log *log, struct trainer *t, const struct step_result *r, char *shown,
             size_t size, struct fail *why)
{
    double elapsed = progress_clock() - log->started;
    double rate = (double)log->tokens / elapsed;
    double loss = t->state.loss_sum / (double)t->state.loss_steps;
    double samples = (double)(t->state.step * t->recipe->batch_size * t->recipe->accumulation);
    double epoch = samples / (double)reader_records(t->samples);
    int64_t done = t->state.step - log->first_step;
    double eta = elapsed / (double)done * (double)(t->optimiser.steps - t->state.step);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    json_t *line = json_pack(
        "{s:I,s:f,s:f,s:f,s:f,s:I,s:f,s:I,s:f,s:f}", "step", (json_int_t)t->state.step, "epoch",
        epoch, "loss", loss, "grad_norm", r->grad_norm, "learning_rate", r->learning_rate, "tokens",
        (json_int_t)t->state.tokens, "tokens_per_second", rate, "max_rss_bytes",
        (json_int_t)usage.ru_maxrss * 1024, "elapsed", elapsed, "eta", eta);
    if (line && t->scales_loss)
        json_object_set_new(line, "loss_scale", json_real(t->state.loss_scale));
    if (write_line(log, line, why)) return -1;
    const struct event_value values[] = { { "train/loss", loss },
                                          { "train/grad_norm", r->grad_norm },
                                          { "train/learning_rate", r->learning_rate },
                                          { "train/epoch", epoch },
                                          { "train/tokens_per_second", rate } };
    if (events_add(log->events, t->state.step, values, 5, why)) return -1;
    char left[24];
    progress_duration(eta, left, sizeof left);
    snprintf(shown, size,
             "step %lld of %lld, loss %.4f, norm %.3f, rate %.3g, %.0f tokens/s, %s left",
             (long long)t->state.step, (long long)t->optimiser.steps, loss, r->grad_norm,
             r->learning_rate, rate, left);
    t->state.loss_sum = 0;
    t->state.loss_steps = 0;
    return 0;
}

int log_evaluation(struct log *log, const struct trainer *t, const struct evaluation *e,
                   double seconds, char *shown, size_t size, struct fail *why)
{
    double perplexity = exp(e->loss);
    json_t *line = json_pack("{s:I,s:f,s:f,s:I,s:f}", "step", (json_int_t)t->state.step,
                             "eval_loss", e->loss, "eval_perplexity", perplexity, "eval_tokens",
                             (json_int_t)e->targets, "eval_runtime", seconds);
    if (write_line(log, line, why)) return -1;
    const struct event_value values[] = { { "eval/loss", e->loss },
                                          { "eval/perplexity", perplexity } };
    snprintf(shown, size, "step %lld of %lld, evaluation: loss %.4f, perplexity %.3f",
             (long long)t->state.step, (long long)t->optimiser.steps, e->loss, perplexity);
    return events_add(log->events, t->state.step, values, 2, why);
}

int log_close(struct log *log, struct fail *why)
{
    int status = events_close(log->events, why);
    log->events = NULL;
    if (!log->file) return status;
    bool failed = fclose(log->file) != 0;
    log->file = NULL;
    return failed ? fail(why, "trainer_log.jsonl: cannot write: %s", strerror(errno)) : status;
}
