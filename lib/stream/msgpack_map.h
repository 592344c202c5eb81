/* msgpack_map.h - key and value pairs of a msgpack map, built in order; and the way
 * back: values of a map that was read, checked one by one.
 */
#ifndef LONGQLORA_STREAM_MSGPACK_MAP_H
#define LONGQLORA_STREAM_MSGPACK_MAP_H

#include "lib/common/fail.h"

#include <msgpack.h>
#include <stdint.h>

enum { FIELDS_MAX = 256 }; /* of a map that is read */

struct fields {
    msgpack_sbuffer bytes;
    uint32_t count;
};

/* msgpack's callback for an sbuffer that does not forget a failed allocation: the buffer is
 * lost from then on, and what it is packed into as well. */
int msgpack_write_bytes(void *sbuffer, const char *data, size_t bytes);
bool msgpack_bytes_are_lost(const msgpack_sbuffer *buffer);

void fields_init(struct fields *f);
void fields_release(struct fields *f);
void fields_text(struct fields *f, const char *key, const char *value);
void fields_count(struct fields *f, const char *key, uint64_t value);
void fields_integer(struct fields *f, const char *key, int64_t value);
void fields_real(struct fields *f, const char *key, double value);
void fields_flag(struct fields *f, const char *key, bool value);
void fields_bin(struct fields *f, const char *key, const void *data, size_t bytes);
void fields_map(struct fields *f, const char *key, const struct fields *value);
/* The other one's pairs come after those that are there. */
void fields_join(struct fields *f, const struct fields *more);
/* Appends the pairs as one map; the packer writes to an sbuffer. */
void fields_pack(const struct fields *f, msgpack_packer *to);

/* The value of a key of a map; NULL if it has none. */
const msgpack_object *field_find(const msgpack_object *map, const char *key);

/* The same for a key of another map, which is a text. */
const msgpack_object *field_of(const msgpack_object *map, const msgpack_object *key);

/* Each fails, naming the key, unless the map has it with that type. Texts and bins
 * are borrowed from the map. */
int field_count(const msgpack_object *map, const char *key, uint64_t most, uint64_t *value,
                struct fail *why) MUST_USE;
int field_real(const msgpack_object *map, const char *key, double *value,
               struct fail *why) MUST_USE;
int field_flag(const msgpack_object *map, const char *key, bool *value, struct fail *why) MUST_USE;
/* Copies at most size-1 bytes; a longer text fails. */
int field_text(const msgpack_object *map, const char *key, char *value, size_t size,
               struct fail *why) MUST_USE;
int field_bin(const msgpack_object *map, const char *key, const void **data, size_t *bytes,
              struct fail *why) MUST_USE;

/* Fails if the map has more than FIELDS_MAX keys, one twice, or one that is no text. */
int fields_check_keys(const msgpack_object *map, struct fail *why) MUST_USE;
/* Also if one is neither in `known` (a NULL-ended list) nor begins with "x-". */
int fields_check(const msgpack_object *map, const char *const *known, struct fail *why) MUST_USE;

#endif
