#!/usr/bin/perl
# chats.pl TEXT.jsonl COUNT CHARACTERS - writes COUNT prompts as JSON lines, which generate --format
# jsonl answers. Three of four give a part of the texts, of at most CHARACTERS characters, and ask
# something about all of it. The others are questions without a text. None asks for a single fact
# that is hidden in the text, so training on the chats does not train for needles.
use strict;
use warnings;
use JSON::PP;
use List::Util qw(max min);

my @about = (
    'Summarize the text above in a few sentences.',
    'Who appears in the text above, and what do they want?',
    'Describe the mood of the text above.',
    'Rewrite the main idea of the text above in plain, modern English.',
    'Continue the text above in the same style.',
    'What might happen next? Explain why.',
    'Write three questions that a reader of the text above could ask.',
    'Give the text above a title, and explain your choice.',
);
my @others = (
    'Explain how rain forms.', 'Write a short poem about a river.',
    'What makes a good friend? Give three reasons.', 'How does a bicycle stay upright?',
    'Explain to a child why the sky is blue.', 'Write a letter that declines an invitation.',
    'What is the difference between weather and climate?', 'Describe a busy market in the morning.',
    'How can I learn to cook?', 'Give advice to someone who cannot sleep.',
    'Why do people keep diaries?', 'Explain what a library is for.',
);
use constant SHORTEST => 60; # characters of a part

my ($path, $count, $longest) = @ARGV;
die "usage: chats.pl TEXT.jsonl COUNT CHARACTERS\n" unless defined $longest;
open my $in, '<', $path or die "chats.pl: $path: $!\n";
my @texts = map { decode_json($_)->{text} } <$in>;
die "chats.pl: $path: there are no texts in it\n" unless @texts;
my $json = JSON::PP->new->canonical->ascii;
srand 7;
for my $n (0 .. $count - 1) {
    my $prompt = $others[$n / 4 % @others];
    if ($n % 4) {
        my $text = $texts[rand @texts];
        my $length = int min(length $text, SHORTEST + rand max(1, $longest - SHORTEST));
        my $part = substr $text, int(rand(1 + length($text) - $length)), $length;
        $part =~ s/^\S*\s+|\s+\S*$//g; # leaves out parts of words at both ends
        $prompt = "$part\n\n$about[$n % @about]";
    }
    print $json->encode({ prompt => $prompt, id => $n }), "\n";
}
