#include "scratch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char scratch_directory[] = "/tmp/longqlora-test-XXXXXX";
char scratch_file[sizeof scratch_directory + 5];

int scratch_open(void **state)
{
    (void)state;
    if (!mkdtemp(scratch_directory)) return -1;
    snprintf(scratch_file, sizeof scratch_file, "%s/file", scratch_directory);
    return 0;
}

int scratch_remove(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) return -1;
    for (struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    return rmdir(path);
}

int scratch_close(void **state)
{
    (void)state;
    return scratch_remove(scratch_directory);
}
