#include "lib/stream/targets.h"

struct target_walk target_walk_begin(const struct sample *s, bool masks_documents)
{
    return (struct target_walk){ .s = s,
                                 .masks_documents = masks_documents,
                                 .document_end = s->documents[0] };
}

bool target_walk_to(struct target_walk *w, int64_t t)
{
    const struct sample *s = w->s;
    while (t >= w->document_end) {
        w->document_start = w->document_end;
        w->document_end += s->documents[++w->document];
    }
    if (t == 0 || (w->masks_documents && t == w->document_start)) return false;
    if (!s->has_targets) return true;
    while (w->range < s->target_count && t >= (int64_t)s->targets[2 * w->range + 1])
        w->range++;
    return w->range < s->target_count && t >= (int64_t)s->targets[2 * w->range];
}

bool sample_has_target(const struct sample *s, bool masks_documents)
{
    struct target_walk w = target_walk_begin(s, masks_documents);
    for (size_t t = 0; t < s->count; t++)
        if (target_walk_to(&w, (int64_t)t)) return true;
    return false;
}

bool sample_info_masks_documents(const struct sample_info *info)
{
    return !strcmp(info->strategy, "best-fit");
}
