#include "lib/tokenizer/chat_internal.h"

#include "lib/common/buffer.h"

static const char developer[] = "developer";

/* The names of roles in known data sets. */
static const struct {
    const char *name;
    enum chat_speaker who;
} roles[] = {
    { "system", SPEAKER_SYSTEM },
    { developer, SPEAKER_SYSTEM },
    { "user", SPEAKER_USER },
    { "human", SPEAKER_USER },
    { "prompter", SPEAKER_USER }, /* OpenAssistant's name */
    { "assistant", SPEAKER_ASSISTANT },
    { "gpt", SPEAKER_ASSISTANT },
    { "chatgpt", SPEAKER_ASSISTANT },
    { "model", SPEAKER_ASSISTANT },
    { "tool", SPEAKER_TOOL },
    { "tools", SPEAKER_TOOL },
    { "tool_call", SPEAKER_TOOL },
    { "tool_response", SPEAKER_TOOL },
    { "tool_result", SPEAKER_TOOL },
    { "function", SPEAKER_TOOL },
    { "function_call", SPEAKER_TOOL },
    { "function-call", SPEAKER_TOOL },
    { "function_response", SPEAKER_TOOL },
    { "function-response", SPEAKER_TOOL },
    { "observation", SPEAKER_TOOL },
    { "ipython", SPEAKER_TOOL },
};

/* The keys of a message besides its role and its text. */
enum message_key {
    KEY_IDLE,
    KEY_TRAINS,
    KEY_TRAINS_PART,
    KEY_MASK,
    KEY_NO_END, /* false: the answer's end is not written */
    KEY_TOOL,
    KEY_REASONING,
    KEY_MEDIA,
    KEY_REFUSAL,
    KEY_UNKNOWN
};
static const struct {
    const char *name;
    enum message_key key;
} keys[] = {
    { "name", KEY_IDLE }, /* ignored, because no template here writes it */
    { "weight", KEY_TRAINS },
    { "train", KEY_TRAINS },
    { "training", KEY_TRAINS },
    { "loss", KEY_TRAINS },
    { "loss_weight", KEY_TRAINS },
    { "train_detail", KEY_TRAINS_PART }, /* Axolotl's list of parts of an answer */
    { "mask", KEY_MASK },
    { "output_with_loss", KEY_TRAINS }, /* XTuner */
    { "need_eos_token", KEY_NO_END },   /* XTuner */
    { "tool_calls", KEY_TOOL },
    { "tool_call_id", KEY_TOOL },
    { "function_call", KEY_TOOL },
    { "reasoning_content", KEY_REASONING },
    { "reasoning", KEY_REASONING },
    { "thinking", KEY_REASONING },
    { "images", KEY_MEDIA },
    { "image", KEY_MEDIA },
    { "videos", KEY_MEDIA },
    { "video", KEY_MEDIA },
    { "audios", KEY_MEDIA },
    { "audio", KEY_MEDIA },
    { "refusal", KEY_REFUSAL },
};

static enum chat_speaker speaker_of(const char *role)
{
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(role, roles[i].name)) return roles[i].who;
    return SPEAKER_UNKNOWN;
}

static enum message_key key_of(const char *name)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(name, keys[i].name)) return keys[i].key;
    return KEY_UNKNOWN;
}

bool chat_repairs(struct chat_reading *r, enum chat_repair repair)
{
    if (r->how->irregular != CHAT_IRREGULAR_DROP && r->how->irregular != CHAT_IRREGULAR_MERGE)
        return false;
    r->chat->repaired[repair]++;
    return true;
}

const json_t *chat_value(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

bool chat_is_nothing(const json_t *value)
{
    return !value || json_is_null(value) || (json_is_string(value) && !json_string_length(value)) ||
           (json_is_array(value) && !json_array_size(value)) ||
           (json_is_object(value) && !json_object_size(value));
}

bool chat_is_messages(const json_t *value)
{
    const json_t *first = json_array_get(value, 0);
    return chat_value(first, "role") || chat_value(first, "from");
}

int chat_add(struct chat_reading *r, enum chat_speaker who, char *text, bool is_trained)
{
    if (buffer_reserve(&r->at, &r->capacity, r->count, 1, r->why)) {
        free(text);
        return -1;
    }
    r->at[r->count] = (struct chat_message){
        .who = who, .text = text, .number = r->count + 1, .is_trained = is_trained
    };
    r->count++;
    return 0;
}

/* What the keys of a message besides its role and its text say about the message. */
struct traits {
    bool is_tool;
    bool takes_reasoning;  /* reasoning_content belongs to the answer */
    const json_t *system;  /* the system prompt of a pair; NULL if there is none */
    const char *reasoning; /* the key of reasoning that does not belong to the answer */
    const char *media;     /* the key of a picture, sound or other medium */
    /* The key that tells whether the answer counts in the loss; NULL if there is none. */
    const char *trains;
    bool is_trained;
};

/* Reads 0 or 1 (as in OpenAI's data), or false or true. */
static int read_trains(struct chat_reading *r, const char *key, const json_t *value,
                       struct traits *t)
{
    double number = json_is_boolean(value) ? json_is_true(value) : json_number_value(value);
    bool is_known = json_is_boolean(value) || json_is_number(value);
    if (!is_known || (number != 0 && number != 1))
        return chat_refuse(r, CHAT_UNREADABLE,
                           "'%s' is neither 0 nor 1: an answer is either trained on or not", key);
    if (t->trains && t->is_trained != (number != 0))
        return chat_refuse(r, CHAT_UNREADABLE, "'%s' and '%s' contradict each other", t->trains,
                           key);
    t->trains = key;
    t->is_trained = number != 0;
    return 0;
}

static const char reasoning[] = "reasoning_content";

static bool takes_reasoning(const struct traits *t, const char *key, const json_t *value)
{
    return t->takes_reasoning && !strcmp(key, reasoning) && json_is_string(value);
}

/* Appends reasoning_content to the buffer of the answer's text, after the terminating NUL. *at
 * becomes the offset of reasoning_content in the buffer. */
static int append_reasoning(struct chat_reading *r, const json_t *object, char **text, size_t *at)
{
    const json_t *thought = json_object_get(object, reasoning);
    char *part;
    if (!json_is_string(thought)) return 0;
    if (chat_text_of(r, thought, reasoning, &part)) return -1;
    size_t bytes = strlen(*text) + 1, capacity = bytes, more = strlen(part) + 1;
    int status = buffer_fit(text, &capacity, bytes + more, r->why);
    if (!status) {
        memcpy(*text + bytes, part, more);
        *at = bytes;
    }
    free(part);
    return status;
}

/* Adds a message with the traits of its object. Takes ownership of the text, also on failure. */
static int add_with_traits(struct chat_reading *r, enum chat_speaker who, char *text,
                           const json_t *object, const struct traits *t, bool is_trained)
{
    size_t reasoning_at = 0;
    if (t->takes_reasoning && append_reasoning(r, object, &text, &reasoning_at)) {
        free(text);
        return -1;
    }
    if (chat_add(r, who, text, t->trains ? t->is_trained : is_trained)) return -1;
    r->at[r->count - 1].reasoning_at = reasoning_at;
    return 0;
}

/* Reads one key. Its value is not empty, unless the key says what counts in the loss. */
static int read_trait(struct chat_reading *r, const char *key, const json_t *value,
                      struct traits *t)
{
    switch (key_of(key)) {
    case KEY_TRAINS:
        return read_trains(r, key, value, t);
    case KEY_TRAINS_PART:
        return chat_refuse(r, CHAT_UNSUPPORTED,
                           "'%s': an answer is trained on as a whole or not at all: write "
                           "\"train\": true or false instead",
                           key);
    case KEY_MASK:
        return chat_refuse(r, CHAT_UNSUPPORTED,
                           "'%s' may say that the message counts in the loss or that it does not: "
                           "write \"train\": true or false instead",
                           key);
    case KEY_NO_END:
        if (json_is_true(value)) return 0;
        return chat_refuse(r, CHAT_UNSUPPORTED, "'%s': every answer is followed by its end", key);
    case KEY_TOOL:
        t->is_tool = true;
        return 0;
    case KEY_REASONING:
        if (!takes_reasoning(t, key, value)) t->reasoning = key;
        return 0;
    case KEY_MEDIA:
    case KEY_REFUSAL:
        t->media = key;
        return 0;
    case KEY_IDLE:
    case KEY_UNKNOWN:
        return 0;
    }
    return 0;
}

static int read_traits(struct chat_reading *r, const json_t *message, const char *role_key,
                       const char *text_key, struct traits *t)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)message, key, value)
    {
        char name[TALLY_NAME_MAX];
        enum message_key known = key_of(key);
        if (!strcmp(key, role_key) || !strcmp(key, text_key) || json_is_null(value)) continue;
        bool is_system = t->system && value == t->system;
        if (known == KEY_UNKNOWN && !is_system) {
            snprintf(name, sizeof name, "%.60s of messages", key);
            tally_add(r->unknown, name, 1);
        }
        if (known != KEY_TRAINS && chat_is_nothing(value)) continue;
        if (read_trait(r, key, value, t)) return -1;
    }
    return 0;
}

/* Returns 0 if the message is used, 1 if it is left out, or -1. */
static int check_traits(struct chat_reading *r, enum chat_speaker who, const char *role,
                        const struct traits *t)
{
    if (who == SPEAKER_TOOL || t->is_tool) {
        if (chat_repairs(r, CHAT_REPAIR_TOOL)) return 1;
        return chat_refuse(r, CHAT_TOOLS, "tools are not trained on: %s '%.40s'",
                           t->is_tool ? "a call by" : "a message of", role);
    }
    if (t->reasoning && !chat_repairs(r, CHAT_REPAIR_REASONING))
        return chat_refuse(r, CHAT_REASONING, "'%s': reasoning beside an answer is not trained on",
                           t->reasoning);
    if (t->media) return chat_refuse(r, CHAT_MEDIA, "'%s': only text is understood", t->media);
    if (t->trains && t->is_trained && who != SPEAKER_ASSISTANT)
        return chat_refuse(r, CHAT_UNSUPPORTED, "'%s' of '%.40s': only answers are trained on",
                           t->trains, role);
    return 0;
}

/* Has the object a key that a record with one answer has, and a pair has not? */
static bool is_more_than_pair(const json_t *object)
{
    static const char *const names[] = { "instruction", "context",    "history",
                                         "prompt",      "question",   "query",
                                         "response",    "completion", "answer" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (json_object_get(object, names[i])) return true;
    return false;
}

/* Adds the system prompt, the prompt and the answer of a pair. */
static int add_pair(struct chat_reading *r, const json_t *pair, const char *asks, const char *says,
                    const struct traits *t, bool is_trained)
{
    char *text;
    if (!chat_is_nothing(t->system) &&
        (chat_system_of(r, t->system, "system", &text) || chat_add(r, SPEAKER_SYSTEM, text, false)))
        return -1;
    if (chat_text_of(r, json_object_get(pair, asks), asks, &text) ||
        chat_add(r, SPEAKER_USER, text, false) ||
        chat_text_of(r, json_object_get(pair, says), says, &text))
        return -1;
    return add_with_traits(r, SPEAKER_ASSISTANT, text, pair, t, is_trained);
}

/* Reads a prompt and its answer in one object: {"human": …, "assistant": …}, the same with "user",
 * or {"input": …, "output": …} of Capybara and XTuner, which may have a system prompt. Returns 1 if
 * it is such an object, 0 if not, or -1. */
static int read_pair(struct chat_reading *r, const json_t *message, bool is_trained)
{
    static const struct {
        const char *prompt, *answer;
    } names[] = { { "human", "assistant" }, { "user", "assistant" }, { "input", "output" } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *asks = names[i].prompt, *says = names[i].answer;
        if (!json_is_string(json_object_get(message, asks)) ||
            !json_is_string(json_object_get(message, says)) || is_more_than_pair(message))
            continue;
        struct traits t = { .takes_reasoning = r->how->takes_reasoning,
                            .system = chat_value(message, "system") };
        if (read_traits(r, message, asks, says, &t)) return -1;
        int left_out = check_traits(r, SPEAKER_ASSISTANT, says, &t);
        if (left_out) return left_out;
        return add_pair(r, message, asks, says, &t, is_trained) ? -1 : 1;
    }
    return 0;
}

/* If a message has its role or text under two keys, they must agree, because nobody knows which one
 * is meant. */
static int check_spellings(struct chat_reading *r, const json_t *message)
{
    const json_t *named = json_object_get(message, "role");
    const json_t *spelled = json_object_get(message, "from");
    const char *role = json_string_value(named), *from = json_string_value(spelled);
    const json_t *content = json_object_get(message, "content");
    const json_t *value = json_object_get(message, "value");
    if ((role && chat_check_nul(r, named, "role")) || (from && chat_check_nul(r, spelled, "from")))
        return -1;
    if (role && from && speaker_of(role) != speaker_of(from))
        return chat_refuse(r, CHAT_UNREADABLE, "'role' and 'from' contradict each other");
    if (!chat_is_nothing(content) && !chat_is_nothing(value) && !json_equal(content, value))
        return chat_refuse(r, CHAT_UNREADABLE, "'content' and 'value' contradict each other");
    return 0;
}

bool chat_is_record(const json_t *element)
{
    static const char *const names[] = { "messages", "conversations", "conversation", "output",
                                         "response", "completion",    "answer" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (chat_value(element, names[i])) return true;
    return false;
}

/* The key of a message's text: the one that belongs to the key of its role, or the other one if
 * only that has a value. */
static const char *text_key_of(const json_t *message, const char *role_key)
{
    bool is_openai = !strcmp(role_key, "role");
    const char *own = is_openai ? "content" : "value", *other = is_openai ? "value" : "content";
    return !chat_value(message, own) && chat_value(message, other) ? other : own;
}

static int read_message(struct chat_reading *r, const json_t *message, bool is_trained)
{
    const char *role_key = chat_value(message, "role") ? "role" : "from";
    const char *text_key = text_key_of(message, role_key);
    const char *role = json_string_value(json_object_get(message, role_key));
    struct traits t = { 0 };
    char *text;
    if (json_is_string(message)) {
        /* LIMA and UltraChat have lists of plain texts, which are prompts and answers in turn. */
        if (chat_text_of(r, message, "messages", &text)) return -1;
        bool is_answer = r->count % 2;
        return chat_add(r, is_answer ? SPEAKER_ASSISTANT : SPEAKER_USER, text, is_trained);
    }
    if (!role) {
        int pair = read_pair(r, message, is_trained);
        if (pair) return pair < 0 ? -1 : 0;
        return r->list && chat_is_record(message)
                   ? chat_refuse(r, CHAT_UNREADABLE,
                                 "this is a record, but a message is needed: jq -c '.%s[]' makes a "
                                 "line of each",
                                 r->list)
                   : chat_refuse(r, CHAT_UNREADABLE,
                                 "no 'role' with 'content', and no 'from' with 'value' in it");
    }
    enum chat_speaker who = speaker_of(role);
    if (check_spellings(r, message)) return -1;
    if (who == SPEAKER_UNKNOWN)
        return chat_refuse(r, CHAT_UNKNOWN_ROLE,
                           "'%s' is '%.40s': known are system (developer), user (human), "
                           "assistant (gpt, chatgpt, model) and those of tools",
                           role_key, role);
    if (!strcmp(role, developer) && !r->how->takes_developer)
        return chat_refuse(r, CHAT_DEVELOPER,
                           "'%s' is 'developer', which the template's models do not take for a "
                           "system prompt: if it is one, write 'system'",
                           role_key);
    t.takes_reasoning = r->how->takes_reasoning && who == SPEAKER_ASSISTANT;
    if (read_traits(r, message, role_key, text_key, &t)) return -1;
    int left_out = check_traits(r, who, role, &t);
    if (left_out) return left_out < 0 ? -1 : 0;
    const json_t *value = json_object_get(message, text_key);
    if (who == SPEAKER_SYSTEM && json_is_null(value)) return 0; /* no system prompt */
    if (!value) return chat_refuse(r, CHAT_UNREADABLE, "no '%s' in it", text_key);
    if (json_is_null(value)) {
        text = strdup("");
        if (!text) return fail(r->why, "out of memory");
    } else if (who == SPEAKER_SYSTEM ? chat_system_of(r, value, text_key, &text)
                                     : chat_text_of(r, value, text_key, &text)) {
        return -1;
    }
    return add_with_traits(r, who, text, message, &t, is_trained);
}

bool chat_is_of_answer(const char *key, const json_t *value)
{
    switch (key_of(key)) {
    case KEY_TRAINS_PART:
    case KEY_MASK:
    case KEY_NO_END:
    case KEY_TOOL:
        return true;
    case KEY_REASONING:
    case KEY_REFUSAL: {
        /* "reasoning": "off" and "refusal": false describe the record. */
        const char *text = json_string_value(value);
        return text ? strcmp(text, "on") != 0 && strcmp(text, "off") != 0
                    : json_is_array(value) || json_is_object(value);
    }
    default:
        return false;
    }
}

int chat_add_answer(struct chat_reading *r, const json_t *record, const json_t *answer,
                    const char *text_key)
{
    struct traits t = { .takes_reasoning = r->how->takes_reasoning };
    const char *key;
    json_t *value;
    char *text;
    json_object_foreach((json_t *)record, key, value)
    {
        if (chat_is_nothing(value) || !chat_is_of_answer(key, value)) continue;
        if (read_trait(r, key, value, &t)) return -1;
    }
    int left_out = check_traits(r, SPEAKER_ASSISTANT, "assistant", &t);
    if (left_out) return left_out < 0 ? -1 : 0;
    if (chat_text_of(r, answer, text_key, &text)) return -1;
    return add_with_traits(r, SPEAKER_ASSISTANT, text, record, &t, true);
}

int chat_check_beside(struct chat_reading *r, const json_t *record)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)record, key, value)
    {
        enum message_key known = key_of(key);
        bool is_tool = known == KEY_TOOL, is_reasoning = known == KEY_REASONING;
        if (chat_is_nothing(value) || !chat_is_of_answer(key, value) ||
            (is_tool && chat_repairs(r, CHAT_REPAIR_TOOL)) ||
            (is_reasoning && chat_repairs(r, CHAT_REPAIR_REASONING)))
            continue;
        return chat_refuse(r,
                           is_tool        ? CHAT_TOOLS
                           : is_reasoning ? CHAT_REASONING
                                          : CHAT_UNSUPPORTED,
                           "'%s' beside a list of messages: which answer it belongs to is not "
                           "known: write it into that message",
                           key);
    }
    return 0;
}

int chat_add_messages(struct chat_reading *r, const json_t *list, bool is_trained)
{
    size_t i;
    json_t *message;
    json_array_foreach(list, i, message)
    {
        size_t before = r->count;
        if (read_message(r, message, is_trained)) {
            char place[40];
            snprintf(place, sizeof place, "message %zu", i + 1);
            return fail_in(r->why, place);
        }
        for (; before < r->count; before++)
            r->at[before].number = i + 1;
    }
    return 0;
}
