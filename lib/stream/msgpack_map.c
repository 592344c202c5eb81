#include "lib/stream/msgpack_map.h"

#include "lib/common/utf8.h"

#include <xxhash.h>

/* Marks a buffer that lost its bytes because memory ran out. No real buffer has this size. */
static const size_t lost_size = SIZE_MAX;

bool msgpack_bytes_are_lost(const msgpack_sbuffer *buffer) { return buffer->size == lost_size; }

static void lose(msgpack_sbuffer *buffer)
{
    free(buffer->data);
    *buffer = (msgpack_sbuffer){ .size = lost_size };
}

int msgpack_write_bytes(void *sbuffer, const char *data, size_t bytes)
{
    msgpack_sbuffer *buffer = sbuffer;
    if (msgpack_bytes_are_lost(buffer)) return -1;
    if (!bytes || !msgpack_sbuffer_write(buffer, data, bytes)) return 0;
    lose(buffer);
    return -1;
}

static msgpack_packer begin(struct msgpack_map *f, const char *key)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, &f->bytes, msgpack_write_bytes);
    msgpack_pack_str_with_body(&pk, key, strlen(key));
    f->count++;
    return pk;
}

void msgpack_map_init(struct msgpack_map *f)
{
    msgpack_sbuffer_init(&f->bytes);
    f->count = 0;
}

void msgpack_map_release(struct msgpack_map *f)
{
    msgpack_sbuffer_destroy(&f->bytes);
    f->count = 0;
}

void msgpack_map_text(struct msgpack_map *f, const char *key, const char *value)
{
    msgpack_packer pk = begin(f, key);
    msgpack_pack_str_with_body(&pk, value, strlen(value));
}

void msgpack_map_count(struct msgpack_map *f, const char *key, uint64_t value)
{
    msgpack_packer pk = begin(f, key);
    msgpack_pack_uint64(&pk, value);
}

void msgpack_map_real(struct msgpack_map *f, const char *key, double value)
{
    msgpack_packer pk = begin(f, key);
    msgpack_pack_double(&pk, value);
}

void msgpack_map_flag(struct msgpack_map *f, const char *key, bool value)
{
    msgpack_packer pk = begin(f, key);
    if (value)
        msgpack_pack_true(&pk);
    else
        msgpack_pack_false(&pk);
}

void msgpack_map_bin(struct msgpack_map *f, const char *key, const void *data, size_t bytes)
{
    msgpack_packer pk = begin(f, key);
    msgpack_pack_bin_with_body(&pk, data, bytes);
}

void msgpack_map_map(struct msgpack_map *f, const char *key, const struct msgpack_map *value)
{
    msgpack_packer pk = begin(f, key);
    msgpack_map_pack(value, &pk);
}

void msgpack_map_copy(struct msgpack_map *f, const msgpack_object *map)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, &f->bytes, msgpack_write_bytes);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        msgpack_pack_object(&pk, map->via.map.ptr[i].key);
        msgpack_pack_object(&pk, map->via.map.ptr[i].val);
        f->count++;
    }
}

/* Appends the bytes of `from`. If `from` is marked as lost, `to` becomes lost too. */
static void append_packed(const msgpack_sbuffer *from, msgpack_sbuffer *to)
{
    if (msgpack_bytes_are_lost(from))
        lose(to);
    else
        msgpack_write_bytes(to, from->data, from->size);
}

void msgpack_map_join(struct msgpack_map *f, const struct msgpack_map *more)
{
    append_packed(&more->bytes, &f->bytes);
    f->count += more->count;
}

void msgpack_map_pack(const struct msgpack_map *f, msgpack_packer *to)
{
    msgpack_pack_map(to, f->count);
    append_packed(&f->bytes, to->data);
}

static bool key_is(const msgpack_object *key, const char *text)
{
    return key->type == MSGPACK_OBJECT_STR && key->via.str.size == strlen(text) &&
           !memcmp(key->via.str.ptr, text, key->via.str.size);
}

const msgpack_object *map_find(const msgpack_object *map, const char *key)
{
    if (map->type != MSGPACK_OBJECT_MAP) return NULL;
    for (uint32_t i = 0; i < map->via.map.size; i++)
        if (key_is(&map->via.map.ptr[i].key, key)) return &map->via.map.ptr[i].val;
    return NULL;
}

const msgpack_object *map_find_like(const msgpack_object *map, const msgpack_object *key)
{
    for (uint32_t i = 0; i < map->via.map.size; i++)
        if (msgpack_object_equal(map->via.map.ptr[i].key, *key)) return &map->via.map.ptr[i].val;
    return NULL;
}

/* Returns the value of a key that a map must have, if it has this type, which `words` describe. */
static const msgpack_object *get(const msgpack_object *map, const char *key,
                                 msgpack_object_type type, const char *words, struct fail *why)
{
    const msgpack_object *o = map_find(map, key);
    if (o && o->type == type) return o;
    (void)fail_input(why, o ? "'%s' is not %s" : "'%s' is missing", key, words);
    return NULL;
}

int map_get_count(const msgpack_object *map, const char *key, uint64_t max, uint64_t *value,
                  struct fail *why)
{
    const msgpack_object *o = get(map, key, MSGPACK_OBJECT_POSITIVE_INTEGER, "a count", why);
    if (!o) return -1;
    if (o->via.u64 > max)
        return fail_input(why, "'%s' is %llu, but at most %llu is allowed", key,
                          (unsigned long long)o->via.u64, (unsigned long long)max);
    *value = o->via.u64;
    return 0;
}

int map_get_real(const msgpack_object *map, const char *key, double *value, struct fail *why)
{
    const msgpack_object *o = map_find(map, key);
    if (!o || o->type != MSGPACK_OBJECT_FLOAT32)
        o = get(map, key, MSGPACK_OBJECT_FLOAT64, "a real number", why);
    if (!o) return -1;
    *value = o->via.f64;
    return 0;
}

int map_get_flag(const msgpack_object *map, const char *key, bool *value, struct fail *why)
{
    const msgpack_object *o = get(map, key, MSGPACK_OBJECT_BOOLEAN, "true or false", why);
    if (!o) return -1;
    *value = o->via.boolean;
    return 0;
}

int map_copy_text(const msgpack_object *map, const char *key, char *value, size_t size,
                  struct fail *why)
{
    const msgpack_object *o = get(map, key, MSGPACK_OBJECT_STR, "a text", why);
    if (!o) return -1;
    if (o->via.str.size >= size)
        return fail_input(why, "'%s' is %u bytes long, but at most %zu are allowed", key,
                          o->via.str.size, size - 1);
    if (memchr(o->via.str.ptr, 0, o->via.str.size))
        return fail_input(why, "'%s' holds a zero byte", key);
    memcpy(value, o->via.str.ptr, o->via.str.size);
    value[o->via.str.size] = 0;
    return 0;
}

int map_get_text(const msgpack_object *map, const char *key, char *value, size_t size,
                 struct fail *why)
{
    if (map_copy_text(map, key, value, size, why)) return -1;
    size_t valid = utf8_valid_prefix(value, strlen(value));
    if (!value[valid]) return 0;
    return fail_input(why, "'%s' is not UTF-8: byte %zu of it", key, valid + 1);
}

int map_get_bin(const msgpack_object *map, const char *key, const void **data, size_t *bytes,
                struct fail *why)
{
    const msgpack_object *o = get(map, key, MSGPACK_OBJECT_BIN, "binary", why);
    if (!o) return -1;
    *data = o->via.bin.ptr;
    *bytes = o->via.bin.size;
    return 0;
}

/* Finds a key of `map` that `other` does not have with this value. */
static const msgpack_object *find_difference(const msgpack_object *map, const msgpack_object *other)
{
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        const msgpack_object *value = map_find_like(other, &kv->key);
        if (!value || !msgpack_object_equal(kv->val, *value)) return &kv->key;
    }
    return NULL;
}

static bool parse(const struct msgpack_map *map, msgpack_sbuffer *bytes, msgpack_unpacked *object)
{
    msgpack_packer pk;
    size_t at = 0;
    msgpack_packer_init(&pk, bytes, msgpack_write_bytes);
    msgpack_map_pack(map, &pk);
    return !msgpack_bytes_are_lost(bytes) &&
           msgpack_unpack_next(object, bytes->data, bytes->size, &at) == MSGPACK_UNPACK_SUCCESS;
}

int msgpack_map_compare(const struct msgpack_map *a, const struct msgpack_map *b, char *name,
                        size_t size, struct fail *why)
{
    msgpack_sbuffer bytes[2];
    msgpack_unpacked object[2];
    const struct msgpack_map *map[] = { a, b };
    int status = 0;
    for (int i = 0; i < 2; i++) {
        msgpack_sbuffer_init(&bytes[i]);
        msgpack_unpacked_init(&object[i]);
    }
    for (int i = 0; i < 2; i++)
        if (!parse(map[i], &bytes[i], &object[i])) status = fail(why, "out of memory");
    if (!status) {
        const msgpack_object *key = find_difference(&object[0].data, &object[1].data);
        if (!key) key = find_difference(&object[1].data, &object[0].data);
        if (key) {
            uint32_t length = key->type == MSGPACK_OBJECT_STR ? key->via.str.size : 0;
            snprintf(name, size, "%.*s", (int)length, length ? key->via.str.ptr : "");
            status = 1;
        }
    }
    for (int i = 0; i < 2; i++) {
        msgpack_unpacked_destroy(&object[i]);
        msgpack_sbuffer_destroy(&bytes[i]);
    }
    return status;
}

static int has_twice(const msgpack_object *key, struct fail *why)
{
    return fail_input(why, "key '%.*s' occurs twice",
                      key->via.str.size < 60 ? (int)key->via.str.size : 60, key->via.str.ptr);
}

/* Looks each key up among the keys before it, in a hash table that is at most half full. */
int map_check_keys(const msgpack_object *map, struct fail *why)
{
    enum { SLOTS = 2 * MSGPACK_MAP_MAX };
    uint16_t slots[SLOTS] = { 0 }; /* index of the key + 1 */
    if (map->type != MSGPACK_OBJECT_MAP) return fail_input(why, "not a map");
    const msgpack_object_kv *kv = map->via.map.ptr;
    if (map->via.map.size > MSGPACK_MAP_MAX)
        return fail_input(why, "a map has %u keys, but at most %d are possible", map->via.map.size,
                          MSGPACK_MAP_MAX);
    for (uint16_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *key = &kv[i].key;
        if (key->type != MSGPACK_OBJECT_STR) return fail_input(why, "a key is not a text");
        size_t at = XXH3_64bits(key->via.str.ptr, key->via.str.size) % SLOTS;
        for (; slots[at]; at = (at + 1) % SLOTS)
            if (msgpack_object_equal(*key, kv[slots[at] - 1].key)) return has_twice(key, why);
        slots[at] = (uint16_t)(i + 1);
    }
    return 0;
}

int map_check(const msgpack_object *map, const char *const *known, struct fail *why)
{
    if (map_check_keys(map, why)) return -1;
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *key = &map->via.map.ptr[i].key;
        if (key->via.str.size > 2 && !memcmp(key->via.str.ptr, "x-", 2)) continue;
        const char *const *k = known;
        while (*k && !key_is(key, *k))
            k++;
        if (!*k)
            return fail_input(why, "unknown key '%.*s'",
                              key->via.str.size < 60 ? (int)key->via.str.size : 60,
                              key->via.str.ptr);
    }
    return 0;
}
