load helper

# What a message must say is the input, the place, what is wrong and what to do next. Each test here is a
# mistake that someone made.

says() { # STATUS MESSAGE COMMAND...
    run --separate-stderr "-$1" "${@:3}"
    [[ "$stderr" == $2 ]] || { printf '%s\n%s\n' "$2" "$stderr"; false; }
}

@test "messages: sizes are told in a unit that shows them" {
    make_base
    for command in "quantize base -o x.nf4" "ppl -m base -d docs.tok -c 16" "generate -m base.nf4 --tokenizer base -p a -n 1" \
        "generate -m base -p a -n 1"; do
        run --separate-stderr -0 $command
        [[ "$stderr" == *B* ]]
        run ! grep -E '(^|[^0-9.])0+\.0+ ?[kMGT]?B' <<< "$stderr"
    done
}

@test "messages: quantize says the error of each kind of linear; of each linear with --verbose" {
    make_base
    run --separate-stderr -0 quantize base -o x.nf4
    [ "$(grep -c 'relative error' <<< "$stderr")" -eq 8 ]
    run ! grep -q 'model\.layers' <<< "$stderr"
    quantize base --verbose -o y.nf4 2> each
    cmp x.nf4 y.nf4
    [ "$(grep -c '^quantize: model.layers.*: relative error' each)" -eq 14 ]
    # Mean and worst are those of the lines.
    perl -e 'use strict; my (%e, %told); for (<STDIN>) {
            push @{ $e{$2} }, [$3, $1] if /^quantize: model\.layers\.(\d+)\.\w+\.(\w+)\.weight: relative error ([\d.]+),/;
            $told{$1} = [$2, $3, $4] if /^quantize: (\w+) +of 2 layers: relative error ([\d.]+) in the mean, ([\d.]+) at worst \(layer (\d+)\)$/ }
        die scalar keys %told unless keys %told == 7 && keys %e == 7;
        for my $kind (keys %e) { my ($mean, $worst) = (0, [-1]); for (@{ $e{$kind} }) { $mean += $_->[0] / 2; $worst = $_ if $_->[0] > $worst->[0] }
            die $kind unless abs($told{$kind}[0] - $mean) < 1.1e-4 && $told{$kind}[1] == $worst->[0] && $told{$kind}[2] == $worst->[1] }' < each
    quantize base --to bnb -o bnb 2> each
    [ "$(grep -c 'relative error' each)" -eq 8 ]
    says 2 'quantize: a model directory is needed: quantize MODEL_DIR -o FILE (see quantize --help)' quantize
}
