#include "lib/common/write_behind.h"

#include "lib/common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { SLOTS = 4 };

struct write_behind {
    int fd, error;
    char *buffer[SLOTS]; /* a ring of buffers: full ones that wait to be written, and empty ones */
    size_t bytes[SLOTS];
    uint64_t given, written; /* how many buffers were handed over, and how many were written */
    bool is_ending, is_given_up;
    off_t at;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t moved;
};

/* Writes a buffer and returns an errno, or 0. Asks the kernel to start writing it to the disk
 * immediately, so that the final flush takes little time. */
static int write_buffer(struct write_behind *b, const char *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(b->fd, data + done, bytes - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return n == 0 ? EIO : errno;
    }
    (void)sync_file_range(b->fd, b->at, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
    b->at += (off_t)bytes;
    return 0;
}

static void *write_buffers(void *arg)
{
    struct write_behind *b = arg;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (b->given == b->written && !b->is_ending)
            pthread_cond_wait(&b->moved, &b->lock);
        if (b->given == b->written) break;
        size_t place = b->written % SLOTS;
        if (!b->error && !b->is_given_up) {
            pthread_mutex_unlock(&b->lock);
            int error = write_buffer(b, b->buffer[place], b->bytes[place]);
            pthread_mutex_lock(&b->lock);
            b->error = error;
        }
        b->written++;
        pthread_cond_signal(&b->moved);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

struct write_behind *write_behind_open(int fd, size_t buffer_bytes)
{
    struct write_behind *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->fd = fd;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->moved, NULL);
    bool is_whole = true;
    for (int i = 0; i < SLOTS; i++) {
        b->buffer[i] = malloc(buffer_bytes);
        is_whole = is_whole && b->buffer[i];
    }
    if (is_whole && !process_thread(&b->thread, write_buffers, b)) return b;
    for (int i = 0; i < SLOTS; i++)
        free(b->buffer[i]);
    free(b);
    return NULL;
}

char *write_behind_put(struct write_behind *b, char *buffer, size_t bytes)
{
    pthread_mutex_lock(&b->lock);
    while (b->given - b->written == SLOTS)
        pthread_cond_wait(&b->moved, &b->lock);
    size_t place = b->given % SLOTS;
    char *empty = b->buffer[place];
    b->buffer[place] = buffer;
    b->bytes[place] = bytes;
    b->given++;
    pthread_cond_signal(&b->moved);
    pthread_mutex_unlock(&b->lock);
    return empty;
}

int write_behind_error(struct write_behind *b)
{
    pthread_mutex_lock(&b->lock);
    int error = b->error;
    pthread_mutex_unlock(&b->lock);
    return error;
}

int write_behind_close(struct write_behind *b, bool is_given_up)
{
    pthread_mutex_lock(&b->lock);
    b->is_ending = true;
    b->is_given_up = is_given_up;
    pthread_cond_signal(&b->moved);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    int error = b->error;
    for (int i = 0; i < SLOTS; i++)
        free(b->buffer[i]);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->moved);
    free(b);
    return error;
}
