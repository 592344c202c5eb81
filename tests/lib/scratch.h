/* scratch.h - a directory for a test program's files: made before its tests, removed after. */
#ifndef LONGQLORA_SCRATCH_H
#define LONGQLORA_SCRATCH_H

extern char scratch_directory[];
/* A name in it for what a test writes. */
extern char scratch_file[];

/* Removes a directory of files; 0, or -1. */
int scratch_remove(const char *path);

/* cmocka's set-up and tear-down of a group. */
int scratch_open(void **state);
int scratch_close(void **state);

#endif
