#include "lib/common/sha256.h"

#include "lib/common/file.h"

#include <nettle/sha2.h>
#include <unistd.h>

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

int sha256_file(const char *path, char text[SHA256_TEXT], char digest[DIGEST_TEXT],
                struct fail *why)
{
    static const size_t piece = 1 << 18;
    struct sha256_ctx hash;
    int fd = file_open(path, NULL, why);
    if (fd < 0) return -1;
    XXH3_state_t *state = XXH3_createState();
    char *buffer = malloc(piece);
    int status = state && buffer ? 0 : fail(why, "%s: out of memory", path);
    if (!status) {
        XXH3_128bits_reset(state);
        sha256_init(&hash);
        int64_t n;
        while ((n = file_read_piece(fd, buffer, piece, why)) > 0) {
            sha256_update(&hash, (size_t)n, (const uint8_t *)buffer);
            if (digest) XXH3_128bits_update(state, buffer, (size_t)n);
        }
        if (n < 0) status = fail_in(why, path);
        put(&hash, text);
        if (digest) digest_of_state(state, digest);
    }
    free(buffer);
    XXH3_freeState(state);
    close(fd);
    return status;
}
