#!/bin/bash
# chat-data.sh - trains a chat model on conversations at a long context, and asks it a question.
#
# Run it in the root of the source tree. Finished steps are not repeated: after a stop, run it again.
# Arguments are keys of the recipe: examples/chat-data.sh lora_rank=32
set -euo pipefail

# ---- change these, or set them before the command: CHAT=mine.jsonl examples/chat-data.sh ----

MODEL=${MODEL:-vicuna-13b-v1.5}     # a Hugging Face model directory
CHAT=${CHAT:-chat.jsonl}            # conversations as ShareGPT, OpenAI or Alpaca write them
TEMPLATE=${TEMPLATE:-longqlora}     # template; auto: the one of the model's own files
ODD=${ODD:-skip}                    # irregular conversations: stop, skip, drop or merge
ADAPTER=${ADAPTER:-}                # an adapter to train further, such as extended/adapter; or none
CONTEXT=${CONTEXT:-8192}            # tokens
EPOCHS=${EPOCHS:-1}                 # how often each conversation is used
QUESTION=${QUESTION:-What is a context window?}
OUT=${OUT:-chat}                    # folder of all results; take another one for another run

mkdir -p "$OUT"
words=(--model "$MODEL" --format chat --template "$TEMPLATE" --odd "$ODD")

# 1. Look at the data before you train: two conversations as the model will see them. Text that
# counts in the loss is marked.
bin/tokenize "${words[@]}" --show 2 "$CHAT"

# 2. Conversations become samples. Only the answers count in the loss.
if [ ! -e "$OUT/chat.smp" ]; then
    bin/tokenize "${words[@]}" "$CHAT" | bin/pack --context "$CONTEXT" -o "$OUT/chat.smp"
fi

# 3. The model in 4 bits.
[ -e "$OUT/base.nf4" ] || bin/quantize "$MODEL" -o "$OUT/base.nf4"

# 4. Training. If ADAPTER is set, it starts from that adapter. `tokenizer` names the model of which
# base.nf4 was made, so that the adapter names it as its base, which PEFT loads.
begin=()
[ -z "$ADAPTER" ] || begin=(adapter_name_or_path="$ADAPTER")
bin/train recipes/vicuna-13b-longqlora.yaml model_name_or_path="$OUT/base.nf4" \
    tokenizer="$MODEL" train_file="$OUT/chat.smp" output_dir="$OUT/adapter" \
    max_seq_length="$CONTEXT" max_steps=0 num_train_epochs="$EPOCHS" "${begin[@]}" "$@"

# 5. A question, in the template of the training. Without --prompt, on a terminal, this is a
#    conversation.
bin/generate --model "$OUT/base.nf4" --adapter "$OUT/adapter" --tokenizer "$MODEL" \
    --chat "$TEMPLATE" --prompt "$QUESTION" --max-new-tokens 200
