/* provenance.h - records which files of a model's directory our programs wrote. Our programs
 * replace a directory only if it has no other files.
 *
 * config.json is written last. It has an additional key with the program's name and the XXH3-128
 * hash of each file in the directory:
 *
 *     "longqlora": {"made_by": "merge", "files": {"model.safetensors": "…", "config.json": "…"}}
 *
 * The digest of config.json itself is computed without its own entry in "files". If somebody has
 * changed or added a file, the digests show it, and the directory is not replaced. A model that
 * `train` made has no such key, so only the run that made the model replaces it.
 */
#ifndef LONGQLORA_LLAMA_PROVENANCE_H
#define LONGQLORA_LLAMA_PROVENANCE_H

#include "lib/common/json.h"

/* Adds the key "longqlora" to a config that will be written as `folder`/config.json. files: an
 * object with the digests that are already known. provenance_add adds the digests of the other
 * files in the folder. */
int provenance_add(json_t *config, const char *made_by, json_t *files, const char *folder,
                   struct fail *why) MUST_USE;
/* Fails unless every file of the folder is as merge or quantize wrote it. The message names the
 * first file that is not. Reads each file once per process, unless the folder changes. */
int provenance_check(const char *folder, struct fail *why) MUST_USE;
/* Removes the key from a config, because the key does not describe the model. */
void provenance_remove(json_t *config);

#endif
