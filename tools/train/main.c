/* train - trains adapters or a whole model by a recipe. */
#include "lib/cli/die.h"
#include "lib/cli/launch.h"
#include "tools/train/guard.h"
#include "tools/train/plan.h"
#include "tools/train/run.h"
#include "tools/train/starting.h"
#include "tools/train/verify.h"

static struct fail why;

static void list_keys_for_shells(void) { recipe_list_completions(stdout); }

/* Translates the recipe's bf16 and fp16 to the name of a device. The number of a GPU stays. */
static const char *choose_device(const struct recipe *r, const char *device, bool plan_only)
{
    static char in_f16[40];
    const struct kernels *k, *faster;
    or_die(kernels_choose(&k, device, plan_only, &why), &why);
    if (!k->is_host && r->fp16 && strncmp(device, "cuda-bf16", 9) != 0) {
        snprintf(in_f16, sizeof in_f16, "cuda-f16%s", strchrnul(device, ':'));
        return in_f16;
    }
    if (!k->is_host && r->bf16 && !strcmp(k->act_name, "f16"))
        die_usage("bf16: true, but device %s computes in f16: write fp16: true", device);
    if (!r->bf16 || !k->is_host || !strcmp(device, "cpu-bf16")) return device;
    if (!kernels_open(&faster, "cpu-bf16", &why)) return "cpu-bf16";
    note("bf16: true: %s: the run computes in f32", why.text);
    return device;
}

static int end_without_run(void)
{
    launch_close(STATUS_DONE);
    return 0;
}

static const char *device = "auto", *verify, *format = "text";
static bool dry_run, print_config, list_keys, nvtx;
static int64_t ranks, sample_ranks, timeout = 600;
static struct opt table[] = {
    { "dry-run", 0, OPT_FLAG, &dry_run, 0, "print the memory plan and stop", 0 },
    { "print-config", 0, OPT_FLAG, &print_config, 0,
      "print every effective value of the recipe and stop", 0 },
    { "list-keys", 0, OPT_FLAG, &list_keys, 0, "print the keys of a recipe and stop", 0 },
    { "device", 0, OPT_OFFERED, &device, "NAME", "where to compute: " KERNELS_DEVICES,
      KERNELS_NAMES("|", "|") },
    { "verify", 0, OPT_TEXT, &verify, "RUN",
      "replay the steps between the checkpoints in the folder RUN, or in RUN:FROM-TO, and "
      "compare all bytes",
      0 },
    { "format", 0, OPT_WORD, &format, "HOW", "what --verify prints", "text|json" },
    { "nvtx", 0, OPT_FLAG, &nvtx, 0, "mark steps, passes and layers for a GPU profiler", 0 },
    { "ranks", 0, OPT_COUNT, &ranks, "N",
      "number of processes that share the run (with --dry-run: would share it); 1: this "
      "process is a run of its own",
      0 },
    { "sample-ranks", 0, OPT_COUNT, &sample_ranks, "N",
      "how many ranks share a sample; 0: as many as context_segments and context_exchange allow",
      0 },
    { "rank-timeout", 0, OPT_COUNT, &timeout, "S",
      "end the run if another rank does not answer for S seconds", 0 },
    OPT_STANDARD,
    { 0 },
};

/* Verifies a run instead of running one. */
static int verify_and_end(const char **operands, struct ranks *all)
{
    const struct verify_job job = { .run = verify,
                                    .format = format,
                                    .operands = operands,
                                    .place = { .device = device,
                                               .threads = launch_threads(opt_standard.threads),
                                               .ranks = all,
                                               .sample_ranks = sample_ranks } };
    enum status status = verify_run(&job);
    launch_close(status);
    return (int)status;
}

int main(int argc, char **argv)
{
    const char *device_name;
    const struct kernels *k;
    const struct opt_program program = {
        .name = "train",
        .summary = "train adapters, or a whole model, by a recipe",
        .usage = "train RECIPE.yaml [KEY=VALUE...] [options]",
        .example = "train recipes/llama2-7b-longqlora.yaml model_name_or_path=llama-2-7b.nf4 "
                   "train_file=train.smp output_dir=run",
        .table = table,
        .list_operands = list_keys_for_shells,
    };
    launch_begin();
    starting_refuse_keys(argc, argv, &program);
    const char **operands = opt_parse(argc, argv, &program);
    struct ranks *all = launch_open(ranks, timeout, dry_run || print_config || list_keys);
    static struct recipe recipe;
    static struct adapter adapter;
    static struct trainer trainer;
    bool is_first = !ranks_place(all)->rank;
    const char *given = opt_given("dry-run|print-config|list-keys|nvtx");
    if (verify && given) die_usage("--verify: it stands alone, without --%s", given);
    if (!verify && opt_given("format"))
        die_usage("--format: only --verify prints in several formats");
    if (list_keys) {
        if (is_first) recipe_list_keys(stdout);
        return end_without_run();
    }
    if (verify) return verify_and_end(operands, all);
    starting_read_recipe(&recipe, &adapter, operands, dry_run, is_first);
    or_die(guard_files(&recipe, operands[0], dry_run || print_config, &why), &why);
    starting_tell_ignored();
    if (print_config) {
        if (is_first) or_die(recipe_print(&recipe, stdout, &why), &why);
        return end_without_run();
    }
    device_name = choose_device(&recipe, device, dry_run);
    or_die(kernels_choose(&k, device_name, dry_run, &why), &why);
    or_die(memory_share_with(all, k, &why), &why);
    or_die(device_messages_open(all, k, !dry_run, &why), &why);
    struct trainer_place place = { .device = device_name,
                                   .threads = launch_threads(opt_standard.threads),
                                   .ranks = all,
                                   .sample_ranks = sample_ranks,
                                   .parts = dry_run && ranks ? ranks : ranks_place(all)->count };
    or_die(trainer_open(&trainer, &recipe, recipe.adapter ? &adapter : NULL, &place, dry_run, &why),
           &why);
    trainer.setup.names_ranges = nvtx;
    if (dry_run && !is_first) {
        /* rank 0 prints the plan */
    } else if (dry_run) {
        starting_remark(&trainer);
        starting_warn(&trainer);
        or_die(plan_print(&trainer, strcmp(device, "auto") == 0, stdout, &why), &why);
    } else {
        run(&trainer);
    }
    trainer_close(&trainer);
    launch_close(STATUS_DONE);
    if (recipe.adapter) adapter_close(&adapter);
    recipe_release(&recipe);
    free(operands);
    return 0;
}
