#include "lib/common/digest.h"

#include "lib/common/file.h"

#include <unistd.h>

static void put(XXH128_hash_t hash, char text[DIGEST_TEXT])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", canonical.digest[i]);
}

void digest_of_state(const XXH3_state_t *state, char text[DIGEST_TEXT])
{
    put(XXH3_128bits_digest(state), text);
}

void digest_of_bytes(const void *data, size_t bytes, char text[DIGEST_TEXT])
{
    put(XXH3_128bits(data, bytes), text);
}

int digest_file(const char *path, char digest[DIGEST_TEXT], struct fail *why)
{
    static const size_t piece = 1 << 18;
    int fd = file_open(path, NULL, why);
    if (fd < 0) return -1;
    XXH3_state_t *state = XXH3_createState();
    char *buffer = malloc(piece);
    int status = state && buffer ? 0 : fail(why, "%s: out of memory", path);
    if (!status) {
        XXH3_128bits_reset(state);
        int64_t n;
        while ((n = file_read_piece(fd, buffer, piece, why)) > 0)
            XXH3_128bits_update(state, buffer, (size_t)n);
        if (n < 0) status = fail_in(why, path);
        digest_of_state(state, digest);
    }
    free(buffer);
    XXH3_freeState(state);
    close(fd);
    return status;
}
