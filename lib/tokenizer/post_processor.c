/* post_processor.c - reads the post_processor of tokenizer.json: the tokens before and after a
 * text. */
#include "lib/tokenizer/tokenizer_internal.h"

#include "lib/tokenizer/parts.h"

static const char post[] = "post_processor";

/* Sets the token on one side of the text. More than one token on a side is refused. */
static int put_around(uint32_t *side, uint32_t id, const char *type, const char *option,
                      const struct tokenizer *t, struct fail *why)
{
    if (*side != UINT32_MAX) return part_refuse(post, type, option, why);
    if (id >= t->vocab)
        return fail_input(why, "%s %s: token %u is outside the vocabulary, which has %u tokens",
                          post, type, id, t->vocab);
    *side = id;
    return 0;
}

static int put_ids(struct tokenizer *t, const json_t *special, bool is_before, struct fail *why)
{
    const json_t *ids = json_object_get(special, "ids");
    if (!json_is_array(ids) || !json_array_size(ids))
        return fail_input(why, "%s TemplateProcessing: a special token has no ids", post);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        json_int_t id = json_integer_value(json_array_get(ids, i));
        if (!json_is_integer(json_array_get(ids, i)) || id < 0 || id >= TOKENIZER_PIECES_MAX)
            return fail_input(
                why,
                "%s TemplateProcessing: the id of a special token is not an integer from 0 to %d",
                post, TOKENIZER_PIECES_MAX - 1);
        if (put_around(is_before ? &t->begin : &t->end, (uint32_t)id, "TemplateProcessing",
                       "single", t, why))
            return -1;
    }
    return 0;
}

static int read_single(struct tokenizer *t, const json_t *object, struct fail *why)
{
    const json_t *single = json_object_get(object, "single"), *one;
    const json_t *specials = json_object_get(object, "special_tokens");
    bool has_text = false;
    size_t i;
    json_array_foreach(single, i, one)
    {
        const json_t *token = json_object_get(one, "SpecialToken");
        const json_t *sequence = json_object_get(one, "Sequence");
        const char *id = json_string_value(json_object_get(token ? token : sequence, "id"));
        if (!id || (sequence && (has_text || strcmp(id, "A") != 0)))
            return part_refuse(post, "TemplateProcessing", "single", why);
        if (sequence)
            has_text = true;
        else if (put_ids(t, json_object_get(specials, id), !has_text, why))
            return -1;
    }
    return has_text ? 0 : part_refuse(post, "TemplateProcessing", "single", why);
}

/* Reads a pair [text, id]. */
static int put_pair(struct tokenizer *t, const json_t *object, const char *type, const char *key,
                    uint32_t *side, struct fail *why)
{
    const json_t *id = json_array_get(json_object_get(object, key), 1);
    json_int_t value = json_integer_value(id);
    if (!json_is_integer(id) || value < 0 || value >= TOKENIZER_PIECES_MAX)
        return fail_input(why, "%s %s: '%s' is not a text and an id", post, type, key);
    return put_around(side, (uint32_t)value, type, key, t, why);
}

/* *count counts the processors that add tokens. After the first one, the library tokenizers treats
 * each token as a text of its own, so a second one gives what nobody wants. */
static int read_processor(struct tokenizer *t, const json_t *object, int depth, int *count,
                          struct fail *why)
{
    const char *type = part_check(post, object, why);
    if (!type) return -1;
    bool is_list = !strcmp(type, "Sequence"), adds = !is_list && strcmp(type, "ByteLevel") != 0;
    if (adds && ++*count > 1) return part_refuse(post, "Sequence", "processors", why);
    if (!strcmp(type, "TemplateProcessing")) return read_single(t, object, why);
    if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing"))
        return put_pair(t, object, type, "cls", &t->begin, why) ||
                       put_pair(t, object, type, "sep", &t->end, why)
                   ? -1
                   : 0;
    if (!is_list) return 0;
    const json_t *list = json_object_get(object, "processors");
    if (!json_is_array(list) || depth > 8)
        return fail_input(
            why, "%s Sequence: the list of processors is missing or nested too deeply", post);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (read_processor(t, json_array_get(list, i), depth + 1, count, why)) return -1;
    return 0;
}

int tokenizer_read_template(struct tokenizer *t, const json_t *processor, struct fail *why)
{
    int count = 0;
    t->begin = t->end = UINT32_MAX;
    if (!processor || json_is_null(processor)) return 0;
    return read_processor(t, processor, 0, &count, why);
}
