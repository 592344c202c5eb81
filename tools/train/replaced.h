/* replaced.h - an earlier run that overwrite_output_dir replaces. It is moved into a folder beside
 * the new run, and removed when the new run has saved something. So a run that ends before that
 * loses nothing.
 *
 * Where the earlier run lies is in a record at every moment, so a killed process leaves no files of
 * which nothing is known. While the files are moved, the earlier run's own record names the folder
 * under "moving". Then the new run's record takes its place in one step. It has, under "replaced",
 * the name of the folder, the mark of the earlier run and the digest of its record. Only the run of
 * that record removes the folder, and drops "replaced" after that. The folder is the output_dir of
 * the earlier run, with its own record.
 */
#ifndef LONGQLORA_REPLACED_H
#define LONGQLORA_REPLACED_H

#include "tools/train/run_folder.h"

/* If a process was killed while it moved the run of the record away, moves its files back. Call it
 * before the record is used. */
int replaced_put_back(struct run_folder *f, struct fail *why) MUST_USE;
/* Moves the files and checkpoints of the run in the record to output_dir/replaced, or to
 * replaced-2 and so on if that name is taken, and makes a new record, which run_folder_begin must
 * write. A checkpoint in which somebody put files stays in its place. A run that has saved nothing
 * is removed; if it has replaced another run, that one stays set aside. Calls `report` with a line
 * that says where the earlier run is. If one of the files cannot be moved or removed later, none is
 * moved. */
int replaced_set_aside(struct run_folder *f, void (*report)(const char *text),
                       struct fail *why) MUST_USE;
/* Returns the name of the folder in which an earlier run is set aside, or NULL. Borrowed from the
 * record. */
const char *replaced_name(const struct run_folder *f);
/* Removes the run that is set aside, if there is one, and its folder if no other files are in it.
 * While another program uses the folder, nothing is done, and a later call may remove the run; that
 * is a failure only if is_last. Fails, and never removes the run later, if it was trained further,
 * or if a file cannot be removed. */
int replaced_remove(struct run_folder *f, bool is_last, struct fail *why) MUST_USE;

#endif
