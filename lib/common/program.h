/* program.h - the names by which this program and the other tools are called on this system.
 *
 * In the source tree a program is called `train`; installed it is `longqlora-train`; a link may
 * give it any name. A program calls itself by the name by which it was started. It gives other
 * tools the prefix of its own name: `longqlora-train` says `longqlora-quantize`.
 */
#ifndef LONGQLORA_PROGRAM_H
#define LONGQLORA_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* Call this first. argv0: argv[0]; tool: the program's name in the source tree, "train". */
void program_begin(const char *argv0, const char *tool);

/* The base name by which the program was started. Safe in a signal handler. */
const char *program_name(void);

/* The command that runs the tool of that name ("quantize") on this system, such as "quantize",
 * "longqlora-quantize" or, if this program was started as bin/train, "bin/quantize". */
const char *program_of(const char *tool);

/* Copies a command line into text[size], cut off at size, and replaces the source tree's names by
 * this system's. It replaces tool names at the beginning and after pipes. In an installed program
 * it also replaces recipes/ by the installed folder, share/longqlora/recipes beside bin/. */
void program_command(const char *command, char *text, size_t size);

/* Finds a plug-in. path becomes the file of that name beside the program if it exists. Otherwise
 * path becomes the file of that name in the installation's library folder, whether or not that file
 * exists. Returns false if the program's own place is unknown. */
bool program_plugin(const char *name, char path[4096]);

#endif
