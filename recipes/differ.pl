#!/usr/bin/perl
# differ.pl RUN - fails if two rows of one extension have the same numbers over all sources, by
# RUN/table.json. Equal rows mean that something was not trained, merged or loaded, even if every
# stage succeeded.
use strict;
use warnings;
use JSON::PP;

my ($run) = @ARGV;
die "usage: differ.pl RUN\n" unless defined $run;
open my $in, '<', "$run/table.json" or die "$run/table.json: $!\n";
my $table = do { local $/; decode_json(<$in>) };
my ($rows, %seen, @same) = (0);
for my $title (grep { $_ ne 'facts' } sort keys %$table) {
    my $all = $table->{$title}{all};
    for my $row (sort keys %$all) {
        my $numbers = join ' ', map { $all->{$row}{$_} } sort { $a <=> $b } keys %{ $all->{$row} };
        push @same, "$title: '$row' is '$seen{$title}{$numbers}': $numbers\n" if exists
            $seen{$title}{$numbers};
        $seen{$title}{$numbers} = $row;
        $rows++;
    }
}
die "differ.pl: $run/table.json holds no rows\n" unless $rows;
die map { "differ.pl: $_" } @same if @same;
print "== $rows rows; no two rows of a table have the same numbers\n";
