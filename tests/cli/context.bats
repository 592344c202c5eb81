load helper

# --context-segments: several ranks share a window of ppl, or a text of generate. They write what
# one process writes, byte for byte.

ranks() { # N OPTION...
    mpirun --oversubscribe -n "$1" ppl --threads 1 --quiet --device "${device:-cpu}" \
        --context-segments "${segments:-4}" "${@:2}"
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
    make_base
    make_wide
    # The windows of the first have several batches, of which the last is not full.
    few="--max-tokens $(less 1000000 2100)"
    same_everywhere -m wide -d docs.tok --context 100,1000 --protocol sliding --to json $few \
        --rope linear:64,dynamic:64
    for protocol in longqlora longlora llamacpp "huggingface --stride 300"; do
        options="-m wide -d docs.tok --context 700 --protocol $protocol --to json $few"
        options+=" --rope yarn:64"
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

@test "context: samples of several documents, and emulated GPUs: several ranks write what one process writes" {
    needs_mpi
    make_base
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
    options="-m wide --rope linear:8 -n 10 -t 2"
    texts 1 $options -p "$(head -c 100 "$made/text")" > one
    texts 2 $options -p "$(head -c 100 "$made/text")" > other
    cmp one other
}

# Fails unless the command in $refused, with these options, is refused with this message.
refuses() { # MESSAGE OPTION...
    local message=$1
    shift
    run -2 $refused "$@"
    echo "$output"
    [[ "$output" == *"$message"* ]]
}

@test "context: what does not fit is refused" {
    make_base
    make_wide
    refused="ppl -d docs.tok --context 16 --device cpu --quiet"
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
    make_base
    make_wide
    cat > one << 'S'
#!/bin/bash
echo $$ > "pid$OMPI_COMM_WORLD_RANK"
exec ppl -m wide -d docs.tok --context 512 --protocol longlora --stride 1 --device cpu \
    --rope linear:32,yarn:32,linear:33,linear:34 --threads 1 --rank-timeout 2 --context-segments 2
S
    chmod +x one
    stop_rank_1_at 'device: cpu'
    grep -Eq "^ppl: rank 1 on $(hostname) has not reached (its start|context 512, batch [0-9]+(, layer [0-9])?) after [0-9.]+ s$" said
}

# mpirun gives its processes a terminal, on which generate shows control characters as on every
# terminal. So one rank is started by mpirun too.
texts() { # N OPTION...
    mpirun --oversubscribe -n "$1" generate --threads 1 --quiet --device "${device:-cpu}" \
        --context-segments "${segments:-4}" "${@:2}"
}

@test "context: the ranks of a text generate what one process generates" {
    needs_mpi
    make_base
    make_wide
    # The first prompt is longer than a piece of 4 · 2048 tokens. Its last piece is shorter, so some
    # ranks have no rows of it. The last row of the second prompt is one of the last rank.
    head -c 14000 "$made/text" > long
    head -c 800 "$made/text" > short
    options="-m wide -c 40000 --rope linear:4000 -n $(less 100 20)"
    for more in "-f long" "-f short --temperature 2 --seed 3 --repetition-penalty 1.1"; do
        texts 1 $options $more > one
        for n in $(less "2 4" 4); do
            texts $n $options $more > other
            cmp one other
        done
    done
    [ "$(wc -c < one)" -gt 10 ]
}

@test "context: the ranks of a text answer JSON lines and conversations from standard input" {
    needs_mpi
    make_base
    make_wide
    # The second prompt begins as the first does, and the third is shorter than a segment.
    perl -e 'my $p = "abc de " x 30; print qq({"prompt":"$_","id":1}\n) for $p . "x", $p . "yz", "k"' \
        > prompts.jsonl
    # With dynamic scaling the angles depend on the text's length.
    for options in "--rope dynamic:40 --exact-cache" "--rope yarn:40 --chat longqlora"; do
        options="-m wide --format jsonl $options -c 400 -n 20 -t 2 --device cpu --context-segments 4"
        generate $options --quiet < prompts.jsonl > one
        texts 4 $options < prompts.jsonl > four
        cmp one four
        [ "$(wc -l < four)" = 3 ]
    done
    echo "abc def" | texts 1 -m wide --rope linear:40 --chat longqlora -n 20 -t 2 > one
    echo "abc def" | texts 2 -m wide --rope linear:40 --chat longqlora -n 20 -t 2 > two
    cmp one two
}

@test "context: what several ranks of generate cannot do is refused" {
    make_base
    make_wide
    refused="generate -p a --rope linear:4 --device cpu --quiet"
    refuses "--context-segments must be from 1 to 1024" -m wide --context-segments 0
    refuses "4 ranks share a text, so their number must divide --context-segments 6 and the model's 4 key/value heads" \
        -m wide --context-segments 6 --dry-run --ranks 4
    refuses "4 ranks share a text, so their number must divide --context-segments 4 and the model's 2 key/value heads" \
        -m base --context-segments 4 --dry-run --ranks 4
    refuses "2 ranks share a text only in segments: --context-segments 2, or --ranks 1" \
        -m wide --dry-run --ranks 2
    refuses "--ranks 2: a launcher starts them: mpirun -n 2 generate …" -m wide --ranks 2 \
        --context-segments 2
    # A plan has the memory of one rank: the cache has its heads only.
    cache() { generate -m wide --context-segments 4 --dry-run --rope linear:4 --device cpu "$@" |
        sed -n 's/^keys and values *\([0-9]*\) bytes.*/\1/p'; }
    [ $(($(cache --ranks 4) * 4)) = "$(cache)" ]
    needs_mpi
    run -2 texts 2 -m - -p a < base.nf4
    [[ "$output" == *"generate: --model -: only one of the ranks can read standard input: name a file"* ]]
    # Without segments, each process of a launch is a run of its own.
    # Their texts may come in pieces, so line ends are counted.
    mpirun --oversubscribe -n 2 generate -m wide -p a -n 3 --rope linear:4 --device cpu \
        --quiet > two
    [ "$(wc -l < two)" = 2 ]
}

@test "context: a rank of generate that fails or hangs is named" {
    needs_mpi
    make_base
    make_wide
    head -c 4000 "$made/text" > long
    cat > one << 'S'
#!/bin/bash
echo $$ > "pid$OMPI_COMM_WORLD_RANK"
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || model=$OTHER
exec generate -m "${model:-wide}" -f long -c 3000 -n 2000 --rope linear:300 --device cpu \
    --threads 1 --context-segments 2 $LIMIT > "text$OMPI_COMM_WORLD_RANK"
S
    chmod +x one
    export LIMIT=
    OTHER=base run -2 mpirun --oversubscribe -n 2 ./one
    [[ "$output" == *"generate: rank 1: on $(hostname): another base than rank 0: "* ]]
    OTHER=nowhere run -1 mpirun --oversubscribe -n 2 ./one
    [[ "$output" == *"generate: rank 1: nowhere: "* ]]
    export OTHER=wide LIMIT="--rank-timeout 2"
    stop_rank_1_at 'generate: memory: '
    grep -Eq "^generate: rank 1 on $(hostname) has not reached (its start|token [0-9]+(, layer [0-9])?) after [0-9.]+ s$" said
}

# Each family divides other things by heads: one norm over all heads of q and of k (olmo2), a norm
# for each head (qwen3), fused q, k, v (phi3), factors (granite), sliding windows with another theta
# (gemma3).
@test "context: two ranks train, measure and continue with every family of models as one does" {
    needs_mpi
    make_base
    pack --quiet --context 64 --strategy split docs.tok -o 64.smp
    config
    echo 'method: full' > full.yaml
    families=('olmo2",' 'gemma3_text","sliding_window":24,"sliding_window_pattern":2,"head_dim":8,
            "query_pre_attn_scalar":8,')
    # With sanitizers test_segments has the other families.
    [ "${FLAVOUR:-}" = asan ] || families+=('qwen3","head_dim":8,' 'phi3","pad_token_id":0,'
        'granite","residual_multiplier":0.22,"attention_multiplier":0.3,"logits_scaling":2,')
    for family in "${families[@]}"; do
        sed 's/"architectures":[^,]*,//; s/position_embeddings":16/position_embeddings":64/
            s/"model_type":"llama",/"model_type":"'"${family//[$' \n']/}/" config.json > family.json
        for n in 1 2; do
            mpirun --oversubscribe -n $n train full.yaml output_dir=out$n from_scratch=true \
                model_name_or_path=family.json tokenizer=tok train_file=64.smp max_seq_length=64 \
                context_segments=2 max_steps=2 save_steps=1 gradient_accumulation_steps=2 \
                rope=none logging_steps=1 learning_rate=0.01 --device cpu --threads 1 --quiet \
                gradient_checkpointing=true
            case $family in olmo2* | gemma3*) ;; *) continue ;; esac
            segments=2 ranks $n -m out1 -d docs.tok -c 64 --max-tokens 300 --to json >> measured$n
            segments=2 texts $n -m out1 -p "$(head -c 40 "$made/text")" -t 1 -n 20 >> said$n
        done
        same_run out1 out2
        rm -r out1 out2
    done
    cmp measured1 measured2
    cmp said1 said2
}
