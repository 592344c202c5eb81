#!/usr/bin/perl
# check_llamacpp.pl LIST DIR... - checks that each model directory has what llama.cpp's converter
# demands (LIST, made by tests/golden/llamacpp_list.py): the keys of config.json, exactly the listed
# tensors with their shapes, an index that lists them all, and a tokenizer.
use strict;
use warnings;
use JSON::PP;

sub slurp { my ($path) = @_; open my $f, '<:raw', $path or die "$path: $!\n"; local $/; return
    scalar <$f> }

sub header {
    my ($path) = @_;
    my $bytes = slurp($path);
    my $n = unpack 'Q<', $bytes;
    my $h = decode_json(substr $bytes, 8, $n);
    my $about = delete $h->{__metadata__};
    die "$path: metadata has no format: pt\n" if ($about->{format} // '') ne 'pt';
    die "$path: header is not padded to 8 bytes\n" if $n % 8;
    return $h;
}

# Returns a dimension, which is a key of the config or the product of two.
sub size_of {
    my ($config, $words) = @_;
    my $product = 1;
    $product *= $config->{$_} for split /\*/, $words;
    return $product;
}

my $list = decode_json(slurp(shift @ARGV));
my %optional = map { $_ => 1 } qw(num_key_value_heads rope_theta rope_scaling);
for my $dir (@ARGV) {
    my $config = decode_json(slurp("$dir/config.json"));
    for my $key (@{ $list->{config} }) {
        next if $optional{$key} && !defined $config->{$key};
        die "$dir: config.json lacks $key\n" unless defined $config->{$key};
        die "$dir: $key is no number\n" if $key =~ /size|num_|max_|eps|theta/ && $config->{$key} !~
            /^[0-9.e+-]+$/;
    }
    die "$dir: architectures\n" unless $config->{architectures}[0] =~
        /^(Llama|Mistral)ForCausalLM$/;
    my $rope = $config->{rope_scaling};
    die "$dir: rope_scaling is no type and factor\n" if $rope && !(($rope->{type} //
        $rope->{rope_type}) && $rope->{factor} >= 1);
    $config->{num_key_value_heads} //= $config->{num_attention_heads};
    $config->{head_dim} //= $config->{hidden_size} / $config->{num_attention_heads};

    my %found;
    my @files = -e "$dir/model.safetensors" ? ('model.safetensors') : ();
    my $index = @files ? undef : decode_json(slurp("$dir/model.safetensors.index.json"));
    @files = do { my %f = map { $_ => 1 } values %{ $index->{weight_map} }; sort keys %f } if
        $index;
    my $bytes = 0;
    for my $file (@files) {
        my $h = header("$dir/$file");
        for my $name (keys %$h) {
            die "$dir: $name is in two shards\n" if $found{$name};
            die "$dir: the index has $name elsewhere\n" if $index && ($index->{weight_map}{$name} //
                '') ne $file;
            $found{$name} = $h->{$name};
            $bytes += $h->{$name}{data_offsets}[1] - $h->{$name}{data_offsets}[0];
        }
    }
    die "$dir: total_size\n" if $index && $index->{metadata}{total_size} != $bytes;
    for my $general (keys %{ $list->{tensors} }) {
        next if $general eq 'lm_head.weight' && $config->{tie_word_embeddings};
        my @dims = map { size_of($config, $_) } @{ $list->{tensors}{$general} };
        for my $layer ($general =~ /\{layer\}/ ? 0 .. $config->{num_hidden_layers} - 1 : 0) {
            (my $name = $general) =~ s/\{layer\}/$layer/;
            my $t = delete $found{$name} or die "$dir: tensor $name is missing\n";
            die "$dir: $name is [@{ $t->{shape} }], not [@dims]\n" if "@{ $t->{shape} }" ne "@dims";
            die "$dir: $name is $t->{dtype}\n" unless $t->{dtype} =~ /^(F32|F16|BF16)$/;
        }
    }
    die "$dir: tensors nobody asks for: @{[ sort keys %found ]}\n" if %found;
    die "$dir: no tokenizer\n" unless -e "$dir/tokenizer.model" || -e "$dir/tokenizer.json";
}
