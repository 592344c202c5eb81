#include "lib/stream/drawn_part.h"

/* Returns the map "drawn" of a header's options, or NULL. */
static const msgpack_object *find(const msgpack_object *header)
{
    const msgpack_object *options = map_find(header, "options");
    return options ? map_find(options, "drawn") : NULL;
}

static int read(struct drawn_part *p, const msgpack_object *map, struct fail *why)
{
    static const char *const known[] = {
        "draw", "whole", "shard", "shards", "seed", "options", NULL
    };
    if (map_check(map, known, why) || map_get_text(map, "draw", p->draw, sizeof p->draw, why) ||
        map_get_text(map, "whole", p->whole, sizeof p->whole, why) ||
        map_get_count(map, "shard", UINT32_MAX, &p->shard, why) ||
        map_get_count(map, "shards", UINT32_MAX, &p->shards, why) ||
        map_get_count(map, "seed", UINT64_MAX, &p->seed, why))
        return -1;
    if (p->shard && p->shard <= p->shards) return 0;
    return fail_input(why, "'shard' is %llu of %llu", (unsigned long long)p->shard,
                      (unsigned long long)p->shards);
}

/* Compares the next part with the one before it. */
static void compare(struct drawn_part *p, const struct drawn_part *next)
{
    unsigned long long shard = next->shard, due = p->shard + 1, shards = p->shards;
    if (strcmp(p->draw, next->draw) != 0 || p->shards != next->shards)
        snprintf(p->fault, sizeof p->fault,
                 "shard %llu is of another draw (%s) than the shards before it (%s): use the parts "
                 "of one draw",
                 shard, next->draw, p->draw);
    else if (due > shards)
        snprintf(p->fault, sizeof p->fault,
                 "shard %llu of %llu follows the last one: read each shard once", shard, shards);
    else if (shard != due)
        snprintf(p->fault, sizeof p->fault,
                 "shard %llu of %llu, but shard %llu was expected: read all of them once, in order",
                 shard, shards, due);
}

void drawn_part_add_header(struct drawn_part *p, const msgpack_object *header)
{
    static const struct drawn_part none;
    struct fail why;
    struct drawn_part next = none;
    const msgpack_object *map = find(header);
    bool is_first = !p->streams++;
    if (*p->fault || (!map && !p->is_drawn)) {
        return;
    } else if (map && read(&next, map, &why)) {
        snprintf(p->fault, sizeof p->fault, "header: options: drawn: %.150s", why.text);
    } else if (!map || (!is_first && !p->is_drawn)) {
        snprintf(p->fault, sizeof p->fault,
                 "stream %llu %s: parts of a draw and other tokens cannot be mixed",
                 (unsigned long long)p->streams,
                 map ? "is a part of a draw, but the streams before it are not"
                     : "is not a part of the draw");
    } else {
        next.streams = p->streams;
        next.is_drawn = true;
        if (is_first) {
            *p = (struct drawn_part){ .shards = next.shards };
            memcpy(p->draw, next.draw, sizeof p->draw);
        }
        compare(p, &next);
        memcpy(next.fault, p->fault, sizeof next.fault);
        digest_join(p->whole, next.whole);
        memcpy(next.whole, p->whole, sizeof next.whole);
        *p = next;
    }
}

int drawn_part_check(const struct drawn_part *p, bool at_end, struct fail *why)
{
    if (*p->fault) return fail_input(why, "%s", p->fault);
    if (!at_end || !p->is_drawn || p->shard == p->shards) return 0;
    return fail_input(why, "shard %llu of %llu is missing, after the last one that was read",
                      (unsigned long long)p->shard + 1, (unsigned long long)p->shards);
}
