load helper

# Several ranks share a measurement. They write what one process writes, byte for byte.

ranks() { # N OPTION...
    mpirun --oversubscribe -n "$1" ppl --threads 1 --quiet --device "${device:-cpu}" "${@:2}"
}

# A window begins at every fourth token, so there are several batches of 4096 rows. With three ranks
# the last round is incomplete.
windows="--protocol longlora --stride 4 --context 16,32"

@test "ranks: ppl writes the same bytes with one, two, three and four ranks" {
    needs_mpi
    make_base
    options="-m base.nf4 -d docs.tok $windows --rope linear:2,none"
    ppl $options --device cpu --quiet -o one.json
    for n in $(less "2 3 4" 3); do
        ranks $n $options -o other.json
        cmp one.json other.json
    done
    # Each context has more batches than ranks, so every rank computes some.
    perl -MJSON::PP -e '
        for my $rope (@{decode_json(join "", <STDIN>)}) {
            $_->{windows} * $_->{context} > 4 * 4096 or die $_->{windows} for @{$rope->{scores}} }' \
        < one.json
}

@test "ranks: ppl writes the bytes of one process for samples, for documents, for data from a pipe, and by other protocols" {
    needs_mpi
    make_base
    # Samples of several lengths, some of them with several documents.
    pack --quiet --context 48 --strategy best-fit docs.tok -o mixed.smp
    options="-m base --from samples --context 40,48 --to positions"
    ppl $options -d mixed.smp --device cpu --quiet > one
    ranks 3 $options -d - < mixed.smp > other
    diff one other
    ranks 2 $options -d mixed.smp -o other
    diff one other
    # With llamacpp there are fewer batches than ranks.
    for protocol in "sliding --per-document" "huggingface --stride 3" llamacpp; do
        options="-m base.nf4 --context 16 --protocol $protocol --to json"
        ppl $options -d docs.tok --device cpu --quiet > one
        cat docs.tok | ranks 3 $options -d - > other
        diff one other
    done
    options="-m $golden/bnb/model -d $golden/ppl/tokens.bin --from u16 -c 64 --protocol longppl"
    ppl $options --short-context 16 --device cpu --quiet -o one.scores
    ranks 4 $options --short-context 16 -o other.scores
    cmp one.scores other.scores
}

@test "ranks: ppl names what differs between its ranks" {
    needs_mpi
    make_base
    # The second rank gets further options, or another environment.
    cat > one << 'S'
#!/bin/bash
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || . ./change
exec ppl -m base.nf4 -d docs.tok --context 16 --device cpu --quiet $changed
S
    chmod +x one
    head -n 9 docs.jsonl | tokenize --quiet -m tok/tokenizer.model - -o other.tok
    differs() { # NAME CHANGE MESSAGE
        mkdir "of-$1"
        cp -P one base base.nf4 *.tok "of-$1"
        cd "of-$1"
        echo "$2" > change
        run -2 mpirun --oversubscribe -n 2 ./one
        # No result is printed.
        [[ "$output" == *"ppl: rank 1: on $(hostname): another $3"* &&
            "$output" != *perplexity* ]] || { echo "$output"; return 1; }
    }
    # The second rank waits some seconds before it reports, so the cases run in parallel.
    (differs option 'changed="--stride 8"' "--stride than rank 0: 0 there, 8 here") &
    option=$!
    (differs data 'changed="-d other.tok"' "digest of the data (--data) than rank 0: ") &
    data=$!
    (differs base 'changed="-m base"' "model than rank 0: ") &
    base=$!
    (differs level 'export LONGQLORA_CPU=baseline' "level of the CPU kernels than rank 0: ") &
    wait $!
    wait $option
    wait $data
    wait $base
}

@test "ranks: a rank of ppl that fails says so in one line, and all end with its status" {
    needs_mpi
    make_base
    # All find the same mistake. Rank 0 says it.
    head -c 3000 docs.tok > cut.tok
    run -3 ranks 3 -m base.nf4 -d cut.tok --context 16
    [ "$(grep -c '^ppl: ' <<< "$output")" = 1 ]
    [[ "$output" == *"ppl: cut.tok: "* ]]
    run -2 ranks 3 -m base.nf4 --contxt 16
    [ "$(grep -c '^ppl: ' <<< "$output")" = 1 ]
    # Only the second rank lacks its data.
    cat > one << 'S'
#!/bin/bash
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || data=nowhere.tok
exec ppl -m base.nf4 -d ${data:-docs.tok} --context 16 --device cpu --quiet
S
    chmod +x one
    run -1 mpirun --oversubscribe -n 2 ./one
    [ "$(grep '^ppl: ' <<< "$output")" = "ppl: rank 1: nowhere.tok: No such file or directory" ]
    # Rank 0 cannot write.
    run -1 ranks 2 -m base.nf4 -d docs.tok --context 16 -o nowhere/x.json
    [ "$(grep -c '^ppl: ' <<< "$output")" = 1 ]
}

@test "ranks: a rank of ppl that hangs is named, with its machine and the place" {
    needs_mpi
    make_base
    cat > one << 'S'
#!/bin/bash
echo $$ > "pid$OMPI_COMM_WORLD_RANK"
exec ppl -m base.nf4 -d docs.tok --context 256,512 --protocol longlora --stride 1 --device cpu \
    --rope none,linear:2,yarn:2,ntk:2,linear:4,yarn:4,ntk:4 --threads 1 --rank-timeout 2
S
    chmod +x one
    stop_rank_1_at 'device: cpu'
    grep -Eq "^ppl: rank 1 on $(hostname) has not reached (its start|context (256|512), batch [0-9]+) after [0-9.]+ s$" \
        said
}

@test "ranks: a wrong start of ppl is refused with the right command line" {
    make_base
    options="-m base.nf4 -d docs.tok --context 16 --device cpu --quiet"
    run --separate-stderr -2 ppl $options --ranks 2
    [[ "$stderr" == "ppl: --ranks 2: a launcher starts them: mpirun -n 2 ppl …"* ]]
    run --separate-stderr -2 env WORLD_SIZE=8 ppl $options
    [[ "$stderr" == \
        "ppl: WORLD_SIZE=8: torchrun and deepspeed do not start ranks here: mpirun -n 8 ppl …"* ]]
    run --separate-stderr -2 env WORLD_SIZE=many ppl $options
    [[ "$stderr" == "ppl: WORLD_SIZE=many is not a number of processes: "* ]]
    ppl $options > alone
    env WORLD_SIZE=8 ppl $options --ranks 1 | diff alone -
    needs_mpi
    run --separate-stderr -2 env OMPI_COMM_WORLD_SIZE=2 ppl $options
    [[ "$stderr" == *"ppl: OMPI_COMM_WORLD_SIZE=2: MPI knows of 1: "*"--ranks 1 says that each process is a run of its own"* ]]
    run -2 ranks 2 -m - -d docs.tok --context 16 < base.nf4
    [[ "$output" == *"ppl: --model -: only one of the ranks can read standard input: name a file"* ]]
}

@test "ranks: the ranks of ppl have equal shares of the machine's memory" {
    needs_mpi
    make_base
    options="-m base.nf4 -d docs.tok --context 16 --device cpu"
    ppl $options --threads 1 > /dev/null 2> said
    needed=$(sed -n 's/^ppl: memory: \([0-9.]*\) MB of .*/\1/p' said)
    # Enough for one process, but not for two. If both counted the same memory, both would start.
    export LONGQLORA_MEMORY
    LONGQLORA_MEMORY=$(awk -v n="$needed" 'BEGIN { printf "%d", 1.5e6 * n }')
    ppl $options --threads 1 --quiet > one
    run -1 mpirun --oversubscribe -n 2 ppl $options --threads 1 --quiet
    [[ "$output" == *"ppl: --context 16: needs "*" of memory, "*" are free"* ]]
    LONGQLORA_MEMORY=$((2 * LONGQLORA_MEMORY))
    mpirun --oversubscribe -n 2 ppl $options --threads 1 --quiet | diff one -
}

@test "ranks: each rank of ppl takes its own GPU" {
    [ -e "$BUILD/emulation/f32/kernels-cuda.so" ] || skip "no emulation here"
    needs_mpi
    make_base
    export LONGQLORA_CUDA=$BUILD/emulation/f32/kernels-cuda.so EMULATION_GPUS=2
    options="-m base.nf4 -d docs.tok --max-tokens 400 --context 16 --to json"
    ppl $options --device cuda --quiet -o one.json
    EMULATION_USED=used device=cuda ranks 2 $options -o other.json
    cmp one.json other.json
    [ "$(sort used | tr '\n' ' ')" = "0 1 " ]
}
