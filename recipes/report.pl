#!/usr/bin/perl
# report.pl RUN FACTORS SOURCES BASE_CONTEXT ROWS - writes the report's tables and figure from the
# scores of these rows, RUN/scores/*.json: table.txt, table.md, table.json, figure.svg, figure.png.
# Numbers are perplexities by context length. Over all sources, the loss is the mean of the losses
# of all their windows.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use Figure qw(put);
use Rows qw(rows);

my ($run, $factors, $sources, $base, $measured) = @ARGV;
die "usage: report.pl RUN FACTORS SOURCES BASE_CONTEXT ROWS\n" unless defined $measured;
my @factors = split ' ', $factors;
my @sources = split ' ', $sources;
my %is_measured = map { $_ => 1 } split ' ', $measured;
my $json = JSON::PP->new->canonical->pretty;

# Returns the rows of a factor's tables that this scale measures.
sub rows_of { return grep { $is_measured{ $_->[0] } } rows(@_) }

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

read_scores($_->[0]) for map { rows_of($_) } @factors;
my @contexts = sort { $a <=> $b } keys %{ $loss{base}{all} };
die "report.pl: nothing was measured at the base's context, $base\n"
    unless grep { $_ == $base } @contexts;

sub ppl { my ($row, $source, $c) = @_; return exp $loss{$row}{$source}{$c} }

# ---- tables ----

my ($text, $markdown, %table) = ('', '', ());
for my $f (@factors) {
    for my $source ('all', @sources) {
        my $where = $source eq 'all' ? 'all sources' : "source $source";
        my $title = "Perplexity by context length, extension by $f, $where";
        my $short = $source ne 'all';
        $text .= sprintf "%s\n%-50s%s\n", $title, '', join '', map { sprintf '%9d', $_ } @contexts
            unless $short;
        $markdown .= "### $title\n\n| model | " . join(' | ', @contexts) . " |\n|---|"
            . '---|' x @contexts . "\n";
        for my $row (rows_of($f)) {
            my ($key, $label) = @$row;
            my @values = map { sprintf '%.2f', ppl($key, $source, $_) } @contexts;
            $text .= sprintf "%-50s%s\n", $label, join '', map { sprintf '%9s', $_ } @values
                unless $short;
            $markdown .= "| $label | " . join(' | ', @values) . " |\n";
            $table{"extension by $f"}{$source}{$label} =
                { map { $_ => 0 + sprintf '%.6f', ppl($key, $source, $_) } @contexts };
        }
        $text .= "\n" unless $short;
        $markdown .= "\n";
    }
}

# ---- statements about the table, computed from its numbers ----

sub fact {
    my ($label, $value, $holds) = @_;
    my $line = sprintf '%s: %s (%s)', $label, $value, $holds ? 'yes' : 'no';
    $text .= "$line\n";
    $markdown .= "- $line\n";
    $holds = $holds ? JSON::PP::true : JSON::PP::false;
    push @{ $table{facts} }, { claim => $label, value => $value, holds => $holds };
}

# A rehearsal measures one context, about which there is nothing to say.
my $long = $contexts[-1];
for my $source (@contexts > 1 ? ('all', @sources) : ()) {
    my $at = $source eq 'all' ? '' : ", $source";
    my $here = ppl('base', $source, $base);
    my $ratio = ppl('base', $source, $long) / $here;
    fact("the base at $long is at least 1.1 times worse than at $base$at",
        sprintf('%.3f times', $ratio), $ratio >= 1.1);
    my $nf4 = ppl('base-nf4', $source, $base) / $here - 1;
    fact("NF4 costs less than 1 % at $base$at", sprintf('%.2f %%', 100 * $nf4), $nf4 < 0.01);
    for my $f (@factors) {
        my ($i, $c) = (ppl("interpolated-$f", $source, $base), $base * $f);
        fact("interpolation by $f without training is worse than the base at $base$at",
            sprintf('%.2f against %.2f', $i, $here), $i > $here);
        next if $f != $factors[0];
        my @path = map { ppl("longqlora-$f", $source, $_) } grep { $_ <= $c } @contexts;
        fact("LongQLoRA improves with length up to $c$at",
            join(' > ', map { sprintf '%.2f', $_ } @path),
            !grep { $path[$_] >= $path[ $_ - 1 ] } 1 .. $#path);
        my ($q, $b) = (ppl("longqlora-$f", $source, $c), ppl('base', $source, $c));
        fact("LongQLoRA beats the base at $c$at", sprintf('%.2f against %.2f', $q, $b), $q < $b);
    }
}

put("$run/table.txt", $text);
put("$run/table.json", $json->encode(\%table));
my @figures = map { "$run/figure.$_" } qw(svg png);
system("$FindBin::Bin/figure.pl", "$run/table.json", $base, @figures) == 0
    or die "report.pl: figure.pl failed\n";
put("$run/table.md", $markdown);
