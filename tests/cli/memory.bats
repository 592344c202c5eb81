load helper

# The plan of `train --dry-run` against the peak that the run measured.

total() { sed -n 's/^total *\([0-9]*\) bytes$/\1/p' | head -n 1; }
peak() { sed -n 's/.*"max_rss_bytes":\([0-9]*\).*/\1/p' "$1/trainer_log.jsonl" | tail -n 1; }

near() { # PLAN PEAK
    echo "plan $1, peak $2"
    awk -v plan="$1" -v peak="$2" 'BEGIN { exit !(plan >= 2 ^ 30 && peak < 1.05 * plan && peak > 0.95 * plan) }'
}

wide() { # LAYERS
    sed 's/"hidden_size":32/"hidden_size":512/; s/"intermediate_size":48/"intermediate_size":1408/; s/"num_attention_heads":4/"num_attention_heads":8/
        s/"num_key_value_heads":2/"num_key_value_heads":4/; s/"num_hidden_layers":2/"num_hidden_layers":'"$1/" config.json
}

@test "memory: a plan of more than 1 GiB and the measured peak agree within 5 %" {
    [ "${FLAVOUR:-release}" = release ] || skip "sanitizers take memory of their own"
    make_base
    wide 24 > wide.json
    full="scratch.yaml from_scratch=true model_name_or_path=wide.json rope=linear:2 train_file=32.smp max_steps=1 attention=full"
    train $full output_dir=wide --quiet --device cpu
    near "$(train $full --dry-run --device cpu | total)" "$(peak wide)"
    quantize --quiet wide -o wide.nf4
    pack --quiet --context 2048 --strategy concat docs.tok -o 2k.smp
    echo 'method: lora' > l.yaml
    lora="l.yaml model_name_or_path=wide.nf4 train_file=2k.smp max_steps=1 lora_rank=32"
    train $lora output_dir=adapter --quiet --device cpu
    near "$(train $lora --dry-run --device cpu | total)" "$(peak adapter)"
}

@test "memory: a plan needs no weights and no samples; it says what a GPU needs, and which context fits" {
    config
    sed -i 's/"hidden_size":32/"hidden_size":4096/; s/"intermediate_size":48/"intermediate_size":11008/; s/"num_attention_heads":4/"num_attention_heads":32/
        s/"num_key_value_heads":2/"num_key_value_heads":32/; s/"num_hidden_layers":2/"num_hidden_layers":32/; s/"vocab_size":400/"vocab_size":32000/
        s/"max_position_embeddings":16/"max_position_embeddings":4096/' config.json
    run --separate-stderr -0 train "$root/recipes/llama2-7b-longqlora.yaml" model_name_or_path=config.json --dry-run
    # 4 bits, 1/64 and 1/4096 of a byte for each of 6.476e9 linear weights, and 2 x 32000 x 4096 of f16, read and as f32 for the loss.
    [[ "$output" == *"cpu, f32, 8192 tokens"*"total "*"longest that fits"* ]]
    if [ -e "$BIN/kernels-cuda.so" ]; then
        [[ "$output" == *"cuda, bf16, 8192 tokens"*"longest in 24 GiB "* ]] || [[ "$output" == *"cuda, bf16, 8192 tokens"*"longest that fits"* ]]
        gpu=$(sed -n '/^cuda/,$p' <<< "$output" | total)
        awk -v g="$gpu" 'BEGIN { exit !(g > 9e9 && g < 10.5e9) }'
    fi
    run --separate-stderr -2 train "$root/recipes/llama2-7b-longqlora.yaml" model_name_or_path=config.json max_seq_length=0 --dry-run
    [[ "$stderr" == *"a plan needs train_file or max_seq_length"* ]]
}

@test "memory: a run that does not fit is refused before its first step" {
    make_base
    echo 'method: lora' > l.yaml
    run --separate-stderr -1 train l.yaml model_name_or_path=base.nf4 train_file=32.smp output_dir=x max_seq_length=4194304 per_device_train_batch_size=64 --device cpu
    [[ "$stderr" == *"the run needs "*" GB of memory, "*" GB are free; the longest context that fits is "* ]]
}

@test "memory: weights that are in memory already are not asked for again; the run says what it takes" {
    make_base
    total=$(lora x --device cpu --dry-run gradient_checkpointing=true | total)
    export LONGQLORA_MEMORY=$((total - 1))
    run --separate-stderr -0 lora fits --device cpu gradient_checkpointing=true
    [[ "$stderr" == *"train: memory: 0.00 of 0.00 GB that are free; activations of 0 of 2 layers kept"* ]]
    LONGQLORA_MEMORY=$((total - 2 * $(stat -Lc %s base.nf4)))
    run --separate-stderr -1 lora x --device cpu gradient_checkpointing=true
    [[ "$stderr" == *"the run needs 0.00 GB of memory, 0.00 GB are free"* ]]
    [ ! -e x ]
}
