#include "lib/common/sha256.h"

#include "lib/common/file.h"

#include <nettle/sha2.h>

static void put(struct sha256_ctx *hash, char text[SHA256_TEXT])
{
    uint8_t bytes[SHA256_DIGEST_SIZE];
    sha256_digest(hash, sizeof bytes, bytes);
    for (int i = 0; i < SHA256_DIGEST_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

void sha256_of_bytes(const void *data, size_t bytes, char text[SHA256_TEXT])
{
    struct sha256_ctx hash;
    sha256_init(&hash);
    sha256_update(&hash, bytes, data);
    put(&hash, text);
}

/* The two hashes of a file, which is read once for both. */
struct both {
    struct sha256_ctx hash;
    XXH3_state_t *state; /* NULL: only SHA-256 */
};

static void add(void *arg, const void *piece, size_t bytes)
{
    struct both *b = arg;
    sha256_update(&b->hash, bytes, piece);
    if (b->state) XXH3_128bits_update(b->state, piece, bytes);
}

int sha256_file(const char *path, char text[SHA256_TEXT], char digest[DIGEST_TEXT],
                struct fail *why)
{
    struct both b = { .state = digest ? XXH3_createState() : NULL };
    if (digest && !b.state) return fail(why, "%s: out of memory", path);
    if (digest) XXH3_128bits_reset(b.state);
    sha256_init(&b.hash);
    int status = file_read_pieces(path, add, &b, why);
    if (!status) put(&b.hash, text);
    if (!status && digest) digest_of_state(b.state, digest);
    XXH3_freeState(b.state);
    return status;
}
