#include "lib/stream/readahead.h"

#include "lib/common/process.h"

#include <fcntl.h>

enum { SLOTS = 4, ASKED_AHEAD = 8 << 20 };

/* A loaded frame; or the end of the file (status 0); or an error (status -1). */
struct frame_slot {
    char *content;
    size_t size, capacity;
    uint64_t offset;
    int status;
    struct fail why;
};

struct frames_ahead {
    struct frames source; /* the thread's own file, decompressor and buffers */
    struct frame_slot slot[SLOTS];
    uint64_t asked; /* the kernel was asked to load the file up to this byte */
    /* How many frames were put into slots and taken out again. Frame i is in slot i % SLOTS. */
    uint64_t filled, taken;
    bool is_ending;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t moved;
};

/* Swaps f's buffer of the loaded frame with the buffer of the slot. */
static void swap_buffers(struct frames *f, struct frame_slot *s)
{
    char *content = f->content;
    size_t capacity = f->content_capacity;
    f->content = s->content;
    f->content_capacity = s->capacity;
    s->content = content;
    s->capacity = capacity;
}

/* Asks the kernel to load the next bytes, so that the disk works while a frame is decompressed. On
 * a pipe this has no effect. */
static void ask_for_more(struct frames_ahead *a)
{
    while (a->asked < a->source.consumed + 2 * ASKED_AHEAD) {
        posix_fadvise(a->source.fd, (off_t)a->asked, ASKED_AHEAD, POSIX_FADV_WILLNEED);
        a->asked += ASKED_AHEAD;
    }
}

static void *load_frames(void *arg)
{
    struct frames_ahead *a = arg;
    for (int status = 1; status > 0;) {
        struct fail why = { .status = STATUS_FAILED };
        ask_for_more(a);
        status = frames_load_next(&a->source, &why);
        pthread_mutex_lock(&a->lock);
        while (a->filled - a->taken == SLOTS && !a->is_ending)
            pthread_cond_wait(&a->moved, &a->lock);
        struct frame_slot *s = &a->slot[a->filled % SLOTS];
        if (a->is_ending) status = 0;
        s->size = a->source.content_size;
        s->offset = a->source.offset;
        s->status = status;
        s->why = why;
        swap_buffers(&a->source, s);
        a->filled++;
        pthread_cond_signal(&a->moved);
        pthread_mutex_unlock(&a->lock);
    }
    return NULL;
}

int frames_read_ahead(struct frames *f, struct fail *why)
{
    must(!f->lines && !f->ahead);
    struct frames_ahead *a = calloc(1, sizeof *a);
    if (!a) return fail(why, "%s: out of memory", f->name);
    a->source = *f;
    /* The frame that is loaded now stays with the caller. */
    a->source.content = NULL;
    a->source.content_size = a->source.content_capacity = 0;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->moved, NULL);
    int error = process_thread(&a->thread, load_frames, a);
    if (error) {
        free(a);
        return fail(why,
                    "%s: no thread could be started to read it: %s; more memory or processes are "
                    "needed (ulimit -v, -u)",
                    f->name, strerror(error));
    }
    f->fd = -1;
    f->zstd = NULL;
    f->input = NULL;
    f->ahead = a;
    return 0;
}

int frames_ahead_next(struct frames *f, struct fail *why)
{
    struct frames_ahead *a = f->ahead;
    pthread_mutex_lock(&a->lock);
    while (a->filled == a->taken)
        pthread_cond_wait(&a->moved, &a->lock);
    struct frame_slot *s = &a->slot[a->taken % SLOTS];
    int status = s->status;
    f->content_size = 0;
    if (status > 0) {
        swap_buffers(f, s);
        f->content_size = s->size;
        f->offset = s->offset;
        a->taken++;
        pthread_cond_signal(&a->moved);
    } else if (status < 0) {
        *why = s->why;
    }
    pthread_mutex_unlock(&a->lock);
    return status;
}

void frames_ahead_close(struct frames *f)
{
    struct frames_ahead *a = f->ahead;
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->is_ending = true;
    pthread_cond_signal(&a->moved);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    for (int i = 0; i < SLOTS; i++)
        free(a->slot[i].content);
    frames_close(&a->source);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->moved);
    free(a);
    f->ahead = NULL;
}
