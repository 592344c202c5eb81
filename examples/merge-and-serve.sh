#!/bin/bash
# merge-and-serve.sh - merges an adapter into its base, and answers prompts with the result, here or
# in a server. Other programs load the merged model directory too.
#
# Run it in the root of the source tree.
set -euo pipefail

# ---- change these, or set them before the command: SERVER=vllm examples/merge-and-serve.sh ----

MODEL=${MODEL:-Llama-2-7b-hf}       # the base of the adapter, not in 4 bits
ADAPTER=${ADAPTER:-extended/adapter}
OUT=${OUT:-Llama-2-7b-8k}           # the model directory to make
SERVER=${SERVER:-none}              # none: PROMPTS are answered here; vllm; or llama.cpp
PROMPTS=${PROMPTS:-prompts.jsonl}   # lines such as {"prompt": "In the beginning"}
CONTEXT=${CONTEXT:-8192}            # tokens that llama.cpp's server holds
PORT=${PORT:-8000}
LLAMA_CPP=${LLAMA_CPP:-llama.cpp}   # folder in which llama.cpp was built
DTYPE=${DTYPE:-q8_0}                # type of llama.cpp's file: f16, bf16, q8_0 or q4_0

# 1. Merges base and adapter into one model with the position scaling: a directory, or a GGUF file
# for llama.cpp.
if [ "$SERVER" = llama.cpp ]; then
    [ -e "$OUT.gguf" ] || bin/merge --base "$MODEL" --adapter "$ADAPTER" \
        --to gguf --dtype "$DTYPE" -o "$OUT.gguf"
else
    [ -e "$OUT" ] || bin/merge --base "$MODEL" --adapter "$ADAPTER" -o "$OUT"
fi

# 2. Ask the model.
case $SERVER in
none)
    # A line of JSON for each prompt, in the same order.
    bin/generate --model "$OUT" --format jsonl --max-new-tokens 100 < "$PROMPTS"
    ;;
vllm)
    exec vllm serve "$OUT" --port "$PORT"
    ;;
llama.cpp)
    exec "$LLAMA_CPP/build/bin/llama-server" --model "$OUT.gguf" \
        --ctx-size "$CONTEXT" --port "$PORT"
    ;;
*)
    echo "SERVER=$SERVER: none, vllm or llama.cpp" >&2
    exit 2
    ;;
esac
