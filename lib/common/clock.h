/* clock.h - time for measuring how long something takes. */
#ifndef LONGQLORA_CLOCK_H
#define LONGQLORA_CLOCK_H

double clock_seconds(void); /* seconds since an arbitrary start; never goes back */

#endif
