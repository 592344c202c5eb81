# ForeignStream - reads and writes the record streams in Perl. It was written from
# docs/formats/stream.md alone, and shows that the page is enough to add a program to the pipeline.
package ForeignStream;
use strict;
use warnings;
use Data::MessagePack;
use IPC::Open2;

my $mp = Data::MessagePack->new->utf8(1);

sub yes { Data::MessagePack::true() }
sub no  { Data::MessagePack::false() }

# Texts are msgpack str, arrays of numbers are msgpack bin. With utf8, Data::MessagePack writes a
# string with Perl's UTF-8 flag as str and any other as bin.
sub pack_map {
    my @pairs = @_;
    my $n = @pairs / 2;
    my $bytes = $n < 16 ? chr(0x80 | $n) : pack('Cn', 0xde, $n);
    while (my ($key, $value) = splice @pairs, 0, 2) {
        $bytes .= $mp->pack($key) . value($value);
    }
    return $bytes;
}

sub value {
    my ($value) = @_;
    return pack_map(map { $_ => $value->{$_} } sort keys %$value) if ref $value eq 'HASH';
    return pack('CN', 0xc6, length $$value) . $$value if ref $value eq 'SCALAR';
    return $mp->pack($value);
}

sub u16 { my $bytes = pack 'v*', @_; return \$bytes }
sub u32 { my $bytes = pack 'V*', @_; return \$bytes }

sub new {
    my ($class, %own) = @_;
    my $kind = delete $own{kind};
    my $header = pack_map(longqlora => 1, kind => $kind, (map { $_ => $own{$_} } sort keys %own),
        tool => 'ForeignStream.pm', version => '1', options => {});
    return bless { bytes => $header, records => 0 }, $class;
}

sub add {
    my ($self, @pairs) = @_;
    $self->{bytes} .= pack_map(@pairs);
    $self->{records}++;
}

sub digest {
    my ($bytes) = @_;
    my $pid = open2(my $out, my $in, 'xxhsum', '-H2', '-');
    binmode $in;
    print $in $bytes;
    close $in;
    my ($hex) = <$out> =~ /^([0-9a-f]{32})/ or die "xxhsum failed\n";
    waitpid $pid, 0;
    return $hex;
}

sub close {
    my ($self) = @_;
    my $digest = digest($self->{bytes});
    $self->{bytes} .= pack_map(end => yes(), records => $self->{records}, digest => $digest);
    open my $zstd, '|-', 'zstd', '-q', '-1', '-c' or die "zstd: $!\n";
    binmode $zstd;
    print $zstd $self->{bytes};
    close $zstd or die "zstd failed\n";
}

# Returns all objects of a stream: header, records, end record.
sub read_all {
    my ($path) = @_;
    open my $zstd, '-|', 'zstd', '-dcqf', $path or die "zstd: $!\n";
    binmode $zstd;
    local $/;
    my $unpacker = Data::MessagePack::Unpacker->new;
    my $bytes = <$zstd>;
    my ($offset, @objects) = (0);
    while ($offset < length $bytes) {
        $offset = $unpacker->execute($bytes, $offset);
        die "not msgpack\n" unless $unpacker->is_finished;
        push @objects, $unpacker->data;
        $unpacker->reset;
    }
    return @objects;
}

1;
