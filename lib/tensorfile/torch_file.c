#include "lib/tensorfile/torch_file.h"

#include "lib/common/wrong_kind.h"
#include "lib/tensorfile/pickle.h"
#include "lib/tensorfile/zip.h"

/* What converts a file that torch.load reads into one that is read here. */
#define CONVERT                                                                                    \
    "python3 -c 'import sys, torch; w = torch.load(sys.argv[1], weights_only=True); "              \
    "torch.save({k: v.contiguous() for k, v in w.items()}, sys.argv[2])' OLD.bin NEW.bin"

static const char pickle_suffix[] = "/data.pkl";
enum { STORAGE_KEY_MAX = 80 };

/* Finds the entry FOLDER/data.pkl and returns it with FOLDER, in which all other entries lie. */
static const struct zip_entry *find_pickle(const struct zip *z, char *folder, size_t size,
                                           struct fail *why)
{
    size_t suffix = strlen(pickle_suffix);
    for (size_t i = 0; i < z->count; i++) {
        const struct zip_entry *e = &z->at[i];
        if (e->name_bytes <= suffix ||
            memcmp(e->name + e->name_bytes - suffix, pickle_suffix, suffix) != 0)
            continue;
        if (e->name_bytes - suffix >= size / 2) break;
        snprintf(folder, size, "%.*s", (int)(e->name_bytes - suffix), e->name);
        return e;
    }
    (void)fail_input(why, "the zip has no data.pkl, so torch.save did not make it");
    return NULL;
}

static int check_byte_order(const struct zip *z, const char *folder, struct fail *why)
{
    char name[600];
    snprintf(name, sizeof name, "%s/byteorder", folder);
    const struct zip_entry *e = zip_find(z, name);
    if (e && (e->bytes != 6 || memcmp(e->data, "little", 6) != 0))
        return fail_input(why, "its byte order is not little-endian");
    return 0;
}

/* Counts the tensor's elements. Fails unless it is row-major and contiguous. */
static int count_elements(const struct pickled_tensor *p, int64_t *count, struct fail *why)
{
    *count = 1;
    bool is_dense = true;
    for (int i = p->dims; i-- > 0;) {
        if (p->shape[i] > 1 && p->stride[i] != *count) is_dense = false;
        if (__builtin_mul_overflow(*count, p->shape[i], count))
            return fail_input(why, "%s: the shape overflows", p->name);
    }
    if (*count && !is_dense)
        return fail_input(why, "%s is not contiguous: convert the file with " CONVERT, p->name);
    return 0;
}

/* Describes a pickled tensor in *t, with its data in the entry FOLDER/data/STORAGE of the zip. *t
 * takes over p->name. */
static int locate_tensor(const struct zip *z, const char *folder, struct pickled_tensor *p,
                         struct stored_tensor *t, struct fail *why)
{
    char name[600];
    int64_t count, each = (int64_t)dtype_size(p->dtype);
    int shown = p->storage_bytes < 40 ? (int)p->storage_bytes : 40;
    if (p->storage_bytes > STORAGE_KEY_MAX)
        return fail_input(why,
                          "%s: the name of its storage has %zu bytes, but at most %d are possible",
                          p->name, p->storage_bytes, STORAGE_KEY_MAX);
    snprintf(name, sizeof name, "%s/data/%.*s", folder, (int)p->storage_bytes, p->storage);
    const struct zip_entry *e = zip_find(z, name);
    if (!e) return fail_input(why, "%s: its storage %.*s is missing", p->name, shown, p->storage);
    if (count_elements(p, &count, why)) return -1;
    int64_t capacity = (int64_t)(e->bytes / (uint64_t)each);
    if (p->storage_count > capacity || p->offset < 0 || p->offset > p->storage_count ||
        count > p->storage_count - p->offset)
        return fail_input(why, "%s: %lld elements at %lld do not fit into a storage of %lld bytes",
                          p->name, (long long)count, (long long)p->offset, (long long)e->bytes);
    *t = (struct stored_tensor){ .name = p->name,
                                 .dtype = p->dtype,
                                 .dims = p->dims,
                                 .data = e->data + p->offset * each,
                                 .bytes = (size_t)(count * each) };
    memcpy(t->shape, p->shape, sizeof t->shape);
    p->name = NULL;
    return 0;
}

static int read_archive(struct tensor_file *file, const struct zip *z, struct fail *why)
{
    char folder[512];
    struct pickled_tensor *list;
    size_t count;
    const struct zip_entry *e = find_pickle(z, folder, sizeof folder, why);
    if (!e || check_byte_order(z, folder, why)) return -1;
    if (pickle_tensors(e->data, e->bytes, &list, &count, why)) return fail_in(why, "data.pkl");
    file->at = calloc(count + 1, sizeof *file->at);
    int status = file->at ? 0 : fail(why, "out of memory");
    for (size_t i = 0; i < count && !status; i++) {
        status = locate_tensor(z, folder, &list[i], &file->at[file->count], why);
        if (!status) file->count++;
    }
    pickle_release(list, count);
    return status ? -1 : tensor_file_sort(file, why);
}

/* Is this what torch.save wrote before PyTorch 1.6, and still writes if it is told to? It begins
 * with a pickle of the number 0x1950a86a20f9469cfc6c. */
static bool is_old_form(const struct tensor_file *file)
{
    static const unsigned char begin[] = { 0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c,
                                           0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19 };
    return file->map_bytes >= sizeof begin && !memcmp(file->map, begin, sizeof begin);
}

int torch_open(struct tensor_file *file, const char *path, struct fail *why)
{
    struct zip z = { 0 };
    if (tensor_file_map(file, path, why)) return -1;
    int status = 0;
    if (is_old_form(file))
        status = fail_input(why, "this is the old form of torch.save, from before PyTorch 1.6: "
                                 "convert it with " CONVERT);
    else if (file->map_bytes < 4 || memcmp(file->map, "PK\3\4", 4) != 0)
        status = fail_input(why, "this is neither a zip nor another file of torch.save: it is "
                                 "damaged, or of another kind");
    if (!status) status = zip_open(&z, file->map, file->map_bytes, why);
    if (!status) status = read_archive(file, &z, why);
    zip_close(&z);
    if (!status) return 0;
    (void)wrong_kind_of_weights(file->map, file->map_bytes, FILE_KIND_TORCH,
                                "PyTorch's pytorch_model.bin", why);
    tensor_file_close(file);
    return fail_in(why, path);
}
