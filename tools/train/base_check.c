#include "tools/train/base_check.h"

#include "lib/cli/die.h"
#include "lib/common/mapped.h"
#include "lib/llama/base_digest.h"
#include "tools/train/sharing.h"

int base_check_begin(struct trainer *t, struct fail *why)
{
    const struct weights *w = &t->weights;
    if (mapped_check(why)) return -1;
    if (!w->is_mapped || !trainer_is_lora(t) || !model_kernels(t->model)->is_host) return 0;
    if (w->was_read)
        memcpy(t->mapped_base, w->base, sizeof t->mapped_base);
    else /* w->base is the digest that config.json gives for the base before it was quantized */
        base_digest(w, t->mapped_base);
    return 0;
}

void base_check_guard(const struct trainer *t, bool is_on)
{
    if (t->mapped_base[0]) mapped_survive(is_on);
}

static int fail_lost(struct trainer *t, const char *name, const char *what, struct fail *why)
{
    t->lost_base = true;
    return fail_input(why,
                      "%s: somebody shortened it during %s, or it can no longer be read: restore "
                      "its content, then resume_from_checkpoint=auto goes on",
                      name, what);
}

/* Does base_check on this rank. */
static int check_own(struct trainer *t, const char *what, struct fail *why)
{
    char name[4096], now[STREAM_DIGEST_TEXT];
    if (!t->mapped_base[0]) return 0;
    if (mapped_find_lost(name, sizeof name)) return fail_lost(t, name, what, why);
    if (!mapped_find_touched(name, sizeof name)) return 0;
    while (mapped_find_touched(name, sizeof name))
        ;
    base_digest(&t->weights, now);
    if (mapped_find_lost(name, sizeof name)) return fail_lost(t, name, what, why);
    if (!strcmp(now, t->mapped_base)) {
        note("%s: its time changed, but its content is the old one: %s is computed again", name,
             what);
        return BASE_AGAIN;
    }
    t->lost_base = true;
    return fail_input(why,
                      "%s: somebody changed it during %s: restore its content, then "
                      "resume_from_checkpoint=auto goes on",
                      name, what);
}

int base_check(struct trainer *t, const char *what, struct fail *why)
{
    int64_t ranks = sharing_count(t), own = ranks_place(t->ranks)->rank;
    int found = check_own(t, what, why);
    if (ranks == 1) return found;
    if (sharing_keep(t, found < 0 ? -1 : 0, true, why)) return -1;
    t->numbers[own] = found == BASE_AGAIN;
    if (sharing_numbers(t, t->numbers, 1, why)) return -1;
    if (sharing_stops(t)) return 1;
    for (int64_t r = 0; r < ranks; r++)
        if (t->numbers[r] > 0) return BASE_AGAIN;
    return 0;
}
