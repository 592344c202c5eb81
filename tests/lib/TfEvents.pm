# Reads TensorBoard event files as their format is described: TFRecords with masked CRC-32C around
# tensorflow.Event protocol buffers.
package TfEvents;
use strict;
use warnings;

sub masked_crc {
    my $crc = 0xffffffff;
    for my $byte (unpack "C*", $_[0]) {
        $crc ^= $byte;
        $crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
    }
    $crc ^= 0xffffffff;
    return (((($crc >> 15) | ($crc << 17)) & 0xffffffff) + 0xa282ead8) & 0xffffffff;
}

sub varint {
    my ($data, $at) = @_;
    my ($value, $shift) = (0, 0);
    while (1) {
        my $byte = ord substr $$data, $$at++, 1;
        $value |= ($byte & 127) << $shift;
        return $value if $byte < 128;
        $shift += 7;
    }
}

# Parses a message to a map from field number to the list of its raw values.
sub fields {
    my ($data) = @_;
    my ($at, %field) = (0);
    while ($at < length $data) {
        my $key = varint(\$data, \$at);
        my $wire = $key & 7;
        my $value;
        if    ($wire == 0) { $value = varint(\$data, \$at) }
        elsif ($wire == 1) { $value = substr $data, $at, 8; $at += 8 }
        elsif ($wire == 2) { my $n = varint(\$data, \$at); $value = substr $data, $at, $n; $at += $n
            }
        elsif ($wire == 5) { $value = substr $data, $at, 4; $at += 4 }
        else               { die "wire type $wire" }
        push @{ $field{ $key >> 3 } }, $value;
    }
    return \%field;
}

# Returns [step, tag, value] of every scalar. Dies at the first damage.
sub scalars {
    my ($path) = @_;
    open my $file, "<:raw", $path or die "$path: $!";
    local $/;
    my $bytes = <$file>;
    my ($at, @scalars) = (0);
    while ($at < length $bytes) {
        my ($length, $crc) = unpack "Q<L<", substr $bytes, $at, 12;
        die "length's checksum" unless $crc == masked_crc(substr $bytes, $at, 8);
        my $data = substr $bytes, $at + 12, $length;
        die "data's checksum" unless unpack("L<", substr $bytes, $at + 12 + $length, 4) ==
            masked_crc($data);
        my $event = fields($data);
        die "version" if !$at && $event->{3}[0] ne "brain.Event:2";
        for my $value (map { @{ fields($_)->{1} || [] } } @{ $event->{5} || [] }) {
            my $v = fields($value);
            push @scalars, [$event->{2}[0], $v->{1}[0], unpack "f<", $v->{2}[0]];
        }
        $at += 16 + $length;
    }
    return @scalars;
}

1;
