#!/usr/bin/perl
# mix.pl SAMPLES[:COUNT]... - writes the samples of several streams as one stream of JSON lines, for
# pack --from samples-jsonl. With COUNT, so many samples of a stream are taken, evenly from its
# beginning to its end. The header is that of the first stream, but with the largest context of all
# and with the template of the stream that has chats.
use strict;
use warnings;
use JSON::PP;
use List::Util qw(max);

die "usage: mix.pl SAMPLES[:COUNT]...\n" unless @ARGV;
my $json = JSON::PP->new->canonical->ascii;
my ($header, $template, @records);
for (@ARGV) {
    my ($path, $count) = /^(.*):(\d+)$/ ? ($1, $2) : ($_);
    open my $in, '-|', 'bin/pack', '--quiet', '--from', 'samples', '--to', 'jsonl', $path
        or die "mix.pl: bin/pack: $!\n";
    my ($first, @lines) = <$in>;
    close $in or die "mix.pl: $path: pack cannot read it\n";
    my $end = decode_json(pop @lines);
    $template //= $end->{'x-template'};
    my $own = decode_json($first);
    $header //= $own;
    die "mix.pl: $path: was made with another tokenizer than $ARGV[0]\n"
        if $own->{tokenizer}{digest} ne $header->{tokenizer}{digest};
    $header->{context} = max($header->{context}, $own->{context});
    $count //= @lines;
    die "mix.pl: $path: $count samples are asked for, it has " . @lines . "\n" if $count > @lines;
    push @records, map { $lines[ $_ * @lines / $count ] } 0 .. $count - 1;
}
print $json->encode($header), "\n", @records,
    $json->encode({ end => JSON::PP::true, records => scalar @records,
            $template ? ('x-template' => $template) : () }), "\n";
