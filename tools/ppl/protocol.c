#include "protocol.h"

#include <math.h>

enum { BATCH_ROWS = 4096 };

/* Windows of one context: start of each, and the first row whose prediction counts. */
struct windows {
    int64_t count, stride, score_from;
    bool over_tokens, new_only, puts_bos;
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

static int plan(const struct protocol *p, int64_t count, int64_t context, struct windows *w,
                struct fail *why)
{
    if (p->max_tokens && count > p->max_tokens) count = p->max_tokens;
    *w = (struct windows){ .stride = p->stride ? p->stride : context };
    if (!strcmp(p->name, "longlora")) w->stride = p->stride ? p->stride : 256;
    if (!strcmp(p->name, "sliding")) {
        w->stride = p->stride ? p->stride : (context + 1) / 2;
        w->over_tokens = w->new_only = true;
        if (w->stride > context)
            return fail_usage(why, "a stride of %lld leaves gaps between windows of %lld",
                              (long long)w->stride, (long long)context);
    }
    bool is_llamacpp = !strcmp(p->name, "llamacpp");
    if (is_llamacpp) {
        w->stride = context;
        w->over_tokens = w->puts_bos = true;
        w->score_from = context / 2;
        w->count = count / context;
    } else if (w->new_only) {
        w->count = count < context ? 0 : (count - context) / w->stride + 1;
    } else {
        int64_t starts = count > context ? (count - context + w->stride - 1) / w->stride : 0;
        w->count = starts - 1;
    }
    if (w->count < 1)
        return fail_input(why, "%lld tokens are too few for a window of %lld", (long long)count,
                          (long long)context);
    return 0;
}

struct sums {
    double mean, mean_squares, nll;
    int64_t scored;
};

static void add_window(const struct windows *w, int64_t index, const float *nll, int64_t context,
                       struct sums *s)
{
    int64_t from = w->score_from;
    if (w->new_only && index) from = context - w->stride - 1;
    double sum = 0;
    for (int64_t t = from; t + 1 < context; t++)
        sum += (double)nll[t];
    int64_t scored = context - 1 - from;
    double mean = sum / (double)scored;
    s->nll += sum;
    s->scored += scored;
    s->mean += mean;
    s->mean_squares += mean * mean;
}

static void finish(const struct windows *w, const struct sums *s, struct score *score)
{
    double n = (double)w->count, mean = s->mean / n;
    double variance = w->count > 1 ? (s->mean_squares - n * mean * mean) / (n - 1) : 0;
    score->windows = w->count;
    score->scored = s->scored;
    score->nll = w->over_tokens ? s->nll / (double)s->scored : mean;
    score->perplexity = exp(score->nll);
    score->stderr_ = sqrt(variance > 0 ? variance / n : 0);
}

int protocol_run(const struct protocol *p, struct model *m, const uint32_t *ids, int64_t count,
                 int64_t context, struct score *score, void (*shown)(void *, int64_t, int64_t),
                 void *arg, struct fail *why)
{
    struct windows w;
    struct sums sums = { 0 };
    struct batch b;
    int64_t rows = protocol_rows(context), each = rows / context;
    *score = (struct score){ .context = context };
    if (plan(p, count, context, &w, why) || batch_init(&b, rows, why)) return -1;
    float *nll = malloc((size_t)rows * sizeof *nll);
    int status = nll ? 0 : fail(why, "out of memory");
    for (int64_t first = 0; first < w.count && !status; first += each) {
        int64_t n = w.count - first < each ? w.count - first : each;
        b.rows = 0;
        for (int64_t i = 0; i < n; i++) {
            batch_add_window(&b, ids + (first + i) * w.stride, context);
            if (w.puts_bos) b.id[b.rows - context] = (int32_t)p->bos;
        }
        model_forward(m, &b, (struct dropout){ 0 });
        status = model_loss(m, nll, 0, why);
        for (int64_t i = 0; i < n && !status; i++)
            add_window(&w, first + i, nll + i * context, context, &sums);
        if (!status) shown(arg, first + n, w.count);
    }
    if (!status) finish(&w, &sums, score);
    if (!status && !isfinite(score->nll))
        status = fail(why, "context %lld: mean loss is %f", (long long)context, score->nll);
    free(nll);
    batch_release(&b);
    return status;
}
