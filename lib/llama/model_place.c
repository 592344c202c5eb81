#include "lib/llama/model_place.h"

#include "lib/common/file.h"
#include "lib/common/hub_name.h"
#include "lib/common/wrong_kind.h"
#include "lib/llama/checkpoint_number.h"
#include "lib/llama/config.h"
#include "lib/tensorfile/gguf.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

/* Finds the first entry, in order of names, that matches the pattern. Returns false if none
 * does. */
static bool find_entry(const char *directory, const char *pattern, char name[256])
{
    DIR *dir = opendir(directory);
    *name = 0;
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.' && !fnmatch(pattern, e->d_name, 0) &&
            (!*name || strcmp(e->d_name, name) < 0))
            snprintf(name, 256, "%s", e->d_name);
    if (dir) closedir(dir);
    return *name != 0;
}

/* ---- folders ---- */

/* What a folder may hold instead of weights. The surest signs come first. */
static const struct {
    const char *pattern, *words, *way;
} holdings[] = {
    { "*.gguf", "llama.cpp's weights", "name that file itself" },
    { "consolidated.*.pth", "Meta's own format",
      "transformers' convert_llama_weights_to_hf.py makes a model of it, or fetch the one whose "
      "name ends in -hf" },
    { "consolidated*.safetensors", "Mistral's own format",
      "fetch the model's other files, model-….safetensors and their index" },
    { "params.json", "Meta's own format",
      "transformers' convert_llama_weights_to_hf.py makes a model of it, or fetch the one whose "
      "name ends in -hf" },
    { "*.incomplete", "a download that was not finished", "fetch it again" },
    { "*.part", "a download that was not finished", "fetch it again" },
    { "model.*.safetensors", "a variant of the weights", "call it model.safetensors" },
    { "pytorch_model.*.bin", "a variant of the weights", "call it pytorch_model.bin" },
    { "tf_model*.h5", "TensorFlow's weights",
      "transformers 4 reads them with from_tf=True and stores them with save_pretrained" },
    { "flax_model*.msgpack", "Flax's weights",
      "transformers 4 reads them with from_flax=True and stores them with save_pretrained" },
    { "*.onnx", "a graph of ONNX", "fetch the model from which it was made" },
    { "rust_model.ot", "weights of rust-bert", "fetch model.safetensors" },
    { "*.nemo", "NeMo's format", "NeMo's converter makes a transformers model of it" },
    { "__*_*.distcp", "a checkpoint of PyTorch's in parts", "save the whole model in Python" },
    { "zero_to_fp32.py", "a checkpoint of DeepSpeed's",
      "run that script, which makes the weights" },
    { "global_step*", "a checkpoint of DeepSpeed's",
      "run zero_to_fp32.py, which makes the weights" },
    { "model.safetensors*", "weights", "fetch the model's other files, too" },
    { "pytorch_model.bin*", "weights", "fetch the model's other files, too" },
    { "*.safetensors", "weights of another name", "call them model.safetensors" },
    { "*.bin", "a file of another name", "if it is the weights, call it pytorch_model.bin" },
    { "*.pt", "a file of another name", "if it is the weights, call it pytorch_model.bin" },
    { "*.pth", "a file of another name", "if it is the weights, call it pytorch_model.bin" },
    { "*.zip", "a zip", "unpack it there" },
    { "*.tar*", "a tar archive", "unpack it there" },
};

/* Finds a link to a missing file. A snapshot in the hub's cache has such links if its blobs were
 * not downloaded. */
static bool find_broken_link(const char *directory, char name[256])
{
    char path[4500];
    struct stat st;
    DIR *dir = opendir(directory);
    *name = 0;
    for (struct dirent *e; dir && !*name && (e = readdir(dir));) {
        snprintf(path, sizeof path, "%.4000s/%s", directory, e->d_name);
        if (!lstat(path, &st) && S_ISLNK(st.st_mode) && stat(path, &st))
            snprintf(name, 256, "%s", e->d_name);
    }
    if (dir) closedir(dir);
    return *name != 0;
}

/* Fills *why with a description of what the folder holds. Returns false if it recognises
 * nothing. */
static bool name_holding(const char *directory, const char *lack, struct fail *why)
{
    char name[256];
    if (find_broken_link(directory, name)) {
        (void)fail(why,
                   "%s: %s, but with links to files that are not there (%.80s): fetch it again",
                   directory, lack, name);
        return true;
    }
    for (size_t i = 0; i < sizeof holdings / sizeof *holdings; i++) {
        if (!find_entry(directory, holdings[i].pattern, name)) continue;
        (void)fail(why, "%s: %s, but %s (%.80s): %s", directory, lack, holdings[i].words, name,
                   holdings[i].way);
        return true;
    }
    return false;
}

int model_place_name_weights(const char *directory, struct fail *why)
{
    static const char lack[] = "no model.safetensors, no pytorch_model.bin, and no index of either";
    if (name_holding(directory, lack, why)) return -1;
    return fail(why, "%s: %s: fetch the model's weights, too", directory, lack);
}

/* Finds the only folder in the directory that has a config.json. */
static bool find_inner(const char *directory, char name[256])
{
    char file[4500];
    DIR *dir = opendir(directory);
    int found = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        snprintf(file, sizeof file, "%.4000s/%s/config.json", directory, e->d_name);
        if (e->d_name[0] == '.' || access(file, F_OK)) continue;
        snprintf(name, 256, "%s", e->d_name);
        found++;
    }
    if (dir) closedir(dir);
    return found == 1;
}

/* Fails if the folder has a checkpoint of a run that trains a whole model. */
static int check_is_finished(const char *path, struct fail *why)
{
    char folder[CHECKPOINT_NAME];
    if (!checkpoint_newest_with(path, "config.json", folder)) return 0;
    return fail_input(why,
                      "%.180s: no model yet: the run there is not finished: resume it, or name its "
                      "newest checkpoint, %.180s/%s",
                      path, path, folder);
}

static int check_directory(const char *path, struct fail *why)
{
    static const char lack[] = "no config.json in it";
    char inner[4096], name[256];
    snprintf(inner, sizeof inner, "%.4000s/config.json", path);
    if (!access(inner, F_OK)) return config_refuse_both(path, why);
    if (file_check_folder(path, why)) return -1;
    if (config_refuse_adapter(path, why)) return -1;
    if (hub_find_snapshot(path, inner))
        return fail(why, "%s: a repository of the hub's cache: its model is %s", path, inner);
    if (find_entry(path, "models--*", name))
        return fail(why, "%s: the hub's cache: the model is a folder in %s/%s/snapshots", path,
                    path, name);
    if (check_is_finished(path, why)) return -1;
    if (find_inner(path, name))
        return fail(why, "%s: %s, but in %s/%s: name that", path, lack, path, name);
    if (name_holding(path, lack, why)) return -1;
    return fail(why, "%s: %s: not a model's directory", path, lack);
}

/* ---- files ---- */

/* Is it a file of a model's directory? Then the user should name the directory. */
static bool is_part_of_directory(const char *path)
{
    static const char *const ends[] = { ".safetensors", ".bin", ".json", ".pt", ".pth" };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
        if (!strcmp(dot, ends[i])) return true;
    return false;
}

static enum file_kind kind_at(const char *path)
{
    char head[FILE_KIND_HEAD];
    int64_t bytes = file_read_head(path, head, sizeof head, &(struct fail){ 0 });
    return file_kind_of(head, bytes > 0 ? (size_t)bytes : 0);
}

static int check_file(const char *path, struct fail *why)
{
    const char *slash = strrchr(path, '/');
    if (is_part_of_directory(path))
        return fail_input(why, "%s: a file: a model is named by its directory, %.*s", path,
                          slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (gguf_is(path)) return 0;
    enum file_kind kind = kind_at(path);
    const char *words = file_kind_words(kind), *way = wrong_kind_way_to_weights(kind);
    if (kind == FILE_KIND_ZSTD) return 0;
    for (size_t i = 0; !way && i < sizeof holdings / sizeof *holdings; i++)
        if (!fnmatch(holdings[i].pattern, slash ? slash + 1 : path, 0))
            words = holdings[i].words, way = holdings[i].way;
    if (!way) return 0; /* it may be a damaged stream, which its reader reports */
    return fail_input(why,
                      "%s: %s, where a model's directory, a GGUF file or a stream is needed: %s",
                      path, words, way);
}

int model_place_check(const char *path, struct fail *why)
{
    struct stat st;
    if (!strcmp(path, "-")) return 0;
    if (stat(path, &st)) return hub_name_absent(path, errno, why);
    if (S_ISDIR(st.st_mode)) return check_directory(path, why);
    return S_ISREG(st.st_mode) ? check_file(path, why) : 0;
}
