/* run_folder.h - output_dir, which belongs to its user: one run holds it at a time, and only what
 * the run made there is the run's.
 *
 * longqlora-run.json says which run it is and what it made: of each file its digest, of each
 * checkpoint that of its manifest. What is not in that record, or is there with another digest, is
 * somebody's, and is neither replaced nor removed. A file is recorded before it gets its name, with
 * the digest that it is going to have beside the one that it had, so that what a killed run left is
 * known as well.
 *
 * Folders that become checkpoints are made under names that begin with the record's mark,
 * ".longqlora-" and 16 random digits. What lies under it when the next run begins is what a killed
 * one left.
 */
#ifndef LONGQLORA_RUN_FOLDER_H
#define LONGQLORA_RUN_FOLDER_H

#include "model/checkpoint.h"

enum { RUN_PATH = 3840, RUN_NAME = 256 };

struct run_folder {
    char path[RUN_PATH];
    int lock;          /* the folder's descriptor, locked; 0: not held */
    bool has_no_locks; /* its file system has none: nothing keeps another run away */
    json_t *record;    /* NULL: there is none */
    char mark[40];
    char written[STREAM_DIGEST_TEXT]; /* the digest of the record as it was read or written */
    bool lost_record;    /* somebody took the record's place: it is not written any more */
    bool was_made_again; /* somebody removed the folder while the run was under way */
    int64_t *verified;   /* steps of checkpoints that were found whole, or made, by this process */
    int64_t verified_count;
};

/* Makes the folder if it is not there, and locks it for as long as the process lives; fails if
 * another process holds it. Reads the record, and removes what a killed run left. When the program
 * ends, a folder that it made and left empty is removed. One folder a process. */
int run_folder_open(struct run_folder *f, const char *path, struct fail *why) MUST_USE;
void run_folder_close(struct run_folder *f);
/* Adds to a failure that another output_dir is the way out; returns -1. */
int run_folder_advise(struct fail *why);

/* The record's object of that name: "run", "finished"; NULL if there is none. Borrowed. */
const json_t *run_folder_said(const struct run_folder *f, const char *key);
/* Is what stands under the name the run's? */
bool run_folder_owns(const struct run_folder *f, const char *name);
/* Is the folder of its path the one that is open? */
bool run_folder_is_there(const struct run_folder *f);
/* The path of what has that name in it. */
void run_folder_path(const struct run_folder *f, const char *name, char path[4096]);
/* Can a folder of the run get the name? What stands there is the run's, or holds nothing but
 * temporary files of ours whose process is gone. */
bool run_folder_is_free(const struct run_folder *f, const char *name);
/* The name that the run's folder called so has, or is going to have: it, or, where somebody's
 * stands in its way, it with -2, -3 and so on behind. */
void run_folder_name(const struct run_folder *f, const char *wanted, char name[RUN_NAME]);
/* The step in the name of a checkpoint, -2 and so on or not; -1 for other names. */
int64_t run_folder_step(const char *name);
/* The run's newest checkpoint of a step below `below`, and its name; -1: there is none. */
int64_t run_folder_newest(const struct run_folder *f, int64_t below, char name[RUN_NAME]);
/* Fails if the name is taken by what is not the run's. */
int run_folder_claim(const struct run_folder *f, const char *name, struct fail *why) MUST_USE;

/* Writes a record, if there is none, that is removed again unless the run begins. */
int run_folder_prepare(struct run_folder *f, struct fail *why) MUST_USE;
/* The record is this run's from now on, and unfinished. What was recorded before stays. */
int run_folder_begin(struct run_folder *f, const json_t *run, struct fail *why) MUST_USE;
/* The file of that name is the run's, whatever is in it: it grows. */
int run_folder_add_file(struct run_folder *f, const char *name, struct fail *why) MUST_USE;
/* Likewise a folder, but not what lies in it. */
int run_folder_add_folder(struct run_folder *f, const char *name, struct fail *why) MUST_USE;
/* A checkpoint that stands there is the run's: of a program that kept no record. */
int run_folder_adopt(struct run_folder *f, const char *name, struct fail *why) MUST_USE;
int run_folder_finish(struct run_folder *f, const json_t *finished, struct fail *why) MUST_USE;
/* Removes all that is the run's, and the record last. */
int run_folder_clear(struct run_folder *f, struct fail *why) MUST_USE;

/* An empty folder of a name with the mark, its path to `path`. One at a time; it is removed when
 * the program ends before it is put in place. */
int run_folder_make(struct run_folder *f, const char *purpose, char path[4096],
                    struct fail *why) MUST_USE;
/* Removes what was made and has not been put in place, and puts the name that it would have had in
 * the place of its own in why. */
void run_folder_unmake(const char *path, const char *shown, struct fail *why);
/* The sealed folder `made` gets the name that run_folder_name has for it, in place of the run's one
 * of that name. */
int run_folder_place(struct run_folder *f, const char *made, const char *wanted,
                     char name[RUN_NAME], struct fail *why) MUST_USE;
/* The files of `made` get their names in the run's folder, the one called `last` after all
 * others. 1: one of the names is taken, as why says, and nothing was done. */
int run_folder_place_files(struct run_folder *f, const char *made, const char *last,
                           struct fail *why) MUST_USE;
/* One checkpoint of the run gets another one's name, in its place. */
int run_folder_rename(struct run_folder *f, const char *from, const char *to,
                      struct fail *why) MUST_USE;
/* Removes a checkpoint if it is the run's. */
int run_folder_remove(struct run_folder *f, const char *name, struct fail *why) MUST_USE;
/* Likewise; what somebody put there goes to the one called `heir`. */
int run_folder_give_way(struct run_folder *f, const char *name, const char *heir,
                        struct fail *why) MUST_USE;

/* Is the checkpoint whole? Each is read once a process. */
int run_folder_verify(struct run_folder *f, const char *name, struct fail *why) MUST_USE;
int run_folder_note_verified(struct run_folder *f, int64_t step, struct fail *why) MUST_USE;
/* The name has, or is going to have, that digest; what it has now stays known. kind: "files" or
 * "folders". */
int run_folder_expect(struct run_folder *f, const char *kind, const char *name, const char *digest,
                      struct fail *why) MUST_USE;
/* Writes the record. */
int run_folder_write(struct run_folder *f, struct fail *why) MUST_USE;
/* Removes the run's checkpoints but for `keep` whole ones (0: all stay): the one that was just
 * saved, those of the steps before it, the newest first, and then those of later steps, which a run
 * that began again at an earlier one had made before. The newest of these stays, uncounted. */
int run_folder_prune(struct run_folder *f, int64_t keep, int64_t saved, struct fail *why) MUST_USE;

#endif
