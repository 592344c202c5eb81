load helper

# Runs a model with a tokenizer.json like LLaMA-3's through the pipeline.

@test "bpe: ids equal those of Hugging Face's tokenizers for any number of threads, and decode to the text" {
    sed 's/^/{"text":/; s/$/}/' "$golden/bpe/texts" > docs.jsonl
    for threads in 1 3; do
        tokenize --quiet -m "$golden/bpe/llama3" --no-bos --threads $threads docs.jsonl \
            -o $threads.tok
    done
    cmp 1.tok 3.tok
    tokenize --from stream --to jsonl 1.tok | sed -n 's/.*"tokens":\[\([0-9,]*\)\].*/\1/p' | \
        tr , ' ' > ids
    diff "$golden/bpe/llama3/ids" ids
    tokenize -m "$golden/bpe/llama3/tokenizer.json" --decode 1.tok > back.jsonl
    perl -MJSON::PP \
        -e 'my @l = map { open my $in, "<", $_ or die; [ map { decode_json($_)->{text} } <$in> ] } @ARGV;
        die unless @{$l[0]} == @{$l[1]} && @{$l[0]} > 200; for (0 .. $#{$l[0]}) { die $_ if $l[0][$_] ne $l[1][$_] }' \
            docs.jsonl back.jsonl
    tokenize --quiet -m "$golden/bpe/llama3" docs.jsonl | tokenize --from stream --to jsonl | \
        grep -q '"tokens":\[700,'
}

@test "bpe: a model with such a tokenizer is trained, measured and generates; another tokenizer's ids are refused" {
    config config.json 703
    grep '^.\{100\}' "$golden/bpe/texts" | sed 's/^/{"text":/; s/$/}/' > docs.jsonl
    tokenize --quiet -m "$golden/bpe/llama3" docs.jsonl -o docs.tok
    pack --quiet --context 16 --strategy split docs.tok -o 16.smp
    echo 'method: full' > scratch.yaml
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        tokenizer="$golden/bpe/llama3" train_file=16.smp \
        output_dir=base max_steps=5 learning_rate=0.01 --quiet
    cmp base/tokenizer.json "$golden/bpe/llama3/tokenizer.json"
    run --separate-stderr -0 ppl -m base --data docs.tok --context 16 --to json
    [[ "$output" == *'"bits_per_byte"'* ]]
    run --separate-stderr -0 generate -m base -p 'the world' -n 5
    [ -n "$output" ]
    quantize --quiet base -o base.nf4
    tokenize --quiet -m "$golden/bpe/gpt2" docs.jsonl | \
        pack --quiet --context 16 --strategy split -o other.smp
    echo 'method: lora' > lora.yaml
    run --separate-stderr -3 train lora.yaml model_name_or_path=base.nf4 train_file=other.smp \
        output_dir=x max_steps=1
    [[ "$stderr" == \
        *"other.smp: its tokenizer is "*", but that of the model is "*": tokenize the text with the model's own tokenizer, or give the model that of the text (quantize or merge, --resize-vocab)" ]]
    run --separate-stderr -3 tokenize -m config.json docs.jsonl -o x
    [[ "$stderr" == \
        "tokenize: config.json: this is a model's config.json, but tokenizer.model or tokenizer.json is needed: name the folder that has one"* ]]
    run --separate-stderr -1 tokenize -m "$golden" docs.jsonl -o x
    [[ "$stderr" == "tokenize: $golden: neither tokenizer.model nor tokenizer.json in it: name the model's own directory or file" ]]
    [ ! -e x ]
}
