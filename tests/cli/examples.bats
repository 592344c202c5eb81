load helper

# Makes a folder in which an example runs. It has the programs, the recipes, and the inputs under
# the names that the example expects.
make_place() {
    make_base
    ln -sfn "$BIN" bin
    ln -sfn "$root/recipes" recipes
    ln -sfn docs.jsonl train.jsonl
    ln -sfn docs.jsonl heldout.jsonl
    ln -sfn docs.jsonl long.jsonl
    export MODEL=base
}
small=(lora_rank=4 gradient_accumulation_steps=1 --device cpu)
run_example() { bash "$root/examples/$1.sh" "${@:2}"; }

@test "examples: extend-7b trains, measures before and after, and repeats no finished step" {
    make_place
    export CONTEXT=32 DOCUMENTS='--strategy split' STEPS=2
    run --separate-stderr -0 run_example extend-7b "${small[@]}"
    [[ "$output" == *"frozen weights"*"the base:"*"with the adapter:"*"merge-and-serve.sh"* ]]
    [ -f extended/adapter/adapter_model.safetensors ]
    # The adapter names the base that PEFT loads, and not the stream.
    grep -q '"base_model_name_or_path": "base"' extended/adapter/adapter_config.json
    ls -l --time-style=full-iso extended extended/adapter > before
    run --separate-stderr -0 run_example extend-7b "${small[@]}"
    [[ "$stderr" == *"already"* ]]
    ls -l --time-style=full-iso extended extended/adapter | diff before -
    # With more steps the run is resumed.
    STEPS=3 run_example extend-7b "${small[@]}" > /dev/null 2>&1
    [ -d extended/adapter/checkpoint-3 ]
}

@test "examples: chat-data shows the data, trains an adapter further and asks the model" {
    make_place
    lora run --quiet rope=linear
    for i in 1 2 3; do
        echo '{"conversations":[{"from":"human","value":"'$i'"},{"from":"gpt","value":"ab cd"}]}'
    done > chat.jsonl
    echo '{"conversations":[{"from":"human","value":"no answer"}]}' >> chat.jsonl
    export CONTEXT=320 QUESTION='why 1'
    ADAPTER=run run --separate-stderr -0 run_example chat-data "${small[@]}"
    [[ "$output" == *"USER: 1"* ]]
    [ -f chat/adapter/adapter_model.safetensors ]
    grep -q '"r": *4' chat/adapter/adapter_config.json
    grep -q '"base_model_name_or_path": "base"' chat/adapter/adapter_config.json
}

@test "examples: merge-and-serve answers prompts and starts each server with the merged model" {
    make_place
    lora run --quiet model_name_or_path=base quantization=none rope=linear
    echo '{"prompt":"abc"}' > prompts.jsonl
    export ADAPTER=run OUT=merged
    run --separate-stderr -0 run_example merge-and-serve
    [[ "$output" == *completion* ]]
    mkdir -p stand-in llama.cpp/build/bin
    printf '#!/bin/sh\necho vllm "$@"\n' > stand-in/vllm
    printf '#!/bin/sh\necho llama-server "$@"\n' > llama.cpp/build/bin/llama-server
    chmod +x stand-in/* llama.cpp/build/bin/llama-server
    PATH=$PWD/stand-in:$PATH
    SERVER=vllm run --separate-stderr -0 run_example merge-and-serve
    [ "$output" = "vllm serve merged --port 8000" ]
    grep -q '"max_position_embeddings": *16' merged/config.json
    # This model has rows of 48 numbers, which are not a multiple of a block. So one line says that
    # they stay f16.
    SERVER=llama.cpp CONTEXT=32 run --separate-stderr -0 run_example merge-and-serve
    [ "$output" = "llama-server --model merged.gguf --ctx-size 32 --port 8000" ]
    [[ "$stderr" == *"merged.gguf: q8_0, context_length 32"* ]]
    SERVER=other run -2 run_example merge-and-serve
}

@test "examples: longest-context plans, trains at the longest context that fits, and measures by position" {
    make_place
    export STEPS=1
    MOST=40 run --separate-stderr -0 run_example longest-context "${small[@]:0:2}"
    [[ "$output" =~ [0-9]+" tokens fit; from 16 to 32" ]]
    [ -f longest/adapter-32/adapter_model.safetensors ]
    grep -q '"base_model_name_or_path": "base"' longest/adapter-32/adapter_config.json
    # With CARD the example reads the plan's line about cards of this size.
    CARD=24 MOST=17 run --separate-stderr -1 run_example longest-context
    [[ "$stderr" == *"nothing longer than the base's own context fits, or MOST=17 is less" ]]
    CARD=7 run --separate-stderr -1 run_example longest-context
    [[ "$stderr" == *"longest/plan says nothing of CARD=7" ]]
}

@test "examples: these tests run every example, and each example states what can be changed" {
    tested="chat-data.sh extend-7b.sh longest-context.sh merge-and-serve.sh"
    [ "$(cd "$root/examples" && echo *)" = "$tested" ]
    for script in "$root"/examples/*; do
        [ -x "$script" ]
        grep -qx 'set -euo pipefail' "$script"
        [ "$(grep -cE '^[A-Z_]+=\$\{[A-Z_]+:-.*\}' "$script")" -ge 6 ]
        [ "$(wc -l < "$script")" -le 70 ]
    done
}
