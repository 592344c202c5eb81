#include "lib/llama/checkpoint_number.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

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
