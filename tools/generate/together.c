#include "tools/generate/together.h"

#include "lib/cli/die.h"
#include "lib/common/digest.h"
#include "lib/common/mapped.h"
#include "tools/generate/needs.h"

#include <stdlib.h>

static struct fail why;

static bool are_several(const struct options *o) { return ranks_place(o->ranks)->count > 1; }

/* ---- what must be equal on all ranks ---- */

void together_on_options(const struct options *o)
{
    char segments[24], original[24];
    if (!are_several(o)) return;
    or_die(loaded_agree_on_device(o->ranks, o->device, &why), &why);
    snprintf(segments, sizeof segments, "%lld", (long long)o->segments);
    snprintf(original, sizeof original, "%lld", (long long)o->loaded.original_context);
    const struct ranks_text texts[] = {
        { "--context-segments", segments },
        { "--rope", o->loaded.rope },
        { "--original-context", original },
        { "--exact-cache", o->exact_cache ? "given" : "not given" },
        { "--dry-run", o->dry_run ? "given" : "not given" },
    };
    or_die(ranks_agree(o->ranks, texts, sizeof texts / sizeof *texts, &why), &why);
}

void together_on_model(const struct options *o, const struct loaded *l)
{
    if (!are_several(o)) return;
    const struct weights *w = &l->weights;
    char config[DIGEST_TEXT];
    or_die(loaded_config_digest(l, config, &why), &why);
    const struct ranks_text texts[] = {
        { "base", w->base },
        { "model", w->stream[0] ? w->stream : w->base },
        { "config.json", config },
        { "adapter", l->has_adapter ? l->adapter.digest : NULL },
    };
    or_die(ranks_agree(o->ranks, texts, sizeof texts / sizeof *texts, &why), &why);
}

/* ---- before the session ----
 * Rank 0 sends the session's context, or one of these. */
enum { NO_SESSION = 0, ASKS_FOR_LONGEST = -1 };

void together_tell(const struct options *o, int64_t context)
{
    if (are_several(o)) or_die(ranks_broadcast(o->ranks, &context, sizeof context, &why), &why);
}

/* Returns the least of the numbers that the ranks have. */
static int64_t least(const struct options *o, int64_t own)
{
    int64_t count = ranks_place(o->ranks)->count;
    int64_t *all = calloc((size_t)count, sizeof *all);
    if (!all) die(STATUS_FAILED, "out of memory");
    or_die(ranks_all_gather(o->ranks, all, &own, sizeof own, &why), &why);
    for (int64_t r = 0; r < count; r++)
        if (all[r] < own) own = all[r];
    free(all);
    return own;
}

int64_t together_shorten(const struct options *o, const struct loaded *l, int64_t context)
{
    together_tell(o, ASKS_FOR_LONGEST);
    return least(o, needs_shorten(o, l, context));
}

void together_barrier(const struct options *o) { or_die(ranks_barrier(o->ranks, &why), &why); }

/* ---- during the session ---- */

void together_end(const struct options *o, struct session *s)
{
    if (s->model)
        or_die(session_dismiss(s, &why), &why);
    else
        together_tell(o, NO_SESSION);
}

static void follow_session(const struct options *o, struct loaded *l, int64_t context)
{
    struct session s;
    struct model_setup setup = needs_set_up(o, context);
    needs_check(o, l, context);
    together_barrier(o);
    or_die(session_open(&s, l, &setup, &why), &why);
    model_forget_weights(s.model, &l->weights);
    or_die(mapped_check(&why), &why);
    or_die(session_follow(&s, &why), &why);
    session_close(&s);
}

void together_follow(const struct options *o, struct loaded *l)
{
    for (;;) {
        int64_t context;
        /* Rank 0 may wait long for a prompt. */
        or_die(ranks_await_broadcast(o->ranks, &context, sizeof context, &why), &why);
        if (context == NO_SESSION) return;
        if (context > 0) {
            follow_session(o, l, context);
            return;
        }
        (void)least(o, needs_shorten(o, l, needs_context(o, l)));
    }
}
