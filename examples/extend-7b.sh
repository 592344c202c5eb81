#!/bin/bash
# extend-7b.sh - extends LLaMA-2-7B from 4096 to 8192 tokens as the report did, and measures it
# before and after. Needs a GPU of 12 GB, or 21 GB of the machine's memory.
#
# Run it in the root of the source tree. Finished steps are not repeated: after a stop, run it again.
# Arguments are keys of the recipe: examples/extend-7b.sh learning_rate=1e-4
set -euo pipefail

# ---- change these, or set them before the command: TEXT=book.jsonl examples/extend-7b.sh ----

MODEL=${MODEL:-Llama-2-7b-hf}       # a Hugging Face model directory
TEXT=${TEXT:-train.jsonl}           # JSON lines with a "text"; also .zst, .gz and .xz
HELDOUT=${HELDOUT:-heldout.jsonl}   # the same, for measuring: text that is not trained on
CONTEXT=${CONTEXT:-8192}            # tokens
# Which documents become samples: options of pack.
DOCUMENTS=${DOCUMENTS:---min-tokens 4096 --max-tokens 32768}
STEPS=${STEPS:-1000}                # of 16 samples each
OUT=${OUT:-extended}                # folder of all results; take another one for another run

mkdir -p "$OUT"
recipe=recipes/llama2-7b-longqlora.yaml

# 1. Does the run fit this machine? Only the model's config.json is read.
bin/train "$recipe" model_name_or_path="$MODEL/config.json" max_seq_length="$CONTEXT" "$@" --dry-run

# 2. Text becomes tokens, and documents become samples of one context.
if [ ! -e "$OUT/train.smp" ]; then
    # shellcheck disable=SC2086 # options are words
    bin/tokenize --model "$MODEL" "$TEXT" \
        | bin/pack --context "$CONTEXT" $DOCUMENTS -o "$OUT/train.smp"
fi
[ -e "$OUT/heldout.tok" ] || bin/tokenize --model "$MODEL" "$HELDOUT" -o "$OUT/heldout.tok"

# 3. The model in 4 bits, a quarter of its size. Training does not change it.
[ -e "$OUT/base.nf4" ] || bin/quantize "$MODEL" -o "$OUT/base.nf4"

# 4. An adapter is trained at the new context. If there is a checkpoint, the run continues from the
# newest one. A finished run reports that and does nothing. `tokenizer` names the model of which
# base.nf4 was made, so that the adapter names it as its base, which PEFT loads.
bin/train "$recipe" model_name_or_path="$OUT/base.nf4" tokenizer="$MODEL" \
    train_file="$OUT/train.smp" output_dir="$OUT/adapter" max_seq_length="$CONTEXT" \
    max_steps="$STEPS" "$@"

# 5. Perplexity by context length, before and after; lower is better. The base gets worse beyond
#    its own context. With the adapter the longest context should be the best.
contexts=$((CONTEXT / 4)),$((CONTEXT / 2)),$CONTEXT
echo "the base:"
bin/ppl --model "$OUT/base.nf4" --data "$OUT/heldout.tok" --context "$contexts"
echo "with the adapter:"
bin/ppl --model "$OUT/base.nf4" --adapter "$OUT/adapter" --data "$OUT/heldout.tok" \
    --context "$contexts"
echo "The adapter lies in $OUT/adapter. examples/merge-and-serve.sh makes a model of it."
