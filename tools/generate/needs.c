#include "tools/generate/needs.h"

#include "lib/cli/die.h"
#include "model/sample_ranks.h"
#include "model/session.h"
#include "tools/generate/talk.h"

static struct fail why;

struct model_setup needs_set_up(const struct options *o, int64_t context)
{
    struct model_setup setup = session_setup(context, o->device, o->threads);
    setup.exact_cache = o->exact_cache;
    setup.stop = talk_interrupted();
    session_share(&setup, o->ranks, o->parts, o->segments);
    return setup;
}

int64_t needs_context(const struct options *o, const struct loaded *l)
{
    return o->context ? o->context : config_context(&l->config);
}

/* Dies if the ranks cannot share the segments and the heads of a text evenly. */
static void check_ranks(const struct options *o, const struct loaded *l)
{
    const struct sample_ranks s = { o->parts, o->segments, l->config.kv_heads,
                                    "--context-segments" };
    if (sample_ranks_max(&s) == s.ranks) return;
    die_usage("%lld ranks share a text, so their number must divide --context-segments %lld and "
              "the model's %lld key/value heads",
              (long long)s.ranks, (long long)s.segments, (long long)s.kv_heads);
}

/* How much memory a session needs, and how much is free. */
struct needs {
    struct model_setup setup;
    const struct kernels *k;
    struct memory_plan plan;
    struct memory_limits limits;
};

static struct needs needs_of(const struct options *o, const struct loaded *l, int64_t context)
{
    check_ranks(o, l);
    struct needs n = { .setup = needs_set_up(o, context) };
    or_die(kernels_choose(&n.k, o->device, true, &why), &why);
    or_die(loaded_plan(l, &n.setup, &n.plan, &why), &why);
    n.limits = memory_limits_of(n.k, &l->weights);
    return n;
}

static int64_t longest(const struct needs *n, const struct loaded *l)
{
    int64_t context;
    or_die(session_longest(l, &n->setup, n->limits, &context, &why), &why);
    return context;
}

void needs_print(const struct options *o, const struct loaded *l, int64_t context)
{
    struct needs n = needs_of(o, l, context);
    printf("context              %16lld tokens\n", (long long)context);
    if (o->parts > 1) printf("one of %lld ranks\n", (long long)o->parts);
    char table[MEMORY_TABLE];
    memory_table(&n.plan, table);
    fputs(table, stdout);
    if (n.limits.device)
        printf("%-20s %16llu bytes\n", "free now", (unsigned long long)n.limits.device);
    if (!memory_fits(&n.plan, n.k, n.limits))
        printf("%-20s %16lld tokens\n", "longest that fits", (long long)longest(&n, l));
}

int64_t needs_shorten(const struct options *o, const struct loaded *l, int64_t context)
{
    struct needs n = needs_of(o, l, context);
    n.limits.device -= n.limits.device / 10;
    int64_t most = longest(&n, l);
    if (!most || most == context) return context;
    note("the memory allows a context of %lld, the positions would allow %lld", (long long)most,
         (long long)context);
    return most;
}

void needs_check(const struct options *o, const struct loaded *l, int64_t context)
{
    char text[240];
    bool fits;
    check_ranks(o, l);
    struct model_setup setup = needs_set_up(o, context);
    or_die(loaded_check_memory(l, &setup, &fits, text, sizeof text, &why), &why);
    if (!fits) {
        struct needs n = needs_of(o, l, context);
        int64_t fitting = longest(&n, l);
        if (fitting)
            die(STATUS_FAILED, "a context of %lld needs %s; the longest that fits is %lld",
                (long long)context, text, (long long)fitting);
        die(STATUS_FAILED, "a context of %lld needs %s; none fits%s", (long long)context, text,
            l->weights.is_quantized ? "" : "; it may fit with weights that quantize made smaller");
    }
    note("memory: %s", text);
}

static void check_outline(const struct options *o, const struct loaded *outline)
{
    struct needs n = needs_of(o, outline, 1);
    if (!o->dry_run && !memory_fits(&n.plan, n.k, n.limits)) needs_check(o, outline, 1);
}

int needs_check_outline(void *arg, const struct loaded *outline, struct fail *unused)
{
    (void)unused;
    check_outline(arg, outline);
    return 0;
}

void needs_check_early(const struct options *o)
{
    struct loaded l;
    struct loaded_options outline = o->loaded;
    outline.is_outline = true;
    if (!o->loaded.adapter || !weights_have_companions(o->loaded.model)) return;
    or_die(loaded_open(&l, &outline, &why), &why);
    check_outline(o, &l);
    loaded_close(&l);
}
