load helper

data=$golden/ppl/tokens.bin

@test "ppl: each protocol gives the loss that its definition gives in transformers, within 1e-5" {
    # Each case is one line: protocol, context, options, loss, standard error, predictions.
    perl -MJSON::PP -e 'local $/; for (@{ decode_json(<STDIN>) }) { my %o = %{ $_->{options} };
        print join(" ", $_->{protocol}, $_->{context}, map({ (my $k = $_) =~ s/_/-/; "--$k=$o{$_}" } sort keys %o), @$_{qw(nll stderr scored)}), "\n" }' \
        < "$golden/ppl/losses.json" > cases
    [ "$(wc -l < cases)" -eq 17 ]
    while read -r protocol context rest; do
        set -- $rest
        local options=()
        while [[ $1 == --* ]]; do options+=("$1"); shift; done
        ppl --quiet -m "$golden/bnb/model" -d "$data" --from u16 --protocol "$protocol" \
            -c "$context" "${options[@]}" --to json > got
        perl -MJSON::PP \
            -e 'my ($nll, $stderr, $scored) = @ARGV; local $/; my $s = decode_json(<STDIN>)->{scores}[0];
            die "$s->{nll} $nll" if abs($s->{nll} - $nll) > 1e-5; die "$s->{stderr} $stderr" if abs($s->{stderr} - $stderr) > 1e-5;
            die "$s->{scored} $scored" if $s->{scored} != $scored' "$1" "$2" "$3" < got
    done < cases
}

@test "ppl: bits per byte come from the model's tokenizer, a given tokenizer, or a given number of bytes" {
    make_base
    run --separate-stderr -0 ppl --quiet -m base -d docs.tok -c 16 --to json
    perl -MJSON::PP -MForeignStream -e 'local $/; my $r = decode_json(<STDIN>); my $bytes = 0;
        open my $f, "<", "docs.jsonl"; $bytes += length(decode_json($_)->{text}) for split /\n/, <$f>;
        my @o = ForeignStream::read_all("docs.tok"); my $tokens = 0; $tokens += length($_->{tokens}) / 2 for @o[1 .. $#o - 1];
        die "$r->{bytes} $bytes" if $r->{bytes} != $bytes; die "$r->{tokens}" if $r->{tokens} != $tokens;
        my $s = $r->{scores}[0]; my $bits = $s->{nll} / log(2) * $tokens / $bytes;
        die "$s->{bits_per_byte} $bits" if abs($s->{bits_per_byte} - $bits) > 1e-9' <<< "$output"
    ppl --quiet -m base.nf4 -d docs.tok -c 16 --to json > without
    run ! grep -q bits_per_byte without
    ppl --quiet -m base.nf4 -d docs.tok -c 16 --tokenizer tok --to table > with
    grep -q 'stderr  bits/byte$' with
    ppl --quiet -m base.nf4 -d docs.tok -c 16 --bytes 1000 --to json > said
    grep -q '"bytes": 1000' said
    ppl --quiet -m base -d docs.tok -c 16 --to scores > s.scores
    perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("s.scores"); die unless $o[0]{bytes} && $o[1]{bits_per_byte} > 0'
    # With one window there is no standard error.
    ppl --quiet -m base -d docs.tok -c 16 --max-tokens 40 --to json > one
    grep -q '"windows": 1,' one
    run ! grep -q stderr one
    ppl --quiet -m base -d docs.tok -c 16 --max-tokens 40 --to table | tail -n 1 | \
        grep -Eq '^ +16 +1 +15 +[0-9.]+ +[0-9.]+ +- +[0-9.]+$'
    # A tokenizer that differs from the data's is refused.
    spm_train --input="$made/text" --model_prefix=other --model_type=bpe --vocab_size=300 \
        --byte_fallback=true \
        --normalization_rule_name=identity --remove_extra_whitespaces=false --minloglevel=2 > \
        /dev/null 2>&1
    run --separate-stderr -3 ppl --quiet -m base.nf4 -d docs.tok -c 16 --tokenizer other.model
    [[ "$stderr" == *"docs.tok: its tokenizer is "*", but that of other.model is "*": name the data's tokenizer with --tokenizer, or the size of the text with --bytes" ]]
    run --separate-stderr -1 ppl --quiet -m base.nf4 -d docs.tok -c 16 --tokenizer nowhere
}

@test "ppl: an output that cannot be written is reported before anything is read" {
    run --separate-stderr -1 ppl -m missing -d missing.tok -c 16 -o nowhere/scores
    [ "$stderr" = "ppl: nowhere/scores: cannot create: No such file or directory: make its folder first" ]
    mkdir taken
    run --separate-stderr -1 ppl -m "$golden/bnb/model" -d missing.tok -c 16 -o taken
    [[ "$stderr" == "ppl: taken: a folder, but the output is a file: "* ]]
    echo kept > old
    run --separate-stderr -1 ppl -m "$golden/bnb/model" -d missing.tok -c 16 -o old
    [ "$(cat old)" = kept ]
    [ "$(ls | grep -c old)" = 1 ]
    # A reader of the pipe gets the scores before the pipe ends.
    mkfifo pipe
    ppl --quiet -m "$golden/bnb/model" -d "$data" --from u16 -c 64 --to json -o pipe &
    grep -q '"context": 64' < pipe
    wait $!
}

@test "ppl: losses are also given by the number of tokens before a prediction" {
    eval_=(ppl --quiet -m "$golden/bnb/model" -d "$data" --from u16)
    "${eval_[@]}" -c 64 --to json > long
    # The first 15 predictions of a window of 64 equal those of a window of 16 with the same
    # beginning.
    "${eval_[@]}" -c 16 --stride 64 --max-tokens 8976 --to json > short
    perl -MJSON::PP \
        -e 'my ($l, $s) = map { local $/; open my $f, "<", $_; decode_json(<$f>)->{scores}[0] } "long", "short";
        my @p = @{ $l->{positions} }; my ($sum, $scored, $first, $of) = (0, 0, 0, 0);
        die "@{[map { $_->{seen} } @p]}" unless "@{[map { $_->{seen} } @p]}" eq "1 2 4 8 16 32";
        for (@p) { $sum += $_->{scored} * $_->{nll}; $scored += $_->{scored}; if ($_->{seen} < 16) { $first += $_->{scored} * $_->{nll}; $of += $_->{scored} } }
        die "$scored $l->{scored}" unless $scored == $l->{scored} && abs($sum / $scored - $l->{nll}) < 1e-9;
        print $first / $of, " $s->{nll} $of $s->{scored}\n"; die unless $of == $s->{scored} && abs($first / $of - $s->{nll}) < 1e-6'
    "${eval_[@]}" -c 64 -o s.scores
    perl -MForeignStream -MJSON::PP \
        -e 'my @o = ForeignStream::read_all("s.scores"); my @n = unpack "Q<*", $o[1]{position_scored}; my @l = unpack "d<*", $o[1]{position_nll};
        local $/; open my $f, "<", "long"; my @p = @{ decode_json(<$f>)->{scores}[0]{positions} };
        for (0 .. $#p) { die unless $n[$_] == $p[$_]{scored} && abs($l[$_] - $p[$_]{nll}) < 1e-12 } die unless @n == @p && @l == @p'
    "${eval_[@]}" -c 50 --to positions > table
    [ "$(wc -l < table)" -eq 7 ]
    grep -Eq '^ +50 +32 +49 +[0-9]+ +[0-9.]+ +[0-9.]+$' table
}

@test "ppl: with --per-document each document is measured as if it were the only one" {
    make_base
    for protocol in longqlora longlora sliding llamacpp; do
        options="-m base -c 16 --protocol $protocol --to json"
        [ $protocol = longqlora ] || [ $protocol = llamacpp ] || options+=" --stride 7"
        run --separate-stderr -0 ppl --max-tokens 900 $options -d docs.tok --per-document
        grep -q 'ppl: context 16: 10 of 10 documents are long enough' <<< "$stderr"
        echo "$output" > all
        for i in $(seq 10); do
            sed -n "${i}p" docs.jsonl | tokenize --quiet -m tok/tokenizer.model | \
                ppl --quiet --max-tokens 900 $options
        done > each
        perl -MJSON::PP \
            -e 'local $/; open my $f, "<", "all"; my $all = decode_json(<$f>)->{scores}[0]; open my $g, "<", "each"; my ($sum, $scored, $windows) = (0, 0, 0);
            my $json = JSON::PP->new; for ($json->incr_parse(<$g>)) { my $s = $_->{scores}[0]; $sum += $s->{nll} * $s->{scored}; $scored += $s->{scored}; $windows += $s->{windows} }
            print "$all->{nll} ", $sum / $scored, " $scored $windows\n";
            die unless $scored == $all->{scored} && $windows == $all->{windows} && abs($sum / $scored - $all->{nll}) < 1e-9' 
    done
    grep -q '"per_document": true' all
    grep -q '"documents": 10' all
    # Documents that are too short are left out. If none is left, that is an error.
    run --separate-stderr -0 ppl -m base -d docs.tok --protocol sliding -c 900 --per-document --to \
        table
    enough=$(perl -MForeignStream \
        -e 'print scalar grep { length($_->{tokens} // "") >= 2 * 900 } ForeignStream::read_all("docs.tok")')
    [ "$enough" -gt 0 ] && [ "$enough" -lt 10 ]
    [[ "$stderr" == *"ppl: context 900: $enough of 10 documents are long enough"* ]]
    run --separate-stderr -3 ppl --quiet -m base -d docs.tok -c 5000 --per-document
    [[ "$stderr" =~ \
        ^"ppl: docs.tok: the longest document has "[0-9]+" tokens, too few for --context 5000 by --protocol longqlora, which needs 10001: --context "[0-9]+" is the longest that fits"$ ]]
}

@test "ppl: the protocol longppl checks its options, and reports if no prediction qualifies" {
    run --separate-stderr -2 ppl --quiet -m "$golden/bnb/model" -d "$data" --from u16 --protocol \
        longppl -c 64
    [[ "$stderr" == \
        "ppl: --context 64 is no longer than longppl's short context of 4096 (--short-context) (see ppl --help)" ]]
    run --separate-stderr -2 ppl --quiet -m "$golden/bnb/model" -d "$data" --from u16 --protocol \
        longppl -c 64 --short-context 16 --stride 16
    run --separate-stderr -2 ppl --quiet -m "$golden/bnb/model" -d "$data" --from u16 --protocol \
        longppl -c 64 --short-context 1
    head -c 140 "$data" > few.bin
    run --separate-stderr -3 ppl --quiet -m "$golden/bnb/model" -d few.bin --from u16 --protocol \
        longppl -c 64 --short-context 60
    [[ "$stderr" == \
        "ppl: context 64: it helps no prediction enough to be scored by longppl (try a shorter --short-context, or more text)" ]]
    ppl --quiet -m "$golden/bnb/model" -d "$data" --from u16 --protocol longppl -c 64 \
        --short-context 16 --to json --threads 1 > a
    ppl --quiet -m "$golden/bnb/model" -d "$data" --from u16 --protocol longppl -c 64 \
        --short-context 16 --to json --threads 3 > b
    cmp a b
    grep -q '"short_context": 16' a
    grep \
        -q '"definition": "longppl: windows of L side by side; predictions whose loss is below 2 and more than 2 lower' a
}

@test "ppl: it prints a table, unless --to or the output's name request another format" {
    eval_=(ppl --quiet -m "$golden/bnb/model" -d "$data" --from u16 -c 16)
    "${eval_[@]}" > log
    head -n 1 log | grep -Eq '^ +context +windows +scored +loss +perplexity +stderr$'
    [ "$(wc -l < log)" -eq 2 ]
    "${eval_[@]}" | cat > piped
    cmp log piped
    for name in log.txt scores plain.log -; do
        "${eval_[@]}" -o "$name" > out
        [ "$name" = - ] || mv "$name" out
        cmp log out
    done
    "${eval_[@]}" -o a.scores
    "${eval_[@]}" --to scores > b.scores
    cmp a.scores b.scores
    perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("a.scores"); die unless $o[0]{kind} eq "scores"'
    "${eval_[@]}" -o a.json
    "${eval_[@]}" --to json > b.json
    cmp a.json b.json
    grep -q '"perplexity"' a.json
    # --to has priority over the name of the output.
    "${eval_[@]}" --to table -o t.scores
    cmp log t.scores
    # A stream is not written to a terminal. This is said before the model is opened.
    run -2 script -qec 'ppl -m nowhere -d nowhere --to scores' /dev/null
    [[ "$output" == *"standard output is a terminal: name a file with -o, or pipe"* ]]
}

@test "ppl: contexts that are too long for the text are reported before the model is opened" {
    # This model cannot be opened. Its message would show that the contexts were not checked first.
    mkdir damaged
    echo '{}' > damaged/config.json
    refused() { run --separate-stderr "-$1" ppl -m damaged -d "$data" --from u16 "${@:3}"; \
        [ "$stderr" = "ppl: $2" ] || { echo "$stderr"; false; }; }
    refused 3 \
        "$data: 9000 tokens, too few for --context 4500,8192 by --protocol longqlora, which needs 16385: measure at --context 1024,2048, or use --protocol sliding, which needs the tokens of one window only" \
        -c 1024,4500,2048,8192
    refused 3 \
        "$data: 9000 tokens, too few for --context 4500,10000 by --protocol longqlora, which needs 20001: measure at --context 4499" \
        -c 4499,4500,10000
    refused 3 \
        "$data: 9000 tokens, too few for --context 8744 by --protocol longlora, which needs 9001: --context 8743 is the longest that fits, or use --protocol sliding, which needs the tokens of one window only" \
        -c 8744 --protocol longlora
    refused 3 \
        "$data: 9000 tokens, too few for --context 9001 by --protocol sliding, which needs 9001: --context 9000 is the longest that fits" \
        -c 9001 --protocol sliding
    refused 3 \
        "$data: 100 tokens (--max-tokens), too few for --context 64 by --protocol longqlora, which needs 129: --context 49 is the longest that fits, or use --protocol sliding, which needs the tokens of one window only" \
        -c 64 --max-tokens 100
    # The context that the message calls possible works. With sanitizers, windows of thousands of
    # tokens take seconds.
    protocols=(4499 "8743 --protocol longlora" "9000 --protocol sliding" \
        "9000 --protocol huggingface")
    for fits in "${protocols[@]:0:$(less 4 1)}" "49 --max-tokens 100"; do
        ppl --quiet -m "$golden/bnb/model" -d "$data" --from u16 -c $fits --to json > /dev/null
    done
    # Options that a protocol does not use, or that would leave gaps, are refused.
    refused 2 "--stride: --protocol llamacpp has none, because its windows lie side by side (see ppl --help)" \
        -c 16 --protocol llamacpp --stride 4
    refused 2 \
        "--context 2: --protocol llamacpp needs windows of at least 3 tokens (see ppl --help)" \
        -c 2 --protocol llamacpp
    refused 2 "--short-context belongs to --protocol longppl, not to sliding (see ppl --help)" -c 16 \
        --protocol sliding --short-context 4
    refused 2 "--stride 17 leaves gaps between windows of --context 16: choose a smaller one (see ppl --help)" -c 16 \
        --protocol huggingface --stride 17
    refused 2 "--source: raw token ids are one document without a source (see ppl --help)" \
        -c 16 --source a
    # Data without anything to measure are refused.
    : > empty.bin
    run --separate-stderr -3 ppl -m damaged -d empty.bin --from u16
    [ "$stderr" = "ppl: empty.bin: no tokens in it" ]
    make_base
    run --separate-stderr -3 ppl -m damaged -d docs.tok --source evn
    [ "$stderr" = "ppl: docs.tok: no document of --source 'evn': there are 'even', 'odd'" ]
    run --separate-stderr -1 ppl -m nowhere -d docs.tok
    [ "$stderr" = "ppl: nowhere: No such file or directory" ]
}

@test "ppl: with --max-tokens it reads no more than that, from an endless pipe, a huge file or a cut stream" {
    make_base
    tokenize --quiet --raw u32 -m tok docs.jsonl -o docs.u32
    tokenize --quiet --from stream --to jsonl docs.tok -o tok.jsonl
    measure() { timeout 30 ppl --quiet -m base -c 16 --max-tokens 300 --to json "$@"; }
    measure -d docs.tok > wanted
    grep -q '"tokens": 300' wanted
    # The digest of a regular file is still that of the whole stream.
    ppl --quiet -m base -c 16 -d docs.tok --to json > whole
    [ "$(grep '"data"' wanted)" = "$(grep '"data"' whole)" ]
    as_wanted() { diff <(grep -E '"(nll|tokens)"' wanted) <(grep -E '"(nll|tokens)"' got); }
    # The pipes have a writer that never stops.
    for form in stream:docs.tok jsonl:tok.jsonl u32:docs.u32; do
        for name in pipe -; do
            rm -f pipe
            mkfifo pipe
            exec 7<> pipe
            cat "${form#*:}" >&7 3>&- &
            measure -d $name --from "${form%%:*}" < pipe > got
            exec 7>&-
            as_wanted
        done
    done
    cp docs.u32 huge
    truncate -s 1T huge
    measure -d huge --from u32 > got
    as_wanted
    head -c -100 docs.tok > cut
    measure -d cut > got
    as_wanted
    run --separate-stderr -3 ppl --quiet -m base -c 16 -d cut
    # A partial token at the end of a file is reported, although it is not read.
    printf x >> docs.u32
    run --separate-stderr -3 measure -d docs.u32 --from u32
    [[ "$stderr" == *"bytes are no whole number of tokens of 4 bytes"* ]]
    # A number that concerns all data needs all data.
    ppl --quiet -m base -c 16 --max-tokens 300 --bytes 1000 --to json -d docs.tok > said
    [ "$(grep '"tokens"' said)" = "$(grep '"tokens"' whole)" ]
}

@test "ppl: samples are scored as by train's evaluation, by length and by source" {
    make_base
    # Every second sample is shortened, and has a target only in the middle.
    pack --quiet --from samples --to jsonl few.smp | perl -MJSON::PP -ne 'my $s = decode_json($_);
        if ($s->{tokens} && $. % 2) { splice @{ $s->{tokens} }, 9;
            @$s{qw(documents targets)} = ([ 9 ], [ [ 4, 7 ] ]) }
        print encode_json($s), "\n"' > mixed.jsonl
    pack --quiet --from samples-jsonl mixed.jsonl -o mixed.smp
    lora out --quiet attention=full eval_file=mixed.smp max_steps=1 rope=linear
    ppl --quiet -m base.nf4 --rope linear:2 -d mixed.smp --from samples --to json > all.json
    ppl --quiet -m base.nf4 --rope linear:2 -d mixed.jsonl --from samples-jsonl -c 16,9 --to json \
        > rows.json
    perl -MJSON::PP -e 'sub of { open my $in, "<", $_[0] or die; local $/; decode_json(<$in>) }
        open my $in, "<", "out/trainer_log.jsonl"; my $e = decode_json(scalar <$in>);
        my ($all, $rows) = (of("all.json"), of("rows.json")->{scores});
        die if $all->{protocol} ne "samples" || $all->{definition} !~ /^samples: /;
        my $a = $all->{scores}[0];
        die "$e->{eval_loss} $a->{nll}" if abs($e->{eval_loss} - $a->{nll}) > 1e-7;
        die if $e->{eval_targets} != $a->{scored} || $a->{context} != 16;
        open my $lines, "<", "mixed.jsonl"; my @count = (0, 0);
        while (<$lines>) { my $s = decode_json($_); $count[@{ $s->{tokens} } < 16]++ if $s->{tokens} }
        die "@count" if $rows->[0]{windows} != $count[0] || $rows->[1]{windows} != $count[1] || !$count[1];
        my ($n, $sum) = (0, 0); for (@$rows) { $n += $_->{scored}; $sum += $_->{scored} * $_->{nll} }
        die if $n != $a->{scored} || abs($sum / $n - $a->{nll}) > 1e-9'
    head -n 1 docs.jsonl | tokenize --quiet -m base - | \
        pack --quiet --context 16 --strategy split -o even.smp
    one() { sed 1d "$1" | awk '{ print $4 }'; }
    ppl --quiet -m base -d even.smp --from samples > one
    ppl --quiet -m base -d <(cat even.smp few.smp) --from samples --source even > both
    ppl --quiet -m base -d <(cat even.smp even.smp) --from samples > twice
    [ "$(one one)" = "$(one twice)" ]
    run --separate-stderr -3 ppl -m base -d few.smp --from samples -c 15
    [[ "$stderr" == "ppl: few.smp: sample 1 has 16 tokens, more than --context 15" ]]
    run --separate-stderr -3 ppl -m base -d few.smp --from samples -c 16,4096
    [[ "$stderr" == *"--context 4096: no sample is longer than the next smaller context"* ]]
    run --separate-stderr -3 ppl -m base -d few.smp --from samples --source none
    [[ "$stderr" == "ppl: few.smp: no sample of --source 'none': there are 'even', 'odd'" ]]
    run --separate-stderr -3 ppl -m base -d docs.tok --from samples
    [[ "$stderr" == *"docs.tok: a stream of tokens, not a stream of samples, which pack makes" ]]
    for option in --protocol=longqlora --stride=4 --bytes=9 --max-tokens=9 --per-document; do
        run --separate-stderr -2 ppl -m base -d few.smp --from samples $option
        [[ "$stderr" == \
            "ppl: ${option%=*} applies to a text, not to samples "* ]]
    done
}

@test "ppl: several --rope give one table, whose numbers equal those of single runs; the data are read once" {
    make_base
    ropes="none linear:2 ntk:2 yarn:2 llama3:2"
    compare=(ppl -m base -c 16,32)
    cat docs.tok | "${compare[@]}" --quiet --rope "${ropes// /,}" > table
    [ "$(head -n 1 table | xargs)" = 'rope context windows scored loss perplexity stderr bits/byte' ]
    for rope in $ropes; do
        diff <(awk -v r="$rope" '$1 == r' table | sed 's/^[^ ]* *//') \
            <("${compare[@]}" --quiet -d docs.tok --rope $rope | sed '1d;s/^ *//')
        "${compare[@]}" --quiet -d docs.tok --rope $rope --to json > "$rope.json"
    done
    "${compare[@]}" --quiet -d docs.tok --rope "${ropes// /,}" --to json > all.json
    perl -MJSON::PP -e 'sub of { open my $in, "<", $_[0] or die; local $/; JSON::PP->new->canonical->decode(<$in>) }
        my $json = JSON::PP->new->canonical; my $all = of("all.json");
        die unless @$all == @ARGV;
        for (0 .. $#ARGV) { die $ARGV[$_] if $json->encode($all->[$_]) ne $json->encode(of("$ARGV[$_].json")) }' $ropes
    "${compare[@]}" --quiet -d docs.tok --rope linear:2,yarn:2 --to positions > positions
    [ "$(awk '$1 == "yarn:2"' positions | wc -l)" = 9 ]
    run --separate-stderr -2 ppl -m base -d docs.tok --rope linear:2,linear:2
    [[ "$stderr" == "ppl: --rope: linear:2 occurs twice"* ]]
    run --separate-stderr -2 ppl -m base -d docs.tok --rope linear:2,yarn:2,linear:2.0
    [[ "$stderr" == "ppl: --rope: linear:2 occurs twice, also as linear:2.0"* ]]
    run --separate-stderr -2 ppl -m base -d docs.tok --rope linear:2,yarn:2 -o x.scores
    [[ "$stderr" == "ppl: --to scores holds one --rope: use --to json"* ]]
    run --separate-stderr -2 ppl -m - -d docs.tok --rope linear:2,yarn:2 < base.nf4
    [[ "$stderr" == "ppl: --rope: to measure several kinds, name a file instead of standard input"* ]]
    run --separate-stderr -2 ppl -m base -d docs.tok --rope linear:2,linaer:2
    [[ "$stderr" == *"--rope: "*"linaer"* ]]
    [ ! -e x.scores ]
}
