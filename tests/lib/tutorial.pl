#!/usr/bin/perl
# tutorial.pl PAGE > script - turns a page's commands into a bash script. In an indented block a
# line that begins with "$ " is a command, lines that begin with "> " continue it, and the other
# lines are its output.
# Commands that begin with make are left out. In a block after <!-- exact --> each output must be
# that of the page (--same). If NEAR is set, tables of perplexities are compared too (--near).
# tutorial.pl --same WANT GOT - compares two outputs without their empty lines. "…" in WANT stands
# for anything.
# tutorial.pl --near WANT GOT - compares two tables of perplexities: each to within two per cent.
use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

sub text_of {
    my ($path) = @_;
    open my $in, '<', $path or die "$path: $!\n";
    local $/;
    my $text = <$in> // '';
    $text =~ s/^\s*\n//mg;
    return $text;
}

sub perplexities { map { /^ +(\d+) +\d+ +\d+ +[\d.]+ +([\d.]+)/ ? [$1, $2] : () } split /\n/, $_[0]
    }

my $first = shift // die "usage: tutorial.pl PAGE\n";
if ($first =~ /^--(same|near)$/) {
    my ($want, $got) = map { text_of($_) } @ARGV;
    my $is_well;
    if ($1 eq 'same') {
        my $pattern = join '.*', map { quotemeta } split /…/, $want, -1;
        $is_well = $got =~ /^$pattern$/s;
    } else {
        my @want = perplexities($want);
        my @got = perplexities($got);
        $is_well = @want && @want == @got;
        for my $i (0 .. $#want) {
            last unless $is_well;
            $is_well = $want[$i][0] == $got[$i][0] && abs($got[$i][1] / $want[$i][1] - 1) < 0.02;
        }
    }
    print "wanted:\n${want}came:\n$got" unless $is_well;
    exit !$is_well;
}

my ($command, $output, $is_exact) = (undef, '', 0);
sub finish {
    if (defined $command && $command !~ /^make /) {
        print "cat > want <<'__WANT__'\n${output}__WANT__\n" if $is_exact || $output =~
            /perplexity/;
        print "{ $command\n} > got 2>&1", $is_exact ? "\ntutorial.pl --same want got || exit\n" :
            " || { cat got; exit 1; }\n";
        print "[ -z \"\${NEAR:-}\" ] || tutorial.pl --near want got || exit\n" if $output =~
            /perplexity/;
    }
    ($command, $output) = (undef, '');
}

open my $page, '<', $first or die "$first: $!\n";
while (<$page>) {
    if (/^    \$ (.*)/) { finish(); $command = $1 }
    elsif (/^    > ?(.*)/ && $output eq '') { $command .= "\n$1" }
    elsif (/^    (.*)/) { $output .= "$1\n" }
    elsif (/\S/) { finish(); $is_exact = /^<!-- exact -->/ }
}
finish();
