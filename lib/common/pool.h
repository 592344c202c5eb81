/* pool.h - a fixed set of threads that share numbered tasks.
 *
 * What a task computes must depend only on its number, not on the thread or the number of threads.
 * Then the results are the same with any --threads.
 */
#ifndef LONGQLORA_POOL_H
#define LONGQLORA_POOL_H

#include "lib/common/fail.h"

#include <stdint.h>

struct pool;

enum { POOL_THREADS_MAX = 1024 };

/* Starts the threads. `threads` includes the caller, which works too. 0 means one for each CPU that
 * the process may use (usable_cpus.h). The caller closes *pool. */
int pool_open(struct pool **pool, int threads, struct fail *why) MUST_USE;
/* The CPUs that the process may use, at most POOL_THREADS_MAX. */
int pool_usable_cpus(void);
void pool_close(struct pool *pool);
int pool_threads(const struct pool *pool);

/* Calls run(arg, task, worker) once for each task in [0, tasks), with worker in [0, pool_threads),
 * and returns when all calls have returned. Not reentrant. */
void pool_run(struct pool *pool, int64_t tasks, void (*run)(void *arg, int64_t task, int worker),
              void *arg);

#endif
