load helper

# Tests what `train` promises about the folder of a run: there is one run at a time, nothing is
# lost, and files that are not the run's are not touched.

make_recipe() {
    make_base
    printf '%s\n' 'method: lora' 'model_name_or_path: base.nf4' 'train_file: 32.smp' \
        'lora_rank: 4' 'learning_rate: 0.01' \
        'per_device_train_batch_size: 2' 'logging_steps: 1' 'max_steps: 6' > r.yaml
}

# Prints names, kinds, modes and digests of everything in a folder.
picture() { (cd "$1" && find . -printf '%P %y %m %l\n' | sort &&
    find . -type f -exec md5sum {} + | sort -k2); }

# Starts a run in the background, which a signal will end. It has 100000 steps unless a key says
# otherwise. $pid is its process.
start() { # OUT KEY=VALUE...
    local out=$1
    shift
    env --default-signal=HUP,INT train r.yaml output_dir="$out" max_steps=100000 "$@" 2> \
        "$out.err" 3>&- &
    pid=$!
}
ended() { status=0; wait $pid || status=$?; }

# If a test fails, the run that it started is killed.
teardown() { [ -z "${pid:-}" ] || kill -9 $pid 2> /dev/null || true; }

@test "runs: a second run in a folder is refused at once; a killed run leaves no lock" {
    make_recipe
    start out
    until_true has_step out 2
    run --separate-stderr -1 train r.yaml output_dir=out/ resume_from_checkpoint=auto
    [ "$stderr" = \
        "train: out: another run is under way there: wait for it, or name another output_dir" ]
    # The run is refused before any work: it does not even look for its samples.
    run --separate-stderr -1 train r.yaml output_dir=./out train_file=nothing.smp
    [[ "$stderr" == *"another run is under way there"* ]]
    ln -s out link
    run --separate-stderr -1 train r.yaml output_dir=link overwrite_output_dir=true
    [[ "$stderr" == *"another run is under way there"* ]]
    kill -9 $pid
    ended
    [ "$(grep -c '"step":1,' out/trainer_log.jsonl)" = 1 ]
    train r.yaml output_dir=out resume_from_checkpoint=auto --quiet
    train r.yaml output_dir=whole --quiet
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
}

@test "runs: SIGHUP, SIGUSR1 and SIGXCPU save once and exit with 128+n; nohup makes train ignore SIGHUP" {
    make_recipe
    for signal in HUP:129 USR1:138 XCPU:152; do
        start ${signal%:*}
        until_true has_step ${signal%:*} 2
        # When a terminal closes, it and its shell send two signals. A batch system sends SIGTERM
        # afterwards.
        kill -STOP $pid
        kill -${signal%:*} $pid
        kill -TERM $pid
        kill -CONT $pid
        kill -${signal%:*} $pid 2> /dev/null || true
        ended
        [ "$status" = "${signal#*:}" ] || [ "$status" = 143 ]
        step=$(sed -n 's/.*after step \([0-9]*\): saved.*/\1/p' ${signal%:*}.err)
        [ -f "${signal%:*}/checkpoint-$step/training_state" ]
        [ "$(grep -c 'stops and saves' ${signal%:*}.err)" = 1 ]
    done
    # The run is resumed from there.
    steps=$(($(sed -n 's/.*after step \([0-9]*\): saved.*/\1/p' HUP.err) + 10))
    run --separate-stderr -0 train r.yaml output_dir=HUP max_steps=$steps logging_steps=1000 \
        resume_from_checkpoint=auto
    [[ "$stderr" == *"resumed from HUP/checkpoint-"* ]]
    train r.yaml output_dir=whole max_steps=$steps logging_steps=1000 --quiet
    cmp whole/adapter_model.safetensors HUP/adapter_model.safetensors
    # A signal that was ignored at the start stays ignored.
    env --ignore-signal=HUP train r.yaml output_dir=nohup max_steps=100000 2> nohup.err 3>&- &
    pid=$!
    until_true has_step nohup 1
    kill -HUP $pid
    until_true has_step nohup $(($(wc -l < nohup/trainer_log.jsonl) + 20))
    kill -TERM $pid
    ended
    [ "$status" = 143 ]
    [[ "$(cat nohup.err)" != *"signal 1 "* ]]
}

# Makes files that people keep beside a run, with names that resemble ours.
strew() { # FOLDER
    mkdir \
        -p "$1"/{tmp-checkpoint-mine,checkpoint-mine,checkpoint-500,checkpoint-007} \
        "$1"/{checkpoint-9000,old-runs}
    echo thesis > "$1/thesis.txt"
    echo notes > "$1/notes.tmp.2024"
    echo log > "$1/adapter_model.safetensors.tmp.77"
    echo mine > "$1/tmp-checkpoint-mine/notes"
    echo mine > "$1/checkpoint-mine/notes"
    echo weights > "$1/checkpoint-500/adapter_model.safetensors"
    echo '{"longqlora":1,"files":{"training_state":{"bytes":1,"digest":"0"}}}' > \
        "$1/checkpoint-9000/manifest.json"
    echo mine > "$1/.longqlora-0123456789abcdef.checkpoint-4"
    ln -s ../base "$1/model"
}

# Lists the entries of a run's folder whose names are not those of the run, and what is in them.
strange() { (cd "$1" && find . -mindepth 1 -maxdepth 1 | \
    grep -vE \
    '^\./(checkpoint-[0-9]{1,2}|adapter_model.safetensors|adapter_config.json|longqlora.json|longqlora-run.json|proof.jsonl|trainer_log.jsonl|best|best-before)$' \
    | sort |
    while read -r f; do find "$f" -printf '%p %y %m %l\n' | sort; \
        find "$f" -type f -exec md5sum {} + | sort -k2; done); }

# Fails unless both runs have the same best model. The two files proof.jsonl differ, because each
# lists the checkpoints that its run has saved.
same_best() { diff -r -x proof.jsonl -x manifest.json "$1/best" "$2/best"; } # ONE OTHER

@test "runs: files of others stay unchanged when a run saves, prunes, is resumed or begins again" {
    make_recipe
    strew out
    chmod 600 out/notes.tmp.2024
    before=$(strange out)
    train r.yaml output_dir=out save_steps=1 save_total_limit=1 --quiet
    [ "$(strange out)" = "$before" ]
    [ "$(ls -d out/checkpoint-? )" = out/checkpoint-6 ]
    run --separate-stderr -0 train r.yaml output_dir=out max_steps=8 save_steps=1 \
        save_total_limit=1 resume_from_checkpoint=auto
    [[ "$stderr" == \
        *"skipped: out/checkpoint-9000: this run did not make it"*"skipped: out/checkpoint-500: this run did not make it"*"resumed from out/checkpoint-6: "* ]]
    [ "$(ls -d out/checkpoint-? )" = out/checkpoint-8 ]
    [ "$(strange out)" = "$before" ]
    train r.yaml output_dir=out overwrite_output_dir=true seed=3 max_steps=2 --quiet
    [ "$(strange out)" = "$before" ]
    [ "$(ls -d out/checkpoint-? )" = out/checkpoint-2 ]
    # A foreign file in one of our checkpoints stays when the checkpoint is removed.
    mkdir out/checkpoint-2/more
    echo precious > out/checkpoint-2/more/notes
    train r.yaml output_dir=out overwrite_output_dir=true seed=4 max_steps=1 --quiet
    [ "$(cat out/checkpoint-2/more/notes)" = precious ]
    [ "$(ls out/checkpoint-2)" = more ]
    # A foreign folder has the name of a checkpoint, and a manifest.
    rm -r out/checkpoint-1
    cp -r out/checkpoint-9000 out/checkpoint-1
    echo precious > out/checkpoint-1/training_state
    rm -r out/checkpoint-2
    run --separate-stderr -2 train r.yaml output_dir=out overwrite_output_dir=true seed=5 \
        max_steps=2
    [[ "$stderr" == "train: out/checkpoint-1 exists already: "* ]]
    mv out/checkpoint-1 out/checkpoint-3
    sed -i 's/"checkpoint-1"/"checkpoint-3"/' out/longqlora-run.json
    train r.yaml output_dir=out overwrite_output_dir=true seed=5 max_steps=2 --quiet
    [ "$(cat out/checkpoint-3/training_state)" = precious ]
}

@test "runs: if a name that the run needs is taken, it is refused before any work" {
    make_recipe
    refused() { # NAME MAKE KEY=VALUE...
        local name=$1 make=$2
        shift 2
        rm -rf x
        mkdir x
        (cd x && eval "$make")
        picture x > before
        run --separate-stderr -2 train r.yaml output_dir=x "$@"
        [[ "$stderr" == \
            *"train: x/$name exists already: "*"move it away, or name another output_dir" ]] ||
            { echo "$name: $stderr"; return 1; }
        picture x | diff before -
    }
    refused adapter_model.safetensors 'echo mine > adapter_model.safetensors'
    refused adapter_model.safetensors 'mkdir adapter_model.safetensors'
    refused adapter_config.json 'echo "{}" > adapter_config.json'
    refused longqlora.json 'ln -s nowhere longqlora.json'
    refused trainer_log.jsonl 'echo "{\"step\":1,\"loss\":2}" > trainer_log.jsonl'
    refused checkpoint-4 'mkdir checkpoint-4; echo x > checkpoint-4/adapter_model.safetensors'
    refused checkpoint-3 'echo x > checkpoint-3' resume_from_checkpoint=auto
    refused runs 'mkdir runs; echo x > runs/events' report_to=tensorboard
    refused best 'mkdir -p best/mine' eval_file=few.smp eval_steps=2 load_best_model_at_end=true
    refused train.samples 'echo x > train.samples' train_file=- < 32.smp
    full="method=full model_name_or_path=base attention=full"
    refused config.json 'echo "{\"name\":\"webapp\"}" > config.json' $full
    refused model.safetensors 'echo x > model.safetensors' $full
    refused model-00007-of-00009.safetensors 'echo x > model-00007-of-00009.safetensors' $full
    refused tokenizer.model 'echo x > tokenizer.model' $full
    # Files with other names do not matter. A licence does not matter either if the model has none.
    rm -rf x
    mkdir x
    echo ours > x/LICENSE
    echo ours > x/train.samples
    train r.yaml output_dir=x max_steps=1 $full --quiet
    [ "$(cat x/LICENSE x/train.samples)" = $'ours\nours' ]
    cp -rL base licensed
    echo theirs > licensed/LICENSE
    refused LICENSE 'echo ours > LICENSE' method=full attention=full model_name_or_path=licensed
    # An invalid record, a log into which somebody wrote, and a result that somebody changed are
    # refused.
    mkdir y
    echo '{"runs": 3}' > y/longqlora-run.json
    run --separate-stderr -3 train r.yaml output_dir=y
    [[ "$stderr" == "train: y/longqlora-run.json: not a run's record; move it away"* ]]
    train r.yaml output_dir=z --quiet
    cp -r z log
    sed -i '2i remember the milk' log/trainer_log.jsonl
    run --separate-stderr -2 train r.yaml output_dir=log max_steps=8
    [[ "$stderr" == "train: log/trainer_log.jsonl exists already, but line 2 is not from a run's log: "* ]]
    grep -q milk log/trainer_log.jsonl
    echo mine > z/adapter_model.safetensors
    run --separate-stderr -2 train r.yaml output_dir=z resume_from_checkpoint=auto max_steps=8
    [[ "$stderr" == "train: z/adapter_model.safetensors exists already: "* ]]
    [ "$(cat z/adapter_model.safetensors)" = mine ]
}

@test "runs: the root and a folder of a model or an adapter are refused; other files are no obstacle" {
    make_recipe
    ln -s / root
    for folder in / // /. /tmp/.. root root/; do
        run --separate-stderr -2 train r.yaml output_dir=$folder --quiet
        [ "$stderr" = "train: output_dir=$folder: is the root of all folders: name a folder for the run, such as output_dir=run" ]
    done
    mkdir model adapter
    echo '{}' > model/config.json
    echo '{}' > adapter/adapter_config.json
    run --separate-stderr -2 train r.yaml output_dir=model --quiet
    [ "$stderr" = "train: model/config.json exists already, and the run would put an adapter beside it, which transformers would take for one model with an adapter: move it away, or name another output_dir" ]
    run --separate-stderr -2 train r.yaml output_dir=adapter method=full model_name_or_path=base \
        quantization=none --quiet
    [ "$stderr" = "train: adapter/adapter_config.json exists already, and the run would put a model beside it, which transformers would take for one model with an adapter: move it away, or name another output_dir" ]
    [ "$(find model adapter -type f | wc -l)" = 2 ]
    # Samples, recipe, notes and a log file in the folder are habits that harm nothing. If such a
    # file comes after the run began, the run can still be resumed.
    mkdir run
    cp 32.smp r.yaml run
    echo notes > run/README.md
    (cd run && ln -s ../base.nf4 . && train r.yaml train_file=32.smp output_dir=. --quiet \
        2> train.log)
    echo '{}' > run/config.json
    run --separate-stderr -0 train r.yaml output_dir=run max_steps=8 resume_from_checkpoint=auto
    [[ "$stderr" == *"resumed from run/checkpoint-"* ]]
    [ "$(cat run/README.md)" = notes ]
}

@test "runs: an output may not be an input, and a refused run leaves no folder" {
    make_recipe
    cp -rL base mine
    train r.yaml output_dir=first --quiet
    picture mine > before
    run --separate-stderr -2 train r.yaml output_dir=mine/ method=full model_name_or_path=mine
    [[ "$stderr" == "train: output_dir"*"model_name_or_path"* ]]
    ln -s mine alias
    run --separate-stderr -2 train r.yaml output_dir=alias method=full model_name_or_path=mine \
        overwrite_output_dir=true
    [[ "$stderr" == "train: output_dir"*"model_name_or_path"* ]]
    picture mine | diff before -
    run --separate-stderr -2 train r.yaml output_dir=first adapter_name_or_path=first \
        overwrite_output_dir=true
    [[ "$stderr" == "train: output_dir"*"adapter_name_or_path"* ]]
    run --separate-stderr -2 train r.yaml output_dir=first adapter_name_or_path=first/checkpoint-6 \
        overwrite_output_dir=true
    [ "$stderr" = \
        "train: adapter_name_or_path is first/checkpoint-6, which overwrite_output_dir=true would remove: name another output_dir" ]
    [ -f first/checkpoint-6/training_state ]
    run --separate-stderr -3 train r.yaml output_dir=a/b/c train_file=docs.tok
    [ ! -e a ]
    run --separate-stderr -3 bash -c 'train r.yaml output_dir=a train_file=- < docs.tok'
    [ ! -e a ]
    mkdir -p d/e
    run --separate-stderr -3 train r.yaml output_dir=d/e/f train_file=docs.tok
    [ -d d/e ] && [ ! -e d/e/f ]
}

@test "runs: a finished run is left alone, another recipe is refused, and more steps continue the run" {
    make_recipe
    train r.yaml output_dir=out --quiet
    picture out > before
    for more in "" resume_from_checkpoint=auto resume_from_checkpoint=none \
        "logging_steps=2 save_steps=2 num_train_epochs=9"; do
        run --separate-stderr -0 train r.yaml output_dir=out $more
        [[ "$stderr" == "train: out: already finished: 6 steps of this recipe; nothing is done"* ]]
    done
    for other in "learning_rate=0.5 resume_from_checkpoint=auto" seed=1 train_file=16.smp \
        model_name_or_path=base\ quantization=none; do
        run --separate-stderr -3 train r.yaml output_dir=out $other
        [[ "$stderr" == \
            "train: out: the "*" changed since the run began: "*"; the run is finished: to train further, set adapter_name_or_path=out and another output_dir; to remove the run, set "*"overwrite_output_dir=true" ]]
    done
    run --separate-stderr -2 train r.yaml output_dir=out max_steps=4
    [[ "$stderr" == "train: out: the run has done 6 steps, but the recipe asks for 4; "* ]]
    picture out | diff before -
    # If the finished run trained a whole model, the message says so.
    train r.yaml output_dir=full method=full quantization=none model_name_or_path=base --quiet
    run --separate-stderr -3 train r.yaml output_dir=full
    [[ "$stderr" == *"; the run is finished: to train further, set model_name_or_path=full and "* ]]
    # This does what the message suggests.
    train r.yaml output_dir=further adapter_name_or_path=out max_steps=1 --quiet
    chmod 600 out/adapter_model.safetensors
    # First more steps, then more epochs. If the schedule is the same, the bits are those of a run
    # that had as many steps from the start.
    run --separate-stderr -0 train r.yaml output_dir=out max_steps=10
    [[ "$stderr" == *"resumed from out/checkpoint-6: going on with step 7"* ]]
    [[ "$stderr" != *"the result differs"* ]]
    train r.yaml output_dir=whole max_steps=10 --quiet
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    [ "$(stat -c %a out/adapter_model.safetensors)" = 600 ]
    cmp whole/longqlora.json out/longqlora.json
    cmp whole/checkpoint-10/training_state out/checkpoint-10/training_state
    diff <(sed 's/"tokens_per.*//' whole/trainer_log.jsonl) <(sed 's/"tokens_per.*//' \
        out/trainer_log.jsonl)
    train r.yaml output_dir=out max_steps=0 num_train_epochs=0.1 --quiet
    train r.yaml output_dir=epochs max_steps=0 num_train_epochs=0.1 --quiet
    cmp epochs/adapter_model.safetensors out/adapter_model.safetensors
    # A lost result is made again from the last checkpoint. Without a checkpoint the run cannot be
    # resumed.
    rm out/adapter_config.json
    train r.yaml output_dir=out max_steps=0 num_train_epochs=0.1 resume_from_checkpoint=auto --quiet
    cmp epochs/adapter_config.json out/adapter_config.json
    train r.yaml output_dir=bare save_strategy=no --quiet
    [ ! -e bare/checkpoint-6 ]
    run --separate-stderr -2 train r.yaml output_dir=bare save_strategy=no max_steps=8
    [[ "$stderr" == \
        "train: bare: there is no checkpoint to resume (save_strategy: no?); the run is finished: "* ]]
}

@test "runs: if more steps change the schedule, the message, the log and the adapter say which steps had which" {
    make_recipe
    train r.yaml output_dir=warm lr_scheduler_type=constant_with_warmup warmup_steps=3 --quiet
    run --separate-stderr -0 train r.yaml output_dir=warm lr_scheduler_type=constant_with_warmup \
        warmup_steps=3 max_steps=9
    [[ "$stderr" != *"the result differs"* ]]
    train r.yaml output_dir=warm9 lr_scheduler_type=constant_with_warmup warmup_steps=3 \
        max_steps=9 --quiet
    cmp warm/adapter_model.safetensors warm9/adapter_model.safetensors
    run ! grep -q schedules warm/longqlora.json
    for keys in "lr_scheduler_type=linear" "lr_scheduler_type=cosine warmup_steps=2" \
        "warmup_ratio=0.5"; do
        rm -rf out
        train r.yaml output_dir=out $keys --quiet
        run --separate-stderr -0 train r.yaml output_dir=out $keys max_steps=10 save_steps=8
        [[ "$stderr" == \
            *"steps 1-6 ran under "*" over 6 steps (warm-up "*"); from here on it is "*" over 10 steps (warm-up "*"): the result differs from that of a run with this number from the start"* ]]
        perl -MJSON::PP \
            -e 'my ($log, $file) = map { open my $f, "<", $_ or die; local $/; <$f> } @ARGV; my ($line) = grep { $_->{schedules} } map { decode_json($_) } split /\n/, $log;
            die "$line->{step}" unless $line->{step} == 6 && $line->{schedules}[0]{to} == 6;
            my $s = decode_json($file)->{recipe}{schedules}; die unless @$s == 2 && $s->[0]{from} == 1 && $s->[0]{to} == 6 && $s->[0]{steps} == 6 && $s->[1]{from} == 7 && $s->[1]{to} == 10 && $s->[1]{steps} == 10' \
                out/trainer_log.jsonl out/longqlora.json
        # A run that is interrupted afterwards is resumed unchanged.
        cp -r out whole
        rm -r out/checkpoint-10 out/longqlora.json
        train r.yaml output_dir=out $keys max_steps=10 save_steps=8 resume_from_checkpoint=auto \
            --quiet
        cmp whole/longqlora.json out/longqlora.json
        cmp whole/adapter_model.safetensors out/adapter_model.safetensors
        rm -r whole
    done
}

@test "runs: only complete checkpoints of the run count; the newest and the one just saved are never removed" {
    make_recipe
    train r.yaml output_dir=whole max_steps=12 --quiet
    train r.yaml output_dir=out max_steps=8 save_steps=2 save_total_limit=0 --quiet
    head -c 3000 out/checkpoint-8/training_state > cut && mv cut out/checkpoint-8/training_state
    cp -r out/checkpoint-6 out/checkpoint-600
    mkdir out/checkpoint-700
    rm out/longqlora.json
    # checkpoint-8 is damaged, checkpoint-600 is a copy of that of step 6, and checkpoint-700 is not
    # the run's. None of the three counts as one of the two that are kept.
    run --separate-stderr -0 train r.yaml output_dir=out max_steps=8 save_steps=2 \
        save_total_limit=2 resume_from_checkpoint=auto
    [[ "$stderr" == \
        *"skipped: out/checkpoint-700: this run did not make it"*"skipped: out/checkpoint-600: this run did not make it"*"skipped: out/checkpoint-8/training_state: damaged: not what manifest.json says"*"resumed from out/checkpoint-6: "* ]]
    [ "$(cd out && ls -d checkpoint-? checkpoint-??? | tr '\n' ' ')" = \
        "checkpoint-6 checkpoint-600 checkpoint-700 checkpoint-8 " ]
    # A damaged checkpoint does not count as one of the three that are kept.
    train r.yaml output_dir=three save_steps=2 save_total_limit=0 max_steps=8 --quiet
    truncate -s 3000 three/checkpoint-6/training_state
    train r.yaml output_dir=three save_steps=2 save_total_limit=3 max_steps=10 --quiet
    [ "$(cd three && ls -d checkpoint-* | tr '\n' ' ')" = \
        "checkpoint-10 checkpoint-4 checkpoint-6 checkpoint-8 " ]
    # A run is resumed from an older checkpoint. The one that it saves stays, and so does the
    # newest.
    train r.yaml output_dir=older save_steps=2 save_total_limit=0 max_steps=8 --quiet
    rm older/longqlora.json
    train r.yaml output_dir=older save_total_limit=1 max_steps=3 \
        resume_from_checkpoint=older/checkpoint-2 --quiet
    [ "$(cd older && ls -d checkpoint-* | tr '\n' ' ')" = "checkpoint-3 checkpoint-8 " ]
    run --separate-stderr -0 train r.yaml output_dir=out max_steps=12 save_steps=4 \
        save_total_limit=1 resume_from_checkpoint=auto
    [[ "$stderr" == *"resumed from out/checkpoint-8: "* ]]
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    [ -e out/checkpoint-12 ] && [ -e out/checkpoint-600 ] && [ -e out/checkpoint-700 ] &&
        [ ! -e out/checkpoint-8 ]
}

@test "runs: a folder without a record, from an older version, is resumed" {
    make_recipe
    train r.yaml output_dir=out save_steps=2 report_to=tensorboard --quiet
    cp -r out whole
    rm -r out/longqlora-run.json out/checkpoint-6 out/adapter_model.safetensors \
        out/adapter_config.json out/longqlora.json out/proof.jsonl out/checkpoint-[24]/proof.jsonl
    for manifest in out/*/manifest.json; do
        perl -MJSON::PP -0777 -i -ne 'my $m = decode_json($_); delete $m->{files}{"proof.jsonl"};
            print encode_json($m)' "$manifest"
    done
    run --separate-stderr -0 train r.yaml output_dir=out save_steps=2 report_to=tensorboard \
        resume_from_checkpoint=auto
    [[ "$stderr" == *"resumed from out/checkpoint-4: "* ]]
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    diff <(sed 's/"tokens_per.*//' whole/trainer_log.jsonl) <(sed 's/"tokens_per.*//' \
        out/trainer_log.jsonl)
    [ -d out/checkpoint-2 ]
    # Without the record nobody knows to whom the finished result belongs.
    rm out/longqlora-run.json
    run --separate-stderr -2 train r.yaml output_dir=out overwrite_output_dir=true
    [[ "$stderr" == *" exists already: "* ]]
}

@test "runs: samples from standard input are kept with the run, and another run does not overwrite them" {
    make_recipe
    train r.yaml output_dir=out train_file=- --quiet < 32.smp
    train r.yaml output_dir=whole --quiet
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    cmp 32.smp out/train.samples
    run --separate-stderr -3 train r.yaml output_dir=out train_file=- < 16.smp
    [[ "$stderr" == "train: out: the samples changed since the run began: "* ]]
    cmp 32.smp out/train.samples
    [ "$(ls -A out | grep -c '^\.')" = 0 ]
    train r.yaml output_dir=out train_file=- max_steps=8 --quiet < 32.smp
    train r.yaml output_dir=out train_file=- max_steps=2 overwrite_output_dir=true --quiet < 16.smp
    cmp 16.smp out/train.samples
    run --separate-stderr -2 train r.yaml train_file=out/train.samples output_dir=out \
        overwrite_output_dir=true
    [[ "$stderr" == \
        "train: train_file is out/train.samples, which overwrite_output_dir=true would remove"* ]]
}

@test "runs: several processes of one launch are refused, unless each is a run of its own" {
    make_recipe
    # Open MPI, if it is installed, does not free all of its memory.
    export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
    for name in OMPI_COMM_WORLD_SIZE PMI_SIZE SLURM_STEP_NUM_TASKS WORLD_SIZE; do
        run --separate-stderr -2 env $name=2 train r.yaml output_dir=x
        [[ "$stderr" == *"train: $name=2: "* ]]
        run --separate-stderr -2 env $name=99999999999999999999 train r.yaml output_dir=x
        run --separate-stderr -2 env $name=two train r.yaml output_dir=x
        [[ "$stderr" == \
            "train: $name=two is not a number of processes: unset it, or say --ranks 1"* ]]
        run --separate-stderr -2 env $name=-1 train r.yaml output_dir=x
        [ ! -e x ]
    done
    PMI_SIZE=1 WORLD_SIZE= SLURM_STEP_NUM_TASKS=01 OMPI_COMM_WORLD_SIZE=0 train r.yaml \
        output_dir=a max_steps=1 --quiet
    WORLD_SIZE=8 PMI_SIZE=x train r.yaml output_dir=b max_steps=1 --ranks 1 --quiet
    cmp a/adapter_model.safetensors b/adapter_model.safetensors
    run --separate-stderr -2 train r.yaml output_dir=x --ranks 2
    [[ "$stderr" == "train: --ranks 2: a launcher starts them: mpirun -n 2 train …"* ]]
}

@test "runs: runs killed at random in folders with foreign files end with equal bytes, and the files stay" {
    make_recipe
    seed=${SEED:-$RANDOM}
    echo "SEED=$seed"
    RANDOM=$seed
    kills=$((LONG ? 60 : $(less 6 2))) signals=(KILL TERM INT HUP USR1 XCPU)
    long="max_steps=40 save_steps=3 save_total_limit=2 resume_from_checkpoint=auto eval_file=few.smp eval_steps=4 metric_for_best_model=loss train_norm=true"
    train r.yaml output_dir=whole $long --quiet
    strew out
    before=$(strange out)
    for ((kill = 0; kill < kills; )); do
        start out $long logging_steps=1
        until_true eval "has_step out $((RANDOM % 40 + 1)) || ! kill -0 $pid"
        sleep 0.0$((RANDOM % 10))
        if kill -${signals[RANDOM % 6]} $pid 2> /dev/null; then kill=$((kill + 1)); fi
        ended
        # 0 means that the run ended before the signal came.
        [[ " 0 137 143 130 129 138 152 " == *" $status "* ]] || { cat out.err; false; }
        # An unfinished file of a killed run may stay there until the next run begins.
        run ! grep '^<' <(diff <(echo "$before") <(strange out))
        [ ! -e out/longqlora.json ] || { rm -rf out; strew out; }
    done
    train r.yaml output_dir=out $long --quiet
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    same_best whole out
    diff <(sed 's/"tokens_per.*//;s/,"eval_runtime":[^,}]*//' whole/trainer_log.jsonl) <(sed \
        's/"tokens_per.*//;s/,"eval_runtime":[^,}]*//' out/trainer_log.jsonl | \
        grep -v '"step":\(1\|2\|4\)$' )
    [ "$(strange out)" = "$before" ]
}

@test "runs: the lines that a resumed run adds to a checkpoint's own step are logged only once" {
    make_recipe
    lines() { sed 's/,"eval_runtime":[^,}]*//;s/"tokens_per.*//' "$1/trainer_log.jsonl"; }
    train r.yaml output_dir=short max_steps=4 save_steps=4 lr_scheduler_type=cosine --quiet
    cp -r short killed
    more="max_steps=8 lr_scheduler_type=cosine save_steps=100 eval_file=few.smp eval_steps=4 metric_for_best_model=loss resume_from_checkpoint=auto --quiet"
    train r.yaml output_dir=short $more
    [ "$(lines short | grep -c '"step":4,"eval_loss"')" = 1 ]
    [ "$(lines short | grep -c '"step":4,"schedules"')" = 1 ]
    # The run was killed before its next checkpoint.
    cp short/trainer_log.jsonl killed/
    train r.yaml output_dir=killed $more
    diff <(lines short) <(lines killed)
}

# Repeats with these evaluations what transformers 5.24 does, in its order: EarlyStoppingCallback,
# then _determine_best_metric. Prints the best step and the step after which training stops.
reference() { # LOG PATIENCE THRESHOLD GREATER
    perl -MJSON::PP -e 'my ($log, $patience, $threshold, $greater) = @ARGV;
        open my $in, "<", $log or die;
        my ($best, $best_step, $worse, $last) = (undef, 0, 0, 0);
        my $better = sub { $greater ? $_[0] > $_[1] : $_[0] < $_[1] };
        for my $e (grep { $_->{step} && exists $_->{eval_loss} } map { decode_json($_) } <$in>) {
            my $metric = $e->{eval_loss};
            $worse = !defined $best || ($better->($metric, $best) && abs($metric - $best) > $threshold) ? 0 : $worse + 1;
            $best //= $greater ? -9**9**9 : 9**9**9;
            ($best, $best_step) = ($metric, $e->{step}) if $better->($metric, $best);
            $last = $e->{step};
            last if $patience && $worse >= $patience;
        }
        print "$best_step $last"' "$@"
}

@test "runs: the best model and early stopping equal those of Hugging Face's Trainer, and change no bit of the run" {
    make_recipe
    keys="max_steps=24 learning_rate=0.1 eval_file=few.smp eval_steps=1"
    train r.yaml output_dir=plain $keys save_steps=1 save_total_limit=0 --quiet
    best_of() { sed -n 's/.*"best_step":\([0-9]*\).*/\1/p' "$1/trainer_log.jsonl" | tail -n 1; }
    last_of() { sed -n 's/.*"step":\([0-9]*\),.*/\1/p' "$1/trainer_log.jsonl" | tail -n 1; }
    # Chooses a threshold that an improvement does not reach, and a patience that ends at this step.
    matters=$(perl -MJSON::PP \
        -e 'my (@best, $at); for my $e (grep { $_->{step} && exists $_->{eval_loss} } map { decode_json($_) } <STDIN>) {
            push @best, $e if !@best || $e->{eval_loss} < $best[-1]{eval_loss} }
        my ($i) = grep { $best[$_]{step} - $best[$_ - 1]{step} > 1 } 1 .. $#best;
        printf "%d %g 0", $best[$i]{step} - $best[$i - 1]{step}, 1.5 * ($best[$i - 1]{eval_loss} - $best[$i]{eval_loss})' \
            < plain/trainer_log.jsonl)
    [ "$(reference plain/trainer_log.jsonl $matters)" != \
        "$(reference plain/trainer_log.jsonl ${matters%% *} 0 0)" ]
    cases=("3 0 0" "1 0.01 0" "3 0 1" "0 0 0" "2 0 0" "$matters" "0 0 1")
    for case in "${cases[@]:$(less 0 4)}"; do
        read -r patience threshold greater <<< "$case"
        expected=$(reference plain/trainer_log.jsonl $patience $threshold $greater)
        rm -rf out
        train r.yaml output_dir=out $keys load_best_model_at_end=true \
            early_stopping_patience=$patience early_stopping_threshold=$threshold \
            greater_is_better="$([ $greater = 1 ] && echo true || echo auto)" --quiet
        echo "$case: $expected, $(best_of out) $(last_of out)"
        [ "$expected" = "$(best_of out) $(last_of out)" ]
        # The result and the checkpoint best/ are those of the best step. The checkpoint of the last
        # step equals that of the plain run.
        cmp plain/checkpoint-$(best_of out)/adapter_model.safetensors out/adapter_model.safetensors
        cmp plain/checkpoint-$(best_of out)/adapter_model.safetensors \
            out/best/adapter_model.safetensors
        cmp plain/checkpoint-$(last_of out)/adapter_model.safetensors out/checkpoint-$(last_of \
            out)/adapter_model.safetensors
        [ ! -e out/best-before ]
    done
    # The best step must differ from the last step, or this would test nothing.
    [ "$(best_of out)" != 24 ]
    # Without load_best_model_at_end the result is that of the last step.
    train r.yaml output_dir=kept $keys metric_for_best_model=eval_loss --quiet
    cmp plain/adapter_model.safetensors kept/adapter_model.safetensors
    [ -f kept/best/training_state ]
    run --separate-stderr -0 train r.yaml output_dir=stops $keys early_stopping_patience=2
    [[ "$stderr" == \
        *", the best so far"*"stopped early after step "*": no better evaluation than that of step "* ]]
    run --separate-stderr -0 train r.yaml output_dir=stops $keys early_stopping_patience=2 \
        max_steps=30
    [[ "$stderr" == "train: stops: already finished: stopped early after step "* ]]
    # With more patience the run is resumed. It ends as if it had had this patience from the start.
    train r.yaml output_dir=stops $keys early_stopping_patience=0 resume_from_checkpoint=auto \
        --quiet
    cmp plain/adapter_model.safetensors stops/adapter_model.safetensors
    for bad in "load_best_model_at_end=true eval_file=" "early_stopping_patience=2 eval_steps=0" \
        "metric_for_best_model=accuracy"; do
        run --separate-stderr -2 train r.yaml output_dir=x $keys $bad
    done
    [[ "$stderr" == *"metric_for_best_model: 'accuracy' is not one of loss|eval_loss"* ]]
    # The same holds for full fine-tuning.
    train r.yaml output_dir=full method=full model_name_or_path=base attention=full max_steps=4 \
        learning_rate=0.3 eval_file=few.smp eval_steps=1 load_best_model_at_end=true save_steps=1 \
        save_total_limit=0 --quiet
    cmp full/checkpoint-$(best_of full)/model.safetensors full/model.safetensors
}

@test "runs: a best model that is newer than the newest checkpoint is replaced by the one before" {
    [ -e "$BUILD/tests/fault.so" ] || skip "faults are injected into the release flavour only"
    make_recipe
    keys="learning_rate=0.1 eval_file=few.smp eval_steps=1 load_best_model_at_end=true resume_from_checkpoint=auto"
    train r.yaml output_dir=plain $keys max_steps=24 save_steps=1 save_total_limit=0 --quiet
    # Finds two successive best steps with other steps between them. The run saves a checkpoint two
    # steps before the second one.
    read -r before next <<< \
        "$(perl -MJSON::PP -e 'my @best; for my $e (grep { $_->{step} && exists $_->{eval_loss} } map { decode_json($_) } <STDIN>) {
            push @best, $e if !@best || $e->{eval_loss} < $best[-1]{eval_loss} }
        my ($i) = grep { $best[$_]{step} - $best[$_ - 1]{step} > 2 && $best[$_]{step} > 4 } 1 .. $#best; print "$best[$i - 1]{step} $best[$i]{step}"' < plain/trainer_log.jsonl)"
    echo "best: $before, then $next"
    # The run is killed while it saves the checkpoint that would have recorded the second one.
    run env FAULT_OF=kill FAULT_AT=1 FAULT_BEGIN=.checkpoint-$next FAULT_MARK=mark \
        LD_PRELOAD=$BUILD/tests/fault.so \
        train r.yaml output_dir=out $keys max_steps=$next save_steps=$((next - 2))
    [ "$status" = 137 ]
    [ -d out/best-before ]
    # The resumed run ends before the second best step.
    train r.yaml output_dir=out $keys max_steps=$((next - 1)) --quiet
    cmp plain/checkpoint-$before/adapter_model.safetensors out/adapter_model.safetensors
    cmp plain/checkpoint-$before/adapter_model.safetensors out/best/adapter_model.safetensors
    [ ! -e out/best-before ]
}

@test "runs: if a better model cannot be saved, the run goes on from there and has the best model" {
    [ -e "$BUILD/tests/fault.so" ] || skip "faults are injected into the release flavour only"
    make_recipe
    keys="learning_rate=0.01 max_steps=4 save_steps=2 save_total_limit=1 eval_file=few.smp eval_steps=2 load_best_model_at_end=true resume_from_checkpoint=auto --device cpu --quiet"
    train r.yaml output_dir=whole $keys
    # Calls are counted from the checkpoint of step 2 on. The calls of that checkpoint are the first
    # ten or so.
    for fault in "write 10" "write 12" "write 16" "fsync 12" "fsync 13" "rename 12"; do
        rm -rf out
        run env FAULT_OF=${fault% *} FAULT_AT=${fault#* } FAULT_BEGIN=.checkpoint-2 \
            FAULT_MARK=mark LD_PRELOAD=$BUILD/tests/fault.so train r.yaml output_dir=out $keys
        echo "$fault: $status: $output"
        train r.yaml output_dir=out $keys
        cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    done
}

@test "runs: an interrupted and resumed run has the best model and the patience of an uninterrupted one" {
    make_recipe
    keys="max_steps=24 learning_rate=0.1 eval_file=few.smp eval_steps=1 load_best_model_at_end=true early_stopping_patience=9 early_stopping_threshold=0.01 resume_from_checkpoint=auto"
    train r.yaml output_dir=whole $keys --quiet
    for stride in $(less "3 7" 3); do
        rm -rf out
        # The run is killed between checkpoints. A better model that was saved since the last
        # checkpoint no longer counts as the best; the best model before it counts again.
        for try in 1 2 3; do
            start out $keys max_steps=24 save_steps=$stride
            until_true eval "has_step out $((5 * try)) || ! kill -0 $pid"
            kill -9 $pid 2> /dev/null || true
            ended
        done
        train r.yaml output_dir=out $keys save_steps=$stride --quiet
        cmp whole/adapter_model.safetensors out/adapter_model.safetensors
        same_best whole out
        [ ! -e out/best-before ]
        [ "$(grep -c eval_loss out/trainer_log.jsonl)" = \
            "$(grep -c eval_loss whole/trainer_log.jsonl)" ]
    done
    # A signal comes during a long evaluation. The evaluation is done when the run is resumed.
    long=20
    [ "${FLAVOUR:-release}" = release ] || long=6 # sanitizers take twenty times as long
    for i in $(seq $long); do cat docs.jsonl; done | tokenize --quiet -m tok/tokenizer.model - | \
        pack --quiet --context 16 --strategy split -o long.smp
    signal="max_steps=3 eval_file=long.smp eval_steps=2 metric_for_best_model=loss resume_from_checkpoint=auto"
    train r.yaml output_dir=calm $signal --quiet
    start signal $signal
    until_true has_step signal 2
    kill -TERM $pid
    ended
    train r.yaml output_dir=signal $signal --quiet
    diff <(grep -o '"eval_loss.*"eval_tokens":[0-9]*\|"best.*' calm/trainer_log.jsonl) <(grep \
        -o '"eval_loss.*"eval_tokens":[0-9]*\|"best.*' signal/trainer_log.jsonl)
    same_best calm signal
    # The best model is lost. A run without further steps then has no result, and a run with further
    # steps looks for a new best model.
    rm -rf out
    train r.yaml output_dir=out $keys max_steps=6 save_steps=3 save_total_limit=0 --quiet
    rm -r out/longqlora.json out/best
    run --separate-stderr -1 train r.yaml output_dir=out $keys max_steps=6
    [[ "$stderr" == *"out/best: the best model, of step "*", is not there any more: put it back"* ]]
    run --separate-stderr -0 train r.yaml output_dir=out $keys max_steps=8 --quiet
    [[ "$stderr" == *"out/best: the best model so far, of step "*", is not there, so it cannot become the result: the next evaluation counts"* ]]
    # So it is with a checkpoint of another run.
    run --separate-stderr -0 train r.yaml output_dir=apart $keys max_steps=8 --quiet \
        resume_from_checkpoint=out/checkpoint-6
    [[ "$stderr" == *"apart/best: the best model so far, of step "*", is not there, so it"* ]]
}

# ---- messages of a run ----

@test "runs: rates and the time left count only steps; each log line has its own time and the sum" {
    make_recipe
    train r.yaml output_dir=out eval_file=few.smp eval_steps=1 logging_steps=2 --quiet
    train r.yaml output_dir=out eval_file=few.smp eval_steps=1 logging_steps=2 max_steps=10 --quiet
    perl -MJSON::PP -e 'my ($sum, $evaluations, $before, $tokens) = (0, 0, 0, 0);
        for my $l (map { decode_json($_) } <STDIN>) {
            if (exists $l->{eval_loss}) { $evaluations += $l->{eval_runtime} if $l->{step} > 6; next }
            $sum += 2 * $l->{step_seconds};
            die "$l->{train_seconds} $sum" if abs($l->{train_seconds} - $sum) > 1e-6 * $sum;
            $before = $sum, next if $l->{step} <= 6;
            # In this process a step has two samples of 32 tokens.
            my ($steps, $own) = ($l->{step} - 6, $sum - $before);
            die "rate" if abs($l->{tokens_per_second} * $own - 64 * $steps) > 1e-5 * 64 * $steps;
            die "eta" if abs($l->{eta} - $own / $steps * (10 - $l->{step})) > 1e-5 * $own + 1e-9;
            die "elapsed" if $l->{elapsed} < $own + $evaluations - 1e-6;
        }' < <(grep -v '"step":10,"eval' out/trainer_log.jsonl)
}

@test "runs: settings that would not do what was meant are reported at the start, also with --dry-run" {
    make_recipe
    run --separate-stderr -0 train r.yaml output_dir=a max_seq_length=128 max_steps=1
    [[ "$stderr" == \
        *"no sample is longer than a group: up to 32 tokens, groups of 32: s2 splits only what the shifted heads see: pack them to --context 128, or set group or attention: full"* ]]
    run --separate-stderr -0 train r.yaml --dry-run max_seq_length=256
    [[ "$stderr" == *"up to 32 tokens, groups of 64: s2 splits nothing: "* ]]
    run --separate-stderr -0 train r.yaml --dry-run max_seq_length=256 attention=full
    [[ "$stderr" != *"group"* ]]
    run --separate-stderr -0 train r.yaml output_dir=b warmup_steps=1 max_steps=1 --quiet
    [[ "$stderr" == \
        "train: the warm-up of 1 steps is as long as the run of 1: the learning rate never gets to 0.01, and is 0 in the first step" ]]
    evaluates="eval_file=few.smp max_steps=4 --dry-run"
    run --separate-stderr -0 train r.yaml $evaluates eval_steps=2 eval_delay=5
    [[ "$stderr" == *"train: eval_delay 5: the run has 4 steps, so nothing is evaluated" ]]
    run --separate-stderr -0 train r.yaml $evaluates eval_steps=2 eval_delay=5 \
        load_best_model_at_end=true save_steps=2
    [[ "$stderr" == \
        *"so nothing is evaluated, and no best model is found: the result is the last one" ]]
    run --separate-stderr -0 train r.yaml $evaluates eval_strategy=epoch eval_delay=1
    [[ "$stderr" == *"train: eval_delay 1: the run has 0."*" passes, so nothing is evaluated" ]]
    run --separate-stderr -0 train r.yaml $evaluates eval_steps=2 eval_delay=4
    [[ "$stderr" != *"eval_delay"* ]]
    run --separate-stderr -0 train r.yaml eval_file=few.smp eval_strategy=epoch eval_delay=1 \
        num_train_epochs=1 max_steps=0 --dry-run
    [[ "$stderr" != *"eval_delay"* ]]
    run --separate-stderr -0 train r.yaml output_dir=c lr_scheduler_type=constant warmup_steps=9 \
        max_steps=1 --quiet
    [ "$stderr" = \
        "train: warmup_steps does nothing: it needs another lr_scheduler_type than constant" ]
    run --separate-stderr -0 train r.yaml output_dir=d max_steps=1 gradient_accumulation_steps=200 \
        --quiet
    [[ "$stderr" == \
        "train: a step takes 400 samples, there are "*": it takes some of them more than once" ]]
    run --separate-stderr -0 train r.yaml --dry-run max_steps=1000
    [[ "$stderr" == *"1000 steps of 2 samples go "*" times over the "* ]]
    run --separate-stderr -0 train r.yaml --dry-run rope=yarn:2 attention=full
    [ "$stderr" = "" ]
    # If a plan for the CPU is requested, it does not mention GPUs.
    run --separate-stderr -0 env LONGQLORA_CUDA="$BUILD/emulation/f32/kernels-cuda.so" train \
        r.yaml --dry-run --device cpu
    [[ "$output" != *cuda* && "$output" != *card* ]]
}

@test "runs: --print-config prints a recipe that reads back the same, whatever its values are" {
    make_base
    perl -CS -Mutf8 -M-warnings=nonchar \
        -e 'my @texts = (qw(plain - -- -x ~ null Null true no Off y 007 1e5 0x1f .5 1_000 12:30 2026-11-29 a: a:b #a a#b @a %a & * ! | > ? = << .inf .nan), "a: b", "a #b", " a", "a ", "\x27a\x27", "\"a\"",
            "\\", "\\n", "a\tb", "a\nb", "\r\n", "\x01\x1b[31m\x7f", "\x{85}\x{9b}", "naïve 中文 😀", "\x{202e}txt.\x{200b}", "\x{feff}bom", "\x{2028}", "\x{fffe}\x{10ffff}", "[a, b]", "{a: b}", "a,b", "x" x 5000);
        print join "\0", @texts' > texts
    ours() { sed 's/ # [^#]*$//'; }
    while IFS= read -r -d '' text; do
        # A text is quoted if it would otherwise be null, or if it begins with a quote.
        case $text in '~' | null | Null | \"*\") written="'$text'" ;; \
            \'*\') written="\"$text\"" ;; *) written=$text ;; esac
        train scratch.yaml "output_dir=$written" "rope=$written" learning_rate=0.30000000000000004 \
            --print-config model_name_or_path=m train_file=f > printed.yaml
        # The output has no character that YAML forbids or that a terminal obeys.
        perl -CSD -ne \
            'exit 1 if /[\x00-\x09\x0b-\x1f\x7f-\x9f\x{200b}-\x{200f}\x{2028}-\x{202e}\x{feff}]/' \
            printed.yaml
        # The printed value is exactly this text. A second --print-config of the output prints the
        # same, so the text was read correctly.
        perl \
            -e 'my ($text) = @ARGV; my ($said) = `grep ^rope: printed.yaml` =~ /^rope: (.*) # command line$/ or die;
            $said =~ s/^"(.*)"$/$1/ and $said =~ s/\\(?:u(....)|U(.{8})|(.))/defined $3 ? $3 : do { my $c = chr hex(defined $1 ? $1 : $2); utf8::encode($c); $c }/ge;
            die "$said\n" unless $said eq $text' -- "$text"
        train printed.yaml --print-config > again.yaml
        diff <(ours < printed.yaml) <(ours < again.yaml)
    done < <(cat texts; printf '\0')
    grep -q '^learning_rate: 0.30000000000000004 # ' again.yaml
    # A comment in YAML follows a space, also after an empty list.
    train scratch.yaml output_dir=x model_name_or_path=m train_file=f 'target_modules=[]' \
        --print-config > empty.yaml
    grep -qx 'target_modules: "" # command line' empty.yaml
    # The recipe that a value comes from may have any name. A value that is not UTF-8 is refused by
    # name.
    printf 'method: full\n' > $'a\e[31m\xff\nb.yaml'
    train $'a\e[31m\xff\nb.yaml' output_dir=x model_name_or_path=m train_file=f --print-config > \
        printed.yaml
    grep -qx 'method: full # a?\[31m??b.yaml:1' printed.yaml
    train printed.yaml --print-config > /dev/null
    run --separate-stderr -2 train printed.yaml $'output_dir=caf\xe9' --print-config
    [[ "$stderr" == \
        "train: output_dir is not UTF-8, but a recipe is: give this value on the command line" ]]
}

@test "runs: for keys written as options, and adapters of unfinished runs, the message says what to write" {
    make_recipe
    run --separate-stderr -2 train r.yaml --learning_rate 0.1
    [ "$stderr" = \
        "train: --learning_rate is a key of recipes: write learning_rate=0.1 (see train --help)" ]
    run --separate-stderr -2 train r.yaml --max-steps=3 output_dir=x
    [ "$stderr" = "train: --max-steps is a key of recipes: write max_steps=3 (see train --help)" ]
    run --separate-stderr -2 train r.yaml --bf16 --quiet
    [ "$stderr" = "train: --bf16 is a key of recipes: write bf16=VALUE (see train --help)" ]
    run --separate-stderr -2 train r.yaml --divice cpu
    [[ "$stderr" == *"did you mean --device?"* ]]
    start out
    until_true has_step out 3
    kill -INT $pid
    ended
    [ "$status" = 130 ]
    step=$(sed -n 's/.*after step \([0-9]*\): saved.*/\1/p' out.err)
    words="out: no adapter yet: the run there is not finished: resume it, or name its newest checkpoint, out/checkpoint-$step"
    run --separate-stderr -3 generate -m base.nf4 --adapter out --tokenizer tok -n 1 -p hello
    [ "$stderr" = "generate: $words" ]
    run --separate-stderr -3 ppl -m base.nf4 --adapter out --data docs.tok --context 16
    [ "$stderr" = "ppl: $words" ]
    run --separate-stderr -3 merge --base base --adapter out -o merged
    [ "$stderr" = "merge: $words" ]
    run --separate-stderr -3 train r.yaml output_dir=x adapter_name_or_path=out
    [ "$stderr" = "train: $words" ]
    ppl --quiet -m base.nf4 --adapter out/checkpoint-$step --data docs.tok --context 16 > /dev/null
}

@test "runs: a reproduction in which two models measure the same fails" {
    table() { printf \
        '{"facts":[],"extension by 2":{"all":{"base":{"32":9.5,"64":8.1},"LoRA":{"32":%s,"64":8.1}}},"extension by 4":{"all":{"base":{"32":9.5,"64":8.1}}}}' \
        "$1" > table.json; }
    table 9.4
    run -0 "$root/recipes/differ.pl" .
    [ "$output" = "== 3 rows; no two rows of a table have the same numbers" ]
    table 9.5
    run ! "$root/recipes/differ.pl" .
    [[ "$output" == "differ.pl: extension by 2: 'base' is 'LoRA': 9.5 8.1" ]]
    # The smallest scale has steps whose rate is not 0.
    steps=$(sed -n 's/^EXTEND_STEPS := //p' "$root/recipes/smoke.mk")
    [ "$steps" -gt 1 ]
}
