/* made.h - what a program of ours wrote into a model's directory, so that it may replace that and
 * nothing else.
 *
 * config.json, which is written last, says beside the model's own keys who made the directory and
 * the XXH3-128 of each of its files:
 *
 *     "longqlora": {"made_by": "merge", "files": {"model.safetensors": "…", "config.json": "…"}}
 *
 * config.json's own digest is that of its text without itself. What somebody changed since, or
 * put there, is no longer what the program wrote, and stays. A model that `train` made has no such
 * key: nothing replaces it but its own run.
 */
#ifndef LONGQLORA_MADE_H
#define LONGQLORA_MADE_H

#include "lib/common/json.h"

/* Puts the key into a config that is to be written as `folder`/config.json. files: an object with
 * the digests that are known already; it gets those of the other files of the folder. */
int made_sign(json_t *config, const char *made_by, json_t *files, const char *folder,
              struct fail *why) MUST_USE;
/* Are all files of the folder what merge or quantize wrote there? Fails naming the first that is
 * not. Reads each once a process, as long as nothing in the folder changes. */
int made_check(const char *folder, struct fail *why) MUST_USE;
/* Removes the key: what a model is does not depend on it. */
void made_forget(json_t *config);

#endif
