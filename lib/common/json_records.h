/* json_records.h - the records of a JSON file, one after the other: its lines, or, if it begins
 * with a bracket, the elements of the array that it is.
 *
 * Blank lines are no records. A record is the text of a value, which is not looked into: whoever
 * parses it finds what is wrong in it. What is wrong between elements, or a missing end, is found
 * here. The file need not fit into memory, nor may white space between records be much; a record
 * may have INPUT_LINE_MAX bytes.
 */
#ifndef LONGQLORA_JSON_RECORDS_H
#define LONGQLORA_JSON_RECORDS_H

#include "lib/common/input.h"

struct json_records {
    struct input *in;
    bool is_array, is_begun, is_ended;
    uint64_t number; /* of the record just read, from 1: its line, or which element it is */
    size_t taken;    /* bytes of it, taken from the input by the next call */
    size_t indent;   /* bytes of white space before it on its line that its text has no more */
};

/* The input must outlive it; nothing of it was read before. A web page, XML and RTF are refused. */
int json_records_open(struct json_records *r, struct input *in, struct fail *why) MUST_USE;

/* The next record's text, valid until the next call. 1, 0 the end, -1. */
int json_records_next(struct json_records *r, char **text, size_t *bytes,
                      struct fail *why) MUST_USE;

/* "docs.jsonl:12" or "docs.json: element 12", for messages; the record's number, as it was. */
void json_records_place(const struct json_records *r, uint64_t number, char *place, size_t size);

#endif
