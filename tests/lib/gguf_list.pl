#!/usr/bin/perl
# gguf_list.pl FILE - prints the keys and the tensors of a GGUF file, sorted by name, one in a line:
# a key with its value, an array with its items; a tensor with its type, its shape and a digest.
use strict;
use warnings;
use Digest::MD5 'md5_hex';

open my $f, '<:raw', $ARGV[0] or die "$ARGV[0]: $!";
my $file = do { local $/; <$f> };
my $at = 0;
sub take { my $bytes = shift; $at += $bytes; return substr $file, $at - $bytes, $bytes }
sub number { return unpack $_[0], take($_[1]) }
sub text { return take(number('Q<', 8)) }

my @plain = (['C', 1], ['c', 1], ['S<', 2], ['s<', 2], ['L<', 4], ['l<', 4], ['f<', 4], ['C', 1]);
@plain[10, 11, 12] = (['Q<', 8], ['q<', 8], ['d<', 8]);
sub value {
    my $type = shift;
    return text() if $type == 8;
    return number(@{ $plain[$type] }) if $type != 9;
    my ($of, $count) = (number('L<', 4), number('Q<', 8));
    return '[' . join(',', map { value($of) } 1 .. $count) . ']';
}

my (@lines, @tensors);
my ($magic, $version) = (take(4), number('L<', 4));
my ($tensors, $keys) = (number('Q<', 8), number('Q<', 8));
for (1 .. $keys) {
    my $key = text();
    push @lines, "$key = " . value(number('L<', 4));
}
for (1 .. $tensors) {
    my ($name, $dims) = (text(), number('L<', 4));
    my @shape = map { number('Q<', 8) } 1 .. $dims;
    push @tensors, [$name, \@shape, number('L<', 4), number('Q<', 8)];
}
my $data = $at + -$at % 32;
my %bytes = (0 => 4, 1 => 2, 30 => 2); # of an element
for (@tensors) {
    my ($name, $shape, $type, $offset) = @$_;
    my $size = $bytes{$type} or die "$name: type $type";
    $size *= $_ for @$shape;
    push @lines, "$name: type $type [@$shape] " . md5_hex(substr $file, $data + $offset, $size);
}
print map { "$_\n" } sort @lines;
