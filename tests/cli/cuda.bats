load helper

# Runs train, ppl and generate with --device cuda. The plug-in is the CUDA sources compiled as host
# code (tests/cuda-emulation). The host cannot reach the device's memory, and the device may read
# the host's memory late.

setup() {
    cd "$BATS_TEST_TMPDIR"
    [ -e "$BUILD/emulation/bf16/kernels-cuda.so" ] || skip "no emulation here"
    export EMULATION_PROTECT=1 EMULATION_PAGEABLE=1
    on bf16
}
on() { export LONGQLORA_CUDA=$BUILD/emulation/$1/kernels-cuda.so; }

losses() { perl -MJSON::PP -ne 'print decode_json($_)->{loss}, " "' "$1/trainer_log.jsonl"; }
near() { # BOUND LOSSES LOSSES
    perl \
        -e 'my ($bound, @l) = @ARGV; my @a = split " ", $l[0]; my @b = split " ", $l[1]; die unless @a && @a == @b;
        for (0 .. $#a) { die "$a[$_] $b[$_]" if abs($a[$_] - $b[$_]) > $bound * $a[$_] }' "$@"
}

@test "cuda: training from scratch, LoRA on NF4, evaluation, checkpoints and resuming work" {
    make_base
    full="scratch.yaml from_scratch=true attention=full model_name_or_path=config.json train_file=16.smp max_steps=2 logging_steps=1 --quiet"
    train $full output_dir=full --device cuda
    train $full output_dir=full-cpu --device cpu
    near 0.01 "$(losses full-cpu)" "$(losses full)"
    lora whole --quiet --device cuda max_steps=2 logging_steps=1 eval_file=few.smp
    lora cpu --quiet --device cpu max_steps=2 logging_steps=1 eval_file=few.smp
    near 0.01 "$(losses cpu)" "$(losses whole)"
    lora broken --quiet --device cuda max_steps=2 save_steps=1
    rm broken/adapter_model.safetensors
    lora broken --quiet --device cuda max_steps=2 save_steps=1 \
        resume_from_checkpoint=broken/checkpoint-1
    cmp whole/adapter_model.safetensors broken/adapter_model.safetensors
}

@test "cuda: storing or recomputing activations, offloading them and naming ranges for a profiler change no bit" {
    make_base
    lora whole --quiet --device cuda max_steps=2 gradient_checkpointing=false
    lora spare --quiet --device cuda max_steps=2 --nvtx gradient_checkpointing=true \
        offload_activations=true offload_optimizer=true
    cmp whole/adapter_model.safetensors spare/adapter_model.safetensors
}

@test "cuda: attention gives the same result, up to rounding, for every choice of tile sizes" {
    run -0 "$BUILD/emulation/choices" 32
    [ "$(grep -c '"of":"\(forward\|dq\|dk and dv\)"' <<< "$output")" = 38 ]
}

@test "cuda: perplexity equals the CPU's up to the rounding of bf16, and generate writes text" {
    make_base
    lora adapter --quiet --device cpu
    for model in base base.nf4; do
        ppl -m $model --data docs.tok --max-tokens 400 --context 16 --to json --device cpu --quiet \
            -o cpu.json
        ppl -m $model --data docs.tok --max-tokens 400 --context 16 --to json --device cuda \
            --quiet -o cuda.json
        near 0.005 "$(sed -n 's/.*"nll": *\([0-9.]*\).*/\1/p' cpu.json)" \
            "$(sed -n 's/.*"nll": *\([0-9.]*\).*/\1/p' cuda.json)"
    done
    run --separate-stderr -0 generate -m base.nf4 --adapter adapter --tokenizer tok --device cuda \
        -p abc -n 12
    [ -n "$output" ]
    [[ "$stderr" == *"12 tokens in "* ]]
    # In f32 the result is the CPU's.
    on f32
    for model in base base.nf4; do
        for device in cpu cuda; do
            generate -m $model --adapter adapter --force-base --tokenizer tok --device $device \
                --quiet -p abc -n 8 > $device.text
        done
        cmp cpu.text cuda.text
    done
}

total() { sed -n "s/^$1 *\([0-9]*\) bytes .*/\1/p" | head -n 1; }

@test "cuda: the plan stores or offloads as much as free memory allows, and the result keeps its bits" {
    make_base
    lora whole --quiet --device cuda max_steps=2
    run -0 lora x --device cuda --dry-run
    [[ "$output" == *"activations of 2 of 2 layers stored"* ]]
    least=$(lora x --device cuda --dry-run gradient_checkpointing=true | total total)
    moved=$(lora x --device cuda --dry-run gradient_checkpointing=true offload_optimizer=true | \
        total total)
    ((moved < least))
    sed 's/"num_hidden_layers": *2/"num_hidden_layers":5/' base/config.json > five.json
    run -0 lora x --device cuda --dry-run model_name_or_path=five.json offload_activations=true \
        gradient_checkpointing=true
    [[ "$output" == *"activations of 0 of 5 layers stored, attention's outputs on the host"* ]]
    [[ "$output" =~ \
        activations\ +[0-9]+" bytes "\ +[0-9.]+" "[KMG]"iB and "[0-9]+" bytes, "[0-9.]+" "[KMG]"iB, on the host" ]]
    run -0 lora x --device cuda --dry-run model_name_or_path=five.json gradient_checkpointing=true
    [[ "$output" != *"outputs on the host"* ]]
    export EMULATION_MEMORY=$least
    run -0 lora x --device cuda --dry-run
    [[ "$output" == *"activations of 0 of 2 layers stored"* &&
        "${output%%GPU with*}" != *"on the host"* ]]
    EMULATION_MEMORY=$((least - 1))
    run -0 lora x --device cuda --dry-run
    [[ "$output" =~ \
        "moments (f32) "\ +"0 bytes "\ +"0 bytes and "[0-9]+" bytes, "[0-9.]+" KiB, on the host" ]]
    lora moved --quiet --device cuda max_steps=2
    cmp whole/adapter_model.safetensors moved/adapter_model.safetensors
    # LONGQLORA_MEMORY limits the GPU's memory, and not the host's.
    plan=$output
    EMULATION_MEMORY=$((least + 1)) LONGQLORA_MEMORY=$((least - 1)) run -0 lora x --device cuda \
        --dry-run
    [ "$output" = "$plan" ]
    run --separate-stderr -1 lora x --quiet --device cuda offload_optimizer=false \
        offload_activations=false
    [[ "$stderr" == \
        "train: the run needs "*"B of memory, "*"B are free; the longest context that fits is 0 (see --dry-run)" ]]
    EMULATION_MEMORY=$((moved - 1))
    run --separate-stderr -1 lora x --quiet --device cuda
    [[ "$stderr" == "train: the run needs "* ]]
    [ ! -e x/checkpoint-1 ]
}

@test "cuda: a run that does not fit into memory is refused" {
    make_base
    run --separate-stderr -1 lora x --device cuda max_seq_length=4194304 \
        per_device_train_batch_size=64
    [[ "$stderr" == \
        *"the run needs "*"B of memory, "*"B are free; the longest context that fits is "* ]]
}

@test "cuda: tensor-core adapters with dropout, in chunks and with offloaded activations agree with the CPU" {
    make_base
    sed \
        's/"hidden_size":32/"hidden_size":64/; s/"intermediate_size":48/"intermediate_size":128/; s/"num_hidden_layers":2/"num_hidden_layers":4/' \
        config.json > wide.json
    train scratch.yaml from_scratch=true attention=full model_name_or_path=wide.json tokenizer=tok \
        train_file=16.smp output_dir=wide \
        max_steps=1 per_device_train_batch_size=4 --quiet --device cpu
    quantize --quiet wide -o wide.nf4
    wide() { lora "$@" --quiet model_name_or_path=wide.nf4 lora_rank=64 lora_dropout=0.1 \
        chunk_rows=40 max_steps=2 logging_steps=1; }
    wide gpu --device cuda gradient_checkpointing=true
    wide host --device cuda gradient_checkpointing=true offload_activations=true
    cmp gpu/adapter_model.safetensors host/adapter_model.safetensors
    wide kept --device cuda gradient_checkpointing=false
    cmp gpu/adapter_model.safetensors kept/adapter_model.safetensors
    wide cpu --device cpu
    near 0.01 "$(losses cpu)" "$(losses gpu)"
}

@test "cuda: --device cuda:1 is the second GPU, and a launcher's variables choose one" {
    make_base
    # The GPUs differ in their free memory.
    export EMULATION_GPUS=3 EMULATION_MEMORY=1000000000,2000000000,3000000000
    free() { # OPTION...: prints which GPU a plan is about
        generate -m base --dry-run "$@" | sed -n 's/^free now *\([0-9]\)000000000 bytes$/\1/p'
    }
    [ "$(free --device cuda)" = 1 ]
    [ "$(free --device cuda:0)" = 1 ]
    [ "$(free --device cuda:2)" = 3 ]
    [ "$(free --device cuda-bf16:1)" = 2 ]
    [ "$(OMPI_COMM_WORLD_LOCAL_RANK=1 free --device cuda)" = 2 ]
    [ "$(SLURM_LOCALID=2 free --device cuda)" = 3 ]
    [ "$(MPI_LOCALRANKID=1 free --device cuda)" = 2 ]
    # Inside a job of Slurm, mpirun's number has priority over Slurm's. A fourth process begins
    # again with the first GPU. A number in --device has priority over both.
    [ "$(OMPI_COMM_WORLD_LOCAL_RANK=1 SLURM_LOCALID=0 free --device cuda)" = 2 ]
    [ "$(SLURM_LOCALID=3 free --device cuda)" = 1 ]
    [ "$(SLURM_LOCALID=2 free --device cuda:1)" = 2 ]
    [ "$(EMULATION_GPUS=1 SLURM_LOCALID=2 free --device cuda)" = 1 ]
    plan() { train lora.yaml model_name_or_path=base.nf4 train_file=32.smp output_dir=x \
        --dry-run "$@" | sed -n 's/^free now *\([0-9]\)0* bytes.*/\1/p' | head -n 1; }
    echo 'method: lora' > lora.yaml
    [ "$(plan --device cuda:1)" = 2 ]
    [ "$(plan --device cuda:1 fp16=true)" = 2 ]
    for tool in "ppl -m base -d docs.tok -c 16" "generate -m base --dry-run" \
        "train lora.yaml model_name_or_path=base.nf4 train_file=32.smp output_dir=x --dry-run"; do
        run --separate-stderr -2 $tool --device cuda:3
        [ "$stderr" = "${tool%% *}: device cuda:3: there are 3 GPUs here, cuda:0 to cuda:2" ]
        EMULATION_GPUS=1 run --separate-stderr -2 $tool --device cuda:1
        [ "$stderr" = "${tool%% *}: device cuda:1: there is one GPU here, cuda:0" ]
        for name in cuda: cuda:-1 cuda:1x cuda:1234567 cpu:0 auto:1 cudas:1; do
            run --separate-stderr -2 $tool --device "$name"
            [[ "$stderr" == "${tool%% *}: device '$name' is not one of auto, cpu, "* ]]
        done
    done
}

@test "cuda: a program computes on the GPU that --device names" {
    make_base
    export EMULATION_GPUS=2 EMULATION_USED=used
    ppl -m base -d docs.tok --max-tokens 40 --context 16 --device cuda:1 --quiet > one
    [ "$(cat used)" = 1 ]
    ppl -m base -d docs.tok --max-tokens 40 --context 16 --device cuda:0 --quiet | diff one -
    [ "$(tr '\n' ' ' < used)" = "1 0 " ]
    lora run --quiet --device cuda-bf16:1 max_steps=1
    [ "$(tail -n 1 used)" = 1 ]
}
