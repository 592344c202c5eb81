/* Reads JSON files, plain and compressed: once record by record, and once as a whole. */
#include "lib/common/json_records.h"
#include "tests/fuzz/fuzz.h"

static void read_records(const char *path)
{
    struct input *in;
    struct json_records r;
    struct fail why;
    char *text;
    size_t bytes;
    if (input_open(&in, path, &why)) {
        fuzz_check_failure(&why);
        return;
    }
    int got = json_records_open(&r, in, &why) ? -1 : 1;
    for (uint64_t before = 0; got > 0; before = r.number) {
        got = json_records_next(&r, &text, &bytes, &why);
        if (got <= 0) break;
        must(bytes && r.number > before);
        must(!r.is_array || r.number == before + 1);
        /* An element has no white space at its end, and does not contain the next element. */
        must(!r.is_array || (text[bytes - 1] != ' ' && text[0] != ','));
    }
    if (got < 0) fuzz_check_failure(&why);
    input_close(in);
}

/* Does the input ask for a large window? zstd allows one of 2 GiB, which costs nothing until it is
 * used. But a sanitizer needs half a minute to mark its memory. */
static bool wants_much(const uint8_t *data, size_t size)
{
    enum { WINDOW_LOG_MAX = 24, SINGLE_SEGMENT = 0x20 };
    for (size_t i = 0; i + 6 <= size; i++)
        if (!memcmp(data + i, "\x28\xb5\x2f\xfd", 4) &&
            (data[i + 4] & SINGLE_SEGMENT || 10 + (data[i + 5] >> 3) > WINDOW_LOG_MAX))
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input *in;
    struct fail why;
    char *text;
    size_t bytes;
    if (wants_much(data, size)) return 0;
    const char *path = fuzz_file(0, data, size);
    read_records(path);
    if (input_open(&in, path, &why)) {
        fuzz_check_failure(&why);
        return 0;
    }
    if (input_rest(in, &text, &bytes, &why)) fuzz_check_failure(&why);
    input_close(in);
    return 0;
}
