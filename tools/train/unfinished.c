#include "tools/train/unfinished.h"

#include "lib/common/target.h"
#include "lib/common/temporary.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A name that a signal handler can read. is_set is written after the text, so the handler sees
 * either a complete text or none. */
struct name {
    volatile sig_atomic_t is_set;
    char at[4096];
    /* The length of the path up to its first missing folder. Only `places` uses it. */
    size_t missing;
    /* The folder that was made there; 0: unknown. Only `places` uses it. */
    dev_t device;
    ino_t number;
};

static struct name folder, record, places[2];

static void remember(struct name *name, const char *path, size_t missing)
{
    name->is_set = 0;
    if (!path) return;
    atomic_signal_fence(memory_order_seq_cst);
    snprintf(name->at, sizeof name->at, "%s", path);
    name->missing = missing;
    name->number = 0;
    atomic_signal_fence(memory_order_seq_cst);
    name->is_set = 1;
}

/* True if somebody moved the folder away, and another one may have its name now. */
static bool is_other(const struct name *place)
{
    struct stat st;
    return place->number &&
           (stat(place->at, &st) || st.st_dev != place->device || st.st_ino != place->number);
}

/* Removes the folder at the path, and the folders above it that did not exist before, if they are
 * empty.
 */
static void remove_place(struct name *place)
{
    if (is_other(place)) return;
    while (place->is_set && strlen(place->at) >= place->missing && !rmdir(place->at)) {
        char *slash = strrchr(place->at, '/');
        if (!slash || slash == place->at) return;
        *slash = 0;
    }
}

void unfinished_folder_remove(void)
{
    if (folder.is_set && !temporary_empty_folder(folder.at, temporary_holds_any)) folder.is_set = 0;
}

static void remove_all(void)
{
    unfinished_folder_remove();
    if (record.is_set) unlink(record.at);
    remove_place(&places[UNFINISHED_EVENTS]);
    remove_place(&places[UNFINISHED_RUN]);
}

static void begin(void)
{
    static bool has_begun;
    if (has_begun) return;
    has_begun = true;
    atexit(remove_all);
    temporary_on_removal(remove_all);
}

/* Follows a symbolic link, because the folder to which it leads is the one that is created. */
void unfinished_place(enum unfinished_place which, const char *path)
{
    struct target t;
    struct fail ignored;
    char part[4096];
    begin();
    if (target_find(&t, path, &ignored)) return;
    for (size_t i = 1; i <= strlen(t.path); i++) {
        if (t.path[i] != '/' && t.path[i]) continue;
        snprintf(part, sizeof part, "%.*s", (int)i, t.path);
        if (!access(part, F_OK)) continue;
        remember(&places[which], t.path, i);
        return;
    }
}

void unfinished_place_made(enum unfinished_place which)
{
    struct name *place = &places[which];
    struct stat st;
    if (!place->is_set || place->number || stat(place->at, &st)) return;
    place->device = st.st_dev;
    atomic_signal_fence(memory_order_seq_cst);
    place->number = st.st_ino;
}

void unfinished_place_taken(enum unfinished_place which) { places[which].is_set = 0; }
void unfinished_folder(const char *path)
{
    begin();
    remember(&folder, path, 0);
}

void unfinished_record(const char *path) { remember(&record, path, 0); }
