load helper

nll() { perl -MJSON::PP \
    -e 'local $/; print join " ", map { sprintf "%.7f", $_->{nll} } @{ decode_json(<STDIN>)->{scores} }'; }
# Prints the tensors of a safetensors file: name, dtype and shape on a line.
tensors() { perl -MJSON::PP \
    -e 'open my $f, "<:raw", $ARGV[0] or die; read $f, my $n, 8; read $f, my $h, unpack "Q<", $n; $h = decode_json($h);
    print "$_ $h->{$_}{dtype} @{ $h->{$_}{shape} }\n" for sort grep { $_ ne "__metadata__" } keys %$h' \
        "$1"; }

@test "quantize --to bnb: the directory has bitsandbytes' tensors, and computes what the stream computes" {
    make_base
    run --separate-stderr -0 quantize base --to bnb -o bnb
    [[ "$stderr" == *"all linear layers: relative error 0.0"*"B/s of the model" ]]
    tensors bnb/model.safetensors > got
    {
        for l in 0 1; do
            for m in self_attn.q_proj:32:32 self_attn.k_proj:16:32 self_attn.v_proj:16:32 \
                self_attn.o_proj:32:32 mlp.gate_proj:48:32 mlp.up_proj:48:32 mlp.down_proj:32:48; do
                IFS=: read -r name rows cols <<< "$m"
                w=model.layers.$l.$name.weight n=$((rows * cols))
                printf '%s\n' "$w U8 $(((n + 1) / 2)) 1" "$w.absmax U8 $(((n + 63) / 64))" \
                    "$w.nested_absmax F32 $(((n + 16383) / 16384))" \
                    "$w.nested_quant_map F32 256" "$w.quant_map F32 16" \
                    "$w.quant_state.bitsandbytes__nf4 U8 256"
            done
            printf '%s\n' "model.layers.$l.input_layernorm.weight F32 32" \
                "model.layers.$l.post_attention_layernorm.weight F32 32"
        done
        printf '%s\n' "model.embed_tokens.weight F32 400 32" "model.norm.weight F32 32" \
            "lm_head.weight F32 400 32"
    } | LC_ALL=C sort > expected
    LC_ALL=C sort got | diff - expected
    perl -MJSON::PP \
        -e 'local $/; my $q = decode_json(<STDIN>)->{quantization_config}; die unless $q->{load_in_4bit} && $q->{quant_method} eq "bitsandbytes"
        && $q->{bnb_4bit_quant_type} eq "nf4" && $q->{bnb_4bit_use_double_quant}' < bnb/config.json
    cmp bnb/tokenizer.model tok/tokenizer.model
    a=$(ppl --quiet --model base.nf4 --data docs.tok --context 8,16 --to json | nll)
    b=$(ppl --quiet --model bnb --data docs.tok --context 8,16 --to json | nll)
    [ "$a" = "$b" ]
    # Shards can be written too. A directory that is NF4 already is refused.
    quantize --quiet base --to bnb -o shards --max-shard-size 1
    run --separate-stderr -3 quantize bnb -o again.nf4
    [[ "$stderr" == *"bnb: its linear layers are NF4 already: nothing to do" ]]
    run --separate-stderr -2 quantize base --to bnb
    run --separate-stderr -2 quantize base --to bnb -o x --max-shard-size 0
}

@test "a bitsandbytes directory can be trained on and merged into, and counts as the same base as the stream" {
    make_base
    quantize --quiet base --to bnb -o bnb
    lora by-stream --quiet
    lora by-bnb --quiet model_name_or_path=bnb
    cmp by-stream/adapter_model.safetensors by-bnb/adapter_model.safetensors
    grep -q '"base_quantization": "nf4"' by-bnb/longqlora.json
    merge --quiet --base bnb --adapter by-stream -o from-bnb
    converts from-bnb
    run ! grep -q quantization_config from-bnb/config.json
    merge --quiet --base base.nf4 --adapter by-bnb --tokenizer tok -o from-stream
    cmp from-bnb/model.safetensors from-stream/model.safetensors
    # A recipe for NF4 still refuses an unquantized directory.
    run --separate-stderr -2 lora x model_name_or_path=base
    [[ "$stderr" == *"base"*"quantize"* ]]
}

@test "NTK-aware, YaRN, dynamic and llama3 scaling work in training and in adapters, and are merged so that other programs read them" {
    make_base
    for rope in ntk yarn dynamic llama3; do
        run --separate-stderr -0 lora $rope model_name_or_path=base quantization=none rope=$rope:2
        [[ "$stderr" == *"rope: $rope 2 (16 → 32), theta 500"* ]]
        grep -q "\"type\": \"$rope\"" $rope/longqlora.json
        merge --quiet --base base --adapter $rope -o merged-$rope
        converts merged-$rope
        a=$(ppl --quiet --model base --adapter $rope --data docs.tok --context 16,32 --to json \
            | nll)
        b=$(ppl --quiet --model merged-$rope --data docs.tok --context 16,32 --to json | nll)
        perl \
            -e 'my @a = split " ", shift; my @b = split " ", shift; die "@a / @b" if grep { abs($a[$_] - $b[$_]) > 1e-5 } 0, 1' \
            "$a" "$b"
        # Another scaling than in training is refused.
        run --separate-stderr -2 ppl --quiet --model base --adapter $rope --rope linear:2 --data \
            docs.tok --context 16
    done
    # The merged config has theta 500 · 2^(8/6) and no position scaling, so any program can use it.
    perl -MJSON::PP \
        -e 'local $/; my $c = decode_json(<STDIN>); die if abs($c->{rope_theta} - 500 * 2 ** (8 / 6)) > 1e-9 || defined $c->{rope_scaling} || $c->{max_position_embeddings} != 32' \
        < merged-ntk/config.json
    run --separate-stderr -2 lora x model_name_or_path=base quantization=none rope=ntk:1.5
    [[ "$stderr" == *"max_seq_length 32, but with rope=ntk:1.5 the positions reach 24: take a larger factor, or rope=auto" ]]
    # An adapter whose positions were scaled by llama3 has Llama 3.1's parameters of its own, which
    # a base does not have. An adapter without them fits only a base that has llama3 itself.
    perl -MJSON::PP -e 'local $/; my $r = decode_json(<STDIN>)->{rope};
        die unless $r->{low_freq_factor} == 1 && $r->{high_freq_factor} == 4' < llama3/longqlora.json
    perl -MJSON::PP -e 'local $/; my $c = decode_json(<STDIN>); my $r = $c->{rope_scaling};
        die unless $r->{rope_type} eq "llama3" && $r->{factor} == 2 && $r->{low_freq_factor} == 1 &&
            $r->{high_freq_factor} == 4 && $r->{original_max_position_embeddings} == 16 &&
            $c->{max_position_embeddings} == 32' < merged-llama3/config.json
    run --separate-stderr -3 merge --base base --adapter llama3 --to gguf-lora -o l.gguf
    [[ "$stderr" == *"llama3 positions, for which llama.cpp has no options: merge the adapter (--to gguf)" ]]
    perl -MJSON::PP -i -0pe 'my $j = decode_json($_); delete @{$j->{rope}}{"low_freq_factor",
        "high_freq_factor"}; $_ = encode_json($j)' llama3/longqlora.json
    run --separate-stderr -3 ppl --quiet --model base --adapter llama3 --data docs.tok --context 16
    [[ "$stderr" == *"trained with llama3 positions, factor 2; the base has default, 1" ]]
    # Another original context of a base with such positions is merged too.
    cp -r yarn plain
    rm plain/longqlora.json
    for rope in yarn dynamic llama3; do
        merge --quiet --base merged-$rope --adapter plain --original-context 8 -o other-$rope
        a=$(ppl --quiet --model merged-$rope --adapter plain --original-context 8 --data docs.tok \
            --context 16 --to json | nll)
        b=$(ppl --quiet --model other-$rope --data docs.tok --context 16 --to json | nll)
        perl -e 'die "@ARGV" if abs($ARGV[1] - $ARGV[2]) > 1e-5' $rope "$a" "$b"
        perl -MJSON::PP -0 -ne 'my $c = decode_json($_); my $r = $c->{rope_scaling};
            my $original = $r->{type} eq "dynamic" ? $c->{max_position_embeddings}
                : $r->{original_max_position_embeddings};
            die $_ if $original != 8' other-$rope/config.json
    done
    # A base that has llama3 positions is not scaled further by itself.
    pack --quiet --context 64 --strategy split docs.tok -o longer.smp
    run --separate-stderr -2 lora x model_name_or_path=merged-llama3 quantization=none \
        max_seq_length=64 train_file=longer.smp
    [[ "$stderr" == *"llama3 positions end at 32 and are not interpolated"* ]]
}

@test "model directories with an unsupported quantization, or tensors that contradict the config, are refused by name" {
    make_base
    cp -rL base bad
    perl -pi \
        -e 's/"vocab_size"/"quantization_config": {"quant_method": "gptq", "bits": 4}, "vocab_size"/' \
        bad/config.json
    run --separate-stderr -3 ppl --quiet --model bad --data docs.tok --context 16
    [[ "$stderr" == \
        *"bad: quantization_config: quant_method 'gptq' is not supported, only bitsandbytes: use the unquantized model, and quantize it" ]]
    # One tensor too many: a bias that the config does not mention.
    rm -rf bad
    cp -rL base bad
    perl -MJSON::PP \
        -e 'open my $f, "<:raw", "bad/model.safetensors"; local $/; my $b = <$f>; my $n = unpack "Q<", $b; my $h = decode_json(substr $b, 8, $n);
        my $end = length($b) - 8 - $n; $h->{"model.layers.0.self_attn.q_proj.bias"} = { dtype => "F32", shape => [1], data_offsets => [$end, $end + 4] };
        my $t = encode_json($h); $t .= " " while length($t) % 8; open my $o, ">:raw", "bad/model.safetensors"; print $o pack("Q<", length $t), $t, substr($b, 8 + $n), "\0" x 4'
    run --separate-stderr -3 ppl --quiet --model bad --data docs.tok --context 16
    [[ "$stderr" == \
        *"bad: tensor model.layers.0.self_attn.q_proj.bias is not one of this model; its config.json mentions no bias there" ]]
    # The metadata of a quantized tensor name another block size, another type or another shape.
    for change in 's/"blocksize": 64/"blocksize": 32/' \
        's/"quant_type": "nf4"/"quant_type": "fp4"/' 's/"shape": \[32, 32\]/"shape": [16, 64]/'; do
        rm -rf bad
        quantize --quiet base --to bnb -o bad
        perl -0777 -pi -e "$change" bad/model.safetensors
        run --separate-stderr -3 ppl --quiet --model bad --data docs.tok --context 16
        [[ "$stderr" == *"bad: model.layers.0."*"_proj.weight: "* ]]
    done
}

@test "merge: wrong, empty and incomplete adapters are refused before anything is written" {
    make_base
    lora ad --quiet
    cp -r ad empty
    printf '\x08\0\0\0\0\0\0\0{}      ' > empty/adapter_model.safetensors
    run --separate-stderr -3 merge --base base --adapter empty -o x
    [[ "$stderr" == \
        *": its tensor base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight is missing, which its target_modules require" ]]
    # One tensor has another name.
    cp -r ad odd
    perl -0777 -pi -e 's/layers\.1\.mlp\.up_proj\.lora_B/layers.7.mlp.up_proj.lora_B/' \
        odd/adapter_model.safetensors
    run --separate-stderr -3 merge --base base --adapter odd -o x
    [[ "$stderr" == \
        *": its tensor base_model.model.model.layers.1.mlp.up_proj.lora_B.weight is missing, which its target_modules require" ]]
    [ ! -e x ]
    [ -z "$(find . -maxdepth 1 -name 'x*')" ]
    # A value is too large for the output type.
    cp -r ad huge
    perl -pi -e 's/"lora_alpha": \d+/"lora_alpha": 100000000/' huge/adapter_config.json
    run --separate-stderr -3 merge --base base --adapter huge --dtype f16 -o x
    [[ "$stderr" =~ \
        "model.layers.0.self_attn."[qkvo]"_proj.weight: rows 0 to "[0-9]+" are not finite after merging to F16: if values overflow, use --dtype f32; if a file is damaged, fetch it again"$ ]]
    [ -z "$(find . -maxdepth 1 -name 'x*')" ]
    # A folder that is not a model is never replaced. A model that was made here is replaced as a
    # whole, unless this would remove a file that may be the user's.
    mkdir precious && touch precious/thesis
    run --separate-stderr -1 merge --base base --adapter ad -o precious
    [[ "$stderr" == "merge: precious: holds thesis, a file that does not belong there: "* ]]
    [ -e precious/thesis ]
    merge --quiet --base base --adapter ad -o out
    touch out/NOTICE
    run --separate-stderr -1 merge --quiet --base base --adapter ad -o out/
    [ "$stderr" = \
        "merge: out: holds NOTICE, which was put there since the model was made: name another folder, or move it away" ]
    rm out/NOTICE
    merge --quiet --base base --adapter ad -o out/
    converts out
}

@test "quantize and merge: too small a disk is reported before anything is written; a signal leaves no files" {
    make_base
    lora ad --quiet
    mkdir small
    mount -t tmpfs -o size=60k none small 2> /dev/null || skip "no tmpfs here"
    run --separate-stderr -1 quantize base -o small/q.nf4
    room=" are free there: make room, or name another place"
    [[ "$stderr" == *"small: needs "*B" of disk, "*B"$room" ]]
    run --separate-stderr -1 quantize base --to bnb -o small/bnb
    run --separate-stderr -1 merge --base base --adapter ad -o small/merged
    [[ "$stderr" == *"needs "*B" of disk, "*B"$room" ]]
    # The stated need is the size of the result, which is the weights and the files beside them. It
    # may be 1 % too small, or a tenth and 100 kB too large.
    needed=$(grep -oP 'needs \K[0-9.]+ [kM]?B' <<< "$stderr" | sed 's/ kB/e3/;s/ MB/e6/;s/ B//')
    merge --quiet --base base --adapter ad -o whole
    taken=$(cat whole/* | wc -c)
    perl -e 'exit !($ARGV[0] > 0.99 * $ARGV[1] && $ARGV[0] < 1.1 * $ARGV[1] + 100_000)' \
        "$needed" "$taken"
    [ -z "$(ls small)" ]
    umount small
    # If the program is stopped in the middle, the whole directory is removed.
    for signal in INT TERM HUP; do
        (exec merge --quiet --base base --adapter ad -o stopped --max-shard-size 1 2> /dev/null) &
        kill -$signal $! 2> /dev/null || true
        wait $! || true
        [ -z "$(find . -maxdepth 1 -name '.longqlora-*')" ]
    done
}
