/* run_record.h - checks that longqlora-run.json is a record that this program could have written.
 *
 * A run's folder may come from somebody else, and the program replaces and removes files that the
 * record lists. So no name in the record may lead out of the folder.
 */
#ifndef LONGQLORA_RUN_RECORD_H
#define LONGQLORA_RUN_RECORD_H

#include "lib/common/json.h"

/* The beginning of the names of temporary folders; 16 hexadecimal digits follow. */
#define RUN_MARK ".longqlora-run-"

bool run_record_is_sound(const json_t *record);
/* Does the record list a file or folder of this name? record may be NULL. */
bool run_record_lists(const json_t *record, const char *name);

#endif
