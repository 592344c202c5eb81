#include "lib/llama/checkpoint_number.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int64_t checkpoint_number(const char *name)
{
    static const char prefix[] = "checkpoint-";
    char *end;
    if (strncmp(name, prefix, sizeof prefix - 1)) return -1;
    const char *digits = name + sizeof prefix - 1;
    if (*digits < '0' || *digits > '9') return -1;
    long long n = strtoll(digits, &end, 10);
    /* A number with leading zeros, as in checkpoint-007, is not written by our programs. */
    return *end || (*digits == '0' && digits[1]) || n == INT64_MAX ? -1 : n;
}

int64_t checkpoint_newest(const char *directory, int64_t below)
{
    DIR *dir = opendir(directory);
    int64_t newest = -1;
    if (!dir) return -1;
    for (struct dirent *e; (e = readdir(dir));) {
        int64_t n = checkpoint_number(e->d_name);
        if (n > newest && n < below) newest = n;
    }
    closedir(dir);
    return newest;
}

bool checkpoint_newest_with(const char *directory, const char *file, char name[CHECKPOINT_NAME])
{
    char path[4500];
    for (int64_t n = INT64_MAX; (n = checkpoint_newest(directory, n)) >= 0;) {
        snprintf(name, CHECKPOINT_NAME, "checkpoint-%lld", (long long)n);
        snprintf(path, sizeof path, "%.4000s/%s/%.256s", directory, name, file);
        if (!access(path, F_OK)) return true;
    }
    return false;
}
