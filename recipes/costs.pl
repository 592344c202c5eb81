#!/usr/bin/perl
# costs.pl RUN SAMPLES - writes RUN/costs.md and RUN/costs.txt, a table of what each stage of a
# rehearsal took: seconds, the largest memory of its process, and what it added to the disk. A
# training has one step of one sample; the last column estimates the hours of the whole training, of
# SAMPLES samples.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Figure qw(put);

my ($run, $samples) = @ARGV;
die "usage: costs.pl RUN SAMPLES\n" unless defined $samples;
open my $in, '<', "$run/costs" or die "costs.pl: $run/costs: $!\n";
my (@order, %of);
while (<$in>) {
    chomp;
    my ($name, @values) = split /\t/;
    push @order, $name unless $of{$name};
    $of{$name} = \@values;
}
my $text = "| stage | seconds | memory, GiB | disk, GiB | hours of the whole run |\n|---|"
    . "---|---|---|---|\n";
my ($seconds, $disk) = (0, 0);
for my $name (@order) {
    my ($s, $memory, $added) = @{ $of{$name} };
    my $whole = $name =~ /^train/ ? sprintf '%.0f', $s * $samples / 3600 : '';
    $text .= sprintf "| %s | %.1f | %.2f | %.2f | %s |\n", $name, $s, $memory / 1024 ** 2,
        $added / 1024 ** 2, $whole;
    $seconds += $s;
    $disk += $added;
}
$text .= sprintf "| all | %.1f | | %.2f | |\n", $seconds, $disk / 1024 ** 2;
put("$run/costs.md", $text);
put("$run/costs.txt", $text);
