/* The text of a recipe, before libyaml makes a document of it. */
#include "../../lib/common/file.h"
#include "recipe_inside.h"

#include <errno.h>
#include <yaml.h>

static int read_text(const char *path, char **text, size_t *bytes, struct fail *why)
{
    FILE *file = file_open_text_stdio(path, why);
    if (!file) return -1;
    int status = 0;
    *text = malloc(RECIPE_BYTES_MAX + 1);
    *bytes = *text ? fread(*text, 1, RECIPE_BYTES_MAX + 1, file) : 0;
    if (!*text)
        status = fail(why, "%s: out of memory", path);
    else if (ferror(file))
        status = fail(why, "%s: cannot read: %s", path, strerror(errno));
    else if (*bytes > RECIPE_BYTES_MAX)
        status = fail_usage(why, "%s: longer than %d bytes: not a recipe", path, RECIPE_BYTES_MAX);
    fclose(file);
    return status;
}

/* Depth and number of what has come so far. Aliases are values too. */
static int count_event(const yaml_event_t *e, int *depth, int *values, struct fail *why)
{
    bool opens = e->type == YAML_SEQUENCE_START_EVENT || e->type == YAML_MAPPING_START_EVENT;
    *depth += opens;
    *depth -= e->type == YAML_SEQUENCE_END_EVENT || e->type == YAML_MAPPING_END_EVENT;
    *values += opens || e->type == YAML_SCALAR_EVENT || e->type == YAML_ALIAS_EVENT;
    if (*depth > RECIPE_DEPTH_MAX)
        return fail_usage(why, "nested deeper than %d", RECIPE_DEPTH_MAX);
    if (*values > RECIPE_VALUES_MAX)
        return fail_usage(why, "more than %d keys and values", RECIPE_VALUES_MAX);
    return 0;
}

/* Reads event by event up to the first that is beyond a limit, or that is not YAML: what that is
 * libyaml says when it makes the document. */
static int check_events(yaml_parser_t *parser, const char *path, struct fail *why)
{
    int depth = 0, values = 0, status = 0;
    for (bool is_end = false; !is_end && !status;) {
        yaml_event_t e;
        if (!yaml_parser_parse(parser, &e)) return 0;
        is_end = e.type == YAML_STREAM_END_EVENT;
        status = count_event(&e, &depth, &values, why);
        if (status) {
            char place[300];
            snprintf(place, sizeof place, "%.240s:%zu:%zu", path, e.start_mark.line + 1,
                     e.start_mark.column + 1);
            (void)fail_in(why, place);
        }
        yaml_event_delete(&e);
    }
    return status;
}

int recipe_load_text(const char *path, char **text, size_t *bytes, struct fail *why)
{
    yaml_parser_t parser;
    *text = NULL;
    int status = read_text(path, text, bytes, why);
    if (!status && !yaml_parser_initialize(&parser)) {
        status = fail(why, "%s: out of memory", path);
    } else if (!status) {
        yaml_parser_set_input_string(&parser, (const unsigned char *)*text, *bytes);
        status = check_events(&parser, path, why);
        yaml_parser_delete(&parser);
    }
    if (!status) return 0;
    free(*text);
    *text = NULL;
    return -1;
}
