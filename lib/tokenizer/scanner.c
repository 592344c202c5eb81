/* scanner.c - the known patterns, and where their pre-tokens start in a block. */
#include "lib/tokenizer/scanner.h"

#include "lib/common/utf8.h"
#include "lib/tokenizer/unicode_tables.h"

#include <string.h>

/* What an apostrophe with s, t, re, ve, m, ll or d is: nothing special, a pre-token of its own, or
 * the end of a word. */
enum contractions { CONTRACTION_NONE, CONTRACTION_ALONE, CONTRACTION_IN_WORD };

/* A word is a run of letters. A mark is a character that is no letter, number or space. */
struct scanner {
    const char *pattern;
    enum contractions contractions;
    int digits;             /* how many digits a pre-token has at most; 0: any number */
    bool ignores_case;      /* 'S is a contraction too */
    bool is_after_digits;   /* an earlier step makes a pre-token of each digit */
    bool takes_one;         /* a word takes one space or mark before it; else only U+0020 */
    bool takes_newlines;    /* marks take the newlines after them; spaces end at a newline */
    bool takes_slashes;     /* ... and slashes among these newlines */
    bool has_combining;     /* combining marks (\p{M}) are letters */
    bool is_cut_at_capital; /* a word ends between a small and a capital letter */
};

#define ENDINGS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define ONE "[^\\r\\n\\p{L}\\p{N}]?"
#define CAPITAL "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define SMALL "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(ending, number)                                                                      \
    ONE CAPITAL "*" SMALL "+" ending "|" ONE CAPITAL "+" SMALL "*" ending "|" number               \
                "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static const struct scanner scanners[] = {
    { .pattern = GPT2, .contractions = CONTRACTION_ALONE },
    /* StarCoder, SmolLM, Granite 3 */
    { .pattern = GPT2, .contractions = CONTRACTION_ALONE, .digits = 1, .is_after_digits = true },
    /* LLaMA-3, Phi-4, OLMo 2 */
    { .pattern = ENDINGS "|" ONE "\\p{L}+|\\p{N}{1,3}|" REST,
      .contractions = CONTRACTION_ALONE,
      .digits = 3,
      .ignores_case = true,
      .takes_one = true,
      .takes_newlines = true },
    /* Qwen 2 to 3 */
    { .pattern = ENDINGS "|" ONE "\\p{L}+|\\p{N}|" REST,
      .contractions = CONTRACTION_ALONE,
      .digits = 1,
      .ignores_case = true,
      .takes_one = true,
      .takes_newlines = true },
    /* Qwen 3.5 */
    { .pattern = ENDINGS "|" ONE "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
                         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
      .contractions = CONTRACTION_ALONE,
      .digits = 1,
      .ignores_case = true,
      .takes_one = true,
      .takes_newlines = true,
      .has_combining = true },
    /* o200k: GPT-4o, Phi-4-mini */
    { .pattern = CASED(ENDINGS "?", "\\p{N}{1,3}"),
      .contractions = CONTRACTION_IN_WORD,
      .digits = 3,
      .ignores_case = true,
      .takes_one = true,
      .takes_newlines = true,
      .takes_slashes = true,
      .has_combining = true,
      .is_cut_at_capital = true },
    /* Tekken: Mistral */
    { .pattern = CASED("", "\\p{N}"),
      .digits = 1,
      .takes_one = true,
      .takes_newlines = true,
      .takes_slashes = true,
      .has_combining = true,
      .is_cut_at_capital = true },
};

const struct scanner *scanner_find(const char *pattern, bool after_digits)
{
    for (size_t i = 0; i < sizeof scanners / sizeof *scanners; i++)
        if (!strcmp(scanners[i].pattern, pattern) && scanners[i].is_after_digits == after_digits)
            return &scanners[i];
    return NULL;
}

bool scanner_is_after_digits(const struct scanner *s) { return s->is_after_digits; }

/* ---- a block: each mask has a bit for each of its bytes ---- */

struct text_block {
    const char *text;
    const uint8_t *class_of; /* unicode_classes() */
    int bytes;               /* how many bytes the block has; at most SCANNER_BLOCK */
    bool is_last;            /* the text ends with the block */
    uint64_t class[UNICODE_CLASSES];
    uint64_t newlines, blanks, quotes, slashes;
    uint64_t tails; /* continuation bytes */
    uint64_t letters, numbers, spaces, marks;
    /* starts: pre-tokens start here. odd: starts are right only before the first of these bytes */
    uint64_t starts, odd;
};

static uint64_t low_bits(int count)
{
    return count < 64 ? (UINT64_C(1) << count) - 1 : ~UINT64_C(0);
}

/* The first bytes of runs. */
static uint64_t firsts(uint64_t mask) { return mask & ~(mask << 1); }

/* Moves bits of characters' first bytes to the first byte of the next character. */
static uint64_t next_character(const struct text_block *b, uint64_t mask)
{
    mask <<= 1;
    for (int i = 0; b->tails && i < 3; i++)
        mask = (mask & ~b->tails) | (mask & b->tails) << 1;
    return mask;
}

/* Moves bits of characters' last bytes to their first bytes. */
static uint64_t first_bytes(const struct text_block *b, uint64_t mask)
{
    for (int i = 0; b->tails && i < 3; i++)
        mask = (mask & ~b->tails) | (mask & b->tails) >> 1;
    return mask;
}

/* Adds characters beyond ASCII to the masks. A character that the block has in part is left to the
 * next block. */
static void read_others(struct text_block *b, uint64_t leads)
{
    for (; leads; leads &= leads - 1) {
        int at = __builtin_ctzll(leads);
        size_t n;
        uint32_t c = utf8_decode(b->text + at, &n);
        if (at + (int)n > b->bytes) {
            b->bytes = at;
            return;
        }
        b->class[b->class_of[c]] |= low_bits((int)n) << at;
    }
}

static void read_block(const struct scanner *s, struct text_block *b, const char *text, size_t left)
{
    uint64_t mask[MASKS];
    char copy[SCANNER_BLOCK] = "";
    b->text = text;
    b->is_last = left <= SCANNER_BLOCK;
    b->bytes = b->is_last ? (int)left : SCANNER_BLOCK;
    if (left < SCANNER_BLOCK) b->text = memcpy(copy, text, left);
    scanner_masks(mask, b->text);
    b->text = text;
    memset(b->class, 0, sizeof b->class);
    b->class[UNICODE_UPPER] = mask[MASK_UPPER];
    b->class[UNICODE_LOWER] = mask[MASK_LOWER];
    b->class[UNICODE_NUMBER] = mask[MASK_DIGIT];
    b->class[UNICODE_SPACE] = mask[MASK_SPACE];
    b->tails = mask[MASK_TAIL];
    if (mask[MASK_HIGH]) read_others(b, mask[MASK_HIGH] & ~b->tails);
    uint64_t all = low_bits(b->bytes);
    b->newlines = mask[MASK_NEWLINE] & all;
    b->blanks = mask[MASK_BLANK] & all;
    b->quotes = mask[MASK_QUOTE] & all;
    b->slashes = mask[MASK_SLASH] & all;
    b->spaces = b->class[UNICODE_SPACE] & all;
    b->numbers = b->class[UNICODE_NUMBER];
    if (s->is_after_digits) b->numbers |= b->class[UNICODE_LATE_NUMBER];
    b->numbers &= all;
    b->letters = b->class[UNICODE_UPPER] | b->class[UNICODE_LOWER] | b->class[UNICODE_LETTER];
    if (s->has_combining) b->letters |= b->class[UNICODE_COMBINING];
    b->letters &= all;
    b->marks = all & ~(b->letters | b->numbers | b->spaces);
    b->starts = b->odd = 0;
}

/* ---- spaces ---- */

/* `starts` are the first spaces after newlines. Removes those that only spaces separate from
 * another newline. */
static uint64_t after_last_newline(uint64_t starts, uint64_t spaces, uint64_t newlines)
{
    if (!(((spaces + starts) & ~spaces) & newlines)) return starts;
    for (uint64_t left = starts; left; left &= left - 1) {
        int at = __builtin_ctzll(left), length = __builtin_ctzll(~(spaces >> at));
        if (at + length < SCANNER_BLOCK && newlines >> (at + length) & 1)
            starts ^= UINT64_C(1) << at;
    }
    return starts;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+: a run of spaces is cut after its last newline, and before its last
 * space if something else follows. */
static void cut_spaces(const struct scanner *s, struct text_block *b)
{
    uint64_t spaces = b->spaces, last = spaces;
    if (s->takes_newlines) {
        uint64_t behind = b->newlines + ((b->marks << 1) & b->newlines);
        uint64_t taken = b->newlines & ~behind; /* the newlines that a run of marks takes */
        if (s->takes_slashes) b->odd |= behind & ~b->newlines & b->slashes;
        spaces &= ~taken;
        uint64_t others = spaces & ~b->newlines, newlines = b->newlines & ~taken;
        b->starts |= after_last_newline(others & newlines << 1, others, newlines);
        last = others;
    }
    last &= ~(b->spaces >> 1) & low_bits(b->bytes - 1);
    if (s->is_after_digits) last &= ~(b->numbers >> 1);
    uint64_t runs = firsts(spaces);
    b->starts |= runs | first_bytes(b, last);
    /* If a run of spaces reaches the end of the block, only its first byte is certain. */
    if (!b->is_last && spaces >> (b->bytes - 1) & 1)
        b->odd |= UINT64_C(2) << (63 - __builtin_clzll(runs));
}

/* ---- numbers, marks and words ---- */

static void cut_numbers(const struct scanner *s, struct text_block *b)
{
    uint64_t runs = firsts(b->numbers), numbers = b->numbers;
    if (s->digits == 1) {
        b->starts |= numbers & ~b->tails;
    } else if (s->digits == 3) {
        b->odd |= numbers & b->tails;
        for (; runs; runs = runs << 3 & numbers & numbers << 1 & numbers << 2)
            b->starts |= runs;
    } else {
        b->starts |= runs & ~(b->blanks << 1);
    }
}

static void cut_words(const struct scanner *s, struct text_block *b)
{
    uint64_t words = firsts(b->letters), marks = firsts(b->marks) & ~(b->blanks << 1);
    b->starts |= marks;
    if (!s->takes_one) {
        b->starts |= words & ~(b->blanks << 1);
        return;
    }
    uint64_t before = first_bytes(b, words >> 1) & (marks | (b->spaces & ~b->newlines));
    b->starts |= words & ~next_character(b, before);
    if (!s->is_cut_at_capital) return;
    uint64_t capitals = b->class[UNICODE_UPPER], small = b->class[UNICODE_LOWER];
    uint64_t both = b->class[UNICODE_LETTER] | b->class[UNICODE_COMBINING];
    b->starts |= b->letters & capitals & small << 1;
    /* Which characters without case belong to which word depends on what follows. */
    b->odd |= (capitals & both << 1) | (both & capitals << 1);
    /* A combining mark after a run of other marks belongs to the run. */
    b->odd |= b->class[UNICODE_COMBINING] & b->marks << 1;
}

/* ---- contractions ---- */

/* How many bytes the contraction at the apostrophe has; 0 if it is none. At least four bytes can be
 * read. */
static int contraction(const char *at, bool ignores_case)
{
    unsigned char first = (unsigned char)at[1], second = (unsigned char)at[2];
    if (ignores_case && first == 0xc5 && second == 0xbf) return 3; /* U+017F is a small s */
    if (ignores_case) {
        first |= 0x20;
        second |= 0x20;
    }
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    if ((first == 'r' || first == 'v') && second == 'e') return 3;
    return first == 'l' && second == 'l' ? 3 : 0;
}

static void cut_contractions(const struct scanner *s, struct text_block *b)
{
    bool in_word = s->contractions == CONTRACTION_IN_WORD;
    uint64_t found = b->quotes & firsts(b->marks) & ~(b->blanks << 1);
    int last_end = 0;
    if (!b->is_last) {
        /* The contraction may end after the block. */
        uint64_t late = found & ~low_bits(b->bytes - 3);
        b->odd |= in_word ? late : late << 1;
        found &= ~late;
    }
    for (found &= b->letters >> 1; found; found &= found - 1) {
        char copy[4] = "";
        int at = __builtin_ctzll(found), left = b->bytes - at;
        memcpy(copy, b->text + at, left < 4 ? (size_t)left : 4);
        int bytes = contraction(copy, s->ignores_case);
        if (!bytes) continue;
        if (in_word && (!at || !(b->letters >> (at - 1) & 1) || at == last_end)) continue;
        last_end = at + bytes;
        /* No pre-token starts in the contraction, but one may start directly after it. */
        b->starts &= ~(low_bits(in_word ? bytes : bytes - 1) << (in_word ? at : at + 1));
        if (last_end < SCANNER_BLOCK) b->starts |= b->letters & UINT64_C(1) << last_end;
    }
}

/* ---- the text, block by block ---- */

/* A word may be longer than a block. Returns its end, or `at` if the pattern must decide. */
static size_t end_of_word(const struct scanner *s, const struct text_block *b, const char *text,
                          size_t bytes, size_t at)
{
    unsigned inside = 1u << UNICODE_LETTER, other = 0;
    unsigned cased = 1u << UNICODE_UPPER | 1u << UNICODE_LOWER;
    if (s->has_combining) inside |= 1u << UNICODE_COMBINING;
    if (s->is_cut_at_capital) {
        other = cased;
        if ((b->class[UNICODE_UPPER] | b->class[UNICODE_LOWER]) & low_bits(b->bytes)) return at;
    } else {
        inside |= cased;
    }
    size_t end = at + (size_t)b->bytes, n = 0;
    unsigned class = 0;
    for (; end < bytes; end += n) {
        class = 1u << b->class_of[utf8_decode(text + end, &n)];
        if (!(class & inside)) break;
    }
    if (end < bytes && (class & other)) return at;
    if (end < bytes && s->contractions == CONTRACTION_IN_WORD && text[end] == '\'') return at;
    return end;
}

static void put_bits(uint64_t *starts, size_t at, uint64_t bits, size_t bytes)
{
    size_t word = at / 64, shift = at % 64;
    starts[word] |= bits << shift;
    if (shift && word < bytes / 64) starts[word + 1] |= bits >> (64 - shift);
}

size_t scanner_cut(const struct scanner *s, uint64_t *starts, const char *text, size_t bytes,
                   size_t at)
{
    struct text_block b = { .class_of = unicode_classes() };
    while (at < bytes) {
        read_block(s, &b, text + at, bytes - at);
        cut_spaces(s, &b);
        cut_numbers(s, &b);
        cut_words(s, &b);
        if (s->contractions) cut_contractions(s, &b);
        b.starts |= 1;
        if (b.odd) b.starts &= low_bits(__builtin_ctzll(b.odd));
        put_bits(starts, at, b.starts, bytes);
        if (b.is_last && !b.odd) return bytes;
        int last = b.starts ? 63 - __builtin_clzll(b.starts) : 0;
        if (last) {
            at += (size_t)last;
            continue;
        }
        if (b.odd || !(b.letters >> (b.bytes - 1) & 1)) return at;
        size_t end = end_of_word(s, &b, text, bytes, at);
        if (end == at) return at;
        at = end;
    }
    return bytes;
}
