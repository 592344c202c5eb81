load helper

# --context-segments: several ranks share a window of ppl, or a text of generate. They write what
# one process writes, byte for byte.

ranks() { # N OPTION...
    mpirun --oversubscribe -n "$1" ppl --threads 1 --quiet --device "${device:-cpu}" \
        --context-segments "${segments:-4}" "${@:2}"
}

# Makes wide/, a model with 8 query heads and 4 key heads, so that four ranks can share a window.
make_wide() {
    make_base
    once wide train_wide
    ln -sf "$made"/wide .
}
train_wide() {
    sed 's/"num_attention_heads":4,"num_key_value_heads":2/"num_attention_heads":8,"num_key_value_heads":4/' \
        config.json > wide.json
    train scratch.yaml from_scratch=true attention=full model_name_or_path=wide.json tokenizer=tok \
        train_file=16.smp output_dir="$made/wide.new" max_steps=2 learning_rate=0.01 --quiet \
        --device cpu
    mv "$made/wide.new" "$made/wide"
}

# Fails unless one, two and four ranks that share each window, and two groups of two ranks, write
# the same.
same_everywhere() { # OPTION...
    rm -f one other
    ranks 1 "$@" > one
    ranks 2 "$@" > other
    cmp one other
    ranks 4 "$@" > other
    cmp one other
    ranks 4 "$@" --sample-ranks 2 > other
    cmp one other
}

@test "context: the ranks of a window measure what one process measures, by every protocol" {
    needs_mpi
    make_wide
    # The windows of the first have several batches, of which the last is not full.
    same_everywhere -m wide -d docs.tok --context 100,1000 --protocol sliding --to json \
        --rope linear:64,dynamic:64
    for protocol in longqlora longlora llamacpp "huggingface --stride 300"; do
        options="-m wide -d docs.tok --context 700 --protocol $protocol --to json --rope yarn:64"
        ranks 1 $options > one
        ranks 4 $options > other
        cmp one other
    done
    options="-m $golden/bnb/model -d $golden/ppl/tokens.bin --from u16 -c 64 --protocol longppl"
    segments=2
    ranks 1 $options --short-context 16 -o one.scores
    ranks 4 $options --short-context 16 -o other.scores
    cmp one.scores other.scores
}

@test "context: samples in segments, with documents apart, and emulated GPUs" {
    needs_mpi
    make_wide
    pack --quiet --context 150 --strategy best-fit docs.tok -o mixed.smp
    same_everywhere -m wide -d mixed.smp --from samples --context 120,150 --to positions \
        --rope linear:16
    [ -e "$BUILD/emulation/bf16/kernels-cuda.so" ] || return 0
    export EMULATION_PROTECT=1 EMULATION_PAGEABLE=1 device=cuda-bf16
    export LONGQLORA_CUDA=$BUILD/emulation/bf16/kernels-cuda.so
    options="-m wide -d docs.tok --context 60 --protocol llamacpp --to json --rope linear:8"
    options="$options --max-tokens 200"
    ranks 1 $options > one
    ranks 2 $options > other
    cmp one other
}

@test "context: what does not fit is refused" {
    make_wide
    refuses() { # MESSAGE OPTION...
        local message=$1
        shift
        run -2 ppl -d docs.tok --context 16 --device cpu --quiet "$@"
        echo "$output"
        [[ "$output" == *"$message"* ]]
    }
    refuses "--context-segments must be from 1 to 1024" -m wide --context-segments 0
    refuses "--sample-ranks 2 does not divide the 1 ranks" -m wide --sample-ranks 2 \
        --context-segments 2
    needs_mpi
    run -2 ranks 4 -m base -d docs.tok --context 16 --sample-ranks 4
    [[ "$output" == *"--sample-ranks 4 does not divide the 2 key/value heads"* ]]
    segments=3 run -2 ranks 2 -m wide -d docs.tok --context 16 --sample-ranks 2
    [[ "$output" == *"--sample-ranks 2 does not divide the 3 segments of a sample (--context-segments)"* ]]
}

@test "context: a rank that hangs inside a window is named, with the place" {
    needs_mpi
    make_wide
    cat > one << 'S'
#!/bin/bash
echo $$ > "pid$OMPI_COMM_WORLD_RANK"
exec ppl -m wide -d docs.tok --context 512 --protocol longlora --stride 1 --device cpu \
    --rope linear:32,yarn:32,linear:33,linear:34 --threads 1 --rank-timeout 2 --context-segments 2
S
    chmod +x one
    mpirun --oversubscribe -n 2 ./one > said 2>&1 &
    until_true grep -q 'device: cpu' said
    kill -STOP "$(cat pid1)"
    status=0
    wait $! || status=$?
    cat said
    [ "$status" = 1 ]
    grep -Eq "^ppl: rank 1 on $(hostname) has not reached (its start|context 512, batch [0-9]+(, layer [0-9])?) after [0-9.]+ s$" said
}
