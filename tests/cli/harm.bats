load helper

# Tests that nothing is lost or damaged without a message: if memory or descriptors run out, if a
# signal comes at a bad moment, if standard error is an input, if a text has characters that a
# terminal would obey.

only_release() { [ "${FLAVOUR:-release}" = release ] ||
    skip "sanitizers take memory of their own"; }
with_faults() { [ -e "$BUILD/tests/fault.so" ] ||
    skip "faults are injected into the release flavour only"; }
teardown() { [ -z "${pid:-}" ] || kill -9 $pid 2> /dev/null || true; }

make_recipe() {
    make_base
    printf '%s\n' 'method: lora' 'model_name_or_path: base.nf4' 'train_file: 32.smp' \
        'lora_rank: 4' 'learning_rate: 0.01' \
        'per_device_train_batch_size: 2' 'logging_steps: 1' 'max_steps: 4' > r.yaml
}
make_adapter() {
    make_base
    [ -d "$BATS_FILE_TMPDIR/ad" ] || (lora ad --quiet model_name_or_path=base quantization=none &&
        mv ad "$BATS_FILE_TMPDIR")
    ln -s "$BATS_FILE_TMPDIR/ad" .
}
nothing_unfinished() { [ -z "$(find . -name '.longqlora-*')" ] || { find . -name '.longqlora-*'; \
    false; }; }

# ---- memory and descriptors ----

@test "harm: if memory is too small, generate, ppl, merge and train fail with a message that says so" {
    only_release
    make_adapter
    for command in "generate --model base -n 4 --prompt abc" \
        "ppl --model base --data docs.tok --context 16" \
        "merge --base base --adapter ad -o out" \
        "train lora.yaml output_dir=out model_name_or_path=base.nf4 train_file=32.smp max_steps=1 lora_rank=4"; do
        echo 'method: lora' > lora.yaml
        few=0
        for mb in $(seq 34 6 118); do
            status=0
            (ulimit -v $((mb * 1024)) && exec $command --threads 2 --device cpu) > said 2>&1 ||
                status=$?
            [ "${command%% *}" != merge ] || { status=0; (ulimit -v $((mb * 1024)) &&
                exec $command --threads 2) > said 2>&1 || status=$?; }
            # Libraries are initialised before main. The constructors of oneDNN 3 crash with so
            # little memory.
            if ((status > 128)); then
                (ulimit -v $((mb * 1024)) && exec ${command%% *} --version) > version 2>&1 ||
                    status=127
            fi
            [ "$status" = 0 ] || [ "$status" = 1 ] || [ "$status" = 127 ] ||
                { echo "$mb MB: $status: $command"; cat said; false; }
            if [ "$status" = 1 ]; then
                few=$((few + 1))
                tail -n 1 said | \
                    grep -Eq \
                    "^${command%% *}: .*(memory|threads? could be started|Cannot allocate)" ||
                    { cat said; false; }
            fi
            nothing_unfinished
            rm -rf out
        done
        [ $few -gt 0 ]
    done
}

@test "harm: too few file descriptors leave no unfinished file, and messages show no temporary name" {
    make_adapter
    echo 'method: lora' > lora.yaml
    train="train lora.yaml output_dir=out model_name_or_path=base.nf4 train_file=32.smp max_steps=1 lora_rank=4"
    for command in "merge --base base --adapter ad -o out" "quantize --to bnb base -o out" \
        "quantize base -o out" "$train" \
        "tokenize -m tok docs.jsonl -o out" "pack docs.tok --context 16 -o out" \
        "ppl -m base -d docs.tok -c 16 -o out"; do
        failed=0
        for n in 3 4 5 6 7 8; do
            status=0
            (ulimit -n $n && exec $command) > said 2>&1 || status=$?
            [ "$status" -lt 128 ] || { echo "$n: $status"; cat said; false; }
            [ "$status" = 0 ] || failed=$((failed + 1))
            [ "$status" = 0 ] || [ ! -e out ] || [ "${command%% *}" = train ]
            run ! grep -F .longqlora- said
            nothing_unfinished
            rm -rf out
        done
        [ $failed -gt 0 ]
    done
}

@test "harm: if the disk is full while a folder is written, the message has the folder's final name" {
    with_faults
    make_adapter
    fails() { env FAULT_OF=write FAULT_AT=3 FAULT_BEGIN="$1" FAULT_MARK=mark \
        LD_PRELOAD="$BUILD/tests/fault.so" "${@:2}"; }
    make_recipe
    run --separate-stderr -1 fails .checkpoint-2 train r.yaml output_dir=out save_steps=2 \
        --device cpu
    [[ "${stderr_lines[-1]}" == \
        "train: out/checkpoint-2/"*": cannot write: No space left on device" ]]
    nothing_unfinished
    run --separate-stderr -1 fails .result train r.yaml output_dir=new --device cpu
    [[ "${stderr_lines[-1]}" == "train: new/"*": cannot write: No space left on device" ]]
    [[ "$stderr" != *.longqlora-* ]]
    nothing_unfinished
}

# ---- messages and inputs ----

@test "harm: no message is written into an input file" {
    make_adapter
    printf 'method: lora\nfp16_backend: auto\n' > lora.yaml
    for f in docs.jsonl docs.tok base.nf4 32.smp; do cp -L $f own && mv own $f; done
    cp -rL base model
    echo '{"prompt":"ab"}' > prompts
    echo text > prompt
    sha256sum docs.jsonl docs.tok base.nf4 32.smp lora.yaml model/*.* prompts prompt > sums
    keys="model_name_or_path=base.nf4 train_file=32.smp output_dir=out lora_rank=4 max_steps=1"
    printf \
        'method: lora\nreport_to: none\ndeepspeed: x\ntrain_file: 32.smp\nmodel_name_or_path: base.nf4\nlora_rank: 4\n' \
        > whole.yaml
    sha256sum whole.yaml >> sums
    unharmed() { # FILE COMMAND...
        for how in '<>' '>>'; do
            status=0
            bash -c "exec \"\$@\" 2$how $1" bash "${@:2}" > /dev/null < /dev/null || status=$?
            [ "$status" = 2 ] || { echo "$status: $*"; false; }
            sha256sum --quiet -c sums
            [ ! -e out ]
        done
    }
    unharmed docs.jsonl tokenize -m tok docs.jsonl -o out
    unharmed docs.jsonl tokenize -m tok docs.jsonl --bogus
    unharmed model/tokenizer.model tokenize -m model docs.jsonl -o out
    unharmed docs.tok pack docs.tok --context 16 -o out
    unharmed model/config.json quantize model -o out
    unharmed base.nf4 ppl --model base.nf4 --data docs.tok --context 16 -o out
    unharmed docs.tok ppl --model base.nf4 --data=docs.tok --context 1
    unharmed base.nf4 generate --model base.nf4 --tokenizer tok --prompt a --top-k 3
    unharmed prompts generate --model base.nf4 --tokenizer tok --format jsonl -f prompts
    unharmed model/model.safetensors merge --base model --adapter ad -o out
    unharmed lora.yaml train lora.yaml $keys
    unharmed lora.yaml train lora.yaml --learning_rate 1
    unharmed base.nf4 train lora.yaml $keys
    unharmed 32.smp train whole.yaml output_dir=out
    # If there is a terminal, the message appears there.
    script -qec "ppl --model base.nf4 --data docs.tok --context 16 -o out 2>> base.nf4" typescript \
        < /dev/null > /dev/null || true
    grep -q 'ppl: standard error is base.nf4, into which messages would be written: redirect them elsewhere' \
        typescript
    sha256sum --quiet -c sums
    # Messages are appended to a log that is not an input.
    echo first > log
    tokenize -m tok docs.jsonl -o out 2>> log
    [ "$(head -n 1 log)" = first ] && [ "$(wc -l < log)" -gt 1 ]
}

# ---- terminals ----

# Prints what a terminal would get from the command, with a terminal's line ends.
on_terminal() { TERM=xterm timeout 100 script -qec "$1" typescript < /dev/null > /dev/null; \
    sed '1d;$d' typescript | tr -d '\r'; }

@test "harm: a terminal gets no control characters from data; pipes and files get the unchanged bytes" {
    make_base
    printf '%s\n' \
        '{"text":"a\u001b[31m\u0007b\u009bc\u202ed\u200fe\u0008f\tg\nh\u007f\u200d\u00e9","source":"s\u009b"}' \
        > bad.jsonl
    tokenize --quiet -m tok bad.jsonl -o bad.tok
    decode="tokenize --quiet -m tok --decode bad.tok"
    wanted=$'a\e[31m\ab\xc2\x9bc\xe2\x80\xaed\xe2\x80\x8fe\bf\tg\nh\x7f\xe2\x80\x8d\xc3\xa9'
    [ "$($decode --format text)" = "$wanted" ]
    $decode --format text -o file
    [ "$(cat file)" = "$wanted" ]
    [ "$(on_terminal "$decode --format text")" = \
        $'a\\u001b[31m\\u0007b\\u009bc\\u202ed\\u200fe\\u0008f\tg\nh\\u007f\xe2\x80\x8d\xc3\xa9' ]
    [ "$(on_terminal "$decode --format text -o /dev/stdout")" = \
        "$(on_terminal "$decode --format text")" ]
    # A terminal and a pipe get the same JSON values; only their spelling differs.
    for command in "$decode" "tokenize --quiet --from stream --to jsonl bad.tok" \
        "pack --quiet --context 64 --strategy split --to jsonl bad.tok"; do
        on_terminal "$command" > shown
        run ! grep -P '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae' shown
        $command > bytes
        grep -q $'\xc2\x9b' bytes
        diff <(perl -MJSON::PP -ne \
            'print JSON::PP->new->canonical->ascii->encode(decode_json($_)), "\n"' shown) \
            <(perl -MJSON::PP -ne \
            'print JSON::PP->new->canonical->ascii->encode(decode_json($_)), "\n"' bytes)
    done
    # At this temperature a model generates arbitrary bytes. An answer may end before it has one
    # that a terminal would obey, so several seeds are tried.
    for seed in {1..20}; do
        say="generate --quiet --model base --prompt ab -n 300 --context 400 --temperature 1000"
        say+=" --seed $seed"
        $say > bytes
        if grep -qP '[\x01-\x08\x0b-\x1f]' bytes; then break; fi
    done
    grep -qP '[\x01-\x08\x0b-\x1f]' bytes
    on_terminal "$say" > shown
    run ! grep -P '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' shown
    grep -qF '\u00' shown
    printf '{"prompt":"a\\u009b\\u202e"}\n' > prompts
    on_terminal "generate --quiet --model base --format jsonl -f prompts -n 2" > shown
    grep -qF '{"prompt":"a\u009b\u202e"' shown
    # Data that are not text are not written to a terminal, under any name of the terminal.
    run -0 on_terminal "tokenize --quiet -m tok bad.jsonl -o /dev/tty || echo refused"
    [[ "$output" == *"/dev/tty is a terminal: name a file with -o"*refused* ]]
}

# ---- files that are copied with a model ----

@test "harm: a tokenizer's files are read first, so its folder may be removed or changed afterwards" {
    make_base
    cp -rL tok mine
    echo free > mine/LICENSE
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        tokenizer=mine train_file=16.smp \
        output_dir=out max_steps=1000000 learning_rate=0.01 save_strategy=no --quiet --device cpu \
        3>&- &
    pid=$!
    until_true has_step out 2
    rm mine/tokenizer.model
    ln -s /etc/passwd mine/NOTICE
    mkfifo mine/tokenizer.model
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    [ "$status" = 143 ]
    cmp tok/tokenizer.model out/checkpoint-*/tokenizer.model
    [ "$(cat out/checkpoint-*/LICENSE)" = free ]
    [ ! -e out/checkpoint-*/NOTICE ]
    pid=
    # The folder is removed during a merge, while the base is still arriving.
    cp -rL tok mine2
    make_adapter
    lora other --quiet
    mkfifo pipe
    merge --quiet --base - --adapter other --tokenizer mine2 -o merged < pipe &
    pid=$!
    exec 7> pipe
    head -c 100000 base.nf4 >&7 # more than a pipe holds
    rm -r mine2
    tail -c +100001 base.nf4 >&7
    exec 7>&-
    wait $pid
    pid=
    cmp tok/tokenizer.model merged/tokenizer.model
}

# ---- signals ----

@test "harm: on every signal that ends a program, train saves its run, and tokenize leaves no output" {
    make_recipe
    for signal in ALRM VTALRM PROF PIPE IO PWR STKFLT RTMIN RTMAX QUIT; do
        env --default-signal=$signal train r.yaml output_dir=$signal max_steps=100000 --quiet \
            --device cpu 2> said 3>&- &
        pid=$!
        until_true has_step $signal 1
        kill -$signal $pid
        status=0
        wait $pid || status=$?
        pid=
        [ "$status" = $((128 + $(kill -l $signal))) ] || { echo "$signal: $status"; cat said; \
            false; }
        [ -f $signal/checkpoint-*/training_state ]
        rm -r $signal
    done
    mkfifo held
    for signal in ALRM PROF RTMIN+3 IO; do
        tokenize -m tok held -o out 2> said 3>&- &
        pid=$!
        exec 7> held
        kill -$signal $pid
        status=0
        wait $pid || status=$?
        pid=
        exec 7>&-
        [ "$status" = $((128 + $(kill -l $signal))) ]
        [ ! -e out ]
        nothing_unfinished
    done
}

@test "harm: a signal that was blocked when the program started still ends it" {
    make_recipe
    perl -MPOSIX -e 'sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM, SIGINT)); exec @ARGV' \
        train r.yaml output_dir=out max_steps=100000 --quiet --device cpu 2> said 3>&- &
    pid=$!
    until_true has_step out 1
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    pid=
    [ "$status" = 143 ]
}

@test "harm: two SIGTERM at any moment while a checkpoint is written leave no unfinished checkpoint" {
    with_faults
    make_recipe
    train r.yaml output_dir=whole --quiet --device cpu
    struck=0
    for at in 1 2 3 5 8 11 14 17 20 23 26 29 32; do
        rm -f mark
        # save_total_limit=1 removes the old checkpoint-2, but somebody's file in it must stay.
        rm -rf out
        train r.yaml output_dir=out max_steps=2 --quiet --device cpu
        echo mine > out/checkpoint-2/notes
        run env FAULT_OF=term FAULT_AT=$at FAULT_BEGIN=.checkpoint-4 FAULT_MARK=mark \
            LD_PRELOAD="$BUILD/tests/fault.so" \
            train r.yaml output_dir=out resume_from_checkpoint=auto save_total_limit=1 --quiet \
            --device cpu
        [ -e mark ] || break
        [ "$status" = 143 ]
        struck=$((struck + 1))
        nothing_unfinished
        [ "$(cat out/checkpoint-2/notes)" = mine ]
        train r.yaml output_dir=out resume_from_checkpoint=auto --quiet --device cpu
        cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    done
    [ $struck -gt 5 ]
}

@test "harm: a run that ends before its first step leaves no file, even if output_dir is a link" {
    make_recipe
    mkfifo held
    train r.yaml train_file=- output_dir=deep/out --quiet --device cpu < held 2> said 3>&- &
    pid=$!
    exec 7> held
    head -c 100 32.smp >&7
    until_true eval 'test -e deep/out/.longqlora-run-*.samples'
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    exec 7>&-
    pid=
    [ "$status" = 143 ]
    [ ! -e deep ]
    ln -s far/target link
    run --separate-stderr -1 train r.yaml output_dir=link train_file=none.smp
    [ -L link ] && [ ! -e far ]
    # The run is refused because there is too little memory. It leaves no folder of events.
    LONGQLORA_MEMORY=1000 run --separate-stderr -1 train r.yaml output_dir=out \
        report_to=tensorboard logging_dir=events/here --device cpu
    [ ! -e events ] && [ ! -e out ]
    # A message about samples from a pipe names standard input.
    run --separate-stderr -3 bash \
        -c 'head -c 200 32.smp | train r.yaml train_file=- output_dir=out --device cpu'
    [[ "$stderr" == "train: standard input: "* ]]
    [ ! -e out ]
}

# ---- a run's folder ----

@test "harm: output_dir may not lie in the checkpoint of another run" {
    make_recipe
    train r.yaml output_dir=out --quiet --device cpu
    ln -s out/checkpoint-4 link
    for where in out/checkpoint-4 out/checkpoint-4/new out/checkpoint-4/a/b link/new; do
        run --separate-stderr -2 train r.yaml output_dir=$where --device cpu
        [[ "$stderr" == \
            "train: output_dir="*"out/checkpoint-4 is a run's checkpoint, in which no other run may write: name another" ]]
    done
    [ ! -e out/checkpoint-4/new ] && [ ! -e out/checkpoint-4/a ]
    train r.yaml output_dir=out/beside max_steps=1 --quiet --device cpu
}

@test "harm: if a run's record was moved away, the message names it" {
    make_recipe
    train r.yaml output_dir=out --quiet --device cpu
    mv out/longqlora-run.json kept
    run --separate-stderr -2 train r.yaml output_dir=out --device cpu
    [[ "$stderr" == \
        *"exists already: the run would write it, but what is there is not the run's (no longqlora-run.json says so: if it was moved away, put it back): move it away"* ]]
    mv kept out/longqlora-run.json
    run --separate-stderr -0 train r.yaml output_dir=out --device cpu
    [[ "$stderr" == *"already finished"* ]]
}

@test "harm: a run resumed at an earlier step keeps new checkpoints rather than old ones of later steps" {
    make_recipe
    with_faults
    train r.yaml output_dir=out max_steps=8 save_steps=2 save_total_limit=0 --quiet --device cpu
    cp out/adapter_model.safetensors whole
    rm out/adapter_model.safetensors
    again="train r.yaml output_dir=out max_steps=8 save_steps=2 save_total_limit=2 --quiet --device cpu"
    # The run is killed before it saves step 6. It has kept two checkpoints, of steps 2 and 4. The
    # old one of step 8 stays too: the newest of later steps is not counted and never removed.
    run -137 env FAULT_OF=kill FAULT_AT=1 FAULT_BEGIN=.checkpoint-6 FAULT_MARK=mark \
        LD_PRELOAD="$BUILD/tests/fault.so" \
        $again resume_from_checkpoint=out/checkpoint-2
    [ "$(ls -d out/checkpoint-*)" = \
        "$(printf '%s\n' out/checkpoint-2 out/checkpoint-4 out/checkpoint-8)" ]
    $again resume_from_checkpoint=out/checkpoint-4
    [ "$(ls -d out/checkpoint-*)" = "$(printf '%s\n' out/checkpoint-6 out/checkpoint-8)" ]
    cmp whole out/adapter_model.safetensors
}

@test "harm: a file system without locks gives one message, not several" {
    with_faults
    make_recipe
    run --separate-stderr -0 env FAULT_OF=flock LD_PRELOAD="$BUILD/tests/fault.so" train r.yaml \
        output_dir=out --device cpu
    [ "$(grep -c '^train: out: the file system has no locks' <<< "$stderr")" = 1 ]
    run --separate-stderr -0 train r.yaml output_dir=new --device cpu
    [[ "$stderr" != *"no locks"* ]]
}

# ---- messages ----

@test "harm: a message names the option, the place and what to do" {
    make_base
    run --separate-stderr -2 ppl --model base --data docs.tok --context 16 --rope junk
    [ "$stderr" = "ppl: --rope: 'junk' is none of these: none, linear:F, ntk:F, dynamic:F, yarn:F, llama3:F, where F is a factor from 1 to 1000000" ]
    run --separate-stderr -2 generate --model base --prompt a --rope linear:x
    [[ "$stderr" == "generate: --rope: 'linear:x' is none of these: "* ]]
    run --separate-stderr -2 tokenize -m tok docs.jsonl -o=out
    [ "$stderr" = \
        "tokenize: '-o=out': a short option takes its value without '=': write -o out (see tokenize --help)" ]
    [ ! -e =out ]
    run --separate-stderr -3 ppl --model base --data docs.tok --context 16 --stride 1000000000000000
    [[ "$stderr" == \
        "ppl: docs.tok: "*" tokens, too few for --stride 1000000000000000: choose a smaller one" ]]
    run --separate-stderr -3 quantize base.nf4 -o out
    [ "$stderr" = "quantize: base.nf4: a weights stream already, quantized to nf4: nothing to do" ]
    run --separate-stderr -3 quantize docs.jsonl -o out
    [[ "$stderr" == "quantize: docs.jsonl: neither a model's directory"* ]]
    TMPDIR=$PWD/nowhere run --separate-stderr -1 pack --context 16 --samples 4 docs.tok -o out
    [ "$stderr" = \
        "pack: $PWD/nowhere: cannot create a temporary file: No such file or directory: set TMPDIR to another folder" ]
    run --separate-stderr -1 bash \
        -c 'ulimit -f 1; TMPDIR=$PWD exec pack --context 16 --samples 8 docs.tok -o out'
    [[ "$stderr" == \
        "pack: "*": cannot write the documents that are stored there: File too large: set TMPDIR to a folder with more space" ]]
    [ ! -e out ]
}

@test "harm: ppl checks memory before it reads the base" {
    only_release
    make_adapter
    # The need is computed from the header of the base. The weights are not read, so the message is
    # the same if some of them are wrong.
    cp -rL base slow
    LONGQLORA_MEMORY=1000 run --separate-stderr -1 ppl --model slow --adapter ad --data docs.tok \
        --context 16 --device cpu
    [[ "$stderr" == "ppl: --context 16: needs "*" of memory, "*" are free" ]]
    perl -e 'open my $f, "+<", "slow/model.safetensors"; seek $f, -64, 2; print $f "x" x 64'
    LONGQLORA_MEMORY=1000 run --separate-stderr -1 ppl --model slow --adapter ad --data docs.tok \
        --context 16 --device cpu
    [[ "$stderr" == "ppl: --context 16: needs "*" of memory, "*" are free" ]]
    run --separate-stderr -3 ppl --model slow --adapter ad --data docs.tok --context 16 --device cpu
    [[ "$stderr" == *"--force-base"* ]]
}

@test "harm: a plan never rounds an amount of memory to 0.00" {
    make_base
    for device in cpu cuda; do
        lora x --device $device --dry-run > plan
        run ! grep -w '0\.00' plan
    done
}

@test "harm: if the log cannot be written, the run ends without losing a step" {
    with_faults
    make_recipe
    run --separate-stderr -1 env FAULT_OF=flush FAULT_AT=3 FAULT_BEGIN=out FAULT_MARK=mark \
        LD_PRELOAD="$BUILD/tests/fault.so" \
        train r.yaml output_dir=out --device cpu
    [[ "$stderr" == \
        *"train: step 3 is saved: once the cause is removed, resume_from_checkpoint=auto goes on"*"trainer_log.jsonl: cannot write: No space left on device" ]]
    train r.yaml output_dir=out resume_from_checkpoint=auto --quiet --device cpu
    train r.yaml output_dir=whole --quiet --device cpu
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    # The log is closed after the last step.
    rm -rf out
    run --separate-stderr -1 env FAULT_OF=close FAULT_AT=1 FAULT_BEGIN=out FAULT_MARK=closed \
        LD_PRELOAD="$BUILD/tests/fault.so" \
        train r.yaml output_dir=out --device cpu
    [[ "$stderr" =~ \
        "train: step "([0-9]+)" is saved: once the cause is removed, resume_from_checkpoint=auto goes on"$'\n'"train: trainer_log.jsonl: cannot write: Input/output error"$ ]]
    [ -d out/checkpoint-${BASH_REMATCH[1]} ]
    train r.yaml output_dir=out resume_from_checkpoint=auto --quiet --device cpu
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
}

@test "harm: if a file's name is not UTF-8, the sources of its documents are still valid UTF-8" {
    make_tokenizer
    ln -s "$made/tok" .
    name=$'caf\xe9.jsonl'
    printf '{"text":"abc"}\n' > "$name"
    tokenize --quiet -m tok "$name" --to jsonl > out
    grep -qF '"source":"caf?.jsonl"' out
    tokenize --quiet -m tok "$name" | tokenize --quiet -m tok --decode | \
        grep -qF '"source":"caf?.jsonl"'
    # A source with a long name would be cut, so that it could be another one's name.
    perl -e 'print "{\"text\":\"abc\",\"source\":\"", "a", "\xc3\xa9" x 200, "\"}\n"' > long
    run --separate-stderr -3 tokenize --quiet -m tok --to jsonl long
    [[ "$stderr" == *"'source' names a subset with 401 bytes, but at most 255 are possible" ]]
    make_recipe
    cp -L base.nf4 $'caf\xe9.nf4'
    run --separate-stderr -2 train r.yaml model_name_or_path=$'caf\xe9.nf4' output_dir=out2 \
        --device cpu
    [ "$stderr" = \
        "train: model_name_or_path=caf?.nf4: not UTF-8, so that adapter_config.json cannot name it: rename it, or name a link to it" ]
}

@test "harm: a run's record that names a file outside of its folder is refused" {
    make_recipe
    train r.yaml output_dir=out --quiet --device cpu
    echo mine > thesis.txt
    mkdir -p folder/checkpoint-2
    cp -r out/checkpoint-4/. folder/checkpoint-2
    cp out/longqlora-run.json kept
    for change in '$r->{files}{"../thesis.txt"} = []' '$r->{files}{"runs/../../thesis.txt"} = []' \
        '$r->{folders}{"../folder/checkpoint-2"} = []' \
        '$r->{folders}{".."} = []' '$r->{files}{""} = []' '$r->{files}{"x"} = 1' \
        '$r->{mark} = "."'; do
        perl -MJSON::PP -0777 \
            -e 'my $r = decode_json(<STDIN>); eval $ARGV[0]; print JSON::PP->new->canonical->encode($r)' \
            "$change" < kept > out/longqlora-run.json
        run --separate-stderr -3 train r.yaml output_dir=out overwrite_output_dir=true --device cpu
        [[ "$stderr" == \
            "train: out/longqlora-run.json: not a run's record; move it away, or name another output_dir" ]]
        [ "$(cat thesis.txt)" = mine ] && [ -e folder/checkpoint-2/manifest.json ]
    done
    cp kept out/longqlora-run.json
    train r.yaml output_dir=out overwrite_output_dir=true --quiet --device cpu
}

@test "harm: overwriting a run is refused before anything is removed if its folder has a file of somebody else" {
    make_base
    best="eval_file=few.smp eval_steps=2 load_best_model_at_end=true save_steps=2"
    lora out --quiet max_steps=4 $best
    for place in checkpoint-4 checkpoint-2 best; do
        echo mine > out/$place/notes
        (cd out && find . -type f -exec md5sum {} + | sort) > before
        run --separate-stderr -2 lora out --quiet max_steps=4 $best seed=3 overwrite_output_dir=true
        [[ "$stderr" == "train: out/$place exists already and holds files that the run did not make, "* ]]
        (cd out && find . -type f -exec md5sum {} + | sort) | diff before -
        rm out/$place/notes
    done
    lora out --quiet max_steps=4 $best seed=3 overwrite_output_dir=true
    [ -e out/checkpoint-4/training_state ]
}

@test "harm: hundreds of megabytes of blanks in a small compressed file take little memory and time" {
    only_release
    make_base
    blanks() { perl \
        -e 'my $b = $ARGV[0] eq "n" ? "\n" : $ARGV[0]; $b x= 1 << 20; print $b for 1..$ARGV[1]' \
        "$@" | zstd -q -1; }
    { blanks ' ' 300; echo '{"text":"ab"}' | zstd -q; blanks n 300; printf '   {"text":"cd"}\n' | \
        zstd -q; blanks ' ' 300; } > blank.zst
    { blanks n 300; echo '[' | zstd -q; blanks ' ' 300; echo '{"text":"ab"},' | zstd -q; \
        blanks n 300; echo '{"text":"cd"}]' | zstd -q; } > array.zst
    limited() { (ulimit -v 300000 && exec "$@"); }
    for file in blank array; do
        limited tokenize --quiet --threads 2 -m tok $file.zst -o $file.tok
        [ "$(tokenize --quiet -m tok --decode $file.tok --format text)" = abcd ]
    done
    # The message about a line after blanks states the line's own place.
    { blanks n 3; blanks ' ' 1; echo '{"text":3}' | zstd -q; } > bad.zst
    run --separate-stderr -3 tokenize -m tok bad.zst -o x
    [[ "$stderr" == "tokenize: bad.zst:3145729: byte 10485"??": "* ]] || { echo "$stderr"; false; }
    # A line without an end is refused once it is longer than any book.
    perl -e 'print "{\"text\":\""; my $a = "a" x (1 << 20); print $a for 1..300' | \
        zstd -q -1 > long.zst
    run --separate-stderr -3 limited tokenize --threads 2 -m tok long.zst -o x
    [ "$stderr" = "tokenize: long.zst: line 1 is longer than 64 MiB: split it" ]
    { printf '[' | zstd -q; cat long.zst; } > element.zst
    run --separate-stderr -3 limited tokenize --threads 2 -m tok element.zst -o x
    [ "$stderr" = "tokenize: element.zst: an element is longer than 64 MiB: split it" ]
}

@test "harm: messages about samples from a pipe name standard input, before the run and during it" {
    make_base
    echo 'method: lora' > lora.yaml
    keys="model_name_or_path=base.nf4 train_file=- lora_rank=4 max_steps=2"
    run --separate-stderr -3 train lora.yaml output_dir=out $keys max_seq_length=16 --device cpu < \
        32.smp
    [[ "$stderr" == "train: standard input: samples of up to 32 tokens"* ]]
    # The damage is in the second of several frames, so it is found during the run.
    for i in $(seq 100); do cat docs.tok; done > many.tok
    pack --quiet --context 32 --strategy split many.tok -o many.smp
    perl -0777pe \
        'my $second = index $_, "\x28\xb5\x2f\xfd", 4; substr($_, $second + 200, 1) ^= "\x01"' \
        many.smp > damaged
    run --separate-stderr -3 train lora.yaml output_dir=out $keys per_device_train_batch_size=8 \
        max_steps=20 --device cpu < damaged
    [[ "${stderr_lines[-1]}" == "train: standard input: "* ]] || { echo "$stderr"; false; }
    [[ "$stderr" != *.longqlora-* ]]
}

@test "harm: too little memory for a model from a pipe is reported as soon as its header is read" {
    only_release
    make_adapter
    for program in "ppl --data docs.tok --context 16 --model" \
        "generate --tokenizer tok --prompt ab -n 2 --model"; do
        LONGQLORA_MEMORY=1000 run --separate-stderr -1 $program base.nf4 --device cpu
        said=$stderr
        [[ "$said" == *" needs "*" of memory, "*" are free"* ]]
        # The weights are not needed for the message: the stream is cut off after 4000 bytes.
        LONGQLORA_MEMORY=1000 run --separate-stderr -1 $program - --device cpu < <(head -c 4000 \
            base.nf4)
        [ "$stderr" = "$said" ] || { echo "$said"; echo "$stderr"; false; }
    done
    echo 'method: lora' > lora.yaml
    keys="output_dir=out train_file=32.smp lora_rank=4 max_steps=1"
    LONGQLORA_MEMORY=1000 run --separate-stderr -1 train lora.yaml $keys \
        model_name_or_path=base.nf4 --device cpu
    said=$stderr
    [[ "$said" == "train: the run needs "*" of memory, "*" are free; "* ]]
    LONGQLORA_MEMORY=1000 run --separate-stderr -1 train lora.yaml $keys model_name_or_path=- \
        --device cpu < <(head -c 4000 base.nf4)
    [ "$stderr" = "$said" ] || { echo "$said"; echo "$stderr"; false; }
    [ ! -e out ]
}

@test "harm: if ppl cannot write its table, the message has the results" {
    make_base
    ppl --model base.nf4 --data docs.tok --context 16 --quiet --device cpu > table
    run --separate-stderr -1 ppl --model base.nf4 --data docs.tok --context 16 --quiet --device \
        cpu -o /dev/full
    [[ "$stderr" == \
        "ppl: context 16: "*" perplexity $(awk 'NR == 2 { print $5 }' table)"*"ppl: /dev/full: cannot write: No space left on device" ]]
}

@test "harm: a blank line in a stream as JSON lines is refused, and long blanks take no memory" {
    only_release
    make_base
    tokenize --quiet --from stream --to jsonl docs.tok -o docs
    { head -n 2 docs; perl -e 'print "\n" x (1 << 20) for 1..300'; } | zstd -q -1 > blank.zst
    run --separate-stderr -3 bash \
        -c 'ulimit -v 300000; exec pack --from jsonl --context 16 blank.zst -o x'
    [ "$stderr" = "pack: blank.zst:3: not a JSON object" ]
    { head -n 2 docs; perl -e 'print " " x (1 << 20) for 1..300'; } | zstd -q -1 > blank.zst
    run --separate-stderr -3 bash \
        -c 'ulimit -v 300000; exec pack --from jsonl --context 16 blank.zst -o x'
    [[ "$stderr" == "pack: blank.zst: record 2: stream ends without its end record"* ]] ||
        { echo "$stderr"; false; }
    perl -pe 's/^/" " x 1000/e' docs > indented
    pack --quiet --from jsonl --context 16 indented -o a
    pack --quiet --from jsonl --context 16 docs -o b
    cmp a b
}

@test "harm: a small file with a large window takes no more memory than one with a small window" {
    only_release
    make_base
    perl -e 'my $b = "\n" x (1 << 20); print $b for 1..400; print qq({"text":"ab"}\n)' > blank
    for how in "zstd -q -1 --long=31" "xz -q -0 --lzma2=dict=512MiB,mode=fast,mf=hc3,nice=8"; do
        $how < blank > wide 2> /dev/null || continue
        run --separate-stderr -3 tokenize -m tok wide -o x
        [[ "$stderr" == \
            "tokenize: wide: more than 256 MiB come out of its first "*" KiB, with a window of "*" MiB, which no usual text needs: "* \
            ]] || { echo "$stderr"; false; }
    done
    # A large window that is declared but not used costs no memory. A file with a window of the
    # usual size is read completely.
    echo '{"text":"ab"}' | zstd -q --long=31 > wide
    tokenize --quiet -m tok wide -o x
    zstd -q -1 < blank > usual
    tokenize --quiet -m tok usual -o y
    [ "$(tokenize --quiet -m tok --decode y --format text)" = ab ]
}
