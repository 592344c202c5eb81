/* file_guard.h - what the process reads and what it writes, so that no output is an input.
 *
 * A program declares its operands and options before any work; files are told apart by device and
 * inode, so links, other spellings and redirected standard streams are seen through, and an output
 * that is not there yet by its folder's device and inode and its name. Whichever is declared second
 * and meets the other is refused. A file that is open for reading is found without being declared
 * when an output is opened. Devices, pipes and terminals are never refused.
 *
 *     file_guard_input("", files[i], why)     "" : it is named by its path alone
 *     file_guard_input("--model ", path, why) told as "--model PATH"
 *     file_guard_output("-o ", path, why)     "-": standard output
 */
#ifndef LONGQLORA_FILE_GUARD_H
#define LONGQLORA_FILE_GUARD_H

#include "lib/common/target.h"
#include "lib/common/temporary.h"

/* "-" is standard input. What is not there is no input: opening it will tell. */
int file_guard_input(const char *option, const char *path, struct fail *why) MUST_USE;
/* A folder from which files of those names may be read. A path that is no folder is an input. */
int file_guard_input_folder(const char *option, const char *path, folder_holds *holds,
                            struct fail *why) MUST_USE;
/* A file that will be written; output_declare does more. */
int file_guard_output(const char *option, const char *path, struct fail *why) MUST_USE;
/* A folder in which files of those names will be written or replaced. */
int file_guard_output_folder(const char *option, const char *path, folder_holds *writes,
                             struct fail *why) MUST_USE;

/* Before anything is said: a file that has something in it, that the command line names, and that
 * standard error is; NULL: none. Messages are turned away from it. */
const char *file_guard_messages(int argc, char **argv);

/* Is this output, which may be declared, an input or another output? By output_open. */
int file_guard_check(const char *name, const struct target *t, struct fail *why) MUST_USE;

/* Forgets everything: for tests. */
void file_guard_reset(void);

#endif
