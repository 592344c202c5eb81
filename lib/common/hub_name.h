/* hub_name.h - a name of the hub where a path was to be. */
#ifndef LONGQLORA_HUB_NAME_H
#define LONGQLORA_HUB_NAME_H

#include "lib/common/fail.h"

#include <stdbool.h>

/* Fails for a path that could not be opened, by its errno. Of owner/name it says how to fetch it,
 * or where the hub's cache has it. Returns -1. */
int hub_name_absent(const char *path, int error, struct fail *why);
/* Of a repository in the hub's cache: the folder that its main branch is in. */
bool hub_find_snapshot(const char *repository, char path[4096]);

#endif
