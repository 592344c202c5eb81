/* zip.h - lists the entries of a zip archive in memory. The entries must be stored uncompressed, as
 * torch.save writes them.
 *
 * Source: APPNOTE.TXT 6.3.10; sections 4.3 and 4.5.3 for zip64. Zip libraries are not used, because
 * they return copies of the data, and here the data stay where the file is mapped.
 */
#ifndef LONGQLORA_TENSORFILE_ZIP_H
#define LONGQLORA_TENSORFILE_ZIP_H

#include "lib/common/fail.h"

#include <stddef.h>
#include <stdint.h>

enum { ZIP_ENTRIES_MAX = 1 << 20 };

struct zip_entry {
    const char *name; /* points into the archive; no terminating zero */
    size_t name_bytes;
    const unsigned char *data;
    uint64_t bytes;
};

struct zip {
    struct zip_entry *at; /* sorted by name */
    size_t count;
};

/* Lists the entries of archive[bytes] and checks that they do not overlap. The entries point into
 * the archive, which must outlive them. The caller closes *z. */
int zip_open(struct zip *z, const void *archive, size_t bytes, struct fail *why) MUST_USE;
/* Finds an entry by name; NULL if there is none. */
const struct zip_entry *zip_find(const struct zip *z, const char *name);
void zip_close(struct zip *z);

#endif
