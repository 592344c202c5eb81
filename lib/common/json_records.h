/* json_records.h - reads the records of a JSON file, one after the other. Each line is a record. If
 * the file begins with '[', each element of that array is a record, unless is_part says that the
 * array is a record itself.
 *
 * Blank lines are skipped. A record is the text of one JSON value. The caller parses it and reports
 * what is wrong in it. Errors between elements, and a missing end of the array, are reported here.
 * Memory stays small for any size of the file and any amount of white space. A record may have
 * INPUT_LINE_MAX bytes.
 */
#ifndef LONGQLORA_JSON_RECORDS_H
#define LONGQLORA_JSON_RECORDS_H

#include "lib/common/input.h"

struct json_records {
    struct input *in;
    /* The caller may set it after json_records_open. Says of the first element of an array whether
     * it is only a part of a record, so that the array is a record, and each line is one. */
    bool (*is_part)(const char *text, size_t bytes);
    bool is_array, is_begun, is_ended;
    /* Number of the record read last, from 1: its line, or its position in the array. */
    uint64_t number;
    size_t taken; /* bytes of the record read last, which the next call consumes */
    /* Bytes of white space that stood before the record on its line and are not in its text. */
    size_t indent;
};

/* Begins to read records from `in`, of which nothing was read before. The input must outlive *r. A
 * web page, XML and RTF are refused. */
int json_records_open(struct json_records *r, struct input *in, struct fail *why) MUST_USE;

/* Reads the next record. Its text is valid until the next call. Returns 1, 0 at the end, or -1. */
int json_records_next(struct json_records *r, char **text, size_t *bytes,
                      struct fail *why) MUST_USE;

/* Writes the place of a record for a message: "docs.jsonl:12" or "docs.json: element 12". `number`
 * is the value that r->number had. */
void json_records_place(const struct json_records *r, uint64_t number, char *place, size_t size);

#endif
