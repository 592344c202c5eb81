#!/usr/bin/perl
# corpus.pl train|heldout - writes the text of the miniature (recipes/miniature.mk), as JSON lines
# with text, source and name. The text is that of two Debian packages: the King James Bible
# (bible-kjv) and Perl's manual (perl-doc).
#
# A book or page is held out only if no other one is nearly equal to it. The gospels share passages,
# as do Kings, Chronicles and Isaiah, so none of them is held out.
use strict;
use warnings;
use JSON::PP;

my %heldout = map { $_ => 1 } qw(Job Acts Romans perlop perlfaq4 perlipc perlobj perlpacktut);
my $part = shift // '';
die "usage: corpus.pl train|heldout\n" unless $part =~ /^(train|heldout)$/;
my $json = JSON::PP->new->canonical->ascii;

sub document {
    my ($name, $source, $text) = @_;
    return if ($heldout{$name} ? 'heldout' : 'train') ne $part;
    print $json->encode({ text => $text, source => $source, name => $name }), "\n";
}

sub bible {
    open my $in, '-|', 'bible', '-l', '10000', 'Ge1:1-Re22:21' or die "bible: $!\n";
    my ($name, @lines);
    my $finish = sub { document($name, 'bible', join('', @lines)) if defined $name };
    while (<$in>) {
        if (/^(\S.*\S)\s+(\d+)\s*$/ || /^(\S+)\s+(\d+)\s*$/) {
            if (!defined $name || $name ne $1) {
                $finish->();
                ($name, @lines) = ($1);
            }
            push @lines, "Chapter $2\n";
        } elsif (/^\s*(\d+) (.*\S)\s*$/) {
            push @lines, "$1 $2\n";
        }
    }
    $finish->();
    close $in or die "bible failed\n";
}

sub perl_manual {
    my ($first) = glob '/usr/share/perl/5.*.*/pod';
    die "perl-doc is not installed\n" unless defined $first;
    for my $path (sort glob "$first/perl*.pod") {
        my ($name) = $path =~ m{/([^/]+)\.pod$};
        # Change logs repeat each other, and perltoc repeats all pages. Some pages are translations.
        next if $name =~ /delta$|^perl(toc|cn|jp|ko|tw|hist|modlib|uniprops)$/;
        open my $in, '<:encoding(UTF-8)', $path or die "$path: $!\n";
        local $/;
        document($name, 'perl', scalar <$in>);
    }
}

bible();
perl_manual();
