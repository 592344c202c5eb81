#include "tools/needle/wording.h"

#include "lib/common/json.h"

#include <string.h>

/* The names of the families in RULER's constants.py. */
static const char *const family_names[FAMILIES] = { "niah", "variable_tracking",
                                                    "common_words_extraction",
                                                    "freq_words_extraction" };

/* clang-format off */
static const char own_wording[] =
"{"
" \"niah\": {"
"  \"tokens_to_generate\": 64,"
"  \"template\": \"The following text hides some secret {type_needle_v}. Read it and keep them in mind, because a question about them follows.\\n\\n{context}\\n\\nQuestion: which are the secret {type_needle_v} of {query} in the text above?\","
"  \"answer_prefix\": \"\\nAnswer: the secret {type_needle_v} of {query} in the text above are\","
"  \"template_one\": \"The following text hides a secret {type_needle_v}. Read it and keep it in mind, because a question about it follows.\\n\\n{context}\\n\\nQuestion: what is the secret {type_needle_v} of {query} in the text above?\","
"  \"answer_prefix_one\": \"\\nAnswer: the secret {type_needle_v} of {query} in the text above is\","
"  \"needle\": \"One of the secret {type_needle_v} of {key} is {value}.\""
" },"
" \"variable_tracking\": {"
"  \"tokens_to_generate\": 48,"
"  \"template\": \"The following text assigns values to variables, some of them by way of others. Keep track of all assignments.\\n\\n{context}\\n\\nQuestion: which variables of the text above have the value {query}?\","
"  \"answer_prefix\": \"\\nAnswer: by the assignments in the text above, {num_v} variables have the value {query}:\","
"  \"needle\": \"VAR {key} = {value}\""
" },"
" \"common_words_extraction\": {"
"  \"tokens_to_generate\": 120,"
"  \"template\": \"The following list numbers its words. Some words stand in it more often than the others. Keep in mind which these are.\\n\\n{context}\\n\\nQuestion: which {num_v} words stand most often in the list above?\","
"  \"answer_prefix\": \"\\nAnswer: the {num_v} words that stand most often in the list above are:\""
" },"
" \"freq_words_extraction\": {"
"  \"tokens_to_generate\": 48,"
"  \"template\": \"The following text is made of code words. Count how often each occurs; the dots mean nothing.\\n\\n{context}\\n\\nQuestion: which {num_v} code words occur most often in the text above?\","
"  \"answer_prefix\": \"\\nAnswer: the {num_v} code words that occur most often in the text above are:\""
" }"
"}";
/* clang-format on */

/* The replacements that RULER's niah.py makes in its template if there is one answer. */
static const char *const singular[][2] = {
    { "Some", "A" }, { "are all", "is" }, { "are", "is" }, { "answers", "answer" }
};

/* Returns a copy of the text with each `from` replaced. NULL: out of memory. */
static char *replaced(const char *text, const char *from, const char *to)
{
    size_t most = strlen(text) * (1 + strlen(to)) + 1;
    char *copy = malloc(most), *end = copy;
    if (!copy) return NULL;
    while (*text) {
        bool is_here = !strncmp(text, from, strlen(from));
        const char *piece = is_here ? to : text;
        size_t length = is_here ? strlen(to) : 1;
        memcpy(end, piece, length);
        end += length;
        text += is_here ? strlen(from) : 1;
    }
    *end = 0;
    return copy;
}

static char *made_singular(const char *text)
{
    char *made = strdup(text);
    for (size_t i = 0; made && i < sizeof singular / sizeof *singular; i++) {
        char *next = replaced(made, singular[i][0], singular[i][1]);
        free(made);
        made = next;
    }
    return made;
}

/* Replaces *to by the value of a key. Returns 1 if the key exists, 0 if not, -1 on failure. */
static int take(char **to, const json_t *object, const char *key, struct fail *why)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    if (!value) return 0;
    if (!text || strlen(text) != json_string_length(value))
        return fail_input(why, "'%s' is not a text", key);
    free(*to);
    *to = strdup(text);
    return *to ? 1 : fail(why, "out of memory");
}

/* Does the text have this placeholder? Double braces are braces of the text. */
static bool has_place(const char *text, const char *name)
{
    size_t length = strlen(name);
    for (; *text; text++) {
        bool is_double = (*text == '{' || *text == '}') && text[1] == *text;
        if (is_double)
            text++;
        else if (*text == '{' && !strncmp(text + 1, name, length) && text[1 + length] == '}')
            return true;
    }
    return false;
}

/* Fails unless the question has a place for the text and, if something must be asked for by name,
 * for this name. */
static int check_places(const struct wording *w, enum family f, const struct words *words,
                        struct fail *why)
{
    bool needs_query = f == FAMILY_NEEDLE || f == FAMILY_TRACKING;
    if (!has_place(words->template, "context"))
        return fail_input(why, "'template' has no {context}, where the text stands");
    if (!needs_query || has_place(words->template, "query")) return 0;
    if (!w->has_prefix)
        return fail_input(why, "'template' has no {query}, which names what is asked for");
    if (has_place(words->prefix, "query")) return 0;
    return fail_input(why, "neither 'template' nor 'answer_prefix' has {query}, which names what "
                           "is asked for");
}

/* Reads a family's wordings. The wording for one answer is the file's template_one or, if that is
 * missing, is made from the wording for many. */
static int take_number(struct wording *w, enum family f, const json_t *object, bool is_niah,
                       struct fail *why)
{
    struct words *many = &w->words[f][NUMBER_MANY], *one = &w->words[f][NUMBER_ONE];
    struct {
        const char *key, *key_one;
        char **many, **one;
    } const parts[] = { { "template", "template_one", &many->template, &one->template },
                        { "answer_prefix", "answer_prefix_one", &many->prefix, &one->prefix } };
    for (size_t i = 0; i < 2; i++) {
        int given = take(parts[i].many, object, parts[i].key, why);
        if (given < 0) return -1;
        if (given) {
            free(*parts[i].one);
            *parts[i].one = is_niah ? made_singular(*parts[i].many) : strdup(*parts[i].many);
            if (!*parts[i].one) return fail(why, "out of memory");
        }
        if (take(parts[i].one, object, parts[i].key_one, why) < 0) return -1;
    }
    for (int n = 0; n < NUMBERS; n++)
        if (check_places(w, f, &w->words[f][n], why)) return -1;
    return 0;
}

static int check_keys(const json_t *object, struct fail *why)
{
    static const char *const keys[] = { "template",     "answer_prefix",     "tokens_to_generate",
                                        "template_one", "answer_prefix_one", "needle" };
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            is_known |= !strcmp(name, keys[i]);
        if (!is_known)
            return fail_input(why,
                              "'%s' is not a key here: the keys are template, answer_prefix, "
                              "template_one, answer_prefix_one, needle and tokens_to_generate",
                              name);
    }
    return 0;
}

static int take_family(struct wording *w, enum family f, const json_t *object, struct fail *why)
{
    bool has_needle = f == FAMILY_NEEDLE || f == FAMILY_TRACKING;
    if (!json_is_object(object)) return fail_input(why, "not an object");
    if (check_keys(object, why) ||
        json_get_count(object, "tokens_to_generate", 1 << 20, &w->max_tokens[f], why))
        return -1;
    if (!w->max_tokens[f]) return fail_input(why, "'tokens_to_generate' is 0");
    if (!has_needle && json_object_get(object, "needle"))
        return fail_input(why, "'needle': this task has no needles");
    if (take(&w->needle[f], object, "needle", why) < 0) return -1;
    if (has_needle && !has_place(w->needle[f], "key"))
        return fail_input(why, "'needle' has no {key}, by which the question names it");
    if (has_needle && !has_place(w->needle[f], "value"))
        return fail_input(why, "'needle' has no {value}, which is the answer");
    return take_number(w, f, object, f == FAMILY_NEEDLE, why);
}

static int take_all(struct wording *w, const json_t *all, struct fail *why)
{
    const char *name;
    json_t *value;
    if (!json_is_object(all)) return fail_input(why, "not a JSON object");
    json_object_foreach((json_t *)all, name, value)
    {
        size_t f = 0;
        while (f < FAMILIES && strcmp(name, family_names[f]) != 0)
            f++;
        /* RULER's file also has a wording for questions about documents, which need a data set. */
        if (f == FAMILIES && !strcmp(name, "qa")) continue;
        if (f == FAMILIES)
            return fail_input(why,
                              "'%s' is not a task here: the tasks are niah, variable_tracking, "
                              "common_words_extraction and freq_words_extraction",
                              name);
        if (take_family(w, (enum family)f, value, why)) return fail_in(why, name);
    }
    return 0;
}

int wording_open(struct wording *w, const char *path, bool has_prefix, struct fail *why)
{
    *w = (struct wording){ .has_prefix = has_prefix };
    json_t *own = json_read_text(own_wording, sizeof own_wording - 1, "the wording", why);
    int status = own ? take_all(w, own, why) : -1;
    json_decref(own);
    for (int n = 0; n < NUMBERS && !status; n++) {
        char **type = &w->words[FAMILY_NEEDLE][n].type;
        *type = strdup(n == NUMBER_ONE ? "number" : "numbers");
        if (!*type) status = fail(why, "out of memory");
    }
    if (!status && path) {
        json_t *file = json_read_file(path, why);
        status = file ? take_all(w, file, why) : -1;
        if (status && file) (void)fail_in(why, path);
        json_decref(file);
    }
    if (status) wording_release(w);
    return status;
}

void wording_release(struct wording *w)
{
    for (int f = 0; f < FAMILIES; f++) {
        free(w->needle[f]);
        for (int n = 0; n < NUMBERS; n++) {
            free(w->words[f][n].template);
            free(w->words[f][n].prefix);
            free(w->words[f][n].type);
        }
    }
    *w = (struct wording){ 0 };
}
