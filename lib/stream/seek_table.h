/* seek_table.h - constants of zstd's seekable format, for frames.c and writer.c.
 *
 * Source: zstd_seekable_compression_format.md of zstd, version 0.1.0.
 */
#ifndef LONGQLORA_STREAM_SEEK_TABLE_H
#define LONGQLORA_STREAM_SEEK_TABLE_H

/* Magic number of the skippable frame that holds the table. */
#define SEEK_SKIPPABLE_MAGIC 0x184D2A5Eu
#define SEEK_FOOTER_MAGIC 0x8F92EAB1u

enum { SEEK_ENTRY = 8, SEEK_FOOT = 9, SKIPPABLE_HEAD = 8 };

#endif
