load helper

# A file that already has an output's name belongs to the user. Each program is run on a tiny model.
# `before` records the names, kinds, modes and contents in a folder, and `untouched` compares the
# folder with the record.

before() { picture "$@" > "$BATS_TEST_TMPDIR/../picture-$BATS_TEST_NUMBER"; }
untouched() { picture "$@" | diff "$BATS_TEST_TMPDIR/../picture-$BATS_TEST_NUMBER" -; }
picture() {
    for folder in "$@"; do
        find "$folder/" -mindepth 1 -printf '%P %y %m %l %s\n' | sort
        find "$folder/" -type f -exec sha256sum {} + | sort
    done
}

# Makes an adapter once for all these tests.
make_adapter() {
    make_base
    [ -d "$BATS_FILE_TMPDIR/ad" ] || (lora ad --quiet && mv ad "$BATS_FILE_TMPDIR")
    ln -s "$BATS_FILE_TMPDIR/ad" .
    printf 'method: lora\n' > lora.yaml
}

own() { for file; do cp -L "$file" own && mv own "$file"; done; } # replaces a link by a copy
merged() { merge --quiet --base base --adapter ad "$@"; }
bnb() { quantize --quiet --to bnb base "$@"; }
refused() { # TEXT COMMAND...
    local text=$1
    shift
    run --separate-stderr "$@"
    [ "$status" = 1 ] || [ "$status" = 2 ]
    [ "$(wc -l <<< "$stderr")" = 1 ]
    [[ "$stderr" == *"$text"* ]] || { echo "said: $stderr"; false; }
}
no_temporaries() { [ -z "$(find . -name '.longqlora-*')" ]; }

# ---- folders ----

@test "outputs: a folder that holds anything other than a model made by our tools is refused and stays unchanged" {
    make_adapter
    mkdir -p mine && echo '{"name":"webapp"}' > mine/config.json && echo x > mine/thesis.txt
    mkdir -p nested/sub && echo '{"model_type":"llama"}' > nested/config.json &&
        echo x > nested/sub/thesis.txt
    mkdir -p web && echo '{"name":"webapp"}' > web/config.json
    mkdir -p theirs && cp base/config.json base/tokenizer.model theirs
    perl \
        -e 'my $h = q({"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}});
        print pack("Q<", length $h), $h, "x"' > theirs/model.safetensors
    merged -o linked && mv linked/config.json elsewhere.json &&
        ln -s ../elsewhere.json linked/config.json
    merged -o noted && touch noted/README.md
    merged -o half && rm half/model.safetensors
    mkdir -p hidden && touch hidden/.nothing
    touch file
    before mine nested web theirs linked noted half hidden
    for make in merged bnb; do
        refused "mine: holds thesis.txt, a file" $make -o mine
        refused "nested: holds sub, a folder" $make -o nested
        refused "web: holds no weights" $make -o web
        refused "theirs: holds model.safetensors, which was not made by" $make -o theirs
        refused "linked: holds config.json, a link" $make -o linked
        refused "noted: holds README.md" $make -o noted
        refused "half: holds no weights" $make -o half
        refused "hidden: holds .nothing" $make -o hidden
        refused "file: not a folder" $make -o file
        refused "cannot be replaced as a whole" $make -o .
        refused "an empty name" $make -o ''
    done
    refused "the output is a folder" merged -o -
    refused "-o DIR is needed" bnb -o -
    untouched mine nested web theirs linked noted half hidden
    no_temporaries
}

@test "outputs: an empty folder or a model made by our tools is replaced; its mode and a link to it stay" {
    make_adapter
    mkdir empty big
    merged -o empty
    [ -e empty/model.safetensors ]
    merged -o big/model
    chmod 700 big/model
    chmod 600 big/model/model.safetensors
    ln -s big/model link
    for make in merged bnb merged; do
        $make -o link
        [ -L link ]
        [ "$(stat -c %a big/model)" = 700 ]
        [ "$(stat -c %a big/model/model.safetensors)" = 600 ]
        [ "$(stat -c %a big/model/config.json)" = 644 ]
    done
    [ "$(ls -A big)" = model ]
    ln -s big/new dangling
    merged -o dangling/
    [ -L dangling ] && [ -e big/new/model.safetensors ]
    # Shards replace a single file, and the other way round.
    merged -o big/model --max-shard-size 1
    merged -o big/model
    mkdir setgid
    chmod 2770 setgid
    merged -o setgid
    [ "$(stat -c %a setgid)" = 2770 ]
    no_temporaries
}

@test "outputs: if names cannot be exchanged at once, a signal is handled after the new model is in place" {
    [ -e "$BUILD/tests/fault.so" ] || skip "faults are injected into the release flavour only"
    make_adapter
    merged -o model
    before model
    run -143 env FAULT_OF=exchange LD_PRELOAD="$BUILD/tests/fault.so" merge --quiet --base base \
        --adapter ad -o model
    untouched model
    [ -z "$(find . -name '*.old.*')" ]
    no_temporaries
}

# A folder in a lower layer of an overlay file system can be read, written and removed, but not
# renamed.
@test "outputs: a folder from a container's image is replaced, and a run in such a folder is resumed" {
    make_adapter
    mkdir below above work image
    merged -o below/model
    quantize --quiet --to bnb base -o below/bnb
    mkdir -m 2750 below/empty
    run=(train lora.yaml model_name_or_path=base.nf4 train_file=32.smp eval_file=few.smp --quiet
        eval_steps=2 save_steps=2 save_total_limit=1 metric_for_best_model=loss lora_rank=4
        load_best_model_at_end=true learning_rate=0.01 per_device_train_batch_size=2)
    "${run[@]}" output_dir=below/run max_steps=4
    "${run[@]}" output_dir=unbroken max_steps=8
    inside() {
        mount -t overlay overlay -o lowerdir=below,upperdir=above,workdir=work image || exit 99
        perl -e 'exit !rename "image/model", "image/other"' && exit 99 # this overlay allows it
        set -e
        merged -o image/model
        merged -o image/empty
        bnb -o image/bnb
        "${run[@]}" output_dir=image/run max_steps=8
        cp -r image result
    }
    export -f inside merged bnb
    status=0
    unshare -m bash -c "$(declare -p run); inside" 2> said || status=$?
    [ "$status" != 99 ] && ! grep -q ^unshare: said || skip "no layers can be mounted here"
    cat said
    [ "$status" = 0 ]
    cmp result/model/model.safetensors below/model/model.safetensors
    cmp result/empty/model.safetensors below/model/model.safetensors
    [ "$(stat -c %a above/empty)" = 2750 ]
    diff -r below/bnb result/bnb
    cmp unbroken/adapter_model.safetensors result/run/adapter_model.safetensors
    [ "$(ls result/run)" = "$(ls unbroken)" ]
    [ -z "$(find result above -name '*.old.*' -o -name '.longqlora-*')" ]
}

@test "outputs: a file that somebody puts into a folder while its replacement is made is not removed" {
    make_adapter
    merge --quiet --base base.nf4 --adapter ad -o out
    cp -r out copy
    mkfifo pipe
    merge --quiet --base - --adapter ad -o out < pipe 2> said &
    exec 7> pipe
    # These are more bytes than fit into a pipe. When they are written, merge reads, and has already
    # checked its output.
    head -c 100000 base.nf4 >&7
    echo mine > out/thesis.txt
    tail -c +100001 base.nf4 >&7
    exec 7>&-
    status=0
    wait $! || status=$?
    [ $status = 1 ]
    grep -q "out: holds thesis.txt" said
    [ "$(cat out/thesis.txt)" = mine ]
    rm out/thesis.txt
    diff -r out copy
    no_temporaries
}

# ---- inputs ----

@test "outputs: no program writes to its input, under any name of the file" {
    make_adapter
    own docs.jsonl docs.tok base.nf4 32.smp
    cp -rL base model && cp -rL ad adapter && cp -rL tok tokenizer
    cp -L "$root/tests/golden/llama-gqa/config.json" other.json
    echo 'a prompt' > prompt
    mkdir d && ln -s .. d/up && ln -s model named
    ln docs.jsonl hard && ln -s docs.jsonl soft
    before model adapter tokenizer
    sha256sum docs.jsonl docs.tok base.nf4 32.smp prompt lora.yaml > sums
    for name in docs.jsonl ./docs.jsonl d/up/docs.jsonl "$PWD/docs.jsonl" hard soft; do
        refused "is the input docs.jsonl" tokenize -m tok docs.jsonl -o "$name"
    done
    refused "is the input --model tokenizer/tokenizer.model" tokenize -m tokenizer/tokenizer.model \
        docs.jsonl -o tokenizer/tokenizer.model
    refused "input --model tokenizer" tokenize -m tokenizer docs.jsonl -o tokenizer/tokenizer.model
    refused "is the input docs.tok" tokenize -m tok --decode --format jsonl docs.tok -o docs.tok
    refused "is the input docs.tok" tokenize --from stream --to jsonl docs.tok -o docs.tok
    refused "is the input docs.tok" pack docs.tok -o docs.tok
    refused "is the input docs.tok" pack docs.tok --summary docs.tok -o new
    refused "is the input 32.smp" pack --from samples 32.smp -o 32.smp
    refused "is the input --tokenizer" pack --from u16 --tokenizer tokenizer/tokenizer.model \
        prompt -o tokenizer/tokenizer.model
    refused "--summary ./new: is written already, as -o d/up/new" pack docs.tok --summary ./new \
        -o d/up/new
    refused "a part of the input model" quantize model -o model/config.json
    refused "a part of the input named" quantize named -o model/model.safetensors
    refused "a part of the input model" quantize model -o named/tokenizer.json
    refused "is the input model" quantize --to bnb model -o named
    refused "is the input --base named" merge --base named --adapter adapter -o d/up/model/
    refused "is the input --adapter adapter" merge --base model --adapter adapter -o adapter
    refused "is the input --tokenizer tokenizer" merge --base model --adapter adapter --tokenizer \
        tokenizer -o tokenizer
    refused "is the input --model base.nf4" ppl -m base.nf4 -d docs.tok -c 16 -o base.nf4
    refused "is the input --data docs.tok" ppl -m base.nf4 -d docs.tok -c 16 -o docs.tok
    refused "input --adapter adapter" ppl -m base.nf4 -a adapter -d docs.tok -c 16 \
        -o adapter/adapter_model.safetensors
    refused "input --tokenizer tokenizer" ppl -m base.nf4 --tokenizer tokenizer -d docs.tok -c 16 \
        -o tokenizer/tokenizer.model
    refused "is the input model_name_or_path=model" train lora.yaml model_name_or_path=model \
        quantization=none train_file=32.smp output_dir=named
    refused "is the input model_name_or_path=model" train lora.yaml method=full \
        model_name_or_path=model train_file=32.smp output_dir=model overwrite_output_dir=true
    refused "is the input adapter_name_or_path=adapter" train lora.yaml \
        model_name_or_path=base.nf4 adapter_name_or_path=adapter train_file=32.smp \
        output_dir=adapter
    refused "is the input tokenizer=tokenizer" train lora.yaml method=full \
        model_name_or_path=model tokenizer=tokenizer train_file=32.smp output_dir=tokenizer
    refused "model_name_or_path=d/config.json" eval \
        'cp other.json d/config.json && train lora.yaml method=full from_scratch=true model_name_or_path=d/config.json train_file=32.smp output_dir=d'
    sha256sum --quiet -c sums
    untouched model adapter tokenizer
    no_temporaries
    [ ! -e new ]
}

@test "outputs: redirected streams count as inputs and outputs too" {
    make_adapter
    own docs.jsonl docs.tok base.nf4
    cp -rL base model
    echo 'a prompt' > prompt
    sha256sum docs.jsonl docs.tok base.nf4 prompt lora.yaml model/config.json > sums
    with() { # HOW FILE COMMAND...
        local how=$1 file=$2
        shift 2
        case $how in
        in) "$@" < "$file" ;;
        out) "$@" >> "$file" ;;
        error) "$@" 2>> "$file" ;;
        esac
    }
    refused "-o docs.jsonl: is the input standard input" with in docs.jsonl tokenize -m tok \
        -o docs.jsonl
    refused "standard output: is the input docs.jsonl" with out docs.jsonl tokenize -m tok \
        docs.jsonl
    refused "standard output: is the input standard input" with in docs.jsonl with out docs.jsonl \
        tokenize -m tok
    refused "standard output: is the input docs.tok" with out docs.tok pack docs.tok
    refused "standard output: is the input model" with out model/config.json quantize model
    refused "standard output: is the input --model base.nf4" with out base.nf4 ppl -m base.nf4 \
        -d docs.tok -c 16
    refused "standard output: is the input --data docs.tok" with out docs.tok ppl -m base.nf4 \
        -d docs.tok -c 16
    refused "standard output: is the input --prompt-file prompt" with out prompt generate \
        -m base.nf4 --tokenizer tok -f prompt
    refused "standard output: is the input --prompt-file -" with in prompt with out prompt \
        generate -m base.nf4 --tokenizer tok ||
        refused "standard output: is the input standard input" with in prompt with out prompt \
            generate -m base.nf4 --tokenizer tok
    refused "standard output: is the input lora.yaml" with out lora.yaml train lora.yaml \
        model_name_or_path=base.nf4 train_file=32.smp output_dir=new --dry-run
    refused "standard output: is the input lora.yaml" with out lora.yaml train lora.yaml \
        model_name_or_path=base.nf4 train_file=32.smp output_dir=new --print-config
    sha256sum --quiet -c sums
    # Messages would be mixed with the data of a stream.
    for command in "tokenize -m tok docs.jsonl" "pack docs.tok --context 16" "quantize model"; do
        run -2 eval "$command > both 2>&1"
        grep -q "standard output and standard error are one file" both
        $command --quiet > both 2>&1
    done
    # Messages would be appended to an input (see also harm.bats).
    run -2 with error docs.jsonl tokenize -m tok docs.jsonl -o new
    [ ! -e new ]
    sha256sum --quiet -c sums
    for to in - /dev/stdout; do
        run -2 eval "pack --quiet docs.tok --context 16 --summary $to 2> said > both"
        run -2 eval \
            "pack --quiet docs.tok --context 16 --summary $to 2> said | cat > both; exit \${PIPESTATUS[0]}"
        grep -q -- "is written already, as standard output" said
        [ ! -s both ]
    done
    # Appending to a file that is not an input works as usual.
    echo first > log
    tokenize --quiet --to jsonl docs.tok --from stream >> log 2>> log
    [ "$(head -n 1 log)" = first ] && [ "$(wc -l < log)" -gt 5 ]
    # /dev/stdout is standard output, not a link to replace.
    echo first > log
    tokenize --quiet --from stream --to jsonl docs.tok -o /dev/stdout >> log
    [ "$(head -n 1 log)" = first ] && [ "$(wc -l < log)" -gt 5 ]
    [ -L /dev/stdout ]
    no_temporaries
}

@test "outputs: with many inputs, each is compared with the output before the first is read" {
    make_base
    for i in {1..40}; do cp -L docs.jsonl in-$i; done
    refused "-o in-40: is the input in-40" tokenize -m tok in-* -o in-40
    cmp in-40 in-1
    echo 'not json' > in-1
    refused "-o in-40: is the input in-40" tokenize -m tok in-{1..40} -o in-40
}

@test "outputs: outputs may lie beside inputs and within their folders" {
    make_adapter
    cp -rL base model
    before model
    merge --quiet --base model --adapter ad -o model/merged
    quantize --quiet model -o model/model.nf4
    ppl --quiet -m model -d docs.tok -c 16 -o model/scores --to json
    ppl --quiet -m model -d docs.tok -c 16 -o model/scores --to json
    [ "$(ls model/merged | wc -l)" = 3 ]
    rm -r model/{merged,model.nf4,scores}
    untouched model
    mkdir run
    cp -L 32.smp run/data
    lora run --quiet train_file=run/data
    cmp run/data 32.smp
}

# ---- single files ----

@test "outputs: if the output is a link, its target is written and the link stays" {
    make_base
    mkdir a b folder
    echo old > a/file
    ln -s ../a/file b/one && ln -s b/one two && ln -s a/none dangling
    ln -s y x && ln -s x y && ln -s folder to && ln -s "$PWD/a/absolute" absolute
    for name in two dangling absolute; do
        tokenize --quiet -m tok docs.jsonl -o $name
        [ -L $name ]
        cmp $name docs.tok
    done
    [ -L b/one ] && [ "$(ls -A a | tr '\n' ' ')" = "absolute file none " ] && [ "$(ls -A b)" = one ]
    refused "x: its links lead to each other in a circle" tokenize -m tok docs.jsonl -o x
    refused "to: a folder, but the output is a file" tokenize -m tok docs.jsonl -o to
    refused "folder/: a folder, but the output is a file" tokenize -m tok docs.jsonl -o folder/
    refused "new/: a folder, but the output is a file" tokenize -m tok docs.jsonl -o new/
    refused "an empty name" tokenize -m tok docs.jsonl -o ''
    for command in "quantize base" "pack docs.tok" "ppl -m base.nf4 -d docs.tok -c 16"; do
        refused "folder: a folder, but the output is a file" $command -o folder
        refused "-o: an empty name" $command -o ''
    done
    no_temporaries
}

@test "outputs: a replaced file keeps its mode, and a write-protected file is refused" {
    make_base
    echo old > file
    for mode in 600 640 664; do
        chmod $mode file
        tokenize --quiet -m tok docs.jsonl -o file
        [ "$(stat -c %a file)" = $mode ]
    done
    chmod 444 file
    mkdir closed
    chmod 555 closed
    # root may write every file, except without this capability.
    as=()
    [ "$(id -u)" != 0 ] || as=(setpriv --bounding-set -dac_override)
    for command in "tokenize -m tok docs.jsonl" "quantize base" "pack docs.tok" \
        "ppl -m base.nf4 -d docs.tok -c 16"; do
        refused "file: may not be written" "${as[@]}" $command -o file
        refused "closed/new: cannot create" "${as[@]}" $command -o closed/new
    done
    mkdir shut && chmod 555 shut
    refused "closed/new: cannot create" "${as[@]}" quantize --to bnb base -o closed/new
    refused "shut: may not be written" "${as[@]}" quantize --to bnb base -o shut
    printf 'method: lora\n' > lora.yaml
    run='train lora.yaml model_name_or_path=base.nf4 train_file=32.smp'
    refused "output_dir: closed/new: cannot create" "${as[@]}" $run output_dir=closed/new
    refused "output_dir=closed: may not be written" "${as[@]}" $run output_dir=closed
    cmp file docs.tok
    no_temporaries
}

@test "outputs: a mount point is not replaced, and this is reported before the work" {
    make_adapter
    mkdir folder mounted
    echo old > file
    mount --bind folder mounted 2> /dev/null || skip "nothing can be mounted here"
    touch target
    mount --bind file target
    for make in merged bnb; do run -1 $make -o mounted; done
    merged -o mounted/model
    run --separate-stderr -1 tokenize -m tok docs.jsonl -o target
    umount mounted target
    [[ "$stderr" == "tokenize: target: something is mounted there"* ]]
    [ "$(cat file)" = old ]
    [ -e folder/model/config.json ]
}

@test "outputs: a folder with a file that cannot be removed is refused before the work and stays complete" {
    make_adapter
    merged -o model
    (cd model && ls -l --time-style=full-iso) > before
    # Files are protected by chattr and by a mount. If neither is allowed here, nothing can be
    # tested.
    tried=0
    if chattr +i model/config.json 2> /dev/null; then
        tried=1
        for make in merged bnb; do run --separate-stderr -1 $make -o model; done
        merged_says=$(merged -o model 2>&1 || true)
        chattr -i {model,.longqlora-*}/config.json 2> /dev/null || true
        [[ "$merged_says" == *"merge: model/config.json: may not be removed (chattr +i or +a): make it removable, or name another folder" ]]
    fi
    if mount --bind model/config.json model/config.json 2> /dev/null; then
        tried=1
        merged_says=$(merged -o model 2>&1 || true)
        umount model/config.json
        [[ "$merged_says" == *"merge: model/config.json: may not be removed: something is mounted there: make it removable, or name another folder" ]]
    fi
    [ $tried = 1 ] || skip "nothing can be protected here"
    (cd model && ls -l --time-style=full-iso) | diff before -
    no_temporaries
    merged -o model
}

@test "outputs: devices and pipes are written directly, and sockets are refused" {
    make_base
    mkfifo pipe
    for command in "tokenize -m tok docs.jsonl" "pack docs.tok --context 16 --strategy split" \
        "quantize base" "ppl --to scores -m base.nf4 -d docs.tok -c 16"; do
        cat pipe > got &
        $command --quiet -o pipe
        wait $!
        $command --quiet -o file
        cmp -n "$(stat -c %s got)" got file # the file also has a seek table
        [ -s got ]
        rm file
        $command --quiet -o /dev/null
        run --separate-stderr -1 $command -o /dev/full
        [[ "$stderr" == *"/dev/full: cannot write: No space left on device" ]]
    done
    [ -p pipe ] && [ -c /dev/null ] && [ -c /dev/full ]
    perl -MSocket \
        -e 'socket my $s, AF_UNIX, SOCK_STREAM, 0; bind $s, pack_sockaddr_un("socket") or die $!'
    refused "socket: a socket" tokenize -m tok docs.jsonl -o socket
    [ -S socket ]
}

@test "outputs: names of up to 255 bytes work, and longer ones are refused with the reason first" {
    make_adapter
    name=$(printf 'n%.0s' {1..255})
    tokenize --quiet -m tok docs.jsonl -o "$name"
    cmp "$name" docs.tok
    merged -o "${name%n}m"
    merged -o "${name%n}m"
    long=$(printf '/n%.0s' {1..3000})
    for command in "tokenize -m tok docs.jsonl" "quantize base" "quantize --to bnb base" \
        "merge --base base --adapter ad"; do
        refused "-o: a name of 256 bytes is too long" $command -o "n$name"
        refused "-o: a name of 6000 bytes is too long" $command -o "$long"
    done
    refused "a name of 6000 bytes is too long" train lora.yaml model_name_or_path=base.nf4 \
        train_file=32.smp output_dir="$long"
    no_temporaries
}

# ---- temporary names ----

# Prints the temporary name for a target as left by a program that was killed while it wrote.
killed_name() {
    rm -f pipe && mkfifo pipe
    tokenize --quiet -m tok -o "$1" < pipe &
    exec 7> pipe
    for wait in {1..3000}; do [ -z "$(find . -name ".longqlora-*.$!")" ] || break; sleep 0.01; done
    kill -KILL $!
    wait $! 2> /dev/null || true
    exec 7>&-
    find . -maxdepth 1 -name ".longqlora-*.$!"
    rm pipe .longqlora-*.$!
}

@test "outputs: the temporary files of a killed program are removed, and no others" {
    make_adapter
    touch out.tmp.20240101 out.tmp.1 .longqlora-notes .longqlora-0123456789abcdef.1 \
        .longqlora-0123456789abcdef.txt
    mkdir out.tmp.77 && touch out.tmp.77/thesis
    ls -A > ../listed-$BATS_TEST_NUMBER
    left=$(killed_name out)
    other=.longqlora-fedcba9876543210.${left##*.}
    touch "$left" "$other"
    # First a lock is held, then it is released.
    exec 8> "$left"
    flock 8
    tokenize --quiet -m tok docs.jsonl -o out
    [ -e "$left" ]
    exec 8>&-
    tokenize --quiet -m tok docs.jsonl -o out
    [ ! -e "$left" ] && [ -e "$other" ]
    # A temporary name ends with the number of its process. This process runs, so its file stays.
    touch "${left%.*}.$$"
    tokenize --quiet -m tok docs.jsonl -o out
    [ -e "${left%.*}.$$" ]
    rm "$other" out "${left%.*}.$$"
    ls -A | diff ../listed-$BATS_TEST_NUMBER -
}

@test "outputs: the folder of a killed program is removed, but not the files that somebody put there" {
    make_adapter
    left=$(killed_name out)
    mkdir "$left"
    touch \
        "$left"/{config.json,model.safetensors,model-00001-of-00002.safetensors,LICENSE,thesis.txt}
    mkdir "$left.old" && touch "$left.old/config.json"
    merged -o out
    [ "$(ls -A "$left")" = thesis.txt ]
    rm "$left/thesis.txt"
    merged -o out
    [ ! -e "$left" ]
    [ -e "$left.old/config.json" ]
}

@test "outputs: a signal at any moment leaves no temporary file and no damaged output" {
    make_adapter
    merged -o out
    echo old > file
    before out
    for signal in INT TERM HUP; do
        for wait in 0.002 0.01 0.03; do
            (exec merge --quiet --base base --adapter ad -o out 2> /dev/null) &
            sleep $wait
            kill -$signal $! 2> /dev/null || true
            wait $! || true
            (exec quantize --quiet base -o file 2> /dev/null) &
            sleep $wait
            kill -$signal $! 2> /dev/null || true
            wait $! || true
            no_temporaries
            [ "$(head -c 3 file)" = old ] || cmp file base.nf4
        done
    done
    untouched out
}

# ---- companions ----

@test "outputs: links that lead out of a model's folder are not copied" {
    make_adapter
    cp -rL base model
    echo 'private' > id_rsa
    chmod 600 id_rsa
    ln -s ../id_rsa model/LICENSE
    for command in "merge --base model --adapter ad" "quantize --to bnb model" \
        "merge --base base --adapter ad --tokenizer model"; do
        refused "model/LICENSE: leads to " $command -o out
        [ ! -e out ]
    done
    refused "model/LICENSE: leads to " train lora.yaml method=full model_name_or_path=model \
        train_file=32.smp output_dir=out
    refused "model/LICENSE: leads to " train lora.yaml method=full model_name_or_path=base \
        tokenizer=model train_file=32.smp output_dir=out
    [ ! -e out ]
    rm model/LICENSE
    mkfifo model/NOTICE
    refused "model/NOTICE: this is not a regular file" merge --base model --adapter ad -o out
    rm model/NOTICE
    truncate -s 65M model/tokenizer.json
    refused "at most 64 MiB" merge --base model --adapter ad -o out
    rm model/tokenizer.json
    ln -s gone model/LICENSE
    refused "model/LICENSE: the link cannot be followed" merge --base model --adapter ad -o out
    refused "id_rsa is a file: name the directory that it lies in" merge --base base --adapter \
        ad --tokenizer id_rsa -o out
    rm model/LICENSE
    # Links within the folder are copied, and links within the hub's cache if the folder is a
    # snapshot in it.
    echo free > model/LICENSE.real
    ln -s LICENSE.real model/LICENSE
    merge --quiet --base model --adapter ad -o out
    [ "$(cat out/LICENSE)" = free ] && [ ! -L out/LICENSE ]
    mkdir -p hub/models--a--b/{blobs,snapshots/rev}
    for file in model/*; do
        name=$(basename "$file")
        [ -f "$file" ] && [ "$name" != LICENSE ] || continue
        cp "$file" hub/models--a--b/blobs/$name-blob
        ln -s ../../blobs/$name-blob hub/models--a--b/snapshots/rev/$name
    done
    rm -r out
    merge --quiet --base hub/models--a--b/snapshots/rev --adapter ad -o out
    cmp out/tokenizer.model base/tokenizer.model
    ln -s ../../../../id_rsa hub/models--a--b/snapshots/rev/LICENSE
    refused "LICENSE: leads to " merge --base hub/models--a--b/snapshots/rev --adapter ad -o out
}

@test "outputs: merge, quantize and ppl refuse an output before they read the model" {
    make_adapter
    # The base is damaged, but the output is checked first.
    mkdir damaged
    cp -L base/config.json damaged
    echo x > damaged/model.safetensors
    mkdir taken && touch taken/thesis
    refused "taken: holds thesis" merge --base damaged --adapter ad -o taken
    refused "taken: holds thesis" quantize --to bnb damaged -o taken
    refused "taken: a folder" quantize damaged -o taken
    refused "taken: a folder" ppl -m damaged -d docs.tok -o taken
}

@test "outputs: a tokenizer or licence file that somebody put into a merged model is not lost" {
    make_adapter
    merge --quiet --base base.nf4 --adapter ad -o m
    cp tok/tokenizer.model m/
    echo mine > m/NOTICE
    before=$(picture m)
    refused "which was put there since the model was made: name another folder, or move it away" \
        merge --base base.nf4 --adapter ad -o m
    [ "$(picture m)" = "$before" ]
    refused "which was put there since" merge --base base.nf4 --adapter ad --tokenizer tok -o m
    [ "$(picture m)" = "$before" ]
    # A file that merge wrote is replaced, but not after somebody changed it.
    rm m/NOTICE m/tokenizer.model
    merge --quiet --base base.nf4 --adapter ad --tokenizer tok -o m
    cmp m/tokenizer.model tok/tokenizer.model
    merge --quiet --base base.nf4 --adapter ad --tokenizer tok -o m
    echo more >> m/tokenizer.model
    before=$(picture m)
    refused "tokenizer.model" merge --base base.nf4 --adapter ad --tokenizer tok -o m
    [ "$(picture m)" = "$before" ]
}

@test "outputs: a file of a merged model that somebody changed afterwards is not lost" {
    make_adapter
    own base.nf4
    cp -rL base full
    echo '{"max_new_tokens":9}' > full/generation_config.json
    echo '{"model_max_length":16}' > full/tokenizer_config.json
    echo '{{ x }}' > full/chat_template.jinja
    echo free > full/LICENSE
    echo '{}' > full/vocab.json
    echo '#version: 0.2' > full/merges.txt
    for make in "merge --quiet --base full --adapter ad" "quantize --quiet --to bnb full"; do
        $make -o m --max-shard-size 1
        rm -r m
        $make -o m
        for file in config.json generation_config.json tokenizer_config.json chat_template.jinja \
            LICENSE tokenizer.model vocab.json merges.txt model.safetensors; do
            cp -r m changed
            case $file in
                config.json) sed -i 's/"rope_theta": 500/"rope_theta": 501/' changed/config.json ;;
                model.safetensors) perl \
                    -e 'open my $f, "+<", "changed/model.safetensors"; seek $f, -2, 2; print $f "x"' ;;
                *) echo >> changed/$file ;;
            esac
            run ! cmp -s m/$file changed/$file
            before=$(picture changed)
            refused \
                "changed: holds $file, which was changed since it was made: name another folder, or move it away" \
                $make -o changed
            [ "$(picture changed)" = "$before" ]
            rm -r changed
        done
        # A different space, order of keys or missing key also counts as a change. A missing file
        # does not.
        for edit in 's/^  "/   "/' 's/"made_by"/"made_by_me"/' '/"longqlora"/,$d'; do
            cp -r m changed
            sed -i "$edit" changed/config.json
            before=$(picture changed)
            refused "changed" $make -o changed
            [ "$(picture changed)" = "$before" ]
            rm -r changed
        done
        rm m/LICENSE
        $make -o m
        [ -e m/LICENSE ]
        rm -r m
    done
    # The key is not copied from a model: a stream of it lacks the key, and a merge writes its own.
    merged -o m
    quantize --quiet m -o m.nf4
    run ! grep -q made_by <(zstd -dcq m.nf4)
    merge --quiet --base m --adapter ad --force-base -o again
    perl -MJSON::PP -0e \
        'my $f = decode_json(<STDIN>)->{longqlora}; exit !($f->{made_by} eq "merge" && $f->{files}{"model.safetensors"} =~ /^[0-9a-f]{32}$/)' \
        < again/config.json
    no_temporaries
}

@test "outputs: other programs never replace weights that train made" {
    make_adapter
    # The weights lie in a folder of their own, and beside the files of a model that merge made.
    mkdir clean
    cp base/config.json base/model.safetensors base/tokenizer.model clean
    merged -o m
    cp base/model.safetensors m/
    cp -r ad adapter && mkdir renamed && cp base/config.json renamed &&
        cp -L ad/adapter_model.safetensors renamed/model.safetensors
    before clean m renamed
    for make in merged bnb; do
        refused "clean: holds model.safetensors, which was not made by merge or quantize" \
            $make -o clean
        refused "m: holds model.safetensors, which was changed since it was made" $make -o m
        refused "renamed: holds model.safetensors, which was not made by" $make -o renamed
    done
    untouched clean m renamed
    # The weights of another merge are not replaced either, because they may be the only copy.
    merged -o other --dtype f16
    merged -o n
    mv other/model.safetensors n/
    before n
    refused "n: holds model.safetensors, which was changed since" merged -o n
    untouched n
}

@test "outputs: if pack cannot write its summary, it leaves no samples; if it cannot write samples, it leaves no summary" {
    make_base
    for how in "--summary /dev/full" "--summary there/no/summary"; do
        run --separate-stderr -1 pack --context 16 docs.tok -o out.smp $how
        [ ! -e out.smp ]
    done
    echo old > out.smp
    run --separate-stderr -1 pack --context 16 docs.tok -o out.smp --summary /dev/full
    [[ "$stderr" == *"pack: /dev/full: cannot write: No space left on device" ]]
    [ "$(cat out.smp)" = old ]
    run --separate-stderr -1 pack --context 16 docs.tok -o /dev/full --summary s.json
    [ ! -e s.json ]
    [ -z "$(find . -name '.longqlora-*')" ]
    pack --quiet --context 16 docs.tok -o out.smp --summary s.json
    perl -MJSON::PP -0e 'exit !decode_json(<STDIN>)->{samples}' < s.json
    # The message about raw token ids from standard input names standard input.
    run --separate-stderr -3 pack --from u16 --tokenizer tok --context 16 --min-tokens 9 -o x < \
        <(printf '\1\0\2\0')
    [[ "$stderr" == "pack: standard input: no sample can be made: "* ]]
}

@test "outputs: a hard link to a replaced file keeps the old content, and a message says so" {
    make_base
    echo old > file
    for command in "tokenize -m tok docs.jsonl" "pack docs.tok --context 16" "quantize base" \
        "ppl -m base.nf4 -d docs.tok -c 16" "pack docs.tok --context 16 -o x --summary"; do
        ln -f file linked 2> /dev/null || skip "no hard links here"
        option=-o
        [[ "$command" != *--summary ]] || option=
        run --separate-stderr -0 $command $option linked
        [[ "$stderr" == *": linked: has another name too (a hard link), which keeps the old content: to change both"* ]]
        [ "$(cat file)" = old ]
        run ! cmp file linked
        run --separate-stderr -0 $command $option linked
        [[ "$stderr" != *"hard link"* ]]
    done
}

@test "outputs: hard links to a file in a replaced folder or in a resumed run are reported" {
    make_adapter
    told() { # FILE COMMAND...
        ln -f "$1" other
        run --separate-stderr -0 "${@:2}"
        [[ "$stderr" == *": $1: has another name too (a hard link), which keeps the old content"* ]]
        run --separate-stderr -0 "${@:2}"
        [[ "$stderr" != *"hard link"* ]]
    }
    for make in merged bnb; do
        $make -o model
        told model/config.json $make -o model
        rm -r model
    done
    lora out --quiet
    ln out/adapter_model.safetensors other2
    run --separate-stderr -0 lora out max_steps=8
    [[ "$stderr" == *"train: out/adapter_model.safetensors: has another name too"* ]]
    run ! cmp -s other2 out/adapter_model.safetensors
    run --separate-stderr -0 lora out max_steps=10
    [[ "$stderr" != *"hard link"* ]]
}

@test "outputs: two outputs that are one file on a file system that ignores case are refused" {
    [ -e "$BUILD/tests/fault.so" ] || skip "faults are injected into the release flavour only"
    make_base
    fold() { run --separate-stderr env FAULT_OF=fold LD_PRELOAD="$BUILD/tests/fault.so" "$@"; }
    pack="pack docs.tok --context 16 --quiet"
    for other in NEW nEw; do
        fold $pack -o new --summary $other
        [ "$status" = 2 ]
        [ "$stderr" = "pack: --summary $other: is written already, as -o new: name another" ]
        [ ! -e new ] && [ ! -e $other ]
        no_temporaries
    done
    fold $pack -o new --summary newer
    [ "$status" = 0 ]
    no_temporaries
    # If the case of letters matters, they are two files.
    rm new newer
    $pack -o new --summary NEW
    [ -s new ] && [ -s NEW ]
}
