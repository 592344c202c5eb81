load helper

# Makes some hundred documents of three sources: docs.jsonl, which has blank lines.
make_corpus() {
    make_tokenizer
    ln -sf "$made/tok" .
    perl -e 'srand 5; my @w = map { join "", map { ("a".."z")[rand 26] } 1..2 + rand 6 } 1..300;
        for my $d (1..500) { my $t = join " ", map { $w[rand(@w) ** 2 / @w] } 1..5 + int rand(30) ** 1.4;
            print qq({"text":"$t","source":"s), int rand 3, qq("}\n); print "\n" if $d % 50 == 0 }' \
        > docs.jsonl
}

# Cuts a text into shards, f000.jsonl and so on.
cut() { # N [FILE]
    split -n "l/$1" -d -a 3 --additional-suffix=.jsonl "${2:-docs.jsonl}" f
    shards=(f*.jsonl)
}
text=(--quiet -m tok/tokenizer.model)

# The first step: the lengths of each shard. $text has the options of tokenize, $bounds those of
# pack.
bounds=()
lengths() {
    local i n=${#shards[@]}
    for ((i = 0; i < n; i++)); do
        tokenize "${text[@]}" "${shards[i]}" -o "${shards[i]%.*}.tok"
        pack --quiet --lengths --shard $((i + 1))/$n "${bounds[@]}" "${shards[i]%.*}.tok" \
            -o "${shards[i]%.*}.len"
    done
}
# The third step: the documents of each shard that were drawn.
parts() {
    local shard
    for shard in "${shards[@]}"; do
        tokenize "${text[@]}" --lines "drawn/${shard%.*}.lines" "$shard" -o "${shard%.*}.part"
    done
}

@test "shards: a draw from 1, 2, 4 and 64 shards gives the samples of one machine, byte for byte" {
    make_corpus
    numbers=$(less "1 2 4 64" "1 4 12")
    for n in $numbers; do
        mkdir $n
        cd $n
        ln -s ../tok .
        cut $n ../docs.jsonl
        bounds=(--max-tokens 400)
        lengths
        while read -r strategy draw; do
            pack --draw $draw "${bounds[@]}" f*.len -o drawn --quiet
            parts
            cat f*.tok | pack --context 64 --strategy $strategy $draw "${bounds[@]}" -o one.smp --quiet
            cat f*.part | pack --context 64 --strategy $strategy $draw "${bounds[@]}" -o many.smp \
                --quiet
            cmp one.smp many.smp
        done <<< 'truncate --samples 80
            concat --quota s0=20 --quota s2=30 --seed 7
            best-fit --samples 60 --upsample 100=5
            split --quota s1=25 --upsample 150=3 --min-tokens 20'
        cd ..
    done
    # One stream of all tokens has the same samples too. It has a digest of its own, by which the
    # samples name it.
    tokenize "${text[@]}" --source-key source docs.jsonl | pack --context 64 --strategy split \
        --quota s1=25 --upsample 150=3 --min-tokens 20 --max-tokens 400 --quiet -o whole.smp
    digest() { perl -MForeignStream -e 'my @o = ForeignStream::read_all(shift); print $o[-1]{digest}' \
        "$1"; }
    for n in $numbers; do [ "$(digest $n/many.smp)" = "$(digest whole.smp)" ]; done
}

@test "shards: from conversations, arrays, compressed and plain texts, exactly the drawn documents are encoded" {
    make_corpus
    # Conversations. Every ninth is irregular and is skipped, so that lines and documents differ.
    perl -ne 'next unless /"text":"([^"]*)"/; my @w = split / /, $1; my $n = int @w / 2;
        my ($a, $b) = (join(" ", @w[0 .. $n - 1]), join " ", @w[$n .. $#w]);
        print qq({"messages":[{"role":"user","content":"$a"},{"role":"assistant","content":"$b"}]}\n);
        print qq({"messages":[{"role":"assistant","content":"x"}]}\n) if $. % 9 == 0' \
        < docs.jsonl > chat.jsonl
    draw=(--samples 40 --upsample 150=4 --quiet)
    compare() { # one machine's samples and those of the shards
        lengths
        pack --draw "${draw[@]}" f*.len -o drawn
        parts
        cat f*.tok | pack --context 96 --strategy best-fit "${draw[@]}" -o one.smp
        cat f*.part | pack --context 96 --strategy best-fit "${draw[@]}" -o many.smp
        cmp one.smp many.smp
        rm -f f*
    }
    text=(--quiet -m tok/tokenizer.model --format chat --template vicuna --odd skip)
    cut 3 chat.jsonl
    compare
    text=(--quiet -m tok/tokenizer.model --threads 3)
    cut 3
    for shard in "${shards[@]}"; do
        { echo '['; grep . "$shard" | sed '$!s/$/,/'; echo ']'; } | gzip > "${shard%.*}.gz"
    done
    rm "${shards[@]}"
    shards=(f*.gz)
    compare
    # Each file is a document. A shard has many files; the first shard has no document that is long
    # enough.
    text=(--quiet -m tok/tokenizer.model --format text)
    for n in $(seq 40); do sed -n "$((9 * n))p" docs.jsonl > f$n.txt; done
    : > f1.txt
    tokenize "${text[@]}" f?.txt -o f-a.tok
    tokenize "${text[@]}" f??.txt -o f-b.tok
    for s in a b; do pack --quiet --lengths --min-tokens 30 f-$s.tok -o f-$s.len; done
    pack --quiet --draw --samples 12 f-?.len -o drawn
    tokenize "${text[@]}" --lines drawn/f-a.lines f?.txt -o f-a.part
    tokenize "${text[@]}" --lines drawn/f-b.lines f??.txt -o f-b.part
    for kind in tok part; do
        cat f-?.$kind | pack --quiet --context 64 --samples 12 --min-tokens 30 -o $kind.smp
    done
    cmp tok.smp part.smp
    # If a file is replaced or the order is changed, the names of the files show it.
    run --separate-stderr -3 tokenize "${text[@]}" --lines drawn/f-b.lines f?.txt -o x
    [[ "$stderr" == *"lines of f"*".txt were drawn, and no text of this name follows the others"* ]]
    [ ! -e x ]
}

other_tokenizer() { # PREFIX
    spm_train --input="$made/text" --model_prefix="$1" --model_type=bpe --vocab_size=300 \
        --byte_fallback=true --normalization_rule_name=identity \
        --remove_extra_whitespaces=false --allow_whitespace_only_pieces=true --minloglevel=2 \
        > /dev/null 2>&1
}

# Prints the first line of a shard that was drawn.
drawn_line() { # LINES
    perl -MForeignStream -e 'for (ForeignStream::read_all(shift)) {
        next unless $_->{lines}; print +(unpack "Q<*", $_->{lines})[0]; exit }' "$1"
}

@test "shards: lengths that are cut, missing, duplicate, out of order or of another tokenizer are refused" {
    make_corpus
    cut 4
    text+=(--source-key source)
    lengths
    refused() { # STATUS MESSAGE COMMAND...
        run --separate-stderr -$1 "${@:3}"
        [[ "${stderr_lines[-1]}" == $2 ]] || { echo "$stderr"; false; }
        [ ! -e out ]
    }
    draw() { pack --quiet --draw --samples 9 "$@" -o out; }
    head -c 300 f001.len > cut.len
    refused 3 'pack: cut.len: *without its end record (did the writer die?)' \
        draw f000.len cut.len f002.len f003.len
    head -c -4 f001.len > cut.len
    refused 3 'pack: cut.len: *' draw f000.len cut.len f002.len f003.len
    refused 3 'pack: f001.len: shard 2 of 4, but shard 1 was expected: *' \
        draw f001.len f000.len f002.len f003.len
    refused 2 'pack: f000.len: 3 files, and there are 4 shards: *' draw f000.len f001.len f003.len
    refused 2 'pack: ./f001.len: another shard would also write *' \
        draw f000.len f001.len ./f001.len f003.len
    mkdir more
    cp f001.len more/again.len
    refused 3 'pack: more/again.len: shard 2 of 4, but shard 3 was expected*' \
        draw f000.len f001.len more/again.len f003.len
    for n in 0 1; do pack --quiet --lengths f00$n.tok -o more/$n.len; done
    cp more/1.len more/2.len
    refused 3 'pack: more/2.len: has the tokens of more/1.len: name each shard once' draw more/?.len
    refused 3 'pack: f001.len: it is one of 4 numbered shards, more/0.len is one of 0: *' \
        draw more/0.len f001.len
    refused 3 'pack: f000.tok: a stream of tokens, not a stream of lengths, which pack makes' \
        draw f000.tok
    other_tokenizer other
    tokenize --quiet -m other.model f001.jsonl | pack --quiet --lengths -o more/1.len
    refused 3 'pack: more/1.len: its tokenizer is *, but that of more/0.len is *: tokenize all shards with one tokenizer' \
        draw more/0.len more/1.len
    pack --quiet --lengths --min-tokens 50 f001.tok -o more/1.len
    refused 3 'pack: more/1.len: it was made with --min-tokens 50: shorter documents are missing' \
        draw more/0.len more/1.len
    # What no shard could give is refused when the lengths are taken.
    refused 3 'pack: standard input: several streams one after the other, but a shard is one stream' \
        pack --quiet --lengths -o out < <(cat f000.tok f001.tok)
    tokenize --quiet --from stream --to jsonl f000.tok | sed 's/"id":"[^"]*"/"id":"page"/' > ids.jsonl
    refused 3 "pack: ids.jsonl: record 1: the id 'page' does not end with a line*" \
        pack --quiet --lengths --from jsonl ids.jsonl -o out
    tokenize --quiet --from stream f000.tok -o copy.tok
    refused 3 'pack: copy.tok: it does not say of which text it was made*' \
        pack --quiet --lengths copy.tok -o out
    # Options that have no effect, and a draw without a number, are refused.
    refused 2 'pack: --samples: --lengths draws nothing*' \
        pack --lengths --samples 3 f000.tok -o out
    refused 2 'pack: --draw: --samples or --quota is needed*(concat and best-fit)*' \
        pack --draw f00?.len -o out
    refused 2 'pack: --strategy: --draw makes no samples*' \
        pack --draw --samples 3 --strategy concat f00?.len -o out
    refused 2 "pack: --shard: '5/4' is not I/N*" pack --lengths --shard 5/4 f000.tok -o out
    # The folder of the user is kept; that of an earlier draw is replaced.
    mkdir mine
    echo thesis > mine/x.lines
    refused 3 'pack: this file is not the result of a draw, so nothing is replaced: mine/x.lines: *' \
        pack --quiet --draw --samples 3 f00?.len -o mine
    [ "$(cat mine/x.lines)" = thesis ]
    pack --quiet --draw --samples 3 f00?.len -o drawn
    pack --quiet --draw --samples 4 f00?.len -o drawn
    [ "$(echo drawn/*)" = 'drawn/f000.lines drawn/f001.lines drawn/f002.lines drawn/f003.lines' ]
}

@test "shards: a text, a tokenizer or an option that changed since the lengths were taken is refused" {
    make_corpus
    cut 4
    lengths
    pack --quiet --draw --samples 40 f*.len -o drawn
    refused() { # STATUS MESSAGE TEXT OPTION...
        run --separate-stderr -$1 tokenize "${text[@]}" --lines drawn/f001.lines "${@:3}" -o out
        [[ "${stderr_lines[-1]}" == $2 ]] || { echo "$stderr"; false; }
        [ ! -e out ]
    }
    again='*take the lengths of this shard again*'
    # A line was added. Only the digest of the text shows it.
    (cat f001.jsonl; echo '{"text":"more","source":"s1"}') > x.jsonl
    refused 3 "tokenize: drawn/f001.lines: the text is not that whose lengths were taken (digest $again" \
        x.jsonl
    # A drawn line has changed, is missing, or is no longer valid.
    line=$(drawn_line drawn/f001.lines)
    sed "${line}s/\"text\":\"/&more and more /" f001.jsonl > x.jsonl
    refused 3 "tokenize: x.jsonl:$line: * tokens, and it had * when its length was taken: $again" \
        x.jsonl
    sed "${line}s/\"s[0-9]\"/\"s9\"/" f001.jsonl > x.jsonl
    refused 3 "tokenize: x.jsonl:$line: other tokens, or another source, $again" x.jsonl
    sed "${line}s/.*//" f001.jsonl > x.jsonl
    refused 3 "tokenize: x.jsonl: line $line was drawn, but the text has no document there: $again" x.jsonl
    sed "${line}s/.*/{bad/" f001.jsonl > x.jsonl
    refused 3 "tokenize: x.jsonl:$line: byte *" x.jsonl
    head -n $((line - 1)) f001.jsonl > x.jsonl
    refused 3 "tokenize: x.jsonl: line $line was drawn, but the text has no document there: $again" x.jsonl
    head -c -1 f001.jsonl | gzip | head -c -8 > x.gz
    refused 3 'tokenize: x.gz: *' x.gz
    # Another shard and other options are refused.
    refused 3 "tokenize: f002.jsonl*$again" f002.jsonl
    refused 3 "tokenize: f001.jsonl:*$again" f001.jsonl --source mine
    refused 3 'tokenize: drawn/f001.lines: the documents of the draw have another BOS*' \
        f001.jsonl --eos
    refused 2 'tokenize: drawn/f001.lines: the lengths were taken with another --on-error: give the same' \
        f001.jsonl --on-error skip
    refused 2 'tokenize: --raw: raw token ids cannot say*' f001.jsonl --raw u16
    mkdir other
    other_tokenizer other/tokenizer
    refused 3 'tokenize: drawn/f001.lines: its tokenizer is *, but that of --model is *' \
        f001.jsonl -m other/tokenizer.model
    refused 3 'tokenize: f001.len: a stream of lengths, not a stream of lines, which pack makes' \
        f001.jsonl --lines f001.len
    head -c 200 drawn/f001.lines > cut.lines
    refused 3 'tokenize: cut.lines: *end record*' f001.jsonl --lines cut.lines
    tokenize "${text[@]}" --lines drawn/f001.lines f001.jsonl -o out
}

@test "shards: parts that are missing, duplicate, out of order, of another draw or with other options are refused" {
    make_corpus
    cut 4
    text+=(--source-key source)
    lengths
    draw=(--samples 40 --upsample 100=3 --min-tokens 10)
    pack --quiet --draw "${draw[@]}" f*.len -o drawn
    parts
    refused() { # STATUS MESSAGE "PARTS" OPTION...
        run --separate-stderr -$1 pack --quiet --context 64 "${@:4}" -o out < <(cat $3)
        [[ "${stderr_lines[-1]}" == "pack: standard input: "$2 ]] || { echo "$stderr"; false; }
        [ ! -e out ]
    }
    refused 3 'shard 2 of 4, but shard 1 was expected*' 'f001.part f000.part f002.part f003.part' \
        "${draw[@]}"
    refused 3 'shard 3 of 4, but shard 2 was expected*' 'f000.part f002.part f003.part' "${draw[@]}"
    refused 3 'shard 4 of 4 is missing*' 'f000.part f001.part f002.part' "${draw[@]}"
    refused 3 'shard 2 of 4, but shard 3 was expected*' 'f000.part f001.part f001.part' "${draw[@]}"
    refused 3 'shard 4 of 4 follows the last one*' \
        'f000.part f001.part f002.part f003.part f003.part' "${draw[@]}"
    refused 3 'stream 2 is not a part of the draw*' 'f000.part f001.tok f002.part f003.part' \
        "${draw[@]}"
    refused 3 'stream 2 is a part of a draw*' 'f000.tok f001.part' "${draw[@]}"
    all='f000.part f001.part f002.part f003.part'
    refused 2 'its documents were drawn with --samples 40: *' "$all" --samples 41 --upsample 100=3 \
        --min-tokens 10
    refused 2 'its documents were drawn with another --upsample: *' "$all" --samples 40 \
        --upsample 90=3 --min-tokens 10
    refused 2 'its documents were drawn with --min-tokens 10: *' "$all" --samples 40 --upsample 100=3
    refused 2 'its documents were drawn with* --upsample: *' "$all" --samples 40 --min-tokens 10
    refused 2 'its documents were drawn with --samples 40: *' "$all" --quota s0=3 --min-tokens 10 \
        --upsample 100=3
    refused 2 'its documents were drawn with --seed 42: *' "$all" "${draw[@]}" --seed 1
    refused 2 'its documents were drawn with *' "$all"
    run --separate-stderr -3 pack --quiet --lengths f000.part -o out
    [[ "$stderr" == "pack: f000.part: these documents were drawn, "* ]]
    cp f001.part old.part
    pack --quiet --draw --samples 30 --upsample 100=3 --min-tokens 10 f*.len -o drawn
    parts
    refused 3 'shard 2 is of another draw (*' 'f000.part old.part f002.part f003.part' --samples 30 \
        --upsample 100=3 --min-tokens 10
    # For commands that do not pack, a part is an ordinary stream of tokens.
    tokenize --from stream --to jsonl f000.part > /dev/null
}
