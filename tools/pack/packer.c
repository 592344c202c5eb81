#include "tools/pack/packer.h"

#include "lib/common/buffer.h"
#include "lib/stream/targets.h"
#include "tools/pack/best_fit.h"

/* Appends tokens [from, to) of a document and the target ranges inside them. */
static int append(struct packer *p, const struct tokens *t, size_t from, size_t to,
                  struct fail *why)
{
    struct sample *s = &p->sample;
    size_t ranges = t->has_targets ? t->target_count : 1;
    if (buffer_reserve(&s->ids, &s->capacity, s->count, to - from, why) ||
        buffer_reserve(&s->documents, &s->document_capacity, s->document_count, 1, why) ||
        buffer_reserve(&s->targets, &s->target_capacity, 2 * s->target_count, 2 * ranges, why))
        return -1;
    const uint32_t whole[2] = { 0, (uint32_t)t->count };
    const uint32_t *range = t->has_targets ? t->targets : whole;
    for (size_t i = 0; i < ranges; i++) {
        size_t start = range[2 * i] > from ? range[2 * i] : from;
        size_t end = range[2 * i + 1] < to ? range[2 * i + 1] : to;
        if (start >= end) continue;
        s->targets[2 * s->target_count] = (uint32_t)(start - from + s->count);
        s->targets[2 * s->target_count + 1] = (uint32_t)(end - from + s->count);
        s->target_count++;
    }
    if (!s->document_count)
        memcpy(s->source, t->source, sizeof s->source);
    else if (strcmp(s->source, t->source) != 0)
        snprintf(s->source, sizeof s->source, "mixed");
    s->has_targets |= t->has_targets;
    s->documents[s->document_count++] = (uint32_t)(to - from);
    memcpy(s->ids + s->count, t->ids + from, (to - from) * sizeof *s->ids);
    s->count += to - from;
    return 0;
}

static void clear(struct sample *s)
{
    s->count = s->document_count = s->target_count = 0;
    s->has_targets = false;
}

static int emit(struct packer *p, struct fail *why)
{
    struct sample *s = &p->sample;
    int status = 0;
    if (!sample_has_target(s, p->strategy == STRATEGY_BEST_FIT)) {
        p->without_target++;
        p->cut += s->count;
    } else {
        p->samples++;
        p->kept += s->count;
        status = p->take(p->arg, s, why);
    }
    clear(s);
    return status;
}

static int add_piece(struct packer *p, const struct tokens *t, size_t from, size_t to,
                     struct fail *why)
{
    return append(p, t, from, to, why) || emit(p, why) ? -1 : 0;
}

/* ---- best-fit ---- */

static int wait(struct packer *p, const struct tokens *t, size_t from, struct fail *why)
{
    struct pieces *w = &p->pieces;
    if (!w->spill && spill_open(&w->spill, why)) return -1;
    if (buffer_extend(&w->offset, w->count, why) || buffer_extend(&w->length, w->count, why))
        return -1;
    w->offset[w->count] = spill_end(w->spill);
    w->length[w->count++] = (uint32_t)(t->count - from);
    return spill_put(w->spill, t, from, t->count, why);
}

/* Sorts the pieces by bin. bin[i] is the bin of piece i. `piece`, an array of `count` elements,
 * gets the numbers of all pieces, one bin after the other. The pieces of bin b begin at
 * piece[first[b + 1]]. `first` has bins + 1 elements, which the caller has set to 0. */
static void group(const uint32_t *bin, size_t count, size_t *first, size_t bins, uint32_t *piece)
{
    for (size_t i = 0; i < count; i++)
        first[bin[i] + 1]++;
    for (size_t b = 0; b < bins; b++)
        first[b + 1] += first[b];
    for (size_t i = count; i-- > 0;)
        piece[--first[bin[i] + 1]] = (uint32_t)i;
}

static int emit_bins(struct packer *p, const size_t *first, size_t bins, const uint32_t *piece,
                     struct fail *why)
{
    struct tokens t = { 0 };
    int status = 0;
    for (size_t b = 0; b < bins && !status; b++) {
        size_t end = b + 1 < bins ? first[b + 2] : p->pieces.count;
        for (size_t i = first[b + 1]; i < end && !status; i++) {
            status = spill_get(p->pieces.spill, p->pieces.offset[piece[i]], &t, why);
            if (!status) status = append(p, &t, 0, t.count, why);
        }
        if (!status) status = emit(p, why);
    }
    tokens_release(&t);
    return status;
}

static int fit_pieces(struct packer *p, struct fail *why)
{
    struct pieces *w = &p->pieces;
    uint32_t *bin = malloc((w->count + 1) * sizeof *bin);
    uint32_t *piece = calloc(w->count + 1, sizeof *piece);
    size_t *first = NULL;
    int64_t bins = bin && piece ? best_fit(w->length, w->count, (uint32_t)p->context, bin, why)
                                : fail(why, "out of memory");
    if (bins >= 0) first = calloc((size_t)bins + 2, sizeof *first);
    int status = first ? 0 : bins < 0 ? -1 : fail(why, "out of memory");
    if (!status) {
        group(bin, w->count, first, (size_t)bins, piece);
        status = emit_bins(p, first, (size_t)bins, piece, why);
    }
    free(bin);
    free(piece);
    free(first);
    return status;
}

int packer_add(struct packer *p, const struct tokens *t, struct fail *why)
{
    size_t context = (size_t)p->context, at = 0;
    if (!t->count) return 0;
    if (p->strategy == STRATEGY_TRUNCATE || (p->strategy == STRATEGY_SPLIT && t->count < context)) {
        size_t end = t->count < context ? t->count : context;
        p->cut += t->count - end;
        return add_piece(p, t, 0, end, why);
    }
    if (p->strategy == STRATEGY_SPLIT) {
        for (; t->count - at >= context; at += context)
            if (add_piece(p, t, at, at + context, why)) return -1;
        p->cut += t->count - at;
        return 0;
    }
    if (p->strategy == STRATEGY_BEST_FIT) {
        for (; t->count - at >= context; at += context)
            if (add_piece(p, t, at, at + context, why)) return -1;
        return at < t->count ? wait(p, t, at, why) : 0;
    }
    while (at < t->count) {
        size_t capacity = context - p->sample.count, left = t->count - at;
        size_t n = left < capacity ? left : capacity;
        if (append(p, t, at, at + n, why)) return -1;
        at += n;
        if (p->sample.count == context && emit(p, why)) return -1;
    }
    return 0;
}

int packer_end(struct packer *p, struct fail *why)
{
    if (p->pieces.count) return fit_pieces(p, why);
    p->cut += p->sample.count;
    clear(&p->sample);
    return 0;
}

void packer_release(struct packer *p)
{
    sample_release(&p->sample);
    spill_close(p->pieces.spill);
    free(p->pieces.offset);
    free(p->pieces.length);
}
