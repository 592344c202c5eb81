/* seek_table.h - constants of the container's bytes, for its two halves and tests. */
#ifndef LONGQLORA_STREAM_SEEK_TABLE_H
#define LONGQLORA_STREAM_SEEK_TABLE_H

#define SEEK_SKIPPABLE_MAGIC 0x184D2A5Eu /* zstd seekable format, version 0.1.0 */
#define SEEK_FOOTER_MAGIC 0x8F92EAB1u

enum { SEEK_ENTRY = 8, SEEK_FOOT = 9, SKIPPABLE_HEAD = 8 };

#endif
