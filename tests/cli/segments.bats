load helper

# context_segments: several ranks share a sample. They write what one process writes, byte for byte.

# Makes 64.smp and mixed.smp, whose samples have at most 64 tokens; a sample of mixed.smp may have
# several documents.
make_inputs() {
    make_base
    pack --quiet --context 64 --strategy split docs.tok -o 64.smp
    pack --quiet --context 64 --strategy best-fit docs.tok -o mixed.smp
    make_wide
}

segments() { # RANKS OUT KEY=VALUE...
    local n=$1 out=$2
    shift 2
    [ -e lora.yaml ] || echo 'method: lora' > lora.yaml
    mpirun --oversubscribe -n "$n" "${program:-train}" "${recipe:-lora.yaml}" output_dir="$out" \
        model_name_or_path="${base:-wide}" train_file=64.smp max_seq_length=64 \
        context_segments=4 max_steps=2 save_steps=1 save_total_limit=null logging_steps=1 \
        learning_rate=0.01 gradient_accumulation_steps=3 quantization=any lora_rank=8 \
        --device "${device:-cpu}" --threads 1 ${quiet---quiet} "$@"
}

# Fails unless one, two and four ranks that share each sample, and two groups of two ranks, write
# the same bytes. A step has three samples, so one of the two groups is idle in its last round.
same_everywhere() { # KEY=VALUE...
    rm -rf one two four twice
    segments 1 one "$@"
    segments 2 two "$@"
    same_run one two
    segments 4 four "$@"
    same_run one four
    segments 4 twice "$@" --sample-ranks 2
    same_run one twice
}

@test "segments: S2-Attn and dropout: the ranks of a sample write what one process writes" {
    needs_mpi
    make_inputs
    same_everywhere lora_dropout=0.2 train_embedding=true train_norm=true eval_file=few.smp \
        eval_steps=1
}

@test "segments: full attention over packed documents" {
    needs_mpi
    make_inputs
    same_everywhere attention=full train_file=mixed.smp chunk_rows=8 gradient_checkpointing=true
}

@test "segments: full training of a tied model with dynamic position scaling, and LoRA on NF4 over packed documents, with two key heads on two ranks" {
    needs_mpi
    make_inputs
    config tied.json 400 true
    echo 'method: full' > full.yaml
    keys="from_scratch=true tokenizer=tok attention=full rope=dynamic:4"
    recipe=full.yaml base=tied.json segments 1 one $keys
    recipe=full.yaml base=tied.json segments 2 two $keys
    same_run one two
    recipe=full.yaml base=tied.json segments 4 twice $keys
    same_run one twice
    base=base.nf4 segments 1 nf4 train_file=mixed.smp context_segments=2
    base=base.nf4 segments 2 other train_file=mixed.smp context_segments=2
    same_run nf4 other
}

@test "segments: norms of heads and a sliding window, with stored, recomputed and offloaded activations" {
    needs_mpi
    make_inputs
    gemma_config 4 24 64
    export recipe=full.yaml base=gemma.json
    keys="from_scratch=true tokenizer=tok rope=none"
    segments 1 one $keys gradient_checkpointing=false
    for more in gradient_checkpointing=false \
        "gradient_checkpointing=true offload_activations=true"; do
        rm -rf two
        segments 2 two $keys $more
        same_run one two
    done
}

@test "segments: ranks with emulated GPUs write what one with an emulated GPU writes" {
    needs_mpi
    [ -e "$BUILD/emulation/bf16/kernels-cuda.so" ] || skip "no emulation here"
    export EMULATION_PROTECT=1 EMULATION_PAGEABLE=1
    export LONGQLORA_CUDA=$BUILD/emulation/bf16/kernels-cuda.so device=cuda-bf16
    make_inputs
    keys="lora_dropout=0.2 train_norm=true gradient_accumulation_steps=1 offload_activations=true"
    segments 1 one $keys
    segments 2 two $keys
    same_run one two
}

@test "segments: bf16 products on the CPU, and a run that goes on with another number of ranks" {
    needs_mpi
    make_inputs
    device=cpu
    grep -q avx512_bf16 /proc/cpuinfo && device=cpu-bf16
    whole_isa
    export device
    segments 1 one lora_dropout=0.1
    segments 4 cut lora_dropout=0.1 max_steps=1
    segments 2 cut lora_dropout=0.1 resume_from_checkpoint=auto
    cmp one/adapter_model.safetensors cut/adapter_model.safetensors
    cmp one/checkpoint-2/training_state cut/checkpoint-2/training_state
    # Without segments the bits differ. A run cannot go on with another number of segments.
    segments 1 whole lora_dropout=0.1 context_segments=1
    run ! cmp one/adapter_model.safetensors whole/adapter_model.safetensors
    run -3 segments 1 cut lora_dropout=0.1 context_segments=2 max_steps=3 \
        resume_from_checkpoint=auto
    [[ "$output" == *"context_segments was 4, is 2"* ]]
}

@test "segments: what does not fit is refused" {
    make_inputs
    echo 'method: lora' > lora.yaml
    plan() { train lora.yaml model_name_or_path=wide train_file=64.smp max_seq_length=64 \
        quantization=any context_segments=4 --device cpu --dry-run "$@"; }
    refuses() { # MESSAGE KEY=VALUE...
        local message=$1
        shift
        run -2 plan "$@"
        echo "$output"
        [[ "$output" == *"$message"* ]]
    }
    refuses "context_segments: 4 needs per_device_train_batch_size: 1" per_device_train_batch_size=2
    refuses "context_segments must be at least 1" context_segments=0
    refuses "context_segments and gradient_block exclude each other" gradient_block=2 \
        gradient_accumulation_steps=2
    refuses "context_segments 3, and max_seq_length is 64: it must be a multiple of 48" \
        context_segments=3
    refuses "context_segments 8, and max_seq_length is 64: it must be a multiple of 128" \
        context_segments=8
    refuses "chunk_rows 12, and a segment has 16 rows" chunk_rows=12
    refuses "--sample-ranks 3 does not divide the 4 ranks" --ranks 4 --sample-ranks 3
    refuses "--sample-ranks 4 does not divide the 2 segments of a sample (context_segments)" \
        --ranks 4 --sample-ranks 4 context_segments=2
    refuses "--sample-ranks 4 does not divide the 2 key/value heads" --ranks 4 --sample-ranks 4 \
        model_name_or_path=base
    refuses "8 ranks, and a step has 1 sample, each on 4 ranks at most" --ranks 8
}

@test "segments: a plan has the memory of one rank, and what the ranks of a sample send" {
    make_inputs
    echo 'method: lora' > lora.yaml
    plan() { train lora.yaml model_name_or_path=wide train_file=64.smp max_seq_length=4096 \
        rope=yarn quantization=any context_segments=4 context_exchange=heads \
        gradient_accumulation_steps=3 --device cpu --dry-run "$@"; }
    row() { sed -n "s/^$1 *\([0-9]*\) bytes .*/\1/p"; }
    one=$(plan) four=$(plan --ranks 8)
    echo "$four"
    [[ "$four" == *"one of 8 ranks: 3 batches a step in 2 rounds, 4 ranks idle in the last"* ]]
    # In each layer q, k, v and o are sent three times: in the forward, again in the backward, and
    # as gradients. So 6 matrices have the width of q, and 6 that of k. Each of their 4096 rows is
    # on one rank, which sends the other three ranks their heads: of q two heads of 4 elements, in 8
    # columns; of k one head of 4, padded to 8 columns. An element has 4 bytes.
    of_layer=$((4096 * 3 * 6 * (8 + 8) * 4))
    [[ "$four" == *"a sample on 4 ranks, 1 of 4 segments on each: they send $of_layer bytes, "* ]]
    [ $(($(row 'layer inputs' <<< "$four") * 4)) = "$(row 'layer inputs' <<< "$one")" ]
}

@test "segments: after a signal to mpirun the ranks of a sample save, and one process goes on" {
    needs_mpi
    make_inputs
    saves_after_signal segments save_steps=100000 lr_scheduler_type=constant \
        eval_file=few.smp eval_steps=3
}

@test "segments: if a rank fails, all end; they save a checkpoint first if one process would save one" {
    with_faults
    needs_mpi
    make_inputs
    keys="lora_rank=24 lr_scheduler_type=constant save_steps=1000"
    # The log of rank 0 cannot be written.
    one_rank 0 'FAULT_OF=flush FAULT_AT=3 FAULT_BEGIN=out FAULT_MARK=mark LD_PRELOAD=$BUILD/tests/fault.so'
    export BUILD
    status=0
    program=./one segments 2 out $keys max_steps=6 > said 2>&1 || status=$?
    cat said
    [ "$status" = 1 ]
    grep -q '^train: trainer_log.jsonl: cannot write: No space left on device$' said
    segments 1 out $keys max_steps=5 resume_from_checkpoint=auto
    segments 1 whole $keys max_steps=5
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    # When rank 0 prints its line of step 4, the file of rank 1's training samples is cut.
    for i in $(seq 300); do cat docs.jsonl; done |
        tokenize --quiet -m tok/tokenizer.model - |
        pack --quiet --context 32 --strategy split -o many.smp
    rm -rf out
    cut_file_of_rank_1 train_file
    status=0
    quiet='' program=./one segments 2 out $keys max_steps=1000 train_file=many.smp > said 2>&1 ||
        status=$?
    said_cut_and_saved
    [ "$status" = 3 ]
    # The evaluation after the first step finds a loss that is not finite.
    for ranks in 1 2; do
        rm -rf out
        status=0
        quiet='' segments $ranks out $keys learning_rate=1e30 eval_file=few.smp eval_steps=1 \
            eval_on_start=false > said 2>&1 || status=$?
        cat said
        [ "$status" = 1 ]
        grep -Eq '^train: (rank 1: )?evaluation after step 1: few.smp: sample [0-9]+: the loss is not finite; first: ' said
        [ -d out/checkpoint-1 ]
    done
}

@test "segments: if several ranks of a sample have a loss that is not finite, the first of them names it" {
    needs_mpi
    make_inputs
    # Token 6, whose embedding is NaN, comes only in the last two of four segments. So the losses of
    # ranks 0 and 1 are finite.
    cp -rL wide nan
    perl -MJSON::PP -e 'open my $f, "+<", "nan/model.safetensors"; binmode $f; read $f, my $n, 8;
        $n = unpack("Q<", $n); read $f, my $head, $n;
        my $at = decode_json($head)->{"model.embed_tokens.weight"}{data_offsets}[0];
        seek $f, 8 + $n + $at + 4 * 32 * 6, 0; print $f pack("V", 0x7fc00000) x 32'
    {
        tokenize --quiet --from stream --to jsonl docs.tok | head -n 1
        printf '{"id":"a","source":"","tokens":[%s5]}\n' \
            "$(printf '5,%.0s' {1..128}; printf '6,%.0s' {1..127})"
        echo '{"end":true,"records":1}'
    } > ids.jsonl
    tokenize --quiet --from jsonl --to stream < ids.jsonl |
        pack --quiet --context 256 --strategy split -o nan.smp
    base=nan run -1 segments 4 out train_file=nan.smp attention=full max_seq_length=256 \
        gradient_accumulation_steps=1
    echo "$output"
    [ "$(grep -c '^train: ' <<< "$output")" = 1 ]
    [[ "$output" == *"train: rank 2: step 1: sample 1: the loss is not finite; first: embedding: row "* ]]
}
