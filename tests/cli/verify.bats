load helper

# Tests `train --verify`, which replays the steps between the checkpoints of a run and compares all
# bytes.

# Makes `out`, a run with checkpoints of steps 2, 4 and 6 and a best model of step 3 or 6.
make_run() {
    make_base
    cp "$made"/{base.nf4,32.smp,few.smp} . 2> /dev/null || true
    for file in base.nf4 32.smp few.smp; do rm $file && cp "$made/$file" .; done
    lora out --quiet save_steps=2 eval_file=few.smp eval_steps=3 metric_for_best_model=loss "$@"
}

# Verifies a run that is not as it was, and fails unless the pattern matches what is printed.
finds() { # STATUS PATTERN RUN...
    local wanted=$1 words=$2
    shift 2
    run --separate-stderr "-$wanted" train --verify "$@"
    [[ "$output" == *$words* ]] || { echo "not '$words' but: $output" && false; }
    [[ "$stderr" == *"train: ${1%%:*}: not verified: "* ]]
}

@test "verify: a run is replayed between its checkpoints, and nothing is written to its folder" {
    make_run
    mkdir temporary
    export TMPDIR=$PWD/temporary
    state() { find out -exec stat -c '%n %s %y %z %i' {} + | sort; }
    state > before
    run --separate-stderr -0 train --verify out
    state | diff before -
    [ -z "$(ls -A temporary)" ]
    [[ "$output" == "checkpoint-2: steps 1-2: verified"*"checkpoint-4: "*": verified"*"the result: verified" ]]
    [ "$stderr" = "train: out: verified" ]
    train --verify out:2-4 --quiet > part
    grep -q '^checkpoint-4: ' part
    run ! grep -e checkpoint-2 -e checkpoint-6 -e result part
    train --verify out --format json --quiet | perl -MJSON::PP -e 'my $r = decode_json(join "", <STDIN>);
        die unless $r->{verified} && $r->{stretches_verified} == 5 && !@{ $r->{problems} };
        die unless $r->{stretches}[0]{name} eq "checkpoint-2" && $r->{stretches}[0]{to} == 2'
    # The recipe may be named too. It must be that of the run.
    cat > whole.yaml <<'YAML'
{lora_rank: 4, learning_rate: 0.01, per_device_train_batch_size: 2, logging_steps: 2, max_steps: 6,
 eval_steps: 3, eval_file: few.smp, metric_for_best_model: loss, train_file: 32.smp}
YAML
    train whole.yaml --verify out:4-6 --quiet > /dev/null
    sed -i 's/0.01/0.03/' whole.yaml
    finds 3 "whole.yaml: the recipe is not that of the run: learning_rate was 0.01, is 0.03" out whole.yaml
    finds 3 "seed was 42, is 43" out:4-6 seed=43
    run -2 --separate-stderr train --verify out:1-4
    [[ "$stderr" == *"no checkpoint is kept of step 1; there are those of the steps 0, 2, "* ]]
    run -2 --separate-stderr train --verify tok
    [[ "$stderr" == *"tok: it has no checkpoint, and no result with a proof.jsonl"* ]]
    mkdir -p out/inside
    TMPDIR=$PWD/out/inside run -2 --separate-stderr train --verify out
    [[ "$stderr" == *"is in the folder of the run"* ]]
    # TMPDIR is checked before anything is computed: so many steps would take for ever.
    cp -r out/checkpoint-2 many
    sed -i '$s/"step":2,/"step":2000000000,/' many/proof.jsonl
    TMPDIR=$PWD/many run -2 --separate-stderr timeout 60 train --verify many
    [[ "$stderr" == *"is in the folder of the run"* ]]
}

@test "verify: one changed bit is found, and the message names the file, and the part of a checkpoint" {
    make_run
    damage() { # WORDS FILE BYTE
        rm -rf bad && mkdir bad && cp -r out base.nf4 32.smp few.smp bad
        (cd bad && flip "${@:2}" && finds 3 "$1" out)
    }
    changed="it has changed since the run wrote it"
    state=out/checkpoint-4/training_state
    damage "checkpoint-4: steps 3-4: training_state: the array value, element " $state 0.2
    damage "checkpoint-4: steps 3-4: training_state: the array moment1, element " $state 0.5
    damage "training_state: the array moment2, element *: $changed*checkpoint-6: verified" $state 0.9
    damage "training_state: the header: $changed" $state 200
    damage "checkpoint-6: adapter_model.safetensors: the tensor base_model.model.*: $changed" \
        out/checkpoint-6/adapter_model.safetensors 0.8
    damage "checkpoint-4: steps 3-4: manifest.json: its values: $changed" out/checkpoint-4/manifest.json 0.5
    damage "checkpoint-4: proof.jsonl: line 2: " out/checkpoint-4/proof.jsonl 300
    damage "checkpoint-4: steps 3-4: proof.jsonl: " out/checkpoint-4/proof.jsonl 0.99
    damage "best: *training_state: the array " out/best/training_state 0.5
    damage "the result: adapter_model.safetensors: the tensor " out/adapter_model.safetensors 0.6
    damage "the result: adapter_config.json: line " out/adapter_config.json 0.6
    damage "the result: longqlora.json: line " out/longqlora.json 0.6
    damage "the result: proof.jsonl: line " out/proof.jsonl 0.6
    damage "out/longqlora-run.json: " out/longqlora-run.json 0.5
    damage "model_name_or_path: base.nf4 differs from the file that the run read: SHA-256 " base.nf4 0.5
    damage "train_file: 32.smp differs from the file that the run read" 32.smp 0.5
    damage "eval_file: few.smp differs from the file that the run read" few.smp 0.5
    # A recipe in the record that the run did not have.
    rm -rf bad && mkdir bad && cp -r out base.nf4 32.smp few.smp bad && cd bad
    sed -i 's/"learning_rate": [0-9.]*/"learning_rate": 0.03/' out/longqlora-run.json
    finds 3 "out/longqlora-run.json: learning_rate is 0.03 there, and 0.01 in proof.jsonl" out
    # A result whose chain was removed is not left out silently.
    cp ../out/longqlora-run.json out && rm out/proof.jsonl && flip out/adapter_model.safetensors 0.6
    finds 3 "out/longqlora-run.json: the run is finished, and its result has no proof.jsonl" out
}

@test "verify: files of others stay unread, and a file that cannot be read is a finding" {
    make_run
    mkdir out/checkpoint-4/notes
    ln -s nowhere out/checkpoint-4/link
    train --verify out --quiet > /dev/null
    rm out/checkpoint-4/training_state && mkdir out/checkpoint-4/training_state
    finds 3 "checkpoint-4: steps 3-4: training_state: " out
    [[ "$output" == *"checkpoint-6: "*": verified"* ]]
    # In JSON, a byte that is not of UTF-8 becomes "?".
    rm out/longqlora-run.json && mkdir out/longqlora-run.json && mv out $'out\xff'
    train --verify $'out\xff' --format json --quiet > report || [ $? = 3 ]
    perl -MJSON::PP -e 'my $r = decode_json(join "", <STDIN>);
        die unless $r->{run} eq "out?" && @{ $r->{problems} } == 1;
        die unless $r->{problems}[0] =~ m{^out\?/longqlora-run.json: }' < report
}

@test "verify: each line of the chain has the SHA-256 of the line before it, as sha256sum prints it" {
    make_run
    [ "$(wc -l < out/proof.jsonl)" = 7 ]
    for line in 2 3 4 5 6 7; do
        [ "$(sed -n "$((line - 1))p" out/proof.jsonl | sha256sum | cut -c1-64)" = \
            "$(sed -n "${line}s/^{\"previous\":\"\([^\"]*\)\".*/\1/p" out/proof.jsonl)" ]
    done
    tail -n 1 out/proof.jsonl | grep -q "$(sha256sum < out/adapter_model.safetensors | cut -c1-64)"
    head -n 1 out/proof.jsonl | grep -q "$(sha256sum < base.nf4 | cut -c1-64)"
    head -n 1 out/proof.jsonl | grep -q "$(sha256sum < 32.smp | cut -c1-64)"
    cmp <(head -n 2 out/proof.jsonl) out/checkpoint-2/proof.jsonl
}

@test "verify: other kernels are refused by name, and nothing is replayed" {
    make_run
    [ "$(uname -m)" = x86_64 ] || skip "levels of the CPU kernels are those of x86-64"
    export LONGQLORA_CPU=baseline
    finds 3 'the run was made with another level of the CPU kernels: "' out
    [[ "$output" == *"checkpoint-2: steps 1-2: not replayed"*"the result: not replayed" ]]
    unset LONGQLORA_CPU
    sed -i '1s/"version":"[^"]*"/"version":"0.1"/' out/checkpoint-2/proof.jsonl
    finds 3 'checkpoint-2: proof.jsonl: line 2: the line before it is not the one' out
    head -n 1 out/checkpoint-2/proof.jsonl > one
    sed "s/\"previous\":\"[^\"]*\"/\"previous\":\"$(sha256sum < one | cut -c1-64)\"/" \
        <(sed -n 2p out/checkpoint-2/proof.jsonl) >> one
    cp one out/checkpoint-2/proof.jsonl
    finds 3 'the run was made with another version: "0.1" then, "' out:0-2
}

@test "verify: after checkpoints were removed, what remains is verified, and the other steps are named" {
    make_base
    lora out --quiet save_steps=1 save_total_limit=0 max_steps=4 lr_scheduler_type=linear
    lora out --quiet save_steps=1 save_total_limit=0 max_steps=7 lr_scheduler_type=linear
    rm -r out/checkpoint-[26]
    run --separate-stderr -0 train --verify out
    [[ "$output" == *"checkpoint-3: steps 2-3: verified"*"checkpoint-7: steps 6-7: verified"* ]]
    # The run went on from step 4 under another schedule.
    words="it cannot be replayed: the checkpoint of step 4, from which the run went on"
    flip out/checkpoint-4/training_state 0.5
    finds 3 "checkpoint-5: step 5: $words" out
    [[ "$output" == *"checkpoint-4: step 4: training_state: "*"checkpoint-7: steps 6-7: verified"* ]]
    rm -r out/checkpoint-4
    finds 1 "checkpoint-5: step 5: $words" out
    [[ "$output" == *"checkpoint-3: steps 2-3: verified"*"checkpoint-7: steps 6-7: verified"* ]]
    # Earlier versions wrote no chain.
    rm out/checkpoint-7/proof.jsonl out/proof.jsonl
    perl -0pi -e 's/"proof.jsonl": *\{[^}]*\},?//' out/checkpoint-7/manifest.json
    finds 3 "checkpoint-7: it has no proof.jsonl, because an earlier version of the program made it" out
}

@test "verify: a checkpoint that a run has left, going on from an earlier one, is named and does not count" {
    make_base
    of=(save_steps=2 save_total_limit=10 --quiet --device cpu)
    lora out max_steps=6 "${of[@]}"
    lora out max_steps=7 "${of[@]}"
    lora out max_steps=8 resume_from_checkpoint=out/checkpoint-2 "${of[@]}"
    # checkpoint-6 was replaced, and checkpoint-7 belongs to the way from the earlier one.
    [ -e out/checkpoint-7 ]
    run --separate-stderr -0 train --verify out
    [[ "$output" == *"checkpoint-7: "*": not verified, and left by the run"*"the result: verified"* ]]
    [ "$stderr" = "train: out: verified, without the checkpoints that the run has left" ]
    train --verify out --format json --quiet | perl -MJSON::PP -e 'my $r = decode_json(join "", <STDIN>);
        my ($left) = grep { $_->{left} } @{ $r->{stretches} };
        die unless $r->{verified} && !$r->{stretches_failed} && $left->{to} == 7 && !$left->{verified}'
    # Whoever names its steps is told that they cannot be verified.
    finds 1 "checkpoint-7: " out:6-7
    # If it is damaged, that is said as of every checkpoint.
    cp -r out damaged
    printf x >> damaged/checkpoint-7/training_state
    finds 3 "checkpoint-7: " damaged
    # A checkpoint from which the result comes is not left.
    lora other max_steps=6 "${of[@]}"
    lora other max_steps=7 "${of[@]}"
    rm -r other/checkpoint-6
    finds 1 "checkpoint-7: step 7: it cannot be replayed: " other
}

@test "verify: runs of every kind: whole models, adapters trained further, pipes, early stops, moved inputs" {
    make_base
    echo 'method: full' > full.yaml
    train full.yaml from_scratch=true attention=full model_name_or_path=config.json tokenizer=tok \
        train_file=16.smp output_dir=full max_steps=4 save_steps=2 --quiet
    train --verify full --quiet > said
    grep -q '^the result: verified' said
    train full.yaml model_name_or_path=base attention=full train_file=32.smp rope=linear \
        output_dir=more max_steps=3 save_steps=2 --quiet
    train --verify more --quiet > /dev/null
    # Dropout, the embedding too, accumulation; samples from a pipe are kept in the run's folder.
    lora one --quiet max_steps=3 save_steps=2 lora_dropout=0.3 train_embedding=true \
        train_norm=true gradient_accumulation_steps=2 train_file=- < 32.smp
    train --verify one --quiet > /dev/null
    # This adapter is trained further, until evaluations are no better.
    train lora.yaml adapter_name_or_path=one model_name_or_path=base.nf4 train_file=32.smp \
        output_dir=two max_steps=20 save_steps=5 eval_file=few.smp eval_steps=1 \
        learning_rate=0.5 save_total_limit=1 early_stopping_patience=2 \
        load_best_model_at_end=true --quiet
    [ ! -e two/checkpoint-20 ]
    train --verify two --quiet > said
    grep -q '^the result: verified' said
    rm -r two/best
    train --verify two --quiet > said
    grep -Eq '^the result: steps? 1(-[1-9])?: verified' said
    cp base.nf4 moved.nf4 && rm base.nf4
    advice="if it was moved, name its place: model_name_or_path=PATH"
    finds 3 "model_name_or_path: base.nf4: No such file or directory: $advice" two
    train --verify two model_name_or_path=moved.nf4 --quiet > /dev/null
    # A base from a pipe.
    train lora.yaml model_name_or_path=<(cat moved.nf4) train_file=32.smp output_dir=pipe \
        max_steps=2 --quiet
    finds 3 "model_name_or_path was a pipe, /dev/fd/" pipe
    train --verify pipe model_name_or_path=moved.nf4 --quiet > /dev/null
}

@test "verify: runs that signals stopped, and that went on with other numbers of ranks" {
    needs_mpi
    make_base
    ranks() { # N COMMAND...
        mpirun --oversubscribe -n "$@"
    }
    echo 'method: lora' > lora.yaml
    go() { # N OUT KEY=VALUE...
        ranks "$1" train lora.yaml output_dir="$2" model_name_or_path=base.nf4 train_file=32.smp \
            lora_rank=4 gradient_accumulation_steps=3 eval_file=few.smp eval_steps=2 \
            metric_for_best_model=loss logging_steps=3 save_total_limit=0 --threads 1 --quiet "${@:3}"
    }
    go 2 out max_steps=4 save_steps=3
    go 3 out max_steps=7 save_steps=3 resume_from_checkpoint=auto
    train --verify out --quiet > one
    ranks 2 train --verify out --quiet --threads 1 | diff one -
    grep -q '^checkpoint-7: .*verified' one
    # All ranks open an input at its present place.
    mv base.nf4 moved.nf4
    ranks 2 train --verify out:6-7 model_name_or_path=moved.nf4 --quiet --threads 1 > /dev/null
    mv moved.nf4 base.nf4
    flip out/checkpoint-6/training_state 0.5
    run -3 ranks 2 train --verify out --quiet --threads 1
    [[ "$output" == *"checkpoint-6: "*"training_state: the array moment1, element "* ]]
}

@test "verify: a run that signals stopped, before an evaluation or a line of the log too" {
    make_base
    go() { # KEY=VALUE...
        lora out --quiet max_steps=100000 save_steps=7 save_total_limit=2 \
            resume_from_checkpoint=auto logging_steps=3 eval_file=few.smp eval_steps=2 \
            metric_for_best_model=loss "$@"
    }
    for steps in 3 9 15; do
        go > said 2>&1 &
        until_true has_step out $steps
        kill -TERM "$(pgrep -P $!)"
        wait $! || true
    done
    train --verify out --quiet > said || { cat said && false; }
}

@test "verify: a recipe is compared with that of the steps after an earlier result" {
    make_base
    lora out --quiet save_steps=2 save_total_limit=0 max_steps=4 lr_scheduler_type=linear
    lora out --quiet save_steps=2 save_total_limit=0 max_steps=100000 lr_scheduler_type=linear \
        > said 2>&1 &
    until_true test -e out/checkpoint-6/manifest.json
    kill -KILL "$(pgrep -P $!)"
    wait $! || true
    train --verify out:2-4 max_steps=100000 --quiet > said || { cat said && false; }
    finds 3 "max_steps was 100000, is 4" out:2-4 max_steps=4
}

@test "verify: random stretches of 1 to 20 steps, of adapters and whole models" {
    make_base
    RANDOM=${SEED:-$RANDOM} verified=0
    echo "SEED=$RANDOM"
    wanted=$((LONG ? 50 : 3))
    for number in $(seq 100); do
        rm -rf out
        options="lora_dropout=0.$((RANDOM % 3)) seed=$RANDOM gradient_accumulation_steps=$((1 + RANDOM % 2))"
        case $((RANDOM % 3)) in
        0) options+=" method=full quantization=none model_name_or_path=base attention=full" ;;
        1) options+=" attention=full train_embedding=true logging_steps=7" ;;
        2) options+=" lr_scheduler_type=cosine warmup_steps=3 eval_file=few.smp eval_steps=9 metric_for_best_model=loss" ;;
        esac
        steps=$((LONG ? 60 : 30))
        lora out --quiet max_steps=$steps save_steps=1 save_total_limit=0 rope=linear $options
        for ((kept = 0; kept < steps; kept = next)); do
            next=$((kept + 1 + RANDOM % 20))
            for ((at = kept + 1; at < next && at < steps; at++)); do rm -r out/checkpoint-$at; done
        done
        train --verify out --quiet > said || { echo "$options" && cat said && false; }
        verified=$((verified + $(grep -c 'step.*: verified' said)))
        [ $verified -lt $wanted ] || break
    done
    echo "$verified stretches"
    [ $verified -ge $wanted ]
}

@test "verify: a disk that is full leaves no temporary folder" {
    make_run
    mkdir temporary
    TMPDIR=$PWD/temporary run --separate-stderr -1 bash -c 'ulimit -f 20; train --verify out --quiet'
    [[ "$stderr" == *"File too large"* ]]
    [ -z "$(ls -A temporary)" ]
}

@test "verify: a run that is under way is refused, because its files change" {
    make_run
    run -1 --separate-stderr flock out train --verify out
    [[ "$stderr" == "train: out: a run is under way there, and changes it: verify it when"* ]]
    flock --shared out train --verify out:4-6 --quiet
}

@test "verify: a recipe without the run's evaluation samples is another one, and the operand is named" {
    make_run
    finds 3 "eval_file=null: the recipe is not that of the run: eval_file was few.smp, is not there" \
        out:4-6 eval_file=null
    finds 3 "seed=43: the recipe is not that of the run: seed was 42, is 43" out:4-6 lora_rank=4 seed=43
    run -2 --separate-stderr train --verify out --list-keys
    [[ "$stderr" == "train: --verify: it stands alone, without --list-keys"* ]]
    run -2 --separate-stderr train --verify ''
    [[ "$stderr" == "train: --verify: the name is empty: "* ]]
    run -2 --separate-stderr train --verify out:0-99999999999999999999
    [[ "$stderr" == *"behind a colon, two steps are needed"* ]]
}

@test "verify: a file that is missing, and a name that tells another step, are named" {
    make_run
    cp -r out whole
    rm out/checkpoint-6/training_state
    finds 3 "checkpoint-6: training_state: it is not there (the replay gives the digests in " out:4-6
    rm -r out && cp -r whole out && rm out/checkpoint-6/proof.jsonl
    finds 3 "checkpoint-6: proof.jsonl: it is not there" out:4-6
    rm -r out && cp -r whole out && mv out/checkpoint-4 out/checkpoint-5
    finds 3 "checkpoint-5: steps 3-4: its name says step 5, but it is of step 4" out:2-4
}

@test "verify: what a run's record says of its result and its checkpoints is compared" {
    make_run
    cp out/longqlora-run.json whole
    edited() { # PERL WORDS
        perl -0pe "$1" whole > out/longqlora-run.json
        finds 3 "out/longqlora-run.json: $2" out:4-6
    }
    edited 's/"longqlora": 1/"longqlora": 2/' "it is of another version of the format, only 1 is known"
    edited 's/"adapter_config.json",/"other.json",/' "finished.files does not have the names"
    edited 's/"checkpoint-2"/"checkpoint-3"/' "folders does not have checkpoint-2"
    cp whole out/longqlora-run.json
    cp -r out/checkpoint-4 out/keep
    train --verify out:2-4 --quiet
}

@test "verify: a changed tokenizer, a base that became a folder, and a pipe are named" {
    make_base
    cp -rL tok mine
    lora full --quiet method=full from_scratch=true attention=full quantization=none \
        tokenizer=mine model_name_or_path=config.json train_file=16.smp max_steps=1
    flip mine/tokenizer.model 0.5
    finds 3 "tokenizer: mine/tokenizer.model differs from the file that the run read: SHA-256 " full
    lora out --quiet max_steps=1 eval_file=few.smp
    finds 3 "model_name_or_path: /dev/fd/*is a pipe, which cannot be compared" out \
        model_name_or_path=<(cat base.nf4)
    finds 3 "model_name_or_path: two?lines: No such file" out model_name_or_path=$'two\nlines'
    mv base.nf4 kept.nf4 && mkdir base.nf4
    finds 3 "model_name_or_path: base.nf4 was one of the run's inputs (proof.jsonl), and is not there" out
}

@test "verify: files and folders that may not be read are named as that, not as changed or absent" {
    make_run
    # root may read everything, but not without these capabilities.
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --bounding-set -dac_override,-dac_read_search)
    for name in checkpoint-4/training_state checkpoint-4; do
        chmod 000 out/$name
        run --separate-stderr "${as[@]}" train --verify out
        chmod 755 out/$name
        [ "$status" != 0 ]
        [[ "$output" == *"checkpoint-4: "*"ermission denied"* ]] || { echo "$output" && false; }
        [[ "$output" != *"has changed"* ]]
    done
}
