#include "tools/pack/spill.h"

#include "lib/common/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

struct spill {
    FILE *file;
    const char *directory;
    uint64_t end;
    bool is_reading;
};

/* Header of a stored document. Its ids and target ranges follow. */
struct header {
    uint64_t count, target_count;
    bool has_targets;
    char source[SOURCE_MAX];
};

/* Opens a file without a name. If the file system has no such files, it creates a named one and
 * unlinks it. Signals are blocked in between, so that a killed program leaves no file. */
static int open_nameless(const char *directory, char *path, size_t size)
{
    sigset_t all, before;
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) return fd;
    snprintf(path, size, "%s/longqlora-pack-XXXXXX", directory);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    fd = mkostemp(path, O_CLOEXEC);
    int error = errno;
    if (fd >= 0) unlink(path);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return fd;
}

int spill_open(struct spill **out, struct fail *why)
{
    *out = NULL;
    struct spill *s = calloc(1, sizeof *s);
    if (!s) return fail(why, "out of memory");
    const char *directory = getenv("TMPDIR");
    char path[4096];
    if (!directory || !*directory) directory = "/tmp";
    snprintf(path, sizeof path, "%s", directory);
    int fd = open_nameless(directory, path, sizeof path);
    if (fd >= 0) s->file = fdopen(fd, "w+");
    if (!s->file) {
        fail(why, "%s: cannot create a temporary file: %s: set TMPDIR to another folder", directory,
             strerror(errno));
        if (fd >= 0) close(fd);
        free(s);
        return -1;
    }
    s->directory = directory;
    *out = s;
    return 0;
}

void spill_close(struct spill *s)
{
    if (!s) return;
    fclose(s->file);
    free(s);
}

uint64_t spill_end(const struct spill *s) { return s->end; }

/* Reports an I/O error. Any call may flush buffered bytes, so a full disk can show up in a read or
 * a seek. */
static int broken(const struct spill *s, struct fail *why, const char *what)
{
    bool is_full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return fail(why, "%s: cannot %s the documents that are stored there: %s%s", s->directory,
                is_full ? "write" : what, strerror(errno),
                is_full ? ": set TMPDIR to a folder with more space" : "");
}

int spill_put(struct spill *s, const struct tokens *t, size_t from, size_t to, struct fail *why)
{
    struct header header = { .count = to - from, .has_targets = t->has_targets };
    memcpy(header.source, t->source, sizeof header.source);
    for (size_t i = 0; i < t->target_count; i++)
        header.target_count += t->targets[2 * i] < to && t->targets[2 * i + 1] > from;
    if (s->is_reading && fseeko(s->file, (off_t)s->end, SEEK_SET)) return broken(s, why, "seek");
    s->is_reading = false;
    if (fwrite(&header, sizeof header, 1, s->file) != 1 ||
        (header.count && fwrite(t->ids + from, 4, header.count, s->file) != header.count))
        return broken(s, why, "write");
    for (size_t i = 0; i < t->target_count; i++) {
        size_t start = t->targets[2 * i], end = t->targets[2 * i + 1];
        if (start >= to || end <= from) continue;
        uint32_t pair[2] = { (uint32_t)((start > from ? start : from) - from),
                             (uint32_t)((end < to ? end : to) - from) };
        if (fwrite(pair, sizeof pair, 1, s->file) != 1) return broken(s, why, "write");
    }
    s->end += sizeof header + 4 * header.count + 8 * header.target_count;
    return 0;
}

static int read_header(struct spill *s, uint64_t offset, struct header *header, struct fail *why)
{
    s->is_reading = true;
    if (fseeko(s->file, (off_t)offset, SEEK_SET)) return broken(s, why, "seek");
    return fread(header, sizeof *header, 1, s->file) == 1 ? 0 : broken(s, why, "read");
}

int spill_get(struct spill *s, uint64_t offset, struct tokens *t, struct fail *why)
{
    struct header header;
    if (read_header(s, offset, &header, why)) return -1;
    if (buffer_fit(&t->ids, &t->capacity, header.count, why) ||
        buffer_fit(&t->targets, &t->target_capacity, 2 * header.target_count, why))
        return -1;
    t->count = header.count;
    t->target_count = header.target_count;
    t->has_targets = header.has_targets;
    memcpy(t->source, header.source, sizeof t->source);
    if (fread(t->ids, 4, header.count, s->file) != header.count ||
        fread(t->targets, 8, header.target_count, s->file) != header.target_count)
        return broken(s, why, "read");
    return 0;
}
