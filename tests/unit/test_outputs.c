/* Tests that outputs are whole or absent and that no output is an input. It also tests temporary
 * names, links, permissions, and which files may be replaced. */
#include "lib/common/file_guard.h"
#include "lib/common/output.h"
#include "lib/common/output_dir.h"
#include "lib/llama/companions.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static struct fail why;
static char directory[] = "/tmp/longqlora-outputs-XXXXXX";

/* Each test has an empty directory as its current directory. */
static int begin(void **state)
{
    (void)state;
    umask(022);
    memcpy(directory + strlen(directory) - 6, "XXXXXX", 6);
    return mkdtemp(directory) && !chdir(directory) ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    char command[80];
    file_guard_reset();
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return chdir("/") || system(command) ? -1 : 0;
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0 && !fclose(file));
}

static void put_in(const char *folder, const char *name)
{
    char file[4200];
    snprintf(file, sizeof file, "%s/%s", folder, name);
    assert_int_equal(output_text(file, "text\n", &why), 0);
}

static void assert_holds(const char *path, const char *text)
{
    char got[64] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    got[fread(got, 1, sizeof got - 1, file)] = 0;
    fclose(file);
    assert_string_equal(got, text);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode;
}

/* Returns how many entries a directory has. */
static int count_in(const char *path)
{
    char command[4200];
    snprintf(command, sizeof command, "exit $(ls -A '%s' | wc -l)", path);
    return WEXITSTATUS(system(command));
}

#define assert_refused(call, said)                                                                 \
    do {                                                                                           \
        assert_int_equal(call, -1);                                                                \
        if (!strstr(why.text, said)) fail_msg("'%s' does not say '%s'", why.text, said);           \
    } while (0)

/* ---- files ---- */

static void test_output_is_whole_or_absent(void **state)
{
    (void)state;
    struct output out;
    assert_int_equal(output_open(&out, "file", &why), 0);
    assert_int_equal(output_write(&out, "x", 1, &why), 0);
    assert_int_equal(access("file", F_OK), -1);
    output_abandon(&out);
    assert_int_equal(count_in("."), 0);
    assert_int_equal(output_text("file", "text\n", &why), 0);
    assert_int_equal(output_copy("file", "other", &why), 0);
    assert_holds("other", "text\n");
    assert_int_equal(output_open(&out, "/nonexistent/x", &why), -1);
    assert_int_equal(output_open(&out, "/dev/full/x", &why), -1);
    output_abandon(&(struct output){ .fd = -1 });
}

/* A named pipe stays a pipe, because only regular files are replaced. */
static void test_output_to_a_pipe(void **state)
{
    (void)state;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    pid_t child = fork();
    if (!child) {
        char got[6] = "";
        int fd = open("pipe", O_RDONLY);
        _exit(fd >= 0 && read(fd, got, 5) == 5 && !strcmp(got, "text\n") ? 0 : 1);
    }
    assert_int_equal(output_text("pipe", "text\n", &why), 0);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_true(S_ISFIFO(mode_of("pipe")));
    assert_refused(output_text("/dev/full", "text\n", &why),
                   "/dev/full: cannot write: No space left on device");
    assert_true(S_ISCHR(mode_of("/dev/full")));
}

/* /dev/stdout is written through its descriptor, wherever that is in its file. The file is not
 * replaced. */
static void test_output_to_a_descriptor(void **state)
{
    (void)state;
    char name[64];
    put("file", "0123456789");
    int fd = open("file", O_WRONLY | O_APPEND);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    assert_int_equal(symlink(name, "link"), 0);
    assert_int_equal(output_text(name, "a", &why), 0);
    assert_int_equal(output_text("link", "b", &why), 0);
    snprintf(name, sizeof name, "/dev/fd/%d", fd);
    assert_int_equal(output_text(name, "c", &why), 0);
    assert_holds("file", "0123456789abc");
    assert_int_equal(output_try(name, &why), 0);
    close(fd);
    assert_int_equal(output_text(name, "d", &why), -1);
}

static void test_impossible_file_names(void **state)
{
    (void)state;
    char name[5000];
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "socket" };
    assert_refused(output_text("", "x", &why), "an empty name");
    assert_refused(output_text("/", "x", &why), "a folder, but the output is a file");
    assert_refused(output_text(".", "x", &why), "a folder, but the output is a file");
    assert_refused(output_text("new/", "x", &why), "a folder, but the output is a file");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_refused(output_text(name, "x", &why), "a name of 4999 bytes is too long");
    name[256] = 0;
    assert_refused(output_text(name, "x", &why), "a name of 256 bytes is too long");
    assert_memory_equal(why.text, "a name of", 9);
    name[255] = 0;
    assert_int_equal(output_text(name, "x", &why), 0);
    assert_holds(name, "x");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    assert_refused(output_text("socket", "x", &why), "a socket");
}

/* A path is refused before a name that is appended to it could be cut off. */
static void test_long_paths(void **state)
{
    (void)state;
    char path[3802] = "";
    put("in", "mine");
    while (strlen(path) < 3798)
        strncat(path, "./", 3);
    strncat(path, "in", 3);
    assert_int_equal(strlen(path), 3800);
    assert_int_equal(file_guard_input("--model ", path, &why), 0);
    assert_refused(file_guard_output("-o ", path, &why), "is the input");
    file_guard_reset();
    memcpy(path + 3798, "/in", 4);
    assert_refused(file_guard_input("--model ", path, &why),
                   "--model: a name of 3801 bytes is too long");
    assert_int_equal(why.status, STATUS_USAGE);
    assert_refused(file_guard_output("-o ", path, &why), "-o: a name of 3801 bytes is too long");
    assert_holds("in", "mine");
}

static void test_links_stay(void **state)
{
    (void)state;
    assert_int_equal(mkdir("a", 0755) | mkdir("b", 0755) | mkdir("folder", 0755), 0);
    put("a/file", "old");
    assert_int_equal(symlink("../a/file", "b/one") | symlink("b/one", "two"), 0);
    assert_int_equal(output_text("two", "new", &why), 0);
    assert_holds("a/file", "new");
    assert_int_equal(symlink("a/not-there", "dangling"), 0);
    assert_int_equal(output_text("dangling", "made", &why), 0);
    assert_holds("a/not-there", "made");
    assert_true(S_ISLNK(mode_of("b/one")) && S_ISLNK(mode_of("two")) &&
                S_ISLNK(mode_of("dangling")));
    assert_int_equal(count_in("a") + count_in("b"), 3);
    assert_int_equal(symlink("y", "x") | symlink("x", "y") | symlink("folder", "to"), 0);
    assert_refused(output_text("x", "?", &why), "in a circle");
    assert_refused(output_text("to", "?", &why), "a folder, but the output is a file");
    assert_int_equal(symlink("no/where", "far"), 0);
    assert_refused(output_text("far", "?", &why), "cannot create");
}

static void test_permissions_stay(void **state)
{
    (void)state;
    struct stat st;
    put("file", "old");
    assert_int_equal(chmod("file", 0600), 0);
    assert_int_equal(output_text("file", "new", &why), 0);
    assert_int_equal(mode_of("file"), S_IFREG | 0600);
    assert_int_equal(chmod("file", 0664), 0);
    assert_int_equal(output_text("file", "new", &why), 0);
    assert_int_equal(mode_of("file"), S_IFREG | 0664);
    assert_int_equal(output_text("another", "new", &why), 0);
    assert_int_equal(mode_of("another"), S_IFREG | 0644);
    if (geteuid()) skip();
    assert_int_equal(chown("file", 12, 34), 0);
    assert_int_equal(output_text("file", "new", &why), 0);
    assert_int_equal(stat("file", &st), 0);
    assert_true(st.st_uid == 12 && st.st_gid == 34);
}

/* An access control list in the kernel's format. The owner and user 1234 may read and write, the
 * group may do nothing. The mode shows the list's mask as the permissions of the group. */
static const char access_list[] = "\2\0\0\0"
                                  "\1\0\6\0\377\377\377\377"
                                  "\2\0\6\0\322\4\0\0"
                                  "\4\0\0\0\377\377\377\377"
                                  "\20\0\6\0\377\377\377\377"
                                  "\40\0\0\0\377\377\377\377";
enum { LIST = sizeof access_list - 1 };
static const char list_of_access[] = "system.posix_acl_access";
static const char list_of_default[] = "system.posix_acl_default";

static void assert_has_list(const char *path, const char *name)
{
    char list[4 * LIST];
    assert_int_equal(getxattr(path, name, list, sizeof list), LIST);
    assert_memory_equal(list, access_list, LIST);
}

static void test_access_lists_stay(void **state)
{
    (void)state;
    put("file", "old");
    put("plain", "old");
    if (setxattr("file", list_of_access, access_list, LIST, 0)) skip();
    assert_int_equal(output_text("file", "new\n", &why), 0);
    assert_holds("file", "new\n");
    assert_has_list("file", list_of_access);
    assert_int_equal(mode_of("file"), S_IFREG | 0660);
    /* A file without a list does not get the default list of its directory. */
    assert_int_equal(setxattr(".", list_of_default, access_list, LIST, 0), 0);
    assert_int_equal(chmod("plain", 0660), 0);
    assert_int_equal(output_text("plain", "new\n", &why), 0);
    assert_int_equal(getxattr("plain", list_of_access, NULL, 0), -1);
    assert_int_equal(mode_of("plain"), S_IFREG | 0660);
}

static void assert_has_attribute(const char *path, const char *name, const char *value)
{
    char got[64] = "";
    assert_int_equal(getxattr(path, name, got, sizeof got - 1), strlen(value));
    assert_string_equal(got, value);
}

static void test_users_attributes_stay(void **state)
{
    (void)state;
    static const char tag[] = "user.xdg.tags", empty[] = "user.empty";
    put("file", "old");
    if (setxattr("file", tag, "mine", 4, 0) || setxattr("file", empty, "", 0, 0)) skip();
    assert_int_equal(output_text("file", "new\n", &why), 0);
    assert_holds("file", "new\n");
    assert_has_attribute("file", tag, "mine");
    assert_has_attribute("file", empty, "");
    /* The attributes of a folder that is replaced, and of its files, also stay. */
    const struct folder_kind any = { "a folder of anything", temporary_holds_any, NULL };
    struct folder f;
    assert_int_equal(mkdir("folder", 0755), 0);
    put("folder/kept", "old");
    assert_int_equal(setxattr("folder", tag, "whole", 5, 0), 0);
    assert_int_equal(setxattr("folder/kept", tag, "part", 4, 0), 0);
    assert_int_equal(chmod("folder/kept", 0600), 0);
    assert_int_equal(folder_open(&f, "folder", &any, &why), 0);
    char made[4200];
    snprintf(made, sizeof made, "%s/kept", f.temporary);
    put(made, "new");
    assert_int_equal(folder_close(&f, &why), 0);
    assert_holds("folder/kept", "new");
    assert_has_attribute("folder", tag, "whole");
    assert_has_attribute("folder/kept", tag, "part");
    assert_int_equal(mode_of("folder/kept"), S_IFREG | 0600);
}

static bool set_append_only(const char *path, bool is_on)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), flags = 0;
    assert_true(fd >= 0);
    bool is_set = !ioctl(fd, FS_IOC_GETFLAGS, &flags);
    flags = is_on ? flags | FS_APPEND_FL : flags & ~FS_APPEND_FL;
    is_set = is_set && !ioctl(fd, FS_IOC_SETFLAGS, &flags);
    close(fd);
    return is_set;
}

static void test_append_only_files(void **state)
{
    (void)state;
    put("log", "old");
    assert_int_equal(mkdir("folder", 0755), 0);
    if (!set_append_only("log", true)) skip();
    assert_true(set_append_only("folder", true));
    int file = output_try("log", &why), new = output_try("folder/new", &why);
    int model = folder_check("folder/m", &(struct folder_kind){ "x", temporary_is, 0 }, &why);
    bool is_undone = set_append_only("log", false) && set_append_only("folder", false);
    assert_true(file && new &&model &&is_undone);
    assert_int_equal(count_in("folder"), 0);
    assert_int_equal(output_try("folder/new", &why), 0);
}

static void test_write_protected_files(void **state)
{
    (void)state;
    put("file", "old");
    assert_int_equal(mkdir("sticky", 0777) | chmod("sticky", 01777), 0);
    put("sticky/file", "old");
    assert_int_equal(chmod("sticky/file", 0666), 0);
    assert_int_equal(mkdir("closed", 0555) | chmod("file", 0444) | chmod(".", 0777), 0);
    pid_t child = fork();
    if (!child) {
        if (!geteuid() && (setgid(65534) || setuid(65534))) _exit(9);
        if (!output_text("file", "new", &why) || !strstr(why.text, "may not be written")) _exit(1);
        if (!output_try("file", &why)) _exit(2);
        if (!output_text("closed/file", "new", &why) || !strstr(why.text, "cannot create"))
            _exit(3);
        if (folder_check("closed/model", &(struct folder_kind){ "x", temporary_is, 0 }, &why) == 0)
            _exit(4);
        if (geteuid() == 65534 && (!output_text("sticky/file", "new", &why) ||
                                   !strstr(why.text, "belongs to another user")))
            _exit(5);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_holds("file", "old");
}

/* ---- temporary names ---- */

/* Gives the temporary name that a process with that number would use for a target. */
static void name_of(char name[64], const char *target, const char *process)
{
    struct output out;
    assert_int_equal(output_open(&out, target, &why), 0);
    snprintf(name, 64, "%.60s", out.made->path);
    output_abandon(&out);
    assert_memory_equal(name, ".longqlora-", 11);
    assert_true(temporary_is(name));
    snprintf(strrchr(name, '.') + 1, 16, "%s", process);
}

static bool holds_mark(const char *name) { return !strcmp(name, "mark"); }
static const struct folder_kind marked = { "a marked one", holds_mark, NULL };

static int leave(const char *name, bool is_folder, bool is_locked)
{
    if (is_folder) {
        char file[120];
        assert_int_equal(mkdir(name, 0700), 0);
        snprintf(file, sizeof file, "%s/mark", name);
        put(file, "");
    }
    int fd = open(name, is_folder ? O_RDONLY : O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    if (is_locked) assert_int_equal(flock(fd, LOCK_EX), 0);
    return fd;
}

/* The temporary files of a killed process are removed. Those that a process is writing stay, and so
 * do files that no program here made. */
static void test_temporaries_of_killed_processes_are_removed(void **state)
{
    (void)state;
    enum { KINDS = 9 };
    static const struct {
        const char *target, *process;
        bool is_folder, is_locked, goes_for_file, goes_for_folder;
    } all[KINDS] = {
        { "out", "4194400", false, false, true, true },
        { "out", "4194401", false, true, false, false },
        { "out", "4194402", true, false, false, true },
        { "out", "4194403", true, true, false, false },
        { "out", "4194404.old", false, false, false, false },
        { "out", "", false, false, false, false },
        { "out", "1", false, false, false, false }, /* a running process */
        { "out2", "4194400", false, false, false, false },
        { NULL, "out.tmp.20240101", false, false, false, false },
    };
    for (int folder = 0; folder < 2; folder++) {
        char name[KINDS][64];
        int fd[KINDS];
        for (int i = 0; i < KINDS; i++) {
            if (all[i].target)
                name_of(name[i], all[i].target, all[i].process);
            else
                snprintf(name[i], sizeof name[i], "%s", all[i].process);
        }
        for (int i = 0; i < KINDS; i++)
            fd[i] = leave(name[i], all[i].is_folder, all[i].is_locked);
        struct folder f;
        if (folder) {
            assert_int_equal(folder_open(&f, "out", &marked, &why), 0);
            folder_abandon(&f);
        } else {
            assert_int_equal(output_try("out", &why), 0);
        }
        for (int i = 0; i < KINDS; i++) {
            bool goes = folder ? all[i].goes_for_folder : all[i].goes_for_file;
            assert_int_equal(access(name[i], F_OK), goes ? -1 : 0);
            close(fd[i]);
        }
        assert_int_equal(system("rm -rf .longqlora-* out*"), 0);
    }
}

/* The number of a killed process may belong to another process now. Its temporary file is still
 * removed if it is not locked and nobody has written to it for hours. */
static void test_temporaries_of_a_reused_process_number_are_removed(void **state)
{
    (void)state;
    static const struct timespec long_ago[2] = { { .tv_sec = 1000000000 },
                                                 { .tv_sec = 1000000000 } };
    char name[64];
    name_of(name, "out", "1");
    for (int is_locked = 0; is_locked < 2; is_locked++) {
        int fd = leave(name, false, is_locked);
        assert_int_equal(utimensat(AT_FDCWD, name, long_ago, 0), 0);
        assert_int_equal(output_try("out", &why), 0);
        assert_int_equal(access(name, F_OK), is_locked ? 0 : -1);
        close(fd);
    }
}

/* A process that was killed keeps its number until its parent has waited for it. In a container
 * that may take long. Its temporary file is removed before that. */
static void test_temporaries_of_zombies_are_removed(void **state)
{
    (void)state;
    char name[64], process[24];
    siginfo_t ended;
    pid_t child = fork();
    if (!child) _exit(0);
    assert_int_equal(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT), 0);
    assert_int_equal(kill(child, 0), 0);
    snprintf(process, sizeof process, "%d", (int)child);
    name_of(name, "out", process);
    close(leave(name, false, false));
    assert_int_equal(output_try("out", &why), 0);
    assert_int_equal(access(name, F_OK), -1);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* The temporary folder of a killed process is removed, except for files that somebody put into
 * it. */
static void test_files_of_others_in_a_temporary_folder_stay(void **state)
{
    (void)state;
    char name[64], thesis[80], mark[80];
    struct folder f;
    name_of(name, "out", "4194400");
    close(leave(name, true, false));
    snprintf(thesis, sizeof thesis, "%s/thesis", name);
    snprintf(mark, sizeof mark, "%s/mark", name);
    put(thesis, "mine");
    assert_int_equal(folder_open(&f, "out", &marked, &why), 0);
    put_in(f.temporary, "mark");
    put_in(f.temporary, "theirs");
    folder_abandon(&f);
    assert_holds(thesis, "mine");
    assert_int_equal(access(mark, F_OK), -1);
    assert_int_equal(count_in(f.temporary[0] ? f.temporary : f.made.path), 1);
}

/* Process numbers repeat in containers. A temporary of the same name that another process has
 * locked is not touched. */
static void test_same_temporary_twice(void **state)
{
    (void)state;
    struct output out, again;
    struct folder f;
    char name[64], number[16];
    snprintf(number, sizeof number, "%ld", (long)getpid());
    name_of(name, "out", number);
    for (int folder = 0; folder < 2; folder++) {
        int fd = leave(name, folder, true);
        assert_refused(folder ? folder_open(&f, "out", &marked, &why)
                              : output_open(&out, "out", &why),
                       "another process is writing it");
        close(fd);
        /* Without a lock it belongs to a killed process of the same number. */
        assert_int_equal(
            folder ? folder_open(&f, "out", &marked, &why) : output_open(&out, "out", &why), 0);
        if (folder)
            folder_abandon(&f);
        else
            output_abandon(&out);
    }
    /* The same process already has it open. */
    assert_int_equal(output_open(&out, "out", &why), 0);
    assert_int_equal(output_open(&again, "out", &why), -1);
    assert_int_equal(output_close(&out, &why), 0);
    assert_int_equal(count_in("."), 1);
}

/* A file is not created through a link that leads elsewhere. */
static void test_creation_is_exclusive(void **state)
{
    (void)state;
    char name[64], number[16];
    snprintf(number, sizeof number, "%ld", (long)getpid());
    name_of(name, "out", number);
    put("victim", "mine");
    assert_int_equal(symlink("victim", name), 0);
    assert_int_equal(output_text("out", "x", &why), -1);
    assert_holds("victim", "mine");
    assert_int_equal(access("out", F_OK), -1);
}

static void test_too_many_open_outputs(void **state)
{
    (void)state;
    enum { MANY = 40 };
    struct output out[MANY];
    int opened = 0;
    for (char name[24]; opened < MANY; opened++) {
        snprintf(name, sizeof name, "file-%d", opened);
        if (output_open(&out[opened], name, &why)) break;
    }
    assert_true(opened >= 16 && opened < MANY);
    assert_non_null(strstr(why.text, "are being written already"));
    assert_int_equal(count_in("."), opened);
    output_remove_pending();
    assert_int_equal(count_in("."), 0);
    while (opened--)
        output_abandon(&out[opened]);
}

/* ---- folders ---- */

static void test_folder_is_whole_or_absent(void **state)
{
    (void)state;
    struct folder f;
    assert_int_equal(folder_open(&f, "made/here/model", &marked, &why), 0);
    put_in(f.temporary, "mark");
    assert_int_equal(access("made/here/model", F_OK), -1);
    assert_int_equal(folder_close(&f, &why), 0);
    assert_holds("made/here/model/mark", "text\n");
    assert_int_equal(count_in("made/here"), 1);
    /* If the output is abandoned, the old folder stays. A slash at the end does not make another
     * name. */
    assert_int_equal(folder_open(&f, "made/here/model//", &marked, &why), 0);
    folder_abandon(&f);
    assert_holds("made/here/model/mark", "text\n");
    assert_int_equal(folder_open(&f, "made/here/model", &marked, &why), 0);
    assert_int_equal(output_text("made/here/model/mark", "other\n", &why), 0);
    /* The new folder, which is empty, replaces the old one completely. */
    assert_int_equal(folder_close(&f, &why), 0);
    assert_int_equal(count_in("made/here/model"), 0);
    assert_int_equal(folder_open(&f, "made/here/model", &marked, &why), 0);
    folder_remove_pending();
    assert_int_equal(count_in("made/here"), 1);
    folder_abandon(&f);
    folder_abandon(&(struct folder){ 0 });
}

static int refuse(const char *path, struct fail *to)
{
    fail_with(to, STATUS_FAILED, "%s: not made here", path);
    return -1;
}

static void test_folder_with_other_files_stays(void **state)
{
    (void)state;
    struct folder f;
    static const struct folder_kind checked = { "a checked one", holds_mark, refuse };
    assert_int_equal(mkdir("p", 0755), 0);
    /* Replacing an empty folder loses nothing. */
    assert_int_equal(folder_check("p", &checked, &why), 0);
    put("p/mark", "x");
    assert_int_equal(folder_check("p", &marked, &why), 0);
    assert_refused(folder_check("p", &checked, &why), "p: not made here");
    put("p/zebra", "mine");
    put("p/apple", "mine");
    assert_refused(folder_open(&f, "p", &marked, &why), "p: holds apple, a file");
    assert_int_equal(unlink("p/apple") | unlink("p/zebra") | mkdir("p/mark2", 0755), 0);
    assert_refused(folder_open(&f, "p", &marked, &why), "p: holds mark2, a folder");
    assert_int_equal(rmdir("p/mark2") | rename("p/mark", "elsewhere"), 0);
    assert_int_equal(symlink("../elsewhere", "p/mark"), 0);
    assert_refused(folder_open(&f, "p", &marked, &why), "p: holds mark, a link");
    assert_int_equal(unlink("p/mark"), 0);
    put("file", "x");
    assert_refused(folder_open(&f, "file", &marked, &why), "not a folder");
    assert_refused(folder_open(&f, "file/x", &marked, &why), "file/x: Not a directory");
    assert_refused(folder_open(&f, "/dev/null", &marked, &why), "not a folder");
    assert_refused(folder_open(&f, "-", &marked, &why), "the output is a folder");
    assert_refused(folder_open(&f, "", &marked, &why), "an empty name");
    assert_refused(folder_open(&f, ".", &marked, &why), "cannot be replaced as a whole");
    assert_refused(folder_open(&f, "p/..", &marked, &why), "cannot be replaced as a whole");
    assert_refused(folder_open(&f, "/", &marked, &why), "cannot be replaced as a whole");
    /* Files that appear while the folder is made are found before the folder is replaced. */
    assert_int_equal(folder_open(&f, "p", &marked, &why), 0);
    put_in(f.temporary, "mark");
    put("p/thesis", "mine");
    assert_refused(folder_close(&f, &why), "p: holds thesis");
    assert_holds("p/thesis", "mine");
    assert_int_equal(count_in("."), 3);
    assert_int_equal(unlink("p/thesis") | rmdir("p"), 0);
}

static void test_folder_keeps_link_and_modes(void **state)
{
    (void)state;
    struct folder f;
    assert_int_equal(mkdir("big", 0755) | mkdir("big/model", 0755), 0);
    put("big/model/mark", "old");
    assert_int_equal(chmod("big/model", 02700) | chmod("big/model/mark", 0640), 0);
    assert_int_equal(symlink("big/model", "link") | symlink("big/new", "dangling"), 0);
    assert_int_equal(folder_open(&f, "link", &marked, &why), 0);
    assert_int_equal(mode_of(f.temporary) & 0777, 0700);
    put_in(f.temporary, "mark");
    assert_int_equal(folder_close(&f, &why), 0);
    assert_true(S_ISLNK(mode_of("link")));
    assert_holds("link/mark", "text\n");
    assert_int_equal(mode_of("big/model"), S_IFDIR | 02700);
    assert_int_equal(mode_of("big/model/mark"), S_IFREG | 0640);
    assert_int_equal(folder_open(&f, "dangling", &marked, &why), 0);
    assert_int_equal(folder_close(&f, &why), 0);
    assert_true(S_ISLNK(mode_of("dangling")) && S_ISDIR(mode_of("big/new")));
    assert_int_equal(count_in("big"), 2);
}

/* Several processes make the same folder at the same time. They replace it one after the other, and
 * it is always whole. */
static void test_folder_made_by_several_processes(void **state)
{
    (void)state;
    enum { MANY = 8 };
    pid_t children[MANY];
    int failed = 0;
    for (int i = 0; i < MANY; i++) {
        children[i] = fork();
        if (children[i]) continue;
        struct folder f;
        char file[4200];
        int bad = folder_open(&f, "model", &marked, &why);
        snprintf(file, sizeof file, "%s/mark", f.temporary);
        _exit(bad || output_text(file, "text\n", &why) || folder_close(&f, &why));
    }
    for (int i = 0; i < MANY; i++) {
        int status;
        waitpid(children[i], &status, 0);
        failed += status != 0;
    }
    assert_int_equal(failed, 0);
    assert_holds("model/mark", "text\n");
    assert_int_equal(count_in("."), 1);
}

/* ---- inputs and outputs ---- */

static void test_no_output_is_an_input(void **state)
{
    (void)state;
    static const char *const names[] = {
        "in", "./in", "hard", "soft", "d/in", "d/d/in", "/proc/self/cwd/in"
    };
    put("in", "mine");
    assert_int_equal(link("in", "hard") | symlink("in", "soft") | symlink(".", "d"), 0);
    for (int order = 0; order < 2; order++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            file_guard_reset();
            if (order) {
                assert_int_equal(file_guard_output("-o ", names[i], &why), 0);
                assert_refused(file_guard_input("", "in", &why), "is the input in: name another");
            } else {
                assert_int_equal(file_guard_input("", "in", &why), 0);
                assert_refused(file_guard_output("-o ", names[i], &why), "is the input in");
                assert_memory_equal(why.text, "-o ", 3);
                assert_refused(output_text(names[i], "x", &why), "is the input in");
            }
            assert_int_equal(why.status, STATUS_USAGE);
        }
    assert_holds("in", "mine");
    /* A file that was not declared as an input, but is open, counts as an input. */
    file_guard_reset();
    int fd = open("in", O_RDONLY);
    assert_refused(output_text("soft", "x", &why), "is read at the same time");
    close(fd);
    assert_int_equal(output_text("soft", "x", &why), 0);
}

/* How many copies of texts are made before one fails; negative: none fails. */
static int copies = -1;
char *strdup(const char *text)
{
    if (copies >= 0 && !copies--) return NULL;
    size_t bytes = strlen(text) + 1;
    char *copy = malloc(bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

static bool holds_any(const char *name) { return *name != '.'; }

/* A path is guarded, or memory has run out. */
static void test_a_path_that_was_not_copied_is_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir("d", 0755), 0);
    put("d/in", "mine");
    int failed = 0, status = -1;
    for (int n = 0; status; n++) {
        file_guard_reset();
        copies = n;
        status = file_guard_output("-o ", "new", &why) ||
                 file_guard_input_folder("", "d", holds_any, &why);
        copies = -1;
        failed += status != 0;
        if (status) assert_string_equal(why.text, "out of memory");
    }
    /* A label and a path for each of new, d and d/in; standard error may have a label, too. */
    assert_in_range(failed, 6, 7);
}

static void test_two_outputs_are_not_one_file(void **state)
{
    (void)state;
    assert_int_equal(mkdir("d", 0755) | symlink("d", "e"), 0);
    assert_int_equal(file_guard_output("-o ", "d/new", &why), 0);
    assert_refused(file_guard_output("--summary ", "e/new", &why),
                   "is written already, as -o d/new");
    assert_int_equal(file_guard_output("--summary ", "e/other", &why), 0);
    assert_refused(file_guard_input("", "d", &why) | file_guard_output("--x ", "d/other", &why),
                   "is written already, as --summary e/other");
    /* One pipe, or standard output, cannot be used for two outputs. But messages may go to the same
     * place as the result. */
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(file_guard_output("-o ", "pipe", &why), 0);
    assert_refused(file_guard_output("--summary ", "pipe", &why), "is written already");
    assert_int_equal(file_guard_input("", "pipe", &why), 0);
    pid_t child = fork();
    if (!child) {
        int ends[2];
        file_guard_reset();
        if (pipe(ends) || dup2(ends[1], 1) < 0 || dup2(ends[1], 2) < 0) _exit(1);
        if (file_guard_output("-o ", "-", &why)) _exit(2);
        if (!file_guard_output("--summary ", "-", &why)) _exit(3);
        if (!file_guard_output("--summary ", "/dev/stdout", &why)) _exit(4);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 0);
    /* These are never refused. */
    for (int i = 0; i < 3; i++)
        assert_int_equal(file_guard_output("-o ", "/dev/null", &why) |
                             file_guard_input("", "/dev/null", &why) |
                             file_guard_input("", "not/there", &why),
                         0);
}

static void test_folders_and_their_files(void **state)
{
    (void)state;
    assert_int_equal(mkdir("base", 0755) | mkdir("out", 0755), 0);
    put("blob", "x");
    assert_int_equal(symlink("../blob", "base/mark") | symlink("base", "model"), 0);
    assert_int_equal(file_guard_input_folder("--base ", "model", holds_mark, &why), 0);
    assert_refused(file_guard_output_folder("-o ", "base", holds_mark, &why), "is the input");
    assert_refused(file_guard_output("-o ", "base/mark", &why), "input");
    assert_refused(file_guard_output("-o ", "blob", &why), "is the input --base model/mark");
    assert_int_equal(file_guard_output("-o ", "base/scores", &why), 0);
    assert_int_equal(file_guard_output_folder("-o ", "base/merged", holds_mark, &why), 0);
    assert_int_equal(unlink("base/mark"), 0);
    assert_refused(file_guard_output("-o ", "base/mark", &why), "would become a part of the input");
    /* The opposite case: an input lies in the folder that is written. */
    put("out/mark", "x");
    put("out/data", "x");
    assert_int_equal(file_guard_output_folder("-o ", "out", holds_mark, &why), 0);
    assert_refused(file_guard_input("", "out/mark", &why), "input out/mark");
    assert_int_equal(file_guard_input("", "out/data", &why), 0);
}

/* Standard input is redirected from a file, standard output to a file. */
static void test_redirected_streams(void **state)
{
    (void)state;
    put("in", "mine");
    pid_t child = fork();
    if (!child) {
        int in = open("in", O_RDONLY), out = open("in", O_WRONLY | O_APPEND);
        dup2(in, 0);
        if (file_guard_input("", "-", &why) || !file_guard_output("-o ", "in", &why)) _exit(1);
        if (!strstr(why.text, "-o in: is the input standard input")) _exit(2);
        file_guard_reset();
        dup2(out, 1);
        if (file_guard_input("", "in", &why) || !file_guard_output("-o ", "-", &why)) _exit(3);
        if (!strstr(why.text, "standard output: is the input in")) _exit(4);
        file_guard_reset();
        close(1);
        dup2(out, 2);
        if (!file_guard_input("", "in", &why)) _exit(5);
        if (!strstr(why.text, "standard error: is the input in")) _exit(6);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- companions ---- */

static struct companions_place in_folder(const char *path)
{
    return (struct companions_place){ .folder = path };
}

static int try_reading(struct companions_place from, struct fail *fault)
{
    struct companions *all;
    int status = companions_read(&all, from, fault);
    if (!status) companions_free(all);
    return status;
}

static void test_companions(void **state)
{
    (void)state;
    assert_int_equal(mkdir("model", 0755) | mkdir("to", 0755), 0);
    put("secret", "key");
    put("model/LICENSE.real", "free");
    assert_int_equal(symlink("LICENSE.real", "model/LICENSE"), 0);
    put("model/tokenizer.model", "t");
    assert_int_equal(try_reading(in_folder("model"), &why), 0);
    struct companions *all;
    assert_int_equal(companions_read(&all, in_folder("model"), &why), 0);
    assert_true(companions_hold(all, "LICENSE") && !companions_hold(all, "NOTICE"));
    /* After the files were read, changes of the folder do not matter. */
    assert_int_equal(rename("model", "moved"), 0);
    assert_int_equal(companions_write(all, "to", &why), 0);
    assert_int_equal(rename("moved", "model"), 0);
    assert_holds("to/LICENSE", "free");
    assert_true(S_ISREG(mode_of("to/LICENSE")));
    /* A file with the same content may already be there. */
    assert_int_equal(companions_write(all, "to", &why), 0);
    put("to/LICENSE", "mine");
    assert_refused(companions_write(all, "to", &why), "to/LICENSE: is another file");
    companions_free(all);
    assert_holds("to/LICENSE", "mine");
    assert_int_equal(symlink("../secret", "model/NOTICE"), 0);
    assert_refused(try_reading(in_folder("model"), &why), "model/NOTICE: leads to ");
    assert_int_equal(unlink("model/NOTICE") | symlink("gone", "model/NOTICE"), 0);
    assert_refused(try_reading(in_folder("model"), &why), "model/NOTICE: the link cannot");
    assert_int_equal(unlink("model/NOTICE") | mkfifo("model/NOTICE", 0600), 0);
    assert_refused(try_reading(in_folder("model"), &why),
                   "model/NOTICE: this is not a regular file");
    assert_int_equal(unlink("model/NOTICE"), 0);
    put("model/NOTICE", "x");
    assert_int_equal(truncate("model/NOTICE", COMPANION_MAX + 1), 0);
    assert_refused(try_reading(in_folder("model"), &why), "at most 64 MiB");
    assert_refused(try_reading(in_folder("secret"), &why), "secret: this is not a folder");
    assert_int_equal(companion_is("tokenizer.json") && !companion_is("thesis.txt"), 1);
}

static void test_companions_in_the_hub_cache(void **state)
{
    (void)state;
    static const char *const folders[] = { "hub",
                                           "hub/models--a--b",
                                           "hub/models--a--b/snapshots",
                                           "hub/models--a--b/snapshots/rev",
                                           "hub/models--a--b/blobs",
                                           "hub/models--c--d" };
    static const char snapshot[] = "hub/models--a--b/snapshots/rev";
    for (int i = 0; i < 6; i++)
        assert_int_equal(mkdir(folders[i], 0755), 0);
    put("hub/models--a--b/blobs/0123", "t");
    put("hub/models--c--d/key", "private");
    assert_int_equal(symlink("../../blobs/0123", "hub/models--a--b/snapshots/rev/LICENSE"), 0);
    assert_int_equal(try_reading(in_folder(snapshot), &why), 0);
    assert_int_equal(symlink("../../../models--c--d/key", "hub/models--a--b/snapshots/rev/NOTICE"),
                     0);
    assert_refused(try_reading(in_folder(snapshot), &why), "NOTICE: leads to ");
    assert_int_equal(unlink("hub/models--a--b/snapshots/rev/NOTICE"), 0);
    /* A template in the subfolder may be a link to a blob too. */
    assert_int_equal(mkdir("hub/models--a--b/snapshots/rev/additional_chat_templates", 0755), 0);
    assert_int_equal(
        symlink("../../../blobs/0123",
                "hub/models--a--b/snapshots/rev/additional_chat_templates/default.jinja"),
        0);
    struct companions *all;
    size_t bytes;
    assert_int_equal(companions_read(&all, in_folder(snapshot), &why), 0);
    assert_string_equal(companions_text(all, "chat_template.jinja", &bytes), "t");
    companions_free(all);
    /* The folder has the names of the hub's cache, but its blobs are somewhere else. */
    assert_int_equal(rename("hub/models--a--b/blobs", "elsewhere"), 0);
    assert_int_equal(symlink("../../elsewhere", "hub/models--a--b/blobs"), 0);
    assert_refused(try_reading(in_folder(snapshot), &why), "LICENSE: leads to ");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_output_is_whole_or_absent),
        TEST(test_output_to_a_pipe),
        TEST(test_output_to_a_descriptor),
        TEST(test_impossible_file_names),
        TEST(test_long_paths),
        TEST(test_links_stay),
        TEST(test_permissions_stay),
        TEST(test_access_lists_stay),
        TEST(test_users_attributes_stay),
        TEST(test_append_only_files),
        TEST(test_write_protected_files),
        TEST(test_temporaries_of_killed_processes_are_removed),
        TEST(test_temporaries_of_a_reused_process_number_are_removed),
        TEST(test_temporaries_of_zombies_are_removed),
        TEST(test_files_of_others_in_a_temporary_folder_stay),
        TEST(test_same_temporary_twice),
        TEST(test_creation_is_exclusive),
        TEST(test_too_many_open_outputs),
        TEST(test_folder_is_whole_or_absent),
        TEST(test_folder_with_other_files_stays),
        TEST(test_folder_made_by_several_processes),
        TEST(test_folder_keeps_link_and_modes),
        TEST(test_no_output_is_an_input),
        TEST(test_a_path_that_was_not_copied_is_refused),
        TEST(test_two_outputs_are_not_one_file),
        TEST(test_folders_and_their_files),
        TEST(test_redirected_streams),
        TEST(test_companions),
        TEST(test_companions_in_the_hub_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
