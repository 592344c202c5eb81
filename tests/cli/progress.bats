load helper

# Prints the output of a program on a terminal. The last line of progress must be cleared before the
# next message, and at the end.
seen() { # COMMAND...
    TERM=xterm timeout 100 script -qec "$*" typescript < /dev/null > /dev/null
    sed '1d;$d' typescript | tr -d '\n' | tr '\r' '\n' | sed -n 's/^\x1b\[K//p'
}

wide() {
    config "$1"
    sed \
        -i 's/"hidden_size":32/"hidden_size":512/; s/"intermediate_size":48/"intermediate_size":1408/; s/"num_hidden_layers":2/"num_hidden_layers":4/' "$1"
}

@test "progress: on a terminal every program that works long shows its progress" {
    make_base
    wide wide.json
    echo 'method: full' > full.yaml
    echo 'method: lora' > lora.yaml
    big="train_file=16.smp attention=full logging_steps=1 save_strategy=no --device cpu"
    seen train full.yaml from_scratch=true model_name_or_path=wide.json tokenizer=tok \
        output_dir=wide max_steps=2 gradient_accumulation_steps=$(less 8 2) $big > train.seen
    grep -Eq "^train: [0-9]+ of $(less 16 4) samples, [0-9.]+ a (second|minute), [0-9.]+ s left\$" \
        train.seen
    grep -q '^train: step 1 of 2, loss ' train.seen
    perl -e 'local $/; my $t = <STDIN>; print $t for 1 .. 400' < docs.jsonl > many.jsonl
    seen tokenize -m tok/tokenizer.model many.jsonl docs.jsonl -o many.tok > tokenize.seen
    grep -Eq '^tokenize: [0-9]+ of [0-9]+ MB, [0-9.]+ a second, [0-9.]+ s left$' tokenize.seen
    seen pack --context 16 --strategy split many.tok -o many.smp > pack.seen
    grep -Eq '^pack: [0-9]+ documents, [0-9]+ a second$' pack.seen
    seen quantize wide -o wide.nf4 > quantize.seen
    grep -Eq '^quantize: [0-9]+ of 39 tensors, [0-9.]+ a second, [0-9]+ s left$' quantize.seen
    train lora.yaml quantization=none model_name_or_path=wide output_dir=run max_steps=1 $big \
        --quiet
    seen merge --base wide --adapter run -o merged > merge.seen
    grep -Eq '^merge: [0-9]+ of 39 tensors, [0-9.]+ a second, [0-9]+ s left$' merge.seen
    seen ppl --model wide --data docs.tok --context 16 --max-tokens $(less 1000000 1000) \
        --device cpu -o scores > ppl.seen
    grep -Eq '^ppl: [0-9]+ of [0-9]+ windows, [0-9.]+ a second, [0-9]+ s left$' ppl.seen
    [[ "$(sed '1d;$d' typescript)" == *$'\r\x1b[K' ]] # the line is cleared
    for _ in $(seq $(less 20 5)); do echo '{"prompt":"it"}'; done > prompts
    seen "generate --model wide -n 8 --format jsonl < prompts > answers" > generate.seen
    grep -Eq '^generate: [0-9]+ prompts, [0-9.]+ a second$' generate.seen
    # Nothing is shown if progress is switched off, or if there is no terminal.
    seen tokenize --progress none -m tok/tokenizer.model many.jsonl -o many.tok > none.seen
    run ! grep -q MB, none.seen
    seen tokenize --quiet -m tok/tokenizer.model many.jsonl -o many.tok > quiet.seen
    [ ! -s quiet.seen ]
    tokenize -m tok/tokenizer.model many.jsonl -o many.tok 2> piped
    [ "$(grep -c '' piped)" = 1 ]
    run ! grep -q $'\x1b' piped
}
