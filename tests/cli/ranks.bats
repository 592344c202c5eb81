load helper

# Several ranks share a run. They write what one process writes, byte for byte.

# With lora_rank=24 a layer has several pieces of 4096 values, so each of four processes owns some.
ranks() { # N OUT KEY=VALUE...
    local n=$1 out=$2
    shift 2
    echo 'method: lora' > lora.yaml
    ${limit:-} mpirun --oversubscribe -n "$n" "${program:-train}" "${recipe:-lora.yaml}" output_dir="$out" \
        model_name_or_path="${base:-base.nf4}" train_file=32.smp max_steps=3 save_steps=1 \
        save_total_limit=null logging_steps=1 learning_rate=0.01 gradient_accumulation_steps=4 \
        --device "${device:-cpu}" --threads 1 ${quiet---quiet} "$@"
}
lora_keys="lora_rank=24 train_embedding=true train_norm=true lora_dropout=0.2 eval_file=few.smp eval_steps=2"

@test "ranks: one, two, three and four ranks write the same adapter, checkpoints and losses" {
    needs_mpi
    make_base
    export base=base
    for keys in "per_device_train_batch_size=2" "gradient_accumulation_steps=7"; do
        rm -rf one other
        ranks 1 one quantization=none $lora_keys $keys
        for n in $(less "2 3 4" 3); do
            rm -rf other
            ranks $n other quantization=none $lora_keys $keys
            same_run one other
        done
    done
}

@test "ranks: if one rank finds that the base was changed, all end, and the steps before it are saved" {
    needs_mpi
    make_base
    cp -rL base own
    cp own/model.safetensors was
    export base=own
    keys="quantization=none save_steps=100000 resume_from_checkpoint=auto"
    for command in "dd bs=1000 seek=20 conv=notrunc status=none of=" "truncate -s 8192 "; do
        rm -rf out whole
        ranks 2 out $keys max_steps=100000 > said 2>&1 &
        until_true has_step out 5
        head -c 30000 /dev/zero | ${command}own/model.safetensors
        status=0
        wait $! || status=$?
        cat said
        [ "$status" = 3 ]
        at=$(sed -n 's/^train: \(rank 1: \)\?own\/model.safetensors: somebody \(changed\|shortened\) it during step \([0-9]*\)\(:\|, or\) .*/\3/p' said)
        [ "$(wc -w <<< "$at")" = 1 ]
        [ "$(cd out && ls -d checkpoint-*)" = checkpoint-$((at - 1)) ]
        cat was > own/model.safetensors
        ranks 1 out $keys max_steps=$((at + 1))
        ranks 1 whole $keys max_steps=$((at + 1))
        cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    done
}

@test "ranks: with gradient_block, any number of ranks writes the same bytes" {
    needs_mpi
    make_base
    keys="$lora_keys gradient_block=2"
    for batches in 4 7; do
        rm -rf one
        ranks 1 one $keys gradient_accumulation_steps=$batches
        # Four batches make two blocks. Seven batches make four, of which the last has one batch.
        for n in $(less "$(seq 2 $(((batches + 1) / 2)))" 2); do
            rm -rf other
            ranks $n other $keys gradient_accumulation_steps=$batches
            same_run one other
        done
    done
    # Without the key the sums have another order, so the bits differ.
    ranks 1 plain $lora_keys gradient_accumulation_steps=7
    run -1 cmp -s plain/adapter_model.safetensors one/adapter_model.safetensors
}

@test "ranks: ranks that own no parameter change no bit" {
    needs_mpi
    make_base
    # No layer and no table has more than 4096 values, so each of them is a single piece, which one
    # rank owns.
    sed 's/"hidden_size":32/"hidden_size":8/; s/"intermediate_size":48/"intermediate_size":8/' \
        config.json > tiny.json
    cp scratch.yaml full.yaml
    keys="from_scratch=true tokenizer=tok attention=full rope=linear:2"
    for block in 1 2; do
        rm -rf one other
        recipe=full.yaml base=tiny.json ranks 1 one $keys gradient_block=$block
        recipe=full.yaml base=tiny.json ranks 2 other $keys gradient_block=$block
        same_run one other
    done
}

@test "ranks: a run keeps its gradient_block, and 1 is what a recipe without the key has" {
    make_base
    keys="model_name_or_path=base.nf4 train_file=32.smp gradient_accumulation_steps=4 lora_rank=4 \
        learning_rate=0.01 save_steps=1 --quiet --device cpu"
    echo 'method: lora' > lora.yaml
    train lora.yaml output_dir=plain max_steps=2 $keys
    train lora.yaml output_dir=single max_steps=2 $keys gradient_block=1
    train lora.yaml output_dir=double max_steps=2 $keys gradient_block=2
    cmp plain/checkpoint-2/training_state single/checkpoint-2/training_state
    cmp plain/longqlora.json single/longqlora.json
    auto="max_steps=3 resume_from_checkpoint=auto"
    run --separate-stderr -3 train lora.yaml output_dir=plain $keys $auto gradient_block=2
    [[ "$stderr" == *"the recipe changed since the run began: gradient_block was 1, is 2"* ]]
    run --separate-stderr -3 train lora.yaml output_dir=double $keys $auto
    [[ "$stderr" == *"the recipe changed since the run began: gradient_block was 2, is 1"* ]]
    train lora.yaml output_dir=single $keys $auto
    train lora.yaml output_dir=double $keys $auto gradient_block=2
    train lora.yaml output_dir=whole max_steps=3 $keys gradient_block=2
    cmp double/adapter_model.safetensors whole/adapter_model.safetensors
    run --separate-stderr -2 train lora.yaml output_dir=x max_steps=2 $keys gradient_block=5
    [[ "$stderr" == *"gradient_block is 5, and an update has 4 batches: at most as many as gradient_accumulation_steps" ]]
    run --separate-stderr -2 train lora.yaml output_dir=x max_steps=2 $keys gradient_block=0
    [[ "$stderr" == *"gradient_block must be at least 1" ]]
}

@test "ranks: full training of a tied model, and LoRA on NF4, give the same bytes with two and three ranks" {
    needs_mpi
    make_base
    config tied.json 400 true
    cp scratch.yaml full.yaml
    keys="from_scratch=true tokenizer=tok attention=full rope=linear:2"
    recipe=full.yaml base=tied.json ranks 1 one $keys
    recipe=full.yaml base=tied.json ranks 3 two $keys
    same_run one two
    ranks 1 nf4 lora_rank=24
    ranks 2 other lora_rank=24
    same_run nf4 other
}

@test "ranks: a run goes on with another number of ranks, also after a rank was killed" {
    needs_mpi
    make_base
    ranks 3 cut lora_rank=24 max_steps=100000 lr_scheduler_type=constant save_steps=2 \
        > said 2>&1 &
    until_true has_step cut 3
    # mpirun ends the other ranks when one of them dies.
    kill -9 "$(ranks_of $! | tail -n 1)"
    status=0
    wait $! || status=$?
    [ "$status" != 0 ]
    newest=$(cd cut && ls -d checkpoint-* | sed 's/.*-//' | sort -n | tail -n 1)
    ranks 2 cut lora_rank=24 max_steps=$((newest + 2)) lr_scheduler_type=constant save_steps=2 \
        resume_from_checkpoint=auto
    ranks 1 whole lora_rank=24 max_steps=$((newest + 2)) lr_scheduler_type=constant save_steps=2
    cmp whole/adapter_model.safetensors cut/adapter_model.safetensors
    last=checkpoint-$((newest + 2))/training_state
    cmp whole/$last cut/$last
}

@test "ranks: random ranks are killed at random moments, and the run ends with the same bytes" {
    needs_mpi
    LATEST=1500 run -0 "$root/tests/ranks/kill" 3
    [[ "$output" == *"ok 1 - a run whose ranks were killed 3 times ends with the bytes of one process" ]]
}

@test "ranks: a rank that hangs is named, with its machine, step and layer, and all ranks end" {
    needs_mpi
    make_base
    ranks 2 out lora_rank=24 max_steps=100000 --rank-timeout 2 > said 2>&1 &
    until_true has_step out 2
    stopped=$(ranks_of $! | tail -n 1)
    kill -STOP "$stopped"
    status=0
    wait $! || status=$?
    [ "$status" = 1 ]
    cat said
    grep -Eq "^train: (rank 1: )?(step [0-9]+: )?rank [01] on $(hostname) has not reached step [0-9]+(, layer [01])? after 2 s$" said
}

@test "ranks: after a signal to mpirun all ranks save, and the run goes on" {
    needs_mpi
    make_base
    saves_after_signal ranks lora_rank=24 save_steps=100000 lr_scheduler_type=constant
}

@test "ranks: a signal to one rank is agreed at the end of a layer's exchange, and the run goes on from there" {
    with_faults
    needs_mpi
    make_base
    config deep.json
    perl -pi -e 's/("num_hidden_layers":)2/${1}8/' deep.json
    cp scratch.yaml full.yaml
    one_rank 0 'FAULT_OF=message FAULT_AT=$at FAULT_MARK=mark LD_PRELOAD=$BUILD/tests/fault.so'
    export recipe=full.yaml base=deep.json BUILD at
    keys="from_scratch=true tokenizer=tok attention=full rope=linear:2 lr_scheduler_type=constant"
    ranks 1 whole $keys max_steps=4
    # A step has two rounds of eight layers. In each round a rank sends, for every layer and then
    # for the tables, the gradient and whether it got a signal. From message 80 on the first step
    # has been made, so it can be saved.
    stride=16
    [ -z "${LONG:-}" ] || stride=1
    for at in $(seq $((80 + RANDOM % stride)) $stride 130); do
        rm -rf out mark
        status=0
        program=./one ranks 2 out $keys max_steps=4 save_steps=100 > said 2>&1 || status=$?
        echo "message $at: status $status, $(stat -c %s mark) messages later: $(cat said)"
        [ "$status" = 143 ]
        # After the signal come at most the rest of this layer's messages and those of two more
        # layers, or the messages of the update.
        [ "$(stat -c %s mark)" -le 24 ]
        [ -d out/checkpoint-1 ] || [ -d out/checkpoint-2 ]
        [ "$(grep -c '^train: ' said)" = 1 ]
        grep -Eq '^train: stopped by signal 15 after step [12]: saved' said
        [ -n "${LONG:-}" ] || [ "$at" -gt 110 ] || continue
        ranks 1 out $keys max_steps=4 resume_from_checkpoint=auto
        cmp whole/model.safetensors out/model.safetensors
    done
}

@test "ranks: a rank that fails ends all, with one line and its status, and they save first if one process would" {
    with_faults
    needs_mpi
    make_base
    keys="lora_rank=24 lr_scheduler_type=constant"
    ends() { # STATUS TEXT: fails unless train ended with STATUS and one line, which has TEXT
        cat said
        [ "$status" = "$1" ]
        [ "$(grep -c '^train: ' said)" = 1 ]
        grep -Eq "$2" said
    }
    # Rank 1 fails before the ranks know each other's hosts.
    one_rank 1 'FAULT_OF=hosts FAULT_MARK=aborted LD_PRELOAD=$BUILD/tests/fault.so'
    export BUILD
    status=0
    program=./one ranks 2 out $keys > said 2>&1 || status=$?
    ends 1 '^train: ranks: a message: '
    [ -e aborted ]
    # The log of rank 0 cannot be written.
    one_rank 0 'FAULT_OF=flush FAULT_AT=3 FAULT_BEGIN=out FAULT_MARK=mark LD_PRELOAD=$BUILD/tests/fault.so'
    export BUILD
    status=0
    program=./one ranks 2 out $keys save_steps=100 max_steps=6 > said 2>&1 || status=$?
    ends 1 '^train: trainer_log.jsonl: cannot write: No space left on device$'
    [ -d out/checkpoint-3 ]
    ranks 1 out $keys max_steps=5 resume_from_checkpoint=auto
    ranks 1 whole $keys max_steps=5
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    # The log of rank 0 cannot be closed after the last step.
    rm -rf out
    one_rank 0 'FAULT_OF=close FAULT_AT=1 FAULT_BEGIN=out FAULT_MARK=mark LD_PRELOAD=$BUILD/tests/fault.so'
    status=0
    program=./one ranks 2 out $keys save_steps=100 max_steps=5 > said 2>&1 || status=$?
    ends 1 '^train: trainer_log.jsonl: cannot write: Input/output error$'
    [ -d out/checkpoint-5 ]
    ranks 1 out $keys max_steps=5 resume_from_checkpoint=auto
    cmp whole/adapter_model.safetensors out/adapter_model.safetensors
    # When rank 0 prints its line of step 4, rank 1's train_file or eval_file is cut. Each
    # evaluation reads the whole eval_file, so this file has fewer samples.
    for key in train_file:300 eval_file:45; do
        for i in $(seq ${key#*:}); do cat docs.jsonl; done |
            tokenize --quiet -m tok/tokenizer.model - |
            pack --quiet --context 32 --strategy split -o many.smp
        key=${key%:*}
        rm -rf out
        cut_file_of_rank_1 $key
        status=0
        quiet='' program=./one ranks 2 out $keys save_steps=1000 max_steps=1000 eval_steps=4 \
            eval_on_start=false $key=many.smp > said 2>&1 || status=$?
        said_cut_and_saved
        [ "$status" = 3 ]
        ranks 1 out $keys max_steps=$((step + 1)) $key=many.smp eval_steps=1000 \
            eval_on_start=false resume_from_checkpoint=auto
    done
    # After a loss that is not finite nothing is saved, because the parameters are useless.
    rm -rf out
    status=0
    ranks 2 out $keys learning_rate=1e30 save_steps=100 > said 2>&1 || status=$?
    ends 1 '^train: (rank 1: )?step [0-9]+: .*not finite'
    [ ! -e out/checkpoint-1 ]
}

@test "ranks: if any write, sync or rename of rank 0 fails, all end with one line, and the run can be resumed" {
    with_faults
    needs_mpi
    make_base
    keys="lora_rank=24 max_steps=4 save_steps=2 save_total_limit=1 eval_file=few.smp eval_steps=2 load_best_model_at_end=true"
    ranks 1 whole $keys
    export BUILD of at begin
    one_rank 0 'FAULT_OF=$of FAULT_AT=$at FAULT_BEGIN=$begin FAULT_MARK=mark LD_PRELOAD=$BUILD/tests/fault.so'
    count=0
    for place in write:out fsync:.best rename:.checkpoint-4 write:.result; do
        of=${place%:*} begin=${place#*:} at=${LONG:+0}
        at=${at:-$((RANDOM % 4))}
        while at=$((at + 1)); do
            rm -rf out mark
            status=0
            limit="timeout 100" program=./one ranks 2 out $keys > said 2>&1 || status=$?
            [ -e mark ] || break
            echo "$of $at after $begin: status $status: $(cat said)"
            [ "$status" != 124 ]
            if [ "$status" = 0 ]; then
                cmp whole/adapter_model.safetensors out/adapter_model.safetensors
            else
                [ "$status" = 1 ]
                [ "$(grep -c '^train: ' said)" = 1 ]
                run ! grep 'rank 1' said
                ranks 1 out $keys resume_from_checkpoint=auto
                cmp whole/adapter_model.safetensors out/adapter_model.safetensors
            fi
            count=$((count + 1))
            [ -n "${LONG:-}" ] || break
        done
    done
    echo "$count faults"
    [ $count -ge 4 ]
}

@test "ranks: what differs between ranks is named" {
    needs_mpi
    make_base
    # The second rank gets another recipe.
    cat > one << 'S'
#!/bin/bash
[ "$OMPI_COMM_WORLD_RANK" = 0 ] || set -- "$@" learning_rate=0.5
exec train "$@"
S
    chmod +x one
    echo 'method: lora' > lora.yaml
    run -2 mpirun --oversubscribe -n 2 ./one lora.yaml output_dir=out model_name_or_path=base.nf4 \
        train_file=32.smp max_steps=3 gradient_accumulation_steps=4 --device cpu --quiet
    [[ "$output" == \
        *"train: rank 1: on $(hostname): another recipe than rank 0: learning_rate is 0.0002 there, and 0.5 here"* ]]
    sed -i 's/set -- .*/export LONGQLORA_CPU=baseline/' one
    run -2 mpirun --oversubscribe -n 2 ./one lora.yaml output_dir=out model_name_or_path=base.nf4 \
        train_file=32.smp max_steps=3 gradient_accumulation_steps=4 --device cpu --quiet
    [[ "$output" == *"another level of the CPU kernels than rank 0: "*" there, baseline here"* ]]
    # The second rank evaluates another second file.
    sed -i 's/export .*/set -- "$@" eval_file=few.smp,32.smp/' one
    run -2 mpirun --oversubscribe -n 2 ./one lora.yaml output_dir=out model_name_or_path=base.nf4 \
        train_file=32.smp eval_file=few.smp,16.smp max_steps=3 gradient_accumulation_steps=4 \
        --device cpu --quiet
    [[ "$output" == *"another set of evaluation samples than rank 0: "* ]] || { echo "$output"; false; }
}

@test "ranks: libraries, drivers and GPUs that differ are named, with both values" {
    needs_mpi
    make_base
    export ONEDNN_MAX_CPU_ISA=AVX2 BUILD
    refused() { # TEXT
        run -2 ranks 2 out lora_rank=24
        echo "$output"
        [[ "$output" == *"train: rank 1: on $(hostname): another "$1* ]]
        [ "$(grep -c '^train: ' <<< "$output")" = 1 ]
    }
    export program=./one
    kind='kind of device than rank 0'
    one_rank 1 ONEDNN_MAX_CPU_ISA=SSE41
    refused "$kind: oneDNN "*", AVX2"*" there, oneDNN "*", neither AVX2 nor AVX-512"*" here"
    if [ -e "$BUILD/tests/fault.so" ]; then
        one_rank 1 'FAULT_OF=version LD_PRELOAD=$BUILD/tests/fault.so'
        refused "$kind: oneDNN "*" there, oneDNN 9.9.9, AVX2"*" here"
    fi
    export LONGQLORA_CUDA=$BUILD/emulation/bf16/kernels-cuda.so device=cuda
    [ -e "$LONGQLORA_CUDA" ] || skip "no emulation here"
    here="emulated GPU, driver "*"for CUDA 12.0, cuBLASLt 120000"
    one_rank 1 'EMULATION_NAME="Another GPU"'
    refused "$kind: $here there, Another GPU, driver "*"for CUDA 12.0, cuBLASLt 120000 here"
    one_rank 1 EMULATION_DRIVER=12040
    refused "$kind: $here there, emulated GPU, driver "*"for CUDA 12.4, cuBLASLt 120000 here"
    one_rank 1 EMULATION_CUBLASLT=120103
    refused "$kind: $here there, emulated GPU, driver "*"for CUDA 12.0, cuBLASLt 120103 here"
}

@test "ranks: a wrong start is refused with the right command line" {
    make_base
    echo 'method: lora' > lora.yaml
    run --separate-stderr -2 train lora.yaml output_dir=x --ranks 2
    [[ "$stderr" == "train: --ranks 2: a launcher starts them: mpirun -n 2 train …"* ]]
    run --separate-stderr -2 env WORLD_SIZE=8 train lora.yaml output_dir=x
    [[ "$stderr" == \
        "train: WORLD_SIZE=8: torchrun and deepspeed do not start ranks here: mpirun -n 8 train …"* ]]
    needs_mpi
    run -2 ranks 3 out gradient_accumulation_steps=2
    [[ "$output" == *"train: 3 ranks, and a step has 2 batches: at most one rank for each"* ]]
    # Without the MPI of the plug-in, each process is alone.
    run --separate-stderr -2 env OMPI_COMM_WORLD_SIZE=2 train lora.yaml output_dir=x
    [[ "$stderr" == *"train: OMPI_COMM_WORLD_SIZE=2: MPI knows of 1: "*"--ranks 1 says that each process is a run of its own"* ]]
}

@test "ranks: a plan has the memory of one rank, and what a step sends" {
    make_base
    echo 'method: lora' > lora.yaml
    plan() { train lora.yaml model_name_or_path=base.nf4 train_file=32.smp output_dir=x \
        lora_rank=24 gradient_accumulation_steps=7 train_embedding=true --device cpu --dry-run "$@"; }
    row() { sed -n "s/^$1 *\([0-9]*\) bytes .*/\1/p"; }
    one=$(plan) four=$(plan --ranks 4)
    [[ "$four" == *"one of 4 ranks: 7 batches a step in 2 rounds, 1 ranks idle in the last; all ranks together send "*" bytes, "*", a step"* ]]
    blocks=$(plan --ranks 4 gradient_block=2)
    [[ "$blocks" == *"one of 4 ranks: 7 batches a step in 4 blocks in 1 round, 0 ranks idle in the last; "* ]]
    # Gradients are sent for four blocks instead of seven batches. New values are sent as often as
    # before.
    sent() { sed -n 's/.*all ranks together send \([0-9]*\) bytes.*/\1/p'; }
    awk -v all="$(sent <<< "$four")" -v blocks="$(sent <<< "$blocks")" \
        'BEGIN { exit !(blocks < all * 0.74 && blocks > all * 0.71) }'
    # A rank owns whole pieces, and rank 0 the fewest. It has some here, so every rank has.
    for what in 'gradients (f32)' 'moments (f32)'; do
        awk -v one="$(row "$what" <<< "$one")" -v four="$(row "$what" <<< "$four")" \
            'BEGIN { exit !(four > one / 8 && four < one / 2.5) }'
    done
    run -2 plan --ranks 8
    [[ "$output" == *"8 ranks, and a step has 7 batches"* ]]
    run -2 plan --ranks 5 gradient_block=2
    [[ "$output" == *"5 ranks, and a step has 4 blocks of 2 batches: at most one rank for each (see gradient_block)"* ]]
}

@test "ranks: 16-bit products, kernels of another level and tied tables give the same bytes" {
    needs_mpi
    make_base
    (
        grep -q avx512_bf16 /proc/cpuinfo && export device=cpu-bf16
        whole_isa
        ranks 1 narrow $lora_keys max_steps=2
        ranks 3 other $lora_keys max_steps=2
    )
    same_run narrow other
    rm -rf other
    config tied.json 400 true
    cp scratch.yaml full.yaml
    grep -q avx2 /proc/cpuinfo && export LONGQLORA_CPU=v3
    keys="from_scratch=true tokenizer=tok attention=full rope=linear:2 gradient_accumulation_steps=7"
    recipe=full.yaml base=tied.json ranks 1 tied $keys
    recipe=full.yaml base=tied.json ranks 4 other $keys
    same_run tied other
    rm -rf other
    # LoRA, and full training of the table that embedding and head share.
    base=tied ranks 1 one quantization=none $lora_keys max_steps=2
    base=tied ranks 2 other quantization=none $lora_keys max_steps=2
    same_run one other
}

@test "ranks: two ranks with a GPU each write what one with a GPU writes" {
    needs_mpi
    [ -e "$BUILD/emulation/f32/kernels-cuda.so" ] || skip "no emulation here"
    make_base
    export EMULATION_PROTECT=1 EMULATION_PAGEABLE=1 EMULATION_GPUS=2
    export LONGQLORA_CUDA=$BUILD/emulation/f32/kernels-cuda.so device=cuda
    # The last of three batches leaves one rank idle. All values cross the host's memory.
    keys="lora_rank=24 train_norm=true train_embedding=true max_steps=2 gradient_accumulation_steps=3"
    ranks 1 one $keys
    EMULATION_USED=used ranks 2 two $keys
    same_run one two
    [ "$(sort used | tr '\n' ' ')" = "0 1 " ]
}

@test "ranks: a recipe of another program is told that an update has the batches of all ranks together" {
    needs_mpi
    make_base
    printf 'method: lora\ncutoff_len: 32\n' > other.yaml
    recipe=other.yaml quiet='' ranks 2 out 2> said
    [ "$(grep -c 'gradient_accumulation_steps=8 does as they do' said)" = 1 ]
    quiet='' ranks 2 ours 2> said
    run -1 grep 'as they do' said
}
