/* replaced.h - an earlier run that overwrite_output_dir replaces. It is moved into a folder beside
 * the new run, and removed when the new run has saved something. So a run that ends before that
 * loses nothing.
 *
 * The record of the new run has, under "replaced", the name of that folder, the mark of the earlier
 * run and the digest of its record. The folder is the output_dir of the earlier run, with its own
 * record.
 */
#ifndef LONGQLORA_REPLACED_H
#define LONGQLORA_REPLACED_H

#include "tools/train/run_folder.h"

/* Moves the files and checkpoints of the run in the record to output_dir/replaced, or to
 * replaced-2 and so on if that name is taken, and begins a new record. A checkpoint in which
 * somebody put files stays in its place. A run that has saved nothing is removed; if it has
 * replaced another run, that one stays set aside. Calls `report` with a line that says where the
 * earlier run is. If one of the files cannot be moved or removed later, none is moved. */
int replaced_set_aside(struct run_folder *f, void (*report)(const char *text),
                       struct fail *why) MUST_USE;
/* Returns the name of the folder in which an earlier run is set aside, or NULL. Borrowed from the
 * record. */
const char *replaced_name(const struct run_folder *f);
/* Removes the run that is set aside, if there is one, and its folder if no other files are in it.
 * Fails if that run was trained further, or is being trained, and removes nothing then. If it fails
 * for another reason, what is left stays. In both cases it is never removed later. */
int replaced_remove(struct run_folder *f, struct fail *why) MUST_USE;

#endif
