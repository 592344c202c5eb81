load helper

# A run loses nothing if somebody puts files into its folder. If a name is taken, it saves under
# another name. Resuming, pruning and beginning again find this name.

make_recipe() {
    make_base
    printf '%s\n' 'method: lora' 'model_name_or_path: base.nf4' 'train_file: 32.smp' \
        'lora_rank: 4' 'learning_rate: 0.01' \
        "per_device_train_batch_size: $(less 2 1)" 'logging_steps: 1' 'max_steps: 6' > r.yaml
}
# Starts a run and changes its folder after some steps, while the run waits. It waits because nobody
# reads its messages, and the pipe is small. The messages are in `said`.
held() { # WHAT OUT KEY=VALUE...
    local what=$1 out=$2
    shift 2
    status=0
    perl \
        -e 'my $what = shift; pipe(my $r, my $w); fcntl($w, 1031, 4096) or die "F_SETPIPE_SZ: $!"; my $pid = fork;
        if (!$pid) { open STDERR, ">&", $w; close $w; close $r; exec @ARGV }
        close $w; open my $said, ">", "said"; my $done;
        while (<$r>) { print $said $_; if (!$done && /: step 3 of /) { $done = 1; system("bash", "-ec", $what) and die $what } }
        waitpid $pid, 0; exit($? >> 8 || $?)' \
        "$what" train r.yaml output_dir="$out" save_steps=100 max_steps=100 --device cpu "$@" 3>&- \
        || status=$?
}

@test "taken: if a checkpoint's name is taken during the run, it gets another name, and the run is resumed from it" {
    make_recipe
    train r.yaml output_dir=whole save_steps=100 max_steps=100 --device cpu --quiet
    train r.yaml output_dir=longer save_steps=100 max_steps=103 --device cpu --quiet
    for what in 'mkdir NAME; echo mine > NAME/thesis' 'echo mine > NAME' 'ln -s nowhere NAME' \
        'mkdir NAME; echo x > NAME/manifest.json'; do
        rm -rf out
        held \
            "${what//NAME/out/checkpoint-100}; find out/checkpoint-100 -printf '%p %y %l\n' > before" \
            out save_total_limit=1
        [ $status = 0 ] || { cat said; false; }
        find out/checkpoint-100 -printf '%p %y %l\n' | diff before -
        [ "$(grep -c 'exists already' said)" = 1 ]
        grep -qx \
            'train: out/checkpoint-100 exists already, and the run did not make it: saved as out/checkpoint-100-2' said
        cmp out/adapter_model.safetensors whole/adapter_model.safetensors
        cmp out/checkpoint-100-2/training_state whole/checkpoint-100/training_state
    done
    # The run is resumed from this checkpoint, then prunes it. A new run then overwrites the old
    # one.
    run --separate-stderr -0 train r.yaml output_dir=out save_steps=100 max_steps=103 \
        save_total_limit=1 --device cpu
    [[ "$stderr" == *"resumed from out/checkpoint-100-2: "* ]]
    cmp out/adapter_model.safetensors longer/adapter_model.safetensors
    [ ! -e out/checkpoint-100-2 ] && [ -e out/checkpoint-103 ]
    [ "$(cat out/checkpoint-100/manifest.json)" = x ]
    rm -r out/checkpoint-100
    train r.yaml output_dir=out overwrite_output_dir=true seed=3 max_steps=1 --quiet --device cpu
    [ "$(cd out && ls -d checkpoint-*)" = checkpoint-1 ]
}

@test "taken: a checkpoint that got another name is found after the folder of a lower number was removed" {
    make_recipe
    held 'mkdir out/checkpoint-100 out/checkpoint-100-2
        for i in out/checkpoint-100*; do echo mine > $i/thesis; done' out
    [ "$status" = 0 ] || { cat said; false; }
    [ -e out/checkpoint-100-3/manifest.json ]
    rm -r out/checkpoint-100-2
    run --separate-stderr -0 train r.yaml output_dir=out save_steps=100 max_steps=101 \
        save_total_limit=1 --device cpu
    [[ "$stderr" == *"resumed from out/checkpoint-100-3: "* ]]
    # It is also removed when it is old.
    [ "$(cd out && ls -d checkpoint-*)" = "$(printf '%s\n' checkpoint-100 checkpoint-101)" ]
}

@test "taken: if the best model's name is taken, it gets another name and is still the result" {
    make_recipe
    best="eval_file=few.smp eval_steps=2 load_best_model_at_end=true save_steps=2 save_total_limit=1 max_steps=6"
    train r.yaml output_dir=whole $best --quiet --device cpu
    # As after a run that found the name taken: its best model is best-2.
    train r.yaml output_dir=out $best max_steps=2 --quiet --device cpu
    mv out/best out/best-2
    sed -i 's/"best"/"best-2"/' out/longqlora-run.json
    mkdir out/best
    echo mine > out/best/thesis
    train r.yaml output_dir=out $best --quiet --device cpu
    [ "$(ls out/best)" = thesis ]
    cmp out/adapter_model.safetensors whole/adapter_model.safetensors
    cmp out/best-2/adapter_model.safetensors whole/best/adapter_model.safetensors
    # The name is taken during the run. The message appears once, even if several better models
    # follow.
    rm -r out
    mkdir spare
    echo mine > spare/thesis
    # The run may be renaming its best model to this name at the same moment.
    held 'until mv -T out/best "taken$((i++))" && mv -T spare out/best; do :; done 2> tries' out \
        eval_file=few.smp eval_steps=2 load_best_model_at_end=true
    [ $status = 0 ] || { echo "status $status"; tail said; false; }
    [ "$(grep -c 'exists already' said)" = 1 ]
    grep -qx 'train: out/best exists already, and the run did not make it: saved as out/best-2' said
    [ "$(ls out/best)" = thesis ]
    train r.yaml output_dir=whole2 eval_file=few.smp eval_steps=2 load_best_model_at_end=true \
        save_steps=100 max_steps=100 --quiet --device cpu
    cmp out/adapter_model.safetensors whole2/adapter_model.safetensors
}

@test "taken: if a name of the result is taken, the whole result is in a folder of its own and the status is 1" {
    make_recipe
    train r.yaml output_dir=whole save_steps=100 max_steps=100 --device cpu --quiet
    for name in adapter_model.safetensors longqlora.json; do
        rm -rf out
        held "mkdir out/$name; echo mine > out/$name/thesis" out
        [ $status = 1 ]
        [[ "$(tail -n 1 said)" == \
            "train: out/$name exists already: "*"; the complete result is in out/result" ]] ||
            { cat said; false; }
        [ "$(cat out/$name/thesis)" = mine ]
        cmp out/result/adapter_model.safetensors whole/adapter_model.safetensors
        [ ! -e out/adapter_config.json ]
    done
    run --separate-stderr -3 ppl --model base.nf4 --adapter out --data docs.tok --context 16 \
        --quiet --device cpu
    [ "$stderr" = \
        "ppl: out: not an adapter: when the run there ended, another file had the name of one of its files, so its result is in out/result" ]
    # The adapter in out/result is like any other.
    ppl --model base.nf4 --adapter out/result --data docs.tok --context 16 --quiet --device cpu > \
        measured
    ppl --model base.nf4 --adapter whole --data docs.tok --context 16 --quiet --device cpu | \
        diff - measured
    run --separate-stderr -0 train r.yaml output_dir=out save_steps=100 max_steps=100 --device cpu
    [[ "$stderr" == *"already finished, after step 100, with its result in out/result"* ]]
    rm -r out/longqlora.json
    train r.yaml output_dir=out overwrite_output_dir=true max_steps=1 --quiet --device cpu
    [ ! -e out/result ] && [ -e out/adapter_model.safetensors ]
}

@test "taken: a run's folder that was removed is made again; a run's record that was changed is left alone" {
    make_recipe
    train r.yaml output_dir=whole save_steps=100 max_steps=100 --device cpu --quiet
    held 'rm -r out' out
    [ $status = 0 ] || { cat said; false; }
    grep -qx 'train: output_dir was removed while the run was under way: made again as out' said
    cmp out/adapter_model.safetensors whole/adapter_model.safetensors
    cmp out/checkpoint-100/training_state whole/checkpoint-100/training_state
    run train r.yaml output_dir=out save_steps=100 max_steps=100 --device cpu
    [[ "$output" == *"already finished"* ]]
    rm -r out
    held 'rm -r out; echo mine > out' out
    [ $status = 0 ] || { cat said; false; }
    grep -qx 'train: output_dir was removed while the run was under way: made again as out-2' said
    cmp out-2/adapter_model.safetensors whole/adapter_model.safetensors
    [ "$(cat out)" = mine ]
    for change in 'echo mine > out/longqlora-run.json' \
        'rm out/longqlora-run.json; mkdir out/longqlora-run.json'; do
        rm -rf out
        held "$change" out
        [ $status = 0 ] || { cat said; false; }
        [ "$(grep -c 'longqlora-run.json: somebody changed it' said)" = 1 ]
        [ -d out/longqlora-run.json ] || [ "$(cat out/longqlora-run.json)" = mine ]
        cmp out/adapter_model.safetensors whole/adapter_model.safetensors
        cmp out/checkpoint-100/training_state whole/checkpoint-100/training_state
    done
}

@test "taken: a checkpoint's folder without files is replaced" {
    make_recipe
    train r.yaml output_dir=out max_steps=2 save_steps=1 --quiet --device cpu
    rm out/checkpoint-1/*
    rm out/checkpoint-2/*
    # As after a process that was killed while it wrote there.
    true & gone=$!
    wait $gone
    touch "out/checkpoint-2/.longqlora-0123456789abcdef.$gone"
    train r.yaml output_dir=out max_steps=2 save_steps=1 seed=3 overwrite_output_dir=true --quiet \
        --device cpu
    [ -e out/checkpoint-1/manifest.json ] && [ -e out/checkpoint-2/manifest.json ]
    [ -z "$(find out -name '.longqlora-*')" ]
    rm out/checkpoint-2/*
    touch out/checkpoint-2/mine
    run --separate-stderr -2 train r.yaml output_dir=out max_steps=2 save_steps=1 seed=4 \
        overwrite_output_dir=true --device cpu
    [[ "$stderr" == "train: out/checkpoint-2 exists already: "* ]]
}

@test "taken: if the folder belongs to another run, the message says how to continue" {
    make_recipe
    train r.yaml output_dir=out max_steps=2 save_steps=1 --quiet --device cpu
    # As after a run that was killed when it began to overwrite this one.
    rm out/*.json* out/adapter_model.safetensors
    train r.yaml output_dir=other max_steps=2 save_steps=1 --quiet --device cpu
    run --separate-stderr -3 train r.yaml output_dir=out seed=3 resume_from_checkpoint=auto \
        --device cpu
    [[ "$stderr" == \
        *"the recipe changed since the run began: seed was 42, is 3; "*"resume_from_checkpoint=none overwrite_output_dir=true"* \
        ]] || { echo "$stderr"; false; }
    mkdir damaged
    cp -r other/checkpoint-2 damaged
    echo x >> damaged/checkpoint-2/training_state
    run --separate-stderr -3 train r.yaml output_dir=new \
        resume_from_checkpoint=damaged/checkpoint-2 --device cpu
    [[ "$stderr" == \
        *"training_state: damaged: "*"; auto takes the newest complete one in output_dir" ]]
    [ ! -e new ]
}

@test "taken: a checkpoint without permission to read is reported as that, not as somebody else's, and stays" {
    make_recipe
    run_args="output_dir=out save_steps=2 save_total_limit=0 --device cpu"
    train r.yaml $run_args max_steps=4 --quiet
    # root may read everything, except without these capabilities.
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --bounding-set -dac_override,-dac_read_search)
    for closed in out/checkpoint-4 out/checkpoint-4/manifest.json; do
        chmod 000 $closed
        run --separate-stderr -1 "${as[@]}" train r.yaml $run_args max_steps=8 \
            resume_from_checkpoint=auto
        [[ "${stderr_lines[-1]}" == \
            "train: $closed: cannot be read: Permission denied: so it cannot be compared with what the run made there: make it readable again, move it away, or name another output_dir" ]]
        chmod 755 $closed
    done
    run --separate-stderr -0 train r.yaml $run_args max_steps=8 resume_from_checkpoint=auto
    [[ "$stderr" == *"resumed from out/checkpoint-4"* ]]
}

@test "taken: an old checkpoint that the user made read-only stays, and the run continues" {
    make_recipe
    run_args="output_dir=out save_steps=2 save_total_limit=2 --device cpu"
    train r.yaml $run_args max_steps=4 --quiet
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --bounding-set -dac_override,-dac_read_search)
    chmod -R a-w out/checkpoint-2
    cp -r out/checkpoint-2 was
    run --separate-stderr -0 "${as[@]}" train r.yaml $run_args max_steps=10 \
        resume_from_checkpoint=auto
    [ "$(grep -c 'may not be removed' <<< "$stderr")" = 1 ]
    [[ "$stderr" == *"train: out/checkpoint-2: may not be removed: Permission denied: it stays, and save_total_limit does not count it"* ]]
    diff -r was out/checkpoint-2
    [ "$(cd out && echo checkpoint-*)" = "checkpoint-10 checkpoint-2 checkpoint-8" ]
    # A run that begins again is refused before anything is removed.
    (cd out && find . -type f -exec xxhsum -q {} + | sort) > before
    run --separate-stderr -1 "${as[@]}" train r.yaml $run_args overwrite_output_dir=true seed=3
    [ "${stderr_lines[-1]}" = \
        "train: out/checkpoint-2: may not be removed: Permission denied: the run must replace it: make it removable, move it away, or name another output_dir" ]
    (cd out && find . -type f -exec xxhsum -q {} + | sort) | diff before -
    [ ! -e out/.longq* ]
    chmod -R u+w out was
    train r.yaml $run_args overwrite_output_dir=true seed=3 max_steps=2 --quiet
    [ "$(cd out && echo checkpoint-*)" = checkpoint-2 ]
}

@test "taken: a best model that the user made read-only is reported before the run continues" {
    make_recipe
    run_args="output_dir=out save_steps=2 eval_file=few.smp eval_steps=2 --device cpu"
    run_args+=" load_best_model_at_end=true resume_from_checkpoint=auto"
    train r.yaml $run_args max_steps=2 --quiet
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --bounding-set -dac_override,-dac_read_search)
    chmod a-w out/best
    run --separate-stderr -1 "${as[@]}" train r.yaml $run_args max_steps=4
    [ "${stderr_lines[-1]}" = \
        "train: out/best: may not be removed: Permission denied: the run must replace it: make it removable, move it away, or name another output_dir" ]
    [ "$(cd out && echo checkpoint-*)" = checkpoint-2 ]
    chmod u+w out/best
    "${as[@]}" train r.yaml $run_args max_steps=4 --quiet
    [ -e out/checkpoint-4 ]
    # A run that does not use the name leaves the folder alone.
    rm -r out/checkpoint-* out/adapter_* out/longqlora.json
    chmod a-w out/best
    "${as[@]}" train r.yaml output_dir=out resume_from_checkpoint=auto max_steps=2 --device cpu \
        --quiet
    [ -e out/best/manifest.json ]
    chmod u+w out/best
}

@test "taken: a finished result without permission to read is reported as that, whatever is requested" {
    make_recipe
    train r.yaml output_dir=out max_steps=2 --device cpu --quiet
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --bounding-set -dac_override,-dac_read_search)
    chmod 000 out/adapter_model.safetensors
    for more in "" max_steps=4 resume_from_checkpoint=auto; do
        run --separate-stderr -1 "${as[@]}" train r.yaml output_dir=out max_steps=2 --device cpu $more
        [[ "${stderr_lines[-1]}" == "train: out/adapter_model.safetensors: cannot be read: Permission denied"* ]]
    done
}

@test "taken: if runs/ is a link, a run that begins again writes no file elsewhere" {
    make_recipe
    train r.yaml output_dir=out report_to=tensorboard max_steps=2 --device cpu --quiet
    mv out/runs elsewhere
    ln -s ../elsewhere out/runs
    count=$(ls elsewhere | wc -l)
    train r.yaml output_dir=out overwrite_output_dir=true max_steps=2 seed=3 --device cpu --quiet
    [ "$count" = 1 ] && [ "$(ls elsewhere | wc -l)" = 1 ]
    [ -L out/runs ]
}

@test "taken: if the log or an event file is replaced or removed during the run, all of it is written again" {
    make_recipe
    keys="report_to=tensorboard"
    # sed puts a copy in the place of the log, as editors do.
    held 'sed -i s/x/x/ out/trainer_log.jsonl; cp out/trainer_log.jsonl edited' out $keys
    [ $status = 0 ] || { cat said; false; }
    [ "$(grep -c 'somebody removed or replaced it' said)" = 1 ]
    grep -qx 'train: out/trainer_log.jsonl: somebody removed or replaced it: the log is written again, to trainer_log-2.jsonl' said
    cmp edited out/trainer_log.jsonl
    [ "$(grep -o '"step":[0-9]*' out/trainer_log-2.jsonl)" = "$(seq -f '"step":%.0f' 100)" ]
    # The log is the run's under this name too.
    train r.yaml output_dir=out overwrite_output_dir=true max_steps=1 --quiet --device cpu
    [ ! -e out/trainer_log-2.jsonl ]
    rm -r out
    held 'rm out/trainer_log.jsonl out/runs/*' out $keys
    [ $status = 0 ] || { cat said; false; }
    [ "$(grep -c 'somebody removed or replaced it' said)" = 2 ]
    [ "$(grep -o '"step":[0-9]*' out/trainer_log.jsonl)" = "$(seq -f '"step":%.0f' 100)" ]
    [ "$(ls out/runs | wc -l)" = 1 ]
    [ "$(grep -aco train/grad_norm out/runs/*)" -ge 1 ]
    [ "$(grep -ao train/grad_norm out/runs/* | wc -l)" = 100 ]
    # If the whole folder is removed, its log is written again with the checkpoint.
    rm -r out
    held 'rm -r out' out
    [ $status = 0 ] || { cat said; false; }
    [ "$(grep -o '"step":[0-9]*' out/trainer_log.jsonl)" = "$(seq -f '"step":%.0f' 100)" ]
    # A folder that is moved takes its log with it.
    rm -r out
    held 'mv out moved' out $keys
    [ $status = 0 ] || { cat said; false; }
    [ "$(grep -c 'somebody removed or replaced it' said)" = 0 ]
    [ "$(wc -l < moved/trainer_log.jsonl)" = 100 ]
}

@test "taken: if the log of a resumed run lacks lines, a warning says which" {
    make_recipe
    keys="output_dir=out save_steps=3 resume_from_checkpoint=auto --device cpu --quiet"
    train r.yaml $keys max_steps=6
    cp -r out was
    run --separate-stderr -0 train r.yaml $keys max_steps=7
    [ -z "$stderr" ]
    rm -r out
    cp -r was out
    rm out/trainer_log.jsonl
    run --separate-stderr -0 train r.yaml $keys max_steps=7
    [ "$stderr" = "train: out/trainer_log.jsonl: the lines of steps up to 6 are missing" ]
    rm -r out
    cp -r was out
    head -n 4 was/trainer_log.jsonl > out/trainer_log.jsonl
    run --separate-stderr -0 train r.yaml $keys max_steps=7
    [ "$stderr" = \
        "train: out/trainer_log.jsonl: the lines of steps after 4, up to 6, are missing" ]
}
