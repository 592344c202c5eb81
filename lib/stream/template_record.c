#include "lib/stream/template_record.h"

static const char end_key[] = "x-template";

/* Copies a text. A text that is missing or too long counts as empty. */
static void copy_text(const msgpack_object *map, const char *key, char *to, size_t size)
{
    struct fail ignored;
    if (map_copy_text(map, key, to, size, &ignored)) *to = 0;
}

void template_record_add(struct template_record *w, const struct template_record *more)
{
    w->is_mixed |= more->is_mixed;
    if (!*more->name) return;
    if (!*w->name) {
        bool is_mixed = w->is_mixed;
        *w = *more;
        w->is_mixed |= is_mixed;
    } else if (strcmp(w->digest, more->digest) != 0 || strcmp(w->name, more->name) != 0) {
        w->is_mixed = true;
    } else if (!*w->text) {
        memcpy(w->text, more->text, sizeof w->text);
    }
}

void template_record_add_header(struct template_record *w, const msgpack_object *header)
{
    struct template_record own = { 0 };
    const msgpack_object *options = map_find(header, "options");
    if (!options || options->type != MSGPACK_OBJECT_MAP) return;
    copy_text(options, "template", own.name, sizeof own.name);
    copy_text(options, "template_digest", own.digest, sizeof own.digest);
    /* Versions that wrote no digest used the name "vicuna" for the template that is called
     * "vicuna-apart" now. */
    if (!strcmp(own.name, "vicuna") && !*own.digest)
        snprintf(own.name, sizeof own.name, "vicuna-apart");
    template_record_add(w, &own);
}

void template_record_add_end(struct template_record *w, const msgpack_object *end)
{
    struct template_record own = { 0 };
    struct fail ignored;
    const msgpack_object *map = map_find(end, end_key);
    if (!map || map->type != MSGPACK_OBJECT_MAP) return;
    copy_text(map, "name", own.name, sizeof own.name);
    copy_text(map, "digest", own.digest, sizeof own.digest);
    copy_text(map, "text", own.text, sizeof own.text);
    if (map_get_flag(map, "mixed", &own.is_mixed, &ignored)) own.is_mixed = false;
    template_record_add(w, &own);
}

void template_record_pack(const struct template_record *w, msgpack_packer *to)
{
    struct msgpack_map map;
    msgpack_map_init(&map);
    msgpack_map_text(&map, "name", w->name);
    msgpack_map_text(&map, "digest", w->digest);
    if (*w->text) msgpack_map_text(&map, "text", w->text);
    if (w->is_mixed) msgpack_map_flag(&map, "mixed", true);
    msgpack_pack_str_with_body(to, end_key, strlen(end_key));
    msgpack_map_pack(&map, to);
    msgpack_map_release(&map);
}
