load helper

# Prints the texts of a figure with their positions: "x y text".
texts() {
    perl -0777 -ne 'my $at = qr/<g transform="translate\(([\d.]+),([\d.]+)\)[^>]*>/;
        print "$1 $2 $3\n" while m{$at\s*<text>(?:<tspan[^>]*>)?([^<]*)<}g' "$1" \
        | sed "s/&apos;/'/g"
}
is_png() { [ "$(od -An -tx1 -N8 "$1" | tr -d " ")" = 89504e470d0a1a0a ]; }

@test "figures: ten lines differ in colour, also for the colour-blind, and in mark" {
    # Computes how far apart the colours are in CIELAB, where a distance of 2 is just visible: the
    # colours as they are, and as they look with each kind of colour-blindness (Machado, Oliveira
    # and Fernandes 2009).
    perl -I"$root/recipes" -MFigure=styles -e '
        my @styles = styles();
        my %seeing = (all => [1, 0, 0, 0, 1, 0, 0, 0, 1],
            no_red => [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216,
                -0.003882, -0.048116, 1.051998],
            no_green => [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413,
                -0.011820, 0.042940, 0.968881],
            no_blue => [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602,
                0.004733, 0.691367, 0.303900]);
        sub product { my ($m, @v) = @_;
            map { my @row = @$m[3 * $_ .. 3 * $_ + 2];
                $row[0] * $v[0] + $row[1] * $v[1] + $row[2] * $v[2] } 0 .. 2 }
        sub linear { my $v = hex($_[0]) / 255;
            $v <= 0.04045 ? $v / 12.92 : (($v + 0.055) / 1.055) ** 2.4 }
        sub lab { my @f = map { $_ > 0.008856 ? $_ ** (1 / 3) : 7.787 * $_ + 16 / 116 }
            product([0.4339, 0.3762, 0.1899, 0.2126, 0.7152, 0.0722, 0.0177, 0.1095, 0.8728], @_);
            (116 * $f[1] - 16, 500 * ($f[0] - $f[1]), 200 * ($f[1] - $f[2])) }
        for my $how (sort keys %seeing) {
            my @lab = map {
                my @seen = product($seeing{$how}, map { linear($_) } $_->[0] =~ /\w\w/g);
                [ lab(map { $_ < 0 ? 0 : $_ > 1 ? 1 : $_ } @seen) ] } @styles, [ "#ffffff" ];
            for my $i (0 .. $#lab) { for my $j (0 .. $i - 1) {
                my $apart = 0; $apart += ($lab[$i][$_] - $lab[$j][$_]) ** 2 for 0 .. 2;
                die "$how: $i and $j are ", sqrt $apart, " apart\n" if $apart < 16 ** 2 } }
        }
        my %marks = map { $_->[1] => 1 } @styles;
        die "the same mark\n" if @styles < 10 || keys %marks < @styles'
}

@test "figures: the report's figure has a title, units, the base's context, and names beside the lines" {
    "$root/recipes/figure.pl" "$root/docs/miniature/table-seed0.json" 128 f.svg f.png
    is_png f.png
    texts f.svg > texts
    grep -q ' Perplexity of held-out text by context length$' texts
    [ "$(grep -c ' context length (tokens)$' texts)" = 2 ]
    [ "$(grep -c ' perplexity (per token)$' texts)" = 2 ]
    [ "$(grep -c " the base's context: 128$" texts)" = 2 ]
    # In each panel the names have the same order as the ends of the lines, and do not overlap.
    perl -MJSON::PP -e 'open my $in, "<", shift or die;
        my $table = decode_json(join "", <$in>);
        my @texts = map { [ /^(\S+) (\S+) (.*)/ ] } <STDIN>;
        for my $factor (2, 4) {
            my $rows = $table->{"extension by $factor"}{all};
            die scalar keys %$rows if keys %$rows != 10;
            my $y = 0;
            for my $name (sort { $rows->{$b}{512} <=> $rows->{$a}{512} } keys %$rows) {
                my @found = grep { $_->[2] eq $name } @texts;
                die "$name: ", scalar @found if @found != 2;
                my ($at) = grep { ($_->[1] > 474) == ($factor == 4) } @found;
                die "$name covers another, or is out of order" if $y && $at->[1] < $y + 14;
                die "$name is cut off" if $at->[0] + 6 * length $name > 1040;
                $y = $at->[1];
            } }' "$root/docs/miniature/table-seed0.json" < texts
    # The figure is drawn from the table. An unknown table is refused.
    run ! "$root/recipes/figure.pl" "$root/docs/miniature/README.md" 128 g.svg
    echo '{"facts":[]}' > none.json
    run ! "$root/recipes/figure.pl" none.json 128 g.svg
    [ ! -e g.svg ]
}

@test "figures: the figures in the documents are drawn from the tables in the documents" {
    for seed in 0 1; do
        shown=$root/docs/miniature/figure-seed$seed.svg
        "$root/recipes/figure.pl" "$root/docs/miniature/table-seed$seed.json" 128 f.svg
        by() { grep -o 'GNUPLOT [^<]*' "$1"; }
        # With another version of gnuplot the letters have other widths.
        if [ "$(by f.svg)" = "$(by "$shown")" ]; then
            cmp f.svg "$shown"
        else
            diff <(texts f.svg | cut -d ' ' -f 3-) <(texts "$shown" | cut -d ' ' -f 3-)
        fi
    done
}

@test "figures: a report has the rows that were measured, and fails if one is missing" {
    mkdir -p run/scores
    rows="base base-nf4 interpolated-2 lora-2 longqlora-2 merged-2"
    for row in $rows; do
        echo '{"scores":[{"context":4096,"nll":2.5,"windows":3},{"context":8192,"nll":2.'${#row}',
            "windows":3}]}' > run/scores/$row.pg19.json
    done
    "$root/recipes/report.pl" run 2 pg19 4096 "$rows"
    [ "$(grep -c '^| ' run/table.md)" = 14 ]
    grep -q '^| LoRA, S2 | 12.18 | 13.46 |' run/table.md
    texts run/figure.svg | grep -q "the base's context: 4096"
    is_png run/figure.png
    run ! "$root/recipes/report.pl" run 2 pg19 4096 "base base-nf4 full-2"
    [[ "$output" == *"run/scores/full-2.pg19.json: No such file"* ]]
    run ! "$root/recipes/report.pl" run 2 pg19 2048 "base base-nf4"
    [ "$output" = "report.pl: nothing was measured at the base's context, 2048" ]
}

@test "figures: the losses of several runs are drawn together, with smoothed lines" {
    mkdir one two
    perl -e 'for my $run ("one", "two") { open my $out, ">", "$run/trainer_log.jsonl";
        for my $step (map { 10 * $_ } 1 .. 100) {
            # The points lie alternately above and below a straight line.
            my $loss = 5 - $step / 500;
            printf $out qq({"step":%d,"loss":%.6f}\n), $step, $loss + ($step % 20 ? 0.2 : -0.2);
            next if $run ne "one" || $step % 250;
            printf $out qq({"step":%d,"eval_loss":%.6f}\n), $step, $loss - 1;
        }
        print $out qq({"step":1010,"lo) }' # this last line is still being written
    make -s -C "$root" plot RUN="$PWD/one" > said
    printf '%s\n' "$PWD/one/loss.svg" "$PWD/one/loss.png" | diff - said
    is_png one/loss.png
    texts one/loss.svg > texts
    grep -q ' Loss of .*one$' texts
    grep -q ' step (updates of the weights)$' texts
    grep -q ' loss (nats per token)$' texts
    grep -q ' Points: lines of the log. Training: smoothed, width 20.$' texts
    [ "$(grep -cE ' (training|evaluation)$' texts)" = 2 ]
    # The smoothed line is straight, although the points lie 0.2 above and below it.
    perl -0777 -ne 'my ($path) = sort { $b =~ tr/L// <=> $a =~ tr/L// } / d=\x27(M[^\x27]*)/g;
        my @points = map { /^([\d.]+),([\d.]+)$/ ? [ $1, $2 ] : () } split /[\sML]+/, $path;
        die scalar @points if @points < 60;
        my ($first, $last) = @points[0, -1];
        my $slope = ($last->[1] - $first->[1]) / ($last->[0] - $first->[0]);
        for (@points) {
            my $above = $_->[1] - $first->[1] - $slope * ($_->[0] - $first->[0]);
            die "@$_ $above" if abs $above > 8 }' one/loss.svg
    make -s -C "$root" plot RUN="$PWD/one $PWD/two"
    is_png one/losses.png
    texts one/losses.svg > texts
    [ "$(grep -cE 'one, (training|evaluation)$|two, training$' texts)" = 3 ]
    grep -q ' Loss of 2 runs$' texts
    run ! "$root/recipes/loss.pl" one two one two one two one two
    [ "$output" = "loss.pl: 12 lines, of which 10 can be told apart: name fewer runs" ]
    echo broken >> two/trainer_log.jsonl
    run ! "$root/recipes/loss.pl" two
    [ "$output" = "loss.pl: two/trainer_log.jsonl: line 101: this is not a line of a training's log" ]
    run -2 make -s -C "$root" plot
    [[ "$output" == *'plot: say RUN=output_dir'* ]]
}

@test "figures: names with special characters are shown, and no program executes them" {
    name='`touch done`"_'"'"'$(touch done)'
    mkdir "$name"
    printf '{"step":1,"loss":5.0}\n{"step":2,"loss":4.0}\n' > "$name/trainer_log.jsonl"
    "$root/recipes/loss.pl" "$name"
    "$root/recipes/loss.pl" "$name" "$name"
    grep -qF '`touch done`' "$name/loss.svg"
    perl -MJSON::PP -e 'my %counts = (documents => 3, lengths_log2 => [0, 1, 2]);
        print encode_json({ sources => { shift() => \%counts } })' "$name" > s.json
    "$root/recipes/lengths.pl" s.json l.svg
    grep -qF '`touch done`' l.svg
    [ ! -e done ]
}

@test "figures: make has a rule for each step of demo and of reproduce SCALE=smoke" {
    cd "$root"
    for goal in demo "reproduce SCALE=smoke SEED=7"; do
        run -0 env -u MAKEFLAGS -u MAKELEVEL make -n NVCC= $goal
        [[ "$output" == *"recipes/differ.pl run/"* ]]
    done
}

@test "figures: make help has a line for each target that is not part of another" {
    cd "$root"
    make -s help | sed -n 's/^  \([a-z-]*\)  .*/\1/p' | sort > "$BATS_TEST_TMPDIR/told"
    sed -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' Makefile recipes/reproduce.mk tests/tests.mk \
        | sed -n 's/^\.PHONY: //p' | tr -s ' \t' '\n' | grep -v 'programs$' | sort > "$BATS_TEST_TMPDIR/there"
    diff "$BATS_TEST_TMPDIR/there" "$BATS_TEST_TMPDIR/told"
    [ "$(make -s help | grep -c '^  [a-z-]*  *[^ ]')" = "$(wc -l < "$BATS_TEST_TMPDIR/told")" ]
}
