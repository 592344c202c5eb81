load helper

# Tests the program `needle`, which hides sentences (needles) in long texts: its prompts, samples
# and scores.

bpe=$golden/bpe/llama3

# Runs the Perl code for each line of prompts, with $line and @answers.
ask() { perl -MJSON::PP -ne "my \$line = decode_json(\$_); my \$needle = \$line->{needle};
    my @answers = @{ \$needle->{answers} }; $1"; }

# Writes the N-th prompt of a file without a newline at its end.
prompt() { sed -n "$1p" "$2" | ask 'binmode STDOUT, ":utf8"; print $line->{prompt}'; }

# Prints how many tokens each prompt has if tokenize reads it as a text.
lengths() { # MODEL PROMPTS
    ask 'print JSON::PP->new->canonical->ascii->encode({ text => $line->{prompt} }), "\n"' < "$2" | \
        tokenize --quiet -m "$1" --to jsonl - | \
        perl -ne 'print scalar(() = $1 =~ /\d+/g), " " if /"tokens":\[([^]]*)/'
}

@test "needle: a prompt has exactly as many tokens as requested, with three tokenizers and in a template" {
    make_base
    for model in tok/tokenizer.model "$bpe" "$golden/bpe/gpt2"; do
        needle make --quiet -m "$model" -l 900,901,1317 --tasks all --depths 0,50,100 > p
        [ "$(wc -l < p)" = 33 ]
        expected=$(ask 'print "$needle->{tokens} "' < p)
        [ "$(lengths "$model" p)" = "$expected" ] || { echo "$model"; false; }
    done
    # generate reads as many tokens.
    needle make --quiet -m base -l 700,701 --depths 50 > text
    needle make --quiet -m base -l 700,701 --depths 50 --template longqlora > chat
    needle make --quiet -m base -l 700,701 --depths 50 --template longqlora --system 'Be brief.' > said
    for n in 1 2; do
        for kind in text "chat --chat longqlora" "said --chat longqlora --system Be\ brief."; do
            eval "set -- $kind"
            prompt $n "$1" > prompt.txt
            run --separate-stderr -0 generate -m base -c 1024 -f prompt.txt -n 1 "${@:2}"
            [[ "$stderr" == *"prompt of $((699 + n)) tokens "* ]]
        done
    done
    # The needles are put into any text, and into the text of a stream of tokens. This text gives
    # 999 to 1001 tokens only if a punctuation mark or a letter follows the piece that is cut off.
    (cd "$root" && cat docs/tutorial.md docs/faq.md) > filler.txt
    tokenize --quiet -m "$bpe" --format text filler.txt -o filler.tok
    for filler in filler.txt filler.tok; do
        needle make --quiet -m "$bpe" -l 999,1000,1001,3001 --filler $filler --count 2 > p
        [ "$(lengths "$bpe" p)" = "$(ask 'print "$needle->{tokens} "' < p)" ]
        ask '$line->{prompt} =~ /One of the secret numbers of \w+ is $answers[0]\./ or die $_' < p
    done
}

@test "needle: a seed gives the same bytes on every machine; a prompt does not depend on the others" {
    needle make --quiet -m "$bpe" -l 1500,2000 --tasks all --seed 7 > p
    [ "$(xxhsum -H2 < p | cut -c 1-32)" = b05b20e4c15173271a92ad0eb1aa7a8e ]
    needle make --quiet -m "$bpe" -l 1500 --tasks all --seed 7 --samples > s
    [ "$(xxhsum -H2 < <(pack --quiet --from samples --to jsonl s | sed '1d;$d') | cut -c 1-32)" = \
        fd434e51908efc996b613e5c1ff2f4a3 ]
    needle make --quiet -m "$bpe" -l 2000 --depths 25,100 --seed 7 > some
    [ "$(grep -cxFf some p)" = 2 ]
    needle make --quiet -m "$bpe" -l 2000 --depths 25,100 --seed 8 > others
    run ! grep -xFf some others
    # All prompts of one length and depth have different needles. With a text file, the surrounding
    # texts also differ.
    needle make --quiet -m "$bpe" -l 500 --depths 50 --count 8 > p
    [ "$(ask 'print "@answers\n"' < p | sort -u | wc -l)" = 8 ]
}

@test "needle: the needle stands at the requested depth, and each task's question has its answer in the text" {
    needle make --quiet -m "$bpe" -l 4000 --tasks all --depths 0,20,80,100 --count 2 > p
    ask 'my $text = $line->{prompt};
        my ($context) = $text =~ /\n\n(.*)\n\nQuestion/s or die;
        if (defined $needle->{depth}) {
            my ($asked) = $text =~ /Question: what is the secret number of (\w+) in/ or die;
            my $at = index $context, "One of the secret numbers of $asked is $answers[0].";
            my $depth = 100 * $at / (length($context) - 60);
            die "$depth" if $at < 0 || abs($depth - $needle->{depth}) > 2;
        }
        my %found;
        if ($needle->{task} =~ /multi|single/) {
            my ($keys) = $text =~ /Question: .* of (.*) in the text above\?/ or die;
            my @keys = $keys =~ /[a-z]{4,}/g;
            while ($context =~ /One of the secret numbers of (\w+) is (\d{7})\./g) { push @{ $found{$1} }, $2 }
            my %wanted = (single => [ 1, 1 ], multikey => [ 4, 1 ], multivalue => [ 1, 4 ], multiquery => [ 4, 4 ]);
            my ($names, $number) = @{ $wanted{ $needle->{task} } };
            die if keys %found != $names || @answers != $number;
            die $_ if join(" ", sort map { @{ $found{$_} } } @keys) ne join(" ", sort @answers);
        } elsif ($needle->{task} eq "tracking") {
            my ($value) = $text =~ /have the value (\d{5})\?/ or die;
            my %of;
            while ($context =~ /VAR (\w+) = (?:VAR )?(\w+)/g) { $of{$1} = $of{$2} // $2 }
            die if join(" ", sort grep { $of{$_} eq $value } keys %of) ne join " ", sort @answers;
            die if @answers != 5;
        } else {
            $found{$_}++ for $context =~ /[a-z]+/g;
            my @most = sort { $found{$b} <=> $found{$a} } keys %found;
            die if join(" ", sort @most[0 .. $#answers]) ne join " ", sort @answers;
            die if $found{ $most[$#answers] } == $found{ $most[@answers] };
            die if @answers != ($needle->{task} eq "common" ? 10 : 3);
        }' < p
    # --needles
    needle make --quiet -m "$bpe" -l 4000 --tasks all --needles 6 --depths 50 > p
    [ "$(ask 'print scalar(@answers), " "' < p)" = "1 1 6 6 7 6 6 " ]
}

@test "needle: scores equal those of a separate Perl program; copying gives 100 and guessing 0" {
    needle make --quiet -m "$bpe" -l 700,1400 --tasks all --count 3 > p
    # The completions contain some of the answers, sometimes with capital letters.
    ask 'srand 1 if $. == 1; $line->{completion} = "well, " . join "; ", map { rand() < .5 ? uc : $_ } grep { rand() < .6 } @answers;
        print encode_json($line), "\n"' < p > some
    needle score --to json some > got.json
    perl -MJSON::PP -e '
        my (%sum, %row);
        open my $in, "<", "some"; while (<$in>) { my $l = decode_json($_); my $n = $l->{needle};
            my @all = @{ $n->{answers} };
            my $score = 100 * grep({ index(lc $l->{completion}, lc) >= 0 } @all) / @all;
            push @{ $sum{join " ", $n->{task}, $n->{tokens}, $n->{depth} // "-"} }, $score;
            push @{ $row{"$n->{task} $n->{tokens}"} }, $score }
        my $mean = sub { my $s = 0; $s += $_ for @_; $s / @_ };
        my $got = do { local $/; open my $f, "<", "got.json"; decode_json(<$f>) };
        die "cells" if @{ $got->{cells} } != keys %sum or @{ $got->{rows} } != keys %row or $got->{prompts} != 90;
        for my $c (@{ $got->{cells} }, @{ $got->{rows} }) {
            my $is_row = !exists $sum{join " ", $c->{task}, $c->{tokens}, $c->{depth} // "-"} || !exists $c->{depth};
            my $all = $is_row ? $row{"$c->{task} $c->{tokens}"} : $sum{"$c->{task} $c->{tokens} $c->{depth}"};
            my $m = $mean->(@$all);
            die "$c->{task} $c->{score} $m" if abs($c->{score} - $m) > 1e-9 || $c->{prompts} != @$all;
            my $var = $mean->(map { ($_ - $m) ** 2 } @$all) / (@$all - 1);
            die "$c->{stderr}" if abs($c->{stderr} - sqrt $var) > 1e-6;
            die if $c->{whole} != grep { $_ == 100 } @$all;
        }'
    # Capital letters of every script count as small ones, and a control character as a newline.
    printf '%s\n' '{"needle":{"task":"single","tokens":9,"answers":["äpfel"]},"completion":"a\u0000ÄPFEL"}' \
        '{"needle":{"task":"single","tokens":9,"answers":["a\u0000b"]},"completion":"a"}' > odd
    needle score --to json odd | perl -MJSON::PP -e 'local $/; exit(decode_json(<>)->{rows}[0]{score} != 50)'
    # A sigma at the end of a word has another small letter, and one capital letter becomes two
    # characters, as in Python.
    printf '%s\n' '{"needle":{"task":"single","tokens":9,"answers":["ΟΔΟΣ","Σ","οΔΌς.","i̇"]},"completion":"η οδος, ΣΑΣ οδός. İ"}' > odd
    needle score --to json odd | perl -MJSON::PP -e 'local $/; exit(decode_json(<>)->{rows}[0]{score} != 100)'
    printf '%s\n' '{"needle":{"task":"single","tokens":9,"answers":["ΟΔΟΣ","οδοσα"]},"completion":"ΟΔΟΣΑ"}' > odd
    needle score --to json odd | perl -MJSON::PP -e 'local $/; exit(decode_json(<>)->{rows}[0]{score} != 50)'
    # A substitute for a model, which reads only the prompt.
    ask 'my ($context, $question) = $line->{prompt} =~ /\n\n(.*)\n\nQuestion: (.*)/s; my @found;
        if ($question =~ /secret/) { my ($keys) = $question =~ /of (.*?) in the text above/;
            for my $key ($keys =~ /[a-z]{4,}/g) { push @found, $context =~ /numbers of $key is (\d+)/g } }
        elsif ($question =~ /variables/) { @found = $context =~ /VAR (\w+) =/g }
        else { my %n; $n{$_}++ for $context =~ /[a-z]+/g; my ($most) = $question =~ /(\d+)/;
            @found = (sort { $n{$b} <=> $n{$a} || $a cmp $b } keys %n)[0 .. $most - 1] }
        $line->{completion} = join ", ", @found; print encode_json($line), "\n"' < p > copied
    needle score copied > table
    [ "$(sed 1d table | awk '$(NF - 1) != "100.0"' | wc -l)" = 0 ]
    [ "$(sed 1d table | wc -l)" = 14 ]
    ask 'srand 2 if $. == 1; $line->{completion} = join " ", map { int 1e6 + rand 9e6 } 1 .. 5; print encode_json($line), "\n"' \
        < p > guessed
    needle score < guessed > table
    [ "$(sed 1d table | awk '$(NF - 1) != "0.0"' | wc -l)" = 0 ]
}

@test "needle: the table is printed as text and Markdown, also of several files, and drawn as SVG and PNG" {
    needle make --quiet -m "$bpe" -l 700,1400 --tasks single,multivalue --depths 0,100 > p
    ask '$line->{completion} = $needle->{depth} ? "no" : "@answers"; print encode_json($line), "\n"' < p > out
    run -0 needle score out
    [ "${lines[0]}" = \
        'task           tokens  prompts     0 %   100 %     all  stderr' ]
    [ "${lines[1]}" = 'single            700        2   100.0     0.0    50.0    50.0' ]
    [ "${lines[4]}" = 'multivalue       1400        1       -       -   100.0       -' ]
    needle score <(head -n 3 out) <(tail -n +4 out) -o t.md
    [ "$(cat t.md)" = '| task | tokens | prompts | 0 % | 100 % | all | stderr |
| --- | --- | --- | --- | --- | --- | --- |
| single | 700 | 2 | 100.0 | 0.0 | 50.0 | 50.0 |
| single | 1400 | 2 | 100.0 | 0.0 | 50.0 | 50.0 |
| multivalue | 700 | 1 | – | – | 100.0 | – |
| multivalue | 1400 | 1 | – | – | 100.0 | – |' ]
    # The name of another program's task is text, not Markdown.
    sed 's/"single"/"a|b\\n*c*\\\\d"/' out | needle score --to markdown > t.md
    [ "$(sed -n 3p t.md)" = '| a\|b \*c\*\\d | 700 | 2 | 100.0 | 0.0 | 50.0 | 50.0 |' ]
    [ "$(wc -l < t.md)" -eq 6 ]
    sed 's/"single"/"a|b\\nc"/' out | needle score > t.txt
    [ "$(sed -n 2p t.txt)" = 'a|b c             700        2   100.0     0.0    50.0    50.0' ]
    # Numbers that no program can compute with are read as by tokenize.
    sed 's/^{/{"id":123456789012345678901234567890,"other":[-1e999],/' out | needle score - | \
        cmp - <(needle score out)
    # A file that is named twice is refused, and a copy of it brings a warning.
    ln -s out link
    for again in 'out out' '- -' 'out link'; do
        run --separate-stderr -2 needle score $again < /dev/null
        name=${again% *} other=${again#* }
        [ "$name" = "$other" ] && also= || also=", also as $other"
        [ "$stderr" = "needle: $name is named twice$also: its answers would count twice (see needle --help)" ]
    done
    cp out copy
    run --separate-stderr -0 needle score out copy
    [ "$stderr" = "needle: 6 prompts have several answers, which all count: are the same answers in two places?" ]
    # Without the prompts, the key 'needle' says which answers are to the same one.
    ask 'delete $line->{prompt}; print encode_json($line), "\n"' < out > bare
    again='needle: 6 prompts have several answers, which all count: are the same answers in two places?'
    for other in 'bare copy' 'copy bare'; do
        run --separate-stderr -0 needle score $other
        [ "$stderr" = "$again" ]
    done
    cp bare copy
    run --separate-stderr -0 needle score bare copy
    [ "$stderr" = "needle: 6 prompts have several answers, which all count: are the same answers in two places?" ]
    for once in out bare; do
        run --separate-stderr -0 needle score $once
        [ "$stderr" = "" ]
    done
    needle score out -o t.json
    cmp t.json <(needle score --to json out)
    if command -v gnuplot; then
        needle score out -o t.md --figure f.svg --figure f.png
        [ "$(head -c 8 f.png | od -An -tx1)" = ' 89 50 4e 47 0d 0a 1a 0a' ]
        for text in single multivalue 'tokens of the prompt' 'depth of the needle' '100 %' 1400; do
            grep -qF ">$text<" f.svg || { echo "$text"; false; }
        done
        # A cell with score 100 and one with score 0.
        grep -qiE "fill ?[=:] ?['\"]?(rgb\( *0, *114, *178\)|#0072b2)" f.svg
        grep -qiE "fill ?[=:] ?['\"]?(rgb\(213, *94, *0\)|#d55e00)" f.svg
        # The name of another program's task is passed to gnuplot as plain text.
        sed "s/\"single\"/\"it's %d \`touch x\`\"/" out | needle score -o t.md --figure g.svg
        grep -qF "it's %d \`touch x\`" g.svg || grep -qF 'it&apos;s %d `touch x`' g.svg
        [ ! -e x ]
    fi
    mkdir empty
    run --separate-stderr -1 env PATH="$PWD/empty" "$BIN/needle" score out -o t.md --figure h.svg
    [[ "$stderr" == *"h.svg: cannot start gnuplot, which draws the figure: No such file or directory: install gnuplot-nox" ]]
    [ ! -e h.svg ]
}

@test "needle: in samples, as text and in a template, only the answers' tokens are targets" {
    make_base
    for model in base "$bpe"; do
        template=(--template longqlora)
        [ "$model" = base ] || template=()
        options=(-m "$model" -l 1100,1201 --depths 50 --tasks single,multivalue,tracking,common)
        needle make --quiet "${options[@]}" "${template[@]}" --samples -o s.smp
        pack --quiet --from samples --to jsonl s.smp > s.jsonl
        [[ "$(head -n 1 s.jsonl)" == *'"context":1201,"strategy":"needle"'* ]]
        # Each target of a sample is written as a document, and decoded.
        perl -MJSON::PP -ne 'my $s = decode_json($_);
            if ($s->{kind}) { delete @$s{qw(context strategy seed)}; $s->{kind} = "tokens" }
            if ($s->{tokens}) {
                die unless @{ $s->{tokens} } == ($. % 2 ? 1201 : 1100);
                for my $t (@{ $s->{targets} }) { $n++;
                    print encode_json({ id => "x:$n", source => "x",
                        tokens => [ @{ $s->{tokens} }[$t->[0] .. $t->[1] - 1] ] }), "\n" }
                next }
            $s->{records} = $n if $s->{end};
            print encode_json($s), "\n"' s.jsonl > targets.jsonl
        tokenize --quiet -m "$model" --decode --from jsonl targets.jsonl | \
            perl -MJSON::PP -ne 'print decode_json($_)->{text} =~ s/^ | $//gr, "\n"' > targets
        # The samples have the same needles as the prompts.
        needle make --quiet "${options[@]}" "${template[@]}" | ask 'print "$_\n" for @answers' > answers
        diff targets answers
        [ "$(wc -l < answers)" = 40 ]
    done
}

@test "needle: ppl scores samples as train's evaluation does, also before the first step and for each file" {
    make_base
    rope="rope=linear:64 max_seq_length=900"
    needle make --quiet -m base -l 600,900 --depths 50 --tasks single,multivalue --samples -o s.smp
    needle make --quiet -m base -l 600 --depths 0,100 --samples -o x,y.smp
    ppl --quiet -m base.nf4 -d s.smp --from samples --to json --rope linear:64 > all.json
    ppl --quiet -m base.nf4 -d x,y.smp --from samples --to json --rope linear:64 > two.json
    # If a path with a comma exists, it is one file. Otherwise commas separate files.
    lora comma --quiet attention=full $rope eval_file=x,y.smp max_steps=1
    run --separate-stderr -1 lora out attention=full $rope eval_file=s.smp,x,y.smp max_steps=1
    [[ "$stderr" == *"train: x: No such file or directory"* ]]
    mv x,y.smp x.y.smp
    lora out --quiet attention=full $rope eval_file="[s.smp, few.smp, x.y.smp]" max_steps=2 \
        eval_steps=1 report_to=tensorboard
    perl -MTfEvents -MJSON::PP -e '
        sub of { open my $in, "<", $_[0] or die; local $/; decode_json(<$in>)->{scores}[0] }
        open my $in, "<", "out/trainer_log.jsonl"; my @e = grep { exists $_->{eval_loss} } map { decode_json($_) } <$in>;
        die unless join(" ", map { $_->{step} } @e) eq "0 1 2";
        my ($all, $two) = (of("all.json"), of("two.json"));
        die "$e[0]{eval_loss} $all->{nll}" if abs($e[0]{eval_loss} - $all->{nll}) > 1e-7;
        die "$e[0]{eval_x_y_loss} $two->{nll}" if abs($e[0]{eval_x_y_loss} - $two->{nll}) > 1e-7;
        die if $e[0]{eval_targets} != $all->{scored} || $e[0]{eval_x_y_targets} != $two->{scored};
        die if $e[2]{eval_loss} == $e[0]{eval_loss} || $e[2]{eval_few_loss} == $e[0]{eval_few_loss};
        my ($events) = glob "out/runs/events.out.tfevents.*";
        my %seen = map { ("$_->[0] $_->[1]" => $_->[2]) } TfEvents::scalars($events);
        die join " ", sort keys %seen if abs($seen{"0 eval/few/loss"} - $e[0]{eval_few_loss}) > 1e-5;
        die if abs($seen{"0 eval/loss"} - $e[0]{eval_loss}) > 1e-5'
    # Evaluations change no bit of the training.
    lora plain --quiet attention=full $rope max_steps=2
    cmp plain/adapter_model.safetensors out/adapter_model.safetensors
    # With several contexts a row has the samples of one length. The rows together have all samples.
    ppl --quiet -m base.nf4 -d s.smp --from samples --context 900,600 --rope linear:64 --to json \
        > rows.json
    perl -MJSON::PP -e 'sub of { open my $in, "<", $_[0] or die; local $/; decode_json(<$in>)->{scores} }
        my ($r, $all) = (of("rows.json"), of("all.json")->[0]);
        die unless $r->[0]{context} == 900 && $r->[0]{windows} == 2 && $r->[1]{context} == 600 && $r->[1]{windows} == 2;
        my ($n, $sum) = (0, 0); for (@$r) { $n += $_->{scored}; $sum += $_->{scored} * $_->{nll} }
        die if $n != $all->{scored} || abs($sum / $n - $all->{nll}) > 1e-9'
    run --separate-stderr -3 ppl -m base.nf4 -d s.smp --from samples --context 600
    [ "$stderr" = "ppl: s.smp: sample 2 has 900 tokens, more than --context 600" ]
    run --separate-stderr -2 ppl -m base.nf4 -d s.smp --from samples --stride 4
    [[ "$stderr" == "ppl: --stride applies to a text, not to samples"* ]]
}

@test "needle: impossible requests and invalid answers are refused by name" {
    make_base
    refused() { run --separate-stderr "-$1" "${@:3}"; [[ "$stderr" == *"$2"* ]] || { echo "$stderr"; \
        false; }; }
    refused 2 'needle: say what to do: make or score' needle
    refused 2 "needle: 'mak' is neither make nor score" needle mak
    refused 2 '--model is needed' needle make
    refused 2 "--tasks: 'singel' is not a task: write single, multikey" needle make -m base --tasks singel
    refused 2 "--lengths: '1k' is not a list of numbers from 16" needle make -m base -l 1k
    refused 2 "--depths: '0,101' is not a list" needle make -m base --depths 0,101
    refused 2 '--figure belongs to score, not to make' needle make -m base --figure x.svg
    refused 2 '--model belongs to make, not to score' needle score -m base
    refused 2 "--figure: 'x.gif' ends neither with .svg nor with .png" needle score --figure x.gif
    refused 2 '--system needs --template' needle make -m base --system x
    refused 2 '--system: byte 4: invalid UTF-8' needle make -m base --template longqlora \
        --system $'caf\xe9'
    refused 3 '--lengths: single, depth 0 %: 60 tokens: the shortest prompt of single has ' \
        needle make -m base -l 60
    refused 3 ' tokens: the shortest prompt of common has 649: take longer --lengths or fewer --needles' \
        needle make -m "$bpe" -l 100 --tasks common
    # A short list cannot have different frequencies for many words. The message says so, and names
    # a length for which all prompts can be made.
    for asked in 8:154 8:1024 8:2048 5:500 20:4096 64:4096; do
        words=${asked%:*} tokens=${asked#*:}
        run --separate-stderr -3 needle make -m "$bpe" -l $tokens --tasks frequent --needles $words
        [[ "${stderr_lines[-1]}" == "needle: --lengths: frequent: $tokens tokens: no list of words was found in which each word that is asked for (--needles $words) has a frequency of its own; about "*" tokens are enough: take longer --lengths or fewer --needles" ]]
        enough=${stderr_lines[-1]##*about } && enough=${enough%% tokens*}
        [ $words -le 8 ] || continue
        needle make --quiet -m "$bpe" -l $enough --tasks frequent --needles $words --count 20 > p
        ask 'my ($context) = $line->{prompt} =~ /\n\n(.*)\n\nQuestion: /s;
            my %n; $n{$_}++ for $context =~ /[a-z]+/g; my @most = sort { $n{$b} <=> $n{$a} } keys %n;
            $n{$most[$_]} > $n{$most[$_ + 1]} or die for 0 .. $#answers' < p
    done
    : > nothing
    refused 3 'nothing: no text in it' needle make -m base --filler nothing
    printf 'a\xff' > bytes
    refused 3 'bytes: byte 1: not a text in UTF-8' needle make -m base --filler bytes
    refused 3 "docs.tok: " needle make -m "$bpe" --filler docs.tok
    for json in '{"text":"A sentence."}' ' [ {"text":"A sentence."} ]'; do
        echo "$json" > json
        refused 3 'json: JSON, where a text is needed (jq -r .text' needle make -m base --filler json
    done
    # These tokens have no valid text: the byte 255, and the character with code 0.
    for token in 258 3; do
        { tokenize --from stream --to jsonl < docs.tok | head -n 2
          echo "{\"id\":\"b\",\"source\":\"\",\"tokens\":[261,$token]}"
          echo '{"end":true,"records":2}'; } | tokenize --from jsonl --to stream > odd.tok
        refused 3 'odd.tok: document 2: its text: byte ' needle make -m base --filler odd.tok
    done
    refused 3 "standard input:1: no 'needle', which every prompt of needle make has" needle score <<< '{"prompt":"a","completion":"b"}'
    refused 3 "standard input:1: no 'completion': the prompt is not answered yet" needle score <<< '{"needle":{}}'
    refused 3 'no answer to score' needle score /dev/null
    refused 3 "standard input:1: 'task' holds a NUL character" \
        needle score <<< '{"needle":{"task":"a\u0000b"},"completion":"a"}'
    # The wording of another program: RULER's TASKS as JSON, with a needle.
    cat > ruler.json <<'JSON'
{"niah": {"tokens_to_generate": 128, "template": "Some magic {type_needle_v} are here.\n{context}\nWhat are all the {type_needle_v} for {query}?", "answer_prefix": " The {type_needle_v} for {query} are", "needle": "The magic {type_needle_v} for {key} is: {value}."}, "qa": {"template": "x"}}
JSON
    needle make --quiet -m base -l 900 --depths 0 --wording ruler.json --tasks single,multivalue > p
    [[ "$(sed -n 1p p)" == '{"prompt":"A magic number is here.\nThe magic numbers for '*' is: '*\
'\nWhat is the number for '*'? The number for '*' is","max_tokens":128,"needle":'* ]]
    [[ "$(sed -n 2p p)" == '{"prompt":"Some magic numbers are here.\n'*\
'\nWhat are all the numbers for '*'? The numbers for '*' are","max_tokens":128,"needle":'* ]]
    sed 's/{query}/{what}/' ruler.json > odd.json
    refused 3 'odd.json: {what} is not a placeholder: there are {context}, {query}' \
        needle make -m base --wording odd.json -l 900
    sed 's/"needle"/"nedle"/' ruler.json > odd.json
    refused 3 "odd.json: niah: 'nedle' is not a key here: the keys are template, answer_prefix, " needle make -m base --wording odd.json
    sed 's/{context}//' ruler.json > odd.json
    refused 3 "odd.json: niah: 'template' has no {context}" needle make -m base --wording odd.json
    # Without these places the question has no answer in the text.
    sed 's/{context}/{{context}}/' ruler.json > odd.json
    refused 3 "odd.json: niah: 'template' has no {context}" needle make -m base --wording odd.json
    sed 's/{query}/it/g' ruler.json > odd.json
    refused 3 "odd.json: niah: neither 'template' nor 'answer_prefix' has {query}" \
        needle make -m base --wording odd.json
    # A prompt with a chat template does not have the prefix.
    sed 's/{query}?/it?/' ruler.json > odd.json
    needle make --quiet -m base -l 900 --depths 0 --wording odd.json --tasks single > p
    refused 3 "odd.json: niah: 'template' has no {query}" \
        needle make -m base --template llama-2 --wording odd.json
    echo '{"niah":{"needle":"The number of {key}."}}' > odd.json
    refused 3 "odd.json: niah: 'needle' has no {value}" needle make -m base --wording odd.json
    echo '{"variable_tracking":{"needle":"{{key}} = {value}"}}' > odd.json
    refused 3 "odd.json: variable_tracking: 'needle' has no {key}" \
        needle make -m base --wording odd.json
}

@test "needle: generate shares common beginnings of a file's prompts, and keeps the answers in their order" {
    make_base
    needle make --quiet -m base -l 300,400 --depths 0,50,100 --count 2 > p
    # From a pipe, each prompt is answered before the next one is read.
    cat p | generate --quiet -m base --context 500 -n 3 --format jsonl > piped
    perl -MList::Util=shuffle -e 'srand 3; print shuffle <STDIN>' < p > mixed
    run --separate-stderr -0 generate -m base --context 500 -n 3 --format jsonl -f mixed
    printf '%s\n' "${lines[@]}" > out
    diff <(sort piped) <(sort out)
    diff <(ask 'print $line->{prompt}, "\n"' < mixed) <(ask 'print $line->{prompt}, "\n"' < out)
    # A large part of the 4200 tokens are beginnings that other prompts share.
    shared=$(grep -oE 'of 4200 tokens of prompts [0-9]+ were' <<< "$stderr" | grep -oE '[0-9]+ were')
    [ "${shared% were}" -gt 1550 ]
    # A line that cannot be read ends the program after the earlier lines were answered.
    (head -n 3 mixed; echo '{"prompt":7}'; tail -n 3 mixed) > bad
    run --separate-stderr -3 generate --quiet -m base --context 500 -n 3 --format jsonl -f bad
    [ "${#lines[@]}" = 3 ]
    [[ "$stderr" == *"generate: bad: line 4: no string 'prompt'"* ]]
}
