/* Cuts text into the units of a byte-level BPE by its regular expression, with PCRE2. */
#include "tokenizer_model.h"
#include "utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct splitter {
    pcre2_code *code;
    bool is_compiled; /* to machine code */
};

struct split_work {
    pcre2_match_data *found;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* Characters with the property White_Space: what \s is to Hugging Face's tokenizers. PCRE2's has
 * U+180E besides. */
#define SPACES                                                                                     \
    "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}" \
    "\\x{3000}"

static char *spell_spaces(const char *pattern, struct fail *why)
{
    char *out = malloc(strlen(pattern) * (sizeof SPACES + 3) + 1), *to = out;
    bool in_class = false;
    if (!out) {
        fail(why, "out of memory");
        return NULL;
    }
    for (const char *at = pattern; *at; at++) {
        bool is_space = at[0] == '\\' && at[1] == 's', is_other = at[0] == '\\' && at[1] == 'S';
        if (is_other && in_class) {
            fail_input(why, "a pattern with \\S in brackets is not done here");
            free(out);
            return NULL;
        }
        if (is_space || is_other) {
            to = stpcpy(to, in_class ? "" : is_other ? "[^" : "[");
            to = stpcpy(to, SPACES);
            to = stpcpy(to, in_class ? "" : "]");
            at++;
            continue;
        }
        if (*at == '[')
            in_class = true;
        else if (*at == ']')
            in_class = false;
        else if (*at == '\\' && at[1])
            *to++ = *at++;
        *to++ = *at;
    }
    *to = 0;
    return out;
}

int splitter_open(struct splitter **out, const char *pattern, struct fail *why)
{
    int error;
    PCRE2_SIZE place;
    struct splitter *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, "out of memory");
    char *spelled = spell_spaces(pattern, why);
    if (!spelled) return -1;
    s->code = pcre2_compile((PCRE2_SPTR)spelled, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &place, NULL);
    free(spelled);
    if (!s->code) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(error, text, sizeof text);
        return fail_input(why, "its pattern cannot be used: %s", (char *)text);
    }
    s->is_compiled = !pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE);
    return 0;
}

void splitter_close(struct splitter *s)
{
    if (s) pcre2_code_free(s->code);
    free(s);
}

void split_work_release(struct split_work *w)
{
    if (!w) return;
    pcre2_match_data_free(w->found);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    free(w);
}

static int prepare(struct split_work **out, struct fail *why)
{
    enum { STACK_LEAST = 32 << 10, STACK_MOST = 16 << 20 };
    if (*out) return 0;
    struct split_work *w = *out = calloc(1, sizeof *w);
    if (w) w->found = pcre2_match_data_create(1, NULL);
    if (w) w->context = pcre2_match_context_create(NULL);
    if (w) w->stack = pcre2_jit_stack_create(STACK_LEAST, STACK_MOST, NULL);
    if (!w || !w->found || !w->context || !w->stack) return fail(why, "out of memory");
    pcre2_jit_stack_assign(w->context, NULL, w->stack);
    pcre2_set_match_limit(w->context, UINT32_MAX);
    return 0;
}

static void begin(uint64_t *starts, size_t at) { starts[at / 64] |= UINT64_C(1) << (at % 64); }

int splitter_cut(const struct splitter *s, struct split_work **work, uint64_t *starts,
                 const char *text, size_t bytes, struct fail *why)
{
    if (prepare(work, why)) return -1;
    struct split_work *w = *work;
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(w->found);
    memset(starts, 0, (bytes / 64 + 1) * sizeof *starts);
    if (bytes) begin(starts, 0);
    for (size_t at = 0; at < bytes;) {
        int got = s->is_compiled ? pcre2_jit_match(s->code, (PCRE2_SPTR)text, bytes, at, 0,
                                                   w->found, w->context)
                                 : pcre2_match(s->code, (PCRE2_SPTR)text, bytes, at,
                                               PCRE2_NO_UTF_CHECK, w->found, w->context);
        if (got == PCRE2_ERROR_NOMATCH) return 0;
        if (got < 0) {
            PCRE2_UCHAR message[128];
            pcre2_get_error_message(got, message, sizeof message);
            return fail_input(why, "byte %zu: the tokenizer's pattern fails: %s", at,
                              (char *)message);
        }
        /* What stands between two matches is a unit too. */
        begin(starts, range[0]);
        begin(starts, range[1]);
        at = range[1] > at ? range[1] : at + utf8_length((unsigned char)text[at]);
    }
    return 0;
}
