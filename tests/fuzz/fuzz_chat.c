/* Reads records of conversations, with each way of treating irregular ones. */
#include "lib/common/json_advice.h"
#include "lib/tokenizer/chat_record.h"
#include "tests/fuzz/fuzz.h"

/* Checks that prompts and answers alternate, that none is empty, and that something is trained. */
static void check_chat(const struct chat *c, const struct chat_reader *how)
{
    size_t trained = 0;
    must(c->count && c->reason == CHAT_FINE);
    for (size_t i = 0; i < c->count; i++) {
        const struct chat_turn *t = &c->turns[i];
        must(t->prompt && *t->prompt && t->answer && *t->answer);
        must(t->input_at < strlen(t->prompt));
        must(!t->input_at || t->prompt[t->input_at - 1] == '\n');
        trained += t->is_trained;
    }
    must(trained && (how->train_on == CHAT_TRAIN_ALL || trained == 1));
}

/* Asks for the advice about a text that is not JSON. */
static void advise(const char *text, size_t size)
{
    char advice[200];
    for (int place = JSON_FIRST_LINE; place <= JSON_ELEMENT; place++) {
        json_advise(text, size, (enum json_place)place, advice, sizeof advice);
        must(strlen(advice) < sizeof advice - 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    advise((const char *)data, size);
    for (int way = 0; way < 48; way++) {
        const struct chat_reader how = { .source_key = "meta.set",
                                         .irregular = (enum chat_irregular)(way & 3),
                                         .train_on = (enum chat_train_on)(way >> 2 & 1),
                                         .keeps_space = way >> 3 & 1,
                                         .takes_developer = way >> 3 & 1,
                                         .parts = (enum chat_parts)(way >> 4) };
        struct tally unknown = { 0 };
        struct fail why;
        struct chat c;
        char text[320];
        if (chat_read(&c, &how, (const char *)data, size, &unknown, &why)) {
            fuzz_check_failure(&why);
            must(c.reason != CHAT_FINE || why.status == STATUS_FAILED);
            must(!c.turns && !c.system && !c.source);
        } else {
            check_chat(&c, &how);
        }
        tally_text(&unknown, TALLY_KEYS, text, sizeof text);
        must(strlen(text) < sizeof text);
        tally_release(&unknown);
        chat_release(&c);
    }
    return 0;
}
