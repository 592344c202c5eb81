#include "tools/ppl/protocol.h"

#include "lib/cli/progress.h"
#include "lib/common/buffer.h"
#include "tools/ppl/sums.h"

#include <math.h>

enum { BATCH_ROWS = 4096 };

/* longppl scores a prediction if its loss is less than most_loss, and the long context has lowered
 * it by more than least_gain. */
static const float least_gain = 2, most_loss = 2;

/* The windows of one context: where they begin, and the first row whose prediction is scored. */
struct windows {
    int64_t context, stride, score_from;
    int64_t short_context, short_stride; /* of longppl; 0 for other protocols */
    bool new_only, puts_bos, drops_last;
    /* the protocol huggingface: the end of the text cuts the last window; see weight_of */
    bool is_guide;
};

const char *protocol_definition(const char *name)
{
    static const char *const definitions[] = {
        "longqlora: windows of L at range(0, N-L, L) less its last; all L-1 predictions; mean of "
        "window means",
        "longlora: windows of L at range(0, N-L, 256) less its last; all L-1 predictions; mean of "
        "window means",
        "sliding: windows of L every stride, by default half of L; predictions not scored before; "
        "what fills no window at the end is left out; mean over tokens",
        "huggingface: windows of L every stride, by default half of L, the last one cut by the end "
        "of the text; predictions not scored before; each window's mean by its new tokens less one "
        "(transformers' guide, Perplexity of fixed-length models)",
        "llamacpp: windows of L side by side, BOS first; second half; mean over tokens",
        "longppl: windows of L side by side; predictions whose loss is below 2 and more than 2 "
        "lower than with the short context (windows of it every stride, by default a quarter of "
        "it, each for what the one before has not seen); mean over tokens",
        "samples: each sample by itself, its targets' predictions; mean over tokens; a sample "
        "counts for the smallest context that holds it",
    };
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof definitions / sizeof *definitions; i++)
        if (!strncmp(definitions[i], name, length) && definitions[i][length] == ':')
            return definitions[i];
    must(!"a known protocol");
    return NULL;
}

int64_t protocol_rows(int64_t context)
{
    int64_t rows = BATCH_ROWS / context * context;
    return rows ? rows : context;
}

static int plan_sliding(const struct protocol *p, struct windows *w, struct fail *why)
{
    w->stride = p->stride ? p->stride : (w->context + 1) / 2;
    w->new_only = true;
    w->is_guide = !strcmp(p->name, "huggingface");
    if (w->stride <= w->context) return 0;
    return fail_usage(
        why, "--stride %lld leaves gaps between windows of --context %lld: choose a smaller one",
        (long long)w->stride, (long long)w->context);
}

static int plan_longppl(const struct protocol *p, struct windows *w, struct fail *why)
{
    int64_t alone = p->short_context ? p->short_context : SHORT_CONTEXT;
    if (w->context <= alone)
        return fail_usage(why,
                          "--context %lld is no longer than longppl's short context of %lld "
                          "(--short-context)",
                          (long long)w->context, (long long)alone);
    w->short_context = alone;
    w->short_stride = p->stride ? p->stride : (alone + 3) / 4;
    if (w->short_stride < alone) return 0;
    return fail_usage(
        why,
        "--stride %lld leaves gaps between windows of --short-context %lld: choose a smaller one",
        (long long)w->short_stride, (long long)alone);
}

static int plan_llamacpp(const struct protocol *p, struct windows *w, struct fail *why)
{
    w->puts_bos = true;
    w->score_from = w->context / 2;
    if (p->stride)
        return fail_usage(
            why, "--stride: --protocol llamacpp has none, because its windows lie side by side");
    if (w->score_from + 1 < w->context) return 0;
    return fail_usage(why, "--context %lld: --protocol llamacpp needs windows of at least 3 tokens",
                      (long long)w->context);
}

/* Plans the windows of a protocol. The number of windows depends on the length of the text, and
 * windows_in computes it. */
static int plan(const struct protocol *p, int64_t context, struct windows *w, struct fail *why)
{
    *w = (struct windows){ .context = context, .stride = context };
    bool is_longppl = !strcmp(p->name, "longppl");
    if (p->short_context && !is_longppl)
        return fail_usage(why, "--short-context belongs to --protocol longppl, not to %s", p->name);
    if (is_longppl) return plan_longppl(p, w, why);
    if (!strcmp(p->name, "llamacpp")) return plan_llamacpp(p, w, why);
    if (strcmp(p->name, "longqlora") != 0 && strcmp(p->name, "longlora") != 0)
        return plan_sliding(p, w, why);
    w->drops_last = true;
    if (!strcmp(p->name, "longlora")) w->stride = 256;
    if (p->stride) w->stride = p->stride;
    return 0;
}

/* Returns how many tokens of a text are used: all of them, or max_tokens if that is less. */
static int64_t counted(const struct protocol *p, int64_t tokens)
{
    return p->max_tokens && tokens > p->max_tokens ? p->max_tokens : tokens;
}

/* Returns the number of windows in a text of `tokens` tokens. */
static int64_t windows_in(const struct windows *w, int64_t tokens)
{
    if (w->is_guide && tokens <= w->context) return tokens > 1;
    if (tokens < w->context) return 0;
    int64_t beyond = tokens - w->context;
    if (w->is_guide) return (beyond + w->stride - 1) / w->stride + 1;
    if (!w->drops_last) return beyond / w->stride + 1;
    int64_t starts = (beyond + w->stride - 1) / w->stride;
    return starts > 1 ? starts - 1 : 0;
}

static int64_t length_of(const struct texts *t, int64_t i)
{
    return t->ends[i] - (i ? t->ends[i - 1] : 0);
}

int protocol_needs(const struct protocol *p, int64_t context, int64_t *tokens, struct fail *why)
{
    struct windows w;
    if (plan(p, context, &w, why)) return -1;
    *tokens = w.drops_last ? context + w.stride + 1 : context;
    return 0;
}

int64_t protocol_longest(const struct protocol *p, const struct texts *t)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < t->count; i++) {
        int64_t length = counted(p, length_of(t, i));
        if (length > longest) longest = length;
    }
    return longest;
}

/* Returns the first row of a window whose prediction is scored. Row t predicts token t + 1. With
 * new_only it is the first prediction that the previous window has not scored. No window predicts
 * its own first token, so that token remains unscored if windows do not overlap. */
static int64_t first_row(const struct windows *w, int64_t index)
{
    if (!w->new_only || !index || w->stride == w->context) return w->score_from;
    return w->context - w->stride - 1;
}

/* Returns the weight of a window. The guide of Hugging Face takes the number of a window's new
 * tokens, less one. This is right for the first window, which does not predict its first token.
 * A later window that overlaps the one before predicts all its new tokens, so the guide's weight is
 * less by one than the number of predictions. */
static int64_t weight_of(const struct windows *w, int64_t index, int64_t scored)
{
    bool predicts_all = index && w->stride < w->context;
    return w->is_guide && predicts_all ? scored - 1 : scored;
}

/* Adds a window. nll has the losses of its rows. counts: NULL, or 1 for the rows whose prediction
 * is scored. */
static void add_window(const struct windows *w, int64_t index, const float *nll,
                       const float *counts, int64_t length, struct sums *s)
{
    int64_t scored = 0;
    double sum = 0;
    must(nll);
    for (int64_t t = first_row(w, index); t + 1 < length; t++) {
        if (counts && counts[t] == 0) continue;
        sum += (double)nll[t];
        scored++;
        sums_add_prediction(s, t + 1, (double)nll[t]);
    }
    if (!scored) return;
    double weight = (double)weight_of(w, index, scored);
    if (w->is_guide) sum = sum / (double)scored * weight;
    sums_add_window(s, sum, weight, scored);
}

/* A text, shortened to max_tokens. */
struct text {
    const uint32_t *ids;
    int64_t tokens;
};

/* The windows [first, first + count) of a text, which one pass computes. `done` is the number of
 * windows before them, including those of earlier texts. */
struct window_batch {
    struct text text;
    int64_t first, count, done;
};

/* A run over one context: the model, its batch, and all windows. */
struct run {
    const struct protocol *p;
    const struct windows *w;
    struct model *m;
    struct batch b;
    int64_t context, rows;
    float *nll; /* [rows] for longppl: the losses of short windows */
    struct window_batch *batches;
    int64_t count;
    struct sums sums;
};

static int run_open(struct run *r, struct fail *why)
{
    if (batch_init(&r->b, r->rows, why)) return -1;
    r->nll = malloc((size_t)r->rows * sizeof *r->nll);
    return r->nll ? 0 : fail(why, "out of memory");
}

static void run_close(struct run *r)
{
    batch_release(&r->b);
    free(r->nll);
    free(r->batches);
}

static int losses(struct run *r, float *nll, struct fail *why)
{
    model_forward(r->m, &r->b, (struct dropout){ 0 });
    return model_loss(r->m, nll, 0, why) || model_gather_losses(r->m, nll, why) ? -1 : 0;
}

/* Returns the start of the short window that scores the predictions of short_stride rows from row
 * `from` on. *end becomes its end, which is at most the end of the long window. */
static int64_t short_window(const struct run *r, int64_t from, int64_t *end)
{
    *end = from + 1 + r->w->short_stride < r->context ? from + 1 + r->w->short_stride : r->context;
    return *end - r->w->short_context;
}

/* Finds the predictions of a window that need tokens from before the short context: counts [L]
 * becomes 1 for them, else 0. full [L] has the losses of all predictions in the long window. Row t
 * predicts token t + 1. In the first short_context − 1 rows both contexts are equal, so no
 * prediction counts there. */
static int mark_judged(struct run *r, const uint32_t *ids, const float *full, float *counts,
                       struct fail *why)
{
    int64_t windows_per_batch = r->rows / r->w->short_context, end = 0;
    memset(counts, 0, (size_t)r->context * sizeof *counts);
    for (int64_t from = r->w->short_context - 1; from + 1 < r->context;) {
        int64_t first = from, windows = 0;
        r->b.rows = 0;
        for (; windows < windows_per_batch && from + 1 < r->context; windows++, from = end - 1)
            batch_add_window(&r->b, ids + short_window(r, from, &end), r->w->short_context);
        if (losses(r, r->nll, why)) return -1;
        for (int64_t i = 0; i < windows; i++) {
            int64_t start = short_window(r, first, &end);
            const float *nll = r->nll + i * r->w->short_context - start;
            for (int64_t t = first; t + 1 < end; t++)
                counts[t] = full[t] < most_loss && nll[t] - full[t] > least_gain;
            first = end - 1;
        }
    }
    return 0;
}

/* Returns a window's length. The protocol huggingface cuts the last window at the end of the
 * text. */
static int64_t window_length(const struct run *r, const struct text *t, int64_t index)
{
    int64_t left = t->tokens - index * r->w->stride;
    return left < r->context ? left : r->context;
}

/* ---- the batches, as turns.h has them ---- */

/* The values of a batch are the losses of its rows. In longppl a batch is one window, and its
 * values also say which of its predictions count. */
static int64_t values_of(const void *arg, int64_t i)
{
    const struct run *r = arg;
    const struct window_batch *b = &r->batches[i];
    if (r->w->short_context) return 2 * r->context;
    return (b->count - 1) * r->context + window_length(r, &b->text, b->first + b->count - 1);
}

static int compute(void *arg, int64_t index, float *values, struct fail *why)
{
    struct run *r = arg;
    const struct window_batch *b = &r->batches[index];
    const uint32_t *ids = b->text.ids + b->first * r->w->stride;
    r->b.rows = 0;
    model_at(r->m, "context %lld, batch %lld", (long long)r->context, (long long)index + 1);
    for (int64_t i = 0; i < b->count; i++) {
        int64_t row = r->b.rows;
        batch_add_window(&r->b, ids + i * r->w->stride, window_length(r, &b->text, b->first + i));
        if (r->w->puts_bos) r->b.id[row] = (int32_t)r->p->bos;
    }
    if (losses(r, values, why)) return -1;
    if (r->w->short_context && mark_judged(r, ids, values, values + r->context, why)) return -1;
    progress_at((double)(b->done + b->count));
    return 0;
}

static void add(void *arg, int64_t index, const float *values)
{
    struct run *r = arg;
    const struct window_batch *b = &r->batches[index];
    for (int64_t i = 0; i < b->count; i++)
        add_window(r->w, b->first + i, values + i * r->context,
                   r->w->short_context ? values + r->context : NULL,
                   window_length(r, &b->text, b->first + i), &r->sums);
}

/* Lists the batches of all texts, and counts windows and texts. */
static int list_batches(struct run *r, const struct texts *t, struct score *score, struct fail *why)
{
    /* After a window of longppl, its short windows are computed in the same buffers. So each such
     * window is a batch of its own. */
    int64_t windows_per_batch = r->w->short_context ? 1 : r->rows / r->context;
    for (int64_t i = 0; i < t->count; i++) {
        struct text text = { .ids = t->ids + (t->ends[i] - length_of(t, i)),
                             .tokens = counted(r->p, length_of(t, i)) };
        int64_t windows = windows_in(r->w, text.tokens);
        for (int64_t first = 0; first < windows; first += windows_per_batch) {
            int64_t left = windows - first;
            if (buffer_extend(&r->batches, r->count, why)) return -1;
            r->batches[r->count++] = (struct window_batch){
                .text = text,
                .first = first,
                .count = left < windows_per_batch ? left : windows_per_batch,
                .done = score->windows + first,
            };
        }
        score->windows += windows;
        score->texts += windows > 0;
    }
    return 0;
}

int protocol_run(const struct protocol *p, struct model *m, const struct texts *t, int64_t context,
                 struct turns *turns, struct score *score, struct fail *why)
{
    struct windows w;
    struct run r = { .p = p, .w = &w, .m = m, .context = context, .rows = protocol_rows(context) };
    *score = (struct score){ .context = context };
    if (plan(p, context, &w, why)) return -1;
    int status = run_open(&r, why) || list_batches(&r, t, score, why) ? -1 : 0;
    const struct turns_work work = { .unit = "batch",
                                     .context = context,
                                     .count = r.count,
                                     .arg = &r,
                                     .values = values_of,
                                     .compute = compute,
                                     .add = add };
    progress_begin(&(struct progress){ .unit = "windows", .total = (double)score->windows });
    if (!status) status = turns_run(turns, &work, why);
    progress_end();
    if (!status && !r.sums.windows)
        status =
            fail_input(why,
                       "context %lld: it helps no prediction enough to be scored by longppl (try "
                       "a shorter --short-context, or more text)",
                       (long long)context);
    if (!status) sums_finish(&r.sums, score);
    if (!status && !isfinite(score->nll))
        status = fail(why, "context %lld: mean loss is %f", (long long)context, score->nll);
    run_close(&r);
    return status;
}
