load helper

@test "docs: the README's pipeline runs, at the test model's size" {
    make_base
    cp "$root/recipes/llama2-7b-longqlora.yaml" .
    mkdir recipes && mv llama2-7b-longqlora.yaml recipes
    sed -n '/^## A pipeline by hand/,/^Chat data/p' "$root/README.md" | sed -n 's/^    //p' \
        | sed -e 's/bin\///g' -e 's/tokenizer.model arxiv.jsonl book.jsonl.zst/tok\/tokenizer.model docs.jsonl/' \
            -e 's/--context 8192 --min-tokens 4096 --max-tokens 32768 --samples 54212/--context 32 --strategy split/' \
            -e 's/Llama-2-7b-hf/base/g' -e 's/output_dir=run/output_dir=run max_steps=2 max_seq_length=32 lora_rank=4/' \
            -e 's/pg19.tok --context 1024,2048,4096,8192/docs.tok --context 16,32/' > pipeline.sh
    bash -euo pipefail pipeline.sh > /dev/null
    [ -f Llama-2-7b-8k/config.json ]
}

@test "docs: the README's talking commands run, at the test model's size" {
    make_base
    lora run --quiet
    echo '{"prompt":"abc"}' > prompts.jsonl
    sed -n '/^## Talking to it/,/^The answer/p' "$root/README.md" | sed -n 's/^    //p' | sed -e 's/bin\///g' \
        -e 's/--model [a-zL][^ ]*.nf4/--model base.nf4/' -e 's/--model Llama-2-7b-8k/--model base/' \
        -e 's/run-chat/run/' -e 's/--tokenizer [^ ]*/--tokenizer base/' -e 's/generate/generate --context 300 --max-new-tokens 3/' \
        -e 's/longqlora$/longqlora <<< "abc"/' > talk.sh
    [ "$(grep -c generate talk.sh)" -eq 4 ]
    bash -euo pipefail talk.sh > /dev/null
    grep -q completion answers.jsonl
}

@test "docs: recipes are read, and name no unknown key" {
    cd "$root"
    for recipe in recipes/*.yaml; do
        "$BIN/train" "$recipe" output_dir=x train_file=x model_name_or_path=x --print-config > /dev/null
    done
}

@test "docs: formats name every kind and field that the programs write" {
    make_base
    lora run --quiet save_steps=2
    ppl --quiet --model base --data docs.tok --context 16 -o s.scores
    for pair in tokens:docs.tok samples:16.smp weights:base.nf4 scores:s.scores state:run/checkpoint-4/training_state; do
        kind=${pair%%:*}
        perl -MForeignStream -e 'my ($file, $doc) = @ARGV; open my $f, "<", $doc or die; local $/; my $text = <$f>;
            my @o = ForeignStream::read_all($file); my %k;
            $k{$_} = 1 for map { keys %$_ } @o[0 .. $#o - 1];
            delete @k{qw(longqlora kind tool version options)};
            for (sort keys %k) { die "$doc lacks $_\n" unless $text =~ /`$_`/ }' "${pair#*:}" <(cat "$root/docs/formats/$kind.md" "$root/docs/formats/tokens.md")
    done
}

@test "docs: the loss of a training and the lengths of documents are drawn" {
    mkdir run
    printf '{"step":1,"loss":5.0}\n{"step":2,"loss":4.0}\n' > run/trainer_log.jsonl
    make -s -C "$root" plot RUN="$PWD/run"
    grep -q '<svg' run/loss.svg
    run ! "$root/recipes/loss.pl" none
    echo '{"sources":{"a":{"documents":3,"lengths_log2":[0,1,2]},"b_c":{"documents":1,"lengths_log2":[0,0,0,1]}}}' > s.json
    "$root/recipes/lengths.pl" s.json l.svg
    grep -q '<svg' l.svg
}

@test "docs: the report's scales resolve down to the user's own files" {
    mkdir -p rp model
    touch rp/arxiv.jsonl rp/book.jsonl.zst model/config.json model/tokenizer.model pg19.jsonl chat.jsonl
    here=$PWD
    cd "$root"
    for scale in llama2-7b vicuna-13b; do
        text="$here/rp/arxiv.jsonl $here/rp/book.jsonl.zst"
        [ $scale = llama2-7b ] || text=$here/chat.jsonl
        make -n reproduce FLAVOUR=release SCALE=$scale MODEL="$here/model" TEXT="$text" HELDOUT="$here/pg19.jsonl" > "$here/plan" 2>&1
        for stage in "tokenize: train" "pack: 2x" quantize "train: longqlora-2" "merge: 2x" report; do
            grep -q "$stage" "$here/plan" || { echo "$scale: no $stage"; return 1; }
        done
        run ! make -n reproduce FLAVOUR=release SCALE=$scale MODEL="$here/none" TEXT="$text" HELDOUT="$here/pg19.jsonl"
        train recipes/$scale-longqlora.yaml model_name_or_path=x train_file=y output_dir=z --print-config > /dev/null
    done
}

@test "docs: the distance to the originals names options and keys that there are, and is linked" {
    cd "$root"
    for tool in tokenize pack quantize train merge ppl generate; do "$BIN/$tool" --help; done > "$BATS_TEST_TMPDIR/help"
    for option in $(grep -oE -- '--[a-z][a-z-]*' docs/fidelity.md | sort -u); do
        grep -q -- "$option\b" "$BATS_TEST_TMPDIR/help" || { echo "$option"; return 1; }
    done
    for key in $(grep -o '`[a-z_]*: [a-z0-9]*`' docs/fidelity.md | tr -d '`' | sed 's/:.*//' | sort -u); do
        "$BIN/train" --list-keys | grep -q "^| \`$key\`" || { echo "$key"; return 1; }
    done
    grep -q 'docs/fidelity.md' README.md
}
