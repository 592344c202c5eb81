load helper

# Ranks with emulated GPUs, whose messages an emulated NCCL moves (tests/cuda-emulation/nccl.c).
# They write what one process writes, byte for byte, and what they write if the messages go by MPI.

needs_nccl() { # [TYPE OF THE ACTIVATIONS]
    needs_mpi
    [ -e "$BUILD/emulation/nccl/libnccl.so.2" ] || skip "no emulation here"
    unset LONGQLORA_NCCL
    export LONGQLORA_CUDA=$BUILD/emulation/${1:-bf16}/kernels-cuda.so
    export EMULATION_GPUS=4 EMULATION_PROTECT=1 EMULATION_PAGEABLE=1
    export LD_LIBRARY_PATH=$BUILD/emulation/nccl EMULATED_NCCL_LOG=$PWD/moved
}

ranks() { # N OUT KEY=VALUE...
    local n=$1 out=$2
    shift 2
    [ -e lora.yaml ] || echo 'method: lora' > lora.yaml
    rm -f moved
    mpirun --oversubscribe -n "$n" "${program:-train}" "${recipe:-lora.yaml}" output_dir="$out" \
        model_name_or_path="${base:-base.nf4}" train_file=32.smp max_steps=2 save_steps=1 \
        save_total_limit=null logging_steps=1 learning_rate=0.01 gradient_accumulation_steps=4 \
        --device cuda --threads 1 ${quiet---quiet} "$@"
}

# Prints how many bytes all ranks sent by NCCL.
moved() { awk '{ bytes += $3 } END { printf "%d\n", bytes }' moved; }
parameter_bytes() { # SAFETENSORS: prints the bytes of its tensors
    perl -e 'open my $in, "<:raw", shift or die; read $in, my $n, 8;
        print((stat $in)[7] - 8 - unpack "Q<", $n)' "$1"
}

# Fails unless 1, 2 and 4 ranks write the same, by NCCL and by MPI, and NCCL moves what it must: in
# an update the gradients of four batches go to their owners, and the new values to all others.
same_by_nccl() { # FILE WITH THE PARAMETERS, KEY=VALUE...
    local file=$1 n
    shift
    ranks 1 one "$@"
    [ ! -e moved ]
    for n in 2 4; do
        ranks $n by-nccl-$n "$@"
        same_run one by-nccl-$n
        cat moved
        [ "$(wc -l < moved)" = $n ]
        [ "$(moved)" = $((2 * (4 / n + 1) * (n - 1) * $(parameter_bytes one/$file))) ]
        LONGQLORA_NCCL=0 ranks $n by-mpi-$n "$@"
        [ ! -e moved ]
        same_run one by-mpi-$n
    done
}

@test "nccl: LoRA: two and four ranks write by NCCL what one process and MPI write, and all gradients and values go by NCCL" {
    needs_nccl
    make_base
    same_by_nccl adapter_model.safetensors lora_rank=24 lora_dropout=0.2
}

@test "nccl: full training: two and four ranks write by NCCL what one process and MPI write" {
    needs_nccl f32
    make_base
    echo 'method: full' > full.yaml
    export recipe=full.yaml base=config.json
    same_by_nccl model.safetensors from_scratch=true tokenizer=tok attention=full rope=linear:2
}

@test "nccl: an idle rank in the last round, blocks of batches, trained tables, an evaluation" {
    needs_nccl
    make_base
    keys="lora_rank=8 train_norm=true train_embedding=true gradient_accumulation_steps=3 eval_file=few.smp eval_steps=2"
    for more in gradient_block=1 gradient_block=2; do
        rm -rf one two
        ranks 1 one $keys $more
        ranks 2 two $keys $more
        same_run one two
        [ "$(moved)" -gt 100000 ]
    done
}

@test "nccl: context_segments by heads: the ranks of a sample, and groups of ranks, write what one process writes" {
    needs_nccl
    make_base
    make_wide
    pack --quiet --context 64 --strategy split docs.tok -o 64.smp
    export base=wide
    segments() { ranks "$1" "$2" train_file=64.smp max_seq_length=64 context_segments=4 \
        quantization=any lora_rank=8 gradient_accumulation_steps=3 lora_dropout=0.2 \
        eval_file=few.smp eval_steps=2 offload_activations=true "${@:3}"; }
    segments 1 one
    segments 4 four
    same_run one four
    [ "$(wc -l < moved)" = 4 ]
    by_nccl=$(moved)
    # In the last of the two rounds one of the two groups has no sample.
    segments 4 twice --sample-ranks 2
    same_run one twice
    LONGQLORA_NCCL=0 segments 4 by-mpi
    same_run one by-mpi
    # More goes by NCCL than gradients and values, which four segments send three times.
    [ "$by_nccl" -gt $((2 * (3 * 3 + 3) * $(parameter_bytes one/adapter_model.safetensors))) ]
}

@test "nccl: context_segments by groups: neighbours write what one process writes" {
    needs_nccl
    make_base
    config
    sed 's/"max_position_embeddings":16/"max_position_embeddings":2048/
        s/"num_attention_heads":4/"num_attention_heads":2/; s/"num_hidden_layers":2/"num_hidden_layers":1/' \
        config.json > small.json
    sed 's/\(.*\)/\1/' docs.jsonl | perl -MJSON::PP -e 'my $t = join " ", map { decode_json($_)->{text} } <STDIN>;
        print encode_json({ text => $t }), "\n"' | tokenize --quiet -m tok/tokenizer.model - |
        pack --quiet --context 2048 --strategy split -o long.smp
    echo 'method: full' > full.yaml
    export recipe=full.yaml base=small.json
    keys="from_scratch=true tokenizer=tok train_file=long.smp max_seq_length=2048 context_segments=4
        context_exchange=groups group=1024 gradient_accumulation_steps=1 max_steps=1"
    ranks 1 one $keys
    ranks 4 four $keys
    same_run one four
    [ "$(wc -l < moved)" = 4 ]
}

@test "nccl: ppl and generate on two ranks write by NCCL what one process writes" {
    needs_nccl
    make_base
    options="-m base.nf4 -d docs.tok --max-tokens 400 --context 64 --context-segments 2 --to json
        --device cuda --quiet"
    ppl $options -o one.json
    mpirun --oversubscribe -n 2 ppl $options -o two.json
    cmp one.json two.json
    [ "$(wc -l < moved)" = 2 ]
    rm moved
    options="-m base --context-segments 2 --context 64 --max-new-tokens 8 --device cuda --quiet"
    echo "ab cd ef gh" > prompt
    generate $options -f prompt > one
    mpirun --oversubscribe -n 2 generate $options -f prompt > two
    cmp one two
    [ "$(wc -l < moved)" = 2 ]
}

@test "nccl: if a rank cannot use it, messages pass through the host's memory, and train and --dry-run say why" {
    needs_nccl
    make_base
    export program=./one quiet= BUILD
    one_rank 1 LONGQLORA_NCCL=
    host="messages between GPUs go through the host's memory: "
    rank_1="${host}on rank 1 on $(hostname): "
    ranks 1 alone lora_rank=24 max_steps=1 2> said || { cat said; false; }
    run ! grep 'messages between' said
    said() { # TEXT
        for dry in --dry-run ""; do
            rm -rf two
            ranks 2 two lora_rank=24 max_steps=1 $dry > said 2>&1
            cat said
            grep -qF "$1" said
            [ "$(grep -c 'messages between' said)" = 1 ]
        done
        same_run alone two
        [ ! -e moved ]
    }
    one_rank 1 LONGQLORA_NCCL=0
    said "${rank_1}LONGQLORA_NCCL=0"
    mkdir broken
    echo "no library" > broken/libnccl.so.2
    one_rank 1 LD_LIBRARY_PATH=broken
    said "${rank_1}broken/libnccl.so.2: "
    echo 'int ncclGetVersion;' | gcc -x c -shared - -o broken/libnccl.so.2
    said "${rank_1}libnccl.so.2 has no ncclGetUniqueId: NCCL must be 2.14 or later"
    if ! ldconfig -p | grep -q 'libnccl\.so\.2'; then
        one_rank 1 LD_LIBRARY_PATH=
        said "${rank_1}libnccl.so.2: cannot open shared object file"
    fi
    one_rank 1 EMULATED_NCCL_VERSION=21805
    said "${host}rank 1 on $(hostname) has NCCL 2.18.5, and rank 0 has NCCL 2.27.3"
    one_rank 1 EMULATED_NCCL_VERSION=21304
    said "${rank_1}NCCL 2.13.4 is older than 2.14"
    # A plan needs no GPU.
    one_rank 1 EMULATION_GPUS=0
    run -0 ranks 2 two lora_rank=24 max_steps=1 --dry-run
    [[ "$output" == *"${rank_1}device cuda: no GPU is there"* ]]
    one_rank 1 LONGQLORA_NCCL=
    EMULATION_GPUS=1 said "${host}ranks 0 and 1 on $(hostname) use the same device"
    one_rank 1 LONGQLORA_NCCL=yes
    run -2 ranks 2 two lora_rank=24
    [[ "$output" == *"train: rank 1: LONGQLORA_NCCL=yes: only 0 has a meaning, no NCCL"* ]]
    # Rank 0 finds out only when it makes the id.
    one_rank 0 EMULATED_NCCL_FAULT=id
    rm -rf two
    ranks 2 two lora_rank=24 max_steps=1 2> said
    grep -qF "${host}on rank 0 on $(hostname): NCCL: ncclGetUniqueId: an emulated error" said
    same_run alone two
    one_rank 1 LONGQLORA_NCCL=
    for dry in --dry-run ""; do
        ranks 2 three lora_rank=24 max_steps=1 $dry > said 2>&1
        cat said
        grep -q 'messages between GPUs go by NCCL 2.27.3$' said
    done
    same_run alone three
    # A plan for another launch does not know what its ranks have.
    run -0 train lora.yaml output_dir=x model_name_or_path=base.nf4 train_file=32.smp \
        gradient_accumulation_steps=4 --device cuda --dry-run --ranks 2
    [[ "$output" == *"messages between GPUs are planned through the host's memory; where all ranks have NCCL"* ]]
}

@test "nccl: a plan counts no buffers of messages on the host" {
    needs_nccl
    make_base
    on_host() { ranks 2 x lora_rank=24 --dry-run | sed -n 's/^total on the host *\([0-9]*\) bytes.*/\1/p'; }
    by_nccl=$(on_host)
    by_mpi=$(LONGQLORA_NCCL=0 on_host)
    echo "$by_nccl $by_mpi"
    [ "${by_nccl:-0}" -lt "$by_mpi" ]
}

@test "nccl: a rank that hangs is named, with its machine, step and layer, and all ranks end" {
    needs_nccl
    make_base
    # A rank that is stopped after it has come, and before its messages have moved, cannot be named.
    for try in 1 2 3 4; do
        rm -rf out
        ranks 2 out lora_rank=24 max_steps=100000 --rank-timeout 2 > said 2>&1 &
        until_true has_step out 2
        kill -STOP "$(ranks_of $! | tail -n 1)"
        status=0
        wait $! || status=$?
        cat said
        # The emulation may end with a status of its own, because nobody freed its objects.
        [ "$status" != 0 ]
        grep -q 'all ranks have come, but their messages have not moved by NCCL .* after 2 s$' said ||
            break
    done
    grep -Eq "^train: (rank 1: )?(step [0-9]+: )?rank [01] on $(hostname) has not reached step [0-9]+(, layer [01])? after 2 s$" said
}

@test "nccl: after a signal to mpirun all ranks save, and the run goes on" {
    needs_nccl
    make_base
    saves_after_signal ranks lora_rank=24 save_steps=100000 lr_scheduler_type=constant
}

@test "nccl: failures of NCCL end all ranks with one line, and none waits without a limit" {
    needs_nccl
    make_base
    export program=./one BUILD
    fails() { # FAULT TEXT
        rm -rf out
        one_rank 0 EMULATED_NCCL_FAULT=$1
        run ! timeout 60 mpirun --oversubscribe -n 2 ./one lora.yaml output_dir=out \
            model_name_or_path=base.nf4 train_file=32.smp max_steps=3 lora_rank=24 \
            gradient_accumulation_steps=4 --device cuda --threads 1 --quiet --rank-timeout 2
        echo "$output"
        [ "$status" != 124 ]
        grep -Eq "^train: (rank [01]: )?$2" <<< "$output"
        # A rank that waits for NCCL to end may be so late that the other one reports it, too.
        [ "$(grep -c '^train: ' <<< "$output")" = 1 ] || [ $1 = abort=3 ]
    }
    echo 'method: lora' > lora.yaml
    start="NCCL \(LONGQLORA_NCCL=0 does without it\): "
    fails open "${start}NCCL: ncclCommInitRankConfig: an emulated error$"
    fails connect "${start}its start: all ranks have come, but their messages have not moved by NCCL 2.27.3 after 2 s$"
    fails garble "${start}NCCL: what came from rank 1 is not what it sent$"
    fails error=3 "(step 1: )?NCCL: messages: an emulated remote error$"
    fails refuse=3 "(step 1: )?NCCL: a group of messages: an emulated error$"
    late="(step 1: )?step 1(, layer [01])?: all ranks have come, but their messages have not moved by NCCL 2.27.3 after 2 s$"
    fails stuck=3 "$late"
    fails abort=3 "$late"
}
