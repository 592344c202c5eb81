/* scratch.h - a directory for a test program's files, made before its tests and removed after them.
 */
#ifndef LONGQLORA_SCRATCH_H
#define LONGQLORA_SCRATCH_H

#include <stddef.h>

extern char scratch_directory[];
/* A path in the directory, for a file that a test writes. */
extern char scratch_file[];

/* Removes a directory and the files in it. Returns 0 or -1. */
int scratch_remove(const char *path);

/* The set-up and tear-down functions of a test group in cmocka. */
int scratch_open(void **state);
int scratch_close(void **state);

/* Read and write a whole file; a failure fails the test. The caller frees `at`. */
struct scratch_bytes {
    unsigned char *at;
    size_t count;
};
struct scratch_bytes scratch_load(const char *name);
void scratch_store(const char *name, const unsigned char *at, size_t count);
/* Writes a stream of these msgpack bytes in one zstd frame. */
void scratch_store_frame(const char *name, const void *objects, size_t bytes);

#endif
