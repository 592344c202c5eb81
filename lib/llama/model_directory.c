#include "lib/llama/model_directory.h"

#include "lib/common/file_guard.h"
#include "lib/common/mapped.h"
#include "lib/common/output.h"
#include "lib/llama/model_max_length.h"
#include "lib/llama/provenance.h"

/* ---- names of files ---- */

/* Returns the place after one or more digits; NULL if there is no digit. */
static const char *skip_digits(const char *s)
{
    size_t length = s ? strspn(s, "0123456789") : 0;
    return length ? s + length : NULL;
}

static const char *skip_text(const char *s, const char *text)
{
    size_t length = strlen(text);
    return s && !strncmp(s, text, length) ? s + length : NULL;
}

/* Is it a name like model-00001-of-00002.safetensors? Signal handlers call this. */
static bool is_shard(const char *name)
{
    const char *at = skip_text(skip_digits(skip_text(name, "model-")), "-of-");
    at = skip_text(skip_digits(at), ".safetensors");
    return at && !*at;
}

bool model_directory_holds(const char *name)
{
    static const char *const fixed_names[] = { "config.json", "model.safetensors",
                                               "model.safetensors.index.json" };
    for (size_t i = 0; i < sizeof fixed_names / sizeof *fixed_names; i++)
        if (!strcmp(name, fixed_names[i])) return true;
    return is_shard(name) || companion_is(name);
}

/* ---- what exists at the target ---- */

const struct folder_kind model_directory_kind = { "a model", model_directory_holds,
                                                  provenance_check };

int model_directory_declare(const char *option, const char *path, struct fail *why)
{
    return file_guard_output_folder(option, path, model_directory_holds, why) ||
                   folder_check(path, &model_directory_kind, why)
               ? -1
               : 0;
}

/* ---- writing ---- */

struct tensor_header model_directory_header(const struct tensor *t, enum dtype dtype)
{
    return (struct tensor_header){ .name = t->name,
                                   .dtype = dtype,
                                   .dims = tensor_is_vector(t) ? 1 : 2,
                                   .shape = { t->rows, t->cols } };
}

struct tensor_header *model_directory_headers(const struct tensor *table, int64_t count,
                                              const enum dtype *dtypes)
{
    struct tensor_header *headers = calloc((size_t)count + 1, sizeof *headers);
    for (int64_t i = 0; headers && i < count; i++)
        headers[i] = model_directory_header(&table[i], dtypes ? dtypes[i] : DTYPE_F32);
    return headers;
}

/* Returns an upper bound for the size of all files: tensors, headers, index, companions and
 * config.json. */
static uint64_t all_bytes(const struct model_directory_job *job)
{
    enum { ENTRY_BYTES = 512, CONFIG = 1 << 16 };
    uint64_t sum = companions_bytes(job->companions) + CONFIG;
    for (int64_t i = 0; i < job->count; i++)
        sum += tensor_header_bytes(&job->headers[i]) + ENTRY_BYTES;
    return sum;
}

/* Returns the end of the shard whose first tensor is `first`. */
static int64_t shard_end(const struct model_directory_job *job, int64_t first)
{
    uint64_t bytes = 0;
    int64_t i = first;
    while (i < job->count &&
           (i == first || bytes + tensor_header_bytes(&job->headers[i]) <= job->max_shard_bytes))
        bytes += tensor_header_bytes(&job->headers[i++]);
    return i;
}

/* Writes a shard, and adds its digest to `made`. */
static int write_shard(const char *directory, const char *name,
                       const struct model_directory_job *job, int64_t first, int64_t end,
                       json_t *made, struct fail *why)
{
    char path[4096], digest[DIGEST_TEXT];
    struct safetensors_writer *w;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (safetensors_create(&w, path, job->headers + first, (size_t)(end - first), why)) return -1;
    for (int64_t i = first; i < end; i++)
        if (job->produce(job->arg, i, w, why)) {
            safetensors_abandon(w);
            return -1;
        }
    safetensors_digest(w, digest);
    if (safetensors_finish(w, why)) return -1;
    return json_object_set_new(made, name, json_string(digest)) ? fail(why, "out of memory") : 0;
}

static int write_shards(const char *directory, const struct model_directory_job *job, json_t *made,
                        struct fail *why)
{
    char path[4096], name[64];
    int64_t shards = 0;
    uint64_t total = 0;
    for (int64_t i = 0; i < job->count; i = shard_end(job, i))
        shards++;
    if (shards == 1)
        return write_shard(directory, "model.safetensors", job, 0, job->count, made, why);
    json_t *map = json_object();
    int status = 0;
    for (int64_t i = 0, n = 1; i < job->count && !status; n++) {
        int64_t end = shard_end(job, i);
        snprintf(name, sizeof name, "model-%05lld-of-%05lld.safetensors", (long long)n,
                 (long long)shards);
        status = write_shard(directory, name, job, i, end, made, why);
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

const char *model_directory_torch_dtype(enum dtype dtype)
{
    return dtype == DTYPE_F16 ? "float16" : dtype == DTYPE_BF16 ? "bfloat16" : "float32";
}

static json_t *config_of(const struct model_directory_job *job)
{
    json_t *config = config_to_json(job->config, job->new_style_rope);
    if (!config) return NULL;
    if (job->whole_positions) config_put_whole_positions(job->config, config);
    json_object_set_new(config, "torch_dtype",
                        json_string(model_directory_torch_dtype(job->dtype)));
    if (job->quantization)
        json_object_set(config, "quantization_config", (json_t *)job->quantization);
    return config;
}

static int write_files(const char *path, const struct model_directory_job *job, json_t *made,
                       struct fail *why)
{
    char file[4096];
    if (output_directory(path, why) || write_shards(path, job, made, why) ||
        companions_write(job->companions, path, why))
        return -1;
    if (!rope_equal(&job->config->rope, &job->config->stored_rope) &&
        model_max_length_raise(path, config_context(job->config), why))
        return -1;
    json_t *config = config_of(job);
    int status = config ? 0 : fail(why, "%s: out of memory", path);
    if (!status && job->made_by) status = provenance_add(config, job->made_by, made, path, why);
    snprintf(file, sizeof file, "%s/config.json", path);
    if (!status) status = json_write_file(config, file, why);
    json_decref(config);
    return status;
}

int model_directory_write(const char *path, const struct model_directory_job *job, struct fail *why)
{
    json_t *made = json_object();
    int status = made ? write_files(path, job, made, why) : fail(why, "%s: out of memory", path);
    json_decref(made);
    return status;
}

int model_directory_make(const char *path, const struct model_directory_job *job, struct fail *why)
{
    struct folder f;
    if (folder_open(&f, path, &model_directory_kind, why)) return -1;
    if (output_check_space(f.temporary, all_bytes(job), why) ||
        model_directory_write(f.temporary, job, why) || mapped_check(why)) {
        fail_rename(why, f.temporary, path);
        folder_abandon(&f);
        return -1;
    }
    return folder_close(&f, why);
}
