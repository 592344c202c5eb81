#!/usr/bin/perl
# text.pl - the texts of JSON lines, for spm_train.
use strict;
use warnings;
use JSON::PP;

binmode STDOUT, ':utf8';
print decode_json($_)->{text}, "\n" while <STDIN>;
