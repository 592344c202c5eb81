/* launch.h - a program whose processes a launcher (mpirun, srun) starts to share one run. They are
 * called ranks (lib/ranks/ranks.h).
 */
#ifndef LONGQLORA_CLI_LAUNCH_H
#define LONGQLORA_CLI_LAUNCH_H

#include "lib/ranks/ranks.h"

/* Call it before opt_parse. All processes of a launch find the same mistake in the command line;
 * from then on the first one reports it, and the launcher ends the others before they do. */
void launch_begin(void);
/* Opens the ranks that a launcher started. `asked` is the value of --ranks: 1 says that this
 * process is a run of its own; 0, that it is not given. `timeout` is that of --rank-timeout, in
 * seconds. Dies if the launcher cannot start ranks. From then on, a process that fails ends all
 * ranks with its status, and only rank 0 prints, except that another one which fails says why and
 * names its rank. If plan_only, --ranks only asks for the plan of so many. The module owns the
 * result. */
struct ranks *launch_open(int64_t asked, int64_t timeout, bool plan_only);
/* Waits for all ranks. */
void launch_close(void);
/* Returns how many threads this rank has: its share of the machine, unless --threads asks for
 * another number. */
int launch_threads(int64_t asked);

#endif
