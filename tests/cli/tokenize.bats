load helper

@test "tokenize: ids are SentencePiece's, on text of every kind" {
    make_tokenizer
    perl -CS -e 'srand 5; my @parts = ("abc", " ", "  ", "\n", "\t", "é", "日本", "😀", "x", "1234", "\x{2581}", "the ", "(", "\x{0}", "\x{300}");
        for (1..400) { my $t = join "", map { rand() < 0.2 ? chr(32 + rand 900) : $parts[rand @parts] } 1 .. rand 40; print $t, "\x{1}" }' > texts
    perl -e 'local $/ = "\x01"; while (<STDIN>) { chomp; print length($_), "\n", $_ }' < texts \
        | "$BUILD/tests/spm_oracle" "$BATS_FILE_TMPDIR/tok/tokenizer.model" | sed 's/ $//' > expected
    perl -MJSON::PP -e 'local $/ = "\x01"; my $j = JSON::PP->new->utf8(0)->ascii; binmode STDIN, ":utf8";
        while (<STDIN>) { chomp; print $j->encode({ text => $_ }), "\n" }' < texts > texts.jsonl
    tokenize --quiet --no-bos -m "$BATS_FILE_TMPDIR/tok/tokenizer.model" texts.jsonl -o t.tok
    perl -MForeignStream -e 'my @o = ForeignStream::read_all("t.tok"); print join(" ", unpack "v*", $_->{tokens}), "\n" for @o[1 .. $#o - 1]' > got
    [ "$(wc -l < got)" -eq 400 ]
    cmp got expected
}

@test "tokenize: LLaMA's own model gives its published vectors" {
    vectors=$root/../shared/data/llama-tokenizer-vectors
    [ -f "$vectors.inp" ] || skip "no LLaMA vectors here"
    perl -MJSON::PP -e 'local $/; my $j = JSON::PP->new->ascii; binmode STDIN, ":utf8"; my @t = split /\n__ggml_vocab_test__\n/, <STDIN>, -1;
        pop @t; print $j->encode({ text => $_ }), "\n" for @t' < "$vectors.inp" > v.jsonl
    tokenize --quiet --no-bos -m "$root/../shared/data/llama-tokenizer.model" v.jsonl -o v.tok
    perl -MForeignStream -e 'my @o = ForeignStream::read_all("v.tok"); print join(" ", unpack "v*", $_->{tokens}), "\n" for @o[1 .. $#o - 1]' > got
    head -n "$(wc -l < got)" "$vectors.out" | sed 's/^ //' > expected
    diff got expected
}

@test "tokenize: decoding gives the text back" {
    make_tokenizer
    printf '{"text":"a  b\\n\\u00e9 \\ud83d\\ude00","source":"s"}\n{"text":"","source":"s"}\n{"text":" x ","source":"s"}\n' > in.jsonl
    tokenize --quiet -m "$BATS_FILE_TMPDIR/tok/tokenizer.model" in.jsonl | tokenize -m "$BATS_FILE_TMPDIR/tok/tokenizer.model" --decode > back
    perl -MJSON::PP -e 'print decode_json($_)->{text}, "|" while <STDIN>' < in.jsonl > a
    perl -MJSON::PP -e 'print decode_json($_)->{text}, "|" while <STDIN>' < back > b
    cmp a b
    printf 'plain  text\n' > p.txt
    tokenize --quiet --format text -m "$BATS_FILE_TMPDIR/tok/tokenizer.model" p.txt | tokenize -m "$BATS_FILE_TMPDIR/tok/tokenizer.model" --decode --format text | cmp - p.txt
}

@test "tokenize: the same stream for any number of threads, from files, pipes and zstd" {
    make_tokenizer
    make_documents
    m=$BATS_FILE_TMPDIR/tok/tokenizer.model
    tokenize --quiet -m "$m" docs.jsonl --threads 1 -o one
    tokenize --quiet -m "$m" docs.jsonl --threads 3 -o three
    cmp one three
    zstd -q docs.jsonl
    tokenize --quiet -m "$m" docs.jsonl.zst -o zst
    zstd -dcq one | sed 's/docs.jsonl//g' > a
    zstd -dcq zst | sed 's/docs.jsonl.zst//g' > b
    [ "$(perl -MForeignStream -e 'my @o = ForeignStream::read_all(shift); print map { $_->{tokens} } @o[1..$#o-1]' one | md5sum)" = \
      "$(perl -MForeignStream -e 'my @o = ForeignStream::read_all(shift); print map { $_->{tokens} } @o[1..$#o-1]' zst | md5sum)" ]
}

@test "tokenize: BOS, EOS, sources and bare numbers" {
    make_tokenizer
    m=$BATS_FILE_TMPDIR/tok/tokenizer.model
    echo '{"text":"a","meta":{"set":"books"}}' > one.jsonl
    tokenize --quiet --eos --source-key meta.set -m "$m" one.jsonl -o t
    run perl -MForeignStream -e 'my @o = ForeignStream::read_all("t"); my @i = unpack "v*", $o[1]{tokens}; print "$i[0] $i[-1] $o[1]{source} $o[1]{id}"' t
    [ "$output" = "1 2 books one.jsonl:1" ]
    tokenize --quiet --source constant -m "$m" one.jsonl | perl -MForeignStream -e 'my @o = ForeignStream::read_all("/dev/stdin"); print $o[1]{source}' > s
    [ "$(cat s)" = constant ]
    tokenize --quiet --raw u16 -m "$m" one.jsonl -o raw
    [ "$(od -An -tu2 raw | awk '{print $1}')" = 1 ]
}

@test "tokenize: a bad line stops with file, line and byte; or is left out; or is mended" {
    make_tokenizer
    m=$BATS_FILE_TMPDIR/tok/tokenizer.model
    printf '{"text":"good"}\n{"text":"ba\xffd"}\n{"text":"cut' > bad.jsonl
    run --separate-stderr -3 tokenize -m "$m" bad.jsonl -o out
    [ "$stderr" = "tokenize: bad.jsonl:2: byte 12: invalid UTF-8" ]
    [ ! -e out ]
    run --separate-stderr -0 tokenize -m "$m" --on-error skip bad.jsonl -o out
    [[ "$stderr" == *"1 documents, 2 skipped"* ]]
    run --separate-stderr -0 tokenize -m "$m" --on-error replace bad.jsonl -o out
    [[ "$stderr" == *"2 documents, 1 skipped"* ]]
    echo '["array"]' > array.jsonl
    run --separate-stderr -3 tokenize -m "$m" array.jsonl -o out2
    [ "$stderr" = "tokenize: array.jsonl:1: byte 1: not a JSON object" ]
    zstd -q docs.jsonl 2>/dev/null || { make_documents; zstd -q docs.jsonl; }
    head -c 200 docs.jsonl.zst > cut.zst
    run --separate-stderr -3 tokenize -m "$m" cut.zst -o out3
    [[ "$stderr" == "tokenize: cut.zst: zstd frame is truncated"* ]]
}

@test "tokenize: models that would be encoded differently are refused by name" {
    make_tokenizer
    echo "hello" > x.txt
    run --separate-stderr -3 tokenize -m x.txt x.txt
    [[ "$stderr" == "tokenize: x.txt: "*"not a SentencePiece model" ]]
    for args in "--model_type=unigram|a unigram model" "--normalization_rule_name=nmt_nfkc|normalisation by a table" \
        "--remove_extra_whitespaces=true|remove_extra_whitespaces" "--user_defined_symbols=foo|user-defined"; do
        spm_train --input="$BATS_FILE_TMPDIR/text" --model_prefix=other --model_type=bpe --vocab_size=300 \
            --normalization_rule_name=identity --remove_extra_whitespaces=false --byte_fallback=true ${args%|*} \
            --hard_vocab_limit=false --minloglevel=2 > /dev/null 2>&1
        run --separate-stderr -3 tokenize -m other.model x.txt
        [[ "$stderr" == *"${args#*|}"* ]]
    done
}

@test "tokenize: usage errors" {
    run --separate-stderr -2 tokenize
    [ "$stderr" = "tokenize: --model is needed (see tokenize --help)" ]
    run --separate-stderr -2 tokenize --modle x
    [ "$stderr" = "tokenize: unknown option --modle: did you mean --model? (see tokenize --help)" ]
    run --separate-stderr -2 tokenize --threads 2x
    run --separate-stderr -2 tokenize --format xml
    run --separate-stderr -1 tokenize -m /nonexistent
    [ "$stderr" = "tokenize: /nonexistent: No such file or directory" ]
    run -0 tokenize --help
    [ "${lines[2]}" = "  tokenize --model tokenizer.model arxiv.jsonl book.jsonl.zst -o train.tok" ]
    run -0 tokenize --version
}
