#!/usr/bin/perl
# figure.pl TABLE.json BASE_CONTEXT FIGURE.svg|FIGURE.png... - draws the report's table as a figure:
# perplexity by context length, with one panel for each factor of extension and one line for each
# row.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use Figure qw(draw);
use Rows qw(rows);

my ($path, $base, @figures) = @ARGV;
die "usage: figure.pl TABLE.json BASE_CONTEXT FIGURE.svg|FIGURE.png...\n"
    unless @figures && $base =~ /^[1-9]\d*$/ && !grep { !/\.(svg|png)$/ } @figures;
open my $in, '<', $path or die "$path: $!\n";
my $table = decode_json(do { local $/; <$in> });

my @panels;
for my $factor (sort { $a <=> $b } map { /^extension by (\d+)$/ ? $1 : () } keys %$table) {
    my $rows = $table->{"extension by $factor"}{all};
    my @lines;
    for my $row (rows($factor)) {
        my ($key, $name, $style) = @$row;
        my $ppl = $rows->{$name} or next;
        my @points = map { [ $_, $ppl->{$_} ] } sort { $a <=> $b } keys %$ppl;
        my $is_main = $key eq "longqlora-$factor";
        push @lines, { name => $name, style => $style, is_main => $is_main, points => \@points };
    }
    die "$path: extension by $factor: none of its rows is in recipes/Rows.pm\n" unless @lines;
    push @panels, {
        title => "Extended by $factor: from $base to " . $base * $factor . ' tokens',
        x => 'context length (tokens)',
        y => 'perplexity (per token)',
        contexts => [ map { $_->[0] } @{ $lines[0]{points} } ],
        vertical => [ $base, "the base's context: $base" ],
        lines => \@lines,
    };
}
die "$path: it has no table named 'extension by N'\n" unless @panels;
draw({ title => 'Perplexity of held-out text by context length', panels => \@panels }, @figures);
