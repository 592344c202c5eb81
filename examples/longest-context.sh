#!/bin/bash
# longest-context.sh - finds the longest context that this machine, or a card of some size, can
# train, trains at that context, and measures what the far end of the context adds.
#
# Run it in the root of the source tree. Finished steps are not repeated: after a stop, run it again.
# Arguments are keys of the recipe: examples/longest-context.sh lora_rank=32
set -euo pipefail

# ---- change these, or set them before the command: CARD=24 examples/longest-context.sh ----

MODEL=${MODEL:-Llama-2-7b-hf}       # a Hugging Face model directory
TEXT=${TEXT:-long.jsonl}            # JSON lines with a "text" as long as the context should be
HELDOUT=${HELDOUT:-heldout.jsonl}   # the same, text that is not trained on
CARD=${CARD:-}                      # GB of a GPU: 8, 12, 16, 24, 32, 40, 48, 80; "": this machine
MOST=${MOST:-65536}                 # longest context in tokens, even if more would fit
STEPS=${STEPS:-200}                 # of 16 samples each
OUT=${OUT:-longest}                 # folder of all results; take another one for another run

mkdir -p "$OUT"
recipe=recipes/llama2-7b-longqlora.yaml

# 1. The plan (train --dry-run) says what fits, in one line for this machine and one for each size of
#    a card. The context before the first "tokens" fits without the host's memory.
device=auto
[ -z "$CARD" ] || device=cuda
bin/train "$recipe" model_name_or_path="$MODEL/config.json" "$@" \
    --dry-run --device "$device" > "$OUT/plan"
line="^longest that fits"
[ -z "$CARD" ] || line="^ *$CARD GB "
fits=$(grep -m 1 "$line" "$OUT/plan" | sed -E 's/^[^,]* ([0-9]+) tokens.*/\1/' || true)
if [ -z "$fits" ]; then
    echo "$OUT/plan says nothing of CARD=$CARD" >&2
    exit 1
fi

# 2. The base's context is doubled as often as the result fits.
base=$(sed -n 's/.*"max_position_embeddings": *\([0-9]*\).*/\1/p' "$MODEL/config.json")
context=$base
while ((context * 2 <= fits && context * 2 <= MOST)); do context=$((context * 2)); done
echo "$fits tokens fit; from $base to $context"
if ((context == base)); then
    echo "nothing longer than the base's own context fits, or MOST=$MOST is less" >&2
    exit 1
fi

# 3. Samples of documents that fill at least half of the context, and the model in 4 bits.
if [ ! -e "$OUT/$context.smp" ]; then
    bin/tokenize --model "$MODEL" "$TEXT" \
        | bin/pack --context "$context" --min-tokens $((context / 2)) -o "$OUT/$context.smp"
fi
[ -e "$OUT/base.nf4" ] || bin/quantize "$MODEL" -o "$OUT/base.nf4"

# 4. Training. After a stop it goes on from its last checkpoint. `tokenizer` names the model of which
# base.nf4 was made, so that the adapter names it as its base, which PEFT loads.
bin/train "$recipe" model_name_or_path="$OUT/base.nf4" tokenizer="$MODEL" \
    train_file="$OUT/$context.smp" output_dir="$OUT/adapter-$context" \
    max_seq_length="$context" max_steps="$STEPS" "$@"

# 5. The loss by the number of tokens that a prediction has seen. As long as the loss falls, the
# model uses tokens that are that far back.
[ -e "$OUT/heldout.tok" ] || bin/tokenize --model "$MODEL" "$HELDOUT" -o "$OUT/heldout.tok"
bin/ppl --model "$OUT/base.nf4" --adapter "$OUT/adapter-$context" --data "$OUT/heldout.tok" \
    --context "$context" --to positions
