/* program.h - what this program and its siblings are called here.
 *
 * In the source tree a program is `train`, installed it is `longqlora-train`, and a link may give
 * it any name. It calls itself as it was started, and a sibling by its own name with what stands
 * before this program's: whoever runs `longqlora-train` has `longqlora-quantize`.
 */
#ifndef LONGQLORA_PROGRAM_H
#define LONGQLORA_PROGRAM_H

#include <stdio.h>

/* argv0: as the program was started; tool: its own name, "train". */
void program_begin(const char *argv0, const char *tool);

/* The base name that the program was started by. May be called in a signal's handler. */
const char *program_name(void);

/* What the tool of that name, "quantize", is called here. */
const char *program_of(const char *tool);

/* Prints a command line that is worded as in the source tree. The names of tools in it, at its
 * beginning and behind pipes, become those of here; of an installed program also the folder of
 * recipes, which lies beside bin/ in share/longqlora/. */
void program_print_command(FILE *out, const char *command);

#endif
