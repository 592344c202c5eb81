#include "directory.h"

#include "../common/folder.h"
#include "../common/output.h"

#include <unistd.h>

static const char *const copied[] = {
    "tokenizer.model",   "tokenizer.json",      "tokenizer_config.json",  "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "generation_config.json", "LICENSE",
    "LICENSE.txt",       "LICENSE.md",          "USE_POLICY.md",          "NOTICE"
};

const char *directory_companion(size_t i)
{
    return i < sizeof copied / sizeof *copied ? copied[i] : NULL;
}

static int copy_files(const char *from, const char *to, struct fail *why)
{
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        char source[4096], target[4096];
        snprintf(source, sizeof source, "%s/%s", from, copied[i]);
        snprintf(target, sizeof target, "%s/%s", to, copied[i]);
        if (!access(source, F_OK) && output_copy(source, target, why)) return -1;
    }
    return 0;
}

struct tensor_header directory_header(const struct tensor *t, enum dtype dtype)
{
    return (struct tensor_header){ .name = t->name,
                                   .dtype = dtype,
                                   .dims = t->role == ROLE_NORM ? 1 : 2,
                                   .shape = { t->rows, t->cols } };
}

struct tensor_header *directory_headers(const struct tensor *table, int64_t count,
                                        const enum dtype *dtypes)
{
    struct tensor_header *headers = calloc((size_t)count + 1, sizeof *headers);
    for (int64_t i = 0; headers && i < count; i++)
        headers[i] = directory_header(&table[i], dtypes ? dtypes[i] : DTYPE_F32);
    return headers;
}

uint64_t directory_bytes(const struct directory_job *job)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < job->count; i++)
        sum += tensor_header_bytes(&job->headers[i]);
    return sum;
}

/* The end of the shard that begins at `first`. */
static int64_t shard_end(const struct directory_job *job, int64_t first)
{
    uint64_t bytes = 0;
    int64_t i = first;
    while (i < job->count &&
           (i == first || bytes + tensor_header_bytes(&job->headers[i]) <= job->max_shard_bytes))
        bytes += tensor_header_bytes(&job->headers[i++]);
    return i;
}

static int write_shard(const char *path, const struct directory_job *job, int64_t first,
                       int64_t end, struct fail *why)
{
    struct safetensors_writer *w;
    if (safetensors_create(&w, path, job->headers + first, (size_t)(end - first), why)) return -1;
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
            json_object_set_new(map, job->headers[i].name, json_string(name));
            total += tensor_header_bytes(&job->headers[i]);
        }
    }
    json_t *index =
        json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", directory);
    if (!status) status = json_write_file(index, path, why);
    json_decref(index);
    return status;
}

const char *dtype_torch_name(enum dtype dtype)
{
    return dtype == DTYPE_F16 ? "float16" : dtype == DTYPE_BF16 ? "bfloat16" : "float32";
}

int directory_write(const char *path, const struct directory_job *job, struct fail *why)
{
    char file[4096];
    if (output_directory(path, why) || write_shards(path, job, why)) return -1;
    if (job->copy_from && copy_files(job->copy_from, path, why)) return -1;
    json_t *config = config_to_json(job->config, job->new_style_rope);
    if (!config) return fail(why, "%s: out of memory", path);
    json_object_set_new(config, "torch_dtype", json_string(dtype_torch_name(job->dtype)));
    if (job->quantization)
        json_object_set(config, "quantization_config", (json_t *)job->quantization);
    snprintf(file, sizeof file, "%s/config.json", path);
    int status = json_write_file(config, file, why);
    json_decref(config);
    return status;
}

int directory_make(const char *path, const struct directory_job *job, struct fail *why)
{
    enum { SMALL_FILES = 16 << 20 };
    struct folder f;
    if (folder_open(&f, path, "config.json", why)) return -1;
    if (output_room(f.temporary, directory_bytes(job) + SMALL_FILES, why) ||
        directory_write(f.temporary, job, why)) {
        folder_abandon(&f);
        return -1;
    }
    return folder_close(&f, why);
}
