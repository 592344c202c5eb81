/* msgpack_map.h - key and value pairs of a msgpack map, built in order; and the way
 * back: values of a map that was read, checked one by one.
 */
#ifndef LONGQLORA_STREAM_MSGPACK_MAP_H
#define LONGQLORA_STREAM_MSGPACK_MAP_H

#include "lib/common/fail.h"

#include <msgpack.h>
#include <stdint.h>

enum { MSGPACK_MAP_MAX = 256 }; /* of a map that is read */

struct msgpack_map {
    msgpack_sbuffer bytes;
    uint32_t count;
};

/* msgpack's callback for an sbuffer that does not forget a failed allocation: the buffer is
 * lost from then on, and what it is packed into as well. */
int msgpack_write_bytes(void *sbuffer, const char *data, size_t bytes);
bool msgpack_bytes_are_lost(const msgpack_sbuffer *buffer);

void msgpack_map_init(struct msgpack_map *f);
void msgpack_map_release(struct msgpack_map *f);
void msgpack_map_text(struct msgpack_map *f, const char *key, const char *value);
void msgpack_map_count(struct msgpack_map *f, const char *key, uint64_t value);
void msgpack_map_integer(struct msgpack_map *f, const char *key, int64_t value);
void msgpack_map_real(struct msgpack_map *f, const char *key, double value);
void msgpack_map_flag(struct msgpack_map *f, const char *key, bool value);
void msgpack_map_bin(struct msgpack_map *f, const char *key, const void *data, size_t bytes);
void msgpack_map_map(struct msgpack_map *f, const char *key, const struct msgpack_map *value);
/* The other one's pairs come after those that are there. */
void msgpack_map_join(struct msgpack_map *f, const struct msgpack_map *more);
/* Appends the pairs as one map; the packer writes to an sbuffer. */
void msgpack_map_pack(const struct msgpack_map *f, msgpack_packer *to);

/* The value of a key of a map; NULL if it has none. */
const msgpack_object *map_find(const msgpack_object *map, const char *key);

/* The same for a key of another map, which is a text. */
const msgpack_object *map_find_like(const msgpack_object *map, const msgpack_object *key);

/* Each fails, naming the key, unless the map has it with that type. Texts and bins
 * are borrowed from the map. */
int map_get_count(const msgpack_object *map, const char *key, uint64_t most, uint64_t *value,
                  struct fail *why) MUST_USE;
int map_get_real(const msgpack_object *map, const char *key, double *value,
                 struct fail *why) MUST_USE;
int map_get_flag(const msgpack_object *map, const char *key, bool *value,
                 struct fail *why) MUST_USE;
/* Copies at most size-1 bytes; a longer text fails. */
int map_get_text(const msgpack_object *map, const char *key, char *value, size_t size,
                 struct fail *why) MUST_USE;
int map_get_bin(const msgpack_object *map, const char *key, const void **data, size_t *bytes,
                struct fail *why) MUST_USE;

/* Fails if the map has more than MSGPACK_MAP_MAX keys, one twice, or one that is no text. */
int map_check_keys(const msgpack_object *map, struct fail *why) MUST_USE;
/* Also if one is neither in `known` (a NULL-ended list) nor begins with "x-". */
int map_check(const msgpack_object *map, const char *const *known, struct fail *why) MUST_USE;

#endif
