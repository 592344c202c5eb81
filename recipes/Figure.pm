# Figure.pm - draws the figures: lines that can be told apart, each with its name at its end.
# gnuplot writes a figure as SVG and as PNG.
package Figure;
use strict;
use warnings;
use List::Util qw(max min sum);
use Exporter 'import';
our @EXPORT_OK = qw(draw gnuplot put quoted styles);

# Colour, mark and dash of each line, in gnuplot's notation. No two lines share a colour or a mark,
# so that a figure can be read in black and white too. Seven colours are those of Okabe and Ito,
# which colour-blind people can tell apart; their yellow is left out, because it is too pale on
# white. The three others differ from these, and from each other, as much as these do
# (tests/cli/figures.bats measures it).
my @styles = (
    [ '#0072B2', 7,  1 ], [ '#D55E00', 5,  1 ], [ '#009E73', 9,  1 ], [ '#000000', 13, 1 ],
    [ '#E69F00', 11, 4 ], [ '#56B4E9', 6,  2 ], [ '#CC79A7', 4,  2 ], [ '#595959', 12, 2 ],
    [ '#332288', 8,  3 ], [ '#661100', 2,  5 ],
);
sub styles { return @styles }

# Sizes in pixels: the figure, the parts of a panel, a line of text, a character.
use constant { WIDTH => 1040, PANEL => 430, LEFT => 76, TITLE => 44, ABOVE => 66, BELOW => 58 };
use constant { LINE => 17, CHARACTER => 7.5 };

# Quotes a text for gnuplot. In single quotes gnuplot neither substitutes nor executes anything.
sub quoted {
    my ($text) = @_;
    $text =~ s/[\x00-\x1f\x7f]/ /g;
    utf8::encode($text) if utf8::is_utf8($text);
    return "'" . $text =~ s/'/''/gr . "'";
}

# Writes a file completely or not at all.
sub put {
    my ($path, $content) = @_;
    open my $out, '>', "$path.tmp" or die "$path: $!\n";
    print $out $content;
    close $out or die "$path: $!\n";
    rename "$path.tmp", $path or die "$path: $!\n";
}

# Runs the commands once for each path; the suffix of the path decides the format.
sub gnuplot {
    my ($commands, $width, $height, @paths) = @_;
    for my $path (@paths) {
        my $kind = $path =~ /\.png$/ ? 'pngcairo' : 'svg dynamic';
        my $size = $path =~ /\.png$/ ? 11 : 13; # the same size in points (PNG) and in pixels (SVG)
        open my $gnuplot, '|-', 'gnuplot' or die "gnuplot: $!\n";
        print $gnuplot "set encoding utf8\nset terminal $kind size $width,$height noenhanced",
            " font 'sans-serif,$size' background '#ffffff'\n",
            'set output ', quoted("$path.tmp"), "\n", $commands, "unset output\n";
        close $gnuplot or die "$path: gnuplot failed\n";
        rename "$path.tmp", $path or die "$path: $!\n";
    }
}

# Places the names at the lines' ends so that none covers another. Each name stays as near to its
# line's end as the gap allows, in the same order. @wanted is sorted. Names that would touch are
# moved together (isotonic regression).
sub spread {
    my ($gap, $low, $high, @wanted) = @_;
    my @pools;
    for my $i (0 .. $#wanted) {
        push @pools, [ $wanted[$i] - $i * $gap ];
        while (@pools > 1 && mean($pools[-2]) > mean($pools[-1])) {
            my $last = pop @pools;
            push @{ $pools[-1] }, @$last;
        }
    }
    my @places = map { (mean($_)) x @$_ } @pools;
    my $top = max($low, $high - $#wanted * $gap);
    return map { min(max($places[$_], $low), $top) + $_ * $gap } 0 .. $#places;
}
sub mean { my ($pool) = @_; return sum(@$pool) / @$pool }

sub rows_of { return join '', map { "$_->[0] $_->[1]\n" } @_ }

# Returns the gnuplot settings of a line, whose name stands at this height of the panel, and its
# plot commands.
sub line_with_name {
    my ($line, $number, $height) = @_;
    my ($colour, $mark, $dash) = @{ $styles[ $line->{style} ] };
    my @points = @{ $line->{points} };
    my ($x, $y) = @{ $points[-1] };
    my $set = "\$line$number << E\n" . rows_of(@points) . "E\n"
        . sprintf("set arrow from %.8g,%.8g to graph 1.025,%.5f nohead lw 0.7 lc rgb '%s'\n",
            $x, $y, $height, $colour)
        . 'set label ' . quoted($line->{name}) . sprintf(' at graph 1.045,%.5f left', $height)
        . " point pt $mark ps 1 lc rgb '$colour' offset 1.2,0\n";
    my $every = $line->{marks} && @points > $line->{marks} ? int(@points / $line->{marks}) : 1;
    my $width = $line->{is_main} ? 3.2 : 1.6;
    my @plots = "\$line$number using 1:2 with linespoints pt $mark ps 0.9 pi $every lw $width"
        . " dt $dash lc rgb '$colour' notitle";
    if ($line->{faint}) {
        $set .= "\$faint$number << E\n" . rows_of(@{ $line->{faint} }) . "E\n";
        my $pale = '#B0' . substr $colour, 1;
        push @plots, "\$faint$number using 1:2 with points pt 7 ps 0.35 lc rgb '$pale' notitle";
    }
    return ($set, @plots);
}

# Returns the range of the values, widened at both ends by a share of it.
sub range {
    my ($share, @values) = @_;
    my ($low, $high) = (min(@values), max(@values));
    my $more = $share * ($high - $low) || 0.01 * abs($high) || 1;
    return ($low - $more, $high + $more);
}

# Returns the commands for the axes, the panel's title and the vertical line.
sub frame {
    my ($panel, $low, $high, @x) = @_;
    my $commands = sprintf "set yrange [%.8g:%.8g]\n", $low, $high;
    if ($panel->{contexts}) {
        # The axis is logarithmic, so that each doubling is one step.
        my @ticks = map { "'$_' $_" } @{ $panel->{contexts} };
        $commands .= "set logscale x 2\nset xtics (" . join(', ', @ticks) . ")\n"
            . sprintf("set xrange [%.8g:%.8g]\n", min(@x) / 1.08, max(@x) * 1.08);
    } else {
        $commands .= sprintf "set xrange [%.8g:%.8g]\n", range(0.02, @x);
    }
    $commands .= 'set xlabel ' . quoted($panel->{x}) . "\nset ylabel " . quoted($panel->{y}) . "\n"
        . 'set label ' . quoted($panel->{title}) . " at graph 0,1 left offset 0,2.1\n";
    my ($place, $name) = @{ $panel->{vertical} // return $commands };
    return $commands . "set arrow from $place,graph 0 to $place,graph 1 nohead"
        . " dt 3 lw 1.5 lc rgb '#444444'\n"
        . 'set label ' . quoted($name)
        . " at $place,graph 1 center offset 0,0.7 tc rgb '#444444'\n";
}

# Returns the commands for one panel of a figure. $height is that of the figure, $right the width of
# the names, both in pixels.
sub panel {
    my ($panel, $index, $height, $right) = @_;
    my @lines = sort { $a->{points}[-1][1] <=> $b->{points}[-1][1] } @{ $panel->{lines} };
    my @points = map { (@{ $_->{points} }, @{ $_->{faint} // [] }) } @lines;
    my ($low, $high) = range(0.05, map { $_->[1] } @points);
    my $top = TITLE + $index * PANEL + ABOVE;
    my $bottom = TITLE + ($index + 1) * PANEL - BELOW;
    my $commands = sprintf("set lmargin at screen %.5f\nset rmargin at screen %.5f\n",
            LEFT / WIDTH, 1 - $right / WIDTH)
        . sprintf("set tmargin at screen %.5f\nset bmargin at screen %.5f\n",
            1 - $top / $height, 1 - $bottom / $height)
        . frame($panel, $low, $high, map { $_->[0] } @points);
    my @heights = spread(LINE / ($bottom - $top), 0, 1,
        map { ($_->{points}[-1][1] - $low) / ($high - $low) } @lines);
    my (@faint, @main, @others);
    for my $i (0 .. $#lines) {
        my ($set, $line, @points) = line_with_name($lines[$i], "${index}_$i", $heights[$i]);
        $commands .= $set;
        push @faint, @points;
        push @{ $lines[$i]{is_main} ? \@main : \@others }, $line;
    }
    # Points are drawn first, then the main line, then the thin lines, so that no line is hidden.
    return $commands . 'plot ' . join(', ', @faint, @main, @others) . "\n";
}

# draw({ title, panels => [{ title, x, y, contexts, vertical => [x, name], lines => [{ name, style,
# points => [[x, y], ...], faint => [[x, y], ...], marks, is_main }] }] }, PATH.svg, PATH.png) draws
# a figure with its panels one below the other. contexts: ticks of a logarithmic x axis. faint: the
# points from which the line was computed. marks: number of marks on a long line. is_main: the line
# is drawn thicker.
sub draw {
    my ($figure, @paths) = @_;
    my @panels = @{ $figure->{panels} };
    my $height = TITLE + @panels * PANEL;
    my $right = 64 + CHARACTER * max(map { length $_->{name} } map { @{ $_->{lines} } } @panels);
    my $commands = "set multiplot\nset grid lt 1 lw 0.5 lc rgb '#dddddd'\n"
        . "set border lc rgb '#444444'\nset tics nomirror\nset label " . quoted($figure->{title})
        . sprintf(" at screen 0.5,%.5f center font ',15'\n", 1 - TITLE / 2 / $height);
    for my $i (0 .. $#panels) {
        $commands .= panel($panels[$i], $i, $height, $right) . "unset label\nunset arrow\n";
    }
    gnuplot($commands . "unset multiplot\n", WIDTH, $height, @paths);
}

1;
