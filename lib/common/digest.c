#include "digest.h"

#include "compiler.h"

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
