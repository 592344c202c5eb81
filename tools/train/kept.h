/* kept.h - the checkpoints and the result that a run's folder still has, and whether their files
 * are those that the run wrote. Nothing is written there.
 */
#ifndef LONGQLORA_TRAIN_KEPT_H
#define LONGQLORA_TRAIN_KEPT_H

#include "tools/train/chain.h"
#include "tools/train/run_folder.h"

struct kept {
    char name[RUN_NAME]; /* its folder in the run's folder; "" for the run's folder itself */
    char path[4096];
    struct chain chain; /* the chain's last line is about this checkpoint or result */
    const json_t *line; /* the object of that line; NULL if there is no chain */
    bool is_result;
    int64_t step;     /* updates done when it was written */
    json_t *measured; /* {NAME: {"digest": …, "sha256": …}} of the files that were read */
    /* The first file that is damaged or has changed, and how that is known; "" if there is none. */
    struct fail fault;
};

struct kept_list {
    struct kept *at;
    int count;
    int lock; /* the open folder; while it is locked, no run can begin there */
};

/* Finds the checkpoints and the result in a folder, in the order of their steps, and reads all of
 * their files. If the folder is a checkpoint, the list has only this one. A folder in it that has a
 * record of its own is that of another run and left out, and so is a result without a chain
 * (kept_check_record). Fails if there is none, and if a run is under way there. No run can begin
 * there until kept_release, which the caller calls. */
int kept_read(struct kept_list *list, const char *run, struct fail *why) MUST_USE;
void kept_release(struct kept_list *list);
/* Returns the step whose parameters the checkpoint or result has. For a result that is the run's
 * best model, this is an earlier step than `step`. */
int64_t kept_step(const struct kept *k);
/* Returns the kept checkpoint that line i of this chain is about, or NULL. */
const struct kept *kept_find(const struct kept_list *list, const struct chain *c, size_t i);
/* Returns the last line of a run in the chain of the result. If there is no result, or the run has
 * gone on after it, the chain is that of the last checkpoint. NULL if nothing has a chain. It
 * belongs to the list. */
const json_t *kept_last_run(const struct kept_list *list);
/* Has the run gone on from an earlier checkpoint in another way, so that neither its result nor the
 * checkpoints that it made since come from this one? */
bool kept_is_left(const struct kept_list *list, const struct kept *k);
/* Is the path in the run's folder, where nothing may be written? */
bool kept_encloses(const char *run, const char *path);
/* Compares longqlora-run.json with the last line of the run and with the files. Returns -1 and says
 * what does not agree. Returns 0 if there is no such file. */
int kept_check_record(const struct kept_list *list, const char *run, struct fail *why) MUST_USE;

#endif
