#include "lib/common/mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A list of mappings that never shrinks, because a signal handler may read it at any moment. Free
 * entries are reused. */
struct mapping {
    struct mapping *next;
    _Atomic(const char *) at;
    atomic_size_t bytes; /* 0 if the entry is free */
    atomic_bool is_lost; /* mapped_fill has replaced the file's bytes by zeros */
    char *name;
    int fd; /* the mapped file, whatever name it has now */
    /* what fstat said of the file when it was mapped, or when mapped_find_touched last found it */
    struct stat seen;
};
static _Atomic(struct mapping *) mappings;
/* Held while an entry is added or freed, while mapped_check runs, and while names are read outside
 * of a signal handler. */
static atomic_flag lock = ATOMIC_FLAG_INIT;
static atomic_bool survives;

static struct mapping *unused_mapping(void)
{
    for (struct mapping *p = atomic_load(&mappings); p; p = p->next)
        if (!atomic_load(&p->bytes)) return p;
    struct mapping *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->next = atomic_load(&mappings);
    atomic_store(&mappings, p);
    return p;
}

static int add(const char *at, size_t bytes, int fd, const struct stat *seen, const char *name)
{
    char *copy = strdup(name);
    if (!copy) return -1;
    while (atomic_flag_test_and_set(&lock))
        ;
    struct mapping *p = unused_mapping();
    if (p) {
        free(p->name);
        p->name = copy;
        p->fd = fd;
        p->seen = *seen;
        atomic_store(&p->is_lost, false);
        atomic_store(&p->at, at);
        atomic_store(&p->bytes, bytes);
    }
    atomic_flag_clear(&lock);
    if (!p) free(copy);
    return p ? 0 : -1;
}

const void *mapped_open(int fd, size_t bytes, const char *name, struct fail *why)
{
    struct stat seen;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    void *at = own < 0 || fstat(own, &seen) ? MAP_FAILED
                                            : mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, own, 0);
    if (at != MAP_FAILED && !add(at, bytes, own, &seen, name)) return at;
    fail(why, "%s: cannot map: %s", name, strerror(at == MAP_FAILED ? errno : ENOMEM));
    if (at != MAP_FAILED) munmap(at, bytes);
    if (own >= 0) close(own);
    return NULL;
}

void mapped_close(const void *at, size_t bytes)
{
    if (!at) return;
    while (atomic_flag_test_and_set(&lock))
        ;
    for (struct mapping *p = atomic_load(&mappings); p; p = p->next)
        if (atomic_load(&p->at) == at && atomic_load(&p->bytes) == bytes) {
            atomic_store(&p->bytes, 0);
            close(p->fd);
            break;
        }
    atomic_flag_clear(&lock);
    munmap((void *)at, bytes);
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool is_changed(const struct mapping *p)
{
    struct stat now;
    if (!atomic_load(&p->bytes)) return false;
    return atomic_load(&p->is_lost) || fstat(p->fd, &now) ||
           !is_same_time(now.st_mtim, p->seen.st_mtim);
}

int mapped_check(struct fail *why)
{
    int status = 0;
    while (atomic_flag_test_and_set(&lock))
        ;
    for (const struct mapping *p = atomic_load(&mappings); p && !status; p = p->next)
        if (is_changed(p))
            status = fail_input(why, "%s: changed while it was read: begin again", p->name);
    atomic_flag_clear(&lock);
    return status;
}

bool mapped_find_touched(char *name, size_t size)
{
    bool is_found = false;
    struct stat now;
    while (atomic_flag_test_and_set(&lock))
        ;
    for (struct mapping *p = atomic_load(&mappings); p && !is_found; p = p->next) {
        if (!atomic_load(&p->bytes) || fstat(p->fd, &now) ||
            (is_same_time(now.st_mtim, p->seen.st_mtim) &&
             is_same_time(now.st_ctim, p->seen.st_ctim)))
            continue;
        is_found = true;
        p->seen = now;
        snprintf(name, size, "%s", p->name);
    }
    atomic_flag_clear(&lock);
    return is_found;
}

void mapped_fault_in(const void *at, size_t bytes)
{
    enum { PAGE = 4096 };
    const volatile char *byte = at;
    for (size_t i = 0; i < bytes; i += PAGE)
        (void)byte[i];
    if (bytes) (void)byte[bytes - 1];
}

/* The entry of the file that is mapped at this address; NULL if there is none. */
static struct mapping *mapping_at(const void *address)
{
    for (struct mapping *p = atomic_load(&mappings); p; p = p->next) {
        uintptr_t at = (uintptr_t)atomic_load(&p->at), bytes = atomic_load(&p->bytes);
        if ((uintptr_t)address - at < bytes) return p;
    }
    return NULL;
}

/* This reads the name without the lock, because a signal may come while this thread holds it. The
 * entry is not reused meanwhile, because the file that is read there is still mapped. */
const char *mapped_name(const void *address)
{
    const struct mapping *p = mapping_at(address);
    return p ? p->name : NULL;
}

/* ---- lost bytes ---- */

void mapped_survive(bool is_on) { atomic_store(&survives, is_on); }

bool mapped_find_lost(char *name, size_t size)
{
    bool is_found = false;
    while (atomic_flag_test_and_set(&lock))
        ;
    for (const struct mapping *p = atomic_load(&mappings); p && !is_found; p = p->next) {
        is_found = atomic_load(&p->bytes) && atomic_load(&p->is_lost);
        if (is_found) snprintf(name, size, "%s", p->name);
    }
    atomic_flag_clear(&lock);
    return is_found;
}

/* The new mapping covers the whole file and not only the lost page, because a mapping for each page
 * could exceed the kernel's limit on their number. Several threads may do this at the same time. */
bool mapped_fill(const void *address)
{
    struct mapping *p = atomic_load(&survives) ? mapping_at(address) : NULL;
    if (!p) return false;
    int before = errno;
    atomic_store(&p->is_lost, true);
    void *at = (void *)(uintptr_t)atomic_load(&p->at);
    bool is_filled =
        mmap(at, atomic_load(&p->bytes), PROT_READ,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
    errno = before;
    return is_filled;
}
