#include "lib/llama/model_files.h"

#include "lib/common/buffer.h"
#include "lib/llama/model_place.h"
#include "lib/tensorfile/safetensors.h"
#include "lib/tensorfile/torch_file.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

/* The forms in which a model may be stored, the preferred one first. */
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
    if (buffer_extend(&m->at, m->count, why)) return fail_in(why, path);
    if (l->open(&m->at[m->count], path, why)) return -1;
    m->count++;
    return 0;
}

/* Collects the names of an index's shards as keys of *shards. The values number them. */
static int list_shards(const json_t *map, json_t *shards, struct fail *why)
{
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)map, tensor, file)
    {
        const char *shard = json_string_value(file);
        if (!shard || strchr(shard, '/') || !strcmp(shard, "..") || !strcmp(shard, ".") || !*shard)
            return fail_input(why, "the place of %s is not the name of a shard", tensor);
        size_t number = json_object_size(shards);
        if (json_object_get(shards, shard)) continue;
        if (number == MODEL_SHARDS_MAX)
            return fail_input(why, "it lists more than %d shards", MODEL_SHARDS_MAX);
        if (json_object_set_new(shards, shard, json_integer((json_int_t)number)))
            return fail(why, "out of memory");
    }
    return 0;
}

/* Fails, and names a tensor that a shard contains although the index does not list it there. */
static int name_unlisted(const struct model_files *m, const json_t *map, const json_t *shards,
                         struct fail *why)
{
    const char *shard;
    json_t *unused;
    size_t file = 0;
    json_object_foreach((json_t *)shards, shard, unused)
    {
        const struct tensor_file *f = &m->at[file++];
        for (size_t i = 0; i < f->count; i++) {
            const char *place = json_string_value(json_object_get(map, f->at[i].name));
            if (!place || strcmp(place, shard) != 0)
                return fail_input(
                    why, "%s holds %.100s, which the index %s%s: do they belong to the same model?",
                    shard, f->at[i].name, place ? "places in " : "does not list",
                    place ? place : "");
        }
    }
    return 0;
}

/* Fails unless each shard has exactly the tensors that the index places in it. */
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
            return fail_input(
                why,
                "%.100s must be in %s, which lacks it: does the index belong to another model?",
                name, json_string_value(place));
    }
    for (size_t i = 0; i < m->count; i++)
        stored += m->at[i].count;
    return stored == json_object_size(map) ? 0 : name_unlisted(m, map, shards, why);
}

/* Fails if shards of the index are missing; the message says how many, and names the first. */
static int check_present(const json_t *shards, const char *directory, struct fail *why)
{
    const char *name, *first = NULL;
    json_t *unused;
    size_t missing = 0;
    json_object_foreach((json_t *)shards, name, unused)
    {
        char path[4096];
        if (exists(path, directory, name)) continue;
        if (!missing++ || strcmp(name, first) < 0) first = name;
    }
    if (!missing) return 0;
    if (missing == 1) return fail(why, "it lists %s, which is not there: fetch it too", first);
    return fail(why, "it lists %s and %zu other shards of %zu, which are not there: fetch them too",
                first, missing - 1, json_object_size(shards));
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
        status = fail_input(why, "%s: it has no weight_map", index_path);
    else if (list_shards(map, shards, why) || check_present(shards, directory, why))
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

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length > tail && !strcmp(text + length - tail, end);
}

/* Is it the name of a shard, such as "model-00001-of-00002.safetensors"? */
static bool is_shard(const char *name, const struct layout *l)
{
    const char *dot = strrchr(l->one, '.');
    size_t stem = (size_t)(dot - l->one);
    return !strncmp(name, l->one, stem) && name[stem] == '-' && strstr(name, "-of-") &&
           ends_with(name, dot);
}

/* Fails for a directory without a usable model. The message says what the directory holds. */
static int name_content(const char *directory, struct fail *why)
{
    DIR *dir = opendir(directory);
    if (!dir) return fail(why, "%s: %s", directory, strerror(errno));
    char first[256] = "";
    const struct layout *of = NULL;
    size_t count = 0;
    for (struct dirent *e; (e = readdir(dir));)
        for (int i = 0; i < LAYOUTS; i++) {
            if (!is_shard(e->d_name, &layouts[i])) continue;
            if (!count++ || strcmp(e->d_name, first) < 0)
                snprintf(first, sizeof first, "%s", e->d_name);
            of = &layouts[i];
        }
    closedir(dir);
    if (!count) return model_place_name_weights(directory, why);
    return fail(why,
                "%s: it has %zu shard%s of a model (%s …), but no %s, which says which tensor is "
                "in which file: fetch it too",
                directory, count, count > 1 ? "s" : "", first, of->index);
}

static const struct stored_tensor *find_stored(const struct model_files *m, const char *name)
{
    const struct stored_tensor *found = NULL;
    for (size_t i = 0; i < m->count && !found; i++)
        found = tensor_file_find(&m->at[i], name);
    return found;
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
    if (status == 1) status = name_content(directory, why);
    m->is_headless =
        !status && find_stored(m, "norm.weight") && !find_stored(m, "model.norm.weight");
    if (status) model_files_close(m);
    return status;
}

/* Appends the names of the shards that an index lists. */
static int add_shards(json_t *names, const char *index_path, struct fail *why)
{
    json_t *index = json_read_file(index_path, why), *shards = json_object(), *unused;
    const char *name;
    int status = index && !list_shards(json_object_get(index, "weight_map"), shards, why) ? 0 : -1;
    json_object_foreach(shards, name, unused)
    {
        if (!status && json_array_append_new(names, json_string(name)))
            status = fail(why, "out of memory");
    }
    json_decref(shards);
    json_decref(index);
    return status;
}

json_t *model_files_names(const char *directory, struct fail *why)
{
    char path[4096];
    json_t *names = json_array();
    for (int i = 0; names && i < LAYOUTS; i++) {
        bool is_one = exists(path, directory, layouts[i].one);
        if (!is_one && !exists(path, directory, layouts[i].index)) continue;
        json_array_append_new(names, json_string(is_one ? layouts[i].one : layouts[i].index));
        if (is_one || !add_shards(names, path, why)) return names;
        json_decref(names);
        return NULL;
    }
    if (!names) (void)fail(why, "out of memory");
    return names;
}

bool model_files_exist(const char *directory)
{
    char path[4096];
    for (int i = 0; i < LAYOUTS; i++)
        if (exists(path, directory, layouts[i].one) || exists(path, directory, layouts[i].index))
            return true;
    return false;
}

static const char prefix[] = "model.";

const struct stored_tensor *model_files_find(const struct model_files *m, const char *name)
{
    bool has_prefix = !strncmp(name, prefix, sizeof prefix - 1);
    return find_stored(m, m->is_headless && has_prefix ? name + sizeof prefix - 1 : name);
}

const char *model_files_name(const struct model_files *m, const char *stored,
                             char buffer[TENSOR_NAME_MAX + 8])
{
    if (!m->is_headless || !strncmp(stored, "lm_head.", 8)) return stored;
    snprintf(buffer, TENSOR_NAME_MAX + 8, "%s%s", prefix, stored);
    return buffer;
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
