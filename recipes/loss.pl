#!/usr/bin/perl
# loss.pl RUN - draws the loss of a training, and of its evaluations if there are any, from
# RUN/trainer_log.jsonl: RUN/loss.svg.
use strict;
use warnings;
use JSON::PP;

my ($run) = @ARGV;
die "usage: loss.pl RUN\n" unless defined $run;
open my $in, '<', "$run/trainer_log.jsonl" or die "$run/trainer_log.jsonl: $!\n";
my ($data, $measured) = ('', '');
while (<$in>) {
    my $line = decode_json($_);
    $data .= "$line->{step} $line->{loss}\n" if defined $line->{loss};
    $measured .= "$line->{step} $line->{eval_loss}\n" if defined $line->{eval_loss};
}
die "$run/trainer_log.jsonl: no loss in it\n" if $data eq '';
open my $plot, '|-', 'gnuplot' or die "gnuplot: $!\n";
print $plot "\$loss << E\n${data}E\n", "\$measured << E\n${measured}E\n",
    qq(set terminal svg size 800,480 background "white"\nset output "$run/loss.svg"\n),
    "set grid\nset xlabel 'step'\nset ylabel 'loss'\n", $measured eq '' ? "unset key\n" : '',
    "plot \$loss using 1:2 with linespoints pointtype 7 pointsize 0.3 title 'training'",
    $measured eq '' ? "\n" : ", \$measured using 1:2 with linespoints pointtype 7 title 'evaluation'\n";
close $plot or die "gnuplot failed\n";
print "$run/loss.svg\n";
