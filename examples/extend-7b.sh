#!/bin/bash
# extend-7b.sh - extends LLaMA-2-7B from 4096 to 8192 tokens as the report did, and measures what
# came of it. Needs 10 GB of a GPU's memory, or 21 GB of the machine's.
#
# Run it in the root of the source tree. What is done is not done again: after a stop, run it again.
# Words behind its name are keys of the recipe: examples/extend-7b.sh learning_rate=1e-4
set -euo pipefail

# ---- change these, or say them before the command: TEXT=book.jsonl examples/extend-7b.sh ----

MODEL=${MODEL:-Llama-2-7b-hf}       # the model's directory, as Hugging Face has it
TEXT=${TEXT:-train.jsonl}           # JSON lines with a "text"; also .zst, .gz and .xz
HELDOUT=${HELDOUT:-heldout.jsonl}   # the same, of what is not trained on: to measure with
CONTEXT=${CONTEXT:-8192}            # tokens
# Of which documents samples are made: options of pack.
DOCUMENTS=${DOCUMENTS:---min-tokens 4096 --max-tokens 32768}
STEPS=${STEPS:-1000}                # of 16 samples each
OUT=${OUT:-extended}                # a folder for all that is made; another one for another run

mkdir -p "$OUT"
recipe=recipes/llama2-7b-longqlora.yaml

# 1. Does the run fit this machine? Nothing is read but the model's config.json.
bin/train "$recipe" model_name_or_path="$MODEL/config.json" max_seq_length="$CONTEXT" "$@" --dry-run

# 2. Text becomes tokens, and documents become samples of one context.
if [ ! -e "$OUT/train.smp" ]; then
    # shellcheck disable=SC2086 # options are words
    bin/tokenize --model "$MODEL" "$TEXT" \
        | bin/pack --context "$CONTEXT" $DOCUMENTS -o "$OUT/train.smp"
fi
[ -e "$OUT/heldout.tok" ] || bin/tokenize --model "$MODEL" "$HELDOUT" -o "$OUT/heldout.tok"

# 3. The model in 4 bits, a quarter of its size: it stays frozen.
[ -e "$OUT/base.nf4" ] || bin/quantize "$MODEL" -o "$OUT/base.nf4"

# 4. Adapters are trained at the new context. The recipe goes on from the last checkpoint if there
#    is one, and says that the run is finished if it is.
bin/train "$recipe" model_name_or_path="$OUT/base.nf4" train_file="$OUT/train.smp" \
    output_dir="$OUT/adapter" max_seq_length="$CONTEXT" max_steps="$STEPS" "$@"

# 5. Perplexity by context length, before and after. The base gets worse beyond its own context;
#    with the adapter a longer context is to be worth something.
contexts=$((CONTEXT / 4)),$((CONTEXT / 2)),$CONTEXT
echo "the base:"
bin/ppl --model "$OUT/base.nf4" --data "$OUT/heldout.tok" --context "$contexts"
echo "with the adapter:"
bin/ppl --model "$OUT/base.nf4" --adapter "$OUT/adapter" --data "$OUT/heldout.tok" \
    --context "$contexts"
echo "The adapter lies in $OUT/adapter. examples/merge-and-serve.sh makes a model of it."
