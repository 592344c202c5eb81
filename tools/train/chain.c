#include "tools/train/chain.h"

#include "lib/common/buffer.h"
#include "lib/common/file.h"
#include "lib/common/output.h"

#include <string.h>
#include <unistd.h>

const char chain_file[] = "proof.jsonl";

size_t chain_count(const struct chain *c) { return json_array_size(c->lines); }

const json_t *chain_at(const struct chain *c, size_t i, const char *kind)
{
    return json_object_get(json_array_get(c->lines, i), kind);
}

const json_t *chain_last(const struct chain *c, const char *kind)
{
    for (size_t i = chain_count(c); i-- > 0;)
        if (chain_at(c, i, kind)) return chain_at(c, i, kind);
    return NULL;
}

void chain_release(struct chain *c)
{
    free(c->text);
    free(c->digests);
    json_decref(c->lines);
    *c = (struct chain){ 0 };
}

/* Appends a line that ends with a line feed, and its object, which is released. */
static int append(struct chain *c, const char *line, size_t bytes, json_t *object, struct fail *why)
{
    size_t count = chain_count(c);
    if (!c->lines) c->lines = json_array();
    if (!c->lines || buffer_reserve(&c->text, &c->capacity, c->bytes, bytes, why) ||
        buffer_extend(&c->digests, count, why)) {
        json_decref(object);
        return fail(why, "out of memory");
    }
    memcpy(c->text + c->bytes, line, bytes);
    c->bytes += bytes;
    sha256_of_bytes(line, bytes, c->digests[count]);
    return json_array_append_new(c->lines, object) ? fail(why, "out of memory") : 0;
}

/* Checks that a line has one object of a known kind, and the digest of the line before it. */
static int check_line(const struct chain *c, const json_t *line, struct fail *why)
{
    static const char *const kinds[] = { "run", "checkpoint", "result" };
    size_t count = chain_count(c), of_kind = 0;
    const char *previous = json_string_value(json_object_get(line, "previous"));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        of_kind += json_is_object(json_object_get(line, kinds[i]));
    if (of_kind != 1) return fail_input(why, "neither a run, a checkpoint nor a result");
    if (!count && json_integer_value(json_object_get(line, "longqlora")) != 1)
        return fail_input(why, "of another version of the format, only 1 is known");
    if (count ? !previous || strcmp(previous, c->digests[count - 1]) != 0 : !!previous)
        return fail_input(why, "the line before it is not the one that was there when it was "
                               "written");
    return 0;
}

static int read_line(struct chain *c, const char *line, size_t bytes, struct fail *why)
{
    json_t *object = json_read_line(line, bytes - 1, 0, why);
    if (!object) return -1;
    if (!check_line(c, object, why)) return append(c, line, bytes, object, why);
    json_decref(object);
    return -1;
}

int chain_read(struct chain *c, const char *directory, struct fail *why)
{
    char path[4200], place[32], *text;
    size_t bytes;
    *c = (struct chain){ 0 };
    snprintf(path, sizeof path, "%s/%s", directory, chain_file);
    int found = file_is_there(path, why);
    if (found <= 0) return found;
    int got = file_read(path, JSON_FILE_MAX, &text, &bytes, why);
    if (got) return got > 0 ? fail_input(why, "%s: larger than any chain", path) : -1;
    int status = bytes ? 0 : fail_input(why, "it is empty");
    for (size_t at = 0, n; at < bytes && !status; at += n) {
        const char *end = memchr(text + at, '\n', bytes - at);
        n = end ? (size_t)(end - text) + 1 - at : bytes - at;
        status = end ? read_line(c, text + at, n, why) : fail_input(why, "the line is cut off");
        snprintf(place, sizeof place, "line %zu", chain_count(c) + 1);
        if (status) fail_prefix(why, place);
    }
    free(text);
    return status ? fail_in(why, path) : 0;
}

int chain_add(struct chain *c, json_t *line, struct fail *why)
{
    size_t count = chain_count(c);
    json_t *first = count ? json_pack("{s:s}", "previous", c->digests[count - 1])
                          : json_pack("{s:i}", "longqlora", 1);
    char *text = NULL, *whole = NULL;
    if (line && first && !json_object_update(first, line))
        text = json_dumps(first, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(line);
    int length = text ? asprintf(&whole, "%s\n", text) : -1;
    free(text);
    if (length < 0) {
        json_decref(first);
        return fail(why, "out of memory");
    }
    int status = append(c, whole, (size_t)length, first, why);
    free(whole);
    return status;
}

int chain_copy(struct chain *to, const struct chain *from, size_t lines, struct fail *why)
{
    const char *at = lines ? from->text : NULL;
    *to = (struct chain){ 0 };
    for (size_t i = 0; i < lines; i++) {
        const char *end = memchr(at, '\n', (size_t)(from->text + from->bytes - at));
        size_t bytes = (size_t)(end - at) + 1;
        if (append(to, at, bytes, json_incref(json_array_get(from->lines, i)), why)) return -1;
        at += bytes;
    }
    return 0;
}

int chain_write(const struct chain *c, const char *directory, struct fail *why)
{
    struct output out;
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", directory, chain_file);
    if (output_open(&out, path, why)) return -1;
    if (!output_write(&out, c->text, c->bytes, why)) return output_close(&out, why);
    output_abandon(&out);
    return -1;
}
