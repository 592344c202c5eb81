/* hub_name.h - recognises a Hugging Face hub name ("owner/name") that was given instead of a
 * path. */
#ifndef LONGQLORA_HUB_NAME_H
#define LONGQLORA_HUB_NAME_H

#include "lib/common/fail.h"

#include <stdbool.h>

/* Fails with the text of the errno `error`, for a path that could not be opened. If the path looks
 * like a hub name, the message says how to download the repository. If the hub's cache on this
 * machine already has it, the message says where. Returns -1. */
int hub_name_absent(const char *path, int error, struct fail *why);
/* Finds the snapshot of the main branch, or else the first snapshot in order of names, in a
 * repository's folder of the hub's cache. Returns false if there is none. */
bool hub_find_snapshot(const char *repository, char path[4096]);

#endif
