load helper

# Compares the plan of `train --dry-run` with the peak that the run measured.

total() { sed -n 's/^total *\([0-9]*\) bytes .*/\1/p' | head -n 1; }
peak() { sed -n 's/.*"max_rss_bytes":\([0-9]*\).*/\1/p' "$1/trainer_log.jsonl" | tail -n 1; }

near() { # PLAN PEAK
    echo "plan $1, peak $2"
    awk -v plan="$1" -v peak="$2" \
        'BEGIN { exit !(plan >= 2 ^ 30 && peak < 1.05 * plan && peak > 0.95 * plan) }'
}

# Prints the config of a model of several layers and another width.
wide() { # LAYERS [HIDDEN INTERMEDIATE]
    sed "s/\"hidden_size\":32/\"hidden_size\":${2:-512}/; s/\"intermediate_size\":48/\"intermediate_size\":${3:-1408}/
        s/\"num_attention_heads\":4/\"num_attention_heads\":8/; s/\"num_key_value_heads\":2/\"num_key_value_heads\":4/
        s/\"num_hidden_layers\":2/\"num_hidden_layers\":$1/" config.json
}

@test "memory: a plan of more than 1 GiB and the measured peak agree within 5 %" {
    [ "${FLAVOUR:-release}" = release ] || skip "sanitizers take memory of their own"
    make_base
    # Most of the memory is for weights, gradients and moments.
    wide 24 > wide.json
    full="scratch.yaml from_scratch=true train_file=32.smp max_steps=1 attention=full save_strategy=no"
    deep="$full model_name_or_path=wide.json rope=linear:2"
    train $deep output_dir=wide --quiet --device cpu
    near "$(train $deep --dry-run --device cpu | total)" "$(peak wide)"
    # Most of the memory is for activations, those of the adapters among them. Narrow layers need
    # less computation than wide ones for the same memory.
    wide 24 128 352 > narrow.json
    train $full model_name_or_path=narrow.json rope=linear:2 output_dir=narrow --quiet --device cpu
    quantize --quiet narrow -o narrow.nf4
    for i in 1 2 3 4; do cat docs.tok; done | pack --quiet --context 1792 --strategy concat \
        -o long.smp
    echo 'method: lora' > l.yaml
    lora="l.yaml model_name_or_path=narrow.nf4 train_file=long.smp max_steps=1 lora_rank=32 per_device_train_batch_size=4"
    train $lora output_dir=adapter --quiet --device cpu
    near "$(train $lora --dry-run --device cpu | total)" "$(peak adapter)"
}

# The plan has what a run allocates. A process also has the program, its libraries, MPI, and the
# code that oneDNN generates. A run of a few tokens shows how much that is.
@test "memory: the peak of a rank that computes a part of each sample agrees with the plan within 5 %, at two sizes" {
    [ "${FLAVOUR:-release}" = release ] || skip "sanitizers take memory of their own"
    needs_mpi
    make_base
    wide 4 128 352 | sed 's/position_embeddings":16/position_embeddings":16384/' > narrow.json
    keys="scratch.yaml model_name_or_path=narrow.json from_scratch=true tokenizer=tok rope=none
        context_segments=2 max_steps=1 attention=s2 group=64 gradient_checkpointing=true
        gradient_accumulation_steps=1 save_strategy=no --device cpu --threads 1 --quiet"
    for i in $(seq 30); do cat docs.tok; done > many.tok
    of_program=0
    for tokens in 64 8192 16384; do
        pack --quiet --context $tokens --strategy concat many.tok -o long.smp
        plan=$(train $keys max_seq_length=$tokens --dry-run --ranks 2 | total)
        mpirun --oversubscribe -n 2 train $keys max_seq_length=$tokens train_file=long.smp \
            output_dir=of$tokens
        peak=$(peak of$tokens)
        echo "$tokens tokens: plan $plan, peak $peak, program $of_program"
        if [ $tokens = 64 ]; then
            of_program=$((peak - plan))
            [ $of_program -lt $((60 << 20)) ]
        else
            [ $(((peak - of_program) * 100)) -lt $((plan * 105)) ]
            [ $(((peak - of_program) * 100)) -gt $((plan * 95)) ]
        fi
    done
}

@test "memory: a plan needs no weights and no samples, and states a GPU's memory and the longest context" {
    config
    sed \
        -i 's/"hidden_size":32/"hidden_size":4096/; s/"intermediate_size":48/"intermediate_size":11008/; s/"num_attention_heads":4/"num_attention_heads":32/
        s/"num_key_value_heads":2/"num_key_value_heads":32/; s/"num_hidden_layers":2/"num_hidden_layers":32/; s/"vocab_size":400/"vocab_size":32000/
        s/"max_position_embeddings":16/"max_position_embeddings":4096/' config.json
    run --separate-stderr -0 train "$root/recipes/llama2-7b-longqlora.yaml" \
        model_name_or_path=config.json --dry-run
    # Each of the 6.476e9 weights of linear layers takes 4 bits, and its scales take 1/64 and 1/4096
    # of a byte. The embedding and the head, 2 x 32000 x 4096 in f16, are read, and copied to f32
    # for the loss.
    [[ "$output" == *"cpu, f32, 8192 tokens"*"total "*"longest that fits"* ]]
    # GPUs are planned for even without a GPU or a plug-in.
    [[ "$output" == *"cuda, bf16, 8192 tokens"*"   24 GB   fits "*" tokens"* ]]
    gpu=$(sed -n '/^cuda/,$p' <<< "$output" | total)
    awk -v g="$gpu" 'BEGIN { exit !(g > 9e9 && g < 10.5e9) }'
    run --separate-stderr -2 train "$root/recipes/llama2-7b-longqlora.yaml" \
        model_name_or_path=config.json max_seq_length=0 --dry-run
    [[ "$stderr" == *"a plan needs train_file or max_seq_length"* ]]
    # A quantization that a run refuses is refused in its plan, and NF4 is planned as NF4.
    quantized() { # THE VALUE OF quantization_config: writes quantized.json
        sed "s/^{/{\"quantization_config\":$1,/" config.json > quantized.json
    }
    quantized '{"quant_method":"awq","bits":4}'
    run --separate-stderr -3 train "$root/recipes/llama2-7b-longqlora.yaml" \
        model_name_or_path=quantized.json --dry-run
    [[ "$stderr" == *"quantized.json: quantization_config: quant_method 'awq' is not "* ]]
    quantized '{"quant_method":"bitsandbytes","load_in_4bit":true}'
    plan() { train "$root/recipes/llama2-7b-longqlora.yaml" model_name_or_path="$1" "${@:2}" \
        --dry-run 2> /dev/null | grep 'frozen weights'; }
    [ "$(plan quantized.json quantization=any)" = "$(plan config.json quantization=nf4)" ]
    # LoRA on the tables: A and B of 32000 and 4096 rows for each, with rank 64.
    parameters() { train "$root/recipes/llama2-7b-longqlora.yaml" model_name_or_path=config.json \
        train_embedding=false lora_rank=64 --dry-run --device cpu "$@" 2> /dev/null | \
        awk '/^parameters/ { print $3 }'; }
    with=$(parameters target_modules=q_proj,embed_tokens,lm_head)
    [ $((with - $(parameters target_modules=q_proj))) = $((4 * 64 * 2 * (32000 + 4096))) ]
}

@test "memory: a run that does not fit is refused before its first step" {
    make_base
    echo 'method: lora' > l.yaml
    run --separate-stderr -1 train l.yaml model_name_or_path=base.nf4 train_file=32.smp \
        output_dir=x max_seq_length=4194304 per_device_train_batch_size=64 --device cpu
    [[ "$stderr" == \
        *"the run needs "*"B of memory, "*"B are free; the longest context that fits is "* ]]
}

@test "memory: weights that are already in memory are not counted again, and the run reports what it needs" {
    make_base
    total=$(lora x --device cpu --dry-run gradient_checkpointing=true | total)
    export LONGQLORA_MEMORY=$((total - 1))
    # A run that is resumed is planned after its base was read. Otherwise the memory of the base
    # would be counted twice.
    run --separate-stderr -0 lora fits --device cpu gradient_checkpointing=true \
        resume_from_checkpoint=auto
    [[ "$stderr" =~ \
        "train: memory: "[0-9.]+" "[kM]B" of "[0-9.]+" "[kM]B" that are free; activations of 0 of 2 layers stored" ]]
    LONGQLORA_MEMORY=$((total - 2 * $(stat -Lc %s base.nf4)))
    run --separate-stderr -1 lora x --device cpu gradient_checkpointing=true
    [[ "$stderr" =~ "the run needs "[0-9.]+" "[kM]"B of memory, "[0-9.]+" "[kM]"B are free" ]]
    [ ! -e x ]
}

bytes() { sed -n "s/^$1 *\([0-9]*\) .*/\1/p"; }
mapped() { sed -n 's/^frozen weights .*, of them \([0-9]*\) mapped$/\1/p'; }

@test "memory: generate reports its need, refuses a context that does not fit, and shortens the default context" {
    make_base
    plan=$(generate -m base --dry-run --context 9)
    # The directory's weights are mapped. They can be read again, so they need not fit.
    least=$(($(total <<< "$plan") - $(mapped <<< "$plan")))
    export LONGQLORA_MEMORY=$least
    run --separate-stderr -0 generate -m base --context 9 --format jsonl <<< '{"prompt":"a"}'
    [[ "$stderr" =~ \
        "generate: memory: "[0-9.]+" kB of "[0-9.]+" kB that are free; "[1-9][0-9.]*" kB of weights are read from their files every time" ]]
    run --separate-stderr -1 generate -m base --context 12 -p a -n 11
    [[ "$stderr" =~ \
        "generate: a context of "[0-9]+" needs "[0-9.]+" kB of memory, "[0-9.]+" kB are free; the longest that fits is 9" ]]
    [[ "$(generate -m base --context 12 --dry-run)" == \
        *"longest that fits                   9 tokens" ]]
    LONGQLORA_MEMORY=$((least * 10 / 9 + 2))
    run --separate-stderr -0 generate -m base --format jsonl <<< '{"prompt":"a"}'
    [[ "$stderr" == \
        *"generate: the memory allows a context of 9, the positions would allow 16"* ]]
    [[ "$output" == *'"stop":"context"'* ]]
    # A stream is in memory already.
    plan=$(generate -m base.nf4 --dry-run --context 9)
    [ -z "$(mapped <<< "$plan")" ]
    LONGQLORA_MEMORY=$(($(total <<< "$plan") - 2 * $(stat -Lc %s base.nf4)))
    run --separate-stderr -1 generate -m base.nf4 --tokenizer base --context 9 --format jsonl <<< \
        '{"prompt":"a"}'
    [[ "$stderr" == *"kB are free; none fits"* ]]
}

@test "memory: ppl refuses contexts that do not fit before it measures the first" {
    make_base
    run --separate-stderr -0 ppl -m base -d docs.tok --context 8,64 --to table --device cpu
    [[ "$stderr" =~ "ppl: memory: "[0-9.]+" MB of "[0-9.]+" GB that are free" ]]
    export LONGQLORA_MEMORY=1
    run --separate-stderr -1 ppl -m base -d docs.tok --context 8,64 --device cpu
    [[ "$stderr" == *"ppl: --context 8,64: needs "*" MB of memory, 1 byte are free" ]]
    [ -z "$output" ]
    unset LONGQLORA_MEMORY
    wide 2 > wide.json
    mv wide.json config.json
    train scratch.yaml from_scratch=true model_name_or_path=config.json train_file=32.smp \
        max_steps=1 rope=linear:2 output_dir=wide --quiet --device cpu
    # A batch has 4096 rows, or more if a window is longer.
    export LONGQLORA_MEMORY=75000000
    run --separate-stderr -1 ppl -m wide -d docs.tok --protocol llamacpp --context 64,8000 \
        --device cpu --threads 2
    [[ "$stderr" =~ \
        "ppl: --context 64,8000: needs "[0-9.]+" MB of memory, "[0-9.]+" MB are free; the length 64 alone fits" ]]
}

@test "memory: the gradients of one batch take memory if a step has more than one, and are planned" {
    make_base
    row() { sed -n "s/^a batch's gradients *\([0-9]*\) bytes .*/\1/p"; }
    for setting in train_embedding=no train_embedding=true; do
        one=$(lora x --device cpu --dry-run gradient_checkpointing=true $setting)
        two=$(lora x --device cpu --dry-run gradient_checkpointing=true $setting \
            gradient_accumulation_steps=2)
        [ -z "$(row <<< "$one")" ]
        [ "$(row <<< "$two")" = $(($(total <<< "$two") - $(total <<< "$one"))) ]
        # A layer's A and B, of rank 4: q and o have 64 inputs and outputs together, k and v 48,
        # gate, up and down 80. The embedding and the head have 400 x 32 weights each.
        layer=$((4 * 4 * (2 * 64 + 2 * 48 + 3 * 80)))
        [ $setting = train_embedding=no ] || layer=$((layer + 2 * 4 * 400 * 32))
        [ "$(row <<< "$two")" -ge $layer ] && [ "$(row <<< "$two")" -lt $((layer + 1024)) ]
    done
}

@test "memory: ranks of one machine share the memory of a mapped base" {
    needs_mpi
    make_base
    two() { mpirun --oversubscribe -n 2 train l.yaml model_name_or_path=base quantization=none \
        train_file=32.smp output_dir=x max_steps=1 gradient_accumulation_steps=2 --device cpu \
        --threads 1 --dry-run "$@"; }
    echo 'method: lora' > l.yaml
    plan=$(two gradient_checkpointing=false)
    base=$(mapped <<< "$plan")
    # Each rank needs its own memory and half of the base. A tenth stays free. If each rank left
    # memory for a whole base, it could not store the activations of both layers.
    export LONGQLORA_MEMORY
    LONGQLORA_MEMORY=$(((2 * ($(total <<< "$plan") - base) + base) * 10 / 9 + 16))
    plan=$(two)
    echo "$plan"
    [[ "$plan" == *", activations of 2 of 2 layers stored"* ]]
}
