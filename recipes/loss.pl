#!/usr/bin/perl
# loss.pl RUN - draws the loss of a training from RUN/trainer_log.jsonl: RUN/loss.svg.
use strict;
use warnings;
use JSON::PP;

my ($run) = @ARGV;
die "usage: loss.pl RUN\n" unless defined $run;
open my $in, '<', "$run/trainer_log.jsonl" or die "$run/trainer_log.jsonl: $!\n";
my $data = '';
while (<$in>) {
    my $line = decode_json($_);
    $data .= "$line->{step} $line->{loss}\n" if defined $line->{loss};
}
die "$run/trainer_log.jsonl: no loss in it\n" if $data eq '';
open my $plot, '|-', 'gnuplot' or die "gnuplot: $!\n";
print $plot "\$loss << E\n${data}E\n",
    qq(set terminal svg size 800,480 background "white"\nset output "$run/loss.svg"\n),
    "set grid\nset xlabel 'step'\nset ylabel 'loss'\nunset key\n",
    "plot \$loss using 1:2 with linespoints pointtype 7 pointsize 0.3\n";
close $plot or die "gnuplot failed\n";
print "$run/loss.svg\n";
