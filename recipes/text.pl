#!/usr/bin/perl
# text.pl - prints the texts of JSON lines, one after the other, for spm_train.
use strict;
use warnings;
use JSON::PP;

binmode STDOUT, ':utf8';
print decode_json($_)->{text}, "\n" while <STDIN>;
