load helper

# Tests that a run keeps its steps, and the files that somebody put beside them, if something else
# fails.

make_recipe() {
    make_base
    printf '%s\n' 'method: lora' 'model_name_or_path: base.nf4' 'train_file: 32.smp' \
        'lora_rank: 4' 'learning_rate: 0.01' \
        'per_device_train_batch_size: 2' 'logging_steps: 1' 'max_steps: 6' > r.yaml
}

killed_at_once() { # KEY=VALUE...: a run that is killed after its first steps
    train r.yaml output_dir=out overwrite_output_dir=true max_steps=1000000 "$@" --device cpu \
        2> said 3>&- & local pid=$!
    until_true grep -q 'is in out/replaced' said
    until_true has_step out 1
    kill -9 $pid
    wait $pid || true
}

@test "runs: a folder for events that cannot be made is reported before an old run is removed" {
    make_recipe
    train r.yaml output_dir=out --quiet --device cpu
    md5sum out/*.json* out/*.safetensors out/checkpoint-6/* > sums
    touch file
    for where in file /proc/nothing out/adapter_config.json; do
        run --separate-stderr ! train r.yaml output_dir=out overwrite_output_dir=true \
            report_to=tensorboard \
            logging_dir=$where --quiet --device cpu
        [[ "$stderr" == "train: logging_dir: "* ]]
        md5sum --quiet -c sums
    done
    # If logging_dir is a name that the run itself needs, the run is refused at the start, and
    # leaves no file.
    for where in checkpoint-2 best; do
        run --separate-stderr -2 train r.yaml output_dir=new report_to=tensorboard \
            logging_dir=new/$where save_steps=2 \
            metric_for_best_model=loss eval_file=32.smp eval_steps=2 --quiet --device cpu
        [[ "$stderr" == "train: new/$where exists already: "* ]]
        [ ! -e new ]
    done
}

@test "runs: a run that overwrite_output_dir replaces is kept until the new run has saved something" {
    make_recipe
    sums() { (cd "$1" && find . -type f ! -path './replaced*' -exec md5sum {} + | sort); }
    train r.yaml output_dir=out save_steps=2 report_to=tensorboard --quiet --device cpu
    sums out > before
    echo mine > out/notes
    killed_at_once seed=3
    grep -qxF 'train: out: the earlier run is in out/replaced until this run has saved a checkpoint or its result' said
    # The folder of the earlier run is whole: it may be used, and even trained further.
    sums out/replaced | diff before -
    run --separate-stderr -0 train r.yaml output_dir=out/replaced save_steps=2 --device cpu
    [[ "$stderr" == *"out/replaced: already finished: 6 steps of this recipe"* ]]
    # A run that has saved nothing is not worth keeping, but the run before it is.
    killed_at_once seed=4
    sums out/replaced | diff before -
    [ "$(cd out && echo replaced*)" = replaced ]
    run --separate-stderr -2 train r.yaml output_dir=out overwrite_output_dir=true \
        adapter_name_or_path=out/replaced
    [[ "$stderr" == *"adapter_name_or_path is out/replaced, which overwrite_output_dir=true would remove"* ]]
    # The first checkpoint ends it, also in a run that does not overwrite.
    train r.yaml output_dir=out resume_from_checkpoint=auto seed=4 max_steps=2 --quiet --device cpu
    [ ! -e out/replaced ]
    [ "$(cat out/notes)" = mine ]
    # A folder of somebody else keeps its name.
    mkdir out/replaced
    killed_at_once seed=5
    [ -z "$(ls out/replaced)" ]
    [ -e out/replaced-2/adapter_model.safetensors ]
    train r.yaml output_dir=out overwrite_output_dir=true save_strategy=no seed=6 max_steps=2 \
        --quiet --device cpu
    [ "$(cd out && echo replaced*)" = replaced ]
    train r.yaml output_dir=fresh save_strategy=no seed=6 max_steps=2 --quiet --device cpu
    cmp out/adapter_model.safetensors fresh/adapter_model.safetensors
}

@test "runs: a replaced run that is trained further is not removed" {
    make_recipe
    train r.yaml output_dir=out --quiet --device cpu
    killed_at_once seed=3
    train r.yaml output_dir=out/replaced max_steps=8 --quiet --device cpu
    run --separate-stderr -0 train r.yaml output_dir=out resume_from_checkpoint=auto seed=3 \
        max_steps=2 --quiet --device cpu
    [ "$stderr" = "train: out/replaced: the earlier run was trained further there, so it stays" ]
    # It is no result of the new run.
    train --verify out --quiet
    [ -e out/replaced/checkpoint-8/training_state ]
    [ -e out/replaced/adapter_model.safetensors ]
    # Nor is it while a program trains it.
    rm -r out
    train r.yaml output_dir=out --quiet --device cpu
    killed_at_once seed=3
    train r.yaml output_dir=out/replaced max_steps=1000000 --quiet --device cpu 3>&- & pid=$!
    until_true has_step out/replaced 8
    run --separate-stderr -0 train r.yaml output_dir=out resume_from_checkpoint=auto seed=3 \
        max_steps=2 --quiet --device cpu
    [[ "$stderr" == *"was trained further there, so it stays" ]]
    kill -9 $pid
    wait $pid || true
    [ -e out/replaced/checkpoint-6/training_state ]
    [ -e out/replaced/adapter_model.safetensors ]
}

@test "runs: a run that is killed while it moves or removes an earlier one loses no file of it, and forgets none" {
    [ -e "$BUILD/tests/fault.so" ] || skip "faults are injected into the release flavour only"
    make_recipe
    train r.yaml output_dir=first save_steps=2 --quiet --device cpu
    new=(train_file=- seed=3 max_steps=2 --quiet --device cpu)
    train r.yaml output_dir=second "${new[@]}" < 32.smp
    for at in $(seq 1 2 99); do
        rm -rf out mark
        cp -a first out
        if FAULT_OF=kill FAULT_AT=$at FAULT_BEGIN=out/replaced FAULT_MARK=mark \
            LD_PRELOAD="$BUILD/tests/fault.so" \
            train r.yaml output_dir=out overwrite_output_dir=true "${new[@]}" < 32.smp; then
            break
        fi
        [ -e mark ]
        echo "$at" >> done
        # Before the new run is in the record, the earlier one is put back.
        if ! grep -q '"seed": *3' out/longqlora-run.json; then
            run -0 train r.yaml output_dir=out save_steps=2 --device cpu
            [[ "$output" == *"out: already finished: 6 steps of this recipe"* ]]
            diff -r first out
        else
            train r.yaml output_dir=out resume_from_checkpoint=auto "${new[@]}" < 32.smp
            [ "$(ls -A out)" = "$(ls -A second)" ]
            cmp out/adapter_model.safetensors second/adapter_model.safetensors
        fi
    done
    [ "$(wc -l < done)" -gt 10 ]
}

@test "runs: a replaced run is removed by no other run than the one that replaced it, and is no input of that one" {
    make_recipe
    train r.yaml output_dir=out --quiet --device cpu
    cp -a out first
    killed_at_once seed=3
    for resume in none auto true; do
        run --separate-stderr -3 train r.yaml output_dir=out max_steps=8 \
            resume_from_checkpoint=$resume --quiet --device cpu
        [[ "$stderr" == "train: out: the recipe changed since the run began: seed was 3, is 42; the run there has replaced an earlier one: to use that one, set output_dir=out/replaced; "* ]]
    done
    for key in adapter_name_or_path=out/replaced model_name_or_path=out/replaced \
        eval_file=out/replaced/proof.jsonl resume_from_checkpoint=out/replaced/checkpoint-6; do
        run --separate-stderr -2 train r.yaml output_dir=out seed=3 "$key" --quiet --device cpu
        [[ "$stderr" == *"train: ${key%=*} is ${key#*=}, in the earlier run that is removed once the run in out has saved something: name another output_dir, or move out/replaced out of it" ]]
    done
    diff -r first out/replaced
    # It is restored by a copy. Then there are two of it, and the copy is replaced again.
    cp -a out/replaced/. out
    train r.yaml output_dir=out overwrite_output_dir=true seed=3 max_steps=2 --quiet --device cpu
    diff -r first out/replaced
    [ "$(cd out && echo replaced*)" = replaced ]
    train --verify out --quiet
    # A link in the place of its folder is not followed.
    rm -r out
    cp -a first out
    killed_at_once seed=3
    mkdir elsewhere
    mv out/replaced elsewhere
    ln -s ../elsewhere/replaced out
    train r.yaml output_dir=out resume_from_checkpoint=auto seed=3 max_steps=2 --quiet --device cpu
    diff -r first elsewhere/replaced
}

@test "runs: a replaced run stays as long as another program reads it" {
    make_recipe
    train r.yaml output_dir=out --quiet --device cpu
    killed_at_once seed=3
    run --separate-stderr -0 flock -s out/replaced "$BIN/train" r.yaml output_dir=out \
        resume_from_checkpoint=auto seed=3 save_steps=1 max_steps=2 --quiet --device cpu
    [ "$stderr" = "train: out/replaced: another program uses the earlier run, so it stays" ]
    [ -e out/replaced/adapter_model.safetensors ]
    train --verify out --quiet
    train r.yaml output_dir=out seed=3 save_steps=1 max_steps=4 --quiet --device cpu
    [ ! -e out/replaced ]
}

@test "runs: a run that has saved only its best model is kept when another one replaces it" {
    make_recipe
    train r.yaml output_dir=out max_steps=1000000 save_steps=1000000 eval_file=few.smp \
        eval_steps=2 load_best_model_at_end=true --quiet --device cpu 3>&- & local pid=$!
    until_true test -e out/best/manifest.json
    kill -9 $pid
    wait $pid || true
    killed_at_once seed=3
    [ -e out/replaced/best/adapter_model.safetensors ]
    [ ! -e out/best ]
}

@test "runs: an evaluation file without a single target is refused before any work" {
    make_recipe
    pack --quiet --context 32 --strategy split docs.tok --to jsonl > all
    perl -MForeignStream -MJSON::PP -e '
        my $s = ForeignStream->new(kind => "samples", tokenizer => decode_json(<STDIN>)->{tokenizer}, dtype => "u16",
            add_bos => ForeignStream::yes(), add_eos => ForeignStream::no(), context => 32, strategy => "split", seed => 0);
        $s->add(tokens => ForeignStream::u16(5), documents => ForeignStream::u32(1), source => "even");
        $s->close' < all > none.smp
    run --separate-stderr -3 train r.yaml output_dir=out eval_file=none.smp --device cpu
    [ "$stderr" = "train: none.smp: its samples have no target tokens" ]
    [ ! -e out ]
}

@test "runs: a perplexity that is too large for a number ends no run" {
    make_base
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        train_file=16.smp \
        eval_file=16.smp output_dir=out max_steps=4 learning_rate=100 --quiet --device cpu
    [ -e out/model.safetensors ]
    perl -MJSON::PP -ne \
        'my $l = decode_json($_); $n++ if $l->{eval_loss} > 1000 && !defined $l->{eval_perplexity};
        END { exit !$n }' out/trainer_log.jsonl
}


@test "runs: a run whose folder is renamed goes on there, and a new run may take the old name" {
    make_recipe
    train r.yaml output_dir=out max_steps=1000 save_steps=500 --quiet --device cpu & pid=$!
    until_true has_step out 5
    mv out moved
    train r.yaml output_dir=out seed=1 --quiet --device cpu
    wait $pid
    [ "$(ls out)" = \
        "$(printf '%s\n' adapter_config.json adapter_model.safetensors checkpoint-6 longqlora-run.json \
        longqlora.json proof.jsonl trainer_log.jsonl)" ]
    [ -e moved/checkpoint-1000/manifest.json ]
    [ -e moved/adapter_model.safetensors ]
    run train r.yaml output_dir=moved max_steps=1000 save_steps=500 --device cpu
    [[ "$output" == *"already finished"* ]]
}

@test "runs: a run whose folder was renamed does not remove an empty folder that somebody made at its old name" {
    make_recipe
    train r.yaml output_dir=out max_steps=1000 save_steps=500 --quiet --device cpu & pid=$!
    until_true has_step out 5
    mv out moved
    mkdir out
    wait $pid
    [ -d out ]
    [ -e moved/adapter_model.safetensors ]
    # The same holds for a run that a signal ends.
    rmdir out
    train r.yaml output_dir=out max_steps=100000 save_steps=100000 --quiet --device cpu & pid=$!
    until_true has_step out 5
    mv out gone
    mkdir out
    kill -TERM $pid
    wait $pid || true
    [ -d out ]
    ls -d gone/checkpoint-*
}

@test "runs: a file that somebody put into the best model's folder stays there" {
    make_recipe
    best=(eval_file=32.smp eval_steps=2 load_best_model_at_end=true save_steps=2 --quiet \
        --device cpu)
    train r.yaml output_dir=out max_steps=4 "${best[@]}"
    echo mine > out/best/notes
    train r.yaml output_dir=out max_steps=12 "${best[@]}"
    [ "$(cat out/best/notes)" = mine ]
    [ ! -e out/best-before ]
    [ -e out/adapter_model.safetensors ]
}

@test "runs: a run that was killed between two best models loses no file of somebody else" {
    make_recipe
    best=(eval_file=32.smp eval_steps=2 load_best_model_at_end=true --quiet --device cpu)
    train r.yaml output_dir=out max_steps=6 "${best[@]}"
    mark=$(perl -MJSON::PP -e 'local $/; print decode_json(<>)->{mark}' out/longqlora-run.json)
    # As after the kill: the old model has its temporary name, and contains the file.
    cp -r out/best "out/$mark.best"
    echo mine > "out/$mark.best/notes"
    train r.yaml output_dir=out max_steps=8 "${best[@]}"
    [ "$(cat out/best/notes)" = mine ]
    [ ! -e "out/$mark.best" ]
}

@test "runs: a run is not resumed with another evaluation file, because it decides which model is the best" {
    make_recipe
    best=(eval_steps=2 load_best_model_at_end=true save_steps=2 --quiet --device cpu)
    train r.yaml output_dir=out eval_file=32.smp max_steps=4 "${best[@]}"
    run --separate-stderr -3 train r.yaml output_dir=out eval_file=few.smp max_steps=6 "${best[@]}"
    [[ "$stderr" == *"the first eval_file, whose loss decides which model is the best, changed"* ]]
    # A second file decides nothing.
    train r.yaml output_dir=out eval_file=32.smp,few.smp max_steps=6 "${best[@]}"
}

@test "runs: an evaluation that fails loses no step" {
    [ -e "$BUILD/tests/shrink.so" ] || skip "faults are injected into the release flavour only"
    make_recipe
    # The samples have two frames. The first one is in memory.
    for i in $(seq 45); do cat docs.jsonl; done | tokenize --quiet -m tok/tokenizer.model |
        pack --quiet --context 32 --strategy split -o whole.smp
    cp whole.smp eval.smp
    run --separate-stderr ! env SHRINK=eval.smp SHRINK_TO=$(($(stat -c %s eval.smp) / 4)) \
        SHRINK_WHEN="step 6 of 6" LD_PRELOAD="$BUILD/tests/shrink.so" \
        train r.yaml output_dir=out eval_file=eval.smp eval_on_start=false --device cpu
    [[ "$stderr" == *"step 6 is saved: once the cause is removed, resume_from_checkpoint=auto goes on"* ]]
    cp whole.smp eval.smp
    train r.yaml output_dir=out eval_file=eval.smp eval_on_start=false \
        resume_from_checkpoint=auto --quiet --device cpu
    [ -e out/adapter_model.safetensors ]
    grep -q eval_loss out/trainer_log.jsonl
}

@test "runs: resuming from an earlier checkpoint with other learning rates is refused, because it is another run" {
    make_recipe
    linear=(lr_scheduler_type=linear save_steps=2 save_total_limit=0 --quiet --device cpu)
    train r.yaml output_dir=out "${linear[@]}"
    run --separate-stderr -2 train r.yaml output_dir=out max_steps=8 "${linear[@]}" \
        resume_from_checkpoint=out/checkpoint-2
    [[ "$stderr" == \
        "train: out/checkpoint-6 has steps whose learning rates would differ with another number of steps: "* ]]
    [ -e out/adapter_model.safetensors ]
    train r.yaml output_dir=apart max_steps=8 "${linear[@]}" resume_from_checkpoint=out/checkpoint-2
    # With equal rates the later checkpoints are made again, the same as before.
    train r.yaml output_dir=even save_steps=2 --quiet --device cpu
    train r.yaml output_dir=even save_steps=2 --quiet --device cpu max_steps=8 \
        resume_from_checkpoint=even/checkpoint-2
    # A run is lengthened from its last checkpoint. The same command line can be repeated.
    for i in 1 2; do
        train r.yaml output_dir=apart max_steps=12 "${linear[@]}" \
            resume_from_checkpoint=apart/checkpoint-8
        rm apart/adapter_model.safetensors
    done
}

@test "runs: a checkpoint without permission to read is reported as that, not as another run's" {
    make_recipe
    train r.yaml output_dir=out --quiet --device cpu
    chmod 000 out/checkpoint-6
    # root may read everything, except without these capabilities.
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --bounding-set -dac_override,-dac_read_search)
    for quiet in '' --quiet; do
        run --separate-stderr -2 "${as[@]}" train r.yaml output_dir=out max_steps=8 $quiet \
            --device cpu
        [[ "$stderr" == \
            *"train: out: no checkpoint can be resumed: out/checkpoint-6: Permission denied; "* ]]
        [[ "$stderr" != *"did not make it"* ]]
    done
    chmod 700 out/checkpoint-6
    run -0 train r.yaml output_dir=out max_steps=8 --quiet --device cpu
}

# Starts a run that stops itself (SIGSTOP) after a step, changes the base by the command, and lets
# the run go on. Its messages are in `said`.
change_base_after() { # STEP COMMAND KEY=VALUE...
    local step=$1 command=$2
    shift 2
    status=0
    train r.yaml model_name_or_path=own quantization=none --device cpu save_steps=1000 "$@" \
        2> said & pid=$!
    until_true has_step out "$step"
    kill -STOP $pid
    eval "$command"
    kill -CONT $pid
    wait $pid || status=$?
    cat said
}

@test "runs: if somebody changes the base during a run, no step that read it is saved, and the run goes on once it is restored" {
    make_recipe
    cp -rL base own
    cp -p own/model.safetensors was
    steps=$(less 1000 300)
    keys="output_dir=out max_steps=$steps resume_from_checkpoint=auto"
    train r.yaml model_name_or_path=own quantization=none --device cpu --quiet save_steps=1000 \
        max_steps=$steps output_dir=whole
    other="head -c 30000 /dev/zero |
        dd of=own/model.safetensors bs=1000 seek=20 conv=notrunc status=none"
    # The bytes are NaN, so the loss is too.
    change_base_after 5 "${other/|/| tr '\\0' '\\377' |}" $keys
    [ "$status" = 3 ]
    at=$(sed -n 's/^train: own\/model.safetensors: somebody changed it during step \([0-9]*\): restore its content, then resume_from_checkpoint=auto goes on$/\1/p' said)
    [ "$at" -lt $steps ]
    [ "$(cd out && ls -d checkpoint-*)" = checkpoint-$((at - 1)) ]
    [ ! -e out/adapter_model.safetensors ]
    # With the other content the run is not resumed.
    run --separate-stderr -3 train r.yaml model_name_or_path=own quantization=none \
        --device cpu $keys
    [[ "$stderr" == *"the base changed since the run began"* ]]
    cat was > own/model.safetensors
    # The content is another one for a moment, and its time is restored too. The step that may have
    # read it is computed again.
    change_base_after "$at" "$other; cp -p was own/model.safetensors" $keys
    [ "$status" = 0 ]
    [ "$(grep -c '^train: own/model.safetensors: its time changed, but its content is the old one: step [0-9]* is computed again$' said)" = 1 ]
    cmp out/adapter_model.safetensors whole/adapter_model.safetensors
    cmp out/checkpoint-$steps/training_state whole/checkpoint-$steps/training_state
    # The file that is read is watched, whatever its name has become.
    rm -r out
    change_base_after 5 "mv own moved; ${other//own/moved}" $keys
    [ "$status" = 3 ]
    grep -q '^train: own/model.safetensors: somebody changed it during step' said
    [ ! -e out/adapter_model.safetensors ]
    # A base that has gone from the folder can be read to the end.
    rm -r out moved
    cp -rL base own
    change_base_after 5 "rm -r own" $keys
    [ "$status" = 0 ]
    cmp out/adapter_model.safetensors whole/adapter_model.safetensors
}

@test "runs: if the base is overwritten with NaN during an evaluation, the run ends as it does in a step" {
    make_recipe
    cp -rL base own
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do cat 16.smp; done > long.smp
    change_base_after 5 "sleep 0.1; kill -CONT \$pid; sleep 0.1
        head -c 30000 /dev/zero | tr '\\0' '\\377' |
        dd of=own/model.safetensors bs=1000 seek=20 conv=notrunc status=none" output_dir=out \
        max_steps=100000 eval_file=long.smp eval_steps=1 eval_on_start=false
    [ "$status" = 3 ]
    grep -q '^train: own/model.safetensors: somebody changed it during the evaluation after step' said
    grep -q '^train: step [0-9]* is saved: once the cause is removed' said
}

@test "runs: an adapter that is trained further may be changed once the run has read it" {
    make_recipe
    cp -rL base own
    train r.yaml output_dir=first --quiet --device cpu
    keys="output_dir=out adapter_name_or_path=first max_steps=$(less 300 100)"
    train r.yaml model_name_or_path=own quantization=none $keys save_steps=1000 output_dir=whole \
        --quiet --device cpu
    change_base_after 5 "head -c 10000 /dev/zero |
        dd of=first/adapter_model.safetensors bs=1000 seek=2 conv=notrunc status=none" $keys
    [ "$status" = 0 ]
    [ "$(grep -c 'computed again' said)" = 0 ]
    cmp out/adapter_model.safetensors whole/adapter_model.safetensors
}

@test "runs: if somebody shortens the base or copies over it during a run, the steps before are saved, and the run goes on once it is restored" {
    make_recipe
    quantize --quiet --to bnb base -o bnb
    merge --quiet --base base --to gguf -o base.gguf
    tokenize --quiet -m base.gguf docs.jsonl | pack --quiet --context 32 -o gguf.smp
    steps=$(less 1000 200)
    # The base, its file, its quantization, the samples, and the command that changes the file.
    while IFS=: read -r from file type samples command; do
        rm -rf own* out whole
        cp -rL "$from" "${file%/*}"
        cp "$file" was
        keys="model_name_or_path=${file%/*} quantization=$type train_file=$samples
            output_dir=out max_steps=$steps resume_from_checkpoint=auto"
        train r.yaml $keys --device cpu --quiet save_steps=1000 output_dir=whole
        change_base_after 5 "$command $file" $keys < /dev/null
        [ "$status" = 3 ]
        at=$(sed -n "s,^train: $file: somebody shortened it during step \([0-9]*\)\, or it can no longer be read: restore its content\, then resume_from_checkpoint=auto goes on$,\1,p" said)
        [ "$at" -gt 5 ]
        [ "$at" -lt "$steps" ]
        grep -qx "train: step $((at - 1)) is saved: once the cause is removed, resume_from_checkpoint=auto goes on" said
        [ "$(cd out && ls -d checkpoint-*)" = checkpoint-$((at - 1)) ]
        [ ! -e out/adapter_model.safetensors ]
        cat was > "$file"
        train r.yaml $keys --device cpu --quiet save_steps=1000
        cmp out/adapter_model.safetensors whole/adapter_model.safetensors
        cmp "out/checkpoint-$steps/training_state" "whole/checkpoint-$steps/training_state"
        echo "$from: $command" >> done
    done << 'END'
base:own/model.safetensors:none:32.smp:truncate -s 0
base:own/model.safetensors:none:32.smp:truncate -s 16384
base:own/model.safetensors:none:32.smp:cp r.yaml
bnb:own/model.safetensors:nf4:32.smp:truncate -s 0
base.gguf:own.gguf:none:gguf.smp:truncate -s 0
END
    [ "$(wc -l < done)" = 5 ]
}

@test "runs: --quiet does not hide that a checkpoint was skipped, or that a run starts at step 0 again" {
    make_recipe
    keys="output_dir=out save_steps=2 save_total_limit=0 resume_from_checkpoint=auto --device cpu"
    train r.yaml $keys max_steps=6 --quiet
    cp -r out whole
    rm out/longqlora.json
    flip out/checkpoint-6/training_state 0.5
    run --separate-stderr -0 train r.yaml $keys max_steps=6 --quiet
    [[ "$stderr" == "train: skipped: out/checkpoint-6/training_state: damaged: "* ]]
    [ "${#stderr_lines[@]}" = 1 ]
    cmp out/adapter_model.safetensors whole/adapter_model.safetensors
    rm -r out/longqlora.json out/checkpoint-*
    run --separate-stderr -0 train r.yaml $keys max_steps=6 --quiet
    [ "$stderr" = \
        "train: out/longqlora-run.json lists checkpoints, but none can be resumed: starting at step 0" ]
    cmp out/adapter_model.safetensors whole/adapter_model.safetensors
    # A new run has nothing to resume, and that is no warning.
    run --separate-stderr -0 train r.yaml $keys output_dir=new max_steps=2 --quiet
    [ -z "$stderr" ]
}

@test "runs: a checkpoint that lacks its manifest.json is called incomplete, stays, and does not block the run" {
    make_recipe
    keys="output_dir=out save_steps=2 save_total_limit=1 resume_from_checkpoint=auto --device cpu"
    train r.yaml $keys save_total_limit=0 max_steps=6 --quiet
    cp -r out whole
    rm out/longqlora.json out/checkpoint-6/manifest.json
    cp -r out/checkpoint-6 was
    run --separate-stderr -0 train r.yaml $keys max_steps=6 --quiet
    [ "$stderr" = "$(printf '%s\n' \
        'train: skipped: out/checkpoint-6: incomplete: it has no manifest.json' \
        'train: out/checkpoint-6 exists already, and is incomplete: saved as out/checkpoint-6-2')" ]
    cmp out/adapter_model.safetensors whole/adapter_model.safetensors
    cmp out/checkpoint-6-2/training_state whole/checkpoint-6/training_state
    diff -r was out/checkpoint-6
    rm -r out/checkpoint-6-2
    # A run that begins again would have to replace it.
    run --separate-stderr -2 train r.yaml $keys resume_from_checkpoint=none \
        overwrite_output_dir=true
    [ "${stderr_lines[-1]}" = \
        "train: out/checkpoint-6 exists already: it is a checkpoint of the run, but without its manifest.json, so it is not removed: move it away, or name another output_dir" ]
    diff -r was out/checkpoint-6
}
