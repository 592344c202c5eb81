load helper

@test "tokenize: ids equal SentencePiece's on text of every kind" {
    make_tokenizer
    perl -CS \
        -e 'srand 5; my @parts = ("abc", " ", "  ", "\n", "\t", "é", "日本", "😀", "x", "1234", "\x{2581}", "the ", "(", "\x{0}", "\x{300}");
        for (1..400) { my $t = join "", map { rand() < 0.2 ? chr(32 + rand 900) : $parts[rand @parts] } 1 .. rand 40; print $t, "\x{1}" }' \
            > texts
    perl -e 'local $/ = "\x01"; while (<STDIN>) { chomp; print length($_), "\n", $_ }' < texts \
        | "$BUILD/tests/spm_oracle" "$made/tok/tokenizer.model" | sed 's/ $//' > expected
    perl -MJSON::PP \
        -e 'local $/ = "\x01"; my $j = JSON::PP->new->utf8(0)->ascii; binmode STDIN, ":utf8";
        while (<STDIN>) { chomp; print $j->encode({ text => $_ }), "\n" }' < texts > texts.jsonl
    tokenize --quiet --no-bos -m "$made/tok/tokenizer.model" texts.jsonl -o t.tok
    perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("t.tok"); print join(" ", unpack "v*", $_->{tokens}), "\n" for @o[1 .. $#o - 1]' \
        > got
    [ "$(wc -l < got)" -eq 400 ]
    cmp got expected
}

@test "tokenize: LLaMA's own tokenizer gives the published ids" {
    vectors=$root/../shared/data/llama-tokenizer-vectors
    [ -f "$vectors.inp" ] || skip "no LLaMA vectors here"
    perl -MJSON::PP \
        -e 'local $/; my $j = JSON::PP->new->ascii; binmode STDIN, ":utf8"; my @t = split /\n__ggml_vocab_test__\n/, <STDIN>, -1;
        pop @t; print $j->encode({ text => $_ }), "\n" for @t' < "$vectors.inp" > v.jsonl
    tokenize --quiet --no-bos -m "$root/../shared/data/llama-tokenizer.model" v.jsonl -o v.tok
    perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("v.tok"); print join(" ", unpack "v*", $_->{tokens}), "\n" for @o[1 .. $#o - 1]' \
        > got
    head -n "$(wc -l < got)" "$vectors.out" | sed 's/^ //' > expected
    diff got expected
}

@test "tokenize: decoding gives the text back" {
    make_tokenizer
    printf \
        '{"text":"a  b\\n\\u00e9 \\ud83d\\ude00","source":"s"}\n{"text":"","source":"s"}\n{"text":" x ","source":"s"}\n' \
        > in.jsonl
    tokenize --quiet -m "$made/tok/tokenizer.model" in.jsonl | \
        tokenize -m "$made/tok/tokenizer.model" --decode > back
    perl -MJSON::PP -e 'print decode_json($_)->{text}, "|" while <STDIN>' < in.jsonl > a
    perl -MJSON::PP -e 'print decode_json($_)->{text}, "|" while <STDIN>' < back > b
    cmp a b
    printf 'plain  text\n' > p.txt
    tokenize --quiet --format text -m "$made/tok/tokenizer.model" p.txt | \
        tokenize -m "$made/tok/tokenizer.model" --decode --format text | cmp - p.txt
}

@test "tokenize: the stream is the same for any number of threads, from files, pipes and zstd" {
    make_tokenizer
    make_documents
    m=$made/tok/tokenizer.model
    tokenize --quiet -m "$m" docs.jsonl --threads 1 -o one
    tokenize --quiet -m "$m" docs.jsonl --threads 3 -o three
    cmp one three
    zstd -q docs.jsonl
    tokenize --quiet -m "$m" docs.jsonl.zst -o zst
    # As pzstd writes it, with frames to skip before and between the zstd frames.
    { printf '\x5a\x2a\x4d\x18\x04\0\0\0size'; head -n 3 docs.jsonl | zstd -q
      printf '\x50\x2a\x4d\x18\x04\0\0\0size'; tail -n +4 docs.jsonl | zstd -q; } > skipped
    tokenize --quiet -m "$m" - < skipped > from_skipped
    tokenize --quiet -m "$m" - < docs.jsonl > from_plain
    cmp from_skipped from_plain
    zstd -dcq one | sed 's/docs.jsonl//g' > a
    zstd -dcq zst | sed 's/docs.jsonl.zst//g' > b
    [ \
        "$(perl -MForeignStream -e 'my @o = ForeignStream::read_all(shift); print map { $_->{tokens} } @o[1..$#o-1]' one | md5sum)" = \
      "$(perl -MForeignStream -e 'my @o = ForeignStream::read_all(shift); print map { $_->{tokens} } @o[1..$#o-1]' zst | md5sum)" ]
}

@test "tokenize: the options for BOS, EOS, sources and raw token ids work" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    echo '{"text":"a","meta":{"set":"books"}}' > one.jsonl
    tokenize --quiet --eos --source-key meta.set -m "$m" one.jsonl -o t
    run perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("t"); my @i = unpack "v*", $o[1]{tokens}; print "$i[0] $i[-1] $o[1]{source} $o[1]{id}"' t
    [ "$output" = "1 2 books one.jsonl:1" ]
    tokenize --quiet --source constant -m "$m" one.jsonl | \
        perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("/dev/stdin"); print $o[1]{source}' > s
    [ "$(cat s)" = constant ]
    tokenize --quiet --raw u16 -m "$m" one.jsonl -o raw
    [ "$(od -An -tu2 raw | awk '{print $1}')" = 1 ]
}

@test "tokenize: a source is a text or a whole number, and documents without one are counted" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    sources() { tokenize -m "$m" --to jsonl "$@" 2> said | grep -o '"source":"[^"]*"' | tr '\n' ' '; }
    printf '%s\n' '{"text":"a","source":7}' '{"text":"a","source":[1]}' '{"text":"a"}' > f.jsonl
    [ "$(sources f.jsonl)" = '"source":"7" "source":"f.jsonl" "source":"f.jsonl" ' ]
    grep -qx "tokenize: 1 of 3 documents have no text or whole number of 64 bits under 'source', so the file's name is their subset" \
        said
    [ "$(sources --source-key m.s f.jsonl)" = \
        '"source":"f.jsonl" "source":"f.jsonl" "source":"f.jsonl" ' ]
    grep -q "^tokenize: 3 of 3 documents have no text or whole number of 64 bits under 'm.s'" said
    printf '%s\n' '{"input":"u","output":"a","m.s":7}' '{"input":"u","output":"a","m":{"s":"x"}}' \
        '{"input":"u","output":"a","m":{"s":false}}' > chat.jsonl
    [ "$(sources --format chat --source-key m.s chat.jsonl)" = \
        '"source":"7" "source":"x" "source":"chat.jsonl" ' ]
    grep -q "^tokenize: 1 of 3 documents have no" said
    [ "$(grep -c "unused keys" said)" = 0 ]
    # A whole number keeps all its digits, with the largest and the smallest of 64 bits.
    whole=(9007199254740993 1234567890123456789 -9223372036854775808 18446744073709551615 -0 5.0 \
        12e2)
    want=(9007199254740993 1234567890123456789 -9223372036854775808 18446744073709551615 0 5 1200)
    for i in "${!whole[@]}"; do
        [ "$(sources <<< "{\"text\":\"a\",\"source\":${whole[i]}}")" = "\"source\":\"${want[i]}\" " ]
        [ "$(sources --format chat <<< "{\"input\":\"u\",\"output\":\"a\",\"source\":${whole[i]}}")" = \
            "\"source\":\"${want[i]}\" " ]
        [ "$(grep -c "have no text" said)" = 0 ]
    done
    for none in 18446744073709551616 -9223372036854775809 9007199254740992.5; do
        [ "$(sources <<< "{\"text\":\"a\",\"source\":$none}")" = '"source":"standard input" ' ]
        grep -q "^tokenize: 1 of 1 documents have no text or whole number of 64 bits" said
        [ "$(sources --format chat <<< "{\"input\":\"u\",\"output\":\"a\",\"source\":$none}")" = \
            '"source":"standard input" ' ]
        grep -q "^tokenize: 1 of 1 documents have no text or whole number of 64 bits" said
    done
    # Long names are refused, because two of them could become equal.
    long=$(printf 'x%.0s' {1..256})
    [ "$(sources <<< "{\"text\":\"a\",\"source\":\"${long:1}\"}")" = "\"source\":\"${long:1}\" " ]
    run --separate-stderr -3 tokenize -m "$m" -o none <<< "{\"text\":\"a\",\"source\":\"$long\"}"
    [ "$stderr" = "tokenize: standard input:1: byte 22: 'source' names a subset with 256 bytes, but at most 255 are possible" ]
    run --separate-stderr -3 tokenize -m "$m" --format chat -o none <<< \
        "{\"input\":\"u\",\"output\":\"a\",\"source\":\"$long\"}"
    [ "$stderr" = "tokenize: standard input:1: 'source' names a subset with 256 bytes, but at most 255 are possible" ]
    run --separate-stderr -2 tokenize -m "$m" --source "$long" f.jsonl -o none
    [[ "$stderr" == "tokenize: --source: the name has 256 bytes, but at most 255 are possible"* ]]
    # A key may contain the dot of a path.
    for line in '{"m":{"t":5}}' '{"m.t":5}'; do
        run --separate-stderr -3 tokenize -m "$m" --text-key m.t -o none <<< "$line"
        [[ "$stderr" == *": no string 'm.t': its value is no string" ]]
    done
    tokenize --quiet -m "$m" --text-key m.t --to jsonl <<< '{"m.t":"a"}' | grep -q '"tokens":'
}

@test "tokenize: if a key occurs twice, its last value counts, as in Python, at every level of a path" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    tokenize --quiet -m "$m" --text-key meta.body --source-key meta.set --to jsonl > got <<< \
        '{"meta":{"body":"a","set":"x"},"meta":{"body":"bc","set":"y","set":"z"}}'
    tokenize --quiet -m "$m" --source z --to jsonl <<< '{"text":"bc"}' > want
    [ "$(sed -n 2p got)" = "$(sed -n 2p want)" ]
    for second in '{"x":1}' 3 '{"body":["b"]}' null; do
        run --separate-stderr -3 tokenize -m "$m" --text-key meta.body -o none <<< \
            "{\"meta\":{\"body\":\"a\"},\"meta\":$second}"
        [[ "$stderr" == *": no string 'meta.body': a key occurs twice, and its last value counts" ]]
        tokenize -m "$m" --source-key meta.body --to jsonl 2> said <<< \
            "{\"text\":\"a\",\"meta\":{\"body\":\"a\"},\"meta\":$second}" \
            | grep -q '"source":"standard input"'
        grep -q "1 of 1 documents have no text" said
    done
    run --separate-stderr -3 tokenize -m "$m" -o none <<< '{"text":"a","text":3}'
    [[ "$stderr" == *": no string 'text': a key occurs twice, and its last value counts" ]]
    # A conversation with such a key is refused.
    run --separate-stderr -3 tokenize -m "$m" --format chat -o none <<< \
        '{"input":"a","output":"b","output":"c"}'
    [[ "$stderr" == *"duplicate object key"* ]]
    run --separate-stderr -2 tokenize -m "$m" --text-key "$(printf 'a.%.0s' {1..64})b" -o none
    [[ "$stderr" == "tokenize: --text-key: the path has 64 dots, but at most 63 are possible"* ]]
}

@test "tokenize: a bad line ends the work with file, line and byte, or is skipped, or is repaired" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    printf '{"text":"good"}\n{"text":"ba\xffd"}\n{"text":"cut' > bad.jsonl
    run --separate-stderr -3 tokenize -m "$m" bad.jsonl -o out
    [ "$stderr" = \
        "tokenize: bad.jsonl:2: byte 12: invalid UTF-8 (another encoding? iconv -f WINDOWS-1252 -t UTF-8; --on-error replace mends it)" ]
    [ ! -e out ]
    run --separate-stderr -0 tokenize -m "$m" --on-error skip bad.jsonl -o out
    [[ "$stderr" == *"1 documents, 2 skipped"* ]]
    run --separate-stderr -0 tokenize -m "$m" --on-error replace bad.jsonl -o out
    [[ "$stderr" == *"2 documents, 1 skipped"* ]]
    [[ "$stderr" == *"tokenize: repaired: 1 documents in which invalid characters became U+FFFD"* ]]
    # As in Python, one U+FFFD stands for a truncated character, and for each byte that cannot begin
    # one.
    printf '\xe2\x82 \xe2\x82\xe2\x82\xac \xf0\x9f\x98 \xed\xa0\x80 \xe0\x80 \xf4\x90 \xf1 \xc0\x80' > odd.txt
    perl -e 'my $r = "\xef\xbf\xbd"; print "$r $r\xe2\x82\xac $r $r$r$r $r$r $r$r $r $r$r"' > want
    { printf '{"text":"'; cat odd.txt; printf '"}'; } > odd.jsonl
    for format in text jsonl; do
        file=odd.txt
        [ $format = text ] || file=odd.jsonl
        tokenize -m "$m" --format $format --on-error replace $file 2> said | \
            tokenize -m "$m" --decode --format text | cmp - want
        grep -q '^tokenize: repaired: 1 documents in which' said
    done
    echo '["array"]' > array.jsonl
    run --separate-stderr -3 tokenize -m "$m" array.jsonl -o out2
    [ "$stderr" = "tokenize: array.jsonl: element 1: byte 1: not a JSON object" ]
    zstd -q docs.jsonl 2>/dev/null || { make_documents; zstd -q docs.jsonl; }
    head -c 200 docs.jsonl.zst > cut.zst
    run --separate-stderr -3 tokenize -m "$m" cut.zst -o out3
    [[ "$stderr" == "tokenize: cut.zst: zstd frame is truncated"* ]]
}

@test "tokenize: a tokenizer whose ids would differ from its own library's is refused by name" {
    make_tokenizer
    echo "hello" > x.txt
    run --separate-stderr -3 tokenize -m x.txt x.txt
    [[ "$stderr" == \
        "tokenize: x.txt: "*"neither a SentencePiece model (tokenizer.model) nor a tokenizer.json" ]]
    spm_way="is not supported: use the model's tokenizer.json, or train a tokenizer with spm_train"
    bpe_way="but only BPE is supported, as LLaMA's models have it: choose another model, or train a tokenizer with spm_train --model_type=bpe"
    for args in "--model_type=unigram|a unigram model, $bpe_way" \
        "--model_type=char|a char model, $bpe_way" \
        "--treat_whitespace_as_suffix=true|treat_whitespace_as_suffix $spm_way --treat_whitespace_as_suffix=false" \
        "--normalization_rule_name=nmt_nfkc|normalisation by a table" \
        "--remove_extra_whitespaces=true|remove_extra_whitespaces $spm_way --remove_extra_whitespaces=false" \
        "--user_defined_symbols=foo|user-defined"; do
        spm_train --input="$made/text" --model_prefix=other --model_type=bpe --vocab_size=300 \
            --normalization_rule_name=identity --remove_extra_whitespaces=false \
            --byte_fallback=true ${args%|*} \
            --hard_vocab_limit=false --minloglevel=2 > /dev/null 2>&1
        run --separate-stderr -3 tokenize -m other.model x.txt
        [[ "$stderr" == *"${args#*|}"* ]]
    done
}

@test "tokenize: usage errors have status 2" {
    run --separate-stderr -2 tokenize
    [ "$stderr" = \
        "tokenize: --model is needed: the model's tokenizer.model, tokenizer.json, or directory (see tokenize --help)" ]
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

@test "tokenize: conversations in the original's template; only the answers and their EOS are targets" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    printf '%s\n' '{"input":" Hi there ","output":"Hello.\n"}' \
        '{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"a?"},{"role":"assistant","content":"b"},{"role":"user","content":"c?"},{"role":"assistant","content":"d"}],"source":"s"}' \
        > c.jsonl
    tokenize --quiet --format chat -m "$m" c.jsonl -o c.tok
    # SentencePiece encodes each prompt and each answer alone. EOS follows each answer.
    printf '%s\001' \
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions."$'\nUSER: Hi there\nASSISTANT: ' \
        "Hello." $'Be brief.\nUSER: a?\nASSISTANT: ' "b" $'USER: c?\nASSISTANT: ' "d" \
        | perl -e 'local $/ = "\x01"; while (<STDIN>) { chomp; print length($_), "\n", $_ }' \
        | "$BUILD/tests/spm_oracle" "$m" > ids
    perl -e 'my @l = map { [split] } <STDIN>; my $n = 0; my (@ids, @t);
        for my $r ([0, 1], [2 .. 5]) { my (@i, @g);
            for my $k (@$r) { my $start = @i; push @i, @{$l[$k]}; if ($k % 2) { push @i, 2; push @g, "$start-" . @i } }
            print "@i | @g\n" }' < ids > expected
    perl -MForeignStream -e 'my @o = ForeignStream::read_all("c.tok");
        for (@o[1 .. $#o - 1]) { my @t = unpack "V*", $_->{targets}; my @g; push @g, shift(@t) . "-" . shift @t while @t;
            print join(" ", unpack "v*", $_->{tokens}), " | @g\n" }' > got
    diff got expected
    echo '{"system": "S. ", "turn": "<{}>", "bos": true}' > own.json
    echo '{"input":"x","output":"y"}' | tokenize --quiet --format chat --template own.json -m "$m" \
        | tokenize --decode --format text -m "$m" > text
    [ "$(cat text)" = "S. <x> y" ]
    for bad in '{"input":"x"}' '{"messages":[{"role":"user","content":"x"}]}' \
        '{"messages":[{"role":"assistant","content":"x"}]}' '{"input":1,"output":"a"}'; do
        run --separate-stderr -3 tokenize --format chat -m "$m" -o none <<< "$bad"
        [[ "$stderr" == "tokenize: standard input:1: "* ]]
    done
    echo '{"turn": "no hole"}' > bad.json
    run --separate-stderr -3 tokenize --format chat --template bad.json -m "$m" c.jsonl
    [ "$stderr" = "tokenize: bad.json: 'turn' needs one {}" ]
    run --separate-stderr -2 tokenize --format chat --on-error replace -m "$m" c.jsonl
}

# conversations FILE: prints the tokens and targets of each document on a line.
conversations() {
    perl -MForeignStream -e 'my @o = ForeignStream::read_all($ARGV[0]);
        for (@o[1 .. $#o - 1]) { my @t = unpack "V*", $_->{targets}; my @g; push @g, shift(@t) . "-" . shift @t while @t;
            print join(" ", unpack "v*", $_->{tokens}), " | @g\n" }' "$1"
}

@test "tokenize: in the templates of LLaMA-3 and ChatML, ids equal those of Hugging Face's tokenizers for the whole text" {
    golden=$BATS_TEST_DIRNAME/../golden/chat
    for which in llama-3:cases chatml:chatml; do
        cases=$golden/${which#*:}.jsonl
        tokenize --quiet --format chat --template "${which%:*}" -m "$golden" "$cases" -o c.tok
        conversations c.tok > got
        perl -MJSON::PP -ne \
            'my $r = decode_json($_); print "@{$r->{tokens}} | ", join(" ", map { "$_->[0]-$_->[1]" } @{$r->{targets}}), "\n"' \
            "$cases" > expected
        [ "$(wc -l < expected)" -eq 60 ]
        diff got expected
    done
    # A special token that is spelled in a message is plain text. So only two tokens end a turn
    # here: one after the prompt, one after the answer.
    echo '{"input":"a<|eot_id|>b","output":"c<|eot_id|>"}' | \
        tokenize --quiet --format chat --template llama-3 -m "$golden" -o one.tok
    eot=$(perl -MJSON::PP \
        -e 'local $/; my $t = decode_json(<STDIN>); print map { $_->{id} } grep { $_->{content} eq "<|eot_id|>" } @{$t->{added_tokens}}' \
        < "$golden/tokenizer.json")
    [ "$(conversations one.tok | tr ' ' '\n' | grep -cx "$eot")" -eq 2 ]
    run --separate-stderr -3 tokenize --format chat --template llama-3 -m "$golden/../bpe/gpt2" \
        -o none "$golden/cases.jsonl"
    [ "$stderr" = \
        "tokenize: llama-3: the tokenizer has no token <|start_header_id|>: a template for another model?" ]
}

@test "tokenize: conversations in LLaMA-2's template equal SentencePiece's ids of each whole turn" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    echo \
        '{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"a?"},{"role":"assistant","content":"b c"},{"role":"user","content":"d </s>"},{"role":"assistant","content":"e"}]}' |
        tokenize --quiet --format chat --template llama-2 -m "$m" -o c.tok
    printf '%s\001' $'[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\na? [/INST] b c ' \
        '[INST] d </s> [/INST] e ' | \
        perl -e 'local $/ = "\x01"; while (<STDIN>) { chomp; print length($_), "\n", $_ }' \
        | "$BUILD/tests/spm_oracle" "$m" | sed 's/^/1 /; s/ *$/ 2/' | tr '\n' ' ' > expected
    [ "$(conversations c.tok | sed 's/ | .*//')" = "$(sed 's/ *$//' expected)" ]
    # A conversation without a system prompt has no marks of one.
    echo '{"input":"a","output":"b"}' | tokenize --quiet --format chat --template llama-2 -m "$m" \
        | tokenize --decode --format text -m "$m" > text
    [ "$(cat text)" = "[INST] a [/INST] b " ]
    for bad in '{"turn":"{system}"}:'"'turn' needs one {}" \
        '{"turn":"{}{system}"}:'"'turn' needs one {}, and at most one {system} before it" \
        '{"turn":"{}","special":["<t>"]}:the tokenizer has no token <t>: a template for another model?' \
        '{"turn":"{}","end":"</s>"}:'"'end' is none of 'special'" \
        '{"turn":"{}","system":1}:'"'system' is not a text" \
        '{"turn":"{}","answer":"a"}:'"'answer' needs one {}" \
        '{"turn":"{}","special":"<s>"}:'"'special' is not a list" \
        '{"turn":"{}","ends":"<s>"}:unknown key '"'ends'"; do
        echo "${bad%\}:*}}" > bad.json
        run --separate-stderr -3 tokenize --format chat --template bad.json -m "$m" -o none <<< \
            '{"input":"a","output":"b"}'
        echo "$stderr"
        [ "$stderr" = "tokenize: bad.json: ${bad#*\}:}" ]
    done
}

@test "tokenize: conversations in Zephyr's template equal SentencePiece's ids of each text between two EOS" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    echo \
        '{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"a?"},{"role":"assistant","content":"b c"},{"role":"user","content":"d </s>"},{"role":"assistant","content":"ef"}]}' |
        tokenize --quiet --format chat --template zephyr -m "$m" -o c.tok
    # The targets of an answer begin after the tokens of $'\n<|assistant|>\n', the last text here.
    printf '%s\001' $'<|system|>\nBe brief.' $'\n<|user|>\na?' $'\n<|assistant|>\nb c' \
        $'\n<|user|>\nd </s>' $'\n<|assistant|>\nef' $'\n' $'\n<|assistant|>\n' |
        perl -e 'local $/ = "\x01"; while (<STDIN>) { chomp; print length($_), "\n", $_ }' | \
            "$BUILD/tests/spm_oracle" "$m" > ids
    perl -e 'my @l = map { [split] } <STDIN>; my $tail = @{pop @l}; my $last = pop @l; my (@i, @g);
        for my $k (0 .. $#l) { my $start = @i + $tail; push @i, @{$l[$k]}, 2; push @g, "$start-" . @i if $k == 2 || $k == 4 }
        print "@i @$last | @g\n"' < ids > expected
    conversations c.tok | diff - expected
    for bad in \
        '{"turn":"{}","strip":["all"]}:'"'strip' is a list of system, prompt, answer and turn" \
        '{"turn":"{}","turns":2}:'"'turns'" \
        '{"turn":"{}","input_turn":"{}"}:'"'input_turn' needs one {input}" \
        '{"turn":"{}","between":1}:'"'between' is not a text" '{"turn":"{}","whole":1}:'; do
        echo "${bad%\}:*}}" > bad.json
        run --separate-stderr -3 tokenize --format chat --template bad.json -m "$m" -o none <<< \
            '{"input":"a","output":"b"}'
        echo "$stderr"
        [[ "$stderr" = "tokenize: bad.json: ${bad#*\}:}"* ]]
    done
}

@test "tokenize: a stream converts to JSON lines and back without loss" {
    make_tokenizer
    make_documents
    m=$made/tok/tokenizer.model
    tokenize --quiet -m "$m" docs.jsonl -o a.tok
    tokenize --quiet -m "$m" docs.jsonl --to jsonl -o a.jsonl
    perl -MJSON::PP -ne 'decode_json($_)' a.jsonl
    tokenize --from jsonl a.jsonl -o b.tok
    for f in a b; do perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all(shift); print "$_->{id} $_->{source} ", unpack("H*", $_->{tokens}), "\n" for @o[1 .. $#o - 1]' \
        $f.tok > $f; done
    cmp a b
    tokenize --from stream --to jsonl a.tok | tail -n +2 | grep -v '"end"' > c
    tail -n +2 a.jsonl | grep -v '"end"' | cmp - c
    # A line of Perl replaces a stage: it keeps the first eight tokens of every document.
    perl -MJSON::PP -ne \
        'my $r = decode_json($_); $r->{tokens} = [@{$r->{tokens}}[0 .. 7]] if $r->{tokens}; delete $r->{digest}; print encode_json($r), "\n"' \
        a.jsonl \
        | pack --from jsonl --context 8 -o short.smp 2> said
    grep -q "80 kept in 10 samples" said
    head -n 4 a.jsonl > cut.jsonl
    run --separate-stderr -3 pack --from jsonl --context 8 cut.jsonl -o none
    [[ "$stderr" == "pack: cut.jsonl: record 4: stream ends without its end record"* ]]
    run --separate-stderr -3 pack --context 8 a.jsonl -o none
    [[ "$stderr" == \
        "pack: a.jsonl: byte 0: JSON lines, not a stream of tokens, which tokenize makes; tokenize --from jsonl makes one of them" ]]
    run --separate-stderr -3 pack --context 8 docs.jsonl -o none
    [[ "$stderr" == \
        "pack: docs.jsonl: byte 0: JSON lines, not a stream of tokens, which tokenize makes" ]]
    sed '2s/"tokens":\[/"tokens":[70000,/' a.jsonl > wide.jsonl
    run --separate-stderr -3 pack --from jsonl --context 8 wide.jsonl -o none
    [[ "$stderr" == \
        "pack: wide.jsonl:2: tokens: a list holds something that is no number below 2^16" ]]
}

@test "tokenize: a document that repeats one character four million times is encoded and decoded" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    # This would take hours if the time grew with the square of the length.
    perl -e 'print "{\"text\":\"", "a" x (4 << 20), "\"}\n"' > long.jsonl
    tokenize --quiet --no-bos -m "$m" long.jsonl | tokenize --decode --format text -m "$m" > back
    [ "$(wc -c < back)" -eq $((4 << 20)) ]
    # The ids of a shorter one equal SentencePiece's.
    perl -e 'print "a" x 20000, "\n"' | tr -d '\n' > text
    (wc -c < text; cat text) | "$BUILD/tests/spm_oracle" "$m" | sed 's/ $//' > expected
    tokenize --quiet --no-bos --format text -m "$m" text | \
        perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("/dev/stdin"); print join(" ", unpack "v*", $o[1]{tokens}), "\n"' \
        > got
    cmp got expected
}

# Compares our ids of random texts with those of the SentencePiece library.
differ() { # MODEL BYTES SEED
    "$root/tests/lib/random_texts.pl" "$2" "$3" > texts
    perl -e 'local $/ = "\x01"; while (<STDIN>) { chomp; print length($_), "\n", $_ }' < texts | \
        "$BUILD/tests/spm_oracle" "$1" | sed 's/ $//' > expected
    perl -MJSON::PP \
        -e 'local $/ = "\x01"; my $j = JSON::PP->new->utf8(0)->ascii; binmode STDIN, ":utf8";
        while (<STDIN>) { chomp; print $j->encode({ text => $_ }), "\n" }' < texts > texts.jsonl
    tokenize --quiet --no-bos -m "$1" texts.jsonl -o t.tok
    perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("t.tok"); print join(" ", unpack($o[0]{dtype} eq "u16" ? "v*" : "V*", $_->{tokens})), "\n" for @o[1 .. $#o - 1]' \
        > got
    cmp got expected || { echo "model $1, seed $3"; return 1; }
}

@test "tokenize: ids equal SentencePiece's on random texts, also for models with other options" {
    make_tokenizer
    "$root/tests/lib/random_texts.pl" 2000000 1 | tr "\001" "\n" | \
        tr -d "\000-\010\013-\037" > corpus
    for options in "" "--add_dummy_prefix=false" "--byte_fallback=false" \
        "--split_digits=false --split_by_whitespace=false" \
        "--split_by_unicode_script=false --allow_whitespace_only_pieces=true" \
        "--max_sentencepiece_length=4"; do
        spm_train --input=corpus --model_prefix=other --model_type=bpe --vocab_size=5000 \
            --byte_fallback=true --input_sentence_size=3000 --character_coverage=0.98 \
            --normalization_rule_name=identity --remove_extra_whitespaces=false \
            --hard_vocab_limit=false --minloglevel=2 $options > /dev/null 2>&1
        differ other.model 300000 7
    done
    if [ -f "$root/../shared/data/llama-tokenizer.model" ]; then
        # 200 kB, or with LONG=1 100 MB.
        for seed in $(seq 1 ${LONG:+50}); do
            differ "$root/../shared/data/llama-tokenizer.model" "2${LONG:+0}00000" "$seed"
        done
    fi
}

@test "tokenize: decoding gives back random texts of every kind" {
    make_tokenizer
    m=$made/tok/tokenizer.model
    "$root/tests/lib/random_texts.pl" 300000 11 | perl -CSD -pe 's/\x{2581}/_/g' > texts
    perl -MJSON::PP \
        -e 'local $/ = "\x01"; my $j = JSON::PP->new->utf8(0)->ascii; binmode STDIN, ":utf8";
        while (<STDIN>) { chomp; print $j->encode({ text => $_ }), "\n" }' < texts > texts.jsonl
    tokenize --quiet -m "$m" texts.jsonl | tokenize --decode -m "$m" > back.jsonl
    perl -MJSON::PP -e 'print map { decode_json($_)->{text}, "\x01" } <STDIN>' < texts.jsonl > a \
        2> /dev/null
    perl -MJSON::PP -e 'print map { decode_json($_)->{text}, "\x01" } <STDIN>' < back.jsonl > b 2> \
        /dev/null
    cmp a b
}

@test "tokenize: a vocabulary of more than 65,536 tokens works" {
    # A model of 70,000 pieces, written by hand: protocol buffers of sentencepiece_model.proto.
    perl \
        -e 'sub varint { my $n = shift; my $s = ""; while ($n > 127) { $s .= chr($n & 127 | 128); $n >>= 7 } $s . chr $n }
        sub part { my ($f, $b) = @_; varint($f << 3 | 2) . varint(length $b) . $b } binmode STDOUT;
        my $i = 0; sub piece { my ($t, $type) = @_; print part(1, part(1, $t) . "\x15" . pack("f<", -$i++) . "\x18" . chr $type) }
        piece("<unk>", 2); piece("<s>", 3); piece("</s>", 3); piece(sprintf("<0x%02X>", $_), 6) for 0 .. 255;
        piece("\xe2\x96\x81", 1); piece("a", 1); piece("\xe2\x96\x81" . "a", 1);
        for my $n (1 .. 69800) { my $c = 0x4e00 + $n % 20000; my $t = chr($c) . chr(0xac00 + int($n / 20000)); utf8::encode($t); piece($t, 1) }
        print part(2, "\x18\x02" . varint(35 << 3) . "\x01"), part(3, "\x18\x01\x20\x00\x28\x01")' \
            > wide.model
    echo '{"text":"a \u4e01\uac00"}' > t.jsonl
    tokenize --quiet -m wide.model t.jsonl --to jsonl > t
    grep -q '"dtype":"u32"' t
    (printf ' \xe4\xb8\x81\xea\xb0\x80' | wc -c; printf 'a \xe4\xb8\x81\xea\xb0\x80') | \
        sed '1s/.*/8/' | "$BUILD/tests/spm_oracle" wide.model | sed 's/ $//; s/ /,/g' > expected
    grep -q "\"tokens\":\[1,$(cat expected)\]" t
    run --separate-stderr -2 tokenize --raw u16 -m wide.model t.jsonl -o none
    [ "$stderr" = \
        "tokenize: --raw u16: the vocabulary of 70062 does not fit: use --raw u32 (see tokenize --help)" ]
    tokenize --quiet --raw u32 -m wide.model t.jsonl -o raw
    [ "$(od -An -tu4 -N4 raw | tr -d ' ')" = 1 ]
}
