/* table.h - writes scores as a table, as a table in Markdown, or as JSON.
 */
#ifndef LONGQLORA_NEEDLE_TABLE_H
#define LONGQLORA_NEEDLE_TABLE_H

#include "tools/needle/score.h"

/* to: "table", "markdown", "json", or "auto", which means the form of the path's suffix. The file
 * appears only when it is complete; "-" is standard output. */
int table_write(const struct scores *s, const char *to, const char *path,
                struct fail *why) MUST_USE;

#endif
