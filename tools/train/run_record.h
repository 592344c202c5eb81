/* run_record.h - is what stands in longqlora-run.json a record that this program may have written?
 *
 * A run's folder may come from somebody else, and what its record names is replaced and removed: no
 * name in it leads out of the folder.
 */
#ifndef LONGQLORA_RUN_RECORD_H
#define LONGQLORA_RUN_RECORD_H

#include "lib/common/json.h"

/* What the names of folders begin with that are being made; 16 hexadecimal digits follow. */
#define RUN_MARK ".longqlora-run-"

bool run_record_is_sound(const json_t *record);

#endif
