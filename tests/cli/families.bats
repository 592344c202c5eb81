load helper

# A small model of a family, made by training it from its config: base/, and base.nf4, its stream.
# MORE: keys that stand beside the sizes. SIZES: others than the usual ones.
family_base() { # MODEL_TYPE CLASS MORE
    make_base
    rm -rf base base.nf4 config.json
    cat > config.json <<JSON
{"architectures":["$2ForCausalLM"],"model_type":"$1","num_hidden_layers":3,
${SIZES:-"vocab_size":400,"hidden_size":32,"intermediate_size":48,"num_attention_heads":4,"num_key_value_heads":2},
"rms_norm_eps":1e-5,"rope_theta":500,"hidden_act":"silu","initializer_range":0.1,
"max_position_embeddings":16,"bos_token_id":1,"eos_token_id":2$3}
JSON
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        tokenizer=tok train_file=16.smp output_dir=base max_steps=12 learning_rate=0.02 \
        per_device_train_batch_size=4 --quiet --device cpu
    quantize --quiet base -o base.nf4
}

nll() { # MODEL...: the losses over 16 and 32 tokens
    ppl --quiet --data docs.tok --context 16,32 --to json --model "$@" | perl -MJSON::PP \
        -e 'local $/; my @s = @{decode_json(<STDIN>)->{scores}}; die unless @s == 2; print join " ", map { $_->{nll} } @s'
}

near() { # A B: pairs of numbers, a hundred-thousandth apart at most
    perl -e 'my @a = split " ", shift; my @b = split " ", shift; die "@a, @b" unless @a == 2 && @b == 2;
        abs($a[$_] / $b[$_] - 1) < 1e-5 or die "$a[$_] $b[$_]" for 0, 1' "$1" "$2"
}

names() { # DIR: the names of the tensors in it
    perl -MJSON::PP -e 'for (glob "$ARGV[0]/*.safetensors") { open my $f, "<:raw", $_; read $f, my $n, 8;
        read $f, my $h, unpack "Q<", $n; print "$_\n" for sort keys %{decode_json($h)} }' "$1"
}

# Quantized both ways, trained on both, applied, merged, generated with.
whole_way() { # MODEL_TYPE CLASS MORE
    family_base "$@"
    quantize --quiet base --to bnb -o base.bnb
    [ "$(nll base.nf4)" = "$(nll base.bnb)" ]
    lora ad --quiet attention=s2
    lora again --quiet attention=s2 model_name_or_path=base.bnb
    cmp ad/adapter_model.safetensors again/adapter_model.safetensors
    applied=$(nll base --adapter ad)
    [ "$applied" != "$(nll base)" ]
    merge --quiet --base base --adapter ad -o merged
    near "$(nll merged)" "$applied"
    [ "$(names merged)" = "$(names base)" ]
    grep -q "\"model_type\": \"$1\"" merged/config.json
    generate -m merged -p 'a b' -n 8 --temperature 0 --quiet > a
    generate -m base --adapter ad -p 'a b' -n 8 --temperature 0 --quiet > b
    cmp a b
}

@test "qwen2: biases of q, k and v go the whole way" {
    whole_way qwen2 Qwen2 ',"tie_word_embeddings":true'
    [ "$(names base | grep -c '_proj\.bias$')" = 9 ]
    # A stored bias is needed, and one that is too many is refused.
    cp -rL base bad
    perl -pi -e 's/"qwen2"/"llama"/' bad/config.json
    run --separate-stderr -3 ppl --quiet --model bad --data docs.tok --context 16
    [[ "$stderr" == *"_proj.bias is not one of this model; its config.json tells of no bias there" ]]
}

@test "qwen2: layers with a window, trained on and generated with beyond it" {
    whole_way qwen2 Qwen2 \
        ',"use_sliding_window":true,"sliding_window":5,"max_window_layers":1,"tie_word_embeddings":false'
    # The window counts: without it the same weights say something else.
    cp -rL base other
    perl -pi -e 's/("use_sliding_window": )true/$1false/' other/config.json
    [ "$(nll other)" != "$(nll base)" ]
}

@test "qwen3: norms of heads, and a head dimension of their own, go the whole way" {
    whole_way qwen3 Qwen3 ',"head_dim":12,"attention_bias":false,"tie_word_embeddings":false'
    [ "$(names base | grep -c 'self_attn\.[qk]_norm\.weight$')" = 6 ]
    # They are trained, and merged, with the other norms.
    lora norms --quiet train_norm=true
    grep -q '"q_norm"' norms/adapter_config.json
    merge --quiet --base base --adapter norms -o merged
    near "$(nll merged)" "$(nll base --adapter norms)"
}

@test "smollm3: a layer without positions, a tied head and YaRN go the whole way" {
    whole_way smollm3 SmolLM3 \
        ',"no_rope_layer_interval":3,"pad_token_id":null,"rope_scaling":{"type":"yarn","factor":2.0,"original_max_position_embeddings":16}'
    run ! grep -q lm_head <(names base)
}

@test "mistral: its window goes the whole way" {
    whole_way mistral Mistral ',"sliding_window":6,"tie_word_embeddings":false'
}

@test "llama: biases go the whole way, and lora_bias adds to them" {
    whole_way llama Llama ',"attention_bias":true,"mlp_bias":true,"tie_word_embeddings":false'
    [ "$(names base | grep -c '_proj\.bias$')" = 21 ]
}

@test "granite: its factors, biases and a tied head go the whole way" {
    whole_way granite Granite ',"embedding_multiplier":12.0,"attention_multiplier":0.1,"residual_multiplier":0.22,"logits_scaling":3.0,"attention_bias":true,"mlp_bias":true,"tie_word_embeddings":true'
    # Each factor counts: without it the same weights say something else.
    for key in embedding_multiplier attention_multiplier residual_multiplier logits_scaling; do
        cp -rL base other
        perl -pi -e 's/"'$key'": [0-9.e-]+/"'$key'": 1.5/' other/config.json
        [ "$(nll other)" != "$(nll base)" ]
        rm -r other
    done
}

@test "sizes that are no multiple of 8 go the whole way" {
    SIZES='"vocab_size":401,"hidden_size":39,"intermediate_size":37,"num_attention_heads":3,"num_key_value_heads":1,"head_dim":22' \
        whole_way llama Llama ',"attention_bias":true,"tie_word_embeddings":false'
    # With dropout, and trained whole.
    lora dropped --quiet lora_dropout=0.1
    merge --quiet --base base --adapter dropped -o merged
    near "$(nll merged)" "$(nll base --adapter dropped)"
    train scratch.yaml --quiet attention=full model_name_or_path=base train_file=16.smp \
        output_dir=whole max_steps=2
    [ "$(names whole)" = "$(names base)" ]
    # A GPU has kernels for heads of up to 256; an odd head dimension cannot be rotated.
    cp -rL base bad
    perl -pi -e 's/("head_dim": )22/${1}21/' bad/config.json
    run --separate-stderr -3 ppl --quiet --model bad --data docs.tok --context 16
    [[ "$stderr" == *"head dimension 21 is not even"* ]]
    sed 's/"head_dim": 21/"head_dim": 258/' bad/config.json > wide.json
    run --separate-stderr -3 train scratch.yaml from_scratch=true attention=full --dry-run \
        model_name_or_path=wide.json tokenizer=tok train_file=16.smp output_dir=x max_steps=1 --device cuda
    [[ "$stderr" == *"device cuda: a head dimension of 258, at most 256 is computed there: --device cpu"* ]]
}
