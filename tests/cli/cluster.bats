load helper

# Makes eight files of text, as a data set has them, in a folder with recipes/ and bin/ as the
# source tree has them. The exported variables are those of recipes/shards.mk.
make_tree() {
    make_base
    perl -e 'srand 5; my @w = map { join "", map { ("a".."z")[rand 26] } 1..2 + rand 6 } 1..300;
        for my $f (1 .. 8) { open my $out, ">", "text$f.jsonl" or die;
            for (1 .. 60) { my $t = join " ", map { $w[rand(@w) ** 2 / @w] } 1..5 + int rand(30) ** 1.4;
                print $out qq({"text":"$t","source":"s), int rand 3, qq("}\n) } }'
    ln -s "$root/recipes" .
    ln -s "$BIN" bin
    export OUT=work MODEL=tok/tokenizer.model TEXT='text?.jsonl' SHARDS=4
    export TEXT_OPTIONS='--source-key source' BOUNDS='--min-tokens 8'
    export DRAW='--quota s0=60 --quota s2=50 --upsample 150=4'
    export PACK='--context 32 --strategy best-fit'
}

# Compares work/train.smp with what one machine makes of the shards.
is_one_machines() {
    local i
    for i in 1 3 5 7; do
        tokenize --quiet -m $MODEL $TEXT_OPTIONS text$i.jsonl text$((i + 1)).jsonl
    done | pack --quiet $PACK $BOUNDS $DRAW -o one.smp
    cmp one.smp work/train.smp
}

# Fails if a file of the steps is not complete.
are_whole() {
    perl -MForeignStream -e 'for (@ARGV) { my @o = ForeignStream::read_all($_); $o[-1]{end} or die "$_\n" }' \
        $(find work -name '[!.]*.len' -o -name '[!.]*.lines' -o -name '[!.]*.tok' -o -name '[!.]*.smp')
}

# True if no process of a group runs any more. A killed process may still hold the lock of its file
# for a moment, and the next one would then leave this file alone.
is_dead() { # GROUP
    [ -z "$(ps -eo pgid=,stat= | awk -v group="$1" '$1 == group && $2 !~ /^Z/')" ]
}

@test "cluster: make -j gives one machine's samples, also after it was killed at any moment" {
    make_tree
    for moment in 0.05 0.1 0.2 0.4; do
        setsid make -s -j 3 -f recipes/shards.mk > /dev/null 2>&1 &
        sleep $moment
        kill -9 -- -$! 2> /dev/null || true
        until_true is_dead $!
        [ ! -d work ] || are_whole
    done
    make -s -j 3 -f recipes/shards.mk
    is_one_machines
    [ "$(find work -type f | wc -l)" -eq 16 ] || { find work -type f; false; }
    # What is up to date stays, and what depends on an option that changed is made again.
    touch made
    make -s -f recipes/shards.mk
    [ -z "$(find work -newer made -type f)" ]
    export DRAW='--samples 50'
    make -s -f recipes/shards.mk
    is_one_machines
    [ -z "$(find work/lengths -newer made -type f)" ]
    # A text that changed is read again.
    echo '{"text":"a new document of some words for the draw","source":"s1"}' >> text3.jsonl
    make -s -f recipes/shards.mk
    is_one_machines
    run -2 make -s -f recipes/shards.mk SHARDS=9
    [[ "$output" == *'SHARDS=9: there are only 8 files'* ]]
    run -2 make -s -f recipes/shards.mk SHARD=5 parts
    [[ "$output" == *'SHARD=5: there are shards 1 to 4'* ]]
}

@test "cluster: GNU parallel or xargs makes each shard in a process of its own" {
    make_tree
    each=(xargs -P 3 -I '{}')
    numbers() { seq "$(make -s -f recipes/shards.mk count)"; }
    if command -v parallel > /dev/null; then each=(parallel --will-cite -j 3); fi
    make -s -f recipes/shards.mk settings
    numbers | "${each[@]}" make -s -f recipes/shards.mk SHARD='{}' lengths
    make -s -f recipes/shards.mk draw
    numbers | "${each[@]}" make -s -f recipes/shards.mk SHARD='{}' parts
    make -s -f recipes/shards.mk
    is_one_machines
}

# Starts Slurm for the test, or skips it. A folder with a short name is needed for its sockets.
start_slurm() {
    for program in munged slurmctld slurmd sbatch; do
        command -v $program > /dev/null || skip "$program is not installed (slurm-wlm, munge)"
    done
    slurm=$(mktemp -d)
    "$root/tests/slurm/cluster" start "$slurm" > said 2>&1 || skip "Slurm does not start here: $(tail -n 1 said)"
    . "$slurm/environment"
}
teardown() {
    [ -n "${slurm:-}" ] || return 0
    if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
        scontrol show job -o | cut -c 1-500
        tail -n 30 *.log "$slurm"/*.log
    fi
    "$root/tests/slurm/cluster" stop "$slurm"
    rm -rf "$slurm"
}
state_is() { # STATE JOB: true if all tasks of the job have this state
    [ "$(scontrol show job "$2" -o | grep -o 'JobState=[A-Z]*' | sort -u)" = "JobState=$1" ]
}
# Slurm itself waits for seconds here and there, and longer on a busy machine.
wait_for() { until_true "$@" || until_true "$@" || until_true "$@"; }

@test "cluster: Slurm runs the job array, the drawing of samples and a training, which resumes after it was stopped and requeued" {
    make_tree
    export PROGRAMS=./programs/
    start_slurm
    mkdir programs
    ln -s "$BIN"/{pack,train} programs
    # In each step the first run of shard 2 hangs, as on a machine that fails. Slurm begins a
    # requeued job only after some seconds, so the short test does this in one step only.
    steps=(lengths)
    [ -z "${LONG:-}" ] || steps+=(parts)
    cat > programs/tokenize <<EOF
#!/bin/bash
step=\$([[ "\$*" == *--lines* ]] && echo parts || echo lengths)
if [ "\$SLURM_ARRAY_TASK_ID" = 2 ] && [[ " ${steps[*]} " == *" \$step "* ]] &&
    mkdir "hung.\$step" 2> /dev/null; then
    sleep 600
fi
exec tokenize "\$@"
EOF
    chmod +x programs/tokenize
    printf '%s\n' 'method: lora' 'model_name_or_path: base.nf4' 'lora_rank: 4' 'max_steps: 1500' \
        'learning_rate: 0.01' 'per_device_train_batch_size: 2' 'logging_steps: 1' > recipe.yaml
    recipes/slurm/submit recipe.yaml output_dir=run > jobs
    job() { sed -n "s/^$1: job //p" jobs; }
    for step in "${steps[@]}"; do
        wait_for [ -d hung.$step ]
        scontrol requeue "$(job $step)_2"
        wait_for state_is COMPLETED "$(job $step)"
    done
    wait_for state_is COMPLETED "$(job samples)"
    is_one_machines
    are_whole
    # The signal that Slurm sends before the time limit: train saves, and the script requeues the
    # job.
    train=$(job train)
    wait_for has_step run 20
    scancel --signal=TERM "$train"
    wait_for grep -q 'train: resumed from run/checkpoint-' longqlora-train-$train.log
    # A requeue by somebody else, as when the job is preempted: train saves here, too.
    if [ -n "${LONG:-}" ]; then
        first=$(sed -n 's/^train: resumed from run.checkpoint-\([0-9]*\):.*/\1/p' longqlora-train-$train.log)
        wait_for has_step run $((first + 20))
        scontrol requeue "$train"
        wait_for eval '[ "$(grep -c "train: stopped by signal 15" longqlora-train-$train.log)" = 2 ]'
    fi
    wait_for state_is COMPLETED "$train"
    bin/train recipe.yaml train_file=one.smp output_dir=unbroken --quiet
    cmp run/adapter_model.safetensors unbroken/adapter_model.safetensors
}

@test "cluster: srun --mpi=pmix starts ranks, which write the bytes of one process, and a signal of Slurm saves the run" {
    [ -e "$BIN/ranks-mpi.so" ] || skip "ranks-mpi.so is built only where mpicc is"
    make_base
    start_slurm
    srun --mpi=list 2>&1 | grep -q pmix || skip "this Slurm has no plug-in for PMIx"
    # Open MPI does not free all of its memory.
    export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
    echo 'method: lora' > lora.yaml
    keys=(lora.yaml model_name_or_path=base.nf4 train_file=32.smp lora_rank=24 learning_rate=0.01
        gradient_accumulation_steps=4 lr_scheduler_type=constant logging_steps=1 save_steps=100000
        --device cpu --threads 1 --quiet)
    srun --mpi=pmix -n 2 train "${keys[@]}" output_dir=two max_steps=3
    train "${keys[@]}" output_dir=one max_steps=3
    cmp one/adapter_model.safetensors two/adapter_model.safetensors
    run -2 srun --mpi=none -n 2 train "${keys[@]}" output_dir=none max_steps=3
    [[ "$output" == *"srun needs --mpi=pmix"* ]]
    # Any number of ranks verifies a run, and finds a changed bit.
    srun --mpi=pmix -n 2 train "${keys[@]}" output_dir=kept max_steps=4 save_steps=2 \
        save_total_limit=null
    train --verify kept --quiet --threads 1 > verified
    grep -q "^checkpoint-4: .*: verified" verified
    for n in 2 3 4; do
        srun --mpi=pmix -n $n train --verify kept --quiet --threads 1 | diff verified -
    done
    flip kept/checkpoint-2/training_state 0.5
    run -3 srun --mpi=pmix -n 2 train --verify kept --quiet --threads 1
    [[ "$output" == *"checkpoint-2: "*"training_state: the array moment1, element "* ]]
    [[ "$output" == *"checkpoint-4: steps 3-4: verified"* ]]
    # Slurm's signal goes to each rank by itself.
    srun --mpi=pmix -n 2 train "${keys[@]}" output_dir=out max_steps=100000 > said 2>&1 &
    until_true has_step out 2
    scancel --signal=TERM "$(squeue -h -o %i)"
    status=0
    wait $! || status=$?
    cat said
    [ "$status" = 143 ]
    step=$(ls -d out/checkpoint-* | sed 's/.*-//')
    train "${keys[@]}" output_dir=out max_steps=$((step + 1)) resume_from_checkpoint=auto
    train "${keys[@]}" output_dir=whole max_steps=$((step + 1))
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
}
