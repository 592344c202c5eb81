/* run_folder.h - the folder output_dir. It belongs to its user, and one run at a time holds it.
 * Only files that a run made there belong to the run.
 *
 * The record, longqlora-run.json, identifies the run and lists what it made: the digest of each
 * file, and the digest of each checkpoint's manifest. A file that is not in the record, or has
 * another digest, belongs to somebody else and is neither replaced nor removed. A file's new digest
 * is recorded, in addition to the old one, before the file gets its name. So the files of a killed
 * run are known too.
 *
 * Folders that become checkpoints are made under temporary names, which begin with the record's
 * mark, ".longqlora-run-" and 16 random digits. If the next run finds a folder with the mark, a
 * killed run has left it.
 */
#ifndef LONGQLORA_RUN_FOLDER_H
#define LONGQLORA_RUN_FOLDER_H

#include "model/checkpoint.h"

enum { RUN_PATH = 3840, RUN_NAME = 256 };

struct run_folder {
    char path[RUN_PATH];
    int lock;          /* descriptor of the folder, locked; 0: not open */
    bool has_no_locks; /* the file system has no locks, so nothing keeps another run away */
    json_t *record;    /* NULL if there is none */
    char mark[40];
    char written[STREAM_DIGEST_TEXT]; /* digest of the record as it was last read or written */
    bool lost_record;    /* somebody has replaced the record, so it is no longer written */
    bool was_made_again; /* somebody removed the folder during the run, and it was created again */
    /* Why an old checkpoint could not be removed; the text is "" if all could be removed. */
    struct fail stays;
    int64_t *verified; /* steps of the checkpoints that this process has verified or made */
    int64_t verified_count;
};

/* Creates the folder if it does not exist, and locks it until the process ends. Fails if another
 * process holds it. Reads the record, and removes unfinished folders of a killed run. If the
 * program created the folder and leaves it empty, it is removed at exit. A process may open only
 * one folder. */
int run_folder_open(struct run_folder *f, const char *path, struct fail *why) MUST_USE;
void run_folder_close(struct run_folder *f);
/* Adds to an error the advice to name another output_dir. Returns -1. */
int run_folder_advise(struct fail *why);

/* Returns the object of that name in the record, "run" or "finished", or NULL. Borrowed. */
const json_t *run_folder_record(const struct run_folder *f, const char *key);
/* True if the file or folder of this name belongs to the run. */
bool run_folder_owns(const struct run_folder *f, const char *name);
/* True for a name in a subfolder, such as runs/events, if the subfolder is now a link that leads
 * out of the folder.
 */
bool run_folder_leads_away(const struct run_folder *f, const char *name);
/* True if the path still leads to the open folder. */
bool run_folder_is_there(const struct run_folder *f);
/* Writes the path of a name in the folder. */
void run_folder_path(const struct run_folder *f, const char *name, char path[4096]);
/* True if the run may use this name for a folder: the name is free, or belongs to the run, or to a
 * folder that has only our temporary files of ended processes. */
bool run_folder_is_free(const struct run_folder *f, const char *name);
/* Writes the name that the run uses for the folder `wanted`: that name itself, or, if somebody
 * else's folder has it, the name with -2, -3 and so on appended. */
void run_folder_name(const struct run_folder *f, const char *wanted, char name[RUN_NAME]);
/* Returns the step in the name of a checkpoint, with or without a suffix -2 and so on; -1 for other
 * names. */
int64_t run_folder_step(const char *name);
/* Finds the run's newest checkpoint of a step below `below` and writes its name. Returns its step,
 * or -1. */
int64_t run_folder_newest(const struct run_folder *f, int64_t below, char name[RUN_NAME]);
/* Fails if the record lists the name but the file or folder cannot be read, because then its digest
 * cannot be compared with the record. */
int run_folder_check_readable(const struct run_folder *f, const char *name,
                              struct fail *why) MUST_USE;
/* True if the record lists a checkpoint. */
bool run_folder_lists_checkpoints(const struct run_folder *f);
/* True if the record lists the folder as a checkpoint, and the folder has files of a checkpoint,
 * but no manifest.json, as after a copy that was interrupted. Whose files these are is unknown, so
 * the run does not remove them. */
bool run_folder_is_incomplete(const struct run_folder *f, const char *name);
/* Fails if a file or checkpoint of the run cannot be removed or replaced, for example because the
 * user made the checkpoint's folder read-only. */
int run_folder_check_free(const struct run_folder *f, const char *name, struct fail *why) MUST_USE;
/* Does run_folder_check_free for all files and checkpoints of the run. */
int run_folder_check_all_free(const struct run_folder *f, struct fail *why) MUST_USE;
/* Fails if the name is taken by something that is not the run's, or that cannot be replaced. */
int run_folder_claim(const struct run_folder *f, const char *name, struct fail *why) MUST_USE;

/* Writes a record if there is none. It is removed at exit unless run_folder_begin follows. */
int run_folder_prepare(struct run_folder *f, struct fail *why) MUST_USE;
/* Enters this run in the record as unfinished. The files that the record lists stay listed. */
int run_folder_begin(struct run_folder *f, const json_t *run, struct fail *why) MUST_USE;
/* Lists a file as the run's without a digest, because its content grows. */
int run_folder_add_file(struct run_folder *f, const char *name, struct fail *why) MUST_USE;
/* Lists a folder as the run's, but not the files in it. */
int run_folder_add_folder(struct run_folder *f, const char *name, struct fail *why) MUST_USE;
/* Lists an existing checkpoint as the run's; an older program, which kept no record, made it. */
int run_folder_adopt(struct run_folder *f, const char *name, struct fail *why) MUST_USE;
int run_folder_finish(struct run_folder *f, const json_t *finished, struct fail *why) MUST_USE;
/* Makes a new record with a new mark. The old one stays in its place until run_folder_begin writes
 * the new one. */
int run_folder_renew(struct run_folder *f, struct fail *why) MUST_USE;
/* Removes all files and folders of the run. The record stays. If one of them cannot be removed,
 * none is removed. */
int run_folder_clear(struct run_folder *f, struct fail *why) MUST_USE;

/* Creates an empty folder under a temporary name and writes its path to `path`. A run can have only
 * one such folder at a time. It is removed at exit unless run_folder_place renamed it. */
int run_folder_make(struct run_folder *f, const char *purpose, char path[4096],
                    struct fail *why) MUST_USE;
/* Removes a folder that run_folder_make created and run_folder_place did not rename. `shown`
 * replaces the temporary name in *why. */
void run_folder_unmake(const char *path, const char *shown, struct fail *why);
/* Gives the folder `made`, whose manifest is written, the name that run_folder_name returns. It
 * replaces the run's own folder of that name. */
int run_folder_place(struct run_folder *f, const char *made, const char *wanted,
                     char name[RUN_NAME], struct fail *why) MUST_USE;
/* Moves the files of `made` into the run's folder, `last` after all others. Returns 1 if one of the
 * names is taken; then *why says which, and nothing was moved. */
int run_folder_place_files(struct run_folder *f, const char *made, const char *last,
                           struct fail *why) MUST_USE;
/* Renames a checkpoint of the run. It replaces the run's own checkpoint of the new name. */
int run_folder_rename(struct run_folder *f, const char *from, const char *to,
                      struct fail *why) MUST_USE;
/* Removes a checkpoint if it is the run's. */
int run_folder_remove(struct run_folder *f, const char *name, struct fail *why) MUST_USE;
/* Removes a checkpoint if it is the run's. Files of others in it are moved to the checkpoint
 * `successor`. */
int run_folder_give_way(struct run_folder *f, const char *name, const char *successor,
                        struct fail *why) MUST_USE;

/* Verifies a checkpoint. Each checkpoint is read only once per process. */
int run_folder_verify(struct run_folder *f, const char *name, struct fail *why) MUST_USE;
int run_folder_note_verified(struct run_folder *f, int64_t step, struct fail *why) MUST_USE;
/* Records the digest that the file or folder of this name will have when it is replaced. Its
 * present digest stays recorded too. kind: "files" or "folders". */
int run_folder_expect(struct run_folder *f, const char *kind, const char *name, const char *digest,
                      struct fail *why) MUST_USE;
/* Writes the record. */
int run_folder_write(struct run_folder *f, struct fail *why) MUST_USE;
/* Removes old checkpoints of the run so that `keep` complete ones stay (0: all stay). The
 * checkpoint of step `saved` stays. Then those of earlier steps are kept, the newest first.
 * Checkpoints of later steps exist if the run resumed at an earlier step. Of the later ones the
 * newest complete one stays in any case and is not counted; the others stay only if fewer than
 * `keep` earlier ones exist. A checkpoint that cannot be removed stays, and f->stays says why. */
int run_folder_prune(struct run_folder *f, int64_t keep, int64_t saved, struct fail *why) MUST_USE;

#endif
