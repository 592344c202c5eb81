#include "lib/common/program.h"

#include "lib/common/compiler.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

enum { NAME_BYTES = 256 }; /* bytes of the longest file name, including its NUL */

static const char *const tools[] = { "generate", "merge",    "needle",   "pack",
                                     "ppl",      "quantize", "tokenize", "train" };
enum { TOOLS = sizeof tools / sizeof *tools };

static char own[NAME_BYTES] = "longqlora";
/* The commands that run the tools: their names on this system, behind the folder with which this
 * program was started. "" if they are called as in the source tree. */
static char names[TOOLS][NAME_BYTES];

static bool is_long(const char *name) { return strlen(name) >= NAME_BYTES; }

/* True if a shell reads the path as it stands. */
static bool is_plain_path(const char *path)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_+./";
    return !is_long(path) && !path[strspn(path, plain)] && *path != '-';
}

void program_begin(const char *argv0, const char *tool)
{
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
    const char *name = slash ? slash + 1 : argv0;
    if (!name || !*name || is_long(name)) name = tool;
    snprintf(own, sizeof own, "%s", name);
    size_t length = strlen(name), behind = strlen(tool);
    if (length < behind || strcmp(name + length - behind, tool) != 0) return;
    const char *from = slash && is_plain_path(argv0) ? argv0 : name;
    size_t before = (size_t)(name - from) + length - behind;
    for (int i = 0; i < TOOLS; i++)
        if (before + strlen(tools[i]) < NAME_BYTES)
            snprintf(names[i], sizeof names[i], "%.*s%s", (int)before, from, tools[i]);
}

const char *program_name(void) { return own; }

const char *program_of(const char *tool)
{
    for (int i = 0; i < TOOLS; i++)
        if (!strcmp(tools[i], tool) && *names[i]) return names[i];
    return tool;
}

/* Returns the tool whose name is the first word of the text, or NULL if that word is no tool. */
static const char *tool_at(const char *text)
{
    size_t length = strcspn(text, " \n");
    for (int i = 0; i < TOOLS; i++)
        if (strlen(tools[i]) == length && !memcmp(tools[i], text, length)) return tools[i];
    return NULL;
}

/* Finds the recipes of an installed program: "/usr/share/longqlora/recipes/" if it is in
 * /usr/bin/. */
static bool find_recipes(char *path, size_t size)
{
    char link[4096];
    ssize_t n = readlink("/proc/self/exe", link, sizeof link - 1);
    for (int up = 0; up < 2 && n > 0; up++)
        for (n--; n > 0 && link[n] != '/';)
            n--;
    if (n < 0) return false;
    link[n] = 0;
    int length = snprintf(path, size, "%s/share/longqlora/recipes/", link);
    return length > 0 && (size_t)length < size && !strchr(path, '\'') && !access(path, R_OK);
}

void program_command(const char *command, char *text, size_t size)
{
    static const char in_tree[] = "recipes/";
    char recipes[4200];
    bool is_installed = find_recipes(recipes, sizeof recipes), begins = true;
    size_t used = 0;
    for (const char *at = command; *at && used < size;) {
        const char *tool = begins ? tool_at(at) : NULL;
        bool is_word = at == command || at[-1] == ' ';
        begins = at[0] == ' ' && at > command && at[-1] == '|';
        int length;
        if (tool) {
            length = snprintf(text + used, size - used, "%s", program_of(tool));
            at += strlen(tool);
        } else if (is_installed && is_word && !strncmp(at, in_tree, sizeof in_tree - 1)) {
            length =
                snprintf(text + used, size - used, strchr(recipes, ' ') ? "'%s'" : "%s", recipes);
            at += sizeof in_tree - 1;
        } else {
            length = snprintf(text + used, size - used, "%c", *at++);
        }
        used += (size_t)length;
    }
}

bool program_plugin(const char *name, char path[4096])
{
    enum { SIZE = 4096, NAME = 64 };
    ssize_t n = readlink("/proc/self/exe", path, SIZE - NAME);
    if (n < 0) return false;
    path[n] = 0;
    char *file = strrchr(path, '/') + 1;
    size_t capacity = SIZE - (size_t)(file - path);
    snprintf(file, capacity, "%s", name);
    if (access(path, F_OK)) snprintf(file, capacity, "../lib/longqlora/%s", name);
    return true;
}
