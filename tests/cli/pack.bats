load helper

@test "pack: truncate, split and concat account for every token" {
    make_base
    for strategy in truncate split concat; do
        run --separate-stderr -0 pack --context 20 --strategy $strategy docs.tok -o out.$strategy
        [[ "$stderr" =~ \
            ([0-9]+)\ tokens\ in:\ ([0-9]+)\ kept\ in\ ([0-9]+)\ samples,\ ([0-9]+)\ cut,\ ([0-9]+)\ left\ out ]]
        ((BASH_REMATCH[1] == BASH_REMATCH[2] + BASH_REMATCH[4] + BASH_REMATCH[5]))
    done
    run perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("out.concat"); my %l; $l{length($_->{tokens}) / 2}++ for @o[1..$#o-1]; print join ",", keys %l'
    [ "$output" = 20 ]
}

@test "pack: filters, draws and summaries have the documents that the options ask for" {
    make_base
    run --separate-stderr -0 pack --context 64 --min-tokens 100 --max-tokens 4000 --samples 3 \
        --seed 7 docs.tok -o a --summary s.json
    pack --quiet --context 64 --min-tokens 100 --max-tokens 4000 --samples 3 --seed 7 --threads 2 \
        docs.tok -o b
    cmp a b
    run perl -MForeignStream -e 'my @o = ForeignStream::read_all("a"); print scalar(@o) - 2'
    [ "$output" = 3 ]
    run perl -MJSON::PP \
        -e 'local $/; my $s = decode_json(<STDIN>); print "$s->{samples} ", $s->{sources}{odd}{documents}' \
        < s.json
    [ "$output" = "3 5" ]
    pack --quiet --context 64 --quota odd=2 --quota even=1 docs.tok -o q
    run perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("q"); print join " ", sort map { $_->{source} } @o[1..$#o-1]'
    [ "$output" = "even odd odd" ]
    run --separate-stderr -3 pack --min-tokens 100000 docs.tok -o none
    [[ "$stderr" == *"no sample can be made"* ]]
    [ ! -e none ]
}

# lines RECORD...: a stream of tokens as JSON lines
lines() {
    echo '{"longqlora":1,"kind":"tokens","tokenizer":{"digest":"","vocab_size":400,"bos":1,"eos":2},"dtype":"u16","add_bos":true,"add_eos":false,"tool":"x","version":"1","options":{}}'
    printf '{"id":"a","source":"s",%s}\n' "$@"
    echo "{\"end\":true,\"records\":$#}"
}

# makes RECORDS SAMPLES DROPPED OPTIONS...: fails unless pack makes these samples, given as their
# tokens, of the records, and says how many it dropped
makes() {
    local got
    got=$(pack --from jsonl --to jsonl "${@:4}" 2> said <<< "$1" | grep -o '"tokens":[^]]*' | \
        cut -d '[' -f 2 | paste -sd ' ')
    [ "$got" = "$2" ] && grep -q "; $3 samples without a target dropped$" said && return
    printf 'made: %s\nnot:  %s\n' "$got" "$2"
    cat said
    return 1
}

@test "pack: samples without a token to predict are dropped and counted, in every strategy" {
    all=$(lines '"tokens":[1,5,6]' '"tokens":[1]' '"tokens":[1,7,8,9,10]' '"tokens":[]' \
        '"tokens":[1]')
    makes "$all" "1,5,6 1,7,8,9" 2 -c 4
    makes "$all" "1,5,6 1,7,8,9" 2 -c 4 --strategy split
    # Joined documents see each other, so that BOS is predicted too.
    makes "$all" "1,5 6,1 1,7 8,9 10,1" 0 -c 2 --strategy concat
    # In best-fit samples they do not: a rest of one token, or several, teach nothing.
    makes "$all" "1,7,8,9 1,5,6,1" 1 -c 4 --strategy best-fit
    makes "$(lines '"tokens":[1,5,6,7,8]')" "1,5,6,7" 1 -c 4 --strategy best-fit
    # The first token of a document is no target, whatever its ranges say.
    first=$(lines '"tokens":[1,5,6],"targets":[[0,1]]' '"tokens":[1,7,8],"targets":[[0,2]]')
    makes "$first" "1,7,8" 1 -c 4
    makes "$first" "1,7,8" 1 -c 3 --strategy split
    makes "$first" "1,7,8" 1 -c 3 --strategy best-fit
    makes "$first" "1,5,6,1,7,8" 0 -c 6 --strategy best-fit
    makes "$first" "1,5,6,1" 0 -c 4 --strategy concat
    for strategy in truncate split best-fit; do
        run --separate-stderr -3 pack --from jsonl -c 4 --strategy $strategy -o none <<< \
            "$(lines '"tokens":[1]' '"tokens":[1,5],"targets":[]')"
        [[ "$stderr" == *": no sample can be made: "[12]" had nothing to be trained on (answers beyond --context 4, or documents of a single token?)" ]]
    done
    [ ! -e none ]
}

@test "pack: samples of another program are copied without those that have no target" {
    lines '"tokens":[1,5,6]' '"tokens":[1,7]' | \
        pack --quiet --from jsonl --to jsonl -c 4 -o good.jsonl
    { sed -n 1p good.jsonl
      echo '{"tokens":[1],"documents":[1],"source":"s"}'
      sed -n 2p good.jsonl
      echo '{"tokens":[1,5],"documents":[2],"targets":[[0,1]],"source":"s"}'
      sed -n 3p good.jsonl
      echo '{"end":true,"records":4}'; } > bad.jsonl
    run --separate-stderr -0 pack --quiet --from samples-jsonl bad.jsonl -o bad.smp
    [ "$stderr" = "pack: bad.jsonl: 2 of 4 samples have no target token and are left out; the first is sample 1" ]
    pack --quiet --from samples --to jsonl bad.smp | sed '1d;$d' | cmp - <(sed '1d;$d' good.jsonl)
    # JSON lines show what is there.
    pack --quiet --from samples-jsonl --to jsonl bad.jsonl | sed '1d;$d' | \
        cmp - <(sed '1d;$d' bad.jsonl)
    { sed -n '1p;2p;4p' bad.jsonl; echo '{"end":true,"records":2}'; } > none.jsonl
    run --separate-stderr -3 pack --from samples-jsonl none.jsonl -o none.smp
    [ "$stderr" = "pack: none.jsonl: none of its samples has a target token" ]
    [ ! -e none.smp ]
}

@test "pack: a truncated stream is refused with the place, and no output is left" {
    make_base
    head -c 300 docs.tok > cut.tok
    run --separate-stderr -3 pack --context 16 cut.tok -o out
    [[ "$stderr" == "pack: cut.tok: "*"end record (did the writer die?)" ]]
    [ ! -e out ]
    run --separate-stderr -3 bash -o pipefail -c 'head -c 300 docs.tok | pack --context 16 > out2'
    run --separate-stderr -3 pack --context 16 16.smp -o out
    [ "$stderr" = "pack: 16.smp: a stream of samples, not a stream of tokens, which tokenize makes" ]
    run --separate-stderr -2 pack --context 1 docs.tok
    run --separate-stderr -2 pack --quota odd docs.tok
    run --separate-stderr -2 pack docs.tok docs.tok
}

@test "pack: a foreign program writes tokens that pack and train accept, and reads our samples" {
    make_base
    perl -MForeignStream -e '
        my $s = ForeignStream->new(kind => "tokens", tokenizer => { digest => "", vocab_size => 400, bos => 1, eos => 2 },
            dtype => "u16", add_bos => ForeignStream::yes(), add_eos => ForeignStream::no());
        $s->add(id => "perl:$_", source => "foreign", tokens => ForeignStream::u16(1, map { 3 + ($_ * 7) % 397 } 1 .. 50)) for 1 .. 20;
        $s->close' > foreign.tok
    run --separate-stderr -0 bash -o pipefail \
        -c 'pack --context 16 --strategy split < foreign.tok > foreign.smp'
    [[ "$stderr" == *"20 documents, 1020 tokens in: 960 kept in 60 samples"* ]]
    run -0 train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        train_file=foreign.smp output_dir=f max_steps=2
    run perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("foreign.smp"); print "$o[0]{context} $o[1]{source} ", join ",", (unpack "v*", $o[1]{tokens})[0..2]'
    [ "$output" = "16 foreign 1,10,17" ]
}

@test "pack: a full disk is noticed" {
    make_base
    run --separate-stderr -1 bash -c 'pack --quiet --context 16 docs.tok > /dev/full'
    [ "$stderr" = "pack: standard output: cannot write: No space left on device" ]
    # A reader that leaves early ends the program by SIGPIPE, without a message.
    run --separate-stderr -141 bash -c \
        'perl -e "local \$/; my \$d = <STDIN>; print \$d for 1 .. 2000" < docs.tok |
        tokenize --quiet -m tok/tokenizer.model --decode --format text | head -c 1 > /dev/null
        exit ${PIPESTATUS[1]}'
    [ -z "$stderr" ]
}

@test "pack: best-fit splits no document that fits into a sample, and stores where documents end" {
    make_base
    pack --quiet --context 128 --strategy best-fit docs.tok -o bf.smp --summary s.json
    perl -MForeignStream -e '
        my @d = ForeignStream::read_all("docs.tok"); my @s = ForeignStream::read_all("bf.smp"); my (%whole, $tokens, $in);
        for (@s[1 .. $#s - 1]) { my @ids = unpack "v*", $_->{tokens}; $tokens += @ids; die "too long" if @ids > 128;
            for my $n (unpack "V*", $_->{documents}) { $whole{join ",", splice @ids, 0, $n}++ } }
        for (@d[1 .. $#d - 1]) { my @ids = unpack "v*", $_->{tokens}; $in += @ids;
            while (@ids) { my $piece = join ",", splice @ids, 0, 128; $whole{$piece}-- or die "a piece is missing" } }
        die "$tokens of $in" unless $tokens == $in; print "ok"' > said
    [ "$(cat said)" = ok ]
}

@test "pack: a text in a stream that is not UTF-8 is refused by file and record" {
    make_tokenizer
    perl -MForeignStream -e '
        my $s = ForeignStream->new(kind => "tokens", tokenizer => { digest => "", vocab_size => 400, bos => 1, eos => 2 },
            dtype => "u16", add_bos => ForeignStream::no(), add_eos => ForeignStream::no());
        $s->add(id => "a", source => "s", tokens => ForeignStream::u16(1 .. 20));
        $s->add(id => "b", source => "caf??", tokens => ForeignStream::u16(1 .. 20));
        $s->{bytes} =~ s/caf\?/caf\xe9/; $s->close' > bad.tok
    run --separate-stderr -3 pack -c 16 bad.tok -o none
    [ "$stderr" = "pack: bad.tok: record 2: 'source' is not UTF-8: byte 4 of it" ]
    run --separate-stderr -3 tokenize --decode -m "$made/tok" bad.tok -o none
    [ "$stderr" = "tokenize: bad.tok: record 2: 'source' is not UTF-8: byte 4 of it" ]
    # A file of raw ids may have any name.
    perl -e 'print pack "v*", 1 .. 99' > $'caf\xe9.bin'
    pack --quiet --from u16 --tokenizer "$made/tok/tokenizer.model" -c 16 $'caf\xe9.bin' -o raw.smp
    pack --quiet --from samples --to jsonl raw.smp | grep -qF '"source":"caf?.bin"'
}

@test "pack: raw ids of another width are recognised, and files of another kind are refused by name" {
    make_base
    m=$PWD/tok/tokenizer.model
    tokenize --quiet --raw u16 -m tok docs.jsonl -o half.bin
    tokenize --quiet --raw u32 -m tok docs.jsonl -o wide.bin
    perl -e 'local $/; print pack "Q<*", unpack "V*", <>' wide.bin > long.bin
    for form in u16:half u32:wide u64:long; do
        pack --quiet --from "${form%:*}" --tokenizer "$m" -c 16 --strategy split --to jsonl \
            "${form#*:}.bin" | grep -o '"tokens":[^a-z]*' > "${form%:*}.ids"
    done
    [ -s u16.ids ]
    cmp u16.ids u32.ids
    cmp u16.ids u64.ids
    ppl --model base --from u64 --data long.bin --context 16 --max-tokens 512 --quiet
    refuses() { # FORM FILE MESSAGE
        run --separate-stderr -3 pack --from "$1" --tokenizer "$m" --context 16 "$2" -o none
        [ "$stderr" = "pack: $2: $3" ] || { echo "$stderr"; false; }
    }
    refuses u16 wide.bin 'every second id is 0, as if each id had 32 bits: --from u32?'
    refuses u16 long.bin 'three of four ids are 0, as if each id had 64 bits: --from u64?'
    refuses u32 long.bin 'every second id is 0, as if each id had 64 bits: --from u64?'
    perl -e 'print pack "q<*", 1, -100' > minus.bin
    refuses u64 minus.bin 'token 1 is -100, which is no token: --from u32?'
    perl -e 'print pack "q<*", -1, 1' > minus.bin
    refuses u64 minus.bin 'token 0 is -1, which is no token: --from u32?'
    # In a large vocabulary, which ppl must expect, the upper half of an id may be 1.
    perl -e 'print pack "V*", map { 70000 * ($_ % 2) + 100 + $_ } 1 .. 40' > large.bin
    run --separate-stderr -3 ppl --model base --from u16 --data large.bin --context 16
    [ "$stderr" = \
        "ppl: large.bin: every second id is at most 7, as if each id had 32 bits: --from u32?" ]
    # These ids look like text in UTF-16.
    perl -e 'print pack "v*", map { 65 + $_ } 1 .. 40' > letters.bin
    pack --quiet --from u16 --tokenizer "$m" --context 16 letters.bin -o letters.smp
    perl -e 'print "\x93NUMPY\1\0\x76\0{\x27descr\x27: \x27<u2\x27, }", " " x 96, "\n", pack "v*", 1 .. 99' \
        > a.npy
    refuses u16 a.npy "arrays of NumPy, not raw token ids: in Python numpy.load(FILE).astype('uint32').tofile('ids.u32') makes them, of a .npz with [NAME] after (FILE)"
    gzip -nk half.bin
    refuses u16 half.bin.gz 'gzip, not raw token ids: gzip -dc gives its content'
    refuses u32 half.bin.gz 'gzip, not raw token ids: gzip -dc gives its content'
    refuses u16 docs.tok \
        'zstd, not raw token ids: is it a stream of tokens (--from stream)? Otherwise zstd -dc gives its content'
    refuses u16 base/model.safetensors \
        'weights in safetensors, not raw token ids: make them of text'
    perl -e 'print "A few words, and no id. " x 20' > words.txt
    refuses u16 words.txt 'text, not raw token ids: run tokenize on it'
    tokenize --quiet --to jsonl -m tok docs.jsonl -o docs.txt
    refuses u32 docs.txt 'text, not raw token ids: --from jsonl, if it has tokens?'
}

@test "pack: raw token ids are read, and samples are written as JSON lines" {
    make_base
    tokenize --quiet --raw u16 -m tok/tokenizer.model docs.jsonl -o docs.bin
    pack --quiet --from u16 --tokenizer tok/tokenizer.model --context 16 --strategy split docs.bin \
        -o bare.smp
    perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("bare.smp"); print map { $_->{tokens} } @o[1 .. $#o - 1]' \
        | cmp -n 1000 - docs.bin
    run --separate-stderr -2 pack --from u16 docs.bin
    run --separate-stderr -3 pack --from u16 --tokenizer tok/tokenizer.model -o none /dev/null
    [ "$stderr" = "pack: /dev/null: no sample can be made: the documents drawn have no tokens" ]
    printf '\x01' > odd.bin
    run --separate-stderr -3 pack --from u16 --tokenizer tok/tokenizer.model odd.bin -o none
    [ "$stderr" = "pack: odd.bin: 1 bytes are no whole number of tokens of 2 bytes: the file is cut, or needs another --from" ]
    printf '\x01\0\x90\x01\x01\0\x01\0\x01\0\x01\0' > beyond.bin
    run --separate-stderr -3 pack --from u16 --tokenizer tok/tokenizer.model beyond.bin -o none
    [ "$stderr" = \
        "pack: beyond.bin: token 1 is 400, but the vocabulary of the tokenizer has only 400 tokens: --from u32?" ]
    run --separate-stderr -3 ppl --model base --from u16 --data beyond.bin --context 2
    [ "$stderr" = \
        "ppl: beyond.bin: token 1 is 400, but the vocabulary of the model has only 400 tokens: --from u32?" ]
    # Ids of 32 bits would become ids of 16 bits with a 0 after each.
    tokenize --quiet --raw u32 -m tok/tokenizer.model docs.jsonl -o wide.bin
    run --separate-stderr -3 pack --from u16 --tokenizer tok/tokenizer.model wide.bin -o none
    [ "$stderr" = \
        "pack: wide.bin: every second id is 0, as if each id had 32 bits: --from u32?" ]
    ppl --model base --from u16 --data docs.bin --context 16 --max-tokens 512 --to json --quiet \
        -o bare.json
    ppl --model base --data docs.tok --context 16 --max-tokens 512 --to json --quiet -o tok.json
    diff <(grep nll bare.json) <(grep nll tok.json)
    pack --quiet --from samples --to jsonl 16.smp -o 16.jsonl
    pack --quiet --from samples-jsonl 16.jsonl -o again.smp
    for f in 16 again; \
        do perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all(shift); print unpack("H*", $_->{tokens} . $_->{documents}), "\n" for @o[1 .. $#o - 1]' \
        $f.smp > $f.hex; done
    cmp 16.hex again.hex
}

@test "pack: long documents are chosen more often, and sources keep their shares" {
    make_base
    run --separate-stderr -0 pack --context 64 --samples 4 --upsample 200=50 docs.tok -o up.smp
    run perl -MForeignStream \
        -e 'my @o = ForeignStream::read_all("up.smp"); print join " ", sort map { $_->{source} } @o[1..$#o-1]'
    [ "$output" = "even even odd odd" ]
    run --separate-stderr -2 pack --upsample 200=50 docs.tok
    run --separate-stderr -2 pack --samples 4 --upsample 200 docs.tok
}

@test "pack: a killed writer of the input and a small full disk are noticed" {
    make_base
    m=tok/tokenizer.model
    mkfifo slow
    (cat docs.jsonl; exec sleep 20) > slow &
    feeder=$!
    tokenize --quiet -m "$m" slow > pipe.tok &
    writer=$!
    sleep 0.5
    kill -9 $writer
    kill $feeder 2> /dev/null || true
    run --separate-stderr -3 pack --context 16 pipe.tok -o out.smp
    [ ! -e out.smp ]
    mkdir small
    mount -t tmpfs -o size=8k none small 2> /dev/null || skip "no file system may be mounted here"
    run --separate-stderr pack --quiet --context 16 --strategy split <(cat docs.tok docs.tok \
        docs.tok docs.tok docs.tok docs.tok docs.tok docs.tok) -o small/out.smp
    umount_status=0
    left=$(ls -A small)
    umount small || umount_status=$?
    [ "$status" -eq 1 ]
    [[ "$stderr" == *"No space left on device" ]]
    [ -z "$left" ]
}
