load helper

# Tests of a process's surroundings: limits, descriptors, signals, inputs that shrink, and other
# things in the place of files. Each of the eight programs is tested once, or a hundred times with
# LONG=1.
TOOLS="tokenize pack quantize train merge ppl generate needle"
times=${LONG:+100}

# Makes the inputs, and in good/ each program's result. This is done once for this file of tests.
make_good() {
    make_base
    if [ ! -d "$BATS_FILE_TMPDIR/good" ]; then
        lora adapter model_name_or_path=base quantization=none max_steps=1 --quiet
        mkdir good
        for tool in $TOOLS; do
            run_tool $tool > stdout 2> /dev/null
            mv_result good
        done
        mv good adapter lora.yaml "$BATS_FILE_TMPDIR"
    fi
    ln -s "$BATS_FILE_TMPDIR"/{good,adapter,lora.yaml} .
    touch stdout stderr
    ls -A > before
}

mv_result() { # DIRECTORY
    [ -e out ] || mv stdout out
    mv out "$1/$tool"
}

command_of() { # TOOL
    case $1 in
    tokenize) echo tokenize -m tok/tokenizer.model docs.jsonl -o out ;;
    pack) echo pack --context 16 --strategy split docs.tok -o out ;;
    quantize) echo quantize base -o out ;;
    train) echo train lora.yaml output_dir=out model_name_or_path=base.nf4 train_file=32.smp \
        max_steps=2 lora_rank=4 logging_steps=1 save_strategy=no ;;
    merge) echo merge --base base --adapter adapter -o out ;;
    ppl) echo ppl --model base --data docs.tok --context 16 --to scores -o out ;;
    generate) echo generate --model base -n 8 --prompt abc ;;
    needle) echo needle make --model tok/tokenizer.model --lengths 900 -o out ;;
    esac
}

run_tool() { $(command_of "$1") --threads 2; }

# Fails if a new file is here that the program was not asked for.
nothing_left() {
    local left
    left=$(ls -A | grep -vxF -f before | grep -vE '^(out|separate-stderr-.*)$' || true)
    [ -z "$left" ] || { echo "$tool left: $left"; cat stderr; false; }
}

# Fails unless the result equals the one in good/.
is_good() {
    nothing_left
    if [ -d "good/$tool" ]; then
        for file in "good/$tool"/*.safetensors; do cmp "$file" "out/$(basename "$file")"; done
    elif [ -e out ]; then
        cmp "good/$tool" out
    else
        cmp "good/$tool" stdout
    fi
    rm -rf out
}

# Runs the shell command with each program's command line as "$@", then the check.
each() { # CHECK SHELL-COMMAND
    for _ in $(seq "${times:-1}"); do
        for tool in $TOOLS; do
            status=0
            bash -c "$2" bash $(command_of $tool) --threads 2 > stdout 2> stderr || status=$?
            $1
        done
    done
}

succeeds() {
    [ "$status" = 0 ] || { echo "$tool: $status"; cat stderr; false; }
    is_good
}

@test "process: every program works with any stack size" {
    make_good
    for limit in unlimited 512; do each succeeds "ulimit -s $limit && exec \"\$@\""; done
    # The sizes of blocks in products differ between CPUs with and without AVX-512 and for bf16. All
    # are tested that this CPU has.
    whole_isa
    for how in "baseline cpu" "v4 cpu" "v4 cpu-bf16"; do
        [[ $how != *bf16 ]] || grep -q avx512_bf16 /proc/cpuinfo || continue
        command="env LONGQLORA_CPU=${how% *} $(command_of train) --quiet --threads 4 --device ${how#* }"
        $command
        for limit in unlimited 512; do
            (ulimit -s $limit && exec ${command/output_dir=out/output_dir=limited})
            cmp out/adapter_model.safetensors limited/adapter_model.safetensors
            rm -r limited
        done
        rm -r out
    done
}

@test "process: a stack that is too small is told with the size that would do" {
    make_good
    # The environment lies on the stack too. On a small stack the kernel allows it at most 128 KiB.
    for bytes in 0 90000; do
        variable=$(head -c $bytes /dev/zero | tr '\0' x)
        for tool in $TOOLS; do
            status=0
            (ulimit -s 160 && VARIABLE=$variable exec $(command_of $tool)) \
                > stderr 2>&1 || status=$?
            [ "$status" = 1 ]
            told="$tool: a stack of 160 KiB (ulimit -s) is too small:"
            size=$(sed -n "s/^$told \([0-9]*\) KiB are needed$/\1/p" stderr)
            [ "$(wc -l < stderr)" = 1 ]
            [ "$size" -gt $(((bytes >> 10) + 160)) ]
            status=0
            (ulimit -s $size && VARIABLE=$variable exec $(command_of $tool) --threads 2) \
                > stdout 2> stderr || status=$?
            succeeds
        done
    done
    run -1 --separate-stderr bash -c "ulimit -s 64 && exec $(command_of ppl)"
    [[ $stderr == "ppl: a stack of 64 KiB (ulimit -s) is too small: "*" KiB are needed" ]]
}

file_limited() {
    [ "$status" = 0 ] && { is_good; return; }
    [ "$status" = 1 ]
    grep -q "^$tool: .*: cannot write: File too large" stderr || { cat stderr; false; }
    # A training leaves its folder and log, but no adapter and no unfinished file.
    [ "$tool" = train ] || [ ! -e out ]
    [ ! -e out ] || [ -z "$(find out -name '*.safetensors*' -o -name '*tmp*')" ] || { find out; \
        false; }
    nothing_left
    rm -rf out
}

@test "process: a limit on file sizes gives a message and an error, not a signal" {
    make_good
    each file_limited 'ulimit -f 8 && exec "$@"'
    # The limit is really reached, because the weights take more than 8 KiB.
    bash -c 'ulimit -f 8 && quantize base -o out' 2> stderr || true
    grep -qx 'quantize: out: cannot write: File too large' stderr
}

@test "process: with closed descriptors no message goes into an output, and a needed descriptor is reported" {
    make_good
    each succeeds 'exec "$@" 2>&-'
    each succeeds 'exec "$@" 2> /dev/full'
    each succeeds 'exec "$@" <&-'
    TOOLS="tokenize pack quantize train merge ppl needle" each succeeds 'exec "$@" >&-'
    TOOLS="tokenize pack quantize train merge ppl needle" each succeeds 'exec "$@" <&- >&- 2>&-'
    run --separate-stderr -1 bash -c 'generate --model base -n 8 --prompt abc --quiet >&-'
    [ "$stderr" = "generate: standard output: cannot write: Bad file descriptor" ]
    run --separate-stderr -1 bash -c 'tokenize -m tok/tokenizer.model - -o out <&-'
    [ "$stderr" = "tokenize: standard input: cannot read: Bad file descriptor" ]
    run --separate-stderr -1 bash -c 'pack --context 16 -o out <&-'
    [ "$stderr" = "pack: standard input: cannot read: Bad file descriptor" ]
    [ ! -e out ]
    # Standard output is closed or full.
    for to in '>&-' '> /dev/full'; do
        run --separate-stderr -1 bash -c "train --list-keys $to"
        [[ "$stderr" == "train: standard output: cannot write"* ]]
        run -1 bash \
            -c "train lora.yaml model_name_or_path=base.nf4 train_file=32.smp output_dir=out --dry-run $to"
        run -1 bash -c "ppl --help $to"
    done
}

@test "process: if the reader of the messages goes away, the program continues" {
    make_good
    each succeeds 'exec perl -e "pipe R, W; close R; open STDERR, q(>&), W; exec @ARGV" "$@"'
    # If nobody reads the data, the program ends as usual, and removes its unfinished files.
    for tool in tokenize pack ppl generate; do
        command=$(command_of $tool | sed 's/ -o out/ -o -/')
        run -141 perl -e 'pipe R, W; close R; open STDOUT, q(>&), W; exec @ARGV' $command --quiet
        nothing_left
    done
}

@test "process: non-blocking input and output work" {
    make_good
    tool=tokenize
    # Both ends are slow: the input comes late, and the output fills its pipe.
    for _ in $(seq 40); do cat docs.jsonl; done > long.jsonl
    tokenize --quiet -m tok/tokenizer.model - --to jsonl < long.jsonl > wanted
    (head -c 100 long.jsonl; sleep 0.2; tail -c +101 long.jsonl) |
        perl -MFcntl \
            -e 'fcntl($_, F_SETFL, fcntl($_, F_GETFL, 0) | O_NONBLOCK) for *STDIN, *STDOUT, *STDERR; exec @ARGV' \
            tokenize -m tok/tokenizer.model - --to jsonl 2> >(cat > stderr) | (sleep 0.2; cat) > got
    cmp wanted got
}

@test "process: a training whose messages nobody reads any more continues, and saves when a signal ends it" {
    make_base
    echo 'method: lora' > lora.yaml
    mkfifo said
    train lora.yaml output_dir=out model_name_or_path=base.nf4 train_file=32.smp max_steps=1000000 \
        lora_rank=4 logging_steps=1 2> said &
    pid=$!
    exec 8< said
    while read -r line <&8; do [[ $line != *"step 1 of"* ]] || break; done
    exec 8<&-
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    [ "$status" = 143 ]
    [ -f out/checkpoint-*/training_state ]
}

# Starts a program that reads from a pipe. The test keeps the pipe open, so the program stays in the
# middle of its work.
hold() { # COMMAND... reading ./held
    mkfifo held
    "$@" > stdout 2> stderr &
    pid=$!
    exec 7> held # waits until the program has opened it
}

@test "process: a program ends by the signal that it got and leaves no files; nohup makes it ignore SIGHUP" {
    make_good
    echo held >> before
    ulimit -c 0
    # A background job of a shell ignores SIGINT and SIGQUIT.
    default='$SIG{INT} = $SIG{QUIT} = "DEFAULT"; exec @ARGV'
    for signal in HUP TERM INT QUIT USR1 USR2 XCPU; do
        for tool in tokenize pack; do
            case $tool in
            tokenize) hold perl -e "$default" tokenize -m tok/tokenizer.model held -o out; \
                cat docs.jsonl >&7 ;;
            pack) hold perl -e "$default" pack --context 16 --strategy split held -o out; \
                head -c 100 docs.tok >&7 ;;
            esac
            kill -$signal $pid
            status=0
            wait $pid 2> /dev/null || status=$?
            exec 7>&-
            [ "$status" = $((128 + $(kill -l $signal))) ]
            [ ! -e out ]
            nothing_left
            rm held
        done
    done
    # If the signal is ignored from the beginning, the program continues to its end.
    tool=tokenize
    for how in nohup "perl -e \$SIG{HUP}=\$SIG{USR1}=\$SIG{XCPU}='IGNORE';exec@ARGV --"; do
        hold $how tokenize -m tok/tokenizer.model held -o out
        kill -HUP $pid
        [ "$how" = nohup ] || kill -USR1 $pid
        [ "$how" = nohup ] || kill -XCPU $pid
        cat docs.jsonl >&7
        kill -HUP $pid
        exec 7>&-
        wait $pid
        nothing_left
        cmp <(tokenize --quiet -m tok/tokenizer.model --decode out) <(tokenize --quiet \
            -m tok/tokenizer.model --decode good/tokenize)
        rm held out
    done
}

# When the signal comes, the whole result may exist already.
ends_well() {
    [ "$status" = 0 ] && { is_good; return; }
    [ "$status" = $((128 + $(kill -l $signal))) ] || { echo "$tool: $status"; cat stderr; false; }
    [ ! -e out ] || [ "$tool" = train ] || is_good
    nothing_left
    rm -rf out
}

@test "process: a signal at any moment leaves no output or the complete one" {
    make_good
    for signal in HUP TERM USR1 XCPU; do
        # The signal comes after the first message, or at once.
        each ends_well \
            'exec 3< <(exec "$@" 2>&1 > stdout); p=$!; read -r _ <&3; kill -'$signal' $p 2> /dev/null; cat <&3 > /dev/null; wait $p; exit $?'
    done
}

@test "process: an input that is shortened while it is mapped is reported, and no files are left" {
    [ -e "$BUILD/tests/shrink.so" ] || skip "faults are injected into the release flavour only"
    make_good
    for bytes in 8192 81920; do
        for tool in quantize merge ppl generate train; do
            rm -rf base
            cp -r "$made/base" base
            command=$(command_of $tool | sed 's/base.nf4/base quantization=none/')
            status=0
            # ppl and train open the file once before, to read its shapes.
            export SHRINK_AT=1
            [ $tool != ppl ] && [ $tool != train ] || SHRINK_AT=2
            LD_PRELOAD=$BUILD/tests/shrink.so SHRINK=base/model.safetensors SHRINK_TO=$bytes \
                $command > stdout 2> stderr || status=$?
            [ "$status" = 3 ] || { echo "$tool: $status"; cat stderr; false; }
            [ "$(tail -n 1 stderr)" = "$tool: base/model.safetensors: changed while it was read: begin again" ]
            [ "$tool" = train ] || [ ! -e out ]
            nothing_left
            rm -rf out
        done
    done
    unset SHRINK_AT
    # If an input is read and not mapped, a part of it is not taken for the whole.
    for _ in $(seq 40); do cat docs.jsonl; done > long.jsonl
    shuf -i 0-399 -n 400000 -r --random-source=<(yes) | perl -ne 'print pack "V", $_' > long.u32
    for tool in tokenize pack; do
        case $tool in
        tokenize) command="tokenize -m tok/tokenizer.model long.jsonl -o out" ;;
        pack) \
            command="pack --from u32 --tokenizer tok/tokenizer.model --context 16 long.u32 -o out" ;;
        esac
        file=$(grep -o 'long[^ ]*' <<< "$command")
        run --separate-stderr -3 env LD_PRELOAD=$BUILD/tests/shrink.so SHRINK=$file \
            SHRINK_TO=300000 $command
        [[ "${stderr_lines[-1]}" == "$tool: $file: "*"changed while it was read: begin again" ]]
        [ ! -e out ]
    done
    # The same holds for a file that is read completely, in several pieces.
    rm -rf base
    cp -r "$made/base" base
    head -c 2000000 /dev/zero | tr '\0' ' ' >> base/config.json
    run --separate-stderr -3 env LD_PRELOAD=$BUILD/tests/shrink.so SHRINK=base/config.json \
        SHRINK_TO=1500000 quantize base -o out
    [ "${stderr_lines[-1]}" = "quantize: base/config.json: changed while it was read: begin again" ]
    [ ! -e out ]
    # The file shrinks during a product of matrices, whose code has no usable stack.
    for threads in 1 2; do
        rm -rf base
        cp -r "$made/base" base
        run --separate-stderr -3 env LD_PRELOAD=$BUILD/tests/shrink.so \
            SHRINK=base/model.safetensors SHRINK_TO=8192 SHRINK_WHEN=memory: \
            ppl --model base --data docs.tok --context 16 -o out --device cpu --threads $threads
        [ "${stderr_lines[-1]}" = "ppl: base/model.safetensors: changed while it was read: begin again" ]
        [ ! -e out ]
    done
}

refused() { # WHAT COMMAND...
    local what=$1
    shift
    run --separate-stderr timeout 20 "$@"
    [ "$status" = 1 ] || { echo "$status: $*"; echo "$stderr"; false; }
    [[ "${stderr_lines[-1]}" == *": $what, where a file is needed" ]] || { echo "$*: $stderr"; \
        false; }
    [ ! -e out ]
}

@test "process: an input that is changed while it is mapped gives no result, and this is reported" {
    [ -e "$BUILD/tests/shrink.so" ] || skip "faults are injected into the release flavour only"
    make_good
    for tool in quantize merge ppl train; do
        rm -rf base out
        cp -r "$made/base" base
        command=$(command_of $tool | sed 's/base.nf4/base quantization=none/')
        status=0
        # The file becomes longer. The mapped part stays the same, so only the file's time shows the
        # change.
        LD_PRELOAD=$BUILD/tests/shrink.so SHRINK=base/model.safetensors SHRINK_TO=1000000 \
            SHRINK_AT=$([ $tool != ppl ] && [ $tool != train ] && echo 1 || echo 2) \
            $command > stdout 2> stderr || status=$?
        [ "$status" = 3 ]
        [ "$(tail -n 1 stderr)" = \
            "$tool: base/model.safetensors: changed while it was read: begin again" ]
        [ ! -e out ] || [ "$tool" = train ]
        [ ! -e out/longqlora.json ]
        nothing_left
    done
}

@test "process: generate notices a change of its model, ends with status 3 and writes no line from it" {
    make_good
    changed="generate: base/model.safetensors: changed while it was read: begin again"
    # The file changes while it is read. Only its time shows the change.
    rm -rf base
    if [ -e "$BUILD/tests/shrink.so" ]; then
        cp -rL "$made/base" base
        run --separate-stderr -3 env LD_PRELOAD=$BUILD/tests/shrink.so \
            SHRINK=base/model.safetensors SHRINK_TO=1000000 SHRINK_WHEN="memory: " \
            generate --model base --prompt abc -n 4 --device cpu
        [ "${stderr_lines[-1]}" = "$changed" ]
        rm -r base
    fi
    # The file changes between two answers.
    cp -rL "$made/base" base
    mkfifo prompts
    generate --model base --format jsonl -f prompts -n 4 --device cpu > answers 2> said 3>&- &
    pid=$!
    exec 7> prompts
    echo '{"prompt":"ab"}' >&7
    until_true test -s answers
    printf more >> base/model.safetensors
    echo '{"prompt":"abc"}' >&7
    status=0
    wait $pid || status=$?
    exec 7>&-
    [ "$status" = 3 ]
    [ "$(tail -n 1 said)" = "$changed" ]
    [ "$(wc -l < answers)" -eq 1 ]
}

@test "process: a pipe, directory, socket or device in place of a file is refused at once" {
    make_good
    mkfifo fifo
    mkdir folder
    perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "socket", Listen => 1) or die'
    for kind in "fifo:a pipe" "socket:a socket" "folder:a directory" "/dev/zero:a device"; do
        thing=${kind%%:*} what=${kind#*:}
        [ $thing = folder ] || refused "$what" tokenize -m $thing docs.jsonl -o out
        refused "$what" tokenize -m tok/tokenizer.model --format chat --template $thing docs.jsonl \
            -o out
        refused "$what" train $thing
        refused "$what" train lora.yaml model_name_or_path=base.nf4 train_file=$thing output_dir=out
        [ $thing = folder ] || refused "$what" train lora.yaml model_name_or_path=$thing \
            train_file=32.smp output_dir=out
        [ $thing = folder ] || refused "$what" ppl --model $thing --data docs.tok --context 16 \
            -o out
        [ $thing = folder ] || refused "$what" generate --model $thing --tokenizer tok --prompt a
        for name in config.json model.safetensors tokenizer.model generation_config.json; do
            rm -rf model
            cp -r "$made/base" model
            rm -f model/$name
            case $thing in
            fifo) mkfifo model/$name ;;
            folder) mkdir model/$name ;;
            *) ln -s "$(realpath $thing)" model/$name ;;
            esac
            refused "$what" generate --model model --prompt a
            [ $name != generation_config.json ] && [ $thing = fifo ] || continue
            refused "$what" quantize model -o out
            refused "$what" ppl --model model --data docs.tok --context 16 --to scores -o out
            run timeout 20 merge --base model --adapter adapter -o out
            [ "$status" = 1 ] && [[ "$output" == *model/$name* ]] && [ ! -e out ]
        done
        for name in adapter_config.json adapter_model.safetensors; do
            rm -rf own
            cp -r "$BATS_FILE_TMPDIR/adapter" own
            rm own/$name
            ln -s "$(realpath $thing)" own/$name
            refused "$what" ppl --model base --adapter own --data docs.tok --context 16 --to \
                scores -o out
            [ $thing = fifo ] || continue
            refused "$what" generate --model base --adapter own --prompt a
            refused "$what" merge --base base --adapter own -o out
        done
    done
    run --separate-stderr -1 tokenize -m tok/tokenizer.model folder -o out
    [ "$stderr" = "tokenize: folder: a directory, where a file is needed: name what is in it" ]
    # An input that is read from beginning to end may be an open pipe.
    keys="model_name_or_path=base.nf4 train_file=32.smp output_dir=out --print-config"
    train <(cat lora.yaml) $keys > /dev/null
    cat lora.yaml | train /dev/stdin $keys > /dev/null
    train /dev/null method=lora $keys > /dev/null
    rm fifo
    mkfifo fifo
    cat docs.jsonl > fifo &
    tokenize --quiet -m tok/tokenizer.model fifo -o out
    cmp <(tokenize --quiet -m tok/tokenizer.model --decode out) <(tokenize --quiet \
        -m tok/tokenizer.model --decode good/tokenize)
}

@test "process: if no thread can be started, the message names the limit" {
    make_good
    [ "${FLAVOUR:-release}" = release ] || skip "a sanitizer starts a thread of its own at the end"
    # root does not have this limit. Other users cannot enter the folder of the tests.
    [ "$(id -u)" = 0 ] || skip "only root becomes somebody else"
    as=(setpriv --reuid 54329 --inh-caps=+dac_override --ambient-caps=+dac_override)
    "${as[@]}" true || skip "nobody else can be become"
    tool=train
    run --separate-stderr -1 "${as[@]}" bash -c 'ulimit -u 1; exec "$@"' bash \
        $(command_of train) --threads 1 --quiet
    [[ "$stderr" == "train: base.nf4: no thread could be started to read it: "*"; more memory or processes are needed (ulimit -v, -u)" ]]
    nothing_left
}

@test "process: the number of threads is limited, and an invalid number is refused" {
    make_good
    for tool in $TOOLS; do
        for threads in 1025 4294967297; do
            run --separate-stderr -2 $(command_of $tool) --threads $threads
            [ "$stderr" = "$tool: --threads: $threads is more than 1024 (see $tool --help)" ]
        done
        run --separate-stderr -2 $(command_of $tool) --threads 99999999999999999999
        run --separate-stderr -2 $(command_of $tool) --threads -1
        [ ! -e out ]
        for threads in 0 64; do
            $(command_of $tool) --threads $threads --quiet > stdout 2> stderr
            is_good
        done
    done
    run --separate-stderr -2 ppl --model base --data docs.tok --stride 1000000000000001
    [ "$stderr" = "ppl: --stride: 1000000000000001 is more than 1000000000000000 (see ppl --help)" ]
    run --separate-stderr -2 merge --base base --adapter adapter -o out --max-shard-size \
        17592186044417
    run --separate-stderr -2 pack --context 16 --quota even=18446744073709551617 docs.tok -o out
    run --separate-stderr -2 pack --context 16 --samples 4 --upsample 99999999999999999999=2 \
        docs.tok -o out
    run --separate-stderr -2 pack --context 16 --samples 4 --upsample 4k=2 docs.tok -o out
    # A seed may be any number.
    pack --context 16 --samples 4 --seed 9223372036854775807 docs.tok -o out --quiet
}

@test "process: messages contain no control characters and keep the reason behind a long path" {
    name=$'x\x1b[31m\x07\xc2\x9b\xe2\x80\xae\xe2\x80\x8b\xef\xbb\xbf\xff\xc3\xa4'
    run --separate-stderr -1 tokenize -m "$name" -
    [ "$stderr" = $'tokenize: x?[31m??????\xc3\xa4: No such file or directory' ]
    # With these paths, the end of a message falls into the middle of a character.
    for bytes in 300 900 1001 1002 1003 3000; do
        name=$(perl -e 'print "\xe2\x82\xac" x 80, "/" for 1 .. 20' | head -c $bytes)
        run --separate-stderr tokenize \
            -m "$(head -c "$bytes" < <(perl -e 'print "/", "ab\xe2\x82\xac" x 40 for 1 .. 60'))" -
        [ "$status" = 1 ]
        [[ "$stderr" == "tokenize: /ab€ab"*": No such file or directory" ]] ||
            [[ "$stderr" == "tokenize: /ab€ab"*": File name too long" ]]
        echo "$stderr" | iconv -f utf-8 -t utf-8 > /dev/null
        [ "${#stderr}" -lt 1024 ]
    done
    long=$(perl -e 'print "y" x 100000')
    run --separate-stderr -2 tokenize -m "$long" -
    [[ "$stderr" == "tokenize: --model: a name of 100000 bytes is too long (255 are possible between slashes, 3800 in all): yyy"*"…" ]]
    run --separate-stderr -2 ppl "--$long"
    [[ "$stderr" == "ppl: unknown option --yyy"*"(see ppl --help)" ]]
}

@test "process: a progress line is no wider than the terminal" {
    make_base
    perl -e 'local $/; my $t = <STDIN>; print $t for 1 .. 400' < docs.jsonl > many.jsonl
    TERM=xterm timeout 100 script -qec \
        "stty cols 24; tokenize -m tok/tokenizer.model many.jsonl -o out" typescript < /dev/null > \
        /dev/null
    perl -0777 -ne \
        's/\r\n/\n/g; for (/\r\e\[K([^\r\n\e]+)\r/g) { $seen++; die "[$_]\n" if length > 23 } die "none\n" unless $seen' \
        typescript
    grep -q $'\r\e\[Ktokenize: [0-9][0-9]* of [0-9]* MB' typescript
}
