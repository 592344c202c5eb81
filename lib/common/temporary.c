#include "lib/common/temporary.h"

#include "lib/common/attributes.h"
#include "lib/common/file.h"

#include <signal.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum { SLOTS = 32, HASH_DIGITS = 16 };
static const char mark[] = ".longqlora-";
enum { MARK = sizeof mark - 1 };

/* The list of files and folders that are removed if a signal ends the program. */
static struct name_slot {
    volatile sig_atomic_t is_file, is_folder;
    folder_holds *holds;
    char path[4096];
} slots[SLOTS];
static bool is_used[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*on_removal)(void); /* see temporary_on_removal; NULL if there is none */
static volatile sig_atomic_t is_ending;

static struct name_slot *take_slot(void)
{
    struct name_slot *found = NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < SLOTS && !found; i++)
        if (!is_used[i]) found = &slots[i];
    if (found) is_used[found - slots] = true;
    pthread_mutex_unlock(&lock);
    return found;
}

static void free_slot(struct name_slot *s)
{
    s->is_file = s->is_folder = 0;
    pthread_mutex_lock(&lock);
    is_used[s - slots] = false;
    pthread_mutex_unlock(&lock);
}

/* ---- names ---- */

static void split(const char *target, char *directory, size_t size, const char **name)
{
    const char *slash = strrchr(target, '/');
    *name = slash ? slash + 1 : target;
    snprintf(directory, size, "%.*s", slash ? (int)(slash - target) + 1 : 0, target);
}

static void hash_name(const char *name, char digits[HASH_DIGITS + 1])
{
    snprintf(digits, HASH_DIGITS + 1, "%016llx",
             (unsigned long long)XXH3_64bits(name, strlen(name)));
}

static bool is_number(const char *s) { return *s && s[strspn(s, "0123456789")] == 0; }

bool temporary_is(const char *name)
{
    const char *hash = name + MARK;
    return !strncmp(name, mark, MARK) && strspn(hash, "0123456789abcdef") == HASH_DIGITS &&
           hash[HASH_DIGITS] == '.' && is_number(hash + HASH_DIGITS + 1);
}

/* ---- what killed processes left ---- */

/* Does the name still lead to the open file? */
static bool is_named(int fd, const char *name)
{
    struct stat open_one, named;
    return !fstat(fd, &open_one) && !lstat(name, &named) && open_one.st_dev == named.st_dev &&
           open_one.st_ino == named.st_ino;
}

/* Has the process ended, but still exists because its parent has not waited for it? Then it has no
 * open file. */
static bool is_zombie(long process)
{
    char path[64], stat[512];
    snprintf(path, sizeof path, "/proc/%ld/stat", process);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, stat, sizeof stat - 1);
    if (fd >= 0) close(fd);
    stat[n > 0 ? n : 0] = 0;
    const char *name = strrchr(stat, ')'); /* the state follows the name, in brackets */
    return name && (name[1] == ' ') && (name[2] == 'Z' || name[2] == 'X');
}

static bool lives(const char *process)
{
    long id = strtol(process, NULL, 10);
    if (id == (long)getpid()) return false;
    return kill((pid_t)id, 0) ? errno != ESRCH : !is_zombie(id);
}

/* Is the file so old that it is abandoned if it has no lock? The number of a process that has ended
 * may belong to another process now, especially in a container, where numbers are small. A file
 * that is being written is locked. So an old file without a lock is abandoned, even if a process
 * has its number. */
static bool is_old(const struct stat *st)
{
    enum { SECONDS = 3600 };
    return st->st_mtime < time(NULL) - SECONDS;
}

static void remove_if_lost(const char *path, folder_holds *holds)
{
    struct stat st;
    bool may_live = lives(strrchr(path, '.') + 1);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    bool is_lost = !fstat(fd, &st) && (!may_live || is_old(&st));
    if (is_lost && !flock(fd, LOCK_EX | LOCK_NB) && is_named(fd, path)) {
        if (S_ISREG(st.st_mode)) unlink(path);
        if (S_ISDIR(st.st_mode) && holds && temporary_empty_folder(path, holds))
            (void)0; /* if the folder holds a foreign file, file and folder stay */
    }
    close(fd);
}

void temporary_sweep(const char *directory, const char *name, folder_holds *holds)
{
    char wanted[HASH_DIGITS + 1], path[4096 + 256];
    if (name) hash_name(name, wanted);
    DIR *dir = opendir(*directory ? directory : ".");
    if (!dir) return;
    size_t length = strlen(directory);
    const char *slash = length && directory[length - 1] != '/' ? "/" : "";
    for (struct dirent *e; (e = readdir(dir));) {
        if (!temporary_is(e->d_name) || (name && memcmp(e->d_name + MARK, wanted, HASH_DIGITS)))
            continue;
        snprintf(path, sizeof path, "%s%s%s", directory, slash, e->d_name);
        remove_if_lost(path, holds);
    }
    closedir(dir);
}

bool temporary_is_alone(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool is_alone = dir != NULL;
    for (const char *name; is_alone && (name = file_next_name(dir));)
        is_alone = temporary_is(name) && !lives(strrchr(name, '.') + 1);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return is_alone;
}

/* A directory entry as the system call getdents64(2) returns it. readdir is not used, because it
 * may allocate memory, which is forbidden in a signal handler. */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

bool temporary_holds_any(const char *name) { return !file_is_dots(name); }

static void empty(int fd, folder_holds *holds)
{
    _Alignas(8) char buffer[4096];
    for (long n; (n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0;)
        for (long at = 0; at < n;) {
            const struct entry *e = (const struct entry *)(const void *)(buffer + at);
            if (holds(e->name) || temporary_is(e->name)) unlinkat(fd, e->name, 0);
            at += e->length;
        }
}

/* Opens a folder. If no descriptor is left (ulimit -n), closes standard input to free one; that is
 * harmless, because the program is ending. */
static int open_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 || (errno != EMFILE && errno != ENFILE) || !is_ending || close(STDIN_FILENO))
        return fd;
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int temporary_empty_folder(const char *path, folder_holds *holds)
{
    int fd = open_folder(path);
    if (fd >= 0) {
        empty(fd, holds);
        close(fd);
    }
    return rmdir(path); /* an empty folder can be removed without a descriptor */
}

/* ---- making ---- */

/* Creates the file or folder and enters it in the list of names. Signals are blocked meanwhile, so
 * that the signal handler never misses a file that exists. */
static int create(struct temporary *t, bool is_folder, const struct stat *like)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int status;
    if (is_folder) {
        status = mkdir(t->path, like ? 0700 : 0777);
        if (!status) t->slot->is_folder = 1;
    } else {
        t->fd =
            open(t->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, like ? 0600 : 0666);
        status = t->fd < 0 ? -1 : 0;
        if (!status) t->slot->is_file = 1;
    }
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return status;
}

static int make(struct temporary *t, const char *target, const struct stat *like, bool is_folder,
                folder_holds *holds, struct fail *why)
{
    char directory[4096], digits[HASH_DIGITS + 1];
    const char *name;
    *t = (struct temporary){ .fd = -1, .slot = take_slot() };
    if (!t->slot) return fail(why, "%s: %d files are being written already", target, SLOTS);
    split(target, directory, sizeof directory, &name);
    hash_name(name, digits);
    int length =
        snprintf(t->path, sizeof t->path, "%s%s%s.%ld", directory, mark, digits, (long)getpid());
    must(length > 0 && (size_t)length < sizeof t->path);
    temporary_sweep(directory, name, holds);
    t->slot->holds = holds;
    memcpy(t->slot->path, t->path, sizeof t->path);
    if (create(t, is_folder, like)) {
        int error = errno;
        temporary_done(t);
        if (error == EEXIST)
            return fail(
                why,
                "%s: another process is writing it (%s is locked): wait for it, or name another",
                target, t->path);
        return fail(why, "%s: cannot create: %s%s", target, strerror(error),
                    error == ENOENT ? ": make its folder first" : "");
    }
    if (is_folder) t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool is_ours = t->fd >= 0;
    int error = errno;
    if (is_ours && like && attributes_copy(t->fd, target, like, why)) {
        temporary_remove(t);
        return -1;
    }
    if (is_ours &&
        (!flock(t->fd, LOCK_EX | LOCK_NB) ? is_named(t->fd, t->path) : errno != EWOULDBLOCK))
        return 0;
    temporary_remove(t);
    return is_ours ? fail(why, "%s: another process removed the temporary file %s: try again",
                          target, t->path)
                   : fail(why, "%s: cannot create: %s", target, strerror(error));
}

int temporary_file(struct temporary *t, const char *target, const struct stat *like,
                   struct fail *why)
{
    return make(t, target, like, false, NULL, why);
}

int temporary_folder(struct temporary *t, const char *target, const struct stat *like,
                     folder_holds *holds, struct fail *why)
{
    return make(t, target, like, true, holds, why);
}

void temporary_done(struct temporary *t)
{
    if (!t->slot) return;
    free_slot(t->slot);
    if (t->fd >= 0) close(t->fd);
    t->slot = NULL;
    t->fd = -1;
}

void temporary_remove(struct temporary *t)
{
    const struct name_slot *s = t->slot;
    if (!s) return;
    if (s->is_file) unlink(t->path);
    if (s->is_folder) {
        if (t->fd >= 0 && is_named(t->fd, t->path) && !lseek(t->fd, 0, SEEK_SET))
            empty(t->fd, s->holds);
        if (rmdir(t->path)) (void)0; /* a folder with a foreign file stays */
    }
    temporary_done(t);
}

void temporary_on_removal(void (*remove)(void)) { on_removal = remove; }

void temporary_remove_files(void)
{
    is_ending = 1;
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].is_file) unlink(slots[i].path);
}

void temporary_remove_folders(void)
{
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].is_folder && temporary_empty_folder(slots[i].path, slots[i].holds))
            continue; /* a foreign file stays */
    if (on_removal) on_removal();
}
