#include "lib/common/pool.h"

#include "lib/common/process.h"
#include "lib/common/usable_cpus.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* SPINS: how many times a worker checks for the next job, and the caller for the end of the last
 * tasks, before it sleeps. Kernels follow each other within microseconds, so sleeping would cost
 * more. If there are more threads than CPUs, each thread checks only once, because checking takes
 * CPU time from threads that still work. Other programs may need the CPUs too, so a thread yields
 * its CPU after every SPINS_YIELD checks. */
enum { SPINS = 4000, SPINS_YIELD = 50 };

struct pool {
    int threads, spins;
    pthread_t *thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake, finished;
    int asleep;
    atomic_bool caller_sleeps;
    atomic_uint_fast64_t job; /* the number of jobs so far */
    atomic_int_fast64_t done; /* finished tasks of the current job */
    int64_t tasks;            /* tasks of the current job */
    struct share *share;      /* [threads] */
    atomic_bool leaving;
    void (*run)(void *, int64_t, int);
    void *arg;
};

/* The range of tasks that belongs to one worker, on a cache line of its own. The worker takes these
 * tasks first. The worker ran tasks with the same numbers in the last job, so their data may still
 * be in its cache. Then it takes tasks of other workers. One word holds the next task and the end
 * of the range, and a single load reads both. So a worker that wakes up late finds either no task
 * or a task that is still to be done. */
struct share {
    _Alignas(64) atomic_uint_fast64_t word; /* next << 32 | end */
};

struct start {
    struct pool *pool;
    int worker;
};

static inline void relax(int spin)
{
    if (spin % SPINS_YIELD == SPINS_YIELD - 1) sched_yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* Wakes the caller, which then checks whether all tasks are done. */
static void wake_caller(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->finished);
    pthread_mutex_unlock(&pool->mutex);
}

static void work(struct pool *pool, int worker)
{
    for (int i = 0; i < pool->threads; i++) {
        struct share *share = &pool->share[(worker + i) % pool->threads];
        uint64_t word = atomic_load(&share->word);
        while (word >> 32 < (uint32_t)word) {
            if (!atomic_compare_exchange_weak(&share->word, &word, word + ((uint64_t)1 << 32)))
                continue;
            pool->run(pool->arg, (int64_t)(word >> 32), worker);
            atomic_fetch_add(&pool->done, 1);
            if (atomic_load(&pool->caller_sleeps)) wake_caller(pool);
            word = atomic_load(&share->word);
        }
    }
}

static void wait_for_job(struct pool *pool, uint_fast64_t seen)
{
    for (int spin = 0; spin < pool->spins; spin++) {
        if (atomic_load(&pool->job) != seen) return;
        relax(spin);
    }
    pthread_mutex_lock(&pool->mutex);
    pool->asleep++;
    while (atomic_load(&pool->job) == seen)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    pool->asleep--;
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    struct pool *pool = start.pool;
    uint_fast64_t seen = 0;
    for (;;) {
        wait_for_job(pool, seen);
        seen = atomic_load(&pool->job);
        if (atomic_load(&pool->leaving)) return NULL;
        work(pool, start.worker);
    }
}

static void announce(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->job, 1);
    if (pool->asleep) pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

int pool_usable_cpus(void)
{
    int cpus = usable_cpus("");
    return cpus < POOL_THREADS_MAX ? cpus : POOL_THREADS_MAX;
}

int pool_open(struct pool **out, int threads, struct fail *why)
{
    *out = NULL;
    int cpus = pool_usable_cpus();
    if (threads <= 0) threads = cpus;
    if (threads > POOL_THREADS_MAX)
        return fail_usage(why, "%d threads are too many: at most %d are possible", threads,
                          POOL_THREADS_MAX);
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool) return fail(why, "thread pool: out of memory");
    pool->thread = calloc((size_t)threads, sizeof *pool->thread);
    pool->share = aligned_alloc(64, (size_t)threads * sizeof *pool->share);
    if (pool->share) memset(pool->share, 0, (size_t)threads * sizeof *pool->share);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->finished, NULL);
    pool->threads = 1;
    pool->spins = threads <= cpus ? SPINS : 1;
    int error = ENOMEM;
    for (int worker = 1; pool->thread && pool->share && worker < threads; worker++) {
        struct start *start = malloc(sizeof *start);
        if (!start) break;
        *start = (struct start){ pool, worker };
        error = process_thread(&pool->thread[worker], worker_main, start);
        if (error) {
            free(start);
            break;
        }
        pool->threads++;
    }
    if (pool->threads < threads || !pool->share) {
        int started = pool->share ? pool->threads : 0;
        pool_close(pool);
        return fail(why, "only %d of %d threads could be started: %s: see --threads", started,
                    threads, strerror(error ? error : ENOMEM));
    }
    *out = pool;
    return 0;
}

void pool_close(struct pool *pool)
{
    if (!pool) return;
    atomic_store(&pool->leaving, true);
    announce(pool);
    for (int worker = 1; worker < pool->threads; worker++)
        pthread_join(pool->thread[worker], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->finished);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->thread);
    free(pool->share);
    free(pool);
}

int pool_threads(const struct pool *pool) { return pool->threads; }

static void wait_for_end(struct pool *pool)
{
    for (int spin = 0; spin < pool->spins; spin++) {
        if (atomic_load(&pool->done) == pool->tasks) return;
        relax(spin);
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->done) < pool->tasks)
        pthread_cond_wait(&pool->finished, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

void pool_run(struct pool *pool, int64_t tasks, void (*run)(void *, int64_t, int), void *arg)
{
    if (tasks <= 1 || pool->threads == 1) {
        for (int64_t task = 0; task < tasks; task++)
            run(arg, task, 0);
        return;
    }
    must(tasks <= UINT32_MAX);
    pool->run = run;
    pool->arg = arg;
    pool->tasks = tasks;
    atomic_store(&pool->done, 0);
    for (int i = 0; i < pool->threads; i++) {
        uint64_t first = (uint64_t)(tasks * i / pool->threads);
        uint64_t end = (uint64_t)(tasks * (i + 1) / pool->threads);
        atomic_store(&pool->share[i].word, first << 32 | end);
    }
    announce(pool);
    work(pool, 0);
    wait_for_end(pool);
}
