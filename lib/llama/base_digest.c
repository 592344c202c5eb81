#include "lib/llama/base_digest.h"

#include "lib/common/process.h"

#include <sys/mman.h>
#include <xxhash.h>

/* Asks the kernel to load mapped bytes before they are needed, so that reading from disk and
 * hashing overlap. */
static void ask_for(const char *at, size_t bytes)
{
    uintptr_t page = (uintptr_t)at & ~(uintptr_t)4095;
    madvise((char *)page, bytes + ((uintptr_t)at - page), MADV_WILLNEED);
}

static void digest_mapped(XXH3_state_t *state, const char *at, size_t bytes)
{
    enum { AHEAD = 8 << 20 };
    ask_for(at, bytes < AHEAD ? bytes : AHEAD);
    for (size_t n; bytes; at += n, bytes -= n) {
        n = bytes < AHEAD ? bytes : AHEAD;
        if (bytes > n) ask_for(at + n, bytes - n < AHEAD ? bytes - n : AHEAD);
        XXH3_128bits_update(state, at, n);
    }
}

static void digest_tensor(XXH3_state_t *state, const struct weights *w, int64_t i)
{
    const struct tensor *t = &w->table[i];
    const struct weight *at = &w->at[i];
    const struct packed_rows *packed = at->packed;
    const char *type = dtype_stream_name(at->type);
    int64_t shape[2] = { t->rows, t->cols };
    XXH3_128bits_update(state, t->name, strlen(t->name) + 1);
    if (packed) {
        XXH3_128bits_update(state, "gguf ", 5);
        type = ggml_format(packed->type)->name;
    }
    XXH3_128bits_update(state, type, strlen(type) + 1);
    XXH3_128bits_update(state, shape, sizeof shape);
    if (packed) {
        digest_mapped(state, packed->data, (size_t)t->rows * ggml_row_bytes(packed->type, t->cols));
        return;
    }
    digest_mapped(state, at->data, weight_bytes(at, t));
    if (at->type != DTYPE_NF4) return;
    if (at->absmax) XXH3_128bits_update(state, at->absmax, weight_absmax_bytes(at, t));
    XXH3_128bits_update(state, at->absmax_scale, weight_absmax_scale_bytes(at, t));
    XXH3_128bits_update(state, &at->offset, sizeof(float));
}

static XXH3_state_t *new_state(void)
{
    XXH3_state_t *state = XXH3_createState();
    must(state);
    XXH3_128bits_reset(state);
    return state;
}

void base_digest(const struct weights *w, char digest[STREAM_DIGEST_TEXT])
{
    XXH3_state_t *state = new_state();
    for (int64_t i = 0; i < w->source_count; i++)
        digest_tensor(state, w, i);
    digest_of_state(state, digest);
    XXH3_freeState(state);
}

struct base_reading {
    const struct weights *w;
    XXH3_state_t *state;
    /* How many tensors the thread has read, and how many the caller has asked for. */
    int64_t read, reached;
    int64_t ahead; /* bytes that the thread has read and the caller has not yet asked for */
    bool is_ending;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t moved;
};

static int64_t bytes_of(const struct base_reading *r, int64_t i)
{
    return (int64_t)weight_bytes(&r->w->at[i], &r->w->table[i]);
}

static void *read_tensors(void *arg)
{
    struct base_reading *r = arg;
    pthread_mutex_lock(&r->lock);
    while (r->read < r->w->source_count) {
        while (r->ahead >= BASE_DIGEST_AHEAD && !r->is_ending)
            pthread_cond_wait(&r->moved, &r->lock);
        if (r->is_ending) break;
        pthread_mutex_unlock(&r->lock);
        digest_tensor(r->state, r->w, r->read);
        pthread_mutex_lock(&r->lock);
        r->ahead += bytes_of(r, r->read++);
        pthread_cond_broadcast(&r->moved);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void release(struct base_reading *r)
{
    XXH3_freeState(r->state);
    pthread_cond_destroy(&r->moved);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

int base_reading_begin(struct base_reading **out, const struct weights *w, struct fail *why)
{
    struct base_reading *r = *out = calloc(1, sizeof *r);
    if (!r) return fail(why, "out of memory");
    r->w = w;
    r->state = new_state();
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->moved, NULL);
    int error = process_thread(&r->thread, read_tensors, r);
    if (!error) return 0;
    release(r);
    *out = NULL;
    return fail(why,
                "no thread could be started to read the base: %s; more memory or processes are "
                "needed (ulimit -v, -u)",
                strerror(error));
}

void base_reading_reach(struct base_reading *r, int64_t i)
{
    if (i >= r->w->source_count) i = r->w->source_count - 1;
    pthread_mutex_lock(&r->lock);
    while (r->reached < i)
        r->ahead -= bytes_of(r, r->reached++);
    pthread_cond_broadcast(&r->moved);
    while (r->read <= i)
        pthread_cond_wait(&r->moved, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

void base_reading_end(struct base_reading *r, char digest[STREAM_DIGEST_TEXT])
{
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    must(!digest || r->read == r->w->source_count);
    r->is_ending = true;
    pthread_cond_broadcast(&r->moved);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    if (digest) digest_of_state(r->state, digest);
    release(r);
}
