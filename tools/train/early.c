/* Checks the memory for a run before its base is read, from the shapes alone. */
#include "tools/train/plan.h"

static void ignore_message(const char *text) { (void)text; }

/* True if the needed memory can be known early. A finished run takes no memory, a run from scratch
 * reads no base, and the chunks of a resumed run may differ from those of a new one. */
static bool can_tell(const struct trainer *t)
{
    return !t->recipe->from_scratch && trainer_begins_anew(t) &&
           !run_folder_record(&t->folder, "finished");
}

/* Fails if the memory is too small. Ignores other errors of the planning, because opening the base
 * reports them better. */
static int check(struct trainer *early, struct fail *why)
{
    struct fail ignored;
    if (trainer_plan_positions(early, &ignored) || trainer_plan_run(early, &ignored) ||
        plan_settle(early, &early->setup, &ignored))
        return 0;
    return plan_check(early, ignore_message, why);
}

/* Does nothing for a stream, which trainer_check_outline checks. A directory or a GGUF file is
 * checked here, because computing its digest may take minutes. */
int trainer_check_early(const struct trainer *t, struct fail *why)
{
    struct trainer early = *t;
    struct fail ignored;
    if (!can_tell(t) || !weights_have_companions(t->recipe->model)) return 0;
    early.plan_only = true;
    int status = trainer_open_base(&early, &ignored) ? 0 : check(&early, why);
    fit_release(&early.fit);
    weights_close(&early.weights);
    config_release(&early.config);
    return status;
}

int trainer_check_outline(void *arg, struct weights *outline, struct fail *why)
{
    const struct trainer *t = arg;
    struct trainer early = *t;
    struct fail ignored;
    int status = 0;
    if (!can_tell(t)) return 0;
    early.plan_only = true;
    early.weights = *outline;
    if (!config_copy(&early.config, &outline->config, &ignored) &&
        !trainer_use_adapter(&early, &ignored))
        status = check(&early, why);
    *outline = early.weights;
    fit_release(&early.fit);
    config_release(&early.config);
    return status;
}
