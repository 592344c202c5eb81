load helper

# context_exchange: groups. The ranks of a sample send their neighbours the rows of groups that lie
# on two ranks. They write what one process writes, byte for byte.

# Makes long.smp, whose samples have up to 2048 tokens, and mixed.smp, whose samples have up to 2048
# tokens of several documents. Also makes wide/, a model with 8 heads of 8 columns.
make_inputs() {
    make_base
    once exchange make_long
    ln -sf "$made"/exchange/{wide,long.smp,mixed.smp} .
    echo 'method: lora' > lora.yaml
}
make_long() {
    mkdir "$made/exchange.new"
    cd "$made/exchange.new"
    perl -e 'my @l = map { chomp; $_ } <STDIN>; my $at = 0;
        for (75, 40, 66, 12, 25, 18, 55) {
            print qq({"text":"), join("\\n", @l[$at .. $at + $_ - 1]), qq("}\n); $at += $_ }' \
        < "$made/text" > long.jsonl
    tokenize --quiet -m "$made/tok/tokenizer.model" long.jsonl -o long.tok
    pack --quiet --context 2048 --strategy split long.tok -o long.smp
    pack --quiet --context 2048 --strategy best-fit long.tok -o mixed.smp
    config
    sed 's/"num_attention_heads":4,"num_key_value_heads":2/"num_attention_heads":8,"num_key_value_heads":8,"head_dim":8/' \
        config.json > wide.json
    echo 'method: full' > full.yaml
    train full.yaml from_scratch=true attention=full model_name_or_path=wide.json \
        tokenizer="$made/tok" train_file="$made/16.smp" output_dir="$PWD/wide" max_steps=2 \
        learning_rate=0.01 --quiet --device cpu
    mv "$made/exchange.new" "$made/exchange"
}

# Makes a config of a model with 2048 positions and two key heads.
long_config() {
    config
    sed -i 's/"max_position_embeddings":16/"max_position_embeddings":2048/' config.json
}

groups() { # RANKS OUT KEY=VALUE...
    local n=$1 out=$2
    shift 2
    mpirun --oversubscribe -n "$n" train "${recipe:-lora.yaml}" output_dir="$out" \
        model_name_or_path="${base:-wide}" train_file=long.smp max_seq_length=2048 \
        context_segments=4 context_exchange=groups group=1024 max_steps=2 save_steps=1 \
        save_total_limit=null logging_steps=1 learning_rate=0.01 gradient_accumulation_steps=3 \
        quantization=any lora_rank=8 --device "${device:-cpu}" --threads 1 --quiet "$@"
}

# Fails unless one, two and four ranks that share each sample, and two groups of two ranks, write
# the same. A step has three samples, so one of the two groups is idle in its last round.
same_everywhere() { # KEY=VALUE...
    rm -rf one two four twice
    groups 1 one "$@"
    groups 2 two "$@"
    same_run one two
    groups 4 four "$@"
    same_run one four
    groups 4 twice "$@" --sample-ranks 2
    same_run one twice
}

@test "exchange: ranks that exchange groups write what one process writes, with dropout" {
    needs_mpi
    make_inputs
    # The evaluation has full attention, for which they exchange heads.
    same_everywhere lora_dropout=0.2 train_norm=true eval_file=few.smp eval_steps=2
}

@test "exchange: packed documents, and ranks with several groups" {
    needs_mpi
    make_inputs
    same_everywhere group=512 train_file=mixed.smp gradient_checkpointing=true
}

@test "exchange: two key heads on four ranks, norms of heads and a sliding window, with stored and offloaded activations" {
    needs_mpi
    make_inputs
    gemma_config 8 200 2048
    export recipe=full.yaml base=gemma.json
    keys="from_scratch=true tokenizer=tok rope=none gradient_accumulation_steps=1"
    groups 1 one $keys gradient_checkpointing=false
    groups 4 four $keys gradient_checkpointing=false
    same_run one four
    groups 2 two $keys gradient_checkpointing=true offload_activations=true
    same_run one two
}

@test "exchange: bf16 products on the CPU, and a run that goes on by heads and by groups" {
    needs_mpi
    make_inputs
    device=cpu
    grep -q avx512_bf16 /proc/cpuinfo && device=cpu-bf16
    whole_isa
    export device
    groups 1 one max_steps=3 gradient_accumulation_steps=2
    groups 4 cut max_steps=1 gradient_accumulation_steps=2
    groups 2 cut max_steps=2 gradient_accumulation_steps=2 context_exchange=heads \
        resume_from_checkpoint=auto
    groups 2 cut max_steps=3 gradient_accumulation_steps=2 resume_from_checkpoint=auto
    cmp one/adapter_model.safetensors cut/adapter_model.safetensors
    cmp one/checkpoint-3/training_state cut/checkpoint-3/training_state
}

@test "exchange: ranks with emulated GPUs write what one with an emulated GPU writes" {
    needs_mpi
    [ -e "$BUILD/emulation/bf16/kernels-cuda.so" ] || skip "no emulation here"
    export EMULATION_PROTECT=1 EMULATION_PAGEABLE=1
    export LONGQLORA_CUDA=$BUILD/emulation/bf16/kernels-cuda.so device=cuda-bf16
    make_inputs
    long_config
    sed 's/"num_attention_heads":4/"num_attention_heads":2/; s/"num_hidden_layers":2/"num_hidden_layers":1/' \
        config.json > small.json
    echo 'method: full' > full.yaml
    export recipe=full.yaml base=small.json
    keys="from_scratch=true tokenizer=tok gradient_accumulation_steps=1 max_steps=1"
    groups 1 one $keys
    groups 4 four $keys
    same_run one four
}

# Plans a run of several ranks.
plan() { # KEY=VALUE...
    train lora.yaml model_name_or_path=wide train_file=long.smp max_seq_length=2048 \
        quantization=any context_segments=4 gradient_accumulation_steps=3 --device cpu --dry-run \
        "$@"
}

@test "exchange: a plan chooses groups where they are possible, and says what either way sends" {
    make_inputs
    # In a layer q, k, v and o are sent in the forward and again in the backward, and then their
    # gradients. With groups, each of three borders has a group, of which 256 rows of four heads
    # are sent. With heads, each of 2048 rows sends three ranks two heads.
    groups=$((3 * 256 * 6 * (32 + 32) * 4)) heads=$((2048 * 3 * 6 * (16 + 16) * 4))
    for exchange in auto groups; do
        run -0 plan --ranks 4 context_exchange=$exchange
        echo "$output"
        [[ "$output" == *"they send $groups bytes, "*" a layer, "*" a sample, by groups of 512 tokens (by heads it would be $heads bytes a layer)"* ]]
    done
    run -0 plan --ranks 4 context_exchange=heads
    [[ "$output" == *"they send $heads bytes, "*", by heads (by groups of 512 tokens it would be $groups bytes a layer)"* ]]
    # Groups of 256 tokens are too small, and full attention has none.
    for key in group=256 attention=full; do
        run -0 plan --ranks 4 $key
        [[ "$output" == *"they send $heads bytes, "*" a sample, by heads"$'\n'* ]]
    done
    # A rank takes less memory than with heads. An evaluation needs heads, in the same memory.
    activations() { plan --ranks 4 rope=yarn max_seq_length=65536 "$@" |
        sed -n 's/^activations *\([0-9]*\) bytes.*/\1/p'; }
    by_heads=$(activations context_exchange=heads)
    [ "$(activations)" -lt "$by_heads" ]
    [ "$(activations eval_file=few.smp)" -lt $((by_heads * 11 / 10)) ]
    # Two ranks may share a sample by heads, four by groups. An evaluation needs heads.
    long_config
    two() { plan --ranks 4 method=full from_scratch=true tokenizer=tok \
        model_name_or_path=config.json "$@" | sed -n 's/^a sample on \([0-9]*\) ranks.*, by \(heads\|groups\).*/\1 \2/p'; }
    [ "$(two)" = "4 groups" ]
    [ "$(two context_exchange=heads)" = "2 heads" ]
    [ "$(two eval_file=few.smp)" = "2 groups" ]
    [ "$(two attention=full)" = "2 heads" ]
}

@test "exchange: groups are refused where they are not possible" {
    make_inputs
    refuses() { # MESSAGE KEY=VALUE...
        local message=$1
        shift
        run -2 plan context_exchange=groups --ranks 4 "$@"
        echo "$output"
        [[ "$output" == *"$message"* ]]
    }
    refuses "context_exchange: groups needs attention: s2" attention=full
    refuses "context_exchange: groups, and a group has 256 tokens (group): it must be a multiple of 512" \
        group=256
    refuses "context_exchange: groups, and max_seq_length is 2048: it must be a multiple of 768, half a group" \
        group=1536
    refuses "--sample-ranks 4 does not divide the 2 halves of groups of a sample" --sample-ranks 4 \
        group=2048
    long_config
    sed 's/"num_key_value_heads":2/"num_key_value_heads":1/' config.json > one.json
    refuses "context_exchange: groups, and the model has 1 key/value heads: only an even number can be halved" \
        method=full from_scratch=true tokenizer=tok model_name_or_path=one.json
    refuses "--sample-ranks 4 does not divide the 2 key/value heads, which an evaluation exchanges" \
        method=full from_scratch=true tokenizer=tok model_name_or_path=config.json \
        eval_file=few.smp --sample-ranks 4
    run -2 plan context_exchange=ring
    [[ "$output" == *"context_exchange: 'ring' is not one of auto|heads|groups"* ]]
    run -0 plan context_segments=1 context_exchange=groups
    [[ "$output" == *"context_exchange does nothing: it needs context_segments above 1"* ]]
}

@test "exchange: ranks with different exchanges are refused by name" {
    needs_mpi
    make_inputs
    cat > rank << 'SH'
#!/bin/sh
ways="groups heads"
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || ways=heads
exec train lora.yaml output_dir=out model_name_or_path=wide train_file=long.smp \
    max_seq_length=2048 context_segments=4 max_steps=1 quantization=any --device cpu --threads 1 \
    --quiet context_exchange=${ways%% *}
SH
    chmod +x rank
    run -2 mpirun --oversubscribe -n 2 ./rank
    echo "$output"
    [[ "$output" == *"exchange of a sample"*groups*heads* ]]
}
