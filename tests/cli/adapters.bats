load helper

nll() { perl -MJSON::PP \
    -e 'local $/; print join " ", map { sprintf "%.6f", $_->{nll} } @{ decode_json(<STDIN>)->{scores} }'; }
loss() { ppl --quiet "$@" --data docs.tok --context 16,32 --to json | nll; }
same() { perl \
    -e 'my @a = split " ", shift; my @b = split " ", shift; die "@a / @b\n" unless @a && @a == @b; for (0 .. $#a) { die "@a / @b\n" if abs($a[$_] - $b[$_]) > 2e-6 * $a[$_] }' \
    "$1" "$2"; }
# Changes a JSON file by a Perl expression that modifies $_.
edit() { perl -MJSON::PP \
    -e 'my ($file, $do) = @ARGV; local $/; open my $f, "<", $file or die; $_ = decode_json(<$f>); eval $do; die $@ if $@; open my $o, ">", $file; print $o JSON::PP->new->canonical->pretty->encode($_)' \
    "$1" "$2"; }
names() { perl -MJSON::PP \
    -e 'local $/; print join ",", sort @{ decode_json(<STDIN>)->{modules_to_save} // [] }' < \
    "$1/adapter_config.json"; }
tensors() { perl -MJSON::PP \
    -e 'open my $f, "<:raw", $ARGV[0] or die; read $f, my $n, 8; read $f, my $h, unpack "Q<", $n; print scalar grep { /$ARGV[1]/ } keys %{ decode_json($h) }' \
    "$1/adapter_model.safetensors" "$2"; }
# Removes the tensors whose names match a regular expression from an adapter.
drop() { perl -MJSON::PP \
    -e 'my ($path, $which) = ("$ARGV[0]/adapter_model.safetensors", $ARGV[1]); local $/; open my $f, "<:raw", $path or die;
    my $all = <$f>; my $n = unpack "Q<", $all; my $h = decode_json(substr $all, 8, $n); my $data = "";
    for (sort { $h->{$a}{data_offsets}[0] <=> $h->{$b}{data_offsets}[0] } grep { $_ ne "__metadata__" } keys %$h) {
        if (/$which/) { delete $h->{$_}; next }
        my ($from, $to) = @{ $h->{$_}{data_offsets} }; $h->{$_}{data_offsets} = [ length $data, length($data) + $to - $from ];
        $data .= substr $all, 8 + $n + $from, $to - $from }
    my $json = encode_json($h); $json .= " " x (-length($json) % 8);
    open my $o, ">:raw", $path; print $o pack("Q<", length $json), $json, $data' "$@"; }
# Adds a copy of a base's tensor to a copy of an adapter, each value plus ADDED.
copy() { # FROM TO BASE TENSOR NAME ADDED
    rm -rf "$2" && cp -r "$1" "$2"
    perl -MJSON::PP -e 'use strict; my ($to, $base, $tensor, $name, $added) = @ARGV;
        sub parts { open my $f, "<:raw", shift or die; local $/; my $all = <$f>;
            my $n = unpack "Q<", $all; (decode_json(substr $all, 8, $n), substr $all, 8 + $n) }
        my ($h, $data) = parts("$to/adapter_model.safetensors"); my ($b, $from) = parts("$base/model.safetensors");
        my $t = $b->{"$tensor.weight"}; my ($first, $end) = @{ $t->{data_offsets} };
        my $values = pack "f<*", map { $_ + $added } unpack "f<*", substr $from, $first, $end - $first;
        delete $h->{__metadata__};
        $h->{"base_model.model.$name.weight"} = { dtype => "F32", shape => $t->{shape},
            data_offsets => [ length $data, length($data) + length $values ] };
        my $json = JSON::PP->new->canonical->encode($h);
        $json .= " " x (-length($json) % 8);
        open my $o, ">:raw", "$to/adapter_model.safetensors" or die;
        print $o pack("Q<", length $json), $json, $data, $values' "${@:2}"
}
make_tied() { # trains tied/, a model with a tied head, on the samples of base/
    make_base
    config tied.json 400 true
    train scratch.yaml from_scratch=true attention=full model_name_or_path=tied.json tokenizer=tok \
        train_file=16.smp output_dir=tied max_steps=4 \
        learning_rate=0.01 per_device_train_batch_size=4 --quiet --device cpu
}

@test "train: train_embedding: true trains embedding and head, train_embedding: embedding the embedding alone" {
    make_base
    lora both --quiet model_name_or_path=base quantization=none train_embedding=true
    [ "$(names both)" = embed_tokens,lm_head ]
    lora alone --quiet model_name_or_path=base quantization=none train_embedding=embedding
    [ "$(names alone)" = embed_tokens ]
    lora none --quiet model_name_or_path=base quantization=none
    [ "$(names none)" = '' ]
    run -0 grep -c '"train_embedding": false' none/longqlora.json
    run --separate-stderr -2 lora x train_embedding=head
    [[ "$stderr" == *"train_embedding: 'head' is not one of false|true|embedding"* ]]
    # An adapter that is trained further stays of the same kind.
    lora on --quiet model_name_or_path=base quantization=none adapter_name_or_path=alone max_steps=1
    [ "$(names on)" = embed_tokens ]
    run --separate-stderr -2 lora x model_name_or_path=base quantization=none \
        adapter_name_or_path=alone train_embedding=true
    [[ "$stderr" == \
        *"train_embedding: true, but the adapter has the embedding alone: train_embedding: embedding" ]]
}

@test "a tied base: an adapter stores its embedding and its head, which stay equal; so are those of an older adapter, which stores one" {
    make_tied
    lora run --quiet model_name_or_path=tied quantization=none train_embedding=true
    [ "$(names run)" = embed_tokens,lm_head ]
    grep -q '"tied_head": true' run/longqlora.json
    [ "$(tensors run lm_head)" -eq 1 ]
    a=$(loss --model tied --adapter run)
    merge --quiet --base tied --adapter run -o merged
    grep -q '"tie_word_embeddings": true' merged/config.json
    same "$a" "$(loss --model merged)"
    # As older programs wrote it: only the embedding, in the name and in the file.
    cp -r run old
    edit old/adapter_config.json '$_->{modules_to_save} = ["embed_tokens"]'
    edit old/longqlora.json 'delete @$_{qw(tied_head base_name)}'
    perl -MJSON::PP \
        -e 'my $p = shift; open my $f, "<:raw", $p; local $/; my $b = <$f>; my $n = unpack "Q<", $b; my $h = decode_json(substr $b, 8, $n);
        my $t = delete $h->{"base_model.model.lm_head.weight"}; my ($from, $to) = @{ $t->{data_offsets} }; die unless $to == length($b) - 8 - $n;
        my $j = encode_json($h); $j .= " " while length($j) % 8; open my $o, ">:raw", $p; print $o pack("Q<", length $j), $j, substr($b, 8 + $n, $from)' \
            old/adapter_model.safetensors
    same "$a" "$(loss --model tied --adapter old)"
    lora on --quiet model_name_or_path=tied quantization=none adapter_name_or_path=old \
        train_embedding=true max_steps=1
    [ "$(names on)" = embed_tokens,lm_head ]
    # If only the embedding is stored, PEFT assumes that embedding and head differ. So do our
    # programs if our own file is absent.
    rm old/longqlora.json
    b=$(loss --model tied --adapter old --rope linear:2)
    [ "$a" != "$b" ]
    merge --quiet --base tied --adapter old --rope linear:2 -o parted 2> /dev/null
    grep -q '"tie_word_embeddings": false' parted/config.json
    same "$b" "$(loss --model parted)"
    # After further training, embedding and head still differ.
    lora further --quiet model_name_or_path=tied quantization=none adapter_name_or_path=old \
        learning_rate=1e-30 max_steps=1 lora_dropout=0 rope=linear:2
    [ "$(names further)" = embed_tokens ]
    grep -q '"tied_head": false' further/longqlora.json
    same "$b" "$(loss --model tied --adapter further)"
}

@test "a finished run of an older version, whose train_embedding trained only the embedding, is recognized" {
    make_base
    go() { lora "$1" model_name_or_path=base quantization=none max_steps=2 lora_dropout=0 "${@:2}"; }
    go whole --quiet train_embedding=embedding
    perl -pi -e 's/("train_embedding": *)"embedding"/$1true/ and $n++; END { die unless $n }' \
        whole/longqlora-run.json
    run -0 go whole train_embedding=true
    [[ "$output" == *"whole: already finished: 2 steps of this recipe; nothing is done"* ]]
    # A new run of the same recipe also trains the head.
    go new --quiet train_embedding=true
    [ "$(names new)" = embed_tokens,lm_head ]
}

@test "adapters with patterns or regular expressions are applied, merged, trained further and saved" {
    make_base
    lora ad --quiet model_name_or_path=base quantization=none lora_alpha=4
    a=$(loss --model base --adapter ad)
    # The same adapter, described by other keys of PEFT.
    cp -r ad other
    edit other/adapter_config.json \
        '$_->{r} = 9; $_->{lora_alpha} = 7; $_->{rank_pattern} = { ".*_proj" => 4 };
        $_->{alpha_pattern} = { "layers\\.[01]\\..*_(?:proj)" => 4 }; $_->{target_modules} = ".*\\.(?:[qkvo]|gate|up|down)_proj"; $_->{exclude_modules} = ["layers.7.mlp.up_proj"]'
    same "$a" "$(loss --model base --adapter other)"
    merge --quiet --base base --adapter ad -o merged
    merge --quiet --base base --adapter other -o merged-other
    cmp merged/model.safetensors merged-other/model.safetensors
    # With another scale for some modules, the model is a different one.
    edit other/adapter_config.json \
        '$_->{alpha_pattern}{q_proj} = 40; delete $_->{alpha_pattern}{"layers\\.[01]\\..*_(?:proj)"}; $_->{lora_alpha} = 4'
    b=$(loss --model base --adapter other)
    [ "$a" != "$b" ]
    echo 'method: lora' > bare.yaml
    train bare.yaml --quiet output_dir=on model_name_or_path=base train_file=32.smp \
        quantization=none adapter_name_or_path=other learning_rate=1e-30 max_steps=1 lora_dropout=0
    cmp other/adapter_model.safetensors on/adapter_model.safetensors
    grep -q '"q_proj": 40' on/adapter_config.json
    same "$b" "$(loss --model base --adapter on)"
    # A value that is not understood is named, with its field.
    edit other/adapter_config.json '$_->{target_modules} = ".*(?>_proj)"'
    run --separate-stderr -3 ppl --quiet --model base --adapter other --data docs.tok --context 16
    [[ "$stderr" == \
        "ppl: other/adapter_config.json: target_modules: '.*(?>_proj)': that (? means something else"* ]]
    edit other/adapter_config.json '$_->{target_modules} = ["q_proj"]'
    run --separate-stderr -3 merge --base base --adapter other -o x
    [[ "$stderr" == \
        *"merge: other: its tensor base_model.model.model.layers.0."*" matches no module of this base and adapter_config.json: was the adapter trained on another base?" ]]
    edit other/adapter_config.json \
        '$_->{target_modules} = "all-linear"; $_->{use_dora} = JSON::PP::true'
    run --separate-stderr -3 ppl --quiet --model base --adapter other --data docs.tok --context 16
    [[ "$stderr" == \
        *"other: its tensor base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector is missing, which its use_dora requires" ]]
    # What is missing, or not supported, is named by the field that asks for it.
    while IFS='|' read -r change text; do
        cp ad/adapter_config.json other/
        edit other/adapter_config.json "\$_->{$change"
        run --separate-stderr -3 merge --quiet --base base --adapter other -o x
        [[ "$stderr" == *"$text"* ]] || { echo "$change: $stderr"; false; }
    done << 'END'
modules_to_save} = ["norm"]|input_layernorm.weight is missing, which its modules_to_save require
lora_bias} = JSON::PP::true|q_proj.lora_B.bias is missing, which its lora_bias requires
trainable_token_indices} = [3]|delta is missing, which its trainable_token_indices require
trainable_token_indices} = { lm_head => [3] }|names lm_head, but only embed_tokens alone is
trainable_token_indices} = { lm_head => [3], embed_tokens => [4] }|names several
END
    lora head --quiet model_name_or_path=base quantization=none target_modules=lm_head max_steps=1
    edit head/adapter_config.json '$_->{lora_bias} = JSON::PP::true'
    run --separate-stderr -3 merge --quiet --base base --adapter head -o x
    [[ "$stderr" == *"lora_bias on lm_head.weight: a model of the type llama cannot have a bias there, so the adapter cannot be merged: use it in PEFT" ]]
}

@test "an adapter that is trained further keeps the names of its modules_to_save, which may be longer than a word" {
    make_base
    lora ad --quiet model_name_or_path=base quantization=none train_norm=true
    further() { # FROM TO
        lora "$2" --quiet model_name_or_path=base quantization=none adapter_name_or_path="$1" \
            max_steps=1
        merge --quiet --base base --adapter "$2" -o "$2.one"
        same "$(loss --model base --adapter "$2")" "$(loss --model "$2.one")"
    }
    cp -r ad two
    drop two post_attention_layernorm
    edit two/adapter_config.json '$_->{modules_to_save} = ["input_layernorm", "model.norm"]'
    further two two-on
    [ "$(names two-on)" = input_layernorm,model.norm ]
    # As a name, norm would mean every norm.
    cp -r two one
    drop one input_layernorm
    edit one/adapter_config.json '$_->{modules_to_save} = ["model.norm"]'
    further one one-on
    [ "$(names one-on)" = model.norm ]
    [ "$(tensors one-on norm)" = 1 ]
    # Or the norms of one layer alone.
    cp -r ad layer
    drop layer 'layers\.1\.|model\.norm'
    edit layer/adapter_config.json '$_->{target_modules} = ".*layers.0.*_proj";
        $_->{modules_to_save} = ["layers.0.input_layernorm", "layers.0.post_attention_layernorm"]'
    further layer layer-on
    [ "$(names layer-on)" = layers.0.input_layernorm,layers.0.post_attention_layernorm ]
}

@test "an adapter of a kind that only merge can compute is refused by the other programs, which say what to do" {
    # A base with the shape that the golden adapters need.
    printf '%s\n' \
        '{"longqlora":1,"kind":"tokens","tokenizer":{"digest":"","vocab_size":40,"bos":1,"eos":2},"dtype":"u16","add_bos":false,"add_eos":false}' \
        '{"id":"a","source":"","tokens":[1,5,7,9,11,3,8,20,30,12,13,14,15,16,17,18,5,6]}' \
        '{"end":true,"records":1}' > few.jsonl
    tokenize --quiet --from jsonl --to stream < few.jsonl > few.tok
    pack --quiet --context 8 --strategy split few.tok -o few.smp
    perl -MJSON::PP -e 'local $/; print encode_json(decode_json(<STDIN>)->[0]{config})' < \
        "$golden/adapters/cases.json" > few.json
    printf 'method: full\nfrom_scratch: true\nattention: full\n' > few.yaml
    train few.yaml --quiet model_name_or_path=few.json train_file=few.smp output_dir=base \
        max_steps=1 --device cpu
    echo 'method: lora' > lora.yaml
    for a in dora dora-embedding; do
        run --separate-stderr -3 ppl --quiet --model base --adapter "$golden/adapters/$a" --data \
            few.tok --context 8
        [[ "$stderr" == *"$a: "*": only merge supports it: merge it first, and name the merged model" ]]
        run --separate-stderr -2 train lora.yaml quantization=none model_name_or_path=base \
            train_file=few.smp output_dir=x adapter_name_or_path="$golden/adapters/$a"
        [[ "$stderr" == *"$a: "*" is not supported in training: merge it, and train on the merged model" ]]
        merge --quiet --base base --adapter "$golden/adapters/$a" -o "$a" 2> /dev/null
        ppl --quiet --model "$a" --data few.tok --context 8 > /dev/null
    done
    # PEFT stores embedding and head of a larger vocabulary, and does not train them.
    a=grown-auto-tied
    run --separate-stderr -3 train lora.yaml quantization=none model_name_or_path=base \
        train_file=few.smp output_dir=x adapter_name_or_path="$golden/adapters/$a"
    [[ "$stderr" == *"$a: its embedding or head has more rows than the base's, and PEFT would keep it without training it"*": merge the adapter, and train on the merged model" ]]
    merge --quiet --base base --adapter "$golden/adapters/$a" -o "$a" 2> /dev/null
    train lora.yaml --quiet quantization=none model_name_or_path="$a" train_file=few.smp \
        output_dir=y max_steps=1 target_modules=q_proj
    run --separate-stderr -3 merge --quiet --base base --adapter "$golden/adapters/dora" \
        --to gguf-lora -o x.gguf
    [[ "$stderr" == *"dora: DoRA: llama.cpp does not support this in an adapter: "* ]]
}

@test "train: LoRA on the embedding and the head is trained, resumed, applied, merged and trained further" {
    make_tied
    # The base is NF4 or unquantized, tied or not. A run of six steps, and one that is stopped after
    # three and resumed, end with the same bytes.
    tables() { # OUT BASE KEY=VALUE...
        lora "$1" --quiet model_name_or_path="$2" target_modules=q_proj,embed_tokens,lm_head \
            save_steps=3 "${@:3}"
    }
    for base in base.nf4 tied; do
        model=${base%.nf4}
        tables "$model.run" $base quantization=any
        tables "$model.cut" $base quantization=any max_steps=3
        tables "$model.cut" $base quantization=any resume_from_checkpoint=auto
        cmp "$model".{run,cut}/adapter_model.safetensors
        [ "$(tensors "$model.run" 'embed_tokens.lora_embedding_[AB]$|lm_head.lora_[AB].weight$')" = 4 ]
        merge --quiet --base $model --adapter "$model.run" --force-base --dtype f32 -o "$model.one"
        grep -q '"tie_word_embeddings": false' "$model.one/config.json"
    done
    # The merged model computes what base and adapter compute. The adapter changes the loss.
    same "$(loss --model tied --adapter tied.run)" "$(loss --model tied.one)"
    [ "$(loss --model tied --adapter tied.run)" != "$(loss --model tied)" ]
    answer() { generate --quiet -p a -n 12 --temperature 0 --device cpu "$@"; }
    [ "$(answer -m tied --adapter tied.run)" = "$(answer -m tied.one)" ]
    # If it is trained further, it still has LoRA on both.
    tables further tied quantization=none adapter_name_or_path=tied.run max_steps=1
    [ "$(tensors further 'embed_tokens.lora_embedding_[AB]$|lm_head.lora_[AB].weight$')" = 4 ]
    # LoRA on only one of the two unties the embedding and the head, and the other tensor stays the
    # base's.
    tables alone tied quantization=none target_modules=embed_tokens
    merge --quiet --base tied --adapter alone -o alone.one 2> /dev/null
    same "$(loss --model tied --adapter alone)" "$(loss --model alone.one)"
    run --separate-stderr -2 tables x base.nf4 train_embedding=true
    [[ "$stderr" == *"target_modules: embed_tokens and lm_head: train_embedding already trains all of their weights"* ]]
    run --separate-stderr -2 tables x base.nf4 target_modules=q_proj,norm
    [[ "$stderr" == *"target_modules: 'norm' cannot have an adapter, only embed_tokens, q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head, qkv_proj, gate_up_proj can" ]]
}

@test "adapters: if a stored copy of the base's embedding differs from the base, the adapter must be merged first" {
    make_tied
    lora run --quiet model_name_or_path=tied quantization=none target_modules=embed_tokens \
        max_steps=1
    # PEFT stores such a copy, and uses it instead of the base's embedding or head.
    table=model.embed_tokens copied=model.embed_tokens.base_layer
    copy run equal tied $table $copied 0
    same "$(loss --model tied --adapter run)" "$(loss --model tied --adapter equal)"
    copy run other tied $table $copied 0.5
    run --separate-stderr -3 ppl --quiet --model tied --adapter other --data docs.tok --context 16
    [[ "$stderr" == *"other: its tensor base_model.model.model.embed_tokens.base_layer.weight differs from the base's, "*": merge the adapter first, and name the merged model" ]]
    run --separate-stderr -3 lora x --quiet model_name_or_path=tied quantization=none \
        adapter_name_or_path=other
    [[ "$stderr" == *"merge the adapter first"* ]]
    run --separate-stderr -0 merge --quiet --base tied --adapter other -o merged
    [[ "$stderr" == *"merge: other: its tensor base_model.model.model.embed_tokens.base_layer.weight differs from the base's, and replaces it, as in PEFT"* ]]
    run --separate-stderr -0 merge --quiet --base tied --adapter equal -o same
    [[ "$stderr" != *differs* ]]
    ppl --quiet --model merged --data docs.tok --context 16 > /dev/null
    # So it is if the head of a tied base has LoRA matrices, and the copy beside them.
    lora head --quiet model_name_or_path=tied quantization=none target_modules=lm_head max_steps=1
    copy head equal tied $table lm_head.base_layer 0
    copy head other tied $table lm_head.base_layer 0.5
    for program in "ppl --model tied --adapter other --data docs.tok --context 16" \
        "lora x model_name_or_path=tied quantization=none adapter_name_or_path=other"; do
        run --separate-stderr -3 $program
        [[ "$stderr" == *"other: its tensor base_model.model.lm_head.base_layer.weight differs"* ]]
    done
    lora x --quiet model_name_or_path=tied quantization=none adapter_name_or_path=equal max_steps=1
}

@test "train: PEFT's copies of embedding and head are not trained; LoRA beside them is trained further" {
    make_base
    further() { # ADAPTER OUT
        lora "$2" --quiet model_name_or_path=base quantization=none adapter_name_or_path="$1" \
            max_steps=2
    }
    table=model.embed_tokens
    # PEFT stores both without being asked if the vocabulary was changed, and does not train them.
    lora run --quiet model_name_or_path=base quantization=none target_modules=q_proj
    copy run first base $table $table 0
    copy first both base lm_head lm_head 0
    further run on
    further both both-on
    cmp on/adapter_model.safetensors both-on/adapter_model.safetensors
    [ "$(names both-on)" = '' ]
    grep -q '"train_embedding": false' both-on/longqlora.json
    # Others than the base's are part of the model, which only merge computes for further training.
    copy first other base lm_head lm_head 0.5
    run --separate-stderr -3 further other x
    [[ "$stderr" == *"other: its tensor base_model.model.lm_head.weight differs from the base's, and PEFT would keep it without training it (modules_to_save does not name it): merge the adapter, and train on the merged model" ]]
    lora planned --dry-run --device cpu --quiet model_name_or_path=base quantization=none \
        adapter_name_or_path=both > /dev/null
    merge --quiet --base base --adapter other -o merged
    lora x --quiet model_name_or_path=merged quantization=none max_steps=1
    # If modules_to_save names them, they are trained.
    cp -r both asked
    edit asked/adapter_config.json '$_->{modules_to_save} = ["embed_tokens", "lm_head"]'
    further asked asked-on
    [ "$(tensors asked-on 'embed_tokens.weight|lm_head.weight')" = 2 ]
    run ! cmp -s both-on/adapter_model.safetensors asked-on/adapter_model.safetensors
    # Beside LoRA matrices PEFT stores the base's tables, too.
    lora tables --quiet model_name_or_path=base quantization=none \
        target_modules=q_proj,embed_tokens,lm_head
    copy tables first base $table $table.base_layer 0
    copy first both base lm_head lm_head.base_layer 0
    further tables tables-on
    further both both-tables-on
    cmp tables-on/adapter_model.safetensors both-tables-on/adapter_model.safetensors
    # A head that is trained without the embedding is refused.
    copy run head base lm_head lm_head 0
    edit head/adapter_config.json '$_->{modules_to_save} = ["lm_head"]'
    run --separate-stderr -2 further head x
    [[ "$stderr" == *"head: its modules_to_save names the head without the embedding, which is not supported in training: merge it, and train on the merged model" ]]
}

@test "merge: several adapters are added, each with its weight" {
    make_base
    lora a --quiet model_name_or_path=base quantization=none
    lora b --quiet model_name_or_path=base quantization=none seed=7 target_modules=q_proj,up_proj
    merge --quiet --base base --adapter a -o one
    merge --quiet --base base --adapter a:1 -o same
    cmp one/model.safetensors same/model.safetensors
    run --separate-stderr -0 merge --base base --adapter a:0.7 --adapter b:0.3 -o both
    [[ "$stderr" == *"14 linear layers merged, 0 tensors replaced"* ]]
    [ "$(loss --model both)" != "$(loss --model one)" ]
    # Two halves of an adapter give the whole adapter, up to rounding.
    merge --quiet --base base --adapter a:0.5 --adapter a:0.5 -o halves
    same "$(loss --model one)" "$(loss --model halves)"
    # The name of a folder may contain a colon.
    cp -r a odd:0.5
    merge --quiet --base base --adapter odd:0.5 -o by-name
    cmp one/model.safetensors by-name/model.safetensors
    merge --quiet --base base --adapter odd:0.5:0.5 --adapter a:0.5 -o half-by-name
    cmp halves/model.safetensors half-by-name/model.safetensors
    # The same adapter is added twice only if each has a weight.
    ln -s a link
    for words in "a a" "a a:0.5" "a:0.5 a" "a ./a/" "a link" "a odd:0.5" "a a/checkpoint-6"; do
        run --separate-stderr -2 merge --base base --adapter "${words% *}" --adapter "${words#* }" \
            -o x
        [[ "$stderr" == "merge: --adapter "*": is the same adapter as --adapter a, and would be added twice: leave one out, or give each a weight ("*":0.5)" ]]
    done
    run --separate-stderr -2 merge --base base --adapter a --adapter b --adapter a -o x
    [ "$stderr" = "merge: --adapter a: is the same adapter as --adapter a, and would be added twice: leave one out, or give each a weight (a:0.5)" ]
    run --separate-stderr -2 merge --base base --adapter a:much -o x
    [ "$stderr" = "merge: --adapter a:much: 'much' is not a weight" ]
    # Both adapters must belong to this base, and have the same position scaling.
    edit b/longqlora.json '$_->{rope}{factor} = 4'
    run --separate-stderr -3 merge --base base --adapter a --adapter b -o x
    [[ "$stderr" == \
        "merge: b: trained with yarn positions, factor 4, but the result has yarn positions, factor 2: merge this adapter alone" ]]
    edit b/longqlora.json '$_->{rope}{factor} = 2; $_->{base} = "0" x 32'
    run --separate-stderr -3 merge --base base --adapter a --adapter b -o x
    [[ "$stderr" == *"b: trained on the base base (digest 0"*"or --force-base" ]]
    [ ! -e x ]
}

@test "merge, ppl, generate, train: an adapter is refused with its base if a value of the config that changes results differs" {
    make_base
    cp -rL base own
    lora ad --quiet rope=linear:2 model_name_or_path=own quantization=none
    told="trained on a base whose config has num_attention_heads 4, but that of own has 8: take the base as it was then"
    edit own/config.json '$_->{num_attention_heads} = 8; $_->{num_key_value_heads} = 4'
    quantize --quiet own -o own.nf4
    loads() { # MODEL: the commands that use the adapter
        echo "ppl --data docs.tok --context 16 --model $1 --adapter ad --to table"
        echo "merge --base $1 --adapter ad -o x"
        echo "generate --model $1 --adapter ad --tokenizer tok --prompt a --max-new-tokens 1"
    }
    while read -r command; do
        run --separate-stderr -3 $command < /dev/null
        [ "${stderr_lines[-1]}" = "${command%% *}: ad: $told, or --force-base" ]
    done < <(loads own)
    [ ! -e x ]
    run --separate-stderr -0 ppl --data docs.tok --context 16 --model own --adapter ad --force-base
    run --separate-stderr -3 ppl --data docs.tok --context 16 --model own.nf4 --adapter ad
    [ "${stderr_lines[-1]}" = "ppl: ad: ${told/of own/of own.nf4}, or --force-base" ]
    run --separate-stderr -3 lora on model_name_or_path=own quantization=none \
        adapter_name_or_path=ad
    [ "${stderr_lines[-1]}" = "train: ad: $told" ]
    # A second adapter is checked too.
    cp -rL base other
    edit other/config.json '$_->{rms_norm_eps} = 0.001'
    lora second --quiet rope=linear:2 model_name_or_path=other quantization=none
    run --separate-stderr -3 merge --base base --adapter ad --adapter second -o x
    [ "${stderr_lines[-1]}" = "merge: second: trained on a base whose config has rms_norm_eps 0.001, but that of base has 1e-05: take the base as it was then, or --force-base" ]
    # Keys that change no result may differ, and so may the spelling of a value.
    rm -r own
    cp -rL base own
    edit own/config.json '$_->{eos_token_id} = [1, 2]; $_->{torch_dtype} = "float16";
        $_->{note} = 1; $_->{head_dim} = 8; $_->{rms_norm_eps} = 0.0000099999999;
        $_->{rope_parameters} = {rope_theta => delete $_->{rope_theta}}'
    while read -r command; do
        run --separate-stderr -0 $command < /dev/null
    done < <(loads own)
    lora on --quiet model_name_or_path=own quantization=none adapter_name_or_path=ad
    # So it is in an adapter of an earlier version, which does not record the values.
    edit own/config.json '$_->{num_attention_heads} = 2; $_->{num_key_value_heads} = 1;
        $_->{head_dim} = 16'
    edit ad/longqlora.json 'delete $_->{base_config}'
    run --separate-stderr -0 ppl --data docs.tok --context 16 --model own --adapter ad
    edit ad/longqlora.json '$_->{base_config}{softcap} = 1'
    run --separate-stderr -3 ppl --data docs.tok --context 16 --model own --adapter ad
    [[ "$stderr" == *"ad/longqlora.json: 'base_config' has 'softcap', which this version does not know: was it made by a newer program?" ]]
}

@test "train: adapter_config.json names the base so that other programs can open it" {
    make_base
    lora s --quiet max_steps=1
    grep -q '"base_model_name_or_path": null' s/adapter_config.json
    grep -q '"base_name": "base.nf4"' s/longqlora.json
    lora d --quiet max_steps=1 model_name_or_path=base quantization=none
    grep -q '"base_model_name_or_path": "base"' d/adapter_config.json
    # A model from the hub states its own name.
    cp -rL base hub
    edit hub/config.json '$_->{_name_or_path} = "meta-llama/Llama-2-7b-hf"'
    quantize --quiet hub -o hub.nf4
    lora h --quiet max_steps=1 model_name_or_path=hub.nf4
    grep -q '"base_model_name_or_path": "meta-llama/Llama-2-7b-hf"' h/adapter_config.json
}

@test "an adapter whose files begin with a byte order mark or are broken links is refused by name" {
    make_base
    lora ad --quiet
    sed -i '1s/^/\xef\xbb\xbf/' ad/adapter_config.json
    run --separate-stderr -3 merge --base base.nf4 --adapter ad -o x
    [[ "$stderr" == \
        "merge: ad/adapter_config.json: begins with a byte order mark, which JSON does not allow and Python refuses too: save it"* ]]
    sed -i '1s/^\xEF\xBB\xBF//' ad/adapter_config.json
    # Without longqlora.json it would look like an adapter of another program, whose keys mean
    # something else.
    mv ad/longqlora.json own.json
    ln -s gone ad/longqlora.json
    run --separate-stderr -1 merge --base base.nf4 --adapter ad -o x
    [[ "$stderr" == *"ad/longqlora.json: a link to a file that is not there"* ]]
    mv own.json ad/longqlora.json
    merge --quiet --base base.nf4 --adapter ad -o x
}
