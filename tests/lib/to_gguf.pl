#!/usr/bin/perl
# to_gguf.pl MODEL_DIR TOKENIZER_MODEL OUT [KEY=TYPE:VALUE | KEY= | +TENSOR=TYPE:COLS,ROWS]... -
# writes a LLaMA directory in f32 as llama.cpp's converter does: names, shapes and keys of GGUF, q
# and k interleaved, a SentencePiece tokenizer. Each further word changes a key, takes one out, or
# adds a tensor of zeros. TYPE is u32, f32, bool or str; of a tensor, the number of its type.
use strict;
use warnings;
use JSON::PP;

my ($dir, $spm, $out, @changes) = @ARGV;

sub slurp { open my $f, '<:raw', $_[0] or die "$_[0]: $!"; local $/; return <$f> }
sub text { return pack('Q<', length $_[0]) . $_[0] }

my $c = decode_json(slurp("$dir/config.json"));
my $file = slurp("$dir/model.safetensors");
my $length = unpack 'Q<', $file;
my $header = decode_json(substr $file, 8, $length);
delete $header->{__metadata__};

# ---- the tokenizer ----

sub varint {
    my ($bytes, $at) = @_;
    my ($value, $shift) = (0, 0);
    while (1) {
        my $b = ord substr $$bytes, $$at++, 1;
        $value |= ($b & 127) << $shift;
        return $value if $b < 128;
        $shift += 7;
    }
}
sub fields { # of a message: [number, value or bytes]...
    my $bytes = shift;
    my ($at, @found) = (0);
    while ($at < length $bytes) {
        my $key = varint(\$bytes, \$at);
        my $wire = $key & 7;
        my $value;
        if ($wire == 0) { $value = varint(\$bytes, \$at) }
        elsif ($wire == 5) { $value = substr $bytes, $at, 4; $at += 4 }
        elsif ($wire == 1) { $value = substr $bytes, $at, 8; $at += 8 }
        else { my $n = varint(\$bytes, \$at); $value = substr $bytes, $at, $n; $at += $n }
        push @found, [$key >> 3, $value];
    }
    return @found;
}
my (@tokens, @scores, @types);
for my $field (fields(slurp($spm))) {
    next unless $field->[0] == 1;
    my %piece = (3 => 1, map { $_->[0] => $_->[1] } fields($field->[1]));
    push @tokens, $piece{1};
    push @scores, $piece{2} // "\0\0\0\0";
    push @types, $piece{3};
}

# ---- keys ----

my %pack = (
    u32  => sub { pack 'L<L<', 4, shift },
    f32  => sub { pack 'L<f<', 6, shift },
    bool => sub { pack 'L<C', 7, shift },
    str  => sub { pack('L<', 8) . text(shift) },
);
my $head_dim = $c->{hidden_size} / $c->{num_attention_heads};
my %keys = (
    'general.architecture' => $pack{str}->('llama'),
    'general.type' => $pack{str}->('model'),
    'llama.vocab_size' => $pack{u32}->($c->{vocab_size}),
    'llama.context_length' => $pack{u32}->($c->{max_position_embeddings}),
    'llama.embedding_length' => $pack{u32}->($c->{hidden_size}),
    'llama.feed_forward_length' => $pack{u32}->($c->{intermediate_size}),
    'llama.block_count' => $pack{u32}->($c->{num_hidden_layers}),
    'llama.attention.head_count' => $pack{u32}->($c->{num_attention_heads}),
    'llama.attention.head_count_kv' => $pack{u32}->($c->{num_key_value_heads}),
    'llama.attention.layer_norm_rms_epsilon' => $pack{f32}->($c->{rms_norm_eps}),
    'llama.rope.freq_base' => $pack{f32}->($c->{rope_theta}),
    'llama.rope.dimension_count' => $pack{u32}->($head_dim),
    'tokenizer.ggml.model' => $pack{str}->('llama'),
    'tokenizer.ggml.tokens' =>
        pack('L<L<Q<', 9, 8, scalar @tokens) . join('', map { text($_) } @tokens),
    'tokenizer.ggml.scores' => pack('L<L<Q<', 9, 6, scalar @scores) . join('', @scores),
    'tokenizer.ggml.token_type' => pack('L<L<Q<l<*', 9, 5, scalar @types, @types),
    'tokenizer.ggml.bos_token_id' => $pack{u32}->(1),
    'tokenizer.ggml.eos_token_id' => $pack{u32}->(2),
);

# ---- tensors ----

my %names = (
    'model.embed_tokens' => 'token_embd', 'model.norm' => 'output_norm', 'lm_head' => 'output',
    input_layernorm => 'attn_norm', post_attention_layernorm => 'ffn_norm',
    'self_attn.q_proj' => 'attn_q', 'self_attn.k_proj' => 'attn_k', 'self_attn.v_proj' => 'attn_v',
    'self_attn.o_proj' => 'attn_output', 'mlp.gate_proj' => 'ffn_gate', 'mlp.up_proj' => 'ffn_up',
    'mlp.down_proj' => 'ffn_down',
);
my @tensors; # [name, type, dims in GGUF's order, data]
for my $name (sort keys %$header) {
    my $t = $header->{$name};
    my ($begin, $end) = @{ $t->{data_offsets} };
    my $data = substr $file, 8 + $length + $begin, $end - $begin;
    die "$name: $t->{dtype}" if $t->{dtype} ne 'F32';
    my ($layer, $module) = $name =~ /^(?:model\.layers\.(\d+)\.)?(.*)\.weight$/;
    if ($module =~ /[qk]_proj/) { # row j of a head goes to 2 j, row j + head_dim / 2 to 2 j + 1
        my $row = 4 * $t->{shape}[1];
        my @rows = unpack "(a$row)*", $data;
        my @to;
        for my $i (0 .. $#rows) {
            my $in = $i % $head_dim;
            my $half = $head_dim / 2;
            $to[$i - $in + 2 * ($in % $half) + int($in / $half)] = $rows[$i];
        }
        $data = join '', @to;
    }
    my $gguf = (defined $layer ? "blk.$layer." : '') . $names{$module} . '.weight';
    push @tensors, [$gguf, 0, [reverse @{ $t->{shape} }], $data];
}

for my $change (@changes) {
    if ($change =~ /^\+(.+)=(\d+):([\d,]+)$/) {
        my @dims = split /,/, $3;
        my $elements = 1;
        $elements *= $_ for @dims;
        push @tensors, [$1, $2, \@dims, "\0" x (4 * $elements)];
    } elsif ($change =~ /^(.+?)=(?:(\w+):(.*))?$/s) {
        $keys{$1} = $pack{$2}->($3) if defined $2;
        delete $keys{$1} unless defined $2;
    }
}

# ---- the file ----

my ($infos, $data) = ('', '');
for my $t (@tensors) {
    my ($name, $type, $dims, $bytes) = @$t;
    $infos .= text($name) . pack('L<Q<*', scalar @$dims, @$dims);
    $infos .= pack('L<Q<', $type, length $data);
    $data .= $bytes . "\0" x (-length($bytes) % 32);
}
my $head = 'GGUF' . pack('L<Q<Q<', 3, scalar @tensors, scalar keys %keys);
$head .= text($_) . $keys{$_} for sort keys %keys;
$head .= $infos;
open my $f, '>:raw', $out or die "$out: $!";
print $f $head, "\0" x (-length($head) % 32), $data;
close $f or die "$out: $!";
