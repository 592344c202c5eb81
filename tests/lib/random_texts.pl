#!/usr/bin/perl
# random_texts.pl BYTES SEED - prints about BYTES bytes of texts of all kinds, separated by \x01:
# text of /usr/include, the licences and Perl's manual, mixed with many scripts, emoji, control
# characters, tables, long runs and arbitrary valid characters.
use strict;
use warnings;
my ($bytes, $seed) = @ARGV;
srand $seed;
binmode STDOUT, ':utf8';
my @files = (glob('/usr/include/*.h'), glob('/usr/share/perl/5.*.*/pod/*.pod'),
    glob('/usr/share/common-licenses/*'));
my @ranges = ([0x20, 0x7e], [0xa0, 0x24f], [0x370, 0x3ff], [0x400, 0x4ff], [0x5d0, 0x5ea], [0x600,
    0x6ff], [0x900, 0x97f],
    [0xe00, 0xe5b], [0x3040, 0x30ff], [0x4e00, 0x9fff], [0xac00, 0xd7a3], [0x1f300, 0x1f64f],
    [0x2500, 0x25ff], [0x2581, 0x2581],
    [0x300, 0x36f], [0x2, 0x1f], [0x7f, 0x9f]);

sub any {
    for (;;) {
        my $c = int rand 0x110000;
        return chr $c unless $c < 2 || ($c >= 0xd800 && $c < 0xe000) || ($c & 0xfffe) == 0xfffe ||
            ($c >= 0xfdd0 && $c <= 0xfdef);
    }
}

sub script {
    my $r = $ranges[rand @ranges];
    return join '', map { chr($r->[0] + int rand($r->[1] - $r->[0] + 1)) . (rand() < 0.15 ? ' ' :
        '') } 1 .. 1 + rand 60;
}

sub passage {
    my $file = $files[rand @files];
    open my $in, '<:raw', $file or return '';
    seek $in, int(rand(-s $file)), 0;
    read $in, my $text, 200 + int rand 4000;
    utf8::decode($text) or $text =~ s/[^\x02-\x7e]//g;
    $text =~ tr/\x01//d;
    return $text;
}

my @kinds = (\&passage, \&passage, \&passage, \&passage, \&script, \&script, sub { join '', map {
    any() } 1 .. rand 40 },
    sub { (" ", "\n", "\t", "  \n", "a", "=", "-", "\x{2581}", " \x{2581}")[rand 9] x (1 + rand 80)
    },
    sub { join "\n", map { join '|', map { int rand 10 ** (1 + rand 8) } 1 .. 5 } 1 .. rand 20 });
my $written = 0;
while ($written < $bytes) {
    my $text = join '', map { $kinds[rand @kinds]->() } 1 .. 1 + rand 4;
    next if $text eq '';
    print $text, "\x01";
    { use bytes; $written += length $text; }
}
