/* program.h - what this program and its siblings are called here.
 *
 * In the source tree a program is `train`, installed it is `longqlora-train`, and a link may give
 * it any name. It calls itself as it was started, and a sibling by its own name with what stands
 * before this program's: whoever runs `longqlora-train` has `longqlora-quantize`.
 */
#ifndef LONGQLORA_PROGRAM_H
#define LONGQLORA_PROGRAM_H

#include <stddef.h>

/* argv0: as the program was started; tool: its own name, "train". */
void program_begin(const char *argv0, const char *tool);

/* The base name that the program was started by. May be called in a signal's handler. */
const char *program_name(void);

/* What the tool of that name, "quantize", is called here. */
const char *program_of(const char *tool);

/* Words a command line, as it is in the source tree, for here: text, cut off at `size`, has the
 * names of the tools at its beginning and behind pipes as they are called here, and of an installed
 * program the folder of recipes, which lies beside bin/ in share/longqlora/. */
void program_command(const char *command, char *text, size_t size);

#endif
