#include "lib/llama/chat_end.h"

#include "lib/common/json.h"
#include "lib/common/json_member.h"
#include "lib/tokenizer/chat_template.h"
#include "lib/tokenizer/end_tokens.h"

#include <stdlib.h>

static const char generation[] = "generation_config.json", key[] = "eos_token_id";

/* Reads the model's end tokens: those of generation_config.json, or else those of config.json. */
static int read_ends(const struct chat_end_job *job, struct end_tokens *ends, struct fail *why)
{
    size_t bytes = 0;
    const char *text =
        job->companions ? companions_text(job->companions, generation, &bytes) : NULL;
    ends->count = 0;
    if (text) {
        json_t *file = json_read_text(text, bytes, generation, why);
        if (!file) return -1;
        int status = end_tokens_parse(ends, json_object_get(file, key), why);
        json_decref(file);
        if (status) return fail_in(why, generation);
    }
    if (ends->count) return 0;
    return end_tokens_parse(ends, json_object_get(job->config, key), why)
               ? fail_in(why, "config.json")
               : 0;
}

/* Finds the id, and writes it with its text. */
static int find_end(const struct chat_end_job *job, uint32_t *id, struct chat_end_notes *notes,
                    struct fail *why)
{
    struct tokenizer *tokenizer;
    struct chat_template t;
    const struct template_record *record = job->template;
    char path[4096];
    if (!job->tokenizer || !tokenizer_locate(job->tokenizer, path, sizeof path))
        return fail_input(why, "there is no tokenizer that could have it");
    if (tokenizer_open(&tokenizer, job->tokenizer, why)) return -1;
    int status = chat_template_open_stored(&t, record->name, record->text, tokenizer, why);
    if (!status) {
        const char *text = "EOS";
        for (size_t i = 0; i < t.special_count; i++)
            if (t.specials[i].id == t.end && *t.specials[i].text != '{') text = t.specials[i].text;
        *id = t.end;
        snprintf(notes->added, sizeof notes->added, "%u '%.100s'", t.end, text);
    }
    chat_template_close(&t);
    tokenizer_close(tokenizer);
    return status;
}

static int put(const struct chat_end_job *job, const json_t *ids, struct fail *why)
{
    size_t bytes = 0;
    const char *old = job->companions ? companions_text(job->companions, generation, &bytes) : NULL;
    if (json_object_set(job->config, key, (json_t *)ids)) return fail(why, "out of memory");
    if (!old) return 0;
    char *text = malloc(bytes + 1);
    if (!text) return fail(why, "out of memory");
    memcpy(text, old, bytes + 1);
    if (json_member_set(&text, &bytes, key, generation, ids, why)) {
        free(text);
        return -1;
    }
    companions_set(job->companions, generation, text, bytes);
    return 0;
}

int chat_end_add(const struct chat_end_job *job, struct chat_end_notes *notes, struct fail *why)
{
    struct end_tokens ends;
    struct fail unknown;
    uint32_t id;
    *notes = (struct chat_end_notes){ 0 };
    if (!*job->template->name) return 0;
    if (read_ends(job, &ends, why)) return -1;
    if (find_end(job, &id, notes, &unknown)) {
        snprintf(notes->lack, sizeof notes->lack, "%.480s", unknown.text);
        return 0;
    }
    if (end_tokens_have(&ends, id)) {
        *notes->added = 0;
        return 0;
    }
    end_tokens_add(&ends, id);
    if (ends.count > END_TOKENS_MAX)
        return fail_input(why, "more than %d %s with that of the conversations' template: %u",
                          END_TOKENS_MAX, key, id);
    json_t *ids = end_tokens_json(&ends);
    int status = ids ? put(job, ids, why) : fail(why, "out of memory");
    json_decref(ids);
    return status;
}
