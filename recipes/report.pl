#!/usr/bin/perl
# report.pl RUN FACTORS SOURCES - the report's tables and figure from RUN/scores/*.json:
# table.txt, table.md, table.json, figure.svg, figure.png. Numbers are perplexities by
# context length; over several sources the windows' mean losses are averaged.
use strict;
use warnings;
use JSON::PP;

my ($run, $factors, $sources) = @ARGV;
die "usage: report.pl RUN FACTORS SOURCES\n" unless defined $sources;
my @factors = split ' ', $factors;
my @sources = split ' ', $sources;
my $json = JSON::PP->new->canonical->pretty;

sub rows {
    my ($f) = @_;
    return (
        [ 'base', 'base' ],
        [ 'base-nf4', 'base, NF4' ],
        [ "interpolated-$f", 'base + interpolation, untrained' ],
        [ "full-$f", 'full fine-tuning, S2' ],
        [ "lora-$f", 'LoRA, S2' ],
        [ "longqlora-$f", 'LongQLoRA (NF4 + LoRA, S2)' ],
        [ "merged-$f", 'LongQLoRA merged into the unquantized base' ],
        [ "longqlora-plus-$f", 'LongQLoRA + embeddings and norms' ],
        [ "scratch-$f", 'trained at the long context from scratch' ],
        [ 'control', 'control: as many more steps at the short context' ],
    );
}

my (%loss, %seen);
sub read_scores {
    my ($row) = @_;
    return if $loss{$row};
    for my $source (@sources) {
        my $path = "$run/scores/$row.$source.json";
        open my $in, '<', $path or die "$path: $!\n";
        local $/;
        for my $s (@{ decode_json(<$in>)->{scores} }) {
            my $c = $s->{context};
            $loss{$row}{$source}{$c} = $s->{nll};
            $loss{$row}{all}{$c} += $s->{nll} * $s->{windows};
            $seen{$row}{$c} += $s->{windows};
        }
    }
    $loss{$row}{all}{$_} /= $seen{$row}{$_} for keys %{ $seen{$row} };
}

read_scores($_->[0]) for map { rows($_) } @factors;
my @contexts = sort { $a <=> $b } keys %{ $loss{base}{all} };

sub ppl { my ($row, $source, $c) = @_; return exp $loss{$row}{$source}{$c} }

# ---- tables ----

my ($text, $markdown, %table) = ('', '', ());
for my $f (@factors) {
    for my $source ('all', @sources) {
        my $where = $source eq 'all' ? 'all sources' : "source $source";
        my $title = "Perplexity by context length, extension by $f, $where";
        my $short = $source ne 'all';
        $text .= sprintf "%s\n%-50s%s\n", $title, '', join '', map { sprintf '%9d', $_ } @contexts unless $short;
        $markdown .= "### $title\n\n| model | " . join(' | ', @contexts) . " |\n|---|" . '---|' x @contexts . "\n";
        for my $row (rows($f)) {
            my ($key, $label) = @$row;
            my @values = map { sprintf '%.2f', ppl($key, $source, $_) } @contexts;
            $text .= sprintf "%-50s%s\n", $label, join '', map { sprintf '%9s', $_ } @values unless $short;
            $markdown .= "| $label | " . join(' | ', @values) . " |\n";
            $table{"extension by $f"}{$source}{$label} =
                { map { $_ => 0 + sprintf '%.6f', ppl($key, $source, $_) } @contexts };
        }
        $text .= "\n" unless $short;
        $markdown .= "\n";
    }
}

# ---- what the table shows, computed from it ----

sub fact {
    my ($label, $value, $holds) = @_;
    my $line = sprintf '%s: %s (%s)', $label, $value, $holds ? 'yes' : 'no';
    $text .= "$line\n";
    $markdown .= "- $line\n";
    push @{ $table{facts} }, { claim => $label, value => $value, holds => $holds ? JSON::PP::true : JSON::PP::false };
}

my $base = $contexts[int(@contexts / 2)];
my $long = $contexts[-1];
for my $source ('all', @sources) {
    my $at = $source eq 'all' ? '' : ", $source";
    my $ratio = ppl('base', $source, $long) / ppl('base', $source, $base);
    fact("the base at $long is at least 1.1 times worse than at $base$at", sprintf('%.3f times', $ratio), $ratio >= 1.1);
    my $nf4 = ppl('base-nf4', $source, $base) / ppl('base', $source, $base) - 1;
    fact("NF4 costs less than 1 % at $base$at", sprintf('%.2f %%', 100 * $nf4), $nf4 < 0.01);
    for my $f (@factors) {
        my ($i, $c) = (ppl("interpolated-$f", $source, $base), $base * $f);
        fact("interpolation by $f without training is worse than the base at $base$at",
            sprintf('%.2f against %.2f', $i, ppl('base', $source, $base)), $i > ppl('base', $source, $base));
        next if $f != $factors[0];
        my @path = map { ppl("longqlora-$f", $source, $_) } grep { $_ <= $c } @contexts;
        fact("LongQLoRA improves with length up to $c$at", join(' > ', map { sprintf '%.2f', $_ } @path),
            !grep { $path[$_] >= $path[ $_ - 1 ] } 1 .. $#path);
        my ($q, $b) = (ppl("longqlora-$f", $source, $c), ppl('base', $source, $c));
        fact("LongQLoRA beats the base at $c$at", sprintf('%.2f against %.2f', $q, $b), $q < $b);
    }
}

sub put {
    my ($name, $content) = @_;
    open my $out, '>', "$run/$name.tmp" or die "$run/$name: $!\n";
    print $out $content;
    close $out or die "$run/$name: $!\n";
    rename "$run/$name.tmp", "$run/$name" or die "$run/$name: $!\n";
}

# ---- figure: one line a model, one panel a factor ----

my ($data, $plot, $block) = ('', '', 0);
for my $f (@factors) {
    my @lines;
    for my $row (rows($f)) {
        $data .= "\$row" . ++$block . " << E\n";
        $data .= sprintf "%d %.5f\n", $_, ppl($row->[0], 'all', $_) for @contexts;
        $data .= "E\n";
        push @lines, qq(\$row$block using 1:2 with linespoints title "$row->[1]");
    }
    $plot .= qq(set title "extension by $f"\nplot ) . join(', ', @lines) . "\n";
}
my $panels = @factors;
my $common = qq(set logscale x 2\nset xlabel "context length (tokens)"\nset ylabel "perplexity"\n)
    . qq(set key below font ",9"\nset grid\nset multiplot layout 1,$panels\n);
my $width = 640 * $panels;
for my $kind ([ 'svg', "svg size $width,620 dynamic" ], [ 'png', "pngcairo size $width,620" ]) {
    open my $gnuplot, '|-', 'gnuplot' or die "gnuplot: $!\n";
    print $gnuplot "set terminal $kind->[1]\nset output '$run/figure.$kind->[0]'\n$data$common$plot";
    close $gnuplot or die "gnuplot failed\n";
}
put('table.txt', $text);
put('table.json', $json->encode(\%table));
put('table.md', $markdown);
