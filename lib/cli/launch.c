#include "lib/cli/launch.h"

#include "lib/cli/die.h"
#include "lib/cli/opt.h"
#include "lib/common/pool.h"
#include "lib/common/program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fail why;

static struct ranks *ranks;

/* If this process fails, it ends all ranks with its status. */
static void end_ranks(int status, void *unused)
{
    (void)unused;
    if (status) ranks_abort(ranks, status);
}

void launch_close(int status)
{
    /* Rank 0 may still write the result, for which the others wait without a limit. */
    if (ranks && ranks_place(ranks)->rank) ranks_set_timeout(ranks, INFINITY);
    if (ranks && ranks_barrier(ranks, &why)) {
        if (!status) die_fail(&why);
        ranks_abort(ranks, status);
    }
    ranks_close(ranks);
    ranks = NULL;
}

enum { WAIT_SECONDS = 3 }; /* how long the others wait before they print a failure */

void launch_begin(void)
{
    const char *name;
    if (ranks_launched(&name) > 1 && !ranks_is_first_launched()) die_waits(WAIT_SECONDS);
}

static void name_rank(const struct ranks_place *p)
{
    static char name[128];
    die_waits(p->rank ? WAIT_SECONDS : 0);
    if (!p->rank) return;
    snprintf(name, sizeof name, "%.100s: rank %d", program_name(), p->rank);
    opt_standard.quiet = true;
    die_init(name, true);
}

struct ranks *launch_open(int64_t asked, int64_t timeout, bool plan_only)
{
    const char *name;
    int64_t launched = asked == 1 ? 1 : ranks_launched(&name);
    if (launched < 0)
        die_usage("%s=%s is not a number of processes: unset it, or say --ranks 1 if this is a run "
                  "of its own",
                  name, getenv(name));
    if (launched > 1 && !strcmp(name, "WORLD_SIZE"))
        die_usage("WORLD_SIZE=%lld: torchrun and deepspeed do not start ranks here: mpirun -n %lld "
                  "%s …, or srun --mpi=pmix; --ranks 1 says that each process is a run of its own",
                  (long long)launched, (long long)launched, program_name());
    if (asked > 1 && launched == 1 && !plan_only)
        die_usage("--ranks %lld: a launcher starts them: mpirun -n %lld %s …", (long long)asked,
                  (long long)asked, program_name());
    if (asked > 1 && launched > 1 && asked != launched)
        die_usage("--ranks %lld, and the launcher started %lld", (long long)asked,
                  (long long)launched);
    int status = ranks_open(&ranks, asked == 1, &why);
    on_exit(end_ranks, NULL);
    or_die(status, &why);
    ranks_set_timeout(ranks, (double)timeout);
    name_rank(ranks_place(ranks));
    return ranks;
}

bool launch_reads_once(const char *path)
{
    struct stat st;
    return !strcmp(path, "-") || (!stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode));
}

int launch_threads(int64_t asked)
{
    int usable = pool_usable_cpus(), share = ranks_place(ranks)->local_count;
    /* A process that may not use all CPUs of the machine counts as bound by the launcher. */
    bool is_bound = usable < (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (asked || share == 1 || is_bound) return (int)asked;
    return usable / share > 1 ? usable / share : 1;
}
