#include "lib/common/output.h"

#include "lib/common/file.h"
#include "lib/common/file_guard.h"
#include "lib/common/mapped.h"
#include "lib/common/message.h"
#include "lib/common/size.h"
#include "lib/common/temporary.h"
#include "lib/common/write_behind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 18, WRITER_BYTES = 2 << 20 };

void output_remove_pending(void) { temporary_remove_files(); }

static void release(struct output *out)
{
    if (out->made) temporary_done(out->made);
    free(out->made);
    free(out->target);
    free(out->path);
    free(out->buffer);
    *out = (struct output){ .fd = -1 };
}

static int check_target(const struct target *t, const char *path, struct fail *why)
{
    if (t->kind == TARGET_FOLDER || (t->kind == TARGET_FILE && t->has_trailing_slash))
        return fail(why, "%.300s: a folder, but the output is a file: name a file", path);
    if (t->kind != TARGET_FILE) return 0;
    if (t->exists && faccessat(AT_FDCWD, t->path, W_OK, AT_EACCESS))
        return fail(why, "%.300s: may not be written: %s: name another", path, strerror(errno));
    return target_check_replace(t, path, why);
}

static int open_target(struct output *out, const struct target *t, struct fail *why)
{
    if (t->kind == TARGET_FILE) {
        out->made = calloc(1, sizeof *out->made);
        out->target = strdup(t->path);
        if (!out->made || !out->target) return fail(why, "%s: out of memory", out->path);
        if (temporary_file(out->made, t->path, t->exists ? &t->st : NULL, why)) return -1;
        out->fd = out->made->fd;
        return 0;
    }
    out->fd = t->kind == TARGET_DESCRIPTOR ? fcntl(t->descriptor, F_DUPFD_CLOEXEC, 3)
                                           : open(t->path, O_WRONLY | O_CLOEXEC);
    return out->fd < 0 ? fail(why, "%s: cannot open: %s", out->path, strerror(errno)) : 0;
}

static int open_named(struct output *out, const char *path, bool is_rewritten, struct fail *why)
{
    struct target t;
    const char *name = strcmp(path, "-") ? path : "standard output";
    *out = (struct output){ .fd = -1, .path = strdup(name), .buffer = malloc(BUFFER_BYTES) };
    int status = out->path && out->buffer ? 0 : fail(why, "%s: out of memory", path);
    if (!status && !strcmp(path, "-")) {
        out->fd = STDOUT_FILENO;
        out->is_shown = isatty(out->fd);
        return 0;
    }
    if (!status) status = target_find(&t, path, why);
    if (!status) status = check_target(&t, path, why);
    if (!status && !is_rewritten) status = file_guard_check(path, &t, why);
    if (!status) status = open_target(out, &t, why);
    if (!status) out->is_shown = isatty(out->fd);
    if (status) release(out);
    return status;
}

int output_open(struct output *out, const char *path, struct fail *why)
{
    return open_named(out, path, false, why);
}

int output_rewrite(struct output *out, const char *path, struct fail *why)
{
    return open_named(out, path, true, why);
}

int output_try(const char *path, struct fail *why)
{
    struct target t;
    struct output out;
    if (!strcmp(path, "-")) return 0;
    if (target_find(&t, path, why)) return -1;
    if (t.kind == TARGET_DEVICE || t.kind == TARGET_DESCRIPTOR) return 0;
    if (output_open(&out, path, why)) return -1;
    output_abandon(&out);
    return 0;
}

int output_check_apart(const char *path, struct fail *why)
{
    struct stat out, messages;
    if (strcmp(path, "-") != 0 || fstat(STDOUT_FILENO, &out) || !S_ISREG(out.st_mode) ||
        fstat(STDERR_FILENO, &messages) || out.st_dev != messages.st_dev ||
        out.st_ino != messages.st_ino)
        return 0;
    return fail_usage(why, "standard output and standard error are one file, so messages would be "
                           "mixed with the data: name a file with -o");
}

int output_declare(const char *option, const char *path, struct fail *why)
{
    return file_guard_output(option, path, why) || output_try(path, why) ? -1 : 0;
}

static int write_plain(struct output *out, const char *data, size_t bytes, struct fail *why)
{
    while (bytes && !out->error) {
        ssize_t n = write(out->fd, data, bytes);
        if (n > 0) {
            data += n;
            bytes -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            out->error = n == 0 ? EIO : errno;
            if (out->error == EFAULT) mapped_fault_in(data, bytes);
        }
    }
    if (out->error) return fail(why, "%s: cannot write: %s", out->path, strerror(out->error));
    return 0;
}

static int write_all(struct output *out, const char *data, size_t bytes, struct fail *why)
{
    char shown[4096];
    if (!out->is_shown) return write_plain(out, data, bytes, why);
    for (size_t taken; bytes; data += taken, bytes -= taken) {
        size_t length = message_escape(data, bytes, &taken, shown, sizeof shown);
        if (write_plain(out, shown, length, why)) return -1;
    }
    return 0;
}

static int flush(struct output *out, struct fail *why)
{
    size_t used = out->used;
    out->used = 0;
    /* output_close or output_abandon releases what output_open allocated. */
    return write_all(out, out->buffer, used, why); /* NOLINT(clang-analyzer-unix.Malloc) */
}

void output_write_behind(struct output *out, uint64_t bytes)
{
    enum { WORTH_A_THREAD = 64 << 20 };
    if (bytes < WORTH_A_THREAD || out->is_shown) return;
    struct fail ignored;
    char *buffer = malloc(WRITER_BYTES);
    /* If flush failed, the next write fails too and reports it. */
    if (!buffer || flush(out, &ignored)) {
        free(buffer);
        return;
    }
    out->writer = write_behind_open(out->fd, WRITER_BYTES);
    if (out->writer) {
        free(out->buffer);
        out->buffer = buffer;
    } else {
        free(buffer);
    }
}

static int write_by_thread(struct output *out, const char *data, size_t bytes, struct fail *why)
{
    while (bytes) {
        size_t n = WRITER_BYTES - out->used < bytes ? WRITER_BYTES - out->used : bytes;
        memcpy(out->buffer + out->used, data, n);
        out->used += n;
        data += n;
        bytes -= n;
        if (out->used < WRITER_BYTES) return 0;
        out->buffer = write_behind_put(out->writer, out->buffer, out->used);
        out->used = 0;
    }
    out->error = write_behind_error(out->writer);
    if (!out->error) return 0;
    return fail(why, "%s: cannot write: %s", out->path, strerror(out->error));
}

/* Ends the writing thread. Unwritten bytes stay in the buffer. */
static void end_writer(struct output *out, bool is_given_up)
{
    if (!out->writer) return;
    int error = write_behind_close(out->writer, is_given_up);
    if (!out->error) out->error = error;
    out->writer = NULL;
}

int output_write(struct output *out, const void *data, size_t bytes, struct fail *why)
{
    out->written += bytes;
    if (out->writer) return write_by_thread(out, data, bytes, why);
    if (bytes > BUFFER_BYTES - out->used) {
        if (flush(out, why)) return -1;
        if (bytes >= BUFFER_BYTES) return write_all(out, data, bytes, why);
    }
    memcpy(out->buffer + out->used, data, bytes);
    out->used += bytes;
    return 0;
}

int output_print(struct output *out, struct fail *why, const char *format, ...)
{
    char line[4096];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    must(length >= 0 && (size_t)length < sizeof line);
    return output_write(out, line, (size_t)length, why);
}

bool output_seekable(const struct output *out)
{
    struct stat st;
    return !fstat(out->fd, &st) && S_ISREG(st.st_mode);
}

int output_sync(struct output *out, struct fail *why)
{
    end_writer(out, false);
    if (flush(out, why)) return -1;
    if (out->made && fsync(out->fd))
        return fail(why, "%s: cannot write: %s", out->path, strerror(errno));
    return 0;
}

int output_close(struct output *out, struct fail *why)
{
    if (out->fd < 0) return 0;
    end_writer(out, false);
    int status = flush(out, why);
    if (!out->made) {
        if (out->path && out->fd != STDOUT_FILENO && close(out->fd) && !status)
            status = fail(why, "%s: cannot write: %s", out->path, strerror(errno));
        release(out);
        return status;
    }
    if (!status && fsync(out->fd))
        status = fail(why, "%s: cannot write: %s", out->path, strerror(errno));
    if (!status && rename(out->made->path, out->target))
        status = fail(why, "%s: cannot rename into place: %s", out->path, strerror(errno));
    if (status) temporary_remove(out->made);
    release(out);
    return status;
}

void output_abandon(struct output *out)
{
    end_writer(out, true);
    if (out->made)
        temporary_remove(out->made);
    else if (out->path && out->fd >= 0 && out->fd != STDOUT_FILENO)
        close(out->fd);
    release(out);
}

int output_text(const char *path, const char *text, struct fail *why)
{
    struct output out;
    if (output_open(&out, path, why)) return -1;
    if (output_write(&out, text, strlen(text), why)) {
        output_abandon(&out);
        return -1;
    }
    return output_close(&out, why);
}

int output_copy(const char *from, const char *to, struct fail *why)
{
    static const size_t piece = 1 << 20;
    struct output out = { .fd = -1 };
    char *buffer = malloc(piece);
    const char *name = file_shown(from);
    int fd = file_open_stream(from, why), status = -1;
    if (fd >= 0 && !buffer)
        fail(why, "%s: out of memory", name);
    else if (fd >= 0)
        status = output_open(&out, to, why);
    while (!status) {
        int64_t n = file_read_piece(fd, buffer, piece, why);
        if (n == 0) break;
        status = n < 0 ? fail_in(why, name) : output_write(&out, buffer, (size_t)n, why);
    }
    if (fd >= 0) close(fd);
    free(buffer);
    /* output_close or output_abandon releases what output_open allocated. */
    if (!status) return output_close(&out, why); /* NOLINT(clang-analyzer-unix.Malloc) */
    output_abandon(&out);
    return -1;
}

int output_directory(const char *path, struct fail *why)
{
    struct target t;
    int status = 0;
    if (target_find(&t, path, why)) return -1;
    char *copy = t.path;
    for (char *at = copy + 1; !status; at++) {
        if (*at != '/' && *at) continue;
        char kept = *at;
        *at = 0;
        if (mkdir(copy, 0777) && errno != EEXIST)
            status = fail(why, "%s: cannot create directory: %s", copy, strerror(errno));
        *at = kept;
        if (!kept) break;
    }
    struct stat st;
    if (!status && (stat(path, &st) || !S_ISDIR(st.st_mode)))
        status = fail(why, "%s: not a directory: name another", path);
    return status;
}

int output_check_space(const char *directory, uint64_t bytes, struct fail *why)
{
    struct statvfs fs;
    if (statvfs(directory, &fs)) return fail(why, "%s: %s", directory, strerror(errno));
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes >= bytes) return 0;
    return fail(
        why, "%s: needs %s of disk, but only %s are free there: make room, or name another place",
        directory, size_text((double)bytes).at, size_text((double)free_bytes).at);
}

int output_check_space_for(const char *path, uint64_t bytes, struct fail *why)
{
    struct target t;
    char directory[4096];
    if (target_find(&t, path, why)) return -1;
    if (t.kind != TARGET_FILE) return 0;
    target_parent(&t, directory, sizeof directory);
    return output_check_space(directory, bytes, why);
}

int output_sync_directory(const char *path, struct fail *why)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail(why, "%s: %s", path, strerror(errno));
    int status = fsync(fd);
    if (status) fail(why, "%s: cannot sync: %s", path, strerror(errno));
    close(fd);
    return status ? -1 : 0;
}
