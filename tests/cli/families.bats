load helper

# Makes base/, a small model of a family that is trained from its config, and base.nf4, its stream.
# MORE: keys beside the sizes. SIZES: other sizes than the usual ones. POSITIONS: the context, if it
# is not 16.
family_base() { # MODEL_TYPE CLASS MORE
    make_base
    rm -rf base base.nf4 config.json
    local sizes='"vocab_size":400,"hidden_size":32,"intermediate_size":48,"num_attention_heads":4,"num_key_value_heads":2'
    cat > config.json <<JSON
{"architectures":["$2ForCausalLM"],"model_type":"$1","num_hidden_layers":3,
${SIZES:-$sizes},
"rms_norm_eps":1e-5,"rope_theta":500,"hidden_act":"silu","initializer_range":0.1,
"max_position_embeddings":${POSITIONS:-16},"bos_token_id":1,"eos_token_id":2$3}
JSON
    train scratch.yaml from_scratch=true attention=full model_name_or_path=config.json \
        tokenizer=tok train_file=16.smp output_dir=base max_steps=12 learning_rate=0.02 \
        per_device_train_batch_size=4 --quiet --device cpu
    quantize --quiet base -o base.nf4
}

nll() { # MODEL...: prints the losses over 16 and 32 tokens
    ppl --quiet --data docs.tok --context 16,32 --max-tokens "$(less 1000000 500)" --to json \
        --model "$@" | perl -MJSON::PP \
        -e 'local $/; my @s = @{decode_json(<STDIN>)->{scores}}; die unless @s == 2; print join " ", map { $_->{nll} } @s'
}

near() { # A B: fails unless the two losses of A are within a hundred-thousandth of those of B
    perl -e 'my @a = split " ", shift; my @b = split " ", shift; die "@a, @b" unless @a == 2 && @b == 2;
        abs($a[$_] / $b[$_] - 1) < 1e-5 or die "$a[$_] $b[$_]" for 0, 1' "$1" "$2"
}

names() { # DIR: prints the names of the tensors in it
    perl -MJSON::PP -e 'for (glob "$ARGV[0]/*.safetensors") { open my $f, "<:raw", $_; read $f, my $n, 8;
        read $f, my $h, unpack "Q<", $n; print "$_\n" for sort keys %{decode_json($h)} }' "$1"
}

# Quantizes the model in both ways, trains on both, then applies the adapter, merges it and
# generates text.
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

# Fails unless the model in base/ has another loss with this value of each key.
each_has_an_effect() { # VALUE KEY...
    local value=$1 key
    for key in "${@:2}"; do
        cp -rL base other
        perl -pi -e 's/"'"$key"'": [0-9.e-]+/"'"$key"'": '"$value"'/' other/config.json
        [ "$(nll other)" != "$(nll base)" ]
        rm -r other
    done
}

@test "qwen2: all programs handle the biases of q, k and v" {
    whole_way qwen2 Qwen2 ',"tie_word_embeddings":true'
    [ "$(names base | grep -c '_proj\.bias$')" = 9 ]
    # As a llama, which has no such biases, these weights are refused.
    cp -rL base bad
    perl -pi -e 's/"qwen2"/"llama"/' bad/config.json
    run --separate-stderr -3 ppl --quiet --model bad --data docs.tok --context 16
    [[ "$stderr" == *"_proj.bias is not one of this model; its config.json mentions no bias there" ]]
}

@test "qwen2: layers with a window are trained, and generate text longer than the window" {
    whole_way qwen2 Qwen2 \
        ',"use_sliding_window":true,"sliding_window":5,"max_window_layers":1,"tie_word_embeddings":false'
    # The window has an effect: without it the same weights give another loss.
    cp -rL base other
    perl -pi -e 's/("use_sliding_window": )true/$1false/' other/config.json
    [ "$(nll other)" != "$(nll base)" ]
}

@test "qwen3: all programs handle the norms of q and k and a head dimension of its own" {
    whole_way qwen3 Qwen3 ',"head_dim":12,"attention_bias":false,"tie_word_embeddings":false'
    [ "$(names base | grep -c 'self_attn\.[qk]_norm\.weight$')" = 6 ]
    # These norms are trained and merged with the other norms.
    lora norms --quiet train_norm=true
    grep -q '"q_norm"' norms/adapter_config.json
    merge --quiet --base base --adapter norms -o merged
    near "$(nll merged)" "$(nll base --adapter norms)"
}

@test "smollm3: all programs handle a layer without RoPE, a tied head and YaRN" {
    whole_way smollm3 SmolLM3 \
        ',"no_rope_layer_interval":3,"pad_token_id":null,"rope_scaling":{"type":"yarn","factor":2.0,"original_max_position_embeddings":16}'
    run ! grep -q lm_head <(names base)
}

@test "mistral: all programs handle the sliding window" {
    whole_way mistral Mistral ',"sliding_window":6,"tie_word_embeddings":false'
}

@test "llama: all programs handle biases of attention and MLP" {
    whole_way llama Llama ',"attention_bias":true,"mlp_bias":true,"tie_word_embeddings":false'
    [ "$(names base | grep -c '_proj\.bias$')" = 21 ]
}

@test "granite: all programs handle its multipliers, biases and a tied head" {
    whole_way granite Granite ',"embedding_multiplier":12.0,"attention_multiplier":0.1,"residual_multiplier":0.22,"logits_scaling":3.0,"attention_bias":true,"mlp_bias":true,"tie_word_embeddings":true'
    # Each factor has an effect: with another value the same weights give another loss.
    each_has_an_effect 1.5 embedding_multiplier attention_multiplier residual_multiplier \
        logits_scaling
}

@test "olmo2: all programs handle norms only after attention and MLP, and norms over all heads" {
    whole_way olmo2 Olmo2 ',"head_dim":12,"tie_word_embeddings":false'
    [ "$(names base | grep -c 'layernorm\.weight$')" = 6 ]
    run ! grep -qE 'input_layernorm|pre_feedforward' <(names base)
    # The norms are trained and merged.
    lora norms --quiet train_norm=true
    grep -q '"post_feedforward_layernorm"' norms/adapter_config.json
    merge --quiet --base base --adapter norms -o merged
    near "$(nll merged)" "$(nll base --adapter norms)"
    # As a qwen3, which has norms before attention, these weights are refused. They cannot become a
    # GGUF, because the heads together are wider than llama.cpp's olmo2 supports.
    cp -rL base bad
    perl -pi -e 's/"olmo2"/"qwen3"/' bad/config.json
    run --separate-stderr -3 ppl --quiet --model bad --data docs.tok --context 16
    [[ "$stderr" == *"model.layers.0.input_layernorm.weight"* ]]
    run --separate-stderr -3 merge --quiet --base base --to gguf -o a.gguf
    [[ "$stderr" == *"head_dim: llama.cpp's olmo2 has no heads that together are wider"* ]]
}

@test "all programs handle sizes that are not multiples of 8" {
    SIZES='"vocab_size":401,"hidden_size":39,"intermediate_size":37,"num_attention_heads":3,"num_key_value_heads":1,"head_dim":22' \
        whole_way llama Llama ',"attention_bias":true,"tie_word_embeddings":false'
    # Dropout and full fine-tuning work with these sizes too.
    lora dropped --quiet lora_dropout=0.1
    merge --quiet --base base --adapter dropped -o merged
    near "$(nll merged)" "$(nll base --adapter dropped)"
    train scratch.yaml --quiet attention=full model_name_or_path=base train_file=16.smp \
        output_dir=whole max_steps=2
    [ "$(names whole)" = "$(names base)" ]
    # An odd head dimension cannot be rotated. A GPU has kernels for a head dimension of at most
    # 256.
    cp -rL base bad
    perl -pi -e 's/("head_dim": )22/${1}21/' bad/config.json
    run --separate-stderr -3 ppl --quiet --model bad --data docs.tok --context 16
    [[ "$stderr" == *"head_dim 21 is not an even number above 0"* ]]
    sed 's/"head_dim": 21/"head_dim": 258/' bad/config.json > wide.json
    run --separate-stderr -3 train scratch.yaml from_scratch=true attention=full --dry-run \
        model_name_or_path=wide.json tokenizer=tok train_file=16.smp output_dir=x max_steps=1 \
        --device cuda
    [[ "$stderr" == *"device cuda: the head dimension is 258, but at most 256 is supported there: use --device cpu"* ]]
}

@test "gemma3_text: all programs handle norms after attention and MLP, and two kinds of RoPE" {
    whole_way gemma3_text Gemma3 ',"head_dim":12,"query_pre_attn_scalar":10,"sliding_window":6,"sliding_window_pattern":3,"rope_local_base_freq":50.0,"pad_token_id":0'
    [ "$(names base | grep -c 'feedforward_layernorm\.weight$')" = 6 ]
    # The adapter was trained with position scaling. transformers 5 reads its type only from
    # rope_type.
    [ "$(perl -MJSON::PP -e 'local $/; my $c = decode_json(<STDIN>);
        print "$c->{rope_scaling}{rope_type} $c->{rope_scaling}{factor} $c->{rope_local_base_freq}"' \
        < merged/config.json)" = "yarn 2 50" ]
    # Each key has an effect: with another value the same weights give another loss.
    each_has_an_effect 2 query_pre_attn_scalar sliding_window sliding_window_pattern \
        rope_local_base_freq
    # transformers 5's spelling of the same position scaling gives the same losses.
    cp -rL base other
    perl -0pi -e 's/"rope_local_base_freq": 50.0/"rope_parameters": {"full_attention": {"rope_theta": 500},
        "sliding_attention": {"rope_theta": 50.0, "rope_type": "default"}}/; s/"rope_theta": 500,\n//' other/config.json
    [ "$(nll other)" = "$(nll base)" ]
    # The norms are trained and merged.
    lora norms --quiet train_norm=true
    grep -q '"pre_feedforward_layernorm"' norms/adapter_config.json
    merge --quiet --base base --adapter norms -o merged
    near "$(nll merged)" "$(nll base --adapter norms)"
    # If a gemma3_text model has the name of the model with images, the message says what to do.
    perl -pi -e 's/"gemma3_text"/"gemma3"/' base/config.json
    run --separate-stderr -3 ppl --quiet --model base --data docs.tok --context 16
    [[ "$stderr" == *"docs/config.md tells how its text model is saved alone"* ]]
}

@test "phi3: all programs handle fused linear layers, longrope, partial rotation and a window" {
    POSITIONS=64 whole_way phi3 Phi3 ',"partial_rotary_factor":0.75,"sliding_window":12,
"original_max_position_embeddings":20,"rope_scaling":{"type":"longrope","short_factor":[1.0,1.5,2.0],
"long_factor":[1.0,2.5,6.0]},"tie_word_embeddings":true'
    [ "$(names base | grep -c '\.qkv_proj\.weight$')" = 3 ]
    [ "$(names base | grep -c '\.gate_up_proj\.weight$')" = 3 ]
    # As in PEFT, a fused linear layer has one A and one B for all its outputs.
    [ "$(names ad | grep -c 'qkv_proj\.lora_[AB]\.weight$')" = 6 ]
    grep -q '"qkv_proj"' ad/adapter_config.json
    grep -q '"original_max_position_embeddings": 20' merged/config.json
    run --separate-stderr -2 lora no --quiet target_modules=q_proj
    [[ "$stderr" == *"target_modules: this model has no q_proj: it has embed_tokens, o_proj, down_proj, qkv_proj, gate_up_proj" ]]
    run --separate-stderr -2 lora no --quiet rope=yarn:2
    [[ "$stderr" == *"yarn positions do not exist in transformers' phi3: use linear or ntk" ]]
    # Linear position scaling takes the place of the model's longrope.
    lora linear --quiet rope=linear:4
    merge --quiet --base base --adapter linear -o straight
    near "$(nll straight)" "$(nll base --adapter linear)"
    run --separate-stderr -2 ppl --quiet --model base --data docs.tok --context 16 \
        --original-context 16
    [[ "$stderr" == *"--original-context: 16: the model's longrope has its factors for an original context of 20: leave it out" ]]
    run --separate-stderr -2 lora no --quiet original_context=16
    [[ "$stderr" == *"original_context: 16: the model's longrope"* ]]
    run --separate-stderr -3 merge --base base --adapter ad --to gguf -o a.gguf
    [[ "$stderr" == *"sliding_window 12 is shorter than the context of 64"* ]]
    # transformers would apply this dropout in training. Our train cannot, so it refuses the model.
    cp -rL base dropped
    perl -pi -e 's/"vocab_size"/"resid_pdrop": 0.1, "vocab_size"/' dropped/config.json
    [ "$(nll dropped)" = "$(nll base)" ]
    run --separate-stderr -3 lora no --quiet quantization=none model_name_or_path=dropped
    [[ "$stderr" == *"resid_pdrop 0.1: dropout of the outputs of attention and MLP is not supported in training"* ]]
}

@test "phi3: linear position scaling is merged as longrope with one factor" {
    whole_way phi3 Phi3 ',"sliding_window":null,"tie_word_embeddings":false'
    grep -q '"type": "longrope"' merged/config.json
    perl -MJSON::PP -e 'local $/; my $c = decode_json(<STDIN>);
        die unless join(",", @{$c->{rope_scaling}{long_factor}}) eq "2,2,2,2" && $c->{max_position_embeddings} == 16' \
        < merged/config.json
    merge --quiet --base base --adapter ad -o whole --max-positions whole
    [ "$(nll whole)" = "$(nll merged)" ]
    grep -q '"attention_factor": 1.0' whole/config.json
    grep -q '"max_position_embeddings": 32' whole/config.json
}

# Gives an adapter a bias for each q, k and v, stored as by PEFT, and sets the key in its config.
with_biases() { # ADAPTER WORD
    perl -MJSON::PP -e 'my ($dir, $word) = @ARGV; local $/;
        open my $f, "<:raw", "$dir/adapter_model.safetensors"; my $all = <$f>; close $f;
        my $n = unpack "Q<", $all; my $h = decode_json(substr $all, 8, $n); my $data = substr $all, 8 + $n;
        for my $l (0 .. 2) { for (["q", 32], ["k", 16], ["v", 16]) { my ($m, $rows) = @$_;
            my $name = "base_model.model.model.layers.$l.self_attn.${m}_proj.base_layer.bias";
            my $at = $h->{$name} ? $h->{$name}{data_offsets}[0] : length $data;
            substr $data, $at, 4 * $rows, pack "f<*", map { sin($_ + $l) / 8 } 1 .. $rows;
            $h->{$name} = { dtype => "F32", shape => [$rows], data_offsets => [$at, $at + 4 * $rows] } } }
        my $text = encode_json($h); $text .= " " x (-length($text) % 8);
        open my $o, ">:raw", "$dir/adapter_model.safetensors"; print $o pack("Q<", length $text), $text, $data; close $o;
        open $f, "<", "$dir/adapter_config.json"; my $c = decode_json(<$f>); $c->{bias} = $word;
        open $o, ">", "$dir/adapter_config.json"; print $o encode_json($c)' "$1" "$2"
}

@test "qwen2: biases that an adapter trained are trained further and merged" {
    family_base qwen2 Qwen2 ',"tie_word_embeddings":true'
    lora ad --quiet attention=full max_steps=1
    cp -r ad biased
    with_biases biased all
    [ "$(nll base --adapter biased)" != "$(nll base --adapter ad)" ]
    further() { # OUT STEPS
        lora "$1" --quiet attention=full adapter_name_or_path=biased max_steps="$2" \
            resume_from_checkpoint=auto
    }
    further whole 4
    further part 2
    further part 4
    cmp whole/adapter_model.safetensors part/adapter_model.safetensors
    grep -q '"bias": "all"' whole/adapter_config.json
    [ "$(names whole)" = "$(names biased)" ]
    [ "$(names whole | grep -c '_proj\.base_layer\.bias$')" = 9 ]
    run ! grep -q '"modules_to_save": \[' whole/adapter_config.json
    # The biases are trained: with the old ones the result has another loss.
    cp -r whole old
    with_biases old all
    nll base --adapter old > before
    [ "$(< before)" != "$(nll base --adapter whole)" ]
    merge --quiet --base base --adapter whole -o merged
    near "$(nll merged)" "$(nll base --adapter whole)"
    # A bias under a name that PEFT does not read is refused with the right name.
    cp -r biased renamed
    perl -0777 -pi -e 's/\.base_layer\.bias("[^}]*})/.bias$1           /g' \
        renamed/adapter_model.safetensors
    run --separate-stderr -3 merge --base base --adapter renamed -o no
    [[ "$stderr" == *"_proj.bias is a trained bias, which PEFT reads only as "*"_proj.base_layer.bias: rename it" ]]
    # A case that PEFT would train in another way is refused, and so is one in which biases would be
    # lost.
    cp -r ad none && perl -pi -e 's/"bias": "none"/"bias": "lora_only"/' none/adapter_config.json
    with_biases old none
    for adapter in none old; do
        run --separate-stderr -3 lora no --quiet attention=full adapter_name_or_path=$adapter
        [[ "$stderr" == *"train: $adapter: "*"bias"*": merge it, and train on the merged model" ]]
    done
}
