#include "tools/train/choose_rope.h"

#include <math.h>

/* LLaMA-2's theta, and the tokens of the report's runs, which doubled the context: 1000 steps of 16
 * samples of 8192 tokens. A quarter of them, times the factor, is enough for linear scaling. */
static const double usual_theta = 10000, report_tokens = 131072000;

bool choose_rope_takes_linear(double theta, double factor, double tokens, char *reason, size_t size)
{
    double needed = report_tokens / 4 * factor;
    if (theta > usual_theta) {
        snprintf(reason, size, "a base with theta %g", theta);
        return false;
    }
    bool is_enough = tokens >= needed || tokens == 0;
    if (tokens == 0)
        snprintf(reason, size, "theta %g", theta);
    else /* two significant digits; from 100 million on, whole millions */
        snprintf(reason, size, "%.*g million tokens, where linear:%g needs %.0f million",
                 tokens < 1e8 ? 2 : 10, tokens < 1e8 ? tokens / 1e6 : round(tokens / 1e6), factor,
                 needed / 1e6);
    return is_enough;
}

double choose_rope_tokens(const struct trainer *t)
{
    const struct recipe *r = t->recipe;
    double context = (double)(t->samples ? (int64_t)t->info.context : r->context);
    return trainer_planned_steps(t) * (double)(r->batch_size * r->accumulation) * context;
}

/* Replaces linear scaling by YaRN of the same factor, if the family has it. */
static bool use_yarn(struct config *c)
{
    struct rope linear = c->rope;
    struct fail unused;
    if (!rope_make(&c->rope, ROPE_YARN, linear.factor, &unused) && !config_check_rope(c, &unused))
        return true;
    c->rope = linear;
    return false;
}

/* True if the adapter's positions are scaled by a kind other than linear, with its usual
 * parameters. */
static bool is_scaled_otherwise(const struct trainer *t)
{
    const struct rope *now = &t->config.rope;
    struct rope usual;
    struct fail unused;
    return t->adapter && now->type != ROPE_DEFAULT && now->type != ROPE_LINEAR &&
           !(now->type == ROPE_LLAMA3 && rope_equal(now, &t->weights.config.stored_rope)) &&
           !rope_make(&usual, now->type, now->factor, &unused) && rope_equal(now, &usual);
}

/* Gives the adapter's kind of scaling the factor that `context` needs. */
static int scale_further(struct trainer *t, int64_t context, struct fail *why)
{
    struct config *c = &t->config;
    double factor = ceil((double)context / (double)c->original_position);
    if (config_check_context(c, context, why)) return -1;
    snprintf(t->rope_choice, sizeof t->rope_choice,
             "rope auto: %s:%g (as the adapter's positions were scaled before)",
             rope_type_name(c->rope.type), factor);
    return rope_make(&c->rope, c->rope.type, factor, why);
}

/* Extends the positions to `context` by the kind of scaling that `rope: auto` means. */
static int choose(struct trainer *t, int64_t context, struct fail *why)
{
    struct config *c = &t->config;
    char then[sizeof t->state.rope] = "", reason[96];
    bool is_plain = c->rope.type == ROPE_DEFAULT;
    if (context <= config_context(c)) return 0;
    if (is_scaled_otherwise(t)) return scale_further(t, context, why);
    if (config_extend(c, context, why)) return -1;
    double factor = c->rope.factor;
    snprintf(then, sizeof then, "%s", t->rope_there);
    if (*then) {
        if (!strncmp(then, "yarn ", 5)) use_yarn(c);
        snprintf(reason, sizeof reason, "with which the run began");
    } else if (!is_plain) {
        snprintf(reason, sizeof reason, "as the positions were scaled before");
    } else if (!choose_rope_takes_linear(c->theta, factor, choose_rope_tokens(t), reason,
                                         sizeof reason) &&
               !use_yarn(c)) {
        snprintf(reason, sizeof reason, "because this family has no yarn");
    }
    snprintf(t->rope_choice, sizeof t->rope_choice, "rope auto: %s:%g (%s)",
             rope_type_name(c->rope.type), factor, reason);
    return 0;
}

/* Extends the positions to `context` by scaling of this kind. */
static int extend(struct config *c, enum rope_type type, int64_t context, struct fail *why)
{
    if (context <= config_context(c)) return 0;
    if (config_extend(c, context, why)) return -1;
    return type == ROPE_LINEAR ? 0 : rope_make(&c->rope, type, c->rope.factor, why);
}

int choose_rope(struct trainer *t, int64_t context, struct fail *why)
{
    static const enum rope_type kinds[] = { ROPE_LINEAR, ROPE_NTK, ROPE_DYNAMIC, ROPE_YARN,
                                            ROPE_LLAMA3 };
    const char *asked = t->recipe->rope;
    bool is_scratch = t->recipe->from_scratch;
    if (!strcmp(asked, "auto")) return is_scratch ? 0 : choose(t, context, why);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(asked, rope_type_name(kinds[i])))
            return is_scratch ? 0 : extend(&t->config, kinds[i], context, why);
    struct fail which = { .status = STATUS_FAILED };
    if (!rope_set(&t->config.rope, asked, &which)) return 0;
    const char *more = strchr(asked, ':') ? "" : "; or auto, or a name without its factor";
    return fail_usage(why, "rope: %s%s", which.text, more);
}
