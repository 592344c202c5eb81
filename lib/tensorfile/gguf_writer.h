/* gguf_writer.h - writes GGUF files, version 3, little-endian, with an alignment of 32.
 *
 * The caller first collects the keys, then begins the file with them and the tensors' shapes, and
 * then puts the data of all tensors in order. The file is complete or absent.
 *
 *     struct gguf_keys keys;
 *     struct gguf_writer *w;
 *     if (gguf_keys_begin(&keys, why)) return -1;
 *     gguf_keys_text(&keys, "general.architecture", "llama", 5);        ... and so on
 *     int status = gguf_create(&w, path, &keys, headers, count, why);
 *     gguf_keys_release(&keys);
 *     ... gguf_put for every tensor, then gguf_finish, or gguf_abandon ...
 *
 * Source: gguf_writer.py of llama.cpp, and ggml's description of the format.
 */
#ifndef LONGQLORA_TENSORFILE_GGUF_WRITER_H
#define LONGQLORA_TENSORFILE_GGUF_WRITER_H

#include "lib/tensorfile/gguf.h"

#include <stdio.h>

/* The keys and their values, in the bytes that the file will have. */
struct gguf_keys {
    FILE *to;
    char *bytes;
    size_t size;
    uint64_t count;
};
/* Begins an empty set of keys. The caller calls gguf_keys_release. If adding a key fails,
 * gguf_create reports the failure. */
int gguf_keys_begin(struct gguf_keys *k, struct fail *why) MUST_USE;
void gguf_keys_release(struct gguf_keys *k);

void gguf_keys_text(struct gguf_keys *k, const char *key, const char *text, size_t bytes);
void gguf_keys_count(struct gguf_keys *k, const char *key, uint32_t value);
void gguf_keys_number(struct gguf_keys *k, const char *key, double value); /* stored as f32 */
void gguf_keys_flag(struct gguf_keys *k, const char *key, bool value);
/* Begins an array. Exactly `count` items must follow. */
void gguf_keys_array(struct gguf_keys *k, const char *key, enum gguf_type item, uint64_t count);
void gguf_keys_item_text(struct gguf_keys *k, const char *text, size_t bytes);
void gguf_keys_item(struct gguf_keys *k, const void *value, size_t bytes);
/* Copies a key of another file, byte for byte. It must not be an array of arrays. */
void gguf_keys_copy(struct gguf_keys *k, const struct gguf_value *v);

struct gguf_header {
    char name[GGUF_NAME_MAX + 1];
    enum ggml_type type;
    int dims;
    int64_t shape[GGUF_DIMS_MAX]; /* row-major; rows are whole blocks of the type */
};
uint64_t gguf_header_bytes(const struct gguf_header *t); /* bytes of the tensor's data */

struct gguf_writer;
/* Begins a file. Fails, before it writes, if the disk has too little space. */
int gguf_create(struct gguf_writer **w, const char *path, struct gguf_keys *keys,
                const struct gguf_header *tensors, size_t count, struct fail *why) MUST_USE;
/* Appends bytes of a tensor's data. A tensor may take several calls, but a call may not have data
 * of two tensors. Padding is added after a tensor's last byte. */
int gguf_put(struct gguf_writer *w, const void *data, size_t bytes, struct fail *why) MUST_USE;
/* Completes the file and releases the writer. Aborts if fewer bytes were put than the headers
 * say. */
int gguf_finish(struct gguf_writer *w, struct fail *why) MUST_USE;
/* Removes the file and releases the writer. NULL is allowed. */
void gguf_abandon(struct gguf_writer *w);

#endif
