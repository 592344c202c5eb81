/* Streams record the template of their conversations in headers and end records. This file tests
 * the records of older versions and of other programs, alone and one after the other. */
#include "lib/stream/template_record.h"
#include "tests/lib/check.h"

#include <string.h>

/* Adds the map {key: {a: x, b: y}}. A text that is NULL is left out. */
static void add(struct template_record *w,
                void (*to)(struct template_record *, const msgpack_object *), const char *key,
                const char *const pairs[][2], size_t count)
{
    struct msgpack_map inner, outer;
    msgpack_sbuffer bytes;
    msgpack_packer pk;
    msgpack_unpacked map;
    size_t at = 0;
    msgpack_map_init(&inner);
    msgpack_map_init(&outer);
    for (size_t i = 0; i < count; i++)
        msgpack_map_text(&inner, pairs[i][0], pairs[i][1]);
    msgpack_map_map(&outer, key, &inner);
    msgpack_sbuffer_init(&bytes);
    msgpack_packer_init(&pk, &bytes, msgpack_sbuffer_write);
    msgpack_map_pack(&outer, &pk);
    msgpack_unpacked_init(&map);
    assert_int_equal(msgpack_unpack_next(&map, bytes.data, bytes.size, &at),
                     MSGPACK_UNPACK_SUCCESS);
    to(w, &map.data);
    msgpack_unpacked_destroy(&map);
    msgpack_sbuffer_destroy(&bytes);
    msgpack_map_release(&inner);
    msgpack_map_release(&outer);
}

static void header(struct template_record *w, const char *name, const char *digest)
{
    const char *const pairs[][2] = { { "template", name }, { "template_digest", digest } };
    add(w, template_record_add_header, "options", pairs, digest ? 2 : name ? 1 : 0);
}

static void end(struct template_record *w, const char *name, const char *digest, const char *text)
{
    const char *const pairs[][2] = { { "name", name }, { "digest", digest }, { "text", text } };
    add(w, template_record_add_end, "x-template", pairs, text ? 3 : 2);
}

static void test_one_stream(void **state)
{
    (void)state;
    struct template_record w = { 0 };
    header(&w, NULL, NULL);
    assert_string_equal(w.name, "");
    header(&w, "chatml", "d1");
    end(&w, "chatml", "d1", "{}");
    assert_string_equal(w.name, "chatml");
    assert_string_equal(w.digest, "d1");
    assert_string_equal(w.text, "{}");
    assert_false(w.is_mixed);
}

static void test_vicuna_of_older_versions(void **state)
{
    (void)state;
    struct template_record old = { 0 }, now = { 0 };
    header(&old, "vicuna", NULL);
    assert_string_equal(old.name, "vicuna-apart");
    header(&now, "vicuna", "d");
    assert_string_equal(now.name, "vicuna");
}

static void test_several_streams(void **state)
{
    (void)state;
    struct template_record w = { 0 }, handed_on = { 0 };
    header(&w, NULL, NULL); /* a stream of text has no template */
    end(&w, "a", "d1", "{}");
    header(&w, NULL, NULL);
    end(&w, "a", "d1", NULL);
    assert_false(w.is_mixed);
    assert_string_equal(w.text, "{}");
    end(&w, "a", "d2", NULL); /* another template with the same name */
    assert_true(w.is_mixed);
    assert_string_equal(w.digest, "d1");
    template_record_add(&handed_on, &w);
    assert_true(handed_on.is_mixed);
    assert_string_equal(handed_on.name, "a");
}

/* Such values are not written by our programs, and are ignored. */
static void test_invalid_values_are_ignored(void **state)
{
    (void)state;
    struct template_record w = { 0 };
    char *much = malloc(TEMPLATE_TEXT_MAX + 1);
    memset(much, 'x', TEMPLATE_TEXT_MAX);
    much[TEMPLATE_TEXT_MAX] = 0;
    end(&w, much, "d", NULL);
    assert_string_equal(w.name, "");
    end(&w, "a", "d", much);
    assert_string_equal(w.name, "a");
    assert_string_equal(w.text, "");
    const char *const pairs[][2] = { { "nothing", "here" } };
    struct template_record none = { 0 };
    add(&none, template_record_add_end, "x-template", pairs, 1);
    add(&none, template_record_add_end, "parents", pairs, 1);
    add(&none, template_record_add_header, "x-options", pairs, 1);
    assert_string_equal(none.name, "");
    free(much);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_stream),
        cmocka_unit_test(test_vicuna_of_older_versions),
        cmocka_unit_test(test_several_streams),
        cmocka_unit_test(test_invalid_values_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
