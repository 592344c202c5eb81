/* gguf.h - reads GGUF files, versions 2 and 3: key/values, and named tensors.
 *
 * Opening a file checks that no length exceeds the rest of the file, and that names are unique. It
 * also checks that tensors are aligned, lie in the file and do not overlap. The file is mapped.
 * Only the names of tensors are copied; keys and texts stay in the map and have no terminating NUL.
 * Big-endian files, version 1, and parts of a split model (gguf-split) are refused with a message
 * that names the reason.
 *
 * Source: the specification of GGUF in ggml, and gguf.cpp of llama.cpp.
 */
#ifndef LONGQLORA_TENSORFILE_GGUF_H
#define LONGQLORA_TENSORFILE_GGUF_H

#include "lib/common/fail.h"
#include "lib/tensorfile/ggml_types.h"

#include <string.h>

#define GGUF_MAGIC "GGUF"

enum {
    GGUF_VERSION = 3,
    GGUF_ALIGNMENT = 32, /* the default of general.alignment */
    GGUF_DIMS_MAX = 4,
    GGUF_NAME_MAX = 63, /* bytes of a tensor's name */
    GGUF_KEY_MAX = 65535,
    GGUF_KEYS_MAX = 1 << 16,
    GGUF_TENSORS_MAX = 1 << 20,
    GGUF_DEPTH_MAX = 4, /* levels of nested arrays */
};

/* The types of values; the numbers are those in files. */
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
};

/* A text in the mapped file, without a terminating NUL. */
struct gguf_text {
    const char *at;
    size_t bytes;
};

struct gguf_value {
    struct gguf_text key;
    enum gguf_type type;
    enum gguf_type item; /* the type of an array's items; equals `type` for a single value */
    uint64_t count;      /* the number of an array's items; 1 for a single value */
    const char *at;      /* the first item */
};

struct gguf_tensor {
    char name[GGUF_NAME_MAX + 1];
    enum ggml_type type;
    int dims;
    int64_t shape[GGUF_DIMS_MAX]; /* row-major: the reverse of the file's order */
    const void *data;
    size_t bytes;
};

struct gguf {
    struct gguf_value *values; /* sorted by key */
    size_t value_count;
    struct gguf_tensor *tensors; /* sorted by name */
    size_t tensor_count;
    uint32_t version;
    const void *map;
    size_t map_bytes;
};

/* Is `path` a regular file that begins with the header of a GGUF file? False for "-", which is
 * standard input. */
bool gguf_is(const char *path);
/* Maps and checks a file. The caller calls gguf_close. Messages begin with the path. */
int gguf_open(struct gguf *g, const char *path, struct fail *why) MUST_USE;
void gguf_close(struct gguf *g);

/* Return the value of a key and the tensor of a name; NULL if there is none. */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name);

/* Each reads the value of a key. If the key is missing, *to stays unchanged. A value of a wrong
 * type or out of range is an error. For an integer, any integer type will do. By layer, it may also
 * be an array of as many equal integers as the model has layers. For a number, any type but string
 * and bool will do. */
int gguf_get_integer(const struct gguf *g, const char *key, int64_t min, int64_t max, int64_t *to,
                     struct fail *why) MUST_USE;
int gguf_get_integer_by_layer(const struct gguf *g, const char *key, int64_t layers, int64_t min,
                              int64_t max, int64_t *to, struct fail *why) MUST_USE;
int gguf_get_number(const struct gguf *g, const char *key, double *to, struct fail *why) MUST_USE;
int gguf_get_flag(const struct gguf *g, const char *key, bool *to, struct fail *why) MUST_USE;
int gguf_get_text(const struct gguf *g, const char *key, struct gguf_text *to,
                  struct fail *why) MUST_USE;
/* Finds the array of that key, and fails if its items have another type. *to becomes NULL if the
 * key is missing. */
int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type item,
                   const struct gguf_value **to, struct fail *why) MUST_USE;

/* Returns how many bytes an item of this type takes; 0 for strings and arrays, whose sizes vary. */
size_t gguf_item_bytes(enum gguf_type type);
/* Returns the string at *at, and moves *at to the next one. The array of strings that *at points
 * into has been checked by gguf_open. */
struct gguf_text gguf_next_text(const char **at);
/* Each returns item i of an array of numbers; for a single number i is 0. If the items are f32 or
 * f64, gguf_integer_at returns 0. */
double gguf_number_at(const struct gguf_value *v, uint64_t i);
int64_t gguf_integer_at(const struct gguf_value *v, uint64_t i);

/* Compares bytes as strcmp does. If one text begins with the other, the shorter one comes first. */
int gguf_compare_texts(struct gguf_text a, struct gguf_text b);
static inline bool gguf_text_is(struct gguf_text text, const char *other)
{
    return strlen(other) == text.bytes && !memcmp(text.at, other, text.bytes);
}

/* Writes "q4_0 [576, 1536]" into text[size], for messages. */
void gguf_tensor_describe(const struct gguf_tensor *t, char *text, size_t size);

#endif
