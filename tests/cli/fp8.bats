load helper

# fp8: true: products with the frozen weights of the layers in 8 bits.

setup() { cd "$BATS_TEST_TMPDIR"; }

on() { # ELEMENT: programs use the emulated plug-in with these elements
    [ -e "$BUILD/emulation/$1/kernels-cuda.so" ] || skip "no emulation here"
    export EMULATION_PROTECT=1 EMULATION_PAGEABLE=1
    export LONGQLORA_CUDA=$BUILD/emulation/$1/kernels-cuda.so
}

losses() { perl -MJSON::PP -ne 'print decode_json($_)->{loss} // "", " "' "$1/trainer_log.jsonl"; }

# Fails unless the losses of two runs differ, by at most the bound.
near_but_not_equal() { # BOUND RUN RUN
    perl -e 'my ($bound, @l) = @ARGV; my @a = split " ", $l[0]; my @b = split " ", $l[1];
        die "@ARGV" unless @a && @a == @b && "@a" ne "@b";
        for (0 .. $#a) { die "$a[$_] $b[$_]" if abs($a[$_] - $b[$_]) > $bound * $a[$_] }' \
        "$1" "$(losses "$2")" "$(losses "$3")"
}

@test "fp8: a run with it trains and says its error, and without it nothing is written of it" {
    make_base
    run --separate-stderr -0 lora on fp8=true
    [[ "$stderr" =~ "fp8: error of the products with frozen weights: "([0-9.]+)" % on average, at most "([0-9.]+)" % ("[a-z,\ ]+" of layer "[01]")" ]]
    # e4m3 has steps of 1/8 to 1/16 of a number. The errors of many terms add up to a similar share.
    awk -v mean="${BASH_REMATCH[1]}" -v max="${BASH_REMATCH[2]}" \
        'BEGIN { exit !(mean > 1 && mean <= max && max < 8) }'
    perl -MJSON::PP -ne 'my $l = decode_json($_); $n++;
        die "$_" unless $l->{fp8_error} > 0.01 && $l->{fp8_error} <= $l->{fp8_error_max} && $l->{fp8_error_max} < 0.08
            && $l->{fp8_error_layer} =~ /^[01]$/ && $l->{fp8_error_group} =~ /^(q, k, v|o|gate, up|down)$/;
        END { die "$n lines" unless $n == 3 }' on/trainer_log.jsonl
    grep -q '"fp8": true' on/longqlora.json
    run --separate-stderr -0 lora off fp8=false
    [[ "$stderr" != *fp8* ]]
    run --separate-stderr -0 lora plain
    cmp off/adapter_model.safetensors plain/adapter_model.safetensors
    cmp off/longqlora.json plain/longqlora.json
    run -1 grep -q fp8 off/trainer_log.jsonl off/longqlora.json
    run -1 cmp -s on/adapter_model.safetensors plain/adapter_model.safetensors
    near_but_not_equal 0.02 plain on
}

@test "fp8: the error is told in the first step, and measured in the logged steps only" {
    make_base
    run --separate-stderr -0 lora out fp8=true max_steps=3 logging_steps=3
    [ "$(grep -c "fp8: error of the products" <<< "$stderr")" = 1 ]
    [[ "$stderr" == *"fp8: error of the products"*"step 3 of 3"* ]]
    [ "$(grep -c fp8_error out/trainer_log.jsonl)" = 1 ]
    # Measuring changes no bit.
    lora each fp8=true max_steps=3 logging_steps=1 --quiet
    cmp out/adapter_model.safetensors each/adapter_model.safetensors
}

@test "fp8: threads and stored activations change no bit, and a base in f32 works" {
    make_base
    lora a --quiet fp8=true --threads 1
    lora b --quiet fp8=true --threads 3
    lora c --quiet fp8=true gradient_checkpointing=true
    cmp a/adapter_model.safetensors b/adapter_model.safetensors
    cmp a/adapter_model.safetensors c/adapter_model.safetensors
    lora d --quiet fp8=true model_name_or_path=base quantization=none
    near_but_not_equal 0.1 a d
}

@test "fp8: a resumed run has the same bits, and another value of the key is refused" {
    make_base
    lora whole --quiet fp8=true max_steps=4 save_steps=2
    lora cut --quiet fp8=true max_steps=4 save_steps=2
    rm cut/adapter_model.safetensors
    lora cut --quiet fp8=true max_steps=4 save_steps=2 resume_from_checkpoint=cut/checkpoint-2
    cmp whole/adapter_model.safetensors cut/adapter_model.safetensors
    cmp whole/checkpoint-4/training_state cut/checkpoint-4/training_state
    run --separate-stderr -3 lora whole max_steps=5 resume_from_checkpoint=auto
    [[ "$stderr" == *"the recipe changed since the run began: fp8 was true, is false"* ]]
    lora plain --quiet max_steps=2 save_steps=1
    run --separate-stderr -3 lora plain fp8=true max_steps=3 resume_from_checkpoint=auto
    [[ "$stderr" == *"the recipe changed since the run began: fp8 was false, is true"* ]]
    train --verify whole --quiet
}

@test "fp8: ranks write what one process writes, and so do the ranks of a sample" {
    needs_mpi
    make_base
    make_wide
    pack --quiet --context 64 --strategy split docs.tok -o 64.smp
    echo 'method: lora' > lora.yaml
    ranks() { # N OUT KEY=VALUE...
        mpirun --oversubscribe -n "$1" train lora.yaml output_dir="$2" fp8=true max_steps=2 \
            save_steps=1 save_total_limit=null logging_steps=1 learning_rate=0.01 lora_rank=8 \
            quantization=any lora_dropout=0.1 --device cpu --threads 1 --quiet "${@:3}"; }
    shared="model_name_or_path=base.nf4 train_file=32.smp gradient_accumulation_steps=4"
    ranks 1 one $shared
    ranks 2 two $shared
    same_run one two
    grep fp8_error one/trainer_log.jsonl | sed 's/.*"fp8_error"/"fp8_error"/' > errors
    grep fp8_error two/trainer_log.jsonl | sed 's/.*"fp8_error"/"fp8_error"/' | cmp - errors
    cut="model_name_or_path=wide train_file=64.smp max_seq_length=64 context_segments=4"
    ranks 1 segment $cut
    ranks 2 segments $cut
    same_run segment segments
}

@test "fp8: what cannot be computed is refused by name before anything is read" {
    make_base
    echo 'method: full' > full.yaml
    run --separate-stderr -2 train full.yaml fp8=true model_name_or_path=base \
        train_file=32.smp output_dir=out
    [[ "$stderr" == *"fp8: true multiplies by frozen weights, and method: full trains them all: set fp8: false" ]]
    run --separate-stderr -2 lora out fp8=true fp16=true
    [[ "$stderr" == *"fp8 and fp16 exclude each other: write bf16: true" ]]
    [ ! -e out ]
    run --separate-stderr -2 lora out fp8=true --device cuda-f16 --dry-run
    [[ "$stderr" == *"products in fp8 need activations in bf16, and these are f16: set fp8: false" ]]
}

@test "fp8: GPUs and plug-ins without it refuse it by name" {
    on bf16
    make_base
    for capability in 80 86; do
        EMULATION_CAPABILITY=$capability run --separate-stderr -2 lora out fp8=true --device cuda \
            model_name_or_path=nowhere
        [[ "$stderr" == *"fp8: true: device cuda: products in fp8 need compute capability 8.9, this GPU has 8.${capability#8}: set fp8: false" ]]
    done
    on f16
    run --separate-stderr -2 lora out fp8=true --device cuda model_name_or_path=nowhere
    [[ "$stderr" == *"fp8: true: device cuda: products in fp8 need activations in bf16, and these are f16: set fp8: false" ]]
    [ ! -e out ]
    # A model whose widths are no multiples of 16.
    on bf16
    sed 's/"intermediate_size":48/"intermediate_size":40/' config.json > odd.json
    train scratch.yaml from_scratch=true attention=full model_name_or_path=odd.json tokenizer=tok \
        train_file=16.smp output_dir=odd max_steps=1 --quiet --device cpu
    run --separate-stderr -3 lora out fp8=true model_name_or_path=odd quantization=none \
        --device cuda
    [[ "$stderr" == *"fp8: true: model.layers.0.mlp.gate_proj.weight has 40 x 32 weights, but a GPU multiplies in fp8 only multiples of 16: set fp8: false"* ]]
    lora out fp8=true model_name_or_path=odd quantization=none --device cpu --quiet
    # A plan for the CPU still says so, and what a GPU lacks.
    run --separate-stderr -0 env LONGQLORA_CUDA=/nonexistent train lora.yaml output_dir=x \
        model_name_or_path=odd train_file=32.smp quantization=none fp8=true --dry-run
    [[ "$output" == "cpu, f32, "*"not on a GPU: fp8: true: model.layers.0.mlp.gate_proj.weight has 40 x 32 weights"* ]]
}

@test "fp8: the emulated GPU trains near the CPU, and its plan counts what it needs" {
    on bf16
    make_base
    keys="fp8=true max_steps=2 logging_steps=1 --quiet"
    lora cpu $keys --device cpu
    lora plain max_steps=2 logging_steps=1 --quiet --device cuda
    for capability in 89 90; do
        EMULATION_CAPABILITY=$capability lora cuda$capability $keys --device cuda
        near_but_not_equal 0.02 cpu cuda$capability
        near_but_not_equal 0.02 plain cuda$capability
        grep -q fp8_error cuda$capability/trainer_log.jsonl
    done
    # Measuring the error changes no bit.
    lora silent $keys --device cuda logging_strategy=no
    cmp silent/adapter_model.safetensors cuda90/adapter_model.safetensors
    total() { sed -n 's/^total *\([0-9]*\) bytes .*/\1/p' | head -n 1; }
    stays="--device cuda gradient_checkpointing=true offload_activations=false offload_optimizer=false"
    least=$(lora x --dry-run fp8=true $stays | total)
    [ "$least" -gt "$(lora x --dry-run $stays | total)" ]
    # The emulation has just this memory. With one byte less the run is refused.
    EMULATION_MEMORY=$least lora enough $keys $stays
    EMULATION_MEMORY=$((least - 1)) run --separate-stderr -1 lora less $keys $stays
    [[ "$stderr" == *"the run needs "*" of memory, "*" are free"* ]]
}
