/* scratch.h - a directory for a test program's files: made before its tests, removed after. */
#ifndef LONGQLORA_SCRATCH_H
#define LONGQLORA_SCRATCH_H

#include <stddef.h>

extern char scratch_directory[];
/* A name in it for what a test writes. */
extern char scratch_file[];

/* Removes a directory of files; 0, or -1. */
int scratch_remove(const char *path);

/* cmocka's set-up and tear-down of a group. */
int scratch_open(void **state);
int scratch_close(void **state);

/* A file's content, and the way back; a failure fails the test. The caller frees `at`. */
struct scratch_bytes {
    unsigned char *at;
    size_t count;
};
struct scratch_bytes scratch_load(const char *name);
void scratch_store(const char *name, const unsigned char *at, size_t count);

#endif
