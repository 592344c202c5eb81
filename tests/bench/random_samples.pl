#!/usr/bin/perl
# random_samples.pl VOCABULARY CONTEXT COUNT [SHORTEST [DOCUMENTS]] - prints a samples stream of
# random tokens. With SHORTEST a sample has that many tokens up to CONTEXT, else CONTEXT; with
# DOCUMENTS it has one document up to so many. The stream follows docs/formats, with
# Data::MessagePack, zstd and xxhsum, and uses no code of this project.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use ForeignStream;

my ($vocabulary, $context, $count, $shortest, $documents) = @ARGV;
srand 1;
my $stream = ForeignStream->new(
    kind => 'samples',
    tokenizer => { digest => '', vocab_size => 0 + $vocabulary, bos => 1, eos => 2 },
    dtype => 'u16', add_bos => ForeignStream::yes(), add_eos => ForeignStream::no(),
    context => 0 + $context, strategy => 'split', seed => 0,
);
# Returns the lengths of documents that have so many tokens together.
sub cut {
    my ($left) = @_;
    my @lengths;
    my $more = $documents ? int rand $documents : 0;
    while ($more-- && $left > 1) {
        push @lengths, 1 + int rand($left - 1);
        $left -= $lengths[-1];
    }
    return @lengths, $left;
}
for (1 .. $count) {
    my $length = $shortest ? $shortest + int rand($context - $shortest + 1) : $context;
    my $tokens = ForeignStream::u16(map { int rand $vocabulary } 1 .. $length);
    $stream->add(tokens => $tokens, documents => ForeignStream::u32(cut($length)),
        source => 'random');
}
$stream->close;
