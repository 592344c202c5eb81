#include "tools/tokenize/show.h"

#include "lib/common/message.h"

#include <unistd.h>

#define NEWLINE_MARK "\xe2\x8f\x8e" /* ⏎ */
#define TAB_MARK "\xe2\x87\xa5"     /* ⇥ */
#define SPACE_MARK "\xc2\xb7"       /* · */
#define OPEN_MARK "\xe2\x9f\xa8"    /* ⟨ */
#define CLOSE_MARK "\xe2\x9f\xa9"   /* ⟩ */

enum { LINE_MAX_BYTES = 1 << 16 };

/* The line that is being assembled. */
struct line {
    const struct show *show;
    bool is_trained, has_text;
    size_t bytes;
    char text[LINE_MAX_BYTES];
};

void show_begin(struct show *s, const struct tokenizer *t)
{
    const char *no_colour = getenv("NO_COLOR");
    *s = (struct show){ .tokenizer = t };
    s->is_coloured = isatty(STDOUT_FILENO) && !(no_colour && *no_colour);
    printf("> begins what is trained on; " OPEN_MARK "\xe2\x80\xa6" CLOSE_MARK
           " is a special token, " NEWLINE_MARK " a newline, " TAB_MARK " a tab, " SPACE_MARK
           " a space at the end of a line\n");
}

static void end_line(struct line *l, const char *mark)
{
    const char *on = l->is_trained && l->show->is_coloured ? "\033[1;32m" : "";
    size_t spaces = 0;
    if (!l->has_text && !*mark) return;
    while (spaces < l->bytes && l->text[l->bytes - 1 - spaces] == ' ')
        spaces++;
    printf("%s%s %.*s", on, l->is_trained ? ">" : " ", (int)(l->bytes - spaces), l->text);
    for (; spaces; spaces--)
        fputs(SPACE_MARK, stdout);
    printf("%s%s\n", mark, *on ? "\033[0m" : "");
    l->bytes = 0;
    l->has_text = false;
}

/* Appends text. Control characters that a terminal would obey are masked. */
static void put(struct line *l, const char *text, size_t bytes)
{
    char masked[256];
    while (bytes) {
        size_t n = bytes < sizeof masked ? bytes : sizeof masked;
        while (n < bytes && n > 1 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--; /* so that no character is cut in the middle */
        memcpy(masked, text, n);
        size_t length = message_mask(masked, n);
        if (l->bytes + length > sizeof l->text) end_line(l, "");
        memcpy(l->text + l->bytes, masked, length);
        l->bytes += length;
        l->has_text = true;
        text += n;
        bytes -= n;
    }
}

static void put_mark(struct line *l, const char *mark)
{
    if (l->bytes + strlen(mark) > sizeof l->text) end_line(l, "");
    memcpy(l->text + l->bytes, mark, strlen(mark));
    l->bytes += strlen(mark);
    l->has_text = true;
}

static void put_text(struct line *l, const char *text, size_t bytes)
{
    while (bytes) {
        size_t n = 0;
        while (n < bytes && text[n] != '\n' && text[n] != '\t')
            n++;
        put(l, text, n);
        if (n < bytes && text[n] == '\n') end_line(l, NEWLINE_MARK);
        if (n < bytes && text[n] == '\t') put_mark(l, TAB_MARK);
        n += n < bytes;
        text += n;
        bytes -= n;
    }
}

/* Appends the text of ids [from, to). They are decoded together with the id before them, because
 * the first token of a text may decode differently. */
static int put_run(struct line *l, const uint32_t *ids, size_t from, size_t to, struct fail *why)
{
    const struct tokenizer *t = l->show->tokenizer;
    size_t first = from ? from - 1 : 0, known = 0, bytes;
    char *before = from ? tokenizer_decode(t, ids + first, 1, &known, why) : NULL;
    char *text = from && !before ? NULL : tokenizer_decode(t, ids + first, to - first, &bytes, why);
    if (text) put_text(l, text + known, bytes - known);
    free(before);
    free(text);
    return text ? 0 : -1;
}

static bool is_trained(const struct tokens *t, size_t at)
{
    if (!t->has_targets) return true;
    for (size_t i = 0; i < t->target_count; i++)
        if (at >= t->targets[2 * i] && at < t->targets[2 * i + 1]) return true;
    return false;
}

static size_t count_trained(const struct tokens *t)
{
    size_t sum = 0;
    for (size_t i = 0; i < t->target_count; i++)
        sum += t->targets[2 * i + 1] - t->targets[2 * i];
    return t->has_targets ? sum : t->count;
}

int show_document(void *arg, const struct tokens *t, struct fail *why)
{
    struct show *s = arg;
    struct line *l = malloc(sizeof *l);
    if (!l) return fail(why, "out of memory");
    l->show = s;
    l->bytes = 0;
    l->is_trained = l->has_text = false;
    char id[256];
    snprintf(id, sizeof id, "%.255s", t->id);
    id[message_mask(id, strlen(id))] = 0;
    printf("\n%s: %zu tokens, %zu of them trained on\n", id, t->count, count_trained(t));
    int status = 0;
    for (size_t at = 0, to; at < t->count && !status; at = to) {
        size_t bytes;
        const char *name = tokenizer_control(s->tokenizer, t->ids[at], &bytes);
        bool trained = is_trained(t, at);
        if (!at || trained != l->is_trained) end_line(l, "");
        l->is_trained = trained;
        to = at + 1;
        if (name) {
            put_mark(l, OPEN_MARK);
            put(l, name, bytes);
            put_mark(l, CLOSE_MARK);
            continue;
        }
        size_t unused;
        while (to < t->count && is_trained(t, to) == trained &&
               !tokenizer_control(s->tokenizer, t->ids[to], &unused))
            to++;
        status = put_run(l, t->ids, at, to, why);
    }
    end_line(l, "");
    free(l);
    s->shown++;
    return status;
}
