/* template_record.h - records which chat template formatted the conversations of a stream. An
 * adapter that is trained on them must later be used with the same template.
 *
 * tokenize writes the template into the options of its header and into its end record; pack reads
 * it from both and writes it into its own end record. The template is in the end record because a
 * program that reads a pipe knows the templates of all its inputs only at the end. Plain text has
 * no template, and may be mixed with conversations.
 */
#ifndef LONGQLORA_STREAM_TEMPLATE_RECORD_H
#define LONGQLORA_STREAM_TEMPLATE_RECORD_H

#include "lib/common/digest.h"
#include "lib/stream/msgpack_map.h"

enum { TEMPLATE_NAME_MAX = 256, TEMPLATE_TEXT_MAX = 8192 };

struct template_record {
    char name[TEMPLATE_NAME_MAX]; /* the template's name; "" if there are no conversations */
    /* Digest of the template; "" if an older program wrote the stream. */
    char digest[DIGEST_TEXT];
    /* What a file with this template contains; "" if the stream does not have it. */
    char text[TEMPLATE_TEXT_MAX];
    bool is_mixed; /* the stream has several templates, of which this is the first */
};

/* Each adds to *w what another stream says about its template. The source is the stream's header,
 * its end record, or a struct that was filled before. */
void template_record_add_header(struct template_record *w, const msgpack_object *header);
void template_record_add_end(struct template_record *w, const msgpack_object *end);
void template_record_add(struct template_record *w, const struct template_record *more);

/* Appends the key and value for an end record. The caller skips this if there is no template. */
void template_record_pack(const struct template_record *w, msgpack_packer *to);

#endif
