load helper

@test "docs: the README's pipeline runs on the test model" {
    make_base
    cp "$root/recipes/llama2-7b-longqlora.yaml" .
    mkdir recipes && mv llama2-7b-longqlora.yaml recipes
    sed -n '/^## The pipeline/,/^## /p' "$root/README.md" | sed -n 's/^    //p' \
        | sed -e 's/bin\///g' \
        -e 's/arxiv.jsonl book.jsonl.zst/docs.jsonl/;s/pg19.jsonl/docs.jsonl/' \
            -e 's/--context 8192 --min-tokens 4096 --max-tokens 32768 --samples 54212/--context 32 --strategy split/' \
            -e 's/Llama-2-7b-hf/base/g' \
            -e 's/output_dir=run/output_dir=run max_steps=2 max_seq_length=32 lora_rank=4/' \
            -e 's/--context 1024,2048,4096,8192/--context 16,32/' \
            -e "s/'Abstract.'/abc --max-new-tokens 3/" > pipeline.sh
    for tool in tokenize pack quantize train merge ppl generate; \
        do grep -q "$tool" pipeline.sh; done
    bash -euo pipefail pipeline.sh > out
    [ -f Llama-2-7b-8k/config.json ]
    grep -q '"base_model_name_or_path": "base"' run/adapter_config.json
    grep -q 32 out
}

@test "docs: the examples of --help run on the test model, one after the other" {
    make_base
    mkdir recipes && cp "$root/recipes/llama2-7b-longqlora.yaml" recipes
    ln -s tok/tokenizer.model .
    for tool in tokenize pack quantize train merge ppl generate needle; do
        "$BIN/$tool" --help | sed -n 4p
    done > examples
    # A prompt and its answer fit the context of 8192 tokens.
    [[ "$(cat examples)" =~ lengths\ ([0-9]+),([0-9]+) ]]
    [ "${BASH_REMATCH[2]}" -lt 8100 ]
    sed -e 's/arxiv.jsonl book.jsonl.zst/docs.jsonl/; s/pg19.tok/docs.tok/; s/Llama-2-7b-hf/base/g' \
        -e 's/--context 8192 --min-tokens 4096 --max-tokens 32768 --samples 54212/--context 32 --strategy split/' \
        -e 's/output_dir=run/output_dir=run max_steps=2 max_seq_length=32 lora_rank=4/' \
        -e 's/--context 4096,8192/--context 16,32/; s/--prompt/--max-new-tokens 3 --prompt/' \
        -e 's/4000,8000/600,900/; s/--format jsonl/--format jsonl --context 1000 --max-new-tokens 3/' \
        examples > examples.sh
    bash -euo pipefail examples.sh > out
    [ "$(grep -c '^single' out)" = 2 ]
}

@test "docs: the README is short and begins with the gain, the picture and the quick start" {
    cd "$root"
    words=$(sed 's/[|│▼►◄─└┘┌┐]/ /g' README.md | wc -w)
    [ "$words" -le 800 ] || { echo "$words words"; false; }
    first=$(head -n 36 README.md)
    for part in 'has perplexity' 'adapter (PEFT)' 'make deps demo' '--dry-run'; \
        do [[ "$first" == *"$part"* ]]; done
    # The numbers on the first screen and in the results are those of the real model's table.
    table=docs/real-model/table-seed0.md
    for number in $(head -n 8 README.md | grep -oE '[0-9]+\.[0-9]'); do
        grep -oE '[0-9]+\.[0-9]{2}' $table | xargs printf '%.1f\n' | grep -qx "$number" ||
            { echo "$number"; false; }
    done
    rows=0
    while IFS='|' read -r _ model numbers; do
        case $model in " model "* | ---*) continue ;; esac
        grep -qF "|${model}|" $table || { echo "$model"; false; }
        for number in $(grep -oE '[0-9]+\.[0-9]{2}' <<< "$numbers"); do
            grep -F "|${model}|" $table | grep -q "| $number |" || { echo "$model: $number"; false; }
        done
        rows=$((rows + 1))
    done < <(sed -n '/^| model |/,/^$/p' README.md | sed '/^$/d')
    [ $rows -ge 3 ]
}

@test "docs: each link and each document that a text mentions exists, and each document is linked" {
    cd "$root"
    perl -Mstrict -MFile::Basename -MFile::Spec -e '
        my ($bad, %linked) = (0);
        my @pages = grep { !m{^(build|run|bin)/} } split /\n/, `find README.md CONTRIBUTING.md CHANGELOG.md docs -name "*.md"`;
        for my $page (@pages) {
            open my $in, "<", $page or die; my $text = join "", grep { !/^    / } <$in>;
            while ($text =~ /\]\(([^)#\s]+)(?:#[^)]*)?\)/g) {
                next if $1 =~ m{^[a-z]+:};
                my $to = dirname($page) . "/$1";
                1 while $to =~ s{(^|/)(?!\.\.?/)[^/]+/\.\./}{$1} || $to =~ s{(^|/)\./}{$1};
                -e $to or print "$page: $1\n" and $bad = 1;
                $linked{$to} = 1;
            }
        }
        for (@pages) { $linked{$_} || $_ eq "README.md" or print "$_: no page leads to it\n" and $bad = 1 }
        # Documents that are named in code, manual pages, tests and build rules.
        my @files = grep { !m{^tests/(fuzz/corpus|golden/)} } split /\n/,
            `find lib kernels tools tests recipes packaging Makefile *.md docs -type f ! -name "*.o"; find model examples -type f 2>/dev/null`;
        for my $file (@files) {
            -f $file && -T $file or next;
            open my $in, "<", $file or next;
            while (<$in>) { while (m{\b(docs/[\w/.-]+\.md)\b}g) { -e $1 or $1 eq "docs/x.md" or print "$file: $1\n" and $bad = 1 } }
        }
        exit $bad'
}

@test "docs: the change log begins with the version that the programs print" {
    version=$(sed -n '/^## /{s/^## //p;q}' "$root/CHANGELOG.md")
    [ -n "$version" ]
    for tool in tokenize train; do [ "$("$BIN/$tool" --version)" = "$tool (longqlora) $version" \
        ]; done
}

@test "docs: each guarantee names a test that exists" {
    cd "$root"
    perl -Mstrict -e '
        my ($bad, $rows, $file, $text) = (0, 0);
        open my $in, "<", "docs/guarantees.md" or die;
        while (<$in>) {
            next if !/^\| / || /^\| promise/;
            $rows++;
            my ($proof) = (split /\|/)[2];
            $proof =~ /"/ or print "no test: $_" and $bad = 1;
            while ($proof =~ /`(tests\/[^`]+)`|"([^"]+)"/g) {
                if (defined $1) { $file = $1; local $/; open my $f, "<", $file or die "$file: $!\n"; $text = <$f>; next }
                my $name = $2;
                my $line = $file =~ /\.bats$/ ? "\@test \"$name\"" : "static void $name(";
                index($text, $line) >= 0 or print "$file has no $name\n" and $bad = 1;
            }
        }
        $rows > 40 or $bad = 1;
        exit $bad'
}

@test "docs: each message in the troubleshooting table is a message of a program" {
    cd "$root"
    perl -Mstrict -e '
        my ($all, $rows, $bad) = ("", 0, 0);
        for my $path (split /\n/, `find lib kernels tools packaging model -type f 2> /dev/null`) {
            -T $path or next;
            local $/; open my $in, "<", $path or next;
            my $text = <$in>; $text =~ s/"\s*\n\s*"//g; $text =~ s/\\"/"/g; $all .= $text;
        }
        open my $in, "<", "docs/faq.md" or die;
        while (<$in>) {
            /^\| `([^`]+)`/ or next;
            $rows++;
            my $said = join "[^\"]{1,12}", map { quotemeta } split /…/, $1, -1;
            $all =~ /$said/ or print "$1\n" and $bad = 1;
        }
        exit $bad || $rows < 20'
}

@test "docs: the usage examples in headers are lines of a test that runs them" {
    cd "$root"
    perl -Mstrict -e '
        my $bad = 0;
        sub text { local $/; open my $in, "<", $_[0] or die; return scalar <$in> }
        my $test = text("tests/unit/test_usage.c") =~ s/\s+//gr;
        for my $header (qw(lib/common/vocabulary lib/llama/adapter lib/stream/msgpack_map
                lib/stream/stream lib/tokenizer/tokenizer)) {
            my $lines = 0;
            for (text("$header.h") =~ /^ \* {5}(\S.*|\s+\S.*)$/mg) {
                next if /^\.\.\./;
                s/;\s{2,}.*/;/;
                s/\s+//g;
                $lines++;
                index($test, $_) >= 0 or print "$header.h: $_\n" and $bad = 1;
            }
            $lines > 2 or print "$header.h has no example\n" and $bad = 1;
        }
        exit $bad'
}

@test "docs: the page for users of other programs states what train does with their keys" {
    cd "$root"
    rows=0
    while IFS=$'\t' read -r pair verdict ours; do
        rows=$((rows + 1))
        run --separate-stderr "$BIN/train" recipes/llama2-7b-longqlora.yaml output_dir=o \
            train_file=t model_name_or_path=m \
            "${pair/: /=}" --print-config
        case $verdict in
        understood) [ "$status" -eq 0 ] && { [ -z "$ours" ] ||
            grep -qE "^${ours/: /: +\"?}\"?( |$)" <<< "$output"; } ;;
        ignored) [ "$status" -eq 0 ] ;;
        refused) [ "$status" -eq 2 ] && [[ "$stderr" == *"${pair%%:*}"* ]] ;;
        esac || { echo "$pair: $verdict $ours: $status $stderr"; \
            grep "^${ours%%:*}" <<< "$output"; false; }
    done < <(sed -n '/^## Axolotl/,/^## Unsloth/p' docs/coming-from.md | perl -ne '
        my ($theirs, $here) = (split / *\| */)[1, 2];
        next unless defined $here && $here =~ /^(understood|ignored|refused)(?:: `([a-z_]+: [^`]+)`)?/;
        my ($verdict, $ours) = ($1, $2 // "");
        print join("\t", $_, $verdict, $verdict eq "understood" ? $ours : ""), "\n" for $theirs =~ /`(\w+: [\w.]+)`/g')
    [ "$rows" -ge 25 ] || { echo "$rows rows"; false; }
}

@test "docs: the hardware table shows the plans that train --dry-run prints" {
    export LONGQLORA_CUDA=/nonexistent/kernels-cuda.so
    cd "$root"
    sed -n '/<!-- plans -->/,/<!-- end of plans -->/p' docs/hardware.md | \
        grep '^| [L0-9]' > "$BATS_TEST_TMPDIR/table"
    BIN=$BIN tests/lib/plans > "$BATS_TEST_TMPDIR/plans"
    diff "$BATS_TEST_TMPDIR/table" "$BATS_TEST_TMPDIR/plans"
    [ "$(wc -l < "$BATS_TEST_TMPDIR/plans")" -ge 12 ]
}

@test "docs: the tutorial's commands run at a small size and print what the page shows" {
    make_tokenizer
    make_documents
    cp -r "$root/recipes" .
    ln -s "$BIN" bin
    cp docs.jsonl made.jsonl
    printf '#!/bin/bash\ncat "$(dirname "$0")/../made.jsonl"\n' > recipes/corpus.pl
    PATH=$root/tests/lib:$PATH
    tutorial.pl "$root/docs/tutorial.md" | \
        sed -E -e 's/2048/400/g;s/max_steps=[0-9]+/max_steps=2/' \
        -e 's/--max-tokens 10240/--max-tokens 1200/;s/--max-new-tokens [0-9]+/--max-new-tokens 3/' \
        > tour.sh
    [ "$(grep -c -e --same tour.sh)" -ge 5 ]
    bash -uo pipefail tour.sh
    # First the comparison itself is tested: it must find a difference.
    printf 'a … c\n' > want
    printf 'a b c\n' > got
    tutorial.pl --same want got
    printf 'a b d\n' > got
    run ! tutorial.pl --same want got
    # The unchanged tutorial trains for some minutes. Its perplexities must be within two per cent
    # of the page's, with the texts of Debian 12.
    if [ -n "${LONG:-}" ] && [ -e /usr/share/perl/5.36.0/pod/perlop.pod ] &&
        command -v bible > /dev/null; then
        mkdir whole && cd whole
        cp -r "$root/recipes" .
        ln -s "$BIN" bin
        tutorial.pl "$root/docs/tutorial.md" > tour.sh
        NEAR=1 bash -uo pipefail tour.sh
    fi
}

@test "docs: train reads every recipe, and no recipe has an unknown key" {
    cd "$root"
    for recipe in recipes/*.yaml; do
        "$BIN/train" "$recipe" output_dir=x train_file=x model_name_or_path=x --print-config > \
            /dev/null
    done
}

@test "docs: the pages about formats name every kind and field that the programs write" {
    make_base
    lora run --quiet save_steps=2
    ppl --quiet --model base --data docs.tok --context 16 -o s.scores
    pack --quiet --lengths docs.tok -o docs.len
    pack --quiet --draw --samples 3 docs.len -o drawn
    for pair in tokens:docs.tok samples:16.smp weights:base.nf4 scores:s.scores lengths:docs.len \
        lines:drawn/docs.lines state:run/checkpoint-4/training_state; do
        kind=${pair%%:*}
        perl -MForeignStream \
            -e 'my ($file, $doc) = @ARGV; open my $f, "<", $doc or die; local $/; my $text = <$f>;
            my @o = ForeignStream::read_all($file); my %k;
            $k{$_} = 1 for map { keys %$_ } @o[0 .. $#o - 1];
            delete @k{qw(longqlora kind tool version options)};
            for (sort keys %k) { die "$doc lacks $_\n" unless $text =~ /`$_`/ }' "${pair#*:}" \
                <(cat "$root/docs/formats/$kind.md" "$root/docs/formats/tokens.md")
    done
}

@test "docs: the page about the log names every key of a line" {
    make_base
    cp -L few.smp "more.one.smp"
    lora run --quiet eval_file=few.smp,more.one.smp eval_steps=2 load_best_model_at_end=true \
        fp8=true
    # A longer run has another cosine.
    for steps in 2 4; do lora longer --quiet lr_scheduler_type=cosine max_steps=$steps; done
    grep -q '"schedules"' longer/trainer_log.jsonl
    grep -q '"eval_more_one_loss"' run/trainer_log.jsonl
    grep -q '"best_step"' run/trainer_log.jsonl
    perl -MJSON::PP -e 'my $text = do { local $/; open my $in, "<", shift or die; <$in> };
        $text =~ s/.*A line of a training step//s or die;
        my %keys = map { (s/^eval_more_one_/eval_NAME_/r => 1) } map { keys %{ decode_json($_) } } <>;
        keys %keys > 20 or die "few keys\n";
        for (sort keys %keys) { die "the page lacks $_\n" unless index($text, "`$_`") >= 0 }' \
        "$root/docs/formats/log.md" {run,longer}/trainer_log.jsonl
}

@test "docs: the page about data has a command that mixes samples of several kinds" {
    make_base
    ln -sfn "$BIN" bin
    ln -sfn "$root/recipes" recipes
    cp -L 32.smp text.smp
    echo '{"messages":[{"role":"user","content":"ab"},{"role":"assistant","content":"cd"}]}' \
        | tokenize --quiet -m tok/tokenizer.model --format chat - \
        | pack --quiet --context 320 -o chat.smp
    command=$(sed -n 's,^    \(recipes/mix.pl .*\),\1,p' "$root/docs/data.md")
    bash -euo pipefail -c "${command/:2000/:3}"
    pack --from samples --to jsonl train.smp > mixed
    [ "$(grep -c '"tokens"' mixed)" = 4 ]
    [ "$(grep -c '"targets"' mixed)" = 1 ]
}

@test "docs: the recipes' scripts draw a training's losses and the lengths of documents" {
    mkdir run
    printf '{"step":1,"loss":5.0}\n{"step":2,"loss":4.0}\n' > run/trainer_log.jsonl
    make -s -C "$root" plot RUN="$PWD/run"
    grep -q '<svg' run/loss.svg
    run ! "$root/recipes/loss.pl" none
    echo \
        '{"sources":{"a":{"documents":3,"lengths_log2":[0,1,2]},"b_c":{"documents":1,"lengths_log2":[0,0,0,1]}}}' \
        > s.json
    "$root/recipes/lengths.pl" s.json l.svg
    grep -q '<svg' l.svg
}

@test "docs: make reproduce finds the user's own files for the scales llama2-7b and vicuna-13b" {
    mkdir -p rp model
    touch rp/arxiv.jsonl rp/book.jsonl.zst model/config.json model/tokenizer.model pg19.jsonl \
        chat.jsonl
    here=$PWD
    cd "$root"
    for scale in llama2-7b vicuna-13b; do
        text="$here/rp/arxiv.jsonl $here/rp/book.jsonl.zst"
        [ $scale = llama2-7b ] || text=$here/chat.jsonl
        make -n reproduce FLAVOUR=release SCALE=$scale MODEL="$here/model" TEXT="$text" \
            HELDOUT="$here/pg19.jsonl" > "$here/plan" 2>&1
        for stage in "tokenize: train" "pack: 2x" quantize "train: longqlora-2" "merge: 2x" \
            report; do
            grep -q "$stage" "$here/plan" || { echo "$scale: no $stage"; return 1; }
        done
        run ! make -n reproduce FLAVOUR=release SCALE=$scale MODEL="$here/none" TEXT="$text" \
            HELDOUT="$here/pg19.jsonl"
        train recipes/$scale-longqlora.yaml model_name_or_path=x train_file=y output_dir=z \
            --print-config > /dev/null
    done
}

@test "docs: the page about fidelity names existing options and keys, and the README links to it" {
    cd "$root"
    for tool in tokenize pack quantize train merge ppl generate needle; do "$BIN/$tool" --help; \
        done > "$BATS_TEST_TMPDIR/help"
    for option in $(grep -oE -- '--[a-z][a-z-]*' docs/fidelity.md | sort -u); do
        grep -q -- "$option\b" "$BATS_TEST_TMPDIR/help" || { echo "$option"; return 1; }
    done
    for key in $(grep -o '`[a-z_]*: [a-z0-9]*`' docs/fidelity.md | tr -d '`' | sed 's/:.*//' | \
        sort -u); do
        "$BIN/train" --list-keys | grep -q "^| \`$key\`" || { echo "$key"; return 1; }
    done
    grep -q 'docs/fidelity.md' README.md
}
