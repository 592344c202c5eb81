#!/usr/bin/perl
# real.pl RUN SOURCES BASE_CONTEXT FACTOR ROWS MERGED_ROW - writes the report of recipes/real.mk
# from RUN/scores/*.json and RUN/needles/*.json: table.md, table.txt (the same), table.json, and for
# each source perplexity-SOURCE and positions-SOURCE (.svg, .png).
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use List::Util qw(sum);
use Figure qw(draw put);

my ($run, $sources, $base, $factor, $wanted, $merged) = @ARGV;
die "usage: real.pl RUN SOURCES BASE_CONTEXT FACTOR ROWS MERGED_ROW\n" unless defined $merged;
my @sources = split ' ', $sources;
my %is_wanted = map { $_ => 1 } split ' ', $wanted;

# Each row in the order of the tables: its name, its title, its panel of the figures and its style.
my %titles = (
    linear => "linear:$factor", ntk => "ntk:$factor", yarn => "yarn:$factor",
    dynamic => "dynamic:$factor",
);
my @rows = grep { $is_wanted{ $_->[0] } } (
    [ 'base', 'base', 'all', 3 ],
    [ 'nf4', 'base, NF4', 'untrained', 7 ],
    (map { [ "$_->[0]-untrained", "$titles{ $_->[0] }, untrained", 'untrained', $_->[1] ] }
        [ 'linear', 4 ], [ 'ntk', 0 ], [ 'yarn', 1 ], [ 'dynamic', 2 ]),
    [ 'control', 'control: positions left alone', 'texts', 9 ],
    (map { [ $_->[0], $titles{ $_->[0] }, 'texts', $_->[1] ] }
        [ 'linear', 4 ], [ 'ntk', 0 ], [ 'yarn', 1 ], [ 'dynamic', 2 ]),
    (map { [ "$_->[0]-s2", "$titles{ $_->[0] }, S2", 'texts', $_->[1] ] }
        [ 'linear', 5 ], [ 'ntk', 6 ], [ 'yarn', 8 ]),
    [ 'control-chats', 'control, half chats', 'chats', 9 ],
    (map { [ "$_->[0]-chats", "$titles{ $_->[0] }, half chats", 'chats', $_->[1] ] }
        [ 'linear', 4 ], [ 'ntk', 0 ], [ 'yarn', 1 ]),
    [ 'yarn-lengths', "$titles{yarn}, mixed lengths", 'chats', 2 ],
    [ 'merged', "$merged, merged", 'chats', 6 ],
    [ 'merged-q8_0', "$merged, merged, q8_0", 'chats', 5 ],
);
my %panels = (
    untrained => 'Not trained', texts => 'Trained on novels',
    chats => 'Trained on novels and chats, or at several lengths',
);

sub read_json {
    my ($path) = @_;
    open my $in, '<', $path or die "real.pl: $path: $!\n";
    local $/;
    return decode_json(<$in>);
}

my (%scores, %digits, %needles);
for my $row (map { $_->[0] } @rows) {
    for my $source (@sources) {
        my $scores = read_json("$run/scores/$row.$source.json")->{scores};
        $scores{$source}{$row} = { map { $_->{context} => $_ } @$scores };
    }
    my $digits = read_json("$run/scores/$row.digits.json")->{scores};
    $digits{$row} = { map { $_->{context} => $_->{nll} } @$digits };
    for my $wording (qw(chat plain)) {
        $needles{$wording}{$row} = read_json("$run/needles/$row.$wording.json")->{cells};
    }
}
my $first = $rows[0][0] // die "real.pl: ROWS names no row\n";
my %contexts =
    map { $_ => [ sort { $a <=> $b } keys %{ $scores{$_}{$first} } ] } @sources;

# ---- tables ----

my $text = '';
my %table = (rows => { map { $_->[0] => $_->[1] } @rows });

# table(TITLE, COLUMNS, VALUES): VALUES gives the texts of a row by its name.
sub table {
    my ($title, $columns, $values) = @_;
    $text .= "### $title\n\n| row | " . join(' | ', @$columns) . " |\n|---|" . '---|' x @$columns
        . "\n";
    $text .= "| $_->[1] | " . join(' | ', $values->($_->[0])) . " |\n" for @rows;
    $text .= "\n";
}

for my $source (@sources) {
    my ($of, @contexts) = ($scores{$source}, @{ $contexts{$source} });
    table("Perplexity by context length, $source", \@contexts,
        sub { my ($row) = @_; map { sprintf '%.2f', exp $of->{$row}{$_}{nll} } @contexts });
    for my $row (map { $_->[0] } @rows) {
        $table{perplexity}{$source}{$row} =
            { map { $_ => 0 + sprintf '%.6f', exp $of->{$row}{$_}{nll} } @contexts };
    }
}

# The loss of the longest windows by how many tokens a prediction has seen.
my $long = $contexts{ $sources[0] }[-1];
my %positions;
for my $source (@sources) {
    for my $row (map { $_->[0] } @rows) {
        my %at = map { $_->{seen} => $_->{nll} } grep { $_->{scored} }
            @{ $scores{$source}{$row}{$long}{positions} };
        $positions{$source}{$row} = \%at;
        $table{positions}{$source}{$row} = { map { $_ => 0 + sprintf '%.6f', $at{$_} } keys %at };
    }
    my @seen = grep { $_ >= 64 } sort { $a <=> $b } keys %{ $positions{$source}{$first} };
    table("Loss by tokens seen, in windows of $long, $source",
        [ map { "$_–" . (2 * $_ - 1) } @seen ],
        sub { my ($row) = @_; map { sprintf '%.3f', $positions{$source}{$row}{$_} } @seen });
}

sub mean { return @_ ? sum(@_) / @_ : 0 }
for my $wording (qw(chat plain)) {
    my $cells = $needles{$wording};
    my %tokens = map { $_->{tokens} => 1 } @{ $cells->{$first} };
    my @tokens = sort { $a <=> $b } keys %tokens;
    my %depths = map { $_->{depth} => 1 } @{ $cells->{$first} };
    my @depths = sort { $a <=> $b } keys %depths;
    my $share = sub {
        my ($row, $key, $value) = @_;
        return sprintf '%.0f',
            mean(map { $_->{score} } grep { $_->{$key} == $value } @{ $cells->{$row} });
    };
    my $prompts = sum(map { $_->{prompts} } @{ $cells->{$first} });
    my $found = sub { sum(map { $_->{whole} } @{ $cells->{ $_[0] } }) };
    table("Needles found, $wording wording: % by length and by depth, and of all $prompts",
        [ @tokens, (map { "$_ %" } @depths), 'found' ],
        sub { my ($row) = @_; ((map { $share->($row, tokens => $_) } @tokens),
                (map { $share->($row, depth => $_) } @depths), $found->($row)) });
    $table{needles}{$wording}{$_} = $cells->{$_} for map { $_->[0] } @rows;
}
my @lengths = sort { $a <=> $b } keys %{ $digits{$first} };
table('Loss of a needle\'s digits, teacher-forced (guessing: 2.303), by length', \@lengths,
    sub { my ($row) = @_; map { sprintf '%.4f', $digits{$row}{$_} } @lengths });
$table{digits} = \%digits;

# ---- statements about the tables, computed from their numbers ----

sub fact {
    my ($claim, $value, $holds) = @_;
    $text .= sprintf "- %s: %s (%s)\n", $claim, $value, $holds ? 'yes' : 'no';
    push @{ $table{facts} },
        { claim => $claim, value => $value, holds => $holds ? JSON::PP::true : JSON::PP::false };
}

# Compares two numbers of rows, if both rows were measured.
sub compare {
    my ($claim, $a, $b, $of, $shown) = @_;
    return unless $is_wanted{$a} && $is_wanted{$b};
    my ($x, $y) = ($of->($a), $of->($b));
    fact($claim, sprintf("$shown against $shown", $x, $y), $x < $y);
}

my $ppl = sub { my $c = shift; return sub { exp $scores{ $sources[0] }{ $_[0] }{$c}{nll} } };
# Within the base's context, because beyond it the base itself finds nothing.
my $loss = sub {
    my $of = $digits{ $_[0] };
    return mean(map { $of->{$_} } grep { $_ <= $base } keys %$of);
};
my $base_of = $ppl->($base);
compare("linear's perplexity at $base is below the base's (NF4)", 'linear', 'nf4', $base_of,
    '%.2f');
compare("and its digits' loss to $base tokens is above the base's", 'nf4', 'linear', $loss, '%.4f');
compare("the control's perplexity at $base is below the base's", 'control', 'nf4', $base_of,
    '%.2f');
compare("the digits' loss of yarn to $base tokens is below linear's, untrained", 'yarn-untrained',
    'linear-untrained', $loss, '%.4f');
compare("the digits' loss of yarn to $base tokens is below linear's, trained", 'yarn', 'linear',
    $loss, '%.4f');
compare("half chats lower the digits' loss of yarn to $base tokens", 'yarn-chats', 'yarn', $loss,
    '%.4f');
compare("yarn at $long is below the control", 'yarn', 'control', $ppl->($long), '%.2f');

# ---- figures ----

# $of returns the points of a row.
sub figure {
    my ($name, $title, $x, $y, $mark, $of) = @_;
    my @panels;
    for my $panel (qw(untrained texts chats)) {
        my @shown = grep { $_->[2] eq $panel } @rows;
        next unless @shown;
        my @lines = map { { name => $_->[1], style => $_->[3], points => $of->($_->[0]) } }
            (grep { $_->[2] eq 'all' } @rows), @shown;
        push @panels, { title => $panels{$panel}, x => $x, y => $y, lines => \@lines,
            contexts => [ map { $_->[0] } @{ $lines[0]{points} } ], vertical => $mark };
    }
    draw({ title => $title, panels => \@panels }, map { "$run/$name.$_" } qw(svg png)) if @panels;
}

for my $source (@sources) {
    figure("perplexity-$source", "Perplexity by context length, $source", 'context length (tokens)',
        'perplexity (per token)', [ $base, "the base's context: $base" ],
        sub { my ($row) = @_;
            [ map { [ $_, exp $scores{$source}{$row}{$_}{nll} ] } @{ $contexts{$source} } ] });
    my $of = $positions{$source};
    figure("positions-$source", "Loss by tokens seen, in windows of $long, $source",
        'tokens seen, from', 'loss (nats)', [ $base, "the base's context: $base" ],
        sub { my ($row) = @_; [ map { [ $_, $of->{$row}{$_} ] } grep { $_ >= 64 }
                sort { $a <=> $b } keys %{ $of->{$row} } ] });
}
put("$run/table.json", JSON::PP->new->canonical->pretty->encode(\%table));
put("$run/table.txt", $text);
put("$run/table.md", $text);
