/* clock.h - the time that passes. */
#ifndef LONGQLORA_CLOCK_H
#define LONGQLORA_CLOCK_H

double clock_seconds(void); /* monotonic */

#endif
