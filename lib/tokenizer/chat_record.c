#include "lib/tokenizer/chat_internal.h"

static const char *const reasons[CHAT_REASONS] = {
    [CHAT_FINE] = "fine",
    [CHAT_NOT_JSON] = "not JSON objects",
    [CHAT_NO_FORM] = "in no known form",
    [CHAT_UNREADABLE] = "with values that cannot be read",
    [CHAT_UNKNOWN_ROLE] = "with unknown roles",
    [CHAT_TOOLS] = "with tools",
    [CHAT_DEVELOPER] = "with the role developer",
    [CHAT_REASONING] = "with reasoning",
    [CHAT_MEDIA] = "with content other than text",
    [CHAT_PREFERENCE] = "of preferences",
    [CHAT_UNSUPPORTED] = "that ask for something unsupported",
    [CHAT_ANSWER_FIRST] = "that begin with an answer",
    [CHAT_PROMPT_LAST] = "that end with a prompt",
    [CHAT_IN_A_ROW] = "with two of a role in a row",
    [CHAT_SYSTEM_LATER] = "with a later system message",
    [CHAT_EMPTY] = "with an empty message",
    [CHAT_NO_ANSWER] = "without an answer",
    [CHAT_UNTRAINED] = "with nothing to train on",
};

static const char *const repairs[CHAT_REPAIRS] = {
    [CHAT_REPAIR_FIRST] = "answers before the first prompt left out",
    [CHAT_REPAIR_LAST] = "prompts without an answer at the end left out",
    [CHAT_REPAIR_ROW] = "messages left out of two of a role in a row",
    [CHAT_REPAIR_MERGED] = "messages joined with the one before",
    [CHAT_REPAIR_SYSTEM] = "later system messages left out",
    [CHAT_REPAIR_EMPTY] = "empty messages left out",
    [CHAT_REPAIR_TOOL] = "messages of tools left out",
    [CHAT_REPAIR_TOOLS] = "lists of tools left out",
    [CHAT_REPAIR_REASONING] = "times reasoning left out",
    [CHAT_REPAIR_SENTENCE] = "system prompts left out, as the template does where an answer ends",
    [CHAT_REPAIR_THOUGHT] =
        "answers without the thinking before </think>, which the template drops",
};

/* The purpose of a key of a record. */
enum use {
    USE_MESSAGES,
    USE_PROMPT,
    USE_INPUT,
    USE_ANSWER,
    USE_SYSTEM,
    USE_HISTORY,
    USE_TOOLS,
    USE_MEDIA,
    USE_PREFERENCE,
    USE_LABEL,  /* true or false: is the answer good? */
    USE_TRAINS, /* a number, true or false: does the record count in the loss? */
    USE_UNSUPPORTED,
    USES,
    USE_UNKNOWN = USES
};
static const struct {
    const char *name;
    enum use use;
} keys[] = {
    { "messages", USE_MESSAGES },
    { "conversations", USE_MESSAGES },
    { "conversation", USE_MESSAGES },
    { "data", USE_MESSAGES },
    { "instruction", USE_PROMPT },
    { "prompt", USE_PROMPT },
    { "question", USE_PROMPT },
    { "query", USE_PROMPT },
    { "input", USE_INPUT },
    { "context", USE_INPUT },
    { "output", USE_ANSWER },
    { "response", USE_ANSWER },
    { "completion", USE_ANSWER },
    { "answer", USE_ANSWER },
    { "system", USE_SYSTEM },
    { "system_prompt", USE_SYSTEM },
    { "history", USE_HISTORY },
    { "tools", USE_TOOLS },
    { "functions", USE_TOOLS },
    { "images", USE_MEDIA },
    { "image", USE_MEDIA },
    { "videos", USE_MEDIA },
    { "video", USE_MEDIA },
    { "audios", USE_MEDIA },
    { "audio", USE_MEDIA },
    { "chosen", USE_PREFERENCE },
    { "rejected", USE_PREFERENCE },
    { "chosen_messages", USE_PREFERENCE },
    { "rejected_messages", USE_PREFERENCE },
    { "kto_tag", USE_LABEL },
    { "label", USE_LABEL },
    { "weight", USE_TRAINS },
    { "train", USE_TRAINS },
    { "training", USE_TRAINS },
    { "loss_weight", USE_TRAINS },
    { "documents", USE_UNSUPPORTED },
    { "choices", USE_UNSUPPORTED },
    { "chat_template_kwargs", USE_UNSUPPORTED },
};

/* The key and value that a record has for each use; `name` is NULL if no key has this use. */
struct record {
    struct {
        const char *name;
        const json_t *value;
    } at[USES];
    /* The key of better and worse answers, if the record also has a list of messages. */
    const char *preference;
};

const char *chat_reason_words(enum chat_reason reason) { return reasons[reason]; }
bool chat_reason_is_irregular(enum chat_reason reason) { return reason >= CHAT_TOOLS; }
const char *chat_repair_words(enum chat_repair repair) { return repairs[repair]; }

void chat_release(struct chat *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->turns[i].prompt);
        free(c->turns[i].answer);
    }
    free(c->turns);
    free(c->system);
    free(c->source);
    *c = (struct chat){ 0 };
}

static enum use use_of(const char *name)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(name, keys[i].name)) return keys[i].use;
    return USE_UNKNOWN;
}

/* Is this use ignored if the record also has a list of messages? Such keys repeat the conversation
 * in another form, or have an answer for comparison. */
static bool is_idle_beside_messages(enum use use)
{
    return use == USE_PROMPT || use == USE_INPUT || use == USE_ANSWER || use == USE_PREFERENCE ||
           use == USE_HISTORY;
}

static bool has_messages(const json_t *object)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i].use == USE_MESSAGES && !chat_is_nothing(json_object_get(object, keys[i].name)))
            return true;
    return false;
}

/* Is this key the one that names the record's subset, or does its value contain that key? */
static bool is_source(const struct chat_reading *r, const char *key)
{
    const char *path = r->how->source_key;
    size_t n = strlen(key);
    return path && !strncmp(path, key, n) && (!path[n] || path[n] == '.');
}

/* Is this list of tools empty? LLaMA-Factory writes the list as a text of JSON. */
static bool is_no_tool(enum use use, const json_t *value)
{
    return use == USE_TOOLS && json_string_length(value) == 2 &&
           !strcmp(json_string_value(value), "[]");
}

/* Does a key that says how much the record counts in the loss ask for something else than to count
 * it fully? Other values, such as a list under "train", have another meaning. */
static bool weighs(const json_t *value)
{
    return json_is_false(value) || (json_is_number(value) && json_number_value(value) != 1);
}

/* Does an empty text or list count as a value for this use? For other uses it counts as missing. */
static bool may_be_empty(enum use use)
{
    return use == USE_PROMPT || use == USE_INPUT || use == USE_ANSWER || use == USE_MESSAGES;
}

/* Handles a known key that may ask for something unsupported. Returns 1 if the key is left out and
 * counted, 0 if the key is supported, or -1. */
static int check_use(struct chat_reading *r, enum use use, const char *key)
{
    switch (use) {
    case USE_PREFERENCE:
    case USE_LABEL:
        return chat_refuse(r, CHAT_PREFERENCE, "'%s': better and worse answers are not trained on",
                           key);
    case USE_MEDIA:
        return chat_refuse(r, CHAT_MEDIA, "'%s': only text is understood", key);
    case USE_TRAINS:
        return chat_refuse(r, CHAT_UNTRAINED,
                           "'%s' says that the record does not count fully in the loss: leave such "
                           "records out, or leave the key out",
                           key);
    case USE_UNSUPPORTED:
        return chat_refuse(r, CHAT_UNSUPPORTED, "'%s' is not understood", key);
    case USE_TOOLS:
        if (chat_repairs(r, CHAT_REPAIR_TOOLS)) return 1;
        return chat_refuse(r, CHAT_TOOLS, "'%s': tools are not trained on", key);
    default:
        return 0;
    }
}

static int classify_keys(struct chat_reading *r, const json_t *object, struct record *found)
{
    const char *key;
    json_t *value;
    bool is_list = has_messages(object);
    json_object_foreach((json_t *)object, key, value)
    {
        enum use use = use_of(key);
        bool is_nothing = chat_is_nothing(value) || is_no_tool(use, value);
        if (use == USE_LABEL && !json_is_boolean(value)) use = USE_UNKNOWN;
        if (use == USE_TRAINS && !weighs(value)) use = USE_UNKNOWN;
        if (use == USE_UNKNOWN && chat_is_of_answer(key, value)) continue;
        bool is_idle = use == USE_UNKNOWN || (is_list && is_idle_beside_messages(use));
        if (use == USE_UNKNOWN ? !is_source(r, key) : is_idle && !is_nothing)
            tally_add(r->unknown, key, 1);
        if (is_idle && use == USE_PREFERENCE && !is_nothing) found->preference = key;
        if (is_idle || json_is_null(value) || (is_nothing && !may_be_empty(use))) continue;
        int left_out = check_use(r, use, key);
        if (left_out < 0) return -1;
        if (left_out) continue;
        if (found->at[use].name)
            return chat_refuse(r, CHAT_UNREADABLE, "both '%s' and '%s': one is needed",
                               found->at[use].name, key);
        found->at[use].name = key;
        found->at[use].value = value;
    }
    return 0;
}

static int add_text(struct chat_reading *r, enum chat_speaker who, const json_t *value,
                    const char *key, bool is_trained)
{
    char *text;
    if (chat_text_of(r, value, key, &text)) return -1;
    return chat_add(r, who, text, is_trained);
}

/* Adds LLaMA-Factory's history, a list of pairs of prompt and answer. */
static int add_history(struct chat_reading *r, const json_t *list)
{
    size_t i;
    json_t *pair;
    if (!json_is_array(list))
        return chat_refuse(r, CHAT_UNREADABLE, "'history' is not a list of pairs");
    json_array_foreach(list, i, pair)
    {
        if (json_array_size(pair) != 2)
            return chat_refuse(r, CHAT_UNREADABLE, "entry %zu of 'history' is not a pair of texts",
                               i + 1);
        if (add_text(r, SPEAKER_USER, json_array_get(pair, 0), "history", false) ||
            add_text(r, SPEAKER_ASSISTANT, json_array_get(pair, 1), "history", true))
            return -1;
    }
    return 0;
}

/* Adds Alpaca's instruction, followed by its input, if there is one. If both have text, the input
 * is on a new line. */
static int add_instruction(struct chat_reading *r, const json_t *instruction, const char *key,
                           const json_t *input, const char *input_key)
{
    char *first = NULL, *second = NULL, *both = NULL;
    int status = chat_text_of(r, instruction, key, &first);
    if (!status) status = chat_text_of(r, input, input_key, &second);
    if (!status) {
        bool is_pair = *first && *second;
        int length = asprintf(&both, "%s%s%s", first, is_pair ? "\n" : "", second);
        status = length < 0 ? fail(r->why, "out of memory") : 0;
        if (!status) status = chat_add(r, SPEAKER_USER, both, false);
        struct chat_message *m = status ? NULL : &r->at[r->count - 1];
        if (m) m->has_input = *second;
        if (m && is_pair) m->input_at = strlen(first) + 1;
    }
    free(first);
    free(second);
    return status;
}

static int add_prompt(struct chat_reading *r, const struct record *found)
{
    const char *prompt = found->at[USE_PROMPT].name, *input = found->at[USE_INPUT].name;
    const json_t *value = found->at[USE_PROMPT].value, *below = found->at[USE_INPUT].value;
    if (prompt && input && chat_is_nothing(below)) input = NULL;
    if (!prompt) {
        prompt = input;
        value = below;
        input = NULL;
    }
    if (chat_is_messages(value)) {
        if (input)
            return chat_refuse(r, CHAT_UNREADABLE, "'%s' cannot stand beside the messages of '%s'",
                               input, prompt);
        return chat_add_messages(r, value, false);
    }
    if (!input) return add_text(r, SPEAKER_USER, value, prompt, false);
    bool is_known =
        !strcmp(prompt, "instruction") || (!strcmp(prompt, "prompt") && !strcmp(input, "input"));
    if (!is_known)
        return chat_refuse(r, CHAT_UNREADABLE,
                           "'%s' beside '%s': which of them comes first is not known: write both "
                           "into '%s'",
                           input, prompt, prompt);
    return add_instruction(r, value, prompt, below, input);
}

/* Writes "; it has texts under 'problem', 'solution': …" for a record of unknown form, or "" if it
 * has fewer than two texts. */
static void describe_texts(const json_t *object, char *words, size_t size)
{
    enum { NAMES_MAX = 5, NAME_MAX = 24 };
    char names[NAMES_MAX * (NAME_MAX + 4) + 1] = "";
    const char *key;
    int count = 0;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t used = strlen(names);
        if (!json_is_string(value) || strlen(key) > NAME_MAX || count == NAMES_MAX) continue;
        snprintf(names + used, sizeof names - used, "%s'%s'", count++ ? ", " : "", key);
    }
    *words = 0;
    if (count > 1)
        snprintf(words, size,
                 "; it has texts under %s: jq -c '{prompt: .A, completion: .B}' makes a pair of "
                 "two of them",
                 names);
}

/* Has the record the form of Gemini's requests: {"contents": [{"role": …, "parts": […]}]}? */
static bool is_of_gemini(const json_t *object)
{
    const json_t *first = json_array_get(json_object_get(object, "contents"), 0);
    return json_is_string(json_object_get(first, "role")) &&
           json_is_array(json_object_get(first, "parts"));
}

static int refuse_form(struct chat_reading *r, const json_t *object, const struct record *found)
{
    const char *prompt =
        found->at[USE_PROMPT].name ? found->at[USE_PROMPT].name : found->at[USE_INPUT].name;
    const char *answer = found->at[USE_ANSWER].name;
    if (prompt && !answer)
        return chat_refuse(r, CHAT_NO_FORM,
                           "'%s' has no answer beside it (output, response, completion or answer)",
                           prompt);
    if (answer)
        return chat_refuse(
            r, CHAT_NO_FORM,
            "'%s' has no prompt beside it (instruction, prompt, question, query or input)", answer);
    if (json_object_get(object, "message_id") && json_object_get(object, "parent_id"))
        return chat_refuse(
            r, CHAT_NO_FORM,
            "the record is one message of a tree (it has a 'parent_id'), as in OpenAssistant, but "
            "must be a whole conversation: use a data set of threads");
    if (is_of_gemini(object))
        return chat_refuse(r, CHAT_NO_FORM,
                           "'contents' is a list of messages as in Gemini's requests: jq -c "
                           "'{messages: [(.systemInstruction // .system_instruction // empty | "
                           ".role = \"system\"), .contents[] | {role, content: ([.parts[] | "
                           ".text // error] | add)}]}' makes messages of it");
    const char *records = json_key_of_records(object, chat_is_record);
    if (records)
        return chat_refuse(r, CHAT_NO_FORM,
                           "the record has no conversation, but a list of records under '%.40s': "
                           "jq -c '.%.40s[]' makes a line of each",
                           records, records);
    char other[260];
    describe_texts(object, other, sizeof other);
    return chat_refuse(
        r, CHAT_NO_FORM,
        "the record has no conversation: neither messages nor conversations, nor instruction, "
        "prompt, question, query or input together with output, response, completion or answer%s",
        chat_value(object, "text") ? "; it has a text, which --format jsonl reads" : other);
}

/* Adds a single question and its answer, after a history if there is one. */
static int add_single(struct chat_reading *r, const json_t *object, const struct record *found)
{
    const json_t *answer = found->at[USE_ANSWER].value;
    const char *input = found->at[USE_INPUT].name;
    bool has_prompt = found->at[USE_PROMPT].name || (input && !strcmp(input, "input"));
    if (!has_prompt || !answer) return refuse_form(r, object, found);
    if (found->at[USE_HISTORY].name && add_history(r, found->at[USE_HISTORY].value)) return -1;
    if (add_prompt(r, found)) return -1;
    if (!chat_is_messages(answer))
        return chat_add_answer(r, object, answer, found->at[USE_ANSWER].name);
    return chat_add_messages(r, answer, true) || chat_check_beside(r, object) ? -1 : 0;
}

/* Adds the system prompt. The list of messages may begin with a system message too, if it has the
 * same text. */
static int add_system(struct chat_reading *r, const struct record *found)
{
    char *text;
    if (!found->at[USE_SYSTEM].name || chat_is_nothing(found->at[USE_SYSTEM].value)) return 0;
    if (chat_system_of(r, found->at[USE_SYSTEM].value, found->at[USE_SYSTEM].name, &text))
        return -1;
    bool is_twice = r->count && r->at->who == SPEAKER_SYSTEM;
    if (is_twice && strcmp(text, r->at->text) != 0) {
        free(text);
        return chat_refuse(r, CHAT_UNREADABLE, "'%s' and the system message say different things",
                           found->at[USE_SYSTEM].name);
    }
    if (is_twice) {
        free(text);
        return 0;
    }
    if (!r->how->keeps_space) chat_strip(text);
    r->chat->system = text;
    return 0;
}

/* Refuses messages that are not a list. They may be a text, as in CSV files and printed Python
 * objects. They may be an object with one list of roles and one list of texts, as in columnar
 * files. */
static int refuse_list(struct chat_reading *r, const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    if (text) text += strspn(text, " \t\r\n");
    if (text && *text == '[' && text[1 + strspn(text + 1, "{ \n")] == '\'')
        return chat_refuse(r, CHAT_UNREADABLE,
                           "'%s' is a text with a list of Python's in it: in Python "
                           "ast.literal_eval(record['%s']) makes a list of it",
                           key, key);
    if (text && *text == '[')
        return chat_refuse(r, CHAT_UNREADABLE,
                           "'%s' is a text with JSON in it: jq -c '.%s |= fromjson' makes a list "
                           "of it",
                           key, key);
    if (json_is_array(json_object_get(value, "role")) ||
        json_is_array(json_object_get(value, "content")) ||
        json_is_array(json_object_get(value, "from")) ||
        json_is_array(json_object_get(value, "value")))
        return chat_refuse(r, CHAT_UNREADABLE,
                           "'%s' has one list of roles and another one of texts: a single list of "
                           "messages is needed, each with its role and its text",
                           key);
    return chat_refuse(r, CHAT_UNREADABLE, "'%s' is no list", key);
}

static int read_record(struct chat_reading *r, const json_t *object)
{
    struct record found = { 0 };
    const json_t *list;
    if (chat_is_messages(object))
        return chat_add_messages(r, object, true) || chat_read_turns(r, NULL) ? -1 : 0;
    if (!json_is_object(object)) return chat_refuse(r, CHAT_NOT_JSON, "not a JSON object");
    if (classify_keys(r, object, &found)) return -1;
    list = found.at[USE_MESSAGES].value;
    if (list && !json_is_array(list)) return refuse_list(r, found.at[USE_MESSAGES].name, list);
    r->list = found.at[USE_MESSAGES].name;
    if (list ? chat_add_messages(r, list, true) || chat_check_beside(r, object)
             : add_single(r, object, &found))
        return -1;
    return add_system(r, &found) || chat_read_turns(r, found.preference) ? -1 : 0;
}

static int read_source(struct chat_reading *r, const json_t *object)
{
    const char *key = r->how->source_key;
    const json_t *source = json_at_path(object, key);
    const char *text = json_string_value(source);
    if (text && chat_check_nul(r, source, key)) return -1;
    r->chat->has_number_source = json_is_number(source);
    r->chat->has_other_source =
        !text && source && !json_is_null(source) && !r->chat->has_number_source;
    if (!text) return 0;
    r->chat->source = strdup(text);
    return r->chat->source ? 0 : fail(r->why, "out of memory");
}

static int read_object(struct chat *c, const struct chat_reader *how, const json_t *object,
                       struct tally *unknown, struct fail *why)
{
    struct chat_reading r = { .how = how, .chat = c, .unknown = unknown, .why = why };
    int status = read_record(&r, object);
    if (!status && how->source_key) status = read_source(&r, object);
    for (size_t i = 0; i < r.count; i++)
        free(r.at[i].text);
    free(r.at);
    return status;
}

bool chat_is_message(const char *text, size_t bytes)
{
    struct fail ignored;
    json_t *value = json_read_line_of_reals(text, bytes, JSON_ALLOW_NUL, &ignored);
    bool is_message = chat_value(value, "role") || chat_value(value, "from");
    json_decref(value);
    return is_message;
}

int chat_read(struct chat *c, const struct chat_reader *how, const char *text, size_t bytes,
              struct tally *unknown, struct fail *why)
{
    *c = (struct chat){ 0 };
    /* Unknown keys may have numbers of any length, so integers are read as real numbers. */
    json_t *object = json_read_line_of_reals(text, bytes, JSON_ALLOW_NUL, why);
    int status = object ? read_object(c, how, object, unknown, why) : -1;
    if (!object) c->reason = CHAT_NOT_JSON;
    json_decref(object);
    if (status) {
        enum chat_reason reason = c->reason;
        chat_release(c);
        c->reason = reason;
    }
    return status;
}
