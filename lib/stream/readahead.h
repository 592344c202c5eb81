/* readahead.h - a thread that loads frames before they are needed. Only frames.c and readahead.c
 * include it. */
#ifndef LONGQLORA_STREAM_READAHEAD_H
#define LONGQLORA_STREAM_READAHEAD_H

#include "lib/stream/frames.h"

/* Returns what frames_next returns. frames_next calls it if the thread runs. */
int frames_ahead_next(struct frames *f, struct fail *why) MUST_USE;
/* Ends the thread and frees its memory, if there is one. */
void frames_ahead_close(struct frames *f);
/* Loads the next frame on the calling thread. */
int frames_load_next(struct frames *f, struct fail *why) MUST_USE;

#endif
