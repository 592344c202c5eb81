#!/usr/bin/perl
# random_samples.pl VOCABULARY CONTEXT COUNT - prints a samples stream of random tokens. It follows
# docs/formats, with Data::MessagePack, zstd and xxhsum, and uses no code of this project.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use ForeignStream;

my ($vocabulary, $context, $count) = @ARGV;
srand 1;
my $stream = ForeignStream->new(
    kind => 'samples',
    tokenizer => { digest => '', vocab_size => 0 + $vocabulary, bos => 1, eos => 2 },
    dtype => 'u16', add_bos => ForeignStream::yes(), add_eos => ForeignStream::no(),
    context => 0 + $context, strategy => 'split', seed => 0,
);
for (1 .. $count) {
    my $tokens = ForeignStream::u16(map { int rand $vocabulary } 1 .. $context);
    $stream->add(tokens => $tokens, documents => ForeignStream::u32($context), source => 'random');
}
$stream->close;
