/* zip.h - the entries of a zip archive in memory, which must be stored uncompressed: what
 * torch.save writes (APPNOTE.TXT 6.3.10; sections 4.3 and 4.5.3 for zip64).
 *
 * For mapped data: libraries give out copies, not places.
 */
#ifndef LONGQLORA_TENSORFILE_ZIP_H
#define LONGQLORA_TENSORFILE_ZIP_H

#include "lib/common/fail.h"

#include <stddef.h>
#include <stdint.h>

enum { ZIP_ENTRIES_MAX = 1 << 20 };

struct zip_entry {
    const char *name; /* in the archive; not ended by NUL */
    size_t name_bytes;
    const unsigned char *data;
    uint64_t bytes;
};

struct zip {
    struct zip_entry *at; /* in the order of names */
    size_t count;
};

/* Entries lie in the archive, whose memory must outlive them, and do not overlap. */
int zip_open(struct zip *z, const void *archive, size_t bytes, struct fail *why) MUST_USE;
const struct zip_entry *zip_find(const struct zip *z, const char *name);
void zip_close(struct zip *z);

#endif
