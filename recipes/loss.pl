#!/usr/bin/perl
# loss.pl RUN... - draws the losses of training and of evaluations from RUN/trainer_log.jsonl as
# RUN/loss.svg and RUN/loss.png. Several runs are drawn into one figure, losses.svg and losses.png
# in the folder of the first run.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use List::Util qw(max min);
use Figure qw(draw styles);

# The largest number of points in a smoothed line, and in the losses from which it is computed.
use constant { SMOOTHED => 300, FAINT => 3000 };

my @runs = map { s{(?<=.)/+$}{}r } @ARGV;
die "usage: loss.pl RUN...\n" unless @runs;

# Returns the points [step, value] of the log's lines that have this key.
sub points_of {
    my ($lines, $key) = @_;
    return map { defined $_->{$key} ? [ $_->{step}, $_->{$key} ] : () } @$lines;
}

sub read_log {
    my ($run) = @_;
    my $path = "$run/trainer_log.jsonl";
    open my $in, '<', $path or die "loss.pl: $path: $!\n";
    my @lines;
    while (my $text = <$in>) {
        my $line = eval { decode_json($text) };
        next if !$line && $text !~ /\n\z/; # the last line is still being written
        die "loss.pl: $path: line $.: this is not a line of a training's log\n"
            unless ref $line eq 'HASH' && defined $line->{step};
        push @lines, $line;
    }
    die "loss.pl: $path: no line has a loss\n" unless points_of(\@lines, 'loss');
    return [ sort { $a->{step} <=> $b->{step} } @lines ];
}

# Keeps every n-th point, so that about $most remain, and the last one.
sub thin {
    my ($most, @points) = @_;
    my $every = max(1, int(@points / $most));
    return @points[ grep { $_ % $every == 0 || $_ == $#points } 0 .. $#points ];
}

# Smooths by local linear regression: the value at each place is that of the line fitted to the
# points around it, with Gaussian weights whose width is given in steps. Unlike a moving average it
# neither lags behind nor bends at the ends.
sub smooth {
    my ($width, @points) = @_;
    my ($from, @line) = (0);
    for my $place (map { $_->[0] } thin(SMOOTHED, @points)) {
        $from++ while $points[$from][0] < $place - 3 * $width;
        my ($n, $x, $xx, $y, $xy) = (0) x 5;
        for (my $i = $from; $i < @points && $points[$i][0] <= $place + 3 * $width; $i++) {
            my $distance = ($points[$i][0] - $place) / $width;
            my $weight = exp(-$distance ** 2 / 2);
            $n += $weight;
            $x += $weight * $distance;
            $xx += $weight * $distance ** 2;
            $y += $weight * $points[$i][1];
            $xy += $weight * $distance * $points[$i][1];
        }
        my $determinant = $n * $xx - $x * $x;
        my $is_line = $determinant > 1e-6 * $n * $n;
        push @line, [ $place, $is_line ? ($xx * $y - $x * $xy) / $determinant : $y / $n ];
    }
    return @line;
}

# Shortens a long path to its end, without cutting a UTF-8 character.
sub shortened {
    my ($path) = @_;
    return $path if length $path <= 44;
    return '...' . (substr $path, -40) =~ s/^[\x80-\xbf]+//r;
}

my @logs = map { read_log($_) } @runs;
my @steps = map { $_->[0] } map { points_of($_, 'loss') } @logs;
# The width of the weights is a fiftieth of the run, but at least the distance of two lines of the
# log.
my $width = max(1, (max(@steps) - min(@steps)) / 50);
for my $log (@logs) {
    my @points = points_of($log, 'loss');
    $width = max($width, ($points[-1][0] - $points[0][0]) / (@points - 1)) if @points > 1;
}

my @lines;
for my $i (0 .. $#runs) {
    my @points = points_of($logs[$i], 'loss');
    my @evaluations = points_of($logs[$i], 'eval_loss');
    my $run = @runs > 1 ? shortened($runs[$i]) . ', ' : '';
    push @lines, { name => "${run}training", points => [ smooth($width, @points) ],
        faint => [ thin(FAINT, @points) ], marks => 8 };
    push @lines, { name => "${run}evaluation", points => \@evaluations } if @evaluations;
}
my $most = () = styles();
die 'loss.pl: ' . @lines . " lines, of which $most can be told apart: name fewer runs\n"
    if @lines > $most;
$lines[$_]{style} = $_ for 0 .. $#lines;

my $stem = @runs > 1 ? "$runs[0]/losses" : "$runs[0]/loss";
my $panel = { lines => \@lines, x => 'step (updates of the weights)', y => 'loss (nats per token)',
    title => sprintf 'Points: lines of the log. Training: smoothed, width %.0f.', $width };
draw({ title => @runs > 1 ? 'Loss of ' . @runs . ' runs' : 'Loss of ' . shortened($runs[0]),
    panels => [$panel] }, "$stem.svg", "$stem.png");
print "$stem.svg\n$stem.png\n";
