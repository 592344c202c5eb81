#include "tools/merge/run.h"

#include "lib/cli/die.h"
#include "lib/cli/progress.h"
#include "lib/common/file.h"
#include "lib/tokenizer/tokenizer.h"

#include <math.h>

static struct fail why;

static void print_result(const struct options *o, const struct companions *companions,
                         const struct merger *m)
{
    char tokenizer[4096];
    const char *lack = companions_lack(companions);
    if (!tokenizer_locate(o->output, tokenizer, sizeof tokenizer))
        warn("%s: no tokenizer in it: other programs will want one (--tokenizer DIR)%s%s",
             o->output, *lack ? "; " : "", lack);
    if (m->part_count) run_print_merged(o, m);
}

void run_print_merged(const struct options *o, const struct merger *m)
{
    if (!(m->change_squares > 0) && m->merged)
        warn("%s: every change is zero, the result is the base: an untrained adapter, or a weight "
             "of 0?",
             o->loaded.adapter);
    note("%lld linear layers merged, %lld tensors replaced, |change| / |weight| = %.4g",
         (long long)m->merged, (long long)m->replaced,
         m->squares > 0 ? sqrt(m->change_squares / m->squares) : 0);
}

void run_open_merger(struct merger *m, const struct options *o, const struct loaded *l,
                     const struct parts *parts, const struct result *r, bool keeps_heads)
{
    const struct merger_job job = { .base = &l->weights,
                                    .table = r->table,
                                    .count = r->count,
                                    .parts = parts->at,
                                    .part_count = parts->count,
                                    .dtypes = r->dtypes,
                                    .biases = r->biases,
                                    .checks_base = parts->checks_base,
                                    .threads = (int)opt_standard.threads,
                                    .keeps_heads = keeps_heads };
    or_die(merger_open(m, &job, &why), &why);
    m->base_path = file_shown(o->loaded.model);
}

void run_merge(const struct options *o, const struct loaded *l, const struct parts *parts,
               struct companions *companions)
{
    struct merger m;
    struct result r;
    const char *own = o->companions.tokenizer;
    if (own && !o->loaded.resize.tokenizer) note("tokenizer: the adapter's own, %s", own);
    or_die(result_list(&r, l, parts, o->dtype, &why), &why);
    run_open_merger(&m, o, l, parts, &r, false);
    struct model_directory_job job = { .config = &l->config,
                                       .headers = r.headers,
                                       .count = r.count + r.bias_count,
                                       .dtype = r.dtypes[0],
                                       .produce = merger_produce,
                                       .arg = &m,
                                       .companions = companions,
                                       .made_by = "merge",
                                       .max_shard_bytes = (uint64_t)o->max_shard_mb << 20,
                                       .new_style_rope = !strcmp(o->config_style, "new"),
                                       .whole_positions = !strcmp(o->max_positions, "whole") };
    struct progress p = { .unit = "tensors", .total = (double)r.count };
    progress_begin(&p);
    or_die(model_directory_make(o->output, &job, &why), &why);
    progress_end();
    print_result(o, companions, &m);
    merger_close(&m);
    result_release(&r);
}
