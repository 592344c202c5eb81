/* launch.h - a program whose processes a launcher (mpirun, srun) starts to share one run. The
 * processes are called ranks (lib/ranks/ranks.h).
 */
#ifndef LONGQLORA_CLI_LAUNCH_H
#define LONGQLORA_CLI_LAUNCH_H

#include "lib/ranks/ranks.h"

/* The rows of a tool's table of options (opt.h) for --ranks and --rank-timeout. help: the text of
 * --ranks. */
/* clang-format off */
#define LAUNCH_OPTIONS(ranks, timeout, help)                                                       \
    { "ranks", 0, OPT_COUNT, &(ranks), "N", help, 0 },                                             \
    { "rank-timeout", 0, OPT_COUNT, &(timeout), "S",                                               \
      "end with an error if another rank is S seconds late", 0 }
/* clang-format on */

/* Call it before opt_parse. All processes of a launch find the same mistake in the command line.
 * After this call only the first process reports the mistake. The others wait before they report
 * it, and meanwhile the launcher ends them. */
void launch_begin(void);
/* Opens the ranks that a launcher started. `asked` is the value of --ranks: 1 says that this
 * process is a run of its own; 0 means that the option is not given. `timeout` is the value of
 * --rank-timeout, in seconds. Dies if the launcher cannot start ranks, or has started another
 * number of ranks. After this call a process that fails ends all ranks with its status. Only rank 0
 * prints, except that another rank that fails names itself and says why. If plan_only, --ranks may
 * be given without a launcher, because it only asks for a plan. The module owns the result. */
struct ranks *launch_open(int64_t asked, int64_t timeout, bool plan_only);
/* Waits for all ranks, which end with the same status. If a rank does not come in time, ends all
 * ranks: with this status, or, if this status is 0, with a message. */
void launch_close(int status);
/* Can only one of several ranks read this? Standard input reaches rank 0 alone, and several readers
 * of one pipe would each get a part. */
bool launch_reads_once(const char *path);
/* Returns how many threads this rank uses: `asked`, the value of --threads, if it is not 0;
 * otherwise its share of the machine's CPUs. Returns 0, one thread for each usable CPU, if this
 * rank is alone on the machine, or if the launcher has bound it to some CPUs. */
int launch_threads(int64_t asked);

#endif
