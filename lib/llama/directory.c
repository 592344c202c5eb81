#include "directory.h"

#include "../common/output.h"

#include <unistd.h>

static const char *const copied[] = { "tokenizer.model",
                                      "tokenizer.json",
                                      "tokenizer_config.json",
                                      "special_tokens_map.json",
                                      "added_tokens.json",
                                      "generation_config.json",
                                      "LICENSE",
                                      "LICENSE.txt",
                                      "USE_POLICY.md",
                                      "NOTICE" };

int directory_copy_files(const char *from, const char *to, struct fail *why)
{
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        char source[4096], target[4096];
        snprintf(source, sizeof source, "%s/%s", from, copied[i]);
        snprintf(target, sizeof target, "%s/%s", to, copied[i]);
        if (!access(source, F_OK) && output_copy(source, target, why)) return -1;
    }
    return 0;
}

static uint64_t tensor_bytes(const struct directory_job *job, int64_t i)
{
    return (uint64_t)(job->table[i].rows * job->table[i].cols) * dtype_size(job->dtypes[i]);
}

/* The end of the shard that begins at `first`. */
static int64_t shard_end(const struct directory_job *job, int64_t first)
{
    uint64_t bytes = 0;
    int64_t i = first;
    while (i < job->count && (i == first || bytes + tensor_bytes(job, i) <= job->max_shard_bytes))
        bytes += tensor_bytes(job, i++);
    return i;
}

static int write_shard(const char *path, const struct directory_job *job, int64_t first,
                       int64_t end, struct fail *why)
{
    struct tensor_header *headers = calloc((size_t)(end - first), sizeof *headers);
    if (!headers) return fail(why, "out of memory");
    for (int64_t i = first; i < end; i++)
        headers[i - first] = (struct tensor_header){ job->table[i].name,
                                                     job->dtypes[i],
                                                     job->table[i].role == ROLE_NORM ? 1 : 2,
                                                     { job->table[i].rows, job->table[i].cols } };
    struct safetensors_writer *w;
    int status = safetensors_create(&w, path, headers, (size_t)(end - first), why);
    free(headers);
    if (status) return -1;
    for (int64_t i = first; i < end; i++)
        if (job->produce(job->arg, i, w, why)) {
            safetensors_abandon(w);
            return -1;
        }
    return safetensors_finish(w, why);
}

static int write_shards(const char *directory, const struct directory_job *job, struct fail *why)
{
    char path[4096], name[64];
    int64_t shards = 0;
    uint64_t total = 0;
    for (int64_t i = 0; i < job->count; i = shard_end(job, i))
        shards++;
    if (shards == 1) {
        snprintf(path, sizeof path, "%s/model.safetensors", directory);
        return write_shard(path, job, 0, job->count, why);
    }
    json_t *map = json_object();
    int status = 0;
    for (int64_t i = 0, n = 1; i < job->count && !status; n++) {
        int64_t end = shard_end(job, i);
        snprintf(name, sizeof name, "model-%05lld-of-%05lld.safetensors", (long long)n,
                 (long long)shards);
        snprintf(path, sizeof path, "%s/%s", directory, name);
        status = write_shard(path, job, i, end, why);
        for (; i < end; i++) {
            json_object_set_new(map, job->table[i].name, json_string(name));
            total += tensor_bytes(job, i);
        }
    }
    json_t *index =
        json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", directory);
    if (!status) status = json_write_file(index, path, why);
    json_decref(index);
    return status;
}

/* transformers reads the dtype to load in from config.json. */
static const char *torch_dtype(enum dtype dtype)
{
    return dtype == DTYPE_F16 ? "float16" : dtype == DTYPE_BF16 ? "bfloat16" : "float32";
}

int directory_write(const char *path, const struct directory_job *job, struct fail *why)
{
    char file[4096];
    if (output_directory(path, why) || write_shards(path, job, why)) return -1;
    if (job->copy_from && directory_copy_files(job->copy_from, path, why)) return -1;
    json_t *config = config_to_json(job->config, job->new_style_rope);
    if (!config) return fail(why, "%s: out of memory", path);
    json_object_set_new(config, "torch_dtype", json_string(torch_dtype(job->dtypes[0])));
    snprintf(file, sizeof file, "%s/config.json", path);
    int status = json_write_file(config, file, why);
    json_decref(config);
    return status;
}
