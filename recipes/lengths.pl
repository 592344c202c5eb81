#!/usr/bin/perl
# lengths.pl SUMMARY.json FIGURE.svg|FIGURE.png - draws the lengths of documents, as pack --summary
# counted them: for each source, which share of its documents has from 2^n to 2^(n+1) tokens, for
# each n.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use Figure qw(gnuplot quoted);

my ($summary, $figure) = @ARGV;
die "usage: lengths.pl SUMMARY.json FIGURE.svg|FIGURE.png\n"
    unless defined $figure && $figure =~ /\.(svg|png)$/;
open my $in, '<', $summary or die "$summary: $!\n";
my $sources = decode_json(do { local $/; <$in> })->{sources};
my @names = sort keys %$sources;
my ($first, $last) = (24, 0);
for my $name (@names) {
    my $bins = $sources->{$name}{lengths_log2};
    for my $b (grep { $bins->[$_] } 0 .. $#$bins) {
        $first = $b if $b < $first;
        $last = $b if $b > $last;
    }
}
my $data = '';
for my $b ($first .. $last) {
    my @shares = map { 100 * $_->{lengths_log2}[$b] / $_->{documents} } @$sources{@names};
    $data .= join(' ', 2 ** $b, @shares) . "\n";
}
my @bars = map { "\$lengths using " . ($_ + 2) . ':xtic(1) title ' . quoted($names[$_]) }
    0 .. $#names;
gnuplot("\$lengths << E\n${data}E\n"
        . "set title 'Lengths of documents, by source'\nset style data histogram\n"
        . "set style fill solid 0.8\nset colorsequence podo\nset key outside right top\n"
        . "set grid y\nset xtics rotate by -45\nset xlabel 'tokens of a document, from'\n"
        . "set ylabel 'share of the documents of a source (%)'\n"
        . 'plot ' . join(', ', @bars) . "\n",
    800, 480, $figure);
