#include "tools/pack/job.h"

/* The options of a draw by their keys in headers. */
static const struct {
    const char *key, *option;
} names[] = { { "min_tokens", "--min-tokens" },  { "max_tokens", "--max-tokens" },
              { "samples", "--samples" },        { "quota", "--quota" },
              { "upsample_from", "--upsample" }, { "upsample", "--upsample" } };

static int refuse(const msgpack_object *drawn, const char *key, struct fail *why)
{
    const char *option = "another option";
    const msgpack_object *value = map_find(drawn, key);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i].key, key)) option = names[i].option;
    if (value && value->type == MSGPACK_OBJECT_POSITIVE_INTEGER && strncmp(key, "upsample", 8) != 0)
        return fail_usage(why,
                          "its documents were drawn with %s %llu: give the options of the draw",
                          option, (unsigned long long)value->via.u64);
    return fail_usage(why, "its documents were drawn with%s %s: give the options of the draw",
                      value ? " another" : "out", option);
}

int job_check_drawn(const struct job *j, const msgpack_object *header, struct fail *why)
{
    const msgpack_object *options = map_find(header, "options");
    const msgpack_object *part = options ? map_find(options, "drawn") : NULL;
    const msgpack_object *drawn = part ? map_find(part, "options") : NULL;
    uint64_t seed;
    if (!drawn || map_check_keys(drawn, why))
        return fail_input(why, "header: options: drawn: no map of 'options'");
    if (map_get_count(part, "seed", UINT64_MAX, &seed, why)) return -1;
    if (seed != j->draw.seed)
        return fail_usage(why,
                          "its documents were drawn with --seed %llu: give the options of the draw",
                          (unsigned long long)seed);
    char key[40];
    struct msgpack_map own, theirs;
    msgpack_map_init(&own);
    msgpack_map_init(&theirs);
    job_put_options(j, &own);
    msgpack_map_copy(&theirs, drawn);
    int status = msgpack_map_compare(&theirs, &own, key, sizeof key, why);
    msgpack_map_release(&own);
    msgpack_map_release(&theirs);
    return status > 0 ? refuse(drawn, key, why) : status;
}
