/* chat_source.c - finds a model's own chat_template. */
#include "lib/tokenizer/chat_known.h"

#include "lib/common/file.h"
#include "lib/common/json.h"
#include "lib/common/suffix.h"
#include "lib/tokenizer/gguf_tokenizer.h"
#include "lib/tokenizer/jinja_form.h"

#include <dirent.h>
#include <sys/stat.h>

void chat_source_release(struct chat_source *s)
{
    free(s->text);
    *s = (struct chat_source){ 0 };
}

static int check_empty(const struct chat_source *s, struct fail *why)
{
    if (strspn(s->text, " \t\r\n") < s->bytes) return 0;
    return fail_input(why,
                      "%.300s: an empty chat_template turns every conversation into nothing: fetch "
                      "the file again, or remove it if the model has none",
                      s->place);
}

/* Reads a whole text file. */
static int read_file(struct chat_source *s, struct fail *why)
{
    int status = file_read(s->place, JINJA_TEXT_MAX, &s->text, &s->bytes, why);
    if (status > 0)
        status = fail_input(why, "%.300s: the template has %zu bytes, but at most %d are possible",
                            s->place, s->bytes, JINJA_TEXT_MAX);
    if (!status) status = check_empty(s, why);
    if (status) chat_source_release(s);
    return status;
}

/* Returns the template named "default" in a list of objects {"name", "template"}; of several the
 * last one, as in transformers. NULL with *why if there is none. */
static const json_t *default_of(const json_t *list, struct fail *why)
{
    char names[200] = "";
    const json_t *found = NULL;
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        size_t used = strlen(names);
        if (name && !strcmp(name, "default")) {
            found = json_object_get(entry, "template");
            if (!found) {
                fail_input(why, "its chat_template that is called default has no template");
                return NULL;
            }
        } else if (name && used + strlen(name) + 3 < sizeof names)
            snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", name);
    }
    if (found) return found;
    fail_input(why, "of its named chat_templates (%s) none is called default", names);
    return NULL;
}

static int read_config(struct chat_source *s, struct fail *why)
{
    json_t *config = json_read_file(s->place, why);
    if (!config) return -1;
    const json_t *value = json_object_get(config, "chat_template");
    int status = 0;
    if (json_is_array(value)) {
        value = default_of(value, why);
        if (!value) status = -1;
    }
    if (!status && value && !json_is_null(value) && !json_is_string(value))
        status = fail_input(why, "chat_template is neither a text nor a list of named texts");
    if (!status && json_is_string(value)) {
        s->bytes = json_string_length(value);
        s->text = malloc(s->bytes + 1);
        if (s->text) memcpy(s->text, json_string_value(value), s->bytes + 1);
        if (!s->text) status = fail(why, "out of memory");
    }
    json_decref(config);
    if (status) return fail_in(why, s->place);
    status = s->text ? check_empty(s, why) : 0;
    if (status) chat_source_release(s);
    return status;
}

/* Reads the template from a GGUF file. */
static int read_gguf(struct chat_source *s, struct fail *why)
{
    struct gguf g;
    struct gguf_text text = { 0 };
    if (gguf_open(&g, s->place, why)) return -1;
    int status = gguf_get_text(&g, GGUF_KEY_CHAT_TEMPLATE, &text, why);
    if (!status && text.bytes > JINJA_TEXT_MAX)
        status = fail_input(why, "the chat_template has %zu bytes, but at most %d are possible",
                            text.bytes, JINJA_TEXT_MAX);
    if (!status && text.at && memchr(text.at, 0, text.bytes))
        status = fail_input(why, "%s contains a NUL character", GGUF_KEY_CHAT_TEMPLATE);
    if (!status && text.at) {
        s->bytes = text.bytes;
        s->text = malloc(text.bytes + 1);
        if (s->text) memcpy(s->text, text.at, text.bytes), s->text[text.bytes] = 0;
        if (!s->text) status = fail(why, "out of memory");
    }
    gguf_close(&g);
    if (status) return fail_in(why, s->place);
    status = s->text ? check_empty(s, why) : 0;
    if (status) chat_source_release(s);
    return status;
}

/* Looks for the file `name` in the folder `place`, or in the folder of `place` if that is a file.
 * Returns 1 if the file exists, 0 if not, or -1. */
static int is_there(struct chat_source *s, const char *place, bool is_folder, const char *name,
                    struct fail *why)
{
    const char *slash = strrchr(place, '/');
    if (is_folder)
        snprintf(s->place, sizeof s->place, "%s/%s", place, name);
    else
        snprintf(s->place, sizeof s->place, "%.*s%s", slash ? (int)(slash - place + 1) : 0, place,
                 name);
    return file_is_there(s->place, why);
}

/* Returns 1 if the folder s->place has a file *.jinja, 0 if not or if there is no such folder. */
static int has_jinja(const struct chat_source *s)
{
    DIR *folder = opendir(s->place);
    const struct dirent *entry;
    int found = 0;
    while (folder && !found && (entry = readdir(folder)))
        found = suffix_is(entry->d_name, ".jinja");
    if (folder) closedir(folder);
    return found;
}

/* The folder additional_chat_templates has templates for other purposes, such as tools. In
 * transformers a default.jinja there overrides chat_template.jinja, and any other one there
 * overrides the chat_template of tokenizer_config.json. */
static int check_additional(struct chat_source *s, const char *place, bool is_folder,
                            struct fail *why)
{
    static const char folder[] = "additional_chat_templates";
    int found = is_there(s, place, is_folder, "additional_chat_templates/default.jinja", why);
    if (found > 0)
        return fail_input(why,
                          "%.300s: transformers takes this file, and not chat_template.jinja: move "
                          "it to chat_template.jinja in the model's folder",
                          s->place);
    if (!found) found = is_there(s, place, is_folder, folder, why);
    if (found <= 0 || !has_jinja(s)) return found < 0 ? -1 : 0;
    found = is_there(s, place, is_folder, "chat_template.jinja", why);
    if (found) return found < 0 ? -1 : 0;
    return fail_input(why,
                      "%.300s is missing, and because of the folder %s transformers ignores the "
                      "chat_template in tokenizer_config.json: write that text to this file, or "
                      "choose a template by name",
                      s->place, folder);
}

int chat_source_find(struct chat_source *s, const char *place, struct fail *why)
{
    struct stat st;
    size_t length = strlen(place);
    bool is_folder = !stat(place, &st) && S_ISDIR(st.st_mode);
    *s = (struct chat_source){ 0 };
    if (!is_folder && length > 6 && !strcmp(place + length - 6, ".jinja")) {
        snprintf(s->place, sizeof s->place, "%s", place);
        return read_file(s, why);
    }
    if (!is_folder && gguf_is(place)) {
        snprintf(s->place, sizeof s->place, "%s", place);
        return read_gguf(s, why);
    }
    if (check_additional(s, place, is_folder, why)) return -1;
    int found = is_there(s, place, is_folder, "chat_template.jinja", why);
    if (found) return found < 0 ? -1 : read_file(s, why);
    found = is_there(s, place, is_folder, "tokenizer_config.json", why);
    return found > 0 ? read_config(s, why) : found;
}
