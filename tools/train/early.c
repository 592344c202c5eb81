/* Is there memory for the run? By the shapes of its base, before that is read. */
#include "plan.h"

static void say_nothing(const char *text) { (void)text; }

/* Of a directory, whose digest may take minutes; a stream is read into the memory that it needs.
 * What cannot be planned is told by who opens it. A finished run takes no memory, and one that goes
 * on may have other chunks than a new one. */
int trainer_check_early(const struct trainer *t, struct fail *why)
{
    struct trainer early = *t;
    struct fail ignored;
    if (t->recipe->from_scratch || !trainer_begins_anew(t) ||
        !weights_are_directory(t->recipe->model) || run_folder_said(&t->folder, "finished"))
        return 0;
    early.plan_only = true;
    int status = 0;
    if (!trainer_open_base(&early, &ignored) && !trainer_plan_positions(&early, &ignored) &&
        !trainer_plan_run(&early, &ignored) && !plan_settle(&early, &early.setup, &ignored))
        status = plan_check(&early, say_nothing, why);
    fit_release(&early.fit);
    weights_close(&early.weights);
    config_release(&early.config);
    return status;
}
