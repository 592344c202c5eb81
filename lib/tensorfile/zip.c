#include "lib/tensorfile/zip.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the records' fixed parts, and then the signatures with which the records begin. */
enum { LOCAL_HEAD = 30, CENTRAL_HEAD = 46, END = 22, END64 = 56, LOCATOR64 = 20 };
enum { LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END_MARK = 0x06054b50 };
enum { END64_MARK = 0x06064b50, LOCATOR64_MARK = 0x07064b50 };

/* The archive, and the position of its central directory. */
struct archive {
    const unsigned char *bytes;
    uint64_t size, directory, directory_end, entries;
};

static uint64_t get(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

/* Finds the end record, which only a comment of up to 65535 bytes may follow. */
static int find_end(struct archive *a, uint64_t *end, struct fail *why)
{
    for (uint64_t comment = 0; comment <= UINT16_MAX && comment + END <= a->size; comment++) {
        uint64_t at = a->size - END - comment;
        if (get(a->bytes + at, 4) == END_MARK && get(a->bytes + at + 20, 2) == comment) {
            *end = at;
            return 0;
        }
    }
    return fail_input(why, "no zip directory at its end (truncated? fetch it again)");
}

static int find_directory(struct archive *a, struct fail *why)
{
    uint64_t end, bytes;
    if (find_end(a, &end, why)) return -1;
    const unsigned char *record = a->bytes + end;
    a->entries = get(record + 10, 2);
    bytes = get(record + 12, 4);
    a->directory = get(record + 16, 4);
    if (end >= LOCATOR64 && get(record - LOCATOR64, 4) == LOCATOR64_MARK) {
        uint64_t at = get(record - LOCATOR64 + 8, 8);
        if (at > end - LOCATOR64 || end - LOCATOR64 - at < END64 ||
            get(a->bytes + at, 4) != END64_MARK)
            return fail_input(why, "its zip64 end record is not where it should be");
        a->entries = get(a->bytes + at + 32, 8);
        bytes = get(a->bytes + at + 40, 8);
        a->directory = get(a->bytes + at + 48, 8);
    }
    if (a->directory > end || bytes > end - a->directory)
        return fail_input(why, "its zip directory is not in the file");
    if (a->entries > ZIP_ENTRIES_MAX || a->entries > bytes / CENTRAL_HEAD)
        return fail_input(
            why,
            "the zip has %llu entries in a directory of %llu bytes, but at most %d are possible",
            (unsigned long long)a->entries, (unsigned long long)bytes, ZIP_ENTRIES_MAX);
    a->directory_end = a->directory + bytes;
    return 0;
}

/* Replaces sizes and offsets whose bits are all ones by the 64-bit values of the extra field. */
static int read_zip64(const unsigned char *extra, uint64_t bytes, uint64_t *size, uint64_t *packed,
                      uint64_t *offset, struct fail *why)
{
    uint64_t *const wide[] = { size, packed, offset };
    bool is_needed = *size == UINT32_MAX || *packed == UINT32_MAX || *offset == UINT32_MAX;
    for (uint64_t at = 0; is_needed && at + 4 <= bytes;) {
        uint64_t id = get(extra + at, 2), length = get(extra + at + 2, 2);
        at += 4;
        if (length > bytes - at) break;
        for (int i = 0; id == 1 && i < 3; i++) {
            if (*wide[i] != UINT32_MAX) continue;
            if (length < 8) return fail_input(why, "zip64 sizes are cut");
            *wide[i] = get(extra + at, 8);
            at += 8;
            length -= 8;
        }
        if (id == 1) return 0;
        at += length;
    }
    return is_needed ? fail_input(why, "zip64 sizes are missing") : 0;
}

/* Reads the entry of the central directory at *at, and checks that its data lie in the archive. */
static int read_entry(const struct archive *a, uint64_t *at, struct zip_entry *e, struct fail *why)
{
    if (a->directory_end - *at < CENTRAL_HEAD) return fail_input(why, "its zip directory is cut");
    const unsigned char *head = a->bytes + *at;
    uint64_t name = get(head + 28, 2), extra = get(head + 30, 2), comment = get(head + 32, 2);
    if (get(head, 4) != CENTRAL || a->directory_end - *at - CENTRAL_HEAD < name + extra + comment)
        return fail_input(why, "its zip directory is damaged");
    uint64_t packed = get(head + 20, 4), size = get(head + 24, 4), offset = get(head + 42, 4);
    e->name = (const char *)head + CENTRAL_HEAD;
    e->name_bytes = (size_t)name;
    *at += CENTRAL_HEAD + name + extra + comment;
    if (read_zip64(head + CENTRAL_HEAD + name, extra, &size, &packed, &offset, why)) return -1;
    if (get(head + 8, 2) & 1 || get(head + 10, 2) != 0 || packed != size)
        return fail_input(why, "%.*s is compressed or encrypted", (int)name, e->name);
    if (offset > a->directory || a->directory - offset < LOCAL_HEAD)
        return fail_input(why, "%.*s begins outside of the file", (int)name, e->name);
    const unsigned char *local = a->bytes + offset;
    uint64_t start = offset + LOCAL_HEAD + get(local + 26, 2) + get(local + 28, 2);
    if (get(local, 4) != LOCAL || get(local + 26, 2) != name || start > a->directory ||
        memcmp(local + LOCAL_HEAD, e->name, name) != 0)
        return fail_input(why, "%.*s is not where the zip directory says", (int)name, e->name);
    if (size > a->directory - start)
        return fail_input(why, "%.*s has %llu bytes, which are not there", (int)name, e->name,
                          (unsigned long long)size);
    e->data = a->bytes + start;
    e->bytes = size;
    return 0;
}

static int by_data(const void *a, const void *b)
{
    const struct zip_entry *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int check_apart(const struct zip *z, struct fail *why)
{
    for (size_t i = 1; i < z->count; i++)
        if (z->at[i - 1].data + z->at[i - 1].bytes > z->at[i].data)
            return fail_input(why, "%.*s overlaps another entry", (int)z->at[i].name_bytes,
                              z->at[i].name);
    return 0;
}

static int compare_names(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
}

static int by_name(const void *a, const void *b)
{
    const struct zip_entry *x = a, *y = b;
    return compare_names(x->name, x->name_bytes, y->name, y->name_bytes);
}

/* Fails if a name occurs twice, because zip readers disagree about which entry counts. */
static int check_names(const struct zip *z, struct fail *why)
{
    for (size_t i = 1; i < z->count; i++)
        if (!by_name(&z->at[i - 1], &z->at[i]))
            return fail_input(why, "%.*s occurs twice in its zip directory",
                              (int)z->at[i].name_bytes, z->at[i].name);
    return 0;
}

int zip_open(struct zip *z, const void *archive, size_t bytes, struct fail *why)
{
    *z = (struct zip){ 0 };
    struct archive a = { .bytes = archive, .size = bytes };
    if (find_directory(&a, why)) return -1;
    z->at = calloc((size_t)a.entries + 1, sizeof *z->at);
    if (!z->at) return fail(why, "out of memory");
    uint64_t at = a.directory;
    int status = 0;
    while (z->count < a.entries && !status)
        status = read_entry(&a, &at, &z->at[z->count++], why);
    if (!status) {
        qsort(z->at, z->count, sizeof *z->at, by_data);
        status = check_apart(z, why);
        qsort(z->at, z->count, sizeof *z->at, by_name);
        if (!status) status = check_names(z, why);
    }
    if (status) zip_close(z);
    return status;
}

const struct zip_entry *zip_find(const struct zip *z, const char *name)
{
    struct zip_entry wanted = { .name = name, .name_bytes = strlen(name) };
    return bsearch(&wanted, z->at, z->count, sizeof *z->at, by_name);
}

void zip_close(struct zip *z)
{
    free(z->at);
    *z = (struct zip){ 0 };
}
