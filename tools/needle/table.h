/* table.h - writes scores as a table, as a table in Markdown, or as JSON.
 */
#ifndef LONGQLORA_NEEDLE_TABLE_H
#define LONGQLORA_NEEDLE_TABLE_H

#include "tools/needle/score.h"

/* to: "table", "markdown", "json", or "auto", which goes by the end of the path. The file is
 * complete or absent; "-" is standard output. */
int table_write(const struct scores *s, const char *to, const char *path,
                struct fail *why) MUST_USE;

#endif
