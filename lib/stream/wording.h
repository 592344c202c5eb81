/* wording.h - how the conversations in a stream are worded, for the adapter that is trained
 * on them.
 *
 * tokenize says it in the header's options, where nobody downstream looks, and in the end record,
 * from where pack hands it on: a stage that streams knows what all of its input was only at the
 * end. Text that is no conversation has no wording, and may stand beside conversations that have.
 */
#ifndef LONGQLORA_STREAM_WORDING_H
#define LONGQLORA_STREAM_WORDING_H

#include "lib/common/digest.h"
#include "lib/stream/msgpack_map.h"

enum { WORDING_NAME_MAX = 256, WORDING_TEXT_MAX = 8192 };

struct stream_wording {
    char name[WORDING_NAME_MAX]; /* of a template; "": there are no conversations */
    char digest[DIGEST_TEXT];    /* of all that it says; "": an older program did not say */
    char text[WORDING_TEXT_MAX]; /* the template as a file of its own; "": not kept */
    bool is_mixed;               /* of several, of which this is the first */
};

/* Adds what the header or the end record of one more stream says, if it says anything. */
void wording_add_header(struct stream_wording *w, const msgpack_object *header);
void wording_add_end(struct stream_wording *w, const msgpack_object *end);
void wording_add(struct stream_wording *w, const struct stream_wording *more);

/* Appends the end record's key and its map; only where there is a name. */
void wording_pack(const struct stream_wording *w, msgpack_packer *to);

#endif
