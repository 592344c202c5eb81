#include "model_files.h"

#include "../common/safetensors.h"
#include "../common/torch_file.h"

#include <unistd.h>

/* Ways to store a model, the preferred first. */
static const struct layout {
    const char *one, *index;
    int (*open)(struct tensor_file *file, const char *path, struct fail *why);
} layouts[] = {
    { "model.safetensors", "model.safetensors.index.json", safetensors_open },
    { "pytorch_model.bin", "pytorch_model.bin.index.json", torch_open },
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static bool exists(char path[4096], const char *directory, const char *name)
{
    snprintf(path, 4096, "%s/%s", directory, name);
    return !access(path, F_OK);
}

static int add_file(struct model_files *m, const struct layout *l, const char *path,
                    struct fail *why)
{
    struct tensor_file *grown = realloc(m->at, (m->count + 1) * sizeof *grown);
    if (!grown) return fail(why, "%s: out of memory", path);
    m->at = grown;
    if (l->open(&m->at[m->count], path, why)) return -1;
    m->count++;
    return 0;
}

/* The names of an index's shards, each once with its number, in *shards. */
static int list_shards(const json_t *map, json_t *shards, struct fail *why)
{
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)map, tensor, file)
    {
        const char *shard = json_string_value(file);
        if (!shard || strchr(shard, '/') || !strcmp(shard, "..") || !strcmp(shard, ".") || !*shard)
            return fail_input(why, "%s: not the name of a shard", tensor);
        size_t number = json_object_size(shards);
        if (json_object_get(shards, shard)) continue;
        if (number == MODEL_SHARDS_MAX)
            return fail_input(why, "more than %d shards", MODEL_SHARDS_MAX);
        if (json_object_set_new(shards, shard, json_integer((json_int_t)number)))
            return fail(why, "out of memory");
    }
    return 0;
}

/* Every tensor of the index must be in its shard, and in no other. */
static int check_places(const struct model_files *m, const json_t *map, const json_t *shards,
                        struct fail *why)
{
    const char *name;
    json_t *place;
    size_t stored = 0;
    json_object_foreach((json_t *)map, name, place)
    {
        const json_t *number = json_object_get(shards, json_string_value(place));
        size_t file = (size_t)json_integer_value(number);
        must(number && file < m->count);
        if (!tensor_file_find(&m->at[file], name))
            return fail_input(why, "%s is not in %s", name, json_string_value(place));
    }
    for (size_t i = 0; i < m->count; i++)
        stored += m->at[i].count;
    if (stored != json_object_size(map))
        return fail_input(why, "its shards hold %zu tensors, it lists %zu", stored,
                          json_object_size(map));
    return 0;
}

static int open_shards(struct model_files *m, const struct layout *l, const char *directory,
                       const char *index_path, struct fail *why)
{
    json_t *index = json_read_file(index_path, why);
    if (!index) return -1;
    json_t *shards = json_object();
    const json_t *map = json_object_get(index, "weight_map");
    const char *name;
    json_t *unused;
    int status = 0;
    if (!json_object_size(map))
        status = fail_input(why, "%s: no weight_map", index_path);
    else if (list_shards(map, shards, why))
        status = fail_in(why, index_path);
    json_object_foreach(shards, name, unused)
    {
        char path[4096];
        if (status) break;
        snprintf(path, sizeof path, "%s/%s", directory, name);
        status = add_file(m, l, path, why);
    }
    if (!status && check_places(m, map, shards, why)) status = fail_in(why, index_path);
    json_decref(shards);
    json_decref(index);
    return status;
}

int model_files_open(struct model_files *m, const char *directory, struct fail *why)
{
    char path[4096];
    *m = (struct model_files){ 0 };
    int status = 1;
    for (int i = 0; i < LAYOUTS && status == 1; i++)
        if (exists(path, directory, layouts[i].one))
            status = add_file(m, &layouts[i], path, why);
        else if (exists(path, directory, layouts[i].index))
            status = open_shards(m, &layouts[i], directory, path, why);
    if (status == 1)
        status = fail(why, "%s: no model.safetensors, no pytorch_model.bin, and no index of either",
                      directory);
    if (status) model_files_close(m);
    return status;
}

bool model_files_exist(const char *directory)
{
    char path[4096];
    for (int i = 0; i < LAYOUTS; i++)
        if (exists(path, directory, layouts[i].one) || exists(path, directory, layouts[i].index))
            return true;
    return false;
}

const struct stored_tensor *model_files_find(const struct model_files *m, const char *name)
{
    const struct stored_tensor *found = NULL;
    for (size_t i = 0; i < m->count && !found; i++)
        found = tensor_file_find(&m->at[i], name);
    return found;
}

uint64_t model_files_bytes(const struct model_files *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m->count; i++)
        sum += m->at[i].map_bytes;
    return sum;
}

void model_files_close(struct model_files *m)
{
    for (size_t i = 0; i < m->count; i++)
        tensor_file_close(&m->at[i]);
    free(m->at);
    *m = (struct model_files){ 0 };
}
