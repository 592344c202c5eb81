/* msgpack_map.h - builds a msgpack map pair by pair, and reads the values of a map that was parsed.
 *
 * To build a map, and append it to a stream (writer_add of stream.h also releases it):
 *
 *     struct msgpack_map m;
 *     msgpack_map_init(&m);
 *     msgpack_map_text(&m, "id", "doc-1");
 *     msgpack_map_count(&m, "tokens", 512);
 *     status = writer_add(w, &m, why);
 *
 * To read a record that reader_next has returned:
 *
 *     static const char *const known[] = { "id", "tokens", NULL };
 *     uint64_t tokens;
 *     if (map_check(&record, known, why)) return -1;
 *     if (map_get_count(&record, "tokens", UINT32_MAX, &tokens, why)) return -1;
 *
 * The functions that add a pair copy key and value. If memory runs out, they do not report it but
 * mark the map as lost; writer_add or msgpack_bytes_are_lost reports that later. Call
 * msgpack_map_release unless another function has released the map.
 */
#ifndef LONGQLORA_STREAM_MSGPACK_MAP_H
#define LONGQLORA_STREAM_MSGPACK_MAP_H

#include "lib/common/fail.h"

#include <msgpack.h>
#include <stdint.h>

enum { MSGPACK_MAP_MAX = 256 }; /* a map that is read may have at most this many keys */

struct msgpack_map {
    msgpack_sbuffer bytes;
    uint32_t count;
};

/* A msgpack callback that appends to a msgpack_sbuffer. If an allocation fails, it marks the buffer
 * as lost. Every buffer into which a lost buffer is packed is lost too. msgpack_bytes_are_lost
 * tells whether a buffer is lost. */
int msgpack_write_bytes(void *sbuffer, const char *data, size_t bytes);
bool msgpack_bytes_are_lost(const msgpack_sbuffer *buffer);

/* Makes an empty map. */
void msgpack_map_init(struct msgpack_map *f);
/* Frees the pairs; the map is empty afterwards. */
void msgpack_map_release(struct msgpack_map *f);
/* Each appends a pair of a key and a value of the type that is named: a text, an unsigned
 * integer, a float of 64 bits, a boolean, bytes, another map. */
void msgpack_map_text(struct msgpack_map *f, const char *key, const char *value);
void msgpack_map_count(struct msgpack_map *f, const char *key, uint64_t value);
void msgpack_map_real(struct msgpack_map *f, const char *key, double value);
void msgpack_map_flag(struct msgpack_map *f, const char *key, bool value);
void msgpack_map_bin(struct msgpack_map *f, const char *key, const void *data, size_t bytes);
void msgpack_map_map(struct msgpack_map *f, const char *key, const struct msgpack_map *value);
/* Appends the pairs of a map that was parsed. Its keys must be texts (map_check_keys). */
void msgpack_map_copy(struct msgpack_map *f, const msgpack_object *map);
/* Compares two maps, whose keys may be in any order. Returns 0 if they are equal. Otherwise returns
 * 1, and name[size] gets the first key that is missing or has another value. */
int msgpack_map_compare(const struct msgpack_map *a, const struct msgpack_map *b, char *name,
                        size_t size, struct fail *why) MUST_USE;
/* Appends the pairs of `more` after those of *f. */
void msgpack_map_join(struct msgpack_map *f, const struct msgpack_map *more);
/* Appends the pairs as one map to the packer's buffer, which must be a msgpack_sbuffer. */
void msgpack_map_pack(const struct msgpack_map *f, msgpack_packer *to);

/* The value of a key; NULL if the map does not have the key. It belongs to the map. */
const msgpack_object *map_find(const msgpack_object *map, const char *key);

/* Like map_find, for a key that is a text object of another map. */
const msgpack_object *map_find_like(const msgpack_object *map, const msgpack_object *key);

/* Each reads the value of a key. It fails, and names the key, if the key is missing, its value has
 * another type, or a count exceeds `max`. Bins belong to the map. */
int map_get_count(const msgpack_object *map, const char *key, uint64_t max, uint64_t *value,
                  struct fail *why) MUST_USE;
int map_get_real(const msgpack_object *map, const char *key, double *value,
                 struct fail *why) MUST_USE;
int map_get_flag(const msgpack_object *map, const char *key, bool *value,
                 struct fail *why) MUST_USE;
/* Copies the text and a NUL into value[size]. Fails if the text does not fit or is not UTF-8. */
int map_get_text(const msgpack_object *map, const char *key, char *value, size_t size,
                 struct fail *why) MUST_USE;
/* Like map_get_text, but the text may be any bytes, as the name of a file may be. */
int map_copy_text(const msgpack_object *map, const char *key, char *value, size_t size,
                  struct fail *why) MUST_USE;
int map_get_bin(const msgpack_object *map, const char *key, const void **data, size_t *bytes,
                struct fail *why) MUST_USE;

/* Fails if the map has more than MSGPACK_MAP_MAX keys, the same key twice, or a key that is not a
 * text. */
int map_check_keys(const msgpack_object *map, struct fail *why) MUST_USE;
/* Like map_check_keys. Also fails if a key is not in `known` (a list that NULL ends) and does not
 * begin with "x-". */
int map_check(const msgpack_object *map, const char *const *known, struct fail *why) MUST_USE;

#endif
