#include "tools/ppl/protocol.h"

#include "lib/cli/progress.h"
#include "tools/ppl/sums.h"

#include <math.h>

enum { BATCH_ROWS = 4096 };

/* longppl scores a prediction if its loss is less than most_loss, and the long context has lowered
 * it by more than least_gain. */
static const float least_gain = 2, most_loss = 2;

/* The windows of one context: where they begin, and the first row whose prediction is scored. */
struct windows {
    int64_t context, stride, score_from;
    int64_t short_context, short_stride; /* short_context 0: every prediction is scored */
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

/* Plans the windows of a protocol. Their number depends on the length of the text, and windows_in
 * computes it. */
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

/* Returns the first row of a window whose prediction the previous window has not scored. Row t
 * predicts token t + 1. No window predicts its own first token, so that token remains unscored if
 * windows do not overlap. */
static int64_t first_row(const struct windows *w, int64_t index)
{
    if (!w->new_only || !index || w->stride == w->context) return w->score_from;
    return w->context - w->stride - 1;
}

/* Returns the weight of a window. The guide of Hugging Face takes the number of a window's new
 * tokens, less one. This is as if the first new token had no prediction, although it has one if the
 * window begins before it. */
static int64_t weight_of(const struct windows *w, int64_t index, int64_t scored)
{
    bool predicts_all = index && w->stride < w->context;
    return w->is_guide && predicts_all ? scored - 1 : scored;
}

static void add_window(const struct windows *w, int64_t index, const float *nll, const bool *counts,
                       int64_t length, struct sums *s)
{
    int64_t scored = 0;
    double sum = 0;
    for (int64_t t = first_row(w, index); t + 1 < length; t++) {
        if (counts && !counts[t]) continue;
        sum += (double)nll[t];
        scored++;
        sums_add_prediction(s, t + 1, (double)nll[t]);
    }
    if (!scored) return;
    double weight = (double)weight_of(w, index, scored);
    if (w->is_guide) sum = sum / (double)scored * weight;
    sums_add_window(s, sum, weight, scored);
}

/* A run over one context: the model, its batch, and the losses of the batch's rows. */
struct run {
    const struct protocol *p;
    const struct windows *w;
    struct model *m;
    struct batch b;
    int64_t context, rows;
    float *nll;
    float *full;  /* longppl: [L] losses of the long window */
    bool *counts; /* longppl: [L] true if the row's prediction is scored */
    struct sums sums;
};

static int run_open(struct run *r, struct fail *why)
{
    if (batch_init(&r->b, r->rows, why)) return -1;
    r->nll = malloc((size_t)r->rows * sizeof *r->nll);
    r->full = malloc((size_t)r->context * sizeof *r->full);
    r->counts = malloc((size_t)r->context * sizeof *r->counts);
    return r->nll && r->full && r->counts ? 0 : fail(why, "out of memory");
}

static void run_close(struct run *r)
{
    batch_release(&r->b);
    free(r->nll);
    free(r->full);
    free(r->counts);
}

static int losses(struct run *r, struct fail *why)
{
    model_forward(r->m, &r->b, (struct dropout){ 0 });
    return model_loss(r->m, r->nll, 0, why);
}

/* Returns the start of the next short window, which scores predictions from row `from` on. *end
 * becomes its end, which is one stride later or at the end of the long window. */
static int64_t short_window(const struct run *r, int64_t from, int64_t *end)
{
    *end = from + 1 + r->w->short_stride < r->context ? from + 1 + r->w->short_stride : r->context;
    return *end - r->w->short_context;
}

/* Finds the predictions of a window that need tokens from before the short context. r->full has the
 * losses of all predictions in the long window. Row t predicts token t + 1. In the first
 * short_context rows both contexts are equal, so no prediction counts there. */
static int mark_judged(struct run *r, const uint32_t *ids, struct fail *why)
{
    int64_t windows_per_batch = r->rows / r->w->short_context, end = 0;
    memset(r->counts, 0, (size_t)r->context * sizeof *r->counts);
    for (int64_t from = r->w->short_context - 1; from + 1 < r->context;) {
        int64_t first = from, windows = 0;
        r->b.rows = 0;
        for (; windows < windows_per_batch && from + 1 < r->context; windows++, from = end - 1)
            batch_add_window(&r->b, ids + short_window(r, from, &end), r->w->short_context);
        if (losses(r, why)) return -1;
        for (int64_t i = 0; i < windows; i++) {
            int64_t start = short_window(r, first, &end);
            const float *nll = r->nll + i * r->w->short_context - start;
            for (int64_t t = first; t + 1 < end; t++)
                r->counts[t] = r->full[t] < most_loss && nll[t] - r->full[t] > least_gain;
            first = end - 1;
        }
    }
    return 0;
}

/* A text, shortened to max_tokens. */
struct text {
    const uint32_t *ids;
    int64_t tokens, windows;
};

/* Returns a window's length. The protocol huggingface cuts the last window at the end of the
 * text. */
static int64_t window_length(const struct run *r, const struct text *t, int64_t index)
{
    int64_t left = t->tokens - index * r->w->stride;
    return left < r->context ? left : r->context;
}

/* Measures n windows from number `first` on in one batch. */
static int run_windows(struct run *r, const struct text *t, int64_t first, int64_t n,
                       struct fail *why)
{
    const uint32_t *ids = t->ids + first * r->w->stride;
    r->b.rows = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t row = r->b.rows;
        batch_add_window(&r->b, ids + i * r->w->stride, window_length(r, t, first + i));
        if (r->w->puts_bos) r->b.id[row] = (int32_t)r->p->bos;
    }
    if (losses(r, why)) return -1;
    if (!r->w->short_context) {
        for (int64_t i = 0; i < n; i++)
            add_window(r->w, first + i, r->nll + i * r->context, NULL,
                       window_length(r, t, first + i), &r->sums);
        return 0;
    }
    memcpy(r->full, r->nll, (size_t)r->context * sizeof *r->full);
    if (mark_judged(r, ids, why)) return -1;
    add_window(r->w, first, r->full, r->counts, r->context, &r->sums);
    return 0;
}

/* Measures all windows of one text. `done` is the number of windows in earlier texts. */
static int run_text(struct run *r, const struct text *t, int64_t done, struct fail *why)
{
    /* A window of longppl has a batch to itself, because its short windows then use the same
     * buffers. */
    int64_t windows_per_batch = r->w->short_context ? 1 : r->rows / r->context;
    for (int64_t first = 0; first < t->windows; first += windows_per_batch) {
        int64_t n = t->windows - first < windows_per_batch ? t->windows - first : windows_per_batch;
        if (run_windows(r, t, first, n, why)) return -1;
        progress_at((double)(done + first + n));
    }
    return 0;
}

static struct text text_of(const struct run *r, const struct texts *t, int64_t i)
{
    struct text text = { .ids = t->ids + (t->ends[i] - length_of(t, i)),
                         .tokens = counted(r->p, length_of(t, i)) };
    text.windows = windows_in(r->w, text.tokens);
    return text;
}

int protocol_run(const struct protocol *p, struct model *m, const struct texts *t, int64_t context,
                 struct score *score, struct fail *why)
{
    struct windows w;
    struct run r = { .p = p, .w = &w, .m = m, .context = context, .rows = protocol_rows(context) };
    *score = (struct score){ .context = context };
    if (plan(p, context, &w, why)) return -1;
    int status = run_open(&r, why);
    struct progress shown = { .unit = "windows" };
    for (int64_t i = 0; i < t->count; i++)
        shown.total += (double)text_of(&r, t, i).windows;
    progress_begin(&shown);
    for (int64_t i = 0; i < t->count && !status; i++) {
        struct text text = text_of(&r, t, i);
        status = run_text(&r, &text, score->windows, why);
        score->windows += text.windows;
        score->texts += text.windows > 0;
    }
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
