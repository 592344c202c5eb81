#include "lib/common/digest.h"

#include "lib/common/file.h"

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

void digest_join(char sum[DIGEST_TEXT], const char next[DIGEST_TEXT])
{
    char both[2 * DIGEST_TEXT];
    if (*sum)
        digest_of_bytes(both, (size_t)snprintf(both, sizeof both, "%s%s", sum, next), sum);
    else
        memcpy(sum, next, DIGEST_TEXT);
}

static void add(void *state, const void *piece, size_t bytes)
{
    XXH3_128bits_update(state, piece, bytes);
}

int digest_file(const char *path, char digest[DIGEST_TEXT], struct fail *why)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) return fail(why, "%s: out of memory", path);
    XXH3_128bits_reset(state);
    int status = file_read_pieces(path, add, state, why);
    if (!status) digest_of_state(state, digest);
    XXH3_freeState(state);
    return status;
}
