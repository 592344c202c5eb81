#include "lib/tokenizer/grown.h"

#include "lib/common/json.h"
#include "lib/common/json_member.h"
#include "lib/common/utf8.h"
#include "lib/tokenizer/tokenizer_internal.h"

static const char *const file_names[GROWN_FILES] = { "tokenizer.json", "tokenizer_config.json",
                                                     "special_tokens_map.json",
                                                     "added_tokens.json" };
static const char extra_key[] = "extra_special_tokens";
static const char additional_key[] = "additional_special_tokens";
static const char decoder_key[] = "added_tokens_decoder";

const char *grown_file_name(enum grown_file file) { return file_names[file]; }

void grown_files_release(struct grown_files *f)
{
    for (int i = 0; i < GROWN_FILES; i++)
        free(f->text[i]);
    *f = (struct grown_files){ 0 };
}

/* ---- in memory ---- */

static int check_content(const char *content, struct fail *why)
{
    size_t bytes = strlen(content);
    if (!bytes) return fail_usage(why, "a token to be added is empty");
    if (bytes > TOKENIZER_PIECE_MAX)
        return fail_usage(why, "'%.60s' is longer than %d bytes", content, TOKENIZER_PIECE_MAX);
    for (size_t i = 0, n; i < bytes; i += n)
        if (!(n = utf8_valid((const unsigned char *)content + i, bytes - i)))
            return fail_usage(why, "'%.60s' is not UTF-8", content);
    return 0;
}

static int add_one(struct tokenizer *t, struct grown_token *token, struct fail *why)
{
    const struct added_token *old = added_find(t, token->content);
    struct added_token own = { .content = (char *)token->content,
                               .special = token->is_special,
                               .normalized = !token->is_special };
    token->before = old ? GROWN_ADDED : GROWN_NOTHING;
    if (old && old->special != token->is_special)
        return fail_input(why,
                          "'%.60s' is already an added token, and it is %s: add it with the option "
                          "for such tokens",
                          token->content, old->special ? "special" : "not special");
    if (!old && added_put(t, &own, UINT32_MAX, why)) return -1;
    old = added_find(t, token->content);
    token->id = old->id;
    if (token->before == GROWN_NOTHING && token->id < t->count) token->before = GROWN_PIECE;
    return 0;
}

int grown_add(struct tokenizer *t, struct grown_token *tokens, size_t count, struct fail *why)
{
    for (size_t i = 0; i < count; i++)
        if (check_content(tokens[i].content, why) || add_one(t, &tokens[i], why)) return -1;
    return added_finish(t, why);
}

/* ---- in the files ---- */

static json_t *token_object(const struct added_token *token, bool has_id)
{
    json_t *object = json_object();
    if (has_id) json_object_set_new(object, "id", json_integer((json_int_t)token->id));
    json_object_set_new(object, "content", json_string(token->content));
    json_object_set_new(object, "single_word", json_boolean(token->single_word));
    json_object_set_new(object, "lstrip", json_boolean(token->lstrip));
    json_object_set_new(object, "rstrip", json_boolean(token->rstrip));
    json_object_set_new(object, "normalized", json_boolean(token->normalized));
    json_object_set_new(object, "special", json_boolean(token->special));
    return object;
}

static bool list_has(const json_t *list, const char *content)
{
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        const char *text =
            json_string_value(json_is_object(item) ? json_object_get(item, "content") : item);
        if (text && !strcmp(text, content)) return true;
    }
    return false;
}

static int read_member(const struct grown_files *f, enum grown_file file, const char *key,
                       json_t **value, struct fail *why)
{
    *value = NULL;
    if (!f->text[file]) return 0;
    return json_member_read(f->text[file], f->bytes[file], key, file_names[file], value, why);
}

/* Sets the member; a file that does not exist becomes an object with it. */
static int set_member(struct grown_files *f, enum grown_file file, const char *key,
                      const json_t *value, struct fail *why)
{
    if (!f->text[file]) {
        f->text[file] = strdup("{}\n");
        f->bytes[file] = 3;
    }
    if (!f->text[file]) return fail(why, "out of memory");
    return json_member_set(&f->text[file], &f->bytes[file], key, file_names[file], value, why);
}

static int compare_ids(const void *a, const void *b)
{
    const struct added_token *const *x = a, *const *y = b;
    return (*x)->id < (*y)->id ? -1 : (*x)->id > (*y)->id;
}

/* Appends the added tokens that the list lacks, sorted by id: the new ones, and those that only the
 * other files list. If these were missing, the library tokenizers would give their ids to the new
 * tokens. */
static int append_missing(const struct tokenizer *t, json_t *list, struct fail *why)
{
    size_t count = 0;
    const struct added_token **missing = calloc(t->added.count + 1, sizeof *missing);
    if (!missing) return fail(why, "out of memory");
    for (size_t i = 0; i < t->added.count; i++)
        if (!list_has(list, t->added.at[i].content)) missing[count++] = &t->added.at[i];
    qsort(missing, count, sizeof *missing, compare_ids);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, token_object(missing[i], true));
    free(missing);
    return 0;
}

/* Appends missing tokens to added_tokens of tokenizer.json, if that file exists. */
static int write_json(const struct tokenizer *t, struct grown_files *f, struct fail *why)
{
    json_t *list;
    if (!f->text[GROWN_JSON]) return 0;
    if (read_member(f, GROWN_JSON, "added_tokens", &list, why)) return -1;
    if (!list) list = json_array();
    int status = append_missing(t, list, why);
    if (!status) status = set_member(f, GROWN_JSON, "added_tokens", list, why);
    json_decref(list);
    return status;
}

/* Adds the new tokens to added_tokens_decoder of tokenizer_config.json, if that key exists. */
static int write_decoder(const struct tokenizer *t, const struct grown_token *tokens, size_t count,
                         struct grown_files *f, bool *has_decoder, struct fail *why)
{
    json_t *decoder;
    char id[16];
    if (read_member(f, GROWN_CONFIG, decoder_key, &decoder, why)) return -1;
    *has_decoder = decoder != NULL;
    if (!decoder) return 0;
    for (size_t i = 0; i < count; i++) {
        if (tokens[i].before == GROWN_ADDED) continue;
        snprintf(id, sizeof id, "%u", tokens[i].id);
        json_object_set_new(decoder, id, token_object(added_find(t, tokens[i].content), false));
    }
    int status = set_member(f, GROWN_CONFIG, decoder_key, decoder, why);
    json_decref(decoder);
    return status;
}

/* Adds the new tokens to added_tokens.json, if that file exists or if there is neither a
 * tokenizer.json nor an added_tokens_decoder. */
static int write_list(struct grown_files *f, const struct grown_token *tokens, size_t count,
                      bool has_decoder, struct fail *why)
{
    int status = 0;
    if (!f->text[GROWN_LIST] && (f->text[GROWN_JSON] || has_decoder)) return 0;
    for (size_t i = 0; i < count && !status; i++) {
        if (tokens[i].before == GROWN_ADDED) continue;
        json_t *id = json_integer((json_int_t)tokens[i].id);
        status = set_member(f, GROWN_LIST, tokens[i].content, id, why);
        json_decref(id);
    }
    return status;
}

/* Chooses the list of extra special tokens that transformers reads: extra_special_tokens of
 * tokenizer_config.json, or additional_special_tokens, which is its older name. If that file has
 * neither list and no added_tokens_decoder, a list of special_tokens_map.json is read. *list
 * becomes the list that is read, or a new one. */
static int choose_list(const struct grown_files *f, bool has_decoder, enum grown_file *file,
                       const char **key, json_t **list, struct fail *why)
{
    const struct {
        enum grown_file file;
        const char *key;
        bool may_be_empty;
    } places[] = { { GROWN_CONFIG, extra_key, false },
                   { GROWN_CONFIG, additional_key, true },
                   { GROWN_MAP, extra_key, true },
                   { GROWN_MAP, additional_key, true } };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (places[i].file == GROWN_MAP && has_decoder) break;
        if (read_member(f, places[i].file, places[i].key, list, why)) return -1;
        *file = places[i].file;
        *key = places[i].key;
        if (json_is_array(*list) && (places[i].may_be_empty || json_array_size(*list))) return 0;
        json_decref(*list);
    }
    *file = f->text[GROWN_CONFIG] ? GROWN_CONFIG : GROWN_MAP;
    *key = additional_key;
    *list = json_array();
    return 0;
}

/* If a special token is added to a tokenizer.model without a tokenizer_config.json, makes that
 * file, because only there can all versions of transformers find more special tokens. The file
 * states the settings that apply without it. */
static int write_config(const struct tokenizer *t, const struct grown_token *tokens, size_t count,
                        struct grown_files *f, struct fail *why)
{
    bool has_special = false;
    for (size_t i = 0; i < count; i++)
        has_special = has_special || tokens[i].is_special;
    if (t->is_json || f->text[GROWN_CONFIG] || !has_special) return 0;
    json_t *yes = json_true();
    if (t->begin != UINT32_MAX && set_member(f, GROWN_CONFIG, "add_bos_token", yes, why)) return -1;
    return set_member(f, GROWN_CONFIG, "legacy", yes, why);
}

/* Adds the new special tokens to the list of extra special tokens. */
static int write_specials(struct grown_files *f, const struct grown_token *tokens, size_t count,
                          bool has_decoder, struct fail *why)
{
    enum grown_file file;
    const char *key;
    json_t *list;
    bool is_changed = false;
    if (choose_list(f, has_decoder, &file, &key, &list, why)) return -1;
    for (size_t i = 0; i < count; i++) {
        const struct grown_token *token = &tokens[i];
        if (!token->is_special || list_has(list, token->content)) continue;
        json_array_append_new(list, json_string(token->content));
        is_changed = true;
    }
    int status = is_changed ? set_member(f, file, key, list, why) : 0;
    json_decref(list);
    return status;
}

int grown_write(const struct tokenizer *t, const struct grown_token *tokens, size_t count,
                struct grown_files *f, struct fail *why)
{
    bool has_decoder;
    must(!t->is_json || f->text[GROWN_JSON]);
    return write_json(t, f, why) || write_decoder(t, tokens, count, f, &has_decoder, why) ||
                   write_list(f, tokens, count, has_decoder, why) ||
                   write_config(t, tokens, count, f, why) ||
                   write_specials(f, tokens, count, has_decoder, why)
               ? -1
               : 0;
}

/* ---- what was read back ---- */

static bool are_equal(const struct added_token *a, const struct added_token *b)
{
    return a->id == b->id && a->single_word == b->single_word && a->lstrip == b->lstrip &&
           a->rstrip == b->rstrip && a->normalized == b->normalized && a->special == b->special;
}

int grown_compare(const struct tokenizer *t, const struct tokenizer *back, struct fail *why)
{
    static const char advice[] = "add the tokens with transformers (add_tokens, save_pretrained), "
                                 "and use the files that it saves";
    for (size_t i = 0; i < t->added.count; i++) {
        const struct added_token *own = &t->added.at[i], *other = added_find(back, own->content);
        if (!other || !are_equal(own, other))
            return fail_input(why,
                              "added token '%.60s' would be read back as another one, because of "
                              "how these files list their tokens: %s",
                              own->content, advice);
    }
    if (t->added.count != back->added.count || t->vocab != back->vocab || t->begin != back->begin ||
        t->end != back->end || t->bos != back->bos || t->eos != back->eos ||
        tokenizer_puts_space(t, "a", 1, true) != tokenizer_puts_space(back, "a", 1, true))
        return fail_input(why, "the files would be read back as another tokenizer: %s", advice);
    return 0;
}

int grown_check_base(const struct tokenizer *grown, const struct tokenizer *base, struct fail *why)
{
    static const char advice[] = "name a tokenizer that was made from the model's own";
    if (grown->vocab < base->count)
        return fail_input(
            why, "--resize-vocab: the tokenizer has %u tokens, but the model's own has %u: %s",
            grown->vocab, base->count, advice);
    for (uint32_t i = 0; i < base->count; i++) {
        const struct piece *own = &base->pieces[i], *other = tokenizer_piece(grown, i);
        bool is_same = own->length == other->length && !memcmp(own->text, other->text, own->length);
        if (own->type != PIECE_NORMAL || is_same) continue;
        return fail_input(
            why,
            "--resize-vocab: token %u is '%.*s', but it is '%.*s' in the model's own tokenizer: %s",
            i, other->length < 40 ? (int)other->length : 40, other->text,
            own->length < 40 ? (int)own->length : 40, own->text, advice);
    }
    return 0;
}
