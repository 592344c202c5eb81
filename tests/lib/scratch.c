#include "tests/lib/scratch.h"

#include "tests/lib/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

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

struct scratch_bytes scratch_load(const char *name)
{
    struct scratch_bytes b = { 0 };
    FILE *f = fopen(name, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    b.count = (size_t)ftell(f);
    rewind(f);
    b.at = malloc(b.count + 1);
    assert_int_equal(fread(b.at, 1, b.count, f), b.count);
    fclose(f);
    return b;
}

void scratch_store(const char *name, const unsigned char *at, size_t count)
{
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(at, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

void scratch_store_frame(const char *name, const void *objects, size_t bytes)
{
    size_t capacity = ZSTD_compressBound(bytes);
    unsigned char *packed = malloc(capacity);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    size_t n = ZSTD_compress2(c, packed, capacity, objects, bytes);
    assert_false(ZSTD_isError(n));
    ZSTD_freeCCtx(c);
    scratch_store(name, packed, n);
    free(packed);
}
