#!/usr/bin/perl
# library.pl train|heldout - writes text of Debian's packages as JSON lines {"text", "source",
# "name"}. train: five of Jane Austen's novels (r-cran-janeaustenr, read by Rscript). heldout: her
# sixth, Persuasion, and text of other kinds: Debian's handbook (debian-handbook), and the books and
# pages that corpus.pl holds out of the Bible (bible-kjv) and of Perl's manual (perl-doc).
use strict;
use warnings;
use FindBin;
use JSON::PP;

my @novels = qw(sensesensibility prideprejudice mansfieldpark emma northangerabbey persuasion);
my $part = shift // '';
die "usage: library.pl train|heldout\n" unless $part =~ /^(train|heldout)$/;
my $json = JSON::PP->new->canonical->ascii;

sub document {
    my ($name, $source, $text) = @_;
    die "library.pl: $name: no text\n" unless $text =~ /\S/;
    print $json->encode({ text => $text, source => $source, name => $name }), "\n";
}

# A novel is a list of short lines. The lines of a paragraph are joined.
sub novel {
    my ($name) = @_;
    open my $in, '-|:encoding(UTF-8)', 'Rscript', '--vanilla', '-e',
        "writeLines(enc2utf8(janeaustenr::$name), useBytes = TRUE)" or die "Rscript: $!\n";
    my $text = do { local $/; <$in> };
    close $in or die "library.pl: Rscript cannot read $name: install r-cran-janeaustenr\n";
    my @paragraphs = map { s/\s*\n\s*/ /gr =~ s/^\s+|\s+$//gr } split /\n\s*\n/, $text;
    document($name, 'novel', join("\n\n", grep { length } @paragraphs) . "\n");
}

my %entities = (amp => '&', lt => '<', gt => '>', quot => '"', nbsp => ' ', copy => "\x{a9}");

# Returns the text of a page of the handbook: what is between the tags of its body, with a line for
# each paragraph.
sub text_of_page {
    my ($html) = @_;
    $html =~ s/.*<body[^>]*>//s;
    $html =~ s/<!--.*?-->//gs;
    $html =~ s{<(ul|p) class="docnav".*?</\1>|<p id="title">.*?</p>|<div class="toc">.*?</div>}{}gs;
    my @parts = split m{(<pre.*?</pre>)}s, $html;
    for (@parts) { s/\s+/ /g unless /^<pre/ }
    $html = join '', @parts;
    $html =~ s{</?(?:p|div|h\d|li|pre|table|tr|dt|dd|ul|ol|br)\b[^>]*>}{\n}g;
    $html =~ s/<[^>]*>//g;
    $html =~ s/&#(\d+);/chr $1/ge;
    $html =~ s/&(\w+);/$entities{$1} \/\/ " "/ge;
    $html =~ s/\xa0/ /g;
    my @lines = grep { /\S/ } map { s/\s+$//r =~ s/^ +(?=\S)//r } split /\n/, $html;
    return join("\n", @lines) . "\n";
}

# The pages in the order of the table of contents, as one document.
sub handbook {
    my $folder = '/usr/share/doc/debian-handbook/html/en-US';
    my $page = sub {
        open my $in, '<:encoding(UTF-8)', "$folder/$_[0]"
            or die "library.pl: $folder/$_[0]: $!: install debian-handbook\n";
        local $/;
        return scalar <$in>;
    };
    my (%seen, $text);
    for my $name ($page->('index.html') =~ /href="([\w.-]+\.html)/g) {
        $text .= text_of_page($page->($name)) . "\n" unless $seen{$name}++ || $name eq 'index.html';
    }
    document('debian-handbook', 'handbook', $text // '');
}

if ($part eq 'train') {
    novel($_) for grep { $_ ne 'persuasion' } @novels;
} else {
    novel('persuasion');
    handbook();
    STDOUT->flush;
    system("$FindBin::Bin/corpus.pl", 'heldout') == 0 or die "library.pl: corpus.pl failed\n";
}
