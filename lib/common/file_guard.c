#include "lib/common/file_guard.h"

#include "lib/common/buffer.h"
#include "lib/common/message.h"
#include "lib/common/temporary.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

struct file_id {
    dev_t device;
    ino_t inode; /* 0 means no file */
};

/* A file by two identities: its own inode if it exists, and its folder's inode with its name. */
struct place {
    struct file_id id, parent;
    char name[256];
};

struct entry {
    struct place at;
    char *label;         /* "-o out.tok" */
    char *path;          /* NULL for a descriptor, which cannot change */
    folder_holds *holds; /* says which names in a folder are read or written; NULL for a file */
    /* 1 for standard output, 2 for standard error; both may be the same file */
    int standard;
    bool is_content; /* the file was found in a declared folder */
};

static struct table {
    struct entry *at;
    size_t count;
} inputs, outputs;
static bool has_messages; /* standard error is already among the outputs, or needs no comparison */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct file_id id_of(const struct stat *st)
{
    return (struct file_id){ st->st_dev, st->st_ino };
}

static bool is_same(struct file_id a, struct file_id b)
{
    return a.inode && a.inode == b.inode && a.device == b.device;
}

/* ---- comparing ---- */

static bool is_in(const struct entry *folder, const struct place *file)
{
    return folder->holds && is_same(folder->at.id, file->parent) && *file->name &&
           folder->holds(file->name);
}

static bool overlaps(const struct entry *a, const struct entry *b)
{
    bool is_one = is_same(a->at.id, b->at.id) || (is_same(a->at.parent, b->at.parent) &&
                                                  *a->at.name && !strcmp(a->at.name, b->at.name));
    return is_one || is_in(a, &b->at) || is_in(b, &a->at);
}

/* Fails because the output is the same file as the input. If standard error is that file too,
 * redirects messages first, so that none is written into the input. */
static int refuse(const struct entry *input, const struct entry *output, struct fail *why)
{
    struct stat st;
    if (!fstat(STDERR_FILENO, &st) && is_same(id_of(&st), output->at.id)) message_divert();
    if (is_in(input, &output->at))
        return fail_usage(why, "%s: %s a part of the input %s: name another", output->label,
                          output->at.id.inode ? "is" : "would become", input->label);
    return fail_usage(why, "%s: is the input %s: name another", output->label, input->label);
}

static int compare_input(const struct entry *new, struct fail *why)
{
    for (size_t i = 0; i < outputs.count; i++)
        if (overlaps(new, &outputs.at[i])) return refuse(new, &outputs.at[i], why);
    return 0;
}

/* Was the input's file removed since it was declared? If so, the file system may have given its
 * inode number to a new file, even to the output. */
static bool is_gone(const struct entry *input)
{
    struct stat st;
    return input->path && (stat(input->path, &st) || !is_same(id_of(&st), input->at.id));
}

static int compare_with_inputs(const struct entry *new, struct fail *why)
{
    for (size_t i = 0; i < inputs.count; i++)
        if (overlaps(new, &inputs.at[i]) && !is_gone(&inputs.at[i]))
            return refuse(&inputs.at[i], new, why);
    return 0;
}

/* Would two new names in one folder lead to one file, because the file system ignores case or
 * normalizes Unicode? To find out, this function creates one name in a temporary folder of the same
 * file system, and looks up the other name there. */
static bool are_one_name(const struct entry *a, const struct entry *b)
{
    struct target t;
    struct temporary made;
    struct fail ignored;
    struct stat st;
    char parent[4096], probe[4096 + 32];
    if (a->at.id.inode || b->at.id.inode || !is_same(a->at.parent, b->at.parent) || !a->path ||
        target_find(&t, a->path, &ignored))
        return false;
    target_parent(&t, parent, sizeof parent);
    snprintf(probe, sizeof probe, "%s/longqlora-names", parent);
    if (temporary_folder(&made, probe, NULL, temporary_holds_any, &ignored)) return false;
    int fd = openat(made.fd, a->at.name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool are_one = fd >= 0 && !fstatat(made.fd, b->at.name, &st, AT_SYMLINK_NOFOLLOW);
    if (fd >= 0) close(fd);
    temporary_remove(&made);
    return are_one;
}

static int compare_output(const struct entry *new, struct fail *why)
{
    for (size_t i = 0; i < outputs.count; i++) {
        const struct entry *old = &outputs.at[i];
        if (new->is_content || new->standard + old->standard == STDOUT_FILENO + STDERR_FILENO ||
            !(overlaps(new, old) || are_one_name(new, old)))
            continue;
        return fail_usage(why, "%s: is written already, as %s: name another", new->label,
                          old->label);
    }
    return compare_with_inputs(new, why);
}

/* ---- adding ---- */

/* Makes the label for messages. If the path is long, the label has only its end. */
static char *label_of(const char *option, const char *path)
{
    enum { SHOWN = 120 };
    char text[512];
    size_t length = strlen(path);
    bool is_long = length > SHOWN + 3;
    snprintf(text, sizeof text, "%.60s%s%.130s", option, is_long ? "…" : "",
             is_long ? path + length - SHOWN : path);
    return strdup(text);
}

static void release(struct entry *e)
{
    free(e->label);
    free(e->path);
}

/* Adds an entry with a copy of its path, and takes ownership of its label. A descriptor has no
 * path.
 */
static int add(struct table *table, struct entry new, const char *path, struct fail *why)
{
    new.path = path ? strdup(path) : NULL;
    int status = !new.label || (path && !new.path) ? fail(why, "out of memory")
                 : table == &outputs               ? compare_output(&new, why)
                                                   : compare_input(&new, why);
    if (!status) status = buffer_extend(&table->at, table->count, why);
    if (status)
        release(&new);
    else
        table->at[table->count++] = new;
    return status;
}

/* Must this file be compared with others? True for regular files, and for outputs that are pipes,
 * because two outputs must not be mixed in one pipe. */
static bool is_compared(const struct table *table, const struct stat *st)
{
    return S_ISREG(st->st_mode) || (table == &outputs && S_ISFIFO(st->st_mode));
}

static int add_descriptor(struct table *table, int fd, const char *label, struct fail *why)
{
    struct stat st;
    if (fstat(fd, &st) || !is_compared(table, &st)) return 0;
    struct entry new = { .at.id = id_of(&st), .label = strdup(label) };
    if (table == &outputs && (fd == STDOUT_FILENO || fd == STDERR_FILENO)) new.standard = fd;
    return add(table, new, NULL, why);
}

static struct place place_of(const struct target *t)
{
    struct place at = { .id = t->exists ? id_of(&t->st) : (struct file_id){ 0 } };
    struct stat st;
    char parent[4096];
    target_parent(t, parent, sizeof parent);
    if (!stat(parent, &st)) at.parent = id_of(&st);
    snprintf(at.name, sizeof at.name, "%s", target_name(t));
    return at;
}

/* Adds the folder's files whose names `holds` accepts, because other names may lead to them too. */
static int add_contents(struct table *table, folder_holds *holds, const char *option,
                        const char *path, struct fail *why)
{
    DIR *dir = opendir(path);
    int status = 0;
    if (!dir) return 0;
    for (struct dirent *e; !status && (e = readdir(dir));) {
        struct stat st;
        char file[4096 + 256];
        if (!holds(e->d_name)) continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (stat(file, &st) || !S_ISREG(st.st_mode)) continue;
        struct entry new = { .at.id = id_of(&st), .is_content = true };
        new.label = label_of(option, file);
        status = add(table, new, file, why);
    }
    closedir(dir);
    return status;
}

/* Puts the option before the message, as in "-o: an empty name". `option` ends with the space or
 * equals sign that precedes its path; the message omits that character. */
static int fail_of_option(const char *option, struct fail *why)
{
    char name[64];
    size_t length = strlen(option);
    if (!length) return -1;
    snprintf(name, sizeof name, "%.*s", (int)length - 1, option);
    return fail_in(why, name);
}

static int add_path(struct table *table, const char *option, const char *path, folder_holds *holds,
                    struct fail *why)
{
    struct target t;
    struct fail ignored;
    bool is_output = table == &outputs;
    if (target_check_length(path, why)) return fail_of_option(option, why);
    if (target_find(&t, path, is_output ? why : &ignored))
        return is_output ? fail_of_option(option, why) : 0;
    if (t.kind == TARGET_DESCRIPTOR) return add_descriptor(table, t.descriptor, path, why);
    if (!is_output && !t.exists) return 0;
    if (t.kind == TARGET_DEVICE && !(t.exists && is_compared(table, &t.st))) return 0;
    struct entry new = { .at = place_of(&t), .label = label_of(option, path) };
    if (t.kind == TARGET_FOLDER || is_output) new.holds = holds;
    if (add(table, new, path, why)) return -1;
    return holds && t.kind == TARGET_FOLDER ? add_contents(table, holds, option, path, why) : 0;
}

static int declare(struct table *table, const char *option, const char *path, folder_holds *holds,
                   struct fail *why)
{
    bool is_output = table == &outputs, is_standard = !strcmp(path, "-") && !(is_output && holds);
    pthread_mutex_lock(&lock);
    int status = 0;
    if (!has_messages) status = add_descriptor(&outputs, STDERR_FILENO, "standard error", why);
    has_messages = true;
    if (!status && is_standard)
        status = add_descriptor(table, is_output ? STDOUT_FILENO : STDIN_FILENO,
                                is_output ? "standard output" : "standard input", why);
    else if (!status)
        status = add_path(table, option, path, holds, why);
    pthread_mutex_unlock(&lock);
    return status;
}

int file_guard_input(const char *option, const char *path, struct fail *why)
{
    return declare(&inputs, option, path, NULL, why);
}

int file_guard_input_folder(const char *option, const char *path, folder_holds *holds,
                            struct fail *why)
{
    return declare(&inputs, option, path, holds, why);
}

int file_guard_output(const char *option, const char *path, struct fail *why)
{
    return declare(&outputs, option, path, NULL, why);
}

int file_guard_output_folder(const char *option, const char *path, folder_holds *writes,
                             struct fail *why)
{
    return declare(&outputs, option, path, writes, why);
}

/* ---- when an output is opened ---- */

/* Compares with the files that /proc/self/fd lists as open for reading. Descriptors 0 to 2 are
 * skipped, because they count only if they were declared. */
static int compare_with_open(const struct entry *new, struct fail *why)
{
    DIR *dir = new->at.id.inode ? opendir("/proc/self/fd") : NULL;
    bool is_open = false;
    if (!dir) return 0;
    for (struct dirent *e; !is_open && (e = readdir(dir));) {
        struct stat st;
        int fd = (int)strtol(e->d_name, NULL, 10);
        if (fd <= STDERR_FILENO || fstat(fd, &st) || !is_same(id_of(&st), new->at.id)) continue;
        is_open = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY;
    }
    closedir(dir);
    return is_open ? fail_usage(why, "%s: is read at the same time: name another", new->label) : 0;
}

int file_guard_check(const char *name, const struct target *t, struct fail *why)
{
    if (t->kind == TARGET_DEVICE || t->kind == TARGET_DESCRIPTOR) return 0;
    pthread_mutex_lock(&lock);
    struct entry new = { .at = place_of(t), .label = label_of("", name) };
    int status = new.label ? compare_with_inputs(&new, why) : fail(why, "out of memory");
    if (!status) status = compare_with_open(&new, why);
    free(new.label);
    pthread_mutex_unlock(&lock);
    return status;
}

const char *file_guard_messages(int argc, char **argv)
{
    struct stat messages;
    struct target t;
    struct fail ignored;
    if (fstat(STDERR_FILENO, &messages) || !S_ISREG(messages.st_mode) || !messages.st_size)
        return NULL;
    for (int i = 1; i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        const char *paths[] = { argv[i], equals ? equals + 1 : NULL };
        for (int k = 0; k < 2; k++) {
            if (!paths[k] || target_find(&t, paths[k], &ignored) || !t.exists ||
                t.kind != TARGET_FILE || !is_same(id_of(&t.st), id_of(&messages)))
                continue;
            message_divert();
            return paths[k];
        }
    }
    return NULL;
}

static void empty(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        release(&table->at[i]);
    free(table->at);
    *table = (struct table){ 0 };
}

void file_guard_reset(void)
{
    pthread_mutex_lock(&lock);
    empty(&inputs);
    empty(&outputs);
    has_messages = false;
    pthread_mutex_unlock(&lock);
}
