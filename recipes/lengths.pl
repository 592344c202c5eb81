#!/usr/bin/perl
# lengths.pl SUMMARY.json FIGURE.svg - the lengths of documents by source, as pack --summary
# counted them, drawn by gnuplot: the share of each source's documents by powers of two.
use strict;
use warnings;
use JSON::PP;

my ($summary, $figure) = @ARGV;
die "usage: lengths.pl SUMMARY.json FIGURE.svg\n" unless defined $figure;
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
    $data .= join(' ', 2 ** $b, map { my $s = $sources->{$_}; 100 * $s->{lengths_log2}[$b] / $s->{documents} } @names) . "\n";
}
open my $plot, '|-', 'gnuplot' or die "gnuplot: $!\n";
print $plot "\$lengths << E\n${data}E\n",
    qq(set terminal svg size 800,480 background "white"\nset output "$figure"\n),
    "set style data histogram\nset style fill solid 0.8\nset key top right\nset grid y\n",
    "set xlabel 'tokens of a document, from'\nset ylabel 'share of the source in %'\nset xtics rotate by -45\n",
    'plot ', join(', ', map { "\$lengths using " . ($_ + 2) . ':xtic(1) title "' . $names[$_] =~ s/["_]/ /gr . '"' } 0 .. $#names), "\n";
close $plot or die "gnuplot failed\n";
