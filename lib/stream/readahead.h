/* readahead.h - a thread that loads frames before they are asked for; a part of
 * frames.h that nobody else includes. */
#ifndef LONGQLORA_STREAM_READAHEAD_H
#define LONGQLORA_STREAM_READAHEAD_H

#include "lib/stream/frames.h"

/* frames_next with the thread at work. */
int frames_ahead_next(struct frames *f, struct fail *why) MUST_USE;
/* Ends the thread, if there is one. */
void frames_ahead_close(struct frames *f);
/* Loads the next frame of a file, on the caller's thread. */
int frames_load_next(struct frames *f, struct fail *why) MUST_USE;

#endif
