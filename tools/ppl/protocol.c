#include "protocol.h"

#include "../../lib/common/progress.h"

#include <math.h>

enum { BATCH_ROWS = 4096 };

/* What a prediction of longppl has to gain from the long context, and to end below. */
static const float least_gain = 2, most_loss = 2;

/* Windows of one context: start of each, and the first row whose prediction counts. */
struct windows {
    int64_t stride, score_from;
    int64_t short_context, short_stride; /* 0: every prediction counts */
    bool new_only, puts_bos, drops_last;
};

const char *protocol_definition(const char *name)
{
    static const char *const definitions[] = {
        "longqlora: windows of L at range(0, N-L, L) less its last; all L-1 predictions; mean of "
        "window means",
        "longlora: windows of L at range(0, N-L, 256) less its last; all L-1 predictions; mean of "
        "window means",
        "sliding: windows of L every stride; predictions not scored before; mean over tokens",
        "llamacpp: windows of L side by side, BOS first; second half; mean over tokens",
        "longppl: windows of L side by side; predictions whose loss is below 2 and more than 2 "
        "lower than with the short context (windows of it every stride, by default a quarter of "
        "it, each for what the one before has not seen); mean over tokens",
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

/* The windows but for their number, which a text's length gives. */
static int plan(const struct protocol *p, int64_t context, struct windows *w, struct fail *why)
{
    *w = (struct windows){ .stride = p->stride ? p->stride : context };
    if (!strcmp(p->name, "longlora")) w->stride = p->stride ? p->stride : 256;
    if (!strcmp(p->name, "sliding")) {
        w->stride = p->stride ? p->stride : (context + 1) / 2;
        w->new_only = true;
        if (w->stride > context)
            return fail_usage(why, "a stride of %lld leaves gaps between windows of %lld",
                              (long long)w->stride, (long long)context);
    }
    if (!strcmp(p->name, "longppl")) {
        if (context <= p->short_context)
            return fail_usage(why, "a context of %lld is no longer than the short one of %lld",
                              (long long)context, (long long)p->short_context);
        w->stride = context;
        w->short_context = p->short_context;
        w->short_stride = p->stride ? p->stride : (p->short_context + 3) / 4;
        if (w->short_stride >= w->short_context)
            return fail_usage(why, "a stride of %lld leaves gaps between windows of %lld",
                              (long long)w->short_stride, (long long)w->short_context);
    }
    if (!strcmp(p->name, "llamacpp")) {
        w->stride = context;
        w->puts_bos = true;
        w->score_from = context / 2;
    }
    w->drops_last = !w->new_only && !w->puts_bos && !w->short_context;
    return 0;
}

/* In a text of so many tokens. */
static int64_t windows_in(const struct windows *w, const struct protocol *p, int64_t context,
                          int64_t tokens)
{
    if (p->max_tokens && tokens > p->max_tokens) tokens = p->max_tokens;
    if (tokens < context) return 0;
    if (!w->drops_last) return (tokens - context) / w->stride + 1;
    int64_t starts = (tokens - context + w->stride - 1) / w->stride;
    return starts > 1 ? starts - 1 : 0;
}

static int64_t length_of(const struct texts *t, int64_t i)
{
    return t->ends[i] - (i ? t->ends[i - 1] : 0);
}

int protocol_check(const struct protocol *p, const struct texts *t, int64_t context,
                   struct fail *why)
{
    struct windows w;
    int64_t longest = 0;
    if (plan(p, context, &w, why)) return -1;
    for (int64_t i = 0; i < t->count; i++) {
        if (windows_in(&w, p, context, length_of(t, i))) return 0;
        if (length_of(t, i) > longest) longest = length_of(t, i);
    }
    int64_t needed = w.drops_last ? context + w.stride + 1 : context;
    if (p->max_tokens && longest > p->max_tokens) longest = p->max_tokens;
    return fail_input(why, "context %lld: %lld tokens are too few, %s wants %lld%s",
                      (long long)context, (long long)longest, p->name, (long long)needed,
                      t->count > 1 ? " of a document" : "");
}

/* Over windows: of their sums and of the numbers of predictions in them. */
struct sums {
    double nll, squares, products, counts;
    int64_t scored, windows;                  /* windows: with a prediction that counts */
    struct position positions[POSITIONS_MAX]; /* nll: sums */
};

static void add_prediction(struct sums *s, int64_t seen, double nll)
{
    int i = 0;
    while (seen >> (i + 1))
        i++;
    s->positions[i].scored++;
    s->positions[i].nll += nll;
}

static void add_window(const struct windows *w, int64_t index, const float *nll, const bool *counts,
                       int64_t context, struct sums *s)
{
    int64_t from = w->score_from, scored = 0;
    if (w->new_only && index) from = context - w->stride - 1;
    double sum = 0;
    for (int64_t t = from; t + 1 < context; t++) {
        if (counts && !counts[t]) continue;
        sum += (double)nll[t];
        scored++;
        add_prediction(s, t + 1, (double)nll[t]);
    }
    double n = (double)scored;
    s->nll += sum;
    s->squares += sum * sum;
    s->products += sum * n;
    s->counts += n * n;
    s->scored += scored;
    s->windows += scored > 0;
}

/* The mean of all predictions; its standard error by the windows' residuals, sum − mean · count,
 * which for equal counts is that of the windows' means. Of windows that share no prediction twice:
 * mean of means. */
static void finish(const struct sums *s, struct score *score)
{
    double scored = (double)s->scored, windows = (double)s->windows, mean = s->nll / scored;
    double residuals = s->squares - 2 * mean * s->products + mean * mean * s->counts;
    double variance = fmax(residuals, 0) * windows / (windows - 1) / (scored * scored);
    score->scored = s->scored;
    score->nll = mean;
    score->perplexity = exp(mean);
    score->stderr_ = windows > 1 ? sqrt(variance) : NAN;
    for (int i = 0; i < POSITIONS_MAX; i++) {
        struct position p = s->positions[i];
        if (!p.scored) continue;
        score->positions[i] = (struct position){ p.scored, p.nll / (double)p.scored };
        score->position_count = i + 1;
    }
}

/* A run over one context: the model, its batch, and losses by row. */
struct run {
    const struct protocol *p;
    const struct windows *w;
    struct model *m;
    struct batch b;
    int64_t context, rows;
    float *nll;
    float *full;  /* longppl: [L] of a window */
    bool *counts; /* longppl: [L] */
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

/* The next short window that scores predictions from `from` on: it ends where the window does, or a
 * stride further. Its start; *end: of its rows. */
static int64_t short_window(const struct run *r, int64_t from, int64_t *end)
{
    *end = from + 1 + r->w->short_stride < r->context ? from + 1 + r->w->short_stride : r->context;
    return *end - r->w->short_context;
}

/* Which predictions of a window, whose losses are r->full, need what lies before the short context.
 * Row t predicts token t + 1; the first short context is the long one. */
static int judge(struct run *r, const uint32_t *ids, struct fail *why)
{
    int64_t each = r->rows / r->w->short_context, end = 0;
    memset(r->counts, 0, (size_t)r->context * sizeof *r->counts);
    for (int64_t from = r->w->short_context - 1; from + 1 < r->context;) {
        int64_t first = from, windows = 0;
        r->b.rows = 0;
        for (; windows < each && from + 1 < r->context; windows++, from = end - 1)
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

/* n windows from number `first` on, in one batch. */
static int run_windows(struct run *r, const uint32_t *ids, int64_t first, int64_t n,
                       struct fail *why)
{
    r->b.rows = 0;
    for (int64_t i = 0; i < n; i++) {
        batch_add_window(&r->b, ids + (first + i) * r->w->stride, r->context);
        if (r->w->puts_bos) r->b.id[r->b.rows - r->context] = (int32_t)r->p->bos;
    }
    if (losses(r, why)) return -1;
    if (!r->w->short_context) {
        for (int64_t i = 0; i < n; i++)
            add_window(r->w, first + i, r->nll + i * r->context, NULL, r->context, &r->sums);
        return 0;
    }
    memcpy(r->full, r->nll, (size_t)r->context * sizeof *r->full);
    if (judge(r, ids + first * r->w->stride, why)) return -1;
    add_window(r->w, first, r->full, r->counts, r->context, &r->sums);
    return 0;
}

/* All windows of one text; done: windows of those before it. */
static int run_text(struct run *r, const uint32_t *ids, int64_t windows, int64_t done,
                    struct fail *why)
{
    /* A window of longppl is followed by its short ones in the same batch's room. */
    int64_t each = r->w->short_context ? 1 : r->rows / r->context;
    for (int64_t first = 0; first < windows; first += each) {
        int64_t n = windows - first < each ? windows - first : each;
        if (run_windows(r, ids, first, n, why)) return -1;
        progress_at((double)(done + first + n));
    }
    return 0;
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
        shown.total += (double)windows_in(&w, p, context, length_of(t, i));
    progress_begin(&shown);
    for (int64_t i = 0; i < t->count && !status; i++) {
        int64_t windows = windows_in(&w, p, context, length_of(t, i));
        const uint32_t *ids = t->ids + (t->ends[i] - length_of(t, i));
        status = run_text(&r, ids, windows, score->windows, why);
        score->windows += windows;
        score->texts += windows > 0;
    }
    progress_end();
    if (!status && !r.sums.scored)
        status = fail_input(why, "context %lld: no prediction gains from it what longppl asks for",
                            (long long)context);
    if (!status) finish(&r.sums, score);
    if (!status && !isfinite(score->nll))
        status = fail(why, "context %lld: mean loss is %f", (long long)context, score->nll);
    run_close(&r);
    return status;
}
