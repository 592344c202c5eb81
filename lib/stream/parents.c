#include "lib/stream/parents.h"

static int read_one(struct parent *p, const msgpack_object *o, struct fail *why)
{
    if (o->type != MSGPACK_OBJECT_MAP) return fail_input(why, "a parent is not a map");
    if (map_get_text(o, "kind", p->kind, sizeof p->kind, why)) return -1;
    return map_get_text(o, "digest", p->digest, sizeof p->digest, why);
}

int parents_read(struct parents *p, const msgpack_object *list, struct fail *why)
{
    p->count = 0;
    if (!list) return 0;
    if (list->type != MSGPACK_OBJECT_ARRAY || list->via.array.size > STREAM_PARENTS_MAX)
        return fail_input(why, "'parents' is not a list of at most %d", STREAM_PARENTS_MAX);
    for (uint32_t i = 0; i < list->via.array.size; i++)
        if (read_one(&p->at[i], &list->via.array.ptr[i], why)) return -1;
    p->count = list->via.array.size;
    return 0;
}

const char *parents_find(const struct parents *p, const char *kind)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (!strcmp(p->at[i].kind, kind)) return p->at[i].digest;
    return NULL;
}
