/* made.h - records which files of a model's directory our programs wrote, so that they may replace
 * these and nothing else.
 *
 * config.json, which is written last, has an additional key with the program's name and the
 * XXH3-128 of each file in the directory:
 *
 *     "longqlora": {"made_by": "merge", "files": {"model.safetensors": "…", "config.json": "…"}}
 *
 * The digest of config.json itself is computed without that entry. A file that somebody has changed
 * or added no longer matches, and is not replaced. A model that `train` made has no such key, so
 * only its own run replaces it.
 */
#ifndef LONGQLORA_MADE_H
#define LONGQLORA_MADE_H

#include "lib/common/json.h"

/* Adds the key to a config that will be written as `folder`/config.json. files: an object with the
 * digests that are already known; the digests of the other files in the folder are added to it. */
int made_sign(json_t *config, const char *made_by, json_t *files, const char *folder,
              struct fail *why) MUST_USE;
/* Fails unless every file of the folder is as merge or quantize wrote it; the message names the
 * first that is not. Reads each file once per process, unless the folder changes. */
int made_check(const char *folder, struct fail *why) MUST_USE;
/* Removes the key from a config, because it does not describe the model. */
void made_forget(json_t *config);

#endif
