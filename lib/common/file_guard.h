/* file_guard.h - remembers what the process reads and writes, and refuses an output that is also an
 * input.
 *
 * A program declares its operands and options before it works. Files are compared by device and
 * inode, so symbolic links, other spellings of a path and redirected standard streams are
 * recognised. An output that does not exist yet is compared by its folder's device and inode and
 * its own name. The second declaration of a conflicting pair is refused. When an output is opened,
 * it is also compared with every file that the process has open for reading. Devices and terminals
 * are never refused. A pipe is refused only as the target of two outputs.
 *
 *     file_guard_input("", files[i], why)     messages name it by its path alone
 *     file_guard_input("--model ", path, why) messages say "--model PATH"
 *     file_guard_output("-o ", path, why)     the path "-" is standard output
 *
 * The functions copy option and path. A path longer than TARGET_PATH_MAX is refused.
 */
#ifndef LONGQLORA_FILE_GUARD_H
#define LONGQLORA_FILE_GUARD_H

#include "lib/common/target.h"
#include "lib/common/temporary.h"

/* Declares a file that is read. "-" is standard input. A path that does not exist is ignored,
 * because opening it will fail. */
int file_guard_input(const char *option, const char *path, struct fail *why) MUST_USE;
/* Declares a folder in which the files that `holds` accepts may be read. A path that is not a
 * folder is declared as a file. */
int file_guard_input_folder(const char *option, const char *path, folder_holds *holds,
                            struct fail *why) MUST_USE;
/* Declares a file that will be written. output_declare calls this and checks more. */
int file_guard_output(const char *option, const char *path, struct fail *why) MUST_USE;
/* Declares a folder in which the files that `writes` accepts will be written or replaced. */
int file_guard_output_folder(const char *option, const char *path, folder_holds *writes,
                             struct fail *why) MUST_USE;

/* Call this before the first message. If argv names a non-empty file that is also standard error, a
 * message would be written into that file. In that case this function redirects all messages
 * (message_divert) and returns the file's path. Otherwise it returns NULL. */
const char *file_guard_messages(int argc, char **argv);

/* Fails if the output, declared or not, is an input or is open for reading. output_open calls
 * this. */
int file_guard_check(const char *name, const struct target *t, struct fail *why) MUST_USE;

/* Forgets all declarations. Only tests use it. */
void file_guard_reset(void);

#endif
