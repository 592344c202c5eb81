/* heat.h - draws scores as a heat map: a panel for each task, lengths to the right, depths down.
 */
#ifndef LONGQLORA_NEEDLE_HEAT_H
#define LONGQLORA_NEEDLE_HEAT_H

#include "tools/needle/score.h"

/* Draws with gnuplot. The path's suffix, .svg or .png, determines the format. The file appears only
 * when it is complete. */
int heat_draw(const struct scores *s, const char *path, struct fail *why) MUST_USE;

#endif
